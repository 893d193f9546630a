/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What we find open at the start: from the service manager (a socket to listen on, bags of descriptors), or from the
 * version of ourselves that has just executed us (connections, and the same bags). */

#include "host/fdstore.h"
#include "util/json.h"

#define HANDOFF_VARIABLE "MONOSHIMD_HANDOFF" /* the number of a descriptor, in which stands JSON */
#define INHERITANCE_VERSION 1

typedef struct Inheritance {
        int listen_fd; /* the service manager's socket, or negative */
        Json handoff;  /* or NULL */
        bool executed; /* by the version before us */
} Inheritance;

#define INHERITANCE_INIT ((Inheritance) { .listen_fd = -EBADF })

/* Takes it all, so that no child of ours gets it; bags go into 'store'. A handoff that cannot be read is logged, and
 * done without. -errno, logged, when the service manager's descriptors cannot be had. */
int inherit(Inheritance *ret, FdStore *store);

/* Once all that we know has been taken: closes what else the version before us has left open for us. At the other end
 * somebody would wait for ever; and of a socket that is listened to, but by nobody, no new one could take the place. */
void inheritance_close_rest(const Inheritance *i);
void inheritance_done(Inheritance *i); /* closes what was not taken from it */
