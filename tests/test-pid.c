/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Who a pid is, and the exit of a process that somebody else reaps (here: the test itself, when it pleases). */

#include "world.h"

#include "host/pid.h"

#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

/* --- older kernels ---------------------------------------------------------------------------------------------- */

/* The system calls whose answers differ go through here, so that each kernel's behaviour can be seen on any.
 * Without exit info: before Linux 6.15. Without hang-up: a pidfd of a process that has been reaped shows EPOLLIN
 * only. */
static bool kernel_has_exit_info = true;
static bool kernel_has_hangup = true;

int ioctl(int fd, unsigned long request, ...) {
        void *argument;
        va_list ap;

        va_start(ap, request);
        argument = va_arg(ap, void *);
        va_end(ap);

        if (request == 0xC040FF0B && !kernel_has_exit_info) {
                errno = EINVAL;
                return -1;
        }
        return (int) syscall(SYS_ioctl, fd, request, argument);
}

static int without_hangup(struct epoll_event *events, int n) {
        int n_left = 0;

        for (int i = 0; i < n; i++) {
                if (!kernel_has_hangup)
                        events[i].events &= ~(uint32_t) EPOLLHUP;
                if (events[i].events)
                        events[n_left++] = events[i];
        }
        return n_left;
}

int epoll_wait(int fd, struct epoll_event *events, int max, int timeout) {
        return without_hangup(events, (int) syscall(SYS_epoll_pwait, fd, events, max, timeout, NULL, 0));
}

int epoll_pwait2(int fd, struct epoll_event *events, int max, const struct timespec *timeout, const sigset_t *mask) {
        return without_hangup(events, (int) syscall(SYS_epoll_pwait2, fd, events, max, timeout, mask, _NSIG / 8));
}

/* Whether the running kernel can say it at all. */
static bool kernel_knows_exits(void) {
        int fd, status, r;
        pid_t pid;

        pid = fork_child();
        if (pid == 0)
                _exit(0);
        assert_true(pid > 0);
        fd = pid_open(pid, 0);
        assert_true(fd >= 0);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        r = pidfd_read_exit(fd, &status);
        (void) close(fd);
        return r >= 0;
}

/* valgrind, up to 3.19 at least, knows no pidfd_open(). */
static void needs_pidfds(void) {
        int fd = pid_open(getpid(), 0);

        if (fd == -ENOSYS) {
                print_message("there is no pidfd_open() here\n");
                skip();
        }
        assert_true(fd >= 0);
        (void) close(fd);
}

/* --- vocabulary ------------------------------------------------------------------------------------------------- */

typedef struct Exit {
        bool called;
        unsigned n_calls;
        int wait_status;
        uint64_t when_usec;
        PidWatch *watch;
} Exit;

static void exit_on_exited(void *userdata, int wait_status, uint64_t when_usec) {
        Exit *e = userdata;

        e->called = true;
        e->n_calls++;
        e->wait_status = wait_status;
        e->when_usec = when_usec;
        e->watch = pid_watch_free(e->watch);
}

/* Only the tests reap here. */
static int begin(void **state) {
        World *world;

        (void) world_begin(state);
        world = *state;
        world->reaper = reaper_free(world->reaper);
        kernel_has_exit_info = true;
        kernel_has_hangup = true;
        return 0;
}

static uint64_t start_time_of(pid_t pid) {
        PidStat st;

        assert_int_equal(pid_read_stat(pid, &st), 0);
        assert_true(st.start_time > 0);
        return st.start_time;
}

/* A process that lives until it is told to go: by a signal, or by SIGUSR1 with this exit code. */
static int leave_with;

static void on_leave(int sig) {
        _exit(leave_with);
}

static pid_t given_process(int exit_code) {
        sigset_t usr1, before;
        pid_t pid;

        (void) sigemptyset(&usr1);
        (void) sigaddset(&usr1, SIGUSR1);
        assert_int_equal(sigprocmask(SIG_BLOCK, &usr1, &before), 0);
        pid = fork_child();
        if (pid == 0) {
                leave_with = exit_code;
                (void) signal(SIGUSR1, on_leave);
                (void) sigprocmask(SIG_UNBLOCK, &usr1, NULL);
                for (;;)
                        (void) pause();
        }
        assert_true(pid > 0);
        assert_int_equal(sigprocmask(SIG_SETMASK, &before, NULL), 0);
        return pid;
}

static void given_watch(World *world, pid_t pid, Exit *e) {
        assert_int_equal(pid_watch_new(&e->watch, world->pids, pid, start_time_of(pid), exit_on_exited, e), 0);
        assert_true(pid_watch_get_fd(e->watch) >= 0);
}

static void when_it_leaves(pid_t pid) {
        assert_int_equal(kill(pid, SIGUSR1), 0);
        when_it_has_exited(pid);
}

