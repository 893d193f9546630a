/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One event source for many descriptors: an epoll instance of our own within that of the event loop. */

#include "host/fd-watch.h"

#include <assert.h>
#include <sys/epoll.h>

/* After so many the rest of the loop gets its turn; what is still ready makes the set ready again. */
#define BATCH 256

struct FdWatchSet {
        FdReady ready;
        int epoll_fd;
        sd_event_source *io;
        size_t n_watches;
};

/* One at a time: whoever is told may end any other watch, and of those none may be left in our hands. */
static int set_on_io(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        FdWatchSet *set = userdata;
        struct epoll_event e;

        for (unsigned i = 0; i < BATCH && epoll_wait(fd, &e, 1, 0) > 0; i++) {
                const FdWatch *watch = e.data.ptr;

                set->ready(watch->owner, e.events);
        }
        return 0;
}

int fd_watch_set_new(FdWatchSet **ret, sd_event *event, int64_t priority, FdReady ready) {
        _cleanup_(fd_watch_set_freep) FdWatchSet *set = NULL;
        int r;

        set = malloc(sizeof(*set));
        if (!set)
                return -ENOMEM;

        *set = (FdWatchSet) { .ready = ready, .epoll_fd = epoll_create1(EPOLL_CLOEXEC) };
        if (set->epoll_fd < 0)
                return -errno;

        r = sd_event_add_io(event, &set->io, set->epoll_fd, EPOLLIN, set_on_io, set);
        if (r < 0)
                return r;

        r = sd_event_source_set_priority(set->io, priority);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(set);
        return 0;
}

FdWatchSet *fd_watch_set_free(FdWatchSet *set) {
        if (!set)
                return NULL;

        assert(set->n_watches == 0);
        sd_event_source_disable_unref(set->io);
        safe_close(set->epoll_fd);
        return mfree(set);
}

int fd_watch_begin(FdWatch *watch, FdWatchSet *set, int fd, uint32_t events, void *owner) {
        struct epoll_event e = { .events = events, .data.ptr = watch };

        assert(!watch->set);

        if (epoll_ctl(set->epoll_fd, EPOLL_CTL_ADD, fd, &e) < 0)
                return -errno;

        *watch = (FdWatch) { .set = set, .owner = owner, .fd = fd };
        set->n_watches++;
        return 0;
}

void fd_watch_set_events(FdWatch *watch, uint32_t events) {
        struct epoll_event e = { .events = events, .data.ptr = watch };

        (void) epoll_ctl(watch->set->epoll_fd, EPOLL_CTL_MOD, watch->fd, &e);
}

/* Closing the descriptor would not be enough: there may be duplicates of it. */
void fd_watch_end(FdWatch *watch) {
        if (!watch->set)
                return;

        (void) epoll_ctl(watch->set->epoll_fd, EPOLL_CTL_DEL, watch->fd, NULL);
        watch->set->n_watches--;
        watch->set = NULL;
}
