/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is asked of a container: the queue, and the verbs that clients have. */

#include "core/operation.h"
#include "core/cleanup.h"
#include "core/registry.h"
#include "util/clock.h"
#include "util/log.h"
#include "util/strv.h"
#include "util/text.h"

#include <assert.h>
#include <inttypes.h>
#include <signal.h>
#include <utlist.h>

/* How long a container may take to die after its runtime has deleted it in state "created". */
#define DELETE_EXIT_USEC (10 * USEC_PER_SEC)

/* ---- the queue ---- */

static Operation *operation_new(Container *c, OperationKind kind, OperationDone done, void *userdata) {
        Operation *op;

        op = malloc(sizeof(*op));
        if (!op)
                return NULL;

        *op = (Operation) {
                .container = c,
                .kind = kind,
                .done = done,
                .userdata = userdata,
                .failure = FAILURE_INIT,
                .asked_usec = clock_get_realtime(),
        };
        return op;
}

static Operation *operation_free(Operation *op) {
        (void) job_free(op->job);
        sd_event_source_disable_unref(op->timer);
        strv_free(op->cgroups);
        failure_done(&op->failure);
        return mfree(op);
}

static void operation_answer(Operation *op) {
        if (op->done)
                op->done(op->userdata, op->container, &op->failure);
}

static void container_refuse(Container *c, FailureKind kind, const char *text, OperationDone done, void *userdata) {
        Failure failure = FAILURE_INIT;

        (void) failure_set(&failure, kind, "%s", text);
        if (done)
                done(userdata, c, &failure);
        failure_done(&failure);
}

void operation_submit(Container *c, OperationKind kind, unsigned signal, bool all, OperationDone done,
                      void *userdata) {
        Operation *op;

        if (c->registry->stopping) {
                container_refuse(c, FAILURE_UNAVAILABLE, "monoshimd is stopping", done, userdata);
                return;
        }
        if (c->n_queued >= CONTAINER_OPERATIONS_MAX) {
                container_refuse(c, FAILURE_RESOURCE_EXHAUSTED, "too many operations wait for this container", done,
                                 userdata);
                return;
        }

        op = operation_new(c, kind, done, userdata);
        if (!op) {
                container_refuse(c, FAILURE_RESOURCE_EXHAUSTED, "out of memory", done, userdata);
                return;
        }
        op->signal = signal;
        op->all = all;

        DL_APPEND(c->queue, op);
        c->n_queued++;
        container_dispatch(c);
}

Operation *operation_begin(Container *c, OperationKind kind, OperationDone done, void *userdata) {
        assert(!c->operation);

        c->operation = operation_new(c, kind, done, userdata);
        return c->operation;
}

void operation_finish(Operation *op) {
        Container *c = op->container;

        assert(c->operation == op);

        op->job = job_free(op->job);
        op->timer = sd_event_source_disable_unref(op->timer);

        operation_answer(op);
        c->operation = NULL;
        (void) operation_free(op);

        container_dispatch(c);
}

void container_abort(Container *c) {
        Operation *op, *next;

        if (c->operation)
                DL_PREPEND(c->queue, c->operation);
        c->operation = NULL;

        DL_FOREACH_SAFE(c->queue, op, next) {
                DL_DELETE(c->queue, op);
                (void) failure_set(&op->failure, FAILURE_UNAVAILABLE, "monoshimd is stopping");
                operation_answer(op);
                (void) operation_free(op);
        }
}

uint64_t operation_cleanup_timeout(const Container *c) {
        uint64_t timeout = *c->services->runtime_timeout_usec;

        return timeout < OPERATION_CLEANUP_USEC ? timeout : OPERATION_CLEANUP_USEC;
}

/* ---- runtime jobs ---- */

static void operation_on_job(void *userdata, const JobResult *result) {
        Operation *op = userdata;
        Job *job = TAKE_PTR(op->job);

        /* The next step may start a job of its own, so this one must be out of the way; its strings live until it is
         * freed. */
        op->then(op, result);
        (void) job_free(job);
}

