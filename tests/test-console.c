/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The console socket, with a runtime that does what it should, and with others; and with the real one. */

#include "world.h"

#include "host/console.h"

#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <termios.h>

/* --- vocabulary ------------------------------------------------------------------------------------------------- */

static int open_folder(World *w) {
        int fd = open(w->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        assert_true(fd >= 0);
        return fd;
}

static void given_console(World *w, Console *ret) {
        _cleanup_(safe_closep) int dir_fd = open_folder(w);

        *ret = CONSOLE_INIT;
        assert_int_equal(console_open(ret, dir_fd), 0);
}

static unsigned count_entries(World *w) {
        struct dirent *e;
        unsigned n = 0;
        DIR *d;

        d = opendir(w->folder);
        assert_non_null(d);
        while ((e = readdir(d)))
                n += e->d_name[0] != '.';
        (void) closedir(d);
        return n;
}

static int given_master(void) {
        int fd = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC), unlocked = 0;

        assert_true(fd >= 0);
        assert_int_equal(ioctl(fd, TIOCSPTLCK, &unlocked), 0);
        return fd;
}

static int try_connect(const char *path) {
        struct sockaddr_un sa = { .sun_family = AF_UNIX };
        int fd;

        assert_true(strlen(path) < sizeof(sa.sun_path));
        strcpy(sa.sun_path, path);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0 || connect(fd, (struct sockaddr *) &sa, sizeof(sa)) < 0) {
                safe_close(fd);
                return -errno;
        }
        return fd;
}

static int when_connected(const Console *c) {
        int fd = try_connect(c->path);

        assert_true(fd >= 0);
        return fd;
}

/* A connection on which this is sent, and which then ends. */
static void when_sent(const Console *c, const char *text, size_t size, const int *fds, size_t n_fds) {
        _cleanup_(safe_closep) int fd = when_connected(c);

        send_with_fds(fd, text, size, fds, n_fds);
}

static unsigned number_of(int master) {
        unsigned n = UINT32_MAX;

        assert_int_equal(ioctl(master, TIOCGPTN, &n), 0);
        return n;
}

/* --- the socket ------------------------------------------------------------------------------------------------- */

