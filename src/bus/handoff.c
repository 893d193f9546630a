/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Connections as text, for the program that we become; and what that makes of it. */

#include "bus/handoff.h"
#include "bus/auth.h"
#include "bus/call.h"
#include "bus/peer.h"
#include "bus/transplant.h"
#include "util/log.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <utlist.h>

/* A call from before, in the order of the queue in which it comes in again. */
typedef struct Replay {
        sd_bus_message *message;
        struct Replay *prev, *next; /* connection::replays */
} Replay;

/* ---- writing ---- */

static int fd_let_inherit(int fd) {
        return fd < 0 ? fd : fcntl(fd, F_SETFD, 0) < 0 ? -errno : 0;
}

static void write_waits(const Connection *c, JsonWriter *w) {
        json_write_key(w, "waits");
        json_open_array(w);
        for (const Call *call = c->calls; call; call = call->next) {
                uint64_t serial;

                if (sd_bus_message_get_cookie(call->message, &serial) < 0 ||
                    sd_bus_message_get_expect_reply(call->message) == 0)
                        continue;

                json_open_object(w);
                json_put_string(w, "path", sd_bus_message_get_path(call->message));
                json_put_uint64(w, "serial", serial);
                if (!c->is_peer)
                        json_put_string(w, "sender", sd_bus_message_get_sender(call->message));
                json_close_object(w);
        }
        json_close_array(w);
}

static int write_bus_name(const Connection *c, JsonWriter *w) {
        const char *name;
        int r;

        r = sd_bus_get_unique_name(c->bus, &name);
        if (r < 0)
                return r;

        json_put_string(w, "unique_name", name);
        return 0;
}

static int write_connection(Connection *c, JsonWriter *w) {
        char text[SD_ID128_STRING_MAX];
        int fd, r, can_pass_fds;
        sd_id128_t id;

        fd = sd_bus_get_fd(c->bus);
        r = fd_let_inherit(fd);
        if (r < 0)
                return r;
        r = can_pass_fds = sd_bus_can_send(c->bus, SD_BUS_TYPE_UNIX_FD);
        if (r < 0)
                return r;
        r = sd_bus_get_bus_id(c->bus, &id);
        if (r < 0)
                return r;

        json_open_object(w);
        json_put_string(w, "kind", c->is_peer ? "peer" : "bus");
        json_put_uint64(w, "fd", (uint64_t) fd);
        json_put_uint64(w, "serial", c->serial);
        json_put_bool(w, "can_pass_fds", can_pass_fds > 0);
        json_put_string(w, "id", sd_id128_to_string(id, text));
        if (c->is_peer) {
                json_put_uint64(w, "number", c->number);
                json_put_bool(w, "has_spoken", c->has_spoken);
                json_put_uint64(w, "pid", (uint64_t) c->pid);
                json_put_uint64(w, "start_time", c->start_time);
        } else {
                r = write_bus_name(c, w);
                if (r < 0)
                        return r;
                auth_write_handoff(c, w);
        }
        write_waits(c, w);
        json_close_object(w);
        return 0;
}

/* The last look, from which nothing happens any more until the execution. */
static int write_connections(Front *f, JsonWriter *w) {
        int r;

        r = front_probe(f, true);
        if (r < 0)
                return r;
        for (const Connection *c = f->connections; c; c = c->next)
                if (!c->is_at_boundary)
                        return -EAGAIN;

        json_write_key(w, "connections");
        json_open_array(w);
        for (Connection *c = f->connections; c; c = c->next) {
                r = write_connection(c, w);
                if (r < 0)
                        return r;
        }
        json_close_array(w);
        return 0;
}

int front_write_handoff(Front *f, JsonWriter *w) {
        int r;

        if (!front_is_quiet(f))
                return -EAGAIN;

        json_open_object(w);
        json_put_uint64(w, "version", HANDOFF_VERSION);
        json_put_uint64(w, "untold", f->untold);
        json_put_uint64(w, "last_number", f->last_number);
        json_put_bool(w, "reconnect", f->reconnect);

        if (f->listen_fd >= 0) {
                r = fd_let_inherit(f->listen_fd);
                if (r < 0)
                        return r;
                json_write_key(w, "listen");
                json_open_object(w);
                json_put_uint64(w, "fd", (uint64_t) f->listen_fd);
                if (f->listen_path)
                        json_put_string(w, "path", f->listen_path);
                json_close_object(w);
        }

        r = write_connections(f, w);
        if (r < 0)
                return r;
        json_close_object(w);
        return 0;
}

