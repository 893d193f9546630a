/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Pumps: every byte, in order, fairly, without waiting and without waking for nothing. */

#include "world.h"

#include "host/pump.h"

#include <sys/ioctl.h>
#include <termios.h>

#define MIB (1024U * 1024U)

/* --- vocabulary ------------------------------------------------------------------------------------------------- */

/* What every stream consists of: a period that is no multiple of a buffer's size shows what is lost or swapped. */
static unsigned char pattern[1009 * 67];
static uint64_t random_state = 88172645463325252;

static uint64_t random_number(uint64_t below) {
        random_state ^= random_state << 13;
        random_state ^= random_state >> 7;
        random_state ^= random_state << 17;
        return random_state % below;
}

static void pattern_fill(void) {
        for (size_t i = 0; i < sizeof(pattern); i++)
                pattern[i] = (unsigned char) random_number(256);
}

typedef struct Flow {
        World *world;
        Pump *pump;
        int source, sink;
        int closing; /* another's descriptor of the sink, closed with it */
        uint64_t n_written, n_read;
        size_t chunk; /* the greatest read and write */
        bool done;
        unsigned n_done;
        int error;
} Flow;

#define FLOW_INIT ((Flow) { .source = -EBADF, .sink = -EBADF, .closing = -EBADF, .chunk = 100000 })

static void flow_on_done(void *userdata, int error) {
        Flow *f = userdata;

        f->done = true;
        f->n_done++;
        f->error = error;
        f->pump = pump_free(f->pump);
}

static void fd_unblock(int fd) {
        assert_true(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) >= 0);
}

static void given_pump(World *w, Flow *f, int from, int to, PumpFlags flags) {
        f->world = w;
        if (f->source >= 0)
                fd_unblock(f->source);
        if (f->sink >= 0)
                fd_unblock(f->sink);
        assert_int_equal(pump_new(&f->pump, w->event, SD_EVENT_PRIORITY_NORMAL, from, to, flags, "the test's stream",
                                  flow_on_done, f),
                         0);
        assert_true(fcntl(from, F_GETFL) & O_NONBLOCK);
        assert_true(fcntl(to, F_GETFL) & O_NONBLOCK);
}

static void flow_done(Flow *f) {
        f->pump = pump_free(f->pump);
        f->source = safe_close(f->source);
        f->sink = safe_close(f->sink);
        f->closing = safe_close(f->closing);
}

/* Both ends of a FIFO in the world's folder: the writer's as the daemon opens it. */
static void given_fifo(World *w, const char *name, int *ret_reader, int *ret_writer) {
        _cleanup_(freep) char *path = world_path(w, name);

        assert_int_equal(mkfifo(path, 0600), 0);
        *ret_writer = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
        *ret_reader = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        assert_true(*ret_writer >= 0 && *ret_reader >= 0);
}

static void given_pipe(int *ret_reader, int *ret_writer) {
        int fds[2];

        assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
        *ret_reader = fds[0];
        *ret_writer = fds[1];
}

static int open_slave(int master) {
        int fd = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);

        assert_true(fd >= 0);
        return fd;
}

static int given_master(void) {
        int fd = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC), unlocked = 0;

        assert_true(fd >= 0);
        assert_int_equal(ioctl(fd, TIOCSPTLCK, &unlocked), 0);
        return fd;
}

static void make_raw(int terminal) {
        struct termios t;

        assert_int_equal(tcgetattr(terminal, &t), 0);
        cfmakeraw(&t);
        assert_int_equal(tcsetattr(terminal, TCSANOW, &t), 0);
}

/* The first so many bytes of the stream that the source takes now. */
static void flow_write(Flow *f, uint64_t size) {
        uint64_t at = f->n_written % sizeof(pattern), n = 1 + random_number(f->chunk);
        ssize_t l;

        if (n > size - f->n_written)
                n = size - f->n_written;
        if (n > sizeof(pattern) - at)
                n = sizeof(pattern) - at;
        if (n == 0)
                return;

        l = write(f->source, pattern + at, n);
        assert_true(l > 0 || (l < 0 && errno == EAGAIN));
        if (l > 0)
                f->n_written += (uint64_t) l;
}

