/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The event log: what is kept, what is dropped, and what a crash or a full disk does to it. */

#include "core/eventlog.h"
#include "util/text.h"

#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/mount.h>
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
                LOG_TEST(test_what_does_not_fit_on_a_full_disk_waits_and_is_written_later),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
