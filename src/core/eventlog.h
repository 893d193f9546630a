/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The newest events, on disk and not in memory, in the folder STATE/.events.
 *
 * They stand as lines of JSON in segments, files named after the first sequence number in them. When a segment is
 * full the next one is begun and the oldest goes: so at least (EVENTLOG_SEGMENTS - 1) * EVENTLOG_SEGMENT_EVENTS of
 * the newest events are kept, and nothing is ever rewritten. Sequence numbers only grow, and go on where the files
 * end after a restart.
 *
 * What cannot be written (a full disk) waits in memory, in order, and is written with the next event or
 * eventlog_flush(). */

#include "core/event.h"
#include "host/limits.h"
#include "util/macro.h"

#define EVENTLOG_SEGMENT_EVENTS 2048 /* before eventlog_set_limits() */
#define EVENTLOG_SEGMENTS 4

#define EVENTLOG_FOLDER ".events" /* no namespace begins with a dot */

#define EVENTLOG_STEP (64U * 1024U) /* bytes that eventlog_read_on() goes through in one call */

typedef struct EventLog EventLog;

/* Opens, or makes, the log below the state directory. A torn last line, left by a crash, is cut off. One descriptor
 * for each segment stays open, so that reading later needs none. */
int eventlog_open(EventLog **ret, int state_fd);
EventLog *eventlog_free(EventLog *log);
DEFINE_CLEANUP(EventLog *, eventlog_free);

/* How many events are kept, and of what size, on disk and in memory; counts for events to come. */
void eventlog_set_limits(EventLog *log, const Limits *limits);

uint64_t eventlog_last(const EventLog *log); /* the newest sequence number, 0 before the first event */

/* The number that the next event gets. eventlog_append() follows with it. */
static inline uint64_t eventlog_next(const EventLog *log) {
        return eventlog_last(log) + 1;
}

/* Appends one record (a JSON object without a newline). 'sequence' is greater than eventlog_last(). Returns 0; 1 if
 * it had to be kept in memory for now; -ENOMEM if even that failed (the number is used up all the same). */
int eventlog_append(EventLog *log, uint64_t sequence, const char *record, size_t size);

/* Uses a number up for an event for whose record there was no memory. */
void eventlog_skip(EventLog *log, uint64_t sequence);

/* Tries again to write what waits in memory. 0 when nothing waits any more, else -errno. */
int eventlog_flush(EventLog *log);

/* Are all events after 'after' still there? */
bool eventlog_is_complete(const EventLog *log, uint64_t after);

/* Calls found() for each event after 'after', oldest first, at most 'max' of them (0: all), until it returns a
 * negative errno, which is then returned. */
typedef int (*EventFound)(void *userdata, const Event *e);
int eventlog_read(EventLog *log, uint64_t after, unsigned max, EventFound found, void *userdata);

/* Where a reader stands who goes on later. It is a plain value: it holds nothing, may be copied and forgotten, and
 * stays good whatever happens to the log meanwhile, the removal of the segment that it points into included. Only
 * 'sequence' means something to the reader, and only eventlog_seek() makes one. */
typedef struct EventCursor {
        uint64_t sequence; /* the last event that has been read, or was lost */
        uint64_t segment;  /* the name of the segment, and how much of it has been read */
        uint64_t offset;
        uint64_t backlog; /* how much has been read of all that ever waited in memory */
} EventCursor;

/* Events as they stand on disk. */
typedef struct EventRecord {
        uint64_t sequence;
        const char *ns;
        const char *container_id;
        const char *text; /* the JSON text, not NUL-terminated; NULL: all events up to 'sequence' are lost */
        size_t size;
} EventRecord;

/* Returns 0 when the record has been taken, 1 to stop before it and be given it again the next time, or -errno. */
typedef int (*EventRecordFound)(void *userdata, const EventRecord *record);

/* The place behind event 'after', or behind the newest one if that is less. From there a reader gets every event
 * once and in order, those that wait in memory included; for a hole, be it that the oldest have been dropped or that
 * something could never be written, one record without text. */
EventCursor eventlog_seek(const EventLog *log, uint64_t after);

/* Reads on from the cursor and moves it, through about EVENTLOG_STEP bytes of the log (more if a single record is
 * longer). Returns 1 if everything has been read, 0 if there is more, or -errno; the cursor is good in any case. What
 * found() gets lives during the call; found() may not change the log. */
int eventlog_read_on(EventLog *log, EventCursor *cursor, EventRecordFound found, void *userdata);
