/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The terminal of a process, connected with our own standard streams.
 *
 * Each direction has a buffer that is filled when it is empty and emptied before it is filled again, so nothing is
 * lost and whoever is slow slows the other side only. Nothing here may block: our streams are opened anew, where that
 * is possible, to have them non-blocking for ourselves alone. The master is everybody's who has the terminal open, and
 * another one may have taken what woke us: so it is non-blocking for all of them. */

#include "ctl/terminal.h"

#include "ctl/tty.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>

/* What a blocking descriptor takes without blocking once it is writable: a terminal's buffer is made of such pieces. */
#define BLOCKING_WRITE_MAX 256
#define READ_MAX 4096

/* For a process that has ended: how long its terminal must have been silent, and how much can have been in there. */
#define QUIET_USEC (100 * USEC_PER_MSEC)
#define QUIET_ACCURACY_USEC USEC_PER_MSEC
#define TAIL_MAX (128 * 1024)

typedef struct Flow {
        uint8_t data[READ_MAX + 2 * DETACH_KEYS_MAX];
        size_t begin, end;
} Flow;

/* One of our descriptors in the event loop. What epoll does not take (a regular file) is always ready. */
typedef struct Port {
        int fd;
        bool pollable;
        bool blocking;
        sd_event_source *source;
} Port;

struct Terminal {
        sd_event *event;
        TerminalHandler handler;
        void *userdata;
        DetachKeys keys;
        Port in, out, master;
        Flow typed, shown;
        sd_event_source *timer, *stop_source, *continue_source;
        size_t tail;
        bool in_is_tty;
        bool in_ended;
        bool in_line; /* what was typed last did not end a line */
        bool raw;
        bool closed; /* nobody has the process's side open at the moment */
        bool out_dead;
        bool ended;  /* the process */
        bool silent; /* and nothing more comes from the terminal */
};

static bool flow_is_empty(const Flow *f) {
        return f->begin == f->end;
}

static void flow_take(Flow *f, size_t n) {
        f->begin += n;
        if (f->begin == f->end)
                f->begin = f->end = 0;
}

/* -- ports -- */

static void port_done(Port *p) {
        p->source = sd_event_source_disable_unref(p->source);
        p->fd = safe_close(p->fd);
}

/* A description of our own, which can be non-blocking without anybody else noticing. There is none of a socket, nor of
 * the master of a terminal, where opening it makes another terminal, nor of what is not ours to open. */
static int port_open(Port *p, int fd, int flags) {
        char path[sizeof("/proc/self/fd/") + 12];
        struct stat st;
        unsigned n;

        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        if (fstat(fd, &st) == 0 && (S_ISFIFO(st.st_mode) || (isatty(fd) && ioctl(fd, TIOCGPTN, &n) < 0)))
                p->fd = open(path, flags | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
        if (p->fd >= 0)
                return 0;

        p->blocking = true;
        p->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        return p->fd < 0 ? -errno : 0;
}

static int port_watch(Port *p, sd_event *event, sd_event_io_handler_t on_io, sd_event_handler_t on_ready,
                      void *userdata) {
        int r;

        r = sd_event_add_io(event, &p->source, p->fd, 0, on_io, userdata);
        if (r >= 0) {
                p->pollable = true;
                return sd_event_source_set_enabled(p->source, SD_EVENT_OFF);
        }
        if (r != -EPERM)
                return r;

        r = sd_event_add_defer(event, &p->source, on_ready, userdata);
        return r < 0 ? r : sd_event_source_set_enabled(p->source, SD_EVENT_OFF);
}

/* A source that wants nothing is switched off: epoll would tell of a hang-up all the time. */
static void port_want(Port *p, uint32_t events) {
        if (!p->source)
                return;
        if (p->pollable && events != 0)
                (void) sd_event_source_set_io_events(p->source, events);
        (void) sd_event_source_set_enabled(p->source, events != 0 ? SD_EVENT_ON : SD_EVENT_OFF);
}

static bool error_is_transient(int error) {
        return error == EAGAIN || error == EINTR;
}

/* Writes what goes. 0, or -errno when nothing ever will. */
static int port_write(Port *p, Flow *f) {
        size_t size = f->end - f->begin;
        ssize_t n;

        if (p->blocking && size > BLOCKING_WRITE_MAX)
                size = BLOCKING_WRITE_MAX;
        n = write(p->fd, f->data + f->begin, size);
        if (n < 0)
                return error_is_transient(errno) ? 0 : -errno;
        flow_take(f, (size_t) n);
        return 0;
}

/* -- what is wanted next -- */

static void terminal_arrange(Terminal *t) {
        bool typing = !t->in_ended && !t->ended && flow_is_empty(&t->typed);
        bool showing = !t->closed && !t->silent && flow_is_empty(&t->shown);

        port_want(&t->in, typing ? EPOLLIN : 0);
        port_want(&t->out, flow_is_empty(&t->shown) ? 0 : EPOLLOUT);
        port_want(&t->master, (showing ? EPOLLIN : 0) | (flow_is_empty(&t->typed) || t->closed ? 0 : EPOLLOUT));
}

static void timer_arm(Terminal *t) {
        (void) sd_event_source_set_time_relative(t->timer, QUIET_USEC);
        (void) sd_event_source_set_enabled(t->timer, SD_EVENT_ONESHOT);
}

/* Somebody who did not get to run for a while finds the timer due together with what it has not waited for. */
static bool terminal_has_more(const Terminal *t) {
        struct pollfd p = { .fd = t->master.fd, .events = POLLIN };

        return poll(&p, 1, 0) > 0 && (p.revents & POLLIN);
}

/* Either the process still lives, and may open its terminal again after nobody had it open: then it is looked at from
 * time to time, since epoll has no word for it. Or it has ended, and its terminal has been silent long enough. */
static int terminal_on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        Terminal *t = userdata;

        if (!t->ended)
                t->closed = false;
        else if (flow_is_empty(&t->shown) && !terminal_has_more(t))
                t->silent = true;
        else
                timer_arm(t);
        terminal_arrange(t);
        return 0;
}

