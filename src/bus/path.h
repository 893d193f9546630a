/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Object paths of containers and processes. */

#include "bus/connection.h"

/* Of any object's path: three identifiers, each character of which may take three. */
#define PATH_SIZE (sizeof(BUS_CONTAINER_PREFIX "/process") + 3 * (1 + 3 * (size_t) IDENTIFIER_MAX))

/* /org/monoshim1/container/NS/ID, escaped, into the buffer, which is returned. */
const char *container_path_write(const Container *c, char buffer[static PATH_SIZE]);
const char *process_path_write(const Process *p, char buffer[static PATH_SIZE]);

/* The same as a text of its own. The caller frees *ret. -ENOMEM. */
int container_path_encode(const Container *c, char **ret);
int process_path_encode(const Process *p, char **ret);

/* What a path names; NULL when it names nothing. */
Container *container_path_find(Registry *registry, const char *path);
Process *process_path_find(Registry *registry, const char *path);

/* sd_bus_object_find_t for the two interfaces, and sd_bus_node_enumerator_t for both; userdata is the Connection. A
 * path that names nothing makes a call of our own methods fail with NotFound, while Properties and Introspectable
 * answer as sd-bus does. */
int container_object_find(sd_bus *bus, const char *path, const char *interface, void *userdata, void **ret_found,
                          sd_bus_error *ret_error);
int process_object_find(sd_bus *bus, const char *path, const char *interface, void *userdata, void **ret_found,
                        sd_bus_error *ret_error);
int container_node_enumerate(sd_bus *bus, const char *prefix, void *userdata, char ***ret_nodes,
                             sd_bus_error *ret_error);
