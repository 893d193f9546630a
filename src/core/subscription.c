/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Subscriptions to events. */

#include "core/subscription.h"
#include "util/log.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <utlist.h>

#define RECORD_BEGIN "\x1e"
#define RECORD_END "\n"
#define GAP_TEXT "{\"gap\":true}"

typedef struct Subscription {
        SubscriptionSet *set;
        struct Subscription *prev, *next; /* SubscriptionSet::subscriptions */
        sd_event_source *source;          /* wakes us when there is room only while the subscriber is behind */
        int fd;
        uint64_t client;    /* 0: unknown */
        char *ns;           /* or NULL */
        char *container_id; /* or NULL */

        /* Behind: it reads the log by itself. Otherwise it has everything but what publishing tells next, and only
         * the cursor's sequence means something. */
        bool is_behind;
        EventCursor cursor;

        /* What did not fit into the pipe of a record whose beginning did. */
        char *rest;
        size_t rest_size, rest_done;
} Subscription;

struct SubscriptionSet {
        sd_event *event;
        EventLog *log;
        const Limits *limits;
        int64_t priority;
        Subscription *subscriptions;
        unsigned n_subscriptions, n_behind;
        EventCursor cursor; /* of all that are not behind */
};

static Subscription *subscription_free(Subscription *s) {
        if (!s)
                return NULL;

        if (s->set) {
                DL_DELETE(s->set->subscriptions, s);
                s->set->n_subscriptions--;
                s->set->n_behind -= s->is_behind;
        }
        sd_event_source_disable_unref(s->source);
        safe_close(s->fd);
        free(s->ns);
        free(s->container_id);
        free(s->rest);
        return mfree(s);
}
DEFINE_CLEANUP(Subscription *, subscription_free);

/* Ends one that cannot go on, with a word about it unless that is simply because its reader has gone. */
static void subscription_fail(Subscription *s, int error) {
        if (error != -EPIPE)
                log_warning_errno(error, "Failed to tell a subscriber of events, closing its pipe: %m");
        subscription_free(s);
}

/* ---- writing ---- */

/* Writes one record. Returns 0 if it is on its way, be it that the pipe has taken only a part of it; 1 if the pipe
 * took nothing. */
static int subscription_write(Subscription *s, const char *text, size_t size) {
        const struct iovec iov[] = {
                { (char *) RECORD_BEGIN, 1 },
                { (char *) text, size },
                { (char *) RECORD_END, 1 },
        };
        size_t total = size + 2;
        ssize_t n;

        do
                n = writev(s->fd, iov, ELEMENTSOF(iov));
        while (n < 0 && errno == EINTR);
        if (n < 0)
                return errno == EAGAIN ? 1 : -errno;
        if ((size_t) n == total)
                return 0;

        /* The beginning of the record is out, its end is not: 'text' lives on only here. */
        s->rest_size = total - (size_t) n;
        s->rest_done = 0;
        s->rest = malloc(s->rest_size);
        if (!s->rest)
                return -ENOMEM;
        memcpy(s->rest, text + n - 1, s->rest_size - 1);
        memcpy(s->rest + s->rest_size - 1, RECORD_END, 1);
        return 0;
}

/* Returns 0 if nothing is left of a record that was begun, 1 if the pipe is full before that. */
static int subscription_write_rest(Subscription *s) {
        while (s->rest) {
                ssize_t n = write(s->fd, s->rest + s->rest_done, s->rest_size - s->rest_done);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return errno == EAGAIN ? 1 : -errno;

                s->rest_done += (size_t) n;
                if (s->rest_done == s->rest_size)
                        s->rest = mfree(s->rest);
        }
        return 0;
}

/* Returns 0 if the subscriber has got the record or does not want it, 1 if it cannot take it now. */
static int subscription_tell(Subscription *s, const EventRecord *record) {
        if (s->rest)
                return 1;
        if (!record->text)
                return subscription_write(s, GAP_TEXT, strlen(GAP_TEXT));
        if ((s->ns && !streq(s->ns, record->ns)) ||
            (s->container_id && !streq(s->container_id, record->container_id)))
                return 0;

        return subscription_write(s, record->text, record->size);
}

