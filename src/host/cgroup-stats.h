/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The figures of a container's cgroup, v1 or v2, and who is in it. */

#include "util/macro.h"

#include <sys/types.h>

typedef enum CgroupStat {
        CGROUP_STAT_CPU_USAGE_USEC,
        CGROUP_STAT_CPU_USER_USEC,
        CGROUP_STAT_CPU_SYSTEM_USEC,
        CGROUP_STAT_MEMORY_CURRENT,
        CGROUP_STAT_MEMORY_PEAK,
        CGROUP_STAT_MEMORY_MAX, /* UINT64_MAX: no limit */
        CGROUP_STAT_PIDS_CURRENT,
        CGROUP_STAT_PIDS_MAX, /* UINT64_MAX: no limit */
        CGROUP_STAT_IO_READ_BYTES,
        CGROUP_STAT_IO_WRITE_BYTES,
        _CGROUP_STAT_MAX,
} CgroupStat;

typedef struct CgroupStats {
        uint64_t values[_CGROUP_STAT_MAX];
        bool known[_CGROUP_STAT_MAX]; /* what the kernel does not offer is not known */
} CgroupStats;

/* By the pid of a living process in it. 'control_group' is the container's own cgroup, or NULL: see
 * cgroup_get_directory_of(). A hierarchy in which the process shares our own cgroup, or is in one above it, tells
 * nothing about the container: its figures stay unknown. -ESRCH when there is no such process. */
int cgroup_read_stats(pid_t pid, const char *control_group, CgroupStats *ret);

/* All processes (thread group leaders) in the cgroup of 'pid' (or in 'control_group', as above) and those below it,
 * sorted, each once. Reads the unified hierarchy, else the first v1 hierarchy with a cgroup of its own. -ENODATA when
 * it shares all of them with us, -ESRCH; -E2BIG when the cgroups in there are absurdly many or deep. The caller frees
 * *ret. */
int cgroup_list_pids(pid_t pid, const char *control_group, pid_t **ret, size_t *ret_n);

/* The two by directory. Adds those figures of a controller ("cpuacct", "memory", "pids", "blkio" of v1, "" of the
 * unified hierarchy) that are not known yet. */
void cgroup_stats_add(CgroupStats *stats, const char *controller, int dir_fd);
int cgroup_list_pids_in(int dir_fd, pid_t **ret, size_t *ret_n);
