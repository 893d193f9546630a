/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* D-Bus values of any type, as JSON or as text. */

#include "util/json.h"

#include <systemd/sd-bus.h>

/* Reads one complete value at the message's position and writes it: dictionaries become objects, arrays and
 * structs become arrays, a variant what it holds, a file descriptor its number in the message. Negative errno. */
int value_write_json(sd_bus_message *m, JsonWriter *w);

/* Reads one complete value and makes a line of it: strings as they are ('quote': as JSON strings where they could
 * be mistaken for something else), true and false, numbers, all else as JSON. The caller frees it. */
int value_read_text(sd_bus_message *m, bool quote, char **ret);
