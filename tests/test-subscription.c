/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Subscriptions: every subscriber gets every event once and in order, or is told that it has not; and whatever it
 * does, nobody else notices.
 *
 * Each reader takes its stream apart as it comes, and fails the case at anything but whole records, in order, with
 * nothing missing that it was not told of. */

#include "core/subscription.h"
#include "util/instrument.h"
#include "util/log.h"
#include "util/text.h"
#include "world.h"

#include <malloc.h>
#include <sys/resource.h>

#define LARGE 200000

/* Of the records of this case, by number. */
static size_t record_sizes[32768];

typedef struct Test {
        World *world;
        int state_fd;
        EventLog *log;
        SubscriptionSet *set;
        bool with_record; /* what is published is always at hand; else every third time it is not */
} Test;

typedef struct Reader {
        int fd;
        bool filtered; /* numbers may be missing */
        char *stream;  /* all that has been read, and how much of it has been taken apart */
        size_t allocated, size, at;
        uint64_t last; /* number */
        unsigned n, n_gaps;
        bool gap; /* the last record was one */
        bool end;
} Reader;

#define MAX_OF_ALL 200
#define MAX_OF_ONE 120

static const Limits limits = { .subscriptions = MAX_OF_ALL, .subscriptions_per_client = MAX_OF_ONE };

/* ---- the vocabulary ---- */

