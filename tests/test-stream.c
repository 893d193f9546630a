/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The streams of a process: what is opened, what is kept, and who sees the end when. */

#include "host/stream.h"

#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>

#include <cmocka.h>

static char directory[64], fifo[128];

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw) {
        return remove(path);
}

static int set_up(void **state) {
        strcpy(directory, "/tmp/test-stream-XXXXXX");
        if (!mkdtemp(directory))
                return -1;
        (void) snprintf(fifo, sizeof(fifo), "%s/fifo", directory);
        signal(SIGPIPE, SIG_IGN); /* EPIPE says it as well */
        alarm(30);                /* whatever blocks dies */
        return mkfifo(fifo, 0600);
}

static int tear_down(void **state) {
        alarm(0);
        return nftw(directory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static const char *at(const char *name) {
        static char path[PATH_MAX];

        (void) snprintf(path, sizeof(path), "%s/%s", directory, name);
        return path;
}

static Stream given_stream(bool output) {
        Stream s = STREAM_INIT;

        assert_int_equal(stream_open_fifo(&s, fifo, output, (uid_t) -1, (gid_t) -1), 0);
        return s;
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
        assert_null(s->path);
        assert_true(s->fd < 0);
        assert_true(s->hold < 0);
}

/* ---- what a client's string means ---- */

static void a_string_names_nothing_a_fifo_or_something_unknown(void **state) {
        static const struct {
                const char *uri;
                int result;
                StreamKind kind;
                const char *reason;
        } table[] = {
                { "", 0, STREAM_NULL, NULL },
                { "/run/fifo", 0, STREAM_FIFO, NULL },
                { "/", 0, STREAM_FIFO, NULL },
                { "/a:b", 0, STREAM_FIFO, NULL },
                { "file:///var/log/x", -EOPNOTSUPP, 0, "STDIO scheme file is not supported yet" },
                { "journal:", -EOPNOTSUPP, 0, "STDIO scheme journal is not supported yet" },
                { "journal:web", -EOPNOTSUPP, 0, "STDIO scheme journal is not supported yet" },
                { "binary:///bin/logger?a=b", -EOPNOTSUPP, 0, "STDIO scheme binary is not supported yet" },
                { "http://x", -EINVAL, 0, "unknown STDIO scheme http" },
                { "binary-v2:///bin/x", -EINVAL, 0, "unknown STDIO scheme binary-v2" },
                { "File:///x", -EINVAL, 0, "unknown STDIO scheme File" },
                { "x:", -EINVAL, 0, "unknown STDIO scheme x" },
                { "relative", -EINVAL, 0, "\"relative\" is not an absolute path" },
                { "./x", -EINVAL, 0, "\"./x\" is not an absolute path" },
                { "../x:y", -EINVAL, 0, "\"../x:y\" is not an absolute path" },
                { ":x", -EINVAL, 0, "\":x\" is not an absolute path" },
                { "1:x", -EINVAL, 0, "\"1:x\" is not an absolute path" },
                { "a b:x", -EINVAL, 0, "\"a b:x\" is not an absolute path" },
                { " /x", -EINVAL, 0, "\"/x\" is not an absolute path" },
                { "\x1b\xff", -EINVAL, 0, "\"??\" is not an absolute path" },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                StreamKind kind = _STREAM_KIND_INVALID;
                _cleanup_(freep) char *reason = NULL;

                print_message("# case %zu\n", i);
                assert_int_equal(stream_parse(table[i].uri, &kind, &reason), table[i].result);
                assert_int_equal(kind, table[i].result < 0 ? _STREAM_KIND_INVALID : table[i].kind);
                assert_true(streq_ptr(reason, table[i].reason));
        }
}

static void a_huge_string_makes_no_huge_reason(void **state) {
        _cleanup_(freep) char *reason = NULL;
        char uri[10000];
        StreamKind kind;

        memset(uri, 'x', sizeof(uri) - 1);
        uri[sizeof(uri) - 1] = 0;
        assert_int_equal(stream_parse(uri, &kind, &reason), -EINVAL);
        assert_true(strlen(reason) < 200);
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
                { "absent", -ENOENT },   { "absent/fifo", -ENOENT }, { "file", -EINVAL },     { "directory", -EINVAL },
                { "socket", -EINVAL },   { "link", -ELOOP },         { "dangling", -ELOOP },  { "fifo/", -ENOTDIR },
                { "file/x", -ENOTDIR },
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
                assert_int_equal(stream_open_fifo(&s, at(table[i / 2].name), i % 2, (uid_t) -1, (gid_t) -1), table[i / 2].result);
                then_it_is_as_new(&s);
        }

        assert_int_equal(stream_open_fifo(&s, "/dev/null", true, (uid_t) -1, (gid_t) -1), -EINVAL);
        assert_int_equal(stream_open_fifo(&s, "fifo", true, (uid_t) -1, (gid_t) -1), -EINVAL);
        assert_int_equal(stream_open_fifo(&s, "", true, (uid_t) -1, (gid_t) -1), -EINVAL);
        then_it_is_as_new(&s);
}

static void what_is_opened_is_remembered(void **state) {
        for (int output = 0; output < 2; output++) {
                Stream s = given_stream(output);
                struct stat st;

                assert_int_equal(stat(fifo, &st), 0);
                assert_int_equal(s.kind, STREAM_FIFO);
                assert_string_equal(s.path, fifo);
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

                assert_false(fcntl(s.fd, F_GETFL) & O_NONBLOCK);
                assert_true(fcntl(s.fd, F_GETFD) & FD_CLOEXEC);
                assert_true(fcntl(s.hold, F_GETFD) & FD_CLOEXEC);
                assert_int_equal(fcntl(s.fd, F_GETFL) & O_ACCMODE, output ? O_RDWR : O_RDONLY);
                assert_int_equal(fcntl(s.hold, F_GETFL) & O_ACCMODE, output ? O_RDWR : O_WRONLY);
                stream_done(&s);
        }
}

static void the_fifo_gets_the_owner_that_was_asked_for(void **state) {
        Stream s = STREAM_INIT;
        struct stat st;

        if (geteuid() != 0) {
                print_message("needs root\n");
                skip();
        }

        for (int output = 0; output < 2; output++) {
                uid_t uid = 1234 + (uid_t) output;

                assert_int_equal(stream_open_fifo(&s, fifo, output, uid, 4321), 0);
                assert_int_equal(stat(fifo, &st), 0);
                assert_int_equal(st.st_uid, uid);
                assert_int_equal(st.st_gid, 4321);
                stream_done(&s);
        }

        /* Half a request changes half. */
        assert_int_equal(stream_open_fifo(&s, fifo, true, (uid_t) -1, 99), 0);
        assert_int_equal(stat(fifo, &st), 0);
        assert_int_equal(st.st_uid, 1235);
        assert_int_equal(st.st_gid, 99);
        stream_done(&s);

        assert_int_equal(stream_open_fifo(&s, fifo, true, 0, (gid_t) -1), 0);
        assert_int_equal(stat(fifo, &st), 0);
        assert_int_equal(st.st_uid, 0);
        assert_int_equal(st.st_gid, 99);
        stream_done(&s);
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
        assert_int_equal(stream_reopen_hold(&s), -EINVAL);

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
        int flags = fcntl(s.hold, F_GETFL);

        /* A flag set on the one shows on the other. */
        assert_int_equal(fcntl(s.fd, F_SETFL, flags | O_APPEND), 0);
        assert_true(fcntl(s.hold, F_GETFL) & O_APPEND);
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
        after.path = strdup(fifo);
        after.dev = before.dev;
        after.ino = before.ino;
        after.output = true;
        assert_int_equal(stream_reopen_hold(&after), 0);
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
        assert_int_equal(stream_reopen_hold(&s), 0); /* the container still reads */
        writer = s.hold;
        when_written(writer, "x");

        stream_close_hold(&s);
        stream_release_child_end(&s);
        assert_int_equal(stream_reopen_hold(&s), -ENXIO);
        assert_true(s.hold < 0);
        stream_done(&s);
}

static void a_path_that_became_something_else_is_noticed(void **state) {
        Stream s = given_stream(true);

        stream_close_hold(&s);
        assert_int_equal(rename(fifo, at("moved")), 0);
        assert_int_equal(stream_reopen_hold(&s), -ENOENT);

        assert_int_equal(mkfifo(fifo, 0600), 0); /* another one of the same name */
        assert_int_equal(stream_reopen_hold(&s), -ESTALE);
        assert_int_equal(remove(fifo), 0);

        assert_int_equal(symlink(at("moved"), fifo), 0); /* even if it leads to the right one */
        assert_int_equal(stream_reopen_hold(&s), -ESTALE);
        assert_int_equal(remove(fifo), 0);

        assert_int_equal(mkdir(fifo, 0700), 0);
        assert_int_equal(stream_reopen_hold(&s), -ESTALE);
        assert_int_equal(remove(fifo), 0);
        assert_true(s.hold < 0);

        assert_int_equal(rename(at("moved"), fifo), 0); /* and back */
        assert_int_equal(stream_reopen_hold(&s), 0);
        assert_true(s.hold >= 0);
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
        assert_int_equal(stream_open_fifo(&streams[1], at("other"), true, (uid_t) -1, (gid_t) -1), 0);
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

int main(void) {
        static const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
                cmocka_unit_test(a_string_names_nothing_a_fifo_or_something_unknown),
                cmocka_unit_test(a_huge_string_makes_no_huge_reason),
                TEST(only_a_fifo_is_opened),
                TEST(what_is_opened_is_remembered),
                TEST(the_container_gets_blocking_ends_and_no_exec_gets_any_by_chance),
                TEST(the_fifo_gets_the_owner_that_was_asked_for),
                TEST(a_descriptor_is_taken_over_as_it_is),
                TEST(output_waits_for_a_reader_that_comes_late),
                TEST(a_reader_that_goes_hurts_nobody),
                TEST(what_was_written_outlives_the_writer_while_we_hold),
                TEST(the_hold_is_the_same_open_file_as_the_containers),
                TEST(input_ends_only_after_both_the_client_and_we_have_closed),
                TEST(a_hold_is_taken_back_after_a_restart),
                TEST(input_without_a_reader_is_not_taken_back),
                TEST(a_path_that_became_something_else_is_noticed),
                TEST(holds_without_unread_data_are_closed_at_once),
                TEST(input_is_left_alone),
                TEST(a_hold_is_closed_as_soon_as_all_is_read),
                TEST(without_inotify_the_timer_finds_it_out),
                TEST(streams_are_drained_each_on_its_own),
                TEST(two_streams_on_one_fifo_are_drained_together),
                TEST(a_hold_that_somebody_else_closes_ends_the_drain),
                TEST(freeing_a_drain_leaves_the_holds_as_they_are),
                TEST(waiting_costs_next_to_nothing),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
