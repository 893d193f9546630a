/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* One invocation of the OCI runtime, and the pool that bounds how many run at once.
 *
 * A job waits in its pool, then runs, then is done; or it fails to start and is done. Only running jobs hold a
 * place. All that happens later than the call that causes it (telling of a failed start, filling a place that has
 * become free) is done by one defer source of the pool, a step at a time: nobody is called back from within his
 * own call, and no callback runs inside another's. */

#include "host/job.h"

#include "host/cgroup.h"
#include "host/spawn.h"
#include "util/clock.h"
#include "util/crash-point.h"
#include "util/file.h"
#include "util/log.h"
#include "util/strv.h"

#include <assert.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <utlist.h>

#define OUTPUT_MAX (1024U * 1024U)

typedef enum JobState {
        JOB_NEW,     /* in no list yet */
        JOB_WAITING, /* in pool::waiting */
        JOB_RUNNING,
        JOB_FAILED, /* could not be started, in pool::failed */
        JOB_DONE,   /* done() is being called, or has been; the pool knows it no more */
} JobState;

struct JobPool {
        Reaper *reaper;
        sd_event *event;
        sd_event_source *step;
        Job *waiting;
        Job *failed;
        unsigned n_waiting;
        unsigned n_failed;
        unsigned n_running;
        unsigned max_running;
};

struct Job {
        JobPool *pool;
        JobState state;
        Job *prev, *next; /* pool::waiting or pool::failed */

        char **argv;
        char *directory;
        int stdio[3];
        bool capture;
        uint64_t timeout_usec;
        JobDone done;
        void *userdata;

        pid_t pid;
        uint64_t started_usec;
        uint64_t since_usec;
        int output;
        sd_event_source *deadline;
        bool killed;
        char **orphan_cgroups;
        int error;
};

/* --- output ----------------------------------------------------------------------------------------------------- */

/* One description for both streams, so that what is written to one comes behind what was written to the other
 * before; appending, so that nobody who seeks in it overwrites the rest. */
static int output_open(void) {
        _cleanup_(safe_closep) int fd = -EBADF;

        fd = memfd_create("job-output", MFD_CLOEXEC);
        if (fd < 0)
                return -errno;
        if (fcntl(fd, F_SETFL, O_APPEND) < 0)
                return -errno;
        return TAKE_FD(fd);
}

/* The end of it, as that is where the reason of a failure stands. A NUL byte would hide what follows it. */
static char *output_read(int fd) {
        uint64_t skipped;
        char *text;
        size_t n;

        if (file_read_tail(fd, OUTPUT_MAX, &text, &n, &skipped) < 0)
                return NULL;

        for (size_t i = 0; i < n; i++)
                if (text[i] == '\0')
                        text[i] = '?';
        return text;
}

/* --- pool ------------------------------------------------------------------------------------------------------- */

static void job_start(Job *job);
static void job_finish(Job *job, int error, int wait_status);

static bool job_pool_has_place(const JobPool *pool) {
        return pool->waiting && pool->n_running < pool->max_running;
}

/* Has the next step taken soon, if there is one. */
static void job_pool_schedule(JobPool *pool) {
        bool due = pool->failed || job_pool_has_place(pool);

        (void) sd_event_source_set_enabled(pool->step, due ? SD_EVENT_ONESHOT : SD_EVENT_OFF);
}

static void job_pool_start_next(JobPool *pool) {
        Job *job = pool->waiting;

        DL_DELETE(pool->waiting, job);
        pool->n_waiting--;
        job->state = JOB_NEW;
        job_start(job);
}

static int job_pool_on_step(sd_event_source *source, void *userdata) {
        JobPool *pool = userdata;
        Job *job = pool->failed;

        if (!job) {
                if (job_pool_has_place(pool))
                        job_pool_start_next(pool);
                job_pool_schedule(pool);
                return 0;
        }

        DL_DELETE(pool->failed, job);
        pool->n_failed--;
        job_pool_schedule(pool);
        job_finish(job, job->error, 0); /* last: it may free the pool */
        return 0;
}

int job_pool_new(JobPool **ret, sd_event *event, Reaper *reaper, unsigned max_running) {
        _cleanup_(job_pool_freep) JobPool *pool = NULL;
        int r;

        pool = calloc(1, sizeof(*pool));
        if (!pool)
                return -ENOMEM;

        pool->reaper = reaper;
        pool->event = sd_event_ref(event);
        pool->max_running = max_running > 0 ? max_running : 1;

        r = sd_event_add_defer(event, &pool->step, job_pool_on_step, pool);
        if (r < 0)
                return r;

        (void) sd_event_source_set_description(pool->step, "job-pool");

        r = sd_event_source_set_enabled(pool->step, SD_EVENT_OFF);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(pool);
        return 0;
}

