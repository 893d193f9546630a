/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What is asked of a process or its container: one verb, queued, carried out by at most one runtime job at a time,
 * answered once.
 *
 * Each process has a queue of its own, as each has a lock of its own in containerd (pkg/process/init.go, exec.go).
 * What concerns the whole container is queued at its init. Between the two there is one rule: while the init is
 * paused, checkpointed, deleted or exits, no exec is started, and those of the first three kinds wait for the starts
 * that are under way; a process that was just being started in a frozen cgroup would hang there. */

#include "core/container.h"
#include "core/failure.h"
#include "host/job.h"

typedef enum OperationKind {
        OPERATION_CREATE, /* begun by create.c, never queued */
        OPERATION_START,
        OPERATION_KILL,
        OPERATION_DELETE,
        OPERATION_PAUSE,
        OPERATION_RESUME,
        OPERATION_UPDATE,
        OPERATION_CHECKPOINT,
        OPERATION_LIST_PIDS, /* asks the runtime, where the kernel cannot be asked */
        OPERATION_EXIT,      /* our own: the init has exited; kill the rest if need be, then publish */
        OPERATION_PROBE,     /* our own, after a restart: was it started while nobody looked? */
        OPERATION_CLEANUP,   /* our own, after a restart: it is dead, take it away */
        _OPERATION_KIND_MAX,
} OperationKind;

typedef struct CheckpointRequest {
        char *image_path;
        char *work_path;   /* or NULL: one of our own, below the work directory */
        char *parent_path; /* or NULL */
        bool exit;
        bool open_tcp;
        bool external_unix_sockets;
        bool terminal;
        bool file_locks;
        char **empty_namespaces;
} CheckpointRequest;

CheckpointRequest *checkpoint_request_free(CheckpointRequest *q);
DEFINE_CLEANUP(CheckpointRequest *, checkpoint_request_free);

/* What a verb needs besides its name. */
typedef struct OperationParameters {
        unsigned signal; /* of a kill */
        bool all;
        char *resources;               /* of an update: the text; taken over */
        CheckpointRequest *checkpoint; /* taken over */
} OperationParameters;

void operation_parameters_done(OperationParameters *q); /* frees what it owns; NULL is fine */

/* Called exactly once. 'failure' is set or not; the process is there during the call, and after it only if it was not
 * deleted. */
typedef void (*OperationDone)(void *userdata, Process *p, const Failure *failure);

typedef void (*OperationThen)(Operation *op, const JobResult *result);

struct Operation {
        Process *process;
        OperationKind kind;
        OperationParameters q;
        bool killed;   /* a create whose runtime did not get as far as to clean up after itself */
        bool restored; /* a create of a former monoshimd: nothing it started is our child */
        bool runtime_was_run;
        OperationDone done;
        void *userdata;

        Job *job;
        OperationThen then;    /* goes on when the job is over */
        uint64_t timeout_usec; /* of the job */
        MountsJob *mounts;
        void (*resume)(Operation *op); /* it waits for something in the container to happen: called after each change,
                                        * to see whether it has */
        void (*after)(Operation *op);  /* the step behind that wait */
        sd_event_source *timer;
        Failure failure; /* the first thing that went wrong, while the operation still tidies up */
        pid_t *pids;     /* what OPERATION_LIST_PIDS found, while done() is called */
        size_t n_pids;
        char **cgroups;        /* create: what a killed runtime left, to be removed */
        uint64_t give_up_usec; /* ... and until when, CLOCK_MONOTONIC */

        Operation *prev, *next; /* process::queue */
};

/* Queues a verb; refusals and results come by done(), possibly before this returns. done may be NULL. 'q' may be
 * NULL; what it owns is taken over in any case. The process may be gone afterwards. */
void operation_submit(Process *p, OperationKind kind, OperationParameters *q, OperationDone done, void *userdata);

/* One that is not queued but runs from the start: create and cleanup. NULL without memory. */
Operation *operation_begin(Process *p, OperationKind kind, OperationDone done, void *userdata);

/* The running operation is over: answers it, then lets the next ones run. With a failure in op->failure it has
 * failed. The process and the container may be gone afterwards. */
void operation_finish(Operation *op);

/* Starts a runtime job for the operation; 'then' gets the operation and the result, or -errno is returned. Takes argv
 * over. */
int operation_run(Operation *op, char **argv, const int stdio[3], bool capture, uint64_t timeout_usec,
                  OperationThen then);

/* The same for a command line made by 'make_argv', with captured output. */
typedef int (*OperationArgv)(const Operation *op, const Runtime *runtime, char ***ret);
int operation_run_captured(Operation *op, OperationArgv make_argv, uint64_t timeout_usec, OperationThen then);

/* What a client waits for, with the usual deadline; what goes wrong is in op->failure as well. */
int operation_run_verb(Operation *op, OperationArgv make_argv, OperationThen then);

/* A command that only tidies up: with operation_cleanup_timeout(). */
int operation_run_cleanup(Operation *op, OperationArgv make_argv, OperationThen then);

/* Sets op->failure from a failed job: "OCI runtime OP failed: ..." or that it took too long. */
void operation_set_runtime_failure(Operation *op, const char *verb, const JobResult *result);

/* At the very end: kills what the runtime does for it, and answers everything with Unavailable. */
void container_abort(Container *c);

/* Runs whatever may run now: a recorded exit first, then the queue. */
void process_dispatch(Process *p);
void container_dispatch(Container *c); /* of all its processes */

/* The time that cleaning up after another failure may take: the runtime's deadline, but no more than this. */
#define OPERATION_CLEANUP_USEC (10 * USEC_PER_SEC)
uint64_t operation_cleanup_timeout(const Container *c);

/* ---- the verbs, each in the file of its name; <0: op->failure says why, and nothing was begun ---- */

int operation_start(Operation *op); /* start.c */
int operation_kill(Operation *op);  /* control.c, as the next four */
int operation_pause(Operation *op);
int operation_resume(Operation *op);
int operation_update(Operation *op);
int operation_list_pids(Operation *op);
int operation_checkpoint(Operation *op); /* checkpoint.c */
int operation_delete(Operation *op);     /* exit.c */
int operation_exit(Operation *op);
