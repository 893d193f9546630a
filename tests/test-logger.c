/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Logger processes: what their URI means, what they are given, when they count as ready, and how they end. The loggers
 * here are shell scripts. */

#include "host/logger.h"
#include "host/pid.h"
#include "util/strv.h"
#include "world.h"

#include <sys/resource.h>

/* --- vocabulary ------------------------------------------------------------------------------------------------- */

typedef struct Told {
        bool ready; /* it has been told that it is, or is not */
        int error;
        char *text;
        bool exited;
        int wait_status;
        Logger *free_in_ready;
        Logger *free_in_exited;
} Told;

static void on_exited(void *userdata, int wait_status) {
        Told *told = userdata;

        assert_false(told->exited);
        told->exited = true;
        told->wait_status = wait_status;
        if (told->free_in_exited)
                told->free_in_exited = logger_free(told->free_in_exited);
}

static void on_ready(void *userdata, int error, const char *text) {
        Told *told = userdata;

        assert_false(told->ready);
        assert_false(told->exited);
        told->ready = true;
        told->error = error;
        told->text = strdup(text);
        if (told->free_in_ready)
                told->free_in_ready = logger_free(told->free_in_ready);
}

static void told_done(Told *told) {
        free(told->text);
}

/* A program of its own, whose URI is returned. It says "ready" before it starts others, which would inherit descriptor
 * 5. */
static char *given_program(World *world, const char *name, const char *script) {
        _cleanup_(freep) char *path = world_path(world, name), *text = NULL;
        char *uri = NULL;

        assert_true(asprintf(&text, "#!/bin/sh\nPATH=/bin:/usr/bin\nready() { exec 5>&-; }\ncd %s || exit 99\n%s\n",
                             world->folder, script) > 0);
        given_file(path, text, 0700);
        assert_true(asprintf(&uri, "binary://%s", path) > 0);
        return uri;
}

static Logger *given_logger_with(World *world, const LoggerParameters *p, Told *told) {
        Logger *l = NULL;

        assert_int_equal(logger_new(&l, world->event, world->reaper, p, on_ready, told), 0);
        assert_true(logger_get_pid(l) > 0);
        assert_true(logger_get_start_time(l) > 0);
        logger_set_on_exited(l, on_exited, told);
        return l;
}

static Logger *given_logger(World *world, const char *script, Told *told) {
        _cleanup_(freep) char *uri = given_program(world, "logger", script);
        const LoggerParameters p = { .uri = uri,
                                     .ns = "default",
                                     .container_id = "web",
                                     .output = -EBADF,
                                     .error = -EBADF,
                                     .timeout_usec = WORLD_PATIENCE_USEC };

        return given_logger_with(world, &p, told);
}

/* Whatever happens to a thing that the script writes: it is not there, or there and whole. */
static bool file_exists(void *path) {
        return access(path, F_OK) >= 0;
}

static char *read_file(World *world, const char *name) {
        _cleanup_(freep) char *path = world_path(world, name);
        _cleanup_(safe_closep) int fd = -EBADF;
        char text[4096] = "";

        world_run_until(world, file_exists, path);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        assert_true(fd >= 0);
        assert_true(read(fd, text, sizeof(text) - 1) >= 0);
        return strdup(text);
}

static pid_t read_pid(World *world, const char *name) {
        _cleanup_(freep) char *text = read_file(world, name);

        assert_true(atoi(text) > 1);
        return atoi(text);
}

static bool is_gone(void *pid) {
        PidStat st;

        return pid_read_stat(*(pid_t *) pid, &st) == -ESRCH;
}

/* valgrind, up to 3.19 at least, knows no pidfd_open(). */
static void needs_pidfds(void) {
        int fd = pid_open(getpid(), 0);

        if (fd == -ENOSYS) {
                print_message("there is no pidfd_open() here\n");
                skip();
        }
        assert_true(fd >= 0);
        safe_close(fd);
}

static void then_it_was_not_ready(const Told *told, int error, const char *text) {
        assert_true(told->ready);
        assert_int_equal(told->error, error);
        assert_non_null(strstr(told->text, text));
        assert_false(told->exited);
}

/* --- what a URI means ------------------------------------------------------------------------------------------- */

