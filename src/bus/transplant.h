/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Making an sd_bus out of a connection that stands already.
 *
 * sd-bus can only begin a connection. So it is let begin one, on a socket pair whose other end we hold, with us in
 * the part of the other side: authentication, and on a message bus Hello, which gets the name that the connection has
 * had all the time. Then the real socket takes the place of the pair. Nothing of this is ever sent to anybody, and
 * nothing remains of it afterwards. */

#include "util/macro.h"

#include <systemd/sd-bus.h>
#include <systemd/sd-id128.h>

typedef struct Transplant {
        bool is_peer;            /* we are the server; otherwise a client of a message bus */
        bool can_pass_fds;       /* was agreed upon */
        uint32_t serial;         /* of the last message that was sent */
        sd_id128_t id;           /* of the server */
        const char *unique_name; /* on a message bus */
} Transplant;

/* Makes a running bus, on one end of a pair; ret_far gets the other one, which takes what is sent meanwhile. It goes
 * on with the serial numbers where the connection was. -EPROTO if sd-bus does not behave as expected; -errno. */
int transplant_begin(const Transplant *t, sd_bus **ret, int *ret_far);

/* Answers, in place of the message bus and with nothing, the call that was sent last. */
int transplant_answer(sd_bus *bus, int far);

/* Puts the real socket in: from now on the bus speaks with its old partner. 'fd' is closed on success. -errno. */
int transplant_end(sd_bus *bus, int fd);
