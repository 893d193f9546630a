/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the two halves of the fake runtime both need. It stands apart from the daemon's own code on purpose: a mistake
 * there must not be made here as well. */

#include <stddef.h>
#include <stdint.h>

#define ELEMENTSOF(a) (sizeof(a) / sizeof((a)[0]))
#define PATH_SIZE 1024

/* Ends the program with 125, which is no exit code of runc's: the test is at fault, or the machine. */
__attribute__((noreturn)) void die(const char *what);

void nap(double seconds);
uint64_t now_usec(void);
void write_all(int fd, const void *data, size_t size);

/* The whole file, NUL-terminated; NULL with errno. "-" is stdin. */
char *read_file(const char *path);

/* As a JSON string, with its quotes. */
char *json_quote(const char *s);
