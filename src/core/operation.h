/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What is asked of a container: one verb, queued, carried out by at most one runtime job at a time, answered once. */

#include "core/container.h"
#include "core/failure.h"
#include "host/job.h"

typedef enum OperationKind {
        OPERATION_CREATE, /* begun by create.c, never queued */
        OPERATION_START,
        OPERATION_KILL,
        OPERATION_DELETE,
        OPERATION_EXIT,    /* our own: the init has exited; kill the rest if need be, then publish */
        OPERATION_PROBE,   /* our own, after a restart: was it started while nobody looked? */
        OPERATION_CLEANUP, /* our own, after a restart: it is dead, take it away */
        _OPERATION_KIND_MAX,
} OperationKind;

/* Called exactly once. 'failure' is set or not; the container is there during the call, and after it only if it was
 * not deleted. */
typedef void (*OperationDone)(void *userdata, Container *c, const Failure *failure);

typedef void (*OperationThen)(Operation *op, const JobResult *result);

struct Operation {
        Container *container;
        OperationKind kind;
        unsigned signal; /* of a kill */
        bool all;
        bool killed;   /* a create whose runtime did not get as far as to clean up after itself */
        bool restored; /* a create of a former monoshimd: nothing it started is our child */
        OperationDone done;
        void *userdata;

        Job *job;
        OperationThen then; /* goes on when the job is over */
        sd_event_source *timer;
        Failure failure;       /* the first thing that went wrong, while the operation still tidies up */
        char **cgroups;        /* create: what a killed runtime left, to be removed */
        uint64_t give_up_usec; /* ... and until when, CLOCK_MONOTONIC */
        uint64_t asked_usec;

        Operation *prev, *next; /* container::queue */
};

/* Queues a verb; refusals and results come by done(), possibly before this returns. done may be NULL. */
void operation_submit(Container *c, OperationKind kind, unsigned signal, bool all, OperationDone done,
                      void *userdata);

/* One that is not queued but runs from the start: create and cleanup. NULL without memory. */
Operation *operation_begin(Container *c, OperationKind kind, OperationDone done, void *userdata);

/* The running operation is over: answers it, then lets the next one run. With a failure in op->failure it has failed.
 * The container may be gone afterwards. */
void operation_finish(Operation *op);

/* Starts a runtime job for the operation; 'then' gets the operation and the result, or -errno is returned. Takes argv
 * over. */
int operation_run(Operation *op, char **argv, const int stdio[3], bool capture, uint64_t timeout_usec,
                  OperationThen then);

/* Sets op->failure from a failed job: "OCI runtime OP failed: ..." or that it took too long. */
void operation_set_runtime_failure(Operation *op, const char *verb, const JobResult *result);

/* At the very end: kills what the runtime does for it, and answers everything with Unavailable. */
void container_abort(Container *c);

/* Runs whatever may run now: a recorded exit first, then the queue. */
void container_dispatch(Container *c);

/* The time that cleaning up after another failure may take: the runtime's deadline, but no more than this. */
#define OPERATION_CLEANUP_USEC (10 * USEC_PER_SEC)
uint64_t operation_cleanup_timeout(const Container *c);
