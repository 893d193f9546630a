/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Identifiers, UTF-8, foreign output, numbers and time spans. */

#include "util/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define SEVENTY_SIX "1234567890123456789012345678901234567890123456789012345678901234567890123456"

/* ---- identifiers ---- */

static void an_identifier_is_words_joined_by_single_separators(void **state) {
        static const char *const good[] = {
                "a", "0", "Z", "default", "k8s.io", "moby", "a-b", "a_b", "a.b", "a-b_c.d", "0-0", SEVENTY_SIX,
        };

        for (size_t i = 0; i < ELEMENTSOF(good); i++) {
                char *reason = (char *) "untouched";

                print_message("# case %zu\n", i);
                assert_true(identifier_is_valid(good[i]));
                assert_int_equal(identifier_check(good[i], &reason), 0);
                assert_null(reason);
        }
}

static void anything_else_is_no_identifier(void **state) {
        static const char *const bad[] = {
                "",     ".",      "..",       "-",    "-a",    ".a",       "_a",         "a-",          "a.",   "a..b",
                "a-_b", "a b",    " a",       "a ",   "a/b",   "../a",     "/",          "a\n",         "\na",  "a\tb",
                "a%b",  "a\\b",   "a\"b",     "a:b",  "a@b",   "a\x7f" "b", "\xc3\xa4",  "a\xff",       "a,b",  "a+b",
                "a*",   "$(a)",   "a;b",      "a\x01", "--help", "a--b",    SEVENTY_SIX "7",
        };

        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                _cleanup_(freep) char *reason = NULL;

                print_message("# case %zu\n", i);
                assert_false(identifier_is_valid(bad[i]));
                assert_int_equal(identifier_check(bad[i], &reason), -EINVAL);
                assert_non_null(reason);
        }
        assert_false(identifier_is_valid(NULL));
}

static void the_locale_makes_no_letters(void **state) {
        for (int c = 1; c < 256; c++) {
                const char s[] = { (char) c, 0 };
                bool ascii = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');

                assert_int_equal(identifier_is_valid(s), ascii);
        }
}

static void a_refusal_speaks_containerds_words(void **state) {
        static const struct {
                const char *identifier, *reason;
        } golden[] = {
                { "", "identifier must not be empty: invalid argument" },
                { SEVENTY_SIX "7", "identifier \"" SEVENTY_SIX "7\" greater than maximum length (76 characters): invalid argument" },
                { "a/b", "identifier \"a/b\" must match " IDENTIFIER_REGEX ": invalid argument" },
                { "a\"\\\n\x01\x7f\xff\xc2\x85\xc3\xa4",
                  "identifier \"a\\\"\\\\\\n\\x01\\x7f\\xff\\u0085\xc3\xa4\" must match "
                  IDENTIFIER_REGEX ": invalid argument" },
        };

        for (size_t i = 0; i < ELEMENTSOF(golden); i++) {
                _cleanup_(freep) char *reason = NULL;

                assert_int_equal(identifier_check(golden[i].identifier, &reason), -EINVAL);
                assert_string_equal(reason, golden[i].reason);
        }
}

static void a_refusal_quotes_no_more_than_128_bytes_and_no_half_characters(void **state) {
        _cleanup_(freep) char *reason = NULL;
        char identifier[4096], expected[512];

        /* 127 letters, then two-byte characters: the first of them would end at byte 129. */
        memset(identifier, 'x', 127);
        for (size_t i = 127; i + 2 < sizeof(identifier); i += 2)
                memcpy(identifier + i, "\xc3\xa4", 3);

        assert_int_equal(identifier_check(identifier, &reason), -EINVAL);
        (void) snprintf(expected, sizeof(expected),
                        "identifier \"%.127s\" greater than maximum length (76 characters): invalid argument", identifier);
        assert_string_equal(reason, expected);
}

/* ---- UTF-8 ---- */