static void when_it_is_reaped(pid_t pid) {
        assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void when_told(World *world, Exit *e) {
        world_run_until_set(world, &e->called);
        world_run_what_is_due(world);
        assert_int_equal(e->n_calls, 1);
}

/* --- stat ------------------------------------------------------------------------------------------------------- */

static void test_stat_tells_of_ourselves(void **state) {
        PidStat st;

        assert_int_equal(pid_read_stat(getpid(), &st), 0);
        assert_int_equal(st.parent, getppid());
        assert_int_equal(st.state, 'R');
        assert_true(st.start_time > 0);
        assert_int_equal(st.exit_code, 0);
}

static void test_stat_is_not_deceived_by_a_name(void **state) {
        static const char *const names[] = { ") Z 1 (", "a b c", "))))", "\n) R 0\n", "", "(" };
        char before[16];
        PidStat st;

        assert_int_equal(prctl(PR_GET_NAME, before), 0);
        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                assert_int_equal(prctl(PR_SET_NAME, names[i]), 0);
                assert_int_equal(pid_read_stat(getpid(), &st), 0);
                assert_int_equal(st.parent, getppid());
                assert_int_equal(st.state, 'R');
                assert_false(st.exiting);
        }
        assert_int_equal(prctl(PR_SET_NAME, before), 0);
}

static void test_stat_of_a_zombie_holds_its_wait_status(void **state) {
        pid_t pid;
        PidStat st;

        pid = given_process(42);
        assert_int_equal(pid_read_stat(pid, &st), 0);
        assert_int_equal(st.parent, getpid());
        assert_int_equal(st.exit_code, 0);

        when_it_leaves(pid);
        assert_int_equal(pid_read_stat(pid, &st), 0);
        assert_int_equal(st.state, 'Z');
        assert_true(st.exiting);
        assert_int_equal(st.exit_code, W_EXITCODE(42, 0));
        when_it_is_reaped(pid);

        pid = given_process(0);
        assert_int_equal(kill(pid, SIGKILL), 0);
        when_it_has_exited(pid);
        assert_int_equal(pid_read_stat(pid, &st), 0);
        assert_int_equal(st.exit_code, SIGKILL);
        when_it_is_reaped(pid);
}

static void test_there_is_no_such_process(void **state) {
        World *world = *state;
        char *cgroup = NULL;
        Exit e = {};
        PidStat st;
        pid_t pid;

        needs_pidfds();
        pid = given_process(0);
        when_it_leaves(pid);
        when_it_is_reaped(pid);

        assert_int_equal(pid_read_stat(pid, &st), -ESRCH);
        assert_int_equal(pid_read_stat(0, &st), -ESRCH);
        assert_int_equal(pid_read_stat(-1, &st), -ESRCH);
        assert_int_equal(pid_open(pid, 0), -ESRCH);
        assert_int_equal(pid_open(0, 0), -ESRCH);
        assert_int_equal(pid_read_cgroup(pid, &cgroup), -ESRCH);
        assert_int_equal(pid_watch_new(&e.watch, world->pids, pid, 0, exit_on_exited, &e), -ESRCH);
        assert_null(e.watch);
}

static void test_a_recycled_number_is_not_taken_for_the_process(void **state) {
        World *world = *state;
        uint64_t start_time;
        Exit e = {};
        pid_t pid;
        int fd;

        needs_pidfds();
        pid = given_process(0);
        start_time = start_time_of(pid);

        fd = pid_open(pid, start_time);
        assert_true(fd >= 0);
        assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
        assert_int_equal(close(fd), 0);

        assert_int_equal(pid_open(pid, start_time - 1), -ESRCH);
        assert_int_equal(pid_watch_new(&e.watch, world->pids, pid, start_time - 1, exit_on_exited, &e), -ESRCH);

        when_it_leaves(pid);
        when_it_is_reaped(pid);
}

/* --- watching --------------------------------------------------------------------------------------------------- */

static void test_the_exit_of_a_reaped_process_comes_from_the_kernel(void **state) {
        World *world = *state;
        uint64_t before = clock_get_realtime();
        Exit left = {}, killed = {};
        pid_t a, b;

        needs_pidfds();
        if (!kernel_knows_exits()) {
                print_message("this kernel has no PIDFD_INFO_EXIT\n");
                skip();
        }

        a = given_process(42);
        b = given_process(0);
        given_watch(world, a, &left);
        given_watch(world, b, &killed);
        assert_int_equal(kill(a, SIGUSR1), 0);
        assert_int_equal(kill(b, SIGKILL), 0);
        when_it_is_reaped(a);
        when_it_is_reaped(b);

        when_told(world, &left);
        when_told(world, &killed);
        assert_int_equal(left.wait_status, W_EXITCODE(42, 0));
        assert_int_equal(killed.wait_status, SIGKILL);
        assert_true(left.when_usec >= before && left.when_usec <= clock_get_realtime());
}

