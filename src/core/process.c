/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One process of a container. */

#include "core/process.h"
#include "core/container.h"
#include "util/clock.h"
#include "util/log.h"

#include <assert.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/pidfd.h>
#include <unistd.h>
#include <utlist.h>

void process_init(Process *p, Container *c, const char *id) {
        *p = (Process) {
                .container = c,
                .id = id,
                .state = PROCESS_CREATED,
                .streams = { STREAM_INIT, STREAM_INIT, STREAM_INIT },
        };
}

void process_done(Process *p) {
        assert(!p->waiters);
        assert(!p->indexed);

        process_unwatch(p);
        p->drain = stream_drain_free(p->drain);
        for (size_t i = 0; i < ELEMENTSOF(p->streams); i++)
                stream_done(&p->streams[i]);
}

uint64_t process_get_start(const Process *p) {
        uint64_t now = clock_get_realtime();

        return p->exited && p->exited_at < now ? p->exited_at : now;
}

const char *process_get_status(const Process *p) {
        return process_state_to_status(p->state);
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

int process_watch(Process *p, pid_t pid, uint64_t start_time, bool adopted) {
        const Services *s = p->container->services;
        int r;

        if (adopted)
                r = pid_watch_new(&p->watch, s->event, PRIORITY_EXIT, pid, start_time, process_on_adopted_exited, p);
        else
                r = reaper_watch(s->reaper, pid, process_on_reaped, p);
        if (r < 0)
                return r;

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

void process_kill(const Process *p) {
        if (!p->watched)
                return;

        /* The number of a child that has not been reaped cannot be another's; for all others the watch has the pidfd.
         */
        if (p->watch)
                (void) pidfd_send_signal(pid_watch_get_fd(p->watch), SIGKILL, NULL, 0);
        else
                (void) kill(p->pid, SIGKILL);
}

int process_add_waiter(Process *p, WaiterDone done, void *userdata, Waiter **ret) {
        Waiter *w;

        if (p->n_waiters >= PROCESS_WAITERS_MAX)
                return -ENOBUFS;

        w = malloc(sizeof(*w));
        if (!w)
                return -ENOMEM;

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

void process_close_stdin(Process *p) {
        p->stdin_closed = true;
        stream_close_hold(&p->streams[STDIN_FILENO]);
}

void process_release_streams(Process *p) {
        p->drain = stream_drain_free(p->drain);
        for (size_t i = 0; i < ELEMENTSOF(p->streams); i++) {
                stream_release_child_end(&p->streams[i]);
                stream_close_hold(&p->streams[i]);
        }
}

static void process_on_drained(void *userdata) {
        Process *p = userdata;

        p->drain = stream_drain_free(p->drain);
}

void process_drain_streams(Process *p) {
        int r;

        process_close_stdin(p);
        if (p->drain)
                return;

        r = stream_drain_new(&p->drain, p->container->services->event, p->streams + STDOUT_FILENO, 2,
                             process_on_drained, p);
        if (r < 0) {
                /* Without the timer a waiting reader would never see the end; what nobody has read yet is the lesser
                 * loss. */
                (void) container_log(p->container, LOG_WARNING, r,
                                     "Failed to watch the output FIFOs after the exit, closing them: %m");
                stream_close_hold(&p->streams[STDOUT_FILENO]);
                stream_close_hold(&p->streams[STDERR_FILENO]);
        }
}
