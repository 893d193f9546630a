/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Control groups: real ones, made below our own in whatever hierarchies this machine has, and removed again. */

#include "cgroups.h"

#include "host/cgroup-view.h"
#include "host/job.h"
#include "host/pid.h"
#include "util/strv.h"

/* --- membership ------------------------------------------------------------------------------------------------- */

static void test_membership_is_what_proc_says(void **state) {
        _cleanup_(cgroup_membership_done) CgroupMembership m = {};
        char line[8192];
        size_t n = 0;
        FILE *f;

        assert_int_equal(cgroup_membership_read(getpid(), &m), 0);
        f = fopen("/proc/self/cgroup", "re");
        assert_non_null(f);
        for (; fgets(line, sizeof(line), f); n++) {
                char expected[8192];

                assert_in_range(n, 0, m.n_entries - 1);
                (void) snprintf(expected, sizeof(expected), "%s:%s\n", m.entries[n].controllers, m.entries[n].path);
                assert_string_equal(strchr(line, ':') + 1, expected);
                assert_string_equal(cgroup_membership_get(&m, m.entries[n].controllers), m.entries[n].path);
        }
        (void) fclose(f);
        assert_int_equal(m.n_entries, n);
        assert_null(cgroup_membership_get(&m, "no-such-controller"));
}

static void test_nobody_is_in_no_cgroup(void **state) {
        CgroupMembership m = {};
        char **paths = NULL;
        pid_t pid;

        given_family(&pid, 1);
        when_killed(*state, &pid, 1);
        assert_int_equal(cgroup_membership_read(pid, &m), -ESRCH);
        assert_int_equal(cgroup_list_of_children(pid, &paths), -ESRCH);
        assert_null(paths);
}

static void test_the_cgroup_of_a_process_is_the_one_that_is_not_ours(void **state) {
        _cleanup_(freep) char *expected = NULL, *path = NULL, *colon = NULL;
        _cleanup_(hierarchy_done) Hierarchy h = {};
        pid_t pid;

        needs_cgroups(given_any_hierarchy(&h));
        given_cgroup(&h, "");
        given_cgroup(&h, "with:colon");
        given_family(&pid, 1);

        when_moved(&h, "", pid);
        expected = cgroup_path(&h, "");
        assert_int_equal(pid_read_cgroup(pid, &path), 0);
        assert_string_equal(path, expected);

        when_moved(&h, "with:colon", pid);
        free(path);
        path = NULL;
        colon = cgroup_path(&h, "with:colon");
        assert_int_equal(pid_read_cgroup(pid, &path), 0);
        assert_string_equal(path, colon);

        when_killed(*state, &pid, 1);
        then_removable(*state, &h, "with:colon");
        then_removable(*state, &h, "");
}

/* name=systemd counts more than memory, and that more than pids, whatever their order in /proc. */
static void test_of_several_cgroups_the_most_telling_is_taken(void **state) {
        _cleanup_(hierarchy_done) Hierarchy pids = {}, memory = {}, named = {};
        _cleanup_(freep) char *expected = NULL, *path = NULL;
        pid_t pid;

        needs_cgroups(given_hierarchy("pids", "/sys/fs/cgroup/pids", &pids) &&
                      given_hierarchy("memory", "/sys/fs/cgroup/memory", &memory) &&
                      given_hierarchy("name=systemd", "/sys/fs/cgroup/systemd", &named));
        given_cgroup(&pids, "");
        given_cgroup(&pids, "below");
        given_cgroup(&memory, "");
        given_family(&pid, 1);
        when_moved(&pids, "below", pid);
        when_moved(&memory, "", pid);

        expected = cgroup_path(&memory, "");
        assert_int_equal(pid_read_cgroup(pid, &path), 0);
        assert_string_equal(path, expected);

        given_cgroup(&named, "");
        given_cgroup(&named, "named");
        when_moved(&named, "named", pid);
        free(expected);
        free(path);
        path = NULL;
        expected = cgroup_path(&named, "named");
        assert_int_equal(pid_read_cgroup(pid, &path), 0);
        assert_string_equal(path, expected);

        when_killed(*state, &pid, 1);
        then_removable(*state, &named, "named");
        then_removable(*state, &named, "");
        then_removable(*state, &pids, "below");
        then_removable(*state, &pids, "");
        then_removable(*state, &memory, "");
}

