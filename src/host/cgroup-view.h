/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The control groups as we see them: those that we are in ourselves, and where the hierarchies are mounted. It is as
 * of when it was opened, and is therefore kept for as long as one question takes, or one about many processes at
 * once. */

#include "host/cgroup.h"

#include <stdio.h>

typedef struct CgroupMount {
        char *line;       /* of /proc/self/mountinfo; the others point into it */
        const char *root; /* which directory of the file system is seen at the mount point */
        const char *point;
        const char *type;
        const char *options;
} CgroupMount;

typedef struct CgroupView {
        CgroupMembership own;
        CgroupMount *mounts; /* the hierarchies met so far */
        size_t n_mounts;
        FILE *mountinfo; /* the rest of them; NULL: not begun, or read to the end */
        bool is_begun;
} CgroupView;

/* As it is for this process, which is usually ourselves; -ESRCH when there is no such process. The caller ends it
 * with cgroup_view_done(), which takes an empty one as well. */
int cgroup_view_open(CgroupView *ret, pid_t pid);
void cgroup_view_done(CgroupView *v);

/* The directory of a cgroup: the hierarchy by its controllers as in /proc/PID/cgroup, and the path there. -ENOENT
 * when no mount shows that cgroup. The caller frees *ret. */
int cgroup_view_get_directory(CgroupView *v, const char *controllers, const char *path, char **ret);
