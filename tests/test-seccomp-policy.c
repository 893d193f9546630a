/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Policies for system calls: what each setting says, and which policy counts. */

#include "host/seccomp-policy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static SeccompPolicies *given_nothing(void) {
        SeccompPolicies *p = seccomp_policies_new();

        assert_non_null(p);
        return p;
}

static void on_unknown(void *userdata, const char *name) {
        strcat(strcat(userdata, name), ";");
}

/* Returns what seccomp_policies_set() did; what is not known there must be 'unknown'. */
static int when_set_knowing_all_but(SeccompPolicies *p, const char *name, const char *setting, const char *value,
                                    const char *unknown) {
        const char *wanted = NULL;
        char seen[256] = "";
        int r;

        r = seccomp_policies_set(p, name, setting, value, on_unknown, seen, &wanted);
        assert_string_equal(seen, unknown);
        assert_true((r == -EINVAL) == (wanted != NULL));
        return r;
}

static int when_set(SeccompPolicies *p, const char *setting, const char *value) {
        return when_set_knowing_all_but(p, "", setting, value, "");
}

static void then_answer(const SeccompPolicies *p, const char *syscall, SeccompAction action, int error) {
        SeccompAnswer a = seccomp_policy_decide(seccomp_policies_choose(p, "", "default"), syscall);

        assert_int_equal(a.action, action);
        assert_int_equal(a.error, error);
}

static void test_without_a_policy_everything_is_allowed(void **state) {
        _cleanup_(seccomp_policies_freep) SeccompPolicies *p = given_nothing();

        then_answer(p, "mkdir", SECCOMP_ALLOW, 0);
        then_answer(NULL, "mkdir", SECCOMP_ALLOW, 0);
        assert_null(seccomp_policies_find(p, ""));
}

static void test_a_default(void **state) {
        static const struct {
                const char *value;
                int r;
                SeccompAction action;
                int error;
        } cases[] = {
                { "allow", 0, SECCOMP_ALLOW, 0 },
                { "kill", 0, SECCOMP_KILL, 0 },
                { "errno", 0, SECCOMP_ERRNO, EPERM },
                { "errno:ENOSYS", 0, SECCOMP_ERRNO, ENOSYS },
                { "errno:1", 0, SECCOMP_ERRNO, 1 },
                { "errno:4095", 0, SECCOMP_ERRNO, 4095 },
                { "errno:ENOTSUP", 0, SECCOMP_ERRNO, ENOTSUP },
                { "errno:EWOULDBLOCK", 0, SECCOMP_ERRNO, EAGAIN },
                { "errno:", -EINVAL, SECCOMP_KILL, 0 },
                { "errno:0", -EINVAL, SECCOMP_KILL, 0 },
                { "errno:4096", -EINVAL, SECCOMP_KILL, 0 },
                { "errno:ENOPE", -EINVAL, SECCOMP_KILL, 0 },
                { "errno:eperm", -EINVAL, SECCOMP_KILL, 0 },
                { "Allow", -EINVAL, SECCOMP_KILL, 0 },
                { "allow kill", -EINVAL, SECCOMP_KILL, 0 },
                { "kill:EPERM", -EINVAL, SECCOMP_KILL, 0 },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(seccomp_policies_freep) SeccompPolicies *p = given_nothing();

                assert_int_equal(when_set(p, "Default", "kill"), 0);
                assert_int_equal(when_set(p, "Default", cases[i].value), cases[i].r);
                then_answer(p, "mkdir", cases[i].action, cases[i].error);
                assert_int_equal(when_set(p, "Default", ""), 0);
                then_answer(p, "mkdir", SECCOMP_ALLOW, 0);
        }
}

