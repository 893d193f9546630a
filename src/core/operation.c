/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is asked of a process: the queue, and what all verbs share. */

#include "core/operation.h"
#include "core/cleanup.h"
#include "core/process-io.h"
#include "core/registry.h"
#include "core/start.h"
#include "util/log.h"
#include "util/strv.h"
#include "util/text.h"

#include <assert.h>
#include <utlist.h>

/* ---- making and ending ---- */

CheckpointRequest *checkpoint_request_free(CheckpointRequest *q) {
        if (!q)
                return NULL;

        free(q->image_path);
        free(q->work_path);
        free(q->parent_path);
        strv_free(q->empty_namespaces);
        return mfree(q);
}

void operation_parameters_done(OperationParameters *q) {
        if (!q)
                return;

        q->resources = mfree(q->resources);
        q->checkpoint = checkpoint_request_free(q->checkpoint);
}

static Operation *operation_new(Process *p, OperationKind kind, OperationDone done, void *userdata) {
        Operation *op;

        op = malloc(sizeof(*op));
        if (!op)
                return NULL;

        *op = (Operation) {
                .process = p,
                .kind = kind,
                .done = done,
                .userdata = userdata,
                .failure = FAILURE_INIT,
        };
        return op;
}

static Operation *operation_free(Operation *op) {
        (void) job_free(op->job);
        (void) mounts_job_free(op->mounts);
        sd_event_source_disable_unref(op->timer);
        operation_parameters_done(&op->q);
        free(op->pids);
        strv_free(op->cgroups);
        failure_done(&op->failure);
        return mfree(op);
}

static void operation_answer(Operation *op) {
        if (op->done)
                op->done(op->userdata, op->process, &op->failure);
}

/* May one more operation wait? */
static int process_check_room(const Process *p, Failure *failure) {
        const Limits *limits = p->container->services->limits;

        if (p->container->registry->stopping)
                return failure_set(failure, FAILURE_UNAVAILABLE, "monoshimd is stopping");
        if (p->n_queued >= limits->operations_per_process)
                return failure_set_limit(failure, "MaxOperationsPerProcess", limits->operations_per_process,
                                         "%u operations wait for process %s already", p->n_queued, p->id);
        if (p->container->n_queued >= limits->operations_per_container)
                return failure_set_limit(failure, "MaxOperationsPerContainer", limits->operations_per_container,
                                         "%u operations wait for container %s already", p->container->n_queued,
                                         p->container->id);
        return 0;
}

static void process_refuse(Process *p, OperationParameters *q, OperationDone done, void *userdata,
                           const Failure *failure) {
        operation_parameters_done(q);
        if (done)
                done(userdata, p, failure);
}

void operation_submit(Process *p, OperationKind kind, OperationParameters *q, OperationDone done, void *userdata) {
        _cleanup_(failure_done) Failure failure = FAILURE_INIT;
        Operation *op;

        if (process_check_room(p, &failure) < 0) {
                process_refuse(p, q, done, userdata, &failure);
                return;
        }

        op = operation_new(p, kind, done, userdata);
        if (!op) {
                (void) failure_set(&failure, FAILURE_RESOURCE_EXHAUSTED, "out of memory");
                process_refuse(p, q, done, userdata, &failure);
                return;
        }
        if (q)
                op->q = *q;

        DL_APPEND(p->queue, op);
        p->n_queued++;
        p->container->n_queued++;
        process_dispatch(p);
}

Operation *operation_begin(Process *p, OperationKind kind, OperationDone done, void *userdata) {
        assert(!p->operation);

        p->operation = operation_new(p, kind, done, userdata);
        return p->operation;
}

/* Does no exec start while this runs? */
static bool operation_excludes_starts(const Operation *op) {
        switch (op->kind) {
        case OPERATION_PAUSE:
        case OPERATION_CHECKPOINT:
        case OPERATION_DELETE:
        case OPERATION_EXIT:
                return true;
        default:
                return false;
        }
}

void operation_finish(Operation *op) {
        Process *p = op->process;
        Container *c = p->container;
        bool was_exec_start = op->kind == OPERATION_START && !process_is_init(p);
        bool held_up_starts = process_is_init(p) && operation_excludes_starts(op);

        assert(p->operation == op);

        op->job = job_free(op->job);
        op->timer = sd_event_source_disable_unref(op->timer);

        operation_answer(op);
        p->operation = NULL;
        (void) operation_free(op);
        if (c->oom_untold > 0)
                container_flush_oom(c);

        c->n_dispatching++;
        process_dispatch(p);
        if (was_exec_start) {
                c->n_exec_starts--;
                process_dispatch(&c->init);
        } else if (held_up_starts)
                container_dispatch(c);
        c->n_dispatching--;

        container_collect(c);
}

