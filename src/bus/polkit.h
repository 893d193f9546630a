/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Asking polkit, which decides by what the administrator has laid down, and may ask somebody for a password first.
 *
 * Nothing is remembered here: polkit itself remembers for a while, where an action says so (auth_admin_keep). */

#include "util/macro.h"

#include <sys/types.h>
#include <systemd/sd-bus.h>

typedef enum PolkitAnswer {
        POLKIT_AUTHORIZED,
        POLKIT_CHALLENGE, /* only with a password, and nobody has been asked for one */
        POLKIT_DISMISSED, /* somebody has been asked for one, and did not want to */
        POLKIT_DENIED,
        POLKIT_ABSENT, /* there is no polkit on the bus */
        POLKIT_FAILED, /* it did not answer, or with an error */
} PolkitAnswer;

/* Who wants to: the owner of a unique name on the bus; or, where 'bus_name' is NULL, a process. */
typedef struct PolkitSubject {
        const char *bus_name;
        pid_t pid;
        uint64_t start_time; /* clock ticks since boot: the pid alone may be another's by now */
        uid_t uid;
} PolkitSubject;

typedef struct PolkitQuestion PolkitQuestion;

/* Called once, from the loop, never from within polkit_ask(); it may free the question. 'reason' says more of
 * POLKIT_FAILED, and is NULL else. */
typedef void (*PolkitDone)(void *userdata, PolkitAnswer answer, const char *reason);

/* Asks whether 'subject' may do 'action'. 'details' are pairs of strings, which rules can look at; 'interactive'
 * allows to ask for a password, which may take minutes. Everything is copied; 'bus' gets a reference. -errno. */
int polkit_ask(PolkitQuestion **ret, sd_bus *bus, const PolkitSubject *subject, const char *action,
               char *const *details, bool interactive, PolkitDone done, void *userdata);

/* If the answer has not come yet, polkit is told that nobody waits for it any more. */
PolkitQuestion *polkit_question_free(PolkitQuestion *q);
