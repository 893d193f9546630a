/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A line on a terminal's stderr that says what takes long. It is written over and over, and has gone before anything
 * else is said; where stderr is no terminal there is none. */

#include "util/macro.h"

/* What takes less is not talked about; and how often the line is written anew. */
#define PROGRESS_INTERVAL_USEC USEC_PER_SEC

bool progress_is_wanted(void);

/* Puts this in place of what the line said. */
void progress_show(const char *format, ...) _printf_(1, 2);

/* Takes the line away, if there is one. */
void progress_erase(void);
