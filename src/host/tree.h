/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Removing directory trees that may hold anything: never through a symbolic link, never into a mount, and never in
 * the loop but in a child process. */

#include "util/macro.h"
#include "host/reaper.h"

/* rm -rf of 'name' (a plain name) below 'dir_fd', in this process. Walks with directory descriptors and
 * openat2(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV); a symbolic link is unlinked, a mount point is
 * left alone, and so are its parents (-EBUSY or -EXDEV is returned after all the rest is gone). The depth is not
 * bounded by the stack or by RLIMIT_NOFILE. 0 also when there is nothing of that name. */
int tree_remove(int dir_fd, const char *name);

/* The same in a child process, in a sandbox (host/sandbox.h); done(result) is called from the loop when it has finished: 0 or -errno. done may be
 * NULL (a failure is then logged here). The descriptor is only used during the call. */
typedef void (*TreeRemoved)(void *userdata, int result);
int tree_remove_start(Reaper *reaper, int dir_fd, const char *name, TreeRemoved done, void *userdata);
