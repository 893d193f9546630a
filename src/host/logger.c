/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Logger processes: taking their URI apart, starting, taking back, ending. */

#include "host/logger.h"
#include "host/spawn.h"
#include "util/log.h"
#include "util/strv.h"
#include "util/text.h"
#include "util/uri.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/stat.h>

#define TIMER_ACCURACY_USEC (10 * USEC_PER_MSEC)

/* Of linux/pidfd.h, which may be older than the kernel we run on: since Linux 6.9 a whole process group can be meant. */
#define SIGNAL_PROCESS_GROUP (1U << 2)

/* ---- the URI ---- */

static int logger_parse_fail(char *reason, char **reterr_reason) {
        if (!reason)
                return -ENOMEM;

        *reterr_reason = reason;
        return -EINVAL;
}

static int logger_add_argument(char ***argv, const char *s, size_t size) {
        _cleanup_(freep) char *argument = NULL;
        int r;

        r = uri_unescape(s, size, true, &argument);
        if (r < 0)
                return r;
        return strv_extend(argv, argument);
}

static int logger_add_query(char ***argv, const char *query) {
        for (const char *s = query, *end;; s = end + 1) {
                size_t key;
                int r;

                end = strchrnul(s, '&');
                if (end > s) {
                        key = strcspn(s, "=&");
                        r = logger_add_argument(argv, s, key);
                        if (r < 0)
                                return r;

                        s += key + (s[key] == '=');
                        r = logger_add_argument(argv, s, (size_t) (end - s));
                        if (r < 0)
                                return r;
                }
                if (!*end)
                        return 0;
        }
}

int logger_parse(const char *uri, char ***ret_argv, char **reterr_reason) {
        _cleanup_(strv_freep) char **argv = NULL;
        _cleanup_(freep) char *path = NULL;
        const char *query;
        int r;

        r = uri_split(uri, &path, &query, reterr_reason);
        if (r < 0)
                return r;

        r = strv_extend(&argv, path);
        if (r < 0)
                return r;
        r = logger_add_query(&argv, strempty(query));
        if (r == -EINVAL)
                return logger_parse_fail(
                        strdup("a % in a URI must be followed by two hexadecimal digits, and not by 00"),
                        reterr_reason);
        if (r < 0)
                return r;

        *ret_argv = TAKE_PTR(argv);
        return 0;
}

/* ---- one that runs ---- */

struct Logger {
        sd_event *event;
        Reaper *reaper;  /* its parent's, which is us, ... */
        PidWatch *watch; /* ... or, of one that was taken back, this */
        pid_t pid;       /* 0 once it has ended */
        uint64_t start_time;

        sd_event_source *io; /* our end of its descriptor 5; NULL once ready() has been called */
        sd_event_source *timer;
        LoggerReady ready;
        void *ready_userdata;
        bool failed; /* it never was ready */

        LoggerExited exited;
        void *exited_userdata;

        bool *freed; /* set when it is freed, for one who calls back and has not done with it */
};

static void logger_tell_ready(Logger *l, int error, const char *text) {
        l->io = sd_event_source_disable_unref(l->io);
        l->timer = sd_event_source_disable_unref(l->timer);
        l->failed = error < 0;
        l->ready(l->ready_userdata, error, text);
}

static void logger_tell_crashed(Logger *l, int wait_status) {
        static const char why[] = "logging binary did not call ready (it may have crashed or exited prematurely)";
        _cleanup_(freep) char *text = NULL;

        text = strdup_printf("%s: its exit status was %u", why, exit_status_from_wait(wait_status));
        logger_tell_ready(l, -EPIPE, text ?: why);
}

/* What came through its descriptor 5: 1 for a byte, 0 for end-of-file, or -errno (-EAGAIN). */
static int logger_read_ready(Logger *l) {
        char c;
        ssize_t n;

        n = read(sd_event_source_get_io_fd(l->io), &c, 1);
        return n < 0 ? -errno : (int) n;
}

