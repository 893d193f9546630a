/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Moves bytes from one descriptor to another, in the loop.
 *
 * Whatever wakes a pump, it takes one turn: pump_move() moves what can be moved, up to turn_size, and says why
 * it stopped; pump_wait() then enables just those event sources that can tell of a change. */

#include "host/pump.h"

#include "util/file.h"
#include "util/log.h"

#include <assert.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <termios.h>

/* One read of a terminal brings 4095 bytes at most; what brings less than this has left little behind. */
#define TERMINAL_READ_MIN 2048

/* What the kernel keeps of a terminal's output is far less: what comes beyond this after pump_finish() has been
 * written after it. */
#define TERMINAL_LEFT_MAX PUMP_BUFFER_SIZE

/* What was written to a terminal reaches its master by way of a kernel thread. */
#define SETTLE_USEC (20 * USEC_PER_MSEC)
#define N_SETTLE_MAX 3U

/* Nothing tells that somebody has opened a terminal. */
#define ABSENCE_USEC_MIN (10 * USEC_PER_MSEC)
#define ABSENCE_USEC_MAX (30 * USEC_PER_SEC)

/* Why a turn has ended. */
typedef enum PumpState {
        PUMP_READY,     /* it has had its share; there may be more */
        PUMP_STARVED,   /* nothing to read now */
        PUMP_HUNG_UP,   /* nobody has the terminal open that is read from */
        PUMP_STUCK,     /* 'to' takes no more now */
        PUMP_ABANDONED, /* nobody has the terminal open that is written to */
        PUMP_ENDED,     /* all has been read and written */
} PumpState;

struct Pump {
        sd_event *event;
        sd_event_source *input, *output;
        sd_event_source *timer; /* made when it is needed first */
        int64_t priority;
        int from, to;
        PumpFlags flags;
        char *name;
        PumpDone done;
        bool is_done;
        void *userdata;

        char *rest; /* read, but not yet written */
        size_t rest_offset, rest_size;
        uint64_t n_bytes;
        size_t n_room;         /* what is read at once */
        uint64_t n_left;       /* what may still be read: no end to it before pump_finish() */
        uint64_t absence_usec; /* until the next look whether somebody has opened the terminal */
        unsigned n_settle;
        int error; /* writing has failed: what comes is thrown away */
        char last; /* the last byte read */
        bool finishing;
        bool input_ended;
};

/* Only used within one turn, and turns do not nest: one for all. */
static char scratch[PUMP_TURN_SIZE];

static size_t turn_size = PUMP_TURN_SIZE; /* of all pumps */

void pump_set_turn_size(size_t size) {
        assert(size > 0 && size <= sizeof(scratch));
        turn_size = size;
}

static bool is_transient(int error) {
        return error == EAGAIN || error == EINTR;
}

/* ---- writing ---- */

static void pump_drop_rest(Pump *p) {
        p->rest = mfree(p->rest);
        p->rest_offset = p->rest_size = 0;
}

/* From now on what comes is thrown away. A reader that goes when the process does is not worth a warning. */
static void pump_fail(Pump *p, int error) {
        int level = p->finishing && error == -EPIPE ? LOG_DEBUG : LOG_WARNING;

        p->error = log_full(level, error, NULL, NULL, "Failed to write %s, throwing away what still comes: %m",
                            p->name);
        pump_drop_rest(p);
}

static bool fd_has(int fd, short events) {
        struct pollfd pfd = { .fd = fd, .events = events };

        return poll(&pfd, 1, 0) > 0 && (pfd.revents & (events | POLLHUP | POLLERR)) != 0;
}

/* 'to' takes no more. A terminal that nobody has open refuses everything, or, depending on the kernel, takes as much
 * as it can hold; it is hung up all the time, and even an edge-triggered source would wake for each attempt. */
