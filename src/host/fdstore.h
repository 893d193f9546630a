/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Descriptors that outlive us: pidfds, terminals, our holds on streams, seccomp listeners.
 *
 * The service manager keeps descriptors for a service, but compares each new one with all it has and is blocked
 * meanwhile: a thousand cost it a quarter of a second, fifteen thousand a minute. So it gets a few "bags" only: socket
 * pairs in which messages stand, each with the descriptors of one key (SCM_RIGHTS). What stands in a socket's queue
 * lives as long as the socket does. The same bags are handed over when monoshimd executes a newer version of itself.
 *
 * A message cannot be taken out of the middle of a queue. What is put again under the same key counts, and what is
 * older is dropped when it comes to the head of the queue: the live ones there are sent again to its end, before they
 * are read, so that a crash in between leaves one twice, and never none. */

#include "util/macro.h"

#define FDSTORE_ITEMS_MAX 64
#define FDSTORE_KEY_MAX 255

typedef struct FdStore FdStore;

/* A descriptor and what it is: a word without blanks, such as "pidfd", "master", "stdin.hold". */
typedef struct FdItem {
        const char *role;
        int fd;
} FdItem;

/* 'notify': a service manager is told of the bags (sd_notify). Without one the store is used only once
 * fdstore_enable() was called, before we execute ourselves. */
int fdstore_new(FdStore **ret, bool notify);
FdStore *fdstore_free(FdStore *s); /* what is stored stays stored */
DEFINE_CLEANUP(FdStore *, fdstore_free);

/* Takes over the descriptor of a bag, at the start, by the name it had there. -EINVAL if that is no name of a bag. */
int fdstore_adopt_bag(FdStore *s, const char *name, int fd);

/* Replaces all that is stored under 'key' (a text without line breaks) by duplicates of these; n_items 0 forgets it.
 * The descriptors stay the caller's. 0 also when there is no store; -errno, logged by the caller if it matters. */
int fdstore_put(FdStore *s, const char *key, const FdItem *items, size_t n_items);

/* After a restart: new descriptors (CLOEXEC, the caller's) of what was stored under 'key', which stays stored: ret[i] is
 * that with roles[i], or -EBADF. Returns how many there are. */
int fdstore_get(FdStore *s, const char *key, const char *const roles[], int ret[], size_t n_roles);

/* After a restart: calls found() for each key that begins with 'prefix'; it may get and put. */
void fdstore_foreach(FdStore *s, const char *prefix, void (*found)(void *userdata, const char *key), void *userdata);

/* After a restart, when all that lives has got what is its own: forgets what nobody has got or put. */
void fdstore_forget_rest(FdStore *s);
