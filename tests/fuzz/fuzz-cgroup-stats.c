/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The files of a cgroup: figures and pids, of v1 and v2; every file holds the same. */

#include "fuzz.h"
#include "host/cgroup-stats.h"
#include "host/cgroup.h"

static const char *const files[] = {
        "cgroup.procs",
        "cpu.stat",
        "cpuacct.usage",
        "cpuacct.stat",
        "memory.current",
        "memory.peak",
        "memory.max",
        "memory.usage_in_bytes",
        "memory.max_usage_in_bytes",
        "memory.limit_in_bytes",
        "pids.current",
        "pids.max",
        "io.stat",
        "blkio.throttle.io_service_bytes_recursive",
};

FUZZ_TARGET(cgroup_stats) {
        static const char *const controllers[] = { "", "cpuacct", "memory", "pids", "blkio" };
        _cleanup_(freep) char *text = fuzz_string(data, size);
        _cleanup_(freep) pid_t *pids = NULL;
        int dir_fd = fuzz_folder();
        uint64_t value;
        size_t n = 0;

        for (size_t i = 0; i < ELEMENTSOF(files); i++)
                fuzz_file(dir_fd, files[i], data, size);

        for (size_t i = 0; i < ELEMENTSOF(controllers); i++) {
                CgroupStats stats = {};

                cgroup_stats_add(&stats, controllers[i], dir_fd);
        }
        if (cgroup_list_pids_in(dir_fd, &pids, &n) >= 0)
                for (size_t i = 1; i < n; i++)
                        assert(pids[i - 1] < pids[i]);

        /* memory.events and memory.oom_control */
        (void) cgroup_get_keyed(text, "oom_kill", &value);
        (void) cgroup_get_keyed(text, "frozen", &value);
        return 0;
}
