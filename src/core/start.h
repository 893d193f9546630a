/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* From a runtime that has succeeded to a process that is known and watched. */

#include "core/failure.h"
#include "core/process.h"

/* What the pid file says; the number is not looked into. 'failure' may be NULL. */
int process_read_pid_file(const Process *p, const char *verb, pid_t *ret_pid, Failure *failure);

/* Finds the process that the runtime has made, by its pid file, alive or just dead, and watches it. The runtime is
 * believed only so far: it must be a child of ours, or one that was reaped after 'since_usec', when the runtime was
 * started (CLOCK_MONOTONIC). 'verb' is for the failure: "create". */
int process_take(Process *p, const char *verb, uint64_t since_usec, Failure *failure);

/* Removes the pid file and the temporary one that a runtime which was killed may have left: it would refuse to make
 * them then. */
int process_forget_pid_file(const Process *p);

/* A runtime that has failed may have made a process before: SIGKILL for that. */
void process_kill_stray(const Process *p);
