/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* One standard stream of a process: what its name means, opening and closing. */

#include "host/stream.h"
#include "host/journal-socket.h"
#include "host/logger.h"
#include "util/file.h"
#include "util/strv.h"
#include "util/text.h"
#include "util/uri.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#define URI_SHOWN_MAX 128
#define JOURNAL_IDENTIFIER_MAX 64
#define FILE_TRIES 32

/* ---- what a client's string means ---- */

static int parse_fail(char *reason, char **reterr_reason) {
        if (!reason)
                return -ENOMEM;

        *reterr_reason = reason;
        return -EINVAL;
}

static int file_get_path(const char *uri, char **ret, char **reterr_reason) {
        _cleanup_(freep) char *path = NULL;
        const char *query;
        int r;

        r = uri_split(uri, &path, &query, reterr_reason);
        if (r < 0)
                return r;
        if (query)
                return parse_fail(strdup("a file has no query; a ? in its name must be written as %3F"),
                                  reterr_reason);

        *ret = TAKE_PTR(path);
        return 0;
}

static int file_check(const char *uri, char **reterr_reason) {
        _cleanup_(freep) char *path = NULL;

        return file_get_path(uri, &path, reterr_reason);
}

static int journal_check_uri(const char *uri, char **reterr_reason) {
        const char *identifier = uri + strlen("journal:");
        size_t size = strlen(identifier), n_characters = 0;

        for (size_t i = 0; i < size; n_characters++) {
                size_t n = utf8_character(identifier + i, size - i);

                if (n == 0 || utf8_is_control(identifier + i, n) || n_characters == JOURNAL_IDENTIFIER_MAX)
                        return parse_fail(strdup("an identifier for the journal has 1 to 64 printable characters"),
                                          reterr_reason);
                i += n;
        }
        return 0;
}

static int binary_check(const char *uri, char **reterr_reason) {
        _cleanup_(strv_freep) char **argv = NULL;

        return logger_parse(uri, &argv, reterr_reason);
}

static const struct {
        const char *name;
        StreamKind kind;
        int (*check)(const char *uri, char **reterr_reason);
} schemes[] = {
        { "file", STREAM_FILE, file_check },
        { "journal", STREAM_JOURNAL, journal_check_uri },
        { "binary", STREAM_BINARY, binary_check },
};

int stream_parse(const char *uri, bool output, StreamKind *ret, char **reterr_reason) {
        _cleanup_(freep) char *shown = NULL;
        size_t n = uri_scheme_length(uri);
        int r;

        if (!uri[0] || uri[0] == '/') {
                *ret = uri[0] ? STREAM_FIFO : STREAM_NULL;
                return 0;
        }

        for (size_t i = 0; i < ELEMENTSOF(schemes); i++) {
                if (n != strlen(schemes[i].name) || strncmp(uri, schemes[i].name, n) != 0)
                        continue;
                if (!output)
                        return parse_fail(strdup_printf("STDIO scheme %s is for output only", schemes[i].name),
                                          reterr_reason);

                r = schemes[i].check(uri, reterr_reason);
                if (r < 0)
                        return r;

                *ret = schemes[i].kind;
                return 0;
        }

        shown = text_sanitize(uri, n > 0 ? n : strlen(uri), URI_SHOWN_MAX);
        if (!shown)
                return -ENOMEM;
        if (n > 0)
                return parse_fail(strdup_printf("unknown STDIO scheme %s", shown), reterr_reason);
        return parse_fail(strdup_printf("\"%s\" is not an absolute path", shown), reterr_reason);
}

/* ---- descriptors ---- */

/* An O_PATH descriptor: opening it does nothing to what it stands for (a FIFO's reader is not woken, a device does
 * not notice), and it stays that, whatever becomes of the path. */
