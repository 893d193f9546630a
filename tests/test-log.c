/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What a log line looks like, and that writing one can neither be forged nor block. */

#include "util/journal-message.h"
#include "util/log.h"

#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

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
        static const struct sockaddr_un address = { .sun_family = AF_UNIX,
                                                    .sun_path = "/run/systemd/journal/socket" };
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
        (void) snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long) st.st_dev,
                        (unsigned long long) st.st_ino);
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
        then_stderr_says(fd, "<3>" NAME ": nobody is there to take it\n");

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
        then_stderr_says(fd, "<3>" NAME ": still to be seen\n");

        assert_int_equal(unsetenv("JOURNAL_STREAM"), 0);
        assert_int_equal(umount2("/run", MNT_DETACH), 0);
}

/* ---- a journal of the test's own, which reads when it is told to ---- */

typedef struct Journal {
        char path[64];
        int fd;
        int stream; /* the other end of stderr */
} Journal;

typedef struct Entry {
        char message[PIPE_BUF * 2], priority[8], identifier[64], id[1024], ns[1024], number[8], field[64];
} Entry;

static void journal_set_up(Journal *j) {
        struct sockaddr_un sa = { .sun_family = AF_UNIX };

        *j = (Journal) { .path = "/tmp/test-log-XXXXXX", .fd = -EBADF };
        assert_non_null(mkdtemp(j->path));
        strcat(j->path, "/socket");

        j->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        assert_true(j->fd >= 0);
        strcpy(sa.sun_path, j->path);
        assert_int_equal(bind(j->fd, (const struct sockaddr *) &sa, sizeof(sa)), 0);
        journal_set_address(j->path);

        j->stream = given_stderr_is_a_pipe();
        given_stderr_is_the_journals_stream();
}

static void journal_tear_down(Journal *j) {
        journal_set_address(NULL);
        assert_int_equal(unsetenv("JOURNAL_STREAM"), 0);
        safe_close(j->fd);
        safe_close(j->stream);
        assert_int_equal(unlink(j->path), 0);
        *strrchr(j->path, '/') = 0;
        assert_int_equal(rmdir(j->path), 0);
}

/* Reads as journald does: NAME=VALUE, or NAME and the value's length, little-endian. */
static void entry_parse(Entry *ret, const char *p, size_t size) {
        const struct {
                const char *name;
                char *value;
                size_t size;
        } fields[] = {
                { "MESSAGE", ret->message, sizeof(ret->message) },
                { "PRIORITY", ret->priority, sizeof(ret->priority) },
                { "SYSLOG_IDENTIFIER", ret->identifier, sizeof(ret->identifier) },
                { "CONTAINER_ID", ret->id, sizeof(ret->id) },
                { "CONTAINER_NAMESPACE", ret->ns, sizeof(ret->ns) },
                { "ERRNO", ret->number, sizeof(ret->number) },
                { "FIELD", ret->field, sizeof(ret->field) },
        };
        const char *end = p + size;

        *ret = (Entry) {};
        while (p < end) {
                size_t i, n_name = strcspn(p, "=\n");
                const char *value = p + n_name + 1;
                uint64_t n = 0;

                if (p[n_name] == '=')
                        n = (uint64_t) ((const char *) memchr(value, '\n', (size_t) (end - value)) - value);
                else {
                        for (int k = 7; k >= 0; k--)
                                n = n << 8 | (unsigned char) value[k];
                        value += 8;
                }
                assert_true(value + n < end);
                assert_int_equal(value[n], '\n');

                for (i = 0; i < ELEMENTSOF(fields); i++)
                        if (strlen(fields[i].name) == n_name && memcmp(fields[i].name, p, n_name) == 0)
                                break;
                assert_true(i < ELEMENTSOF(fields)); /* no field that nobody has asked for */
                assert_int_equal(fields[i].value[0], 0);
                assert_true(n < fields[i].size);
                memcpy(fields[i].value, value, n);
                p = value + n + 1;
        }
}

static bool journal_read(Journal *j, Entry *ret) {
        char data[PIPE_BUF * 4];
        ssize_t n = recv(j->fd, data, sizeof(data) - 1, 0);

        if (n < 0)
                return false;
        data[n] = 0;
        entry_parse(ret, data, (size_t) n);
        return true;
}

static unsigned count_lines(const char *text) {
        unsigned n = 0;

        for (; *text; text++)
                n += *text == '\n';
        return n;
}

static unsigned read_stream(Journal *j) {
        unsigned n = 0;
        char text[4096];

        while (read_what_is_there(j->stream, text, sizeof(text)) > 0)
                n += count_lines(text);
        return n;
}

