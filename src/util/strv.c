/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* NULL-terminated string arrays. */

#include "util/strv.h"

#include <stdarg.h>
#include <stdio.h>

char **strv_free(char **v) {
        if (!v)
                return NULL;

        for (char **p = v; *p; p++)
                free(*p);
        free(v);
        return NULL;
}

size_t strv_length(char *const *v) {
        size_t n = 0;

        while (v && v[n])
                n++;
        return n;
}

bool strv_contains(char *const *v, const char *s) {
        for (; v && *v; v++)
                if (streq(*v, s))
                        return true;
        return false;
}

/* Takes over 's', on failure as well. */
static int strv_consume(char ***v, char *s) {
        size_t n = strv_length(*v);
        char **p;

        if (!s)
                return -ENOMEM;

        p = reallocarray(*v, n + 2, sizeof(char *));
        if (!p) {
                free(s);
                return -ENOMEM;
        }

        p[n] = s;
        p[n + 1] = NULL;
        *v = p;
        return 0;
}

int strv_extend(char ***v, const char *s) {
        if (!s)
                return 0;
        return strv_consume(v, strdup(s));
}

int strv_extend_many(char ***v, ...) {
        const char *s;
        va_list args;
        int r = 0;

        va_start(args, v);
        while (r >= 0 && (s = va_arg(args, const char *)))
                r = strv_extend(v, s);
        va_end(args);
        return r;
}

int strv_extendf(char ***v, const char *format, ...) {
        char *s = NULL;
        va_list args;
        int n;

        va_start(args, format);
        n = vasprintf(&s, format, args);
        va_end(args);
        return strv_consume(v, n < 0 ? NULL : s);
}

char **strv_copy(char *const *v) {
        _cleanup_(strv_freep) char **copy = calloc(strv_length(v) + 1, sizeof(char *));

        if (!copy)
                return NULL;

        for (size_t i = 0; v && v[i]; i++) {
                copy[i] = strdup(v[i]);
                if (!copy[i])
                        return NULL;
        }
        return TAKE_PTR(copy);
}

char **strv_pack(char *const *v) {
        size_t n = strv_length(v), size = (n + 1) * sizeof(char *);
        char **copy, *at;

        for (size_t i = 0; i < n; i++)
                size += strlen(v[i]) + 1;

        copy = malloc(size);
        if (!copy)
                return NULL;

        at = (char *) (copy + n + 1);
        for (size_t i = 0; i < n; i++) {
                copy[i] = at;
                at = stpcpy(at, v[i]) + 1;
        }
        copy[n] = NULL;
        return copy;
}
