/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Every fuzz target with every file of its corpus: what was found once is not found again. */

#include "fuzz.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>

#include <cmocka.h>

#define TARGETS(_) \
        _(bundle) \
        _(cgroup) _(cgroup_stats) _(config) _(ctl) _(event) _(eventlog) _(exec_state) _(journal) _(json) _(mounts) \
                _(path) _(peer) _(pid) _(process) _(ps) _(runtime) _(seccomp) _(state) _(stream) _(text)

#define DECLARE(name) int fuzz_##name(const uint8_t *data, size_t size);
TARGETS(DECLARE)

static void feed(int dir_fd, const char *name, int (*target)(const uint8_t *data, size_t size)) {
        _cleanup_(safe_closep) int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
        _cleanup_(freep) uint8_t *data = NULL;
        struct stat st;

        assert_true(fd >= 0);
        assert_int_equal(fstat(fd, &st), 0);

        /* Of exactly its size, so that reading past its end is noticed. */
        data = malloc((size_t) st.st_size + !st.st_size);
        assert_non_null(data);
        assert_int_equal(read(fd, data, (size_t) st.st_size), st.st_size);
        assert_int_equal(target(data, (size_t) st.st_size), 0);
}

static void feed_all(const char *name, int (*target)(const uint8_t *data, size_t size)) {
        struct dirent **entries = NULL;
        char path[4096];
        unsigned n_fed = 0;
        int dir_fd, n;

        (void) snprintf(path, sizeof(path), "%s/tests/fuzz/corpus/%s", getenv("top_srcdir") ?: ".", name);
        for (char *p = strrchr(path, '/'); *p; p++)
                if (*p == '_')
                        *p = '-';
        dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (dir_fd < 0)
                fail_msg("%s: %m", path);

        (void) target((const uint8_t *) "", 0);
        n = scandirat(dir_fd, ".", &entries, NULL, alphasort);
        for (int i = 0; i < n; i++) {
                if (entries[i]->d_name[0] != '.') {
                        print_message("%s/%s\n", name, entries[i]->d_name);
                        feed(dir_fd, entries[i]->d_name, target);
                        n_fed++;
                }
                free(entries[i]);
        }
        free(entries);
        (void) close(dir_fd);
        assert_true(n_fed > 0);
}

#define CASE(name) \
        static void test_##name(void **state) { \
                feed_all(#name, fuzz_##name); \
        }
TARGETS(CASE)

#define ENTRY(name) cmocka_unit_test(test_##name),

int main(void) {
        const struct CMUnitTest tests[] = { TARGETS(ENTRY) };

        return cmocka_run_group_tests_name("fuzz", tests, NULL, NULL);
}
