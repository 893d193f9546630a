/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A stand-in for runc: its command line, state, pid files, log and messages (as of runc 1.1.5), but containers that
 * are plain tiny processes, and faults on demand. For fault injection, and for tests with thousands of containers.
 *
 * Verbs: create, start, kill [--all], delete [--force], pause, resume, ps, update, state, exec --detach, checkpoint,
 * restore; with runc's global flags. State is kept in ROOT/ID/.
 *
 * What a container does is the bundle's process.args (for exec: those of the --process file):
 *   ["sleep", "N"]      sleeps N seconds ("inf" for ever) and exits with 0
 *   ["exit", "N"]       exits with N
 *   ["run", ARGV...]    executes ARGV on the host, in no namespace, with the stdio that the runtime was given
 * Anything else fails as a missing program does. The process is forked twice, so that it belongs to the nearest
 * subreaper at once, while runc's belongs to runc until runc ends ("direct-child" below does that).
 *
 * An exec'd "sleep" is killed when its init ends, unless the configuration says that they share the host's pid
 * namespace or another's: the kernel does that to a pid namespace. ("run" is not: nobody watches over it.)
 *
 * Faults and records are in the directory $FAKE_RUNTIME_CONTROL, or ROOT/.control without it; if it does not exist,
 * nothing is injected or recorded. The faults of one invocation are in the file ID.VERB, else *.VERB; for exec, in
 * ID:EXEC_ID.exec before those. VERB is "delete-force" for "delete --force" and "kill-all" for "kill --all", else as on
 * the command line. One fault a line:
 *   once                  the file is removed first: the next invocation does not find it
 *   sleep SECONDS         before it does anything
 *   sleep-after SECONDS   when all is done
 *   hang, hang-after      for ever, instead of sleeping
 *   hang-child            like hang, with a child in the same process group that hangs as well
 *   crash, crash-after    SIGSEGV
 *   exit N                does nothing, and exits with N; if N is not 0, "injected VERB failure" is logged, unless
 *                         there is a "log"
 *   exit-after N          does everything, and then exits with N like that
 *   log TEXT              the error record's text; or one of these words:
 *   log garbage           no JSON                     log empty    an empty log.json
 *   log none, log stale   nothing is logged: what earlier commands logged is all there is
 *   log no-msg            a record without "msg"      log huge     a text of 4 MiB
 *   log truncated         half a record               log warning  a record of level "warning"
 *   say TEXT              a line on stderr
 *   print TEXT            a line on stdout; with "exit 0", instead of what the verb has to tell
 *   stderr N, stdout N    N bytes of noise; log-bytes N: in the log
 *   deaf                  ignores all signals that can be ignored
 *   stop                  stops itself (SIGSTOP), before it does anything
 *   linger SECONDS        leaves a child behind that long, in a session of its own, which keeps all descriptors open
 *   pid WHAT              content of the pid file: a number, "garbage", "empty"; "missing": no file; "fifo", "directory",
 *                         "link PATH": it is no file but that
 *   pid-late SECONDS      so long after the process has begun to run the pid file is written
 *   no-process            create and exec start nothing, and the pid file names a pid that nobody has
 *   die-before-return     the process is dead (SIGKILL) before create, start, exec or restore returns
 *   wait-exit             the same, but it is waited for until it has ended by itself
 *   direct-child          the process stays a child of the runtime until that ends
 *   console WHAT          what the console socket gets: "none" nothing, "silent" a connection that says nothing, "two"
 *                         two descriptors, "no-tty" a pipe, "no-name" an empty name, "late" the right thing, but only
 *                         after a connection that says nothing
 *   criu-log TEXT         checkpoint and restore leave a dump.log or restore.log with that line in the work directory
 *
 * Every invocation appends two lines to the file "invocations": {"phase":"begin","time":USEC,"pid":...,"verb":...,
 * "id":...,"exec_id":...,"argv":[...],"pgid":...,"pdeathsig":...,"fds":[...],"notify_socket":true|false,
 * "blocked":"signal mask"} and, unless it was killed, {"phase":"end","time":USEC,"pid":...,"verb":...,"id":...,"exit":N}. */

#include "fake-faults.h"
#include "fake-util.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <yajl/yajl_tree.h>

/* A program that lives for milliseconds leaves its memory to the kernel; a sanitizer that called that a leak would
 * make its exit status another than the one a test has asked for. Called by the sanitizer, if there is one. */
const char *__asan_default_options(void);
const char *__asan_default_options(void) {
        return "detect_leaks=0:handle_segv=0"; /* "crash" is to be seen as one */
}

#define LOG_HUGE (4U * 1024U * 1024U)

/* -----------------------------------------------------------------------------------------------------------------
 */
/* The command line */

static struct {
        const char *root, *log, *log_format, *criu, *rootless;
        const char *bundle, *pid_file, *console_socket, *process, *resources, *image_path, *work_path, *ignored;
        bool debug, systemd_cgroup, all, force, detach, leave_running, flag;
        const char *verb, *id, *signal;
} options = { .root = "/run/runc", .log_format = "text", .bundle = "." };

