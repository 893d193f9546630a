/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* JSON in, JSON out, and what is refused. */

#include "util/json.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static Json given(const char *text) {
        _cleanup_(freep) char *message = NULL;
        Json tree = NULL;
        int r;

        r = json_parse(text, strlen(text), &tree, &message);
        if (r < 0)
                print_error("%s\n", message);
        assert_int_equal(r, 0);
        assert_non_null(tree);
        return tree;
}

static void then_it_is_refused(const char *text, size_t size, const char *expected) {
        _cleanup_(freep) char *message = NULL;
        Json tree = (Json) &message;

        assert_int_equal(json_parse(text, size, &tree, &message), -EINVAL);
        assert_ptr_equal(tree, &message); /* untouched */
        assert_string_equal(message, expected);

        assert_int_equal(json_parse(text, size, &tree, NULL), -EINVAL);
}

/* 'depth' arrays or objects, one in the other. */
static char *given_nesting(size_t depth, const char *open, const char *close) {
        char *text = calloc(1, depth * (strlen(open) + strlen(close)) + 2), *p = text;

        assert_non_null(text);
        for (size_t i = 0; i < depth; i++)
                p = stpcpy(p, open);
        p = stpcpy(p, "1");
        for (size_t i = 0; i < depth; i++)
                p = stpcpy(p, close);
        return text;
}

/* ---- reading ---- */

static void members_are_got_by_name_and_type(void **state) {
        _cleanup_(json_freep) Json o = given("{\"s\": \"x\\u00e4\\n\", \"u\": 18446744073709551615, \"t\": true, \"f\": false,"
                                             " \"o\": {\"a\": [1, \"two\", null]}, \"n\": null}");
        const char *s = "untouched";
        uint64_t u = 42;
        bool b = false;
        Json a;

        assert_int_equal(json_get_string(o, "s", &s), 1);
        assert_string_equal(s, "x\xc3\xa4\n");
        assert_int_equal(json_get_uint64(o, "u", &u), 1);
        assert_true(u == UINT64_MAX);
        assert_int_equal(json_get_bool(o, "t", &b), 1);
        assert_true(b);
        assert_int_equal(json_get_bool(o, "f", &b), 1);
        assert_false(b);

        assert_true(json_is_object(json_get(o, "o")));
        a = json_get(json_get(o, "o"), "a");
        assert_int_equal(json_length(a), 3);
        assert_string_equal(json_string(json_element(a, 1)), "two");
        assert_null(json_string(json_element(a, 0)));
        assert_null(json_element(a, 3));

        assert_int_equal(json_length(o), 6);
        assert_string_equal(json_key(o, 4), "o");
        assert_ptr_equal(json_value(o, 4), json_get(o, "o"));
        assert_null(json_key(o, 6));
        assert_null(json_value(o, 6));
}

static void what_is_absent_or_null_changes_nothing(void **state) {
        _cleanup_(json_freep) Json o = given("{\"n\": null}");
        const char *s = "untouched";
        uint64_t u = 42;
        bool b = true;

        for (int i = 0; i < 2; i++) {
                const char *name = i == 0 ? "n" : "absent";

                assert_int_equal(json_get_string(o, name, &s), 0);
                assert_int_equal(json_get_uint64(o, name, &u), 0);
                assert_int_equal(json_get_bool(o, name, &b), 0);
        }
        assert_string_equal(s, "untouched");
        assert_int_equal(u, 42);
        assert_true(b);
}

