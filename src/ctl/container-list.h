/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The containers that there are, with what is known of each. */

#include "ctl/client.h"

/* Strings belong to the reply. */
typedef struct ListItem {
        const char *ns, *id, *status, *path;
        uint32_t pid;
        char **details;         /* name, text; "Labels.NAME" and "Labels" for labels; NULL unless asked for */
} ListItem;

typedef struct ContainerList {
        sd_bus_message *reply;
        ListItem *items;        /* by namespace and id */
        size_t n_items;
        size_t n_allocated;
} ContainerList;

/* Those of one namespace, or for NULL all. With 'details', all properties come along, at some cost. 0 or negative,
 * with nothing reported. */
int container_list_read(ContainerList *list, Client *c, const char *ns, bool details, sd_bus_error *reterr);
void container_list_done(ContainerList *list);

/* The fields of an item: those that are always there, and those that are details ("Labels.NAME" included). */
bool list_field_is_plain(const char *name);
bool list_field_is_detail(const char *name);

/* The text, NULL where there is none; in 'buffer' if need be. */
const char *list_item_get(const ListItem *item, const char *name, char buffer[static 16]);
