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
                FIELD("rootfs", MOUNTS, rootfs),
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
        [EVENT_SECCOMP] = { "/tasks/seccomp", "TaskSeccomp", {
                FIELD("pid", UINT32, pid),
                FIELD("syscall", STRING, syscall),
                FIELD("action", STRING, action),
                FIELD("errno", UINT32, error),
                FIELD("count", UINT64, count),
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

/* ---- mounts ---- */

size_t event_rootfs_length(const Event *e) {
        return e->rootfs ? e->rootfs->n_mounts : json_length(e->rootfs_json);
}

static EventMount mount_from_struct(const Mount *m) {
        EventMount mount = {
                .type = strempty(m->type),
                .source = strempty(m->source),
                .target = strempty(m->target),
                .strv = m->options,
        };

        while (m->options && m->options[mount.n_options])
                mount.n_options++;
        return mount;
}

/* Returns 0, or -EINVAL if this is no mount. */
static int mount_from_json(Json object, EventMount *ret) {
        EventMount mount = {};

        if (json_get_string(object, "type", &mount.type) <= 0 ||
            json_get_string(object, "source", &mount.source) <= 0 ||
            json_get_string(object, "target", &mount.target) <= 0)
                return -EINVAL;

        mount.json = json_get(object, "options");
        if (!YAJL_IS_ARRAY(mount.json))
                return -EINVAL;

        mount.n_options = json_length(mount.json);
        for (size_t i = 0; i < mount.n_options; i++)
                if (!json_string(json_element(mount.json, i)))
                        return -EINVAL;

        *ret = mount;
        return 0;
}

EventMount event_rootfs_get(const Event *e, size_t i) {
        EventMount mount = {};

        assert(i < event_rootfs_length(e));

        if (e->rootfs)
                return mount_from_struct(&e->rootfs->mounts[i]);

        (void) mount_from_json(json_element(e->rootfs_json, i), &mount); /* event_from_json() has checked it */
        return mount;
}

const char *event_mount_option(const EventMount *mount, size_t i) {
        assert(i < mount->n_options);
        return mount->strv ? mount->strv[i] : json_string(json_element(mount->json, i));
}

static void event_write_rootfs(const Event *e, JsonWriter *w) {
        static const Mounts none;

        if (!e->rootfs && e->rootfs_json)
                json_write_tree(w, e->rootfs_json);
        else
                mounts_write_json(e->rootfs ? e->rootfs : &none, w);
}

static int event_read_rootfs(Event *e, Json array) {
        EventMount mount;
        int r;

        if (!array)
                return 0;
        if (!YAJL_IS_ARRAY(array))
                return -EINVAL;

        for (size_t i = 0; i < json_length(array); i++) {
                r = mount_from_json(json_element(array, i), &mount);
                if (r < 0)
                        return r;
        }

        e->rootfs_json = array;
        return 1;
}

/* ---- writing ---- */

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
                event_write_rootfs(e, w);
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

/* ---- reading ---- */

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
                return event_read_rootfs(e, json_get(data, f->name));
        }

        return -EINVAL;
}

#define EVENT_MEMBERS 6