static Invocation invocation;

typedef struct Option {
        const char *verbs; /* separated and enclosed by spaces; NULL: before the verb */
        const char *name;
        const char **value;
        bool *flag;
} Option;

static const Option option_table[] = {
        { NULL, "root", &options.root, NULL },
        { NULL, "log", &options.log, NULL },
        { NULL, "log-format", &options.log_format, NULL },
        { NULL, "criu", &options.criu, NULL },
        { NULL, "rootless", &options.rootless, NULL },
        { NULL, "debug", NULL, &options.debug },
        { NULL, "systemd-cgroup", NULL, &options.systemd_cgroup },
        { " create restore ", "bundle", &options.bundle, NULL },
        { " create restore ", "b", &options.bundle, NULL },
        { " create exec restore ", "pid-file", &options.pid_file, NULL },
        { " create exec restore ", "console-socket", &options.console_socket, NULL },
        { " create restore ", "no-pivot", NULL, &options.flag },
        { " create ", "no-new-keyring", NULL, &options.flag },
        { " create exec ", "preserve-fds", &options.ignored, NULL },
        { " exec ", "process", &options.process, NULL },
        { " exec ", "p", &options.process, NULL },
        { " exec restore ", "detach", NULL, &options.detach },
        { " exec restore ", "d", NULL, &options.detach },
        { " kill ", "all", NULL, &options.all },
        { " kill ", "a", NULL, &options.all },
        { " delete ", "force", NULL, &options.force },
        { " delete ", "f", NULL, &options.force },
        { " ps ", "format", &options.ignored, NULL },
        { " ps ", "f", &options.ignored, NULL },
        { " update ", "resources", &options.resources, NULL },
        { " update ", "r", &options.resources, NULL },
        { " checkpoint restore ", "image-path", &options.image_path, NULL },
        { " checkpoint restore ", "work-path", &options.work_path, NULL },
        { " checkpoint ", "parent-path", &options.ignored, NULL },
        { " checkpoint ", "leave-running", NULL, &options.leave_running },
        { " checkpoint restore ", "tcp-established", NULL, &options.flag },
        { " checkpoint restore ", "ext-unix-sk", NULL, &options.flag },
        { " checkpoint restore ", "shell-job", NULL, &options.flag },
        { " checkpoint restore ", "file-locks", NULL, &options.flag },
        { " checkpoint restore ", "empty-ns", &options.ignored, NULL },
        { " checkpoint restore ", "manage-cgroups-mode", &options.ignored, NULL },
        { " restore ", "no-subreaper", NULL, &options.flag },
};

static const char *const verb_table[] = {
        "create", "start",  "kill",  "delete", "pause",      "resume",
        "ps",     "update", "state", "exec",   "checkpoint", "restore",
};

/* -----------------------------------------------------------------------------------------------------------------
 */
/* The log */

static void log_record(const char *level, const char *message) {
        char when[32], *quoted = message ? json_quote(message) : NULL, *record;
        time_t now = time(NULL);
        struct tm tm;
        int fd, n;

        strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &tm));
        if (strcmp(options.log_format, "json") != 0)
                n = asprintf(&record, "time=\"%s\" level=%s msg=%s\n", when, level, quoted ? quoted : "");
        else if (quoted)
                n = asprintf(&record, "{\"level\":\"%s\",\"msg\":%s,\"time\":\"%s\"}\n", level, quoted, when);
        else
                n = asprintf(&record, "{\"level\":\"%s\",\"time\":\"%s\"}\n", level, when);
        free(quoted);
        if (n < 0)
                die("memory");

        fd = options.log ? open(options.log, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0644) : -1;
        if (fd >= 0) {
                write_all(fd, record, fault.log_kind == LOG_TRUNCATED ? (size_t) n / 2 : (size_t) n);
                close(fd);
        }
        free(record);
}

static void log_bytes(const char *bytes) {
        int fd = options.log ? open(options.log, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0644) : -1;

        if (fd >= 0) {
                write_all(fd, bytes, strlen(bytes));
                close(fd);
        }
}

/* As runc ends when something has failed: the text goes into the log and to stderr. */
__attribute__((format(printf, 1, 2))) static int fail(const char *format, ...) {
        char *text;
        va_list args;
        int n;

        va_start(args, format);
        n = vasprintf(&text, format, args);
        va_end(args);
        if (n < 0)
                die("memory");

        log_record("error", text);
        fflush(stdout);
        fprintf(stderr, "%s\n", text);
        free(text);
        return 1;
}

/* The same with the verb before it, as the commands that start a process have it. Returns their exit code. */
__attribute__((format(printf, 1, 2))) static int fail_verb(const char *format, ...) {
        bool exec = strcmp(options.verb, "exec") == 0, create = strcmp(options.verb, "create") == 0;
        char *text;
        va_list args;
        int n;

        va_start(args, format);
        n = vasprintf(&text, format, args);
        va_end(args);
        if (n < 0)
                die("memory");
        (void) fail("%s%s", create ? "runc create failed: " : exec ? "exec failed: " : "", text);
        free(text);
        return exec ? 255 : 1;
}

