/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Lines in a form that the user describes. */

#include "ctl/template.h"

static int field_next(const char **p, TemplatePart *ret) {
        const char *name = *p + 2, *end;
        size_t size;

        name += strspn(name, " ");
        if (*name++ != '.')
                return -EINVAL;
        size = strcspn(name, " }");
        end = name + size;
        end += strspn(end, " ");
        if (size == 0 || strncmp(end, "}}", 2) != 0)
                return -EINVAL;

        *ret = (TemplatePart) { .is_field = true, .text = name, .size = size };
        *p = end + 2;
        return 1;
}

/* NULL where the backslash is one. */
static const char *escape_find(const char *s) {
        static const struct {
                char letter;
                const char *text;
        } escapes[] = { { 't', "\t" }, { 'n', "\n" }, { '\\', "\\" } };

        for (size_t i = 0; s[0] == '\\' && i < ELEMENTSOF(escapes); i++)
                if (s[1] == escapes[i].letter)
                        return escapes[i].text;
        return NULL;
}

int template_next(const char **p, TemplatePart *ret) {
        const char *s = *p, *escape = escape_find(s);
        size_t size = 0;

        if (!*s)
                return 0;
        if (strncmp(s, "{{", 2) == 0)
                return field_next(p, ret);

        if (escape) {
                *ret = (TemplatePart) { .text = escape, .size = 1 };
                *p = s + 2;
                return 1;
        }

        while (s[size] && !escape_find(s + size) && strncmp(s + size, "{{", 2) != 0)
                size++;
        *ret = (TemplatePart) { .text = s, .size = size };
        *p = s + size;
        return 1;
}
