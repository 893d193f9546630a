/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Starting: an init that was created or is to be restored from a checkpoint, and exec'd processes. */

#include "core/start.h"
#include "core/checkpoint.h"
#include "core/cleanup.h"
#include "core/exec.h"
#include "core/operation.h"
#include "core/process-io.h"
#include "core/registry.h"
#include "util/crash-point.h"
#include "util/file.h"
#include "util/log.h"
#include "util/text.h"

#include <fcntl.h>
#include <signal.h>

/* ---- finding the process ---- */

int process_read_pid_file(const Process *p, const char *verb, pid_t *ret_pid, Failure *failure) {
        _cleanup_(safe_closep) int dir_fd = container_open_state_directory(p->container);
        _cleanup_(freep) char *text = NULL, *file = process_file(p, "pid");
        uint64_t pid = 0;
        size_t size = 0;
        int r;

        crash_point("pid-file-before-read");
        r = file ? dir_fd : -ENOMEM;
        if (r >= 0)
                r = file_read_beneath(dir_fd, file, 64, &text, &size);
        if (r >= 0)
                r = parse_uint64(text, &pid);
        if (r >= 0 && (pid <= 1 || pid > INT32_MAX))
                r = -ERANGE;
        if (r < 0) {
                errno = -r;
                return failure_set(failure, FAILURE_RUNTIME_FAILED,
                                   "OCI runtime %s failed: failed to retrieve OCI runtime container pid: %s: %m",
                                   verb, strempty(file));
        }

        *ret_pid = (pid_t) pid;
        return 0;
}

int process_take(Process *p, const char *verb, uint64_t since_usec, Failure *failure) {
        Container *c = p->container;
        uint64_t when_usec = 0;
        int wait_status, r;
        pid_t pid = 0;
        PidStat stat;

        r = process_read_pid_file(p, verb, &pid, failure);
        if (r < 0)
                return r;

        if (reaper_claim(c->services->reaper, pid, since_usec, &wait_status, &when_usec) > 0) {
                p->pid = pid;
                p->exited = true;
                p->exit_status = exit_status_from_wait(wait_status);
                p->exited_at = when_usec;
                return 0;
        }

        r = pid_read_stat(pid, &stat);
        if (r < 0 || stat.parent != getpid())
                return failure_set(failure, FAILURE_RUNTIME_FAILED,
                                   "OCI runtime %s failed: failed to retrieve OCI runtime container pid: "
                                   "the pid file says %d, which is no process that %s has started",
                                   verb, (int) pid, c->runtime);

        r = process_watch(p, pid, stat.start_time, false);
        if (r == -EEXIST)
                return failure_set(failure, FAILURE_RUNTIME_FAILED,
                                   "OCI runtime %s failed: failed to retrieve OCI runtime container pid: "
                                   "the pid file says %d, which is another process's",
                                   verb, (int) pid);
        if (r < 0)
                return failure_set_errno(failure, r, "OCI runtime %s failed: failed to watch process %d: %m", verb,
                                         (int) pid);
        return 0;
}

static void stray_on_reaped(void *userdata, pid_t pid, int wait_status, uint64_t when_usec) {
}

/* The runtime may have left its pid file and died before it had written down anything else. The number is only
 * believed if it is that of a child of ours which nobody else watches: then it cannot be anybody else's. */
void process_kill_stray(const Process *p) {
        PidStat stat;
        pid_t pid;

        if (p->watched) {
                (void) process_kill(p, SIGKILL);
                return;
        }

        if (process_read_pid_file(p, "", &pid, NULL) < 0 || pid_read_stat(pid, &stat) < 0 || stat.parent != getpid())
                return;
        if (reaper_watch(p->container->services->reaper, pid, stray_on_reaped, NULL) < 0)
                return;

        (void) kill(pid, SIGKILL);
}

int process_forget_pid_file(const Process *p) {
        _cleanup_(safe_closep) int dir_fd = container_open_state_directory(p->container);
        _cleanup_(freep) char *file = process_file(p, "pid"), *temporary = NULL;

        /* runc writes ".NAME" and renames it. */
        temporary = process_is_init(p) ? strdup(".init.pid") : strdup_printf(EXEC_FOLDER "/.%s.pid", p->id);
        if (!file || !temporary)
                return -ENOMEM;
        if (dir_fd < 0)
                return dir_fd;

        if ((unlinkat(dir_fd, file, 0) < 0 && errno != ENOENT) ||
            (unlinkat(dir_fd, temporary, 0) < 0 && errno != ENOENT))
                return -errno;
        return 0;
}

/* ---- what all three have in common ---- */

static void start_publish(Operation *op, EventTopic topic, unsigned changes) {
        Process *p = op->process;

        crash_point("start-succeeded");
        p->state = process_rule(p, VERB_START)->to;
        p->started_at = process_get_start(p);
        (void) container_commit(p->container, topic, p, PROCESS_CHANGED_STATUS | PROCESS_CHANGED_STARTED | changes,
                                false);
        operation_finish(op);
}

/* Its start has failed although the runtime had succeeded: nobody is to run unwatched. */
static void process_forget_started(Process *p) {
        (void) process_kill(p, SIGKILL);
        process_unwatch(p); /* it is reaped all the same */
        p->pid = 0;
        p->start_time = 0;
        p->exited = false;
        p->exit_status = 0;
        p->exited_at = 0;
}