static PumpState pump_state_without_room(Pump *p, int error) {
        bool absent = (p->flags & PUMP_TO_TERMINAL) && (error == EIO || fd_has(p->to, 0));

        if (absent && p->finishing) {
                pump_drop_rest(p);
                return PUMP_ENDED; /* the process has gone, and so has everybody else */
        }
        return absent ? PUMP_ABANDONED : PUMP_STUCK;
}

/* Writes what there is room for. PUMP_READY when that was all, or 'to' has failed; *ret_size is what was written. */
static PumpState pump_write(Pump *p, const char *data, size_t size, size_t *ret_size) {
        size_t n = 0;

        while (n < size) {
                ssize_t l = write(p->to, data + n, size - n);

                if (l >= 0) {
                        n += (size_t) l;
                        p->n_bytes += (uint64_t) l;
                        p->absence_usec = ABSENCE_USEC_MIN;
                        continue;
                }
                if (errno == EINTR)
                        continue;

                *ret_size = n;
                if (errno == EAGAIN || (errno == EIO && (p->flags & PUMP_TO_TERMINAL)))
                        return pump_state_without_room(p, errno);
                pump_fail(p, -errno);
                return PUMP_READY;
        }

        *ret_size = n;
        return PUMP_READY;
}

static PumpState pump_write_rest(Pump *p) {
        PumpState state;
        size_t n = 0;

        if (!p->rest)
                return PUMP_READY;

        state = pump_write(p, p->rest + p->rest_offset, p->rest_size - p->rest_offset, &n);
        if (!p->rest) /* dropped meanwhile */
                return state;

        p->rest_offset += n;
        if (p->rest_offset == p->rest_size)
                pump_drop_rest(p);
        return state;
}

/* Writes, and keeps what is not taken. */
static PumpState pump_put(Pump *p, const char *data, size_t size) {
        PumpState state;
        size_t n = 0;

        if (p->error < 0)
                return PUMP_READY;

        state = pump_write(p, data, size, &n);
        if (state != PUMP_STUCK && state != PUMP_ABANDONED)
                return state;

        p->rest = malloc(size - n);
        if (!p->rest) {
                pump_fail(p, -ENOMEM);
                return PUMP_READY;
        }
        memcpy(p->rest, data + n, size - n);
        p->rest_offset = 0;
        p->rest_size = size - n;
        return state;
}

/* ---- the end of the input ---- */

/* Does a terminal that has read this byte as its last have no unfinished line? */
static bool byte_ends_line(const struct termios *t, char byte) {
        cc_t c = (cc_t) byte;

        if (c == '\n' || (c == '\r' && (t->c_iflag & ICRNL) && !(t->c_iflag & IGNCR)))
                return true;
        return c != _POSIX_VDISABLE && (c == t->c_cc[VEOF] || c == t->c_cc[VEOL]);
}

/* What an unfinished line of a terminal needs is one end-of-file character to be handed to the reader; only one that
 * finds nothing before it is read as the end. Without lines the character is a byte as any other: programs that read
 * that way know what it stands for, and would take the second for one more. */
static PumpState pump_end_input(Pump *p) {
        struct termios t;
        char eof[2];

        p->input_ended = true;
        if (!(p->flags & PUMP_TO_TERMINAL) || p->error < 0)
                return PUMP_READY;
        if (tcgetattr(p->to, &t) < 0 || t.c_cc[VEOF] == _POSIX_VDISABLE)
                return PUMP_READY;

        memset(eof, t.c_cc[VEOF], sizeof(eof));
        return pump_put(p, eof, !(t.c_lflag & ICANON) || byte_ends_line(&t, p->last) ? 1 : 2);
}

/* ---- reading ---- */

/* What has been read from a terminal is in nobody's hands but ours until it is written, and lost if we are killed
 * meanwhile: so no more is read than there is room for. An empty FIFO takes a whole turn, and one that can be written
 * to takes PIPE_BUF bytes at least; where others write into it too, the rest has to be kept for once. */
