/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The logger processes of a process. */

#include "core/container.h"
#include "core/operation.h"
#include "core/process-io.h"
#include "util/text.h"

#include <fcntl.h>
#include <signal.h>
#include <syslog.h>

/* How long a logger may go on after the process has been deleted, before it is asked to end. */
#define LOGGER_GRACE_USEC (2 * USEC_PER_SEC)

static void process_on_discarded(void *userdata, int error) {
        process_on_moved(userdata);
}

/* Its logger has died: what the process still writes is read and thrown away, so that it is not held up. */
static void process_discard(Process *p, size_t i) {
        _cleanup_(safe_closep) int from = TAKE_FD(p->streams[i].from), to = -EBADF;
        int r;

        if (from < 0 || p->io->pumps[i])
                return;

        to = open("/dev/null", O_WRONLY | O_CLOEXEC);
        r = to < 0 ? -errno
                   : pump_new(&p->io->pumps[i], p->container->services->event, PRIORITY_STREAM, from, to, 0,
                              stream_options[i], process_on_discarded, p);
        if (r < 0) {
                (void) container_log(p->container, LOG_WARNING, r,
                                     "Failed to read what process %s writes for nobody: %m", p->id);
                return;
        }
        TAKE_FD(from);
        TAKE_FD(to);
}

static bool logger_has_both(const Process *p) {
        return p->streams[1].kind == STREAM_BINARY && p->streams[2].kind == STREAM_BINARY &&
               streq(p->streams[1].uri, p->streams[2].uri);
}

static void process_log_dead_logger(const Process *p, size_t i, int wait_status) {
        _cleanup_(freep) char *how = NULL;

        if (wait_status < 0) /* one that was taken back after a restart */
                how = strdup("unknown");
        else
                how = strdup_printf("%u", exit_status_from_wait(wait_status));

        (void) container_log(
                p->container, LOG_WARNING, 0,
                "The logger %s of process %s has ended (status %s); what the process writes from now on is "
                "lost.",
                p->streams[i].uri, p->id, strempty(how));
}

static void process_on_logger_exited(void *userdata, int wait_status) {
        Process *p = userdata;

        for (size_t i = 1; i < 3; i++) {
                if (!p->io->loggers[i] || logger_get_pid(p->io->loggers[i]) > 0)
                        continue;

                p->io->loggers[i] = logger_free(p->io->loggers[i]);
                if (!p->exited)
                        process_log_dead_logger(p, i, wait_status);
                process_discard(p, i);
                if (i == 1 && logger_has_both(p))
                        process_discard(p, 2);
        }
}

static void process_on_logger_ready(void *userdata, int error, const char *text) {
        Process *p = userdata;
        ProcessIo *io = p->io;
        Operation *op = io->operation;

        if (!op) /* another logger has failed before */
                return;
        if (error < 0)
                (void) failure_set(
                        &op->failure, error == -ETIMEDOUT ? FAILURE_DEADLINE_EXCEEDED : FAILURE_RUNTIME_FAILED,
                        "OCI runtime %s failed: failed to create process I/O: %s", process_get_verb(p), text);

        io->n_unready--;
        if (io->n_unready > 0 && error == 0)
                return;

        io->operation = NULL;
        io->then(op);
}

void process_kill_loggers(Process *p) {
        pid_t pid;

        for (size_t i = 1; i < 3 && p->io; i++) {
                pid = p->io->loggers[i] ? logger_get_pid(p->io->loggers[i]) : 0;
                if (pid > 0)
                        (void) kill(pid, SIGKILL); /* a child of ours that has not been reaped */
                p->io->loggers[i] = logger_free(p->io->loggers[i]);
        }
}

bool process_abandon_loggers(Process *p, FailureKind kind, const char *text) {
        ProcessIo *io = p->io;
        Operation *op = io ? io->operation : NULL;

        if (!op)
                return false;

        process_kill_loggers(p);
        io->operation = NULL;
        io->n_unready = 0;
        (void) failure_set(&op->failure, kind, "%s", text);
        io->then(op);
        return true;
}

static int process_start_logger(Process *p, size_t i, Failure *failure) {
        const Services *s = p->container->services;
        LoggerParameters q = {
                .uri = p->streams[i].uri,
                .ns = container_get_namespace(p->container),
                .container_id = p->container->id,
                .output = i == 1 ? p->streams[1].from : -EBADF,
                .error = i == 2 || logger_has_both(p) ? p->streams[2].from : -EBADF,
                .timeout_usec = *s->runtime_timeout_usec,
        };
        int r;

        r = logger_new(&p->io->loggers[i], s->event, s->reaper, &q, process_on_logger_ready, p);
        if (r == -ENOENT || r == -ENOTDIR)
                return failure_set(failure, FAILURE_NOT_FOUND, "%s: failed to start binary process: %s: not found",
                                   stream_options[i], q.uri);
        if (r == -EACCES || r == -ENOEXEC)
                return failure_set(failure, FAILURE_INVALID_ARGUMENT,
                                   "%s: failed to start binary process: %s is no program that can be run: "
                                   "invalid argument",
                                   stream_options[i], q.uri);
        if (r < 0)
                return failure_set_errno(failure, r, "%s: failed to start binary process: %m", stream_options[i]);

        logger_set_on_exited(p->io->loggers[i], process_on_logger_exited, p);
        p->io->n_unready++;
        return 0;
}

pid_t process_get_logger(const Process *p, size_t i, uint64_t *ret_start_time) {
        const Logger *l = p->io ? p->io->loggers[i] : NULL;

        *ret_start_time = l ? logger_get_start_time(l) : 0;
        return l ? logger_get_pid(l) : 0;
}

int process_expect_logger(Process *p, size_t i, pid_t pid, uint64_t start_time) {
        if (!process_get_io(p))
                return -ENOMEM;

        p->io->logger_pids[i] = pid;
        p->io->logger_start_times[i] = start_time;
        return 0;
}

void process_adopt_loggers(Process *p) {
        const Services *s = p->container->services;
        int r;

        for (size_t i = 1; i < 3 && p->io; i++) {
                if (p->io->logger_pids[i] <= 0)
                        continue;

                r = logger_adopt(&p->io->loggers[i], s->event, s->pids, p->io->logger_pids[i],
                                 p->io->logger_start_times[i]);
                p->io->logger_pids[i] = 0;
                if (r >= 0)
                        logger_set_on_exited(p->io->loggers[i], process_on_logger_exited, p);
                else
                        (void) container_log(
                                p->container, LOG_WARNING, r,
                                "Failed to take back the logger %s of process %s, going on without it: %m",
                                p->streams[i].uri, p->id);
                if (r < 0) {
                        process_discard(p, i);
                        if (i == 1 && logger_has_both(p))
                                process_discard(p, 2);
                }
        }
}

void process_stop_loggers(Process *p) {
        if (!p->io)
                return;

        p->io->operation = NULL;
        p->io->n_unready = 0;
        for (size_t i = 1; i < 3; i++)
                p->io->loggers[i] = logger_stop(p->io->loggers[i], LOGGER_GRACE_USEC);
}

int process_start_loggers(Process *p, Failure *failure) {
        int r;

        for (size_t i = 1; i < 3; i++) {
                if (p->streams[i].kind != STREAM_BINARY || (i == 2 && logger_has_both(p)))
                        continue;
                r = process_start_logger(p, i, failure);
                if (r < 0) {
                        process_stop_loggers(p);
                        return r;
                }
        }
        return 0;
}
