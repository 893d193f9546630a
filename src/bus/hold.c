/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Holding connections still, each between two messages.
 *
 * sd-bus reads one message and never into the next one, so whatever has not been read by the time that it is left
 * alone waits in the socket. It is left alone as soon as it can be; only one that is being authenticated, has half a
 * message, has something to write, or waits for an answer of the message bus gets turns. A turn may bring in a new
 * call: then that is carried out like any other. */

#include "bus/auth.h"
#include "bus/boundary.h"
#include "bus/call.h"
#include "bus/handoff.h"
#include "util/clock.h"
#include "util/log.h"

#include <fcntl.h>

#define HOLD_USEC (500 * USEC_PER_MSEC) /* for a client to send the rest, or to read */
#define HOLD_STEP_MIN_USEC USEC_PER_MSEC
#define HOLD_STEP_MAX_USEC (20 * USEC_PER_MSEC)
#define TURN_MAX 64 /* messages */

/* It is the client's turn: to say who it is, to send the rest of a message, or to read. */
static const char *connection_waits_for(const Connection *c) {
        uint64_t n;

        if (sd_bus_is_ready(c->bus) <= 0)
                return "does not authenticate itself";
        if (c->is_half_read)
                return "does not send the rest of a message";
        if (sd_bus_get_n_queued_write(c->bus, &n) >= 0 && n > 0)
                return "does not read what it is told";
        return NULL;
}

static bool connection_has_unread(const Connection *c) {
        uint64_t n;

        return sd_bus_get_n_queued_read(c->bus, &n) < 0 || n > 0;
}

static bool connection_needs_turn(const Connection *c) {
        return connection_waits_for(c) || connection_has_unread(c) || !auth_is_quiet(c);
}

static void connection_take_turn(Connection *c, uint64_t now) {
        const char *waits_for;

        for (unsigned i = 0; i < TURN_MAX && !c->gone && connection_needs_turn(c); i++) {
                uint64_t n;
                int r;

                if (sd_bus_get_n_queued_write(c->bus, &n) >= 0 && n > 0)
                        connection_widen(c);

                c->is_at_boundary = false;
                r = sd_bus_process(c->bus, NULL);
                if (r < 0 || sd_bus_is_open(c->bus) <= 0) {
                        connection_drop(c);
                        return;
                }
                if (r == 0)
                        break;
                c->is_half_read = false; /* as far as is known */
        }

        /* The message bus is not given up for being slow: who waits for us to be quiet may give up that. */
        waits_for = connection_waits_for(c);
        if (!waits_for || !c->is_peer)
                c->hold_deadline = 0;
        else if (c->hold_deadline == 0)
                c->hold_deadline = now + HOLD_USEC;
        else if (now >= c->hold_deadline && !c->gone) {
                log_warning("Peer :1.%u %s, and cannot be kept over the re-execution; closing its connection.",
                            c->number, waits_for);
                connection_drop(c);
        }
}

static bool connection_is_probed(const Connection *c, bool again) {
        return !c->gone && (again || !c->is_at_boundary);
}

int front_probe(Front *f, bool again) {
        _cleanup_(freep) BusProbe *probes = NULL;
        const BusProbe *next;
        size_t n = 0;
        int r;

        for (const Connection *c = f->connections; c; c = c->next)
                n += connection_is_probed(c, again);
        probes = calloc(n + 1, sizeof(*probes));
        if (!probes)
                return -ENOMEM;

        n = 0;
        for (const Connection *c = f->connections; c; c = c->next)
                if (connection_is_probed(c, again))
                        probes[n++].bus = c->bus;
        r = bus_probe(probes, n);
        if (r < 0)
                return r;

        next = probes;
        for (Connection *c = f->connections; c; c = c->next)
                if (connection_is_probed(c, again)) {
                        c->is_at_boundary = next->at_boundary;
                        c->is_half_read = !next->at_boundary;
                        c->serial = next->serial;
                        next++;
                }
        return 0;
}

static int front_on_hold(sd_event_source *source, uint64_t usec, void *userdata) {
        uint64_t now = clock_get_monotonic();
        bool busy = false, unknown = false;
        Front *f = userdata;
        int r;

        if (f->listen_source)
                (void) sd_event_source_set_enabled(f->listen_source, SD_EVENT_OFF);

        for (Connection *c = f->connections; c; c = c->next) {
                (void) sd_bus_detach_event(c->bus);
                connection_take_turn(c, now);
                busy = busy || c->gone || connection_needs_turn(c);
                unknown = unknown || !c->is_at_boundary;
        }

        /* As long as anything moves it would have to be asked again anyway. */
        if (!busy && unknown) {
                r = front_probe(f, false);
                if (r < 0)
                        log_warning_errno(r, "Failed to see whether messages are half read, trying again: %m");
        }

        f->hold_usec = busy ? HOLD_STEP_MIN_USEC : f->hold_usec * 2;
        if (f->hold_usec > HOLD_STEP_MAX_USEC)
                f->hold_usec = HOLD_STEP_MAX_USEC;
        (void) sd_event_source_set_time_relative(f->hold, f->hold_usec);
        (void) sd_event_source_set_enabled(f->hold, SD_EVENT_ONESHOT);
        return 0;
}

void front_hold(Front *f) {
        int r;

        if (f->is_held)
                return;

        r = sd_event_add_time_relative(f->event, &f->hold, CLOCK_MONOTONIC, 0, 1, front_on_hold, f);
        if (r < 0) {
                log_error_errno(r, "Failed to arrange for holding connections, they go on: %m");
                return;
        }

        (void) sd_event_source_set_description(f->hold, "hold");
        f->hold_usec = HOLD_STEP_MIN_USEC;
        f->is_held = true;
}

static bool connection_is_quiet(const Connection *c) {
        if (c->gone || !c->is_at_boundary || connection_needs_turn(c))
                return false;

        for (const Call *call = c->calls; call; call = call->next)
                if (!call->waiter)
                        return false;
        return true;
}

bool front_is_quiet(Front *f) {
        if (!f->is_held || (f->broker && !f->name_acquired))
                return false;

        for (const Connection *c = f->connections; c; c = c->next)
                if (!connection_is_quiet(c))
                        return false;
        return true;
}

void front_release(Front *f) {
        int r;

        if (!f->is_held)
                return;

        f->is_held = false;
        f->hold = sd_event_source_disable_unref(f->hold);

        for (Connection *c = f->connections; c; c = c->next) {
                c->is_at_boundary = c->is_half_read = false;
                c->hold_deadline = 0;
                connection_narrow(c);
                (void) fcntl(sd_bus_get_fd(c->bus), F_SETFD, FD_CLOEXEC);
                r = connection_attach(c);
                if (r < 0) {
                        log_error_errno(r, "Failed to go on with a connection, closing it: %m");
                        connection_drop(c);
                }
        }

        if (f->listen_fd >= 0)
                (void) fcntl(f->listen_fd, F_SETFD, FD_CLOEXEC);
        if (f->listen_source && !f->listen_pause)
                (void) sd_event_source_set_enabled(f->listen_source, SD_EVENT_ON);
}