/* errno as Go spells it. */
static const char *error_text(void) {
        static char text[128];

        snprintf(text, sizeof(text), "%s", strerror(errno));
        if (text[0] >= 'A' && text[0] <= 'Z')
                text[0] = (char) (text[0] + ('a' - 'A'));
        return text;
}

/* The same for an injected failure, in whatever form was asked for. */
static int fail_injected(int code) {
        char text[PATH_SIZE], *huge;

        if (code == 0)
                return 0;

        switch (fault.log_kind) {
        case LOG_DEFAULT:
                snprintf(text, sizeof(text), "injected %s failure", invocation.verb);
                log_record("error", text);
                break;
        case LOG_TEXT:
        case LOG_TRUNCATED:
                log_record("error", fault.log_text);
                break;
        case LOG_NOTHING:
                break;
        case LOG_EMPTY:
                log_bytes("");
                break;
        case LOG_GARBAGE:
                log_bytes("\x01\x02 this is no JSON {{{ \xff\xfe\n]\n");
                break;
        case LOG_NO_MSG:
                log_record("error", NULL);
                break;
        case LOG_TEXT_HUGE:
                huge = malloc(LOG_HUGE + 1);
                if (!huge)
                        die("memory");
                memset(huge, 'x', LOG_HUGE);
                memcpy(huge, "huge ", 5);
                huge[LOG_HUGE] = '\0';
                log_record("error", huge);
                free(huge);
                break;
        case LOG_WARNING:
                log_record("warning", "only a warning");
                break;
        }
        return code;
}

/* -----------------------------------------------------------------------------------------------------------------
 */
/* A container's state on disk, and its process */

typedef struct State {
        pid_t pid;
        unsigned long long start_time;
        bool paused;
        bool pid_namespace; /* the init has one of its own */
        char bundle[PATH_SIZE];
} State;

typedef enum Status { STATUS_CREATED, STATUS_RUNNING, STATUS_PAUSED, STATUS_STOPPED } Status;

static const char *const status_names[] = { "created", "running", "paused", "stopped" };

static const char *state_path(const char *name) {
        static char path[PATH_SIZE];

        snprintf(path, sizeof(path), "%s/%s%s%s", options.root, options.id, name[0] ? "/" : "", name);
        return path;
}

/* The start time of a process that lives; 0 if it is gone or a zombie. */
static unsigned long long process_start_time(pid_t pid) {
        char path[64], *text, *p, state;
        unsigned long long start = 0;

        snprintf(path, sizeof(path), "/proc/%d/stat", pid);
        text = read_file(path);
        if (!text)
                return 0;
        p = strrchr(text, ')');
        if (!p ||
            sscanf(p + 1, " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu", &state,
                   &start) != 2 ||
            strchr("ZX", state))
                start = 0;
        free(text);
        return start;
}

static bool process_is_alive(const State *s) {
        return s->pid > 0 && process_start_time(s->pid) == s->start_time;
}

static void wait_until_dead(const State *s, double seconds) {
        for (double waited = 0; process_is_alive(s) && waited < seconds; waited += 0.001)
                nap(0.001);
}

static void state_save(const State *s) {
        char temporary[PATH_SIZE];
        FILE *f;

        snprintf(temporary, sizeof(temporary), "%s", state_path(".state.tmp"));
        f = fopen(temporary, "we");
        if (!f ||
            fprintf(f, "%d %llu %d %d\n%s\n", s->pid, s->start_time, s->paused, s->pid_namespace, s->bundle) < 0 ||
            fclose(f) != 0 || rename(temporary, state_path("state")) < 0)
                die(temporary);
}

static int state_load(State *ret) {
        char *text = read_file(state_path("state"));
        int paused, private, n = 0;

        memset(ret, 0, sizeof(*ret));
        if (!text)
                return -ENOENT;
        if (sscanf(text, "%d %llu %d %d\n%n", &ret->pid, &ret->start_time, &paused, &private, &n) != 4)
                die("malformed state");
        ret->paused = paused;
        ret->pid_namespace = private;
        snprintf(ret->bundle, sizeof(ret->bundle), "%.*s", (int) strcspn(text + n, "\n"), text + n);
        free(text);
        return 0;
}

static Status state_status(const State *s) {
        if (!process_is_alive(s))
                return STATUS_STOPPED;
        if (s->paused)
                return STATUS_PAUSED;
        return access(state_path("exec.fifo"), F_OK) == 0 ? STATUS_CREATED : STATUS_RUNNING;
}

static void state_remove(void) {
        static const char *const names[] = { "exec.fifo", "execs", "resources", "state", ".state.tmp" };

        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                unlink(state_path(names[i]));
        if (rmdir(state_path("")) < 0 && errno != ENOENT)
                die(state_path(""));
}

