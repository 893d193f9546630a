/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Verbs that are one runtime command, or less: kill, pause, resume, update. */

#include "core/operation.h"
#include "util/crash-point.h"
#include "util/json.h"
#include "util/text.h"

#include <stdlib.h>

/* ---- kill ---- */

static int kill_argv(const Operation *op, const Runtime *runtime, char ***ret) {
        return runtime_kill_argv(runtime, op->q.signal, op->q.all, ret);
}

static void kill_on_runtime(Operation *op, const JobResult *result) {
        _cleanup_(freep) char *text = NULL;
        const Container *c = op->process->container;

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

/* An exec'd process is signalled directly (containerd pkg/process/exec.go, kill). */
static int kill_exec(Operation *op) {
        Process *p = op->process;
        int r;

        r = process_kill(p, (int) op->q.signal);
        if (r == -ESRCH)
                return failure_set(&op->failure, FAILURE_NOT_FOUND, "process already finished: not found");
        if (r < 0)
                return failure_set_errno(&op->failure, r, "exec kill error: %m");

        operation_finish(op);
        return 0;
}

/* Does the runtime do nothing but kill(2) here? Starting it for that takes longer than all else that a container's
 * end takes. What it knows better stays its: many processes, an init that only waits to be one, a frozen one to be
 * thawed, be it that somebody else has frozen it (in cgroup v1 it looks like one that waits for a disk), and one that
 * has died while nobody has been told yet. */
static bool kill_is_plain(const Operation *op) {
        const Process *p = op->process;
        const Container *c = p->container;
        PidStat stat;

        if (op->q.all || p->state != PROCESS_RUNNING || p->exited || c->kill_all_on_exit || c->checkpoint)
                return false;
        if (pid_read_stat(p->pid, &stat) < 0 || stat.start_time != p->start_time || stat.exiting ||
            !strchr("RSTt", stat.state))
                return false;
        return runtime_kill_is_plain(c->runtime);
}

static int kill_init(Operation *op) {
        /* Of any failure the runtime says what its callers are used to. */
        if (!kill_is_plain(op) || process_kill(op->process, (int) op->q.signal) < 0)
                return operation_run_verb(op, kill_argv, kill_on_runtime);

        crash_point("kill-sent");
        operation_finish(op);
        return 0;
}

int operation_kill(Operation *op) {
        return process_is_init(op->process) ? kill_init(op) : kill_exec(op);
}

/* ---- pause and resume ---- */

/* The status of an exec'd process is its init's while that is paused. */
static void tell_status(Container *c) {
        const Observer *o = &c->services->observer;

        o->process_changed(o->userdata, &c->init, PROCESS_CHANGED_STATUS);
        CONTAINER_FOREACH_EXEC(p, c)
                if (p->published && p->state != PROCESS_STOPPED)
                        o->process_changed(o->userdata, p, PROCESS_CHANGED_STATUS);
}

static int pause_argv(const Operation *op, const Runtime *runtime, char ***ret) {
        return runtime_pause_argv(runtime, ret);
}

static void pause_on_runtime(Operation *op, const JobResult *result) {
        Process *p = op->process;
        Container *c = p->container;

        c->pausing = false;
        if (job_result_ok(result)) {
                p->state = process_rule(p, VERB_PAUSE)->to;
                (void) container_commit(c, EVENT_PAUSED, p, 0, false);
        } else
                operation_set_runtime_failure(op, "pause", result);

        tell_status(c);
        operation_finish(op);
}

int operation_pause(Operation *op) {
        Container *c = op->process->container;
        int r;

        r = operation_run_verb(op, pause_argv, pause_on_runtime);
        if (r < 0)
                return r;

        c->pausing = true;
        tell_status(c);
        return 0;
}

static int resume_argv(const Operation *op, const Runtime *runtime, char ***ret) {
        return runtime_resume_argv(runtime, ret);
}

static void resume_on_runtime(Operation *op, const JobResult *result) {
        Process *p = op->process;

        if (job_result_ok(result)) {
                p->state = process_rule(p, VERB_RESUME)->to;
                (void) container_commit(p->container, EVENT_RESUMED, p, 0, false);
                tell_status(p->container);
        } else
                operation_set_runtime_failure(op, "resume", result);

        operation_finish(op);
}

int operation_resume(Operation *op) {
        return operation_run_verb(op, resume_argv, resume_on_runtime);
}

/* ---- update ---- */

static int update_argv(const Operation *op, const Runtime *runtime, char ***ret) {
        return runtime_update_argv(runtime, ret);
}

static void update_on_runtime(Operation *op, const JobResult *result) {
        if (!job_result_ok(result))
                operation_set_runtime_failure(op, "update", result);

        operation_finish(op);
}

int operation_update(Operation *op) {
        return operation_run_verb(op, update_argv, update_on_runtime);
}

/* ---- the list of processes ---- */

static int ps_argv(const Operation *op, const Runtime *runtime, char ***ret) {
        return runtime_ps_argv(runtime, ret);
}

static int ps_parse(const char *text, pid_t **ret, size_t *ret_n) {
        _cleanup_(json_freep) Json tree = NULL;
        _cleanup_(freep) pid_t *pids = NULL;
        size_t n;
        int r;

        r = json_parse(text, strlen(text), &tree, NULL);
        if (r < 0)
                return r;

        if (!YAJL_IS_ARRAY(tree) && !YAJL_IS_NULL(tree)) /* null is what Go prints for an empty list */
                return -EINVAL;
        n = json_length(tree);
        pids = calloc(n + 1, sizeof(*pids));
        if (!pids)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                Json v = json_element(tree, i);

                if (!YAJL_IS_INTEGER(v) || YAJL_GET_INTEGER(v) <= 0 || YAJL_GET_INTEGER(v) > INT32_MAX)
                        return -EINVAL;
                pids[i] = (pid_t) YAJL_GET_INTEGER(v);
        }

        *ret = TAKE_PTR(pids);
        *ret_n = n;
        return 0;
}

static void ps_on_runtime(Operation *op, const JobResult *result) {
        int r;

        if (!job_result_ok(result))
                operation_set_runtime_failure(op, "ps", result);
        else {
                r = ps_parse(result->output, &op->pids, &op->n_pids);
                if (r < 0)
                        (void) failure_set(&op->failure, FAILURE_RUNTIME_FAILED,
                                           "OCI runtime ps failed: what it printed is no list of processes");
        }
        operation_finish(op);
}

int operation_list_pids(Operation *op) {
        const Process *p = op->process;

        if (p->exited || p->state == PROCESS_DELETED) {
                operation_finish(op); /* none */
                return 0;
        }
        return operation_run_verb(op, ps_argv, ps_on_runtime);
}
