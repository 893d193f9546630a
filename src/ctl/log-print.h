/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A container's output, shown again: what its stdout was goes to ours, what its stderr was to ours; or all of it as JSON
 * to stdout, an object for each line. */

#include "ctl/settings.h"

typedef struct LogPrinter {
        OutputMode output;
        uint64_t n_lines;       /* printed so far */
} LogPrinter;

/* One line, without its newline. 'fd' is 1 or 2; 'usec' 0 where the time is not known. */
void log_print_line(LogPrinter *p, int fd, uint64_t usec, const char *text, size_t size);
