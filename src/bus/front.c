/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The D-Bus front end. */

#include "bus/front.h"
#include "bus/auth.h"
#include "bus/call.h"
#include "bus/listing.h"
#include "bus/objects.h"
#include "bus/path.h"
#include "bus/peer.h"
#include "util/clock.h"
#include "util/log.h"

#include <assert.h>
#include <malloc.h>
#include <utlist.h>

#define RECONNECT_MIN_USEC USEC_PER_SEC
#define RECONNECT_MAX_USEC (30 * USEC_PER_SEC)
#define TRIM_USEC (200 * USEC_PER_MSEC)
#define FLUSH_USEC (200 * USEC_PER_MSEC)
#define FLUSH_STEP_USEC (5 * USEC_PER_MSEC)

void front_init(Front *f, Registry *registry, sd_event *event, FrontSettings *settings) {
        *f = (Front) {
                .registry = registry,
                .event = event,
                .settings = settings,
                .listen_fd = -EBADF,
                .reconnect_usec = RECONNECT_MIN_USEC,
        };
}

void front_done(Front *f) {
        peer_unlisten(f);
        listings_finish(f);
        f->hold = sd_event_source_disable_unref(f->hold);
        f->reconnect = sd_event_source_disable_unref(f->reconnect);
        while (f->connections)
                (void) connection_free(f->connections);
        f->trim = sd_event_source_disable_unref(f->trim);
        assert(f->n_peers == 0);
}

static int front_on_trim(sd_event_source *source, uint64_t usec, void *userdata) {
        Front *f = userdata;

        f->trim = sd_event_source_disable_unref(f->trim);
        (void) malloc_trim(0);
        return 0;
}

void front_trim_soon(Front *f) {
        if (!f->trim)
                (void) sd_event_add_time_relative(f->event, &f->trim, CLOCK_MONOTONIC, TRIM_USEC, 0, front_on_trim,
                                                  f);
}

/* ---- what the core tells ---- */

/* What is in an answer comes before what is told of it: so those that are on the way go out first of all. */

static void front_log_emit(int r, const char *what) {
        if (r < 0 && r != -ENOTCONN && r != -ECONNRESET && r != -EPIPE)
                log_warning_errno(r, "Failed to signal %s, ignoring: %m", what);
}

#define FRONT_FOREACH_LISTENER(c, f) \
        for (Connection *c = (f)->connections; c; c = c->next) \
                if (connection_may_listen(c))

/* About what a signal weighs besides the strings that clients chose. */
#define SIGNAL_SIZE 512U
#define INTERFACES_SIZE 2048U

static size_t container_size(const Container *c) {
        size_t size = INTERFACES_SIZE + strlen(c->bundle);

        for (char *const *l = c->labels; l && *l; l++)
                size += strlen(*l);
        return size;
}

static void front_on_container_added(void *userdata, Container *container) {
        _cleanup_(freep) char *path = NULL;
        Front *f = userdata;

        listings_finish(f);
        if (container_path_encode(container, &path) < 0)
                return;

        FRONT_FOREACH_LISTENER(c, f) {
                front_log_emit(sd_bus_emit_object_added(c->bus, path), "InterfacesAdded");
                connection_on_sent(c, container_size(container));
        }
}

static void front_on_container_removed(void *userdata, Container *container) {
        _cleanup_(freep) char *path = NULL;
        Front *f = userdata;

        listings_finish(f);
        if (container_path_encode(container, &path) < 0)
                return;

        FRONT_FOREACH_LISTENER(c, f) {
                front_log_emit(sd_bus_emit_object_removed(c->bus, path), "InterfacesRemoved");
                connection_on_sent(c, SIGNAL_SIZE);
        }
}

static void front_on_process_added(void *userdata, Process *p) {
        _cleanup_(freep) char *path = NULL;
        Front *f = userdata;

        listings_finish(f);
        if (process_path_encode(p, &path) < 0)
                return;

        FRONT_FOREACH_LISTENER(c, f) {
                front_log_emit(sd_bus_emit_object_added(c->bus, path), "InterfacesAdded");
                connection_on_sent(c, INTERFACES_SIZE);
        }
}

static void front_on_process_removed(void *userdata, Process *p) {
        _cleanup_(freep) char *path = NULL;
        Front *f = userdata;

        listings_finish(f);
        if (process_path_encode(p, &path) < 0)
                return;

        FRONT_FOREACH_LISTENER(c, f) {
                front_log_emit(sd_bus_emit_object_removed(c->bus, path), "InterfacesRemoved");
                connection_on_sent(c, SIGNAL_SIZE);
        }
}