static void another_type_or_a_number_that_does_not_fit_is_an_error(void **state) {
        _cleanup_(json_freep) Json o = given("{\"s\": \"1\", \"neg\": -1, \"frac\": 1.5, \"exp\": 1e3, \"big\": 18446744073709551616,"
                                             " \"b\": true, \"o\": {}, \"a\": []}");
        static const char *const no_number[] = { "s", "neg", "frac", "exp", "big", "b", "o", "a" };
        static const char *const no_string[] = { "neg", "b", "o", "a" };
        static const char *const no_bool[] = { "s", "neg", "o", "a" };
        const char *s = "untouched";
        uint64_t u = 42;
        bool b = true;

        for (size_t i = 0; i < ELEMENTSOF(no_number); i++)
                assert_int_equal(json_get_uint64(o, no_number[i], &u), -EINVAL);
        for (size_t i = 0; i < ELEMENTSOF(no_string); i++)
                assert_int_equal(json_get_string(o, no_string[i], &s), -EINVAL);
        for (size_t i = 0; i < ELEMENTSOF(no_bool); i++)
                assert_int_equal(json_get_bool(o, no_bool[i], &b), -EINVAL);
        assert_string_equal(s, "untouched");
        assert_int_equal(u, 42);
        assert_true(b);
}

static void every_getter_takes_what_is_not_there(void **state) {
        const char *s = NULL;
        uint64_t u = 0;
        bool b = false;

        assert_null(json_get(NULL, "x"));
        assert_false(json_is_object(NULL));
        assert_int_equal(json_get_string(NULL, "x", &s), 0);
        assert_int_equal(json_get_uint64(NULL, "x", &u), 0);
        assert_int_equal(json_get_bool(NULL, "x", &b), 0);
        assert_int_equal(json_length(NULL), 0);
        assert_null(json_element(NULL, 0));
        assert_null(json_key(NULL, 0));
        assert_null(json_value(NULL, 0));
        assert_null(json_string(NULL));
        assert_null(json_free(NULL));
}

static void of_two_members_of_one_name_the_last_counts(void **state) {
        _cleanup_(json_freep) Json o = given("{\"a\": 1, \"b\": 2, \"a\": 3}");
        uint64_t u = 0;

        assert_int_equal(json_get_uint64(o, "a", &u), 1);
        assert_int_equal(u, 3);
}

static void any_value_can_stand_alone(void **state) {
        static const char *const texts[] = { "1", "\"s\"", "true", "null", "{}", "[]", " \t\r\n[ ] \n" };

        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                _cleanup_(json_freep) Json tree = given(texts[i]);

                assert_non_null(tree);
        }
}

static void malformed_text_is_refused_with_its_place(void **state) {
        static const struct {
                const char *text, *message;
        } table[] = {
                { "", "line 1, column 1: parse error: premature EOF" },
                { " \n ", "line 2, column 2: parse error: premature EOF" },
                { "{", "line 1, column 2: parse error: premature EOF" },
                { "[1,2", "line 1, column 5: parse error: premature EOF" },
                { "{\"a\":", "line 1, column 6: parse error: premature EOF" },
                { "[\"a", "line 1, column 4: parse error: premature EOF" },
                { "nul", "line 1, column 4: lexical error: invalid string in json text." },
                { "{}x", "line 1, column 3: parse error: trailing garbage" },
                { "{}\n {}", "line 2, column 2: parse error: trailing garbage" },
                { "1 2", "line 1, column 4: parse error: trailing garbage" },
                { "01", "line 1, column 3: parse error: trailing garbage" },
                { "[1,]", "line 1, column 4: parse error: unallowed token at this point in JSON text" },
                { "{\"a\":1,}", "line 1, column 8: parse error: invalid object key (must be a string)" },
                { "{a:1}", "line 1, column 2: lexical error: invalid char in json text." },
                { "{\"a\" 1}", "line 1, column 6: parse error: object key and value must be separated by a colon (':')" },
                { "{\n  \"a\": tru,\n}", "line 2, column 10: lexical error: invalid string in json text." },
                { "// comment\n{}",
                  "line 1, column 1: lexical error: probable comment found in input text, comments are not enabled." },
                { "/* comment */{}",
                  "line 1, column 1: lexical error: probable comment found in input text, comments are not enabled." },
                { "[\"a\nb\"]", "line 1, column 3: lexical error: invalid character inside string." },
                { "[\"\\x\"]",
                  "line 1, column 3: lexical error: inside a string, '\\' occurs before a character which it may not." },
                { "[\"\\u00g0\"]",
                  "line 1, column 6: lexical error: invalid (non-hex) character occurs after '\\u' inside string." },
                { "[-]", "line 1, column 2: lexical error: malformed number, a digit is required after the minus sign." },
                { "[1.]", "line 1, column 3: lexical error: malformed number, a digit is required after the decimal point." },
                { "[NaN]", "line 1, column 2: lexical error: invalid char in json text." },
                { "]", "line 1, column 1: parse error: unallowed token at this point in JSON text" },
                { "[1}", "line 1, column 3: parse error: after array element, I expect ',' or ']'" },
                { "\xef\xbb\xbf{}", "line 1, column 1: lexical error: invalid char in json text." },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                print_message("# case %zu\n", i);
                then_it_is_refused(table[i].text, strlen(table[i].text), table[i].message);
        }
}

