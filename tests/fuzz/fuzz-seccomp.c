/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What comes by the socket of the seccomp agent, where it is to be the state of a container's process with
 * descriptors.
 *
 * The first byte says how: bits 0 and 1, how many descriptors come with it; bits 2 to 4, in how many pieces. */

#include "fuzz.h"
#include "host/seccomp-agent.h"

#include <sys/socket.h>

#define TURNS_MAX 1000

static void on_received(void *userdata, const SeccompState *state, int *fd) {
        unsigned *n = userdata;

        ++*n;
        assert(state->id && state->metadata && *fd >= 0);
        assert(fcntl(*fd, F_GETFD) == FD_CLOEXEC);
}

static void send_piece(int fd, const uint8_t *data, size_t size, size_t n_fds) {
        char control[CMSG_SPACE(3 * sizeof(int))] __attribute__((aligned(_Alignof(struct cmsghdr)))) = {};
        struct iovec iov = { .iov_base = (void *) data, .iov_len = size };
        struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);

        assert(null >= 0);
        if (n_fds > 0) {
                struct cmsghdr *c = (struct cmsghdr *) control;

                m.msg_control = control;
                m.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
                *c = (struct cmsghdr) { .cmsg_len = CMSG_LEN(n_fds * sizeof(int)),
                                        .cmsg_level = SOL_SOCKET,
                                        .cmsg_type = SCM_RIGHTS };
                for (size_t i = 0; i < n_fds; i++)
                        memcpy(CMSG_DATA(c) + i * sizeof(int), &null, sizeof(int));
        }
        /* The other side may have had enough already. */
        (void) sendmsg(fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
        (void) close(null);
}

FUZZ_TARGET(seccomp) {
        _cleanup_(seccomp_agent_freep) SeccompAgent *agent = NULL;
        char path[] = "/tmp/fuzz-seccomp.XXXXXX";
        sd_event *event = NULL;
        size_t pieces, step;
        unsigned n_received = 0;
        int fds[2];
        uint8_t how;

        if (size < 2 || size > FUZZ_SIZE_MAX)
                return 0;
        how = *data++;
        size--;
        pieces = 1 + ((how >> 2) & 7);
        step = size / pieces + 1;

        assert(sd_event_new(&event) >= 0);
        assert(mkdtemp(path) && rmdir(path) == 0); /* a name that nobody has */
        assert(seccomp_agent_new(&agent, event, 0, path, on_received, &n_received) == 0);
        assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
        assert(seccomp_agent_add_connection(agent, fds[0]) == 0);

        for (size_t at = 0; at < size; at += step) {
                send_piece(fds[1], data + at, step < size - at ? step : size - at, at == 0 ? how & 3 : 0);
                for (unsigned i = 0; i < TURNS_MAX && sd_event_run(event, 0) > 0; i++)
                        ;
        }
        (void) close(fds[1]);
        for (unsigned i = 0; i < TURNS_MAX && seccomp_agent_n_connections(agent) > 0; i++)
                (void) sd_event_run(event, USEC_PER_MSEC);
        assert(seccomp_agent_n_connections(agent) == 0);
        assert(n_received <= 1);

        agent = seccomp_agent_free(agent);
        (void) sd_event_unref(event);
        return 0;
}
