/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Which containers the kernel has killed processes of for memory: memory.events (cgroup v2; one inotify instance for
 * all) or memory.oom_control (v1; an eventfd each). The count is the kernel's own, so none is lost while we are away,
 * and reading it once more at an exit tells of the kill that caused it. */

#include "host/cgroup.h"
#include "util/macro.h"

#include <sys/types.h>
#include <systemd/sd-event.h>

typedef struct OomWatcher OomWatcher;
typedef struct OomWatch OomWatch;

/* The count has grown: 'kills' more than were told of before. From the loop. May free the watch, and others. */
typedef void (*OomSeen)(void *userdata, uint64_t kills);

int oom_watcher_new(OomWatcher **ret, sd_event *event, int64_t priority);
OomWatcher *oom_watcher_free(OomWatcher *w); /* after all its watches */
DEFINE_CLEANUP(OomWatcher *, oom_watcher_free);

/* Watches the memory cgroup of a living process, which has this membership. 'control_group' is the container's own cgroup, or NULL: see
 * cgroup_get_directory_of(). 'known' is the count that has been told of before (after a restart), or UINT64_MAX:
 * whatever it is now. A greater count now is told at once, from the loop. -EOPNOTSUPP when the process is in no
 * memory cgroup but our own, or the kernel does not count. */
int oom_watch_new(OomWatch **ret, OomWatcher *w, const CgroupMembership *its, CgroupView *view,
                  const char *control_group, uint64_t known, OomSeen seen, void *userdata);
OomWatch *oom_watch_free(OomWatch *o);
DEFINE_CLEANUP(OomWatch *, oom_watch_free);

/* The same by the cgroup's directory, of the unified hierarchy or of v1's memory controller. */
int oom_watch_new_in(OomWatch **ret, OomWatcher *w, const char *directory, bool unified, uint64_t known, OomSeen seen,
                     void *userdata);

/* Reads the count now and returns how many kills are new, which are then known; seen() is not called for them. 0 also
 * when the cgroup is gone. */
uint64_t oom_watch_read(OomWatch *o);

/* The count as told so far, to be kept for oom_watch_new() after a restart. */
uint64_t oom_watch_get_known(const OomWatch *o);
