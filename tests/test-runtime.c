/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The command lines that a runtime gets, and the words that its failures become. */

#include "host/runtime.h"
#include "util/strv.h"

#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>

#include <cmocka.h>

static const Runtime runtime = {
        .command = "runc",
        .root = "/run/monoshim/runtime/ns",
        .log = "/run/monoshim/state/ns/web/log.json",
        .id = "web",
};

#define FLAGS " --root /run/monoshim/runtime/ns --log /run/monoshim/state/ns/web/log.json --log-format json "
#define GLOBAL "runc" FLAGS

/* ---- command lines ---- */

static void then_argv_is(char **v, const char *expected) {
        char line[1024] = "";

        for (char **p = v; *p; p++) {
                assert_null(strchr(*p, ' '));
                (void) snprintf(line + strlen(line), sizeof(line) - strlen(line), "%s%s", p > v ? " " : "", *p);
        }
        assert_string_equal(line, expected);
        strv_free(v);
}

static void each_verb_has_its_command_line(void **state) {
        char **v = NULL;

        assert_int_equal(runtime_start_argv(&runtime, &v), 0);
        then_argv_is(v, GLOBAL "start web");
        assert_int_equal(runtime_delete_argv(&runtime, &v), 0);
        then_argv_is(v, GLOBAL "delete web");
        assert_int_equal(runtime_state_argv(&runtime, &v), 0);
        then_argv_is(v, GLOBAL "state web");
        assert_int_equal(runtime_kill_argv(&runtime, SIGTERM, false, &v), 0);
        then_argv_is(v, GLOBAL "kill web 15");
        assert_int_equal(runtime_kill_argv(&runtime, SIGKILL, true, &v), 0);
        then_argv_is(v, GLOBAL "kill --all web 9");
        assert_int_equal(runtime_kill_argv(&runtime, 64, false, &v), 0);
        then_argv_is(v, GLOBAL "kill web 64");
        assert_int_equal(runtime_pause_argv(&runtime, &v), 0);
        then_argv_is(v, GLOBAL "pause web");
        assert_int_equal(runtime_resume_argv(&runtime, &v), 0);
        then_argv_is(v, GLOBAL "resume web");
        assert_int_equal(runtime_ps_argv(&runtime, &v), 0);
        then_argv_is(v, GLOBAL "ps --format json web");
        assert_int_equal(runtime_update_argv(&runtime, &v), 0);
        then_argv_is(v, GLOBAL "update --resources=- web");
}

static void create_has_its_options_in_order(void **state) {
        RuntimeCreateOptions o = { .bundle = "/b", .pid_file = "/s/init.pid" };
        char **v = NULL;

        assert_int_equal(runtime_create_argv(&runtime, &o, &v), 0);
        then_argv_is(v, GLOBAL "create --bundle /b --pid-file /s/init.pid web");

        o.console_socket = "/tmp/pty.sock";
        assert_int_equal(runtime_create_argv(&runtime, &o, &v), 0);
        then_argv_is(v, GLOBAL "create --bundle /b --pid-file /s/init.pid --console-socket /tmp/pty.sock web");

        o.no_pivot = true;
        o.no_new_keyring = true;
        assert_int_equal(runtime_create_argv(&runtime, &o, &v), 0);
        then_argv_is(v, GLOBAL "create --bundle /b --pid-file /s/init.pid --console-socket /tmp/pty.sock --no-pivot "
                               "--no-new-keyring web");
}

static void exec_has_its_options_in_order(void **state) {
        RuntimeExecOptions o = { .process_file = "/proc/self/fd/3", .pid_file = "/s/exec/sh.pid" };
        char **v = NULL;

        assert_int_equal(runtime_exec_argv(&runtime, &o, &v), 0);
        then_argv_is(v, GLOBAL "exec --process /proc/self/fd/3 --detach --pid-file /s/exec/sh.pid web");

        o.console_socket = "/tmp/pty.sock";
        assert_int_equal(runtime_exec_argv(&runtime, &o, &v), 0);
        then_argv_is(v, GLOBAL "exec --process /proc/self/fd/3 --console-socket /tmp/pty.sock --detach "
                               "--pid-file /s/exec/sh.pid web");
}

