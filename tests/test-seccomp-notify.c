/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Answering system calls: of real filters, and those that somebody was killed over before us. */

#include "host/seccomp-notify.h"

#include "world.h"

#include <linux/seccomp.h>
#include <poll.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

typedef struct Case {
        World *world;
        SeccompSlot *slot;
        SeccompListener *listener;
        int dir_fd;
        SeccompAnswer answer; /* to be given */
        unsigned n_answered;
        char name[64]; /* of what was answered last */
        pid_t pid;
        bool gone;
} Case;

static SeccompAnswer on_decide(void *userdata, const SeccompCall *call) {
        return ((Case *) userdata)->answer;
}

static void on_answered(void *userdata, const SeccompCall *call, SeccompAnswer answer) {
        Case *c = userdata;

        c->n_answered++;
        c->pid = call->pid;
        (void) snprintf(c->name, sizeof(c->name), "%s", call->name);
}

static void on_gone(void *userdata, int error) {
        Case *c = userdata;

        assert_int_equal(error, 0);
        c->gone = true;
        c->listener = seccomp_listener_free(c->listener);
}

static const SeccompHandlers handlers = { on_decide, on_answered, on_gone };

/* 77: there are no listeners here, under valgrind for one. */
static int install_filter(void) {
        scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
        int fd;

        if (!filter || seccomp_rule_add(filter, SCMP_ACT_NOTIFY, SCMP_SYS(mkdir), 0) < 0 ||
            seccomp_rule_add(filter, SCMP_ACT_NOTIFY, SCMP_SYS(mkdirat), 0) < 0 || seccomp_load(filter) < 0)
                _exit(77);
        fd = seccomp_notify_fd(filter);
        seccomp_release(filter);
        return fd;
}

static void send_fd(int socket_fd, int fd) {
        union {
                struct cmsghdr align;
                char buffer[CMSG_SPACE(sizeof(int))];
        } control = {
                .align = { .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int)) }
        };
        struct iovec iov = { .iov_base = (char[1]) {}, .iov_len = 1 };
        struct msghdr m = { .msg_iov = &iov,
                            .msg_iovlen = 1,
                            .msg_control = control.buffer,
                            .msg_controllen = sizeof(control.buffer) };

        memcpy(CMSG_DATA(&control.align), &fd, sizeof(fd));
        if (sendmsg(socket_fd, &m, MSG_NOSIGNAL) != 1)
                _exit(99);
}

/* A child that makes n calls under a filter, and exits with the number of those that failed with EROFS, or with 50 if
 * one succeeded. Returns the listener, or -EBADF where there can be none. */
static int given_caller(unsigned n, pid_t *ret_pid) {
        union {
                struct cmsghdr align;
                char buffer[CMSG_SPACE(sizeof(int))];
        } control;
        struct iovec iov = { .iov_base = (char[1]) {}, .iov_len = 1 };
        struct msghdr m = { .msg_iov = &iov,
                            .msg_iovlen = 1,
                            .msg_control = control.buffer,
                            .msg_controllen = sizeof(control.buffer) };
        int sockets[2], fd = -EBADF;

        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), 0);
        *ret_pid = fork_child();
        if (*ret_pid == 0) {
                unsigned failed = 0;

                safe_close(sockets[0]);
                fd = install_filter();
                send_fd(sockets[1], fd);
                safe_close(fd);
                safe_close(sockets[1]);
                for (unsigned i = 0; i < n; i++)
                        if (mkdir("/proc/nowhere", 0700) >= 0 || errno != EROFS)
                                _exit(50);
                        else
                                failed++;
                _exit((int) failed);
        }

        safe_close(sockets[1]);
        if (recvmsg(sockets[0], &m, MSG_CMSG_CLOEXEC) == 1)
                memcpy(&fd, CMSG_DATA(&control.align), sizeof(fd));
        safe_close(sockets[0]);
        return fd;
}