static void test_a_uri_is_a_program_and_its_arguments(void **state) {
        static const struct {
                const char *uri;
                const char *expected; /* the arguments, a '|' behind each */
        } table[] = {
                { "binary:///bin/logger", "/bin/logger|" },
                { "binary:/bin/logger", "/bin/logger|" },
                { "binary:///bin/logger?", "/bin/logger|" },
                { "binary:///bin/logger?key=value", "/bin/logger|key|value|" },
                { "binary:///bin/logger?b=1&a=2&b=3", "/bin/logger|b|1|a|2|b|3|" },
                { "binary:///bin/logger?key", "/bin/logger|key||" },
                { "binary:///bin/logger?key=", "/bin/logger|key||" },
                { "binary:///bin/logger?=value", "/bin/logger||value|" },
                { "binary:///bin/logger?&&a=1&", "/bin/logger|a|1|" },
                { "binary:///bin/logger?a=b=c", "/bin/logger|a|b=c|" },
                { "binary:///bin/logger?a=b?c", "/bin/logger|a|b?c|" },
                { "binary:///bin/logger?a=b+c%2Bd%20e", "/bin/logger|a|b c+d e|" },
                { "binary:///bin/logger?a%3Db=c%26d", "/bin/logger|a=b|c&d|" },
                { "binary:///bin/logger?%2d%2Dflag", "/bin/logger|--flag||" },
                { "binary:///bin/logger?a=\xc3\xa4%c3%A4%0a", "/bin/logger|a|\xc3\xa4\xc3\xa4\n|" },
                { "binary:///bin/my%20logger+1%3f?a=1", "/bin/my logger+1?|a|1|" },
                { "binary:////x", "//x|" },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                _cleanup_(freep) char *reason = NULL;
                _cleanup_(strv_freep) char **argv = NULL;
                char text[256] = "";

                print_message("# %s\n", table[i].uri);
                assert_int_equal(logger_parse(table[i].uri, &argv, &reason), 0);
                assert_null(reason);
                for (char **a = argv; *a; a++) {
                        strcat(text, *a);
                        strcat(text, "|");
                }
                assert_string_equal(text, table[i].expected);
        }
}

static void test_a_uri_that_cannot_be_taken_apart_is_refused(void **state) {
        static const char escape[] = "a % in a URI must be followed by two hexadecimal digits, and not by 00";
        static const struct {
                const char *uri;
                const char *reason;
        } table[] = {
                { "binary://bin/logger", "\"bin/logger\" is not an absolute path" },
                { "binary://bin/logger?a=/b", "\"bin/logger\" is not an absolute path" },
                { "binary:bin/logger", "\"bin/logger\" is not an absolute path" },
                { "binary:?/bin/logger", "\"\" is not an absolute path" },
                { "binary://", "\"\" is not an absolute path" },
                { "binary:", "\"\" is not an absolute path" },
                { "/bin/logger", "it has no scheme" },
                { "", "it has no scheme" },
                { "binary:///bin/%", escape },
                { "binary:///bin/%2", escape },
                { "binary:///bin/%2?a=b", escape },
                { "binary:///bin/%2g", escape },
                { "binary:///bin/%g2", escape },
                { "binary:///bin/% 2", escape },
                { "binary:///bin/a%00b", escape },
                { "binary:///bin/logger?a=%", escape },
                { "binary:///bin/logger?a=%4&b2=1", escape },
                { "binary:///bin/logger?a%zz=1", escape },
                { "binary:///bin/logger?a=1&b=%00", escape },
                { "binary:///bin/logger?a=1#x",
                  "a URI cannot have a fragment here; a # in it must be written as %23" },
                { "binary:///bin/log\nger", "control characters in a URI must be written as %XX" },
                { "binary:///bin/logger?a=\x7f", "control characters in a URI must be written as %XX" },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                _cleanup_(freep) char *reason = NULL;
                char **argv = (char **) &table;

                print_message("# case %zu\n", i);
                assert_int_equal(logger_parse(table[i].uri, &argv, &reason), -EINVAL);
                assert_string_equal(reason, table[i].reason);
                assert_ptr_equal(argv, &table);
        }
}

/* --- what it is given ------------------------------------------------------------------------------------------- */

