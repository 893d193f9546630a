/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* monoshimd's command line. */

#include "bus/front.h"
#include "util/macro.h"

typedef struct Options {
        char *const *argv; /* as it was given to us */
        const char *bus;
        const char *listen_path;
        char *state_directory; /* absolute, like all that follow */
        char *root_directory;
        char *runtime_root;
        const char *runtime;
        const char *config_path;
        bool config_is_optional; /* it was not named by the user */
} Options;

void options_done(Options *o);

/* Returns 1 to go on; 0 when --help or --version has been answered; -EINVAL when the command line is wrong and has
 * been complained about. */
int options_parse(Options *o, int argc, char *argv[]);
