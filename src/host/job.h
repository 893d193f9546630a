/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One invocation of the OCI runtime, and the pool that bounds how many run at once.
 *
 * job_new() takes a place in the pool, or waits for one (first come, first served); the program is started then, not
 * before. done() is called exactly once, never from within job_new(), when the program has exited, could not be
 * started, or was killed at the deadline. done() must free the job (or have it freed later); freeing it earlier kills
 * its process group, and done() is not called. */

#include "util/macro.h"
#include "host/reaper.h"

#include <systemd/sd-event.h>

typedef struct Job Job;
typedef struct JobPool JobPool;

typedef struct JobParameters {
        char **argv;           /* argv[0] is the command as configured, looked up with program_find() */
        const char *directory; /* working directory, or NULL */
        int stdio[3];          /* with 'capture' only [0] counts; negative is /dev/null */
        bool capture;          /* stdout and stderr go into one memfd, in the order written */
        const char *input;     /* text for stdin, through a memfd; NULL for none */
        uint64_t timeout_usec; /* counts from the start of the program; USEC_INFINITY for none */
} JobParameters;

typedef struct JobResult {
        int error;          /* 0: it ran (see wait_status); -ETIMEDOUT: killed at the deadline; else it could not be
                             * started (-ENOENT: there is no such command) */
        int wait_status;    /* when error is 0 */
        const char *output; /* what was captured, at most 1 MiB of its end, NUL-terminated; "" without 'capture' */
        char *const *orphan_cgroups; /* when it was killed at the deadline: what cgroup_list_of_children() said of it
                                      * just before; NULL-terminated, or NULL */
        uint64_t started_usec;       /* CLOCK_REALTIME when the program was started; 0: it was not */
        uint64_t since_usec;         /* the same moment in CLOCK_MONOTONIC, for reaper_claim() */
} JobResult;

static inline bool job_result_ok(const JobResult *r) {
        return r->error == 0 && r->wait_status == 0;
}

/* The strings in 'result' live during the call only. */
typedef void (*JobDone)(void *userdata, const JobResult *result);

int job_pool_new(JobPool **ret, sd_event *event, Reaper *reaper, unsigned max_running);
JobPool *job_pool_free(JobPool *pool); /* asserts that no job is left */
DEFINE_CLEANUP(JobPool *, job_pool_free);
void job_pool_set_max(JobPool *pool, unsigned max_running);
unsigned job_pool_n_jobs(const JobPool *pool); /* running or waiting, until done() is called */
unsigned job_pool_n_running(const JobPool *pool);

/* Copies what it needs: argv, directory, input; the descriptors are duplicated. The reaper is held while the job
 * runs. */
int job_new(Job **ret, JobPool *pool, const JobParameters *p, JobDone done, void *userdata);
/* The deadline is now: it is killed, or not started any more, and done() is called with -ETIMEDOUT, from the loop. */
void job_expire(Job *job);
/* Of the program while it runs, else 0. */
pid_t job_get_pid(const Job *job);
Job *job_free(Job *job);
DEFINE_CLEANUP(Job *, job_free);
