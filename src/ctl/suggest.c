/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What somebody may have meant who named a container that does not exist. */

#include "ctl/suggest.h"

#include "ctl/i18n.h"
#include "ctl/nearest.h"
#include "ctl/report.h"
#include "util/text.h"

#include <limits.h>
#include <stdarg.h>

/* Fewer letters begin too much. */
#define PREFIX_MIN 3

/* Of a process in a container, the container's. */
static bool id_is_in(const char *id, const char *ref_id) {
        size_t n = strcspn(ref_id, "/");

        return strlen(id) == n && strncmp(id, ref_id, n) == 0;
}

static const ListItem *item_elsewhere(const ContainerList *list, const ContainerRef *ref) {
        for (size_t i = 0; i < list->n_items; i++)
                if (id_is_in(list->items[i].id, ref->id))
                        return list->items + i;
        return NULL;
}

static const ListItem *item_slipped(const ContainerList *list, const ContainerRef *ref, const char *id) {
        const ListItem *found = NULL;
        unsigned least = UINT_MAX;

        for (size_t i = 0; i < list->n_items; i++) {
                const ListItem *item = list->items + i;
                unsigned distance = streq(item->ns, ref->ns) ? nearest_distance(id, item->id) : UINT_MAX;

                if (distance < least && nearest_is_likely(id, item->id, distance)) {
                        least = distance;
                        found = item;
                }
        }
        return found;
}

static const ListItem *item_begun(const ContainerList *list, const ContainerRef *ref, const char *id) {
        const ListItem *found = NULL;

        for (size_t i = 0; i < list->n_items; i++) {
                const ListItem *item = list->items + i;

                if (!streq(item->ns, ref->ns) || strncmp(item->id, id, strlen(id)) != 0)
                        continue;
                if (found)
                        return NULL;
                found = item;
        }
        return strlen(id) < PREFIX_MIN ? NULL : found;
}

const ListItem *suggest_item(const ContainerList *list, const ContainerRef *ref) {
        _cleanup_(freep) char *id = strndup(ref->id, strcspn(ref->id, "/"));
        const ListItem *item;

        if (!id)
                return NULL;
        for (size_t i = 0; i < list->n_items; i++)
                if (streq(list->items[i].ns, ref->ns) && streq(list->items[i].id, id))
                        return NULL;

        item = item_elsewhere(list, ref);
        if (!item)
                item = item_slipped(list, ref, id);
        return item ? item : item_begun(list, ref, id);
}

/* Nobody is asked for a password for the sake of a hint. */
static int list_read_quietly(Client *c, ContainerList *list) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        int may_ask = sd_bus_get_allow_interactive_authorization(c->bus);
        int r;

        (void) sd_bus_set_allow_interactive_authorization(c->bus, false);
        r = container_list_read(list, c, NULL, false, &error);
        (void) sd_bus_set_allow_interactive_authorization(c->bus, may_ask > 0);
        return r;
}

static char *hint_new(Client *c, const ContainerRef *ref) {
        _cleanup_(container_list_done) ContainerList list = {};
        const ListItem *item;

        if (list_read_quietly(c, &list) < 0)
                return NULL;
        item = suggest_item(&list, ref);
        if (!item)
                return NULL;
        if (!streq(item->ns, c->settings->ns))
                return strdup_printf(_("Did you mean \"%s/%s\"?"), item->ns, item->id);
        return strdup_printf(_("Did you mean \"%s\"?"), item->id);
}

int suggest_report(Client *c, const ContainerRef *ref, int r, const sd_bus_error *error, const char *format, ...) {
        _cleanup_(freep) char *hint = NULL;
        va_list ap;

        if (sd_bus_error_has_name(error, MONOSHIM_ERROR("NotFound")) ||
            sd_bus_error_has_name(error, SD_BUS_ERROR_UNKNOWN_OBJECT))
                hint = hint_new(c, ref);
        va_start(ap, format);
        r = report_callv(r, error, hint, format, ap);
        va_end(ap);
        return r;
}
