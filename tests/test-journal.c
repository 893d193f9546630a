/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Lines for the journal, with a journald of our own: what arrives, and what happens while it does not listen. */

#include "world.h"

#include "host/journal-socket.h"
#include "host/journal.h"

#include <sys/socket.h>
#include <sys/un.h>

/* --- vocabulary ------------------------------------------------------------------------------------------------- */

typedef struct Journald {
        int fd;
        char *path;
} Journald;

typedef struct Output {
        World *world;
        JournalStream *stream;
        int writer;
        bool done;
        unsigned n_done;
} Output;

typedef struct Message {
        bool binary; /* how MESSAGE came */
        size_t size;
        char text[64 * 1024];
        char fields[1024]; /* the others, as they came */
} Message;

static const JournalFields some_fields = {
        .identifier = "web",
        .ns = "default",
        .container_id = "c1",
        .priority = 6,
};

static void journald_start(Journald *j) {
        struct sockaddr_un sa = { .sun_family = AF_UNIX };

        assert_true(strlen(j->path) < sizeof(sa.sun_path));
        strcpy(sa.sun_path, j->path);
        j->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        assert_true(j->fd >= 0);
        assert_int_equal(bind(j->fd, (struct sockaddr *) &sa, sizeof(sa)), 0);
}

static void journald_stop(Journald *j) {
        j->fd = safe_close(j->fd);
        assert_int_equal(unlink(j->path), 0);
}

static Journald given_journald(World *w) {
        Journald j = { .path = world_path(w, "socket") };

        journald_start(&j);
        journal_set_socket(j.path);
        assert_int_equal(journal_check(), 0);
        return j;
}

static void journald_done(Journald *j) {
        journal_set_socket(NULL);
        safe_close(j->fd);
        free(j->path);
}

static void output_on_done(void *userdata) {
        Output *o = userdata;

        o->done = true;
        o->n_done++;
        o->stream = journal_stream_free(o->stream);
}

/* A FIFO as the daemon has one: the writer is the container's. */
static void given_output_with(World *w, Output *o, const JournalFields *f) {
        static unsigned n_fifos;
        _cleanup_(freep) char *name = NULL, *path = NULL;
        int reader;

        assert_true(asprintf(&name, "fifo.%u", n_fifos++) > 0);
        path = world_path(w, name);
        assert_int_equal(mkfifo(path, 0600), 0);
        reader = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        *o = (Output) { .world = w, .writer = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC) };
        assert_true(reader >= 0 && o->writer >= 0);
        assert_int_equal(journal_stream_new(&o->stream, w->event, 0, reader, f, output_on_done, o), 0);
}

static void given_output(World *w, Output *o) {
        given_output_with(w, o, &some_fields);
}

static void output_done(Output *o) {
        o->stream = journal_stream_free(o->stream);
        o->writer = safe_close(o->writer);
}

/* Returns false when nothing has come. Takes the message apart as the protocol has it. */
static bool try_receive(Journald *j, Message *m) {
        static char datagram[128 * 1024];
        char *p = datagram, *end;
        bool found = false;
        ssize_t n;

        n = recv(j->fd, datagram, sizeof(datagram), MSG_DONTWAIT);
        if (n < 0) {
                assert_int_equal(errno, EAGAIN);
                return false;
        }

        m->fields[0] = 0;
        for (end = datagram + n; p < end;) {
                char *newline = memchr(p, '\n', (size_t) (end - p)), *equals;

                assert_non_null(newline); /* every field ends with one */
                equals = memchr(p, '=', (size_t) (newline - p));
                if (!equals) {
                        uint64_t size = 0;

                        assert_int_equal(newline - p, strlen("MESSAGE"));
                        for (int i = 7; i >= 0; i--)
                                size = size << 8 | (unsigned char) newline[1 + i];
                        assert_true(newline + 9 + size < end);
                        assert_int_equal(newline[9 + size], '\n');
                        m->binary = true;
                        m->size = size;
                        memcpy(m->text, newline + 9, size);
                        found = true;
                        p = newline + 9 + size + 1;
                        continue;
                }
                if (equals - p == (ssize_t) strlen("MESSAGE") && memcmp(p, "MESSAGE", strlen("MESSAGE")) == 0) {
                        m->binary = false;
                        m->size = (size_t) (newline - equals) - 1;
                        memcpy(m->text, equals + 1, m->size);
                        found = true;
                } else
                        strncat(m->fields, p, (size_t) (newline - p) + 1);
                p = newline + 1;
        }
        assert_true(found);
        m->text[m->size] = 0;
        return true;
}