static void no_value_can_pass_for_fields(void **state) {
        static const struct {
                const char *ns, *id;
        } table[] = {
                { "ns", "id" },
                { "", "" },
                { "a\nMESSAGE=forged", "b\n" },
                { "\xff\xfe", "tab\tand \x1b[2J" },
        };
        Journal j;
        Entry e;

        journal_set_up(&j);
        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                print_message("# case %zu\n", i);
                assert_int_equal(log_full(LOG_ERR, ENOENT, table[i].ns, table[i].id, "a\nPRIORITY=0\nb = %d: %m", 7),
                                 -ENOENT);
                assert_true(journal_read(&j, &e));
                assert_string_equal(e.message, "a PRIORITY=0 b = 7: No such file or directory");
                assert_string_equal(e.priority, "3");
                assert_string_equal(e.identifier, NAME);
                assert_string_equal(e.ns, table[i].ns);
                assert_string_equal(e.id, table[i].id);
                assert_string_equal(e.number, "2");
        }

        log_debug("not shown");
        log_info("no container, no error");
        assert_true(journal_read(&j, &e));
        assert_string_equal(e.message, "no container, no error");
        assert_string_equal(e.priority, "6");
        assert_string_equal(e.id, "");
        assert_string_equal(e.number, "");
        assert_false(journal_read(&j, &e));
        then_stderr_says(j.stream, "");
        journal_tear_down(&j);
}

static void one_more_field_is_carried_along(void **state) {
        static const struct {
                const char *field, *value;
        } table[] = {
                { "FIELD=abc=d", "abc=d" },
                { "FIELD=a\nPRIORITY=0", "a\nPRIORITY=0" },
                { "FIELD=", "" },
                { "FIELD", "" },
                { "=x", "" },
                { NULL, "" },
        };
        Journal j;
        Entry e;

        journal_set_up(&j);
        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                print_message("# case %zu\n", i);
                (void) log_full_field(LOG_ERR, 0, "ns", "id", table[i].field, "hello");
                assert_true(journal_read(&j, &e));
                assert_string_equal(e.message, "hello");
                assert_string_equal(e.field, table[i].value);
                assert_string_equal(e.id, "id");
        }
        journal_tear_down(&j);
}

/* Also where it is of two bytes, or looks like a newline or an equals sign. */
static void a_length_is_little_endian(void **state) {
        static const size_t sizes[] = { 1, 9, 10, 11, 61, 255, 256, 257, 778 };
        Journal j;
        Entry e;

        journal_set_up(&j);
        for (size_t i = 0; i < ELEMENTSOF(sizes); i++) {
                char id[1024] = "";

                memset(id, '\n', sizes[i]);
                (void) log_full(LOG_ERR, 0, "ns", id, "x");
                assert_true(journal_read(&j, &e));
                assert_string_equal(e.id, id);
                assert_string_equal(e.ns, "ns");
        }
        journal_tear_down(&j);
}

static void a_journal_that_hangs_costs_lines_but_never_blocks(void **state) {
        unsigned n_taken = 0, n_lost = 0;
        struct timespec began, ended;
        Journal j;
        Entry e;

        journal_set_up(&j);
        alarm(20); /* whoever blocks dies */
        assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &began), 0);
        for (int i = 0; i < 10000; i++)
                (void) log_full(LOG_ERR, 0, "ns", "id", "a line that is written although nobody reads it: %d", i);
        assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &ended), 0);
        alarm(0);
        assert_in_range(ended.tv_sec - began.tv_sec, 0, 10);

        /* Whatever was taken is whole, and comes in its order. */
        for (; journal_read(&j, &e); n_taken++) {
                char expected[64];

                (void) snprintf(expected, sizeof(expected), "a line that is written although nobody reads it: %u",
                                n_taken);
                assert_string_equal(e.message, expected);
                assert_string_equal(e.id, "id");
        }
        assert_in_range(n_taken, 1, 9998);

        /* journald is back, and so is its stream: what was lost is told first, and once. */
        n_taken += read_stream(&j);
        log_info("back again");
        assert_true(journal_read(&j, &e));
        assert_int_equal(sscanf(e.message, "lost %u log lines that the journal could not take", &n_lost), 1);
        assert_string_equal(e.priority, "4");
        assert_string_equal(e.identifier, NAME);
        assert_string_equal(e.id, "");
        assert_int_equal(n_taken + n_lost, 10000);
        assert_true(n_lost > 0);
        assert_true(journal_read(&j, &e));
        assert_string_equal(e.message, "back again");
        log_info("and again");
        assert_true(journal_read(&j, &e));
        assert_string_equal(e.message, "and again");
        assert_false(journal_read(&j, &e));
        then_stderr_says(j.stream, "");
        journal_tear_down(&j);
}

static void fill_journal(Journal *j) {
        char text[PIPE_BUF];

        while (read_what_is_there(j->stream, text, sizeof(text)) == 0)
                log_info("one more");
}

