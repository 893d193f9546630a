/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Lines of a container's output into the journal, with fields that name the container.
 *
 * One socket serves all streams (see journal-socket.h). A stream that has a line which could not be sent reads
 * nothing more, and gets its turn when the socket has room again; so does one that has had its share and has more to
 * send. */

#include "host/journal.h"
#include "host/journal-socket.h"

#include "util/clock.h"
#include "util/file.h"
#include "util/log.h"
#include "util/text.h"

#include <assert.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>

/* What a stream keeps at most: a line, the byte behind it that tells whether it is one, and some more to read in
 * pieces of a decent size. */
#define BUFFER_SIZE ((size_t) 64 * 1024)
#define BUFFER_STEP ((size_t) 4096)

/* Lines in one turn: each is a system call. */
#define N_TURN_LINES 128U

#define PATIENCE_USEC (1 * USEC_PER_SEC)

/* Of what still comes when we have ended, this much is thrown away in this time: enough for a message now and then,
 * while whoever writes without end does not keep us busy. */
#define LEFTOVER_INTERVAL_USEC (100 * USEC_PER_MSEC)
#define LEFTOVER_BURST 4U
#define N_LEFTOVERS_MAX 256U

struct JournalStream {
        JournalWaiter waiter; /* first: its turn is ours */
        sd_event_source *input;
        sd_event_source *timer; /* made by journal_stream_finish() */
        int fd;
        bool finishing;
        bool input_ended;
        bool hung_up;   /* nobody has the other side open */
        bool impatient; /* 'timer' stands for the end of our patience */
        bool lossy;     /* we have warned that lines were lost */

        char *header; /* the fields that are the same for every line, ready to be sent */
        size_t header_size;
        char *ns, *container_id; /* for warnings */

        char *buffer; /* read, but not yet sent: NULL most of the time */
        size_t size, capacity;
        size_t n_scanned; /* bytes of the buffer in which no newline is */
        uint64_t n_left;  /* what may still be read: no end to it before journal_stream_finish() */

        void (*done)(void *userdata);
        bool is_done;
        void *userdata;
};

/* Only used within one turn, and turns do not nest: one for all. */
static char scratch[BUFFER_SIZE];

/* ---- lines ---- */

static int stream_send_line(JournalStream *s, const char *line, size_t size) {
        JournalMessage message = {};
        struct msghdr m = { .msg_iov = message.parts };

        journal_message_add_ready(&message, s->header, s->header_size);
        journal_message_add(&message, "MESSAGE", line, size);
        m.msg_iovlen = message.n_parts;
        return journal_socket_send(&m);
}

/* How much of a line that is too long is one message, without cutting a character of UTF-8 in two. */
static size_t split_length(const char *line) {
        size_t n = JOURNAL_LINE_MAX;

        while (n > JOURNAL_LINE_MAX - 3 && ((unsigned char) line[n] & 0xc0) == 0x80)
                n--;
        return ((unsigned char) line[n] & 0xc0) == 0x80 ? JOURNAL_LINE_MAX : n;
}

/* Is there a line at the beginning? *ret_skip is how much of the data it takes, with its newline. */
static bool find_line(const char *data, size_t size, size_t n_scanned, bool final, size_t *ret_size,
                      size_t *ret_skip) {
        size_t window = size <= JOURNAL_LINE_MAX ? size : JOURNAL_LINE_MAX + 1;
        const char *newline = NULL;

        if (n_scanned < window)
                newline = memchr(data + n_scanned, '\n', window - n_scanned);
        if (newline) {
                *ret_size = (size_t) (newline - data);
                *ret_skip = *ret_size + 1;
                return true;
        }
        if (size > JOURNAL_LINE_MAX) {
                *ret_size = *ret_skip = split_length(data);
                return true;
        }
        *ret_size = *ret_skip = size;
        return final && size > 0;
}

/* Once for each stream: nothing that is written here can be much help a thousand times. */
static void stream_warn_lost(JournalStream *s, int error) {
        if (!s->lossy)
                (void) log_full(LOG_WARNING, error, s->ns, s->container_id,
                                "Failed to send output to the journal, lines are lost: %m");
        s->lossy = true;
}

/* Sends lines from the beginning of the data. Returns 1 when there may be more, 0 when there is none left, -EAGAIN
 * when the journal takes no more now. *ret_consumed is set in any case. */
