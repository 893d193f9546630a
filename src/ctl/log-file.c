/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A file that a container writes to. */

#include "ctl/log-file.h"

#include <fcntl.h>
#include <sys/stat.h>

#define BLOCK 65536

/* Goes back block by block until there are enough newlines; one at the very end ends the last line. */
static int file_seek_lines(int fd, uint64_t lines) {
        _cleanup_(freep) char *block = NULL;
        off_t end, start;
        bool last = true;

        end = lseek(fd, 0, SEEK_END);
        if (end < 0)
                return -errno;
        block = malloc(BLOCK);
        if (!block)
                return -ENOMEM;

        for (start = end; start > 0;) {
                size_t size = start < BLOCK ? (size_t) start : BLOCK;
                ssize_t n;

                start -= (off_t) size;
                n = pread(fd, block, size, start);
                if (n < 0)
                        return -errno;
                for (; n > 0; n--, last = false)
                        if (block[n - 1] == '\n' && !last && lines-- <= 1)
                                return lseek(fd, start + n, SEEK_SET) < 0 ? -errno : 0;
        }
        return lseek(fd, 0, SEEK_SET) < 0 ? -errno : 0;
}

int log_file_open(LogFile *f, char *path, int stream, uint64_t lines) {
        _cleanup_(safe_closep) int fd = -EBADF;
        int r = 0;

        /* A FIFO that somebody has put there would keep us. */
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        if (fd < 0)
                return -errno;
        if (lines == 0)
                r = lseek(fd, 0, SEEK_END) < 0 ? -errno : 0;
        else if (lines != LOG_LINES_ALL)
                r = file_seek_lines(fd, lines);
        if (r < 0)
                return r;

        *f = (LogFile) { .fd = TAKE_FD(fd), .stream = stream, .path = path };
        return 0;
}

void log_file_done(LogFile *f) {
        safe_close(f->fd);
        f->fd = -EBADF;
        f->path = mfree(f->path);
        f->line = mfree(f->line);
        f->size = f->allocated = 0;
}

static void print_lines(LogFile *f, LogPrinter *p, bool rest) {
        char *line = f->line, *end = f->line + f->size, *newline;

        while (line < end && (newline = memchr(line, '\n', (size_t) (end - line)))) {
                log_print_line(p, f->stream, 0, line, (size_t) (newline - line));
                line = newline + 1;
        }
        if (rest && line < end) {
                log_print_line(p, f->stream, 0, line, (size_t) (end - line));
                line = end;
        }
        f->size = (size_t) (end - line);
        if (f->size > 0)
                memmove(f->line, line, f->size);
}

static int line_reserve(LogFile *f) {
        size_t n = f->allocated ? f->allocated * 2 : 2 * BLOCK;
        char *more;

        if (f->allocated - f->size >= BLOCK)
                return 0;
        more = realloc(f->line, n);
        if (!more)
                return -ENOMEM;
        f->line = more;
        f->allocated = n;
        return 0;
}

static int file_rewind_if_shorter(const LogFile *f) {
        off_t at = lseek(f->fd, 0, SEEK_CUR);
        struct stat st;

        if (at < 0 || fstat(f->fd, &st) < 0)
                return -errno;
        if (S_ISREG(st.st_mode) && st.st_size < at && lseek(f->fd, 0, SEEK_SET) < 0)
                return -errno;
        return 0;
}

int log_file_read(LogFile *f, LogPrinter *p, bool rest) {
        int r;

        r = file_rewind_if_shorter(f);
        if (r < 0)
                return r;

        for (;;) {
                ssize_t n;

                r = line_reserve(f);
                if (r < 0)
                        return r;
                n = read(f->fd, f->line + f->size, BLOCK);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0 && errno != EAGAIN)
                        return -errno;
                if (n <= 0)
                        break;
                f->size += (size_t) n;

                /* A line without an end is not kept for ever. */
                print_lines(f, p, f->size > 16 * BLOCK);
        }
        print_lines(f, p, rest);
        return 0;
}
