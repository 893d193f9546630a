/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* How to talk to an OCI runtime: the command line of each verb, and what its failures mean. */

#include "host/runtime.h"
#include "host/spawn.h"
#include "util/file.h"
#include "util/json.h"
#include "util/strv.h"
#include "util/text.h"

#include <ctype.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define LOG_TAIL_MAX (8 * 1024 * 1024) /* the end of log.json is enough: the last error is wanted */
#define MESSAGE_MAX (16U * 1024U)      /* of what a runtime said, in an error */

/* ---- command lines ---- */

static int global_argv(const Runtime *runtime, char ***v) {
        int r;

        r = strv_extend_all(v, runtime->command, "--root", runtime->root, "--log", runtime->log, "--log-format", "json");
        if (r < 0)
                return r;
        return strv_extend(v, runtime->systemd_cgroup ? "--systemd-cgroup" : NULL);
}

/* An option and its value, unless that is NULL. */
static int extend_option(char ***v, const char *option, const char *value) {
        return value ? strv_extend_all(v, option, value) : 0;
}

static int extend_flag(char ***v, const char *flag, bool wanted) {
        return strv_extend(v, wanted ? flag : NULL);
}

/* "RUNTIME GLOBAL-FLAGS VERB [OPTION] [OPTION] ID" */
static int verb_argv(const Runtime *runtime, const char *verb, const char *first, const char *second, char ***ret) {
        _cleanup_(strv_freep) char **v = NULL;
        int r;

        if ((r = global_argv(runtime, &v)) < 0 || (r = strv_extend(&v, verb)) < 0 ||
            (r = strv_extend(&v, first)) < 0 || (r = strv_extend(&v, second)) < 0 ||
            (r = strv_extend(&v, runtime->id)) < 0)
                return r;

        *ret = TAKE_PTR(v);
        return 0;
}

int runtime_create_argv(const Runtime *runtime, const RuntimeCreateOptions *o, char ***ret) {
        _cleanup_(strv_freep) char **v = NULL;
        int r;

        if ((r = global_argv(runtime, &v)) < 0 ||
            (r = strv_extend_all(&v, "create", "--bundle", o->bundle, "--pid-file", o->pid_file)) < 0 ||
            (r = extend_option(&v, "--console-socket", o->console_socket)) < 0 ||
            (r = extend_flag(&v, "--no-pivot", o->no_pivot)) < 0 ||
            (r = extend_flag(&v, "--no-new-keyring", o->no_new_keyring)) < 0 ||
            (r = strv_extend(&v, runtime->id)) < 0)
                return r;

        *ret = TAKE_PTR(v);
        return 0;
}

int runtime_start_argv(const Runtime *runtime, char ***ret) {
        return verb_argv(runtime, "start", NULL, NULL, ret);
}

int runtime_delete_argv(const Runtime *runtime, char ***ret) {
        return verb_argv(runtime, "delete", NULL, NULL, ret);
}

int runtime_state_argv(const Runtime *runtime, char ***ret) {
        return verb_argv(runtime, "state", NULL, NULL, ret);
}

int runtime_kill_argv(const Runtime *runtime, unsigned signal, bool all, char ***ret) {
        _cleanup_(strv_freep) char **v = NULL;
        int r;

        if ((r = verb_argv(runtime, "kill", all ? "--all" : NULL, NULL, &v)) < 0 ||
            (r = strv_extendf(&v, "%u", signal)) < 0)
                return r;

        *ret = TAKE_PTR(v);
        return 0;
}

int runtime_pause_argv(const Runtime *runtime, char ***ret) {
        return verb_argv(runtime, "pause", NULL, NULL, ret);
}

int runtime_resume_argv(const Runtime *runtime, char ***ret) {
        return verb_argv(runtime, "resume", NULL, NULL, ret);
}

int runtime_ps_argv(const Runtime *runtime, char ***ret) {
        return verb_argv(runtime, "ps", "--format", "json", ret);
}

