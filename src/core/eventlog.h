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
#include "util/macro.h"

#define EVENTLOG_SEGMENT_EVENTS 2048
#define EVENTLOG_SEGMENTS 4

#define EVENTLOG_FOLDER ".events" /* no namespace begins with a dot */

typedef struct EventLog EventLog;

/* Opens, or makes, the log below the state directory. A torn last line, left by a crash, is cut off. */
int eventlog_open(EventLog **ret, int state_fd);
EventLog *eventlog_free(EventLog *log);
DEFINE_CLEANUP(EventLog *, eventlog_free);

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
