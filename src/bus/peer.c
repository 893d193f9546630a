/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Our own socket: D-Bus peer to peer.
 *
 * busctl and most client libraries know nothing but buses: they say Hello, add matches, ask for name owners. So each
 * peer finds a bus of two: itself, ":1.N", and us, ":1.0" alias org.monoshim1. Matches need not be kept, since every
 * peer is told everything. */

#include "bus/peer.h"
#include "bus/auth.h"
#include "bus/error.h"
#include "bus/listing.h"
#include "util/file.h"
#include "util/log.h"
#include "util/text.h"

#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-id128.h>

#define DRIVER_NAME "org.freedesktop.DBus"
#define DRIVER_PATH "/org/freedesktop/DBus"
#define OWN_UNIQUE_NAME ":1.0"
#define PEER_NAME_LENGTH 16
#define REPLY_SIZE 256
#define SILENCE_USEC USEC_PER_SEC

/* ---- the driver ---- */

static void peer_name(const Connection *c, char name[static PEER_NAME_LENGTH]) {
        (void) snprintf(name, PEER_NAME_LENGTH, ":1.%u", c->number);
}

static bool name_is_ours(const char *name) {
        return streq(name, BUS_NAME) || streq(name, OWN_UNIQUE_NAME);
}

/* Who owns a name on this bus of two; NULL if nobody does. */
static const char *name_get_owner(const Connection *c, const char *name, char buffer[static PEER_NAME_LENGTH]) {
        peer_name(c, buffer);
        if (streq(name, DRIVER_NAME))
                return DRIVER_NAME;
        if (name_is_ours(name))
                return OWN_UNIQUE_NAME;
        return streq(name, buffer) ? buffer : NULL;
}

static int driver_new_reply(sd_bus_message *m, sd_bus_message **ret) {
        int r;

        r = sd_bus_message_new_method_return(m, ret);
        if (r < 0)
                return r;

        return sd_bus_message_set_sender(*ret, DRIVER_NAME);
}

#define driver_reply(m, ...) \
        ({ \
                _cleanup_(sd_bus_message_unrefp) sd_bus_message *_reply = NULL; \
                int _r = driver_new_reply(m, &_reply); \
                _r = _r < 0 ? _r : sd_bus_message_append(_reply, __VA_ARGS__); \
                _r = _r < 0 ? _r : sd_bus_message_send(_reply); \
                _r < 0 ? _r : 1; \
        })

static int driver_hello(Connection *c, sd_bus_message *m) {
        char name[PEER_NAME_LENGTH];

        peer_name(c, name);
        return driver_reply(m, "s", name);
}

static int driver_nothing(Connection *c, sd_bus_message *m) {
        return driver_reply(m, "");
}

static int driver_list_names(Connection *c, sd_bus_message *m) {
        char name[PEER_NAME_LENGTH];

        peer_name(c, name);
        return driver_reply(m, "as", 4, DRIVER_NAME, BUS_NAME, OWN_UNIQUE_NAME, name);
}

static int driver_list_activatable(Connection *c, sd_bus_message *m) {
        return driver_reply(m, "as", 0);
}

/* Reads a name and says who owns it: 1; or 0 when nobody does, which the caller has then been told. */
static int driver_read_owner(Connection *c, sd_bus_message *m, char buffer[static PEER_NAME_LENGTH],
                             const char **ret_owner) {
        const char *name, *owner;
        int r;

        r = sd_bus_message_read(m, "s", &name);
        if (r < 0)
                return r;

        owner = name_get_owner(c, name, buffer);
        if (owner) {
                *ret_owner = owner;
                return 1;
        }

        r = sd_bus_reply_method_errorf(m, SD_BUS_ERROR_NAME_HAS_NO_OWNER,
                                       "Nobody here is called %s, only " BUS_NAME ".", name);
        return r < 0 ? r : 0;
}

