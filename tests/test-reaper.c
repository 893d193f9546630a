/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* How exits reach those who wait for them. */

#include "world.h"

#include <sys/resource.h>

typedef struct Watcher {
        World *world;
        bool called;
        unsigned n_calls;
        pid_t pid;
        int wait_status;
        uint64_t when_usec;
        pid_t other; /* for the callbacks that do more */
        struct Watcher *next;
} Watcher;

static void watcher_on_exit(void *userdata, pid_t pid, int wait_status, uint64_t when_usec) {
        Watcher *w = userdata;

        w->called = true;
        w->n_calls++;
        w->pid = pid;
        w->wait_status = wait_status;
        w->when_usec = when_usec;
}

static pid_t given_child(int exit_code) {
        pid_t pid = fork_child();

        if (pid == 0)
                _exit(exit_code);
        assert_true(pid > 0);
        return pid;
}

static void test_an_exit_reaches_the_one_who_watches(void **state) {
        World *world = *state;
        uint64_t before = clock_get_realtime();
        Watcher w = {};
        pid_t pid;

        pid = given_child(42);
        assert_int_equal(reaper_watch(world->reaper, pid, watcher_on_exit, &w), 0);
        assert_int_equal(reaper_n_watched(world->reaper), 1);

        world_run_until_set(world, &w.called);
        assert_int_equal(w.pid, pid);
        assert_true(WIFEXITED(w.wait_status));
        assert_int_equal(WEXITSTATUS(w.wait_status), 42);
        assert_true(w.when_usec >= before && w.when_usec <= clock_get_realtime());
        assert_int_equal(reaper_n_watched(world->reaper), 0);
        assert_int_equal(kill(pid, 0), -1);
        assert_int_equal(errno, ESRCH);
}

/* Whatever wait(2) says of a script, the reaper says too, to the last bit. */
static void test_the_status_is_what_wait_says(void **state) {
        static const char *const scripts[] = {
                "exit 0",
                "exit 1",
                "exit 255",
                "kill -KILL $$",
                "kill -TERM $$",
                "cd \"$FOLDER\"; ulimit -c unlimited 2>/dev/null; kill -QUIT $$",
                "ulimit -c 0; kill -SEGV $$",
        };
        World *world = *state;

        assert_int_equal(setenv("FOLDER", world->folder, 1), 0);
        for (size_t i = 0; i < ELEMENTSOF(scripts); i++) {
                Watcher w = {};
                int expected;

                assert_true(waitpid(given_script(scripts[i]), &expected, 0) > 0);

                assert_int_equal(reaper_watch(world->reaper, given_script(scripts[i]), watcher_on_exit, &w), 0);
                world_run_until_set(world, &w.called);
                assert_int_equal(w.wait_status, expected);
        }
        assert_int_equal(unsetenv("FOLDER"), 0);
}

/* The machine's core_pattern decides whether the case above has seen it, so here it is for certain. */
static void test_a_core_dump_shows_in_the_status(void **state) {
        World *world = *state;
        Watcher w = {};
        struct rlimit limit;
        pid_t pid;

        assert_int_equal(getrlimit(RLIMIT_CORE, &limit), 0);
        if (limit.rlim_max == 0) {
                print_message("core dumps are not allowed here\n");
                skip();
        }

        assert_int_equal(setenv("FOLDER", world->folder, 1), 0);
        pid = given_script("cd \"$FOLDER\"; ulimit -c $(ulimit -H -c); kill -QUIT $$");
        assert_int_equal(unsetenv("FOLDER"), 0);
        assert_int_equal(reaper_watch(world->reaper, pid, watcher_on_exit, &w), 0);
        world_run_until_set(world, &w.called);
        assert_true(WIFSIGNALED(w.wait_status));
        assert_int_equal(WTERMSIG(w.wait_status), SIGQUIT);
        if (!WCOREDUMP(w.wait_status)) {
                print_message("the kernel dumps no core here\n");
                skip();
        }
}

static void test_a_pid_can_be_watched_once(void **state) {
        World *world = *state;
        Watcher first = {}, second = {};
        pid_t pid;

        pid = given_child(0);
        assert_int_equal(reaper_watch(world->reaper, pid, watcher_on_exit, &first), 0);
        assert_int_equal(reaper_watch(world->reaper, pid, watcher_on_exit, &second), -EEXIST);

        world_run_until_set(world, &first.called);
        assert_false(second.called);
}