static void test_the_socket_is_ours_alone_and_goes_without_a_trace(void **state) {
        mode_t umask_before = umask(0);
        struct stat st;
        Console c;

        given_console(*state, &c);
        (void) umask(umask_before);

        assert_int_equal(stat(c.path, &st), 0);
        assert_true(S_ISSOCK(st.st_mode));
        assert_int_equal(st.st_mode & 07777, 0600);
        assert_non_null(startswith(c.path, "/proc/"));
        assert_int_equal(fcntl(c.fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
        assert_int_equal(fcntl(c.dir_fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
        assert_true(fcntl(c.fd, F_GETFL) & O_NONBLOCK);
        assert_int_equal(count_entries(*state), 1);

        console_done(&c);
        assert_int_equal(c.fd, -EBADF);
        assert_int_equal(c.dir_fd, -EBADF);
        assert_string_equal(c.path, "");
        assert_int_equal(count_entries(*state), 0);
        console_done(&c);
}

/* The folder's path may be as long as it likes. */
static void test_a_folder_far_down(void **state) {
        World *w = *state;
        _cleanup_(safe_closep) int dir_fd = open_folder(w), master = -EBADF, got = -EBADF;
        Console c = CONSOLE_INIT;

        for (int i = 0; i < 10; i++) {
                int below;

                assert_int_equal(mkdirat(dir_fd, "a-folder-with-a-long-name", 0700), 0);
                below = openat(dir_fd, "a-folder-with-a-long-name", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                assert_true(below >= 0);
                safe_close(dir_fd);
                dir_fd = below;
        }
        assert_int_equal(console_open(&c, dir_fd), 0);
        master = given_master();
        when_sent(&c, "/dev/pts/0", 10, &master, 1);
        got = console_receive(&c);
        assert_true(got >= 0);
        console_done(&c);
}

static void test_consoles_do_not_meet(void **state) {
        _cleanup_(safe_closep) int master = given_master(), got = -EBADF;
        Console a, b;

        given_console(*state, &a);
        given_console(*state, &b);
        assert_string_not_equal(a.name, b.name);
        assert_string_not_equal(a.path, b.path);

        when_sent(&b, "x", 1, &master, 1);
        assert_int_equal(console_receive(&a), -ENODATA);
        got = console_receive(&b);
        assert_true(got >= 0);

        console_done(&a);
        console_done(&b);
}

/* As after a crash: the counter starts anew, the sockets are there still. */
static void test_a_name_that_was_left_behind_is_passed_over(void **state) {
        World *w = *state;
        _cleanup_(safe_closep) int master = given_master(), got = -EBADF;
        unsigned next = 0;
        Console c;

        given_console(w, &c);
        assert_int_equal(sscanf(c.name, "console.%u", &next), 1);
        console_done(&c);

        for (unsigned i = 1; i <= 3; i++) {
                _cleanup_(freep) char *name = NULL, *path = NULL;

                assert_true(asprintf(&name, "console.%u", next + i) > 0);
                path = world_path(w, name);
                given_file(path, "", 0600);
        }

        given_console(w, &c);
        assert_int_equal(count_entries(w), 4);
        when_sent(&c, "x", 1, &master, 1);
        got = console_receive(&c);
        assert_true(got >= 0);
        console_done(&c);
        assert_int_equal(count_entries(w), 3);
}

static void test_what_is_no_folder(void **state) {
        _cleanup_(safe_closep) int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        Console c = CONSOLE_INIT;

        assert_int_equal(console_open(&c, -EBADF), -EBADF);
        assert_int_equal(console_open(&c, fd), -ENOTDIR);
        assert_int_equal(c.fd, -EBADF);
        assert_string_equal(c.path, "");
}

/* --- the master ------------------------------------------------------------------------------------------------- */

static void test_a_runtime_sends_the_master_and_ends(void **state) {
        int status = -1, got;
        struct winsize size;
        Console c;
        pid_t pid;

        given_console(*state, &c);
        pid = fork_child();
        if (pid == 0) {
                int master = given_master(), fd = try_connect(c.path);

                if (fd < 0)
                        _exit(1);
                assert_int_equal(console_resize(master, 12, 34), 0);
                send_with_fds(fd, "/dev/pts/0", strlen("/dev/pts/0"), &master, 1);
                _exit(0);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);

        got = console_receive(&c);
        assert_true(got >= 0);
        assert_int_equal(fcntl(got, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
        assert_int_equal(ioctl(got, TIOCGWINSZ, &size), 0);
        assert_int_equal(size.ws_col, 12);
        assert_int_equal(size.ws_row, 34);

        assert_int_equal(close(got), 0);
        console_done(&c);
}

static void test_nothing_sent(void **state) {
        _cleanup_(safe_closep) int silent = -EBADF;
        Console c;

        given_console(*state, &c);
        assert_int_equal(console_receive(&c), -ENODATA); /* nobody came */

        silent = when_connected(&c);
        assert_int_equal(console_receive(&c), -ENODATA); /* somebody came, and waits */
        safe_close(when_connected(&c));
        assert_int_equal(console_receive(&c), -ENODATA); /* and left */
        console_done(&c);
}

static void test_a_name_without_a_master(void **state) {
        Console c;

        given_console(*state, &c);
        when_sent(&c, "/dev/pts/0", 10, NULL, 0);
        assert_int_equal(console_receive(&c), -EPROTO);
        console_done(&c);
}

static void test_more_than_one_descriptor(void **state) {
        _cleanup_(safe_closep) int master = given_master();
        int fds[253], n_fds;
        Console c;

        for (size_t i = 0; i < ELEMENTSOF(fds); i++)
                fds[i] = master;
        given_console(*state, &c);
        n_fds = count_open_fds();

        when_sent(&c, "x", 1, fds, 2);
        assert_int_equal(console_receive(&c), -EPROTO);
        when_sent(&c, "x", 1, fds, 253);
        assert_int_equal(console_receive(&c), -EPROTO);

        assert_int_equal(count_open_fds(), n_fds); /* all of them closed */
        console_done(&c);
}

static void test_the_length_of_the_name(void **state) {
        _cleanup_(safe_closep) int master = given_master(), got = -EBADF;
        static char name[5000];
        Console c;

        memset(name, 'n', sizeof(name));
        given_console(*state, &c);
        when_sent(&c, name, 4096, &master, 1);
        assert_int_equal(console_receive(&c), -EPROTO);
        when_sent(&c, name, sizeof(name), &master, 1);
        assert_int_equal(console_receive(&c), -EPROTO);
        when_sent(&c, name, 4095, &master, 1);
        got = console_receive(&c);
        assert_true(got >= 0);
        console_done(&c);
}

static void test_what_is_no_master(void **state) {
        _cleanup_(safe_closep) int null = open("/dev/null", O_RDWR | O_CLOEXEC), master = given_master();
        _cleanup_(safe_closep) int slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
        Console c;

        assert_true(null >= 0 && slave >= 0);
        given_console(*state, &c);
        when_sent(&c, "/dev/null", 9, &null, 1);
        assert_int_equal(console_receive(&c), -ENOTTY);
        when_sent(&c, "/dev/pts/0", 10, &slave, 1);
        assert_int_equal(console_receive(&c), -ENOTTY);
        when_sent(&c, "socket", 6, &c.fd, 1);
        assert_int_equal(console_receive(&c), -ENOTTY);
        console_done(&c);
}

static void test_the_first_good_connection_counts(void **state) {
        _cleanup_(safe_closep) int null = open("/dev/null", O_RDWR | O_CLOEXEC), silent = -EBADF, got = -EBADF;
        _cleanup_(safe_closep) int first = given_master(), second = given_master();
        Console c;

        given_console(*state, &c);
        silent = when_connected(&c);
        when_sent(&c, "x", 1, &null, 1);
        when_sent(&c, "x", 1, NULL, 0);
        when_sent(&c, "x", 1, &first, 1);
        when_sent(&c, "x", 1, &second, 1);

        got = console_receive(&c);
        assert_true(got >= 0);
        assert_int_equal(number_of(got), number_of(first));
        assert_int_not_equal(number_of(got), number_of(second));
        console_done(&c);
}

static void test_the_size_of_what_has_none(void **state) {
        _cleanup_(safe_closep) int null = open("/dev/null", O_RDWR | O_CLOEXEC);

        assert_int_equal(console_resize(null, 1, 1), -ENOTTY);
        assert_int_equal(console_resize(-EBADF, 1, 1), -EBADF);
}

/* --- the real runtime ------------------------------------------------------------------------------------------- */

static void given_text(World *w, const char *name, const char *text) {
        _cleanup_(freep) char *path = world_path(w, name);

        given_file(path, text, 0600);
}

static bool given_busybox(World *w) {
        _cleanup_(freep) char *command = NULL;

        assert_true(asprintf(&command,
                             "cd '%s' && mkdir -p rootfs/bin rootfs/proc rootfs/dev && cp \"$(command -v busybox)\" "
                             "rootfs/bin/busybox 2>/dev/null",
                             w->folder) > 0);
        return system(command) == 0;
}

static void test_the_real_runtime(void **state) {
        static const char spec[] =
                "{ \"ociVersion\": \"1.0.2\", \"root\": { \"path\": \"rootfs\" },"
                "  \"process\": { \"terminal\": true, \"consoleSize\": { \"width\": 77, \"height\": 33 },"
                "    \"user\": { \"uid\": 0, \"gid\": 0 }, \"cwd\": \"/\", \"args\": [ \"/bin/busybox\", \"sleep\", \"100\" ] },"
                "  \"mounts\": [ { \"destination\": \"/proc\", \"type\": \"proc\", \"source\": \"proc\" },"
                "    { \"destination\": \"/dev\", \"type\": \"tmpfs\", \"source\": \"tmpfs\" },"
                "    { \"destination\": \"/dev/pts\", \"type\": \"devpts\", \"source\": \"devpts\","
                "      \"options\": [ \"newinstance\", \"ptmxmode=0666\", \"mode=0620\" ] } ],"
                "  \"linux\": { \"namespaces\": [ { \"type\": \"pid\" }, { \"type\": \"mount\" }, { \"type\": \"ipc\" } ] } }";
        _cleanup_(safe_closep) int got = -EBADF;
        World *w = *state;
        struct winsize size;
        char *command = NULL;
        bool created;
        Console c;

        if (geteuid() != 0 || system("command -v runc >/dev/null && command -v busybox >/dev/null") != 0) {
                print_message("needs root, runc and busybox\n");
                skip();
        }
        if (!given_busybox(w)) {
                print_message("needs a busybox that can be copied\n");
                skip();
        }
        given_text(w, "config.json", spec);
        given_console(w, &c);

        assert_true(
                asprintf(
                        &command,
                        "cd '%s' && runc --root '%s/runtime' create --console-socket '%s' --bundle . monoshim-test-%d "
                        "</dev/null >log 2>&1",
                        w->folder, w->folder, c.path, (int) getpid()) > 0);
        created = system(command) == 0;
        free(command);

        if (created)
                got = console_receive(&c);

        assert_true(asprintf(&command, "runc --root '%s/runtime' delete --force monoshim-test-%d >/dev/null 2>&1",
                             w->folder, (int) getpid()) > 0);
        assert_true(system(command) >= 0);
        free(command);
        world_run_until_no_children(w); /* we are the subreaper */
        console_done(&c);

        if (!created) {
                assert_true(asprintf(&command, "grep -qi 'console\\|socket' '%s/log'", w->folder) > 0);
                assert_int_not_equal(system(command), 0);
                free(command);
                print_message("runc cannot create a container here\n");
                skip();
        }
        assert_true(got >= 0);
        assert_int_equal(ioctl(got, TIOCGWINSZ, &size), 0);
        assert_int_equal(size.ws_col, 77);
        assert_int_equal(size.ws_row, 33);
}

int main(void) {
        const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, world_begin, world_end)
                CASE(test_the_socket_is_ours_alone_and_goes_without_a_trace),
                CASE(test_a_folder_far_down),
                CASE(test_consoles_do_not_meet),
                CASE(test_a_name_that_was_left_behind_is_passed_over),
                CASE(test_what_is_no_folder),
                CASE(test_a_runtime_sends_the_master_and_ends),
                CASE(test_nothing_sent),
                CASE(test_a_name_without_a_master),
                CASE(test_more_than_one_descriptor),
                CASE(test_the_length_of_the_name),
                CASE(test_what_is_no_master),
                CASE(test_the_first_good_connection_counts),
                CASE(test_the_size_of_what_has_none),
                CASE(test_the_real_runtime),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
