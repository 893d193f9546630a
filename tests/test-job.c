/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The life of a job: its place in the pool, its program, its output, its deadline, its end. */

#include "world.h"

#include "host/job.h"
#include "util/strv.h"

/* --- vocabulary ------------------------------------------------------------------------------------------------- */

typedef struct Outcome {
        bool done;
        unsigned n_calls;
        unsigned turn; /* as the how manieth of all */
        JobResult result;
        char *output;
        char **orphan_cgroups;
        Job *job;

        /* What done() does besides; all may be absent. */
        World *world;
        JobPool *pool;
        pid_t claim;
        int claimed, claimed_status;
        struct Outcome *next;
} Outcome;

static unsigned n_done;

static Job *given_job(JobPool *pool, const char *script, Outcome *o);

static void outcome_on_done(void *userdata, const JobResult *result) {
        Outcome *o = userdata;
        uint64_t when;

        o->done = true;
        o->n_calls++;
        o->turn = ++n_done;
        o->result = *result;
        o->output = strdup(result->output);
        assert_non_null(o->output);
        if (result->orphan_cgroups) {
                o->orphan_cgroups = strv_copy(result->orphan_cgroups);
                assert_non_null(o->orphan_cgroups);
        }

        if (o->claim)
                o->claimed = reaper_claim(o->world->reaper, o->claim, result->since_usec, &o->claimed_status,
                                          &when);
        if (o->next)
                o->next->job = given_job(o->pool, "exit 0", o->next);
        o->job = job_free(o->job);
}

static void outcome_done(Outcome *o) {
        o->job = job_free(o->job);
        free(o->output);
        strv_free(o->orphan_cgroups);
}

static JobPool *given_pool(World *world, unsigned max_running) {
        JobPool *pool = NULL;

        n_done = 0;
        assert_int_equal(job_pool_new(&pool, world->event, world->reaper, max_running), 0);
        assert_int_equal(job_pool_n_jobs(pool), 0);
        return pool;
}

/* Lives as long as the block that it is used in. */
#define script_parameters(script) \
        ((JobParameters) { \
                .argv = (char *[]) { (char *) "sh", (char *) "-c", (char *) (script), NULL }, \
                .stdio = { -EBADF, -EBADF, -EBADF }, \
                .capture = true, \
                .timeout_usec = USEC_INFINITY, \
        })

static Job *given_job_with(JobPool *pool, const JobParameters *p, Outcome *o) {
        assert_int_equal(job_new(&o->job, pool, p, outcome_on_done, o), 0);
        assert_false(o->done); /* never from within job_new() */
        return o->job;
}

static Job *given_job(JobPool *pool, const char *script, Outcome *o) {
        JobParameters p = script_parameters(script);

        return given_job_with(pool, &p, o);
}

static void when_done(World *world, Outcome *o) {
        world_run_until_set(world, &o->done);
        assert_int_equal(o->n_calls, 1);
        assert_null(o->job);
}

/* Until a file exists: how a script says that it has come so far. */
static bool file_exists(void *path) {
        return access(path, F_OK) >= 0;
}

/* The pid that a script has written into a file, by renaming it there. */
static pid_t read_pid(const char *path) {
        int pid = 0;
        FILE *f;

        f = fopen(path, "re");
        assert_non_null(f);
        assert_int_equal(fscanf(f, "%d", &pid), 1);
        (void) fclose(f);
        return pid;
}

static bool process_is_gone(void *pid) {
        return kill(*(pid_t *) pid, 0) < 0 && errno == ESRCH;
}

/* --- the program and its output --------------------------------------------------------------------------------- */

static void test_a_job_that_succeeds(void **state) {
        _cleanup_(outcome_done) Outcome o = {};
        World *world = *state;
        JobPool *pool = given_pool(world, 4);
        uint64_t before = clock_get_realtime();

        given_job(pool, "echo hello", &o);
        assert_int_equal(job_pool_n_jobs(pool), 1);
        assert_int_equal(job_pool_n_running(pool), 1);
        when_done(world, &o);

        assert_true(job_result_ok(&o.result));
        assert_string_equal(o.output, "hello\n");
        assert_null(o.orphan_cgroups);
        assert_true(o.result.started_usec >= before && o.result.started_usec <= clock_get_realtime());
        assert_int_equal(job_pool_n_jobs(pool), 0);
        job_pool_free(pool);
}

