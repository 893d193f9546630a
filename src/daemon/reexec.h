/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Executing a newer version of ourselves in place.
 *
 * The process stays the same, and with it the parent of all containers: their exits go on coming to us. Clients
 * notice nothing: their connections are carried over, calls under way are finished before, and those that come
 * meanwhile wait in their sockets.
 *
 * First the new binary is tried (--version), since one that does not even start would be the end of us. Then the
 * front is held, so that no new call is read, until nothing is under way any more, which usually takes some
 * milliseconds. If something takes longer than REEXEC_HOLD_USEC, calls are let in again, and it is tried again later.
 */

#include "bus/front.h"
#include "core/registry.h"

#define REEXEC_HOLD_USEC (2 * USEC_PER_SEC)
#define REEXEC_RETRY_MIN_USEC (5 * USEC_PER_SEC)
#define REEXEC_RETRY_MAX_USEC (5 * 60 * USEC_PER_SEC)

typedef struct Reexec Reexec;

typedef struct ReexecParameters {
        sd_event *event;
        Reaper *reaper;
        Registry *registry;
        Front *front;
        char *const *argv;
        bool is_activated;            /* what the next version is to know */
        void (*over)(void *userdata); /* it was given up, for good or for now */
        void *userdata;
} ReexecParameters;

int reexec_new(Reexec **ret, const ReexecParameters *p);
Reexec *reexec_free(Reexec *x);
DEFINE_CLEANUP(Reexec *, reexec_free);

/* If the program that we run was replaced on disk, executes the new one as soon as may be, and returns true; does not
 * return then, unless it fails, which is logged. Doing it while it is under way is fine. */
bool reexec_begin(Reexec *x);
void reexec_cancel(Reexec *x); /* we are told to end */
