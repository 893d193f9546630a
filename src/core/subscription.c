/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Subscriptions to events. */

#include "core/subscription.h"
#include "util/log.h"

#include <fcntl.h>
#include <sys/epoll.h>
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

void subscriptions_publish(SubscriptionSet *set) {
        Subscription *s, *next;
        int r;

        if (set->n_behind == set->n_subscriptions) {
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

        r = sd_event_add_io(set->event, &s->source, s->fd, 0, subscription_on_io, s);
        if (r < 0)
                return r;
        r = sd_event_source_set_priority(s->source, set->priority);
        if (r < 0)
                return r;

        *ret_read_fd = TAKE_FD(read_fd);
        return 0;
}

int subscription_new(SubscriptionSet *set, uint64_t after, const char *ns, const char *container_id,
                     int *ret_read_fd) {
        _cleanup_(subscription_freep) Subscription *s = NULL;
        _cleanup_(safe_closep) int read_fd = -EBADF;
        int r;

        if (set->n_subscriptions >= SUBSCRIPTIONS_MAX)
                return -ENOBUFS;

        s = malloc(sizeof(*s));
        if (!s)
                return -ENOMEM;
        *s = (Subscription) { .fd = -EBADF, .cursor = eventlog_seek(set->log, after) };

        if ((ns && !(s->ns = strdup(ns))) || (container_id && !(s->container_id = strdup(container_id))))
                return -ENOMEM;

        r = subscription_open(s, set, &read_fd);
        if (r < 0)
                return r;

        s->set = set;
        DL_APPEND(set->subscriptions, s);
        set->n_subscriptions++;

        if (s->cursor.sequence < eventlog_last(set->log)) {
                r = subscription_fall_behind(s, s->cursor);
                if (r < 0)
                        return r;
        }

        (void) TAKE_PTR(s);
        *ret_read_fd = TAKE_FD(read_fd);
        return 0;
}

unsigned subscriptions_count(const SubscriptionSet *set) {
        return set->n_subscriptions;
}

int subscriptions_new(SubscriptionSet **ret, sd_event *event, EventLog *log, int64_t priority) {
        SubscriptionSet *set;

        set = malloc(sizeof(*set));
        if (!set)
                return -ENOMEM;

        *set = (SubscriptionSet) {
                .event = sd_event_ref(event),
                .log = log,
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