static void test_a_job_that_fails_says_how(void **state) {
        _cleanup_(outcome_done) Outcome failed = {}, killed = {};
        World *world = *state;
        JobPool *pool = given_pool(world, 4);

        given_job(pool, "echo no >&2; exit 3", &failed);
        given_job(pool, "kill -TERM $$", &killed);
        when_done(world, &failed);
        when_done(world, &killed);

        assert_false(job_result_ok(&failed.result));
        assert_int_equal(failed.result.error, 0);
        assert_int_equal(failed.result.wait_status, W_EXITCODE(3, 0));
        assert_string_equal(failed.output, "no\n");
        assert_int_equal(killed.result.error, 0);
        assert_int_equal(killed.result.wait_status, SIGTERM);
        job_pool_free(pool);
}

static void test_both_streams_are_captured_in_the_order_written(void **state) {
        _cleanup_(outcome_done) Outcome o = {};
        World *world = *state;
        JobPool *pool = given_pool(world, 1);

        given_job(pool, "echo 1; echo 2 >&2; (echo 3; echo 4 >&2); echo 5 >&2; /bin/echo 6", &o);
        when_done(world, &o);
        assert_string_equal(o.output, "1\n2\n3\n4\n5\n6\n");
        job_pool_free(pool);
}

static void test_the_last_mebibyte_of_the_output_is_kept(void **state) {
        _cleanup_(outcome_done) Outcome o = {};
        World *world = *state;
        JobPool *pool = given_pool(world, 1);

        given_job(pool, "echo the beginning; head -c 1048576 /dev/zero | tr '\\0' x; printf 'the end'", &o);
        when_done(world, &o);
        assert_int_equal(strlen(o.output), 1048576);
        assert_string_equal(o.output + 1048576 - strlen("xthe end"), "xthe end");
        assert_null(strstr(o.output, "the beginning"));
        job_pool_free(pool);
}

static void test_a_nul_byte_does_not_hide_what_follows(void **state) {
        _cleanup_(outcome_done) Outcome o = {};
        World *world = *state;
        JobPool *pool = given_pool(world, 1);

        given_job(pool, "printf 'a\\0b'", &o);
        when_done(world, &o);
        assert_string_equal(o.output, "a?b");
        job_pool_free(pool);
}

static void test_the_input_is_what_the_program_reads(void **state) {
        _cleanup_(outcome_done) Outcome o = {};
        World *world = *state;
        JobPool *pool = given_pool(world, 1);
        JobParameters p = script_parameters("pwd; cat");
        char input[] = "{\"a\": 1}\n", folder[sizeof(world->folder)];
        _cleanup_(freep) char *expected = NULL;

        (void) strcpy(folder, world->folder);
        assert_true(asprintf(&expected, "%s\n%s", folder, input) > 0);
        p.input = input;
        p.directory = folder;
        given_job_with(pool, &p, &o);

        /* All of it was copied. */
        (void) memset(input, '#', sizeof(input) - 1);
        (void) memset(folder, '#', sizeof(folder) - 1);
        when_done(world, &o);
        assert_string_equal(o.output, expected);
        job_pool_free(pool);
}

static void test_without_capture_the_streams_are_the_ones_given(void **state) {
        _cleanup_(outcome_done) Outcome o = {};
        World *world = *state;
        JobPool *pool = given_pool(world, 1);
        JobParameters p = script_parameters("read -r line; echo \"out $line\"; echo err >&2");
        int in[2], out[2], err[2], n_fds;
        char buf[64] = {};

        p.capture = false;
        assert_int_equal(pipe2(in, O_CLOEXEC), 0);
        assert_int_equal(pipe2(out, O_CLOEXEC), 0);
        assert_int_equal(pipe2(err, O_CLOEXEC), 0);
        p.stdio[0] = in[0];
        p.stdio[1] = out[1];
        p.stdio[2] = err[1];
        n_fds = count_open_fds();
        given_job_with(pool, &p, &o);

        /* The job keeps none once the program has been started, and the caller may close his at once. */
        assert_int_equal(count_open_fds(), n_fds);
        assert_int_equal(close(in[0]) | close(out[1]) | close(err[1]), 0);
        assert_int_equal(write(in[1], "line\n", 5), 5);
        assert_int_equal(close(in[1]), 0);
        when_done(world, &o);

        assert_true(job_result_ok(&o.result));
        assert_string_equal(o.output, "");
        assert_int_equal(read(out[0], buf, sizeof(buf)), 9);
        assert_memory_equal(buf, "out line\n", 9);
        assert_int_equal(read(out[0], buf, sizeof(buf)), 0);
        assert_int_equal(read(err[0], buf, sizeof(buf)), 4);
        assert_memory_equal(buf, "err\n", 4);
        assert_int_equal(read(err[0], buf, sizeof(buf)), 0);
        assert_int_equal(close(out[0]) | close(err[0]), 0);
        job_pool_free(pool);
}

