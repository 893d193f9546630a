/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Why an operation did not succeed: a kind that a front end can translate, and a sentence for the user. */

#include "util/macro.h"
#include "util/text.h"

typedef enum FailureKind {
        FAILURE_NONE,
        FAILURE_NOT_FOUND,
        FAILURE_ALREADY_EXISTS,
        FAILURE_INVALID_ARGUMENT,
        FAILURE_FAILED_PRECONDITION,
        FAILURE_RUNTIME_FAILED,
        FAILURE_DEADLINE_EXCEEDED,
        FAILURE_RESOURCE_EXHAUSTED,
        FAILURE_UNAVAILABLE,
        FAILURE_NOT_SUPPORTED,
        FAILURE_INTERNAL, /* the system failed us: a disk, the kernel */
        _FAILURE_KIND_MAX,
        _FAILURE_KIND_INVALID = -EINVAL,
} FailureKind;

typedef struct Failure {
        FailureKind kind;
        char *message; /* NULL only without memory */
} Failure;

#define FAILURE_INIT ((Failure) { .kind = FAILURE_NONE })

void failure_done(Failure *f);

static inline bool failure_is_set(const Failure *f) {
        return f && f->kind != FAILURE_NONE;
}

/* What to tell: the message, or a word for the kind when there was no memory for one. */
const char *failure_message(const Failure *f);

/* Sets kind and message; the first failure of a Failure that is set already is kept. 'f' may be NULL. Returns a
 * negative errno that fits the kind, so that a function can end with "return failure_set(...)". */
int failure_set(Failure *f, FailureKind kind, const char *format, ...) _printf_(3, 4);

/* The same for a setting of monoshimd.conf(5) that bounds something: says what there is, then which setting allows no
 * more of it. 'value' is the setting's, of type unsigned. */
#define failure_set_limit(f, setting, value, format, ...) \
        failure_set(f, FAILURE_RESOURCE_EXHAUSTED, format "; " setting "=%u in monoshimd.conf(5) allows no more", \
                    ##__VA_ARGS__, (unsigned) (value))
/* The same for a size in bytes. */
#define failure_set_size_limit(f, setting, value, format, ...) \
        failure_set(f, FAILURE_RESOURCE_EXHAUSTED, format "; " setting "=%s in monoshimd.conf(5) allows no more", \
                    ##__VA_ARGS__, format_size(value, (char[SIZE_TEXT_MAX]) {}))

/* Is it for lack of something (space, memory, descriptors, processes) that a system call failed so? */
bool failure_errno_is_exhaustion(int error);

/* The same for a failed system call: -ENOSPC, -ENOMEM, -EMFILE and their like are FAILURE_RESOURCE_EXHAUSTED,
 * everything else FAILURE_INTERNAL; %m in the format prints 'error', which has either sign. Returns -abs(error). */
int failure_set_errno(Failure *f, int error, const char *format, ...) _printf_(3, 4);