static void every_character_of_unicode_is_utf8(void **state) {
        for (uint32_t c = 1; c <= 0x10ffff; c++) {
                unsigned char u[4];
                size_t n;

                if (c < 0x80) {
                        n = 1;
                        u[0] = (unsigned char) c;
                } else if (c < 0x800) {
                        n = 2;
                        u[0] = (unsigned char) (0xc0 | c >> 6);
                } else if (c < 0x10000) {
                        n = 3;
                        u[0] = (unsigned char) (0xe0 | c >> 12);
                } else {
                        n = 4;
                        u[0] = (unsigned char) (0xf0 | c >> 18);
                }
                for (size_t i = 1; i < n; i++)
                        u[i] = (unsigned char) (0x80 | (c >> 6 * (n - 1 - i) & 0x3f));

                /* The surrogates are no characters. */
                assert_int_equal(utf8_character((char *) u, n), c >= 0xd800 && c <= 0xdfff ? 0 : n);
                assert_int_equal(utf8_character((char *) u, n - 1), 0);
        }
}

static void what_is_not_utf8_is_found_out(void **state) {
        static const struct {
                const char *bytes;
                size_t size;
        } bad[] = {
                { "\0", 1 },                 /* NUL */
                { "a\0b", 3 },
                { "\x80", 1 },               /* a continuation without a start */
                { "\xbf", 1 },
                { "\xc0\xaf", 2 },           /* overlong '/' */
                { "\xc1\xbf", 2 },
                { "\xe0\x80\xaf", 3 },
                { "\xe0\x9f\xbf", 3 },
                { "\xf0\x80\x80\xaf", 4 },
                { "\xf0\x8f\xbf\xbf", 4 },
                { "\xc0\x80", 2 },           /* overlong NUL */
                { "\xed\xa0\x80", 3 },       /* surrogates */
                { "\xed\xbf\xbf", 3 },
                { "\xf4\x90\x80\x80", 4 },   /* past U+10FFFF */
                { "\xf5\x80\x80\x80", 4 },
                { "\xff", 1 },
                { "\xfe", 1 },
                { "\xc3", 1 },               /* cut off */
                { "\xe2\x82", 2 },
                { "\xf0\x9f\x98", 3 },
                { "\xc3(", 2 },              /* broken off */
                { "\xe2\x82(", 3 },
                { "\xe2(\xa1", 3 },
                { "ok\xc3", 3 },
        };

        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                print_message("# case %zu\n", i);
                assert_false(utf8_is_valid(bad[i].bytes, bad[i].size));
        }
        assert_true(utf8_is_valid("", 0));
        assert_true(utf8_is_valid("gr\xc3\xbc\xc3\x9f \xf0\x9f\x98\x80", 11));
        assert_true(utf8_is_valid("ab\xff", 2)); /* only what was asked about */
}

/* ---- foreign output ---- */

static void foreign_bytes_become_a_fit_text(void **state) {
        static const struct {
                const char *bytes;
                size_t size, max;
                const char *text;
        } table[] = {
                { "", 0, 10, "" },
                { " \t\r\n\v\f", 6, 10, "" },
                { "  hello world \n\n", 16, 100, "hello world" },
                { "a\nb\tc", 5, 100, "a\nb\tc" },
                { "a\r\nb", 4, 100, "a?\nb" },
                { "\x1b[31mred\x1b[0m", 12, 100, "?[31mred?[0m" },
                { "a\0b", 3, 100, "a?b" },
                { "a\xff\xfe" "b", 4, 100, "a??b" },
                { "\x7f", 1, 100, "?" },
                { "\xc2\x9b" "31m", 5, 100, "?31m" },             /* an eight-bit CSI */
                { "\xc2\xa0", 2, 100, "\xc2\xa0" },               /* no control character any more */
                { "gr\xc3\xbc\xc3\x9f", 6, 100, "gr\xc3\xbc\xc3\x9f" },
                { "gr\xc3\xbc\xc3\x9f", 6, 6, "gr\xc3\xbc\xc3\x9f" },
                { "gr\xc3\xbc\xc3\x9f", 6, 5, "gr\xc3\xbc" },
                { "gr\xc3\xbc\xc3\x9f", 6, 3, "gr" },
                { "abcdef", 6, 0, "" },
                { "abc def", 7, 4, "abc" },                       /* no white space at the cut */
                { "\xe2\x82\xac\xe2\x82\xac", 6, 4, "\xe2\x82\xac" },
                { "\xff\xff\xff\xff", 4, 2, "??" },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                _cleanup_(freep) char *text = text_sanitize(table[i].bytes, table[i].size, table[i].max);

                print_message("# case %zu\n", i);
                assert_string_equal(text, table[i].text);
        }
}

