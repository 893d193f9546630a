/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Text that came from elsewhere: identifiers to be checked, output to be shown. */

#include "util/text.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#define QUOTE_MAX 128

/* isalnum() and its kin ask the locale; identifiers and numbers do not depend on where we run. */
static bool is_digit(char c) {
        return c >= '0' && c <= '9';
}

static bool is_alphanumeric(char c) {
        return is_digit(c) || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

static bool is_space(char c) {
        return c && strchr(" \t\n\r\v\f", c);
}

static bool identifier_has_shape(const char *s) {
        bool separated = true; /* as if the start were a separator: none may follow */

        for (; *s; s++) {
                if (!is_alphanumeric(*s) && (separated || !strchr("._-", *s)))
                        return false;
                separated = !is_alphanumeric(*s);
        }
        return !separated;
}

bool identifier_is_valid(const char *s) {
        return s && strlen(s) <= IDENTIFIER_MAX && identifier_has_shape(s);
}

/* The part of 's' that is at most 'max' bytes long and ends with a whole character. */
static size_t cut_at_character(const char *s, size_t size, size_t max) {
        size_t cut = 0;

        if (size <= max)
                return size;

        while (cut < max) {
                size_t n = utf8_character(s + cut, size - cut);

                if (n == 0)
                        n = 1;
                if (cut + n > max)
                        break;
                cut += n;
        }
        return cut;
}

bool utf8_is_control(const char *s, size_t n) {
        if (n == 1)
                return (unsigned char) s[0] < 0x20 || s[0] == 0x7f;
        return n == 2 && (unsigned char) s[0] == 0xc2 && (unsigned char) s[1] < 0xa0; /* U+0080 to U+009F */
}

/* "s", with quotes, backslashes, control characters and bytes that are no character escaped as Go's %q does it. */
static char *quote(const char *s) {
        static const char named[] = "\"\"\\\\\aa\bb\ff\nn\rr\tt\vv";
        size_t size = cut_at_character(s, strlen(s), QUOTE_MAX);
        char *q, *p;

        q = p = malloc(size * 4 + 3);
        if (!q)
                return NULL;

        *p++ = '"';
        for (size_t i = 0; i < size;) {
                size_t n = utf8_character(s + i, size - i);
                const char *name = NULL;

                for (const char *k = named; !name && *k; k += 2)
                        if (*k == s[i])
                                name = k + 1;

                if (name) {
                        *p++ = '\\';
                        *p++ = *name;
                } else if (n == 0 || (n == 1 && utf8_is_control(s + i, n)))
                        p += sprintf(p, "\\x%02x", (unsigned char) s[i]);
                else if (utf8_is_control(s + i, n))
                        p += sprintf(p, "\\u%04x", (unsigned char) s[i + 1]);
                else
                        p = mempcpy(p, s + i, n);
                i += n ?: 1;
        }
        strcpy(p, "\"");
        return q;
}

int identifier_check(const char *s, char **ret_reason) {
        _cleanup_(freep) char *quoted = NULL;
        char *reason;

        if (identifier_is_valid(s)) {
                *ret_reason = NULL;
                return 0;
        }

        quoted = quote(strempty(s));
        if (!quoted)
                return -ENOMEM;

        if (isempty(s))
                reason = strdup("identifier must not be empty: invalid argument");
        else if (strlen(s) > IDENTIFIER_MAX)
                reason = strdup_printf("identifier %s greater than maximum length (%d characters): invalid argument",
                                       quoted, IDENTIFIER_MAX);
        else
                reason = strdup_printf("identifier %s must match %s: invalid argument", quoted, IDENTIFIER_REGEX);
        if (!reason)
                return -ENOMEM;

        *ret_reason = reason;
        return -EINVAL;
}

size_t utf8_character(const char *s, size_t size) {
        /* Only the second byte has bounds of its own: they rule out overlong forms, surrogates, and what lies past
         * U+10FFFF. */
        static const struct {
                unsigned char first, last, second_min, second_max;
                size_t length;
        } forms[] = {
                { 0xc2, 0xdf, 0x80, 0xbf, 2 },
                { 0xe0, 0xe0, 0xa0, 0xbf, 3 },
                { 0xe1, 0xec, 0x80, 0xbf, 3 },
                { 0xed, 0xed, 0x80, 0x9f, 3 },
                { 0xee, 0xef, 0x80, 0xbf, 3 },
                { 0xf0, 0xf0, 0x90, 0xbf, 4 },
                { 0xf1, 0xf3, 0x80, 0xbf, 4 },
                { 0xf4, 0xf4, 0x80, 0x8f, 4 },
        };
        const unsigned char *u = (const unsigned char *) s;

        if (size == 0)
                return 0;
        if (u[0] >= 0x01 && u[0] <= 0x7f) /* nearly all */
                return 1;

        for (size_t i = 0; i < ELEMENTSOF(forms); i++) {
                size_t length = forms[i].length;

                if (u[0] < forms[i].first || u[0] > forms[i].last)
                        continue;
                if (size < length)
                        return 0;
                if (length > 1 && (u[1] < forms[i].second_min || u[1] > forms[i].second_max))
                        return 0;
                for (size_t k = 2; k < length; k++)
                        if ((u[k] & 0xc0) != 0x80)
                                return 0;
                return length;
        }
        return 0;
}

size_t utf8_valid_length(const char *s, size_t size) {
        size_t i = 0, n;

        do {
                while (i < size && (signed char) s[i] > 0) /* nearly all, and not worth a call each */
                        i++;
                n = utf8_character(s + i, size - i);
                i += n;
        } while (n > 0);
        return i;
}

bool utf8_is_valid(const char *s, size_t size) {
        return utf8_valid_length(s, size) == size;
}

char *text_sanitize(const char *s, size_t size, size_t max) {
        char *clean, *p;

        while (size > 0 && is_space(s[0])) {
                s++;
                size--;
        }
        while (size > 0 && is_space(s[size - 1]))
                size--;
        size = cut_at_character(s, size, max);

        clean = p = malloc(size + 1);
        if (!clean)
                return NULL;

        for (size_t i = 0; i < size;) {
                size_t n = utf8_character(s + i, size - i);

                if (n == 0 || (utf8_is_control(s + i, n) && s[i] != '\n' && s[i] != '\t'))
                        *p++ = '?';
                else
                        p = mempcpy(p, s + i, n);
                i += n ?: 1;
        }

        /* The cut may have laid bare white space at the end. */
        while (p > clean && is_space(p[-1]))
                p--;
        *p = 0;
        return clean;
}

char *strdup_printf(const char *format, ...) {
        char *s = NULL;
        va_list args;
        int n;

        va_start(args, format);
        n = vasprintf(&s, format, args);
        va_end(args);
        return n < 0 ? NULL : s;
}

/* Reads digits up to the first other character, of which there must be at least one. */
static int read_digits(const char **s, uint64_t *ret) {
        const char *p = *s;
        uint64_t u = 0;

        if (!is_digit(*p))
                return -EINVAL;

        for (; is_digit(*p); p++)
                if (__builtin_mul_overflow(u, 10, &u) || __builtin_add_overflow(u, (uint64_t) (*p - '0'), &u))
                        return -ERANGE;

        *s = p;
        *ret = u;
        return 0;
}

int parse_uint64(const char *s, uint64_t *ret) {
        uint64_t u;
        int r;

        if (s[strspn(s, "0123456789")])
                return -EINVAL;

        r = read_digits(&s, &u);
        if (r < 0)
                return r;

        *ret = u;
        return 0;
}

/* The longer spellings come before those that they start with. */
static const struct {
        const char *name;
        uint64_t usec;
} timespan_units[] = {
        { "seconds", USEC_PER_SEC },            { "second", USEC_PER_SEC },             { "sec", USEC_PER_SEC },
        { "s", USEC_PER_SEC },                  { "minutes", 60 * USEC_PER_SEC },       { "minute", 60 * USEC_PER_SEC },
        { "min", 60 * USEC_PER_SEC },           { "msec", USEC_PER_MSEC },              { "ms", USEC_PER_MSEC },
        { "m", 60 * USEC_PER_SEC },             { "hours", 3600 * USEC_PER_SEC },       { "hour", 3600 * USEC_PER_SEC },
        { "hr", 3600 * USEC_PER_SEC },          { "h", 3600 * USEC_PER_SEC },           { "days", 86400 * USEC_PER_SEC },
        { "day", 86400 * USEC_PER_SEC },        { "d", 86400 * USEC_PER_SEC },          { "weeks", 604800 * USEC_PER_SEC },
        { "week", 604800 * USEC_PER_SEC },      { "w", 604800 * USEC_PER_SEC },         { "usec", 1 },
        { "us", 1 },                            { "\u00b5s", 1 },                       { "\u03bcs", 1 },
};

/* The unit at *s, which must end where a letter cannot go on. Seconds, when there is none. 0: there is no such unit. */
static uint64_t read_unit(const char **s) {
        if (**s == 0 || is_digit(**s) || **s == '.' || **s == '+')
                return USEC_PER_SEC;

        for (size_t i = 0; i < ELEMENTSOF(timespan_units); i++) {
                const char *end = startswith(*s, timespan_units[i].name);

                if (!end || (is_alphanumeric(*end) && !is_digit(*end)))
                        continue;
                *s = end;
                return timespan_units[i].usec;
        }
        return 0;
}

/* One part of a time span: "2min", "1.5 s", ".5h". */
static int read_timespan_part(const char **s, uint64_t *ret_usec) {
        const char *p = *s, *fraction = NULL;
        uint64_t whole = 0, usec, unit;
        int r;

        if (*p == '-')
                return -ERANGE;
        if (*p == '+')
                p++;

        if (*p != '.') {
                r = read_digits(&p, &whole);
                if (r < 0)
                        return r;
        }
        if (*p == '.') {
                fraction = p + 1;
                p = fraction + strspn(fraction, "0123456789");
                if (p == fraction || *p == '.')
                        return -EINVAL;
        }

        while (is_space(*p))
                p++;
        unit = read_unit(&p);
        if (unit == 0)
                return -EINVAL;
        if (__builtin_mul_overflow(whole, unit, &usec))
                return -ERANGE;

        for (; fraction && is_digit(*fraction) && unit > 1; fraction++) {
                unit /= 10;
                if (__builtin_add_overflow(usec, (uint64_t) (*fraction - '0') * unit, &usec))
                        return -ERANGE;
        }

        *s = p;
        *ret_usec = usec;
        return 0;
}

int parse_timespan(const char *s, uint64_t *ret_usec) {
        uint64_t total = 0;
        const char *rest;
        int r;

        while (is_space(*s))
                s++;
        if (!*s)
                return -EINVAL;

        rest = startswith(s, "infinity");
        if (rest) {
                while (is_space(*rest))
                        rest++;
                if (*rest)
                        return -EINVAL;
                *ret_usec = USEC_INFINITY;
                return 0;
        }

        while (*s) {
                uint64_t part;

                r = read_timespan_part(&s, &part);
                if (r < 0)
                        return r;
                if (__builtin_add_overflow(total, part, &total) || total == USEC_INFINITY)
                        return -ERANGE;
                while (is_space(*s))
                        s++;
        }

        *ret_usec = total;
        return 0;
}

static const char size_units[] = "KMG";

int parse_size(const char *s, uint64_t *ret) {
        char number[SIZE_TEXT_MAX];
        size_t n = strlen(s);
        const char *unit;
        uint64_t size;
        unsigned shift;
        int r;

        unit = n > 0 ? strchr(size_units, s[n - 1]) : NULL;
        if (!unit)
                return parse_uint64(s, ret);
        if (n > sizeof(number))
                return -ERANGE;

        *((char *) mempcpy(number, s, n - 1)) = 0;
        r = parse_uint64(number, &size);
        if (r < 0)
                return r;

        shift = 10 * (unsigned) (unit - size_units + 1);
        if (size > UINT64_MAX >> shift)
                return -ERANGE;

        *ret = size << shift;
        return 0;
}

char *format_size(uint64_t size, char buffer[static SIZE_TEXT_MAX]) {
        unsigned u = 0;

        while (size > 0 && size % 1024 == 0 && u < strlen(size_units)) {
                size /= 1024;
                u++;
        }

        (void) snprintf(buffer, SIZE_TEXT_MAX, "%" PRIu64 "%.*s", size, u > 0, u > 0 ? &size_units[u - 1] : "");
        return buffer;
}
