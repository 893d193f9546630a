/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What is on disk of a container, to take it back after a restart: state.json for itself and its init, and a file of
 * its own for each exec'd process, so that writing one costs the same however many there are. */

#include "core/container.h"

#define STATE_VERSION 2 /* 1 had no exec'd processes, mounts and checkpoints */
#define STATE_FILE "state.json"
#define STATE_SIZE_MAX (4U * 1024U * 1024U)

#define STATE_KIND "state" /* STATE/NS/ID/exec/EXEC.state */

/* Replaces the process's file, atomically: of the init, state.json. -errno. */
int state_save(const Process *p);

typedef enum StateStatus {
        STATE_LOADED,   /* c is filled in */
        STATE_CREATING, /* the create never finished; c holds how to undo it */
        STATE_DELETED,  /* it was deleted, only its folder is left; c holds what is needed for that */
        STATE_CLEANING, /* a cleanup of a dead container had been begun, and its exit told */
} StateStatus;

/* Reads it into a container that container_new() has just made. 'ret_boot_id' is that of the time of writing. The
 * init's pid is filled in, not watched; streams have paths, no descriptors. Returns a StateStatus; -ENOENT without a
 * file, -EBADMSG (and the reason) when it cannot be used, -EPROTONOSUPPORT when a newer monoshimd wrote it, other
 * -errno. */
int state_load(Container *c, int dir_fd, sd_id128_t *ret_boot_id, char **reterr_reason);

/* Adds the exec'd processes of a container that was loaded, with the state they had. One whose file cannot be used is
 * logged and left out: it harms no other. 'dir_fd' is the container's folder, 'boot_id' that of its own state. */
void state_load_execs(Container *c, int dir_fd, sd_id128_t boot_id);