static void when_received(World *w, Journald *j, Message *m) {
        uint64_t deadline = clock_get_monotonic() + WORLD_PATIENCE_USEC;

        while (!try_receive(j, m)) {
                assert_true(clock_get_monotonic() < deadline);
                assert_true(sd_event_run(w->event, USEC_PER_MSEC) >= 0);
        }
}

static void then_received(World *w, Journald *j, const char *text) {
        static Message m;

        when_received(w, j, &m);
        assert_string_equal(m.text, text);
        assert_int_equal(m.size, strlen(text));
        assert_false(m.binary);
}

static void then_received_binary(World *w, Journald *j, const char *data, size_t size) {
        static Message m;

        when_received(w, j, &m);
        assert_int_equal(m.size, size);
        assert_memory_equal(m.text, data, size);
        assert_true(m.binary);
}

static unsigned count_wakeups(World *w, uint64_t quiet_usec) {
        unsigned n = 0;

        while (sd_event_run(w->event, quiet_usec) > 0)
                assert_true(++n < 10000);
        return n;
}

static void then_nothing_is_received(World *w, Journald *j) {
        static Message m;

        (void) count_wakeups(w, 20 * USEC_PER_MSEC);
        assert_false(try_receive(j, &m));
}

static void when_written(Output *o, const char *data, size_t size) {
        uint64_t deadline = clock_get_monotonic() + WORLD_PATIENCE_USEC;

        while (size > 0) {
                ssize_t n = write(o->writer, data, size);

                assert_true(n > 0 || errno == EAGAIN);
                if (n > 0) {
                        data += n;
                        size -= (size_t) n;
                } else
                        assert_true(sd_event_run(o->world->event, USEC_PER_MSEC) >= 0);
                assert_true(clock_get_monotonic() < deadline);
        }
}

#define when_said(o, text) when_written(o, text, strlen(text))

static void then_it_ends(Output *o) {
        world_run_until_set(o->world, &o->done);
        assert_int_equal(o->n_done, 1);
        assert_null(o->stream);
}

/* --- what arrives ----------------------------------------------------------------------------------------------- */

static void test_a_line_names_its_container(void **state) {
        static Message m;
        Journald j = given_journald(*state);
        Output o;

        given_output(*state, &o);
        when_said(&o, "hello, world\n");
        when_received(*state, &j, &m);
        assert_string_equal(m.text, "hello, world");
        assert_string_equal(m.fields,
                            "PRIORITY=6\nSYSLOG_IDENTIFIER=web\nCONTAINER_NAMESPACE=default\nCONTAINER_ID=c1\n");
        output_done(&o);

        given_output_with(*state, &o, &(JournalFields) { "an identifier", "k8s.io", "c2", "sh-1", 3 });
        when_said(&o, "=\n");
        when_received(*state, &j, &m);
        assert_string_equal(m.text, "=");
        assert_string_equal(m.fields, "PRIORITY=3\nSYSLOG_IDENTIFIER=an identifier\nCONTAINER_NAMESPACE=k8s.io\n"
                                      "CONTAINER_ID=c2\nCONTAINER_EXEC_ID=sh-1\n");
        output_done(&o);
        journald_done(&j);
}

static void test_a_field_that_would_begin_another_is_refused(void **state) {
        World *w = *state;
        JournalStream *s = NULL;
        JournalFields f;
        int fds[2];

        assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
        f = some_fields;
        f.identifier = "web\nPRIORITY=0";
        assert_int_equal(journal_stream_new(&s, w->event, 0, fds[0], &f, output_on_done, NULL), -EINVAL);
        f = some_fields;
        f.exec_id = "x\n";
        assert_int_equal(journal_stream_new(&s, w->event, 0, fds[0], &f, output_on_done, NULL), -EINVAL);
        f = some_fields;
        f.priority = 8;
        assert_int_equal(journal_stream_new(&s, w->event, 0, fds[0], &f, output_on_done, NULL), -EINVAL);
        assert_int_equal(journal_stream_new(&s, w->event, 0, 12345, &some_fields, output_on_done, NULL), -EBADF);
        assert_null(s);
        assert_int_equal(close(fds[0]), 0);
        assert_int_equal(close(fds[1]), 0);
}