static int stream_send_lines(JournalStream *s, const char *data, size_t size, size_t *ret_consumed) {
        size_t scanned = s->n_scanned, n = 0, line, skip;
        int r = 1;

        for (unsigned i = 0; i < N_TURN_LINES; i++) {
                if (!find_line(data + n, size - n, scanned, s->input_ended, &line, &skip)) {
                        r = 0;
                        break;
                }

                r = stream_send_line(s, data + n, line);
                if (r == -EAGAIN)
                        break;
                if (r < 0)
                        stream_warn_lost(s, r);

                n += skip;
                scanned = 0;
                r = 1;
        }

        s->n_scanned = r == 0 ? size - n : 0;
        *ret_consumed = n;
        return r;
}

/* ---- reading ---- */

/* Makes room in a stream's own buffer; it need not grow while it holds no line. */
static int stream_grow(JournalStream *s) {
        size_t capacity = s->capacity * 2 + BUFFER_STEP;
        char *buffer;

        if (s->size + BUFFER_STEP <= s->capacity || s->capacity == BUFFER_SIZE)
                return 0;

        if (capacity > BUFFER_SIZE)
                capacity = BUFFER_SIZE;
        buffer = realloc(s->buffer, capacity);
        if (!buffer)
                return -ENOMEM;

        s->buffer = buffer;
        s->capacity = capacity;
        return 0;
}

/* Returns the number of bytes that have been read behind the 'size' that are there, 0 at the end, -errno. */
static ssize_t stream_read(JournalStream *s, char *data, size_t size, size_t capacity) {
        size_t room = capacity - size;
        ssize_t n;

        if (room > s->n_left)
                room = (size_t) s->n_left;

        do
                n = read(s->fd, data + size, room);
        while (n < 0 && errno == EINTR);
        if (n < 0)
                return -errno;

        if (s->finishing)
                s->n_left -= (uint64_t) n;
        return n;
}

/* One long line does not cost its memory for as long as the process is quiet behind it. */
static void stream_shrink(JournalStream *s, size_t size) {
        char *buffer;

        if (s->capacity <= 2 * BUFFER_STEP || size > s->capacity / 4)
                return;

        buffer = realloc(s->buffer, size);
        if (!buffer)
                return;
        s->buffer = buffer;
        s->capacity = size;
}

/* Keeps what follows the first n bytes of the data. */
static int stream_keep(JournalStream *s, const char *data, size_t size, size_t n) {
        size -= n;

        if (size == 0) {
                s->buffer = mfree(s->buffer);
                s->size = s->capacity = s->n_scanned = 0;
                return 0;
        }

        if (!s->buffer) {
                s->buffer = malloc(size);
                if (!s->buffer)
                        return -ENOMEM;
                s->capacity = size;
                memcpy(s->buffer, data + n, size);
        } else {
                memmove(s->buffer, data + n, size);
                stream_shrink(s, size);
        }
        s->size = size;
        return 0;
}

typedef enum TurnState {
        TURN_STARVED, /* there is nothing to send before something comes */
        TURN_READY,   /* there may be something to send */
        TURN_BLOCKED, /* the same, but the journal does not take it */
} TurnState;

/* Reads once, unless what is there already has to be sent first. Returns what stream_read() does. */
static ssize_t stream_fill(JournalStream *s, char **ret_data, size_t *ret_size) {
        ssize_t n = -EAGAIN;

        if (s->buffer && s->n_scanned == s->size && stream_grow(s) < 0) {
                stream_warn_lost(s, -ENOMEM);
                (void) stream_keep(s, s->buffer, s->size, s->size);
        }

        *ret_data = s->buffer ?: scratch;
        *ret_size = s->size;
        if (s->input_ended || s->n_scanned < s->size)
                return n;

        if (s->n_left > 0)
                n = stream_read(s, *ret_data, s->size, s->buffer ? s->capacity : sizeof(scratch));
        if (n > 0)
                *ret_size += (size_t) n;
        else if (n != -EAGAIN || s->finishing) {
                s->input_ended = s->finishing = true;
                s->hung_up = n == 0;
        }
        return n;
}

/* Reads and sends. */
static TurnState stream_move(JournalStream *s, bool *ret_progress) {
        size_t size, n_consumed;
        ssize_t n;
        char *data;
        int r;

        n = stream_fill(s, &data, &size);
        r = stream_send_lines(s, data, size, &n_consumed);
        *ret_progress = n > 0 || n_consumed > 0;

        if (stream_keep(s, data, size, n_consumed) < 0) {
                stream_warn_lost(s, -ENOMEM);
                s->n_scanned = 0;
        }

        if (r != 0)
                return r > 0 ? TURN_READY : TURN_BLOCKED;
        return TURN_STARVED;
}

/* ---- a turn ---- */