static void checkpoint_has_its_options_in_order(void **state) {
        RuntimeCheckpointOptions o = { .image_path = "/i", .work_path = "/w" };
        static char *none[] = { NULL }, *both[] = { (char *) "network", (char *) "ipc", NULL };
        char **v = NULL;

        assert_int_equal(runtime_checkpoint_argv(&runtime, &o, &v), 0);
        then_argv_is(v, GLOBAL "checkpoint --image-path /i --work-path /w web");

        o.empty_namespaces = none;
        o.leave_running = true;
        assert_int_equal(runtime_checkpoint_argv(&runtime, &o, &v), 0);
        then_argv_is(v, GLOBAL "checkpoint --image-path /i --work-path /w --leave-running web");

        o.parent_path = "../parent";
        o.open_tcp = o.external_unix_sockets = o.terminal = o.file_locks = true;
        o.empty_namespaces = both;
        assert_int_equal(runtime_checkpoint_argv(&runtime, &o, &v), 0);
        then_argv_is(v, GLOBAL "checkpoint --image-path /i --work-path /w --parent-path ../parent --tcp-established "
                               "--ext-unix-sk --shell-job --file-locks --empty-ns network --empty-ns ipc "
                               "--leave-running web");
}

static void each_checkpoint_option_has_its_own_flag(void **state) {
        static const struct {
                RuntimeCheckpointOptions o;
                const char *flag;
        } table[] = {
                { { .open_tcp = true }, "--tcp-established" },
                { { .external_unix_sockets = true }, "--ext-unix-sk" },
                { { .terminal = true }, "--shell-job" },
                { { .file_locks = true }, "--file-locks" },
                { { .leave_running = true }, "--leave-running" },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                RuntimeCheckpointOptions o = table[i].o;
                char **v = NULL, expected[512];

                o.image_path = "/i";
                o.work_path = "/w";
                assert_int_equal(runtime_checkpoint_argv(&runtime, &o, &v), 0);
                (void) snprintf(expected, sizeof(expected), GLOBAL "checkpoint --image-path /i --work-path /w %s web",
                                table[i].flag);
                then_argv_is(v, expected);
        }
}

static void restore_has_its_options_in_order(void **state) {
        RuntimeRestoreOptions o = { .image_path = "/i", .work_path = "/w", .bundle = "/b", .pid_file = "/s/init.pid" };
        char **v = NULL;

        assert_int_equal(runtime_restore_argv(&runtime, &o, &v), 0);
        then_argv_is(v, GLOBAL "restore --image-path /i --work-path /w --detach --pid-file /s/init.pid -no-subreaper "
                               "--bundle /b web");

        o.console_socket = "/tmp/pty.sock";
        o.no_pivot = true;
        assert_int_equal(runtime_restore_argv(&runtime, &o, &v), 0);
        then_argv_is(v, GLOBAL "restore --image-path /i --work-path /w --detach --pid-file /s/init.pid "
                               "--console-socket /tmp/pty.sock --no-pivot -no-subreaper --bundle /b web");
}

static void crun_is_not_told_what_it_does_not_know(void **state) {
        static const struct {
                const char *command;
                bool knows;
        } table[] = {
                { "crun", false },
                { "/usr/bin/crun", false },
                { "/opt/crun-1.21/bin/crun-static", false },
                { "/opt/crun/runc", true },
                { "/usr/local/sbin/runc", true },
                { "my-crun", true },
        };
        const RuntimeRestoreOptions o = { .image_path = "/i", .work_path = "/w", .bundle = "/b", .pid_file = "/p" };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                char **v = NULL, expected[512];
                Runtime other = runtime;

                other.command = table[i].command;
                assert_int_equal(runtime_restore_argv(&other, &o, &v), 0);
                (void) snprintf(expected, sizeof(expected),
                                "%s%srestore --image-path /i --work-path /w --detach --pid-file /p %s--bundle /b web",
                                other.command, FLAGS, table[i].knows ? "-no-subreaper " : "");
                then_argv_is(v, expected);
        }
}

