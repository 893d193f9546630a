/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The console socket: how the runtime hands us the master of a container's pseudo-terminal. */

#include "host/console.h"
#include "util/crash-point.h"
#include "util/rights.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <termios.h>

#define TERMINAL_NAME_MAX 4095U

/* A runtime makes one connection. */
#define N_CONNECTIONS_MAX 8

/* Names that may have been left behind by somebody before us. */
#define N_NAMES_MAX 1000

/* ---- the socket ---- */

/* By way of the folder's descriptor, as the folder's path may be longer than an address is. */
static int socket_bind(int fd, int dir_fd, const char *name) {
        struct sockaddr_un sa = { .sun_family = AF_UNIX };

        (void) snprintf(sa.sun_path, sizeof(sa.sun_path), "/proc/self/fd/%d/%s", dir_fd, name);
        return bind(fd, (struct sockaddr *) &sa, sizeof(sa)) < 0 ? -errno : 0;
}

/* With a name that there is not yet. */
static int console_bind(Console *c) {
        static unsigned n_consoles;
        int r = -EADDRINUSE;

        for (unsigned i = 0; i < N_NAMES_MAX && r == -EADDRINUSE; i++) {
                (void) snprintf(c->name, sizeof(c->name), "console.%u", n_consoles++);
                r = socket_bind(c->fd, c->dir_fd, c->name);
        }
        if (r < 0)
                c->name[0] = 0;
        return r;
}

static int console_listen(Console *c) {
        int r;

        c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (c->fd < 0)
                return -errno;

        /* bind() makes the file with the mode of the socket. */
        if (fchmod(c->fd, 0600) < 0)
                return -errno;

        r = console_bind(c);
        if (r < 0)
                return r;
        if (listen(c->fd, N_CONNECTIONS_MAX) < 0)
                return -errno;

        (void) snprintf(c->path, sizeof(c->path), "/proc/%d/fd/%d/%s", (int) getpid(), c->dir_fd, c->name);
        return 0;
}

int console_open(Console *ret, int dir_fd) {
        Console c = CONSOLE_INIT;
        int r;

        c.dir_fd = fcntl(dir_fd, F_DUPFD_CLOEXEC, 3);
        if (c.dir_fd < 0)
                return -errno;

        r = console_listen(&c);
        crash_point("console-listening");
        if (r < 0) {
                console_done(&c);
                return r;
        }

        *ret = c;
        return 0;
}

void console_done(Console *c) {
        if (c->name[0])
                (void) unlinkat(c->dir_fd, c->name, 0);
        safe_close(c->fd);
        safe_close(c->dir_fd);
        *c = CONSOLE_INIT;
}

/* ---- the master ---- */

/* The one descriptor of a message; -EPROTO if there is none or more than one, none of which then stays open. */
static int message_take_fd(struct msghdr *m) {
        _cleanup_(safe_closep) int fd = -EBADF;

        if (rights_take(m, &fd, 1) != 1 || (m->msg_flags & MSG_CTRUNC))
                return -EPROTO;
        return TAKE_FD(fd);
}

static int connection_receive(int fd) {
        RightsBuffer control;
        char name[TERMINAL_NAME_MAX + 1];
        struct iovec iov = { .iov_base = name, .iov_len = sizeof(name) };
        struct msghdr m = {
                .msg_iov = &iov,
                .msg_iovlen = 1,
                .msg_control = control.buffer,
                .msg_controllen = sizeof(control.buffer),
        };
        _cleanup_(safe_closep) int master = -EBADF;
        unsigned number;
        ssize_t n;

        do
                n = recvmsg(fd, &m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
        while (n < 0 && errno == EINTR);
        if (n < 0)
                return errno == EAGAIN || errno == ECONNRESET ? -ENODATA : -errno;
        if (n == 0)
                return -ENODATA;

        master = message_take_fd(&m);
        if (master < 0)
                return master;
        if ((size_t) n > TERMINAL_NAME_MAX)
                return -EPROTO;
        if (ioctl(master, TIOCGPTN, &number) < 0)
                return -ENOTTY;
        return TAKE_FD(master);
}

int console_receive(Console *c) {
        int error = -ENODATA;

        for (unsigned i = 0; i < N_CONNECTIONS_MAX * 2; i++) {
                _cleanup_(safe_closep) int fd = -EBADF;
                int master;

                fd = accept4(c->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
                if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
                        continue;
                if (fd < 0)
                        return errno == EAGAIN ? error : -errno;

                master = connection_receive(fd);
                crash_point("console-received");
                if (master >= 0)
                        return master;
                if (master != -ENODATA)
                        error = master;
        }
        return error;
}

int console_resize(int master, uint16_t columns, uint16_t rows) {
        struct winsize size = { .ws_col = columns, .ws_row = rows };

        return ioctl(master, TIOCSWINSZ, &size) < 0 ? -errno : 0;
}