static int logger_on_ready(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        Logger *l = userdata;
        PidStat st;
        int r;

        r = logger_read_ready(l);
        if (r == -EAGAIN || r == -EINTR)
                return 0;

        /* A process that ends closes its descriptors as well. By then the kernel has marked it as ending, so that this
         * is no matter of who is faster. Its exit will be told in a moment, with its status. */
        if (r <= 0 && (pid_read_stat(l->pid, &st) < 0 || st.exiting)) {
                (void) sd_event_source_set_enabled(source, SD_EVENT_OFF);
                return 0;
        }

        logger_tell_ready(l, 0, "logging binary is ready");
        return 0;
}

/* Its number, and that of its group, is its own until we have reaped it. With the processes that it has started, which
 * nobody else would end; and itself once more, since it may have left its group. */
static void logger_kill_child(pid_t pid) {
        (void) kill(-pid, SIGKILL);
        (void) kill(pid, SIGKILL);
}

static int logger_on_timeout(sd_event_source *source, uint64_t usec, void *userdata) {
        Logger *l = userdata;

        logger_kill_child(l->pid);
        logger_tell_ready(l, -ETIMEDOUT, "logging binary did not call ready in time, and was killed");
        return 0;
}

static void logger_tell_exited(Logger *l, int wait_status) {
        l->pid = 0;
        if (l->exited && !l->failed)
                l->exited(l->exited_userdata, wait_status);
}

static void logger_on_child_exit(void *userdata, pid_t pid, int wait_status, uint64_t when_usec) {
        bool freed = false;
        Logger *l = userdata;

        l->pid = 0;
        if (l->io) {
                if (logger_read_ready(l) <= 0) {
                        logger_tell_crashed(l, wait_status);
                        return;
                }

                /* It said that it is ready, and ended before we have heard it. */
                l->freed = &freed;
                logger_tell_ready(l, 0, "logging binary is ready");
                if (freed)
                        return;
                l->freed = NULL;
        }
        logger_tell_exited(l, wait_status);
}

static void logger_on_adopted_exit(void *userdata, int wait_status, uint64_t when_usec) {
        logger_tell_exited(userdata, wait_status);
}

Logger *logger_free(Logger *l) {
        if (!l)
                return NULL;

        if (l->freed)
                *l->freed = true;
        if (l->reaper && l->pid > 0)
                reaper_unwatch(l->reaper, l->pid);
        (void) pid_watch_free(l->watch);
        sd_event_source_disable_unref(l->io);
        sd_event_source_disable_unref(l->timer);
        sd_event_unref(l->event);
        return mfree(l);
}

/* ---- starting ---- */

/* Its complaints are worth to be seen. But a pipe has a reader that may end with us, and would then kill it. */
static int logger_get_stderr(void) {
        struct stat st;

        if (fstat(STDERR_FILENO, &st) < 0 || S_ISFIFO(st.st_mode))
                return -EBADF;
        return STDERR_FILENO;
}

/* 'ready' becomes its descriptor 5. */
static int logger_spawn(const LoggerParameters *p, int ready, pid_t *ret) {
        _cleanup_(strv_freep) char **argv = NULL, **environment = NULL;
        _cleanup_(freep) char *reason = NULL;
        const int fds[] = { p->output, p->error, ready };
        SpawnParameters spawn_parameters;
        int r;

        r = logger_parse(p->uri, &argv, &reason);
        if (r < 0)
                return r;
        r = strv_extendf(&environment, "CONTAINER_ID=%s", p->container_id);
        if (r < 0)
                return r;
        r = strv_extendf(&environment, "CONTAINER_NAMESPACE=%s", p->ns);
        if (r < 0)
                return r;

        spawn_parameters = (SpawnParameters) {
                .program = argv[0],
                .argv = argv,
                .stdio = { -EBADF, -EBADF, logger_get_stderr() },
                .fds = fds,
                .n_fds = ELEMENTSOF(fds),
                .environment = environment,
                .outlives_us = true,
        };
        return spawn(&spawn_parameters, ret);
}

/* Takes 'fd' over, on success only. */
static int logger_add_sources(Logger *l, int fd, uint64_t timeout_usec) {
        int r;

        r = sd_event_add_io(l->event, &l->io, fd, EPOLLIN, logger_on_ready, l);
        if (r < 0)
                return r;
        (void) sd_event_source_set_description(l->io, "logger-ready");

        if (timeout_usec != USEC_INFINITY) {
                r = sd_event_add_time_relative(l->event, &l->timer, CLOCK_MONOTONIC, timeout_usec,
                                               TIMER_ACCURACY_USEC, logger_on_timeout, l);
                if (r < 0)
                        return r;
                (void) sd_event_source_set_description(l->timer, "logger-timeout");
        }
        return sd_event_source_set_io_fd_own(l->io, true);
}