static void test_lines_are_lines_however_they_are_written(void **state) {
        Journald j = given_journald(*state);
        Output o;

        given_output(*state, &o);
        when_said(&o, "on");
        then_nothing_is_received(*state, &j);
        when_said(&o, "");
        when_said(&o, "e");
        then_nothing_is_received(*state, &j);
        when_said(&o, "\ntwo\n\n\nthree\nfo");
        then_received(*state, &j, "one");
        then_received(*state, &j, "two");
        then_received(*state, &j, "");
        then_received(*state, &j, "");
        then_received(*state, &j, "three");
        then_nothing_is_received(*state, &j);
        when_said(&o, "ur\n");
        then_received(*state, &j, "four");
        then_nothing_is_received(*state, &j);
        output_done(&o);
        journald_done(&j);
}

static void test_many_lines_keep_their_order(void **state) {
        static Message m;
        unsigned n_written = 0, n_received = 0, n_lines = 20000;
        uint64_t deadline = clock_get_monotonic() + WORLD_PATIENCE_USEC;
        Journald j = given_journald(*state);
        char buffer[4096];
        size_t n = 0;
        Output o;

        given_output(*state, &o);
        while (n_received < n_lines) {
                assert_true(clock_get_monotonic() < deadline);
                while (n_written < n_lines && n < sizeof(buffer) - 300) {
                        int l = sprintf(buffer + n, "line %u %.*s", n_written, (int) (n_written * 7 % 200),
                                        "----------------------------------------------------------------------------"
                                        "----------------------------------------------------------------------------"
                                        "------------------------------------------------------------");
                        n += (size_t) l;
                        buffer[n++] = '\n';
                        n_written++;
                }
                if (n > 0) {
                        /* Anywhere, in the midst of a line too. */
                        size_t chunk = 1 + n_written * 37 % n;
                        ssize_t l = write(o.writer, buffer, chunk);

                        assert_true(l > 0 || errno == EAGAIN);
                        if (l > 0) {
                                n -= (size_t) l;
                                memmove(buffer, buffer + l, n);
                        }
                }
                assert_true(sd_event_run(o.world->event, 0) >= 0);
                while (try_receive(&j, &m)) {
                        unsigned number = UINT32_MAX;

                        assert_int_equal(sscanf(m.text, "line %u ", &number), 1);
                        assert_int_equal(number, n_received);
                        assert_int_equal(m.size, snprintf(NULL, 0, "line %u ", number) + (int) (number * 7 % 200));
                        n_received++;
                }
        }
        output_done(&o);
        journald_done(&j);
}

static void test_what_is_no_text_is_sent_by_its_length(void **state) {
        static const char nul[] = "a\0b", escape[] = "\033[31mred\033[0m", latin[] = "caf\xe9", cr[] = "progress\r";
        Journald j = given_journald(*state);
        Output o;

        given_output(*state, &o);
        when_written(&o, nul, sizeof(nul) - 1);
        when_said(&o, "\n");
        then_received_binary(*state, &j, nul, sizeof(nul) - 1);
        when_said(&o, escape);
        when_said(&o, "\n");
        then_received_binary(*state, &j, escape, sizeof(escape) - 1);
        when_said(&o, latin);
        when_said(&o, "\n");
        then_received_binary(*state, &j, latin, sizeof(latin) - 1);
        when_said(&o, cr);
        when_said(&o, "\n");
        then_received_binary(*state, &j, cr, sizeof(cr) - 1);
        when_said(&o, "tab\tand caf\xc3\xa9\n");
        then_received(*state, &j, "tab\tand caf\xc3\xa9");
        output_done(&o);
        journald_done(&j);
}