/* Calls f for init's process group and for every exec'd process that still lives. */
static void for_each_process(const State *s, void (*f)(pid_t pid, int argument), int argument) {
        char *text = read_file(state_path("execs"));
        State exec = { 0 };
        int n;

        if (process_is_alive(s))
                f(s->pid, argument);
        for (char *p = text; p && sscanf(p, "%d %llu%n", &exec.pid, &exec.start_time, &n) == 2; p += n)
                if (process_is_alive(&exec))
                        f(exec.pid, argument);
        free(text);
}

static void send_signal(pid_t pid, int sig) {
        (void) kill(-pid, sig);
}

static void print_pid(pid_t pid, int argument) {
        static bool comma;

        printf("%s%d", comma ? "," : "", pid);
        comma = true;
}

/* -----------------------------------------------------------------------------------------------------------------
 */
/* Starting a process */

typedef struct Action {
        double seconds; /* negative: for ever */
        bool exits;
        int code;
        char **argv; /* "run" */
} Action;

/* The action of process.args below 'path' in a JSON text. Returns 0, or the exit code after having complained. */
static int action_parse(const char *text, const char *const *path, Action *ret) {
        char reason[256];
        const char *word;
        yajl_val tree, args;
        size_t n;

        tree = yajl_tree_parse(text, reason, sizeof(reason));
        if (!tree)
                return fail_verb("%s", reason);
        args = yajl_tree_get(tree, (const char **) path, yajl_t_array);
        n = args ? args->u.array.len : 0;
        for (size_t i = 0; i < n; i++)
                if (!YAJL_IS_STRING(args->u.array.values[i]))
                        n = 0;
        if (n == 0)
                return fail_verb("Args must not be empty");

        word = args->u.array.values[0]->u.string;
        if (n == 2 && strcmp(word, "sleep") == 0) {
                const char *seconds = args->u.array.values[1]->u.string;

                ret->seconds = strcmp(seconds, "inf") == 0 ? -1 : strtod(seconds, NULL);
        } else if (n == 2 && strcmp(word, "exit") == 0) {
                ret->exits = true;
                ret->code = atoi(args->u.array.values[1]->u.string);
        } else if (n >= 2 && strcmp(word, "run") == 0) {
                ret->argv = calloc(n, sizeof(char *));
                for (size_t i = 1; ret->argv && i < n; i++)
                        ret->argv[i - 1] = strdup(args->u.array.values[i]->u.string);
        } else
                return fail_verb(
                        "unable to start container process: exec: \"%s\": executable file not found in $PATH", word);

        yajl_tree_free(tree);
        return 0;
}

/* One message on the console socket. */
static void console_message(int s, const char *name, const int *fds, size_t n) {
        char buffer[CMSG_SPACE(2 * sizeof(int))] = { 0 };
        struct iovec iov = { .iov_base = (char *) name, .iov_len = strlen(name) };
        struct msghdr message = {
                .msg_iov = &iov, .msg_iovlen = 1, .msg_control = buffer, .msg_controllen = CMSG_SPACE(n * sizeof(int))
        };
        struct cmsghdr *c = CMSG_FIRSTHDR(&message);

        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(n * sizeof(int));
        memcpy(CMSG_DATA(c), fds, n * sizeof(int));
        if (sendmsg(s, &message, 0) < 0 && name[0]) /* an empty message of a stream may well be none at all */
                die("console socket");
}

static int console_connect(const char *path) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int s;

        s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
        if (s < 0 || connect(s, (struct sockaddr *) &address, sizeof(address)) < 0)
                die(path);
        return s;
}

/* A new terminal: the master goes to the console socket with the tty's name, as runc does it. Returns the slave. */
static int console_send(const char *path) {
        const char *what = fault.console ? fault.console : "";
        int fds[2], slave, pipe_fds[2], s;
        char name[64];

        fds[0] = fds[1] = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
        if (fds[0] < 0 || grantpt(fds[0]) < 0 || unlockpt(fds[0]) < 0 || ptsname_r(fds[0], name, sizeof(name)) != 0 ||
            pipe2(pipe_fds, O_CLOEXEC) < 0)
                die("ptmx");
        slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
        if (slave < 0)
                die(name);
        if (strcmp(what, "none") == 0)
                return slave;

        if (strcmp(what, "late") == 0)
                close(console_connect(path));
        s = console_connect(path);
        if (strcmp(what, "no-tty") == 0)
                console_message(s, name, pipe_fds, 1);
        else if (strcmp(what, "no-name") == 0)
                console_message(s, "", fds, 1);
        else if (strcmp(what, "silent") != 0)
                console_message(s, name, fds, strcmp(what, "two") == 0 ? 2 : 1);
        close(s);
        close(fds[0]);
        return slave;
}

/* What the kernel does to everybody in a pid namespace whose init has ended. */
__attribute__((noreturn)) static void sleep_under(int init, double seconds) {
        struct pollfd p = { .fd = init, .events = POLLIN };

        if (poll(&p, 1, seconds < 0 ? -1 : (int) (seconds * 1000)) != 0)
                (void) raise(SIGKILL);
        _exit(0);
}

/* 'parent' is the socket to the runtime: our pid goes there, and what comes back says that all is written down. If it
 * comes to its end before that, the runtime was killed, and so are we: runc's init does the same. */
