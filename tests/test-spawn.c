/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What a program that we start finds: its arguments, its descriptors, its environment, its signals. And how a
 * start fails. */

#include "world.h"

#include "util/instrument.h"

/* --- vocabulary ------------------------------------------------------------------------------------------------- */

static char *read_whole(int fd) {
        char *text;
        off_t size;

        size = lseek(fd, 0, SEEK_END);
        assert_true(size >= 0);
        text = calloc(1, (size_t) size + 1);
        assert_non_null(text);
        assert_int_equal(pread(fd, text, (size_t) size, 0), size);
        return text;
}

static int given_output(void) {
        int fd = memfd_create("output", MFD_CLOEXEC);

        assert_true(fd >= 0);
        return fd;
}

/* Starts it with 'output' as its stdout, waits for its good end, and returns what it has written. */
static char *when_run(SpawnParameters p) {
        _cleanup_(safe_closep) int output = given_output();
        int status;
        pid_t pid;

        p.stdio[1] = output;
        assert_int_equal(spawn(&p, &pid), 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        return read_whole(output);
}

static char *when_script_run(const char *script) {
        char *const argv[] = { (char *) "sh", (char *) "-c", (char *) script, NULL };

        return when_run(
                (SpawnParameters) { .program = "/bin/sh", .argv = argv, .stdio = { -EBADF, -EBADF, -EBADF } });
}

/* The line of a text that begins so, without its beginning. */
static void then_line(const char *text, const char *prefix, const char *expected) {
        for (const char *line = text; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
                const char *rest = startswith(line, prefix);

                if (rest) {
                        assert_int_equal(strcspn(rest, "\n"), strlen(expected));
                        assert_memory_equal(rest, expected, strlen(expected));
                        return;
                }
        }
        fail_msg("no line begins with \"%s\" in: %s", prefix, text);
}

/* Moves a descriptor to this very number. */
static int given_file_at(World *world, const char *name, int number) {
        _cleanup_(freep) char *path = world_path(world, name);
        int fd;

        given_file(path, name, 0600);
        fd = open(path, O_RDWR | O_CLOEXEC);
        assert_true(fd >= 0);
        if (fd != number) {
                assert_int_equal(fcntl(number, F_GETFD), -1); /* nothing of ours is there */
                assert_int_equal(dup3(fd, number, O_CLOEXEC), number);
                assert_int_equal(close(fd), 0);
        }
        return number;
}

/* --- a good start ----------------------------------------------------------------------------------------------- */

static void test_the_program_gets_its_arguments(void **state) {
        char *const argv[] = { (char *) "any name",
                               (char *) "-c",
                               (char *) "printf '%s|' \"$0\" \"$@\"",
                               (char *) "zero",
                               (char *) "",
                               (char *) "two words",
                               NULL };
        _cleanup_(freep) char *output = NULL;

        output = when_run(
                (SpawnParameters) { .program = "/bin/sh", .argv = argv, .stdio = { -EBADF, -EBADF, -EBADF } });
        assert_string_equal(output, "zero||two words|");
}

static void test_it_runs_in_the_directory_named(void **state) {
        char *const argv[] = { (char *) "sh", (char *) "-c", (char *) "pwd", NULL };
        _cleanup_(freep) char *output = NULL, *expected = NULL;
        World *world = *state;

        output = when_run((SpawnParameters) { .program = "/bin/sh",
                                              .argv = argv,
                                              .stdio = { -EBADF, -EBADF, -EBADF },
                                              .directory = world->folder });
        assert_true(asprintf(&expected, "%s\n", world->folder) > 0);
        assert_string_equal(output, expected);
}

static void test_it_leads_a_process_group_of_its_own(void **state) {
        _cleanup_(freep) char *output = NULL;
        int pid, group;

        /* The fifth field of its stat. */
        output = when_script_run("read -r line </proc/$$/stat; set -- ${line##*) }; echo $$ $3");
        assert_int_equal(sscanf(output, "%d %d", &pid, &group), 2);
        assert_int_equal(group, pid);
}

static void test_no_signal_is_blocked_ignored_or_handled(void **state) {
        char *const argv[] = { (char *) "cat", (char *) "/proc/self/status", NULL };
        _cleanup_(freep) char *output = NULL;
        struct sigaction usr1, rt, pipe_action;
        sigset_t some, before;

        (void) sigemptyset(&some);
        (void) sigaddset(&some, SIGTERM);
        (void) sigaddset(&some, SIGRTMAX);
        assert_int_equal(sigprocmask(SIG_BLOCK, &some, &before), 0);
        assert_int_equal(sigaction(SIGUSR1, &(struct sigaction) { .sa_handler = SIG_IGN }, &usr1), 0);
        assert_int_equal(sigaction(SIGRTMIN + 3, &(struct sigaction) { .sa_handler = SIG_IGN }, &rt), 0);
        assert_int_equal(sigaction(SIGPIPE, &(struct sigaction) { .sa_handler = SIG_IGN }, &pipe_action), 0);

        output = when_run(
                (SpawnParameters) { .program = "/bin/cat", .argv = argv, .stdio = { -EBADF, -EBADF, -EBADF } });
        then_line(output, "SigBlk:\t", "0000000000000000");
        then_line(output, "SigIgn:\t", "0000000000000000");
        then_line(output, "SigCgt:\t", "0000000000000000");

        assert_int_equal(sigaction(SIGPIPE, &pipe_action, NULL), 0);
        assert_int_equal(sigaction(SIGRTMIN + 3, &rt, NULL), 0);
        assert_int_equal(sigaction(SIGUSR1, &usr1, NULL), 0);
        assert_int_equal(sigprocmask(SIG_SETMASK, &before, NULL), 0);
}

static void test_our_own_signal_mask_is_as_it_was(void **state) {
        sigset_t before, some, after;

        (void) sigemptyset(&some);
        (void) sigaddset(&some, SIGCHLD);
        (void) sigaddset(&some, SIGUSR2);
        assert_int_equal(sigprocmask(SIG_SETMASK, &some, &before), 0);
        free(when_script_run("exit 0"));
        assert_int_equal(sigprocmask(SIG_SETMASK, &before, &after), 0);
        for (int s = 1; s < _NSIG; s++)
                assert_int_equal(sigismember(&after, s), s == SIGCHLD || s == SIGUSR2);
}

/* Somebody in our place, who starts a program that would live for ever, and goes. We are its subreaper. */
static pid_t given_orphan(bool outlives_us) {
        char *const argv[] = { (char *) "sh", (char *) "-c", (char *) "while :; do sleep 60; done", NULL };
        const SpawnParameters p = {
                .program = "/bin/sh", .argv = argv, .stdio = { -EBADF, -EBADF, -EBADF }, .outlives_us = outlives_us
        };
        pid_t parent, orphan = 0;
        int news[2], status;

        assert_int_equal(pipe2(news, O_CLOEXEC), 0);
        parent = fork_child();
        if (parent == 0) {
                if (spawn(&p, &orphan) < 0)
                        _exit(1);
                _exit(write(news[1], &orphan, sizeof(orphan)) == sizeof(orphan) ? 0 : 1);
        }
        assert_true(parent > 0);
        assert_int_equal(waitpid(parent, &status, 0), parent);
        assert_int_equal(status, 0);
        assert_int_equal(read(news[0], &orphan, sizeof(orphan)), sizeof(orphan));
        (void) close(news[0]);
        (void) close(news[1]);
        return orphan;
}

static void test_it_dies_with_us(void **state) {
        pid_t orphan = given_orphan(false);
        int status;

        assert_int_equal(waitpid(orphan, &status, 0), orphan);
        assert_true(WIFSIGNALED(status));
        assert_int_equal(WTERMSIG(status), SIGKILL);

        /* The program that it ran dies on its own, and is ours as well. */
        (void) kill(-orphan, SIGKILL);
        world_run_until_no_children(*state);
}

static void test_it_outlives_us_if_it_is_to(void **state) {
        pid_t orphan = given_orphan(true);
        siginfo_t si = {};
        int status;

        /* A signal of its parent's death would have been sent before we could wait for that parent. */
        assert_int_equal(waitid(P_PID, (id_t) orphan, &si, WEXITED | WNOHANG | WNOWAIT), 0);
        assert_int_equal(si.si_pid, 0);

        assert_int_equal(kill(-orphan, SIGTERM), 0);
        assert_int_equal(waitpid(orphan, &status, 0), orphan);
        assert_true(WIFSIGNALED(status));
        assert_int_equal(WTERMSIG(status), SIGTERM);
        world_run_until_no_children(*state);
}

/* --- descriptors ------------------------------------------------------------------------------------------------ */

/* What 'ls' says of the shell's own descriptors: one line for each, "N NAME". */
#define LIST_FDS "ls -l /proc/$$/fd | sed -n 's|.* \\([0-9]*\\) -> .*/\\([^/]*\\)$|\\1 \\2|p'; exit 0"

static void test_it_gets_the_descriptors_named_and_no_other(void **state) {
        char *const argv[] = { (char *) "sh", (char *) "-c", (char *) LIST_FDS, NULL };
        _cleanup_(freep) char *output = NULL, *path = NULL;
        World *world = *state;
        int fds[2], open_for_all;

        /* One that lacks O_CLOEXEC would be inherited if nobody closed it. */
        path = world_path(world, "stray");
        given_file(path, "", 0600);
        open_for_all = open(path, O_RDONLY);
        assert_true(open_for_all >= 0);
        fds[0] = given_file_at(world, "first", 40);
        fds[1] = given_file_at(world, "second", 39);

        output = when_run((SpawnParameters) {
                .program = "/bin/sh", .argv = argv, .stdio = { -EBADF, -EBADF, -EBADF }, .fds = fds, .n_fds = 2 });
        assert_string_equal(output, "0 null\n1 memfd:output (deleted)\n2 null\n3 first\n4 second\n");

        /* They stay ours, and stay close-on-exec. */
        for (size_t i = 0; i < ELEMENTSOF(fds); i++) {
                assert_int_equal(fcntl(fds[i], F_GETFD), FD_CLOEXEC);
                assert_int_equal(close(fds[i]), 0);
        }
        assert_int_equal(close(open_for_all), 0);
}

static void test_a_further_descriptor_may_be_dev_null(void **state) {
        char *const argv[] = { (char *) "sh", (char *) "-c", (char *) LIST_FDS, NULL };
        _cleanup_(freep) char *output = NULL;
        int fds[3] = { -EBADF, given_file_at(*state, "second", 40), -EBADF };

        output = when_run((SpawnParameters) {
                .program = "/bin/sh", .argv = argv, .stdio = { -EBADF, -EBADF, -EBADF }, .fds = fds, .n_fds = 3 });
        assert_string_equal(output, "0 null\n1 memfd:output (deleted)\n2 null\n3 null\n4 second\n5 null\n");
        assert_int_equal(close(fds[1]), 0);
}

/* Every source lies where another is to go, one is where it belongs, and one is wanted twice. */
static void test_descriptors_whose_numbers_overlap_go_where_they_should(void **state) {
        char *const argv[] = { (char *) "sh", (char *) "-c", (char *) LIST_FDS, NULL };
        _cleanup_(freep) char *output = NULL;
        World *world = *state;
        int saved[16], fds[6], n;

        /* Makes room from 3 on. */
        for (n = 0; n < 6; n++)
                saved[n] = fcntl(3 + n, F_DUPFD_CLOEXEC, 50);
        for (int i = 0; i < n; i++)
                (void) close(3 + i);

        given_file_at(world, "three", 3);
        given_file_at(world, "four", 4);
        given_file_at(world, "five", 5);
        given_file_at(world, "six", 6);
        given_file_at(world, "seven", 7);
        fds[0] = 4;
        fds[1] = 5;
        fds[2] = 3;
        fds[3] = 6;
        fds[4] = 4;
        fds[5] = 7;

        output = when_run((SpawnParameters) {
                .program = "/bin/sh", .argv = argv, .stdio = { 3, -EBADF, 8 - 1 }, .fds = fds, .n_fds = 6 });
        assert_string_equal(
                output,
                "0 three\n1 memfd:output (deleted)\n2 seven\n3 four\n4 five\n5 three\n6 six\n7 four\n8 seven\n");

        for (int i = 3; i <= 7; i++)
                assert_int_equal(close(i), 0);
        for (int i = 0; i < n; i++)
                if (saved[i] >= 0) {
                        assert_int_equal(dup3(saved[i], 3 + i, O_CLOEXEC), 3 + i);
                        assert_int_equal(close(saved[i]), 0);
                }
}

static void test_our_own_standard_streams_may_be_closed(void **state) {
        char *const argv[] = { (char *) "sh", (char *) "-c", (char *) LIST_FDS, NULL };
        _cleanup_(freep) char *output = NULL;
        int saved[3];

        for (int i = 0; i < 3; i++) {
                saved[i] = fcntl(i, F_DUPFD_CLOEXEC, 50);
                (void) close(i);
        }

        /* The file for its stdout, and /dev/null, now get numbers below 3 themselves. */
        output = when_run(
                (SpawnParameters) { .program = "/bin/sh", .argv = argv, .stdio = { -EBADF, -EBADF, -EBADF } });

        for (int i = 0; i < 3; i++)
                if (saved[i] >= 0) {
                        (void) dup2(saved[i], i);
                        (void) close(saved[i]);
                }
        assert_string_equal(output, "0 null\n1 memfd:output (deleted)\n2 null\n");
}

static void test_dev_null_can_be_read_and_written(void **state) {
        free(when_script_run("echo x >&0 && echo y >&2 && ! read line <&2"));
}

/* --- environment ------------------------------------------------------------------------------------------------ */

static void test_what_systemd_means_for_us_alone_is_not_passed_on(void **state) {
        static const char *const private[] = {
                "NOTIFY_SOCKET", "LISTEN_FDS",     "LISTEN_PID",    "LISTEN_FDNAMES", "WATCHDOG_USEC",
                "WATCHDOG_PID",  "JOURNAL_STREAM", "INVOCATION_ID", "FDSTORE",        "CREDENTIALS_DIRECTORY",
                "MAINPID",       "MANAGERPID",     "MONOSHIMD_CRASH_POINT", "MONOSHIMD_CRASH_LOG",
        };
        char *const argv[] = { (char *) "env", NULL };
        _cleanup_(freep) char *output = NULL;

        for (size_t i = 0; i < ELEMENTSOF(private); i++)
                assert_int_equal(setenv(private[i], "for us alone", 1), 0);
        assert_int_equal(setenv("MONOSHIM_TEST", "for everybody", 1), 0);
        assert_int_equal(setenv("LISTEN_FDS_OF_ANOTHER_KIND", "x", 1), 0);

        output = when_run(
                (SpawnParameters) { .program = "/usr/bin/env", .argv = argv, .stdio = { -EBADF, -EBADF, -EBADF } });
        assert_null(strstr(output, "for us alone"));
        then_line(output, "MONOSHIM_TEST=", "for everybody");
        then_line(output, "LISTEN_FDS_OF_ANOTHER_KIND=", "x");
        then_line(output, "PATH=", getenv("PATH"));
        assert_string_equal(getenv("NOTIFY_SOCKET"), "for us alone");

        for (size_t i = 0; i < ELEMENTSOF(private); i++)
                assert_int_equal(unsetenv(private[i]), 0);
        assert_int_equal(unsetenv("MONOSHIM_TEST"), 0);
        assert_int_equal(unsetenv("LISTEN_FDS_OF_ANOTHER_KIND"), 0);
}

static void test_an_environment_that_is_given_is_all_it_gets(void **state) {
        char *const argv[] = { (char *) "env", NULL };
        char *const some[] = { (char *) "A=1", (char *) "NOTIFY_SOCKET=of its own", NULL }, *const none[] = { NULL };
        SpawnParameters p = { .program = "/usr/bin/env", .argv = argv, .stdio = { -EBADF, -EBADF, -EBADF } };
        _cleanup_(freep) char *output = NULL, *nothing = NULL;

        p.environment = some;
        output = when_run(p);
        assert_string_equal(output, "A=1\nNOTIFY_SOCKET=of its own\n");

        p.environment = none;
        nothing = when_run(p);
        assert_string_equal(nothing, "");
}

/* --- a start that fails ----------------------------------------------------------------------------------------- */

static void then_spawn_fails(const SpawnParameters *p, int error) {
        pid_t pid = -77;
        int status, r;

        r = spawn(p, &pid);
        if (r == 0 && !vfork_shares_memory()) {
                /* Under valgrind the reason is lost, and some kinds of failure end with a code of valgrind's own. */
                assert_int_equal(waitpid(pid, &status, 0), pid);
                assert_int_not_equal(status, 0);
                return;
        }
        assert_int_equal(r, error);
        assert_int_equal(pid, -77);
        assert_false(world_has_children());
}

static void test_a_failed_start_tells_the_reason_and_leaves_no_child(void **state) {
        char *const argv[] = { (char *) "x", NULL };
        SpawnParameters p = { .argv = argv, .stdio = { -EBADF, -EBADF, -EBADF } };
        _cleanup_(freep) char *plain = NULL, *garbage = NULL, *script = NULL;
        World *world = *state;
        int fd = 9999;

        plain = world_path(world, "plain");
        garbage = world_path(world, "garbage");
        script = world_path(world, "script");
        given_file(plain, "#!/bin/sh\n", 0600);
        given_file(garbage, "\1\2\3\4", 0700);
        given_file(script, "#!/nowhere/interpreter\n", 0700);

        p.program = "/nowhere/at/all";
        then_spawn_fails(&p, -ENOENT);
        p.program = plain;
        then_spawn_fails(&p, -EACCES);
        p.program = world->folder;
        then_spawn_fails(&p, -EACCES);
        p.program = garbage;
        then_spawn_fails(&p, -ENOEXEC);
        p.program = script;
        then_spawn_fails(&p, -ENOENT);

        p.program = "/bin/true";
        p.directory = "/nowhere/at/all";
        then_spawn_fails(&p, -ENOENT);
        p.directory = plain;
        then_spawn_fails(&p, -ENOTDIR);

        p.directory = NULL;
        p.fds = &fd;
        p.n_fds = 1;
        then_spawn_fails(&p, -EBADF);
}

/* --- where a program is ----------------------------------------------------------------------------------------- */

static void then_found(const char *command, const char *expected) {
        _cleanup_(freep) char *path = NULL;

        assert_int_equal(program_find(command, &path), 0);
        assert_string_equal(path, expected);
}

static void then_not_found(const char *command, int error) {
        char *path = (char *) "untouched";

        assert_int_equal(program_find(command, &path), error);
        assert_string_equal(path, "untouched");
}

static void test_an_absolute_path_is_taken_as_it_is(void **state) {
        then_found("/nowhere/runc", "/nowhere/runc");
        then_not_found("bin/runc", -EINVAL);
        then_not_found("./runc", -EINVAL);
}

static void test_a_plain_name_is_looked_up_in_the_path(void **state) {
        _cleanup_(freep) char *saved = strdup(getenv("PATH")), *first = NULL, *second = NULL, *folders = NULL,
                              *at_first = NULL, *at_second = NULL, *plain = NULL, *folder = NULL,
                              *plain_and_good = NULL;
        World *world = *state;

        first = world_path(world, "first");
        second = world_path(world, "second");
        at_first = world_path(world, "first/in-both");
        at_second = world_path(world, "second/in-second");
        plain = world_path(world, "first/plain");
        folder = world_path(world, "first/in-second"); /* a folder of that name hides nothing */
        plain_and_good = world_path(world, "second/in-both");
        assert_int_equal(mkdir(first, 0700), 0);
        assert_int_equal(mkdir(second, 0700), 0);
        assert_int_equal(mkdir(folder, 0700), 0);
        given_file(at_first, "", 0700);
        given_file(plain_and_good, "", 0700);
        given_file(at_second, "", 0700);
        given_file(plain, "", 0600);

        assert_true(asprintf(&folders, "relative::%s:/nowhere:%s", first, second) > 0);
        assert_int_equal(setenv("PATH", folders, 1), 0);
        then_found("in-both", at_first);
        then_found("in-second", at_second);
        then_not_found("plain", -EACCES);
        then_not_found("in-none", -ENOENT);
        then_not_found("", -ENOENT);
        then_not_found("..", -ENOENT);

        /* One that may not be run does not hide one that may. */
        assert_int_equal(chmod(at_first, 0600), 0);
        then_found("in-both", plain_and_good);

        assert_int_equal(unsetenv("PATH"), 0);
        then_found("true", "/bin/true");
        assert_int_equal(setenv("PATH", saved, 1), 0);
}

static void test_a_relative_entry_of_the_path_is_never_used(void **state) {
        _cleanup_(freep) char *saved = strdup(getenv("PATH")), *program = NULL, *before = getcwd(NULL, 0);
        World *world = *state;

        program = world_path(world, "here");
        given_file(program, "", 0700);
        assert_int_equal(chdir(world->folder), 0);
        assert_int_equal(setenv("PATH", ":.:", 1), 0);
        then_not_found("here", -ENOENT);
        assert_int_equal(setenv("PATH", saved, 1), 0);
        assert_int_equal(chdir(before), 0);
}

/* What the kernel has allocated for descriptors says how many it has copied. */
static void test_however_many_descriptors_we_have_few_are_copied(void **state) {
        char *const argv[] = { (char *) "cat", (char *) "/proc/self/status", NULL };
        _cleanup_(freep) char *output = NULL;
        int fds[900];
        char *size;

        if (HAVE_SANITIZER || is_under_valgrind()) {
                print_message("children are made in the other way here\n");
                skip();
        }

        for (size_t i = 0; i < ELEMENTSOF(fds); i++)
                assert_true((fds[i] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0);
        output = when_run((SpawnParameters) {
                .program = "/bin/cat", .argv = argv, .stdio = { -EBADF, -EBADF, -EBADF } });
        for (size_t i = 0; i < ELEMENTSOF(fds); i++)
                (void) close(fds[i]);

        size = strstr(output, "FDSize:");
        assert_non_null(size);
        assert_in_range(strtol(size + strlen("FDSize:"), NULL, 10), 1, 256);
}

static int begin_reserved(void **state) {
        return spawn_reserve() < 0 ? -1 : world_begin(state);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, world_begin, world_end)
#define RESERVED(f) { #f ", with descriptors reserved", f, begin_reserved, world_end, NULL }

int main(void) {
        const struct CMUnitTest tests[] = {
                CASE(test_the_program_gets_its_arguments),
                CASE(test_it_runs_in_the_directory_named),
                CASE(test_it_leads_a_process_group_of_its_own),
                CASE(test_no_signal_is_blocked_ignored_or_handled),
                CASE(test_our_own_signal_mask_is_as_it_was),
                CASE(test_it_dies_with_us),
                CASE(test_it_outlives_us_if_it_is_to),
                CASE(test_it_gets_the_descriptors_named_and_no_other),
                CASE(test_a_further_descriptor_may_be_dev_null),
                CASE(test_descriptors_whose_numbers_overlap_go_where_they_should),
                CASE(test_our_own_standard_streams_may_be_closed),
                CASE(test_dev_null_can_be_read_and_written),
                CASE(test_what_systemd_means_for_us_alone_is_not_passed_on),
                CASE(test_an_environment_that_is_given_is_all_it_gets),
                CASE(test_a_failed_start_tells_the_reason_and_leaves_no_child),
                CASE(test_an_absolute_path_is_taken_as_it_is),
                CASE(test_a_plain_name_is_looked_up_in_the_path),
                CASE(test_a_relative_entry_of_the_path_is_never_used),
                /* From here on with another way of making children. */
                RESERVED(test_it_runs_in_the_directory_named),
                RESERVED(test_it_leads_a_process_group_of_its_own),
                RESERVED(test_no_signal_is_blocked_ignored_or_handled),
                RESERVED(test_our_own_signal_mask_is_as_it_was),
                RESERVED(test_it_dies_with_us),
                RESERVED(test_it_outlives_us_if_it_is_to),
                RESERVED(test_it_gets_the_descriptors_named_and_no_other),
                RESERVED(test_a_further_descriptor_may_be_dev_null),
                RESERVED(test_descriptors_whose_numbers_overlap_go_where_they_should),
                RESERVED(test_our_own_standard_streams_may_be_closed),
                RESERVED(test_dev_null_can_be_read_and_written),
                RESERVED(test_a_failed_start_tells_the_reason_and_leaves_no_child),
                RESERVED(test_however_many_descriptors_we_have_few_are_copied),
        };

        return cmocka_run_group_tests_name("spawn", tests, NULL, NULL);
}
