/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Telling the service manager, without ever waiting for it: sd_notify() would, when the manager reads nothing. */

#include "util/macro.h"

bool notify_is_wanted(void); /* there is a manager to be told */

/* Sends one message of "NAME=VALUE" lines, with descriptors, to $NOTIFY_SOCKET. 1; 0 when nobody is to be told; -EAGAIN
 * when the manager does not read just now, -errno. */
int notify_send(const char *text, const int fds[], size_t n_fds);
int notify(const char *format, ...) _printf_(1, 2);