/* Whatever comes out must be what goes on where the last has ended. Returns whether there was something. */
static bool flow_read(Flow *f) {
        static unsigned char buffer[128 * 1024];
        size_t want = 1 + random_number(f->chunk);
        ssize_t l;

        l = read(f->sink, buffer, want < sizeof(buffer) ? want : sizeof(buffer));
        assert_true(l >= 0 || errno == EAGAIN);
        for (ssize_t i = 0; i < l;) {
                uint64_t at = f->n_read % sizeof(pattern);
                size_t n = sizeof(pattern) - at;

                if (n > (size_t) (l - i))
                        n = (size_t) (l - i);
                assert_memory_equal(buffer + i, pattern + at, n);
                f->n_read += n;
                i += (ssize_t) n;
        }
        return l > 0;
}

/* 64 MiB, or less where everything takes fifty times as long. */
static uint64_t much;

/* Everything through, with chunks of every size. */
static void when_all_flows(Flow *f, uint64_t size) {
        uint64_t deadline = clock_get_monotonic() + 5 * WORLD_PATIENCE_USEC;

        while (f->n_read < size) {
                assert_true(clock_get_monotonic() < deadline);
                flow_write(f, size);
                assert_true(sd_event_run(f->world->event, 0) >= 0);
                (void) flow_read(f);
                if (f->n_written == size && f->source >= 0 && f->done)
                        break;
        }
        assert_int_equal(f->n_read, size);
        assert_false(flow_read(f));
}

static void then_it_ends(Flow *f, int error) {
        world_run_until_set(f->world, &f->done);
        assert_int_equal(f->n_done, 1);
        assert_int_equal(f->error, error);
        assert_null(f->pump);
}

/* What the world itself has to do at first is none of a pump's wake-ups. */
static void given_a_quiet_world(World *w) {
        world_run_what_is_due(w);
}

/* How often the loop wakes until it has nothing to do for so long. */
static unsigned count_wakeups(World *w, uint64_t quiet_usec) {
        unsigned n = 0;
        int r;

        while ((r = sd_event_run(w->event, quiet_usec)) > 0) {
                n++;
                assert_true(n < 10000);
        }
        assert_int_equal(r, 0);
        return n;
}

/* Lines on stderr, where log lines go: between these two it is a file. */
static int saved_stderr = -EBADF;

static void stderr_catch(World *w) {
        _cleanup_(freep) char *path = world_path(w, "stderr");
        int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);

        assert_true(fd >= 0);
        saved_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
        assert_true(saved_stderr >= 0);
        assert_int_equal(dup2(fd, STDERR_FILENO), STDERR_FILENO);
        safe_close(fd);
}

static unsigned stderr_release(World *w, const char *word) {
        _cleanup_(freep) char *path = world_path(w, "stderr");
        char line[4096];
        unsigned n = 0;
        FILE *f;

        assert_int_equal(dup2(saved_stderr, STDERR_FILENO), STDERR_FILENO);
        saved_stderr = safe_close(saved_stderr);

        f = fopen(path, "re");
        assert_non_null(f);
        while (fgets(line, sizeof(line), f)) {
                assert_non_null(strstr(line, "the test's stream"));
                assert_non_null(strstr(line, word));
                n++;
        }
        (void) fclose(f);
        return n;
}

static int world_end_with_stderr(void **state) {
        if (saved_stderr >= 0) {
                (void) dup2(saved_stderr, STDERR_FILENO);
                saved_stderr = safe_close(saved_stderr);
        }
        return world_end(state);
}

/* --- every byte ------------------------------------------------------------------------------------------------- */

static void pipe_to_fifo(World *w, PumpFlags flags) {
        Flow f = FLOW_INIT;
        int from, to;

        given_pipe(&from, &f.source);
        given_fifo(w, "fifo", &f.sink, &to);
        given_pump(w, &f, from, to, flags);

        when_all_flows(&f, much);
        assert_false(f.done);
        assert_int_equal(pump_n_bytes(f.pump), much);

        f.source = safe_close(f.source);
        then_it_ends(&f, 0);
        flow_done(&f);
}

static void test_every_byte_from_a_pipe_to_a_fifo(void **state) {
        pipe_to_fifo(*state, 0);
}

static void test_every_byte_spliced_from_a_pipe_to_a_fifo(void **state) {
        pipe_to_fifo(*state, PUMP_SPLICE);
}