static void bytes_that_are_no_utf8_are_refused(void **state) {
        static const struct {
                const char *text;
                size_t size;
                const char *message;
        } table[] = {
                { "[\"\xff\"]", 5, "line 1, column 3: invalid UTF-8" },
                { "[\"\xc0\xaf\"]", 6, "line 1, column 3: invalid UTF-8" },      /* overlong */
                { "[\"\xed\xa0\x80\"]", 7, "line 1, column 3: invalid UTF-8" },  /* a surrogate */
                { "{}\n\xff", 4, "line 2, column 1: invalid UTF-8" },
                { "[\"a\0b\"]", 7, "line 1, column 4: NUL byte" },
                { "{}\0", 3, "line 1, column 3: NUL byte" },
                { "{}\0{}", 5, "line 1, column 3: NUL byte" },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++)
                then_it_is_refused(table[i].text, table[i].size, table[i].message);
}

static void no_string_can_hide_a_nul(void **state) {
        static const struct {
                const char *text, *message;
        } table[] = {
                { "{\"id\": \"good\\u0000/../evil\"}", "line 1, column 27: string with \\u0000 or half a surrogate pair" },
                { "{\"id\\u0000x\": 1}", "line 1, column 12: string with \\u0000 or half a surrogate pair" },
                { "[\"\\udc00\"]", "line 1, column 9: string with \\u0000 or half a surrogate pair" },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++)
                then_it_is_refused(table[i].text, strlen(table[i].text), table[i].message);
}

static void only_the_bytes_given_are_read(void **state) {
        Json tree = NULL;

        /* Contract: a NUL stands behind the text. Here the text ends before the array's own storage does. */
        assert_int_equal(json_parse("[1]\0]", 3, &tree, NULL), 0);
        assert_int_equal(json_length(tree), 1);
        json_free(tree);
}

static void nesting_is_bounded(void **state) {
        static const struct {
                const char *open, *close;
        } kinds[] = { { "[", "]" }, { "{\"a\":", "}" } };

        for (size_t i = 0; i < ELEMENTSOF(kinds); i++) {
                _cleanup_(freep) char *deep = given_nesting(JSON_DEPTH_MAX, kinds[i].open, kinds[i].close);
                _cleanup_(freep) char *deeper = given_nesting(JSON_DEPTH_MAX + 1, kinds[i].open, kinds[i].close);
                _cleanup_(freep) char *abyss = given_nesting(2000000, kinds[i].open, kinds[i].close);
                _cleanup_(json_freep) Json tree = given(deep);
                char expected[128];

                assert_non_null(tree);
                (void) snprintf(expected, sizeof(expected), "line 1, column %zu: nested too deeply",
                                JSON_DEPTH_MAX * strlen(kinds[i].open) + 1);
                then_it_is_refused(deeper, strlen(deeper), expected);
                then_it_is_refused(abyss, strlen(abyss), expected);
                then_it_is_refused(abyss, 1000000, expected);
        }
}

