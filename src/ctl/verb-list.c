/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* monoshim list. */

#include "ctl/container-list.h"
#include "ctl/format.h"
#include "ctl/i18n.h"
#include "ctl/output.h"
#include "ctl/report.h"
#include "ctl/table.h"
#include "ctl/template.h"
#include "ctl/verb.h"
#include "ctl/verb-arguments.h"
#include "util/strv.h"

#include <stdio.h>

static const char usage[] = N_("Usage: monoshim list [OPTION...]\n"
                               "\n"
                               "List containers.\n"
                               "\n"
                               "Which:\n"
                               "  -A, --all-namespaces     Of every namespace, not only of that chosen with -n\n"
                               "      --state=STATE[,...]  Only those that are created, running, pausing, paused\n"
                               "                           or stopped\n"
                               "      --label=NAME[=VALUE] Only those with this label (may be repeated)\n"
                               "\n"
                               "How:\n"
                               "  -q, --quiet              Ids only (with -A: NAMESPACE/ID)\n"
                               "      --no-legend          Without the line with the names of the columns\n"
                               "      --format=TEMPLATE    A line for each: text, \\t, \\n, and fields such as\n"
                               "                           {{.ID}}, {{.Status}} or {{.Labels.NAME}}\n"
                               "\n"
                               "Fields are Namespace, ID, Status, Pid, Path, Bundle, ControlGroup, CreatedAt,\n"
                               "ExitStatus, ExitedAt, Labels, OOMKills, Runtime, StartedAt, Stdin, Stdout,\n"
                               "Stderr and Terminal.\n");

enum {
        OPTION_NO_LEGEND = OPTION_LONG_ONLY,
        OPTION_STATE,
        OPTION_LABEL,
        OPTION_FORMAT,
};

static const char *const states[] = { "created", "running", "pausing", "paused", "stopped" };

typedef struct ListOptions {
        bool all;
        bool quiet;
        bool no_legend;
        bool states[ELEMENTSOF(states)];
        bool some_states;
        char **labels; /* "NAME" or "NAME=VALUE", behind "Labels." */
        const char *format;
        bool details; /* are needed */
} ListOptions;

/* -- which -- */

static bool item_has_label(const ListItem *item, const char *label) {
        size_t n = strcspn(label, "=");

        for (size_t i = 0; item->details && item->details[i]; i += 2) {
                const char *name = item->details[i];

                if (strncmp(name, label, n) == 0 && !name[n] &&
                    (!label[n] || streq(item->details[i + 1], label + n + 1)))
                        return true;
        }
        return false;
}

static bool item_is_wanted(const ListItem *item, const ListOptions *o) {
        bool wanted = !o->some_states;

        for (size_t i = 0; i < ELEMENTSOF(states); i++)
                wanted |= o->states[i] && streq(item->status, states[i]);
        for (size_t i = 0; o->labels && o->labels[i]; i++)
                wanted &= item_has_label(item, o->labels[i]);
        return wanted;
}

static void list_filter(ContainerList *list, const ListOptions *o) {
        size_t n = 0;

        for (size_t i = 0; i < list->n_items; i++)
                if (item_is_wanted(list->items + i, o))
                        list->items[n++] = list->items[i];
                else
                        strv_free(list->items[i].details);
        list->n_items = n;
}

static int list_get(ContainerList *list, const Settings *s, const ListOptions *o) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_(client_freep) Client *c = NULL;
        int r;

        r = client_new(s, &c);
        if (r < 0)
                return r;
        r = container_list_read(list, c, o->all ? NULL : s->ns, o->details, &error);
        if (r < 0)
                return report_call(r, &error, _("Cannot list the containers"));
        list_filter(list, o);
        return 0;
}

/* -- how -- */

static int list_print_json(const ContainerList *list, const Settings *s) {
        _cleanup_(json_writer_freep) JsonWriter *w = output_json_new(s);

        if (!w)
                return -ENOMEM;

        json_open_array(w);
        for (size_t i = 0; i < list->n_items; i++) {
                const ListItem *item = list->items + i;

                json_open_object(w);
                json_put_string(w, "namespace", item->ns);
                json_put_string(w, "id", item->id);
                json_put_string(w, "status", item->status);
                json_put_uint64(w, "pid", item->pid);
                json_put_string(w, "path", item->path);
                json_close_object(w);
        }
        json_close_array(w);
        return output_json(w);
}

/* Green goes on, yellow waits for somebody, grey is over. */
static const char *status_paint(const char *status) {
        if (streq(status, "running"))
                return "32";
        if (streq(status, "pausing") || streq(status, "paused"))
                return "33";
        return streq(status, "stopped") ? "90" : NULL;
}

static int list_print_table(const ContainerList *list, bool legend) {
        const char *const header[] = { _("NAMESPACE"), _("ID"), _("STATUS"), _("PID") };
        _cleanup_(table_freep) Table *t = table_new(header, ELEMENTSOF(header));
        int r;

        if (!t)
                return report_errno(ENOMEM, _("Cannot list the containers"));
        table_align_right(t, 3);
        if (output_has_colours())
                table_set_paint(t, 2, status_paint);

        for (size_t i = 0; i < list->n_items; i++) {
                const ListItem *item = list->items + i;
                char pid[16] = "-";

                if (item->pid > 0)
                        snprintf(pid, sizeof(pid), "%u", item->pid);
                r = table_add_row(t, (const char *const[]) { item->ns, item->id, item->status, pid });
                if (r < 0)
                        return report_errno(r, _("Cannot list the containers"));
        }

        r = table_print(t, stdout, legend, output_width());
        return r < 0 ? report_errno(r, _("Cannot list the containers")) : 0;
}