static int driver_get_name_owner(Connection *c, sd_bus_message *m) {
        char buffer[PEER_NAME_LENGTH];
        const char *owner;
        int r;

        r = driver_read_owner(c, m, buffer, &owner);
        if (r <= 0)
                return r < 0 ? r : 1;

        return driver_reply(m, "s", owner);
}

static int driver_name_has_owner(Connection *c, sd_bus_message *m) {
        char buffer[PEER_NAME_LENGTH];
        const char *name;
        int r;

        r = sd_bus_message_read(m, "s", &name);
        if (r < 0)
                return r;

        return driver_reply(m, "b", (int) !!name_get_owner(c, name, buffer));
}

/* Whoever is here needs no start: DBUS_START_REPLY_ALREADY_RUNNING. */
static int driver_start_service(Connection *c, sd_bus_message *m) {
        char buffer[PEER_NAME_LENGTH];
        const char *name;
        uint32_t flags;
        int r;

        r = sd_bus_message_read(m, "su", &name, &flags);
        if (r < 0)
                return r;
        if (!name_get_owner(c, name, buffer))
                return sd_bus_reply_method_errorf(m, SD_BUS_ERROR_SERVICE_UNKNOWN,
                                                  "There is no service %s here, only " BUS_NAME ".", name);

        return driver_reply(m, "u", (uint32_t) 2);
}

static int driver_get_id(Connection *c, sd_bus_message *m) {
        char text[SD_ID128_STRING_MAX];
        sd_id128_t id;
        int r;

        r = sd_id128_get_boot(&id);
        if (r < 0)
                return r;

        return driver_reply(m, "s", sd_id128_to_string(id, text));
}

/* The pid and uid of either end; a peer's pid is not known to us for certain, so only ours is told. */
static int driver_get_credentials(Connection *c, sd_bus_message *m) {
        char buffer[PEER_NAME_LENGTH];
        const char *owner;
        int r;

        r = driver_read_owner(c, m, buffer, &owner);
        if (r <= 0)
                return r < 0 ? r : 1;
        if (owner == buffer)
                return driver_reply(m, "a{sv}", 1, "UnixUserID", "u", (uint32_t) c->uid);

        return driver_reply(m, "a{sv}", 2, "ProcessID", "u", (uint32_t) getpid(), "UnixUserID", "u",
                            (uint32_t) geteuid());
}

static int driver_get_user(Connection *c, sd_bus_message *m) {
        char buffer[PEER_NAME_LENGTH];
        const char *owner;
        int r;

        r = driver_read_owner(c, m, buffer, &owner);
        if (r <= 0)
                return r < 0 ? r : 1;

        return driver_reply(m, "u", (uint32_t) (owner == buffer ? c->uid : geteuid()));
}

static int driver_get_process(Connection *c, sd_bus_message *m) {
        char buffer[PEER_NAME_LENGTH];
        const char *owner;
        int r;

        r = driver_read_owner(c, m, buffer, &owner);
        if (r <= 0)
                return r < 0 ? r : 1;
        if (owner == buffer)
                return sd_bus_reply_method_errorf(m, SD_BUS_ERROR_UNIX_PROCESS_ID_UNKNOWN,
                                                  "The pid of %s is not known.", owner);

        return driver_reply(m, "u", (uint32_t) getpid());
}

/* A monitor gives up its name, and shows nothing until it has been told so. */
static int driver_become_monitor(Connection *c, sd_bus_message *m) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *lost = NULL;
        char name[PEER_NAME_LENGTH];
        int r;

        r = driver_reply(m, "");
        if (r < 0)
                return r;

        peer_name(c, name);
        r = sd_bus_message_new_signal(c->bus, &lost, DRIVER_PATH, DRIVER_NAME, "NameLost");
        if (r >= 0)
                r = sd_bus_message_set_sender(lost, DRIVER_NAME);
        if (r >= 0)
                r = sd_bus_message_set_destination(lost, name);
        if (r >= 0)
                r = sd_bus_message_append(lost, "s", name);
        if (r >= 0)
                r = sd_bus_message_send(lost);
        return r < 0 ? r : 1;
}

