/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The parts of the client that need nobody to talk to. */

#include "ctl/client.h"
#include "ctl/container-ref.h"
#include "ctl/detach-keys.h"
#include "ctl/event-print.h"
#include "ctl/format.h"
#include "ctl/nearest.h"
#include "ctl/oci-spec.h"
#include "ctl/process-spec.h"
#include "ctl/quantity.h"
#include "ctl/report.h"
#include "ctl/resources.h"
#include "ctl/signal-name.h"
#include "ctl/suggest.h"
#include "ctl/table.h"
#include "ctl/template.h"
#include "ctl/terminal.h"
#include "ctl/value.h"
#include "util/strv.h"

#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <locale.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>

#include <cmocka.h>

/* -- signals
 * ------------------------------------------------------------------------------------------------------ */

static void test_signals_have_names_and_numbers(void **state) {
        assert_int_equal(signal_from_string("TERM"), SIGTERM);
        assert_int_equal(signal_from_string("SIGTERM"), SIGTERM);
        assert_int_equal(signal_from_string("sigterm"), SIGTERM);
        assert_int_equal(signal_from_string("Kill"), SIGKILL);
        assert_int_equal(signal_from_string("USR1"), SIGUSR1);
        assert_int_equal(signal_from_string("15"), 15);
        assert_int_equal(signal_from_string("1"), 1);
        assert_int_equal(signal_from_string("64"), 64);
        assert_int_equal(signal_from_string("IOT"), SIGABRT);
        assert_int_equal(signal_from_string("SIGCLD"), SIGCHLD);
        assert_int_equal(signal_from_string("POLL"), SIGPOLL);
}

static void test_realtime_signals_are_counted_from_both_ends(void **state) {
        assert_int_equal(signal_from_string("RTMIN"), SIGRTMIN);
        assert_int_equal(signal_from_string("SIGRTMIN+0"), SIGRTMIN);
        assert_int_equal(signal_from_string("rtmin+3"), SIGRTMIN + 3);
        assert_int_equal(signal_from_string("SIGRTMAX"), SIGRTMAX);
        assert_int_equal(signal_from_string("RTMAX-1"), SIGRTMAX - 1);
        assert_int_equal(signal_from_string("RTMIN+30"), SIGRTMAX);
        assert_int_equal(signal_from_string("RTMIN+31"), -EINVAL);
        assert_int_equal(signal_from_string("RTMAX-31"), -EINVAL);
}

static void test_what_is_no_signal_is_refused(void **state) {
        static const char *const wrong[] = {
                "",
                "0",
                "65",
                "-1",
                "+1",
                " 1",
                "1 ",
                "0x9",
                "1e1",
                "99999999999999999999",
                "SIG",
                "SIGSIGTERM",
                "TERMINATE",
                "RT",
                "RTMIN+",
                "RTMIN-1",
                "RTMAX+1",
                "RTMIN+ 1",
                "RTMIN+-1",
                "TERM ",
                "RTMIN+99999999999999999999",
        };

        for (size_t i = 0; i < ELEMENTSOF(wrong); i++)
                if (signal_from_string(wrong[i]) != -EINVAL)
                        fail_msg("\"%s\" was taken for %d", wrong[i], signal_from_string(wrong[i]));
}

/* -- verbs
 * -------------------------------------------------------------------------------------------------------- */

static void test_distance_counts_slips(void **state) {
        static const struct {
                const char *a, *b;
                unsigned distance;
        } cases[] = {
                { "start", "start", 0 },  { "strat", "start", 1 },  { "star", "start", 1 },
                { "startt", "start", 1 }, { "stert", "start", 1 },  { "lits", "list", 1 },
                { "", "run", 3 },         { "delte", "delete", 1 }, { "remove", "delete", 4 },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                assert_int_equal(nearest_distance(cases[i].a, cases[i].b), cases[i].distance);
                assert_int_equal(nearest_distance(cases[i].b, cases[i].a), cases[i].distance);
        }
}

static void test_long_words_are_far_away(void **state) {
        char word[NEAREST_WORD_MAX + 2] = {};

        memset(word, 'a', NEAREST_WORD_MAX);
        assert_int_equal(nearest_distance(word, word), 0);
        word[NEAREST_WORD_MAX] = 'a';
        assert_int_equal(nearest_distance(word, word), UINT_MAX);
        assert_false(nearest_is_likely(word, word, UINT_MAX));
}

static void test_only_slips_are_likely(void **state) {
        assert_true(nearest_is_likely("strat", "start", 1));
        assert_true(nearest_is_likely("inspct", "inspect", 1));
        assert_false(nearest_is_likely("remove", "delete", 4));
        assert_false(nearest_is_likely("a", "run", 3));
        assert_false(nearest_is_likely("kill", "list", 2)); /* half of its letters */
        assert_false(nearest_is_likely("ru", "r", 1));
}

/* -- text
 * --------------------------------------------------------------------------------------------------------- */

static void test_no_control_character_reaches_the_terminal(void **state) {
        char s[] = "a\nb\tc\x1b[31md\x7f"
                   "e\xc2\x9b"
                   "31mf\xc3\xa9";

        format_make_line(s);
        assert_string_equal(s, "a b c [31md e  31mf\xc3\xa9");

        strcpy(s, "\xc2"); /* cut in the middle of a character */
        format_make_line(s);
        assert_string_equal(s, "\xc2");
}

