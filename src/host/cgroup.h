/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Control groups: who is in which, whether they are frozen, and those that a killed runtime leaves behind. */

#include "util/macro.h"

#include <sys/types.h>

/* /proc/PID/cgroup: one entry for each hierarchy. */
typedef struct CgroupEntry {
        char *controllers; /* "" of the unified hierarchy; "memory", "cpu,cpuacct", "name=systemd", ... of a v1
                              hierarchy */
        char *path;        /* relative to the hierarchy's root, with a leading slash */
} CgroupEntry;

typedef struct CgroupMembership {
        CgroupEntry *entries;
        size_t n_entries;
} CgroupMembership;

typedef struct CgroupView CgroupView; /* host/cgroup-view.h */

/* -ESRCH when there is no such process. The caller ends it with cgroup_membership_done(), which takes an empty one as
 * well. */
int cgroup_membership_read(pid_t pid, CgroupMembership *ret);
void cgroup_membership_done(CgroupMembership *m);
const char *cgroup_membership_get(const CgroupMembership *m,
                                  const char *controllers); /* the path, or NULL; 'm' keeps it */

/* Is a word of 'n' bytes in this list, with commas between? */
bool cgroup_list_contains(const char *list, const char *word, size_t n);

/* The path of a process's cgroup, as pid_read_cgroup() has it: in the hierarchy that counts most of those where it is
 * not in ours; "" when there is none. The caller frees *ret. */
int cgroup_get_path(const CgroupMembership *its, const CgroupView *view, char **ret);

/* The directory (absolute, below where the hierarchy is mounted) of a process's cgroup in the hierarchy that has this
 * controller ("memory"; "" is the unified one). 'its' is the process's membership and 'view' has ours: a cgroup that
 * is ours as well, or one above, tells nothing about a container. 'control_group' is the container's own, as
 * pid_read_cgroup() has said when it was made, or NULL: of a process further down (an init system moves itself into
 * one of its own making) it is what counts. -ENOENT when there is none. The caller frees *ret. */
int cgroup_get_directory_of(const CgroupMembership *its, CgroupView *view, const char *controller,
                            const char *control_group, char **ret);

/* The number behind a key, in the text of a file of lines "KEY NUMBER" (memory.events, cpu.stat, memory.oom_control,
 * ...). -ENODATA when the key is not there, -EBADMSG when no number is behind it. */
int cgroup_get_keyed(const char *text, const char *key, uint64_t *ret);

/* The cgroup directories (absolute paths below where the hierarchies are mounted, v1 and v2) of the children,
 * grandchildren, ... of 'pid' that 'pid' itself is not in: what a runtime has made for the container it is creating.
 * A new string array, possibly empty, that the caller frees. */
int cgroup_list_of_children(pid_t pid, char ***ret);

/* Where a runtime that manages cgroups itself makes those of a container: linux.cgroupsPath ('cgroups_path', or
 * NULL), absolute or below the cgroup it runs in, which is ours; by default named after the container (runc
 * libcontainer/cgroups). Whether they exist is not looked at. A path of systemd's
 * ("SLICE:PREFIX:NAME") gives none: systemd removes its scopes. A new string array, possibly empty, that the caller
 * frees. */
int cgroup_list_of_container(const char *cgroups_path, const char *id, char ***ret);

/* rmdir of each, deepest first, ignoring those that are gone or busy. Nothing but empty cgroups can go. Returns how
 * many still exist. */
int cgroup_remove_empty(char *const *paths);

/* cgroup v2 freezer, or v1's: 1 frozen (or about to be), 0 thawed, -errno (-ENOENT: none). By the membership of a
 * process in it. */
int cgroup_is_frozen(const CgroupMembership *its, CgroupView *view);