static void process_abort(Process *p) {
        Operation *op, *next;

        if (p->operation) {
                if (p->operation->kind == OPERATION_START || p->operation->kind == OPERATION_CREATE)
                        process_kill_loggers(p); /* they log nothing yet, and nobody would know of them */
                DL_PREPEND(p->queue, p->operation);
        }
        p->operation = NULL;

        DL_FOREACH_SAFE(p->queue, op, next) {
                DL_DELETE(p->queue, op);
                (void) failure_set(&op->failure, FAILURE_UNAVAILABLE, "monoshimd is stopping");
                operation_answer(op);
                (void) operation_free(op);
        }
        p->container->n_queued -= p->n_queued;
        p->n_queued = 0;
}

void container_abort(Container *c) {
        CONTAINER_FOREACH_EXEC(p, c)
                process_abort(p);
        process_abort(&c->init);
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
                .input = op->q.resources,
                .timeout_usec = timeout_usec,
        };
        int r;

        r = cleanup_forget_log(op->process);
        if (r < 0)
                return r;

        op->then = then;
        op->timeout_usec = timeout_usec;
        return job_new(&op->job, op->process->container->services->pool, &p, operation_on_job, op);
}

void operation_set_runtime_failure(Operation *op, const char *verb, const JobResult *result) {
        _cleanup_(freep) char *text = NULL, *log = NULL, *log_path = NULL, *message = NULL;
        Container *c = op->process->container;
        _cleanup_(safe_closep) int dir_fd = container_open_state_directory(c);

        text = runtime_result_to_text(c->runtime, result, op->timeout_usec);
        if (result->error == -ETIMEDOUT) {
                (void) failure_set(&op->failure, FAILURE_DEADLINE_EXCEEDED, "OCI runtime %s failed: %s", verb,
                                   strempty(text));
                (void) container_log(c, LOG_ERR, ETIMEDOUT, "%s", failure_message(&op->failure));
                return;
        }

        log = process_file(op->process, "log");
        log_path = log ? container_state_path(c, log) : NULL;
        if (text && log_path && dir_fd >= 0)
                message = runtime_failure(verb, dir_fd, log, log_path, text);

        (void) failure_set(&op->failure,
                           failure_errno_is_exhaustion(result->error) ? FAILURE_RESOURCE_EXHAUSTED
                                                                      : FAILURE_RUNTIME_FAILED,
                           "%s", message ?: strempty(text));
}

int operation_run_captured(Operation *op, OperationArgv make_argv, uint64_t timeout_usec, OperationThen then) {
        _cleanup_(freep) char *log = NULL;
        char **argv = NULL;
        Runtime runtime;
        int r;

        r = process_get_runtime(op->process, &runtime, &log);
        if (r >= 0)
                r = make_argv(op, &runtime, &argv);
        if (r >= 0)
                r = operation_run(op, argv, NULL, true, timeout_usec, then);
        return r;
}

int operation_run_verb(Operation *op, OperationArgv make_argv, OperationThen then) {
        const Container *c = op->process->container;
        int r;

        r = operation_run_captured(op, make_argv, *c->services->runtime_timeout_usec, then);
        if (r < 0)
                return failure_set_errno(&op->failure, r, "Failed to run the OCI runtime %s: %m", c->runtime);

        return 0;
}

int operation_run_cleanup(Operation *op, OperationArgv make_argv, OperationThen then) {
        return operation_run_captured(op, make_argv, operation_cleanup_timeout(op->process->container), then);
}

/* ---- dispatch ---- */

/* After a restart: was it started while nobody looked? */
static int operation_probe(Operation *op) {
        Process *p = op->process;
        pid_t pid;

        if (p->state == PROCESS_CREATED)
                return cleanup_probe_started(op);

        /* A restore from a checkpoint that was under way is undone; it can be begun again. */
        if (p->state == PROCESS_CREATED_CHECKPOINT && process_read_pid_file(p, "restore", &pid, NULL) >= 0)
                cleanup_failed_restore(op);
        else
                operation_finish(op);
        return 0;
}