/* --- a container's directory ------------------------------------------------------------------------------------ */

static void test_a_cgroup_of_its_own_is_found_by_its_controller(void **state) {
        _cleanup_(cgroup_membership_done) CgroupMembership its = {};
        _cleanup_(cgroup_view_done) CgroupView view = {};
        _cleanup_(freep) char *expected = NULL, *found = NULL, *inner = NULL;
        _cleanup_(hierarchy_done) Hierarchy h = {};
        pid_t pid;

        needs_cgroups(given_any_hierarchy(&h));
        given_cgroup(&h, "");
        given_cgroup(&h, "inner");
        given_family(&pid, 1);
        assert_int_equal(cgroup_view_open(&view, getpid()), 0);

        /* Shared with us. */
        assert_int_equal(cgroup_membership_read(pid, &its), 0);
        assert_int_equal(cgroup_get_directory_of(&its, &view, h.controllers, NULL, &found), -ENOENT);
        cgroup_membership_done(&its);

        /* As it is; and with the container's own given, that one, if it is above. */
        when_moved(&h, "inner", pid);
        assert_int_equal(cgroup_membership_read(pid, &its), 0);
        inner = cgroup_directory(&h, "inner");
        assert_int_equal(cgroup_get_directory_of(&its, &view, h.controllers, NULL, &found), 0);
        assert_string_equal(found, inner);
        free(found);
        assert_int_equal(cgroup_get_directory_of(&its, &view, h.controllers, "", &found), 0);
        assert_string_equal(found, inner);
        free(found);
        assert_int_equal(cgroup_get_directory_of(&its, &view, h.controllers, "/some/where/else", &found), 0);
        assert_string_equal(found, inner);
        free(found);
        found = cgroup_path(&h, "");
        expected = TAKE_PTR(found);
        assert_int_equal(cgroup_get_directory_of(&its, &view, h.controllers, expected, &found), 0);
        free(expected);
        expected = cgroup_directory(&h, "");
        assert_string_equal(found, expected);

        when_killed(*state, &pid, 1);
        then_removable(*state, &h, "inner");
        then_removable(*state, &h, "");
}

static void test_what_is_above_us_is_no_containers(void **state) {
        static CgroupEntry ours[] = { { "memory", "/a/b" }, { "", "/a/b" } };
        static const char *const theirs[] = { "/", "/a", "/a/b" };
        CgroupView view = { .own = { .entries = ours, .n_entries = ELEMENTSOF(ours) } };
        char *found = NULL;

        for (size_t i = 0; i < ELEMENTSOF(theirs); i++) {
                CgroupEntry e[] = { { "memory", (char *) theirs[i] }, { "", (char *) theirs[i] } };
                const CgroupMembership its = { .entries = e, .n_entries = ELEMENTSOF(e) };

                assert_int_equal(cgroup_get_directory_of(&its, &view, "memory", NULL, &found), -ENOENT);
                assert_int_equal(cgroup_get_directory_of(&its, &view, "", NULL, &found), -ENOENT);
                assert_int_equal(cgroup_get_directory_of(&its, &view, "pids", NULL, &found), -ENOENT);
        }
        assert_null(found);
}

static void test_a_number_is_found_behind_its_key(void **state) {
        static const struct {
                const char *text, *key;
                int result;
                uint64_t value;
        } table[] = {
                { "low 0\noom 2\noom_kill 7\n", "oom_kill", 0, 7 },
                { "low 0\noom 2\noom_kill 7\n", "oom", 0, 2 },
                { "oom_kill_disable 1\nunder_oom 0\noom_kill 3", "oom_kill", 0, 3 },
                { "oom_group_kill 1\n", "oom_kill", -ENODATA, 0 },
                { "x oom_kill 1\n", "oom_kill", -ENODATA, 0 },
                { "", "oom_kill", -ENODATA, 0 },
                { "\n\noom_kill 1\n", "oom_kill", 0, 1 },
                { "oom_kill 18446744073709551615\n", "oom_kill", 0, UINT64_MAX },
                { "oom_kill 18446744073709551616\n", "oom_kill", -EBADMSG, 0 },
                { "oom_kill x\n", "oom_kill", -EBADMSG, 0 },
                { "oom_kill \n", "oom_kill", -EBADMSG, 0 },
                { "oom_kill 1 2\n", "oom_kill", -EBADMSG, 0 },
                { "oom_kill 0000000000000000000000000000000000001\n", "oom_kill", -EBADMSG, 0 },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                uint64_t value = 0;

                print_message("# case %zu\n", i);
                assert_int_equal(cgroup_get_keyed(table[i].text, table[i].key, &value), table[i].result);
                assert_true(value == table[i].value);
        }
}