static int stream_on_timer(sd_event_source *source, uint64_t usec, void *userdata);

static int stream_set_timer(JournalStream *s, uint64_t usec) {
        int r;

        if (!s->timer) {
                r = sd_event_add_time_relative(s->waiter.event, &s->timer, CLOCK_MONOTONIC, usec, 1, stream_on_timer,
                                               s);
                if (r < 0)
                        return r;

                (void) sd_event_source_set_description(s->timer, "journal-finish");
                return sd_event_source_set_priority(s->timer, s->waiter.priority);
        }

        r = sd_event_source_set_time_relative(s->timer, usec);
        if (r < 0)
                return r;
        return sd_event_source_set_enabled(s->timer, SD_EVENT_ONESHOT);
}

static int stream_wait(JournalStream *s, TurnState state, bool progress) {
        bool send = state == TURN_READY || state == TURN_BLOCKED;
        int r;

        r = send ? journal_socket_wait(&s->waiter) : journal_socket_leave(&s->waiter);
        if (r < 0)
                return r;

        r = sd_event_source_set_enabled(s->input, send || s->finishing ? SD_EVENT_OFF : SD_EVENT_ON);
        if (r < 0)
                return r;

        /* The rest is read without waiting, and journald given its time since it took something last. */
        if (!s->finishing || (send && !progress && s->impatient))
                return 0;
        s->impatient = send;
        return stream_set_timer(s, send ? PATIENCE_USEC : 0);
}

static void stream_end(JournalStream *s) {
        (void) journal_socket_leave(&s->waiter);
        (void) sd_event_source_set_enabled(s->input, SD_EVENT_OFF);
        if (s->timer)
                (void) sd_event_source_set_enabled(s->timer, SD_EVENT_OFF);

        s->finishing = true; /* journal_stream_finish() has nothing to do any more */
        s->is_done = true;
        s->done(s->userdata); /* last: it may free the stream */
}

/* Takes a turn; 'last' when nothing is going to be waited for any more. */
static void stream_take_turn(JournalStream *s, bool last) {
        bool progress = false, ended;
        TurnState state;
        int r;

        state = stream_move(s, &progress);
        ended = s->input_ended && !s->buffer;

        if (!ended && last && !progress) {
                (void) log_full(LOG_WARNING, 0, s->ns, s->container_id,
                                "The journal takes nothing, giving up the last lines of output");
                ended = true;
        }
        if (ended) {
                stream_end(s);
                return;
        }

        r = stream_wait(s, state, progress);
        if (r < 0) {
                (void) log_full(LOG_WARNING, r, s->ns, s->container_id,
                                "Failed to wait for output for the journal, giving it up: %m");
                stream_end(s);
        }
}

static void stream_on_turn(JournalWaiter *w) {
        stream_take_turn((JournalStream *) w, false);
}

static int stream_on_input(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        stream_take_turn(userdata, false);
        return 0;
}

static int stream_on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        uint64_t now = clock_get_monotonic(), end = journal_socket_get_taken() + PATIENCE_USEC;
        JournalStream *s = userdata;

        /* Where many end at once, a journal that takes all the time may not get to this one for long. */
        if (s->impatient && now < end && stream_set_timer(s, end - now) >= 0)
                return 0;

        stream_take_turn(s, s->impatient);
        return 0;
}

/* ---- construction ---- */

/* A newline in a field would begin another. */
static bool field_is_valid(const char *value) {
        return !value || journal_value_is_text(value, strlen(value));
}

static char *fields_to_header(const JournalFields *f) {
        return strdup_printf("PRIORITY=%d\nSYSLOG_IDENTIFIER=%s\nCONTAINER_NAMESPACE=%s\nCONTAINER_ID=%s\n%s%s%s",
                             f->priority, f->identifier, f->ns, f->container_id,
                             f->exec_id ? "CONTAINER_EXEC_ID=" : "", strempty(f->exec_id), f->exec_id ? "\n" : "");
}

