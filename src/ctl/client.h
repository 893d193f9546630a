/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The connection to monoshimd, and calls to it. */

#include "ctl/settings.h"

#include <systemd/sd-bus.h>

#define MONOSHIM_SERVICE "org.monoshim1"
#define MONOSHIM_PATH "/org/monoshim1"
#define MONOSHIM_MANAGER "org.monoshim1.Manager"
#define MONOSHIM_CONTAINER "org.monoshim1.Container"
#define MONOSHIM_PROCESS "org.monoshim1.Process"
#define MONOSHIM_ERROR(name) "org.monoshim1.Error." name

/* How long monoshimd may be away (a restart, an upgrade) before whoever waits for a container gives up. */
#define CLIENT_RECONNECT_USEC (10 * USEC_PER_SEC)

/* For calls that answer at once. Those that run the OCI runtime, or wait, take CLIENT_FOREVER: monoshimd has a
 * deadline itself. */
#define CLIENT_DEFAULT_TIMEOUT 0
#define CLIENT_FOREVER UINT64_MAX

typedef struct Client {
        const Settings *settings;
        sd_bus *bus;
} Client;

/* Connects, and reports why not. */
int client_new(const Settings *settings, Client **ret);
Client *client_free(Client *c);
DEFINE_CLEANUP(Client *, client_free);

/* Drops the connection and tries for CLIENT_RECONNECT_USEC to make one to a monoshimd that answers. Reports
 * nothing. */
int client_reconnect(Client *c);

/* Whether a call failed because monoshimd went away (crash, restart, stop), so that asking its successor makes
 * sense. */
bool client_error_is_lost(int r, const sd_bus_error *error);

int client_new_call(Client *c, const char *path, const char *interface, const char *member, sd_bus_message **ret);

/* Makes a call and waits for the answer, however long that takes, and whatever signals are caught meanwhile, which
 * sd_bus_call() takes for its end. 'doing' is shown meanwhile on a terminal's stderr, unless it is NULL. Not for a bus
 * with an event loop. Reports nothing. 'ret_reply' may be NULL. */
int client_call_patiently(Client *c, sd_bus_message *m, const char *doing, sd_bus_error *reterr,
                          sd_bus_message **ret_reply);

/* Makes a call and waits for the answer. 'ret_reply' may be NULL. Reports nothing: the caller knows what to say. */
int client_call(Client *c, const char *path, const char *interface, const char *member, uint64_t timeout_usec,
                sd_bus_error *reterr, sd_bus_message **ret_reply, const char *types, ...);
