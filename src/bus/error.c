/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The one place where failures get their D-Bus names. */

#include "bus/error.h"

#include <assert.h>

/* clang-format off */
static const char *const name_table[_FAILURE_KIND_MAX] = {
        [FAILURE_NONE]                = SD_BUS_ERROR_FAILED, /* never sent */
        [FAILURE_NOT_FOUND]           = MONOSHIM_ERROR("NotFound"),
        [FAILURE_ALREADY_EXISTS]      = MONOSHIM_ERROR("AlreadyExists"),
        [FAILURE_INVALID_ARGUMENT]    = MONOSHIM_ERROR("InvalidArgument"),
        [FAILURE_FAILED_PRECONDITION] = MONOSHIM_ERROR("FailedPrecondition"),
        [FAILURE_RUNTIME_FAILED]      = MONOSHIM_ERROR("RuntimeFailed"),
        [FAILURE_DEADLINE_EXCEEDED]   = MONOSHIM_ERROR("DeadlineExceeded"),
        [FAILURE_RESOURCE_EXHAUSTED]  = MONOSHIM_ERROR("ResourceExhausted"),
        [FAILURE_UNAVAILABLE]         = MONOSHIM_ERROR("Unavailable"),
        [FAILURE_NOT_SUPPORTED]       = MONOSHIM_ERROR("NotSupported"),
        [FAILURE_INTERNAL]            = SD_BUS_ERROR_FAILED,
};
/* clang-format on */

const char *failure_kind_to_error_name(FailureKind kind) {
        assert(kind >= 0 && kind < _FAILURE_KIND_MAX);
        return name_table[kind];
}

int bus_error_from_failure(sd_bus_error *ret_error, const Failure *failure) {
        return sd_bus_error_set(ret_error, failure_kind_to_error_name(failure->kind), failure_message(failure));
}
