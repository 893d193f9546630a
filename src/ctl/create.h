/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Creating a container: the options that create and run share, and the call. */

#include "ctl/client.h"
#include "ctl/container-ref.h"

typedef struct CreateOptions {
        const char *bundle;
        const char *runtime;
        const char *runtime_root;
        const char *streams[3]; /* as given: NULL when it was not, "-" for our own descriptor, empty for /dev/null */
        bool own_streams;       /* those not given are our own, as far as we have any */
        bool systemd_cgroup;
        bool no_pivot;
        bool no_new_keyring;
        char **labels;          /* "NAME=VALUE" */
} CreateOptions;

void create_options_done(CreateOptions *o);

/* The options, for getopt_long(). */
enum {
        OPTION_RUNTIME = OPTION_LONG_ONLY,
        OPTION_RUNTIME_ROOT,
        OPTION_SYSTEMD_CGROUP,
        OPTION_NO_PIVOT,
        OPTION_NO_NEW_KEYRING,
        OPTION_LABEL,
        OPTION_STDIN,
        OPTION_STDOUT,
        OPTION_STDERR,
        OPTION_AFTER_CREATE,
};

#define CREATE_SHORT_OPTIONS "b:"
#define CREATE_LONG_OPTIONS                                              \
        { "bundle", required_argument, NULL, 'b' },                      \
        { "runtime", required_argument, NULL, OPTION_RUNTIME },          \
        { "runtime-root", required_argument, NULL, OPTION_RUNTIME_ROOT }, \
        { "systemd-cgroup", no_argument, NULL, OPTION_SYSTEMD_CGROUP },  \
        { "no-pivot", no_argument, NULL, OPTION_NO_PIVOT },              \
        { "no-new-keyring", no_argument, NULL, OPTION_NO_NEW_KEYRING },  \
        { "label", required_argument, NULL, OPTION_LABEL },              \
        { "stdin", required_argument, NULL, OPTION_STDIN },              \
        { "stdout", required_argument, NULL, OPTION_STDOUT },            \
        { "stderr", required_argument, NULL, OPTION_STDERR }

/* Takes option 'c' with optarg. 0, VERB_USAGE or VERB_FAILED. */
int create_options_take(CreateOptions *o, const char *verb, int c);

/* Calls CreateContainer and waits until the container has been created. Negative when it was not, which has been
 * reported. */
int create_container(Client *c, const ContainerRef *ref, const CreateOptions *o, uint32_t *ret_pid);

/* What create and run --detach print: the id, or as JSON all that is known. 0 or negative, reported. */
int create_print(const Settings *s, const ContainerRef *ref, uint32_t pid);
