/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Telling the service manager: what arrives, and that one who does not read is not waited for. */

#include "world.h"

#include "util/notify.h"

#include <sys/un.h>

#define N_FDS_MAX 16

typedef struct Manager {
        char folder[32];
        struct sockaddr_un address;
        int fd;
} Manager;

static void manager_listen(Manager *m, socklen_t size) {
        m->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        assert_true(m->fd >= 0);
        assert_int_equal(bind(m->fd, (const struct sockaddr *) &m->address, size), 0);
}

/* A socket of a path; of the greatest length that there is if 'pad' is set. */
static Manager given_a_manager(bool pad) {
        Manager m = { .folder = "/tmp/test-notify-XXXXXX", .address.sun_family = AF_UNIX };
        size_t n;

        assert_non_null(mkdtemp(m.folder));
        n = (size_t) snprintf(m.address.sun_path, sizeof(m.address.sun_path), "%s/socket", m.folder);
        if (pad)
                memset(m.address.sun_path + n, 'x', sizeof(m.address.sun_path) - 1 - n);
        manager_listen(&m, sizeof(m.address));
        assert_int_equal(setenv("NOTIFY_SOCKET", m.address.sun_path, 1), 0);
        return m;
}

static Manager given_an_abstract_manager(void) {
        Manager m = { .address.sun_family = AF_UNIX };
        char name[64];
        int n;

        n = snprintf(name, sizeof(name), "@test-notify/%d", getpid());
        memcpy(m.address.sun_path, name, (size_t) n);
        m.address.sun_path[0] = 0;
        manager_listen(&m, (socklen_t) (offsetof(struct sockaddr_un, sun_path) + (size_t) n));
        assert_int_equal(setenv("NOTIFY_SOCKET", name, 1), 0);
        return m;
}

static void manager_clear(Manager *m) {
        m->fd = safe_close(m->fd);
        assert_int_equal(unsetenv("NOTIFY_SOCKET"), 0);
        if (m->folder[0]) {
                assert_int_equal(unlink(m->address.sun_path), 0);
                assert_int_equal(rmdir(m->folder), 0);
        }
}