int operation_run(Operation *op, char **argv, const int stdio[3], bool capture, uint64_t timeout_usec,
                  OperationThen then) {
        _cleanup_(strv_freep) _unused_ char **owned = argv;
        JobParameters p = {
                .argv = argv,
                .stdio = { stdio ? stdio[0] : -EBADF, stdio ? stdio[1] : -EBADF, stdio ? stdio[2] : -EBADF },
                .capture = capture,
                .timeout_usec = timeout_usec,
        };
        int r;

        r = cleanup_forget_log(op->container);
        if (r < 0)
                return r;

        op->then = then;
        return job_new(&op->job, op->container->services->pool, &p, operation_on_job, op);
}

void operation_set_runtime_failure(Operation *op, const char *verb, const JobResult *result) {
        _cleanup_(freep) char *text = NULL, *log_path = NULL, *message = NULL;
        _cleanup_(safe_closep) int dir_fd = -EBADF;
        Container *c = op->container;

        text = runtime_result_to_text(c->runtime, result, *c->services->runtime_timeout_usec);
        if (result->error == -ETIMEDOUT) {
                (void) failure_set(&op->failure, FAILURE_DEADLINE_EXCEEDED, "OCI runtime %s failed: %s", verb,
                                   strempty(text));
                (void) container_log(c, LOG_ERR, ETIMEDOUT, "%s", failure_message(&op->failure));
                return;
        }

        log_path = container_state_path(c, "log.json");
        dir_fd = container_open_state_directory(c);
        if (text && log_path && dir_fd >= 0)
                message = runtime_failure(verb, dir_fd, "log.json", log_path, text);

        (void) failure_set(&op->failure,
                           failure_errno_is_exhaustion(result->error) ? FAILURE_RESOURCE_EXHAUSTED
                                                                      : FAILURE_RUNTIME_FAILED,
                           "%s", message ?: strempty(text));
}

/* Builds the command line for a verb and starts it; whatever goes wrong ends up in op->failure. */
static int operation_run_verb(Operation *op, int (*make_argv)(const Operation *, const Runtime *, char ***),
                              OperationThen then) {
        _cleanup_(freep) char *log = NULL;
        Container *c = op->container;
        char **argv = NULL;
        Runtime runtime;
        int r;

        r = container_get_runtime(c, &runtime, &log);
        if (r >= 0)
                r = make_argv(op, &runtime, &argv);
        if (r >= 0)
                r = operation_run(op, argv, NULL, true, *c->services->runtime_timeout_usec, then);
        if (r < 0)
                return failure_set_errno(&op->failure, r, "Failed to run the OCI runtime %s: %m", c->runtime);

        return 0;
}

/* ---- start ---- */

static int start_argv(const Operation *op, const Runtime *runtime, char ***ret) {
        return runtime_start_argv(runtime, ret);
}

static void start_on_runtime(Operation *op, const JobResult *result) {
        Container *c = op->container;
        Process *p = &c->init;

        if (!job_result_ok(result)) {
                operation_set_runtime_failure(op, "start", result);
                /* It may have got as far as to start it: a hook that hangs afterwards, say. */
                if (p->exited || cleanup_probe_started(op) < 0)
                        operation_finish(op);
                return;
        }

        p->state = lifecycle_init_rule(p->state, VERB_START)->to;
        p->started_at = process_get_start(p);
        (void) container_commit(c, EVENT_START, p, PROCESS_CHANGED_STATUS | PROCESS_CHANGED_STARTED, false);
        operation_finish(op);
}

static int operation_start(Operation *op) {
        return operation_run_verb(op, start_argv, start_on_runtime);
}

/* ---- kill ---- */

static int kill_argv(const Operation *op, const Runtime *runtime, char ***ret) {
        return runtime_kill_argv(runtime, op->signal, op->all, ret);
}