static void test_a_line_that_is_too_long_is_split(void **state) {
        static char line[4 * JOURNAL_LINE_MAX];
        static Message m;
        Journald j = given_journald(*state);
        Output o;

        given_output(*state, &o);
        for (size_t i = 0; i < sizeof(line); i++)
                line[i] = (char) ('a' + i % 23);

        /* Just not too long, byte after byte. */
        when_written(&o, line, JOURNAL_LINE_MAX);
        then_nothing_is_received(*state, &j);
        when_said(&o, "\nnext\n");
        when_received(*state, &j, &m);
        assert_int_equal(m.size, JOURNAL_LINE_MAX);
        then_received(*state, &j, "next");

        when_written(&o, line, JOURNAL_LINE_MAX + 1);
        when_said(&o, "\n");
        when_received(*state, &j, &m);
        assert_int_equal(m.size, JOURNAL_LINE_MAX);
        then_received(*state, &j, (char[]) { line[JOURNAL_LINE_MAX], 0 });

        when_written(&o, line, sizeof(line));
        when_said(&o, "\nlast\n");
        for (size_t at = 0; at < sizeof(line); at += m.size) {
                when_received(*state, &j, &m);
                assert_int_equal(m.size, JOURNAL_LINE_MAX);
                assert_memory_equal(m.text, line + at, m.size);
        }
        then_received(*state, &j, "last");
        output_done(&o);
        journald_done(&j);
}

static void test_a_line_is_not_split_within_a_character(void **state) {
        static const char *const characters[] = { "\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x90\xb3" };
        static char line[2 * JOURNAL_LINE_MAX];
        static Message m;
        Journald j = given_journald(*state);
        Output o;

        given_output(*state, &o);
        for (size_t c = 0; c < ELEMENTSOF(characters); c++)
                for (size_t before = 1; before < strlen(characters[c]); before++) {
                        size_t start = JOURNAL_LINE_MAX - before, n = strlen(characters[c]);

                        memset(line, 'x', start);
                        memcpy(line + start, characters[c], n);
                        when_written(&o, line, start + n);
                        when_said(&o, "y\n");
                        when_received(*state, &j, &m);
                        assert_int_equal(m.size, start);
                        assert_false(m.binary);
                        when_received(*state, &j, &m);
                        assert_int_equal(m.size, n + 1);
                        assert_false(m.binary);
                }

        /* No character at all, just bytes that look like the midst of one. */
        memset(line, 0x80, JOURNAL_LINE_MAX + 1);
        when_written(&o, line, JOURNAL_LINE_MAX + 1);
        when_said(&o, "\n");
        when_received(*state, &j, &m);
        assert_int_equal(m.size, JOURNAL_LINE_MAX);
        assert_true(m.binary);
        when_received(*state, &j, &m);
        assert_int_equal(m.size, 1);
        output_done(&o);
        journald_done(&j);
}

/* --- a journald that does not listen ---------------------------------------------------------------------------- */

/* Writes numbered lines until nothing is taken any more. Returns how many. */
static unsigned when_it_is_stuck(Output *o, unsigned name) {
        unsigned n_idle = 0, n_lines = 0;

        while (n_idle < 20) {
                char line[1000];
                ssize_t l;

                memset(line, '-', sizeof(line));
                line[snprintf(line, sizeof(line), "%u %u ", name, n_lines)] = '-';
                line[sizeof(line) - 1] = '\n';
                l = write(o->writer, line, sizeof(line));
                if (l == (ssize_t) sizeof(line)) {
                        n_lines++;
                        n_idle = 0;
                } else {
                        assert_int_equal(errno, EAGAIN);
                        n_idle++;
                }
                assert_true(sd_event_run(o->world->event, n_idle > 0 ? USEC_PER_MSEC : 0) >= 0);
                assert_true(n_lines < 10000);
        }
        return n_lines;
}

static void test_a_journald_that_hangs_makes_the_writers_wait(void **state) {
        unsigned n_written[3], n_received[3] = {}, n_all = 0, n_changes = 0, previous = 0;
        static Message m;
        Journald j = given_journald(*state);
        Output o[3];

        for (unsigned i = 0; i < 3; i++)
                given_output(*state, &o[i]);
        for (unsigned i = 0; i < 3; i++) {
                n_written[i] = when_it_is_stuck(&o[i], i);
                n_all += n_written[i];
        }
        assert_true(n_all < 3 * 200 + 1000); /* a pipe, a buffer, a queue */
        assert_int_equal(count_wakeups(*state, 100 * USEC_PER_MSEC), 0);

        while (n_received[0] + n_received[1] + n_received[2] < n_all) {
                unsigned name = 3, number = 0;

                when_received(*state, &j, &m);
                assert_int_equal(sscanf(m.text, "%u %u ", &name, &number), 2);
                assert_true(name < 3);
                assert_int_equal(number, n_received[name]);
                n_received[name]++;
                n_changes += name != previous;
                previous = name;
        }
        for (unsigned i = 0; i < 3; i++)
                assert_int_equal(n_received[i], n_written[i]);
        assert_true(n_changes >= 10); /* in turns */
        then_nothing_is_received(*state, &j);
        assert_int_equal(count_wakeups(*state, 100 * USEC_PER_MSEC), 0);

        for (unsigned i = 0; i < 3; i++)
                output_done(&o[i]);
        journald_done(&j);
}

