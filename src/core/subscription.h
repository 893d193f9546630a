/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Subscriptions to events: each is a pipe from which a client reads records, the events after a number of its choice
 * and then those to come.
 *
 * A record is 0x1E, a JSON text, 0x0A (RFC 7464); the text is that of the event log, byte by byte. A pipe never holds
 * more than the kernel gives it, and is never waited for: a subscriber that has read everything is written to at
 * once, one that has not falls behind and is told from the log on disk, in small steps, whenever its pipe has room
 * again. Until then it costs nothing but its place in the log. Only when the log no longer has what it needs does it
 * get the record {"gap":true}, and goes on with what there is.
 *
 * SIGPIPE must be ignored. */

#include "core/eventlog.h"
#include "core/failure.h"
#include "host/limits.h"
#include "util/json.h"
#include "util/macro.h"

#include <systemd/sd-event.h>

typedef struct SubscriptionSet SubscriptionSet;

/* 'log' and 'limits', which may change, must outlive the set. 'priority' is that of the event sources; nobody waits for what they do. */
int subscriptions_new(SubscriptionSet **ret, sd_event *event, EventLog *log, const Limits *limits,
                      int64_t priority);
SubscriptionSet *subscriptions_free(SubscriptionSet *set); /* readers find the end of their pipes */
DEFINE_CLEANUP(SubscriptionSet *, subscriptions_free);

unsigned subscriptions_count(const SubscriptionSet *set);

/* Tells what has been added to the log since the last call: to be called after each eventlog_append() and
 * eventlog_skip(). 'newest' is what was added, so that it need not be read again; NULL if it is not at hand. */
void subscriptions_publish(SubscriptionSet *set, const EventRecord *newest);

/* A new subscription: to the events after 'after' (behind the newest one: those to come), of one namespace, of one
 * container, or of all (NULL). It lives until its reader has closed the pipe, whose read end the caller owns.
 * 'client' is a number by which those of one client are counted. -errno, with *failure set:
 * FAILURE_RESOURCE_EXHAUSTED if there are too many, of all clients or of this one. */
int subscription_new(SubscriptionSet *set, uint64_t client, uint64_t after, const char *ns, const char *container_id,
                     int *ret_read_fd, Failure *failure);

/* Over a re-execution: an array of all subscriptions, whose pipes are let inherit. What has been added to the log must
 * have been published, and be on disk (eventlog_flush()). -errno. */
int subscriptions_write_handoff(SubscriptionSet *set, JsonWriter *w);
/* It did not come to that: nothing is inherited. */
void subscriptions_release(SubscriptionSet *set);

/* In the new program, before anything is added to the log: goes on where the other one was, to the byte. A subscription
 * that cannot is closed, with a warning. They count for no client any more, but among all. */
void subscriptions_take_handoff(SubscriptionSet *set, Json tree);
