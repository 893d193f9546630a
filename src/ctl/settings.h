/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the user asked of every verb alike: namespace, form of the output, address; and the parsing of options,
 * which all verbs share. */

#include "util/macro.h"

#include <getopt.h>

typedef enum OutputMode {
        OUTPUT_TEXT,
        OUTPUT_JSON_SHORT,
        OUTPUT_JSON_PRETTY,
} OutputMode;

typedef struct Settings {
        const char *ns;
        const char *address;    /* NULL: the socket of monoshimd if it is there, else the system bus */
        const char *verb;       /* NULL while it is looked for */
        OutputMode output;
        bool no_ask_password;   /* polkit is to ask nobody for a password on our behalf */
        bool closed[3];         /* standard streams that were not open when we were started */
} Settings;

/* What a verb may return besides the exit status (>= 0) of the whole command. */
enum {
        VERB_FAILED = -1,       /* has been reported on stderr */
        VERB_USAGE = -2,        /* likewise; the command line was wrong */
        VERB_DONE = -3,         /* help or the version was asked for, and printed */
};

/* Option letters of verbs that have no short form start here. */
#define OPTION_LONG_ONLY 0x200

#define COMMON_SHORT_OPTIONS "hn:"
#define COMMON_LONG_OPTIONS                                              \
        { "help", no_argument, NULL, 'h' },                              \
        { "namespace", required_argument, NULL, 'n' },                   \
        { "version", no_argument, NULL, OPTION_VERSION },                \
        { "json", required_argument, NULL, OPTION_JSON },                \
        { "address", required_argument, NULL, OPTION_ADDRESS },          \
        { "no-ask-password", no_argument, NULL, OPTION_NO_ASK_PASSWORD }

enum {
        OPTION_VERSION = 0x100,
        OPTION_JSON,
        OPTION_ADDRESS,
        OPTION_NO_ASK_PASSWORD,
};

/* The defaults, from the environment (MONOSHIM_NAMESPACE, MONOSHIM_ADDRESS). Strings are borrowed. */
void settings_init(Settings *s);

/* getopt_long() that deals with the common options itself. Returns an option of the verb (> 0), 0 at the end of
 * the options, or VERB_USAGE or VERB_DONE, which the verb is to return. 'usage' is what --help prints. */
int settings_getopt(Settings *s, int argc, char *argv[], const char *short_options, const struct option *long_options,
                    const char *usage);

/* Checks the number of arguments behind the options, the first of which is an id. 0 or VERB_USAGE. */
int settings_check_arguments(int argc, char *argv[], int min, int max);

/* Says what is wrong with the command line, and where to read on. Returns VERB_USAGE. */
int settings_usage_error(const char *verb, const char *format, ...) _printf_(2, 3);