static void test_a_zombie_is_told_when_it_is_reaped_soon(void **state) {
        World *world = *state;
        uint64_t begin_usec;
        Exit e = {};
        pid_t pid;

        needs_pidfds();
        pid = given_process(7);
        given_watch(world, pid, &e);
        when_it_leaves(pid);
        world_run_what_is_due(world);
        assert_false(e.called);

        begin_usec = clock_get_monotonic();
        when_it_is_reaped(pid);
        when_told(world, &e);
        assert_int_equal(e.wait_status, W_EXITCODE(7, 0));

        /* By the hang-up, where there is one, and not by the timer. */
        if (kernel_knows_exits())
                assert_true(clock_get_monotonic() - begin_usec < 400 * USEC_PER_MSEC);
}

static void test_a_zombie_that_nobody_reaps_is_told_all_the_same(void **state) {
        World *world = *state;
        uint64_t left_usec, begin_usec = clock_get_monotonic();
        Exit e = {};
        pid_t pid;

        needs_pidfds();
        pid = given_process(7);
        given_watch(world, pid, &e);
        when_it_leaves(pid);
        left_usec = clock_get_realtime();
        when_told(world, &e);
        assert_int_equal(e.wait_status, W_EXITCODE(7, 0));
        assert_true(clock_get_monotonic() - begin_usec >= 400 * USEC_PER_MSEC);

        /* The time is when it was seen dead, not when patience ran out. */
        assert_true(e.when_usec < left_usec + 400 * USEC_PER_MSEC);
        when_it_is_reaped(pid);
}

static void test_an_older_kernel_gives_what_the_zombie_said(void **state) {
        World *world = *state;
        Exit e = {};
        pid_t pid;

        needs_pidfds();
        kernel_has_exit_info = false;
        pid = given_process(9);
        given_watch(world, pid, &e);
        when_it_leaves(pid);
        world_run_what_is_due(world); /* sees the zombie */
        when_it_is_reaped(pid);
        when_told(world, &e);
        assert_int_equal(e.wait_status, W_EXITCODE(9, 0));
}

static void test_an_older_kernel_cannot_say_once_the_process_is_gone(void **state) {
        World *world = *state;
        Exit e = {};
        pid_t pid;

        needs_pidfds();
        kernel_has_exit_info = false;
        pid = given_process(9);
        given_watch(world, pid, &e);
        assert_int_equal(kill(pid, SIGUSR1), 0);
        when_it_is_reaped(pid);
        when_told(world, &e);
        assert_int_equal(e.wait_status, -1);
}

static void test_a_kernel_without_hangup_is_noticed_by_the_timer(void **state) {
        World *world = *state;
        Exit seen = {}, gone = {};
        pid_t pid;

        needs_pidfds();
        kernel_has_exit_info = false;
        kernel_has_hangup = false;

        pid = given_process(9);
        given_watch(world, pid, &seen);
        when_it_leaves(pid);
        world_run_what_is_due(world);
        when_it_is_reaped(pid);
        when_told(world, &seen);
        assert_int_equal(seen.wait_status, W_EXITCODE(9, 0));

        pid = given_process(9);
        given_watch(world, pid, &gone);
        assert_int_equal(kill(pid, SIGUSR1), 0);
        when_it_is_reaped(pid);
        when_told(world, &gone);
        assert_int_equal(gone.wait_status, -1);
}

static void test_a_watch_that_is_freed_tells_nothing(void **state) {
        World *world = *state;
        Exit e = {};
        pid_t pid;

        needs_pidfds();
        pid = given_process(0);
        given_watch(world, pid, &e);
        e.watch = pid_watch_free(e.watch);
        when_it_leaves(pid);
        world_run_what_is_due(world);

        /* And one that waits for the reaping. */
        given_watch(world, pid, &e);
        world_run_what_is_due(world);
        e.watch = pid_watch_free(e.watch);
        when_it_is_reaped(pid);
        world_run_what_is_due(world);
        assert_false(e.called);
}

static void test_a_start_time_of_zero_takes_whoever_it_is(void **state) {
        World *world = *state;
        Exit e = {};
        pid_t pid;

        needs_pidfds();
        pid = given_process(3);
        assert_int_equal(pid_watch_new(&e.watch, world->pids, pid, 0, exit_on_exited, &e), 0);
        when_it_leaves(pid);
        when_told(world, &e);
        assert_int_equal(e.wait_status, W_EXITCODE(3, 0));
        when_it_is_reaped(pid);
}

