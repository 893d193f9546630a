/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* How /proc/self/mountinfo writes paths. */

/* Space, tab, newline and backslash are written as three octal digits. Done in place; returns 's'. */
static inline char *mountinfo_unescape(char *s) {
        char *to = s;

        for (const char *from = s; *from; to++) {
                if (from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && from[2] >= '0' && from[2] <= '7' &&
                    from[3] >= '0' && from[3] <= '7') {
                        *to = (char) ((from[1] - '0') << 6 | (from[2] - '0') << 3 | (from[3] - '0'));
                        from += 4;
                } else
                        *to = *from++;
        }
        *to = '\0';
        return s;
}