static void whatever_comes_in_utf8_of_the_right_size_goes_out(void **state) {
        char bytes[64];

        srandom(4711);
        for (int round = 0; round < 20000; round++) {
                size_t size = (size_t) random() % sizeof(bytes), max = (size_t) random() % sizeof(bytes);
                _cleanup_(freep) char *text = NULL;

                for (size_t i = 0; i < size; i++)
                        bytes[i] = (char) (random() % 3 ? random() : "\xc3\xa4\xf0\x9f\x98\x80 \n"[random() % 8]);

                text = text_sanitize(bytes, size, max);
                assert_non_null(text);
                assert_true(strlen(text) <= max);
                assert_true(utf8_is_valid(text, strlen(text)));
        }
}

/* ---- numbers and time spans ---- */

static void a_number_is_digits_only(void **state) {
        static const struct {
                const char *text;
                int result;
                uint64_t number;
        } table[] = {
                { "0", 0, 0 },
                { "00017", 0, 17 },
                { "4294967296", 0, 4294967296 },
                { "18446744073709551615", 0, UINT64_MAX },
                { "18446744073709551616", -ERANGE, 0 },
                { "99999999999999999999999999", -ERANGE, 0 },
                { "99999999999999999999999999x", -EINVAL, 0 },
                { "", -EINVAL, 0 },
                { "-1", -EINVAL, 0 },
                { "+1", -EINVAL, 0 },
                { " 1", -EINVAL, 0 },
                { "1 ", -EINVAL, 0 },
                { "1\n", -EINVAL, 0 },
                { "0x10", -EINVAL, 0 },
                { "1.0", -EINVAL, 0 },
                { "1e3", -EINVAL, 0 },
                { "a", -EINVAL, 0 },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                uint64_t u = 12345;

                print_message("# case %zu\n", i);
                assert_int_equal(parse_uint64(table[i].text, &u), table[i].result);
                assert_true(u == (table[i].result < 0 ? 12345 : table[i].number));
        }
}

static void a_time_span_is_read_as_systemd_reads_it(void **state) {
        static const struct {
                const char *text;
                uint64_t usec;
        } table[] = {
                { "90", 90 * USEC_PER_SEC },
                { "0", 0 },
                { "2min 30s", 150 * USEC_PER_SEC },
                { "2min30s", 150 * USEC_PER_SEC },
                { " 2 min  30 s ", 150 * USEC_PER_SEC },
                { "1h", 3600 * USEC_PER_SEC },
                { "500ms", 500 * USEC_PER_MSEC },
                { "1.5s", 1500 * USEC_PER_MSEC },
                { "1.5", 1500 * USEC_PER_MSEC },
                { ".5h", 1800 * USEC_PER_SEC },
                { "+3.1s", 3100 * USEC_PER_MSEC },
                { "3.1s.2", 3300 * USEC_PER_MSEC },
                { "3.1 .2", 3300 * USEC_PER_MSEC },
                { "3.1 sec 1.2 sec", 4300 * USEC_PER_MSEC },
                { "1.0000001s", USEC_PER_SEC },
                { "1.9us", 1 },
                { "23us", 23 },
                { "23usec", 23 },
                { "23\xc2\xb5s", 23 },  /* the micro sign */
                { "23\xce\xbcs", 23 },  /* the Greek letter */
                { "7msec", 7000 },
                { "1sec 1second 2seconds", 4 * USEC_PER_SEC },
                { "1m 1min 1minute 2minutes", 300 * USEC_PER_SEC },
                { "1h 1hr 1hour 2hours", 5 * 3600 * USEC_PER_SEC },
                { "1d 1day 2days", 4 * 86400 * USEC_PER_SEC },
                { "1w 1week 2weeks", 28 * 86400 * USEC_PER_SEC },
                { "infinity", USEC_INFINITY },
                { " infinity ", USEC_INFINITY },
                { "18446744073709551614us", UINT64_MAX - 1 },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                uint64_t usec = 1;

                print_message("# case %zu\n", i);
                assert_int_equal(parse_timespan(table[i].text, &usec), 0);
                assert_true(usec == table[i].usec);
        }
}

