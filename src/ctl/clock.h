/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The clock that deadlines are counted by. */

#include "util/macro.h"

#include <time.h>

static inline uint64_t clock_monotonic(void) {
        struct timespec ts;

        clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t) ts.tv_sec * USEC_PER_SEC + (uint64_t) ts.tv_nsec / NSEC_PER_USEC;
}
