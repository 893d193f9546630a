/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Kills for memory: real ones where this machine has a memory controller (v1, v2 or none), and a folder that looks
 * like a cgroup of v2 for what the kernel does not do on demand. */

#include "cgroups.h"

#include "host/cgroup-view.h"
#include "host/oom.h"

#include <sys/inotify.h>

/* --- vocabulary ------------------------------------------------------------------------------------------------- */

#define LIMIT "16777216"
#define EATEN (256U * 1024U * 1024U)

typedef struct Told {
        uint64_t kills;
        unsigned n_times;
        OomWatch **frees[2]; /* what seen() is to free */
} Told;

static void told_on_seen(void *userdata, uint64_t kills) {
        Told *told = userdata;

        assert_true(kills > 0);
        told->kills += kills;
        told->n_times++;
        for (size_t i = 0; i < ELEMENTSOF(told->frees); i++)
                if (told->frees[i])
                        *told->frees[i] = oom_watch_free(*told->frees[i]);
}

static OomWatcher *given_watcher(World *world) {
        OomWatcher *w = NULL;

        assert_int_equal(oom_watcher_new(&w, world->event, SD_EVENT_PRIORITY_NORMAL), 0);
        return w;
}

typedef struct Expected {
        const Told *told;
        uint64_t kills;
} Expected;

static bool is_told(void *what) {
        const Expected *e = what;

        return e->told->kills >= e->kills;
}

static void then_told(World *world, const Told *told, uint64_t kills) {
        world_run_until(world, is_told, &(Expected) { told, kills });
        assert_int_equal(told->kills, kills);
}

/* Whatever comes within this time. For what must not come there is nothing to wait for. */
static void when_time_passes(World *world, uint64_t usec) {
        uint64_t end = clock_get_monotonic() + usec;

        for (uint64_t now; (now = clock_get_monotonic()) < end;)
                assert_true(sd_event_run(world->event, end - now) >= 0);
}

/* Longer than any count is looked at again. */
#define SETTLED_USEC (1500 * USEC_PER_MSEC)

/* --- real kills ------------------------------------------------------------------------------------------------- */

static bool given_memory_hierarchy(Hierarchy *ret) {
        return given_hierarchy("memory", "/sys/fs/cgroup/memory", ret);
}

static void write_if_there(const char *directory, const char *attribute, const char *text) {
        _cleanup_(freep) char *path = NULL;
        int fd;

        assert_true(asprintf(&path, "%s/%s", directory, attribute) > 0);
        fd = open(path, O_WRONLY | O_CLOEXEC);
        if (fd < 0)
                return;
        (void) !write(fd, text, strlen(text));
        assert_int_equal(close(fd), 0);
}

static void given_limit(const Hierarchy *h, const char *name) {
        _cleanup_(freep) char *directory = cgroup_directory(h, name);
        bool v1 = h->controllers[0];

        write_to(directory, v1 ? "memory.limit_in_bytes" : "memory.max", LIMIT);
        write_if_there(directory, v1 ? "memory.memsw.limit_in_bytes" : "memory.swap.max", v1 ? LIMIT : "0");
}

/* A process that takes more memory than there is, once it has been moved, and that is to be killed for it rather than
 * anybody else. */
