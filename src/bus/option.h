/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Options dictionaries, a{sv}: each method that has one has a table of what may stand in it. */

#include "core/failure.h"

#include <systemd/sd-bus.h>

typedef struct BusOption BusOption;

/* Reads the variant's contents into the member of 'target' that the option names: -errno of sd-bus, or *failure set.
 */
typedef int (*BusOptionRead)(sd_bus_message *m, const BusOption *option, void *target, Failure *failure);

struct BusOption {
        const char *name;      /* NULL ends a table */
        const char *signature; /* of the variant; NULL: several, read() looks itself */
        BusOptionRead read;
        size_t offset;
};

/* Reads the whole dictionary. An unknown key and a variant of another type are FAILURE_INVALID_ARGUMENT, naming the
 * key. Strings stay the message's, unless the reader says otherwise. */
int bus_options_read(sd_bus_message *m, const BusOption *table, void *target, Failure *failure);

static inline void *bus_option_member(const BusOption *option, void *target) {
        return (char *) target + option->offset;
}

int bus_option_bool(sd_bus_message *m, const BusOption *option, void *target, Failure *failure);   /* bool */
int bus_option_string(sd_bus_message *m, const BusOption *option, void *target, Failure *failure); /* const char * */
/* An absolute path; empty leaves the member as it is. const char *, or char *, a copy that is the target's. */
int bus_option_path(sd_bus_message *m, const BusOption *option, void *target, Failure *failure);
int bus_option_path_copy(sd_bus_message *m, const BusOption *option, void *target, Failure *failure);
int bus_option_id(sd_bus_message *m, const BusOption *option, void *target, Failure *failure);   /* uid_t, gid_t */
int bus_option_strv(sd_bus_message *m, const BusOption *option, void *target, Failure *failure); /* char **, a copy */
int bus_option_stream(sd_bus_message *m, const BusOption *option, void *target, Failure *failure); /* StreamRequest */
int bus_option_size(sd_bus_message *m, const BusOption *option, void *target, Failure *failure); /* uint16_t twice */
int bus_option_unsupported_path(sd_bus_message *m, const BusOption *option, void *target, Failure *failure);
