/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One container: what it was made of, and how it changes in others' eyes. */

/* uthash ends the process when it gets no memory, unless told otherwise: then it calls this, having left the table as
 * it was. */
#define HASH_NONFATAL_OOM 1
#define uthash_nonfatal_oom(element) (hash_failed = true)

#include "core/container.h"
#include "core/operation.h"
#include "core/process-io.h"
#include "core/registry.h"
#include "core/seccomp.h"
#include "core/state.h"
#include "host/cgroup-view.h"
#include "util/clock.h"
#include "util/crash-point.h"
#include "util/file.h"
#include "util/log.h"
#include "util/strv.h"
#include "util/text.h"

#include <assert.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

static bool hash_failed;

int container_new(Container **ret, Registry *registry, const char *ns, const char *id) {
        size_t n_ns = strlen(ns), n_id = strlen(id);
        _cleanup_(container_freep) Container *c = NULL;
        int r;

        c = malloc(sizeof(*c) + n_ns + 1 + n_id + 1);
        if (!c)
                return -ENOMEM;

        *c = (Container) { .services = registry->services, .phase = CONTAINER_CREATING };
        memcpy(c->name, ns, n_ns);
        c->name[n_ns] = '/';
        c->id = c->name + n_ns + 1;
        memcpy(c->id, id, n_id + 1);
        process_init(&c->init, c, c->id);

        r = registry_add(registry, c, ns);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(c);
        return 0;
}

static void exec_free(Process *p) {
        HASH_DELETE(by_id, p->container->execs, p);
        if (p->container->registry)
                registry_unindex_process(p->container->registry, p);
        free(p->id);
        process_done(p);
        free(p);
}

Container *container_free(Container *c) {
        if (!c)
                return NULL;

        CONTAINER_FOREACH_EXEC(p, c) {
                assert(!p->operation && !p->queue);
                exec_free(p);
        }
        assert(!c->init.operation && !c->init.queue);

        if (c->registry) {
                registry_unindex_process(c->registry, &c->init);
                registry_remove(c->registry, c);
        }
        process_done(&c->init);
        (void) oom_watch_free(c->oom);
        if (c->phase != CONTAINER_LIVE)
                container_forget_seccomp(c);
        (void) container_seccomp_free(c->seccomp);

        free(c->bundle);
        free(c->runtime);
        free(c->runtime_root);
        free(c->control_group);
        free(c->cgroups_path);
        free(c->checkpoint);
        free(c->criu_work_path);
        mounts_done(&c->rootfs);
        free(c->labels);
        return mfree(c);
}

const char *container_get_namespace(const Container *c) {
        return c->ns->name;
}

int container_log(const Container *c, int level, int error, const char *format, ...) {
        _cleanup_(freep) char *text = NULL;
        va_list args;
        int r;

        errno = abs(error);
        va_start(args, format);
        r = vasprintf(&text, format, args);
        va_end(args);
        if (r < 0)
                text = NULL;

        return log_full(level, error, c->ns->name, c->id, "%s", text ?: "(out of memory while logging)");
}

char *container_state_path(const Container *c, const char *name) {
        return strdup_printf("%s/%s%s%s", c->services->state_directory, c->name, name ? "/" : "", strempty(name));
}

char *container_relative_path(const Container *c) {
        return strdup(c->name);
}

char *container_work_path(const Container *c, const char *name) {
        return strdup_printf("%s/%s/%s", c->services->root_directory, c->name, name);
}

int container_open_state_directory(const Container *c) {
        _cleanup_(freep) char *path = container_relative_path(c);

        if (!path)
                return -ENOMEM;

        return file_open_beneath(c->services->state_fd, path, O_RDONLY | O_DIRECTORY, 0);
}

int process_open_directory(const Process *p) {
        _cleanup_(safe_closep) int fd = container_open_state_directory(p->container);

        if (fd < 0 || process_is_init(p))
                return TAKE_FD(fd);
        return file_open_beneath(fd, EXEC_FOLDER, O_RDONLY | O_DIRECTORY, 0);
}

