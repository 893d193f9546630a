/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The connection to monoshimd.
 *
 * It speaks as a client of a message bus in every case (Hello and all that): monoshimd answers on its own socket
 * as a bus would, so it need not be known what is behind an address. */

#include "ctl/client.h"

#include "util/clock.h"
#include "ctl/agent.h"
#include "ctl/format.h"
#include "ctl/i18n.h"
#include "ctl/progress.h"
#include "ctl/report.h"

#include <stdarg.h>
#include <sys/stat.h>

#define SOCKET_PATH "/run/monoshim/bus"
#define RECONNECT_INTERVAL_USEC (100 * USEC_PER_MSEC)

static int bus_open_address(const char *address, sd_bus **ret) {
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        int r;

        r = sd_bus_new(&bus);
        if (r < 0)
                return r;
        r = sd_bus_set_description(bus, "monoshim");
        if (r < 0)
                return r;
        r = sd_bus_set_address(bus, address);
        if (r < 0)
                return r;
        r = sd_bus_set_bus_client(bus, true);
        if (r < 0)
                return r;
        r = sd_bus_start(bus);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(bus);
        return 0;
}

static bool socket_is_there(void) {
        struct stat st;

        return stat(SOCKET_PATH, &st) == 0 && S_ISSOCK(st.st_mode) && access(SOCKET_PATH, R_OK | W_OK) == 0;
}

/* A socket that nobody listens to was left by a monoshimd that is gone; the system bus may be able to start
 * another. */
static int bus_open_default(sd_bus **ret) {
        int r;

        if (socket_is_there()) {
                r = bus_open_address("unix:path=" SOCKET_PATH, ret);
                if (r != -ECONNREFUSED && r != -ENOENT)
                        return r;
        }
        return sd_bus_open_system_with_description(ret, "monoshim");
}

/* Is there somebody whom polkit could ask for a password? */
static bool settings_may_ask(const Settings *settings) {
        return !settings->no_ask_password && agent_may_ask();
}

static int bus_open(const Settings *settings, sd_bus **ret) {
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        _cleanup_(freep) char *address = NULL;
        const bool may_ask = settings_may_ask(settings);
        const char *given = settings->address, *name;
        int r;

        if (!given)
                r = bus_open_default(&bus);
        else if (given[0] == '/') {
                address = format_unix_address(given);
                r = address ? bus_open_address(address, &bus) : -ENOMEM;
        } else
                r = strchr(given, ':') ? bus_open_address(given, &bus) : -EINVAL;
        if (r < 0)
                return r;

        /* Who is asked for a password takes his time; monoshimd knows how long that may be. */
        r = sd_bus_set_allow_interactive_authorization(bus, may_ask);
        if (r >= 0 && may_ask && geteuid() != 0)
                r = sd_bus_set_method_call_timeout(bus, UINT64_MAX);
        if (r < 0)
                return r;

        /* Waits for the answer to Hello, so that a connection that cannot be is told from a call that fails. */
        r = sd_bus_get_unique_name(bus, &name);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(bus);
        return 0;
}

int client_new(const Settings *settings, Client **ret) {
        _cleanup_(client_freep) Client *c = NULL;
        int r;

        c = calloc(1, sizeof(*c));
        if (!c)
                return report_errno(ENOMEM, _("Cannot connect to monoshimd"));

        c->settings = settings;
        r = bus_open(settings, &c->bus);
        if (r == -EINVAL && settings->address)
                return report_errno(r, _("\"%s\" is no D-Bus address and no absolute path"), settings->address);
        if (r < 0 && settings->address)
                return report_call(r, NULL, _("Cannot connect to monoshimd at \"%s\""), settings->address);
        if (r < 0)
                return report_call(r, NULL, _("Cannot connect to monoshimd"));

        if (settings_may_ask(settings))
                agent_start();

        *ret = TAKE_PTR(c);
        return 0;
}

