/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Where a connection's stream stands: at the end of a message, or in the middle of one that has only half arrived.
 *
 * sd-bus does not tell, and nothing that could be tried on the connection would leave it as it was. So it is tried on
 * a copy: a short-lived copy of this process, in which every connection is plugged into a socket pair and is sent a
 * message that we know. Where that comes out as the next message, the stream stood between two; where it is
 * swallowed, it was taken for the rest of another. The copy ends, and nothing has happened to the original. */

#include "util/macro.h"

#include <systemd/sd-bus.h>

typedef struct BusProbe {
        sd_bus *bus;      /* with one descriptor for both directions; not attached to an event loop */
        bool at_boundary; /* nothing has been read of the next message */
        uint32_t serial;  /* of the last message that was sent */
} BusProbe;

/* Fills in all of them. There must be no other thread, and no call of ours unanswered. Takes about as long as a fork;
 * -ETIMEDOUT if absurdly long. -errno. */
int bus_probe(BusProbe *probes, size_t n);