static void pipe_to_file(World *w, PumpFlags flags, int open_flags) {
        _cleanup_(freep) char *path = world_path(w, "file");
        Flow f = FLOW_INIT;
        struct stat st;
        int from, to;

        given_pipe(&from, &f.source);
        to = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | open_flags, 0600);
        f.sink = open(path, O_RDONLY | O_CLOEXEC);
        assert_true(to >= 0 && f.sink >= 0);
        given_pump(w, &f, from, to, flags);

        when_all_flows(&f, much);
        f.source = safe_close(f.source);
        then_it_ends(&f, 0);

        assert_int_equal(fstat(f.sink, &st), 0);
        assert_int_equal(st.st_size, much);
        flow_done(&f);
}

static void test_every_byte_from_a_pipe_to_a_file(void **state) {
        pipe_to_file(*state, 0, O_APPEND);
}

static void test_every_byte_spliced_from_a_pipe_to_a_file(void **state) {
        pipe_to_file(*state, PUMP_SPLICE, 0);
}

static void test_a_file_that_is_appended_to_cannot_be_spliced_to_but_gets_every_byte(void **state) {
        pipe_to_file(*state, PUMP_SPLICE, O_APPEND);
}

static void test_every_byte_from_a_file_to_a_pipe(void **state) {
        for (int splice_it = 0; splice_it < 2; splice_it++) {
                _cleanup_(freep) char *path = world_path(*state, "input");
                Flow f = FLOW_INIT;
                int from, to;

                from = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
                assert_true(from >= 0);
                for (int i = 0; i < 20; i++)
                        assert_int_equal(write(from, pattern, sizeof(pattern)), sizeof(pattern));
                assert_int_equal(lseek(from, 0, SEEK_SET), 0);

                given_pipe(&f.sink, &to);
                given_pump(*state, &f, from, to, splice_it ? PUMP_SPLICE : 0);
                f.n_written = 20 * sizeof(pattern);
                when_all_flows(&f, f.n_written);
                then_it_ends(&f, 0);
                flow_done(&f);
        }
}

static void test_every_byte_from_a_terminal_to_a_fifo(void **state) {
        Flow f = FLOW_INIT;
        int from, to;

        from = given_master();
        f.source = open_slave(from);
        make_raw(f.source);
        given_fifo(*state, "fifo", &f.sink, &to);
        given_pump(*state, &f, from, to, PUMP_FROM_TERMINAL);

        when_all_flows(&f, much);
        f.source = safe_close(f.source);
        (void) count_wakeups(*state, 20 * USEC_PER_MSEC);
        assert_false(f.done);

        assert_int_equal(pump_finish(f.pump), 0);
        assert_false(f.done); /* never from within */
        then_it_ends(&f, 0);
        flow_done(&f);
}

static void test_every_byte_from_a_pipe_to_a_terminal_that_is_read_slowly(void **state) {
        uint64_t size = much / 16;
        Flow f = FLOW_INIT;
        int from, to;

        given_pipe(&from, &f.source);
        to = given_master();
        f.sink = open_slave(to);
        make_raw(f.sink);
        f.chunk = 1500;
        given_pump(*state, &f, from, to, PUMP_TO_TERMINAL);

        when_all_flows(&f, size);
        flow_done(&f);
}

/* --- who reads slowly ------------------------------------------------------------------------------------------- */

/* Writes until nothing is taken any more. */
static void when_it_is_stuck(Flow *f) {
        unsigned n_idle = 0;

        while (n_idle < 20) {
                uint64_t before = f->n_written;

                flow_write(f, UINT64_MAX);
                assert_true(sd_event_run(f->world->event, f->n_written == before ? USEC_PER_MSEC : 0) >= 0);
                n_idle = f->n_written == before ? n_idle + 1 : 0;
                assert_true(f->n_written < 16 * MIB);
        }
}

static void stalled(World *w, PumpFlags flags) {
        uint64_t deadline = clock_get_monotonic() + WORLD_PATIENCE_USEC;
        Flow f = FLOW_INIT;
        int from, to;

        given_pipe(&from, &f.source);
        given_fifo(w, "fifo", &f.sink, &to);
        given_pump(w, &f, from, to, flags);
        when_it_is_stuck(&f);

        /* Two pipes and the pump's own buffer, and that is all. */
        assert_true(f.n_written > 64 * 1024);
        assert_true(f.n_written <= 2 * 65536 + PUMP_BUFFER_SIZE);
        assert_int_equal(count_wakeups(w, 100 * USEC_PER_MSEC), 0);

        while (f.n_read < f.n_written) {
                assert_true(clock_get_monotonic() < deadline);
                (void) flow_read(&f);
                assert_true(sd_event_run(w->event, 0) >= 0);
        }
        flow_done(&f);
}