Client *client_free(Client *c) {
        if (!c)
                return NULL;

        sd_bus_flush_close_unref(c->bus);
        return mfree(c);
}

/* Connecting proves nothing on a message bus, or on a socket that the service manager holds: only an answer does. */
static int client_probe(Client *c) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;

        return client_call(c, MONOSHIM_PATH, "org.freedesktop.DBus.Peer", "Ping", CLIENT_RECONNECT_USEC, &error, NULL,
                           NULL);
}

int client_reconnect(Client *c) {
        uint64_t deadline = clock_get_monotonic() + CLIENT_RECONNECT_USEC;
        int r;

        for (;;) {
                c->bus = sd_bus_flush_close_unref(c->bus);
                r = bus_open(c->settings, &c->bus);
                if (r >= 0)
                        r = client_probe(c);
                if (r >= 0 || clock_get_monotonic() >= deadline)
                        return r;
                (void) usleep(RECONNECT_INTERVAL_USEC);
        }
}

bool client_error_is_lost(int r, const sd_bus_error *error) {
        static const char *const names[] = {
                SD_BUS_ERROR_NO_REPLY,          SD_BUS_ERROR_DISCONNECTED,     SD_BUS_ERROR_SERVICE_UNKNOWN,
                SD_BUS_ERROR_NAME_HAS_NO_OWNER, MONOSHIM_ERROR("Unavailable"),
        };

        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                if (sd_bus_error_has_name(error, names[i]))
                        return true;
        return r == -ECONNRESET || r == -ENOTCONN || r == -EPIPE || r == -ESHUTDOWN;
}

int client_new_call(Client *c, const char *path, const char *interface, const char *member, sd_bus_message **ret) {
        return sd_bus_message_new_method_call(c->bus, ret, MONOSHIM_SERVICE, path, interface, member);
}

static int client_on_reply(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        sd_bus_message **ret = userdata;

        *ret = sd_bus_message_ref(m);
        return 1;
}

static int client_wait_for_reply(Client *c, const char *doing, sd_bus_message *const *reply) {
        uint64_t begin = clock_get_monotonic();
        int r;

        if (doing && !progress_is_wanted())
                doing = NULL;
        while (!*reply) {
                r = sd_bus_process(c->bus, NULL);
                if (r == 0)
                        r = sd_bus_wait(c->bus, doing ? PROGRESS_INTERVAL_USEC : UINT64_MAX);
                if (r < 0 && r != -EINTR)
                        return r;
                if (r == 0 && doing)
                        progress_show(_("%s: %llus"), doing,
                                      (unsigned long long) ((clock_get_monotonic() - begin) / USEC_PER_SEC));
        }
        return 0;
}

int client_call_patiently(Client *c, sd_bus_message *m, const char *doing, sd_bus_error *reterr,
                          sd_bus_message **ret_reply) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_(sd_bus_slot_unrefp) sd_bus_slot *slot = NULL;
        int r;

        r = sd_bus_call_async(c->bus, &slot, m, client_on_reply, &reply, CLIENT_FOREVER);
        if (r < 0)
                return r;
        r = client_wait_for_reply(c, doing, &reply);
        progress_erase();
        if (r < 0)
                return r;

        if (sd_bus_message_is_method_error(reply, NULL))
                return sd_bus_error_copy(reterr, sd_bus_message_get_error(reply));
        if (ret_reply)
                *ret_reply = TAKE_PTR(reply);
        return 0;
}

int client_call(Client *c, const char *path, const char *interface, const char *member, uint64_t timeout_usec,
                sd_bus_error *reterr, sd_bus_message **ret_reply, const char *types, ...) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        va_list ap;
        int r;

        r = client_new_call(c, path, interface, member, &m);
        if (r < 0)
                return r;

        if (types) {
                va_start(ap, types);
                r = sd_bus_message_appendv(m, types, ap);
                va_end(ap);
                if (r < 0)
                        return r;
        }
        return sd_bus_call(c->bus, m, timeout_usec, reterr, ret_reply);
}
