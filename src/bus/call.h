/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A method call that is answered later. The kept message is a debt, which the destructor pays: freed unanswered, it
 * answers that monoshimd is going away. When its client has gone, nothing is cancelled; there only is nobody to
 * answer to any more. */

#include "bus/connection.h"
#include "core/failure.h"
#include "core/operation.h"

struct Call {
        Connection *connection; /* NULL once the client has gone */
        sd_bus_message *message;
        Waiter *waiter;    /* of a Wait: given up when the client goes */
        Client *client;    /* who is to answer for it */
        bool is_operation; /* and not a mere wait */
        Call *prev, *next; /* connection::calls */
};

/* Keeps the message. NULL and *failure when there are too many of this client's, or no memory. */
Call *call_new(Connection *c, sd_bus_message *m, bool is_operation, Failure *failure);
Call *call_free(Call *call);

/* Keeps the message and queues the verb; 'done' gets the Call. What 'q' owns is taken over in any case. After this
 * the process may be gone. Returns what a method handler returns. */
int call_submit(sd_bus_message *m, Process *p, OperationKind kind, OperationParameters *q, OperationDone done,
                sd_bus_error *ret_error);

/* An OperationDone for methods that return nothing. */
void call_on_done(void *userdata, Process *p, const Failure *failure);

/* Each answers, if anybody is there to be answered, and frees the call. */
void call_reply(Call *call, const char *types, ...);
void call_reply_message(Call *call, sd_bus_message *reply); /* which stays the caller's */
void call_reply_exhausted(Call *call);                      /* for want of memory */
void call_reply_failure(Call *call, const Failure *failure);

/* The client (all of a connection with sender NULL) has gone: gives up its waits and forgets its messages. */
void calls_abandon(Connection *c, const char *sender);
