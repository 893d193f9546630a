/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A peer's bytes, into a connection with all our objects on it.
 *
 * The first byte says how they come: bit 0, behind an authentication that is as it should be; bits 2 to 4, in how many
 * pieces. */

#include "bus/peer.h"
#include "fuzz-world.h"
#include "fuzz.h"

#include <sys/socket.h>

#define TURNS_MAX 10000

static const char authentication[] = "\0AUTH EXTERNAL\r\nDATA\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n";

static void drain(int fd) {
        static char buffer[65536];
        char control[CMSG_SPACE(253 * sizeof(int))];

        for (;;) {
                struct iovec iov = { .iov_base = buffer, .iov_len = sizeof(buffer) };
                struct msghdr m = {
                        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)
                };

                if (recvmsg(fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) <= 0)
                        return;
                for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c))
                        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
                                for (size_t i = 0; i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++)
                                        (void) close(((int *) CMSG_DATA(c))[i]);
        }
}

/* Whatever is due now; returns when there is nothing left to do, or after absurdly much of it. */
static void run(FuzzWorld *w, int fd) {
        for (unsigned i = 0; i < TURNS_MAX && sd_event_run(w->event, 0) > 0; i++)
                drain(fd);
        drain(fd);
}

/* No descriptors beside it: those that come with a message which is not valid, or does not count them, libsystemd 252
 * neither closes nor frees, and that is all that would be found here. */
static void send_piece(int fd, const void *data, size_t size) {
        /* Cut off, or already hung up on: all the same. */
        if (size > 0)
                (void) send(fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
}

FUZZ_TARGET(peer) {
        FuzzWorld *w = fuzz_world();
        size_t pieces, step;
        int fds[2];
        uint8_t how;

        if (size < 2 || size > FUZZ_SIZE_MAX)
                return 0;
        how = *data++;
        size--;
        pieces = 1 + ((how >> 2) & 7);
        step = size / pieces + 1;

        assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
        assert(peer_new(&w->front, fds[0]) == 0);

        if (how & 1) {
                send_piece(fds[1], authentication, sizeof(authentication) - 1);
                run(w, fds[1]);
        }
        for (size_t at = 0; at < size; at += step) {
                send_piece(fds[1], data + at, step < size - at ? step : size - at);
                run(w, fds[1]);
        }

        (void) close(fds[1]);
        run(w, -EBADF);
        for (unsigned i = 0; i < TURNS_MAX && w->front.n_peers > 0; i++)
                (void) sd_event_run(w->event, USEC_PER_MSEC);
        assert(w->front.n_peers == 0);
        assert(!w->container->init.queue && HASH_CNT(by_id, w->container->execs) == 1);
        return 0;
}