static pid_t given_glutton(const Hierarchy *h, const char *name) {
        int go[2];
        pid_t pid;

        assert_int_equal(pipe2(go, O_CLOEXEC), 0);
        pid = fork_child();
        if (pid == 0) {
                char *food, c;

                write_to("/proc/self", "oom_score_adj", "1000");
                if (read(go[0], &c, 1) != 1)
                        _exit(1);
                food = mmap(NULL, EATEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
                if (food == MAP_FAILED)
                        _exit(2);
                for (size_t i = 0; i < EATEN; i += 4096)
                        food[i] = 1;
                _exit(3);
        }
        when_moved(h, name, pid);
        assert_int_equal(write(go[1], "", 1), 1);
        assert_int_equal(close(go[0]) | close(go[1]), 0);
        return pid;
}

static void then_killed(pid_t pid) {
        siginfo_t si = {};

        assert_int_equal(waitid(P_PID, (id_t) pid, &si, WEXITED | WNOWAIT), 0);
        assert_int_equal(si.si_code, CLD_KILLED);
        assert_int_equal(si.si_status, SIGKILL);
}

static bool is_gone(void *pid) {
        return kill(*(pid_t *) pid, 0) < 0 && errno == ESRCH;
}

/* A cgroup with a limit, somebody who lives in it, and who watches it. */
typedef struct Scene {
        Hierarchy h;
        pid_t inhabitant;
        OomWatcher *watcher;
        OomWatch *watch;
        Told told;
} Scene;

static void scene_done(Scene *s) {
        s->watch = oom_watch_free(s->watch);
        s->watcher = oom_watcher_free(s->watcher);
        hierarchy_done(&s->h);
}

/* Of the cgroup that this process is in now. */
static int watch_new(OomWatch **ret, OomWatcher *w, pid_t pid, const char *control_group, uint64_t known, OomSeen seen,
                     void *userdata) {
        _cleanup_(cgroup_membership_done) CgroupMembership its = {};
        _cleanup_(cgroup_view_done) CgroupView view = {};

        assert_int_equal(cgroup_membership_read(pid, &its), 0);
        assert_int_equal(cgroup_view_open(&view, getpid()), 0);
        return oom_watch_new(ret, w, &its, &view, control_group, known, seen, userdata);
}

static void given_scene(World *world, Scene *s) {
        bool has = given_memory_hierarchy(&s->h);

        needs_cgroups(has);
        given_cgroup(&s->h, "");
        given_limit(&s->h, "");
        given_family(&s->inhabitant, 1);
        when_moved(&s->h, "", s->inhabitant);
        s->watcher = given_watcher(world);
        assert_int_equal(watch_new(&s->watch, s->watcher, s->inhabitant, NULL, UINT64_MAX, told_on_seen, &s->told),
                         0);
        assert_int_equal(oom_watch_get_known(s->watch), 0);
}

static void test_a_kill_is_counted_and_told(void **state) {
        _cleanup_(scene_done) Scene s = {};

        given_scene(*state, &s);
        then_killed(given_glutton(&s.h, ""));
        then_told(*state, &s.told, 1);
        assert_int_equal(oom_watch_get_known(s.watch), 1);

        when_time_passes(*state, SETTLED_USEC);
        assert_int_equal(s.told.kills, 1);
        assert_int_equal(oom_watch_read(s.watch), 0);
}

static void test_each_of_twenty_kills_in_a_row_is_told(void **state) {
        _cleanup_(scene_done) Scene s = {};

        given_scene(*state, &s);
        for (unsigned i = 1; i <= 20; i++) {
                pid_t pid = given_glutton(&s.h, "");

                then_told(*state, &s.told, i);
                assert_int_equal(oom_watch_get_known(s.watch), i);
                world_run_until(*state, is_gone, &pid); /* and with it what it has eaten */
        }
}

static void test_of_many_kills_at_once_none_is_lost(void **state) {
        _cleanup_(scene_done) Scene s = {};

        given_scene(*state, &s);
        for (unsigned i = 0; i < 10; i++)
                (void) given_glutton(&s.h, "");
        then_told(*state, &s.told, 10);
        when_time_passes(*state, SETTLED_USEC);
        assert_int_equal(s.told.kills, 10);
}

static void test_reading_at_the_exit_finds_the_kill_that_caused_it(void **state) {
        _cleanup_(scene_done) Scene s = {};

        given_scene(*state, &s);
        for (unsigned i = 1; i <= 10; i++) {
                then_killed(given_glutton(&s.h, "")); /* the loop does not run meanwhile */
                assert_int_equal(oom_watch_read(s.watch), 1);
                assert_int_equal(oom_watch_read(s.watch), 0);
                assert_int_equal(oom_watch_get_known(s.watch), i);
        }

        /* ... and it is not told again. */
        when_time_passes(*state, SETTLED_USEC);
        assert_int_equal(s.told.n_times, 0);
}

static void test_kills_while_we_were_away_are_told_at_once(void **state) {
        _cleanup_(scene_done) Scene s = {};

        given_scene(*state, &s);
        s.watch = oom_watch_free(s.watch);
        for (unsigned i = 0; i < 3; i++)
                then_killed(given_glutton(&s.h, ""));

        assert_int_equal(watch_new(&s.watch, s.watcher, s.inhabitant, NULL, 1, told_on_seen, &s.told), 0);
        assert_int_equal(s.told.n_times, 0); /* from the loop only */
        assert_int_equal(oom_watch_get_known(s.watch), 1);
        then_told(*state, &s.told, 2);
        assert_int_equal(s.told.n_times, 1);
        assert_int_equal(oom_watch_get_known(s.watch), 3);

        /* Nobody has told of them, but nobody wants to know either. */
        s.watch = oom_watch_free(s.watch);
        assert_int_equal(
                watch_new(&s.watch, s.watcher, s.inhabitant, NULL, UINT64_MAX, told_on_seen, &s.told), 0);
        assert_int_equal(oom_watch_get_known(s.watch), 3);
        world_run_what_is_due(*state);
        assert_int_equal(s.told.n_times, 1);
}

static void test_the_loop_may_find_a_kill_before_or_after_the_exit(void **state) {
        _cleanup_(scene_done) Scene s = {};
        uint64_t read = 0;

        /* Both ways, in whatever order: each kill once. */
        given_scene(*state, &s);
        for (unsigned i = 1; i <= 10; i++) {
                pid_t pid = given_glutton(&s.h, "");

                if (i % 2)
                        world_run_what_is_due(*state);
                then_killed(pid);
                read += oom_watch_read(s.watch);
                assert_int_equal(read + s.told.kills, i);
        }
        when_time_passes(*state, SETTLED_USEC);
        assert_int_equal(read + s.told.kills, 10);
}

static void test_a_removed_cgroup_is_let_go_of(void **state) {
        _cleanup_(scene_done) Scene s = {};
        int n_fds;

        given_scene(*state, &s);
        then_killed(given_glutton(&s.h, ""));
        assert_int_equal(oom_watch_read(s.watch), 1);
        n_fds = count_open_fds();

        when_killed(*state, &s.inhabitant, 1);
        then_removable(*state, &s.h, "");
        assert_int_equal(oom_watch_read(s.watch), 0);
        assert_int_equal(count_open_fds(), n_fds - 1);
        when_time_passes(*state, 50 * USEC_PER_MSEC);
        assert_int_equal(oom_watch_get_known(s.watch), 1);
        assert_int_equal(s.told.n_times, 0);
}

static bool has_fds(void *n) {
        return count_open_fds() == *(int *) n;
}

static void test_the_removal_of_a_cgroup_is_noticed(void **state) {
        _cleanup_(scene_done) Scene s = {};
        int n_fds;

        given_scene(*state, &s);
        n_fds = count_open_fds() - 1;
        when_killed(*state, &s.inhabitant, 1);
        then_removable(*state, &s.h, "");
        world_run_until(*state, has_fds, &n_fds);
        assert_int_equal(s.told.n_times, 0);
}

static void test_another_cgroup_of_the_same_name_is_not_ours(void **state) {
        _cleanup_(scene_done) Scene s = {};
        pid_t pid;

        given_scene(*state, &s);
        when_killed(*state, &s.inhabitant, 1);
        then_removable(*state, &s.h, "");
        assert_int_equal(mkdir(made[0], 0755), 0);
        given_limit(&s.h, "");
        pid = given_glutton(&s.h, "");
        then_killed(pid);
        assert_int_equal(oom_watch_read(s.watch), 0);
        when_time_passes(*state, 50 * USEC_PER_MSEC);
        assert_int_equal(s.told.n_times, 0);
        assert_int_equal(oom_watch_get_known(s.watch), 0);
}

static void test_a_kill_next_door_is_not_ours(void **state) {
        _cleanup_(scene_done) Scene s = {};
        _cleanup_(oom_watch_freep) OomWatch *inner = NULL;
        Told told = {};
        pid_t pid;

        /* The limit is that of the cgroup above both, so that both are notified. */
        given_scene(*state, &s);
        given_cgroup(&s.h, "ours");
        given_cgroup(&s.h, "theirs");
        given_family(&pid, 1);
        when_moved(&s.h, "ours", pid);
        assert_int_equal(watch_new(&inner, s.watcher, pid, NULL, UINT64_MAX, told_on_seen, &told), 0);

        then_killed(given_glutton(&s.h, "theirs"));
        when_time_passes(*state, SETTLED_USEC);
        assert_int_equal(told.n_times, 0);
        assert_int_equal(oom_watch_read(inner), 0);

        /* All the looking in vain has not made it blind. */
        then_killed(given_glutton(&s.h, "ours"));
        then_told(*state, &told, 1);
}

static void test_the_containers_own_cgroup_counts_not_that_of_its_init(void **state) {
        _cleanup_(freep) char *control_group = NULL;
        _cleanup_(scene_done) Scene s = {};

        given_scene(*state, &s);
        s.watch = oom_watch_free(s.watch);
        given_cgroup(&s.h, "init.scope");
        when_moved(&s.h, "init.scope", s.inhabitant);
        control_group = cgroup_path(&s.h, "");
        assert_int_equal(watch_new(&s.watch, s.watcher, s.inhabitant, control_group, UINT64_MAX, told_on_seen,
                                       &s.told), 0);
        then_killed(given_glutton(&s.h, ""));
        then_told(*state, &s.told, 1);
}

static void test_the_watch_may_be_freed_when_it_tells(void **state) {
        _cleanup_(scene_done) Scene s = {};

        given_scene(*state, &s);
        s.told.frees[0] = &s.watch;
        then_killed(given_glutton(&s.h, ""));
        then_told(*state, &s.told, 1);
        assert_null(s.watch);
}

static void test_without_a_memory_cgroup_of_its_own_there_is_nothing_to_watch(void **state) {
        _cleanup_(oom_watcher_freep) OomWatcher *w = given_watcher(*state);
        OomWatch *o = NULL;
        pid_t pid;

        given_family(&pid, 1);
        assert_int_equal(watch_new(&o, w, pid, NULL, UINT64_MAX, told_on_seen, NULL), -EOPNOTSUPP);
        when_killed(*state, &pid, 1);
        assert_null(o);
}

/* The same with a real v2, on a machine where the memory controller is there and given to us. */
static void test_kills_in_a_cgroup_of_v2_are_told(void **state) {
        _cleanup_(hierarchy_done) Hierarchy h = {};
        _cleanup_(oom_watcher_freep) OomWatcher *w = NULL;
        _cleanup_(oom_watch_freep) OomWatch *o = NULL;
        _cleanup_(freep) char *events = NULL;
        Told told = {};
        pid_t pid;

        needs_cgroups(given_hierarchy("", "/sys/fs/cgroup", &h) || given_hierarchy("", "/sys/fs/cgroup/unified", &h));
        given_cgroup(&h, "");
        assert_true(asprintf(&events, "%s/memory.events", made[0]) > 0);
        if (access(events, F_OK) < 0) {
                print_message("no memory controller in the unified hierarchy\n");
                free(TAKE_PTR(events));
                hierarchy_done(&h);
                skip();
        }

        given_limit(&h, "");
        given_family(&pid, 1);
        when_moved(&h, "", pid);
        w = given_watcher(*state);
        assert_int_equal(watch_new(&o, w, pid, NULL, UINT64_MAX, told_on_seen, &told), 0);
        for (unsigned i = 1; i <= 20; i++) {
                pid_t glutton = given_glutton(&h, "");

                then_told(*state, &told, i);
                world_run_until(*state, is_gone, &glutton);
        }
        then_killed(given_glutton(&h, ""));
        assert_int_equal(oom_watch_read(o), 1);
        when_killed(*state, &pid, 1);
        then_removable(*state, &h, "");
        when_time_passes(*state, 50 * USEC_PER_MSEC);
        assert_int_equal(told.kills, 20);
}

/* --- a folder that looks like a cgroup of v2 -------------------------------------------------------------------- */

/* Written at once and over what is there: the kernel's file is never seen half written either. */
static void when_events_are(const char *directory, uint64_t max, uint64_t oom_kill) {
        _cleanup_(freep) char *path = NULL, *text = NULL;
        int fd;

        assert_true(asprintf(&path, "%s/memory.events", directory) > 0);
        assert_true(asprintf(&text, "low 0\nhigh 0\nmax %010lu\noom 0\noom_kill %010lu\noom_group_kill 0\n", max,
                             oom_kill) > 0);
        fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, text, strlen(text)), (ssize_t) strlen(text));
        assert_int_equal(close(fd), 0);
}

