/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Answers that grow with the number of containers: ListContainers and GetManagedObjects. With very many of them one
 * is made in several turns of the loop, so that nobody else waits for it; but what it says is of one moment all the
 * same, namely of the one at which it is sent: before anything is told of any container, what has been begun is
 * ended. */

#include "bus/connection.h"

/* Answers the call with an array of what append() makes of each container that others see. 'element' is the type of
 * what the array has, and lives for ever; 'turn' is how many containers are done at once. Returns what a method
 * handler returns. */
typedef int (*ListingAppend)(sd_bus_message *reply, const Container *c);
int listing_answer(Connection *c, sd_bus_message *call, const char *element, unsigned turn, ListingAppend append,
                   sd_bus_error *ret_error);

/* Ends those that have been begun: to be called before anything changes in clients' eyes, and before the end. */
void listings_finish(Front *f);

/* How many have been begun and not ended: for one connection, or for all (NULL). */
unsigned listings_count(const Front *f, const Connection *c);

/* sd_bus_message_handler_t, for BUS_PATH: org.freedesktop.DBus.ObjectManager. sd-bus would look each object up for
 * each of its interfaces, and make the whole answer at once. */
int listing_on_get_managed_objects(sd_bus_message *m, void *userdata, sd_bus_error *ret_error);