/* ---- an init that was created ---- */

static int start_argv(const Operation *op, const Runtime *runtime, char ***ret) {
        return runtime_start_argv(runtime, ret);
}

static void start_on_runtime(Operation *op, const JobResult *result) {
        Process *p = op->process;

        if (!job_result_ok(result)) {
                operation_set_runtime_failure(op, "start", result);
                /* It may have got as far as to start it: a hook that hangs afterwards, say. */
                if (p->exited || cleanup_probe_started(op) < 0)
                        operation_finish(op);
                return;
        }

        start_publish(op, EVENT_START, 0);
}

/* ---- with streams: an exec'd process, an init from a checkpoint ---- */

static int exec_check_container(const Container *c, Failure *failure) {
        if (c->phase != CONTAINER_LIVE || c->init.exited || c->init.state == PROCESS_STOPPED)
                return failure_set(failure, FAILURE_FAILED_PRECONDITION,
                                   "container %s init process is not running, it is stopped: failed precondition",
                                   c->id);
        if (c->init.state == PROCESS_PAUSED)
                return failure_set(failure, FAILURE_FAILED_PRECONDITION,
                                   "cannot exec in a paused container (id: %s): failed precondition", c->id);
        return 0;
}

/* In a container that is dying the runtime's own complaint only is the consequence. */
static void start_set_failure(Operation *op, const char *verb, const JobResult *result) {
        const Container *c = op->process->container;

        if (!process_is_init(op->process) && c->init.exited)
                (void) exec_check_container(c, &op->failure);
        else
                operation_set_runtime_failure(op, verb, result);
}

static void streams_on_runtime(Operation *op, const JobResult *result) {
        Process *p = op->process;
        bool is_init = process_is_init(p);
        const char *verb = is_init ? "restore" : "exec";
        int r;

        if (!job_result_ok(result)) {
                start_set_failure(op, verb, result);
                process_kill_stray(p);
                process_cancel_io(p);
                if (is_init) {
                        checkpoint_explain_restore(op, result);
                        cleanup_failed_restore(op);
                } else
                        operation_finish(op);
                return;
        }

        r = process_take(p, verb, result->since_usec, &op->failure);
        if (r >= 0)
                r = process_begin_io(p, &op->failure);
        if (r < 0) {
                process_forget_started(p);
                process_cancel_io(p);
                if (is_init)
                        cleanup_failed_restore(op);
                else
                        operation_finish(op);
                return;
        }

        process_release_child_ends(p);
        registry_index_process(p->container->registry, p);
        if (is_init && !p->exited)
                container_look_at_cgroup(p->container);
        if (!is_init) {
                p->container->n_execs_alive++;
                exec_forget_spec(p);
        }
        start_publish(op, is_init ? EVENT_START : EVENT_EXEC_STARTED, PROCESS_CHANGED_PID);
}

static int streams_make_argv(Operation *op, char ***ret) {
        _cleanup_(freep) char *log = NULL, *pid_name = NULL, *pid_file = NULL;
        Process *p = op->process;
        Runtime runtime;
        int r;

        pid_name = process_file(p, "pid");
        pid_file = pid_name ? container_state_path(p->container, pid_name) : NULL;
        if (!pid_file)
                return -ENOMEM;
        r = process_forget_pid_file(p);
        if (r < 0)
                return r;
        r = process_get_runtime(p, &runtime, &log);
        if (r < 0)
                return r;

        return process_is_init(p) ? checkpoint_restore_argv(p, &runtime, pid_file, ret)
                                  : exec_argv(p, &runtime, pid_file, ret);
}

static void streams_run(Operation *op) {
        Process *p = op->process;
        char **argv = NULL;
        int stdio[3], r;

        if (!process_is_init(p))
                (void) exec_check_container(p->container,
                                            &op->failure); /* it may have died while loggers got ready */
        if (failure_is_set(&op->failure)) {
                process_cancel_io(p);
                operation_finish(op);
                return;
        }

        process_get_stdio(p, stdio);
        r = streams_make_argv(op, &argv);
        if (r >= 0)
                r = operation_run(op, argv, stdio, p->terminal, *p->container->services->runtime_timeout_usec,
                                  streams_on_runtime);
        if (r < 0) {
                (void) failure_set_errno(&op->failure, r, "Failed to run the OCI runtime %s: %m",
                                         p->container->runtime);
                process_cancel_io(p);
                operation_finish(op);
        }
}

static int streams_start(Operation *op) {
        int r;

        r = process_prepare_io(op->process, op, streams_run, &op->failure);
        if (r < 0) {
                process_cancel_io(op->process);
                return r;
        }
        if (r > 0)
                streams_run(op);
        return 0;
}

/* ---- the verb ---- */

int operation_start(Operation *op) {
        Process *p = op->process;
        int r;

        if (process_is_init(p))
                return p->state == PROCESS_CREATED_CHECKPOINT ? streams_start(op)
                                                              : operation_run_verb(op, start_argv, start_on_runtime);

        r = exec_check_container(p->container, &op->failure);
        if (r < 0)
                return r;
        r = exec_prepare_spec(p, &op->failure);
        if (r < 0)
                return r;

        return streams_start(op);
}
