/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Who a pid number is: what /proc says of it, and watching a process that is not our child. */

#include "util/macro.h"

#include <sys/types.h>
#include <systemd/sd-event.h>

typedef struct PidStat {
        pid_t parent;
        char state;          /* as in proc(5): 'R', 'S', 'Z', ... */
        bool exiting;        /* it runs none of its program any more: it is about to become a zombie, or is one */
        uint64_t start_time; /* clock ticks since boot */
        int exit_code;       /* a wait status; only of a zombie, and only when we may know it, else 0 */
} PidStat;

/* /proc/PID/stat; the command name in it may hold anything. -ESRCH when there is no such process. */
int pid_read_stat(pid_t pid, PidStat *ret);

/* A pidfd (CLOEXEC) of exactly the process that started at 'start_time': checked after the pidfd is open, so that a
 * recycled number is never taken for it. 'start_time' 0 checks nothing. -ESRCH. */
int pid_open(pid_t pid, uint64_t start_time);

/* The process's cgroup, relative to the hierarchy's root, e.g. "/system.slice/x.scope": the unified one if the
 * process is in another one there than ourselves, else that of the first v1 hierarchy in which it is (name=systemd,
 * memory, pids, cpu, then the others). The caller frees *ret. "" when it shares all of them with us. -ESRCH. */
int pid_read_cgroup(pid_t pid, char **ret);

/* Whoever watches processes of which we may not be the parent, by their pidfds, all of them by one event source. */
typedef struct PidWatcher PidWatcher;
typedef struct PidWatch PidWatch;

int pid_watcher_new(PidWatcher **ret, sd_event *event, int64_t priority);
PidWatcher *pid_watcher_free(PidWatcher *watcher); /* every watch must have been freed */
DEFINE_CLEANUP(PidWatcher *, pid_watcher_free);

/* Called once. 'wait_status' is as in wait(2), or -1 when neither PIDFD_GET_INFO (Linux 6.15) nor the zombie's own
 * /proc/PID/stat could tell it. 'when_usec' is CLOCK_REALTIME. May free the watch. */
typedef void (*PidWatchExited)(void *userdata, int wait_status, uint64_t when_usec);

/* -ESRCH if the process is gone, or the number is another's. Never sd_event_add_child(), which ends the loop with
 * ECHILD for a non-child. */
int pid_watch_new(PidWatch **ret, PidWatcher *watcher, pid_t pid, uint64_t start_time, PidWatchExited exited,
                  void *userdata);
PidWatch *pid_watch_free(PidWatch *watch);
DEFINE_CLEANUP(PidWatch *, pid_watch_free);
int pid_watch_get_fd(const PidWatch *watch); /* stays the watch's */

/* The exit status of a process that has been reaped, from a pidfd of it. -ENODATA when the kernel cannot say. */
int pidfd_read_exit(int pidfd, int *ret_wait_status);
