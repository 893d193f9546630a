/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a child that runs code of ours gives up before it touches what is not ours: a directory tree made by whoever
 * was in a container, a mount that a client has asked for. Should somebody lead that code astray, it is alone in a
 * process that can do little else than what it is for. */

#include "util/macro.h"

typedef enum SandboxKind {
        SANDBOX_REMOVAL,  /* reads directories, and removes what is in them */
        SANDBOX_MOUNTING, /* makes mounts and undoes them */
} SandboxKind;

/* For the parent, before it forks: says once, in the log, if this kernel has no filter for system calls. Work is then
 * done without one, as the rest of the sandbox still holds, and as nothing would ever be removed otherwise. */
void sandbox_check(void);

/* For the child (host/child.h), once it has all descriptors and all else that it needs. From then on
 *   - it has only the capabilities that its work takes, and will never get another;
 *   - it makes only the system calls that its work takes; any other is its end, by SIGSYS;
 *   - it leaves no core, writes no file, has no environment;
 *   - SANDBOX_REMOVAL: it is the first to be killed if memory is short: nothing is lost by that, and much if it is
 * us. 0 or -errno: then it must not go on. */
int sandbox_enter(SandboxKind kind);

/* Did a process with that wait status end because it made a system call that is not for it? */
bool sandbox_was_violated(int wait_status);
