/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The URIs that name a stream. What is refused here, Go's net/url refuses too, but for the fragment: it would drop
 * that in silence, and with it what somebody took for a part of a file's name. */

#include "util/uri.h"
#include "util/text.h"

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define PATH_SHOWN_MAX 128

size_t uri_scheme_length(const char *uri) {
        size_t n;

        if (!uri[0] || !strchr(LETTERS, uri[0]))
                return 0;
        n = strspn(uri, LETTERS "0123456789+-.");
        return uri[n] == ':' ? n : 0;
}

static int hex_digit(char c) {
        static const char digits[] = "0123456789abcdef0123456789ABCDEF";
        const char *d = c ? strchr(digits, c) : NULL;

        return d ? (int) (d - digits) % 16 : -1;
}

int uri_unescape(const char *s, size_t size, bool plus_is_space, char **ret) {
        _cleanup_(freep) char *text = NULL;
        size_t n = 0;

        text = malloc(size + 1);
        if (!text)
                return -ENOMEM;

        for (size_t i = 0; i < size; i++) {
                int high, low;

                if (s[i] != '%') {
                        text[n++] = plus_is_space && s[i] == '+' ? ' ' : s[i];
                        continue;
                }
                if (size - i < 3)
                        return -EINVAL;

                high = hex_digit(s[i + 1]);
                low = hex_digit(s[i + 2]);
                if (high < 0 || low < 0 || high + low == 0)
                        return -EINVAL;
                text[n++] = (char) (high << 4 | low);
                i += 2;
        }
        text[n] = '\0';

        *ret = TAKE_PTR(text);
        return 0;
}

static int fail(char *reason, char **reterr_reason) {
        if (!reason)
                return -ENOMEM;

        *reterr_reason = reason;
        return -EINVAL;
}

static bool has_control_character(const char *s) {
        for (; *s; s++)
                if ((unsigned char) *s < 0x20 || *s == 0x7f)
                        return true;
        return false;
}

int uri_split(const char *uri, char **ret_path, const char **ret_query, char **reterr_reason) {
        _cleanup_(freep) char *path = NULL;
        size_t n = uri_scheme_length(uri);
        const char *start = uri + n + 1;
        int r;

        if (n == 0)
                return fail(strdup("it has no scheme"), reterr_reason);
        if (has_control_character(uri))
                return fail(strdup("control characters in a URI must be written as %XX"), reterr_reason);
        if (strchr(uri, '#'))
                return fail(strdup("a URI cannot have a fragment here; a # in it must be written as %23"),
                            reterr_reason);

        start = startswith(start, "//") ?: start;
        n = strcspn(start, "?");
        if (start[0] != '/') {
                _cleanup_(freep) char *shown = text_sanitize(start, n, PATH_SHOWN_MAX);

                if (!shown)
                        return -ENOMEM;
                return fail(strdup_printf("\"%s\" is not an absolute path", shown), reterr_reason);
        }

        r = uri_unescape(start, n, false, &path);
        if (r == -EINVAL)
                return fail(strdup("a % in a URI must be followed by two hexadecimal digits, and not by 00"),
                            reterr_reason);
        if (r < 0)
                return r;

        *ret_path = TAKE_PTR(path);
        *ret_query = start[n] ? start + n + 1 : NULL;
        return 0;
}