/* One that has more to say than all others does not get a word in more often. */
static void test_streams_take_turns(void **state) {
        unsigned n_received[2] = {};
        static Message m;
        Journald j = given_journald(*state);
        Output o[2];

        given_output(*state, &o[0]);
        given_output(*state, &o[1]);
        (void) when_it_is_stuck(&o[0], 0);
        when_said(&o[1], "1 0 short\n");
        (void) count_wakeups(*state, 10 * USEC_PER_MSEC);

        while (n_received[1] == 0) {
                unsigned name = 2;

                when_received(*state, &j, &m);
                assert_int_equal(sscanf(m.text, "%u ", &name), 1);
                assert_true(name < 2);
                n_received[name]++;
                when_written(&o[0], "0 and more and more\n", 20);
                assert_true(n_received[0] < 1000);
        }
        output_done(&o[0]);
        output_done(&o[1]);
        journald_done(&j);
}

static void test_one_that_is_freed_while_it_waits_leaves_the_others(void **state) {
        static Message m;
        Journald j = given_journald(*state);
        unsigned n_written;
        Output o[3];

        for (unsigned i = 0; i < 3; i++)
                given_output(*state, &o[i]);
        (void) when_it_is_stuck(&o[0], 0);
        n_written = when_it_is_stuck(&o[1], 1);
        (void) when_it_is_stuck(&o[2], 2);
        output_done(&o[0]);
        output_done(&o[2]);

        for (unsigned n = 0; n < n_written;) {
                when_received(*state, &j, &m);
                n += m.text[0] == '1';
        }
        output_done(&o[1]);
        journald_done(&j);
}

static void test_a_journald_that_is_started_again(void **state) {
        Journald j = given_journald(*state);
        Output o;

        given_output(*state, &o);
        when_said(&o, "to the first\n");
        then_received(*state, &j, "to the first");

        journald_stop(&j);
        journald_start(&j);
        when_said(&o, "to the second\n");
        then_received(*state, &j, "to the second");

        /* While there is none, lines wait: with a look now and then. */
        journald_stop(&j);
        assert_int_equal(journal_check(), -ENOENT);
        when_said(&o, "to the third\nand another\n");
        (void) count_wakeups(*state, 50 * USEC_PER_MSEC);
        for (uint64_t end = clock_get_monotonic() + USEC_PER_SEC, n = 0; clock_get_monotonic() < end;) {
                n += sd_event_run(o.world->event, 100 * USEC_PER_MSEC) > 0;
                assert_true(n <= 6);
        }
        journald_start(&j);
        then_received(*state, &j, "to the third");
        then_received(*state, &j, "and another");
        output_done(&o);
        journald_done(&j);
}

static void test_a_journald_that_dies_while_it_hangs(void **state) {
        static Message m;
        Journald j = given_journald(*state);
        unsigned n_written, number = 0;
        Output o;

        given_output(*state, &o);
        n_written = when_it_is_stuck(&o, 0);
        journald_stop(&j); /* takes what is in its queue with it */
        journald_start(&j);
        do {
                unsigned name;

                when_received(*state, &j, &m);
                assert_int_equal(sscanf(m.text, "%u %u ", &name, &number), 2);
        } while (number < n_written - 1);
        output_done(&o);
        journald_done(&j);
}

static void test_is_there_a_journal(void **state) {
        _cleanup_(freep) char *path = world_path(*state, "none"), *file = world_path(*state, "file");
        char long_path[200];
        Journald j = given_journald(*state);

        j.fd = safe_close(j.fd);
        assert_int_equal(journal_check(), -ECONNREFUSED);
        journal_set_socket(path);
        assert_int_equal(journal_check(), -ENOENT);
        given_file(file, "", 0600);
        journal_set_socket(file);
        assert_int_equal(journal_check(), -ECONNREFUSED);
        memset(long_path, 'x', sizeof(long_path) - 1);
        long_path[sizeof(long_path) - 1] = 0;
        journal_set_socket(long_path);
        assert_int_equal(journal_check(), -ENAMETOOLONG);
        journald_done(&j);
}