/* Every beginning of a text is malformed, and none may leak or crash. */
static void every_truncation_is_refused(void **state) {
        static const char text[] = "{\"ociVersion\": \"1.0\", \"a\": [1, -2.5e3, true, false, null, {\"\\u00e4\": \"\xc3\xa4\"}], \"z\": {}}";
        _cleanup_(json_freep) Json whole = given(text);

        assert_non_null(whole);
        for (size_t size = 0; size < strlen(text); size++) {
                _cleanup_(freep) char *part = strndup(text, size), *message = NULL;
                Json tree = NULL;

                assert_non_null(part);
                assert_int_equal(json_parse(part, size, &tree, &message), -EINVAL);
                assert_non_null(message);
                assert_null(strchr(message, '\n'));
        }
}

static void random_damage_never_crashes(void **state) {
        static const char text[] = "{\"a\": [1, -2.5e3, true, null, {\"\\ud83d\\ude00\": \"\xc3\xa4\"}], \"z\": {\"y\": \"\\n\"}}";

        srandom(4711);
        for (int round = 0; round < 20000; round++) {
                static const char alphabet[] = "{}[]\",:\\u0 1-e\xff\xc3tn";
                char damaged[sizeof(text)];
                Json tree = NULL;

                memcpy(damaged, text, sizeof(text));
                for (int i = 0; i < 3; i++)
                        damaged[(size_t) random() % strlen(text)] = alphabet[(size_t) random() % strlen(alphabet)];
                if (json_parse(damaged, strlen(damaged), &tree, NULL) >= 0)
                        json_free(tree);
        }
}

/* ---- events ---- */

typedef struct Story {
        char text[512];
        const char *stop_at;
        int error;
        const char *reason;
} Story;

static int story_on_event(void *userdata, JsonEvent event, const char *text, size_t size, const char **reterr_reason) {
        static const char *const names[] = { "{", "}", "[", "]", "key", "string", "number", "true", "false", "null" };
        Story *s = userdata;
        char *end = s->text + strlen(s->text);

        (void) snprintf(end, sizeof(s->text) - strlen(s->text), "%s%s%.*s", end > s->text ? " " : "", names[event],
                        (int) size, strempty(text));
        if (s->stop_at && streq(s->stop_at, names[event])) {
                *reterr_reason = s->reason;
                return s->error;
        }
        return 0;
}

static void a_scan_tells_the_story_in_order(void **state) {
        static const char text[] = "{\"a\": [1, -2.5, \"x\"], \"b\": {\"c\": true}, \"d\": [false, null]}";
        Story story = {};

        assert_int_equal(json_scan(text, strlen(text), story_on_event, &story, NULL), 0);
        assert_string_equal(story.text, "{ keya [ number1 number-2.5 stringx ] keyb { keyc true } keyd [ false null ] }");
}

static void a_handler_can_end_the_scan(void **state) {
        static const char text[] = "{\"a\":\n  true, \"b\": 1}";
        Story story = { .stop_at = "true", .error = -ERANGE, .reason = "that is enough" };
        _cleanup_(freep) char *message = NULL;

        assert_int_equal(json_scan(text, strlen(text), story_on_event, &story, &message), -ERANGE);
        assert_string_equal(message, "line 2, column 6: that is enough");
        assert_string_equal(story.text, "{ keya true");
}

static void a_handler_without_memory_says_just_that(void **state) {
        Story story = { .stop_at = "[", .error = -ENOMEM };
        char *message = NULL;

        assert_int_equal(json_scan("[1]", 3, story_on_event, &story, &message), -ENOMEM);
        assert_null(message);
}

/* ---- writing ---- */

static void then_written(JsonWriter *w, const char *expected) {
        const char *text = NULL;
        size_t size = 0;

        assert_int_equal(json_writer_finish(w, &text, &size), 0);
        assert_string_equal(text, expected);
        assert_int_equal(size, strlen(expected));
}

