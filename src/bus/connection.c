/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One D-Bus connection with our objects on it. */

#include "bus/connection.h"
#include "bus/auth.h"
#include "bus/call.h"
#include "bus/front.h"
#include "bus/handoff.h"
#include "bus/listing.h"
#include "bus/objects.h"
#include "bus/path.h"
#include "bus/peer.h"
#include "util/log.h"

#include <assert.h>
#include <inttypes.h>
#include <sys/socket.h>
#include <utlist.h>

static int connection_on_disconnected(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        connection_drop(userdata);
        return 0;
}

static int connection_add_objects(Connection *c) {
        int r;

        if ((r = sd_bus_add_object_vtable(c->bus, NULL, BUS_PATH, MANAGER_INTERFACE, manager_vtable, c)) < 0 ||
            (r = sd_bus_add_fallback_vtable(c->bus, NULL, BUS_CONTAINER_PREFIX, CONTAINER_INTERFACE, container_vtable,
                                            container_object_find, c)) < 0 ||
            (r = sd_bus_add_fallback_vtable(c->bus, NULL, BUS_CONTAINER_PREFIX, PROCESS_INTERFACE, process_vtable,
                                            process_object_find, c)) < 0 ||
            (r = sd_bus_add_node_enumerator(c->bus, NULL, BUS_CONTAINER_PREFIX, container_node_enumerate, c)) < 0 ||
            (r = sd_bus_add_object_manager(c->bus, NULL, BUS_PATH)) < 0 ||
            (r = sd_bus_add_object(c->bus, NULL, BUS_PATH, listing_on_get_managed_objects, c)) < 0)
                return r;

        return sd_bus_match_signal(c->bus, NULL, NULL, "/org/freedesktop/DBus/Local", "org.freedesktop.DBus.Local",
                                   "Disconnected", connection_on_disconnected, c);
}

int connection_new_detached(Connection **ret, Front *front, sd_bus *bus, bool is_peer, uid_t uid) {
        _cleanup_(connection_freep) Connection *c = NULL;
        int r;

        c = malloc(sizeof(*c));
        if (!c) {
                (void) sd_bus_close_unref(bus);
                return -ENOMEM;
        }

        /* At the end of the loop sd-bus would wait for each client to read, and close before we have answered all. */
        (void) sd_bus_set_close_on_exit(bus, false);

        *c = (Connection) { .front = front, .bus = bus, .is_peer = is_peer, .uid = uid };
        DL_APPEND(front->connections, c);
        if (is_peer) {
                front->n_peers++;
                c->number = ++front->last_number;
                c->client.number = ++front->last_client;
        }

        r = auth_attach(c);
        if (r < 0)
                return r;
        if (is_peer) {
                /* Added last, asked first: everybody may say Hello. */
                r = peer_attach_driver(c);
                if (r < 0)
                        return r;
        }

        r = connection_add_objects(c);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(c);
        return 0;
}

int connection_attach(Connection *c) {
        return c->front->is_held ? 0 : sd_bus_attach_event(c->bus, c->front->event, PRIORITY_BUS);
}

int connection_new(Connection **ret, Front *front, sd_bus *bus, bool is_peer, uid_t uid) {
        _cleanup_(connection_freep) Connection *c = NULL;
        int r;

        r = connection_new_detached(&c, front, bus, is_peer, uid);
        if (r < 0)
                return r;
        r = connection_attach(c);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(c);
        return 0;
}

Connection *connection_free(Connection *c) {
        if (!c)
                return NULL;

        handoff_forget_replays(c);
        auth_detach(c);
        calls_abandon(c, NULL);
        assert(!c->calls);

        sd_event_source_disable_unref(c->silence);
        sd_event_source_disable_unref(c->connected);
        sd_event_source_disable_unref(c->gone);
        (void) sd_bus_detach_event(c->bus);
        (void) sd_bus_close_unref(c->bus);

        if (c->is_peer)
                front_trim_soon(c->front); /* what was kept for it */
        DL_DELETE(c->front->connections, c);
        if (c->is_peer)
                c->front->n_peers--;
        if (c->front->broker == c)
                c->front->broker = NULL;
        return mfree(c);
}

static int connection_on_gone(sd_event_source *source, void *userdata) {
        Connection *c = userdata;
        Front *front = c->front;
        bool was_broker = front->broker == c;

        (void) connection_free(c);
        if (was_broker)
                front_on_broker_gone(front);
        return 0;
}

void connection_drop(Connection *c) {
        int r;

        if (c->gone)
                return;

        r = sd_event_add_defer(c->front->event, &c->gone, connection_on_gone, c);
        if (r < 0)
                log_error_errno(r, "Failed to arrange for closing a connection, ignoring: %m");
}

bool connection_may_listen(const Connection *c) {
        if (c->gone)
                return false;

        return c->is_peer ? c->has_spoken && auth_uid_is_allowed(c->uid) : c->front->name_acquired;
}

void connection_on_sent(Connection *c, size_t size) {
        const Limits *limits = c->front->registry->services->limits;
        uint64_t n, bytes;

        if (!c->is_peer || c->gone || sd_bus_get_n_queued_write(c->bus, &n) < 0)
                return;

        if (n == 0) {
                c->n_sent = 0;
                c->sent_bytes = 0;
                return;
        }

        /* sd-bus tells how many messages wait, not how large they are: as large as what was sent lately, on average.
         */
        c->n_sent++;
        c->sent_bytes += size;
        bytes = c->sent_bytes / c->n_sent * n;
        if (n < limits->unread_messages && bytes < limits->unread_size)
                return;

        log_warning("Peer :1.%u does not read what it is told, %" PRIu64
                    " messages wait for it; closing its connection (MaxUnreadMessages=, MaxUnreadSize=).",
                    c->number, n);
        connection_drop(c);
}

/* Room for all that may wait for a peer (MaxUnreadSize=, MaxUnreadMessages=, at most) and what the kernel adds to
 * small messages. */
#define SOCKET_ROOM (64 * 1024 * 1024)
#define SOCKET_ROOM_USUAL (8 * 1024 * 1024) /* what sd-bus asks for */

void connection_widen(Connection *c) {
        int fd = sd_bus_get_fd(c->bus), room = SOCKET_ROOM;

        (void) setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room));
}

void connection_narrow(Connection *c) {
        int fd = sd_bus_get_fd(c->bus), room = 0;
        socklen_t size = sizeof(room);

        if (getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, &size) < 0 || room <= 2 * SOCKET_ROOM_USUAL)
                return;

        room = SOCKET_ROOM_USUAL;
        (void) setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
        (void) setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room));
}