/* --- the end ---------------------------------------------------------------------------------------------------- */

static void test_a_last_line_without_a_newline_is_sent_at_the_end(void **state) {
        Journald j = given_journald(*state);
        Output o;

        given_output(*state, &o);
        when_said(&o, "one\ntwo\nlast words");
        assert_int_equal(journal_stream_finish(o.stream), 0);
        assert_int_equal(journal_stream_finish(o.stream), 0);
        assert_false(o.done); /* never from within */
        then_it_ends(&o);
        then_received(*state, &j, "one");
        then_received(*state, &j, "two");
        then_received(*state, &j, "last words");
        then_nothing_is_received(*state, &j);
        output_done(&o);

        /* Also if it has been read already. */
        given_output(*state, &o);
        when_said(&o, "read before");
        then_nothing_is_received(*state, &j);
        assert_int_equal(journal_stream_finish(o.stream), 0);
        then_it_ends(&o);
        then_received(*state, &j, "read before");
        output_done(&o);

        /* And nothing is nothing. */
        given_output(*state, &o);
        assert_int_equal(journal_stream_finish(o.stream), 0);
        then_it_ends(&o);
        then_nothing_is_received(*state, &j);
        output_done(&o);
        journald_done(&j);
}

static void test_a_last_line_that_is_too_long(void **state) {
        static char line[JOURNAL_LINE_MAX + 10];
        static Message m;
        Journald j = given_journald(*state);
        Output o;

        memset(line, 'x', sizeof(line));
        given_output(*state, &o);
        when_written(&o, line, sizeof(line));
        assert_int_equal(journal_stream_finish(o.stream), 0);
        then_it_ends(&o);
        when_received(*state, &j, &m);
        assert_int_equal(m.size, JOURNAL_LINE_MAX);
        then_received(*state, &j, "xxxxxxxxxx");
        then_nothing_is_received(*state, &j);
        output_done(&o);
        journald_done(&j);
}

static void test_all_that_was_written_is_sent_at_the_end_however_slowly(void **state) {
        static Message m;
        Journald j = given_journald(*state);
        unsigned n_written, n_received = 0, queue = 0;
        Output o;
        FILE *f;

        f = fopen("/proc/sys/net/unix/max_dgram_qlen", "re");
        assert_non_null(f);
        assert_int_equal(fscanf(f, "%u", &queue), 1);
        (void) fclose(f);

        given_output(*state, &o);
        n_written = when_it_is_stuck(&o, 7);
        assert_int_equal(journal_stream_finish(o.stream), 0);
        while (n_received < n_written) {
                unsigned number = UINT32_MAX;

                (void) count_wakeups(*state, 5 * USEC_PER_MSEC);
                assert_true(!o.done || n_written - n_received <= queue + 1);
                when_received(*state, &j, &m);
                assert_int_equal(sscanf(m.text, "7 %u ", &number), 1);
                assert_int_equal(number, n_received++);
        }
        then_it_ends(&o);
        then_nothing_is_received(*state, &j);
        output_done(&o);
        journald_done(&j);
}

static void test_the_end_does_not_wait_for_a_writer_that_goes_on(void **state) {
        uint64_t deadline = clock_get_monotonic() + WORLD_PATIENCE_USEC;
        static Message m;
        Journald j = given_journald(*state);
        Output o;

        given_output(*state, &o);
        assert_int_equal(journal_stream_finish(o.stream), 0);
        while (!o.done) {
                assert_true(clock_get_monotonic() < deadline);
                (void) !write(o.writer, "more\n", 5);
                assert_true(sd_event_run(o.world->event, 0) >= 0);
                (void) try_receive(&j, &m);
        }
        then_it_ends(&o);
        output_done(&o);
        journald_done(&j);
}

