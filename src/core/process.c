/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One process of a container. */

#include "core/process.h"
#include "core/container.h"
#include "core/process-io.h"
#include "util/clock.h"
#include "util/log.h"

#include <assert.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/pidfd.h>
#include <unistd.h>
#include <utlist.h>

/* Most have no streams at all. Nothing is ever opened in these. */
static Stream no_streams[PROCESS_N_STREAMS] = { STREAM_INIT, STREAM_INIT, STREAM_INIT };

void process_init(Process *p, Container *c, char *id) {
        *p = (Process) {
                .container = c,
                .id = id,
                .state = PROCESS_CREATED,
                .io_uid = (uid_t) -1,
                .io_gid = (gid_t) -1,
                .pidfd = -EBADF,
                .streams = no_streams,
        };
}

void process_done(Process *p) {
        assert(!p->waiters);
        assert(!p->indexed);

        process_unwatch(p);
        process_free_io(p);
        safe_close(p->pidfd);
        for (size_t i = 0; i < PROCESS_N_STREAMS; i++)
                stream_done(&p->streams[i]);
        if (p->streams != no_streams)
                free(p->streams);
        free(p->last_event);
}

int process_allocate_streams(Process *p) {
        Stream *streams;

        if (p->streams != no_streams)
                return 0;

        streams = malloc(PROCESS_N_STREAMS * sizeof(*streams));
        if (!streams)
                return -ENOMEM;

        for (size_t i = 0; i < PROCESS_N_STREAMS; i++) {
                streams[i] = STREAM_INIT;
                streams[i].output = i != STDIN_FILENO;
        }
        p->streams = streams;
        return 0;
}

bool process_is_init(const Process *p) {
        return p == &p->container->init;
}

const LifecycleRule *process_rule(const Process *p, ProcessVerb verb) {
        return process_is_init(p) ? lifecycle_init_rule(p->state, verb) : lifecycle_exec_rule(p->state, verb);
}

uint64_t process_get_start(const Process *p) {
        uint64_t now = clock_get_realtime();

        return p->exited && p->exited_at < now ? p->exited_at : now;
}

const char *process_get_status(const Process *p) {
        const Container *c = p->container;

        if (c->init.state == PROCESS_RUNNING && c->pausing && p->state != PROCESS_STOPPED)
                return "pausing";
        if (c->init.state == PROCESS_PAUSED && p->state != PROCESS_STOPPED)
                return process_state_to_status(PROCESS_PAUSED);

        return process_state_to_status(p->state);
}

void process_set_exit_unknown(Process *p) {
        p->exited = true;
        p->exit_status = EXIT_STATUS_UNKNOWN;
        p->exited_at = clock_get_realtime();
}

static void process_on_reaped(void *userdata, pid_t pid, int wait_status, uint64_t when_usec) {
        Process *p = userdata;

        p->watched = false;
        container_on_exited(p->container, p, exit_status_from_wait(wait_status), when_usec);
}

static void process_on_adopted_exited(void *userdata, int wait_status, uint64_t when_usec) {
        Process *p = userdata;
        uint32_t status = EXIT_STATUS_UNKNOWN;

        p->watched = false;
        p->watch = pid_watch_free(p->watch);

        if (wait_status >= 0)
                status = exit_status_from_wait(wait_status);
        else
                (void) container_log(
                        p->container, LOG_WARNING, 0,
                        "The exit status of process %d is unknown, since monoshimd was restarted after its start and "
                        "this kernel does not tell it; reporting %u.",
                        (int) p->pid, status);

        container_on_exited(p->container, p, status, when_usec);
}

/* So it is after we have executed ourselves, and only then. */
static bool process_is_own_child(const Reaper *reaper, pid_t pid, uint64_t start_time) {
        PidStat stat;

        return reaper_had_children(reaper) && pid_read_stat(pid, &stat) >= 0 && stat.parent == getpid() &&
               stat.start_time == start_time;
}

int process_watch(Process *p, pid_t pid, uint64_t start_time, bool adopted) {
        const Services *s = p->container->services;
        int r;

        if (adopted && !process_is_own_child(s->reaper, pid, start_time))
                r = pid_watch_new(&p->watch, s->pids, pid, start_time, process_on_adopted_exited, p);
        else
                r = reaper_watch(s->reaper, pid, process_on_reaped, p);
        if (r < 0)
                return r;

        p->pidfd = safe_close(p->pidfd);
        p->pid = pid;
        p->start_time = start_time;
        p->watched = true;
        return 0;
}

void process_unwatch(Process *p) {
        if (!p->watched)
                return;

        p->watched = false;
        if (p->watch)
                p->watch = pid_watch_free(p->watch);
        else
                reaper_unwatch(p->container->services->reaper, p->pid);
}

int process_open_pidfd(Process *p) {
        int fd;

        if (!p->watched)
                return -ESRCH;

        /* The number of a child that has not been reaped cannot be another's; for all others the watch has the pidfd.
         */
        if (!p->watch)
                return pid_open(p->pid, 0);

        fd = fcntl(pid_watch_get_fd(p->watch), F_DUPFD_CLOEXEC, 3);
        return fd < 0 ? -errno : fd;
}

int process_kill(const Process *p, int signal) {
        int r;

        if (!p->watched)
                return -ESRCH;

        /* The number of a child that has not been reaped cannot be another's; for all others the watch has the pidfd.
         */
        r = p->watch ? pidfd_send_signal(pid_watch_get_fd(p->watch), signal, NULL, 0) : kill(p->pid, signal);
        return r < 0 ? -errno : 0;
}

int process_add_waiter(Process *p, WaiterDone done, void *userdata, bool again, Waiter **ret, Failure *failure) {
        unsigned max = p->container->services->limits->waiters_per_process;
        Waiter *w;

        if (!again && p->n_waiters >= max)
                return failure_set_limit(failure, "MaxWaitersPerProcess", max, "%u calls wait for process %s already",
                                         p->n_waiters, p->id);

        w = malloc(sizeof(*w));
        if (!w)
                return failure_set_errno(failure, ENOMEM, "Failed to wait for process %s: %m", p->id);

        *w = (Waiter) { .done = done, .userdata = userdata, .process = p };
        DL_APPEND(p->waiters, w);
        p->n_waiters++;

        if (ret)
                *ret = w;
        return 0;
}

Waiter *waiter_free(Waiter *w) {
        if (!w)
                return NULL;

        DL_DELETE(w->process->waiters, w);
        w->process->n_waiters--;
        return mfree(w);
}

void process_wake_waiters(Process *p) {
        while (p->waiters) {
                Waiter w = *p->waiters;

                (void) waiter_free(p->waiters);
                w.done(w.userdata, p->exit_status, p->exited_at);
        }
}
