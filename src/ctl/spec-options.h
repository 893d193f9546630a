/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The options that describe a program and what it runs in: those of run and create for a container without a bundle,
 * and some of exec. */

#include "ctl/container-ref.h"
#include "ctl/oci-spec.h"

enum {
        OPTION_CWD = OPTION_LONG_ONLY,
        OPTION_ROOTFS,
        OPTION_HOSTNAME,
        OPTION_MOUNT,
        OPTION_READ_ONLY,
        OPTION_MEMORY,
        OPTION_CPUS,
        OPTION_PIDS_LIMIT,
        OPTION_AFTER_SPEC,
};

#define SPEC_SHORT_OPTIONS "e:u:"
#define SPEC_LONG_OPTIONS                                                    \
        { "rootfs", required_argument, NULL, OPTION_ROOTFS },                \
        { "env", required_argument, NULL, 'e' },                             \
        { "cwd", required_argument, NULL, OPTION_CWD },                      \
        { "user", required_argument, NULL, 'u' },                            \
        { "hostname", required_argument, NULL, OPTION_HOSTNAME },            \
        { "mount", required_argument, NULL, OPTION_MOUNT },                  \
        { "read-only", no_argument, NULL, OPTION_READ_ONLY },                \
        { "memory", required_argument, NULL, OPTION_MEMORY },                \
        { "cpus", required_argument, NULL, OPTION_CPUS },                    \
        { "pids-limit", required_argument, NULL, OPTION_PIDS_LIMIT }

typedef struct SpecOptions {
        OciSpec spec;
        const char *rootfs; /* as given; NULL: there is a bundle */
        const char *orphan; /* the name of an option that makes no sense with a bundle */
} SpecOptions;

void spec_options_done(SpecOptions *o);

/* Takes --env=, --cwd= or --user= with optarg. 0 or a VERB_ value. */
int process_option_take(ProcessSpec *spec, const char *verb, int c);

/* Takes any of the above. 1, 0 when 'c' is none of them, or a VERB_ value. */
int spec_options_take(SpecOptions *o, const char *verb, int c);

/* The text of the config.json for this container, which the caller frees. 0 or negative, reported. */
int spec_options_write(SpecOptions *o, const ContainerRef *ref, bool terminal, bool systemd_cgroup, char **ret);