/* ---- taking ---- */

static int json_get_uint32(Json object, const char *name, uint32_t *ret) {
        uint64_t u;
        int r;

        r = json_get_uint64(object, name, &u);
        if (r <= 0)
                return r;
        if (u > UINT32_MAX)
                return -EINVAL;

        *ret = (uint32_t) u;
        return 1;
}

/* The member "fd", which is ours from now on: a socket, and none of the three that everybody has. */
static int take_socket(Json tree) {
        uint32_t fd = 0;
        struct stat st;

        if (json_get_uint32(tree, "fd", &fd) <= 0 || fd <= STDERR_FILENO || fd > INT_MAX)
                return -EBADF;
        if (fstat((int) fd, &st) < 0)
                return -errno;
        if (!S_ISSOCK(st.st_mode))
                return -ENOTSOCK;
        if (fcntl((int) fd, F_SETFD, FD_CLOEXEC) < 0)
                return -errno;

        return (int) fd;
}

static int read_transplant(Json tree, Transplant *ret) {
        Transplant t = {};
        const char *kind, *id;

        if (json_get_string(tree, "kind", &kind) <= 0 || json_get_string(tree, "id", &id) <= 0 ||
            sd_id128_from_string(id, &t.id) < 0 || json_get_bool(tree, "can_pass_fds", &t.can_pass_fds) <= 0 ||
            json_get_uint32(tree, "serial", &t.serial) <= 0)
                return -EINVAL;

        t.is_peer = streq(kind, "peer");
        if (!t.is_peer && (!streq(kind, "bus") || json_get_string(tree, "unique_name", &t.unique_name) <= 0 ||
                           t.unique_name[0] != ':'))
                return -EINVAL;

        *ret = t;
        return 0;
}

static int take_peer(Connection *c, Json tree) {
        uint32_t number, pid = 0;

        if (json_get_uint32(tree, "number", &number) <= 0 || json_get_bool(tree, "has_spoken", &c->has_spoken) <= 0)
                return -EINVAL;

        /* Whose connection it is was only certain when it was made. */
        if (json_get_uint32(tree, "pid", &pid) > 0 && json_get_uint64(tree, "start_time", &c->start_time) > 0)
                c->pid = (pid_t) pid;

        c->number = number;
        if (number > c->front->last_number)
                c->front->last_number = number;
        return 0;
}

static int take_bus(Connection *c, Json tree, int far) {
        bool has_asked = false;
        int r;

        r = auth_take_handoff(c, tree, &has_asked);
        if (r < 0)
                return r;

        return has_asked ? transplant_answer(c->bus, far) : 0;
}

/* One more time the call comes in: it goes through our hands like the first time, but for the question who may. */
static int replay_wait(Connection *c, Json tree) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        const char *path, *sender = NULL;
        uint32_t serial = 0;
        Replay *replay;
        int r;

        if (json_get_string(tree, "path", &path) <= 0 || json_get_uint32(tree, "serial", &serial) <= 0 ||
            serial == 0 || json_get_string(tree, "sender", &sender) < 0 || (!c->is_peer && !sender))
                return -EINVAL;

        if ((r = sd_bus_message_new_method_call(c->bus, &m, BUS_NAME, path, PROCESS_INTERFACE, "Wait")) < 0 ||
            (sender && (r = sd_bus_message_set_sender(m, sender)) < 0) || (r = sd_bus_message_seal(m, serial, 0)) < 0)
                return r;

        replay = malloc(sizeof(*replay));
        if (!replay)
                return -ENOMEM;

        r = sd_bus_enqueue_for_read(c->bus, m);
        if (r < 0) {
                free(replay);
                return r;
        }

        *replay = (Replay) { .message = TAKE_PTR(m) };
        DL_APPEND(c->replays, replay);
        return 0;
}

static void replay_waits(Connection *c, Json tree) {
        Json waits = json_get(tree, "waits");

        for (size_t i = 0; i < json_length(waits); i++) {
                int r = replay_wait(c, json_element(waits, i));

                if (r < 0)
                        log_warning_errno(r, "Failed to go on with a Wait from before the re-execution, it stays "
                                             "unanswered: %m");
        }
}

