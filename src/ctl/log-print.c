/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A container's output, shown again. */

#include "ctl/log-print.h"

#include "util/json.h"

#include <stdio.h>

static void line_print_json(bool pretty, int fd, uint64_t usec, const char *text, size_t size) {
        _cleanup_(json_writer_freep) JsonWriter *w = json_writer_new(pretty);
        _cleanup_(freep) char *line = strndup(text, size);
        const char *json;
        size_t n;

        if (!w || !line)
                return;
        json_open_object(w);
        json_write_key(w, "time");
        usec > 0 ? json_write_uint64(w, usec) : json_write_null(w);
        json_put_string(w, "stream", fd == STDERR_FILENO ? "stderr" : "stdout");
        json_put_string(w, "message", line);
        json_close_object(w);
        if (json_writer_finish(w, &json, &n) < 0)
                return;
        while (n > 0 && json[n - 1] == '\n')
                n--;
        fwrite(json, 1, n, stdout);
        putchar('\n');
}

void log_print_line(LogPrinter *p, int fd, uint64_t usec, const char *text, size_t size) {
        FILE *f = fd == STDERR_FILENO ? stderr : stdout;

        p->n_lines++;
        if (p->output != OUTPUT_TEXT) {
                line_print_json(p->output == OUTPUT_JSON_PRETTY, fd, usec, text, size);
                return;
        }
        fwrite(text, 1, size, f);
        fputc('\n', f);
}
