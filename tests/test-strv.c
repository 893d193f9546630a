/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* String arrays, as argument vectors are built from them. */

#include "util/strv.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void then_it_is(char *const *v, size_t n, const char *const expected[]) {
        assert_int_equal(strv_length(v), n);
        for (size_t i = 0; i < n; i++)
                assert_string_equal(v[i], expected[i]);
        if (n > 0)
                assert_null(v[n]);
}

#define then_it_is(v, ...)                                                     \
        (then_it_is)(v, ELEMENTSOF(((const char *const[]) { __VA_ARGS__ })), \
                     (const char *const[]) { __VA_ARGS__ })

static void no_array_is_an_empty_array(void **state) {
        assert_int_equal(strv_length(NULL), 0);
        assert_false(strv_contains(NULL, "a"));
        assert_null(strv_free(NULL));
}

static void strings_are_appended_in_order(void **state) {
        _cleanup_(strv_freep) char **v = NULL;

        assert_int_equal(strv_extend(&v, "runc"), 0);
        then_it_is(v, "runc");
        assert_int_equal(strv_extend_all(&v, "--root", "/run/x", ""), 0);
        then_it_is(v, "runc", "--root", "/run/x", "");
        assert_int_equal(strv_extendf(&v, "%d%s", 15, "%"), 0);
        then_it_is(v, "runc", "--root", "/run/x", "", "15%");
}

static void strings_are_copied(void **state) {
        _cleanup_(strv_freep) char **v = NULL;
        char word[] = "before";

        assert_int_equal(strv_extend(&v, word), 0);
        strcpy(word, "after");
        then_it_is(v, "before");
}

static void null_appends_nothing(void **state) {
        _cleanup_(strv_freep) char **v = NULL;

        assert_int_equal(strv_extend(&v, NULL), 0);
        assert_null(v);
        assert_int_equal(strv_extend(&v, "a"), 0);
        assert_int_equal(strv_extend(&v, NULL), 0);
        then_it_is(v, "a");
}

static void many_strings_end_at_the_first_null(void **state) {
        _cleanup_(strv_freep) char **v = NULL;

        assert_int_equal(strv_extend_many(&v, "a", NULL, "b", NULL), 0);
        then_it_is(v, "a");
}

static void a_string_is_found_whole_or_not_at_all(void **state) {
        _cleanup_(strv_freep) char **v = NULL;

        assert_int_equal(strv_extend_all(&v, "alpha", "beta"), 0);
        assert_true(strv_contains(v, "alpha"));
        assert_true(strv_contains(v, "beta"));
        assert_false(strv_contains(v, "alph"));
        assert_false(strv_contains(v, "Beta"));
        assert_false(strv_contains(v, ""));
}

static void a_copy_lives_on_its_own(void **state) {
        _cleanup_(strv_freep) char **v = NULL, **copy = NULL, **empty = NULL;

        assert_int_equal(strv_extend_all(&v, "a", "b"), 0);
        copy = strv_copy(v);
        assert_non_null(copy);
        v = strv_free(v);
        then_it_is(copy, "a", "b");

        empty = strv_copy(NULL);
        assert_non_null(empty);
        assert_null(empty[0]);
}

static void a_pack_is_one_block(void **state) {
        _cleanup_(strv_freep) char **v = NULL;
        _cleanup_(freep) char **pack = NULL, **empty = NULL;

        assert_int_equal(strv_extend_all(&v, "a", "", "bc"), 0);
        pack = strv_pack(v);
        assert_non_null(pack);
        v = strv_free(v);
        then_it_is(pack, "a", "", "bc");
        assert_ptr_equal(pack[0], pack + 4); /* behind the pointers, so freeing the block is enough */
        assert_ptr_equal(pack[2], pack[0] + 3);

        empty = strv_pack(NULL);
        assert_non_null(empty);
        assert_null(empty[0]);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(no_array_is_an_empty_array),
                cmocka_unit_test(strings_are_appended_in_order),
                cmocka_unit_test(strings_are_copied),
                cmocka_unit_test(null_appends_nothing),
                cmocka_unit_test(many_strings_end_at_the_first_null),
                cmocka_unit_test(a_string_is_found_whole_or_not_at_all),
                cmocka_unit_test(a_copy_lives_on_its_own),
                cmocka_unit_test(a_pack_is_one_block),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
