/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The socket on which OCI runtimes hand over seccomp listeners. */

#include "host/seccomp-agent.h"
#include "util/file.h"
#include "util/json.h"
#include "util/log.h"
#include "util/rights.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <utlist.h>

#define READ_SIZE 16384U

/* What is read of one connection before others get their turn. */
#define READS_PER_TURN 8

/* Without descriptors or memory for a connection it is left in the queue for so long. */
#define PAUSE_USEC USEC_PER_SEC

#define SECCOMP_FD_NAME "seccompFd"

typedef struct Connection {
        SeccompAgent *agent;
        int fd;
        struct ucred peer;
        sd_event_source *io;
        sd_event_source *timer;
        char *text;
        size_t size, allocated;
        int fds[SECCOMP_DESCRIPTORS_MAX];
        size_t n_fds;
        struct Connection *prev, *next; /* agent::connections */
} Connection;

struct SeccompAgent {
        sd_event *event;
        int64_t priority;
        const char *path; /* NULL until it is bound */
        int fd;
        sd_event_source *io;
        sd_event_source *pause;
        Connection *connections;
        unsigned n_connections;
        SeccompReceived received;
        void *userdata;
};

/* ---- connections ---- */

static Connection *connection_free(Connection *c) {
        SeccompAgent *a;

        if (!c)
                return NULL;

        a = c->agent;
        if (a) {
                DL_DELETE(a->connections, c);
                a->n_connections--;
                if (a->io && !a->pause)
                        (void) sd_event_source_set_enabled(a->io, SD_EVENT_ON);
        }

        (void) sd_event_source_disable_unref(c->io);
        (void) sd_event_source_disable_unref(c->timer);
        for (size_t i = 0; i < c->n_fds; i++)
                safe_close(c->fds[i]);
        safe_close(c->fd);
        free(c->text);
        return mfree(c);
}
DEFINE_CLEANUP(Connection *, connection_free);

/* 'why' is a sentence, without its end. */
static void connection_refuse(const Connection *c, int error, const char *why) {
        if (error)
                (void) log_full(LOG_WARNING, error, NULL, NULL, "Refused a seccomp listener from process %d: %s: %m",
                                (int) c->peer.pid, why);
        else
                (void) log_full(LOG_WARNING, 0, NULL, NULL, "Refused a seccomp listener from process %d: %s.",
                                (int) c->peer.pid, why);
}

/* Hands on what was received. What is not taken then is closed with the connection: the system calls that it is about
 * answer ENOSYS. */
static void connection_deliver(Connection *c, Json tree) {
        SeccompState state = { .peer = c->peer.pid, .metadata = "" };
        Json fds = json_get(tree, "fds"), container = json_get(tree, "state");
        size_t position = SIZE_MAX;

        for (size_t i = 0; i < json_length(fds); i++)
                if (streq_ptr(json_string(json_element(fds, i)), SECCOMP_FD_NAME))
                        position = i;

        if (position == SIZE_MAX || !YAJL_IS_ARRAY(fds))
                return connection_refuse(c, 0, "its message names no \"" SECCOMP_FD_NAME "\" in \"fds\"");
        if (json_length(fds) != c->n_fds)
                return connection_refuse(c, 0, "its message names another number of descriptors than came with it");
        if (json_get_string(container, "id", &state.id) <= 0)
                return connection_refuse(c, 0, "its message has no container id in \"state\"");
        if (json_get_uint64(tree, "pid", &state.pid) < 0 || json_get_string(tree, "metadata", &state.metadata) < 0)
                return connection_refuse(c, 0, "\"pid\" or \"metadata\" in its message is of another type");

        c->agent->received(c->agent->userdata, &state, &c->fds[position]);
}

/* Tries whether what has come so far is the message: not every runtime closes the connection behind it. Returns true
 * if it has been dealt with. */
