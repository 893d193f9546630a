/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Making text fit to be shown. Nothing here talks to anybody. */

#include "util/macro.h"

/* Turns every control character into a blank, in place: those of ASCII, and the C1 ones of UTF-8, which terminals
 * obey too. */
void format_make_line(char *s);

/* A word as it is when it cannot be mistaken for anything else, else as a JSON string. The caller frees it; NULL
 * without memory. */
char *format_quote(const char *s);

/* "2026-11-22T15:51:39.000123+01:00" (RFC 3339), in local time; "-" for 0, which means that it has not happened.
 * The caller frees it. */
char *format_time(uint64_t usec);

/* An amount of bytes in the unit that makes it short: "0B", "999B", "1.0K", "9.9K", "10K", "1023M". The caller frees
 * it. */
char *format_bytes(uint64_t bytes);

/* An absolute path that means the same as 'path' does in 'cwd': empty components and "." are dropped, ".." stays,
 * since only the file system knows where it leads. The caller frees it. */
char *format_absolute_path(const char *cwd, const char *path);

/* "unix:path=..." with everything escaped that a D-Bus address needs escaped. The caller frees it. */
char *format_unix_address(const char *path);
