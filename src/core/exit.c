/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The end of a process: its exit, and its deletion. */

#include "core/cleanup.h"
#include "core/exec.h"
#include "core/operation.h"
#include "core/process-io.h"
#include "core/seccomp.h"
#include "util/clock.h"
#include "util/log.h"

#include <signal.h>

/* How long a container may take to die after its runtime has deleted it in state "created". */
#define DELETE_EXIT_USEC (10 * USEC_PER_SEC)

/* After the init's exit: what starts of execs may still take, since they cannot succeed any more ... */
#define STARTS_GRACE_USEC USEC_PER_SEC
/* ... what exec'd processes may take to end, before they are killed, and after that. */
#define EXECS_GRACE_USEC (10 * USEC_PER_SEC)
#define EXECS_KILLED_USEC (2 * USEC_PER_SEC)

/* ---- waiting for the exec'd processes ---- */

static bool wait_is_over(const Container *c) {
        return c->n_exec_starts == 0 && c->n_execs_alive == 0;
}

static void wait_on_change(Operation *op) {
        if (!wait_is_over(op->process->container))
                return;

        op->timer = sd_event_source_disable_unref(op->timer);
        op->resume = NULL;
        op->after(op);
}

/* They cannot be killed, or nobody reaps them: their exits are not to keep the init's from being told. */
static int wait_on_killed_overdue(sd_event_source *source, uint64_t usec, void *userdata) {
        Operation *op = userdata;
        Container *c = op->process->container;

        c->n_dispatching++;
        CONTAINER_FOREACH_EXEC(p, c) {
                if (p->state != PROCESS_RUNNING)
                        continue;
                (void) container_log(c, LOG_WARNING, 0,
                                     "Process %s (%d) has not ended with its container, forgetting it.", p->id,
                                     (int) p->pid);
                process_unwatch(p);
                container_on_exited(c, p, EXIT_STATUS_UNKNOWN, clock_get_realtime());
        }
        c->n_dispatching--;
        process_dispatch(&c->init);
        return 0;
}

static int wait_on_overdue(sd_event_source *source, uint64_t usec, void *userdata) {
        Operation *op = userdata;
        Container *c = op->process->container;

        CONTAINER_FOREACH_EXEC(p, c)
                if (p->state == PROCESS_RUNNING)
                        (void) process_kill(p, SIGKILL);

        op->timer = sd_event_source_disable_unref(op->timer);
        if (sd_event_add_time_relative(c->services->event, &op->timer, CLOCK_MONOTONIC, EXECS_KILLED_USEC, 0,
                                       wait_on_killed_overdue, op) < 0)
                (void) wait_on_killed_overdue(NULL, 0, op);
        return 0;
}

static void wait_for_execs(Operation *op, void (*after)(Operation *op)) {
        if (wait_is_over(op->process->container)) {
                op->resume = NULL;
                after(op);
                return;
        }

        op->after = after;
        op->resume = wait_on_change;
        if (sd_event_add_time_relative(op->process->container->services->event, &op->timer, CLOCK_MONOTONIC,
                                       EXECS_GRACE_USEC, 0, wait_on_overdue, op) < 0)
                (void) container_log(op->process->container, LOG_WARNING, ENOMEM,
                                     "The exit is told when all exec'd processes have ended, without a limit: %m");
}

/* ---- exit ---- */

static void exit_publish(Operation *op) {
        process_publish_exit(op->process);
        operation_finish(op);
}

static void exit_wait_for_execs(Operation *op) {
        wait_for_execs(op, exit_publish);
}

static int kill_all_argv(const Operation *op, const Runtime *runtime, char ***ret) {
        return runtime_kill_argv(runtime, SIGKILL, true, ret);
}

static void exit_on_kill_all(Operation *op, const JobResult *result) {
        Container *c = op->process->container;

        /* "Already finished" is the usual answer when nothing else was left. */
        if (!job_result_ok(result) && (result->error != 0 || runtime_kill_classify(result->output) == -EIO)) {
                operation_set_runtime_failure(op, "killall", result);
                (void) container_log(c, LOG_WARNING, 0,
                                     "Failed to kill what may be left of the container, ignoring: %s",
                                     failure_message(&op->failure));
                failure_done(&op->failure);
        }

        exit_wait_for_execs(op);
}

/* Without a pid namespace of its own the rest is still there (containerd runtime/v1/shim/service.go,
 * checkProcesses). */