/* --- failing to start ------------------------------------------------------------------------------------------- */

static void test_a_command_that_does_not_exist_is_told_later(void **state) {
        _cleanup_(outcome_done) Outcome name = {}, path = {}, relative = {};
        World *world = *state;
        JobPool *pool = given_pool(world, 1);
        JobParameters p = script_parameters("");

        p.argv = (char *[]) { (char *) "no-such-command-anywhere", NULL };
        given_job_with(pool, &p, &name);
        assert_int_equal(job_pool_n_jobs(pool), 1);
        assert_int_equal(job_pool_n_running(pool), 0);
        p.argv = (char *[]) { (char *) "bin/relative", NULL };
        given_job_with(pool, &p, &relative);
        when_done(world, &name);
        when_done(world, &relative);
        assert_int_equal(name.result.error, -ENOENT);
        assert_int_equal(name.result.started_usec, 0);
        assert_string_equal(name.output, "");
        assert_int_equal(relative.result.error, -EINVAL);
        assert_int_equal(name.turn, 1);
        assert_int_equal(relative.turn, 2);

        if (vfork_shares_memory()) {
                p.argv = (char *[]) { (char *) "/nowhere/at/all", NULL };
                given_job_with(pool, &p, &path);
                when_done(world, &path);
                assert_int_equal(path.result.error, -ENOENT);
                assert_int_equal(path.result.started_usec, 0);
        }
        assert_int_equal(job_pool_n_jobs(pool), 0);
        job_pool_free(pool);
}

static void test_a_failed_start_takes_no_place_and_no_turn(void **state) {
        _cleanup_(outcome_done) Outcome first = {}, bad = {}, last = {};
        World *world = *state;
        JobPool *pool = given_pool(world, 1);
        JobParameters p = script_parameters("");

        given_job(pool, "exit 0", &first);
        p.argv = (char *[]) { (char *) "no-such-command-anywhere", NULL };
        given_job_with(pool, &p, &bad);
        given_job(pool, "exit 0", &last);
        when_done(world, &last);
        assert_int_equal(bad.result.error, -ENOENT);
        assert_int_equal(first.turn, 1);
        assert_int_equal(bad.turn, 2);
        assert_int_equal(last.turn, 3);
        job_pool_free(pool);
}

static void test_a_failed_job_that_is_freed_is_not_told(void **state) {
        _cleanup_(outcome_done) Outcome o = {};
        World *world = *state;
        JobPool *pool = given_pool(world, 1);
        JobParameters p = script_parameters("");

        p.argv = (char *[]) { (char *) "no-such-command-anywhere", NULL };
        given_job_with(pool, &p, &o);
        o.job = job_free(o.job);
        world_run_what_is_due(world);
        assert_false(o.done);
        job_pool_free(pool);
}

static void test_a_descriptor_that_is_none_is_refused_at_once(void **state) {
        _cleanup_(outcome_done) Outcome o = {};
        World *world = *state;
        JobPool *pool = given_pool(world, 1);
        JobParameters p = script_parameters("");

        p.stdio[0] = 9999;
        assert_int_equal(job_new(&o.job, pool, &p, outcome_on_done, &o), -EBADF);
        assert_int_equal(job_pool_n_jobs(pool), 0);
        job_pool_free(pool);
}

/* --- the pool --------------------------------------------------------------------------------------------------- */

