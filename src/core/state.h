/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* state.json: everything needed to take a container back after a restart. */

#include "core/container.h"

#define STATE_VERSION 1
#define STATE_FILE "state.json"
#define STATE_SIZE_MAX (4U * 1024U * 1024U)

/* Replaces STATE/NS/ID/state.json, atomically. -errno. */
int state_save(const Container *c);

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