static char *given_imitation(World *world, const char *name) {
        char *directory = world_path(world, name);

        assert_int_equal(mkdir(directory, 0700), 0);
        when_events_are(directory, 0, 0);
        return directory;
}

static void test_only_kills_are_told(void **state) {
        _cleanup_(freep) char *directory = given_imitation(*state, "a");
        _cleanup_(oom_watcher_freep) OomWatcher *w = given_watcher(*state);
        _cleanup_(oom_watch_freep) OomWatch *o = NULL;
        Told told = {};

        when_events_are(directory, 1, 5);
        assert_int_equal(oom_watch_new_in(&o, w, directory, true, UINT64_MAX, told_on_seen, &told), 0);
        assert_int_equal(oom_watch_get_known(o), 5);

        for (unsigned i = 2; i < 100; i++) {
                when_events_are(directory, i, 5);
                world_run_what_is_due(*state);
        }
        assert_int_equal(told.n_times, 0);

        when_events_are(directory, 100, 6);
        world_run_what_is_due(*state);
        assert_int_equal(told.kills, 1);

        /* Of a group that is killed as one each process counts. */
        when_events_are(directory, 100, 16);
        world_run_what_is_due(*state);
        assert_int_equal(told.kills, 11);
        assert_int_equal(told.n_times, 2);
        assert_int_equal(oom_watch_get_known(o), 16);

        when_events_are(directory, 100, 17);
        assert_int_equal(oom_watch_read(o), 1);
        world_run_what_is_due(*state);
        assert_int_equal(told.kills, 11);
}

