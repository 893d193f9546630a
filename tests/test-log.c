/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What a log line looks like, and that writing one can neither be forged nor block. */

#include "util/log.h"

#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <cmocka.h>

#define NAME "test-log"

static int saved_stderr = -EBADF;

static int set_up(void **state) {
        saved_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
        program_invocation_short_name = (char *) NAME;
        log_set_max_level(LOG_INFO);
        assert_int_equal(unsetenv("JOURNAL_STREAM"), 0);
        log_open();
        return saved_stderr < 0 ? -1 : 0;
}

static int tear_down(void **state) {
        assert_int_equal(dup2(saved_stderr, STDERR_FILENO), STDERR_FILENO);
        saved_stderr = safe_close(saved_stderr);
        return 0;
}

/* What reads our stderr; the caller closes it. */
static int given_stderr_is_a_pipe(void) {
        int fds[2];

        assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
        assert_int_equal(dup2(fds[1], STDERR_FILENO), STDERR_FILENO);
        safe_close(fds[1]);
        assert_true(fcntl(fds[0], F_SETFL, O_NONBLOCK) >= 0);
        return fds[0];
}

static size_t read_what_is_there(int fd, char *text, size_t size) {
        ssize_t n = read(fd, text, size - 1);

        text[n < 0 ? 0 : n] = 0;
        return n < 0 ? 0 : (size_t) n;
}

static void then_stderr_says(int fd, const char *expected) {
        char text[PIPE_BUF * 4];

        read_what_is_there(fd, text, sizeof(text));
        assert_string_equal(text, expected);
}

static void a_line_names_the_program_and_the_container(void **state) {
        _cleanup_(safe_closep) int fd = given_stderr_is_a_pipe();

        log_info("hello %d", 42);
        then_stderr_says(fd, NAME ": hello 42\n");

        assert_int_equal(log_full(LOG_WARNING, 0, "k8s.io", "web-1", "gone"), 0);
        then_stderr_says(fd, NAME ": k8s.io/web-1: gone\n");
}

static void an_error_is_printed_by_percent_m_and_returned_negative(void **state) {
        _cleanup_(safe_closep) int fd = given_stderr_is_a_pipe();

        assert_int_equal(log_error_errno(ENOENT, "open: %m"), -ENOENT);
        then_stderr_says(fd, NAME ": open: No such file or directory\n");
        assert_int_equal(log_error_errno(-EIO, "read: %m"), -EIO);
        then_stderr_says(fd, NAME ": read: Input/output error\n");
        assert_int_equal(log_full(LOG_ERR, -ENOSPC, "ns", "id", "write: %m"), -ENOSPC);
        then_stderr_says(fd, NAME ": ns/id: write: No space left on device\n");
}

static void errno_survives(void **state) {
        _cleanup_(safe_closep) int fd = given_stderr_is_a_pipe();

        errno = ENOTTY;
        log_error_errno(EIO, "x: %m");
        assert_int_equal(errno, ENOTTY);
        log_debug("not shown");
        assert_int_equal(errno, ENOTTY);
        then_stderr_says(fd, NAME ": x: Input/output error\n");
}

static void levels_past_the_maximum_are_not_written_but_still_return(void **state) {
        _cleanup_(safe_closep) int fd = given_stderr_is_a_pipe();

        assert_int_equal(log_get_max_level(), LOG_INFO);
        assert_int_equal(log_debug_errno(EIO, "no"), -EIO);
        log_debug("no");
        then_stderr_says(fd, "");

        log_set_max_level(LOG_DEBUG);
        log_debug("yes");
        then_stderr_says(fd, NAME ": yes\n");

        log_set_max_level(LOG_ERR);
        log_warning("no");
        log_error("yes");
        then_stderr_says(fd, NAME ": yes\n");
}

static void levels_have_systemds_names(void **state) {
        static const char *const names[] = { "emerg", "alert", "crit", "err", "warning", "notice", "info", "debug" };
        static const char *const bad[] = { "", "error", "Info", "8", "-1", "07", "info ", "7x" };

        for (int i = 0; i < (int) ELEMENTSOF(names); i++) {
                const char digit[] = { (char) ('0' + i), 0 };

                assert_int_equal(log_level_from_string(names[i]), i);
                assert_int_equal(log_level_from_string(digit), i);
        }
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                assert_int_equal(log_level_from_string(bad[i]), -EINVAL);
}

