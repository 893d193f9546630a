/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The one connection to the journal, and who waits for it. */

#include "host/journal-socket.h"
#include "util/clock.h"
#include "util/journal-message.h"

#include <sys/epoll.h>
#include <utlist.h>

#define RECONNECT_USEC (250 * USEC_PER_MSEC)

/* For a line of the greatest length, whatever the system's default is. The kernel doubles it. */
#define SEND_BUFFER_SIZE (256 * 1024)

static struct {
        int fd;
        sd_event_source *output; /* tells when the socket has room, while somebody waits for that */
        sd_event_source *timer;  /* or, while there is no journal, when to look again */
        JournalWaiter *waiting;
        unsigned n_users;
        uint64_t taken_usec; /* when the journal last took anything from anybody */
} connection = {
        .fd = -EBADF,
};

static void connection_disconnect(void) {
        connection.output = sd_event_source_disable_unref(connection.output);
        connection.fd = safe_close(connection.fd);
}

static int socket_open(void) {
        _cleanup_(safe_closep) int fd = -EBADF;
        int size = SEND_BUFFER_SIZE, r;
        struct sockaddr_un sa;

        r = journal_get_address(&sa);
        if (r < 0)
                return r;

        fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return -errno;
        if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) < 0)
                (void) setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
        if (connect(fd, (struct sockaddr *) &sa, sizeof(sa)) < 0)
                return -errno;
        return TAKE_FD(fd);
}

int journal_check(void) {
        _cleanup_(safe_closep) int fd = socket_open();

        return fd < 0 ? fd : 0;
}

void journal_set_socket(const char *path) {
        connection_disconnect();
        journal_set_address(path);
}

/* The socket's peer has gone, as when journald was stopped; another may have come. */
static bool is_disconnected(int error) {
        return error == -ECONNREFUSED || error == -ENOTCONN || error == -ECONNRESET || error == -EPIPE ||
               error == -ENOENT;
}

static int connection_try_send(struct msghdr *m) {
        ssize_t n;

        if (connection.fd < 0) {
                int fd = socket_open();

                if (fd < 0)
                        return fd;
                connection.fd = fd;
        }

        do
                n = sendmsg(connection.fd, m, MSG_NOSIGNAL | MSG_DONTWAIT);
        while (n < 0 && errno == EINTR);
        if (n < 0)
                return -errno;

        connection.taken_usec = clock_get_monotonic();
        return 0;
}

/* -EAGAIN when it has to be tried again, be it for want of room or of a journal. */
int journal_socket_send(struct msghdr *m) {
        int r;

        r = connection_try_send(m);
        if (!is_disconnected(r))
                return r;

        connection_disconnect();
        r = connection_try_send(m);
        if (!is_disconnected(r))
                return r;

        connection_disconnect();
        return -EAGAIN;
}

static void connection_serve(void) {
        JournalWaiter *w = connection.waiting;

        /* Whoever needs another turn comes behind all others. */
        if (w)
                w->turn(w);
}

static int connection_on_io(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        connection_serve();
        return 0;
}

static int connection_on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        connection_serve();
        return 0;
}

static int connection_wait_for_room(JournalWaiter *w) {
        int r;

        if (!connection.output) {
                r = sd_event_add_io(w->event, &connection.output, connection.fd, EPOLLOUT, connection_on_io, NULL);
                if (r < 0)
                        return r;

                (void) sd_event_source_set_description(connection.output, "journal-output");
                return sd_event_source_set_priority(connection.output, w->priority);
        }
        return sd_event_source_set_enabled(connection.output, SD_EVENT_ON);
}

static int connection_wait_for_journal(JournalWaiter *w) {
        int r;

        if (!connection.timer) {
                r = sd_event_add_time_relative(w->event, &connection.timer, CLOCK_MONOTONIC, RECONNECT_USEC, 0,
                                               connection_on_timer, NULL);
                if (r < 0)
                        return r;

                (void) sd_event_source_set_description(connection.timer, "journal-reconnect");
                return sd_event_source_set_priority(connection.timer, w->priority);
        }

        r = sd_event_source_set_time_relative(connection.timer, RECONNECT_USEC);
        if (r < 0)
                return r;
        return sd_event_source_set_enabled(connection.timer, SD_EVENT_ONESHOT);
}

/* Has those that wait woken in turn, or nobody. */
static int connection_wait(void) {
        if (connection.waiting)
                return connection.fd >= 0 ? connection_wait_for_room(connection.waiting)
                                          : connection_wait_for_journal(connection.waiting);

        if (connection.output)
                (void) sd_event_source_set_enabled(connection.output, SD_EVENT_OFF);
        if (connection.timer)
                (void) sd_event_source_set_enabled(connection.timer, SD_EVENT_OFF);
        return 0;
}

static void waiter_unlink(JournalWaiter *w) {
        if (w->waiting)
                DL_DELETE(connection.waiting, w);
        w->waiting = false;
}

int journal_socket_wait(JournalWaiter *w) {
        waiter_unlink(w);
        DL_APPEND(connection.waiting, w);
        w->waiting = true;
        return connection_wait();
}

int journal_socket_leave(JournalWaiter *w) {
        waiter_unlink(w);
        return connection_wait();
}

uint64_t journal_socket_get_taken(void) {
        return connection.taken_usec;
}

void journal_socket_open(void) {
        connection.n_users++;
}

void journal_socket_close(void) {
        if (--connection.n_users > 0)
                return;

        connection_disconnect();
        connection.timer = sd_event_source_disable_unref(connection.timer);
}