/* Counts what is told on stderr meanwhile. */
static unsigned then_it_gives_up(Output *o, uint64_t min_usec, uint64_t max_usec) {
        _cleanup_(freep) char *path = world_path(o->world, "stderr");
        uint64_t start = clock_get_monotonic(), took;
        int saved = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3), fd;
        char line[1000];
        unsigned n = 0;
        FILE *f;

        fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
        assert_true(fd >= 0 && saved >= 0);
        assert_int_equal(dup2(fd, STDERR_FILENO), STDERR_FILENO);
        safe_close(fd);
        while (!o->done && clock_get_monotonic() < start + WORLD_PATIENCE_USEC)
                (void) sd_event_run(o->world->event, 10 * USEC_PER_MSEC);
        assert_int_equal(dup2(saved, STDERR_FILENO), STDERR_FILENO);
        safe_close(saved);

        then_it_ends(o);
        took = clock_get_monotonic() - start;
        assert_true(took >= min_usec && took < max_usec);

        f = fopen(path, "re");
        assert_non_null(f);
        while (fgets(line, sizeof(line), f)) {
                assert_non_null(strstr(line, "default/c1"));
                n++;
        }
        (void) fclose(f);
        return n;
}

static void test_the_rest_is_given_up_if_nobody_takes_it(void **state) {
        Journald j = given_journald(*state);
        Output o;

        given_output(*state, &o);
        (void) when_it_is_stuck(&o, 0);
        assert_int_equal(journal_stream_finish(o.stream), 0);
        assert_int_equal(then_it_gives_up(&o, 900 * USEC_PER_MSEC, 10 * USEC_PER_SEC), 1);
        output_done(&o);

        journald_stop(&j);
        given_output(*state, &o);
        when_said(&o, "to nobody");
        assert_int_equal(journal_stream_finish(o.stream), 0);
        assert_int_equal(then_it_gives_up(&o, 900 * USEC_PER_MSEC, 10 * USEC_PER_SEC), 1);
        output_done(&o);
        journald_done(&j);
}

/* While journald is slow and has others to take from, one that ends may have to wait for long. */
static void test_nothing_is_given_up_while_the_journal_takes_from_others(void **state) {
        static Message m;
        Journald j = given_journald(*state);
        unsigned n_written[6], n_received = 0, rounds = 0;
        Output o[6];

        for (unsigned i = 0; i < ELEMENTSOF(o); i++) {
                given_output(*state, &o[i]);
                n_written[i] = when_it_is_stuck(&o[i], i);
        }
        assert_int_equal(journal_stream_finish(o[0].stream), 0);

        /* For four seconds: it has its turn every two. */
        for (; rounds < 12; rounds++) {
                uint64_t end = clock_get_monotonic() + 330 * USEC_PER_MSEC;
                unsigned name = 9, number;

                while (clock_get_monotonic() < end)
                        assert_true(sd_event_run(o->world->event, 10 * USEC_PER_MSEC) >= 0);
                assert_true(try_receive(&j, &m));
                assert_int_equal(sscanf(m.text, "%u %u ", &name, &number), 2);
                n_received += name == 0;
        }
        while (n_received < n_written[0]) {
                unsigned name = 9, number;

                when_received(*state, &j, &m);
                assert_int_equal(sscanf(m.text, "%u %u ", &name, &number), 2);
                n_received += name == 0;
        }
        then_it_ends(&o[0]);
        for (unsigned i = 0; i < ELEMENTSOF(o); i++)
                output_done(&o[i]);
        journald_done(&j);
}

/* As a container has it: read-write, so that nobody is ever told that there is no reader. */
static void test_who_is_left_behind_does_not_wait_for_a_reader(void **state) {
        _cleanup_(freep) char *path = world_path(*state, "left");
        static char text[300 * 1000];
        Journald j = given_journald(*state);
        World *w = *state;
        Output o = { .world = w };
        int reader;

        assert_int_equal(mkfifo(path, 0600), 0);
        o.writer = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
        reader = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        assert_true(o.writer >= 0 && reader >= 0);
        assert_int_equal(journal_stream_new(&o.stream, w->event, 0, reader, &some_fields, output_on_done, &o), 0);
        when_said(&o, "the last\n");
        assert_int_equal(journal_stream_finish(o.stream), 0);
        then_it_ends(&o);
        then_received(w, &j, "the last");

        memset(text, '\n', sizeof(text));
        when_written(&o, text, sizeof(text));
        then_nothing_is_received(w, &j);

        /* And that ends with the last writer. */
        assert_true(fcntl(reader, F_GETFD) >= 0);
        o.writer = safe_close(o.writer);
        (void) count_wakeups(w, 200 * USEC_PER_MSEC);
        assert_int_equal(fcntl(reader, F_GETFD), -1);
        assert_int_equal(count_wakeups(w, 200 * USEC_PER_MSEC), 0);
        output_done(&o);
        journald_done(&j);
}