int runtime_update_argv(const Runtime *runtime, char ***ret) {
        return verb_argv(runtime, "update", "--resources=-", NULL, ret);
}

int runtime_exec_argv(const Runtime *runtime, const RuntimeExecOptions *o, char ***ret) {
        _cleanup_(strv_freep) char **v = NULL;
        int r;

        if ((r = global_argv(runtime, &v)) < 0 ||
            (r = strv_extend_all(&v, "exec", "--process", o->process_file)) < 0 ||
            (r = extend_option(&v, "--console-socket", o->console_socket)) < 0 ||
            (r = strv_extend_all(&v, "--detach", "--pid-file", o->pid_file, runtime->id)) < 0)
                return r;

        *ret = TAKE_PTR(v);
        return 0;
}

static int extend_checkpoint_flags(char ***v, const RuntimeCheckpointOptions *o) {
        int r;

        if ((r = extend_flag(v, "--tcp-established", o->open_tcp)) < 0 ||
            (r = extend_flag(v, "--ext-unix-sk", o->external_unix_sockets)) < 0 ||
            (r = extend_flag(v, "--shell-job", o->terminal)) < 0 ||
            (r = extend_flag(v, "--file-locks", o->file_locks)) < 0)
                return r;
        for (char *const *ns = o->empty_namespaces; ns && *ns; ns++) {
                r = strv_extend_all(v, "--empty-ns", *ns);
                if (r < 0)
                        return r;
        }
        return extend_flag(v, "--leave-running", o->leave_running);
}

int runtime_checkpoint_argv(const Runtime *runtime, const RuntimeCheckpointOptions *o, char ***ret) {
        _cleanup_(strv_freep) char **v = NULL;
        int r;

        if ((r = global_argv(runtime, &v)) < 0 ||
            (r = strv_extend_all(&v, "checkpoint", "--image-path", o->image_path, "--work-path", o->work_path)) < 0 ||
            (r = extend_option(&v, "--parent-path", o->parent_path)) < 0 ||
            (r = extend_checkpoint_flags(&v, o)) < 0 || (r = strv_extend(&v, runtime->id)) < 0)
                return r;

        *ret = TAKE_PTR(v);
        return 0;
}

/* Of runc, and of what takes runc's flags, "restore" makes itself a subreaper unless told not to, and its single dash
 * is as good as two. crun does not, knows no such flag, and takes the dash for a bundle of letters (invalid option --
 * 'n'). */
static bool restore_has_subreaper(const char *command) {
        const char *slash = strrchr(command, '/');

        return !startswith(slash ? slash + 1 : command, "crun");
}

int runtime_restore_argv(const Runtime *runtime, const RuntimeRestoreOptions *o, char ***ret) {
        _cleanup_(strv_freep) char **v = NULL;
        int r;

        if ((r = global_argv(runtime, &v)) < 0 ||
            (r = strv_extend_all(&v, "restore", "--image-path", o->image_path, "--work-path", o->work_path, "--detach",
                                 "--pid-file", o->pid_file)) < 0 ||
            (r = extend_option(&v, "--console-socket", o->console_socket)) < 0 ||
            (r = extend_flag(&v, "--no-pivot", o->no_pivot)) < 0 ||
            (r = extend_flag(&v, "-no-subreaper", restore_has_subreaper(runtime->command))) < 0 ||
            (r = strv_extend_all(&v, "--bundle", o->bundle, runtime->id)) < 0)
                return r;

        *ret = TAKE_PTR(v);
        return 0;
}

int runtime_delete_force_argv(const Runtime *runtime, char ***ret) {
        _cleanup_(strv_freep) char **v = NULL;
        int r;

        r = strv_extend_all(&v, runtime->command, "--root", runtime->root, "--log-format", "json", "delete", "--force",
                            runtime->id);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(v);
        return 0;
}

/* ---- log.json ---- */