static void what_a_full_journal_does_not_take_goes_to_its_stream(void **state) {
        Journal j;
        Entry e;

        journal_set_up(&j);
        fill_journal(&j);
        (void) log_full(LOG_WARNING, 0, "ns", "a\nb", "to be seen");
        then_stderr_says(j.stream, "<4>" NAME ": ns/a b: to be seen\n");

        assert_true(journal_read(&j, &e));
        log_info("through the socket again");
        then_stderr_says(j.stream, "");
        journal_tear_down(&j);
}

/* Where there is room for one line only, it is the one that says how many were lost, and the other is one more. */
static void the_number_of_lost_lines_takes_no_more_than_there_is(void **state) {
        char line[PIPE_BUF], text[1 << 16];
        unsigned n_lost;
        Journal j;
        Entry e;

        journal_set_up(&j);
        fill_journal(&j);
        for (int i = 0; i < 3000; i++)
                log_info("a line that is written although nobody reads it: %d", i);
        n_lost = 3000 - read_stream(&j);

        /* Now the stream takes nothing either. */
        memset(text, 'x', sizeof(text));
        assert_true(fcntl(STDERR_FILENO, F_SETFL, O_NONBLOCK) >= 0);
        while (write(STDERR_FILENO, text, sizeof(text)) > 0)
                ;

        assert_true(journal_read(&j, &e));
        log_info("no room for this");
        (void) snprintf(line, sizeof(line), "lost %u log lines that the journal could not take", n_lost);
        while (journal_read(&j, &e) && !streq(e.message, line))
                assert_string_equal(e.message, "one more");
        assert_string_equal(e.message, line);
        assert_false(journal_read(&j, &e));

        log_info("room for all");
        assert_true(journal_read(&j, &e));
        assert_string_equal(e.message, "lost 1 log lines that the journal could not take");
        assert_true(journal_read(&j, &e));
        assert_string_equal(e.message, "room for all");
        assert_false(journal_read(&j, &e));
        journal_tear_down(&j);
}

static void what_fits_into_no_message_is_cut_and_not_lost(void **state) {
        _cleanup_(freep) char *huge = malloc(1 << 20);
        char text[PIPE_BUF * 4];
        Journal j;
        Entry e;
        size_t n;

        assert_non_null(huge);
        memset(huge, 'x', (1 << 20) - 1);
        huge[(1 << 20) - 1] = 0;

        journal_set_up(&j);
        (void) log_full(LOG_ERR, 0, "ns", "id", "%s", huge);
        assert_true(journal_read(&j, &e));
        assert_in_range(strlen(e.message), PIPE_BUF - 16, PIPE_BUF);
        assert_string_equal(e.message + strlen(e.message) - 4, "x...");

        (void) log_full(LOG_ERR, 0, "ns", huge, "hello");
        assert_false(journal_read(&j, &e));
        n = read_what_is_there(j.stream, text, sizeof(text));
        assert_non_null(startswith(text, "<3>" NAME ": ns/xxx"));
        assert_string_equal(text + n - 5, "x...\n");
        journal_tear_down(&j);
}

/* Who has run out of descriptors has something to say. */
static void without_a_descriptor_the_stream_is_left(void **state) {
        int fds[64], n = 0, fd;
        struct rlimit old, few;
        Journal j;
        Entry e;

        journal_set_up(&j);
        assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
        few = (struct rlimit) { .rlim_cur = ELEMENTSOF(fds), .rlim_max = old.rlim_max };
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
        while ((fd = fcntl(j.fd, F_DUPFD_CLOEXEC, 0)) >= 0)
                fds[n++] = fd;

        log_error("too many");
        while (n > 0)
                safe_close(fds[--n]);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
        then_stderr_says(j.stream, "<3>" NAME ": too many\n");
        assert_false(journal_read(&j, &e));
        journal_tear_down(&j);
}

static void an_address_that_is_too_long_leaves_the_stream(void **state) {
        char path[256];
        Journal j;

        memset(path, 'x', sizeof(path) - 1);
        path[0] = '/';
        path[sizeof(path) - 1] = 0;
        journal_set_up(&j);
        journal_set_address(path);
        log_error("hello");
        then_stderr_says(j.stream, "<3>" NAME ": hello\n");
        journal_tear_down(&j);
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
                TEST(no_value_can_pass_for_fields),
                TEST(one_more_field_is_carried_along),
                TEST(a_length_is_little_endian),
                TEST(a_journal_that_hangs_costs_lines_but_never_blocks),
                TEST(what_a_full_journal_does_not_take_goes_to_its_stream),
                TEST(the_number_of_lost_lines_takes_no_more_than_there_is),
                TEST(what_fits_into_no_message_is_cut_and_not_lost),
                TEST(without_a_descriptor_the_stream_is_left),
                TEST(an_address_that_is_too_long_leaves_the_stream),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
