/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A file that a container writes to, read from some line on and as it grows. */

#include "ctl/log-print.h"

#define LOG_LINES_ALL UINT64_MAX

typedef struct LogFile {
        int fd;
        int stream;     /* 1 or 2 */
        char *path;
        char *line;     /* the beginning of one that has no end yet */
        size_t size, allocated;
} LogFile;

/* Takes 'path' (the caller's to free on failure) and stands before the last 'lines' lines. 0 or a negative errno. */
int log_file_open(LogFile *f, char *path, int stream, uint64_t lines);
void log_file_done(LogFile *f);

/* Prints the lines that there are, and with 'rest' also what is behind the last newline. One that was truncated is read
 * from its beginning. Negative errno. */
int log_file_read(LogFile *f, LogPrinter *p, bool rest);