static void test_what_is_known_decides_what_is_told_at_once(void **state) {
        static const struct {
                uint64_t known, told;
        } table[] = { { UINT64_MAX, 0 }, { 0, 5 }, { 4, 1 }, { 5, 0 }, { 6, 0 } };
        _cleanup_(freep) char *directory = given_imitation(*state, "a");
        _cleanup_(oom_watcher_freep) OomWatcher *w = given_watcher(*state);

        when_events_are(directory, 0, 5);
        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                _cleanup_(oom_watch_freep) OomWatch *o = NULL;
                Told told = {};

                print_message("# case %zu\n", i);
                assert_int_equal(oom_watch_new_in(&o, w, directory, true, table[i].known, told_on_seen, &told), 0);
                assert_int_equal(told.n_times, 0);
                then_told(*state, &told, table[i].told);
                world_run_what_is_due(*state);
                assert_int_equal(told.kills, table[i].told);
                assert_int_equal(oom_watch_get_known(o), 5);
        }
}

static void test_a_kernel_that_does_not_count_is_told_from_one_that_does(void **state) {
        _cleanup_(freep) char *directory = given_imitation(*state, "a"), *path = NULL;
        _cleanup_(oom_watcher_freep) OomWatcher *w = given_watcher(*state);
        OomWatch *o = NULL;

        path = world_path(*state, "a/memory.events");
        assert_int_equal(unlink(path), 0);
        assert_int_equal(oom_watch_new_in(&o, w, directory, true, 0, told_on_seen, NULL), -EOPNOTSUPP);
        given_file(path, "low 0\nhigh 0\nmax 0\noom 0\n", 0600); /* Linux before 4.13 */
        assert_int_equal(oom_watch_new_in(&o, w, directory, true, 0, told_on_seen, NULL), -EOPNOTSUPP);
        assert_int_equal(oom_watch_new_in(&o, w, directory, false, 0, told_on_seen, NULL), -EOPNOTSUPP);
        assert_int_equal(unlink(path), 0);
        assert_int_equal(symlink("/etc/passwd", path), 0);
        assert_int_equal(oom_watch_new_in(&o, w, directory, true, 0, told_on_seen, NULL), -ELOOP);
        assert_null(o);
}

