/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Creating a container: from a client's request to state "created", or back to nothing. */

#include "core/failure.h"
#include "core/operation.h"
#include "core/process-io.h"
#include "core/registry.h"

#include <sys/types.h>

typedef struct CreateRequest {
        const Limits *limits; /* for who reads the request */
        const char *ns;
        const char *id;
        const char *bundle;       /* absolute path, or "" */
        const char *spec;         /* text of config.json, or NULL */
        const char *runtime;      /* NULL: the default */
        const char *runtime_root; /* without the namespace; NULL: the default */
        bool systemd_cgroup;
        bool no_pivot_root;
        bool no_new_keyring;
        bool terminal;
        bool relay;
        uint16_t columns; /* of the terminal; 0, 0: not asked for */
        uint16_t rows;
        uid_t io_uid; /* (uid_t) -1: leave as it is */
        gid_t io_gid;
        StreamRequest streams[3];
        const char *checkpoint;     /* the CRIU image to restore from, or NULL */
        const char *criu_work_path; /* or NULL */
        Mounts rootfs;              /* taken over on success, as the next */
        char **labels;              /* key, value, ... */
} CreateRequest;

/* Checks the whole request before anything is touched, takes the id, and runs the runtime's "create". Returns 0:
 * done() will be called, with the container in state "created" or with a failure and everything undone. Or a negative
 * errno with *failure set: nothing was done. */
int container_create(Registry *registry, CreateRequest *q, OperationDone done, void *userdata, Failure *failure);
