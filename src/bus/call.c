/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A method call that is answered later. */

#include "bus/call.h"
#include "bus/auth.h"
#include "bus/error.h"
#include "bus/front.h"
#include "bus/objects.h"
#include "util/crash-point.h"
#include "util/log.h"

#include <stdarg.h>
#include <utlist.h>

static int client_check_room(const Client *client, const Limits *limits, bool is_operation, Failure *failure) {
        if (client->n_calls >= limits->calls_per_client)
                return failure_set_limit(failure, "MaxCallsPerClient", limits->calls_per_client,
                                         "%u calls of this client are under way already", client->n_calls);
        if (is_operation && client->n_operations >= limits->operations_per_client)
                return failure_set_limit(failure, "MaxOperationsPerClient", limits->operations_per_client,
                                         "%u operations of this client are under way already", client->n_operations);
        return 0;
}

Call *call_new(Connection *c, sd_bus_message *m, bool is_operation, Failure *failure) {
        Client *client = auth_get_client(c, m);
        Call *call;

        /* One that comes in again was there when a limit was lowered. */
        if (!c->is_replaying &&
            client_check_room(client, c->front->registry->services->limits, is_operation, failure) < 0)
                return NULL;

        call = malloc(sizeof(*call));
        if (!call) {
                (void) failure_set(failure, FAILURE_RESOURCE_EXHAUSTED, "out of memory");
                return NULL;
        }

        *call = (Call) {
                .connection = c, .message = sd_bus_message_ref(m), .client = client, .is_operation = is_operation
        };
        DL_APPEND(c->calls, call);
        client->n_calls++;
        client->n_operations += is_operation;
        return call;
}

static void call_unlink(Call *call) {
        if (call->connection) {
                DL_DELETE(call->connection->calls, call);
                call->client->n_calls--;
                call->client->n_operations -= call->is_operation;
        }
        call->connection = NULL;
        call->message = sd_bus_message_unref(call->message);
}

Call *call_free(Call *call) {
        if (!call)
                return NULL;

        if (call->message)
                (void) sd_bus_reply_method_errorf(call->message, MONOSHIM_ERROR("Unavailable"),
                                                  "monoshimd is stopping");
        (void) waiter_free(call->waiter);
        call_unlink(call);
        return mfree(call);
}

/* The client may have gone this very moment: that is no failure of ours. Any other client would wait for ever: so it
 * is tried once more, in few words, and a peer that cannot be told even that sees its connection closed. */
static void call_on_sent(Call *call, int r) {
        if (r >= 0 || r == -ENOTCONN || r == -ECONNRESET || r == -EPIPE)
                return;

        log_warning_errno(r, "Failed to answer a method call: %m");
        if (sd_bus_reply_method_errorf(call->message, MONOSHIM_ERROR("ResourceExhausted"),
                                       "The answer could not be sent, the operation may have succeeded: %s",
                                       strerror(-r)) < 0 &&
            call->connection && call->connection->is_peer)
                connection_drop(call->connection);
}

void call_reply(Call *call, const char *types, ...) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        va_list args;
        int r;

        if (call->message) {
                r = sd_bus_message_new_method_return(call->message, &reply);
                if (r >= 0 && types) {
                        va_start(args, types);
                        r = sd_bus_message_appendv(reply, types, args);
                        va_end(args);
                }
                crash_point("reply-before-send");
                if (r >= 0)
                        r = sd_bus_message_send(reply);
                crash_point("reply-after-send");
                call_on_sent(call, r);
                call->message = sd_bus_message_unref(call->message);
        }

        call_unlink(call);
        free(call);
}

void call_reply_message(Call *call, sd_bus_message *reply) {
        if (call->message) {
                call_on_sent(call, sd_bus_message_send(reply));
                call->message = sd_bus_message_unref(call->message);
        }

        call_unlink(call);
        free(call);
}

void call_reply_failure(Call *call, const Failure *failure) {
        if (call->message) {
                call_on_sent(call,
                             sd_bus_reply_method_errorf(call->message, failure_kind_to_error_name(failure->kind),
                                                        "%s", failure_message(failure)));
                call->message = sd_bus_message_unref(call->message);
        }

        call_unlink(call);
        free(call);
}

int call_submit(sd_bus_message *m, Process *p, OperationKind kind, OperationParameters *q, OperationDone done,
                sd_bus_error *ret_error) {
        _cleanup_(failure_done) Failure failure = FAILURE_INIT;
        Call *call;

        call = call_new(connection_of(m), m, true, &failure);
        if (!call) {
                operation_parameters_done(q);
                return bus_error_from_failure(ret_error, &failure);
        }

        operation_submit(p, kind, q, done, call);
        return 1;
}

void call_on_done(void *userdata, Process *p, const Failure *failure) {
        if (failure_is_set(failure))
                call_reply_failure(userdata, failure);
        else
                call_reply(userdata, NULL);
}

void call_reply_exhausted(Call *call) {
        _cleanup_(failure_done) Failure failure = FAILURE_INIT;

        (void) failure_set(&failure, FAILURE_RESOURCE_EXHAUSTED, "out of memory");
        call_reply_failure(call, &failure);
}

void calls_abandon(Connection *c, const char *sender) {
        Call *call, *next;

        DL_FOREACH_SAFE(c->calls, call, next) {
                if (sender && !streq_ptr(sd_bus_message_get_sender(call->message), sender))
                        continue;

                /* Without a reply: what a Wait kept is given up; an operation goes on, and frees the call when it is
                 * over. */
                if (call->waiter) {
                        call->waiter = waiter_free(call->waiter);
                        call_unlink(call);
                        free(call);
                } else
                        call_unlink(call);
        }
}