/* One record: 1 and its message (maybe empty) if it is an error, 0 if it is another, -EBADMSG if it is no record. */
static int record_parse(const char *line, size_t size, char **ret) {
        _cleanup_(freep) char *copy = NULL;
        _cleanup_(json_freep) Json record = NULL;
        const char *level = "", *msg = "";
        int r;

        copy = strndup(line, size);
        if (!copy)
                return -ENOMEM;

        r = json_parse(copy, size, &record, NULL);
        if (r == -ENOMEM)
                return r;
        if (r < 0 || !json_is_object(record) || json_get_string(record, "level", &level) < 0)
                return -EBADMSG;
        if (!streq(level, "error"))
                return 0;
        if (json_get_string(record, "msg", &msg) < 0)
                return -EBADMSG;

        *ret = text_sanitize(msg, strlen(msg), MESSAGE_MAX);
        return *ret ? 1 : -ENOMEM;
}

static bool is_blank(const char *line, size_t size) {
        for (size_t i = 0; i < size; i++)
                if (!strchr(" \t\r", line[i]) || !line[i])
                        return false;
        return true;
}

int runtime_log_last_error(const char *text, size_t size, char **ret, char **reterr_reason) {
        size_t end = size, malformed = 0;
        int r;

        /* From the end, so that the first error met is the last one written. */
        while (end > 0) {
                const char *newline = memrchr(text, '\n', end);
                size_t start = newline ? (size_t) (newline - text) + 1 : 0;
                _cleanup_(freep) char *message = NULL;

                if (!is_blank(text + start, end - start)) {
                        r = record_parse(text + start, end - start, &message);
                        if (r == -ENOMEM)
                                return r;
                        if (r == -EBADMSG)
                                malformed = start + 1;
                        if (r == 1 && message[0]) {
                                *ret = TAKE_PTR(message);
                                return 1;
                        }
                        if (r == 1) /* an error that has nothing to say: an older one did not cause today's failure */
                                break;
                }
                end = start > 0 ? start - 1 : 0;
        }

        if (malformed > 0) {
                size_t line = 1;

                for (size_t i = 0; i < malformed - 1; i++)
                        line += text[i] == '\n';
                *reterr_reason = strdup_printf("line %zu of the log is no record of JSON", line);
                return *reterr_reason ? -EBADMSG : -ENOMEM;
        }
        return 0;
}

/* ---- failures ---- */

/* As Go names them, and thus containerd's clients know them. */
static char *signal_to_text(int signal) {
        static const char *const names[] = {
                [1] = "hangup",
                [2] = "interrupt",
                [3] = "quit",
                [4] = "illegal instruction",
                [5] = "trace/breakpoint trap",
                [6] = "aborted",
                [7] = "bus error",
                [8] = "floating point exception",
                [9] = "killed",
                [10] = "user defined signal 1",
                [11] = "segmentation fault",
                [12] = "user defined signal 2",
                [13] = "broken pipe",
                [14] = "alarm clock",
                [15] = "terminated",
        };

        if (signal > 0 && (size_t) signal < ELEMENTSOF(names))
                return strdup_printf("signal: %s", names[signal]);
        return strdup_printf("signal: signal %d", signal);
}

static char *wait_status_to_text(int wait_status) {
        _cleanup_(freep) char *text = NULL;

        if (!WIFSIGNALED(wait_status))
                return strdup_printf("exit status %d", WEXITSTATUS(wait_status));

        text = signal_to_text(WTERMSIG(wait_status));
        if (text && WCOREDUMP(wait_status))
                return strdup_printf("%s (core dumped)", text);
        return TAKE_PTR(text);
}

/* Go writes "no such file or directory" where C has "No such ...". */
static char *error_to_text(int error) {
        char *text = strdup(strerror(abs(error)));

        if (text && isupper((unsigned char) text[0]) && !isupper((unsigned char) text[1]))
                text[0] = (char) tolower((unsigned char) text[0]);
        return text;
}

