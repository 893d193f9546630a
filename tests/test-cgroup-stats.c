/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The figures of cgroups and who is in them: of folders that look like cgroups, of each version, and of real ones in
 * whatever hierarchies this machine has. */

#include "cgroups.h"

#include "host/cgroup-stats.h"

/* --- vocabulary ------------------------------------------------------------------------------------------------- */

/* A folder with these files in it, as NAME, CONTENT, ..., NULL. */
static int given_folder(World *world, const char *name, const char *const *files) {
        _cleanup_(freep) char *folder = world_path(world, name);
        int fd;

        assert_int_equal(mkdir(folder, 0700), 0);
        for (; *files; files += 2) {
                _cleanup_(freep) char *path = NULL;

                assert_true(asprintf(&path, "%s/%s", folder, files[0]) > 0);
                given_file(path, files[1], 0600);
        }

        fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(fd >= 0);
        return fd;
}
#define FILES(...) ((const char *const[]) { __VA_ARGS__, NULL })

static CgroupStats when_read(World *world, const char *controller, const char *const *files) {
        static unsigned n;
        CgroupStats stats = {};
        char name[16];
        int fd;

        (void) snprintf(name, sizeof(name), "%u", n++);
        fd = given_folder(world, name, files);
        cgroup_stats_add(&stats, controller, fd);
        assert_int_equal(close(fd), 0);
        return stats;
}

static void then_value(const CgroupStats *stats, CgroupStat which, uint64_t value) {
        assert_true(stats->known[which]);
        assert_int_equal(stats->values[which], value);
}

static unsigned n_known(const CgroupStats *stats) {
        unsigned n = 0;

        for (size_t i = 0; i < _CGROUP_STAT_MAX; i++)
                n += stats->known[i];
        return n;
}

/* --- folders ---------------------------------------------------------------------------------------------------- */

static void test_all_figures_of_v2_are_read(void **state) {
        CgroupStats s = when_read(*state, "",
                                  FILES("cpu.stat", "usage_usec 300\nuser_usec 200\nsystem_usec 100\nnice_usec 7\n",
                                        "memory.current", "4096\n", "memory.peak", "8192\n", "memory.max", "1048576\n",
                                        "pids.current", "3\n", "pids.max", "10\n", "io.stat",
                                        "8:0 rbytes=100 wbytes=20 rios=9 wios=9 dbytes=5 dios=9\n"
                                        "259:1 rbytes=1 wbytes=2 rios=0 wios=0 dbytes=0 dios=0\n"));

        then_value(&s, CGROUP_STAT_CPU_USAGE_USEC, 300);
        then_value(&s, CGROUP_STAT_CPU_USER_USEC, 200);
        then_value(&s, CGROUP_STAT_CPU_SYSTEM_USEC, 100);
        then_value(&s, CGROUP_STAT_MEMORY_CURRENT, 4096);
        then_value(&s, CGROUP_STAT_MEMORY_PEAK, 8192);
        then_value(&s, CGROUP_STAT_MEMORY_MAX, 1048576);
        then_value(&s, CGROUP_STAT_PIDS_CURRENT, 3);
        then_value(&s, CGROUP_STAT_PIDS_MAX, 10);
        then_value(&s, CGROUP_STAT_IO_READ_BYTES, 101);
        then_value(&s, CGROUP_STAT_IO_WRITE_BYTES, 22);
        assert_int_equal(n_known(&s), _CGROUP_STAT_MAX);
}

static void test_v2_without_limits_has_none(void **state) {
        CgroupStats s = when_read(*state, "", FILES("memory.max", "max\n", "pids.max", "max\n"));

        then_value(&s, CGROUP_STAT_MEMORY_MAX, UINT64_MAX);
        then_value(&s, CGROUP_STAT_PIDS_MAX, UINT64_MAX);
        assert_int_equal(n_known(&s), 2);
}