/* ---- those who are behind ---- */

/* From now on it goes on by itself, from a place that is not behind the event of its cursor. */
static int subscription_fall_behind(Subscription *s, EventCursor place) {
        place.sequence = s->cursor.sequence;
        s->cursor = place;
        s->is_behind = true;
        s->set->n_behind++;
        return sd_event_source_set_io_events(s->source, EPOLLOUT);
}

static int subscription_join(Subscription *s) {
        s->is_behind = false;
        s->set->n_behind--;
        return sd_event_source_set_io_events(s->source, 0);
}

static int subscription_on_record(void *userdata, const EventRecord *record) {
        return subscription_tell(userdata, record);
}

/* One step towards the newest event. */
static int subscription_catch_up(Subscription *s) {
        int r;

        r = subscription_write_rest(s);
        if (r != 0)
                return r < 0 ? r : 0;

        r = eventlog_read_on(s->set->log, &s->cursor, subscription_on_record, s);
        if (r < 0)
                return r;

        return r > 0 && !s->rest ? subscription_join(s) : 0;
}

/* An error is always reported, whether or not the subscriber is behind: the reader has gone. */
static int subscription_on_io(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        Subscription *s = userdata;
        int r;

        r = revents & (EPOLLERR | EPOLLHUP) ? -EPIPE : subscription_catch_up(s);
        if (r < 0)
                subscription_fail(s, r);
        return 0;
}

/* ---- those who are not ---- */

static int subscriptions_on_record(void *userdata, const EventRecord *record) {
        SubscriptionSet *set = userdata;
        Subscription *s, *next;
        int r;

        DL_FOREACH_SAFE(set->subscriptions, s, next) {
                if (s->is_behind || record->sequence <= s->cursor.sequence)
                        continue;

                r = subscription_tell(s, record);
                if (r == 0)
                        s->cursor.sequence = record->sequence;
                if (r > 0 || s->rest)
                        r = subscription_fall_behind(s, set->cursor);
                if (r < 0)
                        subscription_fail(s, r);
        }
        return 0;
}

void subscriptions_publish(SubscriptionSet *set, const EventRecord *newest) {
        Subscription *s, *next;
        int r;

        if (set->n_behind == set->n_subscriptions) {
                set->cursor = eventlog_seek(set->log, UINT64_MAX);
                return;
        }

        /* As nearly always: all before it has been told. */
        if (newest && newest->sequence == eventlog_last(set->log) && set->cursor.sequence + 1 == newest->sequence) {
                (void) subscriptions_on_record(set, newest);
                set->cursor = eventlog_seek(set->log, UINT64_MAX);
                return;
        }

        do
                r = eventlog_read_on(set->log, &set->cursor, subscriptions_on_record, set);
        while (r == 0);
        if (r > 0)
                return;

        log_warning_errno(r, "Failed to read the event log for subscribers, each trying for itself: %m");
        DL_FOREACH_SAFE(set->subscriptions, s, next) {
                if (s->is_behind)
                        continue;
                r = subscription_fall_behind(s, eventlog_seek(set->log, s->cursor.sequence));
                if (r < 0)
                        subscription_fail(s, r);
        }
}

/* ---- coming and going ---- */

static Subscription *subscription_make(EventCursor cursor, const char *ns, const char *container_id) {
        _cleanup_(subscription_freep) Subscription *s = NULL;

        s = malloc(sizeof(*s));
        if (!s)
                return NULL;
        *s = (Subscription) { .fd = -EBADF, .cursor = cursor };

        if ((ns && !(s->ns = strdup(ns))) || (container_id && !(s->container_id = strdup(container_id))))
                return NULL;

        return TAKE_PTR(s);
}

static int subscription_watch(Subscription *s, SubscriptionSet *set) {
        int r;

        r = sd_event_add_io(set->event, &s->source, s->fd, 0, subscription_on_io, s);
        if (r < 0)
                return r;

        return sd_event_source_set_priority(s->source, set->priority);
}

