/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* One seccomp listener: system calls that wait for an answer, and get it in the same turn. */

#include "host/seccomp-notify.h"
#include "util/crash-point.h"
#include "util/file.h"
#include "util/text.h"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/syscall.h>

#define SLOT_SIZE 4096U
#define RESPONSE_SIZE 256U

/* How many calls are answered before others get their turn. */
#define CALLS_PER_TURN 32

#define X32_BIT 0x40000000

struct SeccompSlot {
        struct seccomp_notif *call; /* SLOT_SIZE bytes, shared with the file; id 0: none */
};

struct SeccompListener {
        int fd;
        SeccompSlot *slot;
        sd_event_source *source;
        const SeccompHandlers *handlers;
        void *userdata;
};

/* ---- the slot ---- */

static int slot_map_file(SeccompSlot *s, int dir_fd) {
        _cleanup_(safe_closep) int fd = -EBADF;
        void *p;
        int r;

        fd = file_open_beneath(dir_fd, SECCOMP_SLOT_FILE, O_RDWR | O_CREAT | O_NONBLOCK | O_NOCTTY, 0600);
        if (fd < 0)
                return fd;

        /* Its place has to be there: writing to a page for which there is none would end us. */
        r = posix_fallocate(fd, 0, SLOT_SIZE);
        if (r != 0)
                return -r;
        p = mmap(NULL, SLOT_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (p == MAP_FAILED)
                return -errno;

        s->call = p;
        return 0;
}

int seccomp_slot_open(SeccompSlot **ret, int dir_fd, int *ret_error) {
        _cleanup_(seccomp_slot_freep) SeccompSlot *s = NULL;
        struct seccomp_notif_sizes sizes;
        int r;

        if (syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &sizes) < 0)
                return errno == EINVAL ? -ENOSYS : -errno;
        if (sizes.seccomp_notif > SLOT_SIZE || sizes.seccomp_notif_resp > RESPONSE_SIZE)
                return -ENOSYS;

        s = malloc(sizeof(*s));
        if (!s)
                return -ENOMEM;
        *s = (SeccompSlot) {};

        r = slot_map_file(s, dir_fd);
        if (r < 0) {
                void *p = mmap(NULL, SLOT_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

                if (p == MAP_FAILED)
                        return -errno;
                s->call = p;
        }

        *ret_error = r;
        *ret = TAKE_PTR(s);
        return 0;
}

SeccompSlot *seccomp_slot_free(SeccompSlot *s) {
        if (!s)
                return NULL;

        if (s->call)
                (void) munmap(s->call, SLOT_SIZE);
        return mfree(s);
}

void seccomp_slot_clear(SeccompSlot *s) {
        memset(s->call, 0, SLOT_SIZE);
}

/* ---- one call ---- */

/* libseccomp takes the calls of the x32 ABI for an architecture of their own, the kernel does not. */
static uint32_t call_get_arch(const struct seccomp_data *data) {
        if (data->arch == AUDIT_ARCH_X86_64 && (data->nr & X32_BIT))
                return SCMP_ARCH_X32;
        return data->arch;
}

static bool call_is_valid(const SeccompListener *l, uint64_t id) {
        return ioctl(l->fd, SECCOMP_IOCTL_NOTIF_ID_VALID, &id) >= 0;
}

/* The process of a thread: the kernel says which thread it was. */
static pid_t thread_read_process(pid_t tid) {
        _cleanup_(freep) char *line = NULL;
        char path[64];
        pid_t pid = 0;
        size_t n = 0;
        FILE *f;

        (void) snprintf(path, sizeof(path), "/proc/%d/status", (int) tid);
        f = fopen(path, "re");
        if (!f)
                return 0;

        while (getline(&line, &n, f) > 0) {
                const char *value = startswith(line, "Tgid:");

                if (value) {
                        pid = (pid_t) strtol(value, NULL, 10);
                        break;
                }
        }
        (void) fclose(f);
        return pid;
}

/* Opens the process that has made the call; *ret_pid is 0 if it cannot be seen from here. Only the first thread of a
 * process can be opened by its own number. */
static int call_open_process(const struct seccomp_notif *n, pid_t *ret_pid) {
        pid_t pid = (pid_t) n->pid;
        int fd;

        *ret_pid = 0;
        if (pid <= 0)
                return -ESRCH;

        fd = pidfd_open(pid, 0);
        if (fd < 0) {
                pid = thread_read_process(pid);
                fd = pid > 0 ? pidfd_open(pid, 0) : -1;
        }
        if (fd < 0)
                return -ESRCH;

        *ret_pid = pid;
        return fd;
}

/* Kills exactly the process that has made the call. Its number may have been another's by the time that it was
 * opened; but if the call still waits after that, its process has been there all along, and it is that which was
 * opened. */
static int call_kill(const SeccompListener *l, uint64_t id, int pidfd) {
        if (pidfd < 0)
                return -ESRCH;
        if (!call_is_valid(l, id))
                return -ESRCH;
        return pidfd_send_signal(pidfd, SIGKILL, NULL, 0) < 0 ? -errno : 0;
}

/* 0, or -ENOENT if nobody waits for it any more. */
static int call_respond(const SeccompListener *l, uint64_t id, SeccompAnswer answer) {
        union {
                struct seccomp_notif_resp response;
                char size[RESPONSE_SIZE];
        } u = {};

        u.response.id = id;
        if (answer.action == SECCOMP_ALLOW)
                u.response.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
        else
                u.response.error = answer.action == SECCOMP_ERRNO ? -answer.error : -EPERM;

        return ioctl(l->fd, SECCOMP_IOCTL_NOTIF_SEND, &u) < 0 ? -errno : 0;
}

/* Decides on what stands in the slot, answers it, tells of it, and empties the slot. */
static int listener_answer(SeccompListener *l) {
        _cleanup_(safe_closep) int pidfd = -EBADF;
        _cleanup_(freep) char *name = NULL;
        struct seccomp_notif *n = l->slot->call;
        SeccompAnswer answer;
        SeccompCall call;
        bool killed = false;
        uint64_t id = n->id;
        int r;

        name = seccomp_syscall_resolve_num_arch(call_get_arch(&n->data), n->data.nr);
        call = (SeccompCall) { .name = name ?: SECCOMP_SYSCALL_UNKNOWN };
        pidfd = call_open_process(n, &call.pid);

        answer = l->handlers->decide(l->userdata, &call);
        if (answer.action == SECCOMP_KILL) {
                killed = call_kill(l, id, pidfd) >= 0;
                if (!killed) /* it cannot be seen from here: at least the call is not carried out */
                        answer = (SeccompAnswer) { .action = SECCOMP_ERRNO, .error = EPERM };
        }

        r = call_respond(l, id, answer);
        crash_point("seccomp-answered");
        seccomp_slot_clear(l->slot);
        if (r >= 0 || killed)
                l->handlers->answered(l->userdata, &call, answer);
        return r == -ENOENT || r == -EINPROGRESS ? 0 : r;
}

/* Receives one call and answers it. 0 also when it has gone by itself meanwhile. */
static int listener_receive(SeccompListener *l) {
        seccomp_slot_clear(l->slot); /* the kernel insists */
        if (ioctl(l->fd, SECCOMP_IOCTL_NOTIF_RECV, l->slot->call) < 0)
                return errno == ENOENT || errno == EINTR ? 0 : -errno;

        crash_point("seccomp-received");
        return listener_answer(l);
}

/* Receiving waits if there is nothing, so it is asked before, each time. That answer holds: who gives up its call
 * meanwhile leaves its place, which is then reported as ENOENT. */
static unsigned listener_poll(const SeccompListener *l) {
        struct pollfd p = { .fd = l->fd, .events = POLLIN };

        return poll(&p, 1, 0) > 0 ? (unsigned short) p.revents : 0;
}

static int listener_on_io(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        SeccompListener *l = userdata;
        unsigned ready = 0;
        int r = 0;

        for (unsigned i = 0; r >= 0 && i < CALLS_PER_TURN; i++) {
                ready = listener_poll(l);
                if (!(ready & POLLIN))
                        break;
                r = listener_receive(l);
        }

        if (r < 0 || (ready & (POLLIN | POLLHUP | POLLERR)) == POLLHUP || (ready & (POLLERR | POLLNVAL)))
                l->handlers->gone(l->userdata, r);
        return 0;
}

/* ---- the listener ---- */

static bool fd_is_listener(int fd) {
        char path[64], target[64];
        ssize_t n;

        (void) snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        n = readlink(path, target, sizeof(target) - 1);
        if (n < 0)
                return false;
        target[n] = 0;
        return streq(target, "anon_inode:seccomp notify");
}

int seccomp_listener_new(SeccompListener **ret, sd_event *event, int64_t priority, SeccompSlot *slot, int fd,
                         const SeccompHandlers *handlers, void *userdata) {
        _cleanup_(seccomp_listener_freep) SeccompListener *l = NULL;
        int r;

        if (!fd_is_listener(fd))
                return -EINVAL;

        l = malloc(sizeof(*l));
        if (!l)
                return -ENOMEM;
        *l = (SeccompListener) { .fd = -EBADF, .slot = slot, .handlers = handlers, .userdata = userdata };

        r = sd_event_add_io(event, &l->source, fd, EPOLLIN, listener_on_io, l);
        if (r < 0)
                return r;
        r = sd_event_source_set_priority(l->source, priority);
        if (r < 0)
                return r;

        l->fd = fd;
        if (slot->call->id != 0 && call_is_valid(l, slot->call->id))
                (void) listener_answer(l);
        *ret = TAKE_PTR(l);
        return 0;
}

SeccompListener *seccomp_listener_free(SeccompListener *l) {
        if (!l)
                return NULL;

        (void) sd_event_source_disable_unref(l->source);
        safe_close(l->fd);
        return mfree(l);
}

int seccomp_listener_get_fd(const SeccompListener *l) {
        return l->fd;
}