static void test_no_more_run_at_once_than_the_pool_allows(void **state) {
        enum { N = 7, MAX = 2 };
        Outcome o[N] = {};
        World *world = *state;
        JobPool *pool = given_pool(world, MAX);

        /* Each says how many are there beside it. */
        assert_int_equal(setenv("FOLDER", world->folder, 1), 0);
        for (unsigned i = 0; i < N; i++)
                given_job(pool, "cd $FOLDER && : >run.$$ && sleep 0.05 && ls | grep -c run && rm run.$$", &o[i]);
        assert_int_equal(job_pool_n_jobs(pool), N);
        assert_int_equal(job_pool_n_running(pool), MAX);

        for (unsigned i = 0; i < N; i++) {
                when_done(world, &o[i]);
                assert_true(job_result_ok(&o[i].result));
                assert_in_range(atoi(o[i].output), 1, MAX);
        }
        assert_int_equal(unsetenv("FOLDER"), 0);
        for (unsigned i = 0; i < N; i++)
                outcome_done(&o[i]);
        job_pool_free(pool);
}

static void test_first_come_first_served(void **state) {
        enum { N = 6 };
        Outcome o[N] = {};
        World *world = *state;
        JobPool *pool = given_pool(world, 1);

        for (unsigned i = 0; i < N; i++)
                given_job(pool, "exit 0", &o[i]);
        when_done(world, &o[N - 1]);
        for (unsigned i = 0; i < N; i++) {
                assert_int_equal(o[i].turn, i + 1);
                if (i > 0)
                        assert_true(o[i].result.started_usec >= o[i - 1].result.started_usec);
                outcome_done(&o[i]);
        }
        job_pool_free(pool);
}

static void test_who_comes_while_others_wait_waits_behind_them(void **state) {
        _cleanup_(outcome_done) Outcome first = {}, second = {}, third = {};
        World *world = *state;
        JobPool *pool = given_pool(world, 1);

        given_job(pool, "exit 0", &first);
        given_job(pool, "exit 0", &second);

        /* The place of the first has become free here, and the second has not started yet. */
        first.pool = pool;
        first.next = &third;
        when_done(world, &third);
        assert_int_equal(second.turn, 2);
        assert_int_equal(third.turn, 3);
        job_pool_free(pool);
}

static void test_a_larger_pool_lets_more_of_those_who_wait_run(void **state) {
        Outcome o[4] = {};
        World *world = *state;
        JobPool *pool = given_pool(world, 1);

        for (unsigned i = 0; i < ELEMENTSOF(o); i++)
                given_job(pool, "while :; do sleep 60; done", &o[i]);
        assert_int_equal(job_pool_n_running(pool), 1);
        job_pool_set_max(pool, 3);
        assert_int_equal(job_pool_n_running(pool), 1);
        world_run_what_is_due(world);
        assert_int_equal(job_pool_n_running(pool), 3);

        /* A smaller one stops nobody. */
        job_pool_set_max(pool, 0);
        world_run_what_is_due(world);
        assert_int_equal(job_pool_n_running(pool), 3);
        assert_int_equal(job_pool_n_jobs(pool), 4);

        for (unsigned i = 0; i < ELEMENTSOF(o); i++)
                outcome_done(&o[i]);
        assert_int_equal(job_pool_n_jobs(pool), 0);
        world_run_until_no_children(world);
        job_pool_free(pool);
}

static void test_done_may_start_the_next_job(void **state) {
        _cleanup_(outcome_done) Outcome first = {}, next = {};
        World *world = *state;
        JobPool *pool = given_pool(world, 1);

        first.pool = pool;
        first.next = &next;
        given_job(pool, "exit 0", &first);
        when_done(world, &next);
        assert_true(job_result_ok(&next.result));
        job_pool_free(pool);
}

/* --- the deadline ----------------------------------------------------------------------------------------------- */

static void test_at_the_deadline_the_whole_group_is_killed(void **state) {
        _cleanup_(outcome_done) Outcome o = {};
        _cleanup_(freep) char *path = NULL;
        World *world = *state;
        JobPool *pool = given_pool(world, 1);
        JobParameters p = script_parameters("cd $FOLDER; echo waiting; trap '' TERM INT HUP;"
                                            "sleep 1000 & echo $! >tmp && mv tmp pid; while :; do sleep 60; done");
        uint64_t begin = clock_get_monotonic(), end;
        pid_t helper;

        assert_int_equal(setenv("FOLDER", world->folder, 1), 0);
        path = world_path(world, "pid");
        p.timeout_usec = 2 * USEC_PER_SEC;
        given_job_with(pool, &p, &o);
        assert_int_equal(unsetenv("FOLDER"), 0);
        when_done(world, &o);
        end = clock_get_monotonic();

        assert_int_equal(o.result.error, -ETIMEDOUT);
        assert_string_equal(o.output, "waiting\n");
        assert_true(o.result.started_usec > 0);
        assert_non_null(o.orphan_cgroups); /* and empty, as nobody has made any */
        assert_int_equal(strv_length(o.orphan_cgroups), 0);
        assert_in_range(end - begin, 1990 * USEC_PER_MSEC, 15 * USEC_PER_SEC);

        helper = read_pid(path);
        world_run_until(world, process_is_gone, &helper);
        world_run_until_no_children(world);
        job_pool_free(pool);
}

