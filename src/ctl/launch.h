/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A container from its creation on: what run and restore have in common. */

#include "ctl/create.h"
#include "ctl/detach-keys.h"

typedef struct Launch {
        CreateOptions create;
        bool detach;
        bool remove; /* said explicitly */
        bool interactive;
        DetachKeys keys;
} Launch;

/* Whether a process made with these options has a terminal that nobody but us takes. */
bool launch_takes_terminal(const CreateOptions *o);

/* Creates the container and starts it. With 'detach' prints it and returns 0; else waits for its end, deletes it, and
 * returns its exit status. VERB_FAILED, reported. */
int launch_run(Launch *l, Client *c, const ContainerRef *ref);