static void test_it_gets_its_arguments_its_environment_and_nothing_of_ours(void **state) {
        _cleanup_(freep) char *program = NULL, *uri = NULL, *arguments = NULL, *environment = NULL, *fds = NULL;
        _cleanup_(told_done) Told told = {};
        World *world = *state;
        LoggerParameters p = { .ns = "k8s.io",
                               .container_id = "c-1",
                               .output = -EBADF,
                               .error = -EBADF,
                               .timeout_usec = WORLD_PATIENCE_USEC };
        int output[2], error[2];
        Logger *l;

        /* The shell adds PWD and the like on its own: what it was given stands in /proc. Nothing that the script opens
         * for itself lies below 10. */
        program = given_program(world, "logger",
                                "printf '%s|' \"$@\" >arguments\n"
                                "tr '\\0' '\\n' </proc/$$/environ >environment\n"
                                "(cd /proc/$$/fd && for f in [0-9]; do echo \"$f $(readlink $f)\"; done) >fds.new\n"
                                "mv fds.new fds; ready; exec sleep 1000");
        assert_true(asprintf(&uri, "%s?level=info&name=my+web", program) > 0);
        p.uri = uri;
        assert_int_equal(setenv("MONOSHIM_TEST", "not for loggers", 1), 0);
        assert_int_equal(pipe2(output, O_CLOEXEC), 0);
        assert_int_equal(pipe2(error, O_CLOEXEC), 0);
        p.output = output[0];
        p.error = error[0];

        l = given_logger_with(world, &p, &told);
        assert_int_equal(unsetenv("MONOSHIM_TEST"), 0);
        world_run_until_set(world, &told.ready);
        assert_int_equal(told.error, 0);

        arguments = read_file(world, "arguments");
        assert_string_equal(arguments, "level|info|name|my web|");
        environment = read_file(world, "environment");
        assert_string_equal(environment, "CONTAINER_ID=c-1\nCONTAINER_NAMESPACE=k8s.io\n");

        fds = read_file(world, "fds");
        for (int i = 0; i <= 5; i++) {
                char line[128], path[64], target[64] = "";
                struct stat st;

                if (i == 3 || i == 4) {
                        (void) snprintf(path, sizeof(path), "/proc/self/fd/%d", i == 3 ? output[0] : error[0]);
                        assert_true(readlink(path, target, sizeof(target) - 1) > 0);
                        (void) snprintf(line, sizeof(line), "%d %s\n", i, target);
                } else if (i == 5)
                        (void) snprintf(line, sizeof(line), "5 pipe:[");
                else if (i == STDERR_FILENO && fstat(STDERR_FILENO, &st) >= 0 && !S_ISFIFO(st.st_mode))
                        continue; /* ours, whatever that is */
                else
                        (void) snprintf(line, sizeof(line), "%d /dev/null\n", i);
                assert_non_null(strstr(fds, line));
        }
        assert_null(strstr(fds, "\n6 "));

        (void) logger_stop(l, 0);
        world_run_until_no_children(world);
        for (int i = 0; i < 2; i++) {
                safe_close(output[i]);
                safe_close(error[i]);
        }
}

static void test_its_complaints_go_where_ours_go_unless_that_is_a_pipe(void **state) {
        _cleanup_(safe_closep) int saved = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 10);
        _cleanup_(freep) char *path = NULL;
        World *world = *state;

        assert_true(saved >= 0);
        path = world_path(world, "stderr");
        for (int is_pipe = 0; is_pipe < 2; is_pipe++) {
                _cleanup_(told_done) Told told = {};
                char text[64] = "";
                int fds[2];
                Logger *l;

                assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
                if (!is_pipe) {
                        safe_close(fds[1]);
                        fds[1] = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
                }
                assert_int_equal(dup2(fds[1], STDERR_FILENO), STDERR_FILENO);
                l = given_logger(world, "echo complaint >&2; ready; exec sleep 1000", &told);
                assert_int_equal(dup2(saved, STDERR_FILENO), STDERR_FILENO);

                world_run_until_set(world, &told.ready);
                assert_int_equal(told.error, 0);
                if (is_pipe)
                        assert_int_equal(read(fds[0], text, sizeof(text)), -1);
                else
                        assert_int_equal(pread(fds[1], text, sizeof(text), 0), strlen("complaint\n"));

                (void) logger_stop(l, 0);
                world_run_until_no_children(world);
                safe_close(fds[0]);
                safe_close(fds[1]);
        }
}

static void test_it_reads_to_the_end_and_ends(void **state) {
        _cleanup_(freep) char *program = NULL, *out = NULL, *err = NULL;
        _cleanup_(told_done) Told told = {};
        World *world = *state;
        LoggerParameters p = { .ns = "default", .container_id = "web", .timeout_usec = USEC_INFINITY };
        int output[2], error[2];
        Logger *l;

        assert_int_equal(pipe2(output, O_CLOEXEC), 0);
        assert_int_equal(pipe2(error, O_CLOEXEC), 0);
        program = given_program(world, "logger",
                                "ready; cat <&3 >out.new; cat <&4 >err.new; mv out.new out; mv err.new err; exit 7");
        p.uri = program;
        p.output = output[0];
        p.error = error[0];
        l = given_logger_with(world, &p, &told);
        world_run_until_set(world, &told.ready);

        assert_int_equal(write(output[1], "to stdout", 9), 9);
        assert_int_equal(write(error[1], "to stderr", 9), 9);
        safe_close(output[1]);
        safe_close(error[1]);
        world_run_until_set(world, &told.exited);
        assert_true(WIFEXITED(told.wait_status));
        assert_int_equal(WEXITSTATUS(told.wait_status), 7);
        assert_int_equal(logger_get_pid(l), 0);

        out = read_file(world, "out");
        err = read_file(world, "err");
        assert_string_equal(out, "to stdout");
        assert_string_equal(err, "to stderr");

        /* There is nobody left to be told to end. */
        assert_null(logger_stop(l, 0));
        safe_close(output[0]);
        safe_close(error[0]);
}

