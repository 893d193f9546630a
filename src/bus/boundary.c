/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where a connection's stream stands. */

#include "bus/boundary.h"
#include "util/clock.h"

#include <assert.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define PROBE_USEC (5 * USEC_PER_SEC)
#define PROBE_STEPS 8 /* sd-bus may have something to write first */
#define MARK_MEMBER "MonoshimMessageBoundary"

/* A method call without arguments, interface and answer, as it goes over the wire. */
typedef struct Mark {
        uint8_t endian, type, flags, version;
        uint32_t body_size, serial, fields_size;
        struct {
                uint8_t code, signature_size;
                char signature[2];
                uint32_t size;
                char value[8];
        } path;
        struct {
                uint8_t code, signature_size;
                char signature[2];
                uint32_t size;
                char value[sizeof(MARK_MEMBER)];
        } member;
} Mark;

static_assert(sizeof(Mark) == 64, "the fields of a message are aligned to eight bytes");

static const Mark mark = {
        .endian = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? 'l' : 'B',
        .type = SD_BUS_MESSAGE_METHOD_CALL,
        .flags = 1, /* no reply is expected */
        .version = 1,
        .serial = 1,
        .fields_size = sizeof(Mark) - offsetof(Mark, path),
        .path = { .code = 1, .signature_size = 1, .signature = "o", .size = 1, .value = "/" },
        .member = { .code = 3,
                    .signature_size = 1,
                    .signature = "s",
                    .size = strlen(MARK_MEMBER),
                    .value = MARK_MEMBER },
};

/* ---- in the copy ---- */

typedef struct Finding {
        uint32_t serial;
        uint32_t at_boundary;
} Finding;

typedef struct Seen {
        bool mark, other;
} Seen;

/* Nothing gets past this: what is dispatched here has no effect. */
static int copy_on_message(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        const char *member = sd_bus_message_get_member(m);
        Seen *seen = userdata;

        if (!seen->other && member && streq(member, MARK_MEMBER))
                seen->mark = true;
        else
                seen->other = true;
        return 1;
}

static uint32_t copy_get_serial(sd_bus *bus) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        uint64_t serial;

        if (sd_bus_message_new_signal(bus, &m, "/", "org.monoshim1.Probe", "Probe") < 0 ||
            sd_bus_send(bus, m, NULL) < 0 || sd_bus_message_get_cookie(m, &serial) < 0)
                return 0;

        return (uint32_t) serial - 1;
}

static Finding copy_look(sd_bus *bus) {
        int fds[2] = { -EBADF, -EBADF };
        Finding finding = {};
        Seen seen = {};
        int fd;

        fd = sd_bus_get_fd(bus);
        if (fd < 0)
                return (Finding) {};

        /* From here on the copy's bus talks to nobody but us. The original's descriptor makes room for one of the
         * two, should there be no others left. */
        (void) close(fd);
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0)
                return (Finding) {};
        if (fds[1] == fd) {
                fds[1] = fds[0];
                fds[0] = fd;
        }
        if ((fds[0] != fd && dup2(fds[0], fd) < 0) || write(fds[1], &mark, sizeof(mark)) != sizeof(mark) ||
            sd_bus_add_filter(bus, NULL, copy_on_message, &seen) < 0)
                return (Finding) {};

        for (unsigned i = 0; i < PROBE_STEPS && !seen.mark && !seen.other; i++)
                if (sd_bus_process(bus, NULL) <= 0)
                        break;

        if (seen.mark)
                finding = (Finding) { .at_boundary = true, .serial = copy_get_serial(bus) };
        if (fds[0] != fd)
                safe_close(fds[0]);
        safe_close(fds[1]);
        return finding;
}

_noreturn_ static void copy_main(const BusProbe *probes, size_t n, int fd) {
        for (size_t i = 0; i < n; i++) {
                Finding finding = copy_look(probes[i].bus);

                if (write(fd, &finding, sizeof(finding)) != sizeof(finding))
                        _exit(EXIT_FAILURE);
        }
        _exit(EXIT_SUCCESS);
}

/* ---- in the original ---- */

static int probe_read(BusProbe *probes, size_t n, int fd) {
        uint64_t deadline = clock_get_monotonic() + PROBE_USEC;

        for (size_t i = 0; i < n;) {
                struct pollfd p = { .fd = fd, .events = POLLIN };
                uint64_t now = clock_get_monotonic();
                Finding finding;
                ssize_t k;

                if (now >= deadline)
                        return -ETIMEDOUT;
                if (poll(&p, 1, (int) ((deadline - now) / USEC_PER_MSEC) + 1) < 0 && errno != EINTR)
                        return -errno;
                if (p.revents == 0)
                        continue;

                /* Smaller than what a pipe takes in one piece: it comes as it was written. */
                k = read(fd, &finding, sizeof(finding));
                if (k < 0 && errno == EINTR)
                        continue;
                if (k < 0)
                        return -errno;
                if (k != sizeof(finding))
                        return -EIO;

                probes[i].at_boundary = finding.at_boundary;
                probes[i].serial = finding.serial;
                i++;
        }
        return 0;
}

int bus_probe(BusProbe *probes, size_t n) {
        _cleanup_(safe_closep) int read_fd = -EBADF, write_fd = -EBADF;
        int fds[2], r;
        pid_t pid;

        if (n == 0)
                return 0;
        if (pipe2(fds, O_CLOEXEC) < 0)
                return -errno;
        read_fd = fds[0];
        write_fd = fds[1];

        /* Not fork(): libsystemd is told of that, and refuses to use the copies of its objects. Without a signal at
         * its end, so that who waits for our children does not see this one. */
        pid = (pid_t) syscall(SYS_clone, 0UL, NULL, NULL, NULL, NULL);
        if (pid < 0)
                return -errno;
        if (pid == 0) {
                safe_close(read_fd);
                copy_main(probes, n, write_fd);
        }

        write_fd = safe_close(write_fd);
        r = probe_read(probes, n, read_fd);
        if (r < 0)
                (void) kill(pid, SIGKILL); /* it is ours until we have waited for it */
        while (waitpid(pid, NULL, __WALL) < 0 && errno == EINTR)
                ;
        return r;
}