static void test_containers_in_one_cgroup_are_all_told(void **state) {
        _cleanup_(freep) char *directory = given_imitation(*state, "a"), *other = given_imitation(*state, "b");
        _cleanup_(oom_watcher_freep) OomWatcher *w = given_watcher(*state);
        OomWatch *o[4] = {};
        Told told[4] = {};

        for (size_t i = 0; i < 4; i++)
                assert_int_equal(oom_watch_new_in(&o[i], w, i == 2 ? other : directory, true, 0, told_on_seen,
                                                  &told[i]), 0);
        when_events_are(directory, 0, 1);
        world_run_what_is_due(*state);
        for (size_t i = 0; i < 4; i++)
                assert_int_equal(told[i].kills, i == 2 ? 0 : 1);

        /* One goes, and the others still see. */
        o[1] = oom_watch_free(o[1]);
        when_events_are(directory, 0, 2);
        world_run_what_is_due(*state);
        assert_int_equal(told[0].kills + told[1].kills + told[3].kills, 2 + 1 + 2);

        /* Whoever is told first frees itself and the other, which is then not told any more. */
        told[0].frees[0] = told[3].frees[0] = &o[0];
        told[0].frees[1] = told[3].frees[1] = &o[3];
        when_events_are(directory, 0, 3);
        when_events_are(other, 0, 1);
        world_run_what_is_due(*state);
        assert_int_equal(told[0].kills + told[3].kills, 5);
        assert_int_equal(told[2].kills, 1);
        assert_null(o[0]);
        assert_null(o[3]);
        o[2] = oom_watch_free(o[2]);
}