static void test_who_unwatches_is_not_called_and_the_child_is_reaped(void **state) {
        World *world = *state;
        Watcher w = {};
        pid_t pid;

        pid = given_child(0);
        assert_int_equal(reaper_watch(world->reaper, pid, watcher_on_exit, &w), 0);
        reaper_unwatch(world->reaper, pid);
        reaper_unwatch(world->reaper, pid);
        reaper_unwatch(world->reaper, 999999999);

        world_run_until_no_children(world);
        assert_false(w.called);
}

/* Calls back into the reaper in every way that is allowed: another exit that is due is unwatched, and a new child
 * is made and watched. */
static void watcher_on_exit_do_more(void *userdata, pid_t pid, int wait_status, uint64_t when_usec) {
        Watcher *w = userdata;

        watcher_on_exit(w, pid, wait_status, when_usec);
        reaper_unwatch(w->world->reaper, w->other);
        assert_int_equal(reaper_watch(w->world->reaper, given_child(7), watcher_on_exit, w->next), 0);
}

static void test_a_callback_may_watch_unwatch_and_spawn(void **state) {
        World *world = *state;
        Watcher first = { .world = world }, second = { .world = world }, third = {}, fourth = {};
        pid_t a, b;

        a = given_child(1);
        b = given_child(2);
        first.other = b;
        first.next = &third;
        second.other = a;
        second.next = &fourth;
        assert_int_equal(reaper_watch(world->reaper, a, watcher_on_exit_do_more, &first), 0);
        assert_int_equal(reaper_watch(world->reaper, b, watcher_on_exit_do_more, &second), 0);
        when_it_has_exited(a);
        when_it_has_exited(b);

        world_run_until_no_children(world);

        /* Whoever came first has kept the other from being called. */
        assert_int_equal(first.n_calls + second.n_calls, 1);
        assert_int_equal(third.n_calls + fourth.n_calls, 1);
        assert_int_equal(WEXITSTATUS(first.called ? third.wait_status : fourth.wait_status), 7);
}

static void watcher_on_exit_watch_same_pid(void *userdata, pid_t pid, int wait_status, uint64_t when_usec) {
        Watcher *w = userdata;

        watcher_on_exit(w, pid, wait_status, when_usec);
        assert_int_equal(reaper_watch(w->world->reaper, pid, watcher_on_exit, w->next), 0);
        reaper_unwatch(w->world->reaper, pid);
}

static void test_the_number_is_free_again_when_the_callback_runs(void **state) {
        World *world = *state;
        Watcher next = {}, w = { .world = world, .next = &next };

        assert_int_equal(reaper_watch(world->reaper, given_child(0), watcher_on_exit_watch_same_pid, &w), 0);
        world_run_until_set(world, &w.called);
        assert_false(next.called);
}

static void test_orphans_become_ours(void **state) {
        World *world = *state;
        Watcher w = {};
        pid_t parent, orphan = 0;
        int status, news[2], leave[2];

        assert_int_equal(pipe2(news, O_CLOEXEC), 0);
        assert_int_equal(pipe2(leave, O_CLOEXEC), 0);
        parent = fork_child();
        if (parent == 0) {
                orphan = fork();
                if (orphan == 0) {
                        /* Lives until the test has closed its end. */
                        (void) close(leave[1]);
                        _exit(read(leave[0], &orphan, 1) == 0 ? 9 : 1);
                }
                _exit(write(news[1], &orphan, sizeof(orphan)) == sizeof(orphan) ? 0 : 1);
        }
        assert_true(parent > 0);
        assert_int_equal(waitpid(parent, &status, 0), parent);
        assert_int_equal(status, 0);
        assert_int_equal(read(news[0], &orphan, sizeof(orphan)), sizeof(orphan));
        for (size_t i = 0; i < 2; i++)
                (void) close(news[i]);

        assert_int_equal(reaper_watch(world->reaper, orphan, watcher_on_exit, &w), 0);
        for (size_t i = 0; i < 2; i++)
                (void) close(leave[i]);
        world_run_until_set(world, &w.called);
        assert_int_equal(WEXITSTATUS(w.wait_status), 9);
}

