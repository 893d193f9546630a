/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The set of all containers. */

/* uthash ends the process when it gets no memory, unless told otherwise: then it calls this, having left the table as
 * it was. */
#define HASH_NONFATAL_OOM 1
#define uthash_nonfatal_oom(element) (hash_failed = true)

#include "core/registry.h"
#include "core/cleanup.h"
#include "core/operation.h"
#include "core/process-io.h"
#include "host/pid.h"
#include "util/log.h"
#include "util/text.h"

#include <assert.h>
#include <malloc.h>
#include <stdio.h>
#include <sys/types.h>

#define RETRY_USEC USEC_PER_SEC
#define TRIM_USEC (200 * USEC_PER_MSEC)
#define NAME_MAX_LENGTH 160 /* two identifiers and a slash */

static bool hash_failed;

void registry_init(Registry *r, const Services *services) {
        *r = (Registry) { .services = services };
}

void registry_done(Registry *r) {
        REGISTRY_FOREACH(c, r) {
                container_abort(c);
                (void) container_free(c);
        }

        cleanup_forget_removals(r);
        assert(!r->containers);
        assert(!r->namespaces);
        assert(!r->processes);
        sd_event_source_disable_unref(r->retry);
        sd_event_source_disable_unref(r->trim);
        *r = (Registry) {};
}

static size_t make_name(char name[static NAME_MAX_LENGTH], const char *ns, const char *id) {
        int n = snprintf(name, NAME_MAX_LENGTH, "%s/%s", ns, id);

        return n < 0 || n >= NAME_MAX_LENGTH ? 0 : (size_t) n;
}

int registry_check_name(const char *ns, const char *id, Failure *failure) {
        _cleanup_(freep) char *reason = NULL;
        int r;

        r = identifier_check(ns, &reason);
        if (r < 0)
                return failure_set(failure, FAILURE_INVALID_ARGUMENT, "invalid namespace: %s", strempty(reason));

        r = identifier_check(id, &reason);
        if (r < 0)
                return failure_set(failure, FAILURE_INVALID_ARGUMENT, "invalid task id: %s", strempty(reason));
        return 0;
}

Container *registry_lookup(Registry *r, const char *ns, const char *id) {
        char name[NAME_MAX_LENGTH];
        Container *c = NULL;
        size_t n;

        n = make_name(name, ns, id);
        if (n == 0)
                return NULL;

        HASH_FIND(by_name, r->containers, name, n, c);
        return c;
}

Container *registry_find(Registry *r, const char *ns, const char *id) {
        Container *c = registry_lookup(r, ns, id);

        return c && c->phase == CONTAINER_LIVE ? c : NULL;
}

static Namespace *namespace_get(Registry *r, const char *name) {
        Namespace *ns = NULL;

        HASH_FIND(by_name, r->namespaces, name, strlen(name), ns);
        if (ns)
                return ns;

        ns = malloc(sizeof(*ns));
        if (!ns)
                return NULL;
        *ns = (Namespace) { .name = strdup(name) };
        if (!ns->name)
                return mfree(ns);

        hash_failed = false;
        HASH_ADD_KEYPTR(by_name, r->namespaces, ns->name, strlen(ns->name), ns);
        if (hash_failed) {
                free(ns->name);
                return mfree(ns);
        }
        return ns;
}

static void namespace_put(Registry *r, Namespace *ns) {
        if (ns->n_containers > 0)
                return;

        HASH_DELETE(by_name, r->namespaces, ns);
        free(ns->name);
        free(ns);
}

int registry_check_room(Registry *r, const char *ns, Failure *failure) {
        const Limits *limits = r->services->limits;
        unsigned n = HASH_CNT(by_name, r->containers);
        Namespace *space = NULL;

        if (n >= limits->containers)
                return failure_set_limit(failure, "MaxContainers", limits->containers,
                                         "there are %u containers already", n);

        HASH_FIND(by_name, r->namespaces, ns, strlen(ns), space);
        if (space && space->n_containers >= limits->containers_per_namespace)
                return failure_set_limit(failure, "MaxContainersPerNamespace", limits->containers_per_namespace,
                                         "there are %u containers in namespace %s already", space->n_containers, ns);
        return 0;
}

