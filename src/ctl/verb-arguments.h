/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* How nearly every verb begins: options, ids, the connection. */

#include "ctl/client.h"
#include "ctl/container-ref.h"

typedef struct VerbSyntax {
        const char *letters;
        const struct option *options;
        const char *usage; /* translated */

        /* Takes an option with optarg. 0 or a VERB_ value. NULL where there are only the common ones. */
        int (*take)(void *userdata, const char *verb, int c);

        /* Asked at each argument, where a command may begin: whether it does. No word from there on is an option of
         * ours. NULL where there are no commands; else the letters begin with '-'. */
        bool (*begins_command)(void *userdata);

        int min, max; /* arguments */
        int n_ids;    /* the first of them are ids; 0: all */
} VerbSyntax;

/* The options, and the number of arguments, which stand behind the options then. 0 or a VERB_ value. */
int verb_parse(int argc, char *argv[], Settings *s, const VerbSyntax *syntax, void *userdata);

/* The ids, and the connection. */
int verb_connect(int argc, char *argv[], Settings *s, const VerbSyntax *syntax, ContainerRefs *refs,
                 Client **ret_client);

/* All of it. Ids that are none have been reported, and are an error when no good one is left (see refs->bad). */
int verb_begin(int argc, char *argv[], Settings *s, const VerbSyntax *syntax, void *userdata, ContainerRefs *refs,
               Client **ret_client);

extern const struct option common_options[];