static void list_print_ids(const ContainerList *list, bool with_namespace) {
        for (size_t i = 0; i < list->n_items; i++)
                printf("%s%s%s\n", with_namespace ? list->items[i].ns : "", with_namespace ? "/" : "",
                       list->items[i].id);
}

/* Text is shown as a line each, whatever it holds: a label is somebody else's. */
static int item_print_field(const ListItem *item, const TemplatePart *part) {
        _cleanup_(freep) char *name = strndup(part->text, part->size), *line = NULL;
        char buffer[16];

        if (!name)
                return -ENOMEM;
        line = strdup(strempty(list_item_get(item, name, buffer)));
        if (!line)
                return -ENOMEM;
        format_make_line(line);
        fputs(line, stdout);
        return 0;
}

static int list_print_format(const ContainerList *list, const char *format) {
        for (size_t i = 0; i < list->n_items; i++) {
                const char *p = format;
                TemplatePart part;
                int r = 0;

                while (r >= 0 && template_next(&p, &part) > 0)
                        if (part.is_field)
                                r = item_print_field(list->items + i, &part);
                        else
                                fwrite(part.text, 1, part.size, stdout);
                if (r < 0)
                        return report_errno(r, _("Cannot list the containers"));
                putchar('\n');
        }
        return 0;
}

/* -- options -- */

static int take_states(ListOptions *o, const char *verb) {
        _cleanup_(freep) char *copy = strdup(optarg);
        char *rest = copy;

        if (!copy) {
                report_errno(ENOMEM, _("Cannot keep the options"));
                return VERB_FAILED;
        }
        for (char *state; (state = strsep(&rest, ","));) {
                size_t i = 0;

                while (i < ELEMENTSOF(states) && !streq(state, states[i]))
                        i++;
                if (i == ELEMENTSOF(states))
                        return settings_usage_error(
                                verb, _("--state= takes created, running, pausing, paused or stopped, not \"%s\"."),
                                state);
                o->states[i] = o->some_states = true;
        }
        return 0;
}

static int take_label(ListOptions *o, const char *verb) {
        if (optarg[0] == '=' || isempty(optarg))
                return settings_usage_error(verb, _("--label= takes NAME or NAME=VALUE, not \"%s\"."), optarg);
        if (strv_extendf(&o->labels, "Labels.%s", optarg) < 0) {
                report_errno(ENOMEM, _("Cannot keep the options"));
                return VERB_FAILED;
        }
        o->details = true;
        return 0;
}

static int take_format(ListOptions *o, const char *verb) {
        const char *p = optarg;
        TemplatePart part;
        int r;

        while ((r = template_next(&p, &part)) > 0) {
                _cleanup_(freep) char *name = part.is_field ? strndup(part.text, part.size) : NULL;

                if (!name || list_field_is_plain(name))
                        continue;
                if (!list_field_is_detail(name))
                        return settings_usage_error(verb, _("--format= knows no field \"%s\"."), name);
                o->details = true;
        }
        if (r < 0)
                return settings_usage_error(verb, _("--format= takes text with fields such as {{.ID}}, not \"%s\"."),
                                            p);
        o->format = optarg;
        return 0;
}

static int list_take(void *userdata, const char *verb, int c) {
        ListOptions *o = userdata;

        switch (c) {
        case 'A':
                o->all = true;
                return 0;
        case 'q':
                o->quiet = true;
                return 0;
        case OPTION_NO_LEGEND:
                o->no_legend = true;
                return 0;
        case OPTION_STATE:
                return take_states(o, verb);
        case OPTION_LABEL:
                return take_label(o, verb);
        default:
                return take_format(o, verb);
        }
}

static int list_print(const ContainerList *list, const Settings *s, const ListOptions *o) {
        if (s->output != OUTPUT_TEXT)
                return list_print_json(list, s);
        if (o->format)
                return list_print_format(list, o->format);
        if (!o->quiet)
                return list_print_table(list, !o->no_legend);
        list_print_ids(list, o->all);
        return 0;
}

int verb_list(int argc, char *argv[], Settings *s) {
        static const struct option options[] = {
                COMMON_LONG_OPTIONS,
                { "all-namespaces", no_argument, NULL, 'A' },
                { "quiet", no_argument, NULL, 'q' },
                { "no-legend", no_argument, NULL, OPTION_NO_LEGEND },
                { "state", required_argument, NULL, OPTION_STATE },
                { "label", required_argument, NULL, OPTION_LABEL },
                { "format", required_argument, NULL, OPTION_FORMAT },
                {},
        };
        const VerbSyntax syntax = {
                .letters = COMMON_SHORT_OPTIONS "Aq",
                .options = options,
                .usage = _(usage),
                .take = list_take,
        };
        _cleanup_(container_list_done) ContainerList list = {};
        ListOptions o = {};
        int r;

        r = verb_parse(argc, argv, s, &syntax, &o);
        if (r >= 0 && o.format && (o.quiet || s->output != OUTPUT_TEXT))
                r = settings_usage_error(argv[0], _("--format=, --quiet and --json= exclude each other."));
        if (r >= 0)
                r = list_get(&list, s, &o) < 0 ? VERB_FAILED : 0;
        if (r >= 0)
                r = list_print(&list, s, &o) < 0 ? VERB_FAILED : 0;
        strv_free(o.labels);
        return r;
}