static int path_find(int dir_fd, const char *path, mode_t type, struct stat *ret_stat) {
        _cleanup_(safe_closep) int fd = -EBADF;

        fd = openat(dir_fd, path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        if (fstat(fd, ret_stat) < 0)
                return -errno;
        if (S_ISLNK(ret_stat->st_mode))
                return -ELOOP;
        if ((ret_stat->st_mode & S_IFMT) != type)
                return -EINVAL;
        return TAKE_FD(fd);
}

/* Opens what the O_PATH descriptor stands for, as an open file of its own and without waiting for anybody. */
static int path_open(int path_fd, int flags) {
        char path[sizeof("/proc/self/fd/") + 3 * sizeof(int)];
        int fd;

        (void) snprintf(path, sizeof(path), "/proc/self/fd/%d", path_fd);
        fd = open(path, flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

/* So that the process may open its streams again, by /dev/stdout, when it is not root. */
static int fd_give(int fd, const StreamOptions *o) {
        if (o->uid == (uid_t) -1 && o->gid == (gid_t) -1)
                return 0;
        return fchown(fd, o->uid, o->gid) < 0 ? -errno : 0;
}

/* ---- opening ----
 *
 * Each works on a stream of its own that the caller closes when it fails. */

/* Both ends of stdin. The reading end comes first: without it nobody could open the other without waiting. */
static int open_input_ends(int path_fd, int *ret_read, int *ret_write) {
        _cleanup_(safe_closep) int fd = -EBADF;
        int hold;

        fd = path_open(path_fd, O_RDONLY);
        if (fd < 0)
                return fd;
        hold = path_open(path_fd, O_WRONLY);
        if (hold < 0)
                return hold;

        *ret_read = TAKE_FD(fd);
        *ret_write = hold;
        return 0;
}

/* The process's end of a FIFO is one open file with our hold: it is neither a reader nor a writer more than the
 * process itself. */
static int open_output_ends(int path_fd, int *ret_fd, int *ret_hold) {
        _cleanup_(safe_closep) int fd = -EBADF;
        int hold;

        fd = path_open(path_fd, O_RDWR);
        if (fd < 0)
                return fd;
        hold = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        if (hold < 0)
                return -errno;

        *ret_fd = TAKE_FD(fd);
        *ret_hold = hold;
        return 0;
}

/* What is ours to move bytes to or from needs an open file of its own: that it does not wait must not become known to
 * anybody else. */
static int open_our_ends(Stream *s, int path_fd) {
        if (!s->output)
                return open_input_ends(path_fd, &s->from, &s->hold);

        s->hold = path_open(path_fd, O_RDWR);
        if (s->hold < 0)
                return s->hold;
        s->to = path_open(path_fd, O_RDWR);
        return s->to < 0 ? s->to : 0;
}

/* An anonymous pipe, of which the process gets the end that fits. Our own end is left to wait, for a logger that
 * expects it, or does not. */
static int open_pipe(Stream *s, bool blocking, const StreamOptions *o) {
        int *ours = s->output ? &s->from : &s->to, fds[2], r;

        if (pipe2(fds, O_CLOEXEC) < 0)
                return -errno;
        s->fd = fds[s->output];
        *ours = fds[!s->output];

        r = file_set_blocking(*ours, blocking);
        if (r < 0)
                return r;
        return fd_give(s->fd, o);
}

static int open_fifo(Stream *s, const Stream *before, const StreamOptions *o) {
        _cleanup_(safe_closep) int path_fd = -EBADF;
        struct stat st;
        int r;

        if (s->uri[0] != '/')
                return -EINVAL;

        path_fd = path_find(AT_FDCWD, s->uri, S_IFIFO, &st);
        if (path_fd < 0)
                return path_fd;
        if (before->ino != 0 && (st.st_dev != before->dev || st.st_ino != before->ino))
                return -ESTALE;
        s->dev = st.st_dev;
        s->ino = st.st_ino;

        if (o->use != STREAM_DIRECT) {
                r = open_our_ends(s, path_fd);
                if (r < 0)
                        return r;
                return o->use == STREAM_RELAY ? open_pipe(s, false, o) : 0;
        }

        r = s->output ? open_output_ends(path_fd, &s->fd, &s->hold) : open_input_ends(path_fd, &s->fd, &s->hold);
        if (r < 0)
                return r;
        r = file_set_blocking(s->fd, true);
        if (r < 0)
                return r;
        return fd_give(s->fd, o);
}

/* Makes the file, or finds a regular one. What is there already is looked at before it is opened: opening a device
 * can be enough to start it, and opening a FIFO to end a reader's wait. */
static int open_or_make_file(const char *path) {
        for (unsigned i = 0; i < FILE_TRIES; i++) {
                _cleanup_(safe_closep) int fd = -EBADF, path_fd = -EBADF;
                struct stat st;

                fd = open(path,
                          O_WRONLY | O_APPEND | O_CREAT | O_EXCL | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC,
                          0640);
                if (fd >= 0)
                        return fchmod(fd, 0640) < 0 ? -errno : TAKE_FD(fd);
                if (errno == EISDIR)
                        return -EINVAL;
                if (errno != EEXIST)
                        return -errno;

                path_fd = path_find(AT_FDCWD, path, S_IFREG, &st);
                if (path_fd >= 0)
                        return path_open(path_fd, O_WRONLY | O_APPEND);

                /* It went away in between, as files do whose logs are rotated. */
                if (path_fd != -ENOENT)
                        return path_fd;
        }
        return -EAGAIN;
}

static int open_file(Stream *s, const StreamOptions *o) {
        _cleanup_(freep) char *path = NULL, *reason = NULL;
        int *fd = o->use == STREAM_RELAY ? &s->to : &s->fd, r;

        r = file_get_path(s->uri, &path, &reason);
        if (r < 0)
                return r;

        *fd = open_or_make_file(path);
        if (*fd < 0)
                return *fd;
        if (o->use == STREAM_RELAY)
                return open_pipe(s, false, o);
        return file_set_blocking(*fd, true);
}

/* The folder is ours, and so is the FIFO in it, whoever owns it now. */
static int journal_fifo_find(const StreamOptions *o, struct stat *ret_stat) {
        int r;

        if (isempty(o->name))
                return -EINVAL;

        r = path_find(o->dir_fd, o->name, S_IFIFO, ret_stat);
        return r == -ELOOP ? -EINVAL : r;
}

static int open_journal(Stream *s, const StreamOptions *o) {
        _cleanup_(safe_closep) int path_fd = -EBADF;
        struct stat st;
        int r;

        r = journal_check();
        if (r == -ENOMEM || r == -ENOBUFS || r == -EMFILE || r == -ENFILE)
                return r;
        if (r < 0)
                return -EOPNOTSUPP;

        if (o->use == STREAM_RELAY)
                return open_pipe(s, false, o);

        if (isempty(o->name))
                return -EINVAL;
        if (mkfifoat(o->dir_fd, o->name, 0600) < 0 && errno != EEXIST)
                return -errno;
        path_fd = journal_fifo_find(o, &st);
        if (path_fd < 0)
                return path_fd;
        s->dev = st.st_dev;
        s->ino = st.st_ino;

        r = open_output_ends(path_fd, &s->fd, &s->hold);
        if (r < 0)
                return r;
        s->from = path_open(path_fd, O_RDONLY);
        if (s->from < 0)
                return s->from;
        r = file_set_blocking(s->fd, true);
        if (r < 0)
                return r;
        return fd_give(s->fd, o);
}

static int open_kind(Stream *s, const Stream *before, const StreamOptions *o) {
        /* Only nothing and a FIFO can be read from, or stand behind a terminal. */
        if (s->kind != STREAM_NULL && s->kind != STREAM_FIFO && (!s->output || o->use == STREAM_TERMINAL))
                return -EINVAL;

        switch (s->kind) {
        case STREAM_NULL:
                return 0;
        case STREAM_FIFO:
                return open_fifo(s, before, o);
        case STREAM_FILE:
                return open_file(s, o);
        case STREAM_JOURNAL:
                return open_journal(s, o);
        case STREAM_BINARY:
                return open_pipe(s, true, o);
        default:
                return -EINVAL;
        }
}

int stream_open(Stream *s, const char *uri, StreamKind kind, bool output, const StreamOptions *o) {
        _cleanup_(stream_done) Stream opened = STREAM_INIT;
        int r;

        opened.kind = kind;
        opened.output = output;
        if (kind != STREAM_NULL) {
                opened.uri = strdup(uri);
                if (!opened.uri)
                        return -ENOMEM;
        }

        r = open_kind(&opened, s, o);
        if (r < 0)
                return r;

        stream_done(s);
        *s = opened;
        opened = STREAM_INIT;
        return 0;
}

int stream_take_fd(Stream *s, int fd, bool output) {
        if (fd < 0)
                return -EBADF;

        stream_done(s);
        s->kind = STREAM_FD;
        s->fd = fd;
        s->output = output;
        return 0;
}

int stream_reopen(Stream *s, const StreamOptions *o) {
        _cleanup_(safe_closep) int path_fd = -EBADF, hold = -EBADF, from = -EBADF;
        struct stat st;

        if (s->kind == STREAM_FIFO)
                path_fd = path_find(AT_FDCWD, s->uri, S_IFIFO, &st);
        else if (s->kind == STREAM_JOURNAL && o->use == STREAM_DIRECT)
                path_fd = journal_fifo_find(o, &st);
        else
                return 0; /* nothing of it can be opened again */

        if (path_fd == -ELOOP || path_fd == -EINVAL)
                return -ESTALE;
        if (path_fd < 0)
                return path_fd;
        if (st.st_dev != s->dev || st.st_ino != s->ino)
                return -ESTALE;

        hold = path_open(path_fd, s->output ? O_RDWR : O_WRONLY);
        if (hold < 0)
                return hold;
        if (s->kind == STREAM_JOURNAL) {
                from = path_open(path_fd, O_RDONLY);
                if (from < 0)
                        return from;
        }

        stream_close_hold(s);
        s->hold = TAKE_FD(hold);
        if (from >= 0) {
                safe_close(s->from);
                s->from = TAKE_FD(from);
        }
        return 0;
}

/* ---- closing ---- */

void stream_release_child_end(Stream *s) {
        s->fd = safe_close(s->fd);
}

void stream_close_hold(Stream *s) {
        s->hold = safe_close(s->hold);
}

int stream_get_unread(const Stream *s) {
        int n;

        if (!s->output || s->kind == STREAM_JOURNAL || s->hold < 0 || ioctl(s->hold, FIONREAD, &n) < 0)
                return 0;
        return n;
}

bool stream_has_unread(const Stream *s) {
        return stream_get_unread(s) > 0;
}

void stream_done(Stream *s) {
        stream_release_child_end(s);
        stream_close_hold(s);
        safe_close(s->from);
        safe_close(s->to);
        free(s->uri);
        *s = STREAM_INIT;
}

const char *stream_to_string(const Stream *s) {
        return s->kind == STREAM_FD ? "fd" : strempty(s->uri);
}