static void test_lists_add_up(void **state) {
        _cleanup_(seccomp_policies_freep) SeccompPolicies *p = given_nothing();

        assert_int_equal(when_set(p, "Default", "kill"), 0);
        assert_int_equal(when_set(p, "Allow", "  unlink\trmdir "), 0);
        assert_int_equal(when_set(p, "Errno", "mkdir mkdirat:EROFS chmod:13"), 0);
        assert_int_equal(when_set(p, "Allow", "openat"), 0);

        then_answer(p, "unlink", SECCOMP_ALLOW, 0);
        then_answer(p, "rmdir", SECCOMP_ALLOW, 0);
        then_answer(p, "openat", SECCOMP_ALLOW, 0);
        then_answer(p, "mkdir", SECCOMP_ERRNO, EPERM);
        then_answer(p, "mkdirat", SECCOMP_ERRNO, EROFS);
        then_answer(p, "chmod", SECCOMP_ERRNO, EACCES);
        then_answer(p, "mkdi", SECCOMP_KILL, 0);
        then_answer(p, "unknown", SECCOMP_KILL, 0);
}

static void test_the_last_word_counts(void **state) {
        _cleanup_(seccomp_policies_freep) SeccompPolicies *p = given_nothing();

        assert_int_equal(when_set(p, "Kill", "mkdir"), 0);
        assert_int_equal(when_set(p, "Errno", "mkdir:EROFS"), 0);
        then_answer(p, "mkdir", SECCOMP_ERRNO, EROFS);
        assert_int_equal(when_set(p, "Errno", "mkdir:EXDEV"), 0);
        then_answer(p, "mkdir", SECCOMP_ERRNO, EXDEV);
        assert_int_equal(when_set(p, "Allow", "mkdir"), 0);
        then_answer(p, "mkdir", SECCOMP_ALLOW, 0);
}

static void test_an_empty_value_takes_back_what_that_setting_said(void **state) {
        _cleanup_(seccomp_policies_freep) SeccompPolicies *p = given_nothing();

        assert_int_equal(when_set(p, "Errno", "mkdir mkdirat"), 0);
        assert_int_equal(when_set(p, "Kill", "unlink mount"), 0);
        assert_int_equal(when_set(p, "Errno", ""), 0);
        then_answer(p, "mkdir", SECCOMP_ALLOW, 0);
        then_answer(p, "mkdirat", SECCOMP_ALLOW, 0);
        then_answer(p, "mount", SECCOMP_KILL, 0);
        then_answer(p, "unlink", SECCOMP_KILL, 0);
        assert_int_equal(when_set(p, "Errno", "mkdirat"), 0);
        then_answer(p, "mkdirat", SECCOMP_ERRNO, EPERM);
}

static void test_what_is_not_known_is_named_and_left_out(void **state) {
        _cleanup_(seccomp_policies_freep) SeccompPolicies *p = given_nothing();

        assert_int_equal(
                when_set_knowing_all_but(p, "", "Kill", "mkdir nosuchcall mount another", "nosuchcall;another;"), 0);
        then_answer(p, "mkdir", SECCOMP_KILL, 0);
        then_answer(p, "mount", SECCOMP_KILL, 0);
        then_answer(p, "nosuchcall", SECCOMP_ALLOW, 0);
}

