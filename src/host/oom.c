/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Which containers the kernel has killed processes of for memory.
 *
 * cgroup v2: inotify tells that memory.events has changed, which it does for many reasons (each time that a limit is
 * met); only "oom_kill" counts. It includes the cgroups below.
 *
 * cgroup v1: an eventfd tells that this cgroup or one above it is out of memory: before the kernel has killed
 * anybody, and when it finds its victim elsewhere as well. So the count is looked at again for a while. It also tells
 * when the cgroup is removed. */

#include "host/oom.h"

#include "host/cgroup-view.h"
#include "host/fd-watch.h"
#include "util/file.h"
#include "util/log.h"
#include "util/text.h"

#include <assert.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#define COUNTER_FILE_MAX 4096

/* After 10 ms, 20, 40, ... 640: 1.3 s in all. */
#define LOOK_AGAIN_USEC (10 * USEC_PER_MSEC)
#define LOOKS_MAX 7

struct OomWatcher {
        sd_event *event;
        int64_t priority;
        int inotify_fd;
        sd_event_source *io;
        FdWatchSet *eventfds; /* those of v1 */

        /* Those of v2, ordered by watch descriptor. The kernel counts these upwards, so a new one goes to the end.
         * Containers that share a cgroup share the descriptor, too. */
        OomWatch **unified;
        size_t n_unified, n_allocated;

        size_t n_watches; /* of v1 as well */
};

/* Paid for each container. A path costs some hundred bytes and no descriptor, of which there is a limit; an open
 * counter file would hold a file, a buffer of a page and the removed cgroup's remains in the kernel. That a path can
 * become another cgroup's is noticed by the inode number, which the kernel does not use again. */
struct OomWatch {
        OomWatcher *watcher;
        OomSeen seen;
        void *userdata;
        uint64_t known;
        ino_t inode;            /* of the counter's file; 0: the cgroup is gone */
        FdWatch eventfd;        /* v1: which is ours */
        sd_event_source *again; /* only while there is a reason to look again */
        uint64_t n_awaited;     /* kills that were announced and are not counted yet */
        int wd;                 /* v2, or -1 */
        uint8_t n_looks;
        bool due;
        char path[]; /* of the counter's file */
};

/* --- those of v2 by watch descriptor ---------------------------------------------------------------------------- */

