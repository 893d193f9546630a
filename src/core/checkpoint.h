/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Checkpoints by CRIU: making one (operation_checkpoint()), and the restore that is the start of a container created
 * from one. */

#include "core/container.h"
#include "core/failure.h"
#include "core/operation.h"

int checkpoint_restore_argv(const Process *p, const Runtime *runtime, const char *pid_file, char ***ret);

/* After a failed restore: adds what CRIU's own log says to the operation's failure. */
void checkpoint_explain_restore(Operation *op, const JobResult *result);