/* Nothing has been read from a disk or written to one. */
static void test_an_empty_list_of_devices_is_nought(void **state) {
        CgroupStats v2 = when_read(*state, "", FILES("io.stat", ""));
        CgroupStats v1 = when_read(*state, "blkio", FILES("blkio.throttle.io_service_bytes", "Total 0\n"));

        then_value(&v2, CGROUP_STAT_IO_READ_BYTES, 0);
        then_value(&v2, CGROUP_STAT_IO_WRITE_BYTES, 0);
        then_value(&v1, CGROUP_STAT_IO_READ_BYTES, 0);
        then_value(&v1, CGROUP_STAT_IO_WRITE_BYTES, 0);
}

static void test_what_the_kernel_does_not_offer_is_not_known(void **state) {
        CgroupStats s = when_read(*state, "", FILES("cpu.stat", "usage_usec 5\n", "memory.current", "1\n"));

        then_value(&s, CGROUP_STAT_CPU_USAGE_USEC, 5);
        then_value(&s, CGROUP_STAT_MEMORY_CURRENT, 1);
        assert_int_equal(n_known(&s), 2);

        for (size_t i = 0; i < 5; i++) {
                static const char *const controllers[] = { "cpuacct", "memory", "pids", "blkio", "" };

                s = when_read(*state, controllers[i], FILES(NULL));
                assert_int_equal(n_known(&s), 0);
        }
}

static void test_nonsense_is_not_known(void **state) {
        static const char *const nonsense[] = { "", "\n", "x\n", "-1\n", "1 2\n", "18446744073709551616\n", "0x10\n" };

        for (size_t i = 0; i < ELEMENTSOF(nonsense); i++) {
                CgroupStats s = when_read(*state, "", FILES("memory.current", nonsense[i], "memory.max", nonsense[i],
                                                            "cpu.stat", nonsense[i], "pids.current", nonsense[i]));

                print_message("# case %zu\n", i);
                assert_int_equal(n_known(&s), 0);
        }
}

static void test_devices_that_cannot_be_summed_up_are_not_known(void **state) {
        static const char *const nonsense[] = { "8:0 rbytes=x wbytes=1\n", "8:0 rbytes= wbytes=1\n",
                                                "8:0 rbytes=18446744073709551615 wbytes=1\n8:1 rbytes=1 wbytes=0\n",
                                                "8:0 rbytes=11111111111111111111111111111111111111 wbytes=1\n" };

        for (size_t i = 0; i < ELEMENTSOF(nonsense); i++) {
                CgroupStats s = when_read(*state, "", FILES("io.stat", nonsense[i]));

                print_message("# case %zu\n", i);
                then_value(&s, CGROUP_STAT_IO_WRITE_BYTES, 1);
                assert_int_equal(n_known(&s), 1);
        }
}

static void test_figures_of_v1_are_in_the_same_units(void **state) {
        uint64_t tick = USEC_PER_SEC / (uint64_t) sysconf(_SC_CLK_TCK);
        CgroupStats cpu = when_read(*state, "cpuacct",
                                    FILES("cpuacct.usage", "1234567890\n", "cpuacct.stat", "user 100\nsystem 23\n"));
        CgroupStats memory = when_read(*state, "memory",
                                       FILES("memory.usage_in_bytes", "4096\n", "memory.max_usage_in_bytes", "8192\n",
                                             "memory.limit_in_bytes", "16777216\n"));
        CgroupStats pids = when_read(*state, "pids", FILES("pids.current", "3\n", "pids.max", "10\n"));

        then_value(&cpu, CGROUP_STAT_CPU_USAGE_USEC, 1234567);
        then_value(&cpu, CGROUP_STAT_CPU_USER_USEC, 100 * tick);
        then_value(&cpu, CGROUP_STAT_CPU_SYSTEM_USEC, 23 * tick);
        assert_int_equal(n_known(&cpu), 3);

        then_value(&memory, CGROUP_STAT_MEMORY_CURRENT, 4096);
        then_value(&memory, CGROUP_STAT_MEMORY_PEAK, 8192);
        then_value(&memory, CGROUP_STAT_MEMORY_MAX, 16777216);
        assert_int_equal(n_known(&memory), 3);

        then_value(&pids, CGROUP_STAT_PIDS_CURRENT, 3);
        then_value(&pids, CGROUP_STAT_PIDS_MAX, 10);
        assert_int_equal(n_known(&pids), 2);
}

