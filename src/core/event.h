/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What happened to a container: containerd's task events (containerd api/events/task.proto).
 *
 * One table says which fields an event of each topic has; the record on disk, the signal's arguments and the
 * dictionary of GetEvents are all made from it. */

#include "host/mounts.h"
#include "util/json.h"
#include "util/macro.h"
#include "util/text.h"

typedef enum EventTopic {
        EVENT_CREATE,
        EVENT_START,
        EVENT_OOM,
        EVENT_EXIT,
        EVENT_DELETE,
        EVENT_EXEC_ADDED,
        EVENT_EXEC_STARTED,
        EVENT_PAUSED,
        EVENT_RESUMED,
        EVENT_CHECKPOINTED,
        EVENT_SECCOMP,
        _EVENT_TOPIC_MAX,
        _EVENT_TOPIC_INVALID = -EINVAL,
} EventTopic;

/* No event ever has a greater number. One that is read must be damaged, and going on from it would leave none. */
#define EVENT_SEQUENCE_MAX (UINT64_MAX / 2)

/* The strings belong to whoever made the event. Those that a topic does not have are ignored; NULL counts as "". */
typedef struct Event {
        uint64_t sequence;
        EventTopic topic;
        uint64_t time_usec; /* CLOCK_REALTIME */
        const char *ns;
        const char *container_id;

        const char *bundle;
        const Mounts *rootfs; /* NULL: none, or in rootfs_json if the event has been read from JSON */
        Json rootfs_json;
        const char *stdin_path;
        const char *stdout_path;
        const char *stderr_path;
        const char *checkpoint;
        const char *id; /* of the process: the container's for its init */
        const char *exec_id;
        const char *syscall;
        const char *action;
        uint64_t exited_at;
        uint64_t count;
        uint32_t pid;
        uint32_t exit_status;
        uint32_t error;
        bool terminal;
} Event;

typedef enum EventFieldType {
        EVENT_FIELD_STRING,
        EVENT_FIELD_BOOL,
        EVENT_FIELD_UINT32,
        EVENT_FIELD_UINT64,
        EVENT_FIELD_MOUNTS, /* a(sssas); to be read with event_rootfs_length() and event_rootfs_get() */
} EventFieldType;

typedef struct EventField {
        const char *name; /* NULL ends a list */
        EventFieldType type;
        size_t offset;
} EventField;

/* The fields after sequence, namespace and container id, in the order of the signal's arguments. */
const EventField *event_topic_fields(EventTopic topic);

const char *event_topic_to_string(EventTopic topic); /* "/tasks/exit" */
EventTopic event_topic_from_string(const char *s);   /* or _EVENT_TOPIC_INVALID */
const char *event_topic_to_signal(EventTopic topic); /* "TaskExit" */

static inline const void *event_field_ptr(const Event *e, const EventField *f) {
        return (const char *) e + f->offset;
}

/* The mounts of an event, wherever it has come from. The strings are the event's. */
typedef struct EventMount {
        const char *type;
        const char *source;
        const char *target;
        size_t n_options;
        char *const *strv; /* the options, in one of two forms: ask event_mount_option() */
        Json json;
} EventMount;

size_t event_rootfs_length(const Event *e);
EventMount event_rootfs_get(const Event *e, size_t i);             /* i < event_rootfs_length() */
const char *event_mount_option(const EventMount *mount, size_t i); /* i < EventMount::n_options */

/* One JSON object, as it stands on disk and goes to subscribers:
 * {"sequence":…,"topic":…,"time":…,"namespace":…,"container_id":…,"data":{…}}. */
void event_write_json(const Event *e, JsonWriter *w);

/* The way back; strings and mounts point into the tree. -EINVAL for anything that event_write_json() would not have
 * written. */
int event_from_json(Json tree, Event *ret);

/* What tells whether a record concerns a reader, without a tree of all that is in it. -EINVAL if the text is no valid
 * JSON or not that of an event. */
typedef struct EventHead {
        uint64_t sequence;
        char ns[IDENTIFIER_MAX + 1];
        char container_id[IDENTIFIER_MAX + 1];
} EventHead;

int event_head_from_json(const char *text, size_t size, EventHead *ret);