/* Reads one message; the caller closes the descriptors. Returns how many there are, -errno without a message. */
static int manager_read(Manager *m, char *text, size_t size, int fds[static N_FDS_MAX + 1]) {
        char control[CMSG_SPACE(sizeof(int) * (N_FDS_MAX + 1))] __attribute__((aligned(_Alignof(struct cmsghdr))));
        struct iovec iov = { .iov_base = text, .iov_len = size - 1 };
        struct msghdr h = {
                .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)
        };
        struct cmsghdr *c;
        int n_fds = 0;
        ssize_t n;

        n = recvmsg(m->fd, &h, MSG_CMSG_CLOEXEC);
        if (n < 0)
                return -errno;

        assert_int_equal(h.msg_flags & (MSG_TRUNC | MSG_CTRUNC), 0);
        text[n] = 0;
        for (c = CMSG_FIRSTHDR(&h); c; c = CMSG_NXTHDR(&h, c)) {
                assert_int_equal(c->cmsg_type, SCM_RIGHTS);
                n_fds = (int) ((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
                memcpy(fds, CMSG_DATA(c), sizeof(int) * (size_t) n_fds);
        }
        return n_fds;
}

static void then_the_manager_reads(Manager *m, const char *expected) {
        int fds[N_FDS_MAX + 1];
        char text[8192];

        assert_int_equal(manager_read(m, text, sizeof(text), fds), 0);
        assert_string_equal(text, expected);
}

static void then_the_manager_reads_nothing(Manager *m) {
        int fds[N_FDS_MAX + 1];
        char text[64];

        assert_int_equal(manager_read(m, text, sizeof(text), fds), -EAGAIN);
}

static void it_arrives(void **state) {
        for (int i = 0; i < 3; i++) {
                Manager m = i < 2 ? given_a_manager(i == 1) : given_an_abstract_manager();

                print_message("# %s\n", getenv("NOTIFY_SOCKET"));
                assert_true(notify_is_wanted());
                assert_int_equal(notify("READY=1\nSTATUS=%d containers", 42), 1);
                assert_int_equal(notify_send("FDSTORE=1\n", NULL, 0), 1);
                then_the_manager_reads(&m, "READY=1\nSTATUS=42 containers");
                then_the_manager_reads(&m, "FDSTORE=1\n");
                then_the_manager_reads_nothing(&m);
                manager_clear(&m);
        }
}

static void nobody_is_told_where_nobody_wants_to_know(void **state) {
        assert_int_equal(unsetenv("NOTIFY_SOCKET"), 0);
        assert_false(notify_is_wanted());
        assert_int_equal(notify("READY=1"), 0);
        assert_int_equal(notify_send("READY=1", NULL, 0), 0);

        assert_int_equal(setenv("NOTIFY_SOCKET", "", 1), 0);
        assert_false(notify_is_wanted());
        assert_int_equal(notify("READY=1"), 0);
        assert_int_equal(unsetenv("NOTIFY_SOCKET"), 0);
}

static void an_address_that_is_none_is_an_error(void **state) {
        char name[sizeof(((struct sockaddr_un *) NULL)->sun_path) + 1];

        memset(name, 'x', sizeof(name) - 1);
        name[sizeof(name) - 1] = 0;
        for (const char *first = "/@"; *first; first++) {
                name[0] = *first;
                assert_int_equal(setenv("NOTIFY_SOCKET", name, 1), 0);
                assert_int_equal(notify("READY=1"), -EINVAL);
        }

        assert_int_equal(setenv("NOTIFY_SOCKET", "relative", 1), 0);
        assert_int_equal(notify("READY=1"), -EINVAL);
        assert_int_equal(setenv("NOTIFY_SOCKET", "vsock:2:1234", 1), 0);
        assert_int_equal(notify("READY=1"), -EINVAL);
        assert_int_equal(unsetenv("NOTIFY_SOCKET"), 0);
}

static void a_manager_that_is_gone_is_an_error(void **state) {
        Manager m = given_a_manager(false);

        m.fd = safe_close(m.fd);
        assert_int_equal(notify("READY=1"), -ECONNREFUSED);
        assert_int_equal(unlink(m.address.sun_path), 0);
        assert_int_equal(notify("READY=1"), -ENOENT);
        assert_int_equal(rmdir(m.folder), 0);
        assert_int_equal(unsetenv("NOTIFY_SOCKET"), 0);
}

/* Half a message is worse than none. */
static void what_is_too_long_is_not_sent(void **state) {
        Manager m = given_a_manager(false);
        char text[512];

        memset(text, 'x', sizeof(text) - 1);
        text[sizeof(text) - 1] = 0;
        assert_int_equal(notify("%s", text), 1);
        assert_int_equal(notify("%sx", text), -E2BIG);
        then_the_manager_reads(&m, text);
        then_the_manager_reads_nothing(&m);
        manager_clear(&m);
}

static void descriptors_arrive_in_their_order(void **state) {
        int received[N_FDS_MAX + 1], given[N_FDS_MAX + 1];
        Manager m = given_a_manager(false);
        char text[64];

        for (size_t i = 0; i < ELEMENTSOF(given); i++) {
                given[i] = memfd_create("fd", MFD_CLOEXEC);
                assert_true(given[i] >= 0);
                assert_int_equal(pwrite(given[i], &i, sizeof(i), 0), sizeof(i));
        }

        for (size_t n = 1; n <= N_FDS_MAX; n++) {
                assert_int_equal(notify_send("FDSTORE=1\nFDNAME=x", given, n), 1);
                assert_int_equal(manager_read(&m, text, sizeof(text), received), n);
                assert_string_equal(text, "FDSTORE=1\nFDNAME=x");
                for (size_t i = 0; i < n; i++) {
                        size_t number = SIZE_MAX;

                        assert_int_equal(pread(received[i], &number, sizeof(number), 0), sizeof(number));
                        assert_int_equal(number, i);
                        safe_close(received[i]);
                }
        }

        assert_int_equal(notify_send("FDSTORE=1", given, N_FDS_MAX + 1), -E2BIG);
        then_the_manager_reads_nothing(&m);

        /* What is no descriptor is noticed, and nothing is sent. */
        given[1] = safe_close(given[1]);
        assert_int_equal(notify_send("FDSTORE=1", given, 2), -EBADF);
        then_the_manager_reads_nothing(&m);

        for (size_t i = 0; i < ELEMENTSOF(given); i++)
                safe_close(given[i]);
        manager_clear(&m);
}

static void a_manager_that_does_not_read_is_not_waited_for(void **state) {
        Manager m = given_a_manager(false);
        int r, n = 0;

        alarm(20); /* whoever waits dies */
        while ((r = notify("STATUS=%d", n)) == 1)
                n++;
        assert_int_equal(r, -EAGAIN);
        assert_true(n > 0);
        for (int i = 0; i < 1000; i++)
                assert_int_equal(notify("STATUS=lost"), -EAGAIN);
        alarm(0);

        /* Once it reads, what it gets is what was said to have been sent. */
        for (int i = 0; i < n; i++) {
                char expected[32];

                (void) snprintf(expected, sizeof(expected), "STATUS=%d", i);
                then_the_manager_reads(&m, expected);
        }
        then_the_manager_reads_nothing(&m);
        assert_int_equal(notify("STATUS=again"), 1);
        then_the_manager_reads(&m, "STATUS=again");
        manager_clear(&m);
}

static void no_descriptor_stays_open(void **state) {
        Manager m = given_a_manager(false);
        int n = count_open_fds(), fd = STDIN_FILENO;

        while (notify_send("x", &fd, 1) == 1)
                ;
        assert_int_equal(notify("x"), -EAGAIN);
        assert_int_equal(count_open_fds(), n);
        manager_clear(&m);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(it_arrives),
                cmocka_unit_test(nobody_is_told_where_nobody_wants_to_know),
                cmocka_unit_test(an_address_that_is_none_is_an_error),
                cmocka_unit_test(a_manager_that_is_gone_is_an_error),
                cmocka_unit_test(what_is_too_long_is_not_sent),
                cmocka_unit_test(descriptors_arrive_in_their_order),
                cmocka_unit_test(a_manager_that_does_not_read_is_not_waited_for),
                cmocka_unit_test(no_descriptor_stays_open),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