JobPool *job_pool_free(JobPool *pool) {
        if (!pool)
                return NULL;

        assert(job_pool_n_jobs(pool) == 0);

        sd_event_source_disable_unref(pool->step);
        sd_event_unref(pool->event);
        return mfree(pool);
}

void job_pool_set_max(JobPool *pool, unsigned max_running) {
        pool->max_running = max_running > 0 ? max_running : 1;
        job_pool_schedule(pool);
}

unsigned job_pool_n_jobs(const JobPool *pool) {
        return pool->n_waiting + pool->n_failed + pool->n_running;
}

unsigned job_pool_n_running(const JobPool *pool) {
        return pool->n_running;
}

/* --- running ---------------------------------------------------------------------------------------------------- */

/* From here on the job is its owner's alone. 'done' is the last that is called: it may free the job, and the pool. */
static void job_finish(Job *job, int error, int wait_status) {
        _cleanup_(strv_freep) char **orphan_cgroups = TAKE_PTR(job->orphan_cgroups);
        _cleanup_(freep) char *output = NULL;
        JobResult result;

        if (job->output >= 0) {
                output = output_read(job->output);
                if (!output)
                        log_warning("Failed to read the output of %s, ignoring", job->argv[0]);
                job->output = safe_close(job->output);
        }

        job->deadline = sd_event_source_disable_unref(job->deadline);
        job->state = JOB_DONE;
        job->pool = NULL;

        result = (JobResult) {
                .error = error,
                .wait_status = wait_status,
                .output = strempty(output),
                .orphan_cgroups = error == -ETIMEDOUT ? orphan_cgroups : NULL,
                .started_usec = job->started_usec,
                .since_usec = job->since_usec,
        };
        job->done(job->userdata, &result);
        crash_point("job-done");
}

static void job_on_exit(void *userdata, pid_t pid, int wait_status, uint64_t when_usec) {
        Job *job = userdata;
        Reaper *reaper = job->pool->reaper;
        bool timed_out;

        /* A program that ended by itself just before the signal came was not killed at its deadline. */
        crash_point("job-ended");
        timed_out = job->killed && WIFSIGNALED(wait_status) && WTERMSIG(wait_status) == SIGKILL;

        job->pool->n_running--;
        job_pool_schedule(job->pool);

        /* The hold goes last, so that done() can still claim exits of the container's processes. */
        if (timed_out)
                job_finish(job, -ETIMEDOUT, 0);
        else
                job_finish(job, 0, wait_status);
        reaper_release(reaper);
}

/* The leader is a child of ours that has not been reaped, so neither number can have become another's. The group
 * may not exist yet where vfork() is a plain fork() (valgrind), hence the second call. */
static void job_kill(Job *job) {
        (void) kill(-job->pid, SIGKILL);
        (void) kill(job->pid, SIGKILL);
}

static bool job_has_exited(const Job *job) {
        siginfo_t si = {};

        /* Only a look: reaping is the reaper's. */
        return waitid(P_PID, (id_t) job->pid, &si, WEXITED | WNOHANG | WNOWAIT) == 0 && si.si_pid == job->pid;
}

static int job_on_deadline(sd_event_source *source, uint64_t usec, void *userdata) {
        Job *job = userdata;
        int r;

        if (job_has_exited(job))
                return 0;

        r = cgroup_list_of_children(job->pid, &job->orphan_cgroups);
        if (r < 0)
                (void) log_warning_errno(r, "Failed to list the control groups that %s has made, ignoring: %m",
                                         job->argv[0]);

        job->killed = true;
        job_kill(job);
        return 0;
}

static int job_arm_deadline(Job *job) {
        int r;

        /* A deadline that lies behind the end of time is none. */
        if (job->timeout_usec >= USEC_INFINITY / 2)
                return 0;

        r = sd_event_add_time_relative(job->pool->event, &job->deadline, CLOCK_MONOTONIC, job->timeout_usec,
                                       USEC_PER_MSEC, job_on_deadline, job);
        if (r < 0)
                return r;

        (void) sd_event_source_set_description(job->deadline, "job-deadline");
        return 0;
}

static int job_spawn(Job *job, const char *program) {
        SpawnParameters p = {
                .program = program,
                .argv = job->argv,
                .stdio = {
                        job->stdio[0],
                        job->capture ? job->output : job->stdio[1],
                        job->capture ? job->output : job->stdio[2],
                },
                .directory = job->directory,
        };
        int r;

        job->started_usec = clock_get_realtime();
        job->since_usec = clock_get_monotonic();
        crash_point("job-before-spawn");
        r = spawn(&p, &job->pid);
        crash_point("job-after-spawn");
        if (r < 0) {
                job->started_usec = 0;
                return r;
        }

        r = reaper_watch(job->pool->reaper, job->pid, job_on_exit, job);
        if (r < 0) {
                job_kill(job);
                job->started_usec = 0;
                return r;
        }
        return 0;
}