static void test_a_reader_that_stalls_makes_the_writer_wait(void **state) {
        stalled(*state, 0);
}

static void test_a_reader_that_stalls_makes_the_writer_wait_spliced_as_well(void **state) {
        stalled(*state, PUMP_SPLICE);
}

#define N_FLOWS 10

static void serve_fairly(World *w, PumpFlags flags) {
        Flow flows[N_FLOWS];
        uint64_t start[N_FLOWS], sum = 0;

        for (int i = 0; i < N_FLOWS; i++) {
                int from, to;

                flows[i] = FLOW_INIT;
                given_pipe(&from, &flows[i].source);
                given_pipe(&flows[i].sink, &to);
                given_pump(w, &flows[i], from, to, flags);
                flows[i].chunk = sizeof(pattern);
        }
        when_it_is_stuck(&flows[0]);
        for (int i = 0; i < N_FLOWS; i++)
                start[i] = pump_n_bytes(flows[i].pump);

        /* One turn in each round; who writes and who reads is as fast as can be. */
        for (int round = 0; round < 1000; round++) {
                for (int i = 1; i < N_FLOWS; i++) {
                        flow_write(&flows[i], UINT64_MAX);
                        while (flow_read(&flows[i]))
                                ;
                }
                assert_true(sd_event_run(w->event, 0) >= 0);
        }

        assert_int_equal(pump_n_bytes(flows[0].pump), start[0]);
        for (int i = 1; i < N_FLOWS; i++)
                sum += pump_n_bytes(flows[i].pump) - start[i];
        assert_true(sum > MIB);
        for (int i = 1; i < N_FLOWS; i++) {
                uint64_t share = (pump_n_bytes(flows[i].pump) - start[i]) * (N_FLOWS - 1);

                assert_true(share > sum / 2 && share < sum * 2);
        }
        for (int i = 0; i < N_FLOWS; i++)
                flow_done(&flows[i]);
}

static void test_the_others_are_served_alike_while_one_is_stalled(void **state) {
        serve_fairly(*state, 0);
}

static void test_the_others_are_served_alike_spliced_as_well(void **state) {
        serve_fairly(*state, PUMP_SPLICE);
}

static void test_one_turn_moves_no_more_than_its_share(void **state) {
        Flow f = FLOW_INIT;
        int from, to;

        given_a_quiet_world(*state);
        given_pipe(&from, &f.source);
        given_pipe(&f.sink, &to);
        assert_true(fcntl(f.source, F_SETPIPE_SZ, MIB) >= 0);
        assert_true(fcntl(to, F_SETPIPE_SZ, MIB) >= 0);
        given_pump(*state, &f, from, to, 0);
        for (int i = 0; i < 10; i++)
                assert_int_equal(write(f.source, pattern, sizeof(pattern)), sizeof(pattern));

        for (int i = 1; i <= 5; i++) {
                assert_int_equal(sd_event_run(f.world->event, USEC_PER_SEC), 1);
                assert_int_equal(pump_n_bytes(f.pump), i * PUMP_TURN_SIZE);
        }
        flow_done(&f);
}

/* --- terminals that nobody has open ----------------------------------------------------------------------------- */

static void test_a_terminal_that_nobody_has_open_costs_no_wakeups(void **state) {
        Flow f = FLOW_INIT;
        int from, to, keep;

        given_a_quiet_world(*state);
        from = given_master();
        keep = fcntl(from, F_DUPFD_CLOEXEC, 3);
        given_fifo(*state, "fifo", &f.sink, &to);
        given_pump(*state, &f, from, to, PUMP_FROM_TERMINAL);
        assert_int_equal(count_wakeups(*state, 100 * USEC_PER_MSEC), 0); /* not opened yet */

        for (int i = 0; i < 5; i++) {
                uint64_t size = f.n_written + 1000, deadline = clock_get_monotonic() + WORLD_PATIENCE_USEC;

                f.source = open_slave(keep);
                make_raw(f.source);
                (void) count_wakeups(*state, 10 * USEC_PER_MSEC);
                assert_int_equal(count_wakeups(*state, 50 * USEC_PER_MSEC), 0); /* open, but silent */

                while (f.n_written < size)
                        flow_write(&f, size);
                while (f.n_read < size) {
                        assert_true(clock_get_monotonic() < deadline);
                        assert_true(sd_event_run(f.world->event, USEC_PER_MSEC) >= 0);
                        (void) flow_read(&f);
                }
                f.source = safe_close(f.source);
                assert_true(count_wakeups(*state, 50 * USEC_PER_MSEC) <= 4);
                assert_int_equal(count_wakeups(*state, 100 * USEC_PER_MSEC), 0);
        }
        assert_false(f.done);

        assert_int_equal(pump_finish(f.pump), 0);
        then_it_ends(&f, 0);
        safe_close(keep);
        flow_done(&f);
}