/* --- ready ------------------------------------------------------------------------------------------------------ */

static void test_it_is_ready_when_it_closes_5_or_writes_to_it(void **state) {
        static const char *const scripts[] = {
                "exec 5>&-; exec sleep 1000",
                "printf x >&5; exec sleep 1000",
                "echo 'many words, and 5 stays open' >&5; exec sleep 1000",
                "sleep 0.2; exec sleep 1000 5>&-",
        };
        World *world = *state;

        for (size_t i = 0; i < ELEMENTSOF(scripts); i++) {
                _cleanup_(told_done) Told told = {};
                Logger *l = given_logger(world, scripts[i], &told);

                print_message("# case %zu\n", i);
                assert_false(told.ready);
                world_run_until_set(world, &told.ready);
                assert_int_equal(told.error, 0);
                assert_false(told.exited);

                /* Nothing of it comes twice, and it lives. */
                for (int n = 0; n < 3; n++)
                        world_run_what_is_due(world);
                assert_false(told.exited);
                assert_int_equal(kill(logger_get_pid(l), 0), 0);

                (void) logger_stop(l, 0);
                world_run_until_no_children(world);
                assert_false(told.exited);
        }
}

static void test_one_that_ends_before_it_is_ready_has_failed(void **state) {
        static const struct {
                const char *script;
                const char *status;
        } table[] = {
                { "exit 0", "its exit status was 0" },
                { "exit 3", "its exit status was 3" },
                { "kill -KILL $$", "its exit status was 137" },
                { "sleep 0.1; exit 1", "its exit status was 1" },
                /* What it has started has descriptor 5 as well. */
                { "sleep 1000 & echo $! >child; exit 4", "its exit status was 4" },
        };
        World *world = *state;

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                _cleanup_(told_done) Told told = {};
                Logger *l = given_logger(world, table[i].script, &told);

                print_message("# case %zu\n", i);
                world_run_until_set(world, &told.ready);
                then_it_was_not_ready(
                        &told, -EPIPE,
                        "logging binary did not call ready (it may have crashed or exited prematurely)");
                assert_non_null(strstr(told.text, table[i].status));
                assert_int_equal(logger_get_pid(l), 0);

                (void) logger_free(l);
                if (strstr(table[i].script, "child"))
                        assert_int_equal(kill(read_pid(world, "child"), SIGKILL), 0);
                world_run_until_no_children(world);
                assert_false(told.exited);
        }
}

/* The end of the pipe of a process that is ending may be seen long before its exit: this must not be a matter of luck. */
static void test_the_end_of_a_dying_process_is_never_taken_for_ready(void **state) {
        World *world = *state;

        for (int i = 0; i < (vfork_shares_memory() ? 200 : 10); i++) {
                _cleanup_(told_done) Told told = {};
                Logger *l = given_logger(world, "exit 0", &told);
                uint64_t deadline = clock_get_monotonic() + WORLD_PATIENCE_USEC;

                /* The loop spins, so that it meets the process at every stage of its death. */
                while (!told.ready) {
                        assert_true(clock_get_monotonic() < deadline);
                        assert_true(sd_event_run(world->event, 0) >= 0);
                }
                assert_int_equal(told.error, -EPIPE);
                (void) logger_free(l);
        }
        world_run_until_no_children(world);
}

static void test_one_that_says_ready_and_ends_at_once_was_ready(void **state) {
        World *world = *state;

        for (int i = 0; i < 10; i++) {
                _cleanup_(told_done) Told told = {};
                Logger *l = given_logger(world, "echo >&5; exit 5", &told);

                /* Both the byte and the exit are there when the loop looks. */
                when_it_has_exited(logger_get_pid(l));
                world_run_until_set(world, &told.exited);
                assert_true(told.ready);
                assert_int_equal(told.error, 0);
                assert_int_equal(WEXITSTATUS(told.wait_status), 5);
                (void) logger_free(l);
        }
}

