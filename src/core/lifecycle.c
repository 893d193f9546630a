/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The life of a process as a table. */

#include "core/lifecycle.h"

#include <assert.h>

#define TO(state) \
        { LIFECYCLE_ALLOWED, state, NULL }
#define REFUSED(text) \
        { LIFECYCLE_FAILED_PRECONDITION, _PROCESS_STATE_INVALID, text }
#define GONE(text) \
        { LIFECYCLE_NOT_FOUND, _PROCESS_STATE_INVALID, text }
#define NOTHING \
        { LIFECYCLE_NOTHING, _PROCESS_STATE_INVALID, NULL }

/* clang-format off */
static const LifecycleRule init_table[_PROCESS_STATE_MAX][_PROCESS_VERB_MAX] = {
        [PROCESS_CREATED] = {
                [VERB_START]      = TO(PROCESS_RUNNING),
                [VERB_DELETE]     = TO(PROCESS_DELETED),
                [VERB_PAUSE]      = REFUSED("cannot pause task in created state"),
                [VERB_RESUME]     = REFUSED("cannot resume task in created state"),
                [VERB_UPDATE]     = TO(PROCESS_CREATED),
                [VERB_CHECKPOINT] = REFUSED("cannot checkpoint a task in created state"),
                [VERB_EXEC]       = TO(PROCESS_CREATED),
                [VERB_KILL]       = TO(PROCESS_CREATED),
                [VERB_RESIZE]     = TO(PROCESS_CREATED),
                [VERB_SET_EXITED] = TO(PROCESS_STOPPED),
                [VERB_WAIT]       = TO(PROCESS_CREATED),
        },
        [PROCESS_CREATED_CHECKPOINT] = {
                [VERB_START]      = TO(PROCESS_RUNNING),
                [VERB_DELETE]     = TO(PROCESS_DELETED),
                [VERB_PAUSE]      = REFUSED("cannot pause task in created state"),
                [VERB_RESUME]     = REFUSED("cannot resume task in created state"),
                [VERB_UPDATE]     = TO(PROCESS_CREATED_CHECKPOINT),
                [VERB_CHECKPOINT] = REFUSED("cannot checkpoint a task in created state"),
                [VERB_EXEC]       = REFUSED("cannot exec in a created state"),
                [VERB_KILL]       = TO(PROCESS_CREATED_CHECKPOINT),
                [VERB_RESIZE]     = TO(PROCESS_CREATED_CHECKPOINT),
                [VERB_SET_EXITED] = TO(PROCESS_STOPPED),
                [VERB_WAIT]       = TO(PROCESS_CREATED_CHECKPOINT),
        },
        [PROCESS_RUNNING] = {
                [VERB_START]      = REFUSED("cannot start a running process"),
                [VERB_DELETE]     = REFUSED("cannot delete a running process"),
                [VERB_PAUSE]      = TO(PROCESS_PAUSED),
                [VERB_RESUME]     = REFUSED("cannot resume a running process"),
                [VERB_UPDATE]     = TO(PROCESS_RUNNING),
                [VERB_CHECKPOINT] = TO(PROCESS_RUNNING),
                [VERB_EXEC]       = TO(PROCESS_RUNNING),
                [VERB_KILL]       = TO(PROCESS_RUNNING),
                [VERB_RESIZE]     = TO(PROCESS_RUNNING),
                [VERB_SET_EXITED] = TO(PROCESS_STOPPED),
                [VERB_WAIT]       = TO(PROCESS_RUNNING),
        },
        [PROCESS_PAUSED] = {
                [VERB_START]      = REFUSED("cannot start a paused process"),
                [VERB_DELETE]     = REFUSED("cannot delete a paused process"),
                [VERB_PAUSE]      = REFUSED("cannot pause a paused container"),
                [VERB_RESUME]     = TO(PROCESS_RUNNING),
                [VERB_UPDATE]     = TO(PROCESS_PAUSED),
                [VERB_CHECKPOINT] = TO(PROCESS_PAUSED),
                [VERB_EXEC]       = REFUSED("cannot exec in a paused state"),
                [VERB_KILL]       = TO(PROCESS_PAUSED),
                [VERB_RESIZE]     = TO(PROCESS_PAUSED),
                [VERB_SET_EXITED] = TO(PROCESS_STOPPED), /* after a resume: a frozen v1 cgroup cannot be deleted */
                [VERB_WAIT]       = TO(PROCESS_PAUSED),
        },
        [PROCESS_STOPPED] = {
                [VERB_START]      = REFUSED("cannot start a stopped process"),
                [VERB_DELETE]     = TO(PROCESS_DELETED),
                [VERB_PAUSE]      = REFUSED("cannot pause a stopped container"),
                [VERB_RESUME]     = REFUSED("cannot resume a stopped container"),
                [VERB_UPDATE]     = REFUSED("cannot update a stopped container"),
                [VERB_CHECKPOINT] = REFUSED("cannot checkpoint a stopped container"),
                [VERB_EXEC]       = REFUSED("cannot exec in a stopped state"),
                [VERB_KILL]       = TO(PROCESS_STOPPED), /* the runtime says that it is gone, or kills what is left */
                [VERB_RESIZE]     = TO(PROCESS_STOPPED),
                [VERB_SET_EXITED] = NOTHING,
                [VERB_WAIT]       = TO(PROCESS_STOPPED),
        },
        [PROCESS_DELETED] = {
                [VERB_START]      = REFUSED("cannot start a deleted process"),
                [VERB_DELETE]     = GONE("cannot delete a deleted process: not found"),
                [VERB_PAUSE]      = REFUSED("cannot pause a deleted process"),
                [VERB_RESUME]     = REFUSED("cannot resume a deleted process"),
                [VERB_UPDATE]     = REFUSED("cannot update a deleted process"),
                [VERB_CHECKPOINT] = REFUSED("cannot checkpoint a deleted process"),
                [VERB_EXEC]       = REFUSED("cannot exec in a deleted state"),
                [VERB_KILL]       = GONE("cannot kill a deleted process: not found"),
                [VERB_RESIZE]     = TO(PROCESS_DELETED),
                [VERB_SET_EXITED] = NOTHING,
                [VERB_WAIT]       = TO(PROCESS_DELETED),
        },
};
/* clang-format on */