static int subscription_open(Subscription *s, SubscriptionSet *set, int *ret_read_fd) {
        _cleanup_(safe_closep) int read_fd = -EBADF;
        int fds[2], r;

        if (pipe2(fds, O_CLOEXEC) < 0)
                return -errno;
        read_fd = fds[0];
        s->fd = fds[1];

        /* The reader may wait for us, we never for the reader. */
        if (fcntl(s->fd, F_SETFL, O_WRONLY | O_NONBLOCK) < 0)
                return -errno;

        r = subscription_watch(s, set);
        if (r < 0)
                return r;

        *ret_read_fd = TAKE_FD(read_fd);
        return 0;
}

/* Makes it one of the set, which frees it from now on; but not before this has succeeded. */
static int subscription_add(Subscription *s, SubscriptionSet *set) {
        s->set = set;
        DL_APPEND(set->subscriptions, s);
        set->n_subscriptions++;

        if (!s->rest && s->cursor.sequence >= eventlog_last(set->log))
                return 0;

        return subscription_fall_behind(s, s->cursor);
}

static int subscriptions_check_room(const SubscriptionSet *set, uint64_t client, Failure *failure) {
        const Limits *limits = set->limits;
        unsigned n = 0;

        if (set->n_subscriptions >= limits->subscriptions)
                return failure_set_limit(failure, "MaxSubscriptions", limits->subscriptions,
                                         "there are %u subscriptions to events already", set->n_subscriptions);

        for (const Subscription *s = set->subscriptions; s; s = s->next)
                n += s->client == client;
        if (n >= limits->subscriptions_per_client)
                return failure_set_limit(failure, "MaxSubscriptionsPerClient", limits->subscriptions_per_client,
                                         "this client has %u subscriptions to events already", n);
        return 0;
}

static int subscription_begin(SubscriptionSet *set, uint64_t client, uint64_t after, const char *ns,
                              const char *container_id, int *ret_read_fd) {
        _cleanup_(subscription_freep) Subscription *s = NULL;
        _cleanup_(safe_closep) int read_fd = -EBADF;
        int r;

        s = subscription_make(eventlog_seek(set->log, after), ns, container_id);
        if (!s)
                return -ENOMEM;
        s->client = client;

        r = subscription_open(s, set, &read_fd);
        if (r < 0)
                return r;

        r = subscription_add(s, set);
        if (r < 0)
                return r;

        (void) TAKE_PTR(s);
        *ret_read_fd = TAKE_FD(read_fd);
        return 0;
}

int subscription_new(SubscriptionSet *set, uint64_t client, uint64_t after, const char *ns, const char *container_id,
                     int *ret_read_fd, Failure *failure) {
        int r;

        r = subscriptions_check_room(set, client, failure);
        if (r < 0)
                return r;

        r = subscription_begin(set, client, after, ns, container_id, ret_read_fd);
        return r < 0 ? failure_set_errno(failure, r, "Failed to make a subscription: %m") : 0;
}

unsigned subscriptions_count(const SubscriptionSet *set) {
        return set->n_subscriptions;
}

/* ---- over a re-execution ---- */

/* It may end in the middle of a character, and is no text for JSON then. */
static void write_rest(const Subscription *s, JsonWriter *w) {
        static const char digits[] = "0123456789abcdef";
        size_t n = s->rest_size - s->rest_done;
        _cleanup_(freep) char *text = NULL;

        text = malloc(2 * n + 1);
        if (!text)
                return;
        for (size_t i = 0; i < n; i++) {
                uint8_t byte = (uint8_t) s->rest[s->rest_done + i];

                text[2 * i] = digits[byte >> 4];
                text[2 * i + 1] = digits[byte & 15];
        }
        text[2 * n] = 0;
        json_put_string(w, "rest", text);
}

static int read_rest(Subscription *s, const char *text) {
        size_t n = strlen(text) / 2;

        if (n == 0 || strlen(text) != 2 * n)
                return -EINVAL;
        s->rest = malloc(n);
        if (!s->rest)
                return -ENOMEM;
        s->rest_size = n;

        for (size_t i = 0; i < n; i++) {
                const char digits[] = { text[2 * i], text[2 * i + 1], 0 };
                char *end;

                s->rest[i] = (char) strtoul(digits, &end, 16);
                if (*end)
                        return -EINVAL;
        }
        return 0;
}