/* As many pages as fit into a long, whatever their size; a page less is a limit. */
static void test_the_largest_limit_of_v1_is_none(void **state) {
        uint64_t page = (uint64_t) sysconf(_SC_PAGESIZE), largest = INT64_MAX / page * page;
        char text[32];
        CgroupStats s;

        (void) snprintf(text, sizeof(text), "%lu\n", largest);
        s = when_read(*state, "memory", FILES("memory.limit_in_bytes", text));
        then_value(&s, CGROUP_STAT_MEMORY_MAX, UINT64_MAX);
        (void) snprintf(text, sizeof(text), "%lu\n", largest - page);
        s = when_read(*state, "memory", FILES("memory.limit_in_bytes", text));
        then_value(&s, CGROUP_STAT_MEMORY_MAX, largest - page);
        s = when_read(*state, "pids", FILES("pids.max", "max\n"));
        then_value(&s, CGROUP_STAT_PIDS_MAX, UINT64_MAX);
}

#define SERVICE_BYTES(r, w) \
        "8:0 Read " r "\n8:0 Write " w "\n8:0 Sync 5\n8:0 Async 6\n8:0 Discard 7\n8:0 Total 999\n" \
        "259:0 Read 1\n259:0 Write 2\n259:0 Total 3\nTotal 9999\n"

static void test_of_v1_the_recursive_bytes_are_summed_up_if_there_are_any(void **state) {
        CgroupStats own = when_read(*state, "blkio",
                                    FILES("blkio.throttle.io_service_bytes", SERVICE_BYTES("100", "200")));
        CgroupStats both = when_read(*state, "blkio",
                                     FILES("blkio.throttle.io_service_bytes", SERVICE_BYTES("100", "200"),
                                           "blkio.throttle.io_service_bytes_recursive", SERVICE_BYTES("300", "400")));

        then_value(&own, CGROUP_STAT_IO_READ_BYTES, 101);
        then_value(&own, CGROUP_STAT_IO_WRITE_BYTES, 202);
        then_value(&both, CGROUP_STAT_IO_READ_BYTES, 301);
        then_value(&both, CGROUP_STAT_IO_WRITE_BYTES, 402);
        assert_int_equal(n_known(&both), 2);
}

static void test_what_v1_has_said_v2_does_not_replace(void **state) {
        CgroupStats s = when_read(*state, "pids", FILES("pids.current", "3\n"));
        int fd;

        fd = given_folder(*state, "unified", FILES("pids.current", "99\n", "pids.max", "max\n"));
        cgroup_stats_add(&s, "", fd);
        assert_int_equal(close(fd), 0);
        then_value(&s, CGROUP_STAT_PIDS_CURRENT, 3);
        then_value(&s, CGROUP_STAT_PIDS_MAX, UINT64_MAX);
}

/* --- who is in a folder ----------------------------------------------------------------------------------------- */

static void then_pids_in(int fd, const pid_t *expected, size_t n_expected) {
        _cleanup_(freep) pid_t *pids = NULL;
        size_t n = 99;

        assert_int_equal(cgroup_list_pids_in(fd, &pids, &n), 0);
        assert_int_equal(n, n_expected);
        if (n > 0)
                assert_memory_equal(pids, expected, n * sizeof(*pids));
}

static void test_the_pids_below_are_listed_sorted_each_once(void **state) {
        int fd = given_folder(*state, "top", FILES("cgroup.procs", "30\n2\n")), below[4];

        below[0] = given_folder(*state, "top/b", FILES("cgroup.procs", "7\n30\n0\n"));
        below[1] = given_folder(*state, "top/b/c", FILES("cgroup.procs", "4194304\n1\n"));
        below[2] = given_folder(*state, "top/empty", FILES("cgroup.procs", ""));
        below[3] = given_folder(*state, "top/no-list", FILES("memory.max", "max\n"));
        for (size_t i = 0; i < ELEMENTSOF(below); i++)
                assert_int_equal(close(below[i]), 0);

        then_pids_in(fd, (const pid_t[]) { 1, 2, 7, 30, 4194304 }, 5);
        then_pids_in(fd, (const pid_t[]) { 1, 2, 7, 30, 4194304 }, 5); /* the descriptor is left as it was */
        assert_int_equal(close(fd), 0);
}

