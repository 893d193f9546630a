/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* /proc/PID/cgroup and /proc/self/mountinfo, line by line. */

#include "host/cgroup.c"
#include "host/cgroup-view.c"

#include "fuzz.h"

FUZZ_TARGET(cgroup) {
        _cleanup_(cgroup_membership_done) CgroupMembership membership = {};
        _cleanup_(freep) char *text = fuzz_string(data, size);
        char *rest = text, *line;

        while ((line = strsep(&rest, "\n"))) {
                _cleanup_(freep) char *copy = strdup(line);
                CgroupMount m;

                (void) membership_add_line(&membership, copy);
                if (mountinfo_parse(line, &m))
                        (void) (mount_is_hierarchy(&m, "") + mount_is_hierarchy(&m, "memory") +
                                mount_is_hierarchy(&m, "cpu,cpuacct"));
        }

        for (size_t i = 0; i < membership.n_entries; i++)
                assert(cgroup_membership_get(&membership, membership.entries[i].controllers));
        return 0;
}
