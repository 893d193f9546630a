/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* monoshim inspect: every property of a container and of its init process, whatever monoshimd has. */

#include "ctl/format.h"
#include "ctl/i18n.h"
#include "ctl/output.h"
#include "ctl/report.h"
#include "ctl/suggest.h"
#include "ctl/value.h"
#include "ctl/verb.h"
#include "ctl/verb-arguments.h"
#include "util/strv.h"

#include <limits.h>
#include <stdio.h>

static const char usage[] = N_("Usage: monoshim inspect ID...\n"
                               "\n"
                               "Show all that is known of containers: the properties of their objects on D-Bus.\n");

/* One container's properties as they come. In both forms a name that both interfaces have (Id) is shown once. */
typedef struct Inspection {
        JsonWriter *json; /* NULL: text */
        char **seen;
} Inspection;

static void line_print(const char *name, const char *value) {
        printf("%13s: %s\n", name, value);
}

static bool name_is_time(const char *name) {
        size_t n = strlen(name);

        return n > 2 && streq(name + n - 2, "At");
}

static int time_print(const char *name, sd_bus_message *m) {
        _cleanup_(freep) char *text = NULL;
        uint64_t usec;
        int r;

        r = sd_bus_message_read(m, "v", "t", &usec);
        if (r < 0)
                return r;
        text = format_time(usec);
        if (!text)
                return -ENOMEM;
        line_print(name, text);
        return 0;
}

/* One line for each label; the name stands before the first only. */
static int labels_print(const char *name, sd_bus_message *m) {
        const char *key, *value;
        int r;

        r = sd_bus_message_enter_container(m, 'v', "a{ss}");
        if (r < 0)
                return r;
        r = sd_bus_message_enter_container(m, 'a', "{ss}");
        if (r < 0)
                return r;

        if (sd_bus_message_at_end(m, false) > 0)
                line_print(name, "-");
        while ((r = sd_bus_message_read(m, "{ss}", &key, &value)) > 0) {
                _cleanup_(freep) char *line = NULL;

                if (asprintf(&line, "%s=%s", key, value) < 0) {
                        line = NULL;
                        return -ENOMEM;
                }
                format_make_line(line);
                printf("%13s%c %s\n", strempty(name), name ? ':' : ' ', line);
                name = NULL;
        }
        if (r < 0)
                return r;

        r = sd_bus_message_exit_container(m);
        if (r < 0)
                return r;
        return sd_bus_message_exit_container(m);
}

static int property_print(const char *name, sd_bus_message *m) {
        _cleanup_(freep) char *text = NULL;
        const char *contents;
        int r;

        r = sd_bus_message_peek_type(m, NULL, &contents);
        if (r < 0)
                return r;
        if (streq(contents, "a{ss}"))
                return labels_print(name, m);
        if (streq(contents, "t") && name_is_time(name))
                return time_print(name, m);

        r = value_read_text(m, false, &text);
        if (r < 0)
                return r;
        line_print(name, isempty(text) ? "-" : text);
        return 0;
}

static int property_take(Inspection *inspection, sd_bus_message *m) {
        const char *name;
        int r;

        r = sd_bus_message_read(m, "s", &name);
        if (r < 0)
                return r;
        if (strv_contains(inspection->seen, name))
                return sd_bus_message_skip(m, "v");

        r = strv_extend(&inspection->seen, name);
        if (r < 0)
                return r;
        if (!inspection->json)
                return property_print(name, m);
        json_write_key(inspection->json, name);
        return value_write_json(m, inspection->json);
}

static int properties_take(Inspection *inspection, sd_bus_message *m) {
        int r;

        r = sd_bus_message_enter_container(m, 'a', "{sv}");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
                r = property_take(inspection, m);
                if (r < 0)
                        return r;
                r = sd_bus_message_exit_container(m);
                if (r < 0)
                        return r;
        }
        return r;
}

/* Asking the manager first gives a better answer than Properties has for an object that does not exist. */
static int inspect_get(Client *c, const ContainerRef *ref, sd_bus_message *replies[2]) {
        static const char *const interfaces[2] = { MONOSHIM_CONTAINER, MONOSHIM_PROCESS };
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        int r;

        r = client_call(c, MONOSHIM_PATH, MONOSHIM_MANAGER, "GetContainer", CLIENT_DEFAULT_TIMEOUT, &error, NULL,
                        "ss", ref->ns, ref->id);
        for (int i = 0; i < 2 && r >= 0; i++)
                r = client_call(c, ref->path, "org.freedesktop.DBus.Properties", "GetAll", CLIENT_DEFAULT_TIMEOUT,
                                &error, &replies[i], "s", interfaces[i]);
        if (r < 0)
                return suggest_report(c, ref, r, &error, _("Cannot inspect %s/%s"), ref->ns, ref->id);
        return 0;
}

static int inspect_one(Client *c, const ContainerRef *ref, JsonWriter *json, bool first) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *container = NULL, *process = NULL;
        sd_bus_message *replies[2] = {};
        Inspection inspection = { .json = json };
        int r;

        r = inspect_get(c, ref, replies);
        container = replies[0];
        process = replies[1];
        if (r < 0)
                return r;

        if (json)
                json_open_object(json);
        else if (!first)
                putchar('\n');

        r = properties_take(&inspection, container);
        if (r >= 0)
                r = properties_take(&inspection, process);
        strv_free(inspection.seen);
        if (r < 0)
                return report_errno(r, _("Cannot read what monoshimd says about %s/%s"), ref->ns, ref->id);

        if (json)
                json_close_object(json);
        return 0;
}

static int inspect_all(const Settings *s, Client *c, const ContainerRefs *refs) {
        _cleanup_(json_writer_freep) JsonWriter *json = NULL;
        bool failed = refs->bad, first = true;
        int r;

        if (s->output != OUTPUT_TEXT) {
                json = output_json_new(s);
                if (!json)
                        return VERB_FAILED;
                json_open_array(json);
        }

        for (size_t i = 0; i < refs->n_items; i++) {
                r = inspect_one(c, refs->items + i, json, first);
                if (r < 0)
                        failed = true;
                else
                        first = false;
        }

        if (json) {
                json_close_array(json);
                r = output_json(json);
                if (r < 0)
                        failed = true;
        }
        return failed ? VERB_FAILED : 0;
}

int verb_inspect(int argc, char *argv[], Settings *s) {
        const VerbSyntax syntax = {
                .letters = COMMON_SHORT_OPTIONS,
                .options = common_options,
                .usage = _(usage),
                .min = 1,
                .max = INT_MAX,
        };
        _cleanup_(container_refs_done) ContainerRefs refs = {};
        _cleanup_(client_freep) Client *c = NULL;
        int r;

        r = verb_begin(argc, argv, s, &syntax, NULL, &refs, &c);
        return r < 0 ? r : inspect_all(s, c, &refs);
}