static void test_children_from_before_are_reaped_and_can_be_watched_first(void **state) {
        World *world = *state;
        Watcher w = {};
        pid_t pid;

        /* As after an execve() in place: the children are there before the reaper is, and so is a SIGCHLD that
         * nobody waits for. */
        world->reaper = reaper_free(world->reaper);
        pid = given_child(3);
        when_it_has_exited(pid);

        assert_int_equal(reaper_new(&world->reaper, world->event, 0), 0);
        assert_int_equal(reaper_watch(world->reaper, pid, watcher_on_exit, &w), 0);
        world_run_until_set(world, &w.called);
        assert_int_equal(WEXITSTATUS(w.wait_status), 3);
}

static void test_an_inherited_ignored_sigchld_loses_no_status(void **state) {
        World *world = *state;
        Watcher w = {};

        world->reaper = reaper_free(world->reaper);
        assert_ptr_not_equal(signal(SIGCHLD, SIG_IGN), SIG_ERR);
        assert_int_equal(reaper_new(&world->reaper, world->event, 0), 0);

        assert_int_equal(reaper_watch(world->reaper, given_child(5), watcher_on_exit, &w), 0);
        world_run_until_set(world, &w.called);
        assert_int_equal(WEXITSTATUS(w.wait_status), 5);
}

static int on_turn(sd_event_source *source, uint64_t usec, void *userdata) {
        bool *had_its_turn = userdata;

        *had_its_turn = true;
        return 0;
}

static void test_a_storm_of_exits_does_not_starve_the_loop(void **state) {
        enum { N = 600 };
        World *world = *state;
        sd_event_source *source = NULL;
        bool had_its_turn = false;
        Watcher w = {};
        pid_t pid = 0;

        world_run_what_is_due(world);
        for (unsigned i = 0; i < N; i++) {
                pid = given_child(0);
                assert_int_equal(reaper_watch(world->reaper, pid, watcher_on_exit, &w), 0);
                when_it_has_exited(pid);
        }

        /* Made after the reaper's sources, and of no higher priority than they are. */
        assert_int_equal(sd_event_add_time(world->event, &source, CLOCK_MONOTONIC, 1, 1, on_turn, &had_its_turn), 0);
        assert_int_equal(sd_event_source_set_priority(source, SD_EVENT_PRIORITY_NORMAL), 0);

        world_run_until_set(world, &had_its_turn);
        assert_in_range(w.n_calls, 1, N - 1);

        world_run_until_no_children(world);
        assert_int_equal(w.n_calls, N);
        sd_event_source_unref(source);
}

/* The signal comes before requests, and in a storm there is always another one. */
static void watcher_on_exit_raise(void *userdata, pid_t pid, int wait_status, uint64_t when_usec) {
        watcher_on_exit(userdata, pid, wait_status, when_usec);
        assert_int_equal(kill(getpid(), SIGCHLD), 0);
}

typedef struct Requests {
        const Watcher *watcher;
        unsigned n, n_exits, longest; /* how many exits came between two */
} Requests;

