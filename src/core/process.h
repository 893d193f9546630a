/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One process of a container: its init (and later the exec'd ones). Holds what is known of it, and who waits for it.
 */

#include "core/lifecycle.h"
#include "core/services.h"
#include "host/pid.h"
#include "host/stream.h"

#include <uthash.h>

#define PROCESS_WAITERS_MAX 16384

/* Told once that the process has exited, or that its object is gone (then with what is known, 0 and 0 for one that
 * never ran). Must not destroy the process. */
typedef void (*WaiterDone)(void *userdata, uint32_t exit_status, uint64_t exited_at);

typedef struct Waiter {
        WaiterDone done;
        void *userdata;
        Process *process;
        struct Waiter *prev, *next; /* process::waiters */
} Waiter;

struct Process {
        Container *container;
        const char *id; /* the container's */
        pid_t pid;
        uint64_t start_time; /* clock ticks since boot: tells a recycled pid */
        PidWatch *watch;     /* when we are not its parent; otherwise the reaper watches it */
        ProcessState state;

        uint64_t started_at;
        uint64_t exited_at;
        uint32_t exit_status;
        bool exited;  /* seen to exit; published once 'state' is PROCESS_STOPPED */
        bool watched; /* by 'watch' or the reaper */
        bool indexed; /* in registry::processes */
        bool terminal;
        bool stdin_closed; /* CloseIO was called */

        Stream streams[3];
        StreamDrain *drain;

        Waiter *waiters;
        unsigned n_waiters;

        UT_hash_handle by_pid; /* registry::processes */
};

void process_init(Process *p, Container *c, const char *id);
void process_done(Process *p);

/* When to say it was started that is known to run, or to have run, since now: not later than it ended.
 * CLOCK_REALTIME. */
uint64_t process_get_start(const Process *p);

/* What the Status property says. */
const char *process_get_status(const Process *p);

/* Begins to watch for the exit of the process that has 'pid': as our child, or, if 'adopted', by a pidfd. Fills in
 * pid and start_time. 'exited' handlers run container_on_exited(). -ESRCH when it is gone. */
int process_watch(Process *p, pid_t pid, uint64_t start_time, bool adopted);
void process_unwatch(Process *p);

/* A new pidfd (CLOEXEC) of the living process; -ESRCH when it has exited or was never started. */
int process_open_pidfd(Process *p);

/* SIGKILL, if it is one that we watch and that cannot be mistaken for another. */
void process_kill(const Process *p);

/* Adds a waiter; the process must not have exited. The waiter belongs to the process until done() has been called.
 * -ENOBUFS at the limit. */
int process_add_waiter(Process *p, WaiterDone done, void *userdata, Waiter **ret);
/* Forgets it without a call. */
Waiter *waiter_free(Waiter *w);
void process_wake_waiters(Process *p);

/* Closes our hold on stdin. */
void process_close_stdin(Process *p);

/* Lets go of all streams at once: the process is being deleted. What nobody has read is lost. */
void process_release_streams(Process *p);

/* After the exit: lets the readers of the outputs get what is left, and then their end-of-file. */
void process_drain_streams(Process *p);