/* clang-format off */
static const struct {
        ProcessVerb verb;
        bool internal; /* not looked up in the lifecycle table */
        int (*begin)(Operation *op);
} kind_table[_OPERATION_KIND_MAX] = {
        [OPERATION_START]      = { VERB_START,      false, operation_start      },
        [OPERATION_KILL]       = { VERB_KILL,       false, operation_kill       },
        [OPERATION_DELETE]     = { VERB_DELETE,     false, operation_delete     },
        [OPERATION_PAUSE]      = { VERB_PAUSE,      false, operation_pause      },
        [OPERATION_RESUME]     = { VERB_RESUME,     false, operation_resume     },
        [OPERATION_UPDATE]     = { VERB_UPDATE,     false, operation_update     },
        [OPERATION_CHECKPOINT] = { VERB_CHECKPOINT, false, operation_checkpoint },
        [OPERATION_LIST_PIDS]  = { VERB_WAIT,       false, operation_list_pids  },
        [OPERATION_EXIT]       = { VERB_SET_EXITED, true,  operation_exit       },
        [OPERATION_PROBE]      = { VERB_START,      true,  operation_probe      },
};
/* clang-format on */

static void operation_execute(Operation *op) {
        const LifecycleRule *rule = process_rule(op->process, kind_table[op->kind].verb);
        bool internal = kind_table[op->kind].internal;

        assert(kind_table[op->kind].begin);

        if (!internal && op->process->container->registry->stopping)
                (void) failure_set(&op->failure, FAILURE_UNAVAILABLE, "monoshimd is stopping");
        else if (!internal && rule->answer != LIFECYCLE_ALLOWED)
                (void) failure_set(&op->failure,
                                   rule->answer == LIFECYCLE_NOT_FOUND ? FAILURE_NOT_FOUND
                                                                       : FAILURE_FAILED_PRECONDITION,
                                   "%s", rule->text);
        else if (kind_table[op->kind].begin(op) >= 0)
                return;

        operation_finish(op);
}

/* Has what must not run beside this one to end first? It comes back here when that has ended. */
static bool operation_must_wait(const Operation *op) {
        const Container *c = op->process->container;
        const Operation *of_init = c->init.operation ?: c->init.queue;

        if (process_is_init(op->process))
                return operation_excludes_starts(op) && c->n_exec_starts > 0;

        /* Also one that only waits for the starts under way counts, or they could keep it waiting for ever. */
        return op->kind == OPERATION_START && of_init && operation_excludes_starts(of_init);
}

/* An exit that was seen comes before everything that waits. Returns an operation, if publishing it takes one. */
static Operation *process_next_exit(Process *p) {
        Operation *op;

        if (p->container->phase != CONTAINER_LIVE || !p->exited || p->state == PROCESS_STOPPED ||
            p->state == PROCESS_DELETED)
                return NULL;

        if (process_is_init(p)) {
                op = operation_new(p, OPERATION_EXIT, NULL, NULL);
                if (op)
                        return op;
                (void) container_log(p->container, LOG_WARNING, ENOMEM,
                                     "Publishing the exit without killing what may be left of the container: %m");
        }

        process_publish_exit(p);
        if (!process_is_init(p))
                process_dispatch(&p->container->init); /* its own exit may wait for this one */
        return NULL;
}

static Operation *process_next_operation(Process *p) {
        Operation *op;

        op = process_next_exit(p);
        if (op)
                return op;

        /* What must wait holds up what came after it, save a kill: that may be the only way to end the wait. */
        op = p->queue;
        if (op && operation_must_wait(op)) {
                if (!process_is_init(p))
                        return NULL;
                DL_SEARCH_SCALAR(p->queue, op, kind, OPERATION_KILL);
        }
        if (!op)
                return NULL;

        DL_DELETE(p->queue, op);
        p->n_queued--;
        p->container->n_queued--;
        return op;
}

void process_dispatch(Process *p) {
        Container *c = p->container;

        /* Operations that end at once come back here; the loop below goes on for them, without recursion. */
        if (p->dispatching)
                return;

        c->n_dispatching++;
        p->dispatching = true;
        if (p->operation && p->operation->resume)
                p->operation->resume(p->operation);
        while (!p->operation) {
                Operation *op = process_next_operation(p);

                if (!op)
                        break;
                p->operation = op;
                if (op->kind == OPERATION_START && !process_is_init(p))
                        c->n_exec_starts++;
                operation_execute(op);
        }
        p->dispatching = false;
        c->n_dispatching--;

        container_collect(c);
}

void container_dispatch(Container *c) {
        c->n_dispatching++;
        CONTAINER_FOREACH_EXEC(p, c)
                process_dispatch(p);
        process_dispatch(&c->init);
        c->n_dispatching--;

        container_collect(c);
}
