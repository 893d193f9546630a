/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Signals by name or number. */

#include "util/macro.h"

/* "TERM", "SIGTERM", "sigterm", "15", "RTMIN", "RTMIN+3", "SIGRTMAX-1". Returns the number (1 to SIGRTMAX), or
 * -EINVAL. */
int signal_from_string(const char *s);
