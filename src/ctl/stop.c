/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Ending containers, side by side.
 *
 * For each of them a chain of calls, each made when the one before has been answered: look how it wants to be asked,
 * send the signal, see whether it is paused, let it go on. A timer then starts a second chain, with SIGKILL. What is
 * waited for is always the answer of Wait, which the waiter has asked for at the start. Only so many chains are under
 * way at a time, since monoshimd bounds what one client may have there. */

#include "ctl/stop.h"

#include "ctl/i18n.h"
#include "ctl/json-file.h"
#include "ctl/progress.h"
#include "ctl/report.h"
#include "ctl/signal-name.h"
#include "ctl/suggest.h"
#include "ctl/waiter.h"
#include "util/file.h"
#include "util/strv.h"

#include <fcntl.h>
#include <signal.h>
#include <utlist.h>

#define CHAINS_MAX 32

typedef enum StopStep {
        STOP_LOOK,
        STOP_SIGNAL,
        STOP_CHECK,
        STOP_RESUME,
} StopStep;

typedef struct Stop Stop;
typedef struct StopItem StopItem;

struct StopItem {
        Stop *stop;
        WaitItem *wait;
        StopStep step;
        int signal;
        bool queued;
        sd_bus_slot *slot; /* of the call that is to be answered */
        sd_event_source *timer;
        StopItem *prev, *next; /* in the queue */
};

struct Stop {
        Client *client;
        const StopOptions *options;
        Waiter *waiter;
        StopItem *queue;        /* chains to begin, or to take up again */
        sd_event_source *tick;  /* for a terminal: how long there is to wait */
        sd_event_source *again; /* to go on with the queue: at the beginning, and after the connection was lost */
        unsigned n_chains;      /* calls that are to be answered */
        bool failed;
        size_t n_items;
        StopItem items[];
};

static void stop_go_on(Stop *s);

/* ---- which signal ---- */

/* As an image's configuration is converted to annotations, and as containerd labels a container with it. */
static const char *const signal_keys[] = {
        "org.opencontainers.image.stopSignal",
        "io.containerd.image.config.stop-signal",
};

int stop_signal_of(char *const *labels, struct yajl_val_s *config, const char **ret_bad) {
        Json annotations = json_get(config, "annotations");
        const char *text = NULL;
        int r;

        for (size_t i = 0; i < ELEMENTSOF(signal_keys) && !text; i++) {
                for (size_t k = 0; labels && labels[k] && labels[k + 1]; k += 2)
                        if (streq(labels[k], signal_keys[i]))
                                text = labels[k + 1];
        }
        for (size_t i = 0; i < ELEMENTSOF(signal_keys) && !text; i++)
                (void) json_get_string(annotations, signal_keys[i], &text);

        *ret_bad = NULL;
        if (!text || *text == '\0')
                return SIGTERM;
        r = signal_from_string(text);
        if (r < 0) {
                *ret_bad = text;
                return SIGTERM;
        }
        return r;
}

/* Who may not read it, or finds no JSON in it, does without: the container is to end anyway. */
static Json stop_read_config(const char *bundle) {
        _cleanup_(freep) char *text = NULL;
        _cleanup_(safe_closep) int fd = -EBADF;
        Json config = NULL;
        size_t size;

        fd = open(bundle, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0 || file_read_beneath(fd, "config.json", JSON_FILE_MAX, &text, &size) < 0)
                return NULL;
        return json_parse(text, size, &config, NULL) < 0 ? NULL : config;
}

static int stop_read_labels(sd_bus_message *m, char ***ret) {
        const char *key, *text;
        int r;

        r = sd_bus_message_enter_container(m, 'v', "a{ss}");
        if (r >= 0)
                r = sd_bus_message_enter_container(m, 'a', "{ss}");
        while (r >= 0 && (r = sd_bus_message_read(m, "{ss}", &key, &text)) > 0)
                r = strv_extend_all(ret, key, text);
        if (r >= 0)
                r = sd_bus_message_exit_container(m);
        if (r >= 0)
                r = sd_bus_message_exit_container(m);
        return r;
}

