/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the two halves of the fake runtime both need. */

#include "fake-util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#define FILE_MAX (16 * 1024 * 1024)

void die(const char *what) {
        fprintf(stderr, "fake-runtime: %s: %s\n", what, strerror(errno));
        exit(125);
}

void nap(double seconds) {
        struct timespec t = { .tv_sec = (time_t) seconds,
                              .tv_nsec = (long) ((seconds - (double) (time_t) seconds) * 1e9) };

        while (nanosleep(&t, &t) < 0 && errno == EINTR)
                ;
}

uint64_t now_usec(void) {
        struct timespec t;

        clock_gettime(CLOCK_REALTIME, &t);
        return (uint64_t) t.tv_sec * 1000000 + (uint64_t) t.tv_nsec / 1000;
}

void write_all(int fd, const void *data, size_t size) {
        const char *p = data;

        while (size > 0) {
                ssize_t n = write(fd, p, size);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return;
                p += n;
                size -= (size_t) n;
        }
}

char *read_file(const char *path) {
        size_t size = 0, room = 4096;
        char *text;
        ssize_t n;
        int fd;

        fd = strcmp(path, "-") == 0 ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return NULL;

        text = malloc(room + 1);
        while (text && (n = read(fd, text + size, room - size)) > 0) {
                size += (size_t) n;
                if (size == room && room < FILE_MAX)
                        text = realloc(text, (room *= 2) + 1);
        }
        if (fd != STDIN_FILENO)
                close(fd);
        if (!text)
                die("memory");
        text[size] = '\0';
        return text;
}

char *json_quote(const char *s) {
        char *quoted, *p;

        p = quoted = malloc(strlen(s) * 6 + 3);
        if (!p)
                die("memory");
        *p++ = '"';
        for (; *s; s++)
                if (*s == '"' || *s == '\\')
                        p += sprintf(p, "\\%c", *s);
                else if ((unsigned char) *s < 0x20)
                        p += sprintf(p, "\\u%04x", *s);
                else
                        *p++ = *s;
        strcpy(p, "\"");
        return quoted;
}
