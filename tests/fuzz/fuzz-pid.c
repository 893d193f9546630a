/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* /proc/PID/stat, whose command is what the process has made it. */

#include "host/pid.c"

#include "fuzz.h"

FUZZ_TARGET(pid) {
        _cleanup_(freep) char *line = fuzz_string(data, size);
        PidStat stat;

        if (stat_parse(line, &stat) >= 0)
                assert(stat.state != '\0');
        return 0;
}