/* The queue has a limit, behind which the kernel says only that something was lost. */
static void test_after_an_overflow_all_are_looked_at(void **state) {
        _cleanup_(freep) char *a = given_imitation(*state, "a"), *b = given_imitation(*state, "b"),
                              *c = given_imitation(*state, "c");
        _cleanup_(oom_watcher_freep) OomWatcher *w = given_watcher(*state);
        OomWatch *o[3] = {};
        unsigned limit = 0;
        Told told[3] = {};
        char text[16] = "";
        int fd;

        fd = open("/proc/sys/fs/inotify/max_queued_events", O_RDONLY | O_CLOEXEC);
        assert_true(fd >= 0 && read(fd, text, sizeof(text) - 1) > 0);
        assert_int_equal(close(fd), 0);
        limit = (unsigned) atoi(text);
        if (limit == 0 || limit > 100000) {
                print_message("the queue is too long: %u\n", limit);
                skip();
        }

        assert_int_equal(oom_watch_new_in(&o[0], w, a, true, 0, told_on_seen, &told[0]), 0);
        assert_int_equal(oom_watch_new_in(&o[1], w, b, true, 0, told_on_seen, &told[1]), 0);
        assert_int_equal(oom_watch_new_in(&o[2], w, c, true, 0, told_on_seen, &told[2]), 0);

        /* In turns, since equal events in a row are one. */
        for (unsigned i = 0; i <= limit; i++)
                when_events_are(i % 2 ? a : b, 0, 1);
        when_events_are(c, 0, 1); /* finds the queue full */
        world_run_what_is_due(*state);
        for (size_t i = 0; i < 3; i++) {
                assert_int_equal(told[i].kills, 1);
                assert_int_equal(told[i].n_times, 1);
                o[i] = oom_watch_free(o[i]);
        }
}

static void test_a_folder_that_goes_is_let_go_of(void **state) {
        _cleanup_(freep) char *directory = given_imitation(*state, "a"), *path = NULL;
        _cleanup_(oom_watcher_freep) OomWatcher *w = given_watcher(*state);
        OomWatch *o[2] = {};
        Told told = {};

        path = world_path(*state, "a/memory.events");
        for (size_t i = 0; i < 2; i++)
                assert_int_equal(oom_watch_new_in(&o[i], w, directory, true, 0, told_on_seen, &told), 0);
        when_events_are(directory, 0, 1);
        assert_int_equal(unlink(path), 0);
        world_run_what_is_due(*state);
        assert_int_equal(oom_watch_read(o[0]), 0);
        assert_int_equal(oom_watch_get_known(o[0]), 0);

        /* A new one with this name is nobody's. */
        when_events_are(directory, 0, 3);
        world_run_what_is_due(*state);
        assert_int_equal(oom_watch_read(o[0]) + oom_watch_read(o[1]), 0);
        assert_int_equal(told.n_times, 0);
        o[0] = oom_watch_free(o[0]);
        o[1] = oom_watch_free(o[1]);
}

static void test_another_file_of_the_same_name_is_not_ours(void **state) {
        _cleanup_(freep) char *directory = given_imitation(*state, "a"), *moved = NULL;
        _cleanup_(oom_watcher_freep) OomWatcher *w = given_watcher(*state);
        _cleanup_(oom_watch_freep) OomWatch *o = NULL;
        Told told = {};

        /* Renamed, so that its inode number stays taken; a cgroup's is never used again. */
        assert_int_equal(oom_watch_new_in(&o, w, directory, true, 0, told_on_seen, &told), 0);
        moved = world_path(*state, "b");
        assert_int_equal(rename(directory, moved), 0);
        free(given_imitation(*state, "a"));
        when_events_are(directory, 0, 3);
        assert_int_equal(oom_watch_read(o), 0);
        when_events_are(moved, 0, 4);
        world_run_what_is_due(*state);
        assert_int_equal(oom_watch_read(o), 0);
        assert_int_equal(told.n_times, 0);
        assert_int_equal(oom_watch_get_known(o), 0);
}

