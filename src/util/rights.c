/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Descriptors that come and go with the messages of a socket. */

#include "util/rights.h"

#include <assert.h>

size_t rights_take(struct msghdr *m, int fds[], size_t max) {
        size_t n = 0;

        for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
                size_t n_fds = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

                if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
                        continue;
                for (size_t i = 0; i < n_fds; i++, n++) {
                        int fd;

                        memcpy(&fd, CMSG_DATA(c) + i * sizeof(fd), sizeof(fd));
                        if (n < max)
                                fds[n] = fd;
                        else
                                safe_close(fd);
                }
        }
        return n;
}

void rights_attach(struct msghdr *m, RightsBuffer *b, const int fds[], size_t n) {
        struct cmsghdr *c = &b->align;

        assert(n <= RIGHTS_MAX);

        if (n == 0)
                return;

        memset(b->buffer, 0, sizeof(b->buffer));
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int) * n);
        memcpy(CMSG_DATA(c), fds, sizeof(int) * n);

        m->msg_control = b->buffer;
        m->msg_controllen = CMSG_SPACE(sizeof(int) * n);
}
