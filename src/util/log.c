/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Log lines: to the journal when it is what stands behind stderr, to stderr otherwise. */

#define SD_JOURNAL_SUPPRESS_LOCATION /* the location would be here, always */

#include "util/log.h"
#include "util/text.h"

#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <systemd/sd-journal.h>

/* A pipe takes so much in one piece, and poll() tells that it has room for it. */
#define LINE_SIZE ((size_t) PIPE_BUF)

#define JOURNAL_SOCKET "/run/systemd/journal/socket"

static struct {
        int max_level;
        bool journal;
        uint64_t n_dropped; /* lines that stderr could not take */
} logger = {
        .max_level = LOG_INFO,
};

/* systemd puts "DEVICE:INODE" of the journal's stream into the environment; stderr may be something else by now. The socket
 * is looked for since sd_journal_sendv() takes it for success when there is none. */
static bool stderr_is_journal(void) {
        const char *stream = getenv("JOURNAL_STREAM");
        unsigned long long device, inode;
        struct stat st;

        if (!stream || sscanf(stream, "%llu:%llu", &device, &inode) != 2)
                return false;
        return fstat(STDERR_FILENO, &st) >= 0 && st.st_dev == device && st.st_ino == inode &&
               access(JOURNAL_SOCKET, F_OK) >= 0;
}

void log_open(void) {
        logger.journal = stderr_is_journal();
}

void log_set_max_level(int level) {
        logger.max_level = level;
}

int log_get_max_level(void) {
        return logger.max_level;
}

int log_level_from_string(const char *s) {
        static const char *const names[] = {
                [LOG_EMERG] = "emerg",     [LOG_ALERT] = "alert",   [LOG_CRIT] = "crit", [LOG_ERR] = "err",
                [LOG_WARNING] = "warning", [LOG_NOTICE] = "notice", [LOG_INFO] = "info", [LOG_DEBUG] = "debug",
        };

        for (int i = 0; i < (int) ELEMENTSOF(names); i++)
                if (streq(s, names[i]))
                        return i;

        if (s[0] >= '0' && s[0] <= '7' && !s[1])
                return s[0] - '0';
        return -EINVAL;
}

/* Makes the text one line that cannot pass for several, nor work on a terminal: in place, since nothing grows. */
static void make_one_line(char *text) {
        size_t size = strlen(text);
        char *to = text;

        for (char *p = text; *p;) {
                size_t n = utf8_character(p, size - (size_t) (p - text));
                bool c1 = n == 2 && (unsigned char) p[0] == 0xc2 && (unsigned char) p[1] < 0xa0;

                if (*p == '\n')
                        *to++ = ' ';
                else if (n == 0 || c1 || ((unsigned char) *p < 0x20 && *p != '\t') || *p == 0x7f)
                        *to++ = '?';
                else
                        to = (char *) memmove(to, p, n) + n;
                p += n ?: 1;
        }
        *to = 0;

        while (to > text && (to[-1] == ' ' || to[-1] == '\t'))
                *--to = 0;
}

/* Appends to a line what still fits, leaving room for the newline, and ends it with "..." if something had to go. */
static void _printf_(2, 0) line_extend(char *line, const char *format, va_list args) {
        size_t length = strlen(line), room = LINE_SIZE - 1 - length;
        int n;

        n = vsnprintf(line + length, room, format, args);
        if (n < 0)
                line[length] = 0;
        else if ((size_t) n >= room)
                strcpy(line + LINE_SIZE - 5, "...");
}

static void _printf_(2, 3) line_extendf(char *line, const char *format, ...) {
        va_list args;

        va_start(args, format);
        line_extend(line, format, args);
        va_end(args);
}

/* One write(), which must not block: whoever reads our stderr may have stopped to. */
static bool write_line(char *line) {
        struct pollfd p = { .fd = STDERR_FILENO, .events = POLLOUT };
        size_t length = strlen(line);
        ssize_t n;

        if (poll(&p, 1, 0) < 1 || p.revents != POLLOUT)
                return false;

        line[length] = '\n';
        n = write(STDERR_FILENO, line, length + 1);
        line[length] = 0;
        return n == (ssize_t) length + 1;
}

static void write_to_stderr(const char *ns, const char *id, const char *text) {
        char line[LINE_SIZE] = "";

        if (logger.n_dropped > 0) {
                line_extendf(line, "%s: lost %llu log lines that stderr could not take", program_invocation_short_name,
                             (unsigned long long) logger.n_dropped);
                if (write_line(line))
                        logger.n_dropped = 0;
                line[0] = 0;
        }

        if (id)
                line_extendf(line, "%s: %s/%s: %s", program_invocation_short_name, strempty(ns), id, text);
        else
                line_extendf(line, "%s: %s", program_invocation_short_name, text);
        make_one_line(line);

        if (logger.n_dropped > 0 || !write_line(line))
                logger.n_dropped++;
}

static int send_to_journal(int level, int error, const char *ns, const char *id, const char *field, const char *text) {
        char fields[7][LINE_SIZE + sizeof("CONTAINER_NAMESPACE=")];
        struct iovec iov[ELEMENTSOF(fields)];
        int n = 0;

        (void) snprintf(fields[n++], sizeof(fields[0]), "MESSAGE=%s", text);
        (void) snprintf(fields[n++], sizeof(fields[0]), "PRIORITY=%d", level);
        (void) snprintf(fields[n++], sizeof(fields[0]), "SYSLOG_IDENTIFIER=%s", program_invocation_short_name);
        if (id) {
                (void) snprintf(fields[n++], sizeof(fields[0]), "CONTAINER_ID=%s", id);
                (void) snprintf(fields[n++], sizeof(fields[0]), "CONTAINER_NAMESPACE=%s", strempty(ns));
        }
        if (error > 0)
                (void) snprintf(fields[n++], sizeof(fields[0]), "ERRNO=%d", error);
        if (field)
                (void) snprintf(fields[n++], sizeof(fields[0]), "%s", field);

        for (int i = 0; i < n; i++)
                iov[i] = (struct iovec) { .iov_base = fields[i], .iov_len = strlen(fields[i]) };
        return sd_journal_sendv(iov, n);
}

static int _printf_(6, 0) log_fullv(int level, int error, const char *ns, const char *id, const char *field,
                                    const char *format, va_list args) {
        char text[LINE_SIZE] = "";
        int saved = errno;

        error = abs(error);
        if (level > logger.max_level)
                return -error;

        errno = error; /* for %m */
        line_extend(text, format, args);
        make_one_line(text);

        if (!logger.journal || send_to_journal(level, error, ns, id, field, text) < 0)
                write_to_stderr(ns, id, text);

        errno = saved;
        return -error;
}

int log_full(int level, int error, const char *ns, const char *id, const char *format, ...) {
        va_list args;
        int r;

        va_start(args, format);
        r = log_fullv(level, error, ns, id, NULL, format, args);
        va_end(args);
        return r;
}

int log_full_field(int level, int error, const char *ns, const char *id, const char *field, const char *format, ...) {
        va_list args;
        int r;

        va_start(args, format);
        r = log_fullv(level, error, ns, id, field, format, args);
        va_end(args);
        return r;
}
