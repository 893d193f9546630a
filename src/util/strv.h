/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* NULL-terminated string arrays: argument vectors and the like. */

#include "util/macro.h"

char **strv_free(char **v);
DEFINE_CLEANUP(char **, strv_free);

size_t strv_length(char *const *v);
bool strv_contains(char *const *v, const char *s);

/* Appends a copy of 's' (NULL is allowed and does nothing). 0, or -ENOMEM with the array unchanged. */
int strv_extend(char ***v, const char *s);

/* Appends copies of all the strings given, up to a NULL. */
int strv_extend_many(char ***v, ...) __attribute__((sentinel));
#define strv_extend_all(v, ...) strv_extend_many(v, __VA_ARGS__, NULL)

/* Appends the formatted string. */
int strv_extendf(char ***v, const char *format, ...) _printf_(2, 3);

char **strv_copy(char *const *v);

/* A copy in a single block, the strings behind the pointers to them, to be freed with free(). NULL without memory. */
char **strv_pack(char *const *v);