static int requests_on_turn(sd_event_source *source, uint64_t usec, void *userdata) {
        Requests *q = userdata;
        unsigned between = q->watcher->n_calls - q->n_exits;

        q->n++;
        q->n_exits += between;
        if (q->longest < between)
                q->longest = between;
        return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

static void test_a_storm_of_watched_exits_lets_requests_in_between(void **state) {
        enum { N = 200, BATCH = 16 };
        World *world = *state;
        sd_event_source *source = NULL;
        Watcher w = {};
        Requests requests = { .watcher = &w };

        world_run_what_is_due(world);
        for (unsigned i = 0; i < N; i++) {
                pid_t pid = given_child(0);

                assert_int_equal(reaper_watch(world->reaper, pid, watcher_on_exit_raise, &w), 0);
                when_it_has_exited(pid);
        }

        assert_int_equal(sd_event_add_time(world->event, &source, CLOCK_MONOTONIC, 1, 1, requests_on_turn, &requests),
                         0);
        world_run_until_no_children(world);
        assert_int_equal(w.n_calls, N);
        assert_in_range(requests.longest, 1, BATCH);
        assert_true(requests.n >= N / BATCH - 1);
        sd_event_source_unref(source);
}

/* With so many children they are not all looked at for each signal; and one signal may stand for several of them. */
static void test_among_hundreds_no_exit_is_overlooked(void **state) {
        enum { N = 300, N_AT_ONCE = 40 };
        World *world = *state;
        Watcher ended = {}, living = {};
        pid_t pids[N];

        world_run_what_is_due(world);
        for (unsigned i = 0; i < N; i++) {
                pids[i] = fork_child();
                if (pids[i] == 0)
                        for (;;)
                                (void) pause();
                assert_int_equal(reaper_watch(world->reaper, pids[i], watcher_on_exit, &living), 0);
        }

        /* One by one, then all at once, while we are not looking: strangers, too. */
        for (unsigned i = 0; i < 3; i++) {
                ended = (Watcher) {};
                assert_int_equal(reaper_watch(world->reaper, given_child(7), watcher_on_exit, &ended), 0);
                world_run_until_set(world, &ended.called);
                assert_int_equal(WEXITSTATUS(ended.wait_status), 7);
        }
        ended = (Watcher) {};
        for (unsigned i = 0; i < N_AT_ONCE; i++) {
                pid_t pid = given_child(0), stranger = given_child(0);

                assert_int_equal(reaper_watch(world->reaper, pid, watcher_on_exit, &ended), 0);
                when_it_has_exited(pid);
                when_it_has_exited(stranger);
        }
        assert_int_equal(living.n_calls, 0);

        for (unsigned i = 0; i < N; i++)
                assert_int_equal(kill(pids[i], SIGKILL), 0);
        world_run_until_no_children(world);
        assert_int_equal(ended.n_calls, N_AT_ONCE);
        assert_int_equal(living.n_calls, N);
        assert_int_equal(reaper_n_watched(world->reaper), 0);
}

/* --- exits that nobody has asked for yet ------------------------------------------------------------------------ */

static pid_t when_a_stranger_has_been_reaped(World *world, int exit_code) {
        pid_t pid = given_child(exit_code);

        world_run_until_no_children(world);
        return pid;
}

static void test_nothing_is_kept_when_nobody_holds(void **state) {
        World *world = *state;
        uint64_t when;
        int status;
        pid_t pid;

        pid = when_a_stranger_has_been_reaped(world, 1);
        assert_int_equal(reaper_n_kept(world->reaper), 0);
        assert_int_equal(reaper_claim(world->reaper, pid, 0, &status, &when), 0);
}

static void test_an_exit_during_a_hold_can_be_claimed_once(void **state) {
        World *world = *state;
        uint64_t before = clock_get_realtime(), since = clock_get_monotonic(), when = 0;
        int status = 0;
        pid_t pid;

        reaper_hold(world->reaper);
        pid = when_a_stranger_has_been_reaped(world, 77);
        assert_int_equal(reaper_n_kept(world->reaper), 1);

        assert_int_equal(reaper_claim(world->reaper, pid, since, &status, &when), 1);
        assert_int_equal(WEXITSTATUS(status), 77);
        assert_true(when >= before && when <= clock_get_realtime());

        assert_int_equal(reaper_claim(world->reaper, pid, since, &status, &when), 0);
        assert_int_equal(reaper_n_kept(world->reaper), 0);
        reaper_release(world->reaper);
}

static void test_an_exit_from_before_the_time_asked_for_is_another_process(void **state) {
        World *world = *state;
        uint64_t when = 123;
        int status = 456;
        pid_t pid;

        reaper_hold(world->reaper);
        pid = when_a_stranger_has_been_reaped(world, 77);
        assert_int_equal(reaper_claim(world->reaper, pid, clock_get_monotonic() + 1, &status, &when), 0);
        assert_int_equal(status, 456);
        assert_int_equal(when, 123);
        reaper_release(world->reaper);
}

static void test_what_is_watched_is_not_kept(void **state) {
        World *world = *state;
        Watcher w = {};

        reaper_hold(world->reaper);
        assert_int_equal(reaper_watch(world->reaper, given_child(0), watcher_on_exit, &w), 0);
        world_run_until_set(world, &w.called);
        assert_int_equal(reaper_n_kept(world->reaper), 0);
        reaper_release(world->reaper);
}

static void test_the_last_release_forgets_what_was_kept(void **state) {
        World *world = *state;

        reaper_hold(world->reaper);
        reaper_hold(world->reaper);
        (void) when_a_stranger_has_been_reaped(world, 1);
        reaper_release(world->reaper);
        assert_int_equal(reaper_n_kept(world->reaper), 1);
        reaper_release(world->reaper);
        assert_int_equal(reaper_n_kept(world->reaper), 0);
}

static void test_the_newest_16384_exits_are_kept(void **state) {
        enum { MAX = 16384, MORE = 3 };
        World *world = *state;
        uint64_t when;
        pid_t oldest[MORE] = {}, newest = 0;
        int status;

        if (!vfork_shares_memory()) {
                print_message("takes too long under valgrind\n");
                skip();
        }

        reaper_hold(world->reaper);
        for (unsigned i = 0; i < MAX + MORE; i++) {
                pid_t pid = vfork();

                if (pid == 0)
                        _exit(0);
                assert_true(pid > 0);
                if (i < MORE)
                        oldest[i] = pid;
                newest = pid;
                if (i % 512 == 0)
                        world_run_what_is_due(world);
        }
        world_run_until_no_children(world);

        assert_int_equal(reaper_n_kept(world->reaper), MAX);
        for (unsigned i = 0; i < MORE; i++)
                assert_int_equal(reaper_claim(world->reaper, oldest[i], 0, &status, &when), 0);
        assert_int_equal(reaper_claim(world->reaper, newest, 0, &status, &when), 1);
        reaper_release(world->reaper);
        assert_int_equal(reaper_n_kept(world->reaper), 0);
}

/* --- the rest --------------------------------------------------------------------------------------------------- */

static void owned_on_exit(void *userdata, pid_t pid, int wait_status, uint64_t when_usec) {
        Watcher **owned = userdata;

        (*owned)->called = true;
        free(owned);
}

static void test_an_owned_userdata_is_freed_by_whoever_has_it_last(void **state) {
        World *world = *state;
        Watcher w = {}, **owned;
        pid_t pid;

        /* The callback. */
        owned = malloc(sizeof(*owned));
        assert_non_null(owned);
        *owned = &w;
        assert_int_equal(reaper_watch_owned(world->reaper, given_child(0), owned_on_exit, owned), 0);
        world_run_until_set(world, &w.called);

        /* Who unwatches. */
        pid = given_child(0);
        assert_int_equal(reaper_watch_owned(world->reaper, pid, owned_on_exit, malloc(1)), 0);
        reaper_unwatch(world->reaper, pid);
        world_run_until_no_children(world);

        /* The reaper. A leak checker sees to the truth of it. */
        pid = given_child(0);
        assert_int_equal(reaper_watch_owned(world->reaper, pid, owned_on_exit, malloc(1)), 0);
        world->reaper = reaper_free(world->reaper);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void test_the_exit_status_is_what_a_shell_would_say(void **state) {
        assert_int_equal(exit_status_from_wait(0), 0);
        assert_int_equal(exit_status_from_wait(W_EXITCODE(1, 0)), 1);
        assert_int_equal(exit_status_from_wait(W_EXITCODE(255, 0)), 255);
        assert_int_equal(exit_status_from_wait(W_EXITCODE(0, SIGKILL)), 137);
        assert_int_equal(exit_status_from_wait(W_EXITCODE(0, SIGTERM)), 143);
        assert_int_equal(exit_status_from_wait(W_EXITCODE(0, SIGSEGV) | WCOREFLAG), 139);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, world_begin, world_end)

int main(void) {
        const struct CMUnitTest tests[] = {
                CASE(test_an_exit_reaches_the_one_who_watches),
                CASE(test_the_status_is_what_wait_says),
                CASE(test_a_core_dump_shows_in_the_status),
                CASE(test_a_pid_can_be_watched_once),
                CASE(test_who_unwatches_is_not_called_and_the_child_is_reaped),
                CASE(test_a_callback_may_watch_unwatch_and_spawn),
                CASE(test_the_number_is_free_again_when_the_callback_runs),
                CASE(test_orphans_become_ours),
                CASE(test_children_from_before_are_reaped_and_can_be_watched_first),
                CASE(test_an_inherited_ignored_sigchld_loses_no_status),
                CASE(test_a_storm_of_exits_does_not_starve_the_loop),
                CASE(test_a_storm_of_watched_exits_lets_requests_in_between),
                CASE(test_among_hundreds_no_exit_is_overlooked),
                CASE(test_nothing_is_kept_when_nobody_holds),
                CASE(test_an_exit_during_a_hold_can_be_claimed_once),
                CASE(test_an_exit_from_before_the_time_asked_for_is_another_process),
                CASE(test_what_is_watched_is_not_kept),
                CASE(test_the_last_release_forgets_what_was_kept),
                CASE(test_the_newest_16384_exits_are_kept),
                CASE(test_an_owned_userdata_is_freed_by_whoever_has_it_last),
                CASE(test_the_exit_status_is_what_a_shell_would_say),
        };

        return cmocka_run_group_tests_name("reaper", tests, NULL, NULL);
}