static void systemd_cgroup_is_the_last_global_flag(void **state) {
        RuntimeCreateOptions o = { .bundle = "/b", .pid_file = "/p" };
        Runtime systemd = runtime;
        char **v = NULL;

        systemd.systemd_cgroup = true;
        assert_int_equal(runtime_create_argv(&systemd, &o, &v), 0);
        then_argv_is(v, GLOBAL "--systemd-cgroup create --bundle /b --pid-file /p web");
        assert_int_equal(runtime_start_argv(&systemd, &v), 0);
        then_argv_is(v, GLOBAL "--systemd-cgroup start web");
        assert_int_equal(runtime_kill_argv(&systemd, 9, true, &v), 0);
        then_argv_is(v, GLOBAL "--systemd-cgroup kill --all web 9");
        assert_int_equal(runtime_ps_argv(&systemd, &v), 0);
        then_argv_is(v, GLOBAL "--systemd-cgroup ps --format json web");
        assert_int_equal(runtime_update_argv(&systemd, &v), 0);
        then_argv_is(v, GLOBAL "--systemd-cgroup update --resources=- web");
        assert_int_equal(runtime_exec_argv(&systemd, &(RuntimeExecOptions) { "/x", "/p", NULL }, &v), 0);
        then_argv_is(v, GLOBAL "--systemd-cgroup exec --process /x --detach --pid-file /p web");
}

static void a_forced_delete_has_neither_log_nor_systemd_cgroup(void **state) {
        Runtime systemd = runtime;
        char **v = NULL;

        systemd.systemd_cgroup = true;
        systemd.command = "/usr/local/sbin/runc";
        assert_int_equal(runtime_delete_force_argv(&systemd, &v), 0);
        then_argv_is(v, "/usr/local/sbin/runc --root /run/monoshim/runtime/ns --log-format json delete --force web");
}

/* ---- log.json ---- */

#define DEBUG "{\"level\":\"debug\",\"msg\":\"nsexec started\",\"time\":\"2024-01-01T00:00:00Z\"}\n"
#define WARNING "{\"level\":\"warning\",\"msg\":\"no cgroup\",\"time\":\"2024-01-01T00:00:00Z\"}\n"
#define ERROR(msg) "{\"level\":\"error\",\"msg\":\"" msg "\",\"time\":\"2024-01-01T00:00:00Z\"}\n"

static void the_last_error_in_the_log_counts(void **state) {
        static const struct {
                const char *log;
                int result;
                const char *text; /* the message, or the reason */
        } table[] = {
                { "", 0, NULL },
                { "\n\n  \n", 0, NULL },
                { DEBUG WARNING, 0, NULL },
                { ERROR("one"), 1, "one" },
                { ERROR("one") WARNING ERROR("two") DEBUG, 1, "two" },
                { "{\"msg\":\"crun's order\",\"level\":\"error\",\"time\":\"x\"}\n", 1, "crun's order" },
                { ERROR(" \\t trimmed \\n"), 1, "trimmed" },
                { ERROR("two\\nlines"), 1, "two\nlines" },
                { ERROR("colour \\u001b[31m"), 1, "colour ?[31m" },
                { "{\"level\":\"error\",\"msg\":\"no newline at the end\"}", 1, "no newline at the end" },
                { "{\"level\":\"error\",\"msg\":\"CR LF\"}\r\n", 1, "CR LF" },
                /* An error without words is not replaced by an older one. */
                { ERROR("old") "{\"level\":\"error\"}\n", 0, NULL },
                { ERROR("old") ERROR(""), 0, NULL },
                { ERROR("old") ERROR(" \\n"), 0, NULL },
                { "{\"level\":\"error\",\"msg\":null}\n", 0, NULL },
                /* A record without a level is no error, whatever came before. */
                { ERROR("old") "{\"msg\":\"new\"}\n", 1, "old" },
                { "{\"msg\":\"new\"}\n", 0, NULL },
                { "{\"level\":\"Error\",\"msg\":\"x\"}\n{\"level\":\"ERROR\",\"msg\":\"x\"}\n{\"level\":\"fatal\",\"msg\":\"x\"}\n", 0, NULL },
                /* Garbage is stepped over. */
                { "garbage\n" ERROR("after"), 1, "after" },
                { ERROR("before") "garbage\n", 1, "before" },
                { ERROR("before") "{\"level\":\"error\",\"msg\":\"cut o", 1, "before" },
                { ERROR("before") "\xff\xfe\n[1]\n{\"level\":1}\n{\"level\":\"error\",\"msg\":{}}\n", 1, "before" },
                /* ... and named when there is nothing else. */
                { "garbage\n", -EBADMSG, "line 1 of the log is no record of JSON" },
                { DEBUG "\n{\"level\":\"err\n" WARNING, -EBADMSG, "line 3 of the log is no record of JSON" },
                { DEBUG "{\"level\":\"error\",\"msg\":\"cut o", -EBADMSG, "line 2 of the log is no record of JSON" },
                { "[]\n", -EBADMSG, "line 1 of the log is no record of JSON" },
                { "\"error\"\n", -EBADMSG, "line 1 of the log is no record of JSON" },
                { "{\"level\":1}\n", -EBADMSG, "line 1 of the log is no record of JSON" },
                { "{\"level\":\"error\",\"msg\":{}}\n", -EBADMSG, "line 1 of the log is no record of JSON" },
                { "{\"level\":\"error\",\"msg\":\"\\u0000\"}\n", -EBADMSG, "line 1 of the log is no record of JSON" },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                _cleanup_(freep) char *message = NULL, *reason = NULL;

                print_message("# case %zu\n", i);
                assert_int_equal(runtime_log_last_error(table[i].log, strlen(table[i].log), &message, &reason), table[i].result);
                assert_true(streq_ptr(message, table[i].result > 0 ? table[i].text : NULL));
                assert_true(streq_ptr(reason, table[i].result < 0 ? table[i].text : NULL));
        }
}

