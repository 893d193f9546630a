/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Who may call.
 *
 * root (and whom monoshimd runs as) may do everything. On a message bus everybody else is asked of polkit, for the
 * action that the method stands for (bus/auth-call.h); there the broker says who a sender is, and is asked once for
 * each. On our own socket the peer is known by SO_PEERCRED. Only root may call there what changes anything; others
 * may read if polkit says so of the process that has connected, provided that there is a message bus to ask it on.
 *
 * All this goes before the look-up of objects: who is not let in cannot learn what there is.
 *
 * Order. The calls of root are let in as they came. So are those of another sender that need the same action, and
 * polkit is asked about one of them at a time: with auth_admin_keep that is one password for all. Calls that need
 * different actions, or none, do not wait for each other, and no sender waits for another one's answer, be it that it
 * never comes. What waits is bounded, for each user and in sum.
 *
 * Nothing is cached: each call is a question of its own, and what polkit remembers is polkit's. What is known of a
 * sender (its uid) is forgotten when it leaves the bus; a question that it leaves behind is taken back. */

#include "bus/connection.h"

/* Puts itself before all our objects on the connection's bus. */
int auth_attach(Connection *c);

/* We are about to end: answers all calls that wait with Unavailable. */
void auth_abandon(Connection *c);

/* Forgets all senders and the calls that wait for them. If it is the message bus, peers that wait for an answer from
 * there are refused. */
void auth_detach(Connection *c);

/* Is this a call of a peer that has been let in and comes by for the second time? No other filter may answer it then. */
bool auth_has_let_in(const Connection *c, sd_bus_message *m);

/* The client that sent the message, which must have passed. */
Client *auth_get_client(Connection *c, sd_bus_message *m);

/* To be called at once when a peer has connected by 'fd': makes sure who the process is that SO_PEERCRED names 'pid',
 * as long as it can be. Without that nothing but what is free for all is let in, unless it is root's. */
void auth_identify_peer(Connection *c, int fd, pid_t pid);

bool auth_uid_is_allowed(uid_t uid);

/* Nobody has been asked anything and no call waits: the connection can be left between two messages. The questions of
 * peers are asked over the message bus, which is not quiet then either. */
bool auth_is_quiet(const Connection *c);

/* Over a re-execution: who is who on a message bus, as members of an object; and the way back, while the connection
 * is being made. *ret_has_asked: the watch for those who leave is there, but its call to the bus, which knows of it
 * already, must not get there. */
void auth_write_handoff(Connection *c, JsonWriter *w);
int auth_take_handoff(Connection *c, Json tree, bool *ret_has_asked);
