/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Log lines: to the journal when it is what stands behind stderr, to stderr otherwise.
 *
 * A line that concerns a container carries CONTAINER_ID= and CONTAINER_NAMESPACE= in the journal, and "NS/ID: " in
 * front of the text on stderr. Log once, where the decision is taken; functions below return their error instead.
 *
 * Nobody is waited for, neither journald nor whoever reads stderr. A line that the journal's socket does not take goes to
 * stderr, which has room of its own; one that nobody takes is counted, and the next that goes out is preceded by how many
 * were lost. */

#include "util/macro.h"

#include <syslog.h>

/* Chooses the journal or stderr. Never fails: without a journal the lines go to stderr. */
void log_open(void);
void log_set_max_level(int level);
int log_get_max_level(void);

/* "emerg" ... "debug", or "0" ... "7". Returns the level, or -EINVAL. */
int log_level_from_string(const char *s);

/* Logs if 'level' is at most the maximum. 'error' is 0 or an errno of either sign, which %m in the format prints.
 * 'ns' and 'id' name the container, or are NULL. Control characters in the text are replaced, so that no input can
 * forge a line. Always returns -abs(error), and leaves errno alone. */
int log_full(int level, int error, const char *ns, const char *id, const char *format, ...) _printf_(5, 6);

/* The same with one more field for the journal, "NAME=value"; NULL for none. */
int log_full_field(int level, int error, const char *ns, const char *id, const char *field, const char *format, ...)
        _printf_(6, 7);

#define log_debug(...) ((void) log_full(LOG_DEBUG, 0, NULL, NULL, __VA_ARGS__))
#define log_info(...) ((void) log_full(LOG_INFO, 0, NULL, NULL, __VA_ARGS__))
#define log_notice(...) ((void) log_full(LOG_NOTICE, 0, NULL, NULL, __VA_ARGS__))
#define log_warning(...) ((void) log_full(LOG_WARNING, 0, NULL, NULL, __VA_ARGS__))
#define log_error(...) ((void) log_full(LOG_ERR, 0, NULL, NULL, __VA_ARGS__))

#define log_debug_errno(error, ...) log_full(LOG_DEBUG, error, NULL, NULL, __VA_ARGS__)
#define log_warning_errno(error, ...) log_full(LOG_WARNING, error, NULL, NULL, __VA_ARGS__)
#define log_error_errno(error, ...) log_full(LOG_ERR, error, NULL, NULL, __VA_ARGS__)