static void test_words_are_quoted_when_they_have_to_be(void **state) {
        static const struct {
                const char *in, *out;
        } cases[] = {
                { "plain", "plain" },
                { "/tmp/a=b,c", "/tmp/a=b,c" },
                { "\xc3\xa9t\xc3\xa9", "\xc3\xa9t\xc3\xa9" },
                { "", "\"\"" },
                { "two words", "\"two words\"" },
                { "say \"hi\"", "\"say \\\"hi\\\"\"" },
                { "line\nline", "\"line\\nline\"" },
                { "\xc2\x9b", "\"  \"" },
                { "\x7f", "\" \"" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(freep) char *quoted = format_quote(cases[i].in);

                assert_non_null(quoted);
                assert_string_equal(quoted, cases[i].out);
        }
}

static void assert_time(uint64_t usec, const char *zone, const char *expected) {
        _cleanup_(freep) char *text = NULL;

        setenv("TZ", zone, true);
        tzset();
        text = format_time(usec);
        assert_non_null(text);
        assert_string_equal(text, expected);
}

static void test_times_are_local_and_exact(void **state) {
        assert_time(0, "UTC", "-");
        assert_time(1, "UTC", "1970-01-01T00:00:00.000001+00:00");
        assert_time(1795364044035315, "UTC", "2026-11-22T16:14:04.035315+00:00");
        assert_time(1795364044035315, "CET-1", "2026-11-22T17:14:04.035315+01:00");
        assert_time(1795364044035315, "NST3:30", "2026-11-22T12:44:04.035315-03:30");
        assert_time(UINT64_MAX, "UTC", "586524-01-19T08:01:49.551615+00:00");
}

static void test_paths_become_absolute_without_being_resolved(void **state) {
        static const struct {
                const char *cwd, *path, *absolute;
        } cases[] = {
                { "/a", "b", "/a/b" },       { "/", "b", "/b" },
                { "/a", ".", "/a" },         { "/a", "./b//c/.", "/a/b/c" },
                { "/a", "/b/./c/", "/b/c" }, { "/a", "../b", "/a/../b" },
                { "/a", "..", "/a/.." },     { "/", ".", "/" },
                { "/a", "/", "/" },          { "/a", ".hidden", "/a/.hidden" },
                { "/a", "...", "/a/..." },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(freep) char *path = format_absolute_path(cases[i].cwd, cases[i].path);

                assert_non_null(path);
                assert_string_equal(path, cases[i].absolute);
        }
}

static void test_addresses_are_escaped(void **state) {
        _cleanup_(freep) char *plain = format_unix_address("/run/monoshim/bus"),
                              *odd = format_unix_address("/tmp/a,b;c=d%e \xc3\xa9");

        assert_string_equal(plain, "unix:path=/run/monoshim/bus");
        assert_string_equal(odd, "unix:path=/tmp/a%2cb%3bc%3dd%25e%20%c3%a9");
}

/* -- tables
 * ------------------------------------------------------------------------------------------------------- */

static Table *given_table(void) {
        static const char *const header[] = { "NAME", "STATUS", "PID" };
        Table *t = table_new(header, ELEMENTSOF(header));

        assert_non_null(t);
        table_align_right(t, 2);
        assert_int_equal(table_add_row(t, (const char *const[]) { "a", "running", "7" }), 0);
        assert_int_equal(table_add_row(t, (const char *const[]) { "a-rather-long-name", "created", "12345" }), 0);
        return t;
}

static void assert_table(const Table *t, bool legend, size_t width, const char *expected) {
        char *text = NULL;
        size_t size = 0;
        FILE *f = open_memstream(&text, &size);

        assert_non_null(f);
        assert_int_equal(table_print(t, f, legend, width), 0);
        assert_int_equal(fclose(f), 0);
        assert_string_equal(text, expected);
        free(text);
}

static void test_columns_are_aligned(void **state) {
        _cleanup_(table_freep) Table *t = given_table();

        assert_table(t, true, 0,
                     "NAME               STATUS    PID\n"
                     "a                  running     7\n"
                     "a-rather-long-name created 12345\n");
        assert_table(t, false, 0,
                     "a                  running     7\n"
                     "a-rather-long-name created 12345\n");
}

static void test_the_widest_column_is_cut_first(void **state) {
        _cleanup_(table_freep) Table *t = given_table();

        assert_table(t, true, 32,
                     "NAME               STATUS    PID\n"
                     "a                  running     7\n"
                     "a-rather-long-name created 12345\n");
        assert_table(t, true, 22,
                     "NAME     STATUS    PID\n"
                     "a        running     7\n"
                     "a-rathe\xe2\x80\xa6 created 12345\n");
}

static void test_a_very_narrow_terminal_still_shows_something(void **state) {
        _cleanup_(table_freep) Table *t = given_table();

        assert_table(t, true, 5,
                     "NAME STA\xe2\x80\xa6  PID\n"
                     "a    run\xe2\x80\xa6    7\n"
                     "a-r\xe2\x80\xa6 cre\xe2\x80\xa6 123\xe2\x80\xa6\n");
}

static void test_the_last_column_has_no_blanks_behind_it(void **state) {
        static const char *const header[] = { "A", "LONG" };
        _cleanup_(table_freep) Table *t = table_new(header, ELEMENTSOF(header));

        assert_non_null(t);
        assert_int_equal(table_add_row(t, (const char *const[]) { "x", "y" }), 0);
        assert_table(t, true, 0, "A LONG\nx y\n");
}

static void test_width_is_that_on_the_screen(void **state) {
        static const char *const header[] = { "A", "B" };
        _cleanup_(table_freep) Table *t = table_new(header, ELEMENTSOF(header));

        assert_non_null(t);
        assert_int_equal(table_add_row(t, (const char *const[]) { "\xc3\xa9", "two bytes" }), 0);
        assert_int_equal(table_add_row(t, (const char *const[]) { "\xe6\xbc\xa2", "two columns" }), 0);
        assert_int_equal(table_add_row(t, (const char *const[]) { "\xff", "undecodable" }), 0);
        assert_table(t, true, 0,
                     "A  B\n"
                     "\xc3\xa9  two bytes\n"
                     "\xe6\xbc\xa2 two columns\n"
                     "\xff  undecodable\n");
}

static void test_cells_cannot_break_the_line(void **state) {
        static const char *const header[] = { "A" };
        _cleanup_(table_freep) Table *t = table_new(header, ELEMENTSOF(header));

        assert_non_null(t);
        assert_int_equal(table_add_row(t, (const char *const[]) { "x\ny" }), 0);
        assert_table(t, false, 0, "x y\n");
}

static void test_tables_grow(void **state) {
        static const char *const header[] = { "N" };
        _cleanup_(table_freep) Table *t = table_new(header, ELEMENTSOF(header));
        char *text = NULL;
        size_t size = 0, lines = 0;
        FILE *f;

        assert_non_null(t);
        for (int i = 0; i < 1000; i++)
                assert_int_equal(table_add_row(t, (const char *const[]) { "x" }), 0);

        f = open_memstream(&text, &size);
        assert_int_equal(table_print(t, f, false, 0), 0);
        fclose(f);
        for (size_t i = 0; i < size; i++)
                lines += text[i] == '\n';
        free(text);
        assert_int_equal(lines, 1000);
}

/* -- values from D-Bus
 * -------------------------------------------------------------------------------------------- */

static sd_bus *bus;

static int bus_set_up(void **state) {
        int pair[2];

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
                return -1;
        if (sd_bus_new(&bus) < 0 || sd_bus_set_fd(bus, pair[0], pair[0]) < 0 || sd_bus_start(bus) < 0)
                return -1;
        return close(pair[1]);
}

static int bus_tear_down(void **state) {
        bus = sd_bus_close_unref(bus);
        return 0;
}

static sd_bus_message *given_message(const char *types, ...) {
        sd_bus_message *m;
        va_list ap;

        assert_true(sd_bus_message_new_signal(bus, &m, "/", "org.example.Test", "Test") >= 0);
        va_start(ap, types);
        assert_true(sd_bus_message_appendv(m, types, ap) >= 0);
        va_end(ap);
        assert_true(sd_bus_message_seal(m, 1, 0) >= 0);
        return m;
}

static void assert_json(sd_bus_message *m, const char *expected) {
        _cleanup_(json_writer_freep) JsonWriter *w = json_writer_new(false);
        const char *text;
        size_t size;

        assert_int_equal(value_write_json(m, w), 0);
        assert_int_equal(json_writer_finish(w, &text, &size), 0);
        assert_string_equal(text, expected);
}

static void test_values_become_json(void **state) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;

        m = given_message("ybnqiuxtdsog", 200, true, -3, 65535, -70000, 4000000000u, INT64_MIN, UINT64_MAX, 0.5,
                          "a \"b\"\n", "/o", "a{sv}");
        assert_json(m, "200");
        assert_json(m, "true");
        assert_json(m, "-3");
        assert_json(m, "65535");
        assert_json(m, "-70000");
        assert_json(m, "4000000000");
        assert_json(m, "-9223372036854775808");
        assert_json(m, "18446744073709551615");
        assert_json(m, "0.5");
        assert_json(m, "\"a \\\"b\\\"\\n\"");
        assert_json(m, "\"/o\"");
        assert_json(m, "\"a{sv}\"");
}