char *process_file(const Process *p, const char *kind) {
        if (!process_is_init(p))
                return strdup_printf(EXEC_FOLDER "/%s.%s", p->id, kind);
        if (streq(kind, "log"))
                return strdup("log.json");
        if (streq(kind, "pid"))
                return strdup("init.pid");
        return strdup(kind);
}

int process_get_runtime(const Process *p, Runtime *ret, char **ret_log) {
        _cleanup_(freep) char *file = process_file(p, "log");
        const Container *c = p->container;
        char *log;

        log = file ? container_state_path(c, file) : NULL;
        if (!log)
                return -ENOMEM;

        *ret = (Runtime) {
                .command = c->runtime,
                .root = c->runtime_root,
                .log = log,
                .systemd_cgroup = c->systemd_cgroup,
                .id = c->id,
        };
        *ret_log = log;
        return 0;
}

int process_save(Process *p) {
        int r;

        /* The descriptors first: what is said to run must not be without them after a crash. Of an exit the state
         * first: until it is there, only the pidfd that is kept knows how the process ended. */
        process_store(p);
        r = state_save(p);
        p->unsaved = r < 0;
        if (r >= 0 && p->exited && !p->exit_saved) {
                p->exit_saved = true;
                process_store(p);
        }
        return r;
}

static void process_log_unsaved(Process *p, int r) {
        (void) container_log(p->container, LOG_ERR, r,
                             "Failed to write the state of process %s, going on and trying again every second: %m",
                             p->id);
        registry_retry_save(p->container->registry);
}

void process_save_soon(Process *p) {
        int r;

        r = process_save(p);
        if (r < 0)
                process_log_unsaved(p, r);
}

static Event container_make_event(const Container *c, EventTopic topic, const Process *p) {
        return (Event) {
                .sequence = eventlog_next(c->services->log),
                .topic = topic,
                .time_usec = clock_get_realtime(),
                .ns = c->ns->name,
                .container_id = c->id,
                .bundle = c->bundle,
                .stdin_path = stream_to_string(&p->streams[STDIN_FILENO]),
                .stdout_path = stream_to_string(&p->streams[STDOUT_FILENO]),
                .stderr_path = stream_to_string(&p->streams[STDERR_FILENO]),
                .rootfs = &c->rootfs,
                .checkpoint = topic == EVENT_CHECKPOINTED ? c->init.operation->q.checkpoint->image_path
                                                          : c->checkpoint,
                .id = p->id,
                .exec_id = p->id,
                .pid = p->pid > 0 ? (uint32_t) p->pid : 0,
                .exit_status = p->exit_status,
                .exited_at = p->exited_at,
                .terminal = p->terminal,
        };
}

static char *event_to_record(const Event *e) {
        _cleanup_(json_writer_freep) JsonWriter *w = json_writer_new(false);
        char *record;

        if (!w)
                return NULL;

        event_write_json(e, w);
        return json_writer_copy(w, &record) < 0 ? NULL : record;
}