static void exit_kill_rest(Operation *op) {
        Container *c = op->process->container;
        int r;

        if (!c->kill_all_on_exit) {
                exit_wait_for_execs(op);
                return;
        }

        r = operation_run_cleanup(op, kill_all_argv, exit_on_kill_all);
        if (r < 0) {
                (void) container_log(c, LOG_WARNING, r,
                                     "Failed to kill what may be left of the container, ignoring: %m");
                exit_wait_for_execs(op);
        }
}

static int thaw_argv(const Operation *op, const Runtime *runtime, char ***ret) {
        return runtime_resume_argv(runtime, ret);
}

static void exit_on_thawed(Operation *op, const JobResult *result) {
        if (!job_result_ok(result)) {
                operation_set_runtime_failure(op, "resume", result);
                (void) container_log(op->process->container, LOG_NOTICE, 0,
                                     "Failed to resume the container after its exit, ignoring: %s",
                                     failure_message(&op->failure));
                failure_done(&op->failure);
        }

        exit_kill_rest(op);
}

/* It was killed while it was paused: its cgroup is thawed, since a frozen one of cgroup v1 cannot be deleted
 * (containerd pkg/process/init_state.go, pausedState.SetExited). */
static void exit_thaw(Operation *op) {
        int r;

        if (op->process->state != PROCESS_PAUSED) {
                exit_kill_rest(op);
                return;
        }

        r = operation_run_cleanup(op, thaw_argv, exit_on_thawed);
        if (r < 0) {
                (void) container_log(op->process->container, LOG_WARNING, r,
                                     "Failed to resume the container after its exit, ignoring: %m");
                exit_kill_rest(op);
        }
}

static void exit_on_starts_over(Operation *op) {
        if (op->process->container->n_exec_starts > 0)
                return;

        op->timer = sd_event_source_disable_unref(op->timer);
        op->resume = NULL;
        exit_thaw(op);
}

static int exit_on_starts_overdue(sd_event_source *source, uint64_t usec, void *userdata) {
        Operation *op = userdata;
        Container *c = op->process->container;

        c->n_dispatching++;
        CONTAINER_FOREACH_EXEC(p, c) {
                Operation *start = p->operation;

                if (start && start->kind == OPERATION_START && start->job)
                        job_expire(start->job);
                else
                        (void) process_abandon_loggers(p, FAILURE_FAILED_PRECONDITION,
                                                       "the container's init process is not running, it is stopped: "
                                                       "failed precondition");
        }
        c->n_dispatching--;
        container_collect(c);
        return 0;
}

int operation_exit(Operation *op) {
        Container *c = op->process->container;
        int r;

        if (c->n_exec_starts == 0) {
                exit_thaw(op);
                return 0;
        }

        /* A runtime that is just starting an exec may have made a process: that must be known first. */
        op->resume = exit_on_starts_over;
        r = sd_event_add_time_relative(c->services->event, &op->timer, CLOCK_MONOTONIC, STARTS_GRACE_USEC, 0,
                                       exit_on_starts_overdue, op);
        if (r < 0)
                (void) exit_on_starts_overdue(NULL, 0, op);
        return 0;
}

/* ---- delete: the init, and the container with it ---- */

static int delete_argv(const Operation *op, const Runtime *runtime, char ***ret) {
        return runtime_delete_argv(runtime, ret);
}

static void delete_finish(Operation *op) {
        Container *c = op->process->container;

        container_flush_seccomp(c);
        c->phase = CONTAINER_DELETED; /* what state.json says from now on: a crash from here only leaves folders to
                                         remove */
        (void) container_commit(c, EVENT_DELETE, &c->init, 0, false);
        c->phase = CONTAINER_LIVE;
        container_withdraw(c);

        cleanup_remove_folders(c);
        operation_finish(op);
}

static void delete_on_unmounted(void *userdata, int error, const char *text) {
        Operation *op = userdata;

        op->mounts = mounts_job_free(op->mounts);
        if (error < 0) {
                /* The runtime's part is done; another delete comes back here. */
                (void) failure_set(&op->failure,
                                   error == -ETIMEDOUT ? FAILURE_DEADLINE_EXCEEDED
                                   : error == -EBUSY   ? FAILURE_FAILED_PRECONDITION
                                                       : FAILURE_INTERNAL,
                                   "failed rootfs umount: %s", text);
                operation_finish(op);
                return;
        }

        delete_finish(op);
}