/* --- what a runtime has made ------------------------------------------------------------------------------------ */

static void test_the_cgroups_of_descendants_are_listed_but_not_those_of_the_runtime(void **state) {
        _cleanup_(freep) char *runtime = NULL, *container = NULL, *inner = NULL;
        _cleanup_(hierarchy_done) Hierarchy h = {};
        _cleanup_(strv_freep) char **paths = NULL;
        pid_t family[4];

        needs_cgroups(given_any_hierarchy(&h));
        given_cgroup(&h, "");
        given_cgroup(&h, "runtime");
        given_cgroup(&h, "container");
        given_cgroup(&h, "container/inner");
        given_family(family, ELEMENTSOF(family));
        when_moved(&h, "runtime", family[0]);
        when_moved(&h, "runtime", family[1]);
        when_moved(&h, "container", family[2]);
        when_moved(&h, "container/inner", family[3]);

        assert_int_equal(cgroup_list_of_children(family[0], &paths), 0);
        runtime = cgroup_directory(&h, "runtime");
        container = cgroup_directory(&h, "container");
        inner = cgroup_directory(&h, "container/inner");
        assert_int_equal(strv_length(paths), 2);
        assert_true(strv_contains(paths, container));
        assert_true(strv_contains(paths, inner));
        assert_false(strv_contains(paths, runtime));

        /* Whoever is in the same ones as the runtime has made none; he who has no children neither. */
        paths = strv_free(paths);
        assert_int_equal(cgroup_list_of_children(family[3], &paths), 0);
        assert_non_null(paths);
        assert_int_equal(strv_length(paths), 0);

        when_killed(*state, family, ELEMENTSOF(family));
        then_removable(*state, &h, "container/inner");
        then_removable(*state, &h, "container");
        then_removable(*state, &h, "runtime");
        then_removable(*state, &h, "");
}

static void test_each_hierarchy_is_listed_where_it_is_mounted(void **state) {
        _cleanup_(hierarchy_done) Hierarchy pids = {}, freezer = {}, named = {}, unified = {};
        _cleanup_(strv_freep) char **paths = NULL;
        Hierarchy *all[4];
        pid_t family[2];
        size_t n = 0;

        if (given_hierarchy("pids", "/sys/fs/cgroup/pids", &pids))
                all[n++] = &pids;
        if (given_hierarchy("freezer", "/sys/fs/cgroup/freezer", &freezer))
                all[n++] = &freezer;
        if (given_hierarchy("name=systemd", "/sys/fs/cgroup/systemd", &named))
                all[n++] = &named;
        if (given_hierarchy("", "/sys/fs/cgroup/unified", &unified) ||
            given_hierarchy("", "/sys/fs/cgroup", &unified))
                all[n++] = &unified;
        needs_cgroups(n > 0);

        given_family(family, 2);
        for (size_t i = 0; i < n; i++) {
                given_cgroup(all[i], "");
                when_moved(all[i], "", family[1]);
        }

        assert_int_equal(cgroup_list_of_children(family[0], &paths), 0);
        assert_int_equal(strv_length(paths), n);
        for (size_t i = 0; i < n; i++) {
                _cleanup_(freep) char *directory = cgroup_directory(all[i], "");

                assert_true(strv_contains(paths, directory));
        }

        when_killed(*state, family, 2);
        for (size_t i = 0; i < n; i++)
                then_removable(*state, all[i], "");
}

static bool none_is_left(void *paths) {
        return cgroup_remove_empty(paths) == 0;
}

