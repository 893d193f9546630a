/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What time it is, in microseconds. */

#include "util/macro.h"

#include <time.h>

static inline uint64_t clock_get_usec(clockid_t clock) {
        struct timespec ts = {};

        (void) clock_gettime(clock, &ts);
        return (uint64_t) ts.tv_sec * USEC_PER_SEC + (uint64_t) ts.tv_nsec / NSEC_PER_USEC;
}

static inline uint64_t clock_get_realtime(void) {
        return clock_get_usec(CLOCK_REALTIME);
}

static inline uint64_t clock_get_monotonic(void) {
        return clock_get_usec(CLOCK_MONOTONIC);
}
