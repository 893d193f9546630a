/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* One standard stream of a process: nothing, a FIFO, or a descriptor. */

#include "host/stream.h"
#include "util/text.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#define DRAIN_INTERVAL_MIN (10 * USEC_PER_MSEC)
#define DRAIN_INTERVAL_MAX (5 * USEC_PER_SEC)
#define URI_SHOWN_MAX 128

/* ---- what a client's string means ---- */

/* The length of "scheme" in "scheme:...", as RFC 3986 spells one, or 0. */
static size_t scheme_length(const char *uri) {
        static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
        size_t n;

        if (!uri[0] || !strchr(letters, uri[0]))
                return 0;
        n = strspn(uri, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-.");
        return uri[n] == ':' ? n : 0;
}

static int parse_fail(int error, char *reason, char **reterr_reason) {
        if (!reason)
                return -ENOMEM;

        *reterr_reason = reason;
        return error;
}

int stream_parse(const char *uri, StreamKind *ret, char **reterr_reason) {
        static const char *const later[] = { "file://", "journal:", "binary://" };
        _cleanup_(freep) char *shown = NULL;
        size_t n;

        if (!uri[0]) {
                *ret = STREAM_NULL;
                return 0;
        }
        if (uri[0] == '/') {
                *ret = STREAM_FIFO;
                return 0;
        }

        n = scheme_length(uri);
        for (size_t i = 0; i < ELEMENTSOF(later); i++)
                if (startswith(uri, later[i]))
                        return parse_fail(-EOPNOTSUPP,
                                          strdup_printf("STDIO scheme %.*s is not supported yet", (int) n, uri),
                                          reterr_reason);

        shown = text_sanitize(uri, n > 0 ? n : strlen(uri), URI_SHOWN_MAX);
        if (!shown)
                return -ENOMEM;
        if (n > 0)
                return parse_fail(-EINVAL, strdup_printf("unknown STDIO scheme %s", shown), reterr_reason);
        return parse_fail(-EINVAL, strdup_printf("\"%s\" is not an absolute path", shown), reterr_reason);
}

/* ---- opening and closing ---- */

/* An O_PATH descriptor of the FIFO: opening it does nothing to the FIFO, and it stays that FIFO whatever becomes of the path. */
static int fifo_find(const char *path, struct stat *ret_stat) {
        _cleanup_(safe_closep) int fd = -EBADF;

        fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        if (fstat(fd, ret_stat) < 0)
                return -errno;
        if (S_ISLNK(ret_stat->st_mode))
                return -ELOOP;
        if (!S_ISFIFO(ret_stat->st_mode))
                return -EINVAL;
        return TAKE_FD(fd);
}

/* Opens what the O_PATH descriptor stands for, without waiting for anybody. */
static int fifo_open(int path_fd, int flags) {
        char path[sizeof("/proc/self/fd/") + 3 * sizeof(int)];
        int fd;

        (void) snprintf(path, sizeof(path), "/proc/self/fd/%d", path_fd);
        fd = open(path, flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

/* A container expects to wait for its input and output. This is a property of the open file, not of the descriptor. */
static int fd_make_blocking(int fd) {
        int flags = fcntl(fd, F_GETFL);

        if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0)
                return -errno;
        return 0;
}

/* Both ends of stdin. The reading end comes first: without it nobody could open the other without waiting. */
static int open_input_ends(int path_fd, int *ret_fd, int *ret_hold) {
        _cleanup_(safe_closep) int fd = -EBADF;
        int hold;

        fd = fifo_open(path_fd, O_RDONLY);
        if (fd < 0)
                return fd;
        hold = fifo_open(path_fd, O_WRONLY);
        if (hold < 0)
                return hold;

        *ret_fd = TAKE_FD(fd);
        *ret_hold = hold;
        return 0;
}

/* One open file for both: it is neither a reader nor a writer more than the container itself. */
static int open_output_ends(int path_fd, int *ret_fd, int *ret_hold) {
        _cleanup_(safe_closep) int fd = -EBADF;
        int hold;

        fd = fifo_open(path_fd, O_RDWR);
        if (fd < 0)
                return fd;
        hold = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        if (hold < 0)
                return -errno;

        *ret_fd = TAKE_FD(fd);
        *ret_hold = hold;
        return 0;
}

int stream_open_fifo(Stream *s, const char *path, bool output, uid_t uid, gid_t gid) {
        _cleanup_(safe_closep) int path_fd = -EBADF, fd = -EBADF, hold = -EBADF;
        _cleanup_(freep) char *copy = NULL;
        struct stat st;
        int r;

        if (path[0] != '/')
                return -EINVAL;
        copy = strdup(path);
        if (!copy)
                return -ENOMEM;

        path_fd = fifo_find(path, &st);
        if (path_fd < 0)
                return path_fd;
        r = output ? open_output_ends(path_fd, &fd, &hold) : open_input_ends(path_fd, &fd, &hold);
        if (r < 0)
                return r;
        r = fd_make_blocking(fd);
        if (r < 0)
                return r;
        if ((uid != (uid_t) -1 || gid != (gid_t) -1) && fchown(fd, uid, gid) < 0)
                return -errno;

        *s = (Stream) {
                .kind = STREAM_FIFO,
                .path = TAKE_PTR(copy),
                .fd = TAKE_FD(fd),
                .hold = TAKE_FD(hold),
                .dev = st.st_dev,
                .ino = st.st_ino,
                .output = output,
        };
        return 0;
}

int stream_take_fd(Stream *s, int fd, bool output) {
        if (fd < 0)
                return -EBADF;

        *s = (Stream) {
                .kind = STREAM_FD,
                .fd = fd,
                .hold = -EBADF,
                .output = output,
        };
        return 0;
}

int stream_reopen_hold(Stream *s) {
        _cleanup_(safe_closep) int path_fd = -EBADF;
        struct stat st;
        int hold;

        if (s->kind != STREAM_FIFO || !s->path)
                return -EINVAL;

        path_fd = fifo_find(s->path, &st);
        if (path_fd == -ELOOP || path_fd == -EINVAL)
                return -ESTALE;
        if (path_fd < 0)
                return path_fd;
        if (st.st_dev != s->dev || st.st_ino != s->ino)
                return -ESTALE;

        hold = fifo_open(path_fd, s->output ? O_RDWR : O_WRONLY);
        if (hold < 0)
                return hold;

        stream_close_hold(s);
        s->hold = hold;
        return 0;
}

void stream_release_child_end(Stream *s) {
        s->fd = safe_close(s->fd);
}

void stream_close_hold(Stream *s) {
        s->hold = safe_close(s->hold);
}

/* How many bytes stand unread in an output FIFO; 0 also for what is none, and when nothing holds it open. */
static int stream_unread(const Stream *s) {
        int n;

        if (!s->output || s->hold < 0 || ioctl(s->hold, FIONREAD, &n) < 0)
                return 0;
        return n;
}

bool stream_has_unread(const Stream *s) {
        return stream_unread(s) > 0;
}

void stream_done(Stream *s) {
        stream_release_child_end(s);
        stream_close_hold(s);
        free(s->path);
        *s = STREAM_INIT;
}

const char *stream_to_string(const Stream *s) {
        if (s->kind == STREAM_FD)
                return "fd";
        return s->kind == STREAM_FIFO ? strempty(s->path) : "";
}

/* ---- draining ---- */

typedef struct DrainStream {
        Stream *stream;
        int unread; /* when we looked last */
        sd_event_source *read; /* inotify: somebody has read */
} DrainStream;

struct StreamDrain {
        void (*drained)(void *userdata);
        void *userdata;
        sd_event_source *timer;
        uint64_t interval_usec;
        size_t n_streams;
        DrainStream streams[];
};

/* Closes what has been read to its end. 1: there is something left and it has become less, 0: it has not, -ENODATA: there
 * is nothing left. */
static int drain_look(StreamDrain *d) {
        bool left = false, progress = false;

        for (size_t i = 0; i < d->n_streams; i++) {
                DrainStream *s = &d->streams[i];
                int unread = stream_unread(s->stream);

                if (unread == 0) {
                        s->read = sd_event_source_disable_unref(s->read);
                        if (s->stream->output)
                                stream_close_hold(s->stream);
                } else
                        left = true;
                if (unread != s->unread)
                        progress = true;
                s->unread = unread;
        }
        return left ? progress : -ENODATA;
}

static int drain_arm(StreamDrain *d) {
        int r;

        r = sd_event_source_set_time_relative(d->timer, d->interval_usec);
        if (r < 0)
                return r;
        return sd_event_source_set_enabled(d->timer, SD_EVENT_ONESHOT);
}

/* Nobody can be told if the timer fails here; rather end a reader's wait too early than never. */
static void drain_go_on(StreamDrain *d, bool progress) {
        if (progress)
                d->interval_usec = DRAIN_INTERVAL_MIN;
        else if (d->interval_usec < DRAIN_INTERVAL_MAX / 2)
                d->interval_usec *= 2;
        else
                d->interval_usec = DRAIN_INTERVAL_MAX;

        if (drain_arm(d) >= 0)
                return;
        for (size_t i = 0; i < d->n_streams; i++)
                if (d->streams[i].stream->output)
                        stream_close_hold(d->streams[i].stream);
        d->drained(d->userdata);
}

static int drain_on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        StreamDrain *d = userdata;
        int r;

        r = drain_look(d);
        if (r == -ENODATA)
                d->drained(d->userdata);
        else
                drain_go_on(d, r > 0);
        return 0;
}

static int drain_on_read(sd_event_source *source, const struct inotify_event *event, void *userdata) {
        StreamDrain *d = userdata;

        if (drain_look(d) == -ENODATA)
                d->drained(d->userdata);
        return 0;
}

StreamDrain *stream_drain_free(StreamDrain *d) {
        if (!d)
                return NULL;

        for (size_t i = 0; i < d->n_streams; i++)
                sd_event_source_disable_unref(d->streams[i].read);
        sd_event_source_disable_unref(d->timer);
        free(d);
        return NULL;
}

int stream_drain_new(StreamDrain **ret, sd_event *event, Stream *streams, size_t n_streams,
                     void (*drained)(void *userdata), void *userdata) {
        _cleanup_(stream_drain_freep) StreamDrain *d = NULL;
        int r;

        d = calloc(1, sizeof(StreamDrain) + n_streams * sizeof(DrainStream));
        if (!d)
                return -ENOMEM;

        d->drained = drained;
        d->userdata = userdata;
        d->interval_usec = DRAIN_INTERVAL_MIN;
        d->n_streams = n_streams;
        for (size_t i = 0; i < n_streams; i++)
                d->streams[i].stream = &streams[i];

        if (drain_look(d) == -ENODATA) {
                *ret = NULL;
                return 0;
        }

        r = sd_event_add_time_relative(event, &d->timer, CLOCK_MONOTONIC, d->interval_usec, USEC_PER_MSEC, drain_on_timer,
                                       d);
        if (r < 0)
                return r;

        /* With inotify a reader gets its end-of-file at once. Without (there are only so many watches, and splice() is not
         * always told), the timer does it. */
        for (size_t i = 0; i < n_streams; i++)
                if (d->streams[i].unread > 0)
                        (void) sd_event_add_inotify_fd(event, &d->streams[i].read, streams[i].hold, IN_ACCESS,
                                                       drain_on_read, d);

        *ret = TAKE_PTR(d);
        return 0;
}