static void front_on_process_changed(void *userdata, Process *p, unsigned changes) {
        Front *f = userdata;

        listings_finish(f);
        FRONT_FOREACH_LISTENER(c, f) {
                if (changes & PROCESS_CHANGED_OOM_KILLS)
                        front_log_emit(container_emit_oom_kills(c->bus, p->container), "PropertiesChanged");
                if (changes & ~(unsigned) PROCESS_CHANGED_OOM_KILLS)
                        front_log_emit(process_emit_changed(c->bus, p, changes), "PropertiesChanged");
                connection_on_sent(c, SIGNAL_SIZE);
        }
}

static void front_on_event(void *userdata, const Event *e) {
        Front *f = userdata;

        listings_finish(f);
        if (f->name_acquired)
                f->untold = e->sequence;

        FRONT_FOREACH_LISTENER(c, f) {
                front_log_emit(event_emit_signal(c->bus, e), event_topic_to_signal(e->topic));
                connection_on_sent(c, SIGNAL_SIZE + strlen(strempty(e->bundle)));
        }
}

Observer front_get_observer(Front *f) {
        return (Observer) {
                .container_added = front_on_container_added,
                .container_removed = front_on_container_removed,
                .process_added = front_on_process_added,
                .process_removed = front_on_process_removed,
                .process_changed = front_on_process_changed,
                .event = front_on_event,
                .userdata = f,
        };
}

/* ---- the message bus ---- */

static int front_tell_again(void *userdata, const Event *e) {
        Connection *c = userdata;

        front_log_emit(event_emit_signal(c->bus, e), event_topic_to_signal(e->topic));
        return 0;
}

void front_tell_since(Connection *c, uint64_t after) {
        int r;

        r = eventlog_read(c->front->registry->services->log, after, 0, front_tell_again, c);
        if (r < 0)
                log_warning_errno(r, "Failed to signal what happened before a connection stood, ignoring: %m");
}

/* What happened while we had no name on the bus (a restore tells of the dead before that) is told now. */
static void front_tell_untold(Front *f) {
        front_tell_since(f->broker, f->untold);
        f->untold = eventlog_last(f->registry->services->log);
}

static void front_set_ready(Front *f) {
        void (*ready)(void *) = f->ready;

        f->ready = NULL;
        if (ready)
                ready(f->userdata);
}

static int front_on_name_requested(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        const sd_bus_error *e = sd_bus_message_get_error(m);
        Front *f = userdata;
        uint32_t answer = 0;

        if (e && !f->ready) {
                /* Containers and peers do without the bus, once we have come that far. */
                log_warning("The bus does not give us the name %s: %s", BUS_NAME, e->message);
                connection_drop(f->broker); /* which tries again */
                return 0;
        }
        if (e)
                log_error("The bus refuses us the name %s: %s", BUS_NAME, e->message);
        else if (sd_bus_message_read(m, "u", &answer) < 0 || answer != 1)
                log_error("The name %s is taken on the bus: is another monoshimd running?", BUS_NAME);
        else {
                log_debug("The name %s is ours.", BUS_NAME);
                f->name_acquired = true;
                front_tell_untold(f);
                f->reconnect_usec = RECONNECT_MIN_USEC;
                front_set_ready(f);
                return 0;
        }

        return sd_event_exit(f->event, EXIT_FAILURE);
}

static int front_open_bus(const char *what, sd_bus **ret) {
        _cleanup_(sd_bus_unrefp) sd_bus *bus = NULL;
        int r;

        if (streq(what, "system"))
                return sd_bus_open_system_with_description(ret, "system");
        if (streq(what, "user"))
                return sd_bus_open_user_with_description(ret, "user");

        if ((r = sd_bus_new(&bus)) < 0 || (r = sd_bus_set_description(bus, "bus")) < 0 ||
            (r = sd_bus_set_address(bus, what)) < 0 || (r = sd_bus_set_bus_client(bus, true)) < 0 ||
            (r = sd_bus_negotiate_fds(bus, true)) < 0 || (r = sd_bus_start(bus)) < 0)
                return r;

        *ret = TAKE_PTR(bus);
        return 0;
}

static int front_connect(Front *f) {
        sd_bus *bus = NULL;
        int r;

        r = front_open_bus(f->settings->bus, &bus);
        if (r < 0)
                return r;

        r = connection_new(&f->broker, f, bus, false, 0);
        if (r < 0)
                return r;

        return sd_bus_request_name_async(bus, NULL, BUS_NAME, 0, front_on_name_requested, f);
}

