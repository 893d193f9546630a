/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* monoshimd.conf: what it sets, what it warns of, what it refuses. */

#include "host/config.h"
#include "util/log.h"

#include <fcntl.h>
#include <ftw.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>

#include <cmocka.h>

static char directory[64], path[128];
static int saved_stderr = -EBADF, warnings = -EBADF;

static int remove_one(const char *name, const struct stat *st, int type, struct FTW *ftw) {
        return remove(name);
}

/* Warnings go into a pipe of ours. */
static int set_up(void **state) {
        int fds[2];

        strcpy(directory, "/tmp/test-config-XXXXXX");
        if (!mkdtemp(directory))
                return -1;
        (void) snprintf(path, sizeof(path), "%s/monoshimd.conf", directory);

        program_invocation_short_name = (char *) "test";
        saved_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
        if (saved_stderr < 0 || pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
                return -1;
        warnings = fds[0];
        dup2(fds[1], STDERR_FILENO);
        safe_close(fds[1]);
        return 0;
}

static int tear_down(void **state) {
        dup2(saved_stderr, STDERR_FILENO);
        saved_stderr = safe_close(saved_stderr);
        warnings = safe_close(warnings);
        return nftw(directory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void given_text(const void *text, size_t size) {
        _cleanup_(safe_closep) int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

        assert_true(fd >= 0);
        assert_int_equal(write(fd, text, size), size);
}

static Config when_loaded(const char *text) {
        Config c = { .max_runtime_jobs = 4711 };
        _cleanup_(freep) char *reason = NULL;
        int r;

        given_text(text, strlen(text));
        r = config_load(path, false, &c, &reason);
        if (r < 0)
                print_error("%s\n", strempty(reason));
        assert_int_equal(r, 0);
        assert_null(reason);
        return c;
}

/* "FILE" in 'expected' stands for the file's path, as often as it occurs. */
static void then_text_is(const char *text, const char *expected) {
        char full[4096] = "";
        const char *mark;

        for (; (mark = strstr(expected, "FILE")); expected = mark + 4)
                (void) snprintf(full + strlen(full), sizeof(full) - strlen(full), "%.*s%s", (int) (mark - expected), expected, path);
        (void) snprintf(full + strlen(full), sizeof(full) - strlen(full), "%s", expected);
        assert_string_equal(text, full);
}

static void then_loading_fails(int error, const char *expected) {
        Config c = { .runtime_timeout_usec = 42, .max_runtime_jobs = 4711 };
        _cleanup_(freep) char *reason = NULL;

        assert_int_equal(config_load(path, false, &c, &reason), error);
        assert_non_null(reason);
        then_text_is(reason, expected);
        assert_int_equal(c.runtime_timeout_usec, 42);
        assert_int_equal(c.max_runtime_jobs, 4711);
}

static void then_the_text_is_refused(const char *text, const char *expected) {
        given_text(text, strlen(text));
        then_loading_fails(-EINVAL, expected);
}

static void then_it_warned(const char *expected) {
        char text[4096];
        ssize_t n = read(warnings, text, sizeof(text) - 1);

        text[n < 0 ? 0 : n] = 0;
        then_text_is(text, expected);
}

static unsigned default_jobs(void) {
        Config c;

        config_init(&c);
        return c.max_runtime_jobs;
}

/* ---- what it sets ---- */

static void the_defaults_suit_the_machine(void **state) {
        cpu_set_t cpus;
        unsigned n;
        Config c;

        assert_int_equal(sched_getaffinity(0, sizeof(cpus), &cpus), 0);
        n = 2 * (unsigned) CPU_COUNT(&cpus);

        config_init(&c);
        assert_int_equal(c.runtime_timeout_usec, 120 * USEC_PER_SEC);
        assert_int_equal(c.max_runtime_jobs, n < 4 ? 4 : n);
}

static void an_empty_file_sets_the_defaults(void **state) {
        static const char *const texts[] = { "", "\n", "# comment\n; comment\n\n[Manager]\n", "[Manager]" };

        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                Config c = when_loaded(texts[i]);

                assert_int_equal(c.runtime_timeout_usec, 120 * USEC_PER_SEC);
                assert_int_equal(c.max_runtime_jobs, default_jobs());
        }
        then_it_warned("");
}

static void settings_are_read(void **state) {
        static const struct {
                const char *text;
                uint64_t timeout_usec;
                unsigned jobs;
        } table[] = {
                { "[Manager]\nRuntimeTimeoutSec=30\nMaxRuntimeJobs=7\n", 30 * USEC_PER_SEC, 7 },
                { "[Manager]\nMaxRuntimeJobs=7\nRuntimeTimeoutSec=30", 30 * USEC_PER_SEC, 7 },
                { "[Manager]\r\nRuntimeTimeoutSec=1min 30s\r\nMaxRuntimeJobs=7\r\n", 90 * USEC_PER_SEC, 7 },
                { "  [Manager]\n  RuntimeTimeoutSec = 500ms \n\tMaxRuntimeJobs\t=\t7\n", 500 * USEC_PER_MSEC, 7 },
                { "[Manager]\nRuntimeTimeoutSec=0\nMaxRuntimeJobs=1\n", USEC_INFINITY, 1 },
                { "[Manager]\nRuntimeTimeoutSec=infinity\nMaxRuntimeJobs=4096\n", USEC_INFINITY, 4096 },
                /* The last one counts, and an empty one gives the default back. */
                { "[Manager]\nRuntimeTimeoutSec=1\nRuntimeTimeoutSec=2\nMaxRuntimeJobs=3\n[Manager]\nMaxRuntimeJobs=4\n",
                  2 * USEC_PER_SEC, 4 },
                { "[Manager]\nRuntimeTimeoutSec=1\nRuntimeTimeoutSec=\nMaxRuntimeJobs=5\n", 120 * USEC_PER_SEC, 5 },
                { "[Manager]\n# MaxRuntimeJobs=9\nMaxRuntimeJobs=5 ; not 9\n", 120 * USEC_PER_SEC, 5 },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                Config c;

                print_message("# case %zu\n", i);
                c = when_loaded(table[i].text);
                assert_true(c.runtime_timeout_usec == table[i].timeout_usec);
                assert_int_equal(c.max_runtime_jobs, table[i].jobs);
        }
        assert_int_equal(when_loaded("[Manager]\nMaxRuntimeJobs=5\nMaxRuntimeJobs=\n").max_runtime_jobs, default_jobs());
        then_it_warned("");
}

static void long_comments_are_only_comments(void **state) {
        char text[2048] = "# ";

        memset(text + 2, 'x', 1000);
        strcpy(text + 1002, " MaxRuntimeJobs=9\n[Manager]\nMaxRuntimeJobs=3\n");
        assert_int_equal(when_loaded(text).max_runtime_jobs, 3);
        then_it_warned("");
}

static void a_file_that_may_be_missing_may_be_missing(void **state) {
        _cleanup_(freep) char *reason = NULL;
        Config c = {};

        assert_int_equal(config_load(path, true, &c, &reason), 0);
        assert_int_equal(c.runtime_timeout_usec, 120 * USEC_PER_SEC);
        assert_int_equal(c.max_runtime_jobs, default_jobs());
        assert_null(reason);

        then_loading_fails(-ENOENT, "FILE: No such file or directory");
}

static void a_symbolic_link_is_the_admins_business(void **state) {
        char target[256];
        Config c;

        (void) snprintf(target, sizeof(target), "%s.real", path);
        when_loaded("[Manager]\nMaxRuntimeJobs=3\n");
        assert_int_equal(rename(path, target), 0);
        assert_int_equal(symlink(target, path), 0);
        assert_int_equal(config_load(path, false, &c, NULL), 0);
        assert_int_equal(c.max_runtime_jobs, 3);
}

/* ---- what it warns of ---- */

static void what_is_unknown_is_ignored_with_a_warning(void **state) {
        Config c = when_loaded("Early=1\n"
                               "[Manager]\n"
                               "maxruntimejobs=1\n"
                               "Colour=gr\x1b\xc3\xbcn\n"
                               "MaxRuntimeJobs=3\n"
                               "\n"
                               "[manager]\n"
                               "MaxRuntimeJobs=4\n");

        assert_int_equal(c.max_runtime_jobs, 3);
        then_it_warned("test: FILE:1: Setting \"Early\" stands outside of any section, ignoring.\n"
                       "test: FILE:3: Unknown setting \"maxruntimejobs\" in section [Manager], ignoring.\n"
                       "test: FILE:4: Unknown setting \"Colour\" in section [Manager], ignoring.\n"
                       "test: FILE:8: Unknown section [manager], ignoring its \"MaxRuntimeJobs\".\n");
}

/* ---- what it refuses ---- */

static void a_value_that_makes_no_sense_is_refused_with_its_line(void **state) {
        then_the_text_is_refused("[Manager]\n\nRuntimeTimeoutSec=soon\n",
                                 "FILE:3: RuntimeTimeoutSec=soon is not a time span, such as \"2min\", or \"infinity\"");
        then_the_text_is_refused("[Manager]\nRuntimeTimeoutSec=-1\n",
                                 "FILE:2: RuntimeTimeoutSec=-1 is not a time span, such as \"2min\", or \"infinity\"");
        then_the_text_is_refused("[Manager]\nMaxRuntimeJobs=0\n", "FILE:2: MaxRuntimeJobs=0 is not a number from 1 to 4096");
        then_the_text_is_refused("[Manager]\nMaxRuntimeJobs=4097\n", "FILE:2: MaxRuntimeJobs=4097 is not a number from 1 to 4096");
        then_the_text_is_refused("[Manager]\nMaxRuntimeJobs=-1\n", "FILE:2: MaxRuntimeJobs=-1 is not a number from 1 to 4096");
        then_the_text_is_refused("[Manager]\nMaxRuntimeJobs=99999999999999999999999\n",
                                 "FILE:2: MaxRuntimeJobs=99999999999999999999999 is not a number from 1 to 4096");
        then_the_text_is_refused("[Manager]\nMaxRuntimeJobs=\x1b[1m\xff\n", "FILE:2: MaxRuntimeJobs=?[1m? is not a number from 1 to 4096");
}

static void the_first_mistake_is_the_one_that_is_told(void **state) {
        then_the_text_is_refused("[Manager]\nMaxRuntimeJobs=x\nRuntimeTimeoutSec=y\n",
                                 "FILE:2: MaxRuntimeJobs=x is not a number from 1 to 4096");
        then_the_text_is_refused("[Manager]\nnonsense\nMaxRuntimeJobs=x\n", "FILE:2: neither a [Section] nor Name=Value");
        then_the_text_is_refused("[Manager]\nMaxRuntimeJobs=x\nnonsense\n",
                                 "FILE:2: MaxRuntimeJobs=x is not a number from 1 to 4096");
}

static void what_is_no_ini_file_is_refused(void **state) {
        char text[1024] = "[Manager]\nMaxRuntimeJobs=";

        then_the_text_is_refused("[Manager\nMaxRuntimeJobs=1\n", "FILE:1: neither a [Section] nor Name=Value");
        then_the_text_is_refused("\n[Manager]\nMaxRuntimeJobs\n", "FILE:3: neither a [Section] nor Name=Value");

        /* One setting must not become two. */
        memset(text + strlen(text), '1', 900);
        then_the_text_is_refused(text, "FILE:2: the line is longer than 198 bytes");

        given_text("[Manager]\n\0MaxRuntimeJobs=1\n", 28);
        then_loading_fails(-EINVAL, "FILE: there is a NUL byte in it");
}

/* Continuation lines are not a thing of systemd's files either. */
static void an_indented_line_is_a_line_of_its_own(void **state) {
        Config c = when_loaded("[Manager]\nRuntimeTimeoutSec=5\n  MaxRuntimeJobs=3\n");

        assert_int_equal(c.runtime_timeout_usec, 5 * USEC_PER_SEC);
        assert_int_equal(c.max_runtime_jobs, 3);
}

static void what_is_no_regular_file_is_refused_at_once(void **state) {
        alarm(10);
        assert_int_equal(mkfifo(path, 0600), 0);
        then_loading_fails(-EINVAL, "FILE: not a regular file");
        assert_int_equal(remove(path), 0);
        alarm(0);

        assert_int_equal(mkdir(path, 0700), 0);
        then_loading_fails(-EINVAL, "FILE: not a regular file");
        assert_int_equal(remove(path), 0);

        assert_int_equal(symlink("/dev/zero", path), 0);
        then_loading_fails(-EINVAL, "FILE: not a regular file");
        assert_int_equal(remove(path), 0);

        given_text("", 0);
        assert_int_equal(truncate(path, (off_t) 1 << 40), 0);
        then_loading_fails(-EFBIG, "FILE: larger than 1 MiB");
}

int main(void) {
        static const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
                TEST(the_defaults_suit_the_machine),
                TEST(an_empty_file_sets_the_defaults),
                TEST(settings_are_read),
                TEST(long_comments_are_only_comments),
                TEST(a_file_that_may_be_missing_may_be_missing),
                TEST(a_symbolic_link_is_the_admins_business),
                TEST(what_is_unknown_is_ignored_with_a_warning),
                TEST(a_value_that_makes_no_sense_is_refused_with_its_line),
                TEST(the_first_mistake_is_the_one_that_is_told),
                TEST(what_is_no_ini_file_is_refused),
                TEST(an_indented_line_is_a_line_of_its_own),
                TEST(what_is_no_regular_file_is_refused_at_once),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