static void what_is_no_time_span_is_refused(void **state) {
        static const struct {
                const char *text;
                int result;
        } table[] = {
                { "", -EINVAL },
                { "  ", -EINVAL },
                { "xyz", -EINVAL },
                { "s", -EINVAL },
                { " . ", -EINVAL },
                { " 5. ", -EINVAL },
                { ".s ", -EINVAL },
                { "3.s", -EINVAL },
                { "3. 1s", -EINVAL },
                { "3.+1s", -EINVAL },
                { "12.34.56", -EINVAL },
                { "12..34", -EINVAL },
                { "5 fortnights", -EINVAL },
                { "5 minx", -EINVAL },
                { "5S", -EINVAL },
                { "5 M", -EINVAL },
                { "5,5s", -EINVAL },
                { "infinity 1s", -EINVAL },
                { "infinityx", -EINVAL },
                { "1s infinity", -EINVAL },
                { "0x10", -EINVAL },
                { "-5s", -ERANGE },
                { "-0", -ERANGE },
                { "5s -3s", -ERANGE },
                { "18446744073709551615us", -ERANGE }, /* that is what infinity is */
                { "18446744073709551616us", -ERANGE },
                { "18446744073709551615s", -ERANGE },
                { "18446744073709551614us 1us", -ERANGE },
                { "99999999999999999999999", -ERANGE },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                uint64_t usec = 4711;

                print_message("# case %zu\n", i);
                assert_int_equal(parse_timespan(table[i].text, &usec), table[i].result);
                assert_int_equal(usec, 4711);
        }
}

static void a_size_may_have_a_unit(void **state) {
        static const struct {
                const char *text;
                uint64_t size;
                const char *shortest; /* NULL: 'text' */
        } table[] = {
                { "0", 0, NULL },
                { "0K", 0, "0" },
                { "1", 1, NULL },
                { "1023", 1023, NULL },
                { "1024", 1024, "1K" },
                { "64K", 65536, NULL },
                { "1536K", 1572864, NULL },
                { "16M", 16777216, NULL },
                { "1024M", 1073741824, "1G" },
                { "2048G", UINT64_C(2199023255552), NULL },
                { "18446744073709551615", UINT64_MAX, NULL },
                { "17179869183G", UINT64_C(17179869183) << 30, NULL },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                char text[SIZE_TEXT_MAX];
                uint64_t size;

                print_message("# case %zu\n", i);
                assert_int_equal(parse_size(table[i].text, &size), 0);
                assert_true(size == table[i].size);
                assert_string_equal(format_size(size, text), table[i].shortest ?: table[i].text);
        }
}

static void what_is_no_size_is_refused(void **state) {
        static const struct {
                const char *text;
                int result;
        } table[] = {
                { "", -EINVAL },     { "K", -EINVAL },    { "1k", -EINVAL },
                { "1KB", -EINVAL },  { "1 K", -EINVAL },  { "1.5K", -EINVAL },
                { "-1K", -EINVAL },  { "1KK", -EINVAL },  { "infinity", -EINVAL },
                { "17179869184G", -ERANGE },              { "18446744073709551616", -ERANGE },
                { "99999999999999999999999K", -ERANGE },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                uint64_t size = 4711;

                print_message("# case %zu\n", i);
                assert_int_equal(parse_size(table[i].text, &size), table[i].result);
                assert_int_equal(size, 4711);
        }
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(an_identifier_is_words_joined_by_single_separators),
                cmocka_unit_test(anything_else_is_no_identifier),
                cmocka_unit_test(the_locale_makes_no_letters),
                cmocka_unit_test(a_refusal_speaks_containerds_words),
                cmocka_unit_test(a_refusal_quotes_no_more_than_128_bytes_and_no_half_characters),
                cmocka_unit_test(every_character_of_unicode_is_utf8),
                cmocka_unit_test(what_is_not_utf8_is_found_out),
                cmocka_unit_test(foreign_bytes_become_a_fit_text),
                cmocka_unit_test(whatever_comes_in_utf8_of_the_right_size_goes_out),
                cmocka_unit_test(a_number_is_digits_only),
                cmocka_unit_test(a_time_span_is_read_as_systemd_reads_it),
                cmocka_unit_test(what_is_no_time_span_is_refused),
                cmocka_unit_test(a_size_may_have_a_unit),
                cmocka_unit_test(what_is_no_size_is_refused),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
