/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What somebody may have meant who named a container that does not exist. */

#include "ctl/container-list.h"
#include "ctl/container-ref.h"

/* Which of these he may have meant: one of that id in another namespace, one whose id is a slip away, or the only one
 * whose id begins so. NULL for none, or if there is the one that he named. */
const ListItem *suggest_item(const ContainerList *list, const ContainerRef *ref);

/* report_call(); where a container was not found, with a word about what may have been meant. Asks monoshimd for that. */
int suggest_report(Client *c, const ContainerRef *ref, int r, const sd_bus_error *error, const char *format, ...)
        _printf_(5, 6);
