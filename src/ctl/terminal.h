/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The terminal of a process, connected with our own standard streams.
 *
 * What is shown goes to stdout; what is typed comes from stdin, which is made raw if it is a terminal. The flags of
 * our streams are not touched, since others have them, too; the master is made non-blocking, as monoshimd has it. */

#include "ctl/detach-keys.h"

#include <systemd/sd-event.h>

typedef struct Terminal Terminal;

typedef enum TerminalNotice {
        TERMINAL_DETACHED, /* the keys have been typed */
        TERMINAL_HUNG_UP,  /* stdout takes nothing any more; what comes is dropped from now on */
} TerminalNotice;

/* Called from the event loop. It must not free the terminal. */
typedef void (*TerminalHandler)(TerminalNotice notice, void *userdata);

/* 'master' is taken on success. With 'interactive' stdin is read; the keys count when it is a terminal. Negative
 * errno. */
int terminal_new(sd_event *event, int master, bool interactive, const DetachKeys *keys, TerminalHandler handler,
                 void *userdata, Terminal **ret);

/* Restores the modes of our terminal. */
Terminal *terminal_free(Terminal *t);
DEFINE_CLEANUP(Terminal *, terminal_free);

/* Whether our own terminal is raw: then its keys are the process's, and no signal comes from them. */
bool terminal_is_raw(const Terminal *t);

/* TIOCSWINSZ on the master, for when monoshimd cannot do it. */
void terminal_resize(const Terminal *t, uint16_t columns, uint16_t rows);

/* The process has ended: no more is typed, and what it has left behind is still shown. Somebody else may hold the
 * terminal open and write on: that is not waited for. */
void terminal_end(Terminal *t);
bool terminal_is_drained(const Terminal *t);
