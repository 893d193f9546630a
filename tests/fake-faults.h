/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What is to go wrong in one invocation of the fake runtime, and the record of what was invoked. The words that a test
 * can use are explained in fake-runtime.c. */

#include <stdbool.h>

typedef enum LogKind {
        LOG_DEFAULT,
        LOG_TEXT,
        LOG_NOTHING,
        LOG_EMPTY,
        LOG_GARBAGE,
        LOG_NO_MSG,
        LOG_TEXT_HUGE,
        LOG_TRUNCATED,
        LOG_WARNING
} LogKind;

typedef struct Fault {
        char *text; /* of the file; the strings below point into it */
        double sleep, sleep_after, pid_late, linger;
        bool hang, hang_after, hang_child, crash, crash_after, no_process, die, wait_exit, direct_child;
        bool deaf, stop;
        int exit, exit_after; /* -1: not */
        LogKind log_kind;
        const char *log_text, *say, *print, *pid, *console, *criu_log;
        long stderr_bytes, stdout_bytes, log_bytes;
} Fault;

extern Fault fault; /* of this invocation; nothing goes wrong before it is loaded */

/* An invocation, as faults and records name it. */
typedef struct Invocation {
        const char *verb; /* with "-force" or "-all" */
        const char *id;
        char exec_id[128]; /* or "" */
        char **argv;
} Invocation;

/* Loads the faults from that folder, if it exists, and records the beginning. */
void fault_load(const char *directory, const Invocation *inv);

/* Records the end, unless there is no such folder. */
void fault_record_end(const Invocation *inv, int code);

/* What is to happen before the verb has done anything, and when it is done; may not come back. 'log' may be NULL. */
void fault_before(const char *log);
void fault_after(void);
