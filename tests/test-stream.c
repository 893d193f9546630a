/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The streams of a process: what is opened, what is kept, and who sees the end when. */

#include "host/journal-socket.h"
#include "host/stream.h"
#include "util/journal-message.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <poll.h>
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
#include <sys/utsname.h>
#include <time.h>

#include <cmocka.h>

static char directory[64], fifo[128];
static int directory_fd, n_fds_before;

/* ---- vocabulary ---- */

static int count_fds(void) {
        struct dirent *e;
        int n = 0;
        DIR *d;

        d = opendir("/proc/self/fd");
        assert_non_null(d);
        while ((e = readdir(d)))
                n += e->d_name[0] != '.';
        (void) closedir(d);
        return n;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw) {
        return remove(path);
}

static int set_up(void **state) {
        n_fds_before = count_fds();
        strcpy(directory, "/tmp/test-stream-XXXXXX");
        if (!mkdtemp(directory))
                return -1;
        directory_fd = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (directory_fd < 0)
                return -1;
        (void) snprintf(fifo, sizeof(fifo), "%s/fifo", directory);
        signal(SIGPIPE, SIG_IGN); /* EPIPE says it as well */
        alarm(60);                /* whatever blocks dies */
        return mkfifo(fifo, 0600);
}

static int tear_down(void **state) {
        alarm(0);
        safe_close(directory_fd);
        assert_int_equal(count_fds(), n_fds_before);
        return nftw(directory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static const char *at(const char *name) {
        static char path[PATH_MAX];

        (void) snprintf(path, sizeof(path), "%s/%s", directory, name);
        return path;
}

static const char *file_at(const char *name) {
        static char uri[PATH_MAX];

        (void) snprintf(uri, sizeof(uri), "file://%s/%s", directory, name);
        return uri;
}

static StreamOptions options(StreamUse use) {
        return (StreamOptions) {
                .use = use, .uid = (uid_t) -1, .gid = (gid_t) -1, .dir_fd = directory_fd, .name = "journal"
        };
}

static int when_opened(Stream *s, const char *uri, StreamKind kind, bool output, StreamUse use) {
        StreamOptions o = options(use);

        return stream_open(s, uri, kind, output, &o);
}

static int when_reopened(Stream *s, StreamUse use) {
        StreamOptions o = options(use);

        return stream_reopen(s, &o);
}

static Stream given_stream_of(const char *uri, StreamKind kind, bool output, StreamUse use) {
        Stream s = STREAM_INIT;

        assert_int_equal(when_opened(&s, uri, kind, output, use), 0);
        assert_int_equal(s.kind, kind);
        assert_string_equal(s.uri, uri);
        assert_int_equal(s.output, output);
        return s;
}

static Stream given_stream(bool output) {
        return given_stream_of(fifo, STREAM_FIFO, output, STREAM_DIRECT);
}

static Stream given_output(StreamUse use) {
        return given_stream_of(fifo, STREAM_FIFO, true, use);
}

static void needs_root(void) {
        if (geteuid() != 0) {
                print_message("needs root\n");
                skip();
        }
}

/* Where there is no journal, root has made one that reads nothing: see group_set_up(). */
static Stream given_journal(StreamUse use) {
        if (journal_check() < 0) {
                print_message("needs a journal, or root\n");
                skip();
        }
        return given_stream_of("journal:web", STREAM_JOURNAL, true, use);
}

static bool is_open(int fd) {
        return fd >= 0 && fcntl(fd, F_GETFD) >= 0;
}

/* As the process of a container, and all programs that expect no surprise. */
static void then_it_waits(int fd) {
        assert_true(is_open(fd));
        assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        assert_false(fcntl(fd, F_GETFL) & O_NONBLOCK);
}

static void then_it_does_not_wait(int fd) {
        assert_true(is_open(fd));
        assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
}

static void then_mode(int fd, int mode) {
        assert_int_equal(fcntl(fd, F_GETFL) & O_ACCMODE, mode);
}

/* Flags of the one would show on the other. */
static bool is_same_open_file(int a, int b) {
        int before = fcntl(a, F_GETFL);
        bool same;

        assert_int_equal(fcntl(a, F_SETFL, before ^ O_APPEND), 0);
        same = fcntl(a, F_GETFL) == fcntl(b, F_GETFL);
        assert_int_equal(fcntl(a, F_SETFL, before), 0);
        return same && fcntl(a, F_GETFL) == fcntl(b, F_GETFL);
}

static void then_owner(int fd, uid_t uid, gid_t gid) {
        struct stat st;

        assert_int_equal(fstat(fd, &st), 0);
        assert_int_equal(st.st_uid, uid);
        assert_int_equal(st.st_gid, gid);
}

static int given_client(int flags) {
        int fd = open(fifo, flags | O_NONBLOCK | O_CLOEXEC);

        assert_true(fd >= 0);
        return fd;
}

static void when_written(int fd, const char *text) {
        assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static void then_it_reads(int fd, const char *expected) {
        char text[256] = "";

        assert_int_equal(read(fd, text, sizeof(text) - 1), strlen(expected));
        assert_string_equal(text, expected);
}

static void then_reading_would_wait(int fd) {
        char c;

        assert_int_equal(read(fd, &c, 1), -1);
        assert_int_equal(errno, EAGAIN);
}

static void then_reading_finds_the_end(int fd) {
        char c;

        assert_int_equal(read(fd, &c, 1), 0);
}

static void then_it_is_as_new(const Stream *s) {
        assert_int_equal(s->kind, STREAM_NULL);
        assert_null(s->uri);
        assert_true(s->fd < 0);
        assert_true(s->hold < 0);
        assert_true(s->from < 0);
        assert_true(s->to < 0);
}

/* ---- what a client's string means ---- */

#define X8 "xxxxxxxx"
#define X64 X8 X8 X8 X8 X8 X8 X8 X8
#define UE8 "\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc"
#define UE64 UE8 UE8 UE8 UE8 UE8 UE8 UE8 UE8

static void a_string_names_a_kind_or_has_something_wrong(void **state) {
        static const char identifier[] = "an identifier for the journal has 1 to 64 printable characters";
        static const char escape[] = "a % in a URI must be followed by two hexadecimal digits, and not by 00";
        static const struct {
                const char *uri;
                StreamKind kind;
                const char *reason; /* for an output; NULL when nothing is wrong */
        } table[] = {
                { "", STREAM_NULL, NULL },
                { "/run/fifo", STREAM_FIFO, NULL },
                { "/", STREAM_FIFO, NULL },
                { "/a:b", STREAM_FIFO, NULL },
                { "/50%?#", STREAM_FIFO, NULL },
                { "file:///var/log/x", STREAM_FILE, NULL },
                { "file:/var/log/x", STREAM_FILE, NULL },
                { "file:///var/log/a%20b%3F", STREAM_FILE, NULL },
                { "file://", 0, "\"\" is not an absolute path" },
                { "file://x/y", 0, "\"x/y\" is not an absolute path" },
                { "file:x", 0, "\"x\" is not an absolute path" },
                { "file:///x?y", 0, "a file has no query; a ? in its name must be written as %3F" },
                { "file:///x?", 0, "a file has no query; a ? in its name must be written as %3F" },
                { "file:///x#y", 0, "a URI cannot have a fragment here; a # in it must be written as %23" },
                { "file:///x%", 0, escape },
                { "file:///x\n", 0, "control characters in a URI must be written as %XX" },
                { "journal:", STREAM_JOURNAL, NULL },
                { "journal:web", STREAM_JOURNAL, NULL },
                { "journal:my web \xc3\xbc 100%?#/", STREAM_JOURNAL, NULL },
                { "journal:" X64, STREAM_JOURNAL, NULL },
                { "journal:" UE64, STREAM_JOURNAL, NULL },
                { "journal:" X64 "x", 0, identifier },
                { "journal:" UE64 "\xc3\xbc", 0, identifier },
                { "journal:a\nb", 0, identifier },
                { "journal:a\x7f", 0, identifier },
                { "journal:a\xc2\x85", 0, identifier },
                { "journal:a\xc2\xa0", STREAM_JOURNAL, NULL },
                { "journal:a\xff", 0, identifier },
                { "journal:a\xc3", 0, identifier },
                { "binary:///bin/logger?a=b", STREAM_BINARY, NULL },
                { "binary:///bin/logger", STREAM_BINARY, NULL },
                { "binary://bin/logger", 0, "\"bin/logger\" is not an absolute path" },
                { "binary:///bin/logger?a=%", 0, escape },
                { "http://x", 0, "unknown STDIO scheme http" },
                { "binary-v2:///bin/x", 0, "unknown STDIO scheme binary-v2" },
                { "File:///x", 0, "unknown STDIO scheme File" },
                { "fil:///x", 0, "unknown STDIO scheme fil" },
                { "x:", 0, "unknown STDIO scheme x" },
                { "relative", 0, "\"relative\" is not an absolute path" },
                { "journal", 0, "\"journal\" is not an absolute path" },
                { "./x", 0, "\"./x\" is not an absolute path" },
                { "../x:y", 0, "\"../x:y\" is not an absolute path" },
                { ":x", 0, "\":x\" is not an absolute path" },
                { "1:x", 0, "\"1:x\" is not an absolute path" },
                { "a b:x", 0, "\"a b:x\" is not an absolute path" },
                { " /x", 0, "\"/x\" is not an absolute path" },
                { "\x1b\xff", 0, "\"??\" is not an absolute path" },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                StreamKind kind = _STREAM_KIND_INVALID;
                _cleanup_(freep) char *reason = NULL;

                print_message("# case %zu\n", i);
                assert_int_equal(stream_parse(table[i].uri, true, &kind, &reason), table[i].reason ? -EINVAL : 0);
                assert_int_equal(kind, table[i].reason ? _STREAM_KIND_INVALID : table[i].kind);
                assert_true(streq_ptr(reason, table[i].reason));
        }
}

static void what_is_for_output_only_cannot_be_read_from(void **state) {
        static const struct {
                const char *uri;
                const char *reason;
        } table[] = {
                { "", NULL },
                { "/run/fifo", NULL },
                { "file:///x", "STDIO scheme file is for output only" },
                { "journal:", "STDIO scheme journal is for output only" },
                { "binary:///x", "STDIO scheme binary is for output only" },
                { "http://x", "unknown STDIO scheme http" },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                _cleanup_(freep) char *reason = NULL;
                StreamKind kind;

                print_message("# case %zu\n", i);
                assert_int_equal(stream_parse(table[i].uri, false, &kind, &reason), table[i].reason ? -EINVAL : 0);
                assert_true(streq_ptr(reason, table[i].reason));
        }
}

static void a_huge_string_makes_no_huge_reason(void **state) {
        static const char *const beginnings[] = { "x", "file:x", "binary:x", "journal:x" };
        char uri[10000];

        for (size_t i = 0; i < ELEMENTSOF(beginnings); i++) {
                _cleanup_(freep) char *reason = NULL;
                StreamKind kind;

                memset(uri, 'x', sizeof(uri) - 1);
                uri[sizeof(uri) - 1] = 0;
                memcpy(uri, beginnings[i], strlen(beginnings[i]));
                assert_int_equal(stream_parse(uri, true, &kind, &reason), -EINVAL);
                assert_true(strlen(reason) < 200);
        }
}

/* ---- opening ---- */

static void only_a_fifo_is_opened(void **state) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        _cleanup_(safe_closep) int file = -EBADF, listener = -EBADF;
        Stream s = STREAM_INIT;
        static const struct {
                const char *name;
                int result;
        } table[] = {
                { "absent", -ENOENT },    { "absent/fifo", -ENOENT }, { "file", -EINVAL },
                { "directory", -EINVAL }, { "socket", -EINVAL },      { "link", -ELOOP },
                { "dangling", -ELOOP },   { "fifo/", -ENOTDIR },      { "file/x", -ENOTDIR },
        };

        file = open(at("file"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        assert_true(file >= 0);
        assert_int_equal(mkdir(at("directory"), 0700), 0);
        listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        strcpy(address.sun_path, at("socket"));
        assert_int_equal(bind(listener, (struct sockaddr *) &address, sizeof(address)), 0);
        assert_int_equal(symlink(fifo, at("link")), 0);
        assert_int_equal(symlink("nowhere", at("dangling")), 0);

        for (size_t i = 0; i < ELEMENTSOF(table) * 2; i++) {
                print_message("# case %zu\n", i / 2);
                for (StreamUse use = STREAM_DIRECT; use <= STREAM_TERMINAL; use++)
                        assert_int_equal(when_opened(&s, at(table[i / 2].name), STREAM_FIFO, i % 2, use),
                                         table[i / 2].result);
                then_it_is_as_new(&s);
        }

        assert_int_equal(when_opened(&s, "/dev/null", STREAM_FIFO, true, STREAM_DIRECT), -EINVAL);
        assert_int_equal(when_opened(&s, "fifo", STREAM_FIFO, true, STREAM_DIRECT), -EINVAL);
        assert_int_equal(when_opened(&s, "", STREAM_FIFO, true, STREAM_DIRECT), -EINVAL);
        then_it_is_as_new(&s);
}

static void what_is_opened_is_remembered(void **state) {
        for (int output = 0; output < 2; output++) {
                Stream s = given_stream(output);
                struct stat st;

                assert_int_equal(stat(fifo, &st), 0);
                assert_int_equal(s.kind, STREAM_FIFO);
                assert_string_equal(s.uri, fifo);
                assert_int_equal(s.dev, st.st_dev);
                assert_int_equal(s.ino, st.st_ino);
                assert_int_equal(s.output, output);
                assert_string_equal(stream_to_string(&s), fifo);

                stream_done(&s);
                then_it_is_as_new(&s);
                stream_done(&s);
        }
}

static void the_container_gets_blocking_ends_and_no_exec_gets_any_by_chance(void **state) {
        for (int output = 0; output < 2; output++) {
                Stream s = given_stream(output);

                then_it_waits(s.fd);
                assert_true(fcntl(s.hold, F_GETFD) & FD_CLOEXEC);
                then_mode(s.fd, output ? O_RDWR : O_RDONLY);
                then_mode(s.hold, output ? O_RDWR : O_WRONLY);
                assert_true(s.from < 0);
                assert_true(s.to < 0);
                stream_done(&s);
        }
}

static void the_process_owns_what_it_gets(void **state) {
        Stream s = STREAM_INIT;

        needs_root();
        for (int output = 0; output < 2; output++) {
                StreamOptions o = options(STREAM_DIRECT);

                o.uid = 1234 + (uid_t) output;
                o.gid = 4321;
                assert_int_equal(stream_open(&s, fifo, STREAM_FIFO, output, &o), 0);
                then_owner(s.fd, o.uid, 4321);
                stream_done(&s);

                /* Half a request changes half. */
                o.uid = (uid_t) -1;
                o.gid = 99;
                assert_int_equal(stream_open(&s, fifo, STREAM_FIFO, output, &o), 0);
                then_owner(s.fd, 1234 + (uid_t) output, 99);
                o.uid = 0;
                o.gid = (gid_t) -1;
                assert_int_equal(stream_open(&s, fifo, STREAM_FIFO, output, &o), 0);
                then_owner(s.fd, 0, 99);
                stream_done(&s);
        }
}

static void the_client_keeps_what_the_process_does_not_get(void **state) {
        Stream s = STREAM_INIT;
        struct stat st;

        needs_root();
        assert_int_equal(stat(fifo, &st), 0);
        for (int output = 0; output < 2; output++) {
                StreamOptions o = options(STREAM_RELAY);

                o.uid = 1234;
                o.gid = 4321;
                assert_int_equal(stream_open(&s, fifo, STREAM_FIFO, output, &o), 0);
                then_owner(s.fd, 1234, 4321);
                then_owner(s.hold, st.st_uid, st.st_gid);
                stream_done(&s);

                o.use = STREAM_TERMINAL;
                assert_int_equal(stream_open(&s, fifo, STREAM_FIFO, output, &o), 0);
                then_owner(s.hold, st.st_uid, st.st_gid);
                stream_done(&s);
        }
}

static void nothing_needs_nothing(void **state) {
        for (StreamUse use = STREAM_DIRECT; use <= STREAM_TERMINAL; use++) {
                Stream s = STREAM_INIT;

                assert_int_equal(when_opened(&s, "", STREAM_NULL, true, use), 0);
                then_it_is_as_new(&s);
                assert_true(s.output);
                assert_string_equal(stream_to_string(&s), "");
                assert_int_equal(when_reopened(&s, use), 0);
                then_it_is_as_new(&s);
        }
}

static void what_cannot_be_had_that_way_is_refused(void **state) {
        static const struct {
                const char *uri;
                StreamKind kind;
                bool output;
                StreamUse use;
        } table[] = {
                { "file:///tmp/x", STREAM_FILE, true, STREAM_TERMINAL },
                { "file:///tmp/x", STREAM_FILE, false, STREAM_DIRECT },
                { "file:///tmp/x", STREAM_FILE, false, STREAM_RELAY },
                { "file://tmp/x", STREAM_FILE, true, STREAM_DIRECT },
                { "journal:", STREAM_JOURNAL, true, STREAM_TERMINAL },
                { "journal:", STREAM_JOURNAL, false, STREAM_DIRECT },
                { "binary:///x", STREAM_BINARY, true, STREAM_TERMINAL },
                { "binary:///x", STREAM_BINARY, false, STREAM_DIRECT },
                { "", STREAM_FD, true, STREAM_DIRECT },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                Stream s = STREAM_INIT;

                print_message("# case %zu\n", i);
                assert_int_equal(when_opened(&s, table[i].uri, table[i].kind, table[i].output, table[i].use),
                                 -EINVAL);
                then_it_is_as_new(&s);
        }
        assert_int_equal(access("/tmp/x", F_OK), -1);
}

/* With one descriptor more each time, until there are enough: each step fails once. */
static void without_descriptors_nothing_is_left_behind(void **state) {
        static const char program[] = "binary:///bin/logger";
        const struct {
                const char *uri;
                StreamKind kind;
                bool output;
                StreamUse use;
        } table[] = {
                { fifo, STREAM_FIFO, true, STREAM_DIRECT },
                { fifo, STREAM_FIFO, false, STREAM_DIRECT },
                { fifo, STREAM_FIFO, true, STREAM_RELAY },
                { fifo, STREAM_FIFO, false, STREAM_RELAY },
                { fifo, STREAM_FIFO, true, STREAM_TERMINAL },
                { fifo, STREAM_FIFO, false, STREAM_TERMINAL },
                { file_at("f"), STREAM_FILE, true, STREAM_DIRECT },
                { file_at("f"), STREAM_FILE, true, STREAM_RELAY },
                { program, STREAM_BINARY, true, STREAM_DIRECT },
                { "journal:", STREAM_JOURNAL, true, STREAM_DIRECT },
                { "journal:", STREAM_JOURNAL, true, STREAM_RELAY },
        };
        struct rlimit limit, few;

        assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
        few = limit;
        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                int n = count_fds(), first = fcntl(0, F_DUPFD_CLOEXEC, 0), r = -EMFILE;

                print_message("# case %zu\n", i);
                safe_close(first);
                if (table[i].kind == STREAM_JOURNAL && journal_check() < 0)
                        continue;
                for (few.rlim_cur = (rlim_t) first; r < 0; few.rlim_cur++) {
                        Stream s = STREAM_INIT;

                        assert_true(few.rlim_cur < (rlim_t) first + 64);
                        assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
                        r = when_opened(&s, table[i].uri, table[i].kind, table[i].output, table[i].use);
                        assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
                        if (r < 0) {
                                assert_int_equal(r, -EMFILE);
                                then_it_is_as_new(&s);
                                assert_int_equal(count_fds(), n);
                        }
                        stream_done(&s);
                        assert_int_equal(count_fds(), n);
                }
                assert_true(few.rlim_cur > (rlim_t) first + 1);
        }
}

static void a_descriptor_is_taken_over_as_it_is(void **state) {
        Stream s = STREAM_INIT;
        int fd = given_client(O_RDWR);

        assert_int_equal(stream_take_fd(&s, -EBADF, true), -EBADF);
        then_it_is_as_new(&s);

        assert_int_equal(stream_take_fd(&s, fd, true), 0);
        assert_int_equal(s.kind, STREAM_FD);
        assert_int_equal(s.fd, fd);
        assert_true(s.hold < 0);
        assert_string_equal(stream_to_string(&s), "fd");
        assert_false(stream_has_unread(&s));
        assert_int_equal(when_reopened(&s, STREAM_DIRECT), 0); /* there is nothing to open again */
        assert_true(s.hold < 0);

        stream_release_child_end(&s);
        assert_int_equal(fcntl(fd, F_GETFD), -1);
        assert_string_equal(stream_to_string(&s), "fd");
        stream_done(&s);
        assert_string_equal(stream_to_string(&s), "");
}

/* ---- output ---- */

static void output_waits_for_a_reader_that_comes_late(void **state) {
        Stream s = given_stream(true);
        int reader;

        when_written(s.fd, "before anybody came");
        assert_true(stream_has_unread(&s));
        reader = given_client(O_RDONLY);
        then_it_reads(reader, "before anybody came");
        assert_false(stream_has_unread(&s));
        then_reading_would_wait(reader);

        safe_close(reader);
        stream_done(&s);
}

static void a_reader_that_goes_hurts_nobody(void **state) {
        Stream s = given_stream(true);
        int reader = given_client(O_RDONLY);

        when_written(s.fd, "one");
        safe_close(reader);
        when_written(s.fd, "two");

        reader = given_client(O_RDONLY);
        then_it_reads(reader, "onetwo");
        safe_close(reader);
        stream_done(&s);
}

static void what_was_written_outlives_the_writer_while_we_hold(void **state) {
        Stream s = given_stream(true);
        int reader;

        when_written(s.fd, "last words");
        stream_release_child_end(&s);
        assert_true(s.fd < 0);
        assert_true(stream_has_unread(&s));

        reader = given_client(O_RDONLY);
        then_it_reads(reader, "last words");
        then_reading_would_wait(reader);
        stream_close_hold(&s);
        then_reading_finds_the_end(reader);
        assert_false(stream_has_unread(&s));

        safe_close(reader);
        stream_done(&s);
}

static void the_hold_is_the_same_open_file_as_the_containers(void **state) {
        Stream s = given_stream(true);

        assert_true(is_same_open_file(s.fd, s.hold));
        stream_done(&s);
}

/* ---- input ---- */

static void input_ends_only_after_both_the_client_and_we_have_closed(void **state) {
        Stream s = given_stream(false);
        int writer;

        assert_int_equal(fcntl(s.fd, F_SETFL, O_NONBLOCK), 0);
        then_reading_would_wait(s.fd);

        writer = given_client(O_WRONLY);
        when_written(writer, "hello");
        safe_close(writer);
        then_it_reads(s.fd, "hello");
        then_reading_would_wait(s.fd); /* detached, not ended */

        writer = given_client(O_WRONLY);
        when_written(writer, "again");
        stream_close_hold(&s);
        then_it_reads(s.fd, "again");
        then_reading_would_wait(s.fd); /* the client still has it */
        safe_close(writer);
        then_reading_finds_the_end(s.fd);

        stream_close_hold(&s); /* harmless */
        assert_false(stream_has_unread(&s));
        stream_done(&s);
}

/* ---- coming back ---- */

static void a_hold_is_taken_back_after_a_restart(void **state) {
        Stream before = given_stream(true), after = STREAM_INIT;
        int reader;

        /* The container keeps its end; ours went with the old process. */
        when_written(before.fd, "while you were away");
        stream_close_hold(&before);

        after.kind = STREAM_FIFO;
        after.uri = strdup(fifo);
        after.dev = before.dev;
        after.ino = before.ino;
        after.output = true;
        assert_int_equal(when_reopened(&after, STREAM_DIRECT), 0);
        assert_true(fcntl(after.hold, F_GETFD) & FD_CLOEXEC);
        assert_true(after.fd < 0);
        assert_true(stream_has_unread(&after));

        stream_done(&before);
        reader = given_client(O_RDONLY);
        then_it_reads(reader, "while you were away");
        then_reading_would_wait(reader);
        stream_done(&after);
        then_reading_finds_the_end(reader);
        safe_close(reader);
}

static void input_without_a_reader_is_not_taken_back(void **state) {
        Stream s = given_stream(false);
        int writer;

        stream_close_hold(&s);
        assert_int_equal(when_reopened(&s, STREAM_DIRECT), 0); /* the container still reads */
        writer = s.hold;
        when_written(writer, "x");

        stream_close_hold(&s);
        stream_release_child_end(&s);
        assert_int_equal(when_reopened(&s, STREAM_DIRECT), -ENXIO);
        assert_true(s.hold < 0);
        stream_done(&s);
}

static void a_path_that_became_something_else_is_noticed(void **state) {
        Stream s = given_stream(true);

        stream_close_hold(&s);
        assert_int_equal(rename(fifo, at("moved")), 0);
        assert_int_equal(when_reopened(&s, STREAM_DIRECT), -ENOENT);

        assert_int_equal(mkfifo(fifo, 0600), 0); /* another one of the same name */
        assert_int_equal(when_reopened(&s, STREAM_DIRECT), -ESTALE);
        assert_int_equal(remove(fifo), 0);

        assert_int_equal(symlink(at("moved"), fifo), 0); /* even if it leads to the right one */
        assert_int_equal(when_reopened(&s, STREAM_DIRECT), -ESTALE);
        assert_int_equal(remove(fifo), 0);

        assert_int_equal(mkdir(fifo, 0700), 0);
        assert_int_equal(when_reopened(&s, STREAM_DIRECT), -ESTALE);
        assert_int_equal(remove(fifo), 0);
        assert_true(s.hold < 0);

        assert_int_equal(rename(at("moved"), fifo), 0); /* and back */
        assert_int_equal(when_reopened(&s, STREAM_DIRECT), 0);
        assert_true(s.hold >= 0);
        stream_done(&s);
}

static void what_was_not_open_is_opened_after_a_restart(void **state) {
        Stream s = given_stream(true);

        /* Loaded: everything is known, nothing is open. The name may be its own. */
        stream_release_child_end(&s);
        stream_close_hold(&s);
        assert_int_equal(when_opened(&s, s.uri, s.kind, s.output, STREAM_DIRECT), 0);
        then_it_waits(s.fd);
        assert_string_equal(s.uri, fifo);

        stream_release_child_end(&s);
        stream_close_hold(&s);
        assert_int_equal(rename(fifo, at("moved")), 0);
        assert_int_equal(when_opened(&s, s.uri, s.kind, s.output, STREAM_DIRECT), -ENOENT);
        assert_int_equal(mkfifo(fifo, 0600), 0);
        for (StreamUse use = STREAM_DIRECT; use <= STREAM_TERMINAL; use++)
                assert_int_equal(when_opened(&s, s.uri, s.kind, s.output, use), -ESTALE);

        /* And is still as it was. */
        assert_int_equal(s.kind, STREAM_FIFO);
        assert_string_equal(s.uri, fifo);
        assert_true(s.fd < 0);
        assert_true(s.hold < 0);
        assert_int_equal(rename(at("moved"), fifo), 0);
        assert_int_equal(when_opened(&s, s.uri, s.kind, s.output, STREAM_TERMINAL), 0);
        stream_done(&s);
}

/* ---- relays ---- */

/* What whoever moves the bytes would do. */
static void when_moved(int from, int to, const char *expected) {
        char text[256] = "";
        ssize_t n;

        n = read(from, text, sizeof(text) - 1);
        assert_int_equal(n, strlen(expected));
        assert_string_equal(text, expected);
        assert_int_equal(write(to, text, (size_t) n), n);
}

static bool is_anonymous_pipe(int fd) {
        char path[64], target[64] = "";

        (void) snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        assert_true(readlink(path, target, sizeof(target) - 1) > 0);
        return startswith(target, "pipe:[");
}

static void a_relay_of_an_output_lies_between_a_pipe_and_the_fifo(void **state) {
        Stream s = given_output(STREAM_RELAY);
        int reader;

        then_it_waits(s.fd);
        then_mode(s.fd, O_WRONLY);
        assert_true(is_anonymous_pipe(s.fd));
        then_it_does_not_wait(s.from);
        then_mode(s.from, O_RDONLY);
        then_it_does_not_wait(s.to);
        then_mode(s.to, O_RDWR);
        then_mode(s.hold, O_RDWR);
        assert_false(is_same_open_file(s.to, s.hold));

        when_written(s.fd, "text");
        assert_false(stream_has_unread(&s));
        when_moved(s.from, s.to, "text");
        assert_true(stream_has_unread(&s));
        then_reading_would_wait(s.from);

        /* The process and all who inherited from it have ended. */
        stream_release_child_end(&s);
        then_reading_finds_the_end(s.from);
        s.from = safe_close(s.from);
        s.to = safe_close(s.to);

        reader = given_client(O_RDONLY);
        then_it_reads(reader, "text");
        then_reading_would_wait(reader);
        stream_close_hold(&s);
        then_reading_finds_the_end(reader);
        safe_close(reader);
        stream_done(&s);
}

static void a_relay_of_the_input_lies_between_the_fifo_and_a_pipe(void **state) {
        Stream s = given_stream_of(fifo, STREAM_FIFO, false, STREAM_RELAY);
        int writer;

        then_it_waits(s.fd);
        then_mode(s.fd, O_RDONLY);
        assert_true(is_anonymous_pipe(s.fd));
        then_it_does_not_wait(s.from);
        then_mode(s.from, O_RDONLY);
        then_it_does_not_wait(s.to);
        then_mode(s.to, O_WRONLY);
        then_mode(s.hold, O_WRONLY);

        writer = given_client(O_WRONLY);
        when_written(writer, "hello");
        safe_close(writer);
        when_moved(s.from, s.to, "hello");
        then_reading_would_wait(s.from); /* detached, not ended */
        stream_close_hold(&s);
        then_reading_finds_the_end(s.from);

        then_it_reads(s.fd, "hello");
        s.to = safe_close(s.to);
        then_reading_finds_the_end(s.fd);
        stream_done(&s);
}

static void two_relays_of_one_fifo_are_each_on_their_own(void **state) {
        Stream a = given_output(STREAM_RELAY), b = given_output(STREAM_RELAY);
        int reader = given_client(O_RDONLY);

        when_written(a.fd, "one ");
        when_written(b.fd, "two");
        when_moved(a.from, a.to, "one ");
        stream_done(&a);
        when_moved(b.from, b.to, "two");
        then_it_reads(reader, "one two");
        stream_done(&b);
        then_reading_finds_the_end(reader);
        safe_close(reader);
}

/* ---- terminals ---- */

static void behind_a_terminal_only_our_own_ends_are_opened(void **state) {
        Stream output = given_output(STREAM_TERMINAL), input;
        int client;

        assert_true(output.fd < 0);
        assert_true(output.from < 0);
        then_it_does_not_wait(output.to);
        then_mode(output.to, O_RDWR);
        then_mode(output.hold, O_RDWR);
        assert_false(is_same_open_file(output.to, output.hold));
        when_written(output.to, "text");
        assert_true(stream_has_unread(&output));
        client = given_client(O_RDONLY);
        then_it_reads(client, "text");
        stream_done(&output);
        then_reading_finds_the_end(client);
        safe_close(client);

        input = given_stream_of(fifo, STREAM_FIFO, false, STREAM_TERMINAL);
        assert_true(input.fd < 0);
        assert_true(input.to < 0);
        then_it_does_not_wait(input.from);
        then_mode(input.from, O_RDONLY);
        then_mode(input.hold, O_WRONLY);
        then_reading_would_wait(input.from);
        client = given_client(O_WRONLY);
        when_written(client, "typed");
        then_it_reads(input.from, "typed");
        stream_close_hold(&input);
        then_reading_would_wait(input.from); /* the client has not */
        safe_close(client);
        then_reading_finds_the_end(input.from);
        stream_done(&input);
}

/* The reader of a terminal's input is we: after a restart there is none. */
static void holds_of_relays_and_terminals_can_be_taken_back_for_outputs(void **state) {
        for (StreamUse use = STREAM_RELAY; use <= STREAM_TERMINAL; use++) {
                Stream s = given_output(use);
                int reader = given_client(O_RDONLY);

                when_written(s.to, "before");
                s.to = safe_close(s.to);
                s.from = safe_close(s.from);
                stream_close_hold(&s);
                assert_int_equal(when_reopened(&s, use), 0);
                assert_true(stream_has_unread(&s));
                then_it_reads(reader, "before");
                then_reading_would_wait(reader);
                stream_done(&s);
                safe_close(reader);

                s = given_stream_of(fifo, STREAM_FIFO, false, use);
                s.from = safe_close(s.from);
                stream_close_hold(&s);
                assert_int_equal(when_reopened(&s, use), -ENXIO);
                stream_done(&s);
        }
}

/* ---- files ---- */

static void then_file_holds(const char *name, const char *expected) {
        _cleanup_(safe_closep) int fd = open(at(name), O_RDONLY | O_CLOEXEC);

        assert_true(fd >= 0);
        if (expected[0])
                then_it_reads(fd, expected);
        then_reading_finds_the_end(fd);
}

static void then_file_mode(const char *name, mode_t mode) {
        struct stat st;

        assert_int_equal(stat(at(name), &st), 0);
        assert_int_equal(st.st_mode & 07777, mode);
}

static void a_file_is_made_if_it_is_missing_whatever_the_umask(void **state) {
        static const mode_t masks[] = { 0, 022, 077, 0777 };

        for (size_t i = 0; i < ELEMENTSOF(masks); i++) {
                mode_t before = umask(masks[i]);
                Stream s = STREAM_INIT;
                int r;

                r = when_opened(&s, file_at("log"), STREAM_FILE, true, STREAM_DIRECT);
                umask(before);
                assert_int_equal(r, 0);
                then_file_mode("log", 0640);
                then_it_waits(s.fd);
                then_mode(s.fd, O_WRONLY);
                assert_true(s.hold < 0);
                assert_true(s.from < 0);
                assert_true(s.to < 0);
                assert_string_equal(stream_to_string(&s), file_at("log"));
                stream_done(&s);
                assert_int_equal(unlink(at("log")), 0);
        }
}

static void a_file_that_is_there_is_appended_to_and_otherwise_left_alone(void **state) {
        _cleanup_(safe_closep) int fd = open(at("log"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        Stream a, b;

        when_written(fd, "before ");
        assert_int_equal(fchmod(fd, 0604), 0);
        a = given_stream_of(file_at("log"), STREAM_FILE, true, STREAM_DIRECT);
        b = given_stream_of(file_at("log"), STREAM_FILE, true, STREAM_DIRECT);
        when_written(a.fd, "one ");
        when_written(b.fd, "two ");
        when_written(a.fd, "three");
        then_file_holds("log", "before one two three");
        then_file_mode("log", 0604);
        assert_false(stream_has_unread(&a));

        /* A log that is truncated goes on at its beginning. */
        assert_int_equal(truncate(at("log"), 0), 0);
        when_written(b.fd, "four");
        then_file_holds("log", "four");
        assert_int_equal(when_reopened(&a, STREAM_DIRECT), 0);
        assert_true(a.hold < 0);
        stream_done(&a);
        stream_done(&b);
}

static void the_name_of_a_file_may_hold_anything(void **state) {
        Stream s = given_stream_of(file_at("a%20b%3f%23%25%0a"), STREAM_FILE, true, STREAM_DIRECT);

        when_written(s.fd, "x");
        then_file_holds("a b?#%\n", "x");
        stream_done(&s);
}

static void only_a_regular_file_is_opened(void **state) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        _cleanup_(safe_closep) int listener = -EBADF;
        static const struct {
                const char *name;
                int result;
        } table[] = {
                { "fifo", -EINVAL },       { "directory", -EINVAL }, { "directory/", -EINVAL },
                { "socket", -EINVAL },     { "link", -ELOOP },       { "dangling", -ELOOP },
                { "absent/log", -ENOENT }, { "fifo/log", -ENOTDIR }, { "absent/", -EINVAL },
        };

        assert_int_equal(mkdir(at("directory"), 0700), 0);
        listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        strcpy(address.sun_path, at("socket"));
        assert_int_equal(bind(listener, (struct sockaddr *) &address, sizeof(address)), 0);
        assert_int_equal(symlink("target", at("link")), 0);
        assert_int_equal(symlink("nowhere", at("dangling")), 0);
        safe_close(open(at("target"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                Stream s = STREAM_INIT;

                print_message("# case %zu\n", i);
                for (StreamUse use = STREAM_DIRECT; use <= STREAM_RELAY; use++)
                        assert_int_equal(when_opened(&s, file_at(table[i].name), STREAM_FILE, true, use),
                                         table[i].result);
                then_it_is_as_new(&s);
        }
        assert_int_equal(access(at("nowhere"), F_OK), -1);
        assert_int_equal(access(at("absent"), F_OK), -1);
}

/* A watchdog is started by opening it, a tape rewound, and a reader of a FIFO sees a writer come and go. */
static void what_is_no_file_is_not_even_touched(void **state) {
        struct pollfd reader = { .fd = given_client(O_RDONLY), .events = POLLIN };
        Stream s = STREAM_INIT;

        assert_int_equal(when_opened(&s, file_at("fifo"), STREAM_FILE, true, STREAM_DIRECT), -EINVAL);
        assert_int_equal(poll(&reader, 1, 0), 0); /* POLLHUP once a writer has been there */
        safe_close(reader.fd);

        assert_int_equal(when_opened(&s, "file:///dev/null", STREAM_FILE, true, STREAM_DIRECT), -EINVAL);
        assert_int_equal(when_opened(&s, "file:///dev/tty", STREAM_FILE, true, STREAM_DIRECT), -EINVAL);
        then_it_is_as_new(&s);
}

static void a_relay_of_a_file_lies_between_a_pipe_and_the_file(void **state) {
        Stream s = given_stream_of(file_at("log"), STREAM_FILE, true, STREAM_RELAY);

        then_it_waits(s.fd);
        assert_true(is_anonymous_pipe(s.fd));
        then_it_does_not_wait(s.from);
        then_mode(s.to, O_WRONLY);
        assert_true(fcntl(s.to, F_GETFL) & O_APPEND);
        assert_true(s.hold < 0);

        when_written(s.fd, "text");
        when_moved(s.from, s.to, "text");
        then_file_holds("log", "text");
        then_file_mode("log", 0640);
        stream_done(&s);
}

/* ---- the journal ---- */

static void the_journal_is_a_fifo_of_ours(void **state) {
        Stream s = given_journal(STREAM_DIRECT);
        struct stat st;

        assert_int_equal(stat(at("journal"), &st), 0);
        assert_true(S_ISFIFO(st.st_mode));
        assert_int_equal(st.st_mode & 07777, 0600);
        assert_int_equal(s.dev, st.st_dev);
        assert_int_equal(s.ino, st.st_ino);
        assert_string_equal(stream_to_string(&s), "journal:web");

        then_it_waits(s.fd);
        then_mode(s.fd, O_RDWR);
        then_it_does_not_wait(s.from);
        then_mode(s.from, O_RDONLY);
        assert_true(is_same_open_file(s.fd, s.hold));
        assert_true(s.to < 0);

        when_written(s.fd, "line\n");
        then_it_reads(s.from, "line\n");
        then_reading_would_wait(s.from);
        stream_release_child_end(&s);
        stream_close_hold(&s);
        then_reading_finds_the_end(s.from);
        stream_done(&s);
}

static void the_journals_fifo_is_used_again(void **state) {
        Stream s = given_journal(STREAM_DIRECT), again;
        ino_t ino = s.ino;

        stream_done(&s);
        again = given_journal(STREAM_DIRECT);
        assert_int_equal(again.ino, ino);
        stream_done(&again);
}

static void in_place_of_the_journals_fifo_nothing_else_is_taken(void **state) {
        StreamOptions o = options(STREAM_DIRECT);
        Stream s = given_journal(STREAM_DIRECT);

        stream_done(&s);
        assert_int_equal(remove(at("journal")), 0);

        safe_close(open(at("journal"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
        assert_int_equal(stream_open(&s, "journal:", STREAM_JOURNAL, true, &o), -EINVAL);
        assert_int_equal(remove(at("journal")), 0);
        assert_int_equal(mkdir(at("journal"), 0700), 0);
        assert_int_equal(stream_open(&s, "journal:", STREAM_JOURNAL, true, &o), -EINVAL);
        assert_int_equal(remove(at("journal")), 0);
        assert_int_equal(symlink("fifo", at("journal")), 0);
        assert_int_equal(stream_open(&s, "journal:", STREAM_JOURNAL, true, &o), -EINVAL);
        assert_int_equal(remove(at("journal")), 0);

        o.name = NULL;
        assert_int_equal(stream_open(&s, "journal:", STREAM_JOURNAL, true, &o), -EINVAL);
        o.name = "journal";
        o.dir_fd = -EBADF;
        assert_int_equal(stream_open(&s, "journal:", STREAM_JOURNAL, true, &o), -EBADF);
        then_it_is_as_new(&s);
}

static void the_journals_fifo_belongs_to_the_process(void **state) {
        StreamOptions o = options(STREAM_DIRECT);
        Stream s = given_journal(STREAM_DIRECT);

        needs_root();
        stream_done(&s);
        o.uid = 1234;
        o.gid = 4321;
        assert_int_equal(stream_open(&s, "journal:", STREAM_JOURNAL, true, &o), 0);
        then_owner(s.fd, 1234, 4321);
        stream_done(&s);
}

static void the_journal_is_taken_back_after_a_restart(void **state) {
        Stream before = given_journal(STREAM_DIRECT), after = STREAM_INIT;

        /* The container keeps its end; ours went with the old process. */
        when_written(before.fd, "while you were away");
        stream_close_hold(&before);
        before.from = safe_close(before.from);

        after.kind = STREAM_JOURNAL;
        after.uri = strdup("journal:web");
        after.dev = before.dev;
        after.ino = before.ino;
        after.output = true;
        assert_int_equal(when_reopened(&after, STREAM_DIRECT), 0);
        assert_true(after.fd < 0);
        then_it_does_not_wait(after.from);
        then_mode(after.hold, O_RDWR);
        assert_false(stream_has_unread(&after)); /* by others */
        then_it_reads(after.from, "while you were away");

        /* Twice is as good as once. */
        assert_int_equal(when_reopened(&after, STREAM_DIRECT), 0);
        stream_done(&after);

        after.kind = STREAM_JOURNAL;
        after.output = true;
        after.dev = before.dev;
        after.ino = before.ino + 1;
        assert_int_equal(when_reopened(&after, STREAM_DIRECT), -ESTALE);
        assert_int_equal(remove(at("journal")), 0);
        assert_int_equal(when_reopened(&after, STREAM_DIRECT), -ENOENT);
        assert_int_equal(mkdir(at("journal"), 0700), 0);
        assert_int_equal(when_reopened(&after, STREAM_DIRECT), -ESTALE);
        assert_true(after.from < 0);
        stream_done(&after);
        stream_done(&before);
}

static void a_relay_of_the_journal_is_a_pipe(void **state) {
        Stream s = given_journal(STREAM_RELAY);

        then_it_waits(s.fd);
        assert_true(is_anonymous_pipe(s.fd));
        then_it_does_not_wait(s.from);
        assert_true(s.hold < 0);
        assert_true(s.to < 0);
        assert_int_equal(access(at("journal"), F_OK), -1);
        when_written(s.fd, "line\n");
        then_it_reads(s.from, "line\n");

        stream_release_child_end(&s);
        s.from = safe_close(s.from);
        assert_int_equal(when_reopened(&s, STREAM_RELAY), 0); /* what was lost is lost */
        assert_true(s.from < 0);
        stream_done(&s);
}

static void without_a_journal_there_is_none(void **state) {
        Stream s = STREAM_INIT;

        if (geteuid() != 0 || access("/run/is-private", F_OK) < 0) {
                print_message("needs root, and to make a mount namespace\n");
                skip();
        }

        assert_int_equal(rename(JOURNAL_SOCKET, JOURNAL_SOCKET ".away"), 0);
        assert_int_equal(when_opened(&s, "journal:", STREAM_JOURNAL, true, STREAM_DIRECT), -EOPNOTSUPP);
        assert_int_equal(when_opened(&s, "journal:", STREAM_JOURNAL, true, STREAM_RELAY), -EOPNOTSUPP);
        assert_int_equal(access(at("journal"), F_OK), -1);

        /* One that has died. */
        safe_close(open(JOURNAL_SOCKET, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
        assert_int_equal(when_opened(&s, "journal:", STREAM_JOURNAL, true, STREAM_DIRECT), -EOPNOTSUPP);
        assert_int_equal(rename(JOURNAL_SOCKET ".away", JOURNAL_SOCKET), 0);
        then_it_is_as_new(&s);
}

/* ---- loggers ---- */

static void a_logger_reads_from_a_pipe_that_we_keep(void **state) {
        for (StreamUse use = STREAM_DIRECT; use <= STREAM_RELAY; use++) {
                Stream s = given_stream_of("binary:///bin/logger?a=b", STREAM_BINARY, true, use);
                int its;

                then_it_waits(s.fd);
                then_mode(s.fd, O_WRONLY);
                assert_true(is_anonymous_pipe(s.fd));
                then_it_waits(s.from); /* the logger's, which expects it */
                then_mode(s.from, O_RDONLY);
                assert_true(s.hold < 0);
                assert_true(s.to < 0);

                /* The logger dies: nobody is hurt by that. */
                its = fcntl(s.from, F_DUPFD_CLOEXEC, 3);
                when_written(s.fd, "text");
                then_it_reads(its, "text");
                safe_close(its);
                when_written(s.fd, "more");
                then_it_reads(s.from, "more");

                stream_release_child_end(&s);
                then_reading_finds_the_end(s.from);
                s.from = safe_close(s.from);
                assert_int_equal(when_reopened(&s, use), 0);
                assert_true(s.from < 0);
                stream_done(&s);
        }
}

static void a_loggers_pipe_belongs_to_the_process(void **state) {
        StreamOptions o = options(STREAM_DIRECT);
        Stream s = STREAM_INIT;

        needs_root();
        o.uid = 1234;
        o.gid = 4321;
        assert_int_equal(stream_open(&s, "binary:///x", STREAM_BINARY, true, &o), 0);
        then_owner(s.fd, 1234, 4321);
        stream_done(&s);
}

/* ---- draining ---- */

typedef struct Drained {
        int n;
        StreamDrain *drain;
} Drained;

static void on_drained(void *userdata) {
        Drained *d = userdata;

        d->n++;
        d->drain = stream_drain_free(d->drain);
}

static sd_event *given_loop(void) {
        sd_event *event = NULL;

        assert_true(sd_event_new(&event) >= 0);
        return event;
}

static uint64_t now_usec(void) {
        struct timespec ts;

        assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &ts), 0);
        return (uint64_t) ts.tv_sec * USEC_PER_SEC + (uint64_t) ts.tv_nsec / NSEC_PER_USEC;
}

/* Runs the loop for so long, or until 'd' (which may be NULL) has been drained; returns how long it took. */
static uint64_t when_the_loop_runs(sd_event *event, const Drained *d, uint64_t usec) {
        uint64_t start = now_usec();

        while (now_usec() - start < usec && !(d && d->n > 0))
                assert_true(sd_event_run(event, usec - (now_usec() - start)) >= 0);
        return now_usec() - start;
}

static void holds_without_unread_data_are_closed_at_once(void **state) {
        sd_event *event = given_loop();
        Drained d = { .drain = (StreamDrain *) &d };
        Stream streams[3] = { given_stream(false), given_stream(true), STREAM_INIT };
        int reader = given_client(O_RDONLY);

        stream_release_child_end(&streams[1]);
        assert_int_equal(stream_drain_new(&d.drain, event, streams + 1, 2, on_drained, &d), 0);
        assert_null(d.drain);
        assert_int_equal(d.n, 0);
        assert_true(streams[1].hold < 0);
        assert_true(streams[0].hold >= 0); /* not an output, not asked about */

        stream_done(&streams[0]);
        then_reading_finds_the_end(reader);
        safe_close(reader);
        stream_done(&streams[1]);
        sd_event_unref(event);
}

static void input_is_left_alone(void **state) {
        sd_event *event = given_loop();
        Drained d = {};
        Stream s = given_stream(false);

        when_written(s.hold, "unread input");
        assert_int_equal(stream_drain_new(&d.drain, event, &s, 1, on_drained, &d), 0);
        assert_null(d.drain);
        assert_true(s.hold >= 0);
        stream_done(&s);
        sd_event_unref(event);
}

static void a_hold_is_closed_as_soon_as_all_is_read(void **state) {
        sd_event *event = given_loop();
        Stream s = given_stream(true);
        Drained d = {};
        int reader;

        when_written(s.fd, "onetwo");
        stream_release_child_end(&s);
        assert_int_equal(stream_drain_new(&d.drain, event, &s, 1, on_drained, &d), 0);
        assert_non_null(d.drain);

        /* Until the looks have become rare, so that what comes next does not come from one of them. */
        when_the_loop_runs(event, &d, 700 * USEC_PER_MSEC);
        assert_int_equal(d.n, 0);
        assert_true(s.hold >= 0);

        reader = given_client(O_RDONLY);
        assert_int_equal(read(reader, (char[3]) {}, 3), 3);
        when_the_loop_runs(event, &d, 50 * USEC_PER_MSEC);
        assert_int_equal(d.n, 0);

        then_it_reads(reader, "two");
        assert_true(when_the_loop_runs(event, &d, 20 * USEC_PER_SEC) < 200 * USEC_PER_MSEC);
        assert_int_equal(d.n, 1);
        assert_true(s.hold < 0);

        /* Whatever the loop has still to tidy up does not keep the reader waiting. */
        assert_true(sd_event_run(event, 0) >= 0);
        then_reading_finds_the_end(reader);
        safe_close(reader);
        stream_done(&s);
        sd_event_unref(event);
}

/* How often anything happens in that time. */
static unsigned count_turns(sd_event *event, uint64_t usec) {
        uint64_t start = now_usec();
        unsigned n = 0;

        while (now_usec() - start < usec) {
                int r = sd_event_run(event, usec - (now_usec() - start));

                assert_true(r >= 0);
                n += r > 0;
        }
        return n;
}

static void output_that_nobody_fetches_wakes_nobody(void **state) {
        sd_event *event = given_loop();
        Stream s = given_stream(true);
        int reader, sink[2];
        struct utsname name;
        unsigned major, minor;
        Drained d = {};

        assert_int_equal(uname(&name), 0);
        assert_int_equal(sscanf(name.release, "%u.%u", &major, &minor), 2);

        when_written(s.fd, "text");
        stream_release_child_end(&s);
        assert_int_equal(stream_drain_new(&d.drain, event, &s, 1, on_drained, &d), 0);
        (void) count_turns(event, 2 * USEC_PER_SEC);
        if (major < 6 || (major == 6 && minor < 12))
                print_message("kernel %s does not tell of every reader, so there are looks\n", name.release);
        else
                assert_int_equal(count_turns(event, USEC_PER_SEC), 0); /* the next look would be in this time */
        assert_int_equal(d.n, 0);

        /* Nevertheless it is seen when somebody does, however he reads. */
        reader = given_client(O_RDONLY);
        assert_int_equal(pipe2(sink, O_CLOEXEC), 0);
        assert_int_equal(splice(reader, NULL, sink[1], NULL, 4, 0), 4);
        when_the_loop_runs(event, &d, 6 * USEC_PER_SEC);
        assert_int_equal(d.n, 1);
        assert_true(sd_event_run(event, 0) >= 0);
        then_reading_finds_the_end(reader);

        safe_close(sink[0]);
        safe_close(sink[1]);
        safe_close(reader);
        stream_done(&s);
        sd_event_unref(event);
}

static int do_nothing(sd_event_source *source, uint64_t usec, void *userdata) {
        return 0;
}

static void without_inotify_the_timer_finds_it_out(void **state) {
        sd_event *event = given_loop();
        sd_event_source *timer = NULL;
        struct rlimit limit, none;
        Stream s = given_stream(true);
        Drained d = {};
        int reader;

        when_written(s.fd, "text");
        stream_release_child_end(&s);
        reader = given_client(O_RDONLY);

        /* The loop has its timerfd; for an inotify descriptor there is no room. */
        assert_true(sd_event_add_time(event, &timer, CLOCK_MONOTONIC, UINT64_MAX, 0, do_nothing, NULL) >= 0);
        assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
        none = limit;
        none.rlim_cur = (rlim_t) fcntl(reader, F_DUPFD_CLOEXEC, 0);
        safe_close((int) none.rlim_cur);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
        assert_int_equal(stream_drain_new(&d.drain, event, &s, 1, on_drained, &d), 0);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
        assert_non_null(d.drain);

        when_the_loop_runs(event, &d, 100 * USEC_PER_MSEC);
        assert_int_equal(d.n, 0);
        then_it_reads(reader, "text");
        when_the_loop_runs(event, &d, 6 * USEC_PER_SEC);
        assert_int_equal(d.n, 1);
        then_reading_finds_the_end(reader);

        safe_close(reader);
        stream_done(&s);
        sd_event_source_unref(timer);
        sd_event_unref(event);
}

static void streams_are_drained_each_on_its_own(void **state) {
        sd_event *event = given_loop();
        Stream streams[2] = { given_stream(true), STREAM_INIT };
        int readers[2] = { given_client(O_RDONLY), -EBADF };
        Drained d = {};

        assert_int_equal(mkfifo(at("other"), 0600), 0);
        streams[1] = given_stream_of(at("other"), STREAM_FIFO, true, STREAM_DIRECT);
        readers[1] = open(at("other"), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        for (int i = 0; i < 2; i++) {
                when_written(streams[i].fd, "text");
                stream_release_child_end(&streams[i]);
        }

        assert_int_equal(stream_drain_new(&d.drain, event, streams, 2, on_drained, &d), 0);
        then_it_reads(readers[1], "text");
        when_the_loop_runs(event, &d, 100 * USEC_PER_MSEC);
        assert_int_equal(d.n, 0);
        assert_true(streams[0].hold >= 0);
        assert_true(streams[1].hold < 0);
        then_reading_finds_the_end(readers[1]);
        then_it_reads(readers[0], "text");
        when_the_loop_runs(event, &d, 10 * USEC_PER_SEC);
        assert_int_equal(d.n, 1);

        for (int i = 0; i < 2; i++) {
                safe_close(readers[i]);
                stream_done(&streams[i]);
        }
        sd_event_unref(event);
}

static void two_streams_on_one_fifo_are_drained_together(void **state) {
        sd_event *event = given_loop();
        Stream streams[2] = { given_stream(true), given_stream(true) };
        Drained d = {};
        int reader = given_client(O_RDONLY);

        when_written(streams[0].fd, "out ");
        when_written(streams[1].fd, "err");
        for (int i = 0; i < 2; i++)
                stream_release_child_end(&streams[i]);

        assert_int_equal(stream_drain_new(&d.drain, event, streams, 2, on_drained, &d), 0);
        when_the_loop_runs(event, &d, 50 * USEC_PER_MSEC);
        assert_int_equal(d.n, 0);
        then_it_reads(reader, "out err");
        when_the_loop_runs(event, &d, 10 * USEC_PER_SEC);
        assert_int_equal(d.n, 1);
        assert_true(sd_event_run(event, 0) >= 0);
        then_reading_finds_the_end(reader);

        safe_close(reader);
        for (int i = 0; i < 2; i++)
                stream_done(&streams[i]);
        sd_event_unref(event);
}

static void a_hold_that_somebody_else_closes_ends_the_drain(void **state) {
        sd_event *event = given_loop();
        Stream s = given_stream(true);
        Drained d = {};

        when_written(s.fd, "text");
        stream_release_child_end(&s);
        assert_int_equal(stream_drain_new(&d.drain, event, &s, 1, on_drained, &d), 0);
        stream_close_hold(&s);
        when_the_loop_runs(event, &d, 6 * USEC_PER_SEC);
        assert_int_equal(d.n, 1);
        stream_done(&s);
        sd_event_unref(event);
}

static void freeing_a_drain_leaves_the_holds_as_they_are(void **state) {
        sd_event *event = given_loop();
        Stream s = given_stream(true);
        Drained d = {};
        int reader = given_client(O_RDONLY);

        when_written(s.fd, "text");
        stream_release_child_end(&s);
        assert_int_equal(stream_drain_new(&d.drain, event, &s, 1, on_drained, &d), 0);
        d.drain = stream_drain_free(d.drain);

        then_it_reads(reader, "text");
        when_the_loop_runs(event, &d, 100 * USEC_PER_MSEC);
        assert_int_equal(d.n, 0);
        assert_true(s.hold >= 0);
        assert_null(stream_drain_free(NULL));

        safe_close(reader);
        stream_done(&s);
        sd_event_unref(event);
}

/* The process has ended, its bytes have been moved; what the reader has not read yet stands in the FIFO. */
static void relays_and_terminals_are_drained_like_any_other(void **state) {
        for (StreamUse use = STREAM_RELAY; use <= STREAM_TERMINAL; use++) {
                sd_event *event = given_loop();
                Stream s = given_output(use);
                int reader = given_client(O_RDONLY);
                Drained d = {};

                when_written(s.to, "text");
                stream_release_child_end(&s);
                s.to = safe_close(s.to);
                s.from = safe_close(s.from);
                assert_int_equal(stream_drain_new(&d.drain, event, &s, 1, on_drained, &d), 0);
                assert_non_null(d.drain);

                when_the_loop_runs(event, &d, 50 * USEC_PER_MSEC);
                assert_int_equal(d.n, 0);
                then_it_reads(reader, "text");
                when_the_loop_runs(event, &d, 10 * USEC_PER_SEC);
                assert_int_equal(d.n, 1);
                assert_true(sd_event_run(event, 0) >= 0);
                then_reading_finds_the_end(reader);

                safe_close(reader);
                stream_done(&s);
                sd_event_unref(event);
        }
}

/* Its reader is we, and there is no other to come. */
static void the_journals_fifo_is_not_waited_for(void **state) {
        Stream s = given_journal(STREAM_DIRECT);
        sd_event *event = given_loop();
        Drained d = {};

        when_written(s.fd, "line\n");
        stream_release_child_end(&s);
        assert_int_equal(stream_drain_new(&d.drain, event, &s, 1, on_drained, &d), 0);
        assert_null(d.drain);
        assert_true(s.hold < 0);
        then_it_reads(s.from, "line\n");
        then_reading_finds_the_end(s.from);
        stream_done(&s);
        sd_event_unref(event);
}

static void what_has_no_hold_is_not_waited_for(void **state) {
        Stream streams[3] = { given_stream_of(file_at("log"), STREAM_FILE, true, STREAM_DIRECT),
                              given_stream_of("binary:///x", STREAM_BINARY, true, STREAM_DIRECT), STREAM_INIT };
        sd_event *event = given_loop();
        Drained d = {};

        when_written(streams[0].fd, "text");
        when_written(streams[1].fd, "text");
        assert_int_equal(stream_drain_new(&d.drain, event, streams, 3, on_drained, &d), 0);
        assert_null(d.drain);
        assert_true(is_open(streams[1].from)); /* whose end is somebody else's to tell */
        for (size_t i = 0; i < ELEMENTSOF(streams); i++)
                stream_done(&streams[i]);
        sd_event_unref(event);
}

static int on_iteration(sd_event_source *source, void *userdata) {
        (*(unsigned *) userdata)++;
        return 0;
}

static void waiting_costs_next_to_nothing(void **state) {
        sd_event *event = given_loop();
        Stream s = given_stream(true);
        sd_event_source *count = NULL;
        unsigned n = 0;
        Drained d = {};

        when_written(s.fd, "text");
        stream_release_child_end(&s);
        assert_int_equal(stream_drain_new(&d.drain, event, &s, 1, on_drained, &d), 0);
        assert_true(sd_event_add_post(event, &count, on_iteration, &n) >= 0);

        /* At 10, 30, 70, 150, 310, 630, 1270 ms. */
        when_the_loop_runs(event, &d, 1500 * USEC_PER_MSEC);
        assert_in_range(n, 4, 9);

        stream_drain_free(d.drain);
        sd_event_source_unref(count);
        stream_done(&s);
        sd_event_unref(event);
}

/* A journal of our own, that reads nothing, in a mount namespace of our own: there may be none on this machine, and the
 * tests are to see it go as well. Only root can do that. */
static int group_set_up(void **state) {
        struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = JOURNAL_SOCKET };
        int fd;

        if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0)
                return 0;
        if (mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) < 0 ||
            mount("tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755") < 0)
                return -1;

        if (mkdir("/run/systemd", 0755) < 0 || mkdir("/run/systemd/journal", 0755) < 0)
                return -1;
        fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (fd < 0 || bind(fd, (struct sockaddr *) &address, sizeof(address)) < 0)
                return -1;
        *state = (void *) (intptr_t) fd;
        return mkdir("/run/is-private", 0700);
}

static int group_tear_down(void **state) {
        int fd = (int) (intptr_t) *state;

        if (fd > 0)
                safe_close(fd);
        return 0;
}

int main(void) {
        static const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
                cmocka_unit_test(a_string_names_a_kind_or_has_something_wrong),
                cmocka_unit_test(what_is_for_output_only_cannot_be_read_from),
                cmocka_unit_test(a_huge_string_makes_no_huge_reason),
                TEST(only_a_fifo_is_opened),
                TEST(what_is_opened_is_remembered),
                TEST(the_container_gets_blocking_ends_and_no_exec_gets_any_by_chance),
                TEST(the_process_owns_what_it_gets),
                TEST(the_client_keeps_what_the_process_does_not_get),
                TEST(nothing_needs_nothing),
                TEST(what_cannot_be_had_that_way_is_refused),
                TEST(without_descriptors_nothing_is_left_behind),
                TEST(a_descriptor_is_taken_over_as_it_is),
                TEST(output_waits_for_a_reader_that_comes_late),
                TEST(a_reader_that_goes_hurts_nobody),
                TEST(what_was_written_outlives_the_writer_while_we_hold),
                TEST(the_hold_is_the_same_open_file_as_the_containers),
                TEST(input_ends_only_after_both_the_client_and_we_have_closed),
                TEST(a_hold_is_taken_back_after_a_restart),
                TEST(input_without_a_reader_is_not_taken_back),
                TEST(a_path_that_became_something_else_is_noticed),
                TEST(what_was_not_open_is_opened_after_a_restart),
                TEST(a_relay_of_an_output_lies_between_a_pipe_and_the_fifo),
                TEST(a_relay_of_the_input_lies_between_the_fifo_and_a_pipe),
                TEST(two_relays_of_one_fifo_are_each_on_their_own),
                TEST(behind_a_terminal_only_our_own_ends_are_opened),
                TEST(holds_of_relays_and_terminals_can_be_taken_back_for_outputs),
                TEST(a_file_is_made_if_it_is_missing_whatever_the_umask),
                TEST(a_file_that_is_there_is_appended_to_and_otherwise_left_alone),
                TEST(the_name_of_a_file_may_hold_anything),
                TEST(only_a_regular_file_is_opened),
                TEST(what_is_no_file_is_not_even_touched),
                TEST(a_relay_of_a_file_lies_between_a_pipe_and_the_file),
                TEST(the_journal_is_a_fifo_of_ours),
                TEST(the_journals_fifo_is_used_again),
                TEST(in_place_of_the_journals_fifo_nothing_else_is_taken),
                TEST(the_journals_fifo_belongs_to_the_process),
                TEST(the_journal_is_taken_back_after_a_restart),
                TEST(a_relay_of_the_journal_is_a_pipe),
                TEST(without_a_journal_there_is_none),
                TEST(a_logger_reads_from_a_pipe_that_we_keep),
                TEST(a_loggers_pipe_belongs_to_the_process),
                TEST(holds_without_unread_data_are_closed_at_once),
                TEST(input_is_left_alone),
                TEST(a_hold_is_closed_as_soon_as_all_is_read),
                TEST(output_that_nobody_fetches_wakes_nobody),
                TEST(without_inotify_the_timer_finds_it_out),
                TEST(streams_are_drained_each_on_its_own),
                TEST(two_streams_on_one_fifo_are_drained_together),
                TEST(a_hold_that_somebody_else_closes_ends_the_drain),
                TEST(freeing_a_drain_leaves_the_holds_as_they_are),
                TEST(waiting_costs_next_to_nothing),
                TEST(relays_and_terminals_are_drained_like_any_other),
                TEST(the_journals_fifo_is_not_waited_for),
                TEST(what_has_no_hold_is_not_waited_for),
        };

        return cmocka_run_group_tests_name("stream", tests, group_set_up, group_tear_down);
}
