/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Making text fit to be shown. */

#include "ctl/format.h"

#include "util/json.h"
#include "util/text.h"

#include <stdio.h>
#include <time.h>

void format_make_line(char *s) {
        for (unsigned char *p = (unsigned char *) s; *p; p++) {
                if (*p < 0x20 || *p == 0x7f)
                        *p = ' ';
                else if (p[0] == 0xc2 && p[1] >= 0x80 && p[1] <= 0x9f)
                        p[0] = p[1] = ' ';
        }
}

static bool word_is_plain(const char *s) {
        for (const unsigned char *p = (const unsigned char *) s; *p; p++) {
                if (*p <= 0x20 || *p == 0x7f || *p == '"' || *p == '\\')
                        return false;
                if (p[0] == 0xc2 && p[1] >= 0x80 && p[1] <= 0xa0)
                        return false;
        }
        return s[0] != '\0';
}

char *format_quote(const char *s) {
        _cleanup_(json_writer_freep) JsonWriter *w = NULL;
        const char *text;
        char *copy;
        size_t size;

        if (word_is_plain(s))
                return strdup(s);

        w = json_writer_new(false);
        if (!w)
                return NULL;
        json_write_string(w, s);
        if (json_writer_finish(w, &text, &size) < 0)
                return NULL;

        /* JSON leaves the C1 controls and DEL alone. */
        copy = strdup(text);
        if (copy)
                format_make_line(copy);
        return copy;
}

char *format_time(uint64_t usec) {
        time_t seconds = (time_t) (usec / USEC_PER_SEC);
        char date[64], zone[16];
        struct tm tm;

        if (usec == 0)
                return strdup("-");

        /* A year that does not fit in struct tm is no reason to show nothing. */
        if (!localtime_r(&seconds, &tm) || strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm) == 0 ||
            strftime(zone, sizeof(zone), "%z", &tm) != strlen("+hhmm"))
                return strdup_printf("%llu", (unsigned long long) usec);

        return strdup_printf("%s.%06u%.3s:%s", date, (unsigned) (usec % USEC_PER_SEC), zone, zone + 3);
}

char *format_bytes(uint64_t bytes) {
        static const char units[] = "BKMGTPE";
        uint64_t n = bytes, tenths;
        size_t unit = 0;

        for (; n >= 1024; n /= 1024)
                unit++;
        if (unit == 0)
                return strdup_printf("%lluB", (unsigned long long) bytes);

        /* Rounded down: "1.0M" is not said of what is less. */
        tenths = (uint64_t) (((unsigned __int128) bytes * 10) >> (10 * unit));
        if (tenths < 100)
                return strdup_printf("%u.%u%c", (unsigned) (tenths / 10), (unsigned) (tenths % 10), units[unit]);
        return strdup_printf("%llu%c", (unsigned long long) n, units[unit]);
}

char *format_absolute_path(const char *cwd, const char *path) {
        _cleanup_(freep) char *joined = NULL;
        char *out, *q;

        joined = path[0] == '/' ? strdup(path) : strdup_printf("%s/%s", cwd, path);
        if (!joined)
                return NULL;

        out = q = malloc(strlen(joined) + 2);
        if (!out)
                return NULL;

        for (const char *p = joined; *p;) {
                size_t n;

                p += strspn(p, "/");
                n = strcspn(p, "/");
                if (n > 0 && !(n == 1 && p[0] == '.')) {
                        *q++ = '/';
                        memcpy(q, p, n);
                        q += n;
                }
                p += n;
        }
        if (q == out)
                *q++ = '/';
        *q = '\0';
        return out;
}

char *format_unix_address(const char *path) {
        static const char plain[] = "-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz/.\\*";
        static const char prefix[] = "unix:path=";
        char *out, *q;

        out = malloc(sizeof(prefix) + strlen(path) * 3);
        if (!out)
                return NULL;

        q = stpcpy(out, prefix);
        for (const char *p = path; *p; p++)
                if (strchr(plain, *p))
                        *q++ = *p;
                else
                        q += sprintf(q, "%%%02x", (unsigned char) *p);
        *q = '\0';
        return out;
}
