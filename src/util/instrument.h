/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Whether somebody looks over our shoulder: valgrind and the sanitizers make system calls of their own in our name,
 * at any time, and bring an allocator of their own. */

#include "util/macro.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HAVE_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(memory_sanitizer) || __has_feature(thread_sanitizer)
#define HAVE_SANITIZER 1
#endif
#endif

#ifndef HAVE_SANITIZER
#define HAVE_SANITIZER 0
#endif

static inline bool is_under_valgrind(void) {
        const char *preload = getenv("LD_PRELOAD");

        return preload && strstr(preload, "vgpreload");
}
