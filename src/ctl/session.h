/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A process from its start to its end, with us attached to it: its terminal, our signals, its exit status. What run,
 * exec and attach have in common. */

#include "ctl/client.h"
#include "ctl/container-ref.h"
#include "ctl/detach-keys.h"
#include "ctl/terminal.h"
#include "ctl/waiter.h"

#include <signal.h>

typedef struct Session {
        Client *client;
        const ContainerRef *process;
        bool detach;      /* start it, and leave it */
        bool attach;      /* it is not ours: it is neither started nor deleted */
        bool terminal;    /* it has one, which we take */
        bool interactive; /* what is typed goes there */
        DetachKeys keys;
        const char *doing; /* what the start of a detached one is to be called while it takes long; may be NULL */

        /* what becomes of it */
        bool started;  /* read by whoever has something to print then */
        bool left;     /* it goes on without us */
        bool lost;     /* monoshimd has gone; the process may run on */
        bool draining; /* it has ended; what it has left on its terminal is still shown */
        int signal;    /* that took us off, or came before the start */
        sigset_t signals;
        Waiter *waiter;
        Terminal *screen;
} Session;

/* Takes optarg of --detach-keys=. 0 or a VERB_ value. */
int session_take_keys(DetachKeys *keys, const char *verb);

/* Keeps signals back from now on, to be called before anything is created: one that comes before the start means that
 * there is nothing to be run. A second one does not wait for what is being created, and ends us as it would have. */
void session_begin(Session *s);

/* Starts the process, waits for its end, and deletes it, as far as the options go. Returns the exit status: that of
 * the process, 128 plus a signal that ended it for us, 0 when it has been left; or VERB_FAILED, reported. */
int session_run(Session *s);
