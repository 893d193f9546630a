/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The D-Bus front end: all connections, and the road by which the core's news reaches them. */

#include "bus/connection.h"
#include "core/registry.h"

typedef struct FrontSettings {
        const char *bus;         /* "system", "user", "none", or a D-Bus address */
        const char *listen_path; /* of our own socket, or NULL */
        int listen_fd; /* one that listens already, which counts instead; front_start() takes it; negative for none */
} FrontSettings;

struct Front {
        Registry *registry;
        sd_event *event;
        FrontSettings *settings;

        Connection *connections;
        struct Listing *listings; /* answers that take several turns, see bus/listing.h */
        unsigned n_peers;
        unsigned last_number;
        uint64_t last_client;

        Connection *broker; /* the message bus, also in 'connections' */
        bool name_acquired;
        uint64_t untold; /* events after this one were not signalled on the message bus */
        sd_event_source *reconnect;
        uint64_t reconnect_usec;

        sd_event_source *trim; /* gives back the memory of those who have gone */

        int listen_fd;
        sd_event_source *listen_source;
        sd_event_source *listen_pause; /* until descriptors may have come free */
        char *listen_path;             /* to be unlinked at the end; NULL if that is not for us to do */

        bool is_held;          /* no new calls are read, see bus/handoff.h */
        sd_event_source *hold; /* looks after the connections meanwhile */
        uint64_t hold_usec;    /* in how long again */

        uint64_t n_calls_seen; /* of all clients, so that somebody can tell whether there were any */
        void (*left)(void *userdata);
        void *left_userdata;

        int (*reload)(void *userdata, Failure *failure); /* Manager.Reload */
        void (*ready)(void *userdata);                   /* the name is ours and the socket listens; called once */
        void *userdata;
};

void front_init(Front *f, Registry *registry, sd_event *event, FrontSettings *settings);
void front_done(Front *f);

/* What the core tells goes here. Usable before front_start(). */
Observer front_get_observer(Front *f);

/* Connects and listens, if that is not so already. ready() is called from the loop, or at once without a message bus.
 * -errno, logged. */
int front_start(Front *f);

/* Somebody has gone for whom much may have been kept: gives memory back, soon, and once for many of them. */
void front_trim_soon(Front *f);
/* Gives our name on the message bus up, if we have it. left() is called once all that was sent to the name before has
 * been read; front_return_to_bus() takes it back. */
void front_leave_bus(Front *f, void (*left)(void *userdata), void *userdata);
void front_return_to_bus(Front *f);

/* Signals on one connection what happened after event 'after'. */
void front_tell_since(Connection *c, uint64_t after);

/* The message bus has closed its connection: tries again, for ever. */
void front_on_broker_gone(Front *f);

/* Gives replies that are under way a moment to get out; no new requests are read. */
void front_flush(Front *f);
