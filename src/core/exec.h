/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Processes that are exec'd into a container: registering them, and the files they have.
 *
 * Each has its own state file, so that a change of one costs the same whether there are ten or a thousand. */

#include "core/container.h"
#include "core/failure.h"
#include "core/process-io.h"

#define EXEC_SPEC_MAX (16U * 1024U * 1024U)

typedef struct ExecRequest {
        const char *id;
        const char *spec; /* the text of an OCI process object */
        bool terminal;
        uint16_t columns; /* 0, 0: not asked for */
        uint16_t rows;
        uid_t io_uid;
        gid_t io_gid;
        StreamRequest streams[3];
} ExecRequest;

/* Registers a process in state "created" and tells of it; nothing is run yet (containerd pkg/process/init.go, exec).
 * On failure nothing has been done. */
int container_exec(Container *c, const ExecRequest *q, Process **ret, Failure *failure);

/* Before it is started: brings the size of its terminal up to date in the file that the runtime reads, so that it is
 * in force before the program runs. */
int exec_prepare_spec(const Process *p, Failure *failure);

int exec_argv(const Process *p, const Runtime *runtime, const char *pid_file, char ***ret);

/* It runs: the text, which may hold secrets, is not needed any more. */
void exec_forget_spec(const Process *p);

/* Removes all its files. On failure (-errno) all that counts is still there, and it can be tried again. */
int exec_remove_files(const Process *p);
