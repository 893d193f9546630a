/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* monoshim list. */

#include "ctl/client.h"
#include "ctl/i18n.h"
#include "ctl/output.h"
#include "ctl/report.h"
#include "ctl/table.h"
#include "ctl/verb.h"

#include <stdio.h>

static const char usage[] = N_("Usage: monoshim list [OPTION...]\n"
                               "\n"
                               "List containers.\n"
                               "\n"
                               "  -A, --all-namespaces     Of every namespace, not only of that chosen with -n\n"
                               "  -q, --quiet              Ids only (with -A: NAMESPACE/ID)\n"
                               "      --no-legend          Without the line with the names of the columns\n");

enum {
        OPTION_NO_LEGEND = OPTION_LONG_ONLY,
};

/* Strings belong to the reply. */
typedef struct ListItem {
        const char *ns, *id, *status, *path;
        uint32_t pid;
} ListItem;

typedef struct List {
        sd_bus_message *reply;
        ListItem *items;
        size_t n_items;
        size_t n_allocated;
} List;

typedef struct ListOptions {
        bool all;
        bool quiet;
        bool no_legend;
} ListOptions;

static void list_done(List *list) {
        free(list->items);
        sd_bus_message_unref(list->reply);
}

static int list_add(List *list, const ListItem *item) {
        size_t n = list->n_allocated ? list->n_allocated * 2 : 64;
        ListItem *items;

        if (list->n_items == list->n_allocated) {
                items = reallocarray(list->items, n, sizeof(*items));
                if (!items)
                        return -ENOMEM;
                list->items = items;
                list->n_allocated = n;
        }
        list->items[list->n_items++] = *item;
        return 0;
}

static int list_item_compare(const void *a, const void *b) {
        const ListItem *x = a, *y = b;
        int r = strcmp(x->ns, y->ns);

        return r != 0 ? r : strcmp(x->id, y->id);
}

/* 'ns' is NULL for all. */
static int list_read(List *list, const char *ns) {
        ListItem item;
        int r;

        r = sd_bus_message_enter_container(list->reply, 'a', "(sssuo)");
        if (r < 0)
                return r;

        while ((r = sd_bus_message_read(list->reply, "(sssuo)", &item.ns, &item.id, &item.status, &item.pid,
                                        &item.path)) > 0) {
                if (ns && !streq(item.ns, ns))
                        continue;
                r = list_add(list, &item);
                if (r < 0)
                        return r;
        }
        if (r < 0)
                return r;

        if (list->n_items > 0)
                qsort(list->items, list->n_items, sizeof(list->items[0]), list_item_compare);
        return sd_bus_message_exit_container(list->reply);
}

static int list_get(List *list, const Settings *s, const char *ns) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_(client_freep) Client *c = NULL;
        int r;

        r = client_new(s, &c);
        if (r < 0)
                return r;
        r = client_call(c, MONOSHIM_PATH, MONOSHIM_MANAGER, "ListContainers", CLIENT_DEFAULT_TIMEOUT, &error,
                        &list->reply, NULL);
        if (r >= 0)
                r = list_read(list, ns);
        if (r < 0)
                return report_call(r, &error, _("Cannot list the containers"));
        return 0;
}

static int list_print_json(const List *list, const Settings *s) {
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

static int list_print_table(const List *list, bool legend) {
        const char *const header[] = { _("NAMESPACE"), _("ID"), _("STATUS"), _("PID") };
        _cleanup_(table_freep) Table *t = table_new(header, ELEMENTSOF(header));
        int r;

        if (!t)
                return report_errno(ENOMEM, _("Cannot list the containers"));
        table_align_right(t, 3);

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

static void list_print_ids(const List *list, bool with_namespace) {
        for (size_t i = 0; i < list->n_items; i++)
                printf("%s%s%s\n", with_namespace ? list->items[i].ns : "", with_namespace ? "/" : "",
                       list->items[i].id);
}

static int list_parse(int argc, char *argv[], Settings *s, ListOptions *o) {
        static const struct option options[] = {
                COMMON_LONG_OPTIONS,
                { "all-namespaces", no_argument, NULL, 'A' },
                { "quiet", no_argument, NULL, 'q' },
                { "no-legend", no_argument, NULL, OPTION_NO_LEGEND },
                {},
        };
        int c;

        while ((c = settings_getopt(s, argc, argv, COMMON_SHORT_OPTIONS "Aq", options, _(usage))) > 0)
                switch (c) {
                case 'A':
                        o->all = true;
                        break;
                case 'q':
                        o->quiet = true;
                        break;
                case OPTION_NO_LEGEND:
                        o->no_legend = true;
                        break;
                }
        if (c < 0)
                return c;
        return settings_check_arguments(argc, argv, 0, 0);
}

int verb_list(int argc, char *argv[], Settings *s) {
        _cleanup_(list_done) List list = {};
        ListOptions o = {};
        int r;

        r = list_parse(argc, argv, s, &o);
        if (r < 0)
                return r;
        r = list_get(&list, s, o.all ? NULL : s->ns);
        if (r < 0)
                return VERB_FAILED;

        if (s->output != OUTPUT_TEXT)
                r = list_print_json(&list, s);
        else if (o.quiet)
                list_print_ids(&list, o.all);
        else
                r = list_print_table(&list, !o.no_legend);
        return r < 0 ? VERB_FAILED : 0;
}