static void no_input_can_forge_a_line(void **state) {
        static const struct {
                const char *text, *line;
        } table[] = {
                { "a\nmonoshimd: forged", "a monoshimd: forged" },
                { "a\r\nb", "a? b" },
                { "\x1b[2J\x07", "?[2J?" },
                { "tab\tstays", "tab\tstays" },
                { "\x7f\xc2\x9b\xff\xc3\xa4", "???\xc3\xa4" },
                { "trailing \n\n", "trailing" },
        };

        _cleanup_(safe_closep) int fd = given_stderr_is_a_pipe();

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                char expected[128];

                print_message("# case %zu\n", i);
                log_error("%s", table[i].text);
                (void) snprintf(expected, sizeof(expected), NAME ": %s\n", table[i].line);
                then_stderr_says(fd, expected);
        }
}

static void a_line_is_bounded_and_says_that_it_was_cut(void **state) {
        _cleanup_(safe_closep) int fd = given_stderr_is_a_pipe();
        char text[PIPE_BUF * 4], huge[100000];
        size_t n;

        memset(huge, 'x', sizeof(huge) - 1);
        huge[sizeof(huge) - 1] = 0;
        log_full(LOG_ERR, 0, "ns", "id", "%s", huge);

        n = read_what_is_there(fd, text, sizeof(text));
        assert_true(n <= PIPE_BUF);
        assert_true(n > PIPE_BUF - 8);
        assert_non_null(startswith(text, NAME ": ns/id: xxx"));
        assert_string_equal(text + n - 5, "x...\n");
}

static void a_stuck_reader_costs_lines_but_never_blocks(void **state) {
        _cleanup_(safe_closep) int fd = given_stderr_is_a_pipe();
        char text[1 << 16];
        int n_written = 0, n_lost;
        size_t size;

        alarm(20); /* whoever blocks dies */
        for (int i = 0; i < 5000; i++)
                log_error("a line that is written although nobody reads it: %d", i);

        while ((size = read_what_is_there(fd, text, sizeof(text))) > 0)
                for (size_t i = 0; i < size; i++)
                        n_written += text[i] == '\n';
        assert_in_range(n_written, 1, 4999);

        log_error("back again");
        alarm(0);
        read_what_is_there(fd, text, sizeof(text));
        assert_int_equal(sscanf(text, NAME ": lost %d log lines that stderr could not take\n", &n_lost), 1);
        assert_int_equal(n_written + n_lost, 5000);
        assert_string_equal(strchr(text, '\n') + 1, NAME ": back again\n");

        /* Told once. */
        log_error("and again");
        then_stderr_says(fd, NAME ": and again\n");
}

static void a_stuck_socket_does_not_block_either(void **state) {
        _cleanup_(safe_closep) int fd = -EBADF;
        char text[1024];
        int fds[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        assert_int_equal(dup2(fds[1], STDERR_FILENO), STDERR_FILENO);
        safe_close(fds[1]);

        alarm(20);
        for (int i = 0; i < 20000; i++)
                log_error("a line that is written although nobody reads it: %d", i);
        alarm(0);
        safe_close(fds[0]);

        fd = given_stderr_is_a_pipe();
        log_error("back again");
        read_what_is_there(fd, text, sizeof(text));
        assert_non_null(startswith(text, NAME ": lost "));
}

static void a_reader_that_has_gone_does_not_kill_us(void **state) {
        pid_t pid;
        int status;

        /* In a child, since lost lines are counted and told later. */
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                signal(SIGPIPE, SIG_DFL);
                safe_close(given_stderr_is_a_pipe());
                log_error("into the void");
                _exit(42);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 42);
}

static void a_regular_file_is_just_appended_to(void **state) {
        char path[] = "/tmp/test-log-XXXXXX";
        _cleanup_(safe_closep) int fd = mkostemp(path, O_CLOEXEC | O_APPEND);
        char text[256] = "";

        assert_true(fd >= 0);
        assert_int_equal(unlink(path), 0);
        assert_int_equal(dup2(fd, STDERR_FILENO), STDERR_FILENO);
        log_error("one");
        log_error("two");
        assert_true(pread(fd, text, sizeof(text) - 1, 0) > 0);
        assert_string_equal(text, NAME ": one\n" NAME ": two\n");
}