static void then_writing_failed(JsonWriter *w) {
        const char *text = "untouched";
        size_t size = 42;

        assert_int_equal(json_writer_finish(w, &text, &size), -EINVAL);
        assert_string_equal(text, "untouched");
        assert_int_equal(size, 42);
}

static void everything_can_be_written(void **state) {
        _cleanup_(json_writer_freep) JsonWriter *w = json_writer_new(false);

        json_open_object(w);
        json_put_string(w, "s", "q\"\\\n\x01/\xc3\xa4");
        json_put_string(w, "n", NULL);
        json_put_uint64(w, "u", UINT64_MAX);
        json_put_bool(w, "t", true);
        json_write_key(w, "a");
        json_open_array(w);
        json_write_int64(w, INT64_MIN);
        json_write_double(w, 0.1);
        json_write_double(w, 3);
        json_write_double(w, 1.0 / 3);
        json_write_double(w, 1e300);
        json_write_bool(w, false);
        json_write_null(w);
        json_write_string(w, "");
        json_open_object(w);
        json_close_object(w);
        json_close_array(w);
        json_close_object(w);
        then_written(w, "{\"s\":\"q\\\"\\\\\\n\\u0001/\xc3\xa4\",\"n\":null,\"u\":18446744073709551615,\"t\":true,\"a\":"
                        "[-9223372036854775808,0.1,3,0.33333333333333331,1e+300,false,null,\"\",{}]}");
}

static void pretty_text_is_indented(void **state) {
        _cleanup_(json_writer_freep) JsonWriter *w = json_writer_new(true);

        json_open_object(w);
        json_put_uint64(w, "a", 1);
        json_write_key(w, "b");
        json_open_array(w);
        json_write_uint64(w, 2);
        json_close_array(w);
        json_close_object(w);
        then_written(w, "{\n  \"a\": 1,\n  \"b\": [\n    2\n  ]\n}\n");
}

static void strings_that_are_no_utf8_are_repaired(void **state) {
        static const struct {
                const char *bytes, *written;
        } table[] = {
                { "a\xff" "b", "\"a?b\"" },
                { "\xc3", "\"?\"" },
                { "\xff\xfe\xfd", "\"???\"" },
                { "\xc3\xa4\xc3(\xc3\xa4", "\"\xc3\xa4?(\xc3\xa4\"" },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                _cleanup_(json_writer_freep) JsonWriter *w = json_writer_new(false);

                json_write_string(w, table[i].bytes);
                then_written(w, table[i].written);
        }
}

static void a_tree_is_written_as_it_was_read(void **state) {
        static const char text[] = "{\"a\":[1,-2.50,1e400,18446744073709551616,true,false,null,\"x\\n\"],\"b\":{\"c\":{}},\"d\":[]}";
        _cleanup_(json_writer_freep) JsonWriter *w = json_writer_new(false);
        _cleanup_(json_freep) Json tree = given(text);

        json_write_tree(w, tree);
        then_written(w, text);
}

static void the_deepest_tree_can_be_written_further_down(void **state) {
        _cleanup_(freep) char *deep = given_nesting(JSON_DEPTH_MAX, "[", "]");
        _cleanup_(json_writer_freep) JsonWriter *w = json_writer_new(false);
        _cleanup_(json_freep) Json tree = given(deep);
        char expected[JSON_DEPTH_MAX * 2 + 64];

        for (int i = 0; i < 10; i++)
                json_open_array(w);
        json_write_tree(w, tree);
        for (int i = 0; i < 10; i++)
                json_close_array(w);

        (void) snprintf(expected, sizeof(expected), "[[[[[[[[[[%s]]]]]]]]]]", deep);
        then_written(w, expected);
}