static void kill_on_runtime(Operation *op, const JobResult *result) {
        _cleanup_(freep) char *text = NULL;
        Container *c = op->container;

        if (job_result_ok(result)) {
                /* "kill --all" finds nothing to complain about where there is nothing. */
                if (c->init.state == PROCESS_STOPPED)
                        (void) failure_set(&op->failure, FAILURE_NOT_FOUND, "process already finished: not found");
                operation_finish(op);
                return;
        }

        if (result->error != 0) {
                operation_set_runtime_failure(op, "kill", result);
                operation_finish(op);
                return;
        }

        switch (runtime_kill_classify(result->output)) {
        case -ESRCH:
                (void) failure_set(&op->failure, FAILURE_NOT_FOUND, "process already finished: not found");
                break;
        case -ENOENT:
                (void) failure_set(&op->failure, FAILURE_NOT_FOUND, "no such container: not found");
                break;
        default:
                text = runtime_result_to_text(c->runtime, result, *c->services->runtime_timeout_usec);
                (void) failure_set(&op->failure, FAILURE_RUNTIME_FAILED,
                                   "OCI runtime kill failed: unknown error after kill: %s", strempty(text));
        }
        operation_finish(op);
}

static int operation_kill(Operation *op) {
        return operation_run_verb(op, kill_argv, kill_on_runtime);
}

/* ---- delete ---- */

static int delete_argv(const Operation *op, const Runtime *runtime, char ***ret) {
        return runtime_delete_argv(runtime, ret);
}

/* The runtime has forgotten the container and its exit is known: tell it, and take away what is ours. */
static void delete_complete(Operation *op) {
        Container *c = op->container;

        if (c->init.state != PROCESS_STOPPED)
                container_publish_exit(c);

        c->phase = CONTAINER_DELETED; /* what state.json says from now on: a crash from here only leaves folders to
                                         remove */
        (void) container_commit(c, EVENT_DELETE, &c->init, 0, false);
        c->phase = CONTAINER_LIVE;
        container_withdraw(c);

        cleanup_remove_folders(c);
        operation_finish(op);
}

static int delete_on_exit_overdue(sd_event_source *source, uint64_t usec, void *userdata) {
        Operation *op = userdata;
        Container *c = op->container;

        (void) container_log(c, LOG_WARNING, 0,
                             "The runtime has deleted the container, but process %d has not exited; forgetting it.",
                             (int) c->init.pid);
        process_kill(&c->init);
        process_unwatch(&c->init);
        c->init.exited = true;
        c->init.exit_status = EXIT_STATUS_UNKNOWN;
        c->init.exited_at = clock_get_realtime();
        delete_complete(op);
        return 0;
}

static void delete_on_runtime(Operation *op, const JobResult *result) {
        Container *c = op->container;
        int r;

        if (!job_result_ok(result)) {
                operation_set_runtime_failure(op, "delete", result);
                if (result->error != 0 || !runtime_delete_is_gone(result->output, failure_message(&op->failure))) {
                        operation_finish(op);
                        return;
                }
                failure_done(&op->failure);
        }

        if (c->init.state == PROCESS_STOPPED || c->init.exited) {
                delete_complete(op);
                return;
        }

        /* It was only created: the runtime has killed it, and its exit is on the way to us. */
        r = sd_event_add_time_relative(c->services->event, &op->timer, CLOCK_MONOTONIC, DELETE_EXIT_USEC, 0,
                                       delete_on_exit_overdue, op);
        if (r < 0)
                (void) delete_on_exit_overdue(NULL, 0, op);
}

static int operation_delete(Operation *op) {
        return operation_run_verb(op, delete_argv, delete_on_runtime);
}

/* ---- exit ---- */

static int kill_all_argv(const Operation *op, const Runtime *runtime, char ***ret) {
        return runtime_kill_argv(runtime, SIGKILL, true, ret);
}

static void exit_on_runtime(Operation *op, const JobResult *result) {
        Container *c = op->container;

        /* "Already finished" is the usual answer when nothing else was left. */
        if (!job_result_ok(result) && (result->error != 0 || runtime_kill_classify(result->output) == -EIO)) {
                operation_set_runtime_failure(op, "killall", result);
                (void) container_log(c, LOG_WARNING, 0,
                                     "Failed to kill what may be left of the container, ignoring: %s",
                                     failure_message(&op->failure));
                failure_done(&op->failure);
        }

        container_publish_exit(c);
        operation_finish(op);
}

/* The init has exited. Without a pid namespace of its own the rest is still there (containerd
 * runtime/v1/shim/service.go, checkProcesses). */