/* Reads so many bytes of a terminal, and sees that there are no more. */
static void then_it_can_be_read(Flow *f, int terminal, uint64_t size) {
        uint64_t deadline = clock_get_monotonic() + WORLD_PATIENCE_USEC;

        fd_unblock(terminal);
        f->sink = terminal;
        while (f->n_read < size) {
                assert_true(clock_get_monotonic() < deadline);
                (void) flow_read(f);
                assert_true(sd_event_run(f->world->event, USEC_PER_MSEC) >= 0);
        }
        (void) count_wakeups(f->world, 50 * USEC_PER_MSEC);
        assert_false(flow_read(f));
}

static void test_input_for_a_terminal_that_nobody_has_open_waits_quietly(void **state) {
        Flow f = FLOW_INIT;
        int from, to, slave;

        given_pipe(&from, &f.source);
        to = given_master();
        f.closing = fcntl(to, F_DUPFD_CLOEXEC, 3);
        slave = open_slave(to);
        make_raw(slave);
        safe_close(slave);

        stderr_catch(*state);
        given_pump(*state, &f, from, to, PUMP_TO_TERMINAL);
        when_it_is_stuck(&f);
        assert_true(f.n_written > 64 * 1024);
        assert_false(f.done);

        /* A look now and then, seldom in the end: 10 ms, 20 ms, ... 640 ms, 1 s. */
        for (uint64_t end = clock_get_monotonic() + 2 * USEC_PER_SEC, n = 0; clock_get_monotonic() < end;) {
                n += sd_event_run(f.world->event, 100 * USEC_PER_MSEC) > 0;
                assert_true(n <= 10);
        }
        assert_false(f.done);

        slave = open_slave(f.closing);
        then_it_can_be_read(&f, slave, f.n_written);
        assert_false(f.done);
        assert_int_equal(stderr_release(*state, "nothing"), 0);
        flow_done(&f);
}

static void test_input_that_nobody_will_read_is_dropped_at_the_end(void **state) {
        Flow f = FLOW_INIT;
        int from, to, slave;

        given_pipe(&from, &f.source);
        to = given_master();
        slave = open_slave(to);
        make_raw(slave);
        stderr_catch(*state);
        given_pump(*state, &f, from, to, PUMP_TO_TERMINAL);
        when_it_is_stuck(&f);

        /* As long as somebody has it open he may read. */
        assert_int_equal(pump_finish(f.pump), 0);
        (void) count_wakeups(*state, 100 * USEC_PER_MSEC);
        assert_false(f.done);

        safe_close(slave);
        then_it_ends(&f, 0);
        assert_int_equal(stderr_release(*state, "nothing"), 0);
        flow_done(&f);
}

/* --- the end of the input of a terminal ------------------------------------------------------------------------- */

/* What somebody reads of a terminal to which 'input' was sent, and then the end; "EOF|" for each end. */
static void then_a_terminal_reads(World *w, const char *input, const struct termios *t, const char *expected) {
        char got[256] = "";
        Flow f = FLOW_INIT;
        int from, to, slave;

        given_pipe(&from, &f.source);
        to = given_master();
        slave = open_slave(to);
        if (t)
                assert_int_equal(tcsetattr(slave, TCSANOW, t), 0);
        given_pump(w, &f, from, to, PUMP_TO_TERMINAL);
        f.closing = fcntl(to, F_DUPFD_CLOEXEC, 3); /* done() closes the pump's own */

        assert_int_equal(write(f.source, input, strlen(input)), (ssize_t) strlen(input));
        (void) count_wakeups(w, 10 * USEC_PER_MSEC);
        assert_false(f.done);
        f.source = safe_close(f.source);
        then_it_ends(&f, 0);

        for (int n_idle = 0; n_idle < 10;) {
                char buffer[100];
                ssize_t l = read(slave, buffer, sizeof(buffer) - 1);

                if (l < 0) {
                        assert_int_equal(errno, EAGAIN);
                        n_idle++;
                        (void) usleep(5000); /* for the kernel's thread */
                        continue;
                }
                buffer[l] = 0;
                strcat(got, l > 0 ? buffer : "EOF|");
        }
        assert_string_equal(got, expected);
        safe_close(slave);
        flow_done(&f);
}

