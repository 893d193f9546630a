/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Our interfaces: one file each, holding its vtable and methods. The userdata of Manager is the Connection, of
 * Container and Process the object. */

#include "bus/connection.h"
#include "core/event.h"

extern const sd_bus_vtable manager_vtable[];
extern const sd_bus_vtable container_vtable[];
extern const sd_bus_vtable process_vtable[];

/* The properties of the latter two, up to one without a name: as in the vtable, for who reads all of very many objects. */
typedef struct BusProperty {
        const char *name;
        const char *signature;
        sd_bus_property_get_t get;
} BusProperty;

extern const BusProperty container_properties[];
extern const BusProperty process_properties[];

/* A list of such properties is PROPERTIES(ROW), with ROW(name, signature, get, flags) for each. */
#define BUS_PROPERTY_VTABLE(name, signature, get, flags) SD_BUS_PROPERTY(name, signature, get, 0, flags),
#define BUS_PROPERTY_ROW(name, signature, get, flags) { name, signature, get },

/* The Connection that a message came in by: the methods of Container and Process are given their object as userdata,
 * but their vtable was added with the Connection. */
static inline Connection *connection_of(sd_bus_message *m) {
        return sd_bus_slot_get_userdata(sd_bus_get_current_slot(sd_bus_message_get_bus(m)));
}

/* CreateContainer, in a file of its own: it has the many options. */
int manager_method_create_container(sd_bus_message *m, void *userdata, sd_bus_error *ret_error);

/* One of the Task* signals, and the same event as a{sv}. */
int event_emit_signal(sd_bus *bus, const Event *e);
int event_append_dictionary(sd_bus_message *m, const Event *e);

/* PropertiesChanged for the ProcessChange bits. */
int process_emit_changed(sd_bus *bus, const Process *p, unsigned changes);
int container_emit_oom_kills(sd_bus *bus, const Container *c);
