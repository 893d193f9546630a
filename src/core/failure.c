/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Why an operation did not succeed. */

#include "core/failure.h"

#include <stdarg.h>
#include <stdio.h>

/* clang-format off */
static const struct {
        int error;
        const char *word;
} kind_table[_FAILURE_KIND_MAX] = {
        [FAILURE_NONE]                = { 0,          "success" },
        [FAILURE_NOT_FOUND]           = { ENOENT,     "not found" },
        [FAILURE_ALREADY_EXISTS]      = { EEXIST,     "already exists" },
        [FAILURE_INVALID_ARGUMENT]    = { EINVAL,     "invalid argument" },
        [FAILURE_FAILED_PRECONDITION] = { EBUSY,      "failed precondition" },
        [FAILURE_RUNTIME_FAILED]      = { EPROTO,     "the OCI runtime failed" },
        [FAILURE_DEADLINE_EXCEEDED]   = { ETIMEDOUT,  "deadline exceeded" },
        [FAILURE_RESOURCE_EXHAUSTED]  = { ENOBUFS,    "resource exhausted" },
        [FAILURE_UNAVAILABLE]         = { ESHUTDOWN,  "unavailable" },
        [FAILURE_NOT_SUPPORTED]       = { EOPNOTSUPP, "not supported" },
        [FAILURE_INTERNAL]            = { EIO,        "internal error" },
};
/* clang-format on */

void failure_done(Failure *f) {
        f->message = mfree(f->message);
        f->kind = FAILURE_NONE;
}

const char *failure_message(const Failure *f) {
        return f->message ?: kind_table[f->kind].word;
}

static _printf_(3, 0) void failure_vset(Failure *f, FailureKind kind, const char *format, va_list args) {
        if (!f || f->kind != FAILURE_NONE)
                return;

        f->kind = kind;
        if (vasprintf(&f->message, format, args) < 0)
                f->message = NULL;
}

int failure_set(Failure *f, FailureKind kind, const char *format, ...) {
        va_list args;

        va_start(args, format);
        failure_vset(f, kind, format, args);
        va_end(args);
        return -kind_table[kind].error;
}

bool failure_errno_is_exhaustion(int error) {
        switch (abs(error)) {
        case ENOSPC:
        case EDQUOT:
        case ENOMEM:
        case EMFILE:
        case ENFILE:
        case EAGAIN: /* fork: too many processes */
        case ENOBUFS:
                return true;
        default:
                return false;
        }
}

int failure_set_errno(Failure *f, int error, const char *format, ...) {
        va_list args;

        error = abs(error);
        errno = error;

        va_start(args, format);
        failure_vset(f, failure_errno_is_exhaustion(error) ? FAILURE_RESOURCE_EXHAUSTED : FAILURE_INTERNAL, format,
                     args);
        va_end(args);
        return -error;
}
