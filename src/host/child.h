/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Children that run code of ours and no program: for what may take long, or hang, in the kernel. */

#include "util/macro.h"

#include <sys/types.h>

/* fork(), with all signals blocked until child_prepare(), so that the child runs no handler of ours. 0 in the child,
 * its pid in the parent, or -errno. */
pid_t child_fork(void);

/* Default dispositions for all signals; nothing but system calls, so that a vfork()ed child may do it, too. */
void child_reset_signals(void);

/* The first that the child does: default dispositions, no signal blocked, a process group and a name of its own,
 * SIGKILL when 'parent' dies (-ECANCELED if it has already), /dev/null for its standard streams, and of all other
 * descriptors only 'keep', which becomes 3 (negative: none). No connection and no FIFO may stay open because of it. 0
 * or -errno. */
int child_prepare(pid_t parent, const char *name, int keep);
