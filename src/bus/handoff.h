/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* D-Bus connections over a re-execution: no client notices that monoshimd has become another program.
 *
 * First the connections are *held*. No new call is read, these wait in the sockets; what is under way goes on, is
 * answered and signalled. Once the front is *quiet*, nothing of any connection is in our memory but calls that may
 * wait for ever (Wait): so each can be described in a few words, and its socket be inherited. The new program makes
 * buses out of them again (bus/transplant.h), under the old names, and lets the Waits come in once more. */

#include "bus/front.h"
#include "util/json.h"

#define HANDOFF_VERSION 1

/* Begins to hold; from the loop, soon. May be called from a method. A client that has sent half a message has to send
 * the rest within a moment, and one that does not read must take what it is sent; those that do not are closed. */
void front_hold(Front *f);

/* Can it be handed over? No call is under way but Waits, nothing is half read, nobody has been asked anything, and
 * nothing waits to be written. It can change any time while the loop goes on. */
bool front_is_quiet(Front *f);

/* Finds out where those stand of whom it is not known, or, 'again', all of them: Connection::is_at_boundary,
 * is_half_read and serial. */
int front_probe(Front *f, bool again);

/* Goes on as before: it was not to be, or the execution has failed. */
void front_release(Front *f);

/* Writes an object that describes the connections and the listening socket, and lets their descriptors be inherited.
 * The front must be quiet. -EAGAIN if it is not (any more); -errno. */
int front_write_handoff(Front *f, JsonWriter *w);

/* In the new program, after the containers are back and before front_start(), which then opens only what has not been
 * taken over: makes connections out of what the other wrote, and signals to each what has happened since.
 * Front::untold must be the last event that the log had before anything was restored, Front::ready not be set yet. A
 * connection of which it cannot be done is closed, with a warning. -errno if nothing at all could be taken over. */
int front_take_handoff(Front *f, Json tree);

/* Is this a call that was let in before the re-execution already? Says so once for each. */
bool handoff_is_replay(Connection *c, sd_bus_message *m);
void handoff_forget_replays(Connection *c);
