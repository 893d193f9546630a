/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The newest events, on disk. */

#include "core/eventlog.h"
#include "util/crash-point.h"
#include "util/file.h"
#include "util/log.h"
#include "util/text.h"

#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>

#define SEGMENT_NAME_LENGTH 20 /* the digits of UINT64_MAX, so that names sort as numbers do */
#define SEGMENT_SIZE_MAX (64U * 1024U * 1024U) /* that is read; twice what may be set, as the last event may be large */
#define SEGMENT_SIZE (4U * 1024U * 1024U)
#define BACKLOG_SIZE (16U * 1024U * 1024U)

typedef struct Segment {
        uint64_t first; /* the sequence number of its first line */
        int fd;
} Segment;

struct EventLog {
        int dir_fd;
        uint64_t last; /* the newest sequence number given out */
        Segment segments[EVENTLOG_SEGMENTS + 1];
        unsigned n_segments; /* never none */

        unsigned segment_events; /* a segment that has as many, or is as large, is full */
        uint64_t segment_size;
        uint64_t max_backlog_size;

        /* The newest segment. */
        unsigned n_events;
        uint64_t size; /* where a failed write is cut back to */
        bool torn;     /* and that this has failed */

        /* Lines that could not be written yet, whole and in order. */
        char *backlog;
        size_t backlog_size;
        unsigned n_backlog;
        uint64_t backlog_start; /* bytes that once waited and were written: where the backlog begins, for cursors */

        EventCursor newest; /* in front of the newest event: for readers who have fallen behind just now */
};

static void segment_name(uint64_t first, char ret[static SEGMENT_NAME_LENGTH + 1]) {
        (void) snprintf(ret, SEGMENT_NAME_LENGTH + 1, "%020" PRIu64, first);
}

EventLog *eventlog_free(EventLog *log) {
        if (!log)
                return NULL;

        for (unsigned i = 0; i < log->n_segments; i++)
                safe_close(log->segments[i].fd);
        safe_close(log->dir_fd);
        free(log->backlog);
        return mfree(log);
}

uint64_t eventlog_last(const EventLog *log) {
        return log->last;
}

static int segment_compare(const void *a, const void *b) {
        uint64_t x = ((const Segment *) a)->first, y = ((const Segment *) b)->first;

        return x < y ? -1 : x > y;
}

static const Segment *newest_segment(const EventLog *log) {
        return &log->segments[log->n_segments - 1];
}

static int segment_open(const EventLog *log, uint64_t first, int flags) {
        char name[SEGMENT_NAME_LENGTH + 1];

        segment_name(first, name);
        return file_open_beneath(log->dir_fd, name, O_RDWR | O_APPEND | O_NONBLOCK | flags, 0600);
}