static char *start_failure_to_text(const char *command, int error) {
        _cleanup_(freep) char *reason = NULL;

        if (error == -ENOENT && !strchr(command, '/'))
                return strdup_printf("exec: \"%s\": executable file not found in $PATH", command);

        reason = error_to_text(error);
        if (!reason)
                return NULL;
        if (!strchr(command, '/'))
                return strdup_printf("exec: \"%s\": %s", command, reason);
        return strdup_printf("fork/exec %s: %s", command, reason);
}

/* The end of what was captured: the reason comes last. */
static char *output_to_text(const char *output) {
        size_t size = strlen(output), skip = size > MESSAGE_MAX ? size - MESSAGE_MAX : 0;

        while (skip > 0 && skip < size && ((unsigned char) output[skip] & 0xc0) == 0x80)
                skip++; /* not into the middle of a character */
        return text_sanitize(output + skip, size - skip, MESSAGE_MAX);
}

char *runtime_result_to_text(const char *command, const JobResult *result, uint64_t timeout_usec) {
        _cleanup_(freep) char *status = NULL, *output = NULL;

        if (result->error == -ETIMEDOUT)
                return strdup_printf("%s timed out after %.9g s and was killed", command,
                                     (double) timeout_usec / (double) USEC_PER_SEC);
        if (result->error < 0)
                return start_failure_to_text(command, result->error);

        status = wait_status_to_text(result->wait_status);
        output = output_to_text(strempty(result->output));
        if (!status || !output)
                return NULL;
        return strdup_printf("%s did not terminate successfully: %s%s%s", command, status, output[0] ? ": " : "", output);
}

/* The end of the log, from the start of a line. */
static int log_read_tail(int fd, char **ret, size_t *ret_size) {
        _cleanup_(freep) char *text = NULL;
        uint64_t skipped;
        size_t size, skip = 0;
        int r;

        r = file_read_tail(fd, LOG_TAIL_MAX, &text, &size, &skipped);
        if (r < 0)
                return r;

        if (skipped > 0) {
                const char *newline = memchr(text, '\n', size);

                skip = newline ? (size_t) (newline - text) + 1 : size;
                memmove(text, text + skip, size - skip);
        }

        *ret = TAKE_PTR(text);
        *ret_size = size - skip;
        return 0;
}