static int logger_start(Logger *l, const LoggerParameters *p, int ready) {
        PidStat st;
        pid_t pid;
        int r;

        r = logger_spawn(p, ready, &pid);
        if (r < 0)
                return r;

        /* It cannot be gone altogether: the reaper works in the loop only. */
        r = pid_read_stat(pid, &st);
        if (r >= 0)
                r = reaper_watch(l->reaper, pid, logger_on_child_exit, l);
        if (r < 0) {
                logger_kill_child(pid);
                return r;
        }

        l->pid = pid;
        l->start_time = st.start_time;
        return 0;
}

int logger_new(Logger **ret, sd_event *event, Reaper *reaper, const LoggerParameters *p, LoggerReady ready,
               void *userdata) {
        _cleanup_(safe_closep) int ours = -EBADF, its = -EBADF;
        _cleanup_(logger_freep) Logger *l = NULL;
        int fds[2], r;

        l = calloc(1, sizeof(Logger));
        if (!l)
                return -ENOMEM;

        l->event = sd_event_ref(event);
        l->reaper = reaper;
        l->ready = ready;
        l->ready_userdata = userdata;

        if (pipe2(fds, O_CLOEXEC) < 0)
                return -errno;
        ours = fds[0];
        its = fds[1];
        if (fcntl(ours, F_SETFL, O_NONBLOCK) < 0)
                return -errno;

        /* What can fail is done first: it is easier not to start a logger than to end one. */
        r = logger_add_sources(l, ours, p->timeout_usec);
        if (r < 0)
                return r;
        (void) TAKE_FD(ours);

        r = logger_start(l, p, its);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(l);
        return 0;
}

int logger_adopt(Logger **ret, sd_event *event, PidWatcher *pids, pid_t pid, uint64_t start_time) {
        _cleanup_(logger_freep) Logger *l = NULL;
        PidStat st;
        int r;

        /* Without the time it could be anybody. */
        if (pid <= 0 || start_time == 0)
                return -ESRCH;

        l = calloc(1, sizeof(Logger));
        if (!l)
                return -ENOMEM;

        l->event = sd_event_ref(event);
        r = pid_watch_new(&l->watch, pids, pid, start_time, logger_on_adopted_exit, l);
        if (r < 0)
                return r;
        r = pid_read_stat(pid, &st);
        if (r < 0)
                return r;
        if (st.exiting)
                return -ESRCH;

        l->pid = pid;
        l->start_time = start_time;
        *ret = TAKE_PTR(l);
        return 0;
}

void logger_set_on_exited(Logger *l, LoggerExited exited, void *userdata) {
        l->exited = exited;
        l->exited_userdata = userdata;
}

pid_t logger_get_pid(const Logger *l) {
        return l->pid;
}

uint64_t logger_get_start_time(const Logger *l) {
        return l->start_time;
}

/* ---- ending ----
 *
 * What is left of a logger that has been told to end: a pidfd, by which it is seen to end and sent signals, whoever is
 * its parent; and a timer. Both sources are the loop's own ("floating"), and the last to go takes this with it. */

typedef struct Ending {
        int fd;
        pid_t pid;
        bool is_child;
        bool terminated; /* SIGTERM has been sent */
        unsigned n_sources;
        sd_event_source *exit; /* borrowed, as is the next */
        sd_event_source *timer;
} Ending;

static Ending *ending_free(Ending *e) {
        if (!e)
                return NULL;

        safe_close(e->fd);
        return mfree(e);
}

DEFINE_CLEANUP(Ending *, ending_free);

static void ending_on_source_destroyed(void *userdata) {
        Ending *e = userdata;

        if (--e->n_sources == 0)
                (void) ending_free(e);
}

static void source_drop_floating(sd_event_source *source) {
        sd_event_source_ref(source);
        (void) sd_event_source_set_floating(source, false);
        sd_event_source_disable_unref(source);
}

