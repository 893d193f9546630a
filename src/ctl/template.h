/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Lines in a form that the user describes: text with "{{.Field}}" in it. */

#include "util/macro.h"

typedef struct TemplatePart {
        bool is_field;          /* then 'text' is its name, without the dot */
        const char *text;       /* not NUL-terminated */
        size_t size;
} TemplatePart;

/* Reads the next part at *p and moves *p behind it. "\t", "\n" and "\\" stand for a tab, a newline and a backslash. 1; 0
 * at the end; -EINVAL for "{{" without a field and "}}" behind it, with *p at the "{{". */
int template_next(const char **p, TemplatePart *ret);
