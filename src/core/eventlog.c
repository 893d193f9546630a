/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The newest events, on disk. */

#include "core/eventlog.h"
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
#define SEGMENT_SIZE_MAX (64U * 1024U * 1024U)
#define SEGMENT_SIZE_SOFT_MAX (4U * 1024U * 1024U) /* the next event begins a new one */
#define BACKLOG_MAX (16U * 1024U * 1024U)

typedef struct Segment {
        uint64_t first; /* the sequence number of its first line */
} Segment;

struct EventLog {
        int dir_fd;
        int fd;            /* the newest segment, for appending */
        uint64_t last;     /* the newest sequence number given out */
        uint64_t size;     /* of the newest segment: where a failed write is cut back to */
        unsigned n_events; /* in the newest segment */
        Segment segments[EVENTLOG_SEGMENTS + 1];
        unsigned n_segments;

        /* Lines that could not be written yet, whole and in order. */
        char *backlog;
        size_t backlog_size;
        unsigned n_backlog;
};

static void segment_name(uint64_t first, char ret[static SEGMENT_NAME_LENGTH + 1]) {
        (void) snprintf(ret, SEGMENT_NAME_LENGTH + 1, "%020" PRIu64, first);
}

EventLog *eventlog_free(EventLog *log) {
        if (!log)
                return NULL;

        safe_close(log->fd);
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

                if (strlen(de->d_name) != SEGMENT_NAME_LENGTH || parse_uint64(de->d_name, &first) < 0 || first == 0)
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

                if (n - i <= EVENTLOG_SEGMENTS) {
                        log->segments[log->n_segments++] = found[i];
                        continue;
                }
                segment_name(found[i].first, name);
                (void) unlinkat(log->dir_fd, name, 0);
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

static int segment_read(const EventLog *log, uint64_t first, char **ret, size_t *ret_size) {
        char name[SEGMENT_NAME_LENGTH + 1];

        segment_name(first, name);
        return file_read_beneath(log->dir_fd, name, SEGMENT_SIZE_MAX, ret, ret_size);
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

        segment_name(first, name);
        fd = file_open_beneath(log->dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600);
        if (fd < 0)
                return fd;

        safe_close(log->fd);
        log->fd = fd;
        log->size = 0;
        log->n_events = 0;
        log->segments[log->n_segments++].first = first;

        if (log->n_segments > EVENTLOG_SEGMENTS) {
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
        _cleanup_(json_freep) Json tree = NULL;
        _cleanup_(freep) char *line = NULL;
        const char *start;
        Event e;

        if (size == 0)
                return counted;

        start = memrchr(text, '\n', size - 1);
        start = start ? start + 1 : text;
        line = strndup(start, size - 1 - (size_t) (start - text));
        if (!line || json_parse(line, strlen(line), &tree, NULL) < 0 || event_from_json(tree, &e) < 0)
                return counted;

        return e.sequence > counted ? e.sequence : counted;
}

/* Goes on with the newest segment: counts what is in it, and cuts off a torn last line. */
static int eventlog_resume(EventLog *log) {
        _cleanup_(freep) char *text = NULL;
        char name[SEGMENT_NAME_LENGTH + 1];
        uint64_t first;
        size_t size, whole;
        int r;

        first = log->segments[log->n_segments - 1].first;
        segment_name(first, name);
        log->fd = file_open_beneath(log->dir_fd, name, O_RDWR | O_APPEND, 0);
        if (log->fd < 0)
                return log->fd;

        r = file_read_fd(log->fd, SEGMENT_SIZE_MAX, &text, &size);
        if (r < 0)
                return r;

        whole = for_each_line(text, size, count_line, &log->n_events, NULL);
        log->last = last_sequence(text, whole, first + log->n_events - 1);
        if (whole < size) {
                log_warning("The event log ends in a torn line, left by a crash; cutting it off.");
                if (ftruncate(log->fd, (off_t) whole) < 0)
                        return -errno;
        }

        log->size = whole;
        return 0;
}

int eventlog_open(EventLog **ret, int state_fd) {
        _cleanup_(eventlog_freep) EventLog *log = NULL;
        int r;

        log = malloc(sizeof(*log));
        if (!log)
                return -ENOMEM;
        *log = (EventLog) { .dir_fd = -EBADF, .fd = -EBADF };

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

        *ret = TAKE_PTR(log);
        return 0;
}

/* Writes one whole line, or nothing of it. */
static int eventlog_write(EventLog *log, uint64_t sequence, const char *line, size_t size) {
        int r;

        if (log->n_events >= EVENTLOG_SEGMENT_EVENTS ||
            (log->n_events > 0 && log->size + size > SEGMENT_SIZE_SOFT_MAX)) {
                r = eventlog_rotate(log, sequence);
                if (r < 0)
                        return r;
        }

        r = file_write_all(log->fd, line, size);
        if (r < 0) {
                if (ftruncate(log->fd, (off_t) log->size) < 0)
                        log_error_errno(errno, "Failed to cut a half-written event off the log: %m");
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

                r = eventlog_write(log, log->last - log->n_backlog + 1, line, size);
                if (r < 0)
                        break;
                done += size;
                log->n_backlog--;
        }

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

        if (log->backlog_size + size > BACKLOG_MAX)
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
        if (r >= 0)
                r = eventlog_write(log, sequence, line, size + 1);

        log->last = sequence;
        if (r >= 0)
                return 0;

        log_error_errno(
                r, "Failed to write event %" PRIu64 " to the event log, keeping it in memory until that works: %m",
                sequence);
        return eventlog_keep(log, line, size + 1);
}

typedef struct Reading {
        uint64_t after;
        unsigned max, n;
        EventFound found;
        void *userdata;
} Reading;

static int read_line(void *userdata, const char *line, size_t size) {
        _cleanup_(json_freep) Json tree = NULL;
        _cleanup_(freep) char *copy = NULL;
        Reading *reading = userdata;
        Event e;
        int r;

        copy = strndup(line, size);
        if (!copy)
                return -ENOMEM;

        /* A line that cannot be read was not written by us; it hides no others. */
        if (json_parse(copy, strlen(copy), &tree, NULL) < 0 || event_from_json(tree, &e) < 0)
                return 0;
        if (e.sequence <= reading->after)
                return 0;

        r = reading->found(reading->userdata, &e);
        if (r < 0)
                return r;

        return reading->max > 0 && ++reading->n >= reading->max ? 1 : 0;
}

bool eventlog_is_complete(const EventLog *log, uint64_t after) {
        return after >= log->last || log->segments[0].first <= after + 1;
}

int eventlog_read(EventLog *log, uint64_t after, unsigned max, EventFound found, void *userdata) {
        Reading reading = { .after = after, .max = max, .found = found, .userdata = userdata };
        int r = 0;

        for (unsigned i = 0; i < log->n_segments && r == 0; i++) {
                _cleanup_(freep) char *text = NULL;
                size_t size;

                if (i + 1 < log->n_segments && log->segments[i + 1].first <= after + 1)
                        continue; /* all of it is older */

                r = segment_read(log, log->segments[i].first, &text, &size);
                if (r < 0)
                        return r;
                (void) for_each_line(text, size, read_line, &reading, &r);
        }

        if (r == 0)
                (void) for_each_line(log->backlog, log->backlog_size, read_line, &reading, &r);
        return r < 0 ? r : 0;
}
