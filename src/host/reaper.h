/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The one place that waits for children.
 *
 * monoshimd is a child subreaper: every container's init, every exec'd process and every orphan becomes its child.
 * One SIGCHLD source reaps them all, with waitid(P_ALL, WNOHANG) until nothing is left; nobody else may wait for a
 * child. With hundreds of children it first reaps the one that the signal names, and looks for others a few milliseconds
 * later: see MANY_CHILDREN in reaper.c.
 *
 * A pid can be reaped before anyone knows whose it is: its pid file has not been read yet. While somebody holds the
 * reaper, exits of unknown pids are therefore kept, and can be claimed. */

#include "util/macro.h"

#include <sys/types.h>
#include <systemd/sd-event.h>

typedef struct Reaper Reaper;

/* Called once, with the status as wait(2) gives it and the time of reaping (CLOCK_REALTIME). The watch is gone by
 * then. The callback may watch, unwatch and spawn. */
typedef void (*ReaperExited)(void *userdata, pid_t pid, int wait_status, uint64_t when_usec);

/* Makes this process a subreaper and blocks and watches SIGCHLD at 'priority'. The event loop must be run by the
 * caller. Children that have exited before are reaped when the loop runs, not here, so that they can be watched
 * first. */
int reaper_new(Reaper **ret, sd_event *event, int64_t priority);
Reaper *reaper_free(Reaper *reaper); /* not from within a callback */
DEFINE_CLEANUP(Reaper *, reaper_free);

/* Did this process have children already when the reaper was made, from before an execve()? */
bool reaper_had_children(const Reaper *reaper);

/* Watches a child that has not been reaped yet. -EEXIST if the pid is watched already. */
int reaper_watch(Reaper *reaper, pid_t pid, ReaperExited exited, void *userdata);
/* The same for a 'userdata' that comes from malloc(), and that nobody else would free if the reaper, or the watch,
 * went before the child does: exited() gets it to free, else it is freed with the watch. On failure it stays the
 * caller's. */
int reaper_watch_owned(Reaper *reaper, pid_t pid, ReaperExited exited, void *userdata);
/* Forgets it; the child is still reaped when it exits. Unknown pids are fine. */
void reaper_unwatch(Reaper *reaper, pid_t pid);

/* From the first hold to the last release, exits of unknown pids are kept, the newest ones up to a limit. Holds count. */
void reaper_hold(Reaper *reaper);
void reaper_release(Reaper *reaper);

void reaper_set_max_kept(Reaper *reaper, unsigned max);

/* Takes the kept exit of 'pid', if there is one that was reaped at 'since_usec' (CLOCK_MONOTONIC: the wall clock may be
 * set back meanwhile) or later; the latest, if the pid was used twice. Returns 1 and fills both, 'ret_when_usec' in
 * CLOCK_REALTIME; or 0. */
int reaper_claim(Reaper *reaper, pid_t pid, uint64_t since_usec, int *ret_wait_status, uint64_t *ret_when_usec);

/* For tests and the status line. */
unsigned reaper_n_watched(const Reaper *reaper);
unsigned reaper_n_kept(const Reaper *reaper);

/* What a shell would say: the exit code, or 128 + the signal. */
uint32_t exit_status_from_wait(int wait_status);