static void front_on_left(Front *f) {
        void (*left)(void *) = f->left;

        f->left = NULL;
        if (left)
                left(f->left_userdata);
}

static int front_on_name_released(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        front_on_left(userdata);
        return 0;
}

void front_leave_bus(Front *f, void (*left)(void *userdata), void *userdata) {
        f->left = left;
        f->left_userdata = userdata;
        if (!f->broker || !f->name_acquired ||
            sd_bus_release_name_async(f->broker->bus, NULL, BUS_NAME, front_on_name_released, f) < 0)
                front_on_left(f);
}

void front_return_to_bus(Front *f) {
        int r;

        if (!f->broker)
                return; /* who is reconnecting asks for the name anyway */

        r = sd_bus_request_name_async(f->broker->bus, NULL, BUS_NAME, 0, front_on_name_requested, f);
        if (r < 0) {
                log_warning_errno(r, "Failed to ask for our name on the bus again, connecting anew: %m");
                connection_drop(f->broker);
        }
}

static int front_on_reconnect(sd_event_source *source, uint64_t usec, void *userdata) {
        Front *f = userdata;
        int r;

        f->reconnect = sd_event_source_disable_unref(f->reconnect);

        r = front_connect(f);
        if (r < 0) {
                log_debug("Connecting to the bus failed: %s", strerror(-r));
                if (f->broker)
                        connection_drop(f->broker); /* which tries again */
                else
                        front_on_broker_gone(f);
        }
        return 0;
}

void front_on_broker_gone(Front *f) {
        int r;

        f->name_acquired = false;
        front_on_left(f);

        if (f->ready) {
                log_error("The message bus has closed our connection before we had our name there.");
                (void) sd_event_exit(f->event, EXIT_FAILURE);
                return;
        }
        if (f->reconnect)
                return;

        log_warning("No connection to the message bus; containers and peers go on, trying again in %llu s.",
                    (unsigned long long) (f->reconnect_usec / USEC_PER_SEC));
        r = sd_event_add_time_relative(f->event, &f->reconnect, CLOCK_MONOTONIC, f->reconnect_usec, 0,
                                       front_on_reconnect, f);
        if (r < 0)
                log_error_errno(r, "Failed to arrange for a new connection to the message bus: %m");
        f->reconnect_usec = f->reconnect_usec * 2 > RECONNECT_MAX_USEC ? RECONNECT_MAX_USEC : f->reconnect_usec * 2;
}

/* ---- start and end ---- */

int front_start(Front *f) {
        bool has_bus = !streq(f->settings->bus, "none");
        int r;

        r = 0;
        if (f->listen_fd >= 0)
                log_debug("The socket that clients connect to was handed over.");
        else if (f->settings->listen_fd >= 0)
                r = peer_listen_fd(f, TAKE_FD(f->settings->listen_fd), NULL);
        else if (f->settings->listen_path)
                r = peer_listen(f, f->settings->listen_path);
        if (r < 0)
                return r;

        if (!has_bus || f->broker || f->reconnect) {
                front_set_ready(f);
                return 0;
        }

        r = front_connect(f);
        if (r < 0)
                return log_error_errno(
                        r, "Failed to connect to the %s bus (use --bus=none --listen=PATH to do without): %m",
                        f->settings->bus);

        return 0;
}

/* One connection's turn; true when it has nothing left to send. */
static bool connection_flush(Connection *c) {
        uint64_t n;

        if (sd_bus_process(c->bus, NULL) < 0)
                return true;
        if (sd_bus_get_n_queued_write(c->bus, &n) < 0 || n == 0)
                return true;

        (void) sd_bus_wait(c->bus, FLUSH_STEP_USEC);
        return false;
}

void front_flush(Front *f) {
        uint64_t deadline = clock_get_monotonic() + FLUSH_USEC;
        bool again = true;

        listings_finish(f);

        /* Waits, above all: operations have been answered already. */
        for (Connection *c = f->connections; c; c = c->next) {
                auth_abandon(c);
                while (c->calls)
                        (void) call_free(c->calls);
        }

        /* The loop has ended and nobody else is waiting for us; whoever does not read must not keep us, though. */
        while (again && clock_get_monotonic() < deadline) {
                again = false;
                FRONT_FOREACH_LISTENER(c, f)
                        again = !connection_flush(c) || again;
        }
}
