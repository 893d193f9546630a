/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What happened to a container. */

#include "core/event.h"

#include <assert.h>

#define FIELD(name, type, member) \
        { name, EVENT_FIELD_##type, offsetof(Event, member) }
#define MAX_FIELDS 10

/* clang-format off */
static const struct {
        const char *name;
        const char *signal;
        EventField fields[MAX_FIELDS];
} topic_table[_EVENT_TOPIC_MAX] = {
        [EVENT_CREATE] = { "/tasks/create", "TaskCreate", {
                FIELD("bundle", STRING, bundle),
                { "rootfs", EVENT_FIELD_MOUNTS, 0 },
                FIELD("stdin", STRING, stdin_path),
                FIELD("stdout", STRING, stdout_path),
                FIELD("stderr", STRING, stderr_path),
                FIELD("terminal", BOOL, terminal),
                FIELD("checkpoint", STRING, checkpoint),
                FIELD("pid", UINT32, pid),
        }},
        [EVENT_START] = { "/tasks/start", "TaskStart", {
                FIELD("pid", UINT32, pid),
        }},
        [EVENT_OOM] = { "/tasks/oom", "TaskOOM", {}},
        [EVENT_EXIT] = { "/tasks/exit", "TaskExit", {
                FIELD("id", STRING, id),
                FIELD("pid", UINT32, pid),
                FIELD("exit_status", UINT32, exit_status),
                FIELD("exited_at", UINT64, exited_at),
        }},
        [EVENT_DELETE] = { "/tasks/delete", "TaskDelete", {
                FIELD("id", STRING, id),
                FIELD("pid", UINT32, pid),
                FIELD("exit_status", UINT32, exit_status),
                FIELD("exited_at", UINT64, exited_at),
        }},
        [EVENT_EXEC_ADDED] = { "/tasks/exec-added", "TaskExecAdded", {
                FIELD("exec_id", STRING, exec_id),
        }},
        [EVENT_EXEC_STARTED] = { "/tasks/exec-started", "TaskExecStarted", {
                FIELD("exec_id", STRING, exec_id),
                FIELD("pid", UINT32, pid),
        }},
        [EVENT_PAUSED] = { "/tasks/paused", "TaskPaused", {}},
        [EVENT_RESUMED] = { "/tasks/resumed", "TaskResumed", {}},
        [EVENT_CHECKPOINTED] = { "/tasks/checkpointed", "TaskCheckpointed", {
                FIELD("checkpoint", STRING, checkpoint),
        }},
};
/* clang-format on */

const EventField *event_topic_fields(EventTopic topic) {
        assert(topic >= 0 && topic < _EVENT_TOPIC_MAX);
        return topic_table[topic].fields;
}

const char *event_topic_to_string(EventTopic topic) {
        assert(topic >= 0 && topic < _EVENT_TOPIC_MAX);
        return topic_table[topic].name;
}

const char *event_topic_to_signal(EventTopic topic) {
        assert(topic >= 0 && topic < _EVENT_TOPIC_MAX);
        return topic_table[topic].signal;
}

EventTopic event_topic_from_string(const char *s) {
        for (size_t i = 0; i < ELEMENTSOF(topic_table); i++)
                if (streq(topic_table[i].name, s))
                        return (EventTopic) i;

        return _EVENT_TOPIC_INVALID;
}

static void event_write_field(const Event *e, const EventField *f, JsonWriter *w) {
        const void *p = event_field_ptr(e, f);

        json_write_key(w, f->name);

        switch (f->type) {
        case EVENT_FIELD_STRING:
                json_write_string(w, strempty(*(const char *const *) p));
                break;
        case EVENT_FIELD_BOOL:
                json_write_bool(w, *(const bool *) p);
                break;
        case EVENT_FIELD_UINT32:
                json_write_uint64(w, *(const uint32_t *) p);
                break;
        case EVENT_FIELD_UINT64:
                json_write_uint64(w, *(const uint64_t *) p);
                break;
        case EVENT_FIELD_MOUNTS:
                json_open_array(w);
                json_close_array(w);
                break;
        }
}

void event_write_json(const Event *e, JsonWriter *w) {
        json_open_object(w);
        json_put_uint64(w, "sequence", e->sequence);
        json_put_string(w, "topic", event_topic_to_string(e->topic));
        json_put_uint64(w, "time", e->time_usec);
        json_put_string(w, "namespace", e->ns);
        json_put_string(w, "container_id", e->container_id);

        json_write_key(w, "data");
        json_open_object(w);
        for (const EventField *f = event_topic_fields(e->topic); f->name; f++)
                event_write_field(e, f, w);
        json_close_object(w);

        json_close_object(w);
}

static int event_read_field(Event *e, const EventField *f, Json data) {
        void *p = (char *) e + f->offset;
        uint64_t u = 0;
        int r;

        switch (f->type) {
        case EVENT_FIELD_STRING:
                return json_get_string(data, f->name, p);
        case EVENT_FIELD_BOOL:
                return json_get_bool(data, f->name, p);
        case EVENT_FIELD_UINT32:
                r = json_get_uint64(data, f->name, &u);
                if (r > 0 && u > UINT32_MAX)
                        return -EINVAL;
                *(uint32_t *) p = (uint32_t) u;
                return r;
        case EVENT_FIELD_UINT64:
                return json_get_uint64(data, f->name, p);
        case EVENT_FIELD_MOUNTS:
                return json_get(data, f->name) ? 1 : 0;
        }

        return -EINVAL;
}

int event_from_json(Json tree, Event *ret) {
        const char *topic;
        Event e = {};
        Json data;

        if (json_get_uint64(tree, "sequence", &e.sequence) <= 0 || json_get_string(tree, "topic", &topic) <= 0 ||
            json_get_uint64(tree, "time", &e.time_usec) <= 0 || json_get_string(tree, "namespace", &e.ns) <= 0 ||
            json_get_string(tree, "container_id", &e.container_id) <= 0)
                return -EINVAL;

        e.topic = event_topic_from_string(topic);
        if (e.topic < 0)
                return -EINVAL;

        data = json_get(tree, "data");
        if (!json_is_object(data))
                return -EINVAL;

        for (const EventField *f = event_topic_fields(e.topic); f->name; f++)
                if (event_read_field(&e, f, data) <= 0)
                        return -EINVAL;

        *ret = e;
        return 0;
}
