/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Events as monoshimd replays them: which to show, and how. */

#include "ctl/container-ref.h"

#include <systemd/sd-bus.h>

typedef struct EventFilter {
        const char *ns;                 /* NULL: of every namespace */
        const ContainerRefs *refs;      /* none: every container */
} EventFilter;

bool event_filter_matches(const EventFilter *filter, const char *ns, const char *id);

/* Reads one (tstssa{sv}) at the message's position (sequence, topic, time, namespace, container id, the rest by
 * name), and prints it to stdout if it is wanted: a line, or a JSON object. Returns 1 and the sequence, 0 at the
 * end of the array, negative errno (unreported). */
int event_print(sd_bus_message *m, const EventFilter *filter, OutputMode output, uint64_t *ret_sequence);