static void test_what_is_no_list_is_refused(void **state) {
        static const char *const cases[][2] = {
                { "Allow", "mkdir:EPERM" }, { "Kill", "mkdir:" }, { "Errno", "mkdir:" },
                { "Errno", ":EPERM" },      { "Errno", ":" },     { "Errno", "mkdir:EPERM:EROFS" },
                { "Errno", "mkdir:0" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(seccomp_policies_freep) SeccompPolicies *p = given_nothing();

                assert_int_equal(when_set(p, cases[i][0], cases[i][1]), -EINVAL);
        }
}

static void test_a_setting_that_there_is_not(void **state) {
        _cleanup_(seccomp_policies_freep) SeccompPolicies *p = given_nothing();

        assert_int_equal(when_set(p, "Deny", "mkdir"), -ENOENT);
        assert_int_equal(when_set_knowing_all_but(p, "a/b", "Allow", "mkdir", ""), -EINVAL);
        assert_null(seccomp_policies_find(p, ""));
}

static int chosen(const SeccompPolicies *p, const char *wanted, const char *ns) {
        return seccomp_policy_decide(seccomp_policies_choose(p, wanted, ns), "mkdir").error;
}

static void test_the_policy_of_a_container(void **state) {
        _cleanup_(seccomp_policies_freep) SeccompPolicies *p = given_nothing();

        assert_int_equal(when_set_knowing_all_but(p, "k8s.io", "Default", "errno:2", ""), 0);
        assert_int_equal(when_set_knowing_all_but(p, "tight", "Default", "errno:3", ""), 0);
        assert_int_equal(chosen(p, "", "default"), 0);
        assert_int_equal(when_set_knowing_all_but(p, "", "Default", "errno:1", ""), 0);
        assert_int_equal(when_set_knowing_all_but(p, "", "Kill", "mount", ""), 0);

        assert_int_equal(chosen(p, "", "default"), 1);
        assert_int_equal(chosen(p, "", "k8s.io"), 2);
        assert_int_equal(chosen(p, "tight", "k8s.io"), 3);
        assert_int_equal(chosen(p, "missing", "k8s.io"), 2);
        assert_int_equal(chosen(p, "missing", "default"), 1);

        /* Nothing is inherited from the general one. */
        assert_int_equal(seccomp_policy_decide(seccomp_policies_choose(p, "", "k8s.io"), "mount").action,
                         SECCOMP_ERRNO);
}

static void test_there_are_limits(void **state) {
        _cleanup_(seccomp_policies_freep) SeccompPolicies *p = given_nothing();
        char name[16];

        for (unsigned i = 0; i < SECCOMP_POLICIES_MAX; i++) {
                (void) snprintf(name, sizeof(name), "p%u", i);
                assert_int_equal(when_set_knowing_all_but(p, name, "Default", "kill", ""), 0);
        }
        assert_int_equal(when_set_knowing_all_but(p, "more", "Default", "kill", ""), -E2BIG);
        assert_int_equal(when_set_knowing_all_but(p, "p7", "Default", "allow", ""), 0);
}

static void test_the_section_of_a_file(void **state) {
        _cleanup_(freep) char *refused = NULL, *ignored = NULL;
        SeccompPolicies *p = NULL;
        char *reason = NULL;

        assert_int_equal(seccomp_section_parse(&p, NULL, "Errno", "mkdir:EROFS", &reason), 0);
        assert_int_equal(seccomp_section_parse(&p, "ns", "Kill", "mkdir", &reason), 0);
        assert_int_equal(seccomp_section_parse(&p, "ns", "Else", "mkdir", &reason), -ENOENT);
        assert_null(reason);
        then_answer(p, "mkdir", SECCOMP_ERRNO, EROFS);
        assert_int_equal(seccomp_section_parse(&p, NULL, "Default", "7", &refused), -EINVAL);
        assert_non_null(strstr(refused, "is not \"allow\""));
        assert_int_equal(seccomp_section_parse(&p, NULL, "Kill", "mount one two", &ignored), 1);
        assert_non_null(strstr(ignored, "not known here, ignoring these: one two"));
        then_answer(p, "mount", SECCOMP_KILL, 0);

        seccomp_section_done(&p);
        assert_null(p);
        seccomp_section_done(&p);
}

static void test_names(void **state) {
        assert_string_equal(seccomp_action_to_string(SECCOMP_ALLOW), "allow");
        assert_string_equal(seccomp_action_to_string(SECCOMP_ERRNO), "errno");
        assert_string_equal(seccomp_action_to_string(SECCOMP_KILL), "kill");
        assert_string_equal(seccomp_error_to_string(EROFS), "EROFS");
        assert_null(seccomp_error_to_string(4000));
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_without_a_policy_everything_is_allowed),
                cmocka_unit_test(test_a_default),
                cmocka_unit_test(test_lists_add_up),
                cmocka_unit_test(test_the_last_word_counts),
                cmocka_unit_test(test_an_empty_value_takes_back_what_that_setting_said),
                cmocka_unit_test(test_what_is_not_known_is_named_and_left_out),
                cmocka_unit_test(test_what_is_no_list_is_refused),
                cmocka_unit_test(test_a_setting_that_there_is_not),
                cmocka_unit_test(test_the_policy_of_a_container),
                cmocka_unit_test(test_there_are_limits),
                cmocka_unit_test(test_the_section_of_a_file),
                cmocka_unit_test(test_names),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
