/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The containers that there are. */

#include "ctl/container-list.h"

#include "ctl/format.h"
#include "ctl/value.h"
#include "util/strv.h"
#include "util/text.h"

#include <stdio.h>

#define LABELS "Labels"

void container_list_done(ContainerList *list) {
        for (size_t i = 0; i < list->n_items; i++)
                strv_free(list->items[i].details);
        list->items = mfree(list->items);
        list->reply = sd_bus_message_unref(list->reply);
        list->n_items = list->n_allocated = 0;
}

static int list_add(ContainerList *list, const ListItem *item) {
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

/* -- the answer of ListContainers -- */

static int plain_read(ContainerList *list, const char *ns) {
        ListItem item = {};
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
        return r;
}

/* -- the answer of GetManagedObjects -- */

static int labels_read(sd_bus_message *m, ListItem *item) {
        _cleanup_(freep) char *all = NULL;
        const char *name, *value;
        int r;

        r = sd_bus_message_enter_container(m, 'v', "a{ss}");
        if (r >= 0)
                r = sd_bus_message_enter_container(m, 'a', "{ss}");
        while (r >= 0 && (r = sd_bus_message_read(m, "{ss}", &name, &value)) > 0) {
                char *longer = strdup_printf("%s%s%s=%s", strempty(all), all ? "," : "", name, value);

                if (!longer)
                        return -ENOMEM;
                free(all);
                all = longer;
                r = strv_extendf(&item->details, LABELS ".%s", name);
                if (r >= 0)
                        r = strv_extend(&item->details, value);
        }
        if (r >= 0 && all)
                r = strv_extend_all(&item->details, LABELS, all);
        if (r >= 0)
                r = sd_bus_message_exit_container(m);
        if (r >= 0)
                r = sd_bus_message_exit_container(m);
        return r;
}

static bool name_is_time(const char *name) {
        size_t n = strlen(name);

        return n > 2 && streq(name + n - 2, "At");
}

static int detail_read(sd_bus_message *m, ListItem *item, const char *name) {
        _cleanup_(freep) char *text = NULL;
        uint64_t usec;
        int r;

        if (name_is_time(name)) {
                r = sd_bus_message_read(m, "v", "t", &usec);
                if (r < 0)
                        return r;
                text = format_time(usec);
                if (!text)
                        return -ENOMEM;
        } else {
                r = value_read_text(m, false, &text);
                if (r < 0)
                        return r;
        }
        return strv_extend_all(&item->details, name, text);
}

static int property_read(sd_bus_message *m, ListItem *item) {
        const char *name;
        int r;

        r = sd_bus_message_read(m, "s", &name);
        if (r < 0)
                return r;
        if (streq(name, "Namespace"))
                return sd_bus_message_read(m, "v", "s", &item->ns);
        if (streq(name, "Id"))
                return sd_bus_message_read(m, "v", "s", &item->id);
        if (streq(name, "Status"))
                return sd_bus_message_read(m, "v", "s", &item->status);
        if (streq(name, "Pid"))
                return sd_bus_message_read(m, "v", "u", &item->pid);
        if (streq(name, LABELS))
                return labels_read(m, item);
        return list_field_is_detail(name) ? detail_read(m, item, name) : sd_bus_message_skip(m, "v");
}

static int properties_read(sd_bus_message *m, ListItem *item) {
        int r;

        r = sd_bus_message_enter_container(m, 'a', "{sv}");
        while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
                r = property_read(m, item);
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
        }
        return r < 0 ? r : sd_bus_message_exit_container(m);
}

static int interfaces_read(sd_bus_message *m, ListItem *item) {
        const char *interface;
        int r;

        r = sd_bus_message_enter_container(m, 'a', "{sa{sv}}");
        while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sa{sv}")) > 0) {
                r = sd_bus_message_read(m, "s", &interface);
                if (r >= 0 && (streq(interface, MONOSHIM_CONTAINER) || streq(interface, MONOSHIM_PROCESS)))
                        r = properties_read(m, item);
                else if (r >= 0)
                        r = sd_bus_message_skip(m, "a{sv}");
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
        }
        return r < 0 ? r : sd_bus_message_exit_container(m);
}

/* Executed processes are objects, too, and have no namespace. */
static int details_read(ContainerList *list, const char *ns) {
        int r;

        r = sd_bus_message_enter_container(list->reply, 'a', "{oa{sa{sv}}}");
        while (r >= 0 && (r = sd_bus_message_enter_container(list->reply, 'e', "oa{sa{sv}}")) > 0) {
                ListItem item = {};

                r = sd_bus_message_read(list->reply, "o", &item.path);
                if (r >= 0)
                        r = interfaces_read(list->reply, &item);
                if (r >= 0)
                        r = sd_bus_message_exit_container(list->reply);
                if (r >= 0 && item.ns && item.id && item.status && (!ns || streq(item.ns, ns))) {
                        r = list_add(list, &item);
                        if (r >= 0)
                                continue;
                }
                strv_free(item.details);
        }
        return r;
}

int container_list_read(ContainerList *list, Client *c, const char *ns, bool details, sd_bus_error *reterr) {
        int r;

        if (details) {
                r = client_call(c, MONOSHIM_PATH, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects",
                                CLIENT_DEFAULT_TIMEOUT, reterr, &list->reply, NULL);
                if (r >= 0)
                        r = details_read(list, ns);
        } else {
                r = client_call(c, MONOSHIM_PATH, MONOSHIM_MANAGER, "ListContainers", CLIENT_DEFAULT_TIMEOUT, reterr,
                                &list->reply, NULL);
                if (r >= 0)
                        r = plain_read(list, ns);
        }
        if (r < 0)
                return r;

        if (list->n_items > 0)
                qsort(list->items, list->n_items, sizeof(list->items[0]), list_item_compare);
        return 0;
}

/* -- fields -- */

static bool name_is_among(const char *name, const char *const names[], size_t n) {
        for (size_t i = 0; i < n; i++)
                if (streq(name, names[i]))
                        return true;
        return false;
}

bool list_field_is_plain(const char *name) {
        static const char *const names[] = { "ID", "Id", "Namespace", "Status", "Pid", "Path" };

        return name_is_among(name, names, ELEMENTSOF(names));
}

bool list_field_is_detail(const char *name) {
        static const char *const names[] = {
                "Bundle",  "ControlGroup", "CreatedAt", "ExitStatus", "ExitedAt", LABELS,     "OOMKills",
                "Runtime", "StartedAt",    "Stderr",    "Stdin",      "Stdout",   "Terminal",
        };

        return name_is_among(name, names, ELEMENTSOF(names)) ||
               (strncmp(name, LABELS ".", strlen(LABELS ".")) == 0 && name[strlen(LABELS ".")]);
}

const char *list_item_get(const ListItem *item, const char *name, char buffer[static 16]) {
        if (streq(name, "ID") || streq(name, "Id"))
                return item->id;
        if (streq(name, "Namespace"))
                return item->ns;
        if (streq(name, "Status"))
                return item->status;
        if (streq(name, "Path"))
                return item->path;
        if (streq(name, "Pid")) {
                snprintf(buffer, 16, "%u", item->pid);
                return buffer;
        }

        for (size_t i = 0; item->details && item->details[i]; i += 2)
                if (streq(item->details[i], name))
                        return item->details[i + 1];
        return NULL;
}