static void test_containers_become_json(void **state) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;

        m = given_message("a{sv}a{us}a(sssas)asv", 2, "Pid", "u", 7, "Labels", "a{ss}", 1, "k", "v", 1, 5, "five", 1,
                          "bind", "/src", "", 2, "rbind", "ro", 0, "(tb)", UINT64_C(1), false);
        assert_json(m, "{\"Pid\":7,\"Labels\":{\"k\":\"v\"}}");
        assert_json(m, "{\"5\":\"five\"}");
        assert_json(m, "[[\"bind\",\"/src\",\"\",[\"rbind\",\"ro\"]]]");
        assert_json(m, "[]");
        assert_json(m, "[1,false]");
}

static void test_no_json_for_what_is_not_there(void **state) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = given_message("");
        _cleanup_(json_writer_freep) JsonWriter *w = json_writer_new(false);

        assert_int_equal(value_write_json(m, w), -EBADMSG);
}

static void test_infinity_is_null_in_json(void **state) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = given_message("d", (double) __builtin_inf());

        assert_json(m, "null");
}

static void assert_text(sd_bus_message *m, bool quote, const char *expected) {
        _cleanup_(freep) char *text = NULL;

        assert_int_equal(value_read_text(m, quote, &text), 0);
        assert_string_equal(text, expected);
}

static void test_values_become_text(void **state) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;

        m = given_message("svsvuas", "two words", "s", "", "a\x1b[2Jb", "b", false, 7, 1, "x");
        assert_text(m, false, "two words");
        assert_text(m, true, "\"\"");
        assert_text(m, false, "a [2Jb");
        assert_text(m, true, "false");
        assert_text(m, true, "7");
        assert_text(m, true, "[\"x\"]");
}

/* -- containers and events
 * ---------------------------------------------------------------------------------------- */

static void test_a_container_is_in_the_chosen_namespace_or_says_its_own(void **state) {
        Settings s = { .ns = "k8s.io" };
        ContainerRef ref = {};
        char *reason = NULL;

        assert_int_equal(container_ref_parse(&ref, &s, "web-1", &reason), 0);
        assert_string_equal(ref.ns, "k8s.io");
        assert_string_equal(ref.id, "web-1");
        assert_string_equal(ref.path, "/org/monoshim1/container/k8s_2eio/web_2d1");
        container_ref_done(&ref);

        assert_int_equal(container_ref_parse(&ref, &s, "other/1", &reason), 0);
        assert_string_equal(ref.ns, "other");
        assert_string_equal(ref.id, "1");
        assert_string_equal(ref.path, "/org/monoshim1/container/other/_31");
        container_ref_done(&ref);
}

static void test_what_cannot_be_a_container_is_refused_with_the_reason(void **state) {
        static const char *const wrong[] = { "", "/", "a/", "/a", "a/b/c", "..", "-a", "a b", "a/..", "../a" };
        Settings s = { .ns = "default" };

        for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
                _cleanup_(freep) char *reason = NULL;
                ContainerRef ref = {};

                assert_int_equal(container_ref_parse(&ref, &s, wrong[i], &reason), -EINVAL);
                assert_non_null(reason);
                assert_null(ref.path);
        }
}