/* The answer of GetAll. */
static int stop_read_properties(sd_bus_message *m, char ***ret_labels, char **ret_bundle) {
        const char *name, *text;
        int r;

        r = sd_bus_message_enter_container(m, 'a', "{sv}");
        while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
                r = sd_bus_message_read(m, "s", &name);
                if (r >= 0 && streq(name, "Bundle")) {
                        r = sd_bus_message_read(m, "v", "s", &text);
                        if (r >= 0 && !(*ret_bundle = strdup(text)))
                                r = -ENOMEM;
                } else if (r >= 0 && streq(name, "Labels"))
                        r = stop_read_labels(m, ret_labels);
                else if (r >= 0)
                        r = sd_bus_message_skip(m, "v");
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
        }
        return r;
}

static void stop_item_choose_signal(StopItem *item, sd_bus_message *m) {
        _cleanup_(json_freep) Json config = NULL;
        _cleanup_(strv_freep) char **labels = NULL;
        _cleanup_(freep) char *bundle = NULL;
        const char *bad;

        if (stop_read_properties(m, &labels, &bundle) < 0)
                return;

        if (bundle)
                config = stop_read_config(bundle);
        item->signal = stop_signal_of(labels, config, &bad);
        if (bad)
                report(_("%s/%s asks to be stopped with \"%s\", which is no signal; it gets TERM."),
                       item->wait->ref->ns, item->wait->ref->id, bad);
}

/* ---- the chain of calls ---- */

static void stop_item_enqueue(StopItem *item, StopStep step) {
        item->step = step;
        if (!item->queued)
                DL_APPEND(item->stop->queue, item);
        item->queued = true;
}

static void stop_item_give_up(StopItem *item, int r, const sd_bus_error *error) {
        report_call(r, error, _("Cannot signal %s/%s"), item->wait->ref->ns, item->wait->ref->id);
        item->stop->failed = true;
        waiter_drop(item->stop->waiter, (size_t) (item - item->stop->items));
}

static int stop_item_on_overdue(sd_event_source *source, uint64_t usec, void *userdata) {
        StopItem *item = userdata;

        item->timer = sd_event_source_unref(item->timer);
        item->signal = SIGKILL;
        stop_item_enqueue(item, STOP_SIGNAL);
        stop_go_on(item->stop);
        return 0;
}

/* The time that it has begins when it has been asked, which for the last of very many may be late. */
static void stop_item_await(StopItem *item) {
        const uint64_t timeout = item->stop->options->timeout_usec;
        int r;

        if (item->signal == SIGKILL || item->timer || timeout == USEC_INFINITY)
                return;

        r = sd_event_add_time_relative(waiter_get_event(item->stop->waiter), &item->timer, CLOCK_MONOTONIC, timeout,
                                       1, stop_item_on_overdue, item);
        if (r < 0)
                stop_item_give_up(item, r, NULL);
}

static int stop_item_call(StopItem *item);

/* True when there is a further step, which is then to be made. */
static bool stop_item_advance(StopItem *item, sd_bus_message *m) {
        const sd_bus_error *error = sd_bus_message_get_error(m);
        const char *status;

        switch (item->step) {
        case STOP_LOOK:
                if (!error)
                        stop_item_choose_signal(item, m);
                item->step = STOP_SIGNAL;
                return true;
        case STOP_SIGNAL:
                /* Whether one that is not there is to be complained about is for Wait's answer to say: one that has
                 * just ended is gone for Kill, too. */
                if (error && !sd_bus_error_has_name(error, MONOSHIM_ERROR("NotFound"))) {
                        stop_item_give_up(item, -EIO, error);
                        return false;
                }
                stop_item_await(item);
                item->step = STOP_CHECK;
                return !error;
        case STOP_CHECK:
                /* Frozen, it would not see the signal. */
                item->step = STOP_RESUME;
                return !error && sd_bus_message_read(m, "v", "s", &status) >= 0 && streq(status, "paused");
        case STOP_RESUME:
                /* If that fails it may have ended, or somebody else was quicker; the timer will tell. */
                return false;
        }
        return false;
}