static int operation_exit(Operation *op) {
        _cleanup_(freep) char *log = NULL;
        Container *c = op->container;
        char **argv = NULL;
        Runtime runtime;
        int r;

        if (c->kill_all_on_exit) {
                r = container_get_runtime(c, &runtime, &log);
                if (r >= 0)
                        r = kill_all_argv(op, &runtime, &argv);
                if (r >= 0)
                        r = operation_run(op, argv, NULL, true, operation_cleanup_timeout(c), exit_on_runtime);
                if (r >= 0)
                        return 0;
                (void) container_log(c, LOG_WARNING, r,
                                     "Failed to kill what may be left of the container, ignoring: %m");
        }

        container_publish_exit(c);
        operation_finish(op);
        return 0;
}

/* ---- dispatch ---- */

static int operation_probe(Operation *op) {
        return cleanup_probe_started(op);
}

/* clang-format off */
static const struct {
        ProcessVerb verb;
        bool internal; /* not looked up in the lifecycle table */
        int (*begin)(Operation *op); /* <0: op->failure says why, nothing was begun */
} kind_table[_OPERATION_KIND_MAX] = {
        [OPERATION_START]  = { VERB_START, false, operation_start },
        [OPERATION_KILL]   = { VERB_KILL, false, operation_kill },
        [OPERATION_DELETE] = { VERB_DELETE, false, operation_delete },
        [OPERATION_EXIT]   = { VERB_SET_EXITED, true, operation_exit },
        [OPERATION_PROBE]  = { VERB_START, true, operation_probe },
};
/* clang-format on */

static void operation_execute(Operation *op) {
        Container *c = op->container;
        const LifecycleRule *rule;

        assert(kind_table[op->kind].begin);

        rule = lifecycle_init_rule(c->init.state, kind_table[op->kind].verb);
        if (!kind_table[op->kind].internal && c->registry->stopping) {
                (void) failure_set(&op->failure, FAILURE_UNAVAILABLE, "monoshimd is stopping");
                operation_finish(op);
        } else if (!kind_table[op->kind].internal && rule->answer != LIFECYCLE_ALLOWED) {
                (void) failure_set(&op->failure,
                                   rule->answer == LIFECYCLE_NOT_FOUND ? FAILURE_NOT_FOUND
                                                                       : FAILURE_FAILED_PRECONDITION,
                                   "%s", rule->text);
                operation_finish(op);
        } else if (kind_table[op->kind].begin(op) < 0)
                operation_finish(op);
}

/* What is to be done next: an exit that was seen comes before everything that waits. */
static Operation *container_next_operation(Container *c) {
        Operation *op;

        if (c->phase == CONTAINER_LIVE && c->init.exited && c->init.state != PROCESS_STOPPED) {
                op = operation_new(c, OPERATION_EXIT, NULL, NULL);
                if (op)
                        return op;
                (void) container_log(c, LOG_WARNING, ENOMEM,
                                     "Publishing the exit without killing what may be left of the container: %m");
                container_publish_exit(c);
        }

        op = c->queue;
        if (op) {
                DL_DELETE(c->queue, op);
                c->n_queued--;
        }
        return op;
}

/* An exit that is waited for by the running operation. */
static bool container_continue_delete(Container *c) {
        Operation *op = c->operation;

        if (!op || op->kind != OPERATION_DELETE || op->job || !op->timer || !c->init.exited)
                return false;

        op->timer = sd_event_source_disable_unref(op->timer);
        delete_complete(op);
        return true;
}

void container_dispatch(Container *c) {
        Registry *registry = c->registry;

        /* Operations that end at once come back here; the loop below goes on for them, without recursion. */
        if (c->dispatching)
                return;
        if (c->operation) {
                (void) container_continue_delete(c);
                return;
        }

        c->dispatching = true;
        while (!c->operation) {
                Operation *op = container_next_operation(c);

                if (!op)
                        break;
                c->operation = op;
                operation_execute(op);
        }
        c->dispatching = false;

        if (!c->operation && c->phase == CONTAINER_DELETED)
                (void) container_free(c);
        registry_check_idle(registry);
}
