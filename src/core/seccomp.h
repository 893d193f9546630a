/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* monoshimd as seccomp agent: system calls of containers that their filters leave to us (SCMP_ACT_NOTIFY) are
 * answered by the policies of monoshimd.conf, logged, and told as TaskSeccomp.
 *
 * A container that makes a million such calls must neither fill the log nor push others' events out of it. So the
 * first SECCOMP_TOLD_MAX of a second are told one by one; what is more is counted by system call and answer, and told
 * at the end of each second, as long as seconds with such calls follow one another, at most SECCOMP_TOLD_MAX sums
 * each. The counts are exact. Before an exit and before the deletion all that is left is told; nothing is told before
 * the start. */

#include "core/container.h"
#include "core/registry.h"
#include "host/seccomp-policy.h"

#define SECCOMP_FOLDER ".seccomp" /* below STATE; no namespace begins with a dot */

#define SECCOMP_TOLD_MAX 20U
#define SECCOMP_SECOND_USEC USEC_PER_SEC

typedef struct Seccomp Seccomp;
typedef struct ContainerSeccomp ContainerSeccomp;

/* Opens the socket "seccomp" beside STATE. '*policies' may change later, and be NULL. That there can be no socket, or
 * no agent at all on this kernel, is logged and no failure: containers that want one fail to be created. */
int seccomp_new(Seccomp **ret, Registry *registry, SeccompPolicies *const *policies);
Seccomp *seccomp_free(Seccomp *s); /* after all containers, or at least without any use of them afterwards */
DEFINE_CLEANUP(Seccomp *, seccomp_free);

/* The path of the socket, or "" if there is none. */
const char *seccomp_get_path(const Seccomp *s);

/* After a restart, once the containers are there: takes their listeners back from the store of descriptors, and
 * answers what was received and not answered. */
void seccomp_restore(Seccomp *s);

/* The container was started: what was counted up to now may be told, soon. */
void container_on_started_seccomp(Container *c);

/* Tells all that was counted and not told. */
void container_flush_seccomp(Container *c);

/* The same of all containers that have been started: we are about to end, or to execute ourselves. */
void seccomp_flush(Registry *r);

/* The container is gone: its listeners are closed and forgotten, also by the store. */
void container_forget_seccomp(Container *c);

/* Closes its listeners; in the store they stay. Returns NULL. */
ContainerSeccomp *container_seccomp_free(ContainerSeccomp *cs);

/* While an event of EVENT_SECCOMP is made. */
void container_fill_in_seccomp(const Container *c, Event *e);