/* The runtime has forgotten the container and its exit is known: take away what is ours, and tell it. */
static void delete_complete(Operation *op) {
        Container *c = op->process->container;
        int r;

        if (c->init.state != PROCESS_STOPPED)
                process_publish_exit(&c->init);
        if (c->rootfs.n_mounts == 0) {
                delete_finish(op);
                return;
        }

        r = cleanup_unmount(op, delete_on_unmounted);
        if (r < 0)
                delete_on_unmounted(op, r, "out of memory");
}

static int delete_on_exit_overdue(sd_event_source *source, uint64_t usec, void *userdata) {
        Operation *op = userdata;
        Container *c = op->process->container;

        (void) container_log(c, LOG_WARNING, 0,
                             "The runtime has deleted the container, but process %d has not exited; forgetting it.",
                             (int) c->init.pid);
        (void) process_kill(&c->init, SIGKILL);
        process_unwatch(&c->init);
        container_on_exited(c, &c->init, EXIT_STATUS_UNKNOWN, clock_get_realtime());
        return 0;
}

static void delete_on_change(Operation *op) {
        if (!op->process->exited)
                return;

        op->timer = sd_event_source_disable_unref(op->timer);
        wait_for_execs(op, delete_complete);
}

static void delete_wait_for_exit(Operation *op) {
        int r;

        /* It was only created: the runtime has killed it, and its exit is on the way to us. */
        op->resume = delete_on_change;
        r = sd_event_add_time_relative(op->process->container->services->event, &op->timer, CLOCK_MONOTONIC,
                                       DELETE_EXIT_USEC, 0, delete_on_exit_overdue, op);
        if (r < 0)
                (void) delete_on_exit_overdue(NULL, 0, op);
        else
                delete_on_change(op);
}

static void delete_on_runtime(Operation *op, const JobResult *result) {
        Process *p = op->process;

        if (!job_result_ok(result)) {
                operation_set_runtime_failure(op, "delete", result);
                if (result->error != 0 || !runtime_delete_is_gone(result->output, failure_message(&op->failure))) {
                        operation_finish(op);
                        return;
                }
                failure_done(&op->failure);
        }

        if (p->state == PROCESS_CREATED_CHECKPOINT) {
                /* There never was a process; as of any that was not started it is said that it was killed. */
                process_set_exit_unknown(p);
        }

        if (p->state == PROCESS_STOPPED)
                delete_complete(op);
        else
                delete_wait_for_exit(op);
}

/* ---- delete, of either kind: not before the output has been moved ---- */

static void delete_begin(Operation *op) {
        Process *p = op->process;

        if (!process_is_init(p)) {
                int r = exec_remove_files(p);

                if (r < 0)
                        (void) failure_set_errno(&op->failure, r, "Failed to remove the files of process %s: %m", p->id);
                else
                        process_withdraw(p);
                operation_finish(op);
        } else if (operation_run_verb(op, delete_argv, delete_on_runtime) < 0)
                operation_finish(op);
}

static void delete_on_drained(Operation *op) {
        if (!process_io_is_drained(op->process))
                return;

        op->timer = sd_event_source_disable_unref(op->timer);
        op->resume = NULL;
        delete_begin(op);
}

static int delete_on_drain_overdue(sd_event_source *source, uint64_t usec, void *userdata) {
        Operation *op = userdata;

        (void) container_log(
                op->process->container, LOG_NOTICE, 0,
                "Nobody has read the rest of the output of process %s in time, deleting it nevertheless.",
                op->process->id);
        op->timer = sd_event_source_disable_unref(op->timer);
        op->resume = NULL;
        delete_begin(op);
        return 0;
}

int operation_delete(Operation *op) {
        Process *p = op->process;
        uint64_t waited = clock_get_monotonic() - p->exit_told_usec;

        if (p->state != PROCESS_STOPPED || process_io_is_drained(p) || waited >= PROCESS_DRAIN_USEC ||
            sd_event_add_time_relative(p->container->services->event, &op->timer, CLOCK_MONOTONIC,
                                       PROCESS_DRAIN_USEC - waited, 0, delete_on_drain_overdue, op) < 0) {
                delete_begin(op);
                return 0;
        }

        op->resume = delete_on_drained;
        return 0;
}