static void what_makes_no_json_is_an_error_at_the_end(void **state) {
        for (int i = 0; i < 14; i++) {
                _cleanup_(json_writer_freep) JsonWriter *w = json_writer_new(i % 2);

                print_message("# case %d\n", i);
                switch (i) {
                case 0: /* nothing */
                        break;
                case 1: /* left open */
                        json_open_object(w);
                        break;
                case 2: /* closed by the wrong bracket */
                        json_open_array(w);
                        json_close_object(w);
                        break;
                case 3:
                        json_open_object(w);
                        json_close_array(w);
                        break;
                case 4: /* nothing to close */
                        json_close_array(w);
                        break;
                case 5: /* two values */
                        json_write_bool(w, true);
                        json_write_bool(w, true);
                        break;
                case 6: /* a value without its key */
                        json_open_object(w);
                        json_write_string(w, "no key");
                        json_close_object(w);
                        break;
                case 7: /* a key without its value */
                        json_open_object(w);
                        json_write_key(w, "k");
                        json_close_object(w);
                        break;
                case 8: /* two keys */
                        json_open_object(w);
                        json_write_key(w, "k");
                        json_write_key(w, "l");
                        json_close_object(w);
                        break;
                case 9: /* a key in an array, and at the top */
                        json_open_array(w);
                        json_write_key(w, "k");
                        json_close_array(w);
                        break;
                case 10:
                        json_write_key(w, "k");
                        break;
                case 11: /* no numbers */
                        json_write_double(w, NAN);
                        break;
                case 12:
                        json_write_double(w, INFINITY);
                        break;
                case 13: /* too deep */
                        for (int k = 0; k < 1000; k++)
                                json_open_array(w);
                        for (int k = 0; k < 1000; k++)
                                json_close_array(w);
                        break;
                }
                then_writing_failed(w);

                /* The first error stays, whatever comes behind it. */
                json_write_null(w);
                json_close_object(w);
                then_writing_failed(w);
        }
}

static void what_was_written_reads_back(void **state) {
        _cleanup_(json_writer_freep) JsonWriter *w = json_writer_new(true);
        _cleanup_(json_freep) Json tree = NULL;
        const char *text = NULL, *s = NULL;
        char every[256];
        size_t size = 0;

        for (int c = 1; c < 128; c++)
                every[c - 1] = (char) c;
        every[127] = 0;

        json_open_object(w);
        json_put_string(w, every, every);
        json_close_object(w);
        assert_int_equal(json_writer_finish(w, &text, &size), 0);
        assert_int_equal(json_parse(text, size, &tree, NULL), 0);
        assert_int_equal(json_get_string(tree, every, &s), 1);
        assert_string_equal(s, every);
        assert_null(json_writer_free(NULL));
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(members_are_got_by_name_and_type),
                cmocka_unit_test(what_is_absent_or_null_changes_nothing),
                cmocka_unit_test(another_type_or_a_number_that_does_not_fit_is_an_error),
                cmocka_unit_test(every_getter_takes_what_is_not_there),
                cmocka_unit_test(of_two_members_of_one_name_the_last_counts),
                cmocka_unit_test(any_value_can_stand_alone),
                cmocka_unit_test(malformed_text_is_refused_with_its_place),
                cmocka_unit_test(bytes_that_are_no_utf8_are_refused),
                cmocka_unit_test(no_string_can_hide_a_nul),
                cmocka_unit_test(only_the_bytes_given_are_read),
                cmocka_unit_test(nesting_is_bounded),
                cmocka_unit_test(every_truncation_is_refused),
                cmocka_unit_test(random_damage_never_crashes),
                cmocka_unit_test(a_scan_tells_the_story_in_order),
                cmocka_unit_test(a_handler_can_end_the_scan),
                cmocka_unit_test(a_handler_without_memory_says_just_that),
                cmocka_unit_test(everything_can_be_written),
                cmocka_unit_test(pretty_text_is_indented),
                cmocka_unit_test(strings_that_are_no_utf8_are_repaired),
                cmocka_unit_test(a_tree_is_written_as_it_was_read),
                cmocka_unit_test(the_deepest_tree_can_be_written_further_down),
                cmocka_unit_test(what_makes_no_json_is_an_error_at_the_end),
                cmocka_unit_test(what_was_written_reads_back),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
