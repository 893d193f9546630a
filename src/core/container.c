/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One container: what it was made of, and how it changes in others' eyes. */

#include "core/container.h"
#include "core/operation.h"
#include "core/registry.h"
#include "core/state.h"
#include "util/clock.h"
#include "util/file.h"
#include "util/log.h"
#include "util/strv.h"
#include "util/text.h"

#include <assert.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

int container_new(Container **ret, Registry *registry, const char *ns, const char *id) {
        _cleanup_(container_freep) Container *c = NULL;
        int r;

        c = malloc(sizeof(*c));
        if (!c)
                return -ENOMEM;

        *c = (Container) {
                .services = registry->services,
                .id = strdup(id),
                .phase = CONTAINER_CREATING,
        };
        process_init(&c->init, c, c->id);
        if (!c->id)
                return -ENOMEM;

        r = registry_add(registry, c, ns);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(c);
        return 0;
}

Container *container_free(Container *c) {
        if (!c)
                return NULL;

        assert(!c->operation);
        assert(!c->queue);

        if (c->registry) {
                registry_unindex_process(c->registry, &c->init);
                registry_remove(c->registry, c);
        }
        process_done(&c->init);

        free(c->id);
        free(c->bundle);
        free(c->runtime);
        free(c->runtime_root);
        free(c->control_group);
        free(c->cgroups_path);
        free(c->last_event);
        strv_free(c->labels);
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
        return strdup_printf("%s/%s/%s%s%s", c->services->state_directory, c->ns->name, c->id, name ? "/" : "",
                             strempty(name));
}

char *container_relative_path(const Container *c) {
        return strdup_printf("%s/%s", c->ns->name, c->id);
}

int container_open_state_directory(const Container *c) {
        _cleanup_(freep) char *path = container_relative_path(c);

        if (!path)
                return -ENOMEM;

        return file_open_beneath(c->services->state_fd, path, O_RDONLY | O_DIRECTORY, 0);
}

int container_get_runtime(const Container *c, Runtime *ret, char **ret_log) {
        char *log;

        log = container_state_path(c, "log.json");
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

int container_save(Container *c) {
        int r;

        r = state_save(c);
        c->unsaved = r < 0;
        return r;
}

static void container_log_unsaved(Container *c, int r) {
        (void) container_log(c, LOG_ERR, r, "Failed to write %s, going on and trying again every second: %m",
                             STATE_FILE);
        registry_retry_save(c->registry);
}

void container_save_soon(Container *c) {
        int r;

        r = container_save(c);
        if (r < 0)
                container_log_unsaved(c, r);
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
                .id = p->id,
                .pid = p->pid > 0 ? (uint32_t) p->pid : 0,
                .exit_status = p->exit_status,
                .exited_at = p->exited_at,
                .terminal = p->terminal,
        };
}

static char *event_to_record(const Event *e) {
        _cleanup_(json_writer_freep) JsonWriter *w = json_writer_new(false);
        const char *text;
        size_t size;

        if (!w)
                return NULL;

        event_write_json(e, w);
        if (json_writer_finish(w, &text, &size) < 0)
                return NULL;

        return strndup(text, size);
}

int container_commit(Container *c, EventTopic topic, const Process *subject, unsigned changes, bool must_save) {
        Event e = container_make_event(c, topic, subject);
        const Services *s = c->services;
        ContainerPhase phase = c->phase;
        char *record, *before;
        int r;

        record = event_to_record(&e);
        if (!record && must_save)
                return -ENOMEM;

        /* state.json holds the event as well: should we die before it is in the log, it is told then. */
        before = c->last_event;
        c->last_event = record;
        if (topic == EVENT_CREATE)
                c->phase = CONTAINER_LIVE; /* what state.json is to say */
        r = container_save(c);
        if (r < 0 && must_save) {
                c->last_event = before;
                c->phase = phase;
                c->unsaved = false;
                free(record);
                return r;
        }
        free(before);
        if (r < 0)
                container_log_unsaved(c, r);

        if (topic == EVENT_CREATE)
                (void) container_publish(c);

        if (!record)
                eventlog_skip(s->log, e.sequence);
        else if (eventlog_append(s->log, e.sequence, record, strlen(record)) > 0)
                registry_retry_save(c->registry);

        s->observer.event(s->observer.userdata, &e);
        if (changes != 0)
                s->observer.process_changed(s->observer.userdata, (Process *) subject, changes);
        return 0;
}

int container_publish(Container *c) {
        int r;

        c->phase = CONTAINER_LIVE;
        c->registry->n_live++;

        if (c->init.pid > 0) {
                r = registry_index_process(c->registry, &c->init);
                if (r < 0)
                        (void) container_log(c, LOG_WARNING, r, "Failed to index process %d, ignoring: %m",
                                             (int) c->init.pid);
        }

        c->services->observer.container_added(c->services->observer.userdata, c);
        return 0;
}

void container_withdraw(Container *c) {
        if (c->phase == CONTAINER_LIVE) {
                c->services->observer.container_removed(c->services->observer.userdata, c);
                c->registry->n_live--;
        }

        c->phase = CONTAINER_DELETED;
        c->init.state = PROCESS_DELETED;
        registry_unindex_process(c->registry, &c->init);
        process_release_streams(&c->init); /* before anybody is answered: nothing of it is left then */
        process_wake_waiters(&c->init);
}

void container_on_exited(Container *c, Process *p, uint32_t exit_status, uint64_t when_usec) {
        if (p->exited)
                return;

        p->exited = true;
        p->exit_status = exit_status;
        p->exited_at = when_usec;
        (void) container_log(c, LOG_DEBUG, 0, "Process %d has exited with status %" PRIu32 ".", (int) p->pid,
                             exit_status);

        /* While an operation runs it is not told yet; known it is from this moment, whatever happens to us. */
        if (c->operation && c->phase == CONTAINER_LIVE)
                container_save_soon(c);

        container_dispatch(c);
}

void container_publish_exit(Container *c) {
        Process *p = &c->init;

        registry_unindex_process(c->registry, p);
        p->state = lifecycle_init_rule(p->state, VERB_SET_EXITED)->to;

        (void) container_commit(c, EVENT_EXIT, p, PROCESS_CHANGED_STATUS | PROCESS_CHANGED_EXIT, false);
        process_wake_waiters(p);
        process_drain_streams(p);
}