static void test_events_are_chosen_by_namespace_or_by_container(void **state) {
        Settings s = { .ns = "default" };
        ContainerRefs none = {}, refs = {};
        char *argv[] = { (char *) "events", (char *) "a", (char *) "other/b", NULL };

        assert_true(event_filter_matches(&(EventFilter) { .refs = &none }, "x", "y"));
        assert_true(event_filter_matches(&(EventFilter) { .ns = "x", .refs = &none }, "x", "y"));
        assert_false(event_filter_matches(&(EventFilter) { .ns = "x", .refs = &none }, "z", "y"));

        optind = 1;
        assert_int_equal(container_refs_parse(&refs, &s, 3, argv), 0);
        assert_int_equal(refs.n_items, 2);
        assert_true(event_filter_matches(&(EventFilter) { .ns = "default", .refs = &refs }, "default", "a"));
        assert_true(event_filter_matches(&(EventFilter) { .ns = "default", .refs = &refs }, "other", "b"));
        assert_false(event_filter_matches(&(EventFilter) { .ns = "default", .refs = &refs }, "default", "b"));
        assert_false(event_filter_matches(&(EventFilter) { .ns = "default", .refs = &refs }, "other", "a"));
        container_refs_done(&refs);
}

/* -- amounts
 * ------------------------------------------------------------------------------------------------------ */

static void test_bytes_have_units(void **state) {
        static const struct {
                const char *text;
                int64_t bytes;
        } cases[] = {
                { "0", 0 },
                { "4096", 4096 },
                { "1B", 1 },
                { "64K", 64 << 10 },
                { "64k", 64 << 10 },
                { "64KB", 64 << 10 },
                { "64KiB", 64 << 10 },
                { "512M", INT64_C(512) << 20 },
                { "1.5G", INT64_C(3) << 29 },
                { "0.25T", INT64_C(1) << 38 },
                { "1.000001K", 1024 },
                { "2P", INT64_C(2) << 50 },
                { "8191P", INT64_C(8191) << 50 },
                { "9223372036854775807", INT64_MAX },
                { "max", QUANTITY_UNLIMITED },
                { "unlimited", QUANTITY_UNLIMITED },
                { "-1", QUANTITY_UNLIMITED },
        };
        int64_t bytes;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                if (quantity_parse_bytes(cases[i].text, &bytes) != 0)
                        fail_msg("\"%s\" was refused", cases[i].text);
                assert_int_equal(bytes, cases[i].bytes);
        }
}

static void test_what_are_no_bytes_is_refused(void **state) {
        static const char *const wrong[] = { "",   "M",   "-2",  "+1",   " 1",    "1 ",  "1X",  "1MM",   "1 M",
                                             "1.", ".5M", "1.5", "1.5B", "1..5M", "0x9", "1e3", "1KiBi", "infinity" };
        int64_t bytes = 42;

        for (size_t i = 0; i < ELEMENTSOF(wrong); i++)
                if (quantity_parse_bytes(wrong[i], &bytes) != -EINVAL)
                        fail_msg("\"%s\" was taken for %lld", wrong[i], (long long) bytes);
        assert_int_equal(quantity_parse_bytes("9223372036854775808", &bytes), -ERANGE);
        assert_int_equal(quantity_parse_bytes("8192P", &bytes), -ERANGE);
        assert_int_equal(quantity_parse_bytes("18014398509481984K", &bytes), -ERANGE);
        assert_int_equal(bytes, 42);
}

static void test_cpus_become_a_quota(void **state) {
        static const struct {
                const char *text;
                int r;
                int64_t quota;
        } cases[] = {
                { "1", 0, 100000 },           { "0.5", 0, 50000 },
                { "1.5", 0, 150000 },         { "64", 0, 6400000 },
                { "0.01", 0, 1000 },          { "2.25", 0, 225000 },
                { "0.333333", 0, 33333 },     { "max", 0, QUANTITY_UNLIMITED },
                { "0", -ERANGE, 0 },          { "0.009", -ERANGE, 0 },
                { "4294967296", -ERANGE, 0 }, { "", -EINVAL, 0 },
                { "1.", -EINVAL, 0 },         { "-0.5", -EINVAL, 0 },
                { "1M", -EINVAL, 0 },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                int64_t quota = 0;

                assert_int_equal(quantity_parse_cpus(cases[i].text, &quota), cases[i].r);
                assert_int_equal(quota, cases[i].quota);
        }
}

static void test_users_are_numbers(void **state) {
        static const char *const wrong[] = { "",      ":",  "1:",         ":1",           "root",
                                             "1:2:3", "-1", "4294967295", "0:4294967295", " 1" };
        uint32_t uid = 7, gid = 8;

        assert_int_equal(quantity_parse_user("1000", &uid, &gid), 0);
        assert_int_equal(uid, 1000);
        assert_int_equal(gid, 8);
        assert_int_equal(quantity_parse_user("0:4294967294", &uid, &gid), 0);
        assert_int_equal(uid, 0);
        assert_int_equal(gid, 4294967294u);
        for (size_t i = 0; i < ELEMENTSOF(wrong); i++)
                assert_int_equal(quantity_parse_user(wrong[i], &uid, &gid), -EINVAL);
        assert_int_equal(gid, 4294967294u);
}