static void test_nobody_is_an_empty_list(void **state) {
        int fd = given_folder(*state, "top", FILES("cgroup.procs", ""));

        then_pids_in(fd, NULL, 0);
        assert_int_equal(close(fd), 0);
}

static void test_a_link_is_not_followed(void **state) {
        int fd = given_folder(*state, "top", FILES("cgroup.procs", "1\n")), other;
        _cleanup_(freep) char *to = NULL;

        other = given_folder(*state, "other", FILES("cgroup.procs", "2\n"));
        to = world_path(*state, "other");
        assert_int_equal(symlinkat(to, fd, "link"), 0);
        then_pids_in(fd, (const pid_t[]) { 1 }, 1);
        assert_int_equal(close(fd) | close(other), 0);
}

static void test_absurdly_many_or_deep_cgroups_are_refused(void **state) {
        int fd = given_folder(*state, "top", FILES(NULL)), at, wide;
        pid_t *pids = NULL;
        char name[16];
        size_t n = 0;

        at = fcntl(fd, F_DUPFD_CLOEXEC, 0);
        for (unsigned i = 0; i < 100; i++) {
                int next;

                assert_int_equal(mkdirat(at, "d", 0700), 0);
                next = openat(at, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                assert_true(next >= 0);
                assert_int_equal(close(at), 0);
                at = next;
        }
        assert_int_equal(close(at), 0);
        assert_int_equal(cgroup_list_pids_in(fd, &pids, &n), -E2BIG);
        assert_int_equal(close(fd), 0);

        wide = given_folder(*state, "wide", FILES(NULL));
        for (unsigned i = 0; i < 256; i++) {
                if (i == 255) {
                        assert_int_equal(cgroup_list_pids_in(wide, &pids, &n), 0);
                        pids = mfree(pids);
                }
                (void) snprintf(name, sizeof(name), "%u", i);
                assert_int_equal(mkdirat(wide, name, 0700), 0);
        }
        assert_int_equal(cgroup_list_pids_in(wide, &pids, &n), -E2BIG);
        assert_null(pids);
        assert_int_equal(close(wide), 0);
}

static void test_a_list_that_is_none_is_refused(void **state) {
        static const char *const nonsense[] = { "x\n", "1\n-2\n", "99999999999\n", "1 2\n" };

        for (size_t i = 0; i < ELEMENTSOF(nonsense); i++) {
                pid_t *pids = NULL;
                char name[16];
                size_t n = 0;
                int fd;

                (void) snprintf(name, sizeof(name), "%zu", i);
                fd = given_folder(*state, name, FILES("cgroup.procs", nonsense[i]));
                assert_int_equal(cgroup_list_pids_in(fd, &pids, &n), -EBADMSG);
                assert_int_equal(close(fd), 0);
        }
}

/* --- real ones -------------------------------------------------------------------------------------------------- */

static bool given_v1(const char *controller, Hierarchy *ret) {
        _cleanup_(freep) char *mount_point = NULL;

        assert_true(asprintf(&mount_point, "/sys/fs/cgroup/%s", controller) > 0);
        return given_hierarchy(controller, mount_point, ret);
}

static CgroupStats when_stats_are_read(pid_t pid) {
        CgroupStats s = {};

        assert_int_equal(cgroup_read_stats(pid, NULL, &s), 0);
        return s;
}

static bool uses_processor(void *pid) {
        CgroupStats s = when_stats_are_read(*(pid_t *) pid);

        return s.known[CGROUP_STAT_CPU_USAGE_USEC] && s.values[CGROUP_STAT_CPU_USAGE_USEC] >= 100 * USEC_PER_MSEC &&
               s.values[CGROUP_STAT_CPU_USER_USEC] + s.values[CGROUP_STAT_CPU_SYSTEM_USEC] >= 50 * USEC_PER_MSEC;
}

static void test_real_figures_of_v1(void **state) {
        _cleanup_(hierarchy_done) Hierarchy cpuacct = {}, memory = {}, pids = {}, blkio = {};
        Hierarchy *all[] = { &cpuacct, &memory, &pids, &blkio };
        CgroupStats s;
        pid_t pid;

        needs_cgroups(given_v1("cpuacct", &cpuacct) && given_v1("memory", &memory) && given_v1("pids", &pids) &&
                      given_v1("blkio", &blkio));
        pid = fork_child();
        if (pid == 0)
                for (;;)
                        ;
        s = when_stats_are_read(pid);
        assert_int_equal(n_known(&s), 0); /* all are ours */

        for (size_t i = 0; i < ELEMENTSOF(all); i++) {
                given_cgroup(all[i], "");
                when_moved(all[i], "", pid);
        }
        s = when_stats_are_read(pid);
        assert_int_equal(n_known(&s), _CGROUP_STAT_MAX);
        assert_true(s.values[CGROUP_STAT_MEMORY_MAX] == UINT64_MAX);
        assert_true(s.values[CGROUP_STAT_PIDS_MAX] == UINT64_MAX);
        then_value(&s, CGROUP_STAT_PIDS_CURRENT, 1);

        write_to(made[1], "memory.limit_in_bytes", "33554432");
        write_to(made[2], "pids.max", "77");
        s = when_stats_are_read(pid);
        then_value(&s, CGROUP_STAT_MEMORY_MAX, 33554432);
        then_value(&s, CGROUP_STAT_PIDS_MAX, 77);
        assert_true(s.values[CGROUP_STAT_MEMORY_CURRENT] <= s.values[CGROUP_STAT_MEMORY_PEAK]);
        assert_true(s.values[CGROUP_STAT_MEMORY_PEAK] <= 33554432);
        world_run_until(*state, uses_processor, &pid);

        when_killed(*state, &pid, 1);
        assert_int_equal(cgroup_read_stats(pid, NULL, &s), -ESRCH);
        for (size_t i = 0; i < ELEMENTSOF(all); i++)
                then_removable(*state, all[i], "");
}

static void test_real_figures_of_v2(void **state) {
        _cleanup_(hierarchy_done) Hierarchy h = {};
        CgroupStats s;
        pid_t pid;

        needs_cgroups(given_hierarchy("", "/sys/fs/cgroup", &h) || given_hierarchy("", "/sys/fs/cgroup/unified", &h));
        given_cgroup(&h, "");
        pid = fork_child();
        if (pid == 0)
                for (;;)
                        ;
        when_moved(&h, "", pid);

        /* cpu.stat is there without the controller. */
        world_run_until(*state, uses_processor, &pid);
        s = when_stats_are_read(pid);
        assert_true(s.values[CGROUP_STAT_CPU_USER_USEC] + s.values[CGROUP_STAT_CPU_SYSTEM_USEC] <=
                    s.values[CGROUP_STAT_CPU_USAGE_USEC] + 1);

        when_killed(*state, &pid, 1);
        then_removable(*state, &h, "");
}

static void then_family_is_listed(const pid_t *family, size_t n_family, const char *control_group) {
        _cleanup_(freep) pid_t *pids = NULL;
        size_t n = 0;

        assert_int_equal(cgroup_list_pids(family[0], control_group, &pids, &n), 0);
        assert_int_equal(n, n_family);
        for (size_t i = 0; i < n; i++) {
                bool found = false;

                assert_true(i == 0 || pids[i - 1] < pids[i]);
                for (size_t j = 0; j < n; j++)
                        found = found || pids[i] == family[j];
                assert_true(found);
        }
}

static void then_a_family_is_listed(World *world, Hierarchy *h) {
        _cleanup_(freep) char *control_group = NULL;
        pid_t family[4], *pids = NULL;
        size_t n = 0;

        given_cgroup(h, "");
        given_cgroup(h, "a");
        given_cgroup(h, "a/b");
        given_family(family, 4);
        assert_int_equal(cgroup_list_pids(family[0], NULL, &pids, &n), -ENODATA);
        assert_null(pids);

        when_moved(h, "", family[0]);
        when_moved(h, "a", family[1]);
        when_moved(h, "a/b", family[2]);
        when_moved(h, "a/b", family[3]);
        then_family_is_listed(family, 4, NULL);
        then_family_is_listed(family + 1, 3, NULL);

        /* An init that has moved itself further down is not all that there is. */
        control_group = cgroup_path(h, "");
        when_moved(h, "a/b", family[0]);
        then_family_is_listed(family, 4, control_group);
        when_moved(h, "", family[1]);
        then_family_is_listed(family, 4, control_group);

        when_killed(world, family, 4);
        assert_int_equal(cgroup_list_pids(family[0], NULL, &pids, &n), -ESRCH);
        then_removable(world, h, "a/b");
        then_removable(world, h, "a");
        then_removable(world, h, "");
}

static void test_who_is_in_a_real_cgroup_of_v1(void **state) {
        _cleanup_(hierarchy_done) Hierarchy h = {};

        needs_cgroups(given_v1("pids", &h) || given_v1("memory", &h));
        then_a_family_is_listed(*state, &h);
}

static void test_who_is_in_a_real_cgroup_of_v2(void **state) {
        _cleanup_(hierarchy_done) Hierarchy h = {};

        needs_cgroups(given_hierarchy("", "/sys/fs/cgroup", &h) || given_hierarchy("", "/sys/fs/cgroup/unified", &h));
        then_a_family_is_listed(*state, &h);
}

/* It stays in /proc until it is reaped, where v1 shows it in the root, with everybody else. */
static void test_of_a_zombie_nothing_is_told(void **state) {
        _cleanup_(hierarchy_done) Hierarchy h = {};
        pid_t pid, *pids = NULL;
        CgroupStats s;
        size_t n = 0;

        needs_cgroups(given_v1("pids", &h) || given_v1("memory", &h));
        given_cgroup(&h, "");
        given_family(&pid, 1);
        when_moved(&h, "", pid);
        assert_int_equal(kill(pid, SIGKILL), 0);
        when_it_has_exited(pid);
        assert_int_equal(cgroup_list_pids(pid, NULL, &pids, &n), -ENODATA);
        s = when_stats_are_read(pid);
        assert_int_equal(n_known(&s), 0);
        world_run_until_no_children(*state);
        then_removable(*state, &h, "");
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, world_begin, cgroups_end)

int main(void) {
        const struct CMUnitTest tests[] = {
                CASE(test_all_figures_of_v2_are_read),
                CASE(test_v2_without_limits_has_none),
                CASE(test_an_empty_list_of_devices_is_nought),
                CASE(test_what_the_kernel_does_not_offer_is_not_known),
                CASE(test_nonsense_is_not_known),
                CASE(test_devices_that_cannot_be_summed_up_are_not_known),
                CASE(test_figures_of_v1_are_in_the_same_units),
                CASE(test_the_largest_limit_of_v1_is_none),
                CASE(test_of_v1_the_recursive_bytes_are_summed_up_if_there_are_any),
                CASE(test_what_v1_has_said_v2_does_not_replace),
                CASE(test_the_pids_below_are_listed_sorted_each_once),
                CASE(test_nobody_is_an_empty_list),
                CASE(test_a_link_is_not_followed),
                CASE(test_absurdly_many_or_deep_cgroups_are_refused),
                CASE(test_a_list_that_is_none_is_refused),
                CASE(test_real_figures_of_v1),
                CASE(test_real_figures_of_v2),
                CASE(test_who_is_in_a_real_cgroup_of_v1),
                CASE(test_who_is_in_a_real_cgroup_of_v2),
                CASE(test_of_a_zombie_nothing_is_told),
        };

        return cmocka_run_group_tests_name("cgroup-stats", tests, NULL, NULL);
}
