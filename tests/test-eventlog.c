/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The event log: what is kept, what is dropped, and what a crash or a full disk does to it. */

#include "core/eventlog.h"
#include "util/text.h"

#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <cmocka.h>

typedef struct World {
        char path[64];
        int fd;
        EventLog *log;
} World;

/* ---- the vocabulary ---- */

static int setup(void **state) {
        World *w = calloc(1, sizeof(*w));

        strcpy(w->path, "/tmp/test-eventlog.XXXXXX");
        assert_non_null(mkdtemp(w->path));
        w->fd = open(w->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(w->fd >= 0);
        assert_int_equal(eventlog_open(&w->log, w->fd), 0);
        *state = w;
        return 0;
}

static int teardown(void **state) {
        _cleanup_(freep) char *command = NULL;
        World *w = *state;

        eventlog_free(w->log);
        safe_close(w->fd);
        command = strdup_printf("rm -rf '%s'", w->path);
        assert_int_equal(system(command), 0);
        free(w);
        return 0;
}

static void when_it_is_opened_again(World *w) {
        w->log = eventlog_free(w->log);
        assert_int_equal(eventlog_open(&w->log, w->fd), 0);
}

static int when_an_event_happens(World *w) {
        _cleanup_(json_writer_freep) JsonWriter *writer = json_writer_new(false);
        Event e = { .sequence = eventlog_next(w->log), .topic = EVENT_START, .time_usec = 1, .ns = "default", .container_id = "c" };
        const char *text;
        size_t size;

        e.pid = (uint32_t) e.sequence;
        event_write_json(&e, writer);
        assert_int_equal(json_writer_finish(writer, &text, &size), 0);
        return eventlog_append(w->log, e.sequence, text, size);
}

static void given_events(World *w, unsigned n) {
        for (unsigned i = 0; i < n; i++)
                assert_int_equal(when_an_event_happens(w), 0);
}

typedef struct Seen {
        uint64_t first, last;
        unsigned n;
} Seen;

static int see(void *userdata, const Event *e) {
        Seen *seen = userdata;

        if (seen->n++ == 0)
                seen->first = e->sequence;
        else
                assert_true(e->sequence > seen->last);
        seen->last = e->sequence;
        assert_int_equal(e->pid, (uint32_t) e->sequence);
        return 0;
}

static void then_reading(World *w, uint64_t after, unsigned max, bool complete, unsigned n, uint64_t first) {
        Seen seen = {};

        assert_int_equal(eventlog_read(w->log, after, max, see, &seen), 0);
        assert_int_equal(seen.n, n);
        if (n > 0) {
                assert_int_equal(seen.first, first);
                assert_int_equal(seen.last, first + n - 1);
        }
        assert_int_equal(eventlog_is_complete(w->log, after), complete);
}

static char *newest_segment(World *w, unsigned first) {
        return strdup_printf("%s/" EVENTLOG_FOLDER "/%020u", w->path, first);
}

/* ---- the specs ---- */

static void test_an_empty_log_is_complete_and_begins_with_one(void **state) {
        World *w = *state;

        assert_int_equal(eventlog_next(w->log), 1);
        then_reading(w, 0, 0, true, 0, 0);
        when_it_is_opened_again(w);
        assert_int_equal(eventlog_next(w->log), 1);
}

static void test_events_are_read_after_a_number_and_up_to_a_count(void **state) {
        World *w = *state;

        given_events(w, 10);
        then_reading(w, 0, 0, true, 10, 1);
        then_reading(w, 4, 0, true, 6, 5);
        then_reading(w, 4, 2, true, 2, 5);
        then_reading(w, 10, 0, true, 0, 0);
        then_reading(w, UINT64_MAX, 0, true, 0, 0);
}

static void test_numbers_go_on_after_a_restart(void **state) {
        World *w = *state;

        given_events(w, 3);
        when_it_is_opened_again(w);
        assert_int_equal(eventlog_last(w->log), 3);
        given_events(w, 1);
        then_reading(w, 0, 0, true, 4, 1);
}

static void test_the_oldest_are_dropped_and_that_is_told(void **state) {
        unsigned many = EVENTLOG_SEGMENT_EVENTS * (EVENTLOG_SEGMENTS + 1) + 5;
        unsigned dropped = EVENTLOG_SEGMENT_EVENTS * 2;
        World *w = *state;

        given_events(w, many);
        then_reading(w, 0, 0, false, many - dropped, dropped + 1);
        then_reading(w, dropped - 1, 0, false, many - dropped, dropped + 1);
        then_reading(w, dropped, 0, true, many - dropped, dropped + 1);

        when_it_is_opened_again(w);
        assert_int_equal(eventlog_last(w->log), many);
        then_reading(w, many - 3, 0, true, 3, many - 2);
}

static void test_a_torn_last_line_is_cut_off(void **state) {
        _cleanup_(freep) char *path = newest_segment(*state, 1);
        World *w = *state;
        FILE *f;

        given_events(w, 2);
        f = fopen(path, "ae");
        assert_non_null(f);
        assert_true(fputs("{\"sequence\":3,\"topic\":\"/tas", f) >= 0);
        assert_int_equal(fclose(f), 0);

        when_it_is_opened_again(w);
        assert_int_equal(eventlog_last(w->log), 2);
        given_events(w, 1);
        then_reading(w, 0, 0, true, 3, 1);
}

static void test_a_garbage_line_hides_no_others(void **state) {
        _cleanup_(freep) char *path = newest_segment(*state, 1);
        World *w = *state;
        Seen seen = {};
        FILE *f;

        given_events(w, 2);
        f = fopen(path, "ae");
        assert_non_null(f);
        assert_true(fputs("\xff\xfe garbage\n", f) >= 0);
        assert_int_equal(fclose(f), 0);

        when_it_is_opened_again(w);
        given_events(w, 2);
        assert_int_equal(eventlog_read(w->log, 0, 0, see, &seen), 0);
        assert_int_equal(seen.n, 4);
}

static void test_numbers_never_go_back_where_there_was_a_gap(void **state) {
        static const char record[] = "{\"sequence\":7,\"topic\":\"/tasks/oom\",\"time\":1,\"namespace\":\"a\","
                                     "\"container_id\":\"b\",\"data\":{}}";
        World *w = *state;

        given_events(w, 1);
        assert_int_equal(eventlog_append(w->log, 7, record, strlen(record)), 0);
        when_it_is_opened_again(w);
        assert_int_equal(eventlog_next(w->log), 8);
}

static void test_what_does_not_fit_on_a_full_disk_waits_and_is_written_later(void **state) {
        _cleanup_(freep) char *ballast = NULL;
        static const char zeros[4096];
        World *w = *state;
        unsigned kept = 0;
        int fd;

        if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) < 0 ||
            mount("tmpfs", w->path, "tmpfs", 0, "size=64k") < 0)
                skip();

        w->log = eventlog_free(w->log);
        safe_close(w->fd);
        w->fd = open(w->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_int_equal(eventlog_open(&w->log, w->fd), 0);

        ballast = strdup_printf("%s/ballast", w->path);
        fd = open(ballast, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        while (write(fd, zeros, sizeof(zeros)) > 0)
                ;
        safe_close(fd);

        for (unsigned i = 0; i < 50; i++)
                kept += when_an_event_happens(w) == 1;
        assert_true(kept > 0);
        assert_true(eventlog_flush(w->log) < 0);
        then_reading(w, 0, 0, true, 50, 1);

        assert_int_equal(unlink(ballast), 0);
        assert_int_equal(eventlog_flush(w->log), 0);
        when_it_is_opened_again(w);
        then_reading(w, 0, 0, true, 50, 1);

        w->log = eventlog_free(w->log);
        w->fd = safe_close(w->fd);
        assert_int_equal(umount2(w->path, MNT_DETACH), 0);
}

/* ---- reading on ---- */

/* A reader that goes on later: everything once, in order, and nothing missing that it was not told of. */
typedef struct Reader {
        EventCursor cursor;
        uint64_t last;
        unsigned n, n_holes;
        unsigned refuse; /* the next records, that often */
        size_t step;     /* bytes taken in the last step */
} Reader;

static int reader_on_record(void *userdata, const EventRecord *record) {
        Reader *reader = userdata;

        if (reader->refuse > 0) {
                reader->refuse--;
                return 1;
        }
        assert_true(record->sequence > reader->last);
        if (record->text) {
                assert_true(record->sequence == reader->last + 1);
                assert_string_equal(record->ns, "default");
                reader->n++;
        } else
                reader->n_holes++;
        reader->last = record->sequence;
        reader->step += record->size + 1;
        return 0;
}

static Reader given_a_reader(World *w, uint64_t after) {
        Reader reader = { .cursor = eventlog_seek(w->log, after) };

        reader.last = reader.cursor.sequence;
        return reader;
}

static int when_it_reads_a_step(World *w, Reader *reader) {
        reader->step = 0;
        return eventlog_read_on(w->log, &reader->cursor, reader_on_record, reader);
}

/* Returns the number of steps. */
static unsigned when_it_reads_all(World *w, Reader *reader) {
        unsigned n = 0;
        int r;

        do {
                r = when_it_reads_a_step(w, reader);
                assert_true(r >= 0);
                n++;
        } while (r == 0);

        assert_true(reader->last == eventlog_last(w->log));
        assert_true(reader->cursor.sequence == reader->last);
        return n;
}

/* From now on files do not get larger than the newest segment is; what is in the way of that stays unwritten. */
static void given_a_full_disk(World *w, unsigned segment) {
        _cleanup_(freep) char *path = newest_segment(w, segment);
        struct rlimit limit;
        struct stat st;

        (void) signal(SIGXFSZ, SIG_IGN);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
        limit.rlim_cur = (rlim_t) st.st_size + 20;
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void when_there_is_room_again(World *w) {
        struct rlimit limit;

        assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
        limit.rlim_cur = limit.rlim_max;
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void test_a_reader_goes_on_where_it_was_in_steps_of_a_bounded_size(void **state) {
        unsigned many = EVENTLOG_SEGMENT_EVENTS * 2 + 100;
        World *w = *state;
        Reader reader = given_a_reader(w, 0), second, third;
        unsigned steps = 0;
        int r;

        given_events(w, many);
        do {
                r = when_it_reads_a_step(w, &reader);
                assert_true(r >= 0);
                assert_true(reader.step <= EVENTLOG_STEP * 2);
                steps++;
        } while (r == 0);
        assert_int_equal(reader.n, many);
        assert_int_equal(reader.n_holes, 0);
        assert_true(steps >= 5);

        /* Having everything, it is told of what comes and of nothing else. */
        assert_int_equal(when_it_reads_a_step(w, &reader), 1);
        assert_int_equal(reader.step, 0);
        given_events(w, 1);
        assert_int_equal(when_it_reads_a_step(w, &reader), 1);
        assert_int_equal(reader.n, many + 1);

        /* Others begin in the middle, or with what is to come. */
        second = given_a_reader(w, EVENTLOG_SEGMENT_EVENTS + 7);
        third = given_a_reader(w, UINT64_MAX);
        given_events(w, 3);
        (void) when_it_reads_all(w, &second);
        (void) when_it_reads_all(w, &third);
        assert_int_equal(second.n, many + 4 - EVENTLOG_SEGMENT_EVENTS - 7);
        assert_int_equal(third.n, 3);
}

static void test_a_reader_that_lacks_only_the_newest_need_not_look_for_it(void **state) {
        World *w = *state;
        Reader reader;

        given_events(w, EVENTLOG_SEGMENT_EVENTS + 1000);
        reader = given_a_reader(w, EVENTLOG_SEGMENT_EVENTS + 999);
        assert_true(reader.cursor.offset > 0);
        assert_int_equal(when_it_reads_a_step(w, &reader), 1);
        assert_int_equal(reader.n, 1);
}

static void test_a_record_that_is_not_taken_is_given_again(void **state) {
        World *w = *state;
        Reader reader = given_a_reader(w, 0);

        given_events(w, 5);
        reader.refuse = 2;
        assert_int_equal(when_it_reads_a_step(w, &reader), 0);
        assert_int_equal(when_it_reads_a_step(w, &reader), 0);
        assert_int_equal(reader.n, 0);
        assert_int_equal(when_it_reads_a_step(w, &reader), 1);
        assert_int_equal(reader.n, 5);
}

static void test_a_reader_whose_segment_has_been_dropped_is_told_of_a_hole(void **state) {
        World *w = *state;
        Reader early = given_a_reader(w, 0), late;

        given_events(w, 1000);
        assert_int_equal(when_it_reads_a_step(w, &early), 0);
        assert_true(early.n > 0 && early.n < 1000);
        late = given_a_reader(w, 1000);

        given_events(w, EVENTLOG_SEGMENT_EVENTS * (EVENTLOG_SEGMENTS + 1));
        early.n = 0;
        early.refuse = 1; /* of the hole */
        (void) when_it_reads_all(w, &early);
        assert_int_equal(early.n_holes, 1);
        assert_int_equal(early.n, EVENTLOG_SEGMENT_EVENTS * (EVENTLOG_SEGMENTS - 1) + 1000);
        (void) when_it_reads_all(w, &late);
        assert_int_equal(late.n_holes, 1);
        assert_int_equal(late.n, early.n);
}

static void test_numbers_without_a_record_are_a_hole(void **state) {
        _cleanup_(freep) char *path = newest_segment(*state, 1);
        World *w = *state;
        Reader reader = given_a_reader(w, 0), again;
        FILE *f;

        given_events(w, 2);
        eventlog_skip(w->log, 3);
        (void) when_it_reads_all(w, &reader);
        assert_int_equal(reader.n, 2);
        assert_int_equal(reader.n_holes, 1);

        given_events(w, 1);
        (void) when_it_reads_all(w, &reader);
        assert_int_equal(reader.n, 3);
        assert_int_equal(reader.n_holes, 1);

        /* A line that was damaged is as good as none. */
        f = fopen(path, "r+e");
        assert_non_null(f);
        assert_int_equal(fseek(f, 30, SEEK_SET), 0);
        assert_int_equal(fputc(0xff, f), 0xff);
        assert_int_equal(fclose(f), 0);
        again = given_a_reader(w, 0);
        (void) when_it_reads_all(w, &again);
        assert_int_equal(again.n, 2);
        assert_int_equal(again.n_holes, 2);
}

static void test_records_larger_than_a_step_are_read_whole(void **state) {
        _cleanup_(freep) char *path = malloc(EVENTLOG_STEP * 3 + 1);
        World *w = *state;
        Reader reader = given_a_reader(w, 0);

        memset(path, 'x', EVENTLOG_STEP * 3);
        path[EVENTLOG_STEP * 3] = 0;
        for (unsigned i = 0; i < 6; i++) {
                _cleanup_(json_writer_freep) JsonWriter *writer = json_writer_new(false);
                Event e = { .sequence = eventlog_next(w->log), .topic = EVENT_CREATE, .ns = "default", .container_id = "c", .bundle = path };
                const char *text;
                size_t size;

                event_write_json(&e, writer);
                assert_int_equal(json_writer_finish(writer, &text, &size), 0);
                assert_int_equal(eventlog_append(w->log, e.sequence, text, size), 0);
                given_events(w, 1);
        }

        (void) when_it_reads_all(w, &reader);
        assert_int_equal(reader.n, 12);
        assert_int_equal(reader.n_holes, 0);
}

static void test_what_waits_in_memory_is_read_once_before_and_after_it_is_written(void **state) {
        World *w = *state;
        Reader before = given_a_reader(w, 0), during, after = given_a_reader(w, 0), late;

        given_events(w, 10);
        given_a_full_disk(w, 1);
        for (unsigned i = 0; i < 1500; i++)
                assert_int_equal(when_an_event_happens(w), 1);

        /* Through all of it; into the middle of what waits; and behind its newest, while it still waits. */
        (void) when_it_reads_all(w, &before);
        assert_int_equal(before.n, 1510);
        during = given_a_reader(w, 0);
        assert_int_equal(when_it_reads_a_step(w, &during), 0);
        assert_true(during.n > 10 && during.n < 1510);
        late = given_a_reader(w, 1509);

        when_there_is_room_again(w);
        given_events(w, 1000);
        (void) when_it_reads_all(w, &before);
        (void) when_it_reads_all(w, &during);
        (void) when_it_reads_all(w, &after);
        (void) when_it_reads_all(w, &late);
        assert_int_equal(before.n, 2510);
        assert_int_equal(during.n, 2510);
        assert_int_equal(after.n, 2510);
        assert_int_equal(late.n, 1001);
        assert_int_equal(before.n_holes + during.n_holes + after.n_holes + late.n_holes, 0);

        when_it_is_opened_again(w);
        then_reading(w, 0, 0, true, 2510, 1);
}

static unsigned count_fds(void) {
        unsigned n = 0;

        for (int fd = 0; fd < 1024; fd++)
                n += fcntl(fd, F_GETFD) >= 0;
        return n;
}

static void test_no_more_descriptors_are_open_than_there_are_segments(void **state) {
        World *w = *state;
        unsigned before = count_fds();

        given_events(w, EVENTLOG_SEGMENT_EVENTS * (EVENTLOG_SEGMENTS * 2) + 1);
        assert_int_equal(count_fds(), before - 1 + EVENTLOG_SEGMENTS);
        when_it_is_opened_again(w);
        assert_int_equal(count_fds(), before - 1 + EVENTLOG_SEGMENTS);
        then_reading(w, 0, 0, false, EVENTLOG_SEGMENT_EVENTS * (EVENTLOG_SEGMENTS - 1) + 1,
                     EVENTLOG_SEGMENT_EVENTS * (EVENTLOG_SEGMENTS + 1) + 1);
}

#define LOG_TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
        static const struct CMUnitTest tests[] = {
                LOG_TEST(test_an_empty_log_is_complete_and_begins_with_one),
                LOG_TEST(test_events_are_read_after_a_number_and_up_to_a_count),
                LOG_TEST(test_numbers_go_on_after_a_restart),
                LOG_TEST(test_the_oldest_are_dropped_and_that_is_told),
                LOG_TEST(test_a_torn_last_line_is_cut_off),
                LOG_TEST(test_a_garbage_line_hides_no_others),
                LOG_TEST(test_numbers_never_go_back_where_there_was_a_gap),
                LOG_TEST(test_a_reader_goes_on_where_it_was_in_steps_of_a_bounded_size),
                LOG_TEST(test_a_reader_that_lacks_only_the_newest_need_not_look_for_it),
                LOG_TEST(test_a_record_that_is_not_taken_is_given_again),
                LOG_TEST(test_a_reader_whose_segment_has_been_dropped_is_told_of_a_hole),
                LOG_TEST(test_numbers_without_a_record_are_a_hole),
                LOG_TEST(test_records_larger_than_a_step_are_read_whole),
                LOG_TEST(test_what_waits_in_memory_is_read_once_before_and_after_it_is_written),
                LOG_TEST(test_no_more_descriptors_are_open_than_there_are_segments),
                LOG_TEST(test_what_does_not_fit_on_a_full_disk_waits_and_is_written_later),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