/* Finds the segments; of more than we keep (a smaller limit than before), the oldest are removed. */
static int eventlog_list(EventLog *log) {
        _cleanup_(freep) Segment *found = NULL;
        size_t n = 0, allocated = 0;
        struct dirent *de;
        DIR *dir;
        int fd;

        fd = openat(log->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        dir = fdopendir(fd);
        if (!dir) {
                safe_close(fd);
                return -ENOMEM;
        }

        while ((de = readdir(dir))) {
                uint64_t first;

                if (strlen(de->d_name) != SEGMENT_NAME_LENGTH || parse_uint64(de->d_name, &first) < 0 || first == 0 ||
                    first > EVENT_SEQUENCE_MAX)
                        continue;

                if (n == allocated) {
                        Segment *larger;

                        allocated = allocated ? allocated * 2 : 8;
                        larger = reallocarray(found, allocated, sizeof(*found));
                        if (!larger) {
                                closedir(dir);
                                return -ENOMEM;
                        }
                        found = larger;
                }
                found[n++].first = first;
        }
        closedir(dir);

        if (n > 0)
                qsort(found, n, sizeof(*found), segment_compare);

        for (size_t i = 0; i < n; i++) {
                char name[SEGMENT_NAME_LENGTH + 1];

                segment_name(found[i].first, name);
                if (n - i > EVENTLOG_SEGMENTS) {
                        (void) unlinkat(log->dir_fd, name, 0);
                        continue;
                }

                fd = segment_open(log, found[i].first, 0);
                if (fd >= 0)
                        log->segments[log->n_segments++] = (Segment) { .first = found[i].first, .fd = fd };
                else if (i + 1 == n)
                        return fd; /* new events belong there */
                else
                        log_warning_errno(fd, "Failed to open the event segment %s, ignoring what is in it: %m",
                                          name);
        }

        return 0;
}

/* Calls line() for each whole line of a text; returns the length of the whole lines. */
static size_t for_each_line(const char *text, size_t size, int (*line)(void *, const char *, size_t), void *userdata,
                            int *ret_result) {
        size_t start = 0;
        int r = 0;

        while (start < size && r == 0) {
                const char *end = memchr(text + start, '\n', size - start);

                if (!end)
                        break;
                if (line)
                        r = line(userdata, text + start, (size_t) (end - text) - start);
                start = (size_t) (end - text) + 1;
        }

        if (ret_result)
                *ret_result = r;
        return start;
}

static int count_line(void *userdata, const char *line, size_t size) {
        unsigned *n = userdata;

        (*n)++;
        return 0;
}

/* Begins a new segment with the number of the next event, and drops the oldest one if there are too many. */
static int eventlog_rotate(EventLog *log, uint64_t first) {
        char name[SEGMENT_NAME_LENGTH + 1];
        int fd;

        fd = segment_open(log, first, O_CREAT | O_TRUNC);
        if (fd < 0)
                return fd;
        crash_point("eventlog-segment-made");

        log->size = 0;
        log->n_events = 0;
        log->segments[log->n_segments++] = (Segment) { .first = first, .fd = fd };

        if (log->n_segments > EVENTLOG_SEGMENTS) {
                safe_close(log->segments[0].fd);
                segment_name(log->segments[0].first, name);
                if (unlinkat(log->dir_fd, name, 0) < 0)
                        log_warning_errno(errno, "Failed to remove the oldest event segment %s, ignoring: %m", name);
                log->n_segments--;
                memmove(log->segments, log->segments + 1, log->n_segments * sizeof(log->segments[0]));
        }

        return 0;
}

/* The number in the last line; lines are missing before it if there once was no memory to keep them. */
static uint64_t last_sequence(const char *text, size_t size, uint64_t counted) {
        const char *start;
        EventHead head;

        if (size == 0)
                return counted;

        start = memrchr(text, '\n', size - 1);
        start = start ? start + 1 : text;
        if (event_head_from_json(start, size - 1 - (size_t) (start - text), &head) < 0)
                return counted;

        return head.sequence > counted ? head.sequence : counted;
}

/* Goes on with the newest segment: counts what is in it, and cuts off a torn last line. */
static int eventlog_resume(EventLog *log) {
        const Segment *newest = newest_segment(log);
        _cleanup_(freep) char *text = NULL;
        size_t size, whole;
        int r;

        r = file_read_fd(newest->fd, SEGMENT_SIZE_MAX, &text, &size);
        if (r < 0)
                return r;

        whole = for_each_line(text, size, count_line, &log->n_events, NULL);
        log->last = last_sequence(text, whole, newest->first + log->n_events - 1);
        if (whole < size) {
                log_warning("The event log ends in a torn line, left by a crash; cutting it off.");
                if (ftruncate(newest->fd, (off_t) whole) < 0)
                        return -errno;
        }

        log->size = whole;
        return 0;
}

/* Behind everything that there is. */
static EventCursor eventlog_end(const EventLog *log) {
        return (EventCursor) {
                .sequence = log->last,
                .segment = newest_segment(log)->first,
                .offset = log->size,
                .backlog = log->backlog_start + log->backlog_size,
        };
}

int eventlog_open(EventLog **ret, int state_fd) {
        _cleanup_(eventlog_freep) EventLog *log = NULL;
        int r;

        log = malloc(sizeof(*log));
        if (!log)
                return -ENOMEM;
        *log = (EventLog) {
                .dir_fd = -EBADF,
                .segment_events = EVENTLOG_SEGMENT_EVENTS,
                .segment_size = SEGMENT_SIZE,
                .max_backlog_size = BACKLOG_SIZE,
        };

        r = directory_make_beneath(state_fd, EVENTLOG_FOLDER, 0700);
        if (r < 0)
                return r;

        log->dir_fd = file_open_beneath(state_fd, EVENTLOG_FOLDER, O_RDONLY | O_DIRECTORY, 0);
        if (log->dir_fd < 0)
                return log->dir_fd;

        r = eventlog_list(log);
        if (r < 0)
                return r;

        r = log->n_segments > 0 ? eventlog_resume(log) : eventlog_rotate(log, 1);
        if (r < 0)
                return r;

        log->newest = eventlog_end(log);
        *ret = TAKE_PTR(log);
        return 0;
}

void eventlog_set_limits(EventLog *log, const Limits *limits) {
        log->segment_events = limits->events / EVENTLOG_SEGMENTS;
        log->segment_size = limits->events_size / EVENTLOG_SEGMENTS;
        log->max_backlog_size = limits->events_unwritten_size;
}

/* Writes one whole line, or nothing of it. */
static int eventlog_write(EventLog *log, uint64_t sequence, const char *line, size_t size) {
        int r;

        if (log->torn && ftruncate(newest_segment(log)->fd, (off_t) log->size) < 0)
                return -errno;
        log->torn = false;

        if (log->n_events >= log->segment_events ||
            (log->n_events > 0 && log->size + size > log->segment_size)) {
                r = eventlog_rotate(log, sequence);
                if (r < 0)
                        return r;
        }

        crash_point("eventlog-before-write");
        r = file_write_all(newest_segment(log)->fd, line, size);
        crash_point("eventlog-after-write");
        if (r < 0) {
                log->torn = ftruncate(newest_segment(log)->fd, (off_t) log->size) < 0;
                if (log->torn)
                        log_error_errno(errno, "Failed to cut a half-written event off the log, trying again before "
                                               "the next one: %m");
                return r;
        }

        log->size += size;
        log->n_events++;
        return 0;
}

int eventlog_flush(EventLog *log) {
        size_t done = 0;
        int r = 0;

        while (log->n_backlog > 0) {
                const char *line = log->backlog + done;
                size_t size = (size_t) ((const char *) memchr(line, '\n', log->backlog_size - done) + 1 - line);
                EventHead head = { .sequence = log->last - log->n_backlog + 1 };

                /* Numbers may be missing in between, and segments are named after what is in them. */
                (void) event_head_from_json(line, size - 1, &head);
                r = eventlog_write(log, head.sequence, line, size);
                if (r < 0)
                        break;
                done += size;
                log->n_backlog--;
        }

        log->backlog_start += done;
        log->backlog_size -= done;
        if (log->n_backlog == 0)
                log->backlog = mfree(log->backlog);
        else if (done > 0)
                memmove(log->backlog, log->backlog + done, log->backlog_size);
        return r;
}

void eventlog_skip(EventLog *log, uint64_t sequence) {
        assert(sequence > log->last);
        log->last = sequence;
}

static int eventlog_keep(EventLog *log, const char *line, size_t size) {
        char *larger;

        if (log->backlog_size + size > log->max_backlog_size)
                return -ENOMEM;

        larger = realloc(log->backlog, log->backlog_size + size);
        if (!larger)
                return -ENOMEM;

        log->backlog = larger;
        memcpy(log->backlog + log->backlog_size, line, size);
        log->backlog_size += size;
        log->n_backlog++;
        return 1;
}

int eventlog_append(EventLog *log, uint64_t sequence, const char *record, size_t size) {
        _cleanup_(freep) char *line = NULL;
        int r;

        assert(sequence > log->last);

        line = malloc(size + 1);
        if (!line) {
                log->last = sequence;
                return -ENOMEM;
        }
        memcpy(line, record, size);
        line[size] = '\n';

        r = eventlog_flush(log);
        log->newest = eventlog_end(log);
        if (r >= 0)
                r = eventlog_write(log, sequence, line, size + 1);

        log->last = sequence;
        if (r >= 0)
                return 0;

        if (log->n_backlog == 0)
                log_error_errno(r,
                                "Failed to write event %" PRIu64 " to the event log, keeping it and those to come in "
                                "memory until that works: %m",
                                sequence);
        return eventlog_keep(log, line, size + 1);
}

bool eventlog_is_complete(const EventLog *log, uint64_t after) {
        return after >= log->last || log->segments[0].first <= after + 1;
}

/* ---- reading ---- */

EventCursor eventlog_seek(const EventLog *log, uint64_t after) {
        EventCursor cursor = log->newest;
        unsigned i;

        if (after > log->last)
                after = log->last;

        /* Whoever has all but the newest event need not look for it. */
        if (after < log->newest.sequence) {
                for (i = log->n_segments - 1; i > 0; i--)
                        if (log->segments[i].first <= after + 1)
                                break;
                cursor = (EventCursor) { .segment = log->segments[i].first };
        }

        cursor.sequence = after;
        return cursor;
}

/* The segment that a cursor stands in; the oldest one if that has been dropped. */
static unsigned cursor_find_segment(const EventLog *log, EventCursor *cursor) {
        for (unsigned i = log->n_segments; i > 0; i--)
                if (log->segments[i - 1].first == cursor->segment)
                        return i - 1;

        cursor->segment = log->segments[0].first;
        cursor->offset = 0;
        return 0;
}

/* The next piece of a segment, in whole lines: EVENTLOG_STEP bytes, or more if one line is longer. No bytes: there is
 * no more whole line. */
static int segment_read_lines(int fd, uint64_t offset, char **ret, size_t *ret_size) {
        _cleanup_(freep) char *text = NULL;
        size_t allocated = EVENTLOG_STEP, size = 0;
        ssize_t n;

        do {
                char *larger, *end;

                if (size == allocated)
                        allocated *= 2;
                if (allocated > SEGMENT_SIZE_MAX)
                        return -EFBIG;
                larger = realloc(text, allocated);
                if (!larger)
                        return -ENOMEM;
                text = larger;

                do
                        n = pread(fd, text + size, allocated - size, (off_t) (offset + size));
                while (n < 0 && errno == EINTR);
                if (n < 0)
                        return -errno;

                size += (size_t) n;
                end = memrchr(text, '\n', size);
                if (end) {
                        *ret_size = (size_t) (end + 1 - text);
                        *ret = TAKE_PTR(text);
                        return 0;
                }
        } while (n > 0);

        *ret = NULL;
        *ret_size = 0;
        return 0;
}

typedef struct ReadingOn {
        EventCursor *cursor;
        uint64_t *position; /* that of the cursor which is moved: on disk or in the backlog */
        EventRecordFound found;
        void *userdata;
} ReadingOn;

/* Tells of those that have been lost before 'next', if any. */
static int read_on_hole(EventCursor *cursor, uint64_t next, EventRecordFound found, void *userdata) {
        EventRecord hole = { .sequence = next - 1 };
        int r;

        if (cursor->sequence >= next - 1)
                return 0;

        r = found(userdata, &hole);
        if (r == 0)
                cursor->sequence = next - 1;
        return r;
}

static int read_on_line(void *userdata, const char *line, size_t size) {
        ReadingOn *reading = userdata;
        EventCursor *cursor = reading->cursor;
        EventHead head;
        int r;

        /* A line that cannot be read was not written by us, or was damaged; its number is missing then. */
        if (event_head_from_json(line, size, &head) >= 0 && head.sequence > cursor->sequence) {
                const EventRecord record = {
                        .sequence = head.sequence,
                        .ns = head.ns,
                        .container_id = head.container_id,
                        .text = line,
                        .size = size,
                };

                if ((r = read_on_hole(cursor, head.sequence, reading->found, reading->userdata)) != 0 ||
                    (r = reading->found(reading->userdata, &record)) != 0)
                        return r;
                cursor->sequence = head.sequence;
        }

        *reading->position += size + 1;
        return 0;
}

/* One piece of the log. Returns 0 to go on with the next one, 1 when found() has had enough, -errno; no bytes, when
 * there are no more. */
static int read_on_piece(EventLog *log, ReadingOn *reading, size_t *ret_size) {
        _cleanup_(freep) char *text = NULL;
        EventCursor *cursor = reading->cursor;
        size_t size, done;
        unsigned i;
        int r;

        for (i = cursor_find_segment(log, cursor);; i++) {
                r = segment_read_lines(log->segments[i].fd, cursor->offset, &text, &size);
                if (r < 0)
                        return r;
                if (size > 0 || i + 1 == log->n_segments)
                        break;
                cursor->segment = log->segments[i + 1].first;
                cursor->offset = 0;
        }

        *ret_size = size;
        if (size > 0) {
                reading->position = &cursor->offset;
                (void) for_each_line(text, size, read_on_line, reading, &r);
                return r;
        }

        /* What waited when we were here last may have been written since, and has then been read as lines of a
         * segment above. */
        if (cursor->backlog < log->backlog_start)
                cursor->backlog = log->backlog_start;
        done = (size_t) (cursor->backlog - log->backlog_start);
        size = log->backlog_size - done;
        if (size > EVENTLOG_STEP) {
                const char *from = log->backlog + done + EVENTLOG_STEP;

                size = (size_t) ((const char *) memchr(from, '\n', size - EVENTLOG_STEP) + 1 - from) + EVENTLOG_STEP;
        }

        *ret_size = size;
        if (size == 0)
                return 0;
        reading->position = &cursor->backlog;
        (void) for_each_line(log->backlog + done, size, read_on_line, reading, &r);
        return r;
}

int eventlog_read_on(EventLog *log, EventCursor *cursor, EventRecordFound found, void *userdata) {
        ReadingOn reading = { .cursor = cursor, .found = found, .userdata = userdata };
        size_t done = 0, size;
        int r;

        do {
                r = read_on_piece(log, &reading, &size);
                if (r != 0)
                        return r < 0 ? r : 0;
                done += size;
        } while (size > 0 && done < EVENTLOG_STEP / 2);
        if (size > 0)
                return 0;

        /* The newest ones may be missing, too. */
        r = read_on_hole(cursor, log->last + 1, found, userdata);
        return r < 0 ? r : r == 0;
}

typedef struct Reading {
        unsigned max, n;
        EventFound found;
        void *userdata;
} Reading;

static int read_event(void *userdata, const EventRecord *record) {
        _cleanup_(json_freep) Json tree = NULL;
        _cleanup_(freep) char *copy = NULL;
        Reading *reading = userdata;
        Event e;
        int r;

        if (!record->text)
                return 0;
        if (reading->max > 0 && reading->n >= reading->max)
                return 1;

        copy = strndup(record->text, record->size);
        if (!copy)
                return -ENOMEM;
        if (json_parse(copy, record->size, &tree, NULL) < 0 || event_from_json(tree, &e) < 0)
                return 0;

        r = reading->found(reading->userdata, &e);
        reading->n++;
        return r < 0 ? r : 0;
}

int eventlog_read(EventLog *log, uint64_t after, unsigned max, EventFound found, void *userdata) {
        Reading reading = { .max = max, .found = found, .userdata = userdata };
        EventCursor cursor = eventlog_seek(log, after);
        int r;

        do
                r = eventlog_read_on(log, &cursor, read_event, &reading);
        while (r == 0 && (max == 0 || reading.n < max));

        return r < 0 ? r : 0;
}
