/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Telling the service manager. */

#include "util/notify.h"
#include "util/rights.h"

#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>

#define FDS_MAX 16

static int address_get(struct sockaddr_un *ret, socklen_t *ret_size) {
        const char *path = getenv("NOTIFY_SOCKET");
        size_t n;

        if (isempty(path))
                return 0;
        n = strlen(path);
        if ((path[0] != '/' && path[0] != '@') || n >= sizeof(ret->sun_path))
                return -EINVAL;

        *ret = (struct sockaddr_un) { .sun_family = AF_UNIX };
        memcpy(ret->sun_path, path, n);
        if (path[0] == '@')
                ret->sun_path[0] = 0;
        *ret_size = (socklen_t) (offsetof(struct sockaddr_un, sun_path) + n + (path[0] == '/'));
        return 1;
}

bool notify_is_wanted(void) {
        return !isempty(getenv("NOTIFY_SOCKET"));
}

int notify_send(const char *text, const int fds[], size_t n_fds) {
        struct iovec iov = { .iov_base = (char *) text, .iov_len = strlen(text) };
        struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
        _cleanup_(safe_closep) int fd = -EBADF;
        struct sockaddr_un address;
        RightsBuffer control;
        socklen_t size;
        int r;

        r = address_get(&address, &size);
        if (r <= 0)
                return r;
        if (n_fds > FDS_MAX)
                return -E2BIG;

        m.msg_name = &address;
        m.msg_namelen = size;
        rights_attach(&m, &control, fds, n_fds);

        fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return -errno;
        return sendmsg(fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 1;
}

int notify(const char *format, ...) {
        char text[512];
        va_list args;
        int n;

        va_start(args, format);
        n = vsnprintf(text, sizeof(text), format, args);
        va_end(args);
        return n < 0 || (size_t) n >= sizeof(text) ? -E2BIG : notify_send(text, NULL, 0);
}