__attribute__((noreturn)) static void process_run(const Action *action, const char *fifo, int terminal, int parent,
                                                  pid_t init) {
        pid_t self = getpid();
        int fd, init_fd;
        char byte;

        setsid();
        prctl(PR_SET_NAME, "fake-init");
        if (terminal >= 0) {
                (void) ioctl(terminal, TIOCSCTTY, 0);
                for (int i = 0; i < 3; i++)
                        dup2(terminal, i);
                close(terminal);
        }
        if (chdir("/") < 0 || dup2(parent, 3) < 0 || close_range(4, ~0U, 0) < 0)
                _exit(125);
        write_all(3, &self, sizeof(self));
        if (read(3, &byte, 1) != 1)
                _exit(125);
        close(3);

        init_fd = init > 0 ? pidfd_open(init, 0) : -1;
        if (init > 0 && init_fd < 0)
                (void) raise(SIGKILL);
        if (fifo) {
                fd = open(fifo, O_WRONLY | O_CLOEXEC); /* returns when "start" reads it */
                if (fd < 0)
                        _exit(125);
                write_all(fd, "0", 1);
                close(fd);
        }
        if (action->argv) {
                execvp(action->argv[0], action->argv);
                _exit(127);
        }
        if (action->exits)
                _exit(action->code);
        if (init_fd >= 0)
                sleep_under(init_fd, action->seconds);
        while (action->seconds < 0)
                pause();
        nap(action->seconds);
        _exit(0);
}

/* Starts it, behind exec.fifo if 'held', and to wait for process_release() before anything. It ends with 'init', unless
 * that is 0. */
static State process_start(const Action *action, bool held, pid_t init, int *ret_socket) {
        int terminal = -1, sockets[2];
        char fifo[PATH_SIZE];
        State s = { 0 };
        pid_t child;

        snprintf(fifo, sizeof(fifo), "%s", state_path("exec.fifo"));
        if (held && mkfifo(fifo, 0622) < 0)
                die(fifo);
        if (options.console_socket)
                terminal = console_send(options.console_socket);
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) < 0)
                die("socketpair");

        child = fork();
        if (child < 0)
                die("fork");
        if (child == 0) {
                close(sockets[0]);
                if (fault.direct_child || fork() == 0)
                        process_run(action, held ? fifo : NULL, terminal, sockets[1], init);
                _exit(0);
        }
        close(sockets[1]);
        if (!fault.direct_child)
                waitpid(child, NULL, 0);
        if (read(sockets[0], &s.pid, sizeof(s.pid)) != sizeof(s.pid))
                die("the process did not come up");
        *ret_socket = sockets[0];
        if (terminal >= 0)
                close(terminal);
        s.start_time = process_start_time(s.pid);
        return s;
}

static void process_release(int fd) {
        if (fd < 0)
                return;
        write_all(fd, "", 1);
        close(fd);
}

static State process_none(void) {
        State s = { .pid = 4194303, .start_time = 1 };

        while (kill(s.pid, 0) == 0)
                s.pid--;
        return s;
}

/* Written to .NAME and renamed, like runc's, and like runc's it fails if .NAME is there already. */
static int pid_file_write(pid_t pid) {
        char temporary[PATH_SIZE], text[64];
        const char *slash;
        int fd;

        if (!options.pid_file || (fault.pid && strcmp(fault.pid, "missing") == 0))
                return 0;
        slash = strrchr(options.pid_file, '/');
        snprintf(temporary, sizeof(temporary), "%.*s.%s", slash ? (int) (slash - options.pid_file) + 1 : 0,
                 options.pid_file, slash ? slash + 1 : options.pid_file);
        if (fault.pid && strcmp(fault.pid, "fifo") == 0)
                return mkfifo(options.pid_file, 0666) < 0 ? fail("mkfifo: %s", error_text()) : 0;
        if (fault.pid && strcmp(fault.pid, "directory") == 0)
                return mkdir(options.pid_file, 0777) < 0 ? fail("mkdir: %s", error_text()) : 0;
        if (fault.pid && strncmp(fault.pid, "link ", 5) == 0)
                return symlink(fault.pid + 5, options.pid_file) < 0 ? fail("symlink: %s", error_text()) : 0;
        fd = open(temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd < 0)
                return fail_verb("open %s: %s", temporary, error_text());

        snprintf(text, sizeof(text), "%d", pid);
        if (fault.pid)
                snprintf(text, sizeof(text), "%s",
                         strcmp(fault.pid, "garbage") == 0 ? "12garbage\n"
                         : strcmp(fault.pid, "empty") == 0 ? ""
                                                           : fault.pid);
        write_all(fd, text, strlen(text));
        close(fd);
        return rename(temporary, options.pid_file) < 0 ? fail("rename %s: %s", temporary, error_text()) : 0;
}

static void process_end_before_return(const State *s) {
        if (fault.die)
                (void) kill(s->pid, SIGKILL);
        if (fault.die || fault.wait_exit)
                wait_until_dead(s, 3600);
}