static void test_one_that_is_not_ready_in_time_is_killed_with_all_it_has_started(void **state) {
        _cleanup_(told_done) Told told = {};
        _cleanup_(freep) char *program = NULL;
        World *world = *state;
        LoggerParameters p = { .ns = "default", .container_id = "web", .output = -EBADF, .error = -EBADF };
        uint64_t start = clock_get_monotonic();
        pid_t pid, child;
        Logger *l;

        program = given_program(world, "logger",
                                "trap '' TERM INT HUP; sleep 1000 & echo $! >pid.new; mv pid.new pid; wait");
        p.uri = program;
        p.timeout_usec = (vfork_shares_memory() ? 1 : 10) * USEC_PER_SEC;
        l = given_logger_with(world, &p, &told);
        pid = logger_get_pid(l);
        child = read_pid(world, "pid");

        world_run_until_set(world, &told.ready);
        assert_true(clock_get_monotonic() - start >= p.timeout_usec);
        then_it_was_not_ready(&told, -ETIMEDOUT, "logging binary did not call ready in time, and was killed");

        world_run_until(world, is_gone, &pid);
        world_run_until(world, is_gone, &child);
        assert_int_equal(logger_get_pid(l), 0);
        assert_false(told.exited);
        (void) logger_free(l);
}

static void test_it_may_be_freed_when_it_is_told_of(void **state) {
        static const char *const scripts[] = { "exit 1", "ready; exec sleep 1000", "echo >&5; exit 5" };
        World *world = *state;

        for (size_t i = 0; i < ELEMENTSOF(scripts); i++) {
                _cleanup_(told_done) Told told = {};
                pid_t pid;

                told.free_in_ready = given_logger(world, scripts[i], &told);
                pid = logger_get_pid(told.free_in_ready);
                if (i == 2)
                        when_it_has_exited(pid);
                world_run_until_set(world, &told.ready);
                assert_null(told.free_in_ready);

                /* One that was let go of runs on. */
                if (i == 1)
                        assert_int_equal(kill(pid, SIGKILL), 0);
                world_run_until_no_children(world);
                assert_false(told.exited);
        }
}

static void test_it_may_be_freed_when_its_end_is_told(void **state) {
        _cleanup_(told_done) Told told = {};
        World *world = *state;

        told.free_in_exited = given_logger(world, "echo >&5; exit 5", &told);
        world_run_until_set(world, &told.exited);
        assert_null(told.free_in_exited);
}

static void test_nobody_needs_to_be_told_of_its_end(void **state) {
        _cleanup_(told_done) Told told = {};
        World *world = *state;
        Logger *l;

        l = given_logger(world, "echo >&5; exit 5", &told);
        logger_set_on_exited(l, NULL, NULL);
        world_run_until_no_children(world);
        assert_true(told.ready);
        assert_int_equal(logger_get_pid(l), 0);
        (void) logger_free(l);
}

/* --- a start that fails ----------------------------------------------------------------------------------------- */

static void then_it_cannot_be_started(World *world, const char *uri, int error) {
        const LoggerParameters p = { .uri = uri,
                                     .ns = "default",
                                     .container_id = "web",
                                     .output = -EBADF,
                                     .error = -EBADF,
                                     .timeout_usec = USEC_PER_SEC };
        Logger *l = (Logger *) &p;
        int n = count_open_fds();

        assert_int_equal(logger_new(&l, world->event, world->reaper, &p, on_ready, NULL), error);
        assert_ptr_equal(l, &p);
        assert_int_equal(count_open_fds(), n);
        assert_int_equal(reaper_n_watched(world->reaper), 0);
        assert_false(world_has_children());
}

static void test_a_failed_start_tells_why_and_leaves_nothing(void **state) {
        _cleanup_(freep) char *folder = NULL, *good = NULL, *plain = NULL, *plain_uri = NULL, *garbage = NULL,
                              *garbage_uri = NULL;
        World *world = *state;
        struct rlimit limit, none;

        if (!vfork_shares_memory()) {
                print_message("needs a vfork() that is one, which valgrind's is not\n");
                skip();
        }

        plain = world_path(world, "plain");
        garbage = world_path(world, "garbage");
        given_file(plain, "#!/bin/sh\n", 0600);
        given_file(garbage, "\1\2\3", 0700);
        assert_true(asprintf(&folder, "binary://%s", world->folder) > 0);
        assert_true(asprintf(&plain_uri, "binary://%s", plain) > 0);
        assert_true(asprintf(&garbage_uri, "binary://%s", garbage) > 0);
        good = given_program(world, "good", "ready; exec sleep 1000");

        then_it_cannot_be_started(world, "binary:///nowhere/logger", -ENOENT);
        then_it_cannot_be_started(world, folder, -EACCES);
        then_it_cannot_be_started(world, plain_uri, -EACCES);
        then_it_cannot_be_started(world, garbage_uri, -ENOEXEC);
        then_it_cannot_be_started(world, "binary://relative", -EINVAL);

        /* With one descriptor more each time, until there are enough: each step fails once. */
        assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
        none = limit;
        for (rlim_t n = (rlim_t) count_open_fds() - 1;; n++) {
                _cleanup_(told_done) Told told = {};
                LoggerParameters p = { .uri = good,
                                       .ns = "default",
                                       .container_id = "web",
                                       .output = -EBADF,
                                       .error = -EBADF,
                                       .timeout_usec = USEC_PER_SEC };
                int before = count_open_fds(), r;
                Logger *l = NULL;

                none.rlim_cur = n;
                assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
                r = logger_new(&l, world->event, world->reaper, &p, on_ready, &told);
                assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
                if (r >= 0) {
                        (void) logger_stop(l, 0);
                        world_run_until_no_children(world);
                        break;
                }
                assert_int_equal(r, -EMFILE);
                assert_true(n < (rlim_t) before + 20);
                world_run_until_no_children(world);
                assert_int_equal(count_open_fds(), before);
                assert_int_equal(reaper_n_watched(world->reaper), 0);
        }
}