static void test_the_end_of_the_input_is_an_end_for_a_terminals_reader(void **state) {
        then_a_terminal_reads(*state, "", NULL, "EOF|");
        then_a_terminal_reads(*state, "one\ntwo\n", NULL, "one\ntwo\nEOF|");
        then_a_terminal_reads(*state, "unfinished", NULL, "unfinishedEOF|");
        then_a_terminal_reads(*state, "one\nunfinished", NULL, "one\nunfinishedEOF|");
        then_a_terminal_reads(*state, "return\r", NULL, "return\nEOF|");
        then_a_terminal_reads(*state, "by hand\004", NULL, "by handEOF|");
}

static void test_the_end_is_that_of_the_terminals_own_settings(void **state) {
        struct termios t;
        int master = given_master();

        assert_int_equal(tcgetattr(master, &t), 0);
        safe_close(master);

        t.c_cc[VEOF] = 'Q';
        then_a_terminal_reads(*state, "line\nrest", &t, "line\nrestEOF|");
        t.c_cc[VEOF] = _POSIX_VDISABLE;
        then_a_terminal_reads(*state, "line\nrest", &t, "line\n");

        t.c_cc[VEOF] = 4;
        cfmakeraw(&t);
        then_a_terminal_reads(*state, "raw\n", &t, "raw\n\004");
        then_a_terminal_reads(*state, "raw", &t, "raw\004");
}

/* --- the end of the process ------------------------------------------------------------------------------------- */

static void finish_slowly(World *w, PumpFlags flags) {
        uint64_t deadline = clock_get_monotonic() + WORLD_PATIENCE_USEC, size;
        Flow f = FLOW_INIT;
        int from, to;

        given_pipe(&from, &f.source); /* stays open: somebody has inherited it */
        given_fifo(w, "fifo", &f.sink, &to);
        given_pump(w, &f, from, to, flags);
        f.chunk = 5000;
        when_it_is_stuck(&f);
        size = f.n_written;

        assert_int_equal(pump_finish(f.pump), 0);
        assert_int_equal(pump_finish(f.pump), 0);
        assert_true(count_wakeups(w, 50 * USEC_PER_MSEC) <= 2);
        assert_false(f.done);

        /* Whoever lives on does not keep the end from coming, however much he writes. */
        while (!f.done) {
                assert_true(clock_get_monotonic() < deadline);
                flow_write(&f, UINT64_MAX);
                (void) flow_read(&f);
                assert_true(sd_event_run(w->event, 0) >= 0);
        }
        while (flow_read(&f))
                ;
        assert_int_equal(f.n_read, size);
        then_it_ends(&f, 0);
        flow_done(&f);
}

static void test_what_was_written_before_the_end_is_moved_to_a_slow_reader(void **state) {
        finish_slowly(*state, 0);
}

static void test_what_was_written_before_the_end_is_spliced_to_a_slow_reader(void **state) {
        finish_slowly(*state, PUMP_SPLICE);
}

static void test_an_empty_pipe_that_somebody_holds_ends_at_once(void **state) {
        for (int splice_it = 0; splice_it < 2; splice_it++) {
                Flow f = FLOW_INIT;
                int from, to;

                given_pipe(&from, &f.source);
                given_pipe(&f.sink, &to);
                given_pump(*state, &f, from, to, splice_it ? PUMP_SPLICE : 0);
                assert_int_equal(pump_finish(f.pump), 0);
                assert_false(f.done);
                then_it_ends(&f, 0);
                flow_done(&f);
        }
}

/* A session leader that writes and exits at once: its terminal is hung up behind it. */
static void write_and_exit(int master, size_t size) {
        pid_t pid;

        pid = fork_child();
        if (pid == 0) {
                int slave;

                if (setsid() < 0)
                        _exit(1);
                slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_CLOEXEC); /* the session's terminal from now on */
                if (slave < 0)
                        _exit(2);
                make_raw(slave);
                _exit(write(slave, pattern, size) == (ssize_t) size ? 0 : 3);
        } else {
                int status = -1;

                assert_int_equal(waitpid(pid, &status, 0), pid);
                assert_int_equal(status, 0);
        }
}