int registry_add(Registry *r, Container *c, const char *ns) {
        Namespace *space;

        assert(!c->registry);

        if (strlen(c->name) >= NAME_MAX_LENGTH)
                return -EINVAL;
        if (registry_lookup(r, ns, c->id))
                return -EEXIST;

        space = namespace_get(r, ns);
        if (!space)
                return -ENOMEM;

        hash_failed = false;
        HASH_ADD_KEYPTR(by_name, r->containers, c->name, strlen(c->name), c);
        if (hash_failed) {
                namespace_put(r, space);
                return -ENOMEM;
        }

        space->n_containers++;
        c->ns = space;
        c->registry = r;
        return 0;
}

static int registry_on_trim(sd_event_source *source, uint64_t usec, void *userdata) {
        Registry *r = userdata;

        r->trim = sd_event_source_disable_unref(r->trim);
        if (!r->containers)
                (void) malloc_trim(0);
        return 0;
}

/* What a storm has left of holes in the heap is given back when it is over: a daemon without containers is to cost
 * nothing. */
static void registry_trim_soon(Registry *r) {
        if (r->trim || r->stopping)
                return;

        (void) sd_event_add_time_relative(r->services->event, &r->trim, CLOCK_MONOTONIC, TRIM_USEC, 0,
                                          registry_on_trim, r);
}

void registry_remove(Registry *r, Container *c) {
        assert(c->registry == r);

        HASH_DELETE(by_name, r->containers, c);
        c->ns->n_containers--;
        namespace_put(r, c->ns);
        c->ns = NULL;
        c->registry = NULL;

        if (!r->containers) {
                registry_trim_soon(r);
                registry_on_changed(r);
        }
}

Process *registry_get_process(Registry *r, pid_t pid) {
        Process *p = NULL;

        HASH_FIND(by_pid, r->processes, &pid, sizeof(pid), p);
        return p;
}

static int index_add(Registry *r, Process *p) {
        if (registry_get_process(r, p->pid))
                return -EEXIST;

        hash_failed = false;
        HASH_ADD(by_pid, r->processes, pid, sizeof(p->pid), p);
        return hash_failed ? -ENOMEM : 0;
}

void registry_index_process(Registry *r, Process *p) {
        int e;

        if (p->indexed || p->exited || p->pid <= 0)
                return;

        e = index_add(r, p);
        p->indexed = e >= 0;
        if (e < 0)
                (void) container_log(p->container, LOG_WARNING, e, "Failed to index process %d, ignoring: %m",
                                     (int) p->pid);
}

void registry_unindex_process(Registry *r, Process *p) {
        if (!p->indexed)
                return;

        HASH_DELETE(by_pid, r->processes, p);
        p->indexed = false;
}

bool registry_has_namespace(Registry *r, const char *name) {
        Namespace *ns = NULL;

        HASH_FIND(by_name, r->namespaces, name, strlen(name), ns);
        return ns;
}

bool registry_is_last_of_namespace(const Container *c) {
        return c->ns->n_containers == 1;
}

/* Up the line of parents, as far as ourselves. */
static Process *registry_find_ancestor(Registry *r, pid_t pid) {
        /* The chain ends at a pid namespace's depth times some; the bound only guards against numbers that change
         * under us. */
        for (unsigned depth = 0; depth < 256 && pid > 1 && pid != getpid(); depth++) {
                Process *p = registry_get_process(r, pid);
                PidStat stat;

                if (p)
                        return p;
                if (pid_read_stat(pid, &stat) < 0)
                        return NULL;
                pid = stat.parent;
        }

        return NULL;
}