int container_commit(Container *c, EventTopic topic, Process *subject, unsigned changes, bool must_save) {
        Event e = container_make_event(c, topic, subject);
        const Services *s = c->services;
        ContainerPhase phase = c->phase;
        char *record, *before;
        EventRecord newest;
        int r;

        if (topic == EVENT_SECCOMP)
                container_fill_in_seccomp(c, &e);
        record = event_to_record(&e);
        if (!record && must_save)
                return -ENOMEM;

        /* The process's state holds the event as well: should we die before it is in the log, it is told then. */
        before = subject->last_event;
        subject->last_event = record;
        if (topic == EVENT_CREATE)
                c->phase = CONTAINER_LIVE; /* what state.json is to say */
        if (topic == EVENT_EXEC_ADDED)
                subject->published = true;
        r = process_save(subject);
        if (r < 0 && must_save) {
                subject->last_event = before;
                subject->published = subject->published && topic != EVENT_EXEC_ADDED;
                c->phase = phase;
                subject->unsaved = false;
                free(record);
                return r;
        }
        free(before);
        if (r < 0)
                process_log_unsaved(subject, r);

        if (topic == EVENT_CREATE)
                container_publish(c);
        if (topic == EVENT_EXEC_ADDED)
                s->observer.process_added(s->observer.userdata, subject);

        newest = (EventRecord) {
                .sequence = e.sequence,
                .ns = e.ns,
                .container_id = e.container_id,
                .text = record,
                .size = strlen(strempty(record)),
        };
        if (!record)
                eventlog_skip(s->log, e.sequence);
        else if ((r = eventlog_append(s->log, e.sequence, record, newest.size)) > 0)
                registry_retry_save(c->registry);

        subscriptions_publish(s->subscriptions, record ? &newest : NULL);

        /* What the log has the state need not say again. */
        if (record && r == 0)
                subject->last_event = mfree(subject->last_event);
        s->observer.event(s->observer.userdata, &e);
        crash_point("commit-told");
        if (changes != 0)
                s->observer.process_changed(s->observer.userdata, subject, changes);
        if (topic == EVENT_START)
                container_on_started_seccomp(c);
        return 0;
}

void container_publish(Container *c) {
        c->phase = CONTAINER_LIVE;
        c->registry->n_live++;
        registry_on_changed(c->registry);

        registry_index_process(c->registry, &c->init);
        c->services->observer.container_added(c->services->observer.userdata, c);
}

void process_withdraw(Process *p) {
        const Observer *o = &p->container->services->observer;

        if (!process_is_init(p) && p->published) {
                o->process_removed(o->userdata, p);
                p->published = false;
        }

        p->state = PROCESS_DELETED;
        registry_unindex_process(p->container->registry, p);
        process_release_io(p); /* before anybody is answered: nothing of it is left then */
        process_wake_waiters(p);
}

void container_withdraw(Container *c) {
        CONTAINER_FOREACH_EXEC(p, c)
                if (p->state != PROCESS_DELETED)
                        process_withdraw(p);

        if (c->phase == CONTAINER_LIVE) {
                c->services->observer.container_removed(c->services->observer.userdata, c);
                c->registry->n_live--;
                registry_on_changed(c->registry);
        }

        c->phase = CONTAINER_DELETED;
        c->oom = oom_watch_free(c->oom);
        container_forget_seccomp(c);
        process_withdraw(&c->init);
}

/* ---- exits ---- */

/* Can the exit of the init be told at once? See operation_exit(). */
static bool container_exit_is_simple(const Container *c) {
        return !c->kill_all_on_exit && c->init.state != PROCESS_PAUSED && c->n_exec_starts == 0 &&
               c->n_execs_alive == 0;
}

void container_on_exited(Container *c, Process *p, uint32_t exit_status, uint64_t when_usec) {
        if (p->exited)
                return;

        crash_point("exit-seen");
        p->exited = true;
        p->exit_status = exit_status;
        p->exited_at = when_usec;
        (void) container_log(c, LOG_DEBUG, 0, "Process %s (%d) has exited with status %" PRIu32 ".", p->id,
                             (int) p->pid, exit_status);

        /* While something has to be done first it is not told yet; known it is from this moment, whatever happens to
         * us.
         */
        if (c->phase == CONTAINER_LIVE && (p->operation || (process_is_init(p) && !container_exit_is_simple(c))))
                process_save_soon(p);

        process_dispatch(p);
}

void process_publish_exit(Process *p) {
        Container *c = p->container;

        container_flush_oom(c);
        container_flush_seccomp(c);
        registry_unindex_process(c->registry, p);
        if (!process_is_init(p) && p->state == PROCESS_RUNNING)
                c->n_execs_alive--;
        p->state = process_rule(p, VERB_SET_EXITED)->to;
        p->exit_told_usec = clock_get_monotonic();

        (void) container_commit(c, EVENT_EXIT, p, PROCESS_CHANGED_STATUS | PROCESS_CHANGED_EXIT, false);
        process_wake_waiters(p);
        process_drain_io(p);
}

