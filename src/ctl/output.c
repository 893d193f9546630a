/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What goes to stdout. */

#include "ctl/output.h"

#include "ctl/i18n.h"
#include "ctl/report.h"
#include "util/text.h"

#include <stdio.h>
#include <sys/ioctl.h>

JsonWriter *output_json_new(const Settings *s) {
        JsonWriter *w = json_writer_new(s->output == OUTPUT_JSON_PRETTY);

        if (!w)
                report_errno(ENOMEM, _("Cannot write JSON"));
        return w;
}

int output_json(JsonWriter *w) {
        const char *text;
        size_t size;
        int r;

        r = json_writer_finish(w, &text, &size);
        if (r < 0)
                return report_errno(r, _("Cannot write JSON"));

        while (size > 0 && text[size - 1] == '\n')
                size--;
        fwrite(text, 1, size, stdout);
        fputc('\n', stdout);
        return 0;
}

size_t output_width(void) {
        const char *columns = getenv("COLUMNS");
        struct winsize size = {};
        uint64_t n;

        if (!isatty(STDOUT_FILENO))
                return 0;
        if (columns && parse_uint64(columns, &n) >= 0 && n > 0 && n < UINT16_MAX)
                return n;
        if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0)
                return 0;
        return size.ws_col;
}

bool output_has_colours(void) {
        const char *term = getenv("TERM"), *no_color = getenv("NO_COLOR");

        return isempty(no_color) && !isempty(term) && !streq(term, "dumb") && isatty(STDOUT_FILENO);
}

int output_flush(void) {
        int r = 0;

        if (fflush(stdout) == EOF)
                r = -errno;
        else if (ferror(stdout))
                r = -EIO;
        if (r == 0)
                return 0;

        clearerr(stdout); /* it is told once */
        if (r == -EPIPE)
                return r;
        return report_errno(r, _("Cannot write the output"));
}