static void a_log_of_nuls_is_garbage(void **state) {
        _cleanup_(freep) char *message = NULL, *reason = NULL;
        static const char nuls[100];

        assert_int_equal(runtime_log_last_error(nuls, sizeof(nuls), &message, &reason), -EBADMSG);
        assert_null(message);
}

/* ---- the text of a failed invocation ---- */

#define EXITED(status) ((status) << 8)
#define KILLED(signal) (signal)
#define DUMPED(signal) ((signal) | 0x80)

static void a_failed_invocation_is_told_in_containerds_words(void **state) {
        static const struct {
                const char *command;
                JobResult result;
                uint64_t timeout_usec;
                const char *text;
        } golden[] = {
                { "runc", { .wait_status = EXITED(1), .output = "" }, 0, "runc did not terminate successfully: exit status 1" },
                { "runc", { .wait_status = EXITED(1) }, 0, "runc did not terminate successfully: exit status 1" },
                { "runc", { .wait_status = EXITED(255), .output = "no such container\n" }, 0,
                  "runc did not terminate successfully: exit status 255: no such container" },
                { "/usr/local/sbin/runc", { .wait_status = EXITED(2), .output = " \n" }, 0,
                  "/usr/local/sbin/runc did not terminate successfully: exit status 2" },
                { "runc", { .wait_status = EXITED(1), .output = "one\ntwo\n" }, 0,
                  "runc did not terminate successfully: exit status 1: one\ntwo" },
                { "runc", { .wait_status = EXITED(1), .output = "\x1b[1mbold\xff" }, 0,
                  "runc did not terminate successfully: exit status 1: ?[1mbold?" },
                { "runc", { .wait_status = KILLED(SIGKILL), .output = "" }, 0,
                  "runc did not terminate successfully: signal: killed" },
                { "runc", { .wait_status = KILLED(SIGTERM), .output = "bye" }, 0,
                  "runc did not terminate successfully: signal: terminated: bye" },
                { "runc", { .wait_status = DUMPED(SIGSEGV), .output = "" }, 0,
                  "runc did not terminate successfully: signal: segmentation fault (core dumped)" },
                { "runc", { .wait_status = KILLED(40), .output = "" }, 0,
                  "runc did not terminate successfully: signal: signal 40" },
                { "runc", { .error = -ENOENT }, 0, "exec: \"runc\": executable file not found in $PATH" },
                { "runc", { .error = -EACCES }, 0, "exec: \"runc\": permission denied" },
                { "/opt/runc", { .error = -ENOENT }, 0, "fork/exec /opt/runc: no such file or directory" },
                { "/opt/runc", { .error = -EACCES }, 0, "fork/exec /opt/runc: permission denied" },
                { "/opt/runc", { .error = -ENOEXEC }, 0, "fork/exec /opt/runc: exec format error" },
                { "runc", { .error = -ETIMEDOUT }, 120 * USEC_PER_SEC, "runc timed out after 120 s and was killed" },
                { "runc", { .error = -ETIMEDOUT }, 1500 * USEC_PER_MSEC, "runc timed out after 1.5 s and was killed" },
                { "runc", { .error = -ETIMEDOUT }, 86400 * 7 * USEC_PER_SEC, "runc timed out after 604800 s and was killed" },
        };

        for (size_t i = 0; i < ELEMENTSOF(golden); i++) {
                _cleanup_(freep) char *text = NULL;

                print_message("# case %zu\n", i);
                text = runtime_result_to_text(golden[i].command, &golden[i].result, golden[i].timeout_usec);
                assert_string_equal(text, golden[i].text);
        }
}