void container_collect(Container *c) {
        Registry *registry = c->registry;

        if (c->n_dispatching > 0)
                return;

        CONTAINER_FOREACH_EXEC(p, c)
                if (p->state == PROCESS_DELETED && !p->operation && !p->queue)
                        exec_free(p);

        if (c->phase == CONTAINER_DELETED && !c->init.operation && !c->init.queue && !c->execs)
                (void) container_free(c);
        registry_check_idle(registry);
}

/* ---- out of memory ---- */

/* Of a group that is killed as a whole the kernel counts each process; a flood of equal events tells nobody more. */
#define OOM_EVENTS_MAX 64

static void container_tell_oom(Container *c, uint64_t kills) {
        const Observer *o = &c->services->observer;

        if (kills == 0)
                return;

        c->oom_kills += kills;
        c->oom_counter = oom_watch_get_known(c->oom);
        (void) container_log(c, LOG_NOTICE, 0, "The kernel has killed %" PRIu64 " of its processes for memory.",
                             kills);

        for (uint64_t i = 0; i < kills && i < OOM_EVENTS_MAX; i++)
                (void) container_commit(c, EVENT_OOM, &c->init, 0, false);
        o->process_changed(o->userdata, &c->init, PROCESS_CHANGED_OOM_KILLS);
}

static void container_on_oom(void *userdata, uint64_t kills) {
        Container *c = userdata;

        /* Its start comes first, also when the program is killed as soon as it runs. */
        if (c->init.operation && c->init.operation->kind == OPERATION_START)
                c->oom_untold += kills;
        else
                container_tell_oom(c, kills);
}

void container_flush_oom(Container *c) {
        uint64_t kills = c->oom_untold;

        c->oom_untold = 0;
        if (c->oom)
                container_tell_oom(c, kills + oom_watch_read(c->oom));
}

void container_look_at_cgroup(Container *c) {
        _cleanup_(cgroup_membership_done) CgroupMembership its = {};
        _cleanup_(cgroup_view_done) CgroupView view = {};
        int r;

        r = cgroup_membership_read(c->init.pid, &its);
        if (r == -ESRCH)
                return; /* its exit is on the way */
        if (r >= 0)
                r = cgroup_view_open(&view, getpid());
        if (r >= 0)
                r = cgroup_get_path(&its, &view, &c->control_group);
        if (r < 0)
                (void) container_log(c, LOG_WARNING, r, "Out-of-memory kills of this container will not be seen: %m");
        else
                container_watch_oom(c, &its, &view);
}

void container_watch_oom(Container *c, const CgroupMembership *its, CgroupView *view) {
        bool is_new = c->oom_counter == UINT64_MAX;
        int r;

        r = oom_watch_new(&c->oom, c->services->oom, its, view, c->control_group, c->oom_counter, container_on_oom,
                          c);
        if (r < 0) {
                (void) container_log(c, r == -EOPNOTSUPP ? LOG_DEBUG : LOG_WARNING, r,
                                     "Out-of-memory kills of this container will not be seen: %m");
                return;
        }
        if (is_new)
                c->oom_counter = oom_watch_get_known(c->oom);
}

/* ---- exec'd processes ---- */

Process *container_find_exec(Container *c, const char *id) {
        Process *p = NULL;

        HASH_FIND(by_id, c->execs, id, strlen(id), p);
        return p && p->published ? p : NULL;
}

int container_add_exec(Container *c, const char *id, Process **ret) {
        Process *p = NULL;
        char *copy;

        HASH_FIND(by_id, c->execs, id, strlen(id), p);
        if (p || streq(id, c->id))
                return -EEXIST;

        p = malloc(sizeof(*p));
        copy = strdup(id);
        if (!p || !copy) {
                free(p);
                free(copy);
                return -ENOMEM;
        }
        process_init(p, c, copy);

        hash_failed = false;
        HASH_ADD_KEYPTR(by_id, c->execs, p->id, strlen(p->id), p);
        if (hash_failed) {
                process_done(p);
                free(copy);
                free(p);
                return -ENOMEM;
        }

        *ret = p;
        return 0;
}
