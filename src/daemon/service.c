/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* monoshimd as a service. */

#include "daemon/service.h"
#include "util/clock.h"
#include "util/log.h"
#include "util/notify.h"

#include <inttypes.h>

/* A storm of lives is no reason to tell of each. */
#define STATUS_USEC USEC_PER_SEC
#define TELL_AGAIN_USEC (100 * USEC_PER_MSEC)

void service_init(Service *s, sd_event *event, Registry *registry, Front *front) {
        *s = (Service) {
                .event = event,
                .registry = registry,
                .front = front,
                .notify = notify_is_wanted(),
                .idle_timeout_usec = USEC_INFINITY,
        };
}

void service_done(Service *s) {
        s->status = sd_event_source_disable_unref(s->status);
        s->idle = sd_event_source_disable_unref(s->idle);
}

/* ---- what the manager is told ---- */

/* 'line' is what else is to be said: complete lines, or "". */
static int service_tell(Service *s, const char *line) {
        s->status = sd_event_source_disable_unref(s->status);
        return notify("%sSTATUS=Watching over %u container%s.", line, s->registry->n_live,
                      s->registry->n_live == 1 ? "" : "s");
}

static int service_on_status(sd_event_source *source, uint64_t usec, void *userdata) {
        (void) service_tell(userdata, "");
        return 0;
}

static void service_tell_status(Service *s) {
        if (s->notify && !s->status && !s->stopping)
                (void) sd_event_add_time_relative(s->event, &s->status, CLOCK_MONOTONIC, STATUS_USEC, USEC_PER_SEC,
                                                  service_on_status, s);
}

void service_on_reloading(Service *s) {
        (void) notify("RELOADING=1\nMONOTONIC_USEC=%" PRIu64 "\nSTATUS=Reloading.", clock_get_monotonic());
}

void service_on_stopping(Service *s) {
        s->stopping = true;
        service_done(s);
        (void) notify("STOPPING=1\nSTATUS=Waiting for runtime commands to finish.");
}

/* ---- idle ---- */

static void service_watch_idle(Service *s);

static bool service_is_idle(const Service *s) {
        return !s->registry->containers && s->front->n_peers == 0 && registry_is_quiet(s->registry);
}

/* Whatever was sent to our name has reached us by now: what comes from here on has the bus start us again. */
static void service_on_left(void *userdata) {
        Service *s = userdata;

        s->leaving = false;
        if (service_is_idle(s) && s->n_calls == s->front->n_calls_seen) {
                log_info("There are no containers and no clients, ending.");
                service_on_stopping(s);
                (void) sd_event_exit(s->event, EXIT_SUCCESS);
                return;
        }

        front_return_to_bus(s->front);
        service_watch_idle(s);
}

static int service_on_idle(sd_event_source *source, uint64_t usec, void *userdata) {
        Service *s = userdata;
        bool quiet = s->n_calls == s->front->n_calls_seen;

        s->idle = sd_event_source_disable_unref(s->idle);
        s->n_calls = s->front->n_calls_seen;
        if (s->registry->containers)
                return 0; /* the last one's end begins it anew: containers are not to cost a wake-up */
        if (!quiet || !service_is_idle(s)) {
                service_watch_idle(s);
                return 0;
        }

        s->leaving = true;
        front_leave_bus(s->front, service_on_left, s);
        return 0;
}

static void service_watch_idle(Service *s) {
        int r;

        if (s->idle || s->leaving || s->stopping || s->idle_timeout_usec == USEC_INFINITY || s->registry->containers)
                return;

        s->n_calls = s->front->n_calls_seen;
        r = sd_event_add_time_relative(s->event, &s->idle, CLOCK_MONOTONIC, s->idle_timeout_usec, 0, service_on_idle,
                                       s);
        if (r < 0)
                log_warning_errno(r, "Failed to arrange for ending when there is nothing to do, staying: %m");
}

void service_set_idle_timeout(Service *s, uint64_t usec) {
        s->idle = sd_event_source_disable_unref(s->idle);
        s->idle_timeout_usec = usec;
        service_watch_idle(s);
}

void service_on_changed(Service *s) {
        service_tell_status(s);
        service_watch_idle(s);
}

/* ---- start ---- */

static int service_on_tell_again(sd_event_source *source, uint64_t usec, void *userdata) {
        service_on_reloaded(userdata);
        return 0;
}

/* Without this message the manager would take us for one that does not come up. */
void service_on_reloaded(Service *s) {
        if (service_tell(s, "READY=1\n") == -EAGAIN)
                (void) sd_event_add_time_relative(s->event, &s->status, CLOCK_MONOTONIC, TELL_AGAIN_USEC, 0,
                                                  service_on_tell_again, s);
}

void service_on_ready(Service *s) {
        int r;

        service_on_reloaded(s);

        r = sd_event_set_watchdog(s->event, true);
        if (r < 0)
                log_warning_errno(r, "Failed to answer the service manager's watchdog, which will restart us: %m");
}
