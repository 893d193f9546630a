/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What can be done to the init process of a container. Each reports its failure, and returns a negative errno. */

#include "ctl/client.h"
#include "ctl/container-ref.h"

int process_start(Client *c, const ContainerRef *ref);

/* With 'gone_is_fine' a process that is not there (any more) is no failure; it returns 0 then, and 1 when it got
 * the signal. */
int process_kill(Client *c, const ContainerRef *ref, int signal, bool all, bool gone_is_fine);

/* The container with it. -ENOENT, not reported, if there is none and 'gone_is_fine'. */
int process_delete(Client *c, const ContainerRef *ref, bool gone_is_fine);

/* Lets a paused container go on, so that it can act on a signal. Failing is no reason to stop, and not reported. */
void process_resume_if_paused(Client *c, const ContainerRef *ref);