/* --- ending ----------------------------------------------------------------------------------------------------- */

/* Every source that a stopped logger leaves behind is the loop's. */
static void then_the_loop_is_as_before(World *world, int n_fds) {
        world_run_what_is_due(world);
        assert_int_equal(count_open_fds(), n_fds);
}

static void test_one_that_ends_by_itself_is_sent_nothing(void **state) {
        _cleanup_(freep) char *program = NULL, *end = NULL;
        _cleanup_(told_done) Told told = {};
        World *world = *state;
        LoggerParameters p = {
                .ns = "default", .container_id = "web", .error = -EBADF, .timeout_usec = USEC_INFINITY
        };
        int output[2], n_fds;
        Logger *l;

        needs_pidfds();
        program = given_program(world, "logger",
                                "trap 'echo TERM >end; exit' TERM\nready; cat <&3 >/dev/null; sleep 0.2\n"
                                "echo by itself >end.new; mv end.new end");
        assert_int_equal(pipe2(output, O_CLOEXEC), 0);
        p.uri = program;
        p.output = output[0];
        l = given_logger_with(world, &p, &told);
        world_run_until_set(world, &told.ready);
        safe_close(output[0]);
        n_fds = count_open_fds();

        assert_null(logger_stop(l, WORLD_PATIENCE_USEC));
        safe_close(output[1]);
        world_run_until_no_children(world);
        end = read_file(world, "end");
        assert_string_equal(end, "by itself\n");
        assert_false(told.exited);

        /* Long before the time is over. */
        then_the_loop_is_as_before(world, n_fds - 1);
}

static void test_one_that_does_not_end_by_itself_gets_sigterm_after_its_grace(void **state) {
        World *world = *state;

        needs_pidfds();
        for (int i = 0; i < 2; i++) {
                uint64_t start, grace = i > 0 ? 300 * USEC_PER_MSEC : 0;
                _cleanup_(freep) char *end = NULL, *path = world_path(world, "end");
                _cleanup_(told_done) Told told = {};
                int n_fds = count_open_fds();
                Logger *l;

                l = given_logger(world,
                                 "trap 'kill -KILL $!; echo TERM >end.new; mv end.new end; exit' TERM\n"
                                 "ready; sleep 1000 & wait",
                                 &told);
                world_run_until_set(world, &told.ready);

                start = clock_get_monotonic();
                assert_null(logger_stop(l, grace));
                end = read_file(world, "end");
                assert_string_equal(end, "TERM\n");
                assert_true(clock_get_monotonic() - start >= grace);
                assert_true(clock_get_monotonic() - start < LOGGER_STOP_USEC / 2);

                world_run_until_no_children(world);
                assert_false(told.exited);
                then_the_loop_is_as_before(world, n_fds);
                assert_int_equal(unlink(path), 0);
        }
}

static void test_one_that_will_not_end_is_killed_with_all_it_has_started(void **state) {
        _cleanup_(freep) char *path = NULL;
        _cleanup_(told_done) Told told = {};
        World *world = *state;
        int n_fds = count_open_fds();
        uint64_t start;
        pid_t child;
        Logger *l;

        needs_pidfds();
        l = given_logger(world,
                         "trap 'echo >termed' TERM; ready\n"
                         "sleep 1000 & echo $! >pid.new; mv pid.new pid; while :; do wait; done",
                         &told);
        world_run_until_set(world, &told.ready);
        child = read_pid(world, "pid");

        start = clock_get_monotonic();
        assert_null(logger_stop(l, 0));
        path = world_path(world, "termed");
        world_run_until(world, file_exists, path);
        assert_int_equal(kill(child, 0), 0);

        world_run_until_no_children(world);
        assert_in_range(clock_get_monotonic() - start, LOGGER_STOP_USEC, LOGGER_STOP_USEC * 3);
        then_the_loop_is_as_before(world, n_fds);
}

