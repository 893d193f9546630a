/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the runtime prints when it is asked for a container's pids. */

#include "core/control.c"

#include "fuzz.h"

FUZZ_TARGET(ps) {
        _cleanup_(freep) char *text = fuzz_string(data, size);
        _cleanup_(freep) pid_t *pids = NULL;
        size_t n = 0;

        if (ps_parse(text, &pids, &n) < 0)
                return 0;
        for (size_t i = 0; i < n; i++)
                assert(pids[i] > 0);
        return 0;
}