/* clang-format off */
static const struct {
        const char *interface;
        const char *member;
        const char *signature;
        int (*answer)(Connection *c, sd_bus_message *m);
} driver_table[] = {
        { DRIVER_NAME,               "Hello",                      "",    driver_hello            },
        { DRIVER_NAME,               "AddMatch",                   "s",   driver_nothing          },
        { DRIVER_NAME,               "RemoveMatch",                "s",   driver_nothing          },
        { DRIVER_NAME,               "ListNames",                  "",    driver_list_names       },
        { DRIVER_NAME,               "ListActivatableNames",       "",    driver_list_activatable },
        { DRIVER_NAME,               "GetNameOwner",               "s",   driver_get_name_owner   },
        { DRIVER_NAME,               "NameHasOwner",               "s",   driver_name_has_owner   },
        { DRIVER_NAME,               "StartServiceByName",         "su",  driver_start_service    },
        { DRIVER_NAME,               "GetId",                      "",    driver_get_id           },
        { DRIVER_NAME,               "GetConnectionCredentials",   "s",   driver_get_credentials  },
        { DRIVER_NAME,               "GetConnectionUnixUser",      "s",   driver_get_user         },
        { DRIVER_NAME,               "GetConnectionUnixProcessID", "s",   driver_get_process      },
        { DRIVER_NAME ".Monitoring", "BecomeMonitor",              "asu", driver_become_monitor   },
};
/* clang-format on */

/* Those whose answers grow with the number of containers or events. */
static bool is_large_call(const char *member) {
        static const char *const members[] = { "GetManagedObjects", "GetAll", "Introspect", "GetEvents",
                                               "ListContainers" };

        for (size_t i = 0; i < ELEMENTSOF(members); i++)
                if (streq(members[i], member))
                        return true;
        return false;
}

/* Whoever asks for much has to read it before asking for more. */
static bool must_read_first(Connection *c, const char *member) {
        uint64_t n;

        return is_large_call(member) && sd_bus_get_n_queued_write(c->bus, &n) >= 0 &&
               n + listings_count(c->front, c) >= c->front->registry->services->limits->unread_replies;
}

static int driver_on_message(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        const char *interface = sd_bus_message_get_interface(m), *member = sd_bus_message_get_member(m);
        Connection *c = userdata;
        uint8_t type;

        if (sd_bus_message_get_type(m, &type) < 0 || type != SD_BUS_MESSAGE_METHOD_CALL)
                return 0;

        if (auth_has_let_in(c, m))
                return 0;

        c->has_spoken = true;
        connection_on_sent(
                c, REPLY_SIZE); /* there will be an answer, which must be read before ever more calls are made */
        if (!interface || !member)
                return 0;
        if (must_read_first(c, member))
                return sd_bus_reply_method_errorf(m, MONOSHIM_ERROR("ResourceExhausted"),
                                                  "read what you have been sent before you ask for more; "
                                                  "MaxUnreadReplies=%u in monoshimd.conf(5) allows no more",
                                                  c->front->registry->services->limits->unread_replies);

        for (size_t i = 0; i < ELEMENTSOF(driver_table); i++)
                if (streq(driver_table[i].interface, interface) && streq(driver_table[i].member, member)) {
                        if (!sd_bus_message_has_signature(m, driver_table[i].signature))
                                return sd_bus_reply_method_errorf(m, SD_BUS_ERROR_INVALID_ARGS,
                                                                  "%s.%s takes arguments of type \"%s\".", interface,
                                                                  member, driver_table[i].signature);
                        return driver_table[i].answer(c, m);
                }

        return 0;
}

/* A client may send its first call in one piece with the end of the authentication. sd-bus has then read it already,
 * but looks at it no sooner than when more arrives: so it is asked to, once the connection stands. */