static void test_a_terminals_last_output_is_not_lost(void **state) {
        for (int i = 0; i < 40; i++) {
                size_t size = 1 + random_number(6000);
                _cleanup_(freep) char *path = world_path(*state, "fifo");
                int from = given_master(), to, held = -EBADF;
                Flow f = FLOW_INIT;

                if (i % 2 == 1)
                        held = open_slave(from); /* somebody has inherited it */
                given_fifo(*state, "fifo", &f.sink, &to);
                given_pump(*state, &f, from, to, PUMP_FROM_TERMINAL);

                write_and_exit(from, size);
                assert_int_equal(pump_finish(f.pump), 0);
                then_it_ends(&f, 0);
                while (flow_read(&f))
                        ;
                assert_int_equal(f.n_read, size);

                safe_close(held);
                flow_done(&f);
                assert_int_equal(unlink(path), 0);
        }
}

static void test_a_terminal_that_is_written_to_for_ever_ends_all_the_same(void **state) {
        uint64_t deadline = clock_get_monotonic() + WORLD_PATIENCE_USEC;
        Flow f = FLOW_INIT;
        int from, to;

        from = given_master();
        f.source = open_slave(from);
        make_raw(f.source);
        given_pipe(&f.sink, &to);
        given_pump(*state, &f, from, to, PUMP_FROM_TERMINAL);
        assert_int_equal(pump_finish(f.pump), 0);
        while (!f.done) {
                assert_true(clock_get_monotonic() < deadline);
                flow_write(&f, UINT64_MAX);
                assert_true(sd_event_run(f.world->event, 0) >= 0);
                (void) flow_read(&f);
        }
        then_it_ends(&f, 0);
        flow_done(&f);
}

/* --- what cannot be written ------------------------------------------------------------------------------------- */

/* Takes 'to', and expects that the writer can go on, that the reason is told once, and in the end. */
static void throw_away(World *w, int to, PumpFlags flags, int error) {
        uint64_t deadline = clock_get_monotonic() + WORLD_PATIENCE_USEC;
        Flow f = FLOW_INIT;
        int from;

        stderr_catch(w);
        given_pipe(&from, &f.source);
        given_pump(w, &f, from, to, flags);
        while (f.n_written < 4 * MIB) {
                assert_true(clock_get_monotonic() < deadline);
                flow_write(&f, 4 * MIB);
                assert_true(sd_event_run(w->event, 0) >= 0);
                assert_false(f.done);
        }
        f.source = safe_close(f.source);
        then_it_ends(&f, error);
        assert_int_equal(stderr_release(w, strerror(-error)), 1);
        flow_done(&f);
}

static void test_a_full_disk_ends_the_copying_and_not_the_writer(void **state) {
        for (int splice_it = 0; splice_it < 2; splice_it++) {
                int to = open("/dev/full", O_WRONLY | O_CLOEXEC);

                assert_true(to >= 0);
                throw_away(*state, to, splice_it ? PUMP_SPLICE : 0, -ENOSPC);
        }
}

static void test_a_reader_that_has_gone_ends_the_copying_and_not_the_writer(void **state) {
        for (int splice_it = 0; splice_it < 2; splice_it++) {
                int reader, to;

                given_pipe(&reader, &to);
                safe_close(reader);
                throw_away(*state, to, splice_it ? PUMP_SPLICE : 0, -EPIPE);
        }
}

static void test_a_reader_that_goes_while_it_is_stuck(void **state) {
        Flow f = FLOW_INIT;
        int from, to;

        stderr_catch(*state);
        given_pipe(&from, &f.source);
        given_pipe(&f.sink, &to);
        given_pump(*state, &f, from, to, 0);
        when_it_is_stuck(&f);
        f.sink = safe_close(f.sink);

        world_run_what_is_due(*state);
        assert_false(f.done);
        f.source = safe_close(f.source);
        then_it_ends(&f, -EPIPE);
        assert_int_equal(stderr_release(*state, strerror(EPIPE)), 1);
        flow_done(&f);
}