static bool pump_has_room(Pump *p) {
        int unread;

        if (!(p->flags & PUMP_FROM_TERMINAL) || p->error < 0)
                return true;
        p->n_room = sizeof(scratch);
        if (ioctl(p->to, FIONREAD, &unread) < 0 || unread == 0)
                return true;

        p->n_room = PIPE_BUF;
        return fd_has(p->to, POLLOUT);
}

/* Reads into the scratch buffer. Returns the number of bytes, 0 at the end, -errno. */
static ssize_t pump_read(Pump *p) {
        size_t room = p->n_room < turn_size ? p->n_room : turn_size;
        size_t size = p->n_left < room ? (size_t) p->n_left : room, n = 0;

        while (n < size) {
                ssize_t l = read(p->from, scratch + n, size - n);

                if (l < 0 && errno == EINTR)
                        continue;
                if (l <= 0)
                        return n > 0 ? (ssize_t) n : (l < 0 ? -errno : 0); /* met again in the next turn */

                n += (size_t) l;
                if (!(p->flags & PUMP_FROM_TERMINAL) || l < TERMINAL_READ_MIN)
                        break;
        }
        return (ssize_t) n;
}

/* Nothing has been read. */
static PumpState pump_state_without_input(Pump *p, int error) {
        bool terminal = p->flags & PUMP_FROM_TERMINAL;

        if (error == EAGAIN && !p->finishing)
                return PUMP_STARVED;
        if (terminal && error == EAGAIN && p->n_settle < N_SETTLE_MAX) {
                p->n_settle++;
                return PUMP_STARVED;
        }
        if (terminal && (error == EIO || error == 0) && !p->finishing)
                return PUMP_HUNG_UP;

        if (error != 0 && error != EAGAIN && !(terminal && error == EIO))
                p->error = log_warning_errno(error, "Failed to read %s, taking that for its end: %m", p->name);
        return pump_end_input(p);
}

static PumpState pump_copy(Pump *p) {
        ssize_t n;

        if (!pump_has_room(p))
                return PUMP_STUCK;

        n = pump_read(p);
        if (n <= 0)
                return pump_state_without_input(p, (int) -n);

        p->n_settle = 0;
        p->last = scratch[n - 1];
        if (p->finishing)
                p->n_left -= (uint64_t) n;
        return pump_put(p, scratch, (size_t) n);
}