static int stop_item_on_reply(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        StopItem *item = userdata;
        Stop *s = item->stop;

        /* The waiter will notice as well, and connect again; then this step is repeated. */
        if (client_error_is_lost(0, sd_bus_message_get_error(m)))
                return 1;

        item->slot = sd_bus_slot_unref(item->slot);
        s->n_chains--;
        if (item->wait->pending && stop_item_advance(item, m) && item->wait->pending && stop_item_call(item) < 0)
                stop_item_enqueue(item, item->step);
        stop_go_on(s);
        return 1;
}

/* Makes the call of the item's step. Fails only if the connection is lost. */
static int stop_item_call(StopItem *item) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        const char *path = item->wait->ref->path;
        Client *c = item->stop->client;
        int r;

        switch (item->step) {
        case STOP_LOOK:
                r = client_new_call(c, path, "org.freedesktop.DBus.Properties", "GetAll", &m);
                if (r >= 0)
                        r = sd_bus_message_append(m, "s", MONOSHIM_CONTAINER);
                break;
        case STOP_SIGNAL:
                r = client_new_call(c, path, MONOSHIM_PROCESS, "Kill", &m);
                if (r >= 0)
                        r = sd_bus_message_append(m, "ub", (uint32_t) item->signal, 0);
                break;
        case STOP_CHECK:
                r = client_new_call(c, path, "org.freedesktop.DBus.Properties", "Get", &m);
                if (r >= 0)
                        r = sd_bus_message_append(m, "ss", MONOSHIM_PROCESS, "Status");
                break;
        case STOP_RESUME:
                r = client_new_call(c, path, MONOSHIM_CONTAINER, "Resume", &m);
                break;
        default:
                r = -EINVAL;
        }

        if (r >= 0)
                r = sd_bus_call_async(c->bus, &item->slot, m, stop_item_on_reply, item, CLIENT_FOREVER);
        if (r >= 0)
                item->stop->n_chains++;
        else if (!client_error_is_lost(r, NULL)) {
                stop_item_give_up(item, r, NULL);
                return 0;
        }
        return r;
}

static void stop_go_on(Stop *s) {
        while (s->queue && s->n_chains < CHAINS_MAX) {
                StopItem *item = s->queue;

                if (item->wait->pending && stop_item_call(item) < 0)
                        return; /* to be taken up again when there is a connection */
                DL_DELETE(s->queue, item);
                item->queued = false;
        }
}

static int stop_on_again(sd_event_source *source, void *userdata) {
        stop_go_on(userdata);
        return 0;
}

/* Nobody will answer what has been asked on the old connection. What was under way is done again: a second signal
 * does no harm. */
static void stop_on_lost(void *userdata) {
        Stop *s = userdata;

        for (size_t i = 0; i < s->n_items; i++) {
                StopItem *item = s->items + i;

                if (!item->slot)
                        continue;
                item->slot = sd_bus_slot_unref(item->slot);
                stop_item_enqueue(item, item->step);
        }
        s->n_chains = 0;
        if (s->again)
                (void) sd_event_source_set_enabled(s->again, SD_EVENT_ONESHOT);
}

/* ---- all of them ---- */

static void stop_on_ended(WaitItem *wait, void *userdata) {
        Stop *s = userdata;
        StopItem *item = s->items + (wait - waiter_get(s->waiter, 0));

        item->timer = sd_event_source_unref(item->timer);
}

/* Of those that have been asked to end: the seconds until the first is killed; 0 when none will be. */
static uint64_t stop_count_down(const Stop *s) {
        uint64_t least = USEC_INFINITY, now = 0, usec;

        (void) sd_event_now(waiter_get_event(s->waiter), CLOCK_MONOTONIC, &now);
        for (size_t i = 0; i < s->n_items; i++)
                if (s->items[i].timer && sd_event_source_get_time(s->items[i].timer, &usec) >= 0 && usec < least)
                        least = usec;
        return least == USEC_INFINITY || least <= now ? 0 : (least - now + USEC_PER_SEC - 1) / USEC_PER_SEC;
}