static void test_one_without_a_limit_to_its_grace_is_left_alone(void **state) {
        _cleanup_(told_done) Told told = {};
        World *world = *state;
        int n_fds = count_open_fds();
        Logger *l;
        pid_t pid;

        needs_pidfds();
        l = given_logger(world, "ready; exec sleep 1000", &told);
        pid = logger_get_pid(l);
        world_run_until_set(world, &told.ready);
        assert_null(logger_stop(l, USEC_INFINITY));
        for (int i = 0; i < 5; i++)
                assert_true(sd_event_run(world->event, 20 * USEC_PER_MSEC) >= 0);
        assert_int_equal(kill(pid, SIGKILL), 0);
        world_run_until_no_children(world);
        then_the_loop_is_as_before(world, n_fds);
}

static void test_it_may_be_stopped_before_it_is_ready(void **state) {
        _cleanup_(told_done) Told told = {};
        World *world = *state;
        int n_fds = count_open_fds();
        Logger *l;

        l = given_logger(world, "exec sleep 1000", &told);
        assert_null(logger_stop(l, 0));
        world_run_until_no_children(world);
        assert_false(told.ready);
        then_the_loop_is_as_before(world, n_fds);
}

/* The rest is seen at the end of the case: no descriptor is left, and nothing that valgrind or a sanitizer would find. */
static void test_the_loop_may_end_before_a_stopped_logger_does(void **state) {
        _cleanup_(told_done) Told told = {};
        World *world = *state;
        int status;
        Logger *l;
        pid_t pid;

        needs_pidfds();
        l = given_logger(world, "ready; exec sleep 1000", &told);
        pid = logger_get_pid(l);
        world_run_until_set(world, &told.ready);
        assert_null(logger_stop(l, WORLD_PATIENCE_USEC));

        world->reaper = reaper_free(world->reaper);
        world->event = sd_event_unref(world->event);

        /* It was not ended with us. */
        assert_int_equal(waitpid(pid, &status, WNOHANG), 0);
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
}

static void test_without_descriptors_it_is_told_at_once(void **state) {
        _cleanup_(told_done) Told told = {};
        World *world = *state;
        struct rlimit limit, none;
        Logger *l;

        l = given_logger(world, "ready; exec sleep 1000", &told);
        world_run_until_set(world, &told.ready);

        assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
        none = limit;
        none.rlim_cur = 3;
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
        assert_null(logger_stop(l, WORLD_PATIENCE_USEC * 100));
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
        world_run_until_no_children(world);
}

static void test_freeing_lets_it_run_on(void **state) {
        _cleanup_(told_done) Told told = {};
        World *world = *state;
        Logger *l;
        pid_t pid;

        l = given_logger(world, "ready; exec sleep 1000", &told);
        pid = logger_get_pid(l);
        world_run_until_set(world, &told.ready);
        assert_null(logger_free(l));
        assert_null(logger_free(NULL));
        assert_null(logger_stop(NULL, 0));
        assert_int_equal(reaper_n_watched(world->reaper), 0);

        assert_int_equal(kill(pid, SIGKILL), 0);
        world_run_until_no_children(world);
        assert_false(told.exited);
}

/* --- taking back ------------------------------------------------------------------------------------------------ */

/* A logger whose parent is somebody else, who reaps it at once: 'parent' ends when it has done so. */
static pid_t given_foreign_logger(World *world, pid_t *ret_parent) {
        int news[2];
        pid_t pid = 0;

        assert_int_equal(pipe2(news, O_CLOEXEC), 0);
        *ret_parent = fork_child();
        if (*ret_parent == 0) {
                pid = given_script("sleep 1000 & wait");
                if (write(news[1], &pid, sizeof(pid)) != sizeof(pid))
                        _exit(1);
                _exit(waitpid(pid, NULL, 0) == pid ? 0 : 1);
        }
        assert_int_equal(read(news[0], &pid, sizeof(pid)), sizeof(pid));
        safe_close(news[0]);
        safe_close(news[1]);
        return pid;
}

static uint64_t start_time_of(pid_t pid) {
        PidStat st;

        assert_int_equal(pid_read_stat(pid, &st), 0);
        return st.start_time;
}

