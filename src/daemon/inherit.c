/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What we find open at the start. */

#include "daemon/inherit.h"
#include "util/crash-point.h"
#include "util/file.h"
#include "util/json.h"
#include "util/log.h"
#include "util/strv.h"
#include "util/text.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>

#define HANDOFF_SIZE_MAX (256U * 1024U * 1024U)

static void inherit_descriptor(Inheritance *i, FdStore *store, const char *name, int fd) {
        int r;

        (void) fcntl(fd, F_SETFD, FD_CLOEXEC);

        r = fdstore_adopt_bag(store, name, fd);
        if (r >= 0)
                return;
        if (r != -EINVAL)
                log_warning_errno(
                        r, "Failed to take back the descriptors that the service manager kept as %s, ignoring: %m",
                        name);
        else if (i->listen_fd < 0 && sd_is_socket(fd, AF_UNIX, SOCK_STREAM, 1) > 0) {
                i->listen_fd = fd;
                return;
        } else
                log_warning("The service manager has given us a descriptor \"%s\" that is no listening unix socket, "
                            "closing it.",
                            name);
        safe_close(fd);
}

static int inherit_from_manager(Inheritance *i, FdStore *store) {
        char **names = NULL;
        int n;

        n = sd_listen_fds_with_names(true, &names);
        if (n < 0)
                return log_error_errno(n, "Failed to take the descriptors of the service manager: %m");

        for (int k = 0; k < n; k++)
                inherit_descriptor(i, store, names[k], SD_LISTEN_FDS_START + k);
        strv_free(names);
        return 0;
}

static int inherit_from_former_self(Inheritance *i, const char *number) {
        _cleanup_(freep) char *text = NULL, *reason = NULL;
        _cleanup_(safe_closep) int fd = -EBADF;
        uint64_t n, version = 0;
        size_t size;
        int r;

        r = parse_uint64(number, &n);
        if (r < 0 || n < 3 || n > INT32_MAX)
                return -EINVAL;
        fd = (int) n;
        (void) unsetenv(HANDOFF_VARIABLE);

        r = file_read_fd(fd, HANDOFF_SIZE_MAX, &text, &size);
        if (r < 0)
                return r;
        r = json_parse(text, size, &i->handoff, &reason);
        if (r < 0)
                return r;
        if (json_get_uint64(i->handoff, "version", &version) <= 0 || version != INHERITANCE_VERSION) {
                i->handoff = json_free(i->handoff);
                return -EPROTONOSUPPORT;
        }
        return 0;
}

int inherit(Inheritance *i, FdStore *store) {
        const char *number = getenv(HANDOFF_VARIABLE);
        int r;

        *i = INHERITANCE_INIT;
        r = inherit_from_manager(i, store);
        if (r < 0)
                return r;
        if (!number)
                return 0;

        i->executed = true;
        crash_point("inherit-begun");

        /* The containers are on disk: what is lost are connections, terminals, and what else was open. */
        r = inherit_from_former_self(i, number);
        if (r < 0) {
                log_error_errno(r, "Failed to read what the former version has handed over, going on without it: %m");
                return 0;
        }
        fdstore_take_handoff(store, i->handoff);
        crash_point("inherit-store-taken");
        return 0;
}

/* All that is ours is not for children, from its birth or since it was taken. */
static bool fd_is_nobodys(int fd) {
        int flags = fd > STDERR_FILENO ? fcntl(fd, F_GETFD) : -1;

        return flags >= 0 && !(flags & FD_CLOEXEC);
}

void inheritance_close_rest(const Inheritance *i) {
        unsigned n_closed = 0;
        struct dirent *e;
        uint64_t n;
        DIR *d;

        if (!i->executed)
                return;

        d = opendir("/proc/self/fd");
        if (!d) {
                log_warning_errno(errno, "Failed to see what the former version has left open, ignoring: %m");
                return;
        }
        while ((e = readdir(d)))
                if (parse_uint64(e->d_name, &n) >= 0 && n <= INT32_MAX && fd_is_nobodys((int) n)) {
                        safe_close((int) n);
                        n_closed++;
                }
        (void) closedir(d);

        if (n_closed > 0)
                log_warning("Closed %u descriptors of the former version that this one knows nothing of.", n_closed);
}

void inheritance_done(Inheritance *i) {
        i->listen_fd = safe_close(i->listen_fd);
        i->handoff = json_free(i->handoff);
}