/* -- shown -- */

static void terminal_show(Terminal *t) {
        if (t->out_dead) {
                flow_take(&t->shown, t->shown.end - t->shown.begin);
                return;
        }
        if (port_write(&t->out, &t->shown) >= 0) {
                /* The terminal was not read while this waited: its silence counts from now on. */
                if (t->ended && flow_is_empty(&t->shown))
                        timer_arm(t);
                return;
        }

        t->out_dead = true;
        flow_take(&t->shown, t->shown.end - t->shown.begin);
        t->handler(TERMINAL_HUNG_UP, t->userdata);
}

static void terminal_read_master(Terminal *t) {
        ssize_t n;

        n = read(t->master.fd, t->shown.data, READ_MAX);
        if (n < 0 && error_is_transient(errno))
                return;
        if (n <= 0) { /* EIO, to be exact */
                t->closed = true;
                t->silent = t->ended;
                timer_arm(t);
                return;
        }

        t->shown.end = (size_t) n;
        if (t->ended) {
                timer_arm(t);
                t->tail += (size_t) n;
                t->silent = t->tail >= TAIL_MAX;
        }
        if (!t->out.blocking || t->out_dead)
                terminal_show(t);
}

/* -- typed -- */

/* The end of a file is typed as somebody would: by the key that means it, twice within a line, where the first one
 * only sends what has been typed of it. Without lines it is a character like others, and typed once. */
static void terminal_type_end(Terminal *t) {
        struct termios modes;
        bool in_line = t->in_line;
        cc_t key = 4;

        t->in_ended = true;
        if (t->in_is_tty)
                return;

        if (tcgetattr(t->master.fd, &modes) == 0) {
                if (modes.c_cc[VEOF] != _POSIX_VDISABLE)
                        key = modes.c_cc[VEOF];
                in_line = in_line && (modes.c_lflag & ICANON);
        }
        t->typed.data[t->typed.end++] = key;
        if (in_line)
                t->typed.data[t->typed.end++] = key;
}

/* What was typed before the keys is the process's, as far as it goes there at once. */
static void terminal_detach(Terminal *t) {
        struct pollfd p = { .fd = t->master.fd, .events = POLLOUT };

        while (!flow_is_empty(&t->typed) && poll(&p, 1, 0) > 0 && (p.revents & POLLOUT))
                if (port_write(&t->master, &t->typed) < 0)
                        break;
        t->handler(TERMINAL_DETACHED, t->userdata);
}

static void terminal_read_in(Terminal *t) {
        uint8_t buffer[READ_MAX];
        bool detached = false;
        ssize_t n;

        n = read(t->in.fd, buffer, sizeof(buffer));
        if (n < 0 && error_is_transient(errno))
                return;
        if (n <= 0) {
                terminal_type_end(t);
                return;
        }

        t->in_line = buffer[n - 1] != '\n';
        if (t->raw)
                detached = detach_keys_filter(&t->keys, buffer, (size_t) n, t->typed.data, &t->typed.end);
        else {
                memcpy(t->typed.data, buffer, (size_t) n);
                t->typed.end = (size_t) n;
        }
        if (detached)
                terminal_detach(t);
}

/* -- handlers -- */

static int terminal_on_in(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        Terminal *t = userdata;

        terminal_read_in(t);
        terminal_arrange(t);
        return 0;
}

static int terminal_on_in_ready(sd_event_source *source, void *userdata) {
        return terminal_on_in(source, -EBADF, EPOLLIN, userdata);
}

static int terminal_on_out(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        Terminal *t = userdata;

        terminal_show(t);
        terminal_arrange(t);
        return 0;
}

static int terminal_on_out_ready(sd_event_source *source, void *userdata) {
        return terminal_on_out(source, -EBADF, EPOLLOUT, userdata);
}