static void stop_show(const Stop *s) {
        const unsigned long long seconds = stop_count_down(s);
        const WaitItem *last = NULL;
        size_t n = 0;

        for (size_t i = 0; i < s->n_items; i++)
                if (s->items[i].wait->pending) {
                        last = s->items[i].wait;
                        n++;
                }
        if (n == 1 && seconds > 0)
                progress_show(_("Waiting for %s/%s to end; it will be killed in %llus"), last->ref->ns, last->ref->id,
                              seconds);
        else if (n == 1)
                progress_show(_("Waiting for %s/%s to end"), last->ref->ns, last->ref->id);
        else if (n > 0 && seconds > 0)
                progress_show(_("Waiting for %zu of %zu containers to end; killing begins in %llus"), n, s->n_items,
                              seconds);
        else if (n > 0)
                progress_show(_("Waiting for %zu of %zu containers to end"), n, s->n_items);
}

static int stop_on_tick(sd_event_source *source, uint64_t usec, void *userdata) {
        stop_show(userdata);
        (void) sd_event_source_set_time_relative(source, PROGRESS_INTERVAL_USEC);
        (void) sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
        return 0;
}

static Stop *stop_free(Stop *s) {
        if (!s)
                return NULL;

        for (size_t i = 0; i < s->n_items; i++) {
                sd_bus_slot_unref(s->items[i].slot);
                sd_event_source_unref(s->items[i].timer);
        }
        sd_event_source_unref(s->tick);
        sd_event_source_unref(s->again);
        waiter_free(s->waiter);
        return mfree(s);
}

DEFINE_CLEANUP(Stop *, stop_free);

static void stop_report(Stop *s) {
        for (size_t i = 0; i < s->n_items; i++) {
                const WaitItem *wait = s->items[i].wait;

                if (!sd_bus_error_is_set(&wait->error))
                        continue;
                if (s->options->gone_is_fine && sd_bus_error_has_name(&wait->error, MONOSHIM_ERROR("NotFound")))
                        continue;
                suggest_report(s->client, wait->ref, -EIO, &wait->error, _("Cannot stop %s/%s"), wait->ref->ns,
                               wait->ref->id);
                s->failed = true;
        }
}

int stop_containers(Client *c, const ContainerRefs *refs, const StopOptions *o) {
        _cleanup_(stop_freep) Stop *s = NULL;
        int r;

        s = calloc(1, sizeof(*s) + refs->n_items * sizeof(s->items[0]));
        if (!s)
                return report_errno(ENOMEM, _("Cannot stop containers"));
        s->client = c;
        s->options = o;

        r = waiter_new(c, refs->items, refs->n_items, stop_on_ended, s, &s->waiter);
        if (r < 0)
                return r;
        waiter_set_lost(s->waiter, stop_on_lost);
        r = sd_event_add_defer(waiter_get_event(s->waiter), &s->again, stop_on_again, s);
        if (r < 0)
                return report_errno(r, _("Cannot stop containers"));
        if (progress_is_wanted())
                (void) sd_event_add_time_relative(waiter_get_event(s->waiter), &s->tick, CLOCK_MONOTONIC,
                                                  PROGRESS_INTERVAL_USEC, 1, stop_on_tick, s);

        s->n_items = refs->n_items;
        for (size_t i = 0; i < s->n_items; i++) {
                StopItem *item = s->items + i;

                *item = (StopItem) { .stop = s, .wait = waiter_get(s->waiter, i), .signal = o->signal ?: SIGTERM };
                stop_item_enqueue(item, o->signal ? STOP_SIGNAL : STOP_LOOK);
        }

        r = waiter_run(s->waiter, USEC_INFINITY);
        progress_erase();
        if (r < 0)
                return r;
        stop_report(s);
        return s->failed ? -EIO : 0;
}