static int exit_status(pid_t pid) {
        int status;

        assert_int_equal(waitpid(pid, &status, 0), pid);
        return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static void case_begin(Case *c, void **state) {
        int r, error = -1;

        *c = (Case) { .world = *state, .answer = { .action = SECCOMP_ERRNO, .error = EROFS } };
        c->world->reaper = reaper_free(c->world->reaper); /* the children are waited for here */
        c->dir_fd = open(c->world->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(c->dir_fd >= 0);
        r = seccomp_slot_open(&c->slot, c->dir_fd, &error);
        if (r == -ENOSYS) { /* under valgrind */
                c->dir_fd = safe_close(c->dir_fd);
                skip();
        }
        assert_int_equal(r, 0);
        assert_int_equal(error, 0);
}

static void case_end(Case *c) {
        c->listener = seccomp_listener_free(c->listener);
        c->slot = seccomp_slot_free(c->slot);
        safe_close(c->dir_fd);
}

/* Skips the case where there are no listeners. */
static void when_listening(Case *c, int fd, pid_t pid) {
        if (fd < 0) {
                assert_int_equal(exit_status(pid), 77);
                case_end(c);
                skip();
        }
        assert_int_equal(seccomp_listener_new(&c->listener, c->world->event, 0, c->slot, fd, &handlers, c), 0);
}

static void test_calls_fail_as_they_are_answered(void **state) {
        pid_t pid;
        Case c;
        int fd;

        case_begin(&c, state);
        fd = given_caller(40, &pid); /* more than are answered in one turn */
        when_listening(&c, fd, pid);
        world_run_until_set(c.world, &c.gone);
        assert_int_equal(exit_status(pid), 40);
        assert_int_equal(c.n_answered, 40);
        assert_string_equal(c.name, "mkdir");
        assert_int_equal(c.pid, pid);
        case_end(&c);
}

static void test_a_call_that_is_allowed_is_the_kernels(void **state) {
        pid_t pid;
        Case c;
        int fd;

        case_begin(&c, state);
        c.answer = (SeccompAnswer) { .action = SECCOMP_ALLOW };
        fd = given_caller(1, &pid);
        when_listening(&c, fd, pid);
        world_run_until_set(c.world, &c.gone);
        assert_int_equal(exit_status(pid), 50); /* ENOENT, in /proc */
        assert_int_equal(c.n_answered, 1);
        case_end(&c);
}

static void test_the_caller_is_killed(void **state) {
        pid_t pid;
        Case c;
        int fd;

        case_begin(&c, state);
        c.answer = (SeccompAnswer) { .action = SECCOMP_KILL };
        fd = given_caller(1, &pid);
        when_listening(&c, fd, pid);
        world_run_until_set(c.world, &c.gone);
        assert_int_equal(exit_status(pid), 128 + SIGKILL);
        assert_int_equal(c.n_answered, 1);
        assert_int_equal(c.pid, pid);
        case_end(&c);
}

/* One agent receives a call, as the module does, into the slot, and dies before it has answered. */
static void given_a_killed_agent(int dir_fd, int listener) {
        pid_t pid = fork_child();

        if (pid == 0) {
                int fd = openat(dir_fd, SECCOMP_SLOT_FILE, O_RDWR | O_CLOEXEC);
                void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

                if (p == MAP_FAILED || ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, p) < 0)
                        _exit(1);
                (void) raise(SIGKILL);
        }
        assert_int_equal(exit_status(pid), 128 + SIGKILL);
}

static void test_a_call_that_somebody_was_killed_over_is_answered(void **state) {
        int fd, other_fd, error;
        pid_t pid, other;
        Case c;

        case_begin(&c, state);
        fd = given_caller(3, &pid);
        if (fd >= 0) {
                given_a_killed_agent(c.dir_fd, fd);
                c.slot = seccomp_slot_free(c.slot);
                assert_int_equal(seccomp_slot_open(&c.slot, c.dir_fd, &error), 0);

                /* Another's listener does not take it for its own. */
                other_fd = given_caller(1, &other);
                assert_true(other_fd >= 0);
                when_listening(&c, other_fd, other);
                assert_int_equal(c.n_answered, 0);
                c.listener = seccomp_listener_free(c.listener);
                assert_int_equal(exit_status(other), 50); /* ENOSYS */
        }

        when_listening(&c, fd, pid);
        assert_int_equal(c.n_answered, 1); /* at once */
        assert_string_equal(c.name, "mkdir");
        seccomp_slot_clear(c.slot);
        world_run_until_set(c.world, &c.gone);
        assert_int_equal(exit_status(pid), 3);
        assert_int_equal(c.n_answered, 3);
        case_end(&c);
}

static void test_a_caller_that_is_killed_meanwhile_disturbs_nobody(void **state) {
        pid_t pid;
        Case c;
        int fd;

        case_begin(&c, state);
        fd = given_caller(1, &pid);
        if (fd >= 0) {
                struct pollfd p = { .fd = fd, .events = POLLIN };

                assert_int_equal(poll(&p, 1, -1), 1);
                assert_int_equal(kill(pid, SIGKILL), 0);
                assert_int_equal(exit_status(pid), 128 + SIGKILL);
        }
        when_listening(&c, fd, pid);
        world_run_until_set(c.world, &c.gone);
        assert_int_equal(c.n_answered, 0);
        case_end(&c);
}

static void test_what_is_no_listener_is_refused(void **state) {
        SeccompListener *l;
        Case c;
        int fd;

        case_begin(&c, state);
        fd = open("/dev/null", O_RDWR | O_CLOEXEC);
        assert_int_equal(seccomp_listener_new(&l, c.world->event, 0, c.slot, fd, &handlers, &c), -EINVAL);
        assert_int_equal(seccomp_listener_new(&l, c.world->event, 0, c.slot, c.dir_fd, &handlers, &c), -EINVAL);
        safe_close(fd);
        case_end(&c);
}

static void test_there_is_a_slot_even_without_a_file(void **state) {
        World *w = *state;
        _cleanup_(safe_closep) int dir_fd = open(w->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        _cleanup_(seccomp_slot_freep) SeccompSlot *s = NULL;
        int r, error = 0;

        assert_int_equal(symlinkat("/etc/passwd", dir_fd, SECCOMP_SLOT_FILE), 0); /* never followed */
        r = seccomp_slot_open(&s, dir_fd, &error);
        if (r == -ENOSYS) {
                dir_fd = safe_close(dir_fd);
                skip();
        }
        assert_int_equal(r, 0);
        assert_int_equal(error, -ELOOP);
        seccomp_slot_clear(s);
}

#define world_test(f) cmocka_unit_test_setup_teardown(f, world_begin, world_end)

int main(void) {
        static const struct CMUnitTest tests[] = {
                world_test(test_calls_fail_as_they_are_answered),
                world_test(test_a_call_that_is_allowed_is_the_kernels),
                world_test(test_the_caller_is_killed),
                world_test(test_a_call_that_somebody_was_killed_over_is_answered),
                world_test(test_a_caller_that_is_killed_meanwhile_disturbs_nobody),
                world_test(test_what_is_no_listener_is_refused),
                world_test(test_there_is_a_slot_even_without_a_file),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