static void test_one_that_was_taken_back_is_seen_to_end(void **state) {
        _cleanup_(told_done) Told told = {};
        World *world = *state;
        Logger *l = NULL;
        pid_t pid, parent;

        needs_pidfds();
        pid = given_foreign_logger(world, &parent);
        assert_int_equal(logger_adopt(&l, world->event, world->pids, pid, start_time_of(pid)), 0);
        assert_int_equal(logger_get_pid(l), pid);
        assert_int_equal(logger_get_start_time(l), start_time_of(pid));
        logger_set_on_exited(l, on_exited, &told);

        assert_int_equal(kill(-pid, SIGTERM), 0);
        world_run_until_set(world, &told.exited);
        if (told.wait_status != -1)
                assert_int_equal(WTERMSIG(told.wait_status), SIGTERM);
        assert_int_equal(logger_get_pid(l), 0);
        assert_null(logger_stop(l, 0));
        world_run_until_no_children(world);
}

static void test_one_that_was_taken_back_can_be_stopped(void **state) {
        _cleanup_(told_done) Told told = {};
        World *world = *state;
        int n_fds = count_open_fds();
        Logger *l = NULL;
        pid_t pid, parent;

        needs_pidfds();
        pid = given_foreign_logger(world, &parent);
        assert_int_equal(logger_adopt(&l, world->event, world->pids, pid, start_time_of(pid)), 0);
        logger_set_on_exited(l, on_exited, &told);
        assert_null(logger_stop(l, 10 * USEC_PER_MSEC));
        world_run_until(world, is_gone, &pid);
        assert_int_equal(kill(-pid, SIGKILL), 0); /* the sleep that it has started */
        world_run_until_no_children(world);
        assert_false(told.exited);
        then_the_loop_is_as_before(world, n_fds);
}

static void test_only_the_very_process_is_taken_back(void **state) {
        World *world = *state;
        Logger *l = (Logger *) world;
        uint64_t start_time;
        int status;
        pid_t pid;

        needs_pidfds();
        pid = given_script("exec sleep 1000");
        start_time = start_time_of(pid);
        assert_int_equal(logger_adopt(&l, world->event, world->pids, pid, start_time + 1), -ESRCH);
        assert_int_equal(logger_adopt(&l, world->event, world->pids, pid, 0), -ESRCH);
        assert_int_equal(logger_adopt(&l, world->event, world->pids, 0, start_time), -ESRCH);
        assert_int_equal(logger_adopt(&l, world->event, world->pids, -1, start_time), -ESRCH);

        assert_int_equal(kill(pid, SIGKILL), 0);
        when_it_has_exited(pid);
        assert_int_equal(logger_adopt(&l, world->event, world->pids, pid, start_time), -ESRCH); /* as a zombie */
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(logger_adopt(&l, world->event, world->pids, pid, start_time), -ESRCH);
        assert_ptr_equal(l, world);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, world_begin, world_end)

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_a_uri_is_a_program_and_its_arguments),
                cmocka_unit_test(test_a_uri_that_cannot_be_taken_apart_is_refused),
                CASE(test_it_gets_its_arguments_its_environment_and_nothing_of_ours),
                CASE(test_its_complaints_go_where_ours_go_unless_that_is_a_pipe),
                CASE(test_it_reads_to_the_end_and_ends),
                CASE(test_it_is_ready_when_it_closes_5_or_writes_to_it),
                CASE(test_one_that_ends_before_it_is_ready_has_failed),
                CASE(test_the_end_of_a_dying_process_is_never_taken_for_ready),
                CASE(test_one_that_says_ready_and_ends_at_once_was_ready),
                CASE(test_one_that_is_not_ready_in_time_is_killed_with_all_it_has_started),
                CASE(test_it_may_be_freed_when_it_is_told_of),
                CASE(test_it_may_be_freed_when_its_end_is_told),
                CASE(test_nobody_needs_to_be_told_of_its_end),
                CASE(test_a_failed_start_tells_why_and_leaves_nothing),
                CASE(test_one_that_ends_by_itself_is_sent_nothing),
                CASE(test_one_that_does_not_end_by_itself_gets_sigterm_after_its_grace),
                CASE(test_one_that_will_not_end_is_killed_with_all_it_has_started),
                CASE(test_one_without_a_limit_to_its_grace_is_left_alone),
                CASE(test_it_may_be_stopped_before_it_is_ready),
                CASE(test_the_loop_may_end_before_a_stopped_logger_does),
                CASE(test_without_descriptors_it_is_told_at_once),
                CASE(test_freeing_lets_it_run_on),
                CASE(test_one_that_was_taken_back_is_seen_to_end),
                CASE(test_one_that_was_taken_back_can_be_stopped),
                CASE(test_only_the_very_process_is_taken_back),
        };

        return cmocka_run_group_tests_name("logger", tests, NULL, NULL);
}