/* An environment inherited by mistake must not take our lines away from where stderr goes. */
static void a_journal_stream_that_is_not_our_stderr_is_not_believed(void **state) {
        static const char *const streams[] = { "", "x", "1", "1:", "8:1", "99999999999999999999:1" };
        _cleanup_(safe_closep) int fd = given_stderr_is_a_pipe();

        for (size_t i = 0; i < ELEMENTSOF(streams); i++) {
                assert_int_equal(setenv("JOURNAL_STREAM", streams[i], 1), 0);
                log_open();
                log_error("still here");
                then_stderr_says(fd, NAME ": still here\n");
        }
        assert_int_equal(unsetenv("JOURNAL_STREAM"), 0);
}

/* ---- the journal ---- */

/* Gives us a /run of our own, empty, so that the journal is what we make it. */
static void given_an_empty_run(void) {
        if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) < 0 ||
            mount("tmpfs", "/run", "tmpfs", MS_NODEV, "size=1m,mode=0755") < 0) {
                print_message("no mount namespace to be had here: %s\n", strerror(errno));
                skip();
        }
}

static int given_a_journal(void) {
        static const struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = "/run/systemd/journal/socket" };
        int fd;

        assert_int_equal(mkdir("/run/systemd", 0755), 0);
        assert_int_equal(mkdir("/run/systemd/journal", 0755), 0);
        fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        assert_true(fd >= 0);
        assert_int_equal(bind(fd, (const struct sockaddr *) &address, sizeof(address)), 0);
        return fd;
}

static void given_stderr_is_the_journals_stream(void) {
        char stream[64];
        struct stat st;

        assert_int_equal(fstat(STDERR_FILENO, &st), 0);
        (void) snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long) st.st_dev, (unsigned long long) st.st_ino);
        assert_int_equal(setenv("JOURNAL_STREAM", stream, 1), 0);
        log_open();
}

static void then_the_journal_has(int journal, const char *expected) {
        char entry[PIPE_BUF * 2];

        read_what_is_there(journal, entry, sizeof(entry));
        assert_string_equal(entry, expected);
}

static void what_stands_behind_stderr_decides_where_lines_go(void **state) {
        _cleanup_(safe_closep) int fd = given_stderr_is_a_pipe(), journal = -EBADF;

        given_an_empty_run();

        given_stderr_is_the_journals_stream();
        log_error("nobody is there to take it");
        then_stderr_says(fd, NAME ": nobody is there to take it\n");

        journal = given_a_journal();
        log_open();
        log_notice("hello %d\nworld", 42);
        then_the_journal_has(journal, "MESSAGE=hello 42 world\nPRIORITY=5\nSYSLOG_IDENTIFIER=" NAME "\n");

        assert_int_equal(log_full(LOG_WARNING, ENOSPC, "k8s.io", "web-1", "write: %m"), -ENOSPC);
        then_the_journal_has(journal, "MESSAGE=write: No space left on device\nPRIORITY=4\nSYSLOG_IDENTIFIER=" NAME
                                      "\nCONTAINER_ID=web-1\nCONTAINER_NAMESPACE=k8s.io\nERRNO=28\n");
        then_stderr_says(fd, "");

        /* The journal is gone for good: nothing may be lost without a word. */
        journal = safe_close(journal);
        log_error("still to be seen");
        then_stderr_says(fd, NAME ": still to be seen\n");

        assert_int_equal(unsetenv("JOURNAL_STREAM"), 0);
        assert_int_equal(umount2("/run", MNT_DETACH), 0);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
                TEST(a_line_names_the_program_and_the_container),
                TEST(an_error_is_printed_by_percent_m_and_returned_negative),
                TEST(errno_survives),
                TEST(levels_past_the_maximum_are_not_written_but_still_return),
                TEST(levels_have_systemds_names),
                TEST(no_input_can_forge_a_line),
                TEST(a_line_is_bounded_and_says_that_it_was_cut),
                TEST(a_stuck_reader_costs_lines_but_never_blocks),
                TEST(a_stuck_socket_does_not_block_either),
                TEST(a_reader_that_has_gone_does_not_kill_us),
                TEST(a_regular_file_is_just_appended_to),
                TEST(a_journal_stream_that_is_not_our_stderr_is_not_believed),
                TEST(what_stands_behind_stderr_decides_where_lines_go),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
