/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Object paths of containers and processes. */

#include "bus/path.h"
#include "bus/error.h"
#include "bus/front.h"
#include "util/strv.h"

#define CONTAINER_TEMPLATE BUS_CONTAINER_PREFIX "/%/%"
#define PROCESS_TEMPLATE BUS_CONTAINER_PREFIX "/%/%/process/%"

static bool is_letter(char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* As sd_bus_path_encode() writes it, but where it is to be: a list has very many. An identifier is never empty. */
static char *put_label(char *at, const char *label) {
        static const char digits[] = "0123456789abcdef";

        *at++ = '/';
        for (const char *l = label; *l; l++) {
                if (is_letter(*l) || (l > label && *l >= '0' && *l <= '9')) {
                        *at++ = *l;
                        continue;
                }
                *at++ = '_';
                *at++ = digits[(unsigned char) *l >> 4];
                *at++ = digits[(unsigned char) *l & 15];
        }
        return at;
}

static char *put_container(char *at, const Container *c) {
        return put_label(put_label(stpcpy(at, BUS_CONTAINER_PREFIX), container_get_namespace(c)), c->id);
}

const char *container_path_write(const Container *c, char buffer[static PATH_SIZE]) {
        *put_container(buffer, c) = 0;
        return buffer;
}

const char *process_path_write(const Process *p, char buffer[static PATH_SIZE]) {
        char *at = put_container(buffer, p->container);

        if (!process_is_init(p))
                at = put_label(stpcpy(at, "/process"), p->id);
        *at = 0;
        return buffer;
}

int container_path_encode(const Container *c, char **ret) {
        char path[PATH_SIZE], *copy = strdup(container_path_write(c, path));

        if (!copy)
                return -ENOMEM;
        *ret = copy;
        return 0;
}

int process_path_encode(const Process *p, char **ret) {
        char path[PATH_SIZE], *copy = strdup(process_path_write(p, path));

        if (!copy)
                return -ENOMEM;
        *ret = copy;
        return 0;
}

Container *container_path_find(Registry *registry, const char *path) {
        _cleanup_(freep) char *ns = NULL, *id = NULL;
        char canonical[PATH_SIZE];
        Container *c;

        if (sd_bus_path_decode_many(path, CONTAINER_TEMPLATE, &ns, &id) <= 0)
                return NULL;

        /* One object has one path: not also those that escape what needs no escape, or whose escapes make no valid
         * name. */
        c = registry_find(registry, ns, id);
        if (!c || !streq(container_path_write(c, canonical), path))
                return NULL;

        return c;
}

Process *process_path_find(Registry *registry, const char *path) {
        _cleanup_(freep) char *ns = NULL, *id = NULL, *exec_id = NULL;
        char canonical[PATH_SIZE];
        Container *c = container_path_find(registry, path);
        Process *p;

        if (c)
                return &c->init;
        if (sd_bus_path_decode_many(path, PROCESS_TEMPLATE, &ns, &id, &exec_id) <= 0)
                return NULL;

        c = registry_find(registry, ns, id);
        p = c ? container_find_exec(c, exec_id) : NULL;
        if (!p || !streq(process_path_write(p, canonical), path))
                return NULL;

        return p;
}

/* Is this look-up for a call of one of our own methods, and not for Properties, introspection or our own signals? */
static bool is_method_of(sd_bus *bus, const char *path, const char *interface) {
        sd_bus_message *m = sd_bus_get_current_message(bus);

        return m && sd_bus_message_is_method_call(m, interface, NULL) && streq_ptr(sd_bus_message_get_path(m), path);
}

static int object_found(sd_bus *bus, const char *path, const char *interface, void *object, void **ret_found,
                        sd_bus_error *ret_error) {
        if (object) {
                *ret_found = object;
                return 1;
        }

        if (is_method_of(bus, path, interface))
                return sd_bus_error_setf(ret_error, MONOSHIM_ERROR("NotFound"), "%s names no %s: not found", path,
                                         streq(interface, CONTAINER_INTERFACE) ? "container" : "process");
        return 0;
}

int container_object_find(sd_bus *bus, const char *path, const char *interface, void *userdata, void **ret_found,
                          sd_bus_error *ret_error) {
        Connection *c = userdata;

        return object_found(bus, path, interface, container_path_find(c->front->registry, path), ret_found,
                            ret_error);
}

int process_object_find(sd_bus *bus, const char *path, const char *interface, void *userdata, void **ret_found,
                        sd_bus_error *ret_error) {
        Connection *c = userdata;

        return object_found(bus, path, interface, process_path_find(c->front->registry, path), ret_found, ret_error);
}

/* The paths of a container and its exec'd processes, as far as others see them. */
static int container_enumerate(const Container *c, char **nodes, size_t *n) {
        int r;

        if (c->phase != CONTAINER_LIVE)
                return 0;

        r = container_path_encode(c, &nodes[*n]);
        if (r < 0)
                return r;
        (*n)++;
        CONTAINER_FOREACH_EXEC(p, c) {
                if (!p->published)
                        continue;
                r = process_path_encode(p, &nodes[*n]);
                if (r < 0)
                        return r;
                (*n)++;
        }
        return 0;
}

/* Is the path one of a container, there or not, or below it? Then nothing of any other is below the path. */
static bool path_find_container(Registry *registry, const char *path, Container **ret) {
        static const char *const templates[] = { CONTAINER_TEMPLATE, CONTAINER_TEMPLATE "/process" };
        _cleanup_(freep) char *exec_ns = NULL, *exec_container = NULL, *exec_id = NULL;

        for (size_t i = 0; i < ELEMENTSOF(templates); i++) {
                _cleanup_(freep) char *ns = NULL, *id = NULL;

                if (sd_bus_path_decode_many(path, templates[i], &ns, &id) > 0) {
                        *ret = registry_find(registry, ns, id);
                        return true;
                }
        }

        if (sd_bus_path_decode_many(path, PROCESS_TEMPLATE, &exec_ns, &exec_container, &exec_id) <= 0)
                return false;
        *ret = registry_find(registry, exec_ns, exec_container);
        return true;
}

int container_node_enumerate(sd_bus *bus, const char *prefix, void *userdata, char ***ret_nodes,
                             sd_bus_error *ret_error) {
        Registry *registry = ((Connection *) userdata)->front->registry;
        _cleanup_(strv_freep) char **nodes = NULL;
        Container *only = NULL;
        bool is_one;
        size_t n = 0;
        int r;

        /* What one container is asked for must not take longer the more others there are. */
        is_one = path_find_container(registry, prefix, &only);
        if (only)
                n = 1 + HASH_CNT(by_id, only->execs);
        if (!is_one)
                REGISTRY_FOREACH(c, registry)
                        n += 1 + HASH_CNT(by_id, c->execs);
        nodes = calloc(n + 1, sizeof(*nodes));
        if (!nodes)
                return -ENOMEM;

        n = 0;
        r = only ? container_enumerate(only, nodes, &n) : 0;
        if (r < 0)
                return r;
        if (!is_one)
                REGISTRY_FOREACH(c, registry) {
                        r = container_enumerate(c, nodes, &n);
                        if (r < 0)
                                return r;
                }

        *ret_nodes = TAKE_PTR(nodes);
        return 1;
}
