/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* JSON in files that the user names. */

#include "ctl/json-file.h"

#include "ctl/i18n.h"
#include "ctl/report.h"

#include <stdio.h>

/* Reads to the end, be it a file or a pipe. */
static int stream_read(FILE *f, char **ret, size_t *ret_size) {
        _cleanup_(freep) char *text = NULL;
        size_t size = 0, allocated = 8192;

        do {
                char *more = realloc(text, allocated *= 2);

                if (!more)
                        return -ENOMEM;
                text = more;
                errno = 0;
                size += fread(text + size, 1, allocated - size - 1, f);
                if (ferror(f))
                        return errno > 0 ? -errno : -EIO;
                if (size > JSON_FILE_MAX)
                        return -EFBIG;
        } while (!feof(f));

        text[size] = '\0';
        *ret = TAKE_PTR(text);
        *ret_size = size;
        return 0;
}

static int text_read(const char *path, char **ret, size_t *ret_size) {
        FILE *f;
        int r;

        if (streq(path, "-"))
                return stream_read(stdin, ret, ret_size);

        f = fopen(path, "re");
        if (!f)
                return -errno;
        r = stream_read(f, ret, ret_size);
        (void) fclose(f);
        return r;
}

int json_file_read(const char *path, Json *ret, char **ret_text) {
        _cleanup_(freep) char *text = NULL, *message = NULL;
        size_t size;
        int r;

        r = text_read(path, &text, &size);
        if (r < 0)
                return report_errno(r, _("Cannot read \"%s\""), path);
        r = json_parse(text, size, ret, &message);
        if (r < 0) {
                report(_("\"%s\" is no JSON: %s"), path, message ? message : strerror(-r));
                return r;
        }
        if (ret_text)
                *ret_text = TAKE_PTR(text);
        return 0;
}
