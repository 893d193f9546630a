/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The life of a process as a table: which verb is allowed in which state, where it leads, and what is said when it is
 * refused. Pure. The cells and texts are containerd's (pkg/process/init_state.go, exec_state.go, deleted_state.go).
 */

#include "util/macro.h"

typedef enum ProcessState {
        PROCESS_CREATED,
        PROCESS_CREATED_CHECKPOINT, /* init only: to be restored by its start */
        PROCESS_RUNNING,
        PROCESS_PAUSED, /* init only */
        PROCESS_STOPPED,
        PROCESS_DELETED,
        _PROCESS_STATE_MAX,
        _PROCESS_STATE_INVALID = -EINVAL,
} ProcessState;

typedef enum ProcessVerb {
        VERB_START,
        VERB_DELETE,
        VERB_PAUSE,
        VERB_RESUME,
        VERB_UPDATE,
        VERB_CHECKPOINT,
        VERB_EXEC, /* registering an exec'd process */
        VERB_KILL,
        VERB_RESIZE,
        VERB_SET_EXITED, /* the process was seen to exit */
        VERB_WAIT,
        _PROCESS_VERB_MAX,
        _PROCESS_VERB_INVALID = -EINVAL,
} ProcessVerb;

typedef enum LifecycleAnswer {
        LIFECYCLE_ALLOWED,             /* do it; on success the state becomes 'to' */
        LIFECYCLE_NOTHING,             /* nothing is to be done, and that is fine */
        LIFECYCLE_FAILED_PRECONDITION, /* refused with 'text' */
        LIFECYCLE_NOT_FOUND,           /* refused with 'text': it is gone */
} LifecycleAnswer;

typedef struct LifecycleRule {
        LifecycleAnswer answer;
        ProcessState to;
        const char *text; /* of a refusal, else NULL */
} LifecycleRule;

const LifecycleRule *lifecycle_init_rule(ProcessState state, ProcessVerb verb);

/* For an exec'd process. Pause, resume, update, checkpoint and exec are not its verbs: they are refused. */
const LifecycleRule *lifecycle_exec_rule(ProcessState state, ProcessVerb verb);

/* "created", "running", "paused", "stopped": what clients see. A checkpoint's "created" is told as such, "deleted" as
 * "stopped". */
const char *process_state_to_status(ProcessState state);

/* The other way round, of what is on disk: "created-checkpoint" and "deleted" are known as well.
 * _PROCESS_STATE_INVALID. */
const char *process_state_to_string(ProcessState state);
ProcessState process_state_from_string(const char *s);

static inline bool process_state_is_alive(ProcessState state) {
        return state == PROCESS_RUNNING || state == PROCESS_PAUSED;
}
