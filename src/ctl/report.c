/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What goes wrong, told in one line on stderr. */

#include "ctl/report.h"

#include "ctl/format.h"
#include "ctl/i18n.h"
#include "ctl/progress.h"

#include <stdio.h>

/* "TEXT: why", and behind a full stop what to do about it. */
static void report_text(const char *text, const char *why, const char *hint) {
        _cleanup_(freep) char *line = NULL;
        size_t length = why ? strlen(why) : 0;

        if (hint && length > 0 && why[length - 1] == '.')
                length--;
        if (asprintf(&line, "monoshim: %s%s%.*s%s%s", text, why ? ": " : "", (int) length, strempty(why),
                     hint ? ". " : "", strempty(hint)) < 0) {
                line = NULL;
                return;
        }
        format_make_line(line);
        progress_erase();
        fprintf(stderr, "%s\n", line);
}

static void report_with_reason(const char *why, const char *hint, const char *format, va_list ap) _printf_(3, 0);

static void report_with_reason(const char *why, const char *hint, const char *format, va_list ap) {
        _cleanup_(freep) char *text = NULL;

        if (vasprintf(&text, format, ap) < 0) {
                text = NULL;
                return;
        }
        report_text(text, why, hint);
}

void reportv(const char *format, va_list ap) {
        report_with_reason(NULL, NULL, format, ap);
}

void report(const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        report_with_reason(NULL, NULL, format, ap);
        va_end(ap);
}

int report_errno(int error, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        report_with_reason(strerror(abs(error)), NULL, format, ap);
        va_end(ap);
        return -abs(error);
}

const char *report_hint(int r, const sd_bus_error *error) {
        static const struct {
                const char *name;
                const char *hint;
        } hints[] = {
                { SD_BUS_ERROR_SERVICE_UNKNOWN, N_("Is monoshimd running?") },
                { SD_BUS_ERROR_NAME_HAS_NO_OWNER, N_("Is monoshimd running?") },
                { SD_BUS_ERROR_NO_REPLY, N_("monoshimd has gone away; containers go on without it.") },
                { SD_BUS_ERROR_DISCONNECTED, N_("monoshimd has gone away; containers go on without it.") },
                { SD_BUS_ERROR_ACCESS_DENIED, N_("Only root may do this, unless polkit says otherwise.") },
                { SD_BUS_ERROR_INTERACTIVE_AUTHORIZATION_REQUIRED,
                  N_("Try again on a terminal, without --no-ask-password, or as root.") },
        };

        if (sd_bus_error_is_set(error)) {
                for (size_t i = 0; i < ELEMENTSOF(hints); i++)
                        if (sd_bus_error_has_name(error, hints[i].name))
                                return _(hints[i].hint);
                return NULL;
        }

        switch (abs(r)) {
        case ENOENT:
        case ECONNREFUSED:
                return _("Is monoshimd running?");
        case EACCES:
        case EPERM:
                return _("Only root may do this, unless polkit says otherwise.");
        default:
                return NULL;
        }
}

/* For an object that does not exist monoshimd can only tell its path, which says less to people than that there is
 * none. */
static const char *error_reason(int r, const sd_bus_error *error) {
        if (!sd_bus_error_is_set(error))
                return strerror(abs(r));
        if (isempty(error->message))
                return error->name;
        if (sd_bus_error_has_name(error, SD_BUS_ERROR_UNKNOWN_OBJECT) ||
            (sd_bus_error_has_name(error, "org.monoshim1.Error.NotFound") && error->message[0] == '/'))
                return strstr(error->message, "/process/") ? _("there is no such process")
                                                           : _("there is no such container");
        return error->message;
}

int report_callv(int r, const sd_bus_error *error, const char *hint, const char *format, va_list ap) {
        report_with_reason(error_reason(r, error), hint ? hint : report_hint(r, error), format, ap);
        return r < 0 ? r : -EIO;
}

int report_call(int r, const sd_bus_error *error, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        r = report_callv(r, error, NULL, format, ap);
        va_end(ap);
        return r;
}
