/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Descriptors that outlive us: pidfds, terminals, our holds on streams, seccomp listeners.
 *
 * The service manager keeps descriptors for a service, but compares each new one with all it has and is blocked
 * meanwhile: a thousand cost it a quarter of a second, fifteen thousand a minute. So it gets a few "bags" only: socket
 * pairs, in each of which stands a message with up to 250 descriptors (SCM_RIGHTS). What stands in a socket's queue
 * lives as long as the socket does. The same bags are handed over when monoshimd executes a newer version of itself. */

#include "util/json.h"
#include "util/macro.h"

#define FDSTORE_ITEMS_MAX 64
#define FDSTORE_KEY_MAX 255
#define FDSTORE_PIDFD "pidfd" /* the role of what harms nobody if it stays a little longer */

typedef struct FdStore FdStore;

/* A descriptor and what it is: a word without blanks, such as "pidfd", "master", "stdin.hold". */
typedef struct FdItem {
        const char *role;
        int fd;
} FdItem;

/* 'notify': a service manager is told of the bags. Without one the store is used only once
 * fdstore_enable() was called, before we execute ourselves. */
int fdstore_new(FdStore **ret, bool notify);
FdStore *fdstore_free(FdStore *s); /* what is stored stays stored */
DEFINE_CLEANUP(FdStore *, fdstore_free);

bool fdstore_is_enabled(const FdStore *s);
void fdstore_enable(FdStore *s);

/* We do not execute ourselves after all, or have done it: without a service manager nothing is stored any more. */
void fdstore_disable(FdStore *s);

/* Takes over the descriptor of a bag, at the start, by the name it had there. -EINVAL if that is no name of a bag:
 * then, and after any other failure, it stays the caller's. */
int fdstore_adopt_bag(FdStore *s, const char *name, int fd);

/* Replaces all that is stored under 'key' (a text without tabs and line breaks) by duplicates of these; n_items 0
 * forgets it. The descriptors stay the caller's. It has happened, or failed, when this returns: 0, also when there is
 * no store, or -errno, after which nothing is stored under the key. */
int fdstore_put(FdStore *s, const char *key, const FdItem *items, size_t n_items);

/* After a restart: new descriptors (CLOEXEC, the caller's) of what was stored under 'key', which stays stored: ret[i] is
 * that with roles[i], or -EBADF. Returns how many there are. */
int fdstore_get(FdStore *s, const char *key, const char *const roles[], int ret[], size_t n_roles);

/* After a restart: calls found() for each key that begins with 'prefix'; it may get and put. */
void fdstore_foreach(FdStore *s, const char *prefix, void (*found)(void *userdata, const char *key), void *userdata);

/* After a restart, when all that lives has got what is its own: forgets what nobody has got or put. */
void fdstore_forget_rest(FdStore *s);

/* Before we execute ourselves: lets the bags be inherited, and says as a member "bags" which they are; and the way
 * back. */
void fdstore_write_handoff(FdStore *s, JsonWriter *w);
void fdstore_take_handoff(FdStore *s, Json tree);