static bool cgroup_is_within(const char *cgroup, const char *parent) {
        size_t n = strlen(parent);

        return n > 0 && strncmp(cgroup, parent, n) == 0 && (cgroup[n] == 0 || cgroup[n] == '/');
}

Container *registry_find_by_pid(Registry *r, pid_t pid) {
        _cleanup_(freep) char *cgroup = NULL;
        Process *p;

        p = registry_find_ancestor(r, pid);
        if (p)
                return p->container;

        /* A process whose parent has died hangs below its container's init only if that has a pid namespace of its
         * own. Otherwise it became our child, and its cgroup tells where it came from. */
        if (pid_read_cgroup(pid, &cgroup) < 0 || isempty(cgroup))
                return NULL;

        REGISTRY_FOREACH(c, r)
                if (c->phase == CONTAINER_LIVE && c->control_group && cgroup_is_within(cgroup, c->control_group))
                        return c;

        return NULL;
}

int registry_save(Registry *r) {
        int error = eventlog_flush(r->services->log), e;

        REGISTRY_FOREACH(c, r) {
                if (c->init.unsaved && (e = process_save(&c->init)) < 0)
                        error = e;
                CONTAINER_FOREACH_EXEC(p, c)
                        if (p->unsaved && (e = process_save(p)) < 0)
                                error = e;
        }
        return error < 0 ? error : 0;
}

static int registry_on_retry(sd_event_source *source, uint64_t usec, void *userdata) {
        Registry *r = userdata;
        bool again;

        again = cleanup_retry_removals(r);
        again = registry_save(r) < 0 || again;

        r->retry = sd_event_source_disable_unref(r->retry);
        if (again)
                registry_retry_save(r);
        else
                log_notice("What could not be written before has been written now.");
        return 0;
}

void registry_retry_save(Registry *r) {
        int e;

        if (r->retry)
                return;

        e = sd_event_add_time_relative(r->services->event, &r->retry, CLOCK_MONOTONIC, RETRY_USEC, 0,
                                       registry_on_retry, r);
        if (e < 0)
                log_error_errno(
                        e, "Failed to arrange for writing the state again, it is written at the next change: %m");
}

static bool registry_has_operations(const Registry *r) {
        REGISTRY_FOREACH(c, r) {
                if (c->init.operation || c->n_exec_starts > 0)
                        return true;
                CONTAINER_FOREACH_EXEC(p, c)
                        if (p->operation)
                                return true;
        }
        return false;
}

static void registry_for_each_process(Registry *r, void (*action)(Process *p)) {
        REGISTRY_FOREACH(c, r) {
                action(&c->init);
                CONTAINER_FOREACH_EXEC(p, c)
                        action(p);
        }
}

void registry_store_for_handover(Registry *r) {
        registry_for_each_process(r, process_store_for_handover);
}

void registry_store(Registry *r) {
        registry_for_each_process(r, process_store);
}

bool registry_is_quiet(const Registry *r) {
        return job_pool_n_jobs(r->services->pool) == 0 && !registry_has_operations(r);
}

void registry_on_changed(Registry *r) {
        if (r->changed)
                r->changed(r->changed_userdata);
}

void registry_check_idle(Registry *r) {
        void (*idle)(void *) = r->idle;

        if (!r->stopping || !idle || registry_has_operations(r))
                return;

        r->idle = NULL;
        idle(r->idle_userdata);
}

void registry_stop(Registry *r, void (*idle)(void *userdata), void *userdata) {
        r->stopping = true;

        REGISTRY_FOREACH(c, r) {
                c->n_dispatching++;
                container_dispatch(c); /* refuses what waits */
                CONTAINER_FOREACH_EXEC(p, c)
                        (void) process_abandon_loggers(p, FAILURE_UNAVAILABLE, "monoshimd is stopping");
                (void) process_abandon_loggers(&c->init, FAILURE_UNAVAILABLE, "monoshimd is stopping");
                c->n_dispatching--;
                container_collect(c);
        }

        r->idle = idle;
        r->idle_userdata = userdata;
        registry_check_idle(r);
}
