/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Our own socket: D-Bus peer to peer, without a broker. */

#include "bus/front.h"

/* Listens on 'path' (mode 0600), where a socket that nobody answers on may be left over. -errno, logged. */
int peer_listen(Front *f, const char *path);
/* Likewise, on a socket that listens already. 'path' is what to unlink in the end; NULL for a socket that is
 * another's (systemd's), which outlives us. On success the descriptor is ours. -errno, logged. */
int peer_listen_fd(Front *f, int fd, const char *path);

void peer_unlisten(Front *f);

/* Takes over a connected socket, also on failure: a peer like those that have come by way of our own. -errno. */
int peer_new(Front *f, int fd);

/* Answers what a client says to the message bus that it believes to talk to (Hello, AddMatch, BecomeMonitor, ...). */
int peer_attach_driver(Connection *c);
