/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Events: one table for the record on disk and for what clients are told. */

#include "core/event.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const Event sample = {
        .sequence = UINT64_MAX,
        .time_usec = 1700000000123456,
        .ns = "k8s.io",
        .container_id = "web",
        .bundle = "/b \"quoted\" \xc3\xa9\n",
        .stdin_path = "",
        .stdout_path = "/run/out",
        .stderr_path = "fd",
        .checkpoint = "/image",
        .id = "web",
        .exec_id = "e1",
        .exited_at = 1700000000123455,
        .pid = UINT32_MAX,
        .exit_status = 137,
        .terminal = true,
};

static char *given_the_record_of(Event e) {
        _cleanup_(json_writer_freep) JsonWriter *w = json_writer_new(false);
        const char *text;
        size_t size;

        event_write_json(&e, w);
        assert_int_equal(json_writer_finish(w, &text, &size), 0);
        return strndup(text, size);
}

static void then_fields_are_equal(const Event *a, const Event *b) {
        for (const EventField *f = event_topic_fields(a->topic); f->name; f++) {
                const void *p = event_field_ptr(a, f), *q = event_field_ptr(b, f);

                switch (f->type) {
                case EVENT_FIELD_STRING:
                        assert_string_equal(*(const char *const *) p, *(const char *const *) q);
                        break;
                case EVENT_FIELD_BOOL:
                        assert_int_equal(*(const bool *) p, *(const bool *) q);
                        break;
                case EVENT_FIELD_UINT32:
                        assert_int_equal(*(const uint32_t *) p, *(const uint32_t *) q);
                        break;
                case EVENT_FIELD_UINT64:
                        assert_int_equal(*(const uint64_t *) p, *(const uint64_t *) q);
                        break;
                case EVENT_FIELD_MOUNTS:
                        break;
                }
        }
}

static void test_an_event_of_each_topic_survives_the_way_to_disk_and_back(void **state) {
        for (int t = 0; t < _EVENT_TOPIC_MAX; t++) {
                _cleanup_(json_freep) Json tree = NULL;
                _cleanup_(freep) char *record = NULL;
                Event e = sample, back;

                e.topic = (EventTopic) t;
                record = given_the_record_of(e);
                assert_null(strchr(record, '\n'));
                assert_int_equal(json_parse(record, strlen(record), &tree, NULL), 0);
                assert_int_equal(event_from_json(tree, &back), 0);

                assert_int_equal(back.sequence, e.sequence);
                assert_int_equal(back.topic, e.topic);
                assert_int_equal(back.time_usec, e.time_usec);
                assert_string_equal(back.ns, e.ns);
                assert_string_equal(back.container_id, e.container_id);
                then_fields_are_equal(&e, &back);
        }
}

static void test_the_record_is_what_subscribers_are_promised(void **state) {
        _cleanup_(freep) char *record = NULL;
        Event e = sample;

        e.topic = EVENT_EXIT;
        record = given_the_record_of(e);
        assert_string_equal(record, "{\"sequence\":18446744073709551615,\"topic\":\"/tasks/exit\",\"time\":1700000000123456,"
                                    "\"namespace\":\"k8s.io\",\"container_id\":\"web\",\"data\":{\"id\":\"web\",\"pid\":4294967295,"
                                    "\"exit_status\":137,\"exited_at\":1700000000123455}}");
}

static void test_topics_and_signals_are_containerds(void **state) {
        static const char *const names[_EVENT_TOPIC_MAX][2] = {
                { "/tasks/create", "TaskCreate" },             { "/tasks/start", "TaskStart" },
                { "/tasks/oom", "TaskOOM" },                   { "/tasks/exit", "TaskExit" },
                { "/tasks/delete", "TaskDelete" },             { "/tasks/exec-added", "TaskExecAdded" },
                { "/tasks/exec-started", "TaskExecStarted" },  { "/tasks/paused", "TaskPaused" },
                { "/tasks/resumed", "TaskResumed" },           { "/tasks/checkpointed", "TaskCheckpointed" },
        };

        for (int t = 0; t < _EVENT_TOPIC_MAX; t++) {
                assert_string_equal(event_topic_to_string((EventTopic) t), names[t][0]);
                assert_string_equal(event_topic_to_signal((EventTopic) t), names[t][1]);
                assert_int_equal(event_topic_from_string(names[t][0]), t);
        }
        assert_true(event_topic_from_string("/tasks/?") < 0);
}

static void test_a_record_that_lacks_something_or_has_it_otherwise_is_refused(void **state) {
        static const char *const records[] = {
                "{}",
                "[]",
                "{\"sequence\":1,\"topic\":\"/tasks/oom\",\"time\":1,\"namespace\":\"a\",\"container_id\":\"b\"}",
                "{\"sequence\":1,\"topic\":\"/tasks/none\",\"time\":1,\"namespace\":\"a\",\"container_id\":\"b\",\"data\":{}}",
                "{\"sequence\":-1,\"topic\":\"/tasks/oom\",\"time\":1,\"namespace\":\"a\",\"container_id\":\"b\",\"data\":{}}",
                "{\"sequence\":1,\"topic\":\"/tasks/oom\",\"time\":1,\"namespace\":7,\"container_id\":\"b\",\"data\":{}}",
                "{\"sequence\":1,\"topic\":\"/tasks/start\",\"time\":1,\"namespace\":\"a\",\"container_id\":\"b\",\"data\":{}}",
                "{\"sequence\":1,\"topic\":\"/tasks/start\",\"time\":1,\"namespace\":\"a\",\"container_id\":\"b\",\"data\":{\"pid\":4294967296}}",
                "{\"sequence\":1,\"topic\":\"/tasks/start\",\"time\":1,\"namespace\":\"a\",\"container_id\":\"b\",\"data\":{\"pid\":\"5\"}}",
        };

        for (size_t i = 0; i < ELEMENTSOF(records); i++) {
                _cleanup_(json_freep) Json tree = NULL;
                Event e;

                assert_int_equal(json_parse(records[i], strlen(records[i]), &tree, NULL), 0);
                assert_int_equal(event_from_json(tree, &e), -EINVAL);
        }
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_an_event_of_each_topic_survives_the_way_to_disk_and_back),
                cmocka_unit_test(test_the_record_is_what_subscribers_are_promised),
                cmocka_unit_test(test_topics_and_signals_are_containerds),
                cmocka_unit_test(test_a_record_that_lacks_something_or_has_it_otherwise_is_refused),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