int subscriptions_write_handoff(SubscriptionSet *set, JsonWriter *w) {
        Subscription *s;

        json_open_array(w);
        DL_FOREACH(set->subscriptions, s) {
                if (fcntl(s->fd, F_SETFD, 0) < 0)
                        return -errno;

                json_open_object(w);
                json_put_uint64(w, "fd", (uint64_t) s->fd);
                json_put_uint64(w, "sequence", s->cursor.sequence);
                if (s->ns)
                        json_put_string(w, "namespace", s->ns);
                if (s->container_id)
                        json_put_string(w, "container_id", s->container_id);
                json_put_bool(w, "has_rest", s->rest);
                if (s->rest)
                        write_rest(s, w);
                json_close_object(w);
        }
        json_close_array(w);
        return 0;
}

void subscriptions_release(SubscriptionSet *set) {
        Subscription *s;

        DL_FOREACH(set->subscriptions, s)
                (void) fcntl(s->fd, F_SETFD, FD_CLOEXEC);
}

static int take_pipe(Json tree) {
        struct stat st;
        uint64_t fd;

        if (json_get_uint64(tree, "fd", &fd) <= 0 || fd <= STDERR_FILENO || fd > INT_MAX)
                return -EBADF;
        if (fstat((int) fd, &st) < 0)
                return -errno;
        if (!S_ISFIFO(st.st_mode))
                return -EBADF;

        return fcntl((int) fd, F_SETFD, FD_CLOEXEC) < 0 ? -errno : (int) fd;
}

static int subscription_take(SubscriptionSet *set, Json tree) {
        _cleanup_(subscription_freep) Subscription *s = NULL;
        const char *ns = NULL, *container_id = NULL, *rest = NULL;
        _cleanup_(safe_closep) int fd = -EBADF;
        bool has_rest = false;
        uint64_t sequence;
        int r;

        fd = take_pipe(tree);
        if (fd < 0)
                return fd;
        if (json_get_uint64(tree, "sequence", &sequence) <= 0 || json_get_string(tree, "namespace", &ns) < 0 ||
            json_get_string(tree, "container_id", &container_id) < 0 ||
            json_get_bool(tree, "has_rest", &has_rest) <= 0 || json_get_string(tree, "rest", &rest) < 0 ||
            has_rest != !!rest)
                return -EINVAL;

        /* Of the place in the log only the number is good in another program; the rest is found by it. */
        s = subscription_make(eventlog_seek(set->log, sequence), ns, container_id);
        if (!s)
                return -ENOMEM;
        s->fd = TAKE_FD(fd);
        if (rest) {
                r = read_rest(s, rest);
                if (r < 0)
                        return r;
        }

        r = subscription_watch(s, set);
        if (r < 0)
                return r;
        r = subscription_add(s, set);
        if (r < 0)
                return r;

        (void) TAKE_PTR(s);
        return 0;
}

void subscriptions_take_handoff(SubscriptionSet *set, Json tree) {
        for (size_t i = 0; i < json_length(tree); i++) {
                int r = subscription_take(set, json_element(tree, i));

                if (r < 0)
                        log_warning_errno(r, "Failed to go on with a subscription to events, closing its pipe: %m");
        }
}

int subscriptions_new(SubscriptionSet **ret, sd_event *event, EventLog *log, const Limits *limits, int64_t priority) {
        SubscriptionSet *set;

        set = malloc(sizeof(*set));
        if (!set)
                return -ENOMEM;

        *set = (SubscriptionSet) {
                .event = sd_event_ref(event),
                .log = log,
                .limits = limits,
                .priority = priority,
                .cursor = eventlog_seek(log, UINT64_MAX),
        };
        *ret = set;
        return 0;
}

SubscriptionSet *subscriptions_free(SubscriptionSet *set) {
        Subscription *s, *next;

        if (!set)
                return NULL;

        DL_FOREACH_SAFE(set->subscriptions, s, next)
                subscription_free(s);
        sd_event_unref(set->event);
        return mfree(set);
}