static void test_the_last_writer_to_go_is_the_end(void **state) {
        Journald j = given_journald(*state);
        Output o;

        given_output(*state, &o);
        when_said(&o, "one\nlast words");
        then_received(*state, &j, "one");
        then_nothing_is_received(*state, &j);
        o.writer = safe_close(o.writer);
        then_it_ends(&o);
        then_received(*state, &j, "last words");
        then_nothing_is_received(*state, &j);
        output_done(&o);

        /* Also if there is more than can be sent now. */
        given_output(*state, &o);
        (void) when_it_is_stuck(&o, 3);
        o.writer = safe_close(o.writer);
        (void) count_wakeups(*state, 50 * USEC_PER_MSEC);
        assert_false(o.done);
        while (!o.done) {
                static Message m;

                when_received(*state, &j, &m);
                (void) count_wakeups(*state, 2 * USEC_PER_MSEC);
        }
        then_it_ends(&o);
        output_done(&o);
        journald_done(&j);
}

static void test_a_fifo_that_only_we_hold_costs_no_wakeups(void **state) {
        _cleanup_(freep) char *path = world_path(*state, "again");
        Journald j = given_journald(*state);
        World *w = *state;
        Output o = { .world = w };
        int reader, hold;

        assert_int_equal(mkfifo(path, 0600), 0);
        hold = open(path, O_RDWR | O_CLOEXEC);
        reader = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        assert_true(reader >= 0 && hold >= 0);
        assert_int_equal(journal_stream_new(&o.stream, w->event, 0, reader, &some_fields, output_on_done, &o), 0);
        (void) count_wakeups(w, 10 * USEC_PER_MSEC);

        for (int i = 0; i < 3; i++) {
                o.writer = open(path, O_WRONLY | O_CLOEXEC);
                assert_true(o.writer >= 0);
                when_said(&o, "again\n");
                then_received(w, &j, "again");
                o.writer = safe_close(o.writer);
                assert_true(count_wakeups(w, 50 * USEC_PER_MSEC) <= 4);
                assert_int_equal(count_wakeups(w, 100 * USEC_PER_MSEC), 0);
                assert_false(o.done);
        }
        safe_close(hold);
        then_it_ends(&o);
        output_done(&o);
        journald_done(&j);
}

int main(void) {
        const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, world_begin, world_end)
                CASE(test_a_line_names_its_container),
                CASE(test_a_field_that_would_begin_another_is_refused),
                CASE(test_lines_are_lines_however_they_are_written),
                CASE(test_many_lines_keep_their_order),
                CASE(test_what_is_no_text_is_sent_by_its_length),
                CASE(test_a_line_that_is_too_long_is_split),
                CASE(test_a_line_is_not_split_within_a_character),
                CASE(test_a_journald_that_hangs_makes_the_writers_wait),
                CASE(test_streams_take_turns),
                CASE(test_one_that_is_freed_while_it_waits_leaves_the_others),
                CASE(test_a_journald_that_is_started_again),
                CASE(test_a_journald_that_dies_while_it_hangs),
                CASE(test_is_there_a_journal),
                CASE(test_a_last_line_without_a_newline_is_sent_at_the_end),
                CASE(test_a_last_line_that_is_too_long),
                CASE(test_all_that_was_written_is_sent_at_the_end_however_slowly),
                CASE(test_the_end_does_not_wait_for_a_writer_that_goes_on),
                CASE(test_the_rest_is_given_up_if_nobody_takes_it),
                CASE(test_nothing_is_given_up_while_the_journal_takes_from_others),
                CASE(test_who_is_left_behind_does_not_wait_for_a_reader),
                CASE(test_the_last_writer_to_go_is_the_end),
                CASE(test_a_fifo_that_only_we_hold_costs_no_wakeups),
        };

        (void) signal(SIGPIPE, SIG_IGN);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
