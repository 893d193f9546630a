/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Moves bytes from one descriptor to another, in the loop: for terminals and relays, where the container cannot be
 * given the client's own FIFO or file.
 *
 * A pump never waits, moves a bounded number of bytes in one turn, so that a thousand of them are served alike, and
 * keeps at most PUMP_BUFFER_SIZE bytes (none while nothing is stuck): a reader that does not read makes the writer
 * wait, and nobody else. Writing that fails (a full disk, a reader for ever gone) is told once; what still comes is
 * then read and thrown away, since a process must not be held up or killed by the death of its reader. */

#include "util/macro.h"

#include <systemd/sd-event.h>

#define PUMP_TURN_SIZE (64U * 1024U) /* at most, and before pump_set_turn_size() */
#define PUMP_BUFFER_SIZE (64U * 1024U)

typedef struct Pump Pump;

/* How much each pump moves in one turn, from now on; from 1 to PUMP_TURN_SIZE. */
void pump_set_turn_size(size_t size);

typedef enum PumpFlags {
        /* 'from' is the master of a pseudo-terminal: EIO and hang-up mean that nobody has the other side open just
         * now, which is not the end before pump_finish(); until somebody opens it again that costs no wake-ups. */
        PUMP_FROM_TERMINAL = 1 << 0,
        /* 'to' is the master of a pseudo-terminal: at the end of the input it is sent its end-of-file character
         * (twice behind an unfinished line, if it reads lines), so that whoever reads the terminal reads end-of-file.
         */
        PUMP_TO_TERMINAL = 1 << 1,
        /* Both are pipes, FIFOs or files, and one is a pipe or FIFO at least: splice(2), without copying. A file
         * opened with O_APPEND cannot be spliced to: then the bytes are copied after all. */
        PUMP_SPLICE = 1 << 2,
} PumpFlags;

/* Called once, from the loop, when the end of the input has been reached and everything has been written. 'error' is
 * 0, or the -errno with which writing or reading failed (told in the log already). May free the pump. */
typedef void (*PumpDone)(void *userdata, int error);

/* Takes 'from' and 'to' over (on success only) and makes both O_NONBLOCK. 'priority' is that of the event sources.
 * The name is for warnings, "stdout of process x", and is copied. */
int pump_new(Pump **ret, sd_event *event, int64_t priority, int from, int to, PumpFlags flags, const char *name,
             PumpDone done, void *userdata);

/* No more input comes (the process has exited): what can be read without waiting is still moved, however slowly it is
 * taken, then done() is called, from the loop. With PUMP_FROM_TERMINAL from now on EIO is the end as well. */
int pump_finish(Pump *pump);

/* Stops at once; what has not been moved is lost. Closes both descriptors. */
Pump *pump_free(Pump *pump);
DEFINE_CLEANUP(Pump *, pump_free);

bool pump_is_done(const Pump *pump); /* done() has been, or is being, called */

void pump_get_fds(const Pump *pump, int *ret_from, int *ret_to); /* they stay the pump's */

/* A memfd (the caller's) of what has been read and not been written, because the other side does not take it;
 * -ENODATA when there is none, -errno. And into a new pump, before its first turn. */
int pump_save_rest(const Pump *pump);
int pump_load_rest(Pump *pump, int fd);

uint64_t pump_n_bytes(const Pump *pump); /* written so far, for tests */
