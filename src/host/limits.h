/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What clients can make us keep, at most: the settings Max...= of monoshimd.conf(5), each a row in host/config.c.
 *
 * These are limits of policy, which an admin may move. What a format or the kernel dictates, such as the length of an
 * identifier, is a constant where it is used. Whoever is there when a limit is lowered stays. */

#include "util/macro.h"

typedef struct Limits {
        unsigned containers;
        unsigned containers_per_namespace;
        unsigned execs_per_container;
        unsigned operations_per_process; /* that wait, as in the next two */
        unsigned operations_per_container;
        unsigned operations_per_client;
        unsigned calls_per_client; /* under way, Wait included */
        unsigned unauthorized_calls; /* that wait for polkit, as in the next two */
        unsigned unauthorized_calls_per_user;
        uint64_t unauthorized_size_per_user;
        unsigned unauthorized_calls_per_client; /* that wait until it is known who the client is */
        unsigned waiters_per_process;
        unsigned peers;
        unsigned subscriptions;
        unsigned subscriptions_per_client;
        unsigned labels_per_container;
        uint64_t labels_size;
        uint64_t spec_size;
        unsigned events;
        uint64_t events_size;
        uint64_t events_unwritten_size;
        unsigned exits_kept;
        unsigned unread_messages; /* of a peer that does not read */
        uint64_t unread_size;
        unsigned unread_replies; /* large ones, before it has to read */
        uint64_t stream_turn_size;
} Limits;
