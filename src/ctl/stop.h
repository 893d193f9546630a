/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Ending containers: each is asked with a signal, given a while, and killed; all of them side by side. */

#include "ctl/client.h"
#include "ctl/container-ref.h"
#include "util/json.h"

typedef struct StopOptions {
        int signal;            /* 0: the one that each container asks for */
        uint64_t timeout_usec; /* from when it has been asked; USEC_INFINITY: it is never killed */
        bool gone_is_fine;     /* a container that is not there (any more) is no failure */
} StopOptions;

/* Returns 0 when all of them have ended, else negative, and all that went wrong has been reported. Goes on through
 * restarts of monoshimd, and with the other containers when one fails. */
int stop_containers(Client *c, const ContainerRefs *refs, const StopOptions *o);

/* What a container wants to be asked with: what is in 'labels' (an array of names and values in turn, ending in NULL,
 * or NULL), else in the annotations of its config.json ('config', or NULL), else SIGTERM. One that is no signal
 * counts as SIGTERM, and *ret_bad (it belongs to labels or config) says what it was; it is NULL otherwise. */
int stop_signal_of(char *const *labels, Json config, const char **ret_bad);
