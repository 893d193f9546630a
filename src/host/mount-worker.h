/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Making mounts and undoing them, in the process that calls: for as long as the kernel likes. So that must be a child
 * with nothing else to do, in which descriptors and the working directory are free to be used. */

#include "host/mounts.h"
#include "util/macro.h"

/* Shared with the parent, who also reads it when the child hangs: 'doing' is then what it says of it. */
typedef struct MountReport {
        bool complete; /* the rest below is final */
        int error;     /* 0 or -errno */
        bool is_link;  /* nothing was done, as the rootfs is a symbolic link */
        bool is_gone;  /* nothing was done, as the folder that the rootfs was in is not there */
        char doing[1024];
        char text[3 * 1024 - 16]; /* with an error: one sentence, in whatever bytes */
} MountReport;

void mount_worker_make(const char *rootfs, const Mounts *m, MountReport *report);
void mount_worker_undo(const char *rootfs, MountReport *report);
