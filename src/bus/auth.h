/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Who may call. For now that is root (and whom monoshimd runs as), for reading as well; everybody else gets
 * AccessDenied.
 *
 * A peer on our own socket is known by SO_PEERCRED. On a message bus the broker is asked, asynchronously, once for
 * each sender; its calls wait until the answer is there, and keep their order. What is known of a sender is forgotten
 * when it leaves the bus. */

#include "bus/connection.h"

/* Puts itself before all our objects on the connection's bus. */
int auth_attach(Connection *c);
/* Forgets all senders and the calls that wait for them. */
void auth_detach(Connection *c);

/* Counts the calls under way of the client that sent the message. The message must have passed. */
unsigned *auth_get_counter(Connection *c, sd_bus_message *m);

bool auth_uid_is_allowed(uid_t uid);

/* Nobody has been asked anything and no call waits: the connection can be left between two messages. */
bool auth_is_quiet(const Connection *c);

/* Over a re-execution: who is who on a message bus, as members of an object; and the way back, while the connection
 * is being made. *ret_has_asked: the watch for those who leave is there, but its call to the bus, which knows of it
 * already, must not get there. */
void auth_write_handoff(Connection *c, JsonWriter *w);
int auth_take_handoff(Connection *c, Json tree, bool *ret_has_asked);