int event_from_json(Json tree, Event *ret) {
        const char *topic;
        Event e = {};
        Json data;

        if (json_get_uint64(tree, "sequence", &e.sequence) <= 0 || json_get_string(tree, "topic", &topic) <= 0 ||
            json_get_uint64(tree, "time", &e.time_usec) <= 0 || json_get_string(tree, "namespace", &e.ns) <= 0 ||
            json_get_string(tree, "container_id", &e.container_id) <= 0)
                return -EINVAL;

        /* With a member twice, whoever looks at the beginning only would see another event. */
        if (json_length(tree) != EVENT_MEMBERS || e.sequence > EVENT_SEQUENCE_MAX || !identifier_is_valid(e.ns) ||
            !identifier_is_valid(e.container_id))
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

/* ---- reading no more than the head ---- */

typedef enum HeadKey {
        HEAD_SEQUENCE = 1 << 0,
        HEAD_NAMESPACE = 1 << 1,
        HEAD_CONTAINER_ID = 1 << 2,
        HEAD_ALL = HEAD_SEQUENCE | HEAD_NAMESPACE | HEAD_CONTAINER_ID,
} HeadKey;

typedef struct HeadScan {
        EventHead head;
        unsigned depth;
        HeadKey key; /* that of the value to come, or 0 if that is none of ours */
        unsigned found;
} HeadScan;

static HeadKey head_key(const char *text, size_t size) {
        static const struct {
                const char *name;
                HeadKey key;
        } keys[] = {
                { "sequence", HEAD_SEQUENCE },
                { "namespace", HEAD_NAMESPACE },
                { "container_id", HEAD_CONTAINER_ID },
        };

        for (size_t i = 0; i < ELEMENTSOF(keys); i++)
                if (strlen(keys[i].name) == size && memcmp(keys[i].name, text, size) == 0)
                        return keys[i].key;

        return 0;
}

static int head_copy(char ret[static IDENTIFIER_MAX + 1], const char *text, size_t size) {
        if (size > IDENTIFIER_MAX)
                return -EINVAL;

        memcpy(ret, text, size);
        ret[size] = 0;
        return 0;
}

static int head_on_value(HeadScan *scan, HeadKey key, JsonEvent event, const char *text, size_t size) {
        char digits[IDENTIFIER_MAX + 1];
        int r;

        if (event != (key == HEAD_SEQUENCE ? JSON_NUMBER : JSON_STRING))
                return -EINVAL;

        scan->found |= key;
        if (key == HEAD_NAMESPACE)
                return head_copy(scan->head.ns, text, size);
        if (key == HEAD_CONTAINER_ID)
                return head_copy(scan->head.container_id, text, size);

        r = head_copy(digits, text, size);
        return r < 0 ? r : parse_uint64(digits, &scan->head.sequence);
}

static int head_on_json(void *userdata, JsonEvent event, const char *text, size_t size, const char **reterr_reason) {
        HeadScan *scan = userdata;
        HeadKey key = scan->key;

        if (event == JSON_KEY) {
                scan->key = scan->depth == 1 ? head_key(text, size) : 0;
                return 0;
        }

        scan->key = 0;
        if (key)
                return head_on_value(scan, key, event, text, size);

        if (event == JSON_OBJECT_OPEN || event == JSON_ARRAY_OPEN)
                scan->depth++;
        else if (event == JSON_OBJECT_CLOSE || event == JSON_ARRAY_CLOSE)
                scan->depth--;
        return 0;
}

/* Goes past a literal, or past a value and the literal behind it. */
static bool head_skip(const char **p, const char *end, const char *literal) {
        size_t size = strlen(literal);

        if ((size_t) (end - *p) < size || memcmp(*p, literal, size) != 0)
                return false;

        *p += size;
        return true;
}

static bool head_take(const char **p, const char *end, char ret[static IDENTIFIER_MAX + 1], char stop,
                      const char *literal) {
        const char *value = *p;

        *p = memchr(value, stop, (size_t) (end - value));
        if (!*p)
                return false;
        return head_copy(ret, value, (size_t) (*p - value)) >= 0 && head_skip(p, end, literal);
}

/* The same for a record in exactly the form that event_write_json() gives it. A reader who is told of thousands of
 * them would wait ten times as long if each had to be parsed for what stands at its beginning. */
static bool head_from_our_json(const char *text, size_t size, EventHead *ret) {
        char digits[IDENTIFIER_MAX + 1], topic[IDENTIFIER_MAX + 1], usec[IDENTIFIER_MAX + 1];
        const char *end = text + size, *tail = size > 2 ? end - 2 : text;

        return head_skip(&text, end, "{\"sequence\":") && head_take(&text, end, digits, ',', ",\"topic\":\"") &&
               head_take(&text, end, topic, '"', "\",\"time\":") &&
               head_take(&text, end, usec, ',', ",\"namespace\":\"") &&
               head_take(&text, end, ret->ns, '"', "\",\"container_id\":\"") &&
               head_take(&text, end, ret->container_id, '"', "\",\"data\":{") && head_skip(&tail, end, "}}") &&
               parse_uint64(digits, &ret->sequence) >= 0 && event_topic_from_string(topic) >= 0 &&
               parse_uint64(usec, &(uint64_t) { 0 }) >= 0;
}

int event_head_from_json(const char *text, size_t size, EventHead *ret) {
        HeadScan scan = {};

        if (!head_from_our_json(text, size, &scan.head) &&
            (json_scan(text, size, head_on_json, &scan, NULL) < 0 || scan.found != HEAD_ALL))
                return -EINVAL;
        if (scan.head.sequence > EVENT_SEQUENCE_MAX || !identifier_is_valid(scan.head.ns) ||
            !identifier_is_valid(scan.head.container_id))
                return -EINVAL;

        *ret = scan.head;
        return 0;
}