static int job_try_start(Job *job) {
        _cleanup_(freep) char *program = NULL;
        int r;

        r = program_find(job->argv[0], &program);
        if (r < 0)
                return r;

        if (job->capture) {
                job->output = output_open();
                if (job->output < 0)
                        return job->output;
        }

        r = job_arm_deadline(job);
        if (r < 0)
                return r;

        return job_spawn(job, program);
}

static void job_close_stdio(Job *job) {
        for (size_t i = 0; i < ELEMENTSOF(job->stdio); i++)
                job->stdio[i] = safe_close(job->stdio[i]);
}

static void job_start(Job *job) {
        JobPool *pool = job->pool;
        int r;

        /* Held already now: the program's own children may exit before spawn() has returned. */
        reaper_hold(pool->reaper);
        r = job_try_start(job);
        job_close_stdio(job);

        if (r < 0) {
                reaper_release(pool->reaper);
                job->deadline = sd_event_source_disable_unref(job->deadline);
                job->output = safe_close(job->output);
                job->error = r;
                job->state = JOB_FAILED;
                DL_APPEND(pool->failed, job);
                pool->n_failed++;
                job_pool_schedule(pool);
                return;
        }

        job->state = JOB_RUNNING;
        pool->n_running++;
}

/* --- construction ----------------------------------------------------------------------------------------------- */

static int job_copy_stdio(Job *job, const JobParameters *p) {
        for (size_t i = 0; i < ELEMENTSOF(job->stdio); i++) {
                if (p->stdio[i] < 0 || (p->capture && i > 0) || (p->input && i == 0))
                        continue;

                job->stdio[i] = fcntl(p->stdio[i], F_DUPFD_CLOEXEC, 3);
                if (job->stdio[i] < 0)
                        return -errno;
        }

        if (p->input) {
                job->stdio[0] = file_memfd("job-input", MFD_CLOEXEC, p->input, strlen(p->input));
                if (job->stdio[0] < 0)
                        return job->stdio[0];
        }
        return 0;
}

int job_new(Job **ret, JobPool *pool, const JobParameters *p, JobDone done, void *userdata) {
        _cleanup_(job_freep) Job *job = NULL;
        int r;

        assert(p->argv && p->argv[0] && done);

        job = calloc(1, sizeof(*job));
        if (!job)
                return -ENOMEM;

        *job = (Job) {
                .stdio = { -EBADF, -EBADF, -EBADF },
                .capture = p->capture,
                .timeout_usec = p->timeout_usec,
                .done = done,
                .userdata = userdata,
                .output = -EBADF,
        };

        job->argv = strv_copy(p->argv);
        if (!job->argv)
                return -ENOMEM;

        if (p->directory) {
                job->directory = strdup(p->directory);
                if (!job->directory)
                        return -ENOMEM;
        }

        r = job_copy_stdio(job, p);
        if (r < 0)
                return r;

        /* Those that wait already have come first, even if a place has just become free. */
        job->pool = pool;
        if (pool->waiting || pool->n_running >= pool->max_running) {
                job->state = JOB_WAITING;
                DL_APPEND(pool->waiting, job);
                pool->n_waiting++;
        } else
                job_start(job);

        *ret = TAKE_PTR(job);
        return 0;
}

static void job_leave_pool(Job *job) {
        JobPool *pool = job->pool;

        switch (job->state) {
        case JOB_WAITING:
                DL_DELETE(pool->waiting, job);
                pool->n_waiting--;
                break;
        case JOB_FAILED:
                DL_DELETE(pool->failed, job);
                pool->n_failed--;
                break;
        case JOB_RUNNING:
                reaper_unwatch(pool->reaper, job->pid);
                job_kill(job);
                reaper_release(pool->reaper);
                pool->n_running--;
                break;
        case JOB_NEW:
        case JOB_DONE:
                return;
        }
        job_pool_schedule(pool);
}

void job_expire(Job *job) {
        switch (job->state) {
        case JOB_WAITING:
                DL_DELETE(job->pool->waiting, job);
                job->pool->n_waiting--;
                job->state = JOB_FAILED;
                job->error = -ETIMEDOUT;
                DL_APPEND(job->pool->failed, job);
                job->pool->n_failed++;
                job_pool_schedule(job->pool);
                break;
        case JOB_RUNNING:
                (void) job_on_deadline(NULL, 0, job);
                break;
        case JOB_NEW:
        case JOB_FAILED:
        case JOB_DONE:
                break;
        }
}

Job *job_free(Job *job) {
        if (!job)
                return NULL;

        job_leave_pool(job);
        sd_event_source_disable_unref(job->deadline);
        job_close_stdio(job);
        safe_close(job->output);
        strv_free(job->orphan_cgroups);
        strv_free(job->argv);
        free(job->directory);
        return mfree(job);
}

pid_t job_get_pid(const Job *job) {
        return job->state == JOB_RUNNING ? job->pid : 0;
}