static void of_a_flood_the_end_is_shown(void **state) {
        _cleanup_(freep) char *flood = malloc(1 << 20), *text = NULL;

        /* Two-byte characters, so that a cut by bytes would fall into one of two. */
        assert_non_null(flood);
        for (size_t i = 0; i + 1 < 1 << 20; i += 2)
                memcpy(flood + i, "\xc3\xa4", 2);
        strcpy(flood + (1 << 20) - 12, " the reason");

        text = runtime_result_to_text("runc", &(JobResult) { .wait_status = EXITED(1), .output = flood }, 0);
        assert_non_null(text);
        assert_true(strlen(text) < 17 * 1024);
        assert_non_null(startswith(text, "runc did not terminate successfully: exit status 1: \xc3\xa4\xc3\xa4"));
        assert_string_equal(text + strlen(text) - 13, "\xc3\xa4 the reason");
}

/* ---- the failure of an operation ---- */

static char directory[64];
static int dir_fd = -EBADF;

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw) {
        return remove(path);
}

static int set_up(void **state) {
        strcpy(directory, "/tmp/test-runtime-XXXXXX");
        if (!mkdtemp(directory))
                return -1;
        dir_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return dir_fd < 0 ? -1 : 0;
}

static int tear_down(void **state) {
        dir_fd = safe_close(dir_fd);
        return nftw(directory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void given_log(const char *text) {
        _cleanup_(safe_closep) int fd = openat(dir_fd, "log.json", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);

        assert_true(fd >= 0);
        assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static void then_the_failure_is(const char *op, const char *expected) {
        _cleanup_(freep) char *text = runtime_failure(op, dir_fd, "log.json", "/s/log.json", "runc said no");

        assert_string_equal(text, expected);
}

static void the_runtimes_own_last_error_is_the_cause(void **state) {
        given_log(WARNING ERROR("container with id exists: web") DEBUG);
        then_the_failure_is("create", "OCI runtime create failed: container with id exists: web");
}

static void without_an_error_in_the_log_the_text_is_the_cause(void **state) {
        given_log("");
        then_the_failure_is("start", "OCI runtime start failed: runc said no");
        given_log(WARNING);
        then_the_failure_is("killall", "OCI runtime killall failed: runc said no");
}

static void a_log_that_cannot_be_read_is_told(void **state) {
        then_the_failure_is("create", "OCI runtime create failed: unable to retrieve OCI runtime error "
                                      "(open /s/log.json: no such file or directory): runc said no");
        given_log("half a rec");
        then_the_failure_is("create", "OCI runtime create failed: unable to retrieve OCI runtime error "
                                      "(line 1 of the log is no record of JSON): runc said no");
}

static void a_log_that_is_no_file_neither_blocks_nor_is_followed(void **state) {
        alarm(10);
        assert_int_equal(mkfifoat(dir_fd, "log.json", 0600), 0);
        then_the_failure_is("create", "OCI runtime create failed: unable to retrieve OCI runtime error "
                                      "(read /s/log.json: not a regular file): runc said no");
        alarm(0);

        assert_int_equal(unlinkat(dir_fd, "log.json", 0), 0);
        assert_int_equal(symlinkat("/etc/passwd", dir_fd, "log.json"), 0);
        then_the_failure_is("create", "OCI runtime create failed: unable to retrieve OCI runtime error "
                                      "(open /s/log.json: too many levels of symbolic links): runc said no");

        assert_int_equal(unlinkat(dir_fd, "log.json", 0), 0);
        assert_int_equal(mkdirat(dir_fd, "log.json", 0700), 0);
        then_the_failure_is("create", "OCI runtime create failed: unable to retrieve OCI runtime error "
                                      "(read /s/log.json: not a regular file): runc said no");
}

/* A record that is long in itself. */
static void given_log_with_a_long_record(const char *level, size_t size) {
        _cleanup_(freep) char *message = malloc(size + 1), *record = NULL;

        assert_non_null(message);
        memset(message, 'x', size);
        message[size] = 0;
        assert_true(asprintf(&record, "{\"level\":\"%s\",\"msg\":\"%s\"}\n", level, message) >= 0);
        given_log(record);
}

static void of_a_huge_log_only_the_end_is_read(void **state) {
        given_log(ERROR("long ago"));
        for (int i = 0; i < 9; i++)
                given_log_with_a_long_record("warning", 1 << 20);
        then_the_failure_is("create", "OCI runtime create failed: runc said no");

        given_log(ERROR("just now"));
        then_the_failure_is("create", "OCI runtime create failed: just now");
}

static void a_huge_message_is_cut_and_not_lost(void **state) {
        _cleanup_(freep) char *text = NULL;

        given_log(ERROR("long ago"));
        given_log_with_a_long_record("error", 4 << 20);
        text = runtime_failure("create", dir_fd, "log.json", "/s/log.json", "runc said no");
        assert_non_null(startswith(text, "OCI runtime create failed: xxx"));
        assert_in_range(strlen(text), 10000, 64 * 1024);
}

/* ---- CRIU ---- */

#define CRIU_INFO "(00.000321) Found freezer cgroup\n"

static void of_crius_log_the_errors_are_told(void **state) {
        static const struct {
                const char *log, *tail;
        } table[] = {
                { "", "" },
                { "\n \n\t\n", "" },
                { CRIU_INFO "(00.0012)      7: Error (criu/files-reg.c:1): Can't dump FIFO\n" CRIU_INFO,
                  "Error (criu/files-reg.c:1): Can't dump FIFO" },
                { "(00.1) Error (a.c:1): one\n" CRIU_INFO "(00.2) Error (b.c:2): two\r\n",
                  "Error (a.c:1): one; Error (b.c:2): two" },
                { "Error (x): 1\nError (x): 2\nError (x): 3\nError (x): 4\nError (x): 5\nError (x): 6\nError (x): 7",
                  "Error (x): 3; Error (x): 4; Error (x): 5; Error (x): 6; Error (x): 7" },
                { "Error (x): \x1b[31mred\xff\n", "Error (x): ?[31mred?" },
                /* Without an error the last lines are as good as any. */
                { "one\ntwo\n\nthree\nfour\n\n", "two; three; four" },
                { "only", "only" },
                { "Error: of another kind\n", "Error: of another kind" },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                _cleanup_(freep) char *tail = NULL;

                print_message("# case %zu\n", i);
                tail = runtime_criu_tail(table[i].log, strlen(table[i].log));
                assert_string_equal(tail, table[i].tail);
        }
}

static void of_crius_log_no_more_than_a_kilobyte_is_told(void **state) {
        char log[5 * 410 + 1] = "", huge[5000];
        _cleanup_(freep) char *tail = NULL, *cut = NULL;

        /* Of five errors of 400 bytes the last two fit. */
        for (size_t i = 0; i < 5; i++)
                (void) snprintf(log + strlen(log), sizeof(log) - strlen(log), "Error (%zu) %0390d\n", i, 0);
        tail = runtime_criu_tail(log, strlen(log));
        assert_non_null(startswith(tail, "Error (3) 0"));
        assert_non_null(strstr(tail, "; Error (4) 0"));
        assert_in_range(strlen(tail), 800, 1024);

        /* One that is longer in itself is cut, and not left out. */
        memset(huge, 'x', sizeof(huge));
        memcpy(huge, "Error (a)\nError (", 17);
        cut = runtime_criu_tail(huge, sizeof(huge));
        assert_non_null(startswith(cut, "Error (xxx"));
        assert_int_equal(strlen(cut), 1024);
}

static void of_a_text_the_first_line_can_be_told(void **state) {
        static const char *const table[][2] = {
                { "", "" },       { NULL, "" },          { "\n\n", "" },          { "one", "one" },
                { "one\n", "one" }, { "one\r\ntwo\n", "one" }, { "\n  \n one \ntwo", "one" }, { "a\tb\x01\nc", "a\tb?" },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                _cleanup_(freep) char *line = runtime_first_line(table[i][0]);

                assert_string_equal(line, table[i][1]);
        }
}

/* ---- what failures mean ---- */

static void the_output_of_a_failed_kill_tells_what_it_means(void **state) {
        static const struct {
                const char *output;
                int meaning;
        } table[] = {
                { "os: process already finished", -ESRCH },
                { "time=\"x\" level=error msg=\"os: process already finished\"\n", -ESRCH },
                { "container not running", -ESRCH },
                { "no such process", -ESRCH },
                { "kill container: No such process", -ESRCH },
                { "container does not exist", -ENOENT },
                { "container \"web\" does not exist\n", -ENOENT },
                { "no such process: container does not exist", -ESRCH },
                { "permission denied", -EIO },
                { "Container Not Running", -EIO }, /* only "no such process" is looked for in any case */
                { "", -EIO },
                { NULL, -EIO },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                print_message("# case %zu\n", i);
                assert_int_equal(runtime_kill_classify(table[i].output), table[i].meaning);
        }
}

static void a_container_that_does_not_exist_is_as_good_as_deleted(void **state) {
        assert_true(runtime_delete_is_gone("container does not exist", NULL));
        assert_true(runtime_delete_is_gone(NULL, "OCI runtime delete failed: container does not exist"));
        assert_true(runtime_delete_is_gone("x", "container \"web\" does not exist"));
        assert_true(runtime_delete_is_gone("cannot open directory `/run/r/default/web`: No such file or directory", ""));
        assert_true(runtime_delete_is_gone("", "error opening file `/run/r/web/status`: No such file or directory"));
        assert_false(runtime_delete_is_gone("cannot open directory `/run/r/default/web`: Permission denied", ""));
        assert_false(runtime_delete_is_gone("exec: `nvidia-hook`: No such file or directory", ""));
        assert_false(runtime_delete_is_gone("cannot delete container web that is not stopped: running", ""));
        assert_false(runtime_delete_is_gone(NULL, NULL));
}

int main(void) {
        static const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
                cmocka_unit_test(each_verb_has_its_command_line),
                cmocka_unit_test(create_has_its_options_in_order),
                cmocka_unit_test(exec_has_its_options_in_order),
                cmocka_unit_test(checkpoint_has_its_options_in_order),
                cmocka_unit_test(each_checkpoint_option_has_its_own_flag),
                cmocka_unit_test(restore_has_its_options_in_order),
                cmocka_unit_test(crun_is_not_told_what_it_does_not_know),
                cmocka_unit_test(systemd_cgroup_is_the_last_global_flag),
                cmocka_unit_test(a_forced_delete_has_neither_log_nor_systemd_cgroup),
                cmocka_unit_test(the_last_error_in_the_log_counts),
                cmocka_unit_test(a_log_of_nuls_is_garbage),
                cmocka_unit_test(a_failed_invocation_is_told_in_containerds_words),
                cmocka_unit_test(of_a_flood_the_end_is_shown),
                TEST(the_runtimes_own_last_error_is_the_cause),
                TEST(without_an_error_in_the_log_the_text_is_the_cause),
                TEST(a_log_that_cannot_be_read_is_told),
                TEST(a_log_that_is_no_file_neither_blocks_nor_is_followed),
                TEST(of_a_huge_log_only_the_end_is_read),
                TEST(a_huge_message_is_cut_and_not_lost),
                cmocka_unit_test(of_crius_log_the_errors_are_told),
                cmocka_unit_test(of_crius_log_no_more_than_a_kilobyte_is_told),
                cmocka_unit_test(of_a_text_the_first_line_can_be_told),
                cmocka_unit_test(the_output_of_a_failed_kill_tells_what_it_means),
                cmocka_unit_test(a_container_that_does_not_exist_is_as_good_as_deleted),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