static int test_begin(void **state) {
        Test *t = calloc(1, sizeof(*t));

        assert_non_null(t);
        (void) signal(SIGPIPE, SIG_IGN);
        (void) signal(SIGXFSZ, SIG_IGN);
        assert_int_equal(world_begin((void **) &t->world), 0);
        t->state_fd = open(t->world->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(t->state_fd >= 0);
        assert_int_equal(eventlog_open(&t->log, t->state_fd), 0);
        assert_int_equal(subscriptions_new(&t->set, t->world->event, t->log, &limits, SD_EVENT_PRIORITY_NORMAL), 0);
        *state = t;
        return 0;
}

/* The world's end sees to it that no descriptor is left. */
static int test_end(void **state) {
        Test *t = *state;

        t->set = subscriptions_free(t->set);
        t->log = eventlog_free(t->log);
        t->state_fd = safe_close(t->state_fd);
        assert_int_equal(world_end((void **) &t->world), 0);
        free(t);
        return 0;
}

static Reader given_a_subscriber_of(Test *t, uint64_t after, const char *ns, const char *id) {
        Reader reader = { .fd = -EBADF, .filtered = ns || id };

        assert_int_equal(subscription_new(t->set, 1, after, ns, id, &reader.fd, NULL), 0);
        assert_true(fcntl(reader.fd, F_GETFD) & FD_CLOEXEC);
        assert_int_equal(fcntl(reader.fd, F_GETFL) & O_NONBLOCK, 0); /* a reader may wait, if it likes */
        assert_int_equal(fcntl(reader.fd, F_SETFL, O_RDONLY | O_NONBLOCK), 0);
        reader.last = after < eventlog_last(t->log) ? after : eventlog_last(t->log);
        return reader;
}

static Reader given_a_subscriber(Test *t, uint64_t after) {
        return given_a_subscriber_of(t, after, NULL, NULL);
}

static void reader_done(Reader *reader) {
        reader->fd = safe_close(reader->fd);
        reader->stream = mfree(reader->stream);
}

static int when_an_event_of_size_happens(Test *t, const char *ns, const char *id, size_t size) {
        _cleanup_(json_writer_freep) JsonWriter *writer = json_writer_new(false);
        _cleanup_(freep) char *bundle = calloc(1, size + 1);
        Event e = {
                .sequence = eventlog_next(t->log),
                .topic = EVENT_CREATE,
                .time_usec = 1,
                .ns = ns,
                .container_id = id,
                .bundle = bundle,
        };
        EventRecord newest;
        const char *text;
        int r;

        memset(bundle, 'x', size);
        e.pid = (uint32_t) e.sequence;
        event_write_json(&e, writer);
        assert_int_equal(json_writer_finish(writer, &text, &size), 0);
        assert_true(e.sequence < ELEMENTSOF(record_sizes));
        record_sizes[e.sequence] = size;
        r = eventlog_append(t->log, e.sequence, text, size);
        newest = (EventRecord) { e.sequence, ns, id, text, size };
        subscriptions_publish(t->set, t->with_record || e.sequence % 3 != 0 ? &newest : NULL);
        return r;
}

static void given_events(Test *t, unsigned n) {
        for (unsigned i = 0; i < n; i++)
                assert_int_equal(when_an_event_of_size_happens(t, "default", "c", 0), 0);
}

/* Head, end and length say whether it is whole; to parse each one to its last byte would take most of the time. */
static void then_it_is_a_record(Reader *reader, const char *text, size_t size) {
        static const char gap[] = "{\"gap\":true}";
        char end[64];
        EventHead head;

        if (size == strlen(gap) && memcmp(text, gap, size) == 0) {
                assert_false(reader->gap);
                reader->gap = true;
                reader->n_gaps++;
                return;
        }

        assert_int_equal(event_head_from_json(text, size, &head), 0);
        assert_true(head.sequence > reader->last && head.sequence < ELEMENTSOF(record_sizes));
        assert_int_equal(size, record_sizes[head.sequence]);
        (void) snprintf(end, sizeof(end), ",\"pid\":%u}}", (unsigned) head.sequence);
        assert_memory_equal(text + size - strlen(end), end, strlen(end));

        if (!reader->filtered && !reader->gap)
                assert_true(head.sequence == reader->last + 1);
        reader->last = head.sequence;
        reader->gap = false;
        reader->n++;
}

/* Reads at most 'max' bytes of what is there, and takes apart what is whole. Returns how many there were. */
static size_t when_it_reads(Reader *reader, size_t max) {
        size_t before = reader->size;

        while (!reader->end && reader->size - before < max) {
                size_t wanted = max - (reader->size - before);
                ssize_t n;

                if (wanted > 65536)
                        wanted = 65536;
                if (reader->allocated <= reader->size + wanted) {
                        reader->allocated = (reader->size + wanted) * 2;
                        reader->stream = realloc(reader->stream, reader->allocated);
                        assert_non_null(reader->stream);
                }
                n = read(reader->fd, reader->stream + reader->size, wanted);
                if (n < 0) {
                        assert_int_equal(errno, EAGAIN);
                        break;
                }
                reader->end = n == 0;
                reader->size += (size_t) n;
        }

        while (reader->at < reader->size) {
                char *begin = reader->stream + reader->at;
                char *end = memchr(begin, '\n', reader->size - reader->at);

                assert_int_equal(*begin, 0x1e);
                if (!end)
                        break;
                then_it_is_a_record(reader, begin + 1, (size_t) (end - begin) - 1);
                reader->at = (size_t) (end + 1 - reader->stream);
        }
        return reader->size - before;
}

/* Until there is nothing to read and nothing to do. */
static void when_it_reads_all(Test *t, Reader *reader) {
        size_t n;
        int r;

        do {
                n = when_it_reads(reader, SIZE_MAX);
                r = sd_event_run(t->world->event, 0);
                assert_true(r >= 0);
        } while (n > 0 || r > 0);
        assert_int_equal(reader->at, reader->size);
}

static void then_it_has_everything(Test *t, Reader *reader, unsigned n) {
        when_it_reads_all(t, reader);
        assert_int_equal(reader->n, n);
        assert_int_equal(reader->n_gaps, 0);
        assert_true(reader->last == eventlog_last(t->log));
        assert_false(reader->end);
}

static void then_nothing_is_due(Test *t) {
        assert_int_equal(sd_event_run(t->world->event, 0), 0);
}

/* Files do not get any larger from now on: what is logged waits in memory. */
static void given_a_full_disk(Test *t) {
        struct rlimit limit;

        assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
        limit.rlim_cur = 1;
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void when_there_is_room_again(void) {
        struct rlimit limit;

        assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
        limit.rlim_cur = limit.rlim_max;
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* ---- the specs ---- */

static void test_what_happens_is_told_at_once(void **state) {
        Test *t = *state;
        Reader reader;

        given_events(t, 3);
        reader = given_a_subscriber(t, 3);
        assert_int_equal(when_it_reads(&reader, SIZE_MAX), 0);
        given_events(t, 1);
        assert_true(when_it_reads(&reader, SIZE_MAX) > 0); /* without a turn of the loop */
        assert_int_equal(reader.last, 4);
        then_it_has_everything(t, &reader, 1);
        reader_done(&reader);
}

/* System calls of this process that read. */
static uint64_t count_reads(void) {
        _cleanup_(safe_closep) int fd = open("/proc/self/io", O_RDONLY | O_CLOEXEC);
        char text[512], *value;
        uint64_t n = 0;
        ssize_t size;

        size = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
        if (size < 0) {
                print_message("the kernel does not count here\n");
                skip();
                return 0;
        }
        text[size] = 0;
        value = strstr(text, "syscr: ");
        assert_non_null(value);
        assert_int_equal(sscanf(value, "syscr: %" SCNu64, &n), 1);
        return n;
}

static void test_who_has_everything_is_told_without_reading_the_log(void **state) {
        Test *t = *state;
        Reader readers[3];
        uint64_t before;

        if (HAVE_SANITIZER || is_under_valgrind()) {
                print_message("the tool that watches reads in our name\n");
                skip();
        }

        t->with_record = true;
        given_events(t, 10);
        for (size_t i = 0; i < ELEMENTSOF(readers); i++)
                readers[i] = given_a_subscriber(t, 10);

        before = count_reads();
        given_events(t, 100);
        assert_in_range(count_reads() - before, 0, 1); /* to count is to read */

        for (size_t i = 0; i < ELEMENTSOF(readers); i++) {
                assert_true(when_it_reads(&readers[i], SIZE_MAX) > 0);
                then_it_has_everything(t, &readers[i], 100);
                reader_done(&readers[i]);
        }
}

static void test_a_record_is_what_is_promised(void **state) {
        static const char expected[] =
                "\x1e{\"sequence\":1,\"topic\":\"/tasks/oom\",\"time\":5,\"namespace\":\"a\",\"container_id\":\"b\","
                "\"data\":{}}\n";
        Test *t = *state;
        Reader reader = given_a_subscriber(t, 0);
        char text[sizeof(expected)] = "";

        assert_int_equal(eventlog_append(t->log, 1, expected + 1, strlen(expected) - 2), 0);
        subscriptions_publish(t->set, NULL);
        assert_int_equal(read(reader.fd, text, sizeof(text)), strlen(expected));
        assert_string_equal(text, expected);
        reader_done(&reader);
}

static void test_what_has_happened_is_told_first_and_in_the_same_words(void **state) {
        Test *t = *state;
        Reader live = given_a_subscriber(t, 0), late, later;

        for (unsigned i = 0; i < 5000; i++) {
                given_events(t, 1);
                (void) when_it_reads(&live, SIZE_MAX);
        }
        late = given_a_subscriber(t, 0);
        later = given_a_subscriber(t, 4990);
        when_it_reads_all(t, &late);
        given_events(t, 10);

        then_it_has_everything(t, &live, 5010);
        then_it_has_everything(t, &late, 5010);
        then_it_has_everything(t, &later, 20);
        assert_int_equal(live.size, late.size);
        assert_memory_equal(live.stream, late.stream, live.size);
        assert_memory_equal(live.stream + live.size - later.size, later.stream, later.size);
        reader_done(&live);
        reader_done(&late);
        reader_done(&later);
}

static void test_events_between_replay_and_live_come_once(void **state) {
        Test *t = *state;
        Reader reader;

        given_events(t, 3000);
        reader = given_a_subscriber(t, 0);
        for (unsigned i = 0; i < 2000; i++) {
                given_events(t, 1);
                if (i % 7 == 0)
                        (void) sd_event_run(t->world->event, 0);
                if (i % 5 == 0)
                        (void) when_it_reads(&reader, 3000);
        }
        then_it_has_everything(t, &reader, 5000);
        reader_done(&reader);
}

static void test_a_number_that_is_yet_to_come_means_from_now_on(void **state) {
        Test *t = *state;
        Reader reader;

        given_events(t, 5);
        reader = given_a_subscriber(t, UINT64_MAX);
        given_events(t, 2);
        then_it_has_everything(t, &reader, 2);
        reader_done(&reader);
}

static void test_only_what_was_asked_for_is_told(void **state) {
        static const char *const names[][2] = { { "a", "x" }, { "a", "y" }, { "b", "x" }, { "b", "y" } };
        Test *t = *state;
        Reader readers[2][4];

        for (unsigned round = 0; round < 2; round++) {
                readers[round][0] = given_a_subscriber_of(t, 0, NULL, NULL);
                readers[round][1] = given_a_subscriber_of(t, 0, "a", NULL);
                readers[round][2] = given_a_subscriber_of(t, 0, NULL, "y");
                readers[round][3] = given_a_subscriber_of(t, 0, "b", "x");
                for (unsigned i = 0; i < 200; i++)
                        (void) when_an_event_of_size_happens(t, names[i % 4][0], names[i % 4][1], 0);
        }

        for (unsigned round = 0; round < 2; round++)
                for (unsigned i = 0; i < 4; i++) {
                        static const unsigned n[4] = { 400, 200, 200, 100 };
                        Reader *reader = &readers[round][i];

                        when_it_reads_all(t, reader);
                        assert_int_equal(reader->n, n[i]);
                        assert_int_equal(reader->n_gaps, 0);
                        if (i > 0) {
                                assert_null(memmem(reader->stream, reader->size, i == 2 ? "\"x\"" : "\"z\"", 3));
                                assert_null(memmem(reader->stream, reader->size, i == 1 ? "\"b\"" : "\"z\"", 3));
                        }
                        reader_done(reader);
                }
}

static void test_a_gap_comes_first_when_what_was_asked_for_is_no_longer_kept(void **state) {
        Test *t = *state;
        Reader gap, none;

        given_events(t, EVENTLOG_SEGMENT_EVENTS * (EVENTLOG_SEGMENTS + 1));
        gap = given_a_subscriber(t, EVENTLOG_SEGMENT_EVENTS - 1);
        none = given_a_subscriber(t, EVENTLOG_SEGMENT_EVENTS);

        when_it_reads_all(t, &gap);
        assert_memory_equal(gap.stream, "\x1e{\"gap\":true}\n\x1e{\"sequence\":2049,", 32);
        assert_int_equal(gap.n_gaps, 1);
        assert_int_equal(gap.n, EVENTLOG_SEGMENT_EVENTS * EVENTLOG_SEGMENTS);
        then_it_has_everything(t, &none, EVENTLOG_SEGMENT_EVENTS * EVENTLOG_SEGMENTS);
        reader_done(&gap);
        reader_done(&none);
}

static void test_who_is_too_slow_gets_a_gap_in_the_middle_and_goes_on(void **state) {
        Test *t = *state;
        Reader reader = given_a_subscriber(t, 0), quick = given_a_subscriber(t, 0);
        unsigned before;

        for (unsigned i = 0; i < EVENTLOG_SEGMENT_EVENTS * (EVENTLOG_SEGMENTS + 2); i++) {
                given_events(t, 1);
                (void) when_it_reads(&quick, SIZE_MAX);
        }
        (void) when_it_reads(&reader, SIZE_MAX); /* what was in the pipe */
        before = reader.n;
        assert_true(before > 0 && before < EVENTLOG_SEGMENT_EVENTS);
        assert_int_equal(reader.n_gaps, 0);

        when_it_reads_all(t, &reader);
        assert_int_equal(reader.n_gaps, 1);
        assert_int_equal(reader.n - before, EVENTLOG_SEGMENT_EVENTS * EVENTLOG_SEGMENTS);
        assert_true(reader.last == eventlog_last(t->log));
        given_events(t, 3);
        when_it_reads_all(t, &reader);
        assert_int_equal(reader.n_gaps, 1);
        assert_true(reader.last == eventlog_last(t->log));

        then_it_has_everything(t, &quick, EVENTLOG_SEGMENT_EVENTS * (EVENTLOG_SEGMENTS + 2) + 3);
        reader_done(&reader);
        reader_done(&quick);
}

static void test_who_never_reads_costs_no_memory_and_no_wake_ups(void **state) {
        Test *t = *state;
        Reader readers[20];
        size_t before;

        for (unsigned i = 0; i < ELEMENTSOF(readers); i++)
                readers[i] = given_a_subscriber(t, 0);
        given_events(t, 2000); /* more than a pipe holds */
        world_run_what_is_due(t->world);
        before = mallinfo2().uordblks;

        given_events(t, 20000);
        then_nothing_is_due(t);
        assert_true(mallinfo2().uordblks <= before + 256);
        assert_int_equal(subscriptions_count(t->set), ELEMENTSOF(readers));
        for (unsigned i = 0; i < ELEMENTSOF(readers); i++)
                reader_done(&readers[i]);
}

static void test_who_has_everything_costs_no_wake_ups(void **state) {
        Test *t = *state;
        Reader live = given_a_subscriber(t, 0), late;

        world_run_what_is_due(t->world); /* the reaper looks around once */
        given_events(t, 100);
        then_nothing_is_due(t);
        late = given_a_subscriber(t, 0);
        world_run_what_is_due(t->world);
        then_nothing_is_due(t);
        then_it_has_everything(t, &live, 100);
        then_it_has_everything(t, &late, 100);
        then_nothing_is_due(t);
        reader_done(&live);
        reader_done(&late);
}

static void test_who_has_gone_is_forgotten_at_once(void **state) {
        Test *t = *state;
        Reader idle = given_a_subscriber(t, 0), behind = given_a_subscriber(t, 0), told = given_a_subscriber(t, 0);

        reader_done(&idle);
        world_run_what_is_due(t->world);
        assert_int_equal(subscriptions_count(t->set), 2);

        given_events(t, 3000);
        (void) when_it_reads(&behind, 5000);
        reader_done(&behind);
        world_run_what_is_due(t->world);
        assert_int_equal(subscriptions_count(t->set), 1);

        when_it_reads_all(t, &told);
        assert_int_equal(told.n, 3000);
        reader_done(&told);
        given_events(t, 1); /* before the loop has heard of it */
        assert_int_equal(subscriptions_count(t->set), 0);
        then_nothing_is_due(t);
}

static void test_large_records_are_never_torn_however_they_are_read(void **state) {
        Test *t = *state;
        Reader live = given_a_subscriber(t, 0), slow = given_a_subscriber(t, 0), late, gone;
        unsigned n = 0;

        for (unsigned i = 0; i < 30; i++) {
                (void) when_an_event_of_size_happens(t, "a", "b", LARGE + i);
                (void) when_an_event_of_size_happens(t, "a", "b", i);
                (void) when_an_event_of_size_happens(t, "a", "b", 4000 + i * 10);
                (void) when_an_event_of_size_happens(t, "a", "b", 65536 - 200 + i * 10);
                n += 4;
                (void) when_it_reads(&slow, 1777);
                if (i % 10 == 9)
                        when_it_reads_all(t, &live);
        }
        late = given_a_subscriber(t, 0);
        gone = given_a_subscriber(t, 0);
        (void) sd_event_run(t->world->event, 0);

        for (unsigned i = 0; slow.last < n; i++) {
                assert_true(i < 1000000);
                (void) when_it_reads(&slow, 1 + i * 31 % 9000);
                (void) sd_event_run(t->world->event, 0);
        }
        then_it_has_everything(t, &slow, n);
        then_it_has_everything(t, &live, n);
        then_it_has_everything(t, &late, n);
        assert_memory_equal(slow.stream, late.stream, late.size);
        assert_memory_equal(live.stream, late.stream, late.size);

        /* The last of all, told by a step that has nothing else left to do. */
        reader_done(&late);
        for (unsigned i = 0; i < 6; i++)
                (void) when_an_event_of_size_happens(t, "a", "b", i < 5 ? 11000 : 15000);
        late = given_a_subscriber(t, n);
        world_run_what_is_due(t->world);
        then_it_has_everything(t, &late, 6);
        then_it_has_everything(t, &live, n + 6);

        /* In the middle of a record. */
        (void) when_it_reads(&gone, 100000);
        reader_done(&gone);
        world_run_what_is_due(t->world);
        assert_int_equal(subscriptions_count(t->set), 3);
        reader_done(&live);
        reader_done(&slow);
        reader_done(&late);
}

/* What is in the pipe of one record is finished, though the log has dropped it meanwhile. */
static void test_a_record_that_was_begun_is_ended_before_the_gap(void **state) {
        Test *t = *state;
        Reader reader = given_a_subscriber(t, 0);

        (void) when_an_event_of_size_happens(t, "a", "b", LARGE);
        given_events(t, EVENTLOG_SEGMENT_EVENTS * (EVENTLOG_SEGMENTS + 1));
        when_it_reads_all(t, &reader);
        assert_int_equal(reader.n_gaps, 1);
        assert_int_equal(reader.stream[LARGE], 'x');
        assert_memory_equal(memchr(reader.stream, '\n', reader.size), "\n\x1e{\"gap\":true}\n", 15);
        assert_true(reader.last == eventlog_last(t->log));
        reader_done(&reader);
}

static void test_what_waits_for_room_on_the_disk_is_told_once_and_in_order(void **state) {
        Test *t = *state;
        Reader live = given_a_subscriber(t, 0), slow = given_a_subscriber(t, 0), late, later;

        given_events(t, 10);
        given_a_full_disk(t);
        for (unsigned i = 0; i < 4000; i++) {
                assert_int_equal(when_an_event_of_size_happens(t, "default", "c", i % 100), 1);
                (void) when_it_reads(&live, SIZE_MAX);
        }
        late = given_a_subscriber(t, 5);
        later = given_a_subscriber(t, 2000);
        (void) when_it_reads(&slow, SIZE_MAX);
        for (unsigned i = 0; i < 3; i++)
                (void) sd_event_run(t->world->event, 0); /* one step for each of them */
        (void) when_it_reads(&slow, SIZE_MAX);
        assert_true(slow.n > 10 && slow.n < 4010);
        then_it_has_everything(t, &live, 4010);
        then_it_has_everything(t, &later, 2010);

        when_there_is_room_again();
        assert_int_equal(eventlog_flush(t->log), 0);
        given_events(t, 10);
        then_it_has_everything(t, &live, 4020);
        then_it_has_everything(t, &slow, 4020);
        then_it_has_everything(t, &late, 4015);
        then_it_has_everything(t, &later, 2020);
        reader_done(&live);
        reader_done(&slow);
        reader_done(&late);
        reader_done(&later);
}

static void test_a_number_that_was_used_up_without_a_record_is_a_gap(void **state) {
        Test *t = *state;
        Reader live = given_a_subscriber(t, 0), slow, late;

        given_events(t, 2000);
        when_it_reads_all(t, &live);
        slow = given_a_subscriber(t, 0);
        eventlog_skip(t->log, 2001);
        subscriptions_publish(t->set, NULL);
        (void) when_it_reads(&live, SIZE_MAX);
        assert_int_equal(live.n_gaps, 1); /* at once */

        given_events(t, 1);
        late = given_a_subscriber(t, 0);
        when_it_reads_all(t, &live);
        when_it_reads_all(t, &slow);
        when_it_reads_all(t, &late);
        assert_int_equal(live.n, 2001);
        assert_int_equal(live.size, slow.size);
        assert_int_equal(live.size, late.size);
        assert_memory_equal(live.stream, slow.stream, live.size);
        assert_memory_equal(live.stream, late.stream, live.size);
        reader_done(&live);
        reader_done(&slow);
        reader_done(&late);
}

static void test_a_hundred_subscribers_each_get_everything(void **state) {
        Test *t = *state;
        Reader readers[100];
        bool busy = true;

        given_events(t, 1000);
        for (unsigned i = 0; i < ELEMENTSOF(readers); i++)
                readers[i] = given_a_subscriber(t, i * 10);

        for (unsigned round = 0; busy; round++) {
                if (round < 50)
                        given_events(t, 10);
                for (unsigned i = 0; i < 60; i++)
                        (void) sd_event_run(t->world->event, 0);
                busy = round < 50;
                for (unsigned i = 0; i < ELEMENTSOF(readers); i++)
                        if (round % (i % 5 + 1) != 0 || when_it_reads(&readers[i], 10000 + i * 500) > 0)
                                busy = true;
        }
        for (unsigned i = 0; i < ELEMENTSOF(readers); i++) {
                then_it_has_everything(t, &readers[i], 1500 - i * 10);
                reader_done(&readers[i]);
        }
}

static void test_one_turn_of_the_loop_is_short_also_when_nothing_matches(void **state) {
        Test *t = *state;
        unsigned turns = 0;
        Reader reader;

        for (unsigned i = 0; i < 2000; i++)
                (void) when_an_event_of_size_happens(t, "a", "b", 700);
        reader = given_a_subscriber_of(t, 0, "none", NULL);
        while (sd_event_run(t->world->event, 0) > 0)
                turns++;
        assert_true(turns >= 2000 * 700 / (2 * EVENTLOG_STEP));
        assert_int_equal(when_it_reads(&reader, SIZE_MAX), 0);

        (void) when_an_event_of_size_happens(t, "none", "b", 1);
        assert_true(when_it_reads(&reader, SIZE_MAX) > 0); /* it is not behind any more */
        assert_int_equal(reader.n, 1);
        reader_done(&reader);
}

static void then_there_is_no_room(Test *t, uint64_t client, const char *text) {
        _cleanup_(failure_done) Failure failure = FAILURE_INIT;
        int fd = -EBADF;

        assert_int_equal(subscription_new(t->set, client, 0, NULL, NULL, &fd, &failure), -ENOBUFS);
        assert_int_equal(fd, -EBADF);
        assert_int_equal(failure.kind, FAILURE_RESOURCE_EXHAUSTED);
        assert_string_equal(failure.message, text);
}

static void test_one_client_cannot_take_all_there_are(void **state) {
        static const char *const of_one = "this client has 120 subscriptions to events already; "
                                          "MaxSubscriptionsPerClient=120 in monoshimd.conf(5) allows no more",
                                 *const of_all = "there are 200 subscriptions to events already; "
                                                 "MaxSubscriptions=200 in monoshimd.conf(5) allows no more";
        int fds[MAX_OF_ALL];
        Test *t = *state;

        for (unsigned i = 0; i < MAX_OF_ONE; i++)
                assert_int_equal(subscription_new(t->set, 1, 0, NULL, NULL, &fds[i], NULL), 0);
        then_there_is_no_room(t, 1, of_one);
        for (unsigned i = MAX_OF_ONE; i < MAX_OF_ALL; i++)
                assert_int_equal(subscription_new(t->set, 2, 0, NULL, NULL, &fds[i], NULL), 0);
        then_there_is_no_room(t, 1, of_all);
        then_there_is_no_room(t, 2, of_all);

        /* One that ends makes room, and counts for nobody any more. */
        safe_close(fds[0]);
        world_run_what_is_due(t->world);
        assert_int_equal(subscription_new(t->set, 1, 0, NULL, NULL, &fds[0], NULL), 0);
        then_there_is_no_room(t, 3, of_all);

        given_events(t, 1);
        for (unsigned i = 0; i < MAX_OF_ALL; i++) {
                Reader reader = { .fd = fds[i] };

                assert_true(when_it_reads(&reader, 40) > 0);
                reader_done(&reader);
        }
        world_run_what_is_due(t->world);
        assert_int_equal(subscriptions_count(t->set), 0);
}

static void test_readers_find_the_end_when_the_set_goes(void **state) {
        Test *t = *state;
        Reader idle = given_a_subscriber(t, 0), behind = given_a_subscriber(t, 0);

        given_events(t, 10);
        t->set = subscriptions_free(t->set);
        (void) when_it_reads(&idle, SIZE_MAX);
        (void) when_it_reads(&behind, SIZE_MAX);
        assert_true(idle.end && behind.end);
        assert_int_equal(idle.n, 10);
        reader_done(&idle);
        reader_done(&behind);
        assert_int_equal(subscriptions_new(&t->set, t->world->event, t->log, &limits, 0), 0);
}

/* ---- a random walk ---- */

#define WALK_READERS 12
#define WALK_EVENTS 3000 /* fewer than are kept in any case: nobody may see a gap */

typedef struct Walk {
        Test *t;
        uint32_t random;
        bool full;
        Reader readers[WALK_READERS];
        uint64_t after[WALK_READERS];
} Walk;

static unsigned walk_random(Walk *w, unsigned below) {
        w->random = w->random * 1664525 + 1013904223;
        return (w->random >> 8) % below;
}

static void walk_begin_reader(Walk *w, unsigned i) {
        w->after[i] = walk_random(w, 3) == 0 ? eventlog_last(w->t->log)
                                             : walk_random(w, (unsigned) eventlog_last(w->t->log) + 1);
        w->readers[i] = given_a_subscriber(w->t, w->after[i]);
}

static void walk_end_reader(Walk *w, unsigned i, bool check) {
        if (check)
                then_it_has_everything(w->t, &w->readers[i], (unsigned) (eventlog_last(w->t->log) - w->after[i]));
        assert_int_equal(w->readers[i].n_gaps, 0);
        reader_done(&w->readers[i]);
}

static void walk_step(Walk *w) {
        static const unsigned sizes[] = { 0, 1, 50, 300, 4000, 4096, 10000, 70000 };
        unsigned what = walk_random(w, 100), i = walk_random(w, WALK_READERS);

        if (what < 50)
                (void) when_an_event_of_size_happens(w->t, "a", "b", sizes[walk_random(w, walk_random(w, 8) + 1)]);
        else if (what < 75)
                (void) sd_event_run(w->t->world->event, 0);
        else if (what < 96)
                (void) when_it_reads(&w->readers[i], walk_random(w, 40000) + 1);
        else if (what == 96 && !w->full)
                given_a_full_disk(w->t);
        else if (what == 97)
                when_there_is_room_again();
        else if (what == 98 && walk_random(w, 4) == 0) {
                walk_end_reader(w, i, walk_random(w, 2));
                walk_begin_reader(w, i);
        } else if (what == 99)
                (void) eventlog_flush(w->t->log);

        if (what == 96 || what == 97)
                w->full = what == 96;
}

static void test_a_random_walk_tears_and_loses_nothing(void **state) {
        const char *seed = getenv("TEST_SEED");
        Walk w = { .t = *state, .random = seed ? (uint32_t) atoi(seed) : 1 };

        log_set_max_level(LOG_CRIT);
        for (unsigned i = 0; i < WALK_READERS; i++)
                walk_begin_reader(&w, i);
        while (eventlog_last(w.t->log) < WALK_EVENTS)
                walk_step(&w);
        when_there_is_room_again();
        for (unsigned i = 0; i < WALK_READERS; i++)
                walk_end_reader(&w, i, true);
        world_run_what_is_due(w.t->world);
        assert_int_equal(subscriptions_count(w.t->set), 0);
        log_set_max_level(LOG_INFO);
}

/* Set and log go and others come, as in another program: what is left are the pipes, by their numbers. */
static void when_another_program_goes_on(Test *t) {
        _cleanup_(json_writer_freep) JsonWriter *w = json_writer_new(false);
        _cleanup_(json_freep) Json tree = NULL;
        int copies[64];
        const char *text;
        uint64_t fd;
        size_t size;

        assert_int_equal(subscriptions_write_handoff(t->set, w), 0);
        assert_int_equal(json_writer_finish(w, &text, &size), 0);
        assert_int_equal(json_parse(text, size, &tree, NULL), 0);
        assert_true(json_length(tree) <= ELEMENTSOF(copies));
        for (size_t i = 0; i < json_length(tree); i++) {
                assert_true(json_get_uint64(json_element(tree, i), "fd", &fd) > 0);
                assert_int_equal(fcntl((int) fd, F_GETFD), 0); /* it is inherited */
                copies[i] = fcntl((int) fd, F_DUPFD_CLOEXEC, 500);
        }

        t->set = subscriptions_free(t->set);
        t->log = eventlog_free(t->log);
        for (size_t i = 0; i < json_length(tree); i++) {
                (void) json_get_uint64(json_element(tree, i), "fd", &fd);
                assert_true(dup2(copies[i], (int) fd) >= 0);
                safe_close(copies[i]);
        }
        assert_int_equal(eventlog_open(&t->log, t->state_fd), 0);
        assert_int_equal(subscriptions_new(&t->set, t->world->event, t->log, &limits, SD_EVENT_PRIORITY_NORMAL), 0);
        subscriptions_take_handoff(t->set, tree);
        assert_int_equal(subscriptions_count(t->set), json_length(tree));
        for (size_t i = 0; i < json_length(tree); i++) {
                (void) json_get_uint64(json_element(tree, i), "fd", &fd);
                assert_int_equal(fcntl((int) fd, F_GETFD), FD_CLOEXEC);
        }
}

/* One has everything, one is behind, one in the middle of a record that is larger than its pipe, and one hears of one
 * container only. */
static void test_another_program_goes_on_to_the_byte(void **state) {
        Test *t = *state;
        Reader live = given_a_subscriber(t, 0), behind, torn, one;

        given_events(t, 2);
        (void) when_it_reads(&live, SIZE_MAX);
        behind = given_a_subscriber(t, 0);
        one = given_a_subscriber_of(t, 0, "a", "other");
        torn = given_a_subscriber(t, 2);

        for (unsigned i = 1; i <= 5; i++) {
                (void) when_an_event_of_size_happens(t, "a", "b", LARGE + i);
                (void) when_it_reads(&torn, 1000 * i + 1); /* so that a part of the record stays with us */
                when_another_program_goes_on(t);
                given_events(t, 1);
                when_it_reads_all(t, &live);
                when_another_program_goes_on(t);
        }

        then_it_has_everything(t, &live, 12);
        then_it_has_everything(t, &behind, 12);
        then_it_has_everything(t, &torn, 10);
        assert_int_equal(one.n, 0);
        (void) when_an_event_of_size_happens(t, "a", "other", 200);
        when_it_reads_all(t, &one);
        assert_int_equal(one.n, 1);
        assert_int_equal(live.n_gaps + behind.n_gaps + torn.n_gaps + one.n_gaps, 0);
        reader_done(&live);
        reader_done(&behind);
        reader_done(&torn);
        reader_done(&one);
}

#define SUBSCRIPTION_TEST(test) cmocka_unit_test_setup_teardown(test, test_begin, test_end)

int main(void) {
        static const struct CMUnitTest tests[] = {
                SUBSCRIPTION_TEST(test_what_happens_is_told_at_once),
                SUBSCRIPTION_TEST(test_who_has_everything_is_told_without_reading_the_log),
                SUBSCRIPTION_TEST(test_a_record_is_what_is_promised),
                SUBSCRIPTION_TEST(test_what_has_happened_is_told_first_and_in_the_same_words),
                SUBSCRIPTION_TEST(test_events_between_replay_and_live_come_once),
                SUBSCRIPTION_TEST(test_a_number_that_is_yet_to_come_means_from_now_on),
                SUBSCRIPTION_TEST(test_only_what_was_asked_for_is_told),
                SUBSCRIPTION_TEST(test_a_gap_comes_first_when_what_was_asked_for_is_no_longer_kept),
                SUBSCRIPTION_TEST(test_who_is_too_slow_gets_a_gap_in_the_middle_and_goes_on),
                SUBSCRIPTION_TEST(test_who_never_reads_costs_no_memory_and_no_wake_ups),
                SUBSCRIPTION_TEST(test_who_has_everything_costs_no_wake_ups),
                SUBSCRIPTION_TEST(test_who_has_gone_is_forgotten_at_once),
                SUBSCRIPTION_TEST(test_large_records_are_never_torn_however_they_are_read),
                SUBSCRIPTION_TEST(test_a_record_that_was_begun_is_ended_before_the_gap),
                SUBSCRIPTION_TEST(test_what_waits_for_room_on_the_disk_is_told_once_and_in_order),
                SUBSCRIPTION_TEST(test_a_number_that_was_used_up_without_a_record_is_a_gap),
                SUBSCRIPTION_TEST(test_a_hundred_subscribers_each_get_everything),
                SUBSCRIPTION_TEST(test_one_turn_of_the_loop_is_short_also_when_nothing_matches),
                SUBSCRIPTION_TEST(test_one_client_cannot_take_all_there_are),
                SUBSCRIPTION_TEST(test_readers_find_the_end_when_the_set_goes),
                SUBSCRIPTION_TEST(test_another_program_goes_on_to_the_byte),
                SUBSCRIPTION_TEST(test_a_random_walk_tears_and_loses_nothing),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
