/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The one connection to the journal, a datagram socket that is never waited for, and the list of those that it is too
 * full for. It is made when it is needed, and again when journald was restarted. */

#include "util/macro.h"

#include <sys/socket.h>
#include <systemd/sd-event.h>

typedef struct JournalWaiter JournalWaiter;

struct JournalWaiter {
        void (*turn)(JournalWaiter *w); /* there is room: it is still in the list, and waits again or leaves */
        sd_event *event;                /* that the sources of the connection are attached to */
        int64_t priority;
        bool waiting;
        JournalWaiter *prev, *next;
};

/* The connection is closed when as many have closed it as have opened it. */
void journal_socket_open(void);
void journal_socket_close(void);

/* For tests: another socket to connect to from now on, instead of JOURNAL_SOCKET; NULL for that. The string is not
 * copied. */
void journal_set_socket(const char *path);

/* Is there a journal to send to? 0, or the -errno of connecting to it. */
int journal_check(void);

/* One datagram: 0; -EAGAIN when it has to be tried again, be it for want of room or of a journal; else -errno. */
int journal_socket_send(struct msghdr *m);

/* Puts it at the end of the list; -errno if it cannot be woken. Takes it out, if it is there. */
int journal_socket_wait(JournalWaiter *w);
int journal_socket_leave(JournalWaiter *w);

/* When the journal last took anything from anybody, CLOCK_MONOTONIC. */
uint64_t journal_socket_get_taken(void);