static void test_a_living_process_has_no_exit_status(void **state) {
        int fd, status = 77;
        pid_t pid;

        needs_pidfds();
        pid = given_process(0);
        fd = pid_open(pid, 0);
        assert_true(fd >= 0);
        assert_int_equal(pidfd_read_exit(fd, &status), -ENODATA);
        when_it_leaves(pid);
        assert_int_equal(pidfd_read_exit(fd, &status), -ENODATA);
        assert_int_equal(status, 77);
        when_it_is_reaped(pid);
        assert_int_equal(close(fd), 0);
        assert_int_equal(pidfd_read_exit(-EBADF, &status), -ENODATA);
}

/* Somebody without rights sees an exit code of 0 in the zombie's stat, whatever it is. Runs in a child, which must
 * be nobody for it. */
static int watch_as_nobody(pid_t pid) {
        PidWatcher *pids = NULL;
        sd_event *event = NULL;
        Exit e = {};

        kernel_has_exit_info = false;
        if (setresgid(65534, 65534, 65534) < 0 || setresuid(65534, 65534, 65534) < 0)
                return 77;
        if (sd_event_new(&event) < 0 || pid_watcher_new(&pids, event, 0) < 0 ||
            pid_watch_new(&e.watch, pids, pid, 0, exit_on_exited, &e) < 0)
                return 78;

        /* Beyond the first patience: nothing to tell, so it goes on waiting for the end. */
        for (uint64_t end = clock_get_monotonic() + 700 * USEC_PER_MSEC; clock_get_monotonic() < end;)
                if (sd_event_run(event, 50 * USEC_PER_MSEC) < 0 || e.called)
                        return 79;

        /* Tells the test to reap it. */
        if (kill(getpid(), SIGSTOP) < 0)
                return 80;
        for (uint64_t end = clock_get_monotonic() + WORLD_PATIENCE_USEC; !e.called && clock_get_monotonic() < end;)
                if (sd_event_run(event, 50 * USEC_PER_MSEC) < 0)
                        return 81;
        (void) pid_watcher_free(pids);
        sd_event_unref(event);
        return e.called && e.wait_status == -1 ? 0 : 82;
}

static void test_what_we_may_not_know_is_unknown_and_not_zero(void **state) {
        pid_t pid, nobody;
        int status;

        needs_pidfds();
        if (geteuid() != 0) {
                print_message("needs root\n");
                skip();
        }

        pid = given_process(5);
        when_it_leaves(pid);
        nobody = fork_child();
        if (nobody == 0)
                _exit(watch_as_nobody(pid));
        assert_true(nobody > 0);

        assert_int_equal(waitpid(nobody, &status, WUNTRACED), nobody);
        assert_true(WIFSTOPPED(status));
        when_it_is_reaped(pid);
        assert_int_equal(kill(nobody, SIGCONT), 0);
        assert_int_equal(waitpid(nobody, &status, 0), nobody);
        assert_int_equal(status, 0);
}

/* --- control group ---------------------------------------------------------------------------------------------- */

static void test_a_process_that_shares_our_cgroups_has_none_of_its_own(void **state) {
        _cleanup_(freep) char *ours = NULL, *its = NULL;
        pid_t pid;

        assert_int_equal(pid_read_cgroup(getpid(), &ours), 0);
        assert_string_equal(ours, "");

        pid = given_process(0);
        assert_int_equal(pid_read_cgroup(pid, &its), 0);
        assert_string_equal(its, "");
        when_it_leaves(pid);
        when_it_is_reaped(pid);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, begin, world_end)

int main(void) {
        const struct CMUnitTest tests[] = {
                CASE(test_stat_tells_of_ourselves),
                CASE(test_stat_is_not_deceived_by_a_name),
                CASE(test_stat_of_a_zombie_holds_its_wait_status),
                CASE(test_there_is_no_such_process),
                CASE(test_a_recycled_number_is_not_taken_for_the_process),
                CASE(test_the_exit_of_a_reaped_process_comes_from_the_kernel),
                CASE(test_a_zombie_is_told_when_it_is_reaped_soon),
                CASE(test_a_zombie_that_nobody_reaps_is_told_all_the_same),
                CASE(test_an_older_kernel_gives_what_the_zombie_said),
                CASE(test_an_older_kernel_cannot_say_once_the_process_is_gone),
                CASE(test_a_kernel_without_hangup_is_noticed_by_the_timer),
                CASE(test_a_watch_that_is_freed_tells_nothing),
                CASE(test_a_start_time_of_zero_takes_whoever_it_is),
                CASE(test_a_living_process_has_no_exit_status),
                CASE(test_what_we_may_not_know_is_unknown_and_not_zero),
                CASE(test_a_process_that_shares_our_cgroups_has_none_of_its_own),
        };

        return cmocka_run_group_tests_name("pid", tests, NULL, NULL);
}
