/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The socket on which OCI runtimes hand over seccomp listeners: what a specification names as
 * linux.seccomp.listenerPath.
 *
 * A runtime connects and sends one JSON object, the "container process state" of the OCI runtime specification, with
 * the descriptors that it names. Whoever connects must have our own user. Nothing here ever waits, and what one
 * connection may hold, and for how long, is bounded. */

#include "util/macro.h"

#include <sys/types.h>
#include <systemd/sd-event.h>

#define SECCOMP_MESSAGE_MAX (1024U * 1024U)
#define SECCOMP_CONNECTIONS_MAX 256U
#define SECCOMP_CONNECTION_USEC (120 * USEC_PER_SEC) /* crun connects before it runs hooks, and sends after them */
#define SECCOMP_DESCRIPTORS_MAX 16U                  /* in one message */

typedef struct SeccompAgent SeccompAgent;

/* Strings live during the call. */
typedef struct SeccompState {
        pid_t peer;           /* who connected */
        const char *id;       /* of the container */
        uint64_t pid;         /* of the process, as its runtime sees it; 0: not said */
        const char *metadata; /* linux.seccomp.listenerMetadata, or "" */
} SeccompState;

/* 'fd' is what was sent as "seccompFd"; it is closed after the call unless it was taken (TAKE_FD). */
typedef void (*SeccompReceived)(void *userdata, const SeccompState *state, int *fd);

/* A socket of mode 0600 at 'path', in place of one that is there. -ENAMETOOLONG if that is no address, -EEXIST if
 * something else than a socket is there; -errno. 'path' must live as long as the agent. */
int seccomp_agent_new(SeccompAgent **ret, sd_event *event, int64_t priority, const char *path,
                      SeccompReceived received, void *userdata);
SeccompAgent *seccomp_agent_free(SeccompAgent *a); /* removes the socket */
DEFINE_CLEANUP(SeccompAgent *, seccomp_agent_free);

/* Takes over a connection, as if it had come by the socket; -errno. */
int seccomp_agent_add_connection(SeccompAgent *a, int fd);

unsigned seccomp_agent_n_connections(const SeccompAgent *a);