int journal_stream_new(JournalStream **ret, sd_event *event, int64_t priority, int fd, const JournalFields *f,
                       void (*done)(void *userdata), void *userdata) {
        _cleanup_(journal_stream_freep) JournalStream *s = NULL;
        int r;

        assert(done);

        if (f->priority < 0 || f->priority > 7 || !field_is_valid(f->identifier) || !field_is_valid(f->ns) ||
            !field_is_valid(f->container_id) || !field_is_valid(f->exec_id))
                return -EINVAL;

        r = file_set_blocking(fd, false);
        if (r < 0)
                return r;

        s = malloc(sizeof(*s));
        if (!s)
                return -ENOMEM;

        *s = (JournalStream) {
                .waiter = { .turn = stream_on_turn, .event = sd_event_ref(event), .priority = priority },
                .fd = -EBADF,
                .n_left = UINT64_MAX,
                .done = done,
                .userdata = userdata,
        };
        journal_socket_open();

        s->header = fields_to_header(f);
        s->ns = strdup(f->ns);
        s->container_id = strdup(f->container_id);
        if (!s->header || !s->ns || !s->container_id)
                return -ENOMEM;
        s->header_size = strlen(s->header);

        r = sd_event_add_io(event, &s->input, fd, EPOLLIN, stream_on_input, s);
        if (r < 0)
                return r;
        (void) sd_event_source_set_description(s->input, "journal-input");

        r = sd_event_source_set_priority(s->input, priority);
        if (r < 0)
                return r;

        s->fd = fd;
        *ret = TAKE_PTR(s);
        return 0;
}

int journal_stream_finish(JournalStream *s) {
        int n = 0, r;

        if (s->finishing)
                return 0;

        r = stream_set_timer(s, 0);
        if (r < 0)
                return r;

        /* A process that lives on may write for ever: what there is now is counted. */
        if (ioctl(s->fd, FIONREAD, &n) >= 0)
                s->n_left = (uint64_t) n;
        s->finishing = true;
        return 0;
}

/* ---- who writes for longer than we read ---- */

static unsigned n_leftovers;

static void leftover_on_destroy(void *userdata) {
        n_leftovers--;
}

static int leftover_on_input(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        ssize_t n = read(fd, scratch, sizeof(scratch));

        /* The loop's reference was the last one. */
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
                return sd_event_source_set_floating(source, false);
        return 0;
}

/* Whoever was left behind by the process has our FIFO open for reading as well (see stream.h), so that nothing tells
 * it when nobody reads: it would wait for ever once the FIFO is full. So what it writes is thrown away, until the
 * last one has closed it. The loop keeps the source; where that fails, or there are too many, it has to wait. */
static void stream_leave_to_loop(JournalStream *s) {
        _cleanup_(sd_event_source_unrefp) sd_event_source *source = NULL;

        if (n_leftovers >= N_LEFTOVERS_MAX)
                return;
        s->input = sd_event_source_disable_unref(s->input);
        if (sd_event_add_io(s->waiter.event, &source, s->fd, EPOLLIN, leftover_on_input, NULL) < 0 ||
            sd_event_source_set_priority(source, s->waiter.priority) < 0 ||
            sd_event_source_set_ratelimit(source, LEFTOVER_INTERVAL_USEC, LEFTOVER_BURST) < 0 ||
            sd_event_source_set_io_fd_own(source, true) < 0)
                return;

        TAKE_FD(s->fd);
        n_leftovers++;
        (void) sd_event_source_set_description(source, "journal-leftover");
        (void) sd_event_source_set_destroy_callback(source, leftover_on_destroy);
        (void) sd_event_source_set_floating(source, true);
}

JournalStream *journal_stream_free(JournalStream *s) {
        if (!s)
                return NULL;

        (void) journal_socket_leave(&s->waiter);
        journal_socket_close();

        if (s->finishing && !s->hung_up)
                stream_leave_to_loop(s);
        sd_event_source_disable_unref(s->timer);
        sd_event_source_disable_unref(s->input);
        safe_close(s->fd);
        free(s->buffer);
        free(s->header);
        free(s->ns);
        free(s->container_id);
        sd_event_unref(s->waiter.event);
        return mfree(s);
}

bool journal_stream_is_done(const JournalStream *s) {
        return s->is_done;
}

int journal_stream_get_fd(const JournalStream *s) {
        return s->fd;
}

int journal_stream_save_rest(const JournalStream *s) {
        if (!s->buffer)
                return -ENODATA;
        return file_memfd("rest", MFD_CLOEXEC, s->buffer, s->size);
}

int journal_stream_load_rest(JournalStream *s, int fd) {
        _cleanup_(freep) char *rest = NULL;
        size_t size;
        char *buffer;
        int r;

        r = file_read_fd(fd, BUFFER_SIZE, &rest, &size);
        if (r < 0 || size == 0)
                return r;
        buffer = realloc(s->buffer, BUFFER_SIZE);
        if (!buffer)
                return -ENOMEM;

        memcpy(buffer, rest, size);
        s->buffer = buffer;
        s->capacity = BUFFER_SIZE;
        s->size = size;
        s->n_scanned = 0;
        return stream_set_timer(s, 0);
}
