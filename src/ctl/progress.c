/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A line on a terminal's stderr that says what takes long. There is one stderr, and so there is one line. */

#include "ctl/progress.h"

#include "ctl/format.h"

#include <stdarg.h>
#include <stdio.h>
#include <sys/ioctl.h>

static bool shown;

bool progress_is_wanted(void) {
        const char *term = getenv("TERM");

        return isatty(STDERR_FILENO) && !isempty(term) && !streq(term, "dumb");
}

/* A line that wraps could not be taken back. Bytes are counted: names are ASCII, and a translation that is cut early
 * does no harm. */
static int line_width(void) {
        struct winsize size = {};

        if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col < 2)
                return 79;
        return size.ws_col - 1;
}

void progress_show(const char *format, ...) {
        _cleanup_(freep) char *line = NULL;
        va_list ap;
        int r;

        if (!progress_is_wanted())
                return;
        va_start(ap, format);
        r = vasprintf(&line, format, ap);
        va_end(ap);
        if (r < 0) {
                line = NULL;
                return;
        }
        format_make_line(line);
        fprintf(stderr, "\r%.*s\033[K", line_width(), line);
        shown = true;
}

void progress_erase(void) {
        if (!shown)
                return;
        shown = false;
        fputs("\r\033[K", stderr);
}