/* Where the first one with this descriptor is, or would be. */
static size_t watcher_find(const OomWatcher *w, int wd) {
        size_t low = 0, high = w->n_unified;

        if (high > 0 && w->unified[high - 1]->wd < wd)
                return high;

        while (low < high) {
                size_t middle = (low + high) / 2;

                if (w->unified[middle]->wd < wd)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

static bool watcher_has(const OomWatcher *w, int wd) {
        size_t i = watcher_find(w, wd);

        return i < w->n_unified && w->unified[i]->wd == wd;
}

static int watcher_reserve(OomWatcher *w) {
        size_t n = w->n_allocated > 0 ? w->n_allocated * 2 : 16;
        OomWatch **larger;

        if (w->n_unified < w->n_allocated)
                return 0;

        larger = reallocarray(w->unified, n, sizeof(*larger));
        if (!larger)
                return -ENOMEM;
        w->unified = larger;
        w->n_allocated = n;
        return 0;
}

/* There is room. */
static void watcher_insert(OomWatcher *w, OomWatch *o) {
        size_t i = watcher_find(w, o->wd);

        memmove(w->unified + i + 1, w->unified + i, (w->n_unified - i) * sizeof(*w->unified));
        w->unified[i] = o;
        w->n_unified++;
}

static void watcher_remove(OomWatcher *w, const OomWatch *o) {
        size_t i = watcher_find(w, o->wd);

        while (w->unified[i] != o)
                i++;
        w->n_unified--;
        memmove(w->unified + i, w->unified + i + 1, (w->n_unified - i) * sizeof(*w->unified));

        if (w->n_unified == 0) {
                w->unified = mfree(w->unified);
                w->n_allocated = 0;
        }
}

/* --- the count -------------------------------------------------------------------------------------------------- */

static int counter_open(int dir_fd, const char *path) {
        int fd;

        fd = openat(dir_fd, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (fd < 0)
                return errno == ENODEV ? -ENOENT : -errno;
        return fd;
}

/* -ENOENT when the cgroup is gone, -ENODATA when it counts no kills. */
static int counter_read(int fd, ino_t *ret_inode, uint64_t *ret) {
        char text[COUNTER_FILE_MAX];
        struct stat st;
        ssize_t n;
        int r;

        if (fstat(fd, &st) < 0)
                return -errno;

        n = file_read_record_fd(fd, text, sizeof(text));
        if (n < 0)
                return n == -ENODEV ? -ENOENT : (int) n;
        r = cgroup_get_keyed(text, "oom_kill", ret);
        if (r < 0)
                return r;

        *ret_inode = st.st_ino;
        return 0;
}

/* The cgroup is gone; what is known stays. */
static void watch_end(OomWatch *o) {
        o->inode = 0;
        o->n_awaited = 0;
        o->due = false;
        if (o->eventfd.set) {
                fd_watch_end(&o->eventfd);
                safe_close(o->eventfd.fd);
        }
        o->again = sd_event_source_unref(o->again);

        if (o->wd >= 0) {
                watcher_remove(o->watcher, o);
                if (!watcher_has(o->watcher, o->wd))
                        (void) inotify_rm_watch(o->watcher->inotify_fd, o->wd);
                o->wd = -1;
        }
}

/* How many kills are new; they are known from now on. -ENOENT when the cgroup is gone. */
static int watch_count(OomWatch *o, uint64_t *ret_kills) {
        _cleanup_(safe_closep) int fd = -EBADF;
        uint64_t count = 0, kills;
        ino_t inode = 0;
        int r;

        if (o->inode == 0)
                return -ENOENT;

        r = fd = counter_open(AT_FDCWD, o->path);
        if (r >= 0)
                r = counter_read(fd, &inode, &count);
        if (r == -ENOENT || (r >= 0 && inode != o->inode)) {
                watch_end(o);
                return -ENOENT;
        }
        if (r < 0)
                return r;

        kills = count > o->known ? count - o->known : 0;
        o->known = count;
        o->n_awaited -= kills < o->n_awaited ? kills : o->n_awaited;
        *ret_kills = kills;
        return 0;
}

static int watch_on_time(sd_event_source *s, uint64_t usec, void *userdata);

/* Without memory for that, the next event or the exit will tell. */
static void watch_look_in(OomWatch *o, uint64_t usec) {
        OomWatcher *w = o->watcher;
        int r;

        if (o->again) {
                if (sd_event_source_set_time_relative(o->again, usec) >= 0)
                        (void) sd_event_source_set_enabled(o->again, SD_EVENT_ONESHOT);
                return;
        }

        r = sd_event_add_time_relative(w->event, &o->again, CLOCK_MONOTONIC, usec, USEC_PER_MSEC, watch_on_time, o);
        if (r >= 0)
                (void) sd_event_source_set_priority(o->again, w->priority);
}

/* Looks at the count, and arranges for another look if there is still something to come. Tells last: that may free
 * the watch. */
static void watch_look(OomWatch *o) {
        uint64_t kills = 0;
        int r;

        r = watch_count(o, &kills);
        if (r == -ENOENT)
                return;
        if (r < 0 && o->n_awaited == 0)
                o->n_awaited = 1; /* there are no descriptors, say, which will pass */

        if (o->n_awaited > 0 && o->n_looks < LOOKS_MAX)
                watch_look_in(o, LOOK_AGAIN_USEC << o->n_looks++);
        else {
                o->n_awaited = 0; /* nobody of ours was killed */
                o->n_looks = 0;
                o->again = sd_event_source_unref(o->again);
        }

        if (kills > 0)
                o->seen(o->userdata, kills);
}

static int watch_on_time(sd_event_source *s, uint64_t usec, void *userdata) {
        watch_look(userdata);
        return 0;
}

/* --- v1 --------------------------------------------------------------------------------------------------------- */

static void watch_on_eventfd(void *owner, uint32_t revents) {
        OomWatch *o = owner;
        uint64_t n = 0;

        if (read(o->eventfd.fd, &n, sizeof(n)) != sizeof(n))
                return;

        if (__builtin_add_overflow(o->n_awaited, n, &o->n_awaited))
                o->n_awaited = UINT64_MAX;
        o->n_looks = 0;
        watch_look(o);
}

/* The kernel needs no more of ours than the eventfd. */
static int eventfd_register(int dir_fd, int counter_fd, int fd) {
        _cleanup_(safe_closep) int control_fd = -EBADF;
        char text[32];

        control_fd = openat(dir_fd, "cgroup.event_control", O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
        if (control_fd < 0)
                return -errno;

        (void) snprintf(text, sizeof(text), "%d %d", fd, counter_fd);
        return file_write_all(control_fd, text, strlen(text));
}

static int watch_begin_v1(OomWatch *o, int dir_fd, int counter_fd) {
        _cleanup_(safe_closep) int fd = -EBADF;
        int r;

        fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (fd < 0)
                return -errno;
        r = eventfd_register(dir_fd, counter_fd, fd);
        if (r < 0)
                return r;

        r = fd_watch_begin(&o->eventfd, o->watcher->eventfds, fd, EPOLLIN, o);
        if (r < 0)
                return r;
        TAKE_FD(fd);
        return 0;
}

/* --- v2 --------------------------------------------------------------------------------------------------------- */

static void watcher_mark(OomWatcher *w, int first, int last) {
        for (size_t i = watcher_find(w, first); i < w->n_unified && w->unified[i]->wd <= last; i++)
                w->unified[i]->due = true;
}

/* Each look may free any watch. What is added meanwhile is not due. */
static void watcher_look_at_marked(OomWatcher *w, int first, int last) {
        for (size_t i = watcher_find(w, first); i < w->n_unified && w->unified[i]->wd <= last;) {
                OomWatch *o = w->unified[i];

                if (!o->due) {
                        i++;
                        continue;
                }
                first = o->wd;
                o->due = false;
                watch_look(o);
                i = watcher_find(w, first);
        }
}

/* The kernel has forgotten the watch: the cgroup is gone. */
static void watcher_forget(OomWatcher *w, int wd) {
        while (watcher_has(w, wd))
                watch_end(w->unified[watcher_find(w, wd)]);
}

static int watcher_on_inotify(sd_event_source *s, int fd, uint32_t revents, void *userdata) {
        char buffer[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
        int first = INT_MAX, last = -1;
        OomWatcher *w = userdata;
        ssize_t size;

        size = read(fd, buffer, sizeof(buffer));
        if (size < 0)
                return errno == EAGAIN || errno == EINTR
                               ? 0
                               : log_error_errno(errno, "Failed to read from inotify, no out-of-memory kill will be "
                                                        "seen before an exit any more: %m");

        for (ssize_t at = 0; at < size;) {
                const struct inotify_event *e = (const struct inotify_event *) (buffer + at);
                bool overflow = e->mask & IN_Q_OVERFLOW;
                int from = overflow ? 0 : e->wd, to = overflow ? INT_MAX : e->wd;

                at += (ssize_t) (sizeof(*e) + e->len);
                if (e->mask & IN_IGNORED) {
                        watcher_forget(w, e->wd);
                        continue;
                }

                watcher_mark(w, from, to);
                first = from < first ? from : first;
                last = to > last ? to : last;
        }

        watcher_look_at_marked(w, first, last);
        return 0;
}

/* Only where there is v2: of inotify instances a user may have 128. */
static int watcher_open_inotify(OomWatcher *w) {
        _cleanup_(safe_closep) int fd = -EBADF;
        int r;

        if (w->io)
                return 0;

        fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
        if (fd < 0)
                return -errno;
        r = sd_event_add_io(w->event, &w->io, fd, EPOLLIN, watcher_on_inotify, w);
        if (r < 0)
                return r;
        (void) sd_event_source_set_priority(w->io, w->priority);
        w->inotify_fd = TAKE_FD(fd);
        return 0;
}

static int watch_begin_v2(OomWatch *o, int counter_fd) {
        OomWatcher *w = o->watcher;
        char path[64];
        int r;

        r = watcher_open_inotify(w);
        if (r < 0)
                return r;
        r = watcher_reserve(w);
        if (r < 0)
                return r;

        /* The very file that is going to be read, and not what has its path by now. */
        (void) snprintf(path, sizeof(path), "/proc/self/fd/%d", counter_fd);
        r = inotify_add_watch(w->inotify_fd, path, IN_MODIFY);
        if (r < 0)
                return -errno;
        o->wd = r;
        watcher_insert(w, o);
        return 0;
}

/* --- watches ---------------------------------------------------------------------------------------------------- */

OomWatch *oom_watch_free(OomWatch *o) {
        if (!o)
                return NULL;

        watch_end(o);
        o->watcher->n_watches--;
        return mfree(o);
}

static OomWatch *watch_alloc(OomWatcher *w, const char *directory, const char *file) {
        size_t n = strlen(directory), size = n + 1 + strlen(file) + 1;
        OomWatch *o;

        o = calloc(1, sizeof(*o) + size);
        if (!o)
                return NULL;
        o->watcher = w;
        o->wd = -1;
        (void) snprintf(o->path, size, "%s/%s", directory, file);
        w->n_watches++;
        return o;
}

int oom_watch_new_in(OomWatch **ret, OomWatcher *w, const char *directory, bool unified, uint64_t known, OomSeen seen,
                     void *userdata) {
        _cleanup_(safe_closep) int dir_fd = -EBADF, fd = -EBADF;
        const char *file = unified ? "memory.events" : "memory.oom_control";
        _cleanup_(oom_watch_freep) OomWatch *o = NULL;
        uint64_t count = 0;
        int r;

        o = watch_alloc(w, directory, file);
        if (!o)
                return -ENOMEM;
        o->seen = seen;
        o->userdata = userdata;

        r = dir_fd = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (r < 0)
                r = -errno;
        if (r >= 0)
                r = fd = counter_open(dir_fd, file);
        if (r >= 0)
                r = unified ? watch_begin_v2(o, fd) : watch_begin_v1(o, dir_fd, fd);

        /* Not before, so that nothing is missed in between. A kernel that has no such file (or not in this
         * hierarchy), or no such line in it, does not count. */
        if (r >= 0)
                r = counter_read(fd, &o->inode, &count);
        if (r < 0)
                return r == -ENOENT || r == -ENODATA ? -EOPNOTSUPP : r;

        o->known = known > count ? count : known;
        if (o->known < count)
                watch_look_in(o, 0);

        *ret = TAKE_PTR(o);
        return 0;
}

/* Where the kernel counts for this process: one controller is in one hierarchy only. */
static int find_directory(const CgroupMembership *its, CgroupView *view, const char *control_group, char **ret,
                          bool *ret_unified) {
        int r;

        *ret_unified = false;
        r = cgroup_get_directory_of(its, view, "memory", control_group, ret);
        if (r != -ENOENT)
                return r;

        *ret_unified = true;
        r = cgroup_get_directory_of(its, view, "", control_group, ret);
        return r == -ENOENT ? -EOPNOTSUPP : r;
}

int oom_watch_new(OomWatch **ret, OomWatcher *w, const CgroupMembership *its, CgroupView *view,
                  const char *control_group, uint64_t known, OomSeen seen, void *userdata) {
        _cleanup_(freep) char *directory = NULL;
        bool unified = false;
        int r;

        r = find_directory(its, view, control_group, &directory, &unified);
        if (r < 0)
                return r;
        return oom_watch_new_in(ret, w, directory, unified, known, seen, userdata);
}

uint64_t oom_watch_read(OomWatch *o) {
        uint64_t kills = 0;

        if (watch_count(o, &kills) < 0)
                return 0;
        if (o->n_awaited == 0) {
                o->n_looks = 0;
                o->again = sd_event_source_unref(o->again);
        }
        return kills;
}

uint64_t oom_watch_get_known(const OomWatch *o) {
        return o->known;
}

/* --- the watcher ------------------------------------------------------------------------------------------------ */

int oom_watcher_new(OomWatcher **ret, sd_event *event, int64_t priority) {
        OomWatcher *w;
        int r;

        w = malloc(sizeof(*w));
        if (!w)
                return -ENOMEM;
        *w = (OomWatcher) { .event = sd_event_ref(event), .priority = priority, .inotify_fd = -EBADF };

        r = fd_watch_set_new(&w->eventfds, event, priority, watch_on_eventfd);
        if (r < 0) {
                (void) oom_watcher_free(w);
                return r;
        }
        *ret = w;
        return 0;
}

OomWatcher *oom_watcher_free(OomWatcher *w) {
        if (!w)
                return NULL;

        assert(w->n_watches == 0);
        sd_event_source_unref(w->io);
        (void) safe_close(w->inotify_fd);
        (void) fd_watch_set_free(w->eventfds);
        sd_event_unref(w->event);
        return mfree(w);
}
