/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Log lines: to the journal when it is what stands behind stderr, to stderr otherwise. */

#include "util/log.h"
#include "util/journal-message.h"
#include "util/text.h"

#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>

/* A pipe takes so much in one piece, and poll() tells that it has room for it. */
#define LINE_SIZE ((size_t) PIPE_BUF)

static struct {
        int max_level;
        bool journal;       /* stderr is a stream to it */
        uint64_t n_dropped; /* lines that nobody could take */
} logger = {
        .max_level = LOG_INFO,
};

/* systemd puts "DEVICE:INODE" of the journal's stream into the environment; stderr may be something else by now. */
static bool stderr_is_journal(void) {
        const char *stream = getenv("JOURNAL_STREAM");
        unsigned long long device, inode;
        struct stat st;

        if (!stream || sscanf(stream, "%llu:%llu", &device, &inode) != 2)
                return false;
        return fstat(STDERR_FILENO, &st) >= 0 && st.st_dev == device && st.st_ino == inode;
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

                if (*p == '\n')
                        *to++ = ' ';
                else if (n == 0 || (utf8_is_control(p, n) && *p != '\t'))
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

static bool write_to_stderr(int level, const char *ns, const char *id, const char *text) {
        char line[LINE_SIZE] = "";

        if (logger.journal) /* which takes the level from there */
                line_extendf(line, "<%d>", level);
        if (id)
                line_extendf(line, "%s: %s/%s: %s", program_invocation_short_name, strempty(ns), id, text);
        else
                line_extendf(line, "%s: %s", program_invocation_short_name, text);
        make_one_line(line);
        return write_line(line);
}

/* Of "NAME=value"; without a name there is nothing to add. */
static void message_add_assignment(JournalMessage *m, const char *field) {
        const char *value = strchr(field, '=');
        char name[32] = "";

        if (!value || value == field || (size_t) (value - field) >= sizeof(name))
                return;
        memcpy(name, field, (size_t) (value - field));
        journal_message_add_string(m, name, value + 1);
}

static bool send_to_journal(int level, int error, const char *ns, const char *id, const char *field,
                            const char *text) {
        char priority[16], number[16];
        JournalMessage m = {};

        (void) snprintf(priority, sizeof(priority), "%d", level);
        (void) snprintf(number, sizeof(number), "%d", error);

        journal_message_add_string(&m, "MESSAGE", text);
        journal_message_add_string(&m, "PRIORITY", priority);
        journal_message_add_string(&m, "SYSLOG_IDENTIFIER", program_invocation_short_name);
        if (id) {
                journal_message_add_string(&m, "CONTAINER_ID", id);
                journal_message_add_string(&m, "CONTAINER_NAMESPACE", strempty(ns));
        }
        if (error > 0)
                journal_message_add_string(&m, "ERRNO", number);
        if (field)
                message_add_assignment(&m, field);
        return journal_message_send(&m) >= 0;
}

/* stderr is not only for when there is no journal: while journald hangs, its stream has room when its socket has none
 * any more. */
static bool put_line(int level, int error, const char *ns, const char *id, const char *field, const char *text) {
        return (logger.journal && send_to_journal(level, error, ns, id, field, text)) ||
               write_to_stderr(level, ns, id, text);
}

/* What was lost is told before anything else is, so that the gap is where the reader finds it. */
static void tell_dropped(void) {
        char text[128];

        (void) snprintf(text, sizeof(text), "lost %llu log lines that %s could not take",
                        (unsigned long long) logger.n_dropped, logger.journal ? "the journal" : "stderr");
        if (put_line(LOG_WARNING, 0, NULL, NULL, NULL, text))
                logger.n_dropped = 0;
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

        if (logger.n_dropped > 0)
                tell_dropped();
        if (logger.n_dropped > 0 || !put_line(level, error, ns, id, field, text))
                logger.n_dropped++;

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