static bool connection_try(Connection *c, bool ended) {
        _cleanup_(freep) char *reason = NULL;
        _cleanup_(json_freep) Json tree = NULL;
        size_t n = c->size;
        int r;

        while (n > 0 && strchr(" \t\r\n", c->text[n - 1]))
                n--;
        if (!ended && (n == 0 || c->text[n - 1] != '}'))
                return false;
        if (ended && n == 0) {
                connection_refuse(c, 0, "it has closed the connection without a message");
                return true;
        }

        c->text[c->size] = 0;
        r = json_parse(c->text, c->size, &tree, &reason);
        if (r < 0 && !ended && r != -ENOMEM)
                return false;
        if (r < 0)
                connection_refuse(c, r == -ENOMEM ? r : 0, reason ?: "its message could not be parsed");
        else if (!json_is_object(tree))
                connection_refuse(c, 0, "its message is no JSON object");
        else
                connection_deliver(c, tree);
        return true;
}

static int connection_make_room(Connection *c) {
        size_t n = c->allocated ? c->allocated * 2 : READ_SIZE;
        char *more;

        if (c->size + 1 < c->allocated) /* a NUL follows */
                return 0;
        if (c->size >= SECCOMP_MESSAGE_MAX)
                return -EFBIG;

        more = realloc(c->text, n);
        if (!more)
                return -ENOMEM;
        c->text = more;
        c->allocated = n;
        return 0;
}

/* Keeps the descriptors of a message; -EMFILE if there are too many, in which case those are closed. */
static int connection_take_fds(Connection *c, struct msghdr *m) {
        size_t room = ELEMENTSOF(c->fds) - c->n_fds, n = rights_take(m, c->fds + c->n_fds, room);

        c->n_fds += n < room ? n : room;
        return n > room || (m->msg_flags & MSG_CTRUNC) ? -EMFILE : 0;
}

/* Returns the number of bytes, 0 at the end, -EAGAIN when there is nothing now. */
static ssize_t connection_read(Connection *c) {
        RightsBuffer control;
        struct msghdr m = { .msg_control = control.buffer,
                            .msg_controllen = sizeof(control.buffer),
                            .msg_iovlen = 1 };
        struct iovec iov;
        ssize_t n;
        int r;

        r = connection_make_room(c);
        if (r < 0)
                return r;
        iov = (struct iovec) { .iov_base = c->text + c->size, .iov_len = c->allocated - 1 - c->size };
        m.msg_iov = &iov;

        do
                n = recvmsg(c->fd, &m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
        while (n < 0 && errno == EINTR);
        if (n < 0)
                return -errno;

        r = connection_take_fds(c, &m);
        c->size += (size_t) n;
        return r < 0 ? r : n;
}

/* Returns true when the connection is over. */
static bool connection_work(Connection *c) {
        for (unsigned i = 0; i < READS_PER_TURN; i++) {
                ssize_t n = connection_read(c);

                if (n == -EAGAIN)
                        return false;
                if (n == -EMFILE)
                        connection_refuse(c, 0, "too many descriptors came with its message");
                else if (n == -EFBIG)
                        connection_refuse(c, 0, "its message is larger than 1 MiB");
                else if (n < 0)
                        connection_refuse(c, (int) -n, "its message could not be read");
                if (n < 0 || connection_try(c, n == 0))
                        return true;
        }

        return false;
}

static int connection_on_io(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        Connection *c = userdata;

        if (connection_work(c))
                (void) connection_free(c);
        return 0;
}

static int connection_on_overdue(sd_event_source *source, uint64_t usec, void *userdata) {
        Connection *c = userdata;

        connection_refuse(c, 0, "its message did not come in time");
        (void) connection_free(c);
        return 0;
}

int seccomp_agent_add_connection(SeccompAgent *a, int fd) {
        _cleanup_(connection_freep) Connection *c = NULL;
        socklen_t size = sizeof(c->peer);
        int r;

        c = calloc(1, sizeof(*c));
        if (!c) {
                safe_close(fd);
                return -ENOMEM;
        }
        c->fd = fd;

        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &c->peer, &size) < 0)
                return -errno;
        if (c->peer.uid != geteuid()) {
                connection_refuse(c, 0, "it belongs to another user");
                return -EPERM;
        }

        r = sd_event_add_time_relative(a->event, &c->timer, CLOCK_MONOTONIC, SECCOMP_CONNECTION_USEC, 0,
                                       connection_on_overdue, c);
        if (r < 0)
                return r;
        r = sd_event_add_io(a->event, &c->io, fd, EPOLLIN, connection_on_io, c);
        if (r < 0)
                return r;
        r = sd_event_source_set_priority(c->io, a->priority);
        if (r < 0)
                return r;

        c->agent = a;
        DL_APPEND(a->connections, c);
        a->n_connections++;

        /* The message usually is there already. It has to be dealt with before the exit of its sender, of which we
         * may be told in this very turn. */
        if (!connection_work(c))
                TAKE_PTR(c);
        return 0;
}