static void test_bytes_are_shown_short(void **state) {
        static const struct {
                uint64_t bytes;
                const char *text;
        } cases[] = {
                { 0, "0B" },           { 1023, "1023B" },          { 1024, "1.0K" },    { 10239, "9.9K" },
                { 10240, "10K" },      { (1 << 20) - 1, "1023K" }, { 1 << 20, "1.0M" }, { UINT64_C(3) << 29, "1.5G" },
                { UINT64_MAX, "15E" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(freep) char *text = format_bytes(cases[i].bytes);

                assert_string_equal(text, cases[i].text);
        }
}

static void assert_resources(const char *expected, ...) {
        _cleanup_(freep) char *text = NULL;
        Resources resources = {};
        const char *value;
        va_list ap;

        va_start(ap, expected);
        while ((value = va_arg(ap, const char *)))
                assert_int_equal(resources_take(&resources, va_arg(ap, int), value), 0);
        va_end(ap);
        assert_int_equal(resources_are_empty(&resources), streq(expected, "{}"));
        assert_int_equal(resources_write(&resources, &text), 0);
        assert_string_equal(text, expected);
}

static void test_resources_are_those_of_oci(void **state) {
        Resources resources = {};

        assert_resources("{}", NULL);
        assert_resources("{\"memory\":{\"limit\":1048576}}", "1M", RESOURCE_MEMORY, NULL);
        assert_resources(
                "{\"memory\":{\"limit\":1,\"swap\":-1,\"reservation\":2},\"cpu\":{\"shares\":512,\"cpus\":\"0-1\",\"mems\":\"0\"},"
                "\"pids\":{\"limit\":-1},\"blockIO\":{\"weight\":100}}",
                "100", RESOURCE_BLKIO_WEIGHT, "max", RESOURCE_PIDS_LIMIT, "0", RESOURCE_CPUSET_MEMS, "0-1",
                RESOURCE_CPUSET_CPUS, "512", RESOURCE_CPU_SHARES, "2", RESOURCE_MEMORY_RESERVATION, "max",
                RESOURCE_MEMORY_SWAP, "1", RESOURCE_MEMORY, NULL);
        assert_resources("{\"cpu\":{\"quota\":150000,\"period\":100000}}", "1.5", RESOURCE_CPUS, NULL);
        assert_resources("{\"cpu\":{\"quota\":7,\"period\":100000}}", "1.5", RESOURCE_CPUS, "7", RESOURCE_CPU_QUOTA,
                         NULL);

        assert_int_equal(resources_take(&resources, RESOURCE_CPU_SHARES, "max"), -EINVAL);
        assert_int_equal(resources_take(&resources, RESOURCE_CPUSET_CPUS, "0;1"), -EINVAL);
        assert_int_equal(resources_take(&resources, RESOURCE_CPUSET_CPUS, ""), -EINVAL);
        assert_int_equal(resources_take(&resources, RESOURCE_CPUS, "0"), -ERANGE);
        assert_true(resources_are_empty(&resources));
}

/* -- detaching
 * ---------------------------------------------------------------------------------------------------- */

static void test_keys_are_characters_and_controls(void **state) {
        static const char *const wrong[] = { ",",
                                             "a,",
                                             ",a",
                                             "ab",
                                             "ctrl-",
                                             "ctrl-ab",
                                             "ctrl-1",
                                             "ctrl-\x7f",
                                             "^p",
                                             "ctrl-a,,",
                                             "a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q" };
        DetachKeys k = {};

        assert_int_equal(detach_keys_parse(&k, DETACH_KEYS_DEFAULT), 0);
        assert_int_equal(k.n_keys, 2);
        assert_memory_equal(k.keys, "\x10\x11", 2);
        assert_int_equal(detach_keys_parse(&k, "~,.,ctrl-A,ctrl-@,ctrl-[,ctrl-_,ctrl-\\"), 0);
        assert_int_equal(k.n_keys, 7);
        assert_memory_equal(k.keys, "~.\x01\x00\x1b\x1f\x1c", 7);

        for (size_t i = 0; i < ELEMENTSOF(wrong); i++)
                if (detach_keys_parse(&k, wrong[i]) != -EINVAL)
                        fail_msg("\"%s\" was taken", wrong[i]);
        assert_int_equal(k.n_keys, 7);
        assert_int_equal(detach_keys_parse(&k, ""), 0);
        assert_int_equal(k.n_keys, 0);
}

/* Types 'typed' in pieces of 'step' bytes, and compares what has been passed on. */
static void assert_passed(const char *keys, const char *typed, size_t step, const char *passed, bool detached) {
        size_t n_typed = strlen(typed), n_passed = 0;
        bool done = false;
        uint8_t out[256];
        DetachKeys k;

        assert_int_equal(detach_keys_parse(&k, keys), 0);
        for (size_t i = 0; i < n_typed && !done; i += step) {
                size_t size = n_typed - i < step ? n_typed - i : step, n = SIZE_MAX;

                done = detach_keys_filter(&k, (const uint8_t *) typed + i, size, out + n_passed, &n);
                assert_true(n <= size + DETACH_KEYS_MAX);
                n_passed += n;
        }
        assert_int_equal(done, detached);
        assert_int_equal(n_passed, strlen(passed));
        assert_memory_equal(out, passed, n_passed);
}

static void test_keys_are_found_wherever_they_are(void **state) {
        static const struct {
                const char *keys, *typed, *passed;
                bool detached;
        } cases[] = {
                { "ctrl-p,ctrl-q", "abc", "abc", false },
                { "ctrl-p,ctrl-q",
                  "ab\x10\x11"
                  "cd",
                  "ab", true },
                { "ctrl-p,ctrl-q", "\x10x\x11", "\x10x\x11", false },
                { "ctrl-p,ctrl-q", "\x10\x10\x11", "\x10", true },
                { "ctrl-p,ctrl-q", "\x10\x10\x10x", "\x10\x10\x10x", false },
                { "ctrl-p,ctrl-q", "x\x10", "x", false }, /* kept back until it is known what follows */
                { "a,a,b", "aaab", "a", true },
                { "a,b,a,c", "ababac", "ab", true },
                { "a,b,a,c", "abab", "ab", false },
                { "a,b,a,c", "abad", "abad", false },
                { "a", "xa", "x", true },
                { "", "\x10\x11", "\x10\x11", false },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                for (size_t step = 1; step < 8; step++)
                        assert_passed(cases[i].keys, cases[i].typed, step, cases[i].passed, cases[i].detached);
}

/* -- processes
 * ---------------------------------------------------------------------------------------------------- */

static char *given_process(const ProcessSpec *spec, const char *model) {
        _cleanup_(json_freep) Json tree = NULL;
        char *text = NULL;

        if (model)
                assert_int_equal(json_parse(model, strlen(model), &tree, NULL), 0);
        assert_int_equal(process_spec_write(spec, tree, &text), 0);
        return text;
}

#define MODEL \
        "{\"terminal\":true,\"consoleSize\":{\"width\":1,\"height\":2},\"user\":{\"uid\":5,\"gid\":6,\"additionalGids\":[7]},\"args\":[\"init\"]," \
        "\"env\":[\"PATH=/bin\",\"TERM=dumb\",\"A=1\"],\"cwd\":\"/w\",\"capabilities\":{\"bounding\":[\"CAP_KILL\"],\"effective\":[\"CAP_KILL\"]}," \
        "\"rlimits\":[{\"type\":\"RLIMIT_CORE\",\"hard\":18446744073709551615,\"soft\":0}],\"noNewPrivileges\":true}"

static void test_a_process_is_like_its_model(void **state) {
        char *args[] = { (char *) "ls", (char *) "-l", NULL };
        _cleanup_(freep) char *text = given_process(&(ProcessSpec) { .args = args }, MODEL), *same = NULL;

        assert_string_equal(
                text,
                "{\"terminal\":false,\"user\":{\"uid\":5,\"gid\":6,\"additionalGids\":[7]},\"args\":[\"ls\",\"-l\"],"
                "\"env\":[\"PATH=/bin\",\"TERM=dumb\",\"A=1\"],\"cwd\":\"/w\","
                "\"capabilities\":{\"bounding\":[\"CAP_KILL\"],\"effective\":[\"CAP_KILL\"]},"
                "\"rlimits\":[{\"type\":\"RLIMIT_CORE\",\"hard\":18446744073709551615,\"soft\":0}],"
                "\"noNewPrivileges\":true}");
        same = given_process(&(ProcessSpec) {}, MODEL);
        assert_non_null(strstr(same, "\"args\":[\"init\"]"));
}

static void test_a_process_is_what_the_command_line_says(void **state) {
        _cleanup_(strv_freep) char **env = NULL;
        char *args[] = { (char *) "sh", NULL };
        _cleanup_(freep) char *text = NULL, *root = NULL;

        assert_int_equal(process_spec_add_env(&env, "A=2"), 0);
        assert_int_equal(process_spec_add_env(&env, "AA="), 0);
        assert_int_equal(process_spec_add_env(&env, "A=3=4"), 0);
        assert_int_equal(setenv("TEST_CTL_OURS", "o", true), 0);
        assert_int_equal(unsetenv("TEST_CTL_NOBODYS"), 0);
        assert_int_equal(process_spec_add_env(&env, "TEST_CTL_OURS"), 0);
        assert_int_equal(process_spec_add_env(&env, "TEST_CTL_NOBODYS"), 0);
        assert_int_equal(process_spec_add_env(&env, ""), -EINVAL);
        assert_int_equal(process_spec_add_env(&env, "=x"), -EINVAL);

        text = given_process(&(ProcessSpec) { .args = args,
                                              .env = env,
                                              .cwd = "/x",
                                              .user = true,
                                              .uid = 1000,
                                              .terminal = true,
                                              .term = "xterm" },
                             MODEL);
        assert_non_null(strstr(
                text, "{\"terminal\":true,\"user\":{\"uid\":1000,\"gid\":6},\"args\":[\"sh\"],"
                      "\"env\":[\"PATH=/bin\",\"TERM=xterm\",\"A=3=4\",\"AA=\",\"TEST_CTL_OURS=o\"],\"cwd\":\"/x\","
                      "\"capabilities\":{\"bounding\":[\"CAP_KILL\"]},\"rlimits\""));

        /* Becoming root, or who one is already, takes nothing away. */
        root = given_process(&(ProcessSpec) { .args = args, .user = true, .group = true, .uid = 0, .gid = 9 }, MODEL);
        assert_non_null(strstr(root, "\"user\":{\"uid\":0,\"gid\":9}"));
        assert_non_null(strstr(root, "\"effective\":[\"CAP_KILL\"]"));
}

static void test_a_process_without_a_model_is_roots(void **state) {
        char *args[] = { (char *) "sh", NULL }, *odd[] = { (char *) "\xff", NULL };
        char *term[] = { (char *) "TERM=mine", NULL };
        _cleanup_(freep) char *text = NULL, *user = NULL, *none = NULL;

        text = given_process(&(ProcessSpec) { .args = args, .env = term, .terminal = true, .term = "xterm" }, NULL);
        assert_string_equal(
                text, "{\"terminal\":true,\"user\":{\"uid\":0,\"gid\":0},\"args\":[\"sh\"],"
                      "\"env\":[\"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\",\"TERM=mine\"],"
                      "\"cwd\":\"/\"}");
        user = given_process(&(ProcessSpec) { .args = args, .user = true, .uid = 5 }, NULL);
        assert_non_null(strstr(user, "\"capabilities\":{}"));
        assert_int_equal(process_spec_write(&(ProcessSpec) {}, NULL, &none), -EINVAL);
        assert_int_equal(process_spec_write(&(ProcessSpec) { .args = odd }, NULL, &none), -EILSEQ);
        assert_null(none);
}

static void test_a_process_in_a_container_has_a_path(void **state) {
        Settings s = { .ns = "default" };
        ContainerRef ref = {}, process = {};
        _cleanup_(freep) char *reason = NULL;

        assert_int_equal(container_ref_parse(&ref, &s, "web", &reason), 0);
        assert_int_equal(container_ref_process(&ref, "sh-1", &process, &reason), 0);
        assert_string_equal(process.ns, "default");
        assert_string_equal(process.id, "web/sh-1");
        assert_string_equal(process.path, "/org/monoshim1/container/default/web/process/sh_2d1");
        container_ref_done(&process);

        assert_int_equal(container_ref_process(&ref, "a/b", &process, &reason), -EINVAL);
        assert_non_null(reason);
        assert_null(process.path);
        container_ref_done(&ref);
}

/* -- terminals
 * ---------------------------------------------------------------------------------------------------- */

static void on_terminal(TerminalNotice notice, void *userdata) {
        fail_msg("%d was not to be told", notice);
}

/* All who have a terminal open are woken by what comes, and one of them gets it. */
static void test_a_terminal_that_somebody_else_has_read_does_not_keep_us(void **state) {
        _cleanup_(terminal_freep) Terminal *t = NULL;
        _cleanup_(safe_closep) int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC), slave = -EBADF;
        sd_event *event = NULL;
        char taken[8];
        int ours;

        assert_true(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
        slave = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
        assert_true(slave >= 0);
        ours = fcntl(master, F_DUPFD_CLOEXEC, 3);
        assert_true(ours >= 0);
        assert_int_equal(sd_event_new(&event), 0);
        assert_int_equal(terminal_new(event, ours, false, NULL, on_terminal, NULL, &t), 0);

        assert_int_equal(write(slave, "x", 1), 1);
        assert_int_equal(sd_event_prepare(event), 0);
        assert_int_equal(sd_event_wait(event, 5 * USEC_PER_SEC), 1);
        assert_int_equal(read(master, taken, sizeof(taken)), 1);
        alarm(10); /* which ends who hangs in read() */
        assert_true(sd_event_dispatch(event) > 0);
        alarm(0);

        t = terminal_free(t);
        sd_event_unref(event);
}

/* -- a configuration of our own
 * -------------------------------------------------------------------------------------- */

static void assert_mount_refused(const char *text, const char *reason) {
        _cleanup_(freep) char *told = NULL;
        OciSpec spec = {};

        assert_int_equal(oci_spec_add_mount(&spec, text, &told), -EINVAL);
        if (!told || !strstr(told, reason))
                fail_msg("\"%s\" was refused because \"%s\"", text, told ? told : "");
        assert_int_equal(spec.n_mounts, 0);
        oci_spec_done(&spec);
}

static void test_mounts_are_checked_word_by_word(void **state) {
        assert_mount_refused("", "none of");
        assert_mount_refused("type=bind,,dst=/a", "none of");
        assert_mount_refused("type=", "none of");
        assert_mount_refused("type=bind,src=/a,dst=/b,ro=maybe", "none of");
        assert_mount_refused("dst=/a", "\"type=\" is missing");
        assert_mount_refused("type=bind,src=/a", "\"dst=\"");
        assert_mount_refused("type=bind,src=/a,dst=a", "\"dst=\"");
        assert_mount_refused("type=tmpfs,dst=/a,size=0", "\"size=\"");
        assert_mount_refused("type=tmpfs,dst=/a,size=max", "\"size=\"");
        assert_mount_refused("type=tmpfs,dst=/a,mode=8", "\"mode=\"");
        assert_mount_refused("type=proc,dst=/proc", "bind or tmpfs");
}

static void test_a_configuration_is_what_the_command_line_says(void **state) {
        const char *const args[] = { "a", "\"b\"", NULL };
        OciSpec spec = { .rootfs = "/r", .hostname = "h", .cgroup_namespace = true };
        _cleanup_(freep) char *text = NULL, *reason = NULL;
        _cleanup_(json_freep) Json tree = NULL;
        Json mounts, linux_part;
        const char *value;
        uint64_t n = 0;

        spec.process.args = (char *const *) args;
        assert_int_equal(process_spec_add_env(&spec.process.env, "A=1"), 0);
        assert_int_equal(
                oci_spec_add_mount(&spec, "type=bind,type=bind,src=/s,source=/t,target=/d,ro,readonly", &reason), 0);
        assert_int_equal(oci_spec_add_mount(&spec, "type=tmpfs,dst=/e,size=1K", &reason), 0);
        assert_int_equal(resources_take(&spec.resources, RESOURCE_MEMORY, "1M"), 0);
        assert_int_equal(oci_spec_write(&spec, &text), 0);
        oci_spec_done(&spec);

        assert_int_equal(json_parse(text, strlen(text), &tree, NULL), 0);
        assert_string_equal(json_string(json_element(json_get(json_get(tree, "process"), "args"), 1)), "\"b\"");
        assert_int_equal(json_length(json_get(json_get(tree, "process"), "env")), 3);

        mounts = json_get(tree, "mounts");
        assert_int_equal(json_length(mounts), 7 + 2);
        assert_int_equal(json_get_string(json_element(mounts, 7), "source", &value), 1);
        assert_string_equal(value, "/t");
        assert_int_equal(json_length(json_get(json_element(mounts, 7), "options")), 3);
        assert_string_equal(json_string(json_element(json_get(json_element(mounts, 8), "options"), 0)), "size=1024");

        linux_part = json_get(tree, "linux");
        assert_int_equal(json_length(json_get(linux_part, "namespaces")), 6);
        assert_null(json_get(linux_part, "cgroupsPath"));
        assert_int_equal(json_get_uint64(json_get(json_get(linux_part, "resources"), "memory"), "limit", &n), 1);
        assert_int_equal(n, 1 << 20);
}

static void test_what_json_cannot_hold_is_no_configuration(void **state) {
        char *text = NULL;

        assert_int_equal(oci_spec_write(&(OciSpec) { .rootfs = "/\xff", .hostname = "h" }, &text), -EILSEQ);
        assert_int_equal(oci_spec_write(&(OciSpec) { .rootfs = "/r", .hostname = "\xff" }, &text), -EILSEQ);
        assert_null(text);
}

/* -- what was meant
 * ------------------------------------------------------------------------------------------------ */

static void assert_suggestion(const char *ns, const char *id, const char *expected) {
        ListItem items[] = {
                { .ns = "a", .id = "web" },      { .ns = "a", .id = "web-server-1" }, { .ns = "a", .id = "web-server-2" },
                { .ns = "b", .id = "database" }, { .ns = "b", .id = "web" },
        };
        ContainerList list = { .items = items, .n_items = ELEMENTSOF(items) };
        ContainerRef ref = { .ns = (char *) ns, .id = (char *) id };
        const ListItem *item = suggest_item(&list, &ref);
        char told[64] = "";

        if (item)
                snprintf(told, sizeof(told), "%s/%s", item->ns, item->id);
        assert_string_equal(told, expected);
}

static void test_what_was_meant_is_near(void **state) {
        assert_suggestion("a", "wbe", "a/web");
        assert_suggestion("a", "wbe/exec", "a/web");
        assert_suggestion("a", "database", "b/database");
        assert_suggestion("c", "web", "a/web");
        assert_suggestion("a", "web-srever-2", "a/web-server-2");
        assert_suggestion("b", "data", "b/database");
        assert_suggestion("b", "da", "");
        assert_suggestion("a", "web-server", "a/web-server-1");
        assert_suggestion("a", "web-s", "");
        assert_suggestion("a", "web-serv", "");
        assert_suggestion("a", "databse", "");
        assert_suggestion("a", "web", "");
        assert_suggestion("a", "web/exec", "");
}

/* -- templates
 * ---------------------------------------------------------------------------------------------------- */

/* Fields in angle brackets; "!" for what is no template. */
static void assert_template(const char *text, const char *expected) {
        char told[64] = "", *q = told;
        TemplatePart part;
        int r;

        while ((r = template_next(&text, &part)) > 0)
                q += sprintf(q, part.is_field ? "<%.*s>" : "%.*s", (int) part.size, part.text);
        if (r < 0)
                strcpy(q, "!");
        assert_string_equal(told, expected);
}

static void test_templates_have_fields_between_text(void **state) {
        assert_template("", "");
        assert_template("a b", "a b");
        assert_template("{{.ID}}", "<ID>");
        assert_template("a{{.ID}}b{{  .Labels.x-y }}", "a<ID>b<Labels.x-y>");
        assert_template("{{.A}}\\t{{.B}}\\n\\\\t\\x\\", "<A>\t<B>\n\\t\\x\\");
        assert_template("{a}}{", "{a}}{");
        assert_template("{{", "!");
        assert_template("a{{.}}", "a!");
        assert_template("{{ID}}", "!");
        assert_template("{{.ID}", "!");
        assert_template("{{.ID .x}}", "!");
}

/* -- errors
 * ------------------------------------------------------------------------------------------------------- */

static void assert_hinted(const char *name, bool hinted) {
        sd_bus_error error = SD_BUS_ERROR_MAKE_CONST(name, "text");

        assert_int_equal(report_hint(-EIO, &error) != NULL, hinted);
}

static void test_usual_causes_come_with_a_hint(void **state) {
        assert_hinted(SD_BUS_ERROR_SERVICE_UNKNOWN, true);
        assert_hinted(SD_BUS_ERROR_ACCESS_DENIED, true);
        assert_hinted(SD_BUS_ERROR_NO_REPLY, true);
        assert_hinted(MONOSHIM_ERROR("NotFound"), false);
        assert_non_null(report_hint(-ECONNREFUSED, NULL));
        assert_non_null(report_hint(-EACCES, NULL));
        assert_null(report_hint(-ENOMEM, NULL));
}

static void test_a_lost_daemon_is_told_from_one_that_refuses(void **state) {
        assert_true(client_error_is_lost(0, &SD_BUS_ERROR_MAKE_CONST(SD_BUS_ERROR_NO_REPLY, "")));
        assert_true(client_error_is_lost(0, &SD_BUS_ERROR_MAKE_CONST(SD_BUS_ERROR_DISCONNECTED, "")));
        assert_true(client_error_is_lost(0, &SD_BUS_ERROR_MAKE_CONST(MONOSHIM_ERROR("Unavailable"), "")));
        assert_true(client_error_is_lost(-ECONNRESET, NULL));
        assert_false(client_error_is_lost(-EIO, &SD_BUS_ERROR_MAKE_CONST(MONOSHIM_ERROR("NotFound"), "")));
        assert_false(client_error_is_lost(-EACCES, NULL));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_signals_have_names_and_numbers),
                cmocka_unit_test(test_realtime_signals_are_counted_from_both_ends),
                cmocka_unit_test(test_what_is_no_signal_is_refused),
                cmocka_unit_test(test_distance_counts_slips),
                cmocka_unit_test(test_long_words_are_far_away),
                cmocka_unit_test(test_only_slips_are_likely),
                cmocka_unit_test(test_no_control_character_reaches_the_terminal),
                cmocka_unit_test(test_words_are_quoted_when_they_have_to_be),
                cmocka_unit_test(test_times_are_local_and_exact),
                cmocka_unit_test(test_paths_become_absolute_without_being_resolved),
                cmocka_unit_test(test_addresses_are_escaped),
                cmocka_unit_test(test_columns_are_aligned),
                cmocka_unit_test(test_the_widest_column_is_cut_first),
                cmocka_unit_test(test_a_very_narrow_terminal_still_shows_something),
                cmocka_unit_test(test_the_last_column_has_no_blanks_behind_it),
                cmocka_unit_test(test_width_is_that_on_the_screen),
                cmocka_unit_test(test_cells_cannot_break_the_line),
                cmocka_unit_test(test_tables_grow),
                cmocka_unit_test_setup_teardown(test_values_become_json, bus_set_up, bus_tear_down),
                cmocka_unit_test_setup_teardown(test_containers_become_json, bus_set_up, bus_tear_down),
                cmocka_unit_test_setup_teardown(test_no_json_for_what_is_not_there, bus_set_up, bus_tear_down),
                cmocka_unit_test_setup_teardown(test_infinity_is_null_in_json, bus_set_up, bus_tear_down),
                cmocka_unit_test_setup_teardown(test_values_become_text, bus_set_up, bus_tear_down),
                cmocka_unit_test(test_a_container_is_in_the_chosen_namespace_or_says_its_own),
                cmocka_unit_test(test_what_cannot_be_a_container_is_refused_with_the_reason),
                cmocka_unit_test(test_events_are_chosen_by_namespace_or_by_container),
                cmocka_unit_test(test_bytes_have_units),
                cmocka_unit_test(test_what_are_no_bytes_is_refused),
                cmocka_unit_test(test_cpus_become_a_quota),
                cmocka_unit_test(test_users_are_numbers),
                cmocka_unit_test(test_bytes_are_shown_short),
                cmocka_unit_test(test_resources_are_those_of_oci),
                cmocka_unit_test(test_keys_are_characters_and_controls),
                cmocka_unit_test(test_keys_are_found_wherever_they_are),
                cmocka_unit_test(test_a_process_is_like_its_model),
                cmocka_unit_test(test_a_process_is_what_the_command_line_says),
                cmocka_unit_test(test_a_process_without_a_model_is_roots),
                cmocka_unit_test(test_a_process_in_a_container_has_a_path),
                cmocka_unit_test(test_a_terminal_that_somebody_else_has_read_does_not_keep_us),
                cmocka_unit_test(test_mounts_are_checked_word_by_word),
                cmocka_unit_test(test_a_configuration_is_what_the_command_line_says),
                cmocka_unit_test(test_what_json_cannot_hold_is_no_configuration),
                cmocka_unit_test(test_what_was_meant_is_near),
                cmocka_unit_test(test_templates_have_fields_between_text),
                cmocka_unit_test(test_usual_causes_come_with_a_hint),
                cmocka_unit_test(test_a_lost_daemon_is_told_from_one_that_refuses),
        };

        if (!setlocale(LC_ALL, "C.UTF-8"))
                return 99;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