/* There may be no descriptor left just then, or no memory. */
static void test_a_count_that_cannot_be_read_is_looked_at_again(void **state) {
        _cleanup_(freep) char *directory = given_imitation(*state, "a"), *path = NULL;
        _cleanup_(oom_watcher_freep) OomWatcher *w = given_watcher(*state);
        _cleanup_(oom_watch_freep) OomWatch *o = NULL;
        Told told = {};
        char *text;
        int fd;

        assert_int_equal(oom_watch_new_in(&o, w, directory, true, 0, told_on_seen, &told), 0);
        path = world_path(*state, "a/memory.events");
        fd = open(path, O_RDWR | O_CLOEXEC);
        assert_true(fd >= 0);
        assert_int_equal(pwrite(fd, "oom_kill x\n", 11, 0), 11);
        world_run_what_is_due(*state);
        assert_int_equal(oom_watch_read(o), 0);

        /* Mended in a way of which inotify does not tell. */
        text = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        assert_true(text != MAP_FAILED);
        text[9] = '3';
        assert_int_equal(munmap(text, 4096) | close(fd), 0);
        then_told(*state, &told, 3);
}

static void test_a_thousand_come_and_go_in_any_order(void **state) {
        enum { N = 1000 };
        _cleanup_(oom_watcher_freep) OomWatcher *w = given_watcher(*state);
        static OomWatch *o[N];
        static Told told[N];
        unsigned seed = 1;

        for (unsigned i = 0; i < N; i++) {
                _cleanup_(freep) char *directory = NULL;
                char name[16];

                (void) snprintf(name, sizeof(name), "%u", i);
                directory = given_imitation(*state, name);
                told[i] = (Told) {};
                assert_int_equal(oom_watch_new_in(&o[i], w, directory, true, 0, told_on_seen, &told[i]), 0);
        }

        for (unsigned round = 0; round < 5; round++) {
                for (unsigned n = 0; n < N / 4; n++) {
                        unsigned i = (unsigned) rand_r(&seed) % N;

                        o[i] = oom_watch_free(o[i]);
                }
                for (unsigned i = 0; i < N; i++) {
                        _cleanup_(freep) char *directory = NULL;
                        char name[16];

                        (void) snprintf(name, sizeof(name), "%u", i);
                        directory = world_path(*state, name);
                        told[i] = (Told) {};
                        when_events_are(directory, 0, round + 1);
                }
                world_run_what_is_due(*state);
                for (unsigned i = 0; i < N; i++)
                        assert_int_equal(told[i].kills, o[i] ? 1 : 0);
        }
        for (unsigned i = 0; i < N; i++)
                o[i] = oom_watch_free(o[i]);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, world_begin, cgroups_end)

int main(void) {
        const struct CMUnitTest tests[] = {
                CASE(test_a_kill_is_counted_and_told),
                CASE(test_each_of_twenty_kills_in_a_row_is_told),
                CASE(test_of_many_kills_at_once_none_is_lost),
                CASE(test_reading_at_the_exit_finds_the_kill_that_caused_it),
                CASE(test_kills_while_we_were_away_are_told_at_once),
                CASE(test_the_loop_may_find_a_kill_before_or_after_the_exit),
                CASE(test_a_removed_cgroup_is_let_go_of),
                CASE(test_the_removal_of_a_cgroup_is_noticed),
                CASE(test_another_cgroup_of_the_same_name_is_not_ours),
                CASE(test_a_kill_next_door_is_not_ours),
                CASE(test_the_containers_own_cgroup_counts_not_that_of_its_init),
                CASE(test_the_watch_may_be_freed_when_it_tells),
                CASE(test_without_a_memory_cgroup_of_its_own_there_is_nothing_to_watch),
                CASE(test_kills_in_a_cgroup_of_v2_are_told),
                CASE(test_only_kills_are_told),
                CASE(test_what_is_known_decides_what_is_told_at_once),
                CASE(test_a_kernel_that_does_not_count_is_told_from_one_that_does),
                CASE(test_containers_in_one_cgroup_are_all_told),
                CASE(test_after_an_overflow_all_are_looked_at),
                CASE(test_a_folder_that_goes_is_let_go_of),
                CASE(test_another_file_of_the_same_name_is_not_ours),
                CASE(test_a_count_that_cannot_be_read_is_looked_at_again),
                CASE(test_a_thousand_come_and_go_in_any_order),
        };

        return cmocka_run_group_tests_name("oom", tests, NULL, NULL);
}
