/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Waiting for containers to end, through restarts of monoshimd.
 *
 * The containers go on while monoshimd is away, and it knows how they ended when it is back: so a lost connection
 * is made again, and the question asked again. */

#include "ctl/client.h"
#include "ctl/container-ref.h"

#include <systemd/sd-event.h>

typedef struct Waiter Waiter;
typedef struct WaitItem WaitItem;

struct WaitItem {
        Waiter *waiter;
        const ContainerRef *ref;
        sd_bus_slot *slot;
        bool pending;
        bool ended;             /* then these two hold; else 'error' does once it is no longer pending */
        uint32_t exit_status;
        uint64_t exited_at;
        sd_bus_error error;
};

/* Called when an item is no longer pending. */
typedef void (*WaiterNotice)(WaitItem *item, void *userdata);

/* Asks about all of them. 'refs' and 'client' must outlive the waiter. Reports why not. */
int waiter_new(Client *client, const ContainerRef *refs, size_t n_refs, WaiterNotice notice, void *userdata,
               Waiter **ret);
Waiter *waiter_free(Waiter *w);
DEFINE_CLEANUP(Waiter *, waiter_free);

WaitItem *waiter_get(Waiter *w, size_t i);

/* Gives up on one: it is no longer pending, and nobody is told. */
void waiter_drop(Waiter *w, size_t i);

/* The loop that waiter_run() runs, for sources of the caller's own. */
sd_event *waiter_get_event(Waiter *w);

/* Has lost() called, with the waiter's 'userdata', when the connection has been lost, before there is a new one: the
 * caller's own calls will not be answered any more, and their slots have to go, since they keep the old one alive. */
void waiter_set_lost(Waiter *w, void (*lost)(void *userdata));

/* Makes the connection again, for a caller whose own call has found it lost, and asks again. Negative when
 * monoshimd stays away, which has been reported. */
int waiter_reconnect(Waiter *w);

/* Goes on until nothing is pending (1) or 'timeout_usec' has passed (0). Negative when monoshimd stays away, which
 * has been reported. */
int waiter_run(Waiter *w, uint64_t timeout_usec);