static void replay_free(Connection *c, Replay *replay) {
        DL_DELETE(c->replays, replay);
        (void) sd_bus_message_unref(replay->message);
        free(replay);
}

bool handoff_is_replay(Connection *c, sd_bus_message *m) {
        if (!c->replays || c->replays->message != m)
                return false;

        replay_free(c, c->replays);
        return true;
}

void handoff_forget_replays(Connection *c) {
        while (c->replays)
                replay_free(c, c->replays);
}

static int connection_take(Front *f, Json tree, int fd, Connection **ret) {
        _cleanup_(connection_freep) Connection *c = NULL;
        _cleanup_(safe_closep) int far = -EBADF;
        struct ucred credentials = { .uid = 0 };
        socklen_t size = sizeof(credentials);
        Transplant t;
        sd_bus *bus;
        int r;

        r = read_transplant(tree, &t);
        if (r < 0)
                return r;
        if (!t.is_peer && f->broker)
                return -EEXIST;
        if (t.is_peer && getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) < 0)
                return -errno;

        r = transplant_begin(&t, &bus, &far);
        if (r < 0)
                return r;
        r = connection_new_detached(&c, f, bus, t.is_peer, t.is_peer ? credentials.uid : 0);
        if (r < 0)
                return r;
        r = t.is_peer ? take_peer(c, tree) : take_bus(c, tree, far);
        if (r < 0)
                return r;

        r = transplant_end(bus, fd);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(c);
        return 0;
}

/* From here on the descriptor is the connection's, and so are its ends. */
static void connection_go_on(Connection *c, Json tree, uint64_t told) {
        int r;

        if (!c->is_peer) {
                c->front->broker = c;
                c->front->name_acquired = true;
        }
        connection_narrow(c);

        r = connection_attach(c);
        if (r < 0) {
                log_warning_errno(r, "Failed to go on with a connection, closing it: %m");
                connection_drop(c);
                return;
        }

        if (connection_may_listen(c))
                front_tell_since(c, told);
        replay_waits(c, tree);
}

static void take_connections(Front *f, Json connections, uint64_t told) {
        for (size_t i = 0; i < json_length(connections); i++) {
                Json tree = json_element(connections, i);
                _cleanup_(safe_closep) int fd = -EBADF;
                Connection *c = NULL;
                int r;

                r = fd = take_socket(tree);
                if (r >= 0)
                        r = connection_take(f, tree, fd, &c);
                if (r < 0) {
                        log_warning_errno(r, "Failed to take over a connection from before the re-execution, closing "
                                             "it: %m");
                        continue;
                }

                (void) TAKE_FD(fd);
                connection_go_on(c, tree, told);
        }
}

static void take_listener(Front *f, Json tree) {
        _cleanup_(safe_closep) int fd = -EBADF;
        const char *path = NULL;

        fd = take_socket(tree);
        if (fd < 0 || json_get_string(tree, "path", &path) < 0) {
                log_warning("Failed to take over the socket that clients connect to, making a new one.");
                return;
        }
        if (peer_listen_fd(f, fd, path) >= 0)
                (void) TAKE_FD(fd);
}

int front_take_handoff(Front *f, Json tree) {
        uint64_t version = 0, told = f->untold;
        bool reconnect = false;

        if (json_get_uint64(tree, "version", &version) <= 0 || version != HANDOFF_VERSION)
                return log_warning_errno(EPROTONOSUPPORT,
                                         "The connections were described by a monoshimd of another kind (version "
                                         "%llu), not taking them over: %m",
                                         (unsigned long long) version);

        (void) json_get_uint32(tree, "last_number", &f->last_number);
        if (json_get(tree, "listen"))
                take_listener(f, json_get(tree, "listen"));
        take_connections(f, json_get(tree, "connections"), told);

        if (f->broker)
                f->untold = eventlog_last(f->registry->services->log);
        else {
                (void) json_get_uint64(tree, "untold", &f->untold);
                if (json_get_bool(tree, "reconnect", &reconnect) > 0 && reconnect)
                        front_on_broker_gone(f);
        }
        return 0;
}