static void test_empty_cgroups_go_deepest_first_and_others_stay(void **state) {
        _cleanup_(freep) char *top = NULL, *inner = NULL, *busy = NULL, *missing = NULL;
        _cleanup_(hierarchy_done) Hierarchy h = {};
        pid_t pid;

        needs_cgroups(given_any_hierarchy(&h));
        given_cgroup(&h, "");
        given_cgroup(&h, "inner");
        given_cgroup(&h, "busy");
        given_family(&pid, 1);
        when_moved(&h, "busy", pid);
        top = cgroup_directory(&h, "");
        inner = cgroup_directory(&h, "inner");
        busy = cgroup_directory(&h, "busy");
        missing = cgroup_directory(&h, "missing");
        {
                char *paths[] = { top, inner, busy, missing, NULL };

                /* The one with a process in it, and the one that holds that. */
                assert_int_equal(cgroup_remove_empty(paths), 2);
                assert_false(directory_exists(inner));
                assert_true(directory_exists(busy));
                assert_true(directory_exists(top));
                assert_int_equal(kill(pid, 0), 0);

                /* All at once, although the one that holds the others comes first in the list. */
                when_killed(*state, &pid, 1);
                then_removable(*state, &h, "busy");
                given_cgroup(&h, "busy");
                given_cgroup(&h, "inner");
                assert_int_equal(cgroup_remove_empty(paths), 0);
                assert_false(directory_exists(top));
                assert_int_equal(cgroup_remove_empty(paths), 0);
        }
        assert_int_equal(cgroup_remove_empty(NULL), 0);
}

static void test_nothing_but_empty_directories_can_be_lost(void **state) {
        _cleanup_(freep) char *file = NULL, *folder = NULL;
        World *world = *state;

        file = world_path(world, "file");
        folder = world_path(world, "");
        folder[strlen(folder) - 1] = '\0';
        given_file(file, "content", 0600);
        {
                char *paths[] = { folder, file, NULL };

                assert_int_equal(cgroup_remove_empty(paths), 2);
        }
        assert_true(directory_exists(file));
}

/* The whole way: a runtime that hangs after it has made a cgroup for the container, and is killed at its deadline. */
typedef struct Deadline {
        bool done;
        int error;
        char **orphan_cgroups;
        Job *job;
} Deadline;

static void deadline_on_done(void *userdata, const JobResult *result) {
        Deadline *d = userdata;

        d->done = true;
        d->error = result->error;
        d->orphan_cgroups = result->orphan_cgroups ? strv_copy(result->orphan_cgroups) : NULL;
        d->job = job_free(d->job);
}

static void test_a_job_killed_at_its_deadline_tells_what_cgroups_it_left(void **state) {
        char *argv[] = {
                (char *) "sh", (char *) "-c",
                (char *) "mkdir $CGROUP; sh -c 'echo $$ >$CGROUP/cgroup.procs; while :; do sleep 60; done' & wait",
                NULL
        };
        JobParameters p = {
                .argv = argv, .stdio = { -EBADF, -EBADF, -EBADF }, .capture = true, .timeout_usec = 2 * USEC_PER_SEC
        };
        _cleanup_(hierarchy_done) Hierarchy h = {};
        _cleanup_(freep) char *directory = NULL;
        World *world = *state;
        JobPool *pool = NULL;
        Deadline d = {};

        needs_cgroups(given_any_hierarchy(&h));
        directory = cgroup_directory(&h, "");
        assert_int_equal(setenv("CGROUP", directory, 1), 0);
        assert_int_equal(job_pool_new(&pool, world->event, world->reaper, 1), 0);
        assert_int_equal(job_new(&d.job, pool, &p, deadline_on_done, &d), 0);
        assert_int_equal(unsetenv("CGROUP"), 0);

        world_run_until_set(world, &d.done);
        assert_int_equal(d.error, -ETIMEDOUT);
        assert_int_equal(strv_length(d.orphan_cgroups), 1);
        assert_string_equal(d.orphan_cgroups[0], directory);

        world_run_until_no_children(world);
        world_run_until(world, none_is_left, d.orphan_cgroups);
        assert_false(directory_exists(directory));
        strv_free(d.orphan_cgroups);
        job_pool_free(pool);
}

/* --- freezer ---------------------------------------------------------------------------------------------------- */

