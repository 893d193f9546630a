/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One process of a container: its init, or one that was exec'd into it. Holds what is known of it, what is to be done
 * with it, and who waits for it.
 *
 * Operations of one process run one at a time, in the order of their arrival. Those of different processes run side
 * by side, also within a container, save where operation.h says otherwise: a hung exec must not keep anybody from
 * killing the container. */

#include "core/failure.h"
#include "core/lifecycle.h"
#include "core/services.h"
#include "host/pid.h"
#include "host/stream.h"

#include <uthash.h>

typedef struct Operation Operation;
typedef struct ProcessIo ProcessIo;

/* Told once that the process has exited, or that its object is gone (then with what is known, 0 and 0 for one that
 * never ran). Must not destroy the process. */
typedef void (*WaiterDone)(void *userdata, uint32_t exit_status, uint64_t exited_at);

typedef struct Waiter {
        WaiterDone done;
        void *userdata;
        Process *process;
        struct Waiter *prev, *next; /* process::waiters */
} Waiter;

#define PROCESS_N_STREAMS 3

struct Process {
        Container *container;
        char *id; /* the container's own string for the init */
        pid_t pid;
        ProcessState state;
        uint64_t start_time; /* clock ticks since boot: tells a recycled pid */
        PidWatch *watch;     /* when we are not its parent; otherwise the reaper watches it */

        uint64_t started_at;
        uint64_t exited_at;
        uint64_t exit_told_usec; /* CLOCK_MONOTONIC; 0: by an earlier monoshimd, or not yet */
        uint32_t exit_status;
        bool exited;     /* seen to exit; published once 'state' is PROCESS_STOPPED */
        bool exit_saved; /* and that is on disk */
        bool watched;    /* by 'watch' or the reaper */
        bool indexed;    /* in registry::processes */
        bool published;  /* exec'd: clients have been told of it */
        bool terminal;
        bool relay;        /* its streams are pipes, between which and the FIFOs we move the bytes */
        bool stdin_closed; /* CloseIO was called */
        bool unsaved;      /* its state could not be written; tried again by the registry */
        bool dispatching;

        uint16_t columns; /* of the terminal, as asked for last; 0: never */
        uint16_t rows;
        uid_t io_uid; /* owner of what it gets for its streams; (uid_t) -1: as they are */
        gid_t io_gid;
        unsigned stored; /* which of its descriptors are in the store, see process-store.c */
        int pidfd;       /* of before a restart, until it is known whether it still lives */
        Stream *streams; /* three; of all that have none the same, see process_allocate_streams() */
        StreamDrain *drain;
        ProcessIo *io; /* what moves bytes for it, if anything does */

        Operation *operation; /* the one that runs */
        Operation *queue;     /* those that wait */
        unsigned n_queued;
        unsigned n_waiters;
        Waiter *waiters;

        char *last_event; /* the record of its newest event, until the log has it */

        UT_hash_handle by_pid; /* registry::processes */
        UT_hash_handle by_id;  /* container::execs */
};

void process_init(Process *p, Container *c, char *id);
void process_done(Process *p);

/* Streams of its own, in which something may be opened. -ENOMEM. */
int process_allocate_streams(Process *p);

bool process_is_init(const Process *p);

/* What the lifecycle table says of this verb now. */
const LifecycleRule *process_rule(const Process *p, ProcessVerb verb);

/* When to say it was started that is known to run, or to have run, since now: not later than it ended.
 * CLOCK_REALTIME. */
uint64_t process_get_start(const Process *p);

/* What the Status property says: of an exec'd process what is said of its init while that is paused (containerd
 * pkg/process/exec.go, Status), save that one which has ended stays stopped. */
const char *process_get_status(const Process *p);

/* It has ended, and nobody knows how: as containerd says of what a dead shim had, status 137, now. */
void process_set_exit_unknown(Process *p);

/* Begins to watch for the exit of the process that has 'pid': as our child, or, if 'adopted', by a pidfd. Fills in
 * pid and start_time. 'exited' handlers run container_on_exited(). -ESRCH when it is gone. */
int process_watch(Process *p, pid_t pid, uint64_t start_time, bool adopted);
void process_unwatch(Process *p);

/* A new pidfd (CLOEXEC) of the living process; -ESRCH when it has exited or was never started. */
int process_open_pidfd(Process *p);

/* Sends a signal, if it is one that we watch and that cannot be mistaken for another: -ESRCH otherwise. */
int process_kill(const Process *p, int signal);

/* Adds a waiter; the process must not have exited. The waiter belongs to the process until done() has been called.
 * -errno with *failure set, FAILURE_RESOURCE_EXHAUSTED at the limit, which does not count for one that has waited
 * before and does so again. */
int process_add_waiter(Process *p, WaiterDone done, void *userdata, bool again, Waiter **ret, Failure *failure);
/* Forgets it without a call. */
Waiter *waiter_free(Waiter *w);
void process_wake_waiters(Process *p);