static PumpState pump_splice(Pump *p) {
        size_t size = p->n_left < turn_size ? (size_t) p->n_left : turn_size;
        ssize_t n;

        n = splice(p->from, NULL, p->to, NULL, size, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
        if (n > 0) {
                p->n_bytes += (uint64_t) n;
                if (p->finishing)
                        p->n_left -= (uint64_t) n;
                return PUMP_READY;
        }
        if (n == 0)
                return pump_state_without_input(p, 0);

        if (!is_transient(errno)) {
                /* A file that is appended to, say. Copying works, or tells which of the two has failed. */
                p->flags &= ~(unsigned) PUMP_SPLICE;
                return PUMP_READY;
        }
        /* Which of the two is it? */
        if (!fd_has(p->from, POLLIN))
                return pump_state_without_input(p, EAGAIN);
        return fd_has(p->to, POLLOUT) ? PUMP_READY : PUMP_STUCK;
}

/* ---- a turn ---- */

static PumpState pump_move(Pump *p) {
        PumpState state;

        state = pump_write_rest(p);
        if (state != PUMP_READY)
                return state;

        if (!p->input_ended) {
                if (p->n_left == 0)
                        state = pump_end_input(p);
                else if ((p->flags & PUMP_SPLICE) && p->error == 0)
                        state = pump_splice(p);
                else
                        state = pump_copy(p);
        }
        return state == PUMP_READY && p->input_ended ? PUMP_ENDED : state;
}

static int pump_on_timer(sd_event_source *source, uint64_t usec, void *userdata);

static int pump_set_timer(Pump *p, uint64_t usec) {
        int r;

        if (!p->timer) {
                r = sd_event_add_time_relative(p->event, &p->timer, CLOCK_MONOTONIC, usec, 1, pump_on_timer, p);
                if (r < 0)
                        return r;

                (void) sd_event_source_set_description(p->timer, "pump-timer");
                return sd_event_source_set_priority(p->timer, p->priority);
        }

        r = sd_event_source_set_time_relative(p->timer, usec);
        if (r < 0)
                return r;
        return sd_event_source_set_enabled(p->timer, SD_EVENT_ONESHOT);
}

static int source_enable(sd_event_source *source, bool enable) {
        return sd_event_source_set_enabled(source, enable ? SD_EVENT_ON : SD_EVENT_OFF);
}

/* A terminal that nobody has open is hung up all the time, which only an edge-triggered source can wait out: it wakes
 * once for that, and then when something comes. */
static int pump_wait_for_input(Pump *p, PumpState state) {
        bool wait = !p->finishing && (state == PUMP_READY || state == PUMP_STARVED || state == PUMP_HUNG_UP);
        uint32_t events = EPOLLIN | (state == PUMP_HUNG_UP ? (uint32_t) EPOLLET : 0), now;
        int r;

        /* Setting the same edge-triggered events anew would make the edge anew. */
        if (wait && (p->flags & PUMP_FROM_TERMINAL)) {
                r = sd_event_source_get_io_events(p->input, &now);
                if (r < 0)
                        return r;
                if (now != events) {
                        r = sd_event_source_set_io_events(p->input, events);
                        if (r < 0)
                                return r;
                }
        }
        return source_enable(p->input, wait);
}

static int pump_wait(Pump *p, PumpState state) {
        int r;

        r = pump_wait_for_input(p, state);
        if (r < 0)
                return r;

        r = source_enable(p->output, state == PUMP_STUCK);
        if (r < 0)
                return r;

        if (state == PUMP_ABANDONED) {
                r = pump_set_timer(p, p->absence_usec);
                if (r < 0)
                        return r;

                p->absence_usec *= 2;
                if (p->absence_usec > ABSENCE_USEC_MAX)
                        p->absence_usec = ABSENCE_USEC_MAX;
        }

        /* What is there already tells no event source. */
        if (p->finishing && (state == PUMP_READY || state == PUMP_STARVED))
                return pump_set_timer(p, state == PUMP_READY ? 0 : SETTLE_USEC);
        return 0;
}

static void pump_end(Pump *p, int error) {
        p->finishing = true; /* pump_finish() has nothing to do any more */
        (void) sd_event_source_set_enabled(p->input, SD_EVENT_OFF);
        (void) sd_event_source_set_enabled(p->output, SD_EVENT_OFF);
        if (p->timer)
                (void) sd_event_source_set_enabled(p->timer, SD_EVENT_OFF);

        p->is_done = true;
        p->done(p->userdata, error); /* last: it may free the pump */
}

static void pump_turn(Pump *p) {
        PumpState state;
        int r;

        state = pump_move(p);
        if (state == PUMP_ENDED) {
                pump_end(p, p->error);
                return;
        }

        r = pump_wait(p, state);
        if (r < 0)
                pump_end(p, log_warning_errno(r, "Failed to wait for %s, giving it up: %m", p->name));
}

static int pump_on_io(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        pump_turn(userdata);
        return 0;
}

static int pump_on_always(sd_event_source *source, void *userdata) {
        pump_turn(userdata);
        return 0;
}

static int pump_on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        pump_turn(userdata);
        return 0;
}

/* ---- construction ---- */

/* Regular files and some devices never make anybody wait, and epoll refuses them. */
static int pump_add_source(Pump *p, sd_event_source **ret, int fd, uint32_t events, const char *description) {
        int r;

        r = sd_event_add_io(p->event, ret, fd, events, pump_on_io, p);
        if (r == -EPERM)
                r = sd_event_add_defer(p->event, ret, pump_on_always, p);
        if (r < 0)
                return r;

        (void) sd_event_source_set_description(*ret, description);
        return sd_event_source_set_priority(*ret, p->priority);
}