/* ---- the socket ---- */

static int agent_on_pause_over(sd_event_source *source, uint64_t usec, void *userdata) {
        SeccompAgent *a = userdata;

        a->pause = sd_event_source_disable_unref(a->pause);
        (void) sd_event_source_set_enabled(a->io, SD_EVENT_ON);
        return 0;
}

static void agent_pause(SeccompAgent *a) {
        (void) sd_event_source_set_enabled(a->io, SD_EVENT_OFF);
        if (sd_event_add_time_relative(a->event, &a->pause, CLOCK_MONOTONIC, PAUSE_USEC, 0, agent_on_pause_over, a) <
            0)
                (void) sd_event_source_set_enabled(a->io, SD_EVENT_ON);
}

static int agent_on_io(sd_event_source *source, int listening, uint32_t revents, void *userdata) {
        SeccompAgent *a = userdata;

        /* As many as the queue may hold, since their senders may have ended already. */
        while (a->n_connections < SECCOMP_CONNECTIONS_MAX) {
                int r, fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

                if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
                        continue;
                if (fd < 0 && errno == EAGAIN)
                        return 0;
                r = fd < 0 ? -errno : seccomp_agent_add_connection(a, fd);
                if (r < 0 && r != -EPERM)
                        log_warning_errno(r, "Failed to accept a connection to %s: %m", a->path);
                if (fd < 0) {
                        agent_pause(a);
                        return 0;
                }
        }

        (void) sd_event_source_set_enabled(a->io, SD_EVENT_OFF); /* until one of them is gone */
        return 0;
}

static int agent_listen(SeccompAgent *a, const char *path) {
        struct sockaddr_un sa = { .sun_family = AF_UNIX };
        int r;

        if (strlen(path) >= sizeof(sa.sun_path))
                return -ENAMETOOLONG;
        strcpy(sa.sun_path, path);

        a->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (a->fd < 0)
                return -errno;
        /* bind() makes the file with the mode of the socket. */
        if (fchmod(a->fd, 0600) < 0)
                return -errno;
        /* What a former one of us has left is of no use to anybody, other than that of one that runs beside us. */
        r = file_remove_stale_socket(path);
        if (r < 0)
                return r;
        if (bind(a->fd, (struct sockaddr *) &sa, sizeof(sa)) < 0)
                return -errno;
        a->path = path;
        return listen(a->fd, SOMAXCONN) < 0 ? -errno : 0;
}

int seccomp_agent_new(SeccompAgent **ret, sd_event *event, int64_t priority, const char *path,
                      SeccompReceived received, void *userdata) {
        _cleanup_(seccomp_agent_freep) SeccompAgent *a = NULL;
        int r;

        a = malloc(sizeof(*a));
        if (!a)
                return -ENOMEM;
        *a = (SeccompAgent) {
                .event = event,
                .priority = priority,
                .fd = -EBADF,
                .received = received,
                .userdata = userdata,
        };

        r = agent_listen(a, path);
        if (r < 0)
                return r;
        r = sd_event_add_io(event, &a->io, a->fd, EPOLLIN, agent_on_io, a);
        if (r < 0)
                return r;
        r = sd_event_source_set_priority(a->io, priority);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(a);
        return 0;
}

SeccompAgent *seccomp_agent_free(SeccompAgent *a) {
        if (!a)
                return NULL;

        (void) sd_event_source_disable_unref(a->pause);
        a->io = sd_event_source_disable_unref(a->io);
        while (a->connections)
                (void) connection_free(a->connections);
        if (a->path)
                (void) unlink(a->path);
        safe_close(a->fd);
        return mfree(a);
}

unsigned seccomp_agent_n_connections(const SeccompAgent *a) {
        return a->n_connections;
}
