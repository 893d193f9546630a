/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The "process" of an OCI configuration, for a program to be run in a container that is there already. */

#include "util/json.h"

/* What the command line says. What it does not say comes from a process that serves as the model, usually the
 * container's own. Strings of 'env' and 'args' are "NAME=VALUE" and the program's own. */
typedef struct ProcessSpec {
        char *const *args; /* none: the model's */
        char **env;
        const char *cwd;
        bool user; /* then these two hold */
        bool group;
        uint32_t uid, gid; /* 'gid' without 'group': the model's */
        bool terminal;
        const char *term; /* TERM of a terminal, unless 'env' has it */
} ProcessSpec;

/* Adds "NAME=VALUE", or with a NAME alone our own variable if there is one, in place of an older one of that name. 0,
 * -EINVAL without a name, -ENOMEM. */
int process_spec_add_env(char ***env, const char *text);

/* Writes the object. 'model' is an object, or NULL: then the program is root's in "/", with the
 * usual PATH, and has what the runtime gives to the container. A user other than root who is not the model's has no
 * capabilities but those that a set-user-id program can give. -EINVAL where neither has a program,
 * -EILSEQ for words that JSON cannot hold, -ENOMEM. */
int process_spec_put(JsonWriter *w, const ProcessSpec *spec, Json model);

/* The JSON text, which the caller frees. As above. */
int process_spec_write(const ProcessSpec *spec, Json model, char **ret);
