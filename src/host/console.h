/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The console socket: how the runtime hands us the master of a container's pseudo-terminal.
 *
 * The runtime connects and sends the terminal's name with the master as its one descriptor, before it ends
 * successfully; so the master is there, without waiting, when the runtime's exit has been seen. */

#include "util/macro.h"

typedef struct Console {
        int fd;     /* listening */
        int dir_fd; /* of a folder of ours, only we can enter; a duplicate */
        char name[32];
        char path[64]; /* for --console-socket: by way of /proc/PID/fd, since a socket's path has 107 bytes at most */
} Console;

#define CONSOLE_INIT ((Console) { .fd = -EBADF, .dir_fd = -EBADF })

/* Makes a socket with a name of its own in the folder. -errno. */
int console_open(Console *ret, int dir_fd);

/* After the runtime has ended successfully: the master, CLOEXEC, which the caller closes. -ENODATA when none was
 * sent, -EPROTO when what was sent is not exactly one descriptor with a name of 1 to 4095 bytes, -ENOTTY when it is
 * no master of a terminal. Of several connections the first good one counts. Never waits. */
int console_receive(Console *c);

/* Closes and removes the socket; back to CONSOLE_INIT. */
void console_done(Console *c);

/* TIOCSWINSZ. */
int console_resize(int master, uint16_t columns, uint16_t rows);
