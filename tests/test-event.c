/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Events: one table for the record on disk and for what clients are told. */

#include "core/event.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static char *bind_options[] = { (char *) "rbind", (char *) "ro", NULL };
static char *no_options[] = { NULL };
static Mount sample_mounts[] = {
        { .type = (char *) "bind", .source = (char *) "/src \"q\"", .target = (char *) "", .options = bind_options },
        { .type = (char *) "tmpfs", .source = (char *) "tmpfs", .target = (char *) "tmp", .options = no_options },
        { .type = (char *) "proc", .source = (char *) "", .target = (char *) "proc", .options = NULL },
};
static const Mounts sample_rootfs = { .mounts = sample_mounts, .n_mounts = ELEMENTSOF(sample_mounts) };

static const Event sample = {
        .sequence = EVENT_SEQUENCE_MAX,
        .time_usec = 1700000000123456,
        .ns = "k8s.io",
        .container_id = "web",
        .bundle = "/b \"quoted\" \xc3\xa9\n",
        .rootfs = &sample_rootfs,
        .stdin_path = "",
        .stdout_path = "/run/out",
        .stderr_path = "fd",
        .checkpoint = "/image",
        .id = "web",
        .exec_id = "e1",
        .syscall = "mkdir",
        .action = "errno",
        .error = EPERM,
        .count = UINT64_MAX,
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

static void then_mounts_are_equal(const Event *a, const Event *b) {
        assert_int_equal(event_rootfs_length(a), event_rootfs_length(b));

        for (size_t i = 0; i < event_rootfs_length(a); i++) {
                EventMount m = event_rootfs_get(a, i), n = event_rootfs_get(b, i);

                assert_string_equal(m.type, n.type);
                assert_string_equal(m.source, n.source);
                assert_string_equal(m.target, n.target);
                assert_int_equal(m.n_options, n.n_options);
                for (size_t j = 0; j < m.n_options; j++)
                        assert_string_equal(event_mount_option(&m, j), event_mount_option(&n, j));
        }
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
                        assert_int_equal(event_rootfs_length(a), ELEMENTSOF(sample_mounts));
                        then_mounts_are_equal(a, b);
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

static void test_the_mounts_of_an_event_are_handed_out_wherever_it_has_come_from(void **state) {
        _cleanup_(freep) char *record = NULL, *again = NULL;
        _cleanup_(json_freep) Json tree = NULL;
        Event e = sample, back;
        EventMount m;

        e.topic = EVENT_CREATE;
        record = given_the_record_of(e);
        assert_non_null(strstr(record, "\"rootfs\":[{\"type\":\"bind\",\"source\":\"/src \\\"q\\\"\",\"target\":\"\","
                                       "\"options\":[\"rbind\",\"ro\"]},"));
        assert_int_equal(json_parse(record, strlen(record), &tree, NULL), 0);
        assert_int_equal(event_from_json(tree, &back), 0);

        assert_null(back.rootfs);
        assert_int_equal(event_rootfs_length(&back), 3);
        m = event_rootfs_get(&back, 0);
        assert_string_equal(m.source, "/src \"q\"");
        assert_int_equal(m.n_options, 2);
        assert_string_equal(event_mount_option(&m, 1), "ro");
        m = event_rootfs_get(&back, 2);
        assert_string_equal(m.type, "proc");
        assert_int_equal(m.n_options, 0);

        again = given_the_record_of(back);
        assert_string_equal(record, again);
}

static void test_an_event_without_mounts_has_an_empty_list(void **state) {
        _cleanup_(freep) char *record = NULL;
        _cleanup_(json_freep) Json tree = NULL;
        Event e = sample, back;

        e.topic = EVENT_CREATE;
        e.rootfs = NULL;
        assert_int_equal(event_rootfs_length(&e), 0);
        record = given_the_record_of(e);
        assert_non_null(strstr(record, "\"rootfs\":[],"));
        assert_int_equal(json_parse(record, strlen(record), &tree, NULL), 0);
        assert_int_equal(event_from_json(tree, &back), 0);
        assert_int_equal(event_rootfs_length(&back), 0);
}

static void test_mounts_that_are_none_are_refused(void **state) {
        static const struct {
                const char *rootfs;
                int expected;
        } cases[] = {
                { "\"rootfs\":[],", 0 },
                { "\"rootfs\":[{\"type\":\"a\",\"source\":\"b\",\"target\":\"c\",\"options\":[\"d\"]}],", 0 },
                { "", -EINVAL },
                { "\"rootfs\":null,", -EINVAL },
                { "\"rootfs\":{},", -EINVAL },
                { "\"rootfs\":[7],", -EINVAL },
                { "\"rootfs\":[{\"source\":\"b\",\"target\":\"c\",\"options\":[]}],", -EINVAL },
                { "\"rootfs\":[{\"type\":\"a\",\"target\":\"c\",\"options\":[]}],", -EINVAL },
                { "\"rootfs\":[{\"type\":\"a\",\"source\":\"b\",\"options\":[]}],", -EINVAL },
                { "\"rootfs\":[{\"type\":\"a\",\"source\":\"b\",\"target\":7,\"options\":[]}],", -EINVAL },
                { "\"rootfs\":[{\"type\":\"a\",\"source\":\"b\",\"target\":\"c\"}],", -EINVAL },
                { "\"rootfs\":[{\"type\":\"a\",\"source\":\"b\",\"target\":\"c\",\"options\":\"d\"}],", -EINVAL },
                { "\"rootfs\":[{\"type\":\"a\",\"source\":\"b\",\"target\":\"c\",\"options\":[7]}],", -EINVAL },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(json_freep) Json tree = NULL;
                _cleanup_(freep) char *record = NULL;
                Event e;

                record = strdup_printf("{\"sequence\":1,\"topic\":\"/tasks/create\",\"time\":1,\"namespace\":\"a\","
                                       "\"container_id\":\"b\",\"data\":{\"bundle\":\"\",%s\"stdin\":\"\","
                                       "\"stdout\":\"\",\"stderr\":\"\",\"terminal\":false,\"checkpoint\":\"\","
                                       "\"pid\":1}}",
                                       cases[i].rootfs);
                assert_int_equal(json_parse(record, strlen(record), &tree, NULL), 0);
                assert_int_equal(event_from_json(tree, &e), cases[i].expected);
        }
}

static void test_the_head_of_a_record_tells_whose_it_is(void **state) {
        static const char other[] = "{\"data\":{\"sequence\":7,\"namespace\":\"x\",\"more\":[{\"container_id\":8}]}, "
                                    "\"container_id\":\"b\", \"namespace\":\"a\", \"sequence\":1}";
        _cleanup_(freep) char *record = NULL;
        Event e = sample;
        EventHead head;

        e.topic = EVENT_CREATE;
        record = given_the_record_of(e);
        assert_int_equal(event_head_from_json(record, strlen(record), &head), 0);
        assert_true(head.sequence == EVENT_SEQUENCE_MAX);
        assert_string_equal(head.ns, "k8s.io");
        assert_string_equal(head.container_id, "web");

        /* In whatever order, and not taken from further down. */
        assert_int_equal(event_head_from_json(other, strlen(other), &head), 0);
        assert_int_equal(head.sequence, 1);
        assert_string_equal(head.ns, "a");
        assert_string_equal(head.container_id, "b");
}

#define LONG_76 "1234567890123456789012345678901234567890123456789012345678901234567890123456"

#define OOM_RECORD(sequence, ns, id) \
        "{\"sequence\":" sequence ",\"topic\":\"/tasks/oom\",\"time\":1,\"namespace\":\"" ns "\",\"container_id\":\"" id \
        "\",\"data\":{"

static void test_a_record_without_a_sound_head_is_refused(void **state) {
        static const struct {
                const char *record;
                int expected;
        } cases[] = {
                { "{\"sequence\":1,\"namespace\":\"" LONG_76 "\",\"container_id\":\"" LONG_76 "\"}", 0 },
                { "{\"sequence\":1,\"namespace\":\"" LONG_76 "7\",\"container_id\":\"b\"}", -EINVAL },
                { "{\"sequence\":1,\"namespace\":\"a\",\"container_id\":\"" LONG_76 "7\"}", -EINVAL },
                { "{\"sequence\":1,\"namespace\":\"a\",\"container_id\":\"b\"", -EINVAL },
                { "{\"sequence\":1,\"namespace\":\"a\",\"container_id\":\"b\"}}", -EINVAL },
                { "{\"sequence\":1,\"namespace\":\"a\",\"container_id\":\"b\",\"data\":{\"x\":\"\xff\"}}", -EINVAL },
                { "{\"sequence\":\"1\",\"namespace\":\"a\",\"container_id\":\"b\"}", -EINVAL },
                { "{\"sequence\":-1,\"namespace\":\"a\",\"container_id\":\"b\"}", -EINVAL },
                { "{\"sequence\":1e3,\"namespace\":\"a\",\"container_id\":\"b\"}", -EINVAL },
                { "{\"sequence\":18446744073709551616,\"namespace\":\"a\",\"container_id\":\"b\"}", -EINVAL },
                { "{\"sequence\":1,\"namespace\":[\"a\"],\"container_id\":\"b\"}", -EINVAL },
                { "{\"sequence\":1,\"namespace\":\"a\"}", -EINVAL },
                { "[{\"sequence\":1,\"namespace\":\"a\",\"container_id\":\"b\"}]", -EINVAL },
                { "{\"sequence\":1,\"namespace\":\"a\",\"container_id\":\"..\"}", -EINVAL },
                { "{\"sequence\":1,\"namespace\":\"a b\",\"container_id\":\"b\"}", -EINVAL },
                { OOM_RECORD("1", "a", "b") "}}", 0 },
                { OOM_RECORD("1", "a", "b") "}", -EINVAL },
                { OOM_RECORD("1", "a", "b"), -EINVAL },
                { OOM_RECORD("1", "a", ""), -EINVAL },
                { OOM_RECORD("1", "a b", "b") "}}", -EINVAL },
                { OOM_RECORD("1", LONG_76, LONG_76) "}}", 0 },
                { OOM_RECORD("1", LONG_76 "7", "b") "}}", -EINVAL },
                { OOM_RECORD("-1", "a", "b") "}}", -EINVAL },
                { OOM_RECORD("", "a", "b") "}}", -EINVAL },
                { OOM_RECORD("18446744073709551616", "a", "b") "}}", -EINVAL },
                { OOM_RECORD("9223372036854775807", "a", "b") "}}", 0 },
                { OOM_RECORD("9223372036854775808", "a", "b") "}}", -EINVAL }, /* none of ours gets that far */
                { "\xff garbage", -EINVAL },
                { "}}", -EINVAL },
                { "", -EINVAL },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                EventHead head;

                assert_int_equal(event_head_from_json(cases[i].record, strlen(cases[i].record), &head),
                                 cases[i].expected);
        }
}

static void test_the_record_is_what_subscribers_are_promised(void **state) {
        _cleanup_(freep) char *record = NULL;
        Event e = sample;

        e.topic = EVENT_EXIT;
        record = given_the_record_of(e);
        assert_string_equal(record, "{\"sequence\":9223372036854775807,\"topic\":\"/tasks/exit\",\"time\":1700000000123456,"
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
                { "/tasks/seccomp", "TaskSeccomp" },
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
                cmocka_unit_test(test_the_mounts_of_an_event_are_handed_out_wherever_it_has_come_from),
                cmocka_unit_test(test_an_event_without_mounts_has_an_empty_list),
                cmocka_unit_test(test_mounts_that_are_none_are_refused),
                cmocka_unit_test(test_the_head_of_a_record_tells_whose_it_is),
                cmocka_unit_test(test_a_record_without_a_sound_head_is_refused),
                cmocka_unit_test(test_the_record_is_what_subscribers_are_promised),
                cmocka_unit_test(test_topics_and_signals_are_containerds),
                cmocka_unit_test(test_a_record_that_lacks_something_or_has_it_otherwise_is_refused),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
