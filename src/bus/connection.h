/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One D-Bus connection with our objects on it: the message bus, or a peer on our own socket. */

#include "core/registry.h"

#include <systemd/sd-bus.h>

#define BUS_NAME "org.monoshim1"
#define BUS_PATH "/org/monoshim1"
#define BUS_CONTAINER_PREFIX "/org/monoshim1/container"
#define MANAGER_INTERFACE "org.monoshim1.Manager"
#define CONTAINER_INTERFACE "org.monoshim1.Container"
#define PROCESS_INTERFACE "org.monoshim1.Process"

typedef struct Call Call;
typedef struct Connection Connection;
typedef struct Front Front;
typedef struct Sender Sender;

/* What a client has under way: a peer, or a unique name on a message bus. */
typedef struct Client {
        uint64_t number;       /* no other client has or had it */
        unsigned n_calls;      /* that are not answered yet */
        unsigned n_operations; /* of them, those that are no mere waits */
} Client;

struct Connection {
        Front *front;
        sd_bus *bus;
        bool is_peer;
        uid_t uid;                  /* of a peer, by SO_PEERCRED */
        pid_t pid;                  /* of a peer that is not root, as far as it is certain, else 0 ... */
        uint64_t start_time;        /* ... and when it has started, in clock ticks since boot */
        unsigned number;            /* of a peer: its name is ":1.NUMBER" */
        Call *calls;                /* kept messages, to be answered later */
        unsigned n_sent;            /* signals since its queue was empty last ... */
        uint64_t sent_bytes;        /* ... and their size */
        Client client;              /* of a peer */
        sd_bus_slot *senders_watch; /* on a message bus: who leaves it */
        Sender *senders;            /* on a message bus: who is who; of a peer that is not root: itself */
        bool has_spoken;            /* of a peer: it may be told what happens */
        sd_event_source *connected; /* of a peer: its first message is looked for */
        sd_event_source *silence;   /* of a peer: until it is believed to listen only */
        sd_event_source *gone;      /* set once it is to be freed */
        bool is_at_boundary;        /* held: known to stand between two messages */
        bool is_half_read;          /* held: known to stand in the middle of one */
        uint32_t serial;            /* held: of the last message that was sent, when it was looked where it stands */
        uint64_t hold_deadline;     /* held: until when it must be ready, of CLOCK_MONOTONIC */
        struct Replay *replays;     /* calls from before a re-execution that are to come in again */
        bool is_replaying;          /* the call that is dispatched now is one of them */
        Connection *prev, *next;    /* front::connections */
};

/* Takes the bus over, puts our objects on it and attaches it to the loop. The bus must not have been attached yet. */
int connection_new(Connection **ret, Front *front, sd_bus *bus, bool is_peer, uid_t uid);
/* Without attaching it. */
int connection_new_detached(Connection **ret, Front *front, sd_bus *bus, bool is_peer, uid_t uid);
Connection *connection_free(Connection *c);
DEFINE_CLEANUP(Connection *, connection_free);

/* Attaches it to the loop, unless connections are held: then nothing is read from it. */
int connection_attach(Connection *c);

/* Frees it from the loop, soon: what runs on it now may end first. */
void connection_drop(Connection *c);

/* May it be told what happens? A peer that is not root may not; and none before its Hello has been answered, since
 * clients take nothing else for the answer. */
bool connection_may_listen(const Connection *c);

/* Lets the kernel take all that waits for a client which does not read just now; and no more than usual again, once
 * that has read. What the kernel has taken outlives us. */
void connection_widen(Connection *c);
void connection_narrow(Connection *c);

/* To be called after each message that was sent, with its size, about: looks whether the client still reads. */
void connection_on_sent(Connection *c, size_t size);
