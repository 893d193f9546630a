/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The system calls that one mount takes, on a target that is given by a descriptor, so that no path is walked twice.
 * They may take for ever, and change the working directory meanwhile: for the child of host/mount-worker.h only. */

#include "host/mount-options.h"
#include "host/mounts.h"
#include "util/macro.h"

/* Mounts it (or remounts what 'target_fd' is the root of). An overlay whose options do not fit into a page is set up
 * option by option, or by names relative to what its layers have in common. -errno; *ret_why may be set then to what
 * is known beyond that, which the caller frees. */
int mount_attach(const Mount *m, const MountOptions *o, int target_fd, char **ret_why);

/* What mount(2) does not do in one go: the flags of a bind mount, which are not taken from its first call, and the
 * propagation. 'mounted_fd' is the root of the new mount. */
bool mount_needs_more(const MountOptions *o);
int mount_finish(const MountOptions *o, int mounted_fd);
