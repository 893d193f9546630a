/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How the C library keeps memory for us. */

#include "daemon/memory.h"
#include "host/spawn.h"
#include "util/instrument.h"

#include <malloc.h>

/* The C library's own default, but fixed: by itself it takes what was freed once for what will be needed again, and
 * keeps twice as much, such as after a runtime has logged megabytes. */
#define KEEP_AT_MOST (128 * 1024)

#define NO_THREAD_CACHE "glibc.malloc.tcache_count=0"

void memory_configure(char *argv[]) {
        const char *tunables = getenv(SPAWN_TUNABLES);
        _cleanup_(freep) char *path = NULL;

        (void) mallopt(M_TRIM_THRESHOLD, KEEP_AT_MOST);

        /* Ours from the first time, or the admin's: not to be meddled with. Under valgrind the allocator is another
         * one, and what it executes would not run under it any more. */
        if (tunables || is_under_valgrind())
                return;

        /* By its name, which ps(1) is to show, and not as "exe". */
        if (program_get_own(&path) < 0 || setenv(SPAWN_TUNABLES, NO_THREAD_CACHE, true) < 0)
                return;
        (void) execv(path, argv);
        (void) unsetenv(SPAWN_TUNABLES);
}
