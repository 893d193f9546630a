/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What goes to stdout. */

#include "ctl/settings.h"
#include "util/json.h"

/* A writer in the form that was asked for; NULL without memory, which has been reported. */
JsonWriter *output_json_new(const Settings *s);

/* Prints the finished text and a newline. 0, or a negative errno that has been reported. */
int output_json(JsonWriter *w);

/* How wide a table may be: the columns of the terminal that stdout is ($COLUMNS comes first, as for other tools),
 * or 0. */
size_t output_width(void);

/* Whether stdout is a terminal that shows colours, and nobody minds (https://no-color.org). */
bool output_has_colours(void);

/* Flushes stdout and tells whether all has been written. A reader that has gone (EPIPE) is no error to talk about. */
int output_flush(void);