static void test_the_deadline_counts_from_the_start_of_the_program(void **state) {
        _cleanup_(outcome_done) Outcome slow = {}, waiting = {};
        World *world = *state;
        JobPool *pool = given_pool(world, 1);
        JobParameters p = script_parameters("exit 0");

        given_job(pool, "sleep 1.2", &slow);
        p.timeout_usec = USEC_PER_SEC;
        given_job_with(pool, &p, &waiting);
        when_done(world, &waiting);
        assert_true(job_result_ok(&slow.result));
        assert_true(job_result_ok(&waiting.result));
        job_pool_free(pool);
}

static void test_a_program_that_ended_in_time_has_not_timed_out_however_late_we_look(void **state) {
        _cleanup_(outcome_done) Outcome o = {};
        World *world = *state;
        JobPool *pool;
        JobParameters p = script_parameters("sleep 1000 </dev/null >/dev/null 2>&1 & echo $!; exit 4");
        pid_t child = 0, left;
        FILE *f;

        /* A reaper of the lowest priority: the timer comes first. */
        world->reaper = reaper_free(world->reaper);
        assert_int_equal(reaper_new(&world->reaper, world->event, SD_EVENT_PRIORITY_IDLE), 0);
        pool = given_pool(world, 1);
        p.timeout_usec = 1;
        given_job_with(pool, &p, &o);

        f = fopen("/proc/thread-self/children", "re");
        assert_non_null(f);
        assert_int_equal(fscanf(f, "%d", &child), 1);
        (void) fclose(f);
        when_it_has_exited(child);

        when_done(world, &o);
        assert_int_equal(o.result.error, 0);
        assert_int_equal(o.result.wait_status, W_EXITCODE(4, 0));
        assert_null(o.orphan_cgroups);

        /* So what it left running is left alone, too. */
        left = atoi(o.output);
        assert_true(left > 0);
        assert_int_equal(kill(left, 0), 0);
        assert_int_equal(kill(left, SIGKILL), 0);
        world_run_until_no_children(world);
        job_pool_free(pool);
}

/* --- freeing a job ---------------------------------------------------------------------------------------------- */

static void test_freeing_a_running_job_kills_its_group_and_tells_nobody(void **state) {
        _cleanup_(outcome_done) Outcome o = {}, next = {};
        _cleanup_(freep) char *path = NULL;
        World *world = *state;
        JobPool *pool = given_pool(world, 1);
        pid_t helper;

        assert_int_equal(setenv("FOLDER", world->folder, 1), 0);
        path = world_path(world, "pid");
        given_job(pool, "cd $FOLDER; sleep 1000 & echo $! >tmp && mv tmp pid; while :; do sleep 60; done", &o);
        given_job(pool, "exit 0", &next);
        assert_int_equal(unsetenv("FOLDER"), 0);
        world_run_until(world, file_exists, path);
        helper = read_pid(path);

        o.job = job_free(o.job);
        assert_int_equal(job_pool_n_running(pool), 0);
        assert_int_equal(reaper_n_watched(world->reaper), 0);
        world_run_until(world, process_is_gone, &helper);

        /* Its place is another's now. */
        when_done(world, &next);
        world_run_until_no_children(world);
        assert_false(o.done);
        job_pool_free(pool);
}

static void test_a_job_that_is_freed_while_it_waits_never_runs(void **state) {
        _cleanup_(outcome_done) Outcome first = {}, freed = {}, last = {};
        _cleanup_(freep) char *path = NULL;
        World *world = *state;
        JobPool *pool = given_pool(world, 1);

        path = world_path(world, "was-here");
        assert_int_equal(setenv("WAS_HERE", path, 1), 0);
        given_job(pool, "exit 0", &first);
        given_job(pool, ": >$WAS_HERE", &freed);
        given_job(pool, "exit 0", &last);
        freed.job = job_free(freed.job);
        assert_int_equal(job_pool_n_jobs(pool), 2);
        when_done(world, &last);
        assert_int_equal(unsetenv("WAS_HERE"), 0);
        assert_false(freed.done);
        assert_int_equal(access(path, F_OK), -1);
        job_pool_free(pool);
}