static int terminal_on_master(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        Terminal *t = userdata;

        if ((revents & EPOLLOUT) && !flow_is_empty(&t->typed) && port_write(&t->master, &t->typed) < 0)
                flow_take(&t->typed, t->typed.end - t->typed.begin);
        if ((revents & (EPOLLIN | EPOLLHUP | EPOLLERR)) && flow_is_empty(&t->shown))
                terminal_read_master(t);
        terminal_arrange(t);
        return 0;
}

/* Somebody stops us, not by a key: who has our terminal meanwhile is to find it as it was. What lets us go on is
 * heard of below. */
static int terminal_on_stop(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata) {
        tty_restore();
        (void) raise(SIGSTOP);
        return 0;
}

/* Who stopped us without a word may have changed the modes. In the background the terminal is somebody else's, and
 * touching it would stop us again; there is another signal when it becomes ours. */
static int terminal_on_continue(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata) {
        if (tty_is_ours(STDIN_FILENO))
                (void) tty_make_raw(STDIN_FILENO);
        return 0;
}

/* -- life -- */

static int terminal_take_keyboard(Terminal *t, const DetachKeys *keys) {
        int r;

        r = port_open(&t->in, STDIN_FILENO, O_RDONLY);
        if (r >= 0)
                r = port_watch(&t->in, t->event, terminal_on_in, terminal_on_in_ready, t);
        if (r < 0)
                return r;

        t->in_is_tty = isatty(STDIN_FILENO);
        if (!t->in_is_tty)
                return 0;

        t->keys = *keys;
        r = sd_event_add_signal(t->event, &t->stop_source, SIGTSTP | SD_EVENT_SIGNAL_PROCMASK, terminal_on_stop, t);
        if (r >= 0)
                r = sd_event_add_signal(t->event, &t->continue_source, SIGCONT | SD_EVENT_SIGNAL_PROCMASK,
                                        terminal_on_continue, t);
        if (r >= 0)
                r = tty_make_raw(STDIN_FILENO);
        t->raw = r >= 0;
        return r;
}

/* Without it reading may still hang, but only when there are several of us. */
static void terminal_unblock(Port *p) {
        int flags = fcntl(p->fd, F_GETFL);

        p->blocking = flags < 0 || (!(flags & O_NONBLOCK) && fcntl(p->fd, F_SETFL, flags | O_NONBLOCK) < 0);
}

static int terminal_watch(Terminal *t, bool interactive, const DetachKeys *keys) {
        int r;

        r = port_open(&t->out, STDOUT_FILENO, O_WRONLY);
        if (r >= 0)
                r = port_watch(&t->out, t->event, terminal_on_out, terminal_on_out_ready, t);
        if (r >= 0)
                r = port_watch(&t->master, t->event, terminal_on_master, NULL, t);
        if (r >= 0)
                r = sd_event_add_time_relative(t->event, &t->timer, CLOCK_MONOTONIC, QUIET_USEC, QUIET_ACCURACY_USEC,
                                               terminal_on_timer, t);
        if (r >= 0)
                r = sd_event_source_set_enabled(t->timer, SD_EVENT_OFF);
        if (r < 0)
                return r;
        return interactive ? terminal_take_keyboard(t, keys) : 0;
}

int terminal_new(sd_event *event, int master, bool interactive, const DetachKeys *keys, TerminalHandler handler,
                 void *userdata, Terminal **ret) {
        _cleanup_(terminal_freep) Terminal *t = NULL;
        int r;

        t = calloc(1, sizeof(*t));
        if (!t)
                return -ENOMEM;

        t->event = sd_event_ref(event);
        t->handler = handler;
        t->userdata = userdata;
        t->in.fd = t->out.fd = -EBADF;
        t->in_ended = !interactive;
        t->master = (Port) { .fd = master };
        terminal_unblock(&t->master);

        /* A reader that has gone is to be heard of by EPIPE. */
        (void) signal(SIGPIPE, SIG_IGN);
        r = terminal_watch(t, interactive, keys);
        if (r < 0) {
                t->master.fd = -EBADF;
                return r;
        }

        terminal_arrange(t);
        *ret = TAKE_PTR(t);
        return 0;
}

Terminal *terminal_free(Terminal *t) {
        if (!t)
                return NULL;

        if (t->raw)
                tty_restore();
        sd_event_source_disable_unref(t->continue_source);
        sd_event_source_disable_unref(t->stop_source);
        sd_event_source_disable_unref(t->timer);
        port_done(&t->in);
        port_done(&t->out);
        port_done(&t->master);
        sd_event_unref(t->event);
        return mfree(t);
}

bool terminal_is_raw(const Terminal *t) {
        return t->raw;
}

void terminal_resize(const Terminal *t, uint16_t columns, uint16_t rows) {
        const struct winsize size = { .ws_col = columns, .ws_row = rows };

        (void) ioctl(t->master.fd, TIOCSWINSZ, &size);
}

void terminal_end(Terminal *t) {
        t->ended = true;
        t->closed = false;
        flow_take(&t->typed, t->typed.end - t->typed.begin);
        timer_arm(t);
        terminal_arrange(t);
}

bool terminal_is_drained(const Terminal *t) {
        return t->silent && flow_is_empty(&t->shown);
}
