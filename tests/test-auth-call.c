/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The table of what each method takes: none of ours may be missing. */

#include "bus/auth-call.h"
#include "bus/connection.h"

#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

/* The XML files are ours, one element a line. Returns how many methods the file has. */
static unsigned check_file(const char *path) {
        char line[1024], interface[256] = "", member[256];
        FILE *f = fopen(path, "re");
        unsigned n = 0;

        assert_non_null(f);
        while (fgets(line, sizeof(line), f)) {
                if (sscanf(line, " <interface name=\"%255[^\"]\"", interface) == 1 ||
                    sscanf(line, " <method name=\"%255[^\"]\"", member) != 1)
                        continue;
                n++;
                if (!auth_action_is_known(interface, member))
                        fail_msg("%s: %s.%s has no row in the table of bus/auth-call.c", path, interface, member);
        }
        fclose(f);
        return n;
}

static void test_every_method_of_ours_has_a_row(void **state) {
        const char *top = getenv("top_srcdir");
        char pattern[4096];
        unsigned n = 0;
        glob_t g;

        (void) snprintf(pattern, sizeof(pattern), "%s/data/org.monoshim1.*.xml", top ?: ".");
        assert_int_equal(glob(pattern, 0, NULL, &g), 0);
        for (size_t i = 0; i < g.gl_pathc; i++)
                n += check_file(g.gl_pathv[i]);
        globfree(&g);
        assert_true(n >= 22);
}

static void test_what_is_unknown_takes_the_right_to_look(void **state) {
        assert_false(auth_action_is_known(MANAGER_INTERFACE, "NoSuchMethod"));
        assert_int_equal(auth_action_of(BUS_PATH, MANAGER_INTERFACE, "NoSuchMethod"), AUTH_INSPECT);
        assert_int_equal(auth_action_of(BUS_PATH, "org.example.Other", "Ping"), AUTH_INSPECT);
        assert_int_equal(auth_action_of(BUS_PATH, NULL, "Ping"), AUTH_INSPECT);
        assert_int_equal(auth_action_of(BUS_PATH, NULL, NULL), AUTH_INSPECT);
        assert_int_equal(auth_action_of(NULL, CONTAINER_INTERFACE, "CreateContainer"), AUTH_INSPECT);
}

static void test_introspection_is_free_above_the_containers_only(void **state) {
        static const char interface[] = "org.freedesktop.DBus.Introspectable";

        assert_int_equal(auth_action_of("/", interface, "Introspect"), AUTH_FREE);
        assert_int_equal(auth_action_of(BUS_PATH, interface, "Introspect"), AUTH_FREE);
        assert_int_equal(auth_action_of(BUS_CONTAINER_PREFIX, interface, "Introspect"), AUTH_INSPECT);
        assert_int_equal(auth_action_of(BUS_CONTAINER_PREFIX "/a/b", interface, "Introspect"), AUTH_INSPECT);
        assert_int_equal(auth_action_of("/anything", interface, "Introspect"), AUTH_INSPECT);
        assert_int_equal(auth_action_of(NULL, interface, "Introspect"), AUTH_INSPECT);
        assert_int_equal(auth_action_of("/", interface, "Other"), AUTH_INSPECT);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_every_method_of_ours_has_a_row),
                cmocka_unit_test(test_what_is_unknown_takes_the_right_to_look),
                cmocka_unit_test(test_introspection_is_free_above_the_containers_only),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
