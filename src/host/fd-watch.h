/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One event source for many descriptors that hardly ever have anything to say, of which there are some for each
 * container. A source of the event loop takes 300 bytes for each; a watch takes what stands below, in whatever it is
 * a part of. */

#include "util/macro.h"

#include <systemd/sd-event.h>

typedef struct FdWatchSet FdWatchSet;

/* A part of its owner, all zeroes before it is begun. */
typedef struct FdWatch {
        FdWatchSet *set; /* NULL: nothing is watched */
        void *owner;
        int fd; /* the owner's, who ends the watch before he closes it */
} FdWatch;

/* 'revents' are those of epoll_wait(2), level-triggered. May end this watch and any other. */
typedef void (*FdReady)(void *owner, uint32_t revents);

/* For owners of one kind, at one priority. */
int fd_watch_set_new(FdWatchSet **ret, sd_event *event, int64_t priority, FdReady ready);
FdWatchSet *fd_watch_set_free(FdWatchSet *set); /* every watch must have ended */
DEFINE_CLEANUP(FdWatchSet *, fd_watch_set_free);

/* Begins to watch for 'events' (EPOLLIN and the like; EPOLLHUP and EPOLLERR always). -errno. */
int fd_watch_begin(FdWatch *watch, FdWatchSet *set, int fd, uint32_t events, void *owner);
void fd_watch_set_events(FdWatch *watch, uint32_t events);
void fd_watch_end(FdWatch *watch); /* one that has ended, or was never begun, may end again */