#define NO_VERB REFUSED("an exec'd process cannot do this, only its container can")

/* What no exec'd process can do, and the two states that it never has. */
/* clang-format off */
#define EXEC_COMMON                        \
        [VERB_PAUSE]      = NO_VERB,       \
        [VERB_RESUME]     = NO_VERB,       \
        [VERB_UPDATE]     = NO_VERB,       \
        [VERB_CHECKPOINT] = NO_VERB,       \
        [VERB_EXEC]       = NO_VERB
/* clang-format on */

#define EXEC_NEVER \
        { [0 ... _PROCESS_VERB_MAX - 1] = NO_VERB }

/* clang-format off */
static const LifecycleRule exec_table[_PROCESS_STATE_MAX][_PROCESS_VERB_MAX] = {
        [PROCESS_CREATED] = {
                EXEC_COMMON,
                [VERB_START]      = TO(PROCESS_RUNNING),
                [VERB_DELETE]     = TO(PROCESS_DELETED),
                [VERB_KILL]       = REFUSED("process not created: failed precondition"),
                [VERB_RESIZE]     = TO(PROCESS_CREATED),
                [VERB_SET_EXITED] = TO(PROCESS_STOPPED),
                [VERB_WAIT]       = TO(PROCESS_CREATED),
        },
        [PROCESS_CREATED_CHECKPOINT] = EXEC_NEVER,
        [PROCESS_RUNNING] = {
                EXEC_COMMON,
                [VERB_START]      = REFUSED("cannot start a running process"),
                [VERB_DELETE]     = REFUSED("cannot delete a running process"),
                [VERB_KILL]       = TO(PROCESS_RUNNING),
                [VERB_RESIZE]     = TO(PROCESS_RUNNING),
                [VERB_SET_EXITED] = TO(PROCESS_STOPPED),
                [VERB_WAIT]       = TO(PROCESS_RUNNING),
        },
        [PROCESS_PAUSED] = EXEC_NEVER,
        [PROCESS_STOPPED] = {
                EXEC_COMMON,
                [VERB_START]      = REFUSED("cannot start a stopped process"),
                [VERB_DELETE]     = TO(PROCESS_DELETED),
                [VERB_KILL]       = GONE("process already finished: not found"),
                [VERB_RESIZE]     = REFUSED("cannot resize a stopped container"),
                [VERB_SET_EXITED] = NOTHING,
                [VERB_WAIT]       = TO(PROCESS_STOPPED),
        },
        [PROCESS_DELETED] = {
                EXEC_COMMON,
                [VERB_START]      = REFUSED("cannot start a deleted process"),
                [VERB_DELETE]     = GONE("cannot delete a deleted process: not found"),
                [VERB_KILL]       = GONE("cannot kill a deleted process: not found"),
                [VERB_RESIZE]     = REFUSED("cannot resize a deleted process"),
                [VERB_SET_EXITED] = NOTHING,
                [VERB_WAIT]       = TO(PROCESS_DELETED),
        },
};
/* clang-format on */

/* clang-format off */
static const struct {
        const char *name;
        const char *status;
} state_table[_PROCESS_STATE_MAX] = {
        [PROCESS_CREATED]            = { "created",            "created" },
        [PROCESS_CREATED_CHECKPOINT] = { "created-checkpoint", "created" },
        [PROCESS_RUNNING]            = { "running",            "running" },
        [PROCESS_PAUSED]             = { "paused",             "paused"  },
        [PROCESS_STOPPED]            = { "stopped",            "stopped" },
        [PROCESS_DELETED]            = { "deleted",            "stopped" },
};
/* clang-format on */

const LifecycleRule *lifecycle_init_rule(ProcessState state, ProcessVerb verb) {
        assert(state >= 0 && state < _PROCESS_STATE_MAX);
        assert(verb >= 0 && verb < _PROCESS_VERB_MAX);
        return &init_table[state][verb];
}

const LifecycleRule *lifecycle_exec_rule(ProcessState state, ProcessVerb verb) {
        assert(state >= 0 && state < _PROCESS_STATE_MAX);
        assert(verb >= 0 && verb < _PROCESS_VERB_MAX);
        return &exec_table[state][verb];
}

const char *process_state_to_status(ProcessState state) {
        assert(state >= 0 && state < _PROCESS_STATE_MAX);
        return state_table[state].status;
}

const char *process_state_to_string(ProcessState state) {
        assert(state >= 0 && state < _PROCESS_STATE_MAX);
        return state_table[state].name;
}

ProcessState process_state_from_string(const char *s) {
        for (size_t i = 0; i < ELEMENTSOF(state_table); i++)
                if (streq(state_table[i].name, s))
                        return (ProcessState) i;

        return _PROCESS_STATE_INVALID;
}