static int peer_on_connected_later(sd_event_source *source, void *userdata) {
        Connection *c = userdata;

        if (c->front->is_held)
                return 0; /* who holds it sees to that */

        c->connected = sd_event_source_disable_unref(c->connected);

        /* Until there is nothing left: several calls may have come so. With a new source each time, since one that is
         * only enabled again keeps its place in front of all others: a client that never stops calling would then be
         * the only one to be answered. */
        if (sd_bus_process(c->bus, NULL) <= 0)
                return 0;
        return sd_event_add_defer(c->front->event, &c->connected, peer_on_connected_later, c);
}

static int peer_on_connected(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        Connection *c = userdata;

        return sd_event_add_defer(c->front->event, &c->connected, peer_on_connected_later, c);
}

/* It says no Hello, so it does not believe to be on a bus, and needs not be spared signals before the answer. */
static int peer_on_silence(sd_event_source *source, uint64_t usec, void *userdata) {
        Connection *c = userdata;

        c->has_spoken = true;
        return 0;
}

int peer_attach_driver(Connection *c) {
        int r;

        r = sd_event_add_time_relative(c->front->event, &c->silence, CLOCK_MONOTONIC, SILENCE_USEC, 0,
                                       peer_on_silence, c);
        if (r < 0)
                return r;

        r = sd_bus_match_signal(c->bus, NULL, NULL, "/org/freedesktop/DBus/Local", "org.freedesktop.DBus.Local",
                                "Connected", peer_on_connected, c);
        if (r < 0)
                return r;

        r = sd_bus_set_sender(c->bus, OWN_UNIQUE_NAME);
        if (r < 0)
                return r;

        return sd_bus_add_filter(c->bus, NULL, driver_on_message, c);
}

/* ---- the socket ---- */

int peer_new(Front *f, int fd) {
        _cleanup_(sd_bus_unrefp) sd_bus *bus = NULL;
        struct ucred credentials;
        socklen_t size = sizeof(credentials);
        Connection *c;
        sd_id128_t id;
        int r;

        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) < 0) {
                r = -errno;
                safe_close(fd);
                return r;
        }

        r = sd_bus_new(&bus);
        if (r >= 0)
                r = sd_bus_set_fd(bus, fd, fd);
        if (r < 0) {
                safe_close(fd);
                return r;
        }

        (void) sd_bus_set_description(bus, "peer");
        if ((r = sd_id128_randomize(&id)) < 0 || (r = sd_bus_set_server(bus, true, id)) < 0 ||
            (r = sd_bus_negotiate_fds(bus, true)) < 0 || (r = sd_bus_set_connected_signal(bus, true)) < 0 ||
            (r = sd_bus_start(bus)) < 0)
                return r;

        r = connection_new(&c, f, TAKE_PTR(bus), true, credentials.uid);
        if (r < 0)
                return r;

        auth_identify_peer(c, fd, credentials.pid);
        return 0;
}

static const char *listen_name(const Front *f) {
        return f->listen_path ?: "the socket that we were given";
}

static int peer_on_accept_again(sd_event_source *source, uint64_t usec, void *userdata) {
        Front *f = userdata;

        f->listen_pause = sd_event_source_disable_unref(f->listen_pause);
        if (!f->is_held)
                (void) sd_event_source_set_enabled(f->listen_source, SD_EVENT_ON);
        return 0;
}

/* Without a descriptor for it the next one in line would wake us without end: it has to wait a while. */
static void peer_pause_listening(Front *f, int error) {
        int r;

        log_warning_errno(error, "Failed to accept a connection on %s, trying again in a second: %m", listen_name(f));

        r = sd_event_add_time_relative(f->event, &f->listen_pause, CLOCK_MONOTONIC, USEC_PER_SEC, 0,
                                       peer_on_accept_again, f);
        if (r >= 0)
                (void) sd_event_source_set_enabled(f->listen_source, SD_EVENT_OFF);
}