/* --- processes that a job leaves behind ------------------------------------------------------------------------- */

static void test_what_the_program_left_running_is_left_alone(void **state) {
        _cleanup_(outcome_done) Outcome o = {};
        World *world = *state;
        JobPool *pool = given_pool(world, 1);
        pid_t left;

        given_job(pool, "sleep 1000 </dev/null >/dev/null 2>&1 & echo $!", &o);
        when_done(world, &o);
        assert_true(job_result_ok(&o.result));

        left = atoi(o.output);
        assert_true(left > 0);
        world_run_what_is_due(world);
        assert_int_equal(kill(left, 0), 0);
        assert_int_equal(kill(left, SIGKILL), 0);
        world_run_until_no_children(world);
        job_pool_free(pool);
}

/* As a runtime does: its child becomes ours, and may be gone before the runtime is. */
static void test_an_exit_during_the_job_can_be_claimed_until_done_returns(void **state) {
        _cleanup_(outcome_done) Outcome o = {};
        _cleanup_(freep) char *path = NULL;
        World *world = *state;
        JobPool *pool = given_pool(world, 1);
        uint64_t when;
        int status;

        o.world = world;
        assert_int_equal(setenv("FOLDER", world->folder, 1), 0);
        given_job(
                pool,
                "cd $FOLDER; (sh -c 'echo $$ >tmp; mv tmp pid; exit 33' & exit 0);"
                "while ! [ -e pid ]; do sleep 0.01; done; read -r p <pid;"
                "while kill -0 $p 2>/dev/null; do sleep 0.01; done; mv pid reaped; while ! [ -e go ]; do sleep 0.01; done",
                &o);
        assert_int_equal(unsetenv("FOLDER"), 0);
        path = world_path(world, "reaped");
        world_run_until(world, file_exists, path);
        o.claim = read_pid(path);
        assert_int_equal(reaper_n_kept(world->reaper) >= 1, 1);

        free(path);
        path = world_path(world, "go");
        given_file(path, "", 0600);
        when_done(world, &o);
        assert_int_equal(o.claimed, 1);
        assert_int_equal(o.claimed_status, W_EXITCODE(33, 0));
        assert_int_equal(reaper_n_kept(world->reaper), 0);
        assert_int_equal(reaper_claim(world->reaper, o.claim, 0, &status, &when), 0);
        job_pool_free(pool);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, world_begin, world_end)

int main(void) {
        const struct CMUnitTest tests[] = {
                CASE(test_a_job_that_succeeds),
                CASE(test_a_job_that_fails_says_how),
                CASE(test_both_streams_are_captured_in_the_order_written),
                CASE(test_the_last_mebibyte_of_the_output_is_kept),
                CASE(test_a_nul_byte_does_not_hide_what_follows),
                CASE(test_the_input_is_what_the_program_reads),
                CASE(test_without_capture_the_streams_are_the_ones_given),
                CASE(test_a_command_that_does_not_exist_is_told_later),
                CASE(test_a_failed_start_takes_no_place_and_no_turn),
                CASE(test_a_failed_job_that_is_freed_is_not_told),
                CASE(test_a_descriptor_that_is_none_is_refused_at_once),
                CASE(test_no_more_run_at_once_than_the_pool_allows),
                CASE(test_first_come_first_served),
                CASE(test_who_comes_while_others_wait_waits_behind_them),
                CASE(test_a_larger_pool_lets_more_of_those_who_wait_run),
                CASE(test_done_may_start_the_next_job),
                CASE(test_at_the_deadline_the_whole_group_is_killed),
                CASE(test_the_deadline_counts_from_the_start_of_the_program),
                CASE(test_a_program_that_ended_in_time_has_not_timed_out_however_late_we_look),
                CASE(test_freeing_a_running_job_kills_its_group_and_tells_nobody),
                CASE(test_a_job_that_is_freed_while_it_waits_never_runs),
                CASE(test_what_the_program_left_running_is_left_alone),
                CASE(test_an_exit_during_the_job_can_be_claimed_until_done_returns),
        };

        return cmocka_run_group_tests_name("job", tests, NULL, NULL);
}