/* The last error in the log: 1, 0 if there is none, or -errno and in *reterr_reason why that cannot be said. */
static int log_find_error(int dir_fd, const char *log, const char *log_path, char **ret, char **reterr_reason) {
        _cleanup_(freep) char *text = NULL, *why = NULL;
        _cleanup_(safe_closep) int fd = -EBADF;
        const char *step = "open";
        size_t size = 0;
        int r;

        fd = file_open_beneath(dir_fd, log, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
        r = fd;
        if (fd >= 0) {
                step = "read";
                r = log_read_tail(fd, &text, &size);
        }
        if (r < 0) {
                why = r == -EBADFD ? strdup("not a regular file") : error_to_text(r);
                *reterr_reason = why ? strdup_printf("%s %s: %s", step, log_path, why) : NULL;
                return *reterr_reason ? r : -ENOMEM;
        }
        return runtime_log_last_error(text, size, ret, reterr_reason);
}

char *runtime_failure(const char *op, int dir_fd, const char *log, const char *log_path, const char *text) {
        _cleanup_(freep) char *last = NULL, *why = NULL, *message = NULL;
        int r;

        r = log_find_error(dir_fd, log, log_path, &last, &why);
        if (r > 0)
                message = strdup_printf("OCI runtime %s failed: %s", op, last);
        else if (r < 0 && why)
                message = strdup_printf("OCI runtime %s failed: unable to retrieve OCI runtime error (%s): %s", op, why, text);
        else
                message = strdup_printf("OCI runtime %s failed: %s", op, text);
        return message ? text_sanitize(message, strlen(message), SIZE_MAX) : NULL;
}

/* ---- CRIU ---- */

#define CRIU_ERRORS_MAX 5
#define CRIU_LINES_MAX 3
#define CRIU_TAIL_MAX 1024

typedef struct Line {
        const char *text;
        size_t size;
} Line;

/* Where the error begins in a line of CRIU's log, behind time and pid: "(00.012345)    7: Error (criu/x.c:1): why". */
static Line line_get_error(Line line) {
        const char *error = memmem(line.text, line.size, "Error (", strlen("Error ("));

        return error ? (Line) { error, line.size - (size_t) (error - line.text) } : (Line) {};
}

/* The last lines that are not blank, the last one first, as many as fit. With 'errors' those that tell of one. */
static size_t log_get_last_lines(const char *text, size_t size, bool errors, Line *ret, size_t max) {
        size_t total = 0, n = 0;

        for (size_t end = size; end > 0 && n < max;) {
                const char *newline = memrchr(text, '\n', end);
                size_t start = newline ? (size_t) (newline - text) + 1 : 0;
                Line line = { text + start, end - start };

                end = start > 0 ? start - 1 : 0;
                if (errors)
                        line = line_get_error(line);
                if (is_blank(line.text, line.size))
                        continue;

                total += line.size + strlen("; ");
                if (n > 0 && total > CRIU_TAIL_MAX)
                        break;
                ret[n++] = line;
        }
        return n;
}

char *runtime_criu_tail(const char *log_text, size_t size) {
        _cleanup_(freep) char *joined = strdup("");
        Line lines[CRIU_ERRORS_MAX];
        size_t n;

        n = log_get_last_lines(log_text, size, true, lines, CRIU_ERRORS_MAX);
        if (n == 0)
                n = log_get_last_lines(log_text, size, false, lines, CRIU_LINES_MAX);

        while (joined && n-- > 0) {
                _cleanup_(freep) char *line = text_sanitize(lines[n].text, lines[n].size, CRIU_TAIL_MAX);
                _cleanup_(freep) char *before = TAKE_PTR(joined);

                joined = line ? strdup_printf("%s%s%s", before, before[0] ? "; " : "", line) : NULL;
        }
        return TAKE_PTR(joined);
}

/* ---- what failures mean ---- */

char *runtime_first_line(const char *text) {
        text = strempty(text);
        text += strspn(text, " \t\r\n");
        return text_sanitize(text, strcspn(text, "\n"), MESSAGE_MAX);
}

int runtime_kill_classify(const char *output) {
        output = strempty(output);
        if (strstr(output, "os: process already finished") || strstr(output, "container not running") ||
            strcasestr(output, "no such process"))
                return -ESRCH;
        if (strstr(output, "does not exist"))
                return -ENOENT;
        /* crun, of a container that somebody else has deleted: "error opening file `/run/crun/ID/status`: No such file or
         * directory" */
        if (strstr(output, "/status`: No such file or directory"))
                return -ENOENT;
        return -EIO;
}

bool runtime_kill_is_plain(const char *command) {
        static const char elf[] = { 0x7f, 'E', 'L', 'F' };
        const char *slash = strrchr(command, '/'), *name = slash ? slash + 1 : command;
        _cleanup_(safe_closep) int fd = -EBADF;
        _cleanup_(freep) char *path = NULL;
        char magic[sizeof(elf)];

        if (!streq(name, "runc") && !streq(name, "crun"))
                return false;
        if (program_find(command, &path) < 0)
                return false;

        fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        return fd >= 0 && read(fd, magic, sizeof(magic)) == sizeof(magic) && memcmp(magic, elf, sizeof(elf)) == 0;
}

/* crun forgets a container once it has written a checkpoint of it, and then says "cannot open directory `ROOT/ID`: No
 * such file or directory", or the like of the file `ROOT/ID/status`. */
static bool complaint_is_gone(const char *text) {
        text = strempty(text);
        if (strstr(text, "does not exist"))
                return true;
        return strstr(text, "`: No such file or directory") &&
               (strstr(text, "cannot open directory `") || strstr(text, "/status`"));
}

bool runtime_delete_is_gone(const char *output, const char *complaint) {
        return complaint_is_gone(output) || complaint_is_gone(complaint);
}