static bool is_frozen(void *pid) {
        _cleanup_(cgroup_membership_done) CgroupMembership its = {};
        _cleanup_(cgroup_view_done) CgroupView view = {};
        int r;

        assert_int_equal(cgroup_membership_read(*(pid_t *) pid, &its), 0);
        assert_int_equal(cgroup_view_open(&view, getpid()), 0);
        r = cgroup_is_frozen(&its, &view);
        assert_true(r >= 0);
        return r > 0;
}

static bool is_thawed(void *pid) {
        return !is_frozen(pid);
}

/* The kernel takes a moment to freeze a process, and says so when it has. */
typedef struct Settled {
        const char *directory;
        const char *attribute;
        const char *line;
} Settled;

static bool is_settled(void *what) {
        const Settled *settled = what;
        _cleanup_(freep) char *path = NULL;
        char line[64];
        bool found = false;
        FILE *f;

        assert_true(asprintf(&path, "%s/%s", settled->directory, settled->attribute) > 0);
        f = fopen(path, "re");
        assert_non_null(f);
        while (!found && fgets(line, sizeof(line), f))
                found = streq(line, settled->line);
        (void) fclose(f);
        return found;
}

static void then_freezing_shows(World *world, const Hierarchy *h, const char *attribute, const char *frozen,
                                const char *thawed, const char *settled_attribute, const char *settled_line) {
        _cleanup_(freep) char *top = cgroup_directory(h, ""), *inner = cgroup_directory(h, "inner");
        Settled settled = { .directory = inner, .attribute = settled_attribute, .line = settled_line };
        pid_t pid;

        given_cgroup(h, "");
        given_cgroup(h, "inner");
        given_family(&pid, 1);
        when_moved(h, "inner", pid);
        assert_true(is_thawed(&pid));

        /* By the one above it. */
        write_to(top, attribute, frozen);
        world_run_until(world, is_settled, &settled);
        assert_true(is_frozen(&pid));
        write_to(top, attribute, thawed);
        world_run_until(world, is_thawed, &pid);

        when_moved(h, "", pid);
        write_to(top, attribute, frozen);
        assert_true(is_frozen(&pid)); /* or about to be */
        write_to(top, attribute, thawed);
        world_run_until(world, is_thawed, &pid);

        when_killed(world, &pid, 1);
        then_removable(world, h, "inner");
        then_removable(world, h, "");
}

static void test_the_freezer_of_cgroup_v1_shows(void **state) {
        _cleanup_(hierarchy_done) Hierarchy h = {};

        needs_cgroups(given_hierarchy("freezer", "/sys/fs/cgroup/freezer", &h));
        then_freezing_shows(*state, &h, "freezer.state", "FROZEN", "THAWED", "freezer.state", "FROZEN\n");
}

static void test_the_freezer_of_cgroup_v2_shows(void **state) {
        _cleanup_(hierarchy_done) Hierarchy h = {};

        needs_cgroups(given_hierarchy("", "/sys/fs/cgroup", &h) || given_hierarchy("", "/sys/fs/cgroup/unified", &h));
        then_freezing_shows(*state, &h, "cgroup.freeze", "1", "0", "cgroup.events", "frozen 1\n");
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, world_begin, cgroups_end)

int main(void) {
        const struct CMUnitTest tests[] = {
                CASE(test_membership_is_what_proc_says),
                CASE(test_nobody_is_in_no_cgroup),
                CASE(test_the_cgroup_of_a_process_is_the_one_that_is_not_ours),
                CASE(test_of_several_cgroups_the_most_telling_is_taken),
                CASE(test_a_cgroup_of_its_own_is_found_by_its_controller),
                CASE(test_what_is_above_us_is_no_containers),
                CASE(test_a_number_is_found_behind_its_key),
                CASE(test_the_cgroups_of_descendants_are_listed_but_not_those_of_the_runtime),
                CASE(test_each_hierarchy_is_listed_where_it_is_mounted),
                CASE(test_empty_cgroups_go_deepest_first_and_others_stay),
                CASE(test_nothing_but_empty_directories_can_be_lost),
                CASE(test_a_job_killed_at_its_deadline_tells_what_cgroups_it_left),
                CASE(test_the_freezer_of_cgroup_v1_shows),
                CASE(test_the_freezer_of_cgroup_v2_shows),
        };

        return cmocka_run_group_tests_name("cgroup", tests, NULL, NULL);
}