/* -----------------------------------------------------------------------------------------------------------------
 */
/* The verbs */

static int mkdir_parents(const char *path, mode_t mode) {
        char copy[PATH_SIZE];

        snprintf(copy, sizeof(copy), "%s", path);
        for (char *p = copy + 1; *p; p++)
                if (*p == '/') {
                        *p = '\0';
                        if (mkdir(copy, mode) < 0 && errno != EEXIST)
                                return -errno;
                        *p = '/';
                }
        return mkdir(copy, mode) < 0 && errno != EEXIST ? -errno : 0;
}

/* Does the configuration ask for a pid namespace of its own? */
static bool pid_namespace_is_private(const char *text) {
        static const char *const path[] = { "linux", "namespaces", NULL }, *const type[] = { "type", NULL },
                                 *const target[] = { "path", NULL };
        bool private = false;
        yajl_val tree, list;

        tree = yajl_tree_parse(text, NULL, 0);
        list = tree ? yajl_tree_get(tree, (const char **) path, yajl_t_array) : NULL;
        for (size_t i = 0; list && i < list->u.array.len; i++) {
                const char *t = YAJL_GET_STRING(
                        yajl_tree_get(list->u.array.values[i], (const char **) type, yajl_t_string));

                if (t && strcmp(t, "pid") == 0)
                private = !yajl_tree_get(list->u.array.values[i], (const char **) target, yajl_t_string);
        }
        yajl_tree_free(tree);
        return private;
}

static int bundle_action(Action *ret, bool *ret_pid_namespace) {
        static const char *const path[] = { "process", "args", NULL };
        char config[PATH_SIZE], *text;
        int r;

        snprintf(config, sizeof(config), "%s/config.json", options.bundle);
        if (access(options.bundle, X_OK) < 0)
                return fail_verb("chdir %s: %s", options.bundle, error_text());
        text = read_file(config);
        if (!text)
                return fail_verb("JSON specification file config.json not found");
        *ret_pid_namespace = pid_namespace_is_private(text);
        r = action_parse(text, path, ret);
        free(text);
        return r;
}

static int verb_create(State *s, int known) {
        Action action = { 0 };
        int fd = -1, r;
        State process;

        if (known >= 0)
                return fail_verb("container with given ID already exists");
        r = bundle_action(&action, &s->pid_namespace);
        if (r != 0)
                return r;
        if (mkdir_parents(options.root, 0700) < 0 || mkdir(state_path(""), 0711) < 0)
                return fail_verb("mkdir %s: %s", state_path(""), error_text());

        process = fault.no_process ? process_none()
                                   : process_start(&action, strcmp(options.verb, "create") == 0, 0, &fd);
        s->pid = process.pid;
        s->start_time = process.start_time;
        snprintf(s->bundle, sizeof(s->bundle), "%s", options.bundle);
        state_save(s);
        process_release(fd);
        nap(fault.pid_late);
        r = pid_file_write(s->pid);
        process_end_before_return(s);
        return r;
}

