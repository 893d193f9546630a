/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The terminal that we were called from: its size, and its modes, which it gets back whatever happens. */

#include "util/macro.h"

/* The size of the terminal that stdin, stdout or stderr is, the first that is one and knows. false if none does. */
bool tty_get_size(uint16_t *ret_columns, uint16_t *ret_rows);

/* Whether we may change its modes: false if it controls us and another job is in the foreground. */
bool tty_is_ours(int fd);

/* Lets every key through as it is. The modes it had come back with tty_restore(), which is also called at exit() and
 * when we crash; once more with tty_make_raw() after that. There is one such terminal. -errno. */
int tty_make_raw(int fd);
void tty_restore(void);