/* The reader was the process: it need not have read all of its input. */
static void test_a_process_that_leaves_input_unread_is_not_worth_a_warning(void **state) {
        Flow f = FLOW_INIT;
        int from, to;

        stderr_catch(*state);
        given_pipe(&from, &f.source);
        given_pipe(&f.sink, &to);
        given_pump(*state, &f, from, to, 0);
        when_it_is_stuck(&f);
        assert_int_equal(pump_finish(f.pump), 0);
        f.sink = safe_close(f.sink);
        then_it_ends(&f, -EPIPE);
        assert_int_equal(stderr_release(*state, "nothing"), 0);
        flow_done(&f);
}

/* --- ownership -------------------------------------------------------------------------------------------------- */

static void test_freeing_stops_at_once(void **state) {
        Flow f = FLOW_INIT;
        int from, to;

        given_pipe(&from, &f.source);
        given_pipe(&f.sink, &to);
        given_pump(*state, &f, from, to, 0);
        when_it_is_stuck(&f);
        assert_int_equal(pump_finish(f.pump), 0);
        f.pump = pump_free(f.pump);
        assert_int_equal(fcntl(from, F_GETFD), -1);
        assert_int_equal(fcntl(to, F_GETFD), -1);

        world_run_what_is_due(*state);
        assert_false(f.done);
        flow_done(&f);
        assert_null(pump_free(NULL));
}

static void test_a_pump_that_cannot_be_made_takes_nothing(void **state) {
        World *w = *state;
        int reader, writer;
        Pump *p = NULL;

        given_pipe(&reader, &writer);
        assert_int_equal(pump_new(&p, w->event, 0, 12345, writer, 0, "x", flow_on_done, NULL), -EBADF);
        assert_int_equal(pump_new(&p, w->event, 0, reader, 12345, 0, "x", flow_on_done, NULL), -EBADF);
        assert_null(p);
        assert_int_equal(close(reader), 0);
        assert_int_equal(close(writer), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, world_begin, world_end_with_stderr)
                CASE(test_every_byte_from_a_pipe_to_a_fifo),
                CASE(test_every_byte_spliced_from_a_pipe_to_a_fifo),
                CASE(test_every_byte_from_a_pipe_to_a_file),
                CASE(test_every_byte_spliced_from_a_pipe_to_a_file),
                CASE(test_a_file_that_is_appended_to_cannot_be_spliced_to_but_gets_every_byte),
                CASE(test_every_byte_from_a_file_to_a_pipe),
                CASE(test_every_byte_from_a_terminal_to_a_fifo),
                CASE(test_every_byte_from_a_pipe_to_a_terminal_that_is_read_slowly),
                CASE(test_a_reader_that_stalls_makes_the_writer_wait),
                CASE(test_a_reader_that_stalls_makes_the_writer_wait_spliced_as_well),
                CASE(test_the_others_are_served_alike_while_one_is_stalled),
                CASE(test_the_others_are_served_alike_spliced_as_well),
                CASE(test_one_turn_moves_no_more_than_its_share),
                CASE(test_a_terminal_that_nobody_has_open_costs_no_wakeups),
                CASE(test_input_for_a_terminal_that_nobody_has_open_waits_quietly),
                CASE(test_input_that_nobody_will_read_is_dropped_at_the_end),
                CASE(test_the_end_of_the_input_is_an_end_for_a_terminals_reader),
                CASE(test_the_end_is_that_of_the_terminals_own_settings),
                CASE(test_what_was_written_before_the_end_is_moved_to_a_slow_reader),
                CASE(test_what_was_written_before_the_end_is_spliced_to_a_slow_reader),
                CASE(test_an_empty_pipe_that_somebody_holds_ends_at_once),
                CASE(test_a_terminals_last_output_is_not_lost),
                CASE(test_a_terminal_that_is_written_to_for_ever_ends_all_the_same),
                CASE(test_a_full_disk_ends_the_copying_and_not_the_writer),
                CASE(test_a_reader_that_has_gone_ends_the_copying_and_not_the_writer),
                CASE(test_a_reader_that_goes_while_it_is_stuck),
                CASE(test_a_process_that_leaves_input_unread_is_not_worth_a_warning),
                CASE(test_freeing_stops_at_once),
                CASE(test_a_pump_that_cannot_be_made_takes_nothing),
        };

        (void) signal(SIGPIPE, SIG_IGN);
        pattern_fill();
        much = vfork_shares_memory() ? 64 * MIB : 2 * MIB;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