static void ending_drop(Ending *e) {
        sd_event_source *exit_source = e->exit, *timer = e->timer;

        source_drop_floating(exit_source);
        source_drop_floating(timer);
}

static int ending_on_exit(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        ending_drop(userdata);
        return 0;
}

static void ending_kill(const Ending *e) {
        /* A child that can be sent a signal keeps its number until we reap it, which is not now. */
        if (pidfd_send_signal(e->fd, SIGKILL, NULL, SIGNAL_PROCESS_GROUP) < 0 && errno == EINVAL && e->is_child &&
            pidfd_send_signal(e->fd, 0, NULL, 0) >= 0)
                (void) kill(-e->pid, SIGKILL);

        (void) pidfd_send_signal(e->fd, SIGKILL, NULL, 0);
}

static int ending_arm(Ending *e, uint64_t usec) {
        int r;

        r = sd_event_source_set_time_relative(e->timer, usec);
        if (r < 0)
                return r;
        return sd_event_source_set_enabled(e->timer, SD_EVENT_ONESHOT);
}

/* SIGTERM at first, to the logger alone: it may have to tell those that it has started what to do. */
static void ending_go_on(Ending *e) {
        if (!e->terminated && pidfd_send_signal(e->fd, SIGTERM, NULL, 0) >= 0 &&
            ending_arm(e, LOGGER_STOP_USEC) >= 0) {
                e->terminated = true;
                return;
        }

        /* From here on only its end is waited for, however long that takes. */
        if (e->terminated)
                log_warning("Logger process %d did not end within %u s after SIGTERM, killing it", e->pid,
                            (unsigned) (LOGGER_STOP_USEC / USEC_PER_SEC));
        ending_kill(e);
}

static int ending_on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        ending_go_on(userdata);
        return 0;
}

/* Hands both sources, and with them 'e', to the loop. */
static void ending_float(Ending *e) {
        sd_event_source *sources[] = { e->exit, e->timer };

        e->n_sources = ELEMENTSOF(sources);
        for (size_t i = 0; i < ELEMENTSOF(sources); i++) {
                (void) sd_event_source_set_destroy_callback(sources[i], ending_on_source_destroyed);
                (void) sd_event_source_set_floating(sources[i], true);
                sd_event_source_unref(sources[i]);
        }
}

static int ending_new(const Logger *l, uint64_t grace_usec) {
        _cleanup_(ending_freep) Ending *e = NULL;
        int r;

        e = malloc(sizeof(Ending));
        if (!e)
                return -ENOMEM;

        *e = (Ending) { .fd = pid_open(l->pid, l->start_time), .pid = l->pid, .is_child = l->reaper };
        if (e->fd < 0)
                return e->fd;

        r = sd_event_add_io(l->event, &e->exit, e->fd, EPOLLIN, ending_on_exit, e);
        if (r < 0)
                return r;

        /* Off to begin with: a time as far away as 'grace_usec' may be is more than it takes. */
        r = sd_event_add_time(l->event, &e->timer, CLOCK_MONOTONIC, UINT64_MAX, TIMER_ACCURACY_USEC, ending_on_timer,
                              e);
        if (r < 0) {
                sd_event_source_disable_unref(e->exit);
                return r;
        }
        (void) sd_event_source_set_description(e->exit, "logger-ending");
        (void) sd_event_source_set_description(e->timer, "logger-ending-timer");

        ending_float(e);
        if (grace_usec == 0 || (grace_usec != USEC_INFINITY && ending_arm(e, grace_usec) < 0))
                ending_go_on(e);
        (void) TAKE_PTR(e);
        return 0;
}

Logger *logger_stop(Logger *l, uint64_t grace_usec) {
        int r;

        if (!l || l->pid == 0)
                return logger_free(l);

        r = ending_new(l, grace_usec);
        if (r < 0 && r != -ESRCH) {
                (void) log_warning_errno(r, "Failed to watch logger process %d until it ends, telling it now: %m",
                                         l->pid);
                if (l->reaper)
                        (void) kill(l->pid, SIGTERM);
                else
                        (void) pidfd_send_signal(pid_watch_get_fd(l->watch), SIGTERM, NULL, 0);
        }
        return logger_free(l);
}