static int verb_start(State *s, int known) {
        struct pollfd p = { .events = POLLIN };
        char byte;

        switch (state_status(s)) {
        case STATUS_STOPPED:
                return fail("cannot start a container that has stopped");
        case STATUS_RUNNING:
                return fail("cannot start an already running container");
        case STATUS_PAUSED:
                return fail("cannot start a container in the paused state");
        case STATUS_CREATED:
                break;
        }

        p.fd = open(state_path("exec.fifo"), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        if (p.fd < 0)
                return fail("open exec fifo: %s", error_text());
        while (poll(&p, 1, 10) <= 0 || read(p.fd, &byte, 1) != 1)
                if (!process_is_alive(s))
                        return fail("container process is already dead");
        close(p.fd);
        unlink(state_path("exec.fifo"));
        process_end_before_return(s);
        return 0;
}

static int signal_parse(const char *s) {
        char *end;
        long n = strtol(s, &end, 10);

        if (end != s && *end == '\0')
                return (int) n;
        if (strncmp(s, "SIG", 3) == 0)
                s += 3;
        for (int i = 1; i < 32; i++)
                if (sigabbrev_np(i) && strcmp(sigabbrev_np(i), s) == 0)
                        return i;
        return -1;
}

static int verb_kill(State *s, int known) {
        int sig = signal_parse(options.signal ? options.signal : "15");

        if (sig < 0)
                return fail("unknown signal \"%s\"", options.signal);
        if (options.all) {
                for_each_process(s, send_signal, sig);
                return 0;
        }
        if (state_status(s) == STATUS_STOPPED)
                return fail("container not running");
        if (kill(s->pid, sig) < 0)
                return fail(errno == ESRCH ? "os: process already finished" : "unable to signal init: %s",
                            error_text());
        return 0;
}

static int verb_delete(State *s, int known) {
        Status status;

        if (known < 0) {
                state_remove(); /* of a create that was killed: runc, too, removes what is there, and then says: */
                return options.force ? 0 : fail("container does not exist");
        }

        status = state_status(s);
        if (status != STATUS_STOPPED && status != STATUS_CREATED && !options.force)
                return fail("cannot delete container %s that is not stopped: %s", options.id, status_names[status]);
        if (status != STATUS_STOPPED || options.force) {
                for_each_process(s, send_signal, SIGKILL);
                wait_until_dead(s, 10);
                if (process_is_alive(s))
                        return fail("container init still running");
        }
        state_remove();
        return 0;
}

static int verb_pause(State *s, int known) {
        Status status = state_status(s);

        if (status != STATUS_RUNNING && status != STATUS_CREATED)
                return fail("container not running");
        for_each_process(s, send_signal, SIGSTOP);
        s->paused = true;
        state_save(s);
        return 0;
}

static int verb_resume(State *s, int known) {
        if (state_status(s) != STATUS_PAUSED)
                return fail("container not paused");
        s->paused = false;
        state_save(s);
        for_each_process(s, send_signal, SIGCONT);
        return 0;
}

static int verb_ps(State *s, int known) {
        if (state_status(s) == STATUS_STOPPED) {
                puts("null");
                return 0;
        }
        putchar('[');
        for_each_process(s, print_pid, 0);
        puts("]");
        return 0;
}

static int verb_state(State *s, int known) {
        Status status = state_status(s);

        printf("{\n  \"ociVersion\": \"1.0.2-dev\",\n  \"id\": \"%s\",\n  \"pid\": %d,\n  \"status\": \"%s\",\n  \"bundle\": \"%s\",\n  \"owner\": \"\"\n}",
               options.id, status == STATUS_STOPPED ? 0 : s->pid, status_names[status], s->bundle);
        return 0;
}

static int verb_update(State *s, int known) {
        char reason[256] = "", *text;
        yajl_val tree;
        FILE *f;

        text = read_file(options.resources ? options.resources : "/dev/null");
        if (!text)
                return fail("open %s: %s", options.resources, error_text());
        if (!text[0])
                return fail("EOF");
        tree = yajl_tree_parse(text, reason, sizeof(reason));
        if (!tree)
                return fail("invalid JSON: %.60s", reason);
        yajl_tree_free(tree);

        f = fopen(state_path("resources"), "we");
        if (!f || fputs(text, f) < 0 || fclose(f) != 0)
                die("resources");
        free(text);
        return 0;
}

static int verb_exec(State *s, int known) {
        static const char *const path[] = { "args", NULL };
        Status status = state_status(s);
        Action action = { 0 };
        int fd = -1, r;
        State process;
        char *text;
        FILE *f;

        if (status == STATUS_STOPPED)
                return fail_verb("cannot exec in a stopped container");
        if (status == STATUS_PAUSED)
                return fail_verb("cannot exec in a paused container (use --ignore-paused to override)");
        text = options.process ? read_file(options.process) : NULL;
        if (!text)
                return fail_verb("open %s: %s", options.process ? options.process : "", error_text());
        r = action_parse(text, path, &action);
        free(text);
        if (r != 0)
                return r;

        process = fault.no_process ? process_none()
                                   : process_start(&action, false, s->pid_namespace ? s->pid : 0, &fd);
        f = fopen(state_path("execs"), "ae");
        if (!f || fprintf(f, "%d %llu\n", process.pid, process.start_time) < 0 || fclose(f) != 0)
                die("execs");
        process_release(fd);
        nap(fault.pid_late);
        r = pid_file_write(process.pid);
        process_end_before_return(&process);
        return r;
}

/* CRIU's own log, in the work directory. */
static void criu_log_write(const char *name) {
        char path[PATH_SIZE];
        FILE *f;

        if (!fault.criu_log || !options.work_path)
                return;
        (void) mkdir(options.work_path, 0700);
        snprintf(path, sizeof(path), "%s/%s", options.work_path, name);
        f = fopen(path, "we");
        if (!f || fprintf(f, "%s\n", fault.criu_log) < 0 || fclose(f) != 0)
                die(path);
}

static int verb_checkpoint(State *s, int known) {
        char path[PATH_SIZE];
        Status status = state_status(s);
        FILE *f;

        if (status != STATUS_RUNNING && status != STATUS_PAUSED)
                return fail("Container cannot be checkpointed in %s state", status_names[status]);
        if (!options.image_path || (mkdir(options.image_path, 0700) < 0 && errno != EEXIST))
                return fail("mkdir %s: %s", options.image_path ? options.image_path : "", error_text());
        snprintf(path, sizeof(path), "%s/fake.img", options.image_path);
        f = fopen(path, "we");
        if (!f || fprintf(f, "%s\n", options.id) < 0 || fclose(f) != 0)
                die(path);
        if (options.leave_running)
                return 0;
        for_each_process(s, send_signal, SIGKILL);
        wait_until_dead(s, 10);
        state_remove();
        return 0;
}

static int verb_restore(State *s, int known) {
        char path[PATH_SIZE];

        if (access(options.bundle, X_OK) < 0)
                return fail("chdir %s: %s", options.bundle, error_text());
        snprintf(path, sizeof(path), "%s/fake.img", options.image_path ? options.image_path : "");
        if (access(path, R_OK) < 0)
                return fail("criu failed: type NOTIFY errno 0\nlog file: %s", path);
        return verb_create(s, known);
}

static int (*const verb_functions[])(State *s, int known) = {
        verb_create, verb_start,  verb_kill,  verb_delete, verb_pause,      verb_resume,
        verb_ps,     verb_update, verb_state, verb_exec,   verb_checkpoint, verb_restore,
};

/* -----------------------------------------------------------------------------------------------------------------
 */

static int usage_error(const char *before, const char *what, const char *after) {
        printf("Incorrect Usage.\n");
        return fail("%s%s%s", before, what, after);
}

/* One option at argv[*i], of the verb, or global ones if NULL. 0, or 1 after having complained. */
static int parse_option(char **argv, int *i, const char *verb) {
        const char *name = argv[*i] + (argv[*i][1] == '-' ? 2 : 1), *equals = strchr(name, '=');
        size_t length = equals ? (size_t) (equals - name) : strlen(name);
        char padded[32];

        snprintf(padded, sizeof(padded), " %s ", verb ? verb : "");
        for (size_t k = 0; k < ELEMENTSOF(option_table); k++) {
                const Option *o = option_table + k;

                if (strlen(o->name) != length || strncmp(o->name, name, length) != 0 || !o->verbs != !verb ||
                    (verb && !strstr(o->verbs, padded)))
                        continue;
                if (o->flag) {
                        *o->flag = !equals || strcmp(equals, "=true") == 0;
                        return 0;
                }
                if (!equals && !argv[*i + 1])
                        return usage_error("flag needs an argument: -", name, "");
                *o->value = equals ? equals + 1 : argv[++*i];
                return 0;
        }
        return usage_error("flag provided but not defined: -", name, "");
}

static int parse_command_line(char **argv, size_t *ret_verb) {
        int i = 1, r;

        for (; argv[i] && argv[i][0] == '-'; i++) {
                r = parse_option(argv, &i, NULL);
                if (r != 0)
                        return r;
        }
        invocation.argv = argv;
        options.verb = argv[i] ? argv[i++] : "";
        for (*ret_verb = 0; *ret_verb < ELEMENTSOF(verb_table) && strcmp(verb_table[*ret_verb], options.verb) != 0;
             ++*ret_verb)
                ;
        if (*ret_verb == ELEMENTSOF(verb_table)) {
                (void) fail("No help topic for '%s'", options.verb);
                return 3;
        }

        for (; argv[i] && argv[i][0] == '-' && argv[i][1]; i++) {
                r = parse_option(argv, &i, options.verb);
                if (r != 0)
                        return r;
        }
        options.id = argv[i];
        if (options.id)
                options.signal = argv[i + 1];
        if (!options.id || strchr(options.id, '/') || options.id[0] == '.')
                return usage_error("runc: \"", options.verb, "\" requires exactly 1 argument(s)");
        invocation.verb = options.force ? "delete-force" : options.all ? "kill-all" : options.verb;
        invocation.id = options.id;
        if (strcmp(options.verb, "exec") == 0 && options.pid_file) {
                const char *name = strrchr(options.pid_file, '/') ? strrchr(options.pid_file, '/') + 1
                                                                  : options.pid_file;

                snprintf(invocation.exec_id, sizeof(invocation.exec_id), "%.*s",
                         (int) (strstr(name, ".pid") ? (size_t) (strrchr(name, '.') - name) : strlen(name)), name);
        }
        return 0;
}

static int run_verb(size_t verb) {
        State s;
        int known;

        log_bytes(""); /* runc opens its log in any case */
        known = state_load(&s);
        if (known < 0 && strcmp(options.verb, "create") != 0 && strcmp(options.verb, "restore") != 0 &&
            !options.force)
                return strcmp(options.verb, "exec") == 0 ? fail_verb("container does not exist")
                                                         : fail("container does not exist");
        return verb_functions[verb](&s, known);
}

int main(int argc, char *argv[]) {
        char control[PATH_SIZE];
        size_t verb;
        int r;

        r = parse_command_line(argv, &verb);
        if (r != 0)
                return r;

        if (getenv("FAKE_RUNTIME_CONTROL"))
                snprintf(control, sizeof(control), "%s", getenv("FAKE_RUNTIME_CONTROL"));
        else
                snprintf(control, sizeof(control), "%s/.control", options.root);
        fault_load(control, &invocation);
        fault_before(options.log);

        if (strcmp(options.verb, "checkpoint") == 0 || strcmp(options.verb, "restore") == 0)
                criu_log_write(strcmp(options.verb, "restore") == 0 ? "restore.log" : "dump.log");
        r = fault.exit >= 0 ? fail_injected(fault.exit) : run_verb(verb);

        fault_after();
        if (fault.exit_after >= 0 && r == 0)
                r = fail_injected(fault.exit_after);
        fflush(NULL);
        fault_record_end(&invocation, r);
        return r;
}
