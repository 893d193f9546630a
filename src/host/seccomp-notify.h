/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One seccomp listener: system calls that wait for an answer, and get it in the same turn (seccomp_unotify(2)).
 *
 * A call that has been received and not answered would wait for ever if we were killed in between, since nobody would
 * know its number any more. So the kernel writes it into a file, the "slot", which outlives us: whoever comes after
 * us finds the number there and answers it. One slot is enough for all listeners, as only one call is under way at a
 * time. */

#include "host/seccomp-policy.h"
#include "util/macro.h"

#include <sys/types.h>
#include <systemd/sd-event.h>

#define SECCOMP_SLOT_FILE "pending"
#define SECCOMP_SYSCALL_UNKNOWN "unknown" /* the name of what libseccomp has no name for */

typedef struct SeccompSlot SeccompSlot;
typedef struct SeccompListener SeccompListener;

/* Maps the file in 'dir_fd', made if need be. -ENOSYS if the kernel has no listeners. Where there is no room for the
 * file (-ENOSPC and the like) there is a slot all the same, *ret_error says why it will not outlive us, and 0 is
 * returned. */
int seccomp_slot_open(SeccompSlot **ret, int dir_fd, int *ret_error);
SeccompSlot *seccomp_slot_free(SeccompSlot *s); /* after all listeners */
DEFINE_CLEANUP(SeccompSlot *, seccomp_slot_free);

/* After a restart, when all listeners are there again: what nobody knew is gone. */
void seccomp_slot_clear(SeccompSlot *s);

typedef struct SeccompCall {
        pid_t pid; /* of the calling process; 0 if we cannot see it */
        const char *name;
} SeccompCall;

typedef struct SeccompHandlers {
        SeccompAnswer (*decide)(void *userdata, const SeccompCall *call);
        /* It has been answered so. Not called if the caller did not live to see it, or was interrupted by a signal,
         * after which it calls again. May not free the listener. */
        void (*answered)(void *userdata, const SeccompCall *call, SeccompAnswer answer);
        /* Nobody is left whom it concerns (error 0), or it is of no use any more. May free the listener. */
        void (*gone)(void *userdata, int error);
} SeccompHandlers;

/* Takes over 'fd' on success. What stands in the slot from before is answered at once if it is this listener's.
 * -EINVAL if this is no listener. */
int seccomp_listener_new(SeccompListener **ret, sd_event *event, int64_t priority, SeccompSlot *slot, int fd,
                         const SeccompHandlers *handlers, void *userdata);
SeccompListener *seccomp_listener_free(SeccompListener *l); /* closes the descriptor */
DEFINE_CLEANUP(SeccompListener *, seccomp_listener_free);

int seccomp_listener_get_fd(const SeccompListener *l); /* stays the listener's */