static int peer_on_connect(sd_event_source *source, int listen_fd, uint32_t revents, void *userdata) {
        Front *f = userdata;
        int fd, r;

        fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0) {
                if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
                        peer_pause_listening(f, errno);
                return 0;
        }
        if (f->n_peers >= f->registry->services->limits->peers) {
                log_warning("There are %u peers already, refusing another one on %s; MaxPeers=%u allows no more.",
                            f->n_peers, listen_name(f), f->registry->services->limits->peers);
                safe_close(fd);
                return 0;
        }

        r = peer_new(f, fd);
        if (r == -ECONNRESET || r == -EPIPE || r == -ENOTCONN)
                return 0; /* it has gone already: not worth a line, of which it could make any number */
        if (r < 0)
                log_warning_errno(r, "Failed to set up a connection on %s, closing it: %m", listen_name(f));
        return 0;
}

int peer_listen_fd(Front *f, int fd, const char *path) {
        _cleanup_(sd_event_source_disable_unrefp) sd_event_source *source = NULL;
        _cleanup_(freep) char *copy = NULL;
        int listening = 0, r;
        socklen_t size = sizeof(listening);

        if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) < 0 || !listening)
                return log_error_errno(EINVAL, "Descriptor %d is no socket that listens: %m", fd);

        /* We take several from it at once, and one may have gone again meanwhile: it must never be waited for. */
        r = file_set_blocking(fd, false);
        if (r < 0)
                return log_error_errno(r, "Failed to set up the socket that clients connect to: %m");

        if (path) {
                copy = strdup(path);
                if (!copy)
                        return log_error_errno(ENOMEM, "Failed to listen on %s: %m", path);
        }

        r = sd_event_add_io(f->event, &source, fd, EPOLLIN, peer_on_connect, f);
        if (r < 0)
                return log_error_errno(r, "Failed to watch the socket that clients connect to: %m");

        (void) sd_event_source_set_priority(source, PRIORITY_BUS);
        (void) sd_event_source_set_description(source, "listen");
        f->listen_source = TAKE_PTR(source);
        f->listen_path = TAKE_PTR(copy);
        f->listen_fd = fd;
        return 0;
}

int peer_listen(Front *f, const char *path) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        _cleanup_(safe_closep) int fd = -EBADF;
        mode_t mask;
        int r;

        if (strlen(path) >= sizeof(address.sun_path))
                return log_error_errno(ENAMETOOLONG,
                                       "Failed to listen on %s, a socket's path has at most %zu characters: %m", path,
                                       sizeof(address.sun_path) - 1);
        strcpy(address.sun_path, path);

        r = file_remove_stale_socket(path);
        if (r == -EADDRINUSE)
                return log_error_errno(r, "Failed to listen on %s, another monoshimd is running there: %m", path);
        if (r < 0)
                return log_error_errno(r, "Failed to listen on %s, something else is in the way: %m", path);

        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return log_error_errno(errno, "Failed to make a socket: %m");

        mask = umask(0177); /* it is root's alone from the first moment */
        r = bind(fd, (const struct sockaddr *) &address, sizeof(address)) < 0 ? -errno : 0;
        (void) umask(mask);
        if (r < 0)
                return log_error_errno(r, "Failed to bind to %s, does its folder exist? %m", path);

        if (listen(fd, SOMAXCONN) < 0) {
                r = log_error_errno(errno, "Failed to listen on %s: %m", path);
                (void) unlink(path);
                return r;
        }

        r = peer_listen_fd(f, fd, path);
        if (r < 0) {
                (void) unlink(path);
                return r;
        }

        (void) TAKE_FD(fd);
        return 0;
}

void peer_unlisten(Front *f) {
        f->listen_pause = sd_event_source_disable_unref(f->listen_pause);
        f->listen_source = sd_event_source_disable_unref(f->listen_source);
        if (f->listen_fd >= 0 && f->listen_path)
                (void) unlink(f->listen_path);
        f->listen_fd = safe_close(f->listen_fd);
        f->listen_path = mfree(f->listen_path);
}
