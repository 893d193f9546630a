/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Lines of a container's output into the journal, with fields that name the container.
 *
 * The journal's stream protocol knows no such fields, so the lines are read here, from a FIFO in the container's
 * state directory (which outlives a crash of ours, unlike a pipe), and sent as datagrams in the journal's native
 * protocol, without ever waiting for journald: while it does not take more, nothing more is read. */

#include "util/journal-message.h"
#include "util/macro.h"

#include <systemd/sd-event.h>

#define JOURNAL_LINE_MAX (48U * 1024U) /* as journald's own LineMax=: longer lines are split */

typedef struct JournalStream JournalStream;

typedef struct JournalFields {
        const char *identifier;   /* SYSLOG_IDENTIFIER= */
        const char *ns;           /* CONTAINER_NAMESPACE= */
        const char *container_id; /* CONTAINER_ID= */
        const char *exec_id;      /* CONTAINER_EXEC_ID=; NULL for the init */
        int priority;             /* PRIORITY= */
} JournalFields;

/* Takes 'fd' (the reading side, made O_NONBLOCK) over on success. done() is called once, from the loop, when
 * all has been sent after journal_stream_finish() or after the last writer (our own hold of the FIFO is one, too) has
 * gone; it may free the stream. The fields are copied. Each line is one
 * message: MESSAGE=, without the newline; empty lines are kept; what is no text goes as the binary field that the
 * protocol has for it. */
int journal_stream_new(JournalStream **ret, sd_event *event, int64_t priority, int fd, const JournalFields *f,
                       void (*done)(void *userdata), void *userdata);

int journal_stream_get_fd(const JournalStream *s); /* stays the stream's */

/* As pump_save_rest() and pump_load_rest(): the beginning of a line, or lines that journald did not take yet. */
int journal_stream_save_rest(const JournalStream *s);
int journal_stream_load_rest(JournalStream *s, int fd);

/* Whoever may still write is not waited for any more: what is there now is sent, a last line without a newline
 * included, then done() is called. If journald takes nothing, of anybody, for a second, the rest is given up with a
 * warning. */
int journal_stream_finish(JournalStream *s);

bool journal_stream_is_done(const JournalStream *s); /* done() has been, or is being, called */

/* After journal_stream_finish() writers that are left do not find the FIFO full for ever: what they write is thrown
 * away by the loop. */
JournalStream *journal_stream_free(JournalStream *s);
DEFINE_CLEANUP(JournalStream *, journal_stream_free);
