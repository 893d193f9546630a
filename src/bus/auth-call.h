/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a method call needs, and what is told about it to whoever decides: read from the message alone. */

#include "util/macro.h"

#include <systemd/sd-bus.h>

typedef enum AuthAction {
        AUTH_FREE,    /* nobody is asked: it tells nothing of containers */
        AUTH_INSPECT, /* reading, and whatever we do not know: an error, too, may tell whether a container exists */
        AUTH_MANAGE,  /* changes a container, or us */
        AUTH_CREATE,  /* starts programs of the caller's choice, as root if he likes */
        _AUTH_ACTION_MAX,
} AuthAction;

/* polkit's name of the action; NULL of AUTH_FREE. */
const char *auth_action_to_string(AuthAction action);

/* Any of the three strings may be NULL, as in a message. */
AuthAction auth_action_of(const char *path, const char *interface, const char *member);
AuthAction auth_action_of_call(sd_bus_message *m);

/* Does the table name it, or would it be taken for unknown? Every method of ours must be named. */
bool auth_action_is_known(const char *interface, const char *member);

/* What a rule may decide by: pairs of strings, with NULL behind the last one: "interface", "method", and, as far as
 * the call says it, "namespace", "id" and "exec". None is given that is not a valid name. The caller frees *ret with
 * strv_free(). Rewinds the message. -ENOMEM. */
int auth_call_details(sd_bus_message *m, char ***ret);

/* About what keeping the message costs, in bytes; SIZE_MAX when it cannot be read to its end. Rewinds it. */
size_t auth_call_size(sd_bus_message *m);