static int pump_add_sources(Pump *p, int from, int to) {
        int r;

        r = pump_add_source(p, &p->input, from, EPOLLIN, "pump-input");
        if (r < 0)
                return r;
        r = pump_add_source(p, &p->output, to, EPOLLOUT, "pump-output");
        if (r < 0)
                return r;

        r = source_enable(p->output, false);
        if (r < 0)
                return r;
        return source_enable(p->input, true);
}

int pump_new(Pump **ret, sd_event *event, int64_t priority, int from, int to, PumpFlags flags, const char *name,
             PumpDone done, void *userdata) {
        _cleanup_(pump_freep) Pump *p = NULL;
        int r;

        assert(from != to && done);
        assert(!(flags & PUMP_SPLICE) || !(flags & (PUMP_FROM_TERMINAL | PUMP_TO_TERMINAL)));

        r = file_set_blocking(from, false);
        if (r < 0)
                return r;
        r = file_set_blocking(to, false);
        if (r < 0)
                return r;

        p = malloc(sizeof(*p));
        if (!p)
                return -ENOMEM;

        *p = (Pump) {
                .event = sd_event_ref(event),
                .priority = priority,
                .from = -EBADF,
                .to = -EBADF,
                .flags = flags,
                .done = done,
                .userdata = userdata,
                .n_left = UINT64_MAX,
                .n_room = sizeof(scratch),
                .absence_usec = ABSENCE_USEC_MIN,
                .last = '\n',
        };

        p->name = strdup(name);
        if (!p->name)
                return -ENOMEM;

        r = pump_add_sources(p, from, to);
        if (r < 0)
                return r;

        p->from = from;
        p->to = to;
        *ret = TAKE_PTR(p);
        return 0;
}

int pump_finish(Pump *p) {
        int n = 0, r;

        if (p->finishing)
                return 0;

        r = pump_set_timer(p, 0);
        if (r < 0)
                return r;

        /* A process that lives on may write for ever: what there is now is counted. */
        p->finishing = true;
        if ((p->flags & PUMP_FROM_TERMINAL) || ioctl(p->from, FIONREAD, &n) < 0)
                p->n_left = TERMINAL_LEFT_MAX;
        else
                p->n_left = (uint64_t) n;
        return 0;
}

Pump *pump_free(Pump *p) {
        if (!p)
                return NULL;

        sd_event_source_disable_unref(p->timer);
        sd_event_source_disable_unref(p->output);
        sd_event_source_disable_unref(p->input);
        safe_close(p->to);
        safe_close(p->from);
        free(p->rest);
        free(p->name);
        sd_event_unref(p->event);
        return mfree(p);
}

void pump_get_fds(const Pump *p, int *ret_from, int *ret_to) {
        *ret_from = p->from;
        *ret_to = p->to;
}

int pump_save_rest(const Pump *p) {
        if (!p->rest)
                return -ENODATA;
        return file_memfd("rest", MFD_CLOEXEC, p->rest + p->rest_offset, p->rest_size - p->rest_offset);
}

int pump_load_rest(Pump *p, int fd) {
        char *rest;
        size_t size;
        int r;

        r = file_read_fd(fd, PUMP_BUFFER_SIZE, &rest, &size);
        if (r < 0)
                return r;

        free(p->rest);
        p->rest = rest;
        p->rest_offset = 0;
        p->rest_size = size;
        if (size == 0) {
                pump_drop_rest(p);
                return 0;
        }
        p->last = rest[size - 1];
        return source_enable(p->output, true);
}

uint64_t pump_n_bytes(const Pump *p) {
        return p->n_bytes;
}

bool pump_is_done(const Pump *pump) {
        return pump->is_done;
}
