/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Creating a container: the options that create and run share, and the call. */

#include "ctl/client.h"
#include "ctl/container-ref.h"
#include "ctl/spec-options.h"
#include "ctl/verb-arguments.h"

typedef struct CreateOptions {
        const char *bundle;
        const char *runtime;
        const char *runtime_root;
        const char *streams[3]; /* as given: NULL when it was not, "-" for our own descriptor, empty for /dev/null */
        bool own_streams;       /* those not given are our own, as far as we have any */
        bool systemd_cgroup;
        bool no_pivot;
        bool no_new_keyring;
        bool relay;
        bool terminal;
        const char *io_uid, *io_gid;
        const char *checkpoint; /* the directory of an image */
        const char *criu_work_path;
        char **labels;          /* "NAME=VALUE" */
        char **rootfs;          /* "TYPE:SOURCE[:TARGET[:OPTIONS]]" */
        const char *name;       /* the id, where it is no argument */
        SpecOptions spec;       /* instead of a bundle */
        bool argument_first;    /* one stood before --rootfs= */
        char *made_id;
} CreateOptions;

void create_options_done(CreateOptions *o);

/* The options, for getopt_long(). */
enum {
        OPTION_RUNTIME = OPTION_AFTER_SPEC,
        OPTION_RUNTIME_ROOT,
        OPTION_SYSTEMD_CGROUP,
        OPTION_NO_PIVOT,
        OPTION_NO_NEW_KEYRING,
        OPTION_LABEL,
        OPTION_STDIN,
        OPTION_STDOUT,
        OPTION_STDERR,
        OPTION_IO_UID,
        OPTION_IO_GID,
        OPTION_ROOTFS_MOUNT,
        OPTION_RELAY,
        OPTION_CHECKPOINT,
        OPTION_CRIU_WORK_PATH,
        OPTION_NAME,
        OPTION_AFTER_CREATE,
};

/* Those of restore, and with the others those of create and run. */
#define RESTORE_LONG_OPTIONS                                                 \
        { "runtime", required_argument, NULL, OPTION_RUNTIME },              \
        { "runtime-root", required_argument, NULL, OPTION_RUNTIME_ROOT },    \
        { "systemd-cgroup", no_argument, NULL, OPTION_SYSTEMD_CGROUP },      \
        { "no-pivot", no_argument, NULL, OPTION_NO_PIVOT },                  \
        { "no-new-keyring", no_argument, NULL, OPTION_NO_NEW_KEYRING },      \
        { "label", required_argument, NULL, OPTION_LABEL },                  \
        { "stdin", required_argument, NULL, OPTION_STDIN },                  \
        { "stdout", required_argument, NULL, OPTION_STDOUT },                \
        { "stderr", required_argument, NULL, OPTION_STDERR },                \
        { "io-uid", required_argument, NULL, OPTION_IO_UID },                \
        { "io-gid", required_argument, NULL, OPTION_IO_GID },                \
        { "terminal", no_argument, NULL, 't' },                              \
        { "rootfs-mount", required_argument, NULL, OPTION_ROOTFS_MOUNT },    \
        { "relay", no_argument, NULL, OPTION_RELAY },                        \
        { "criu-work-path", required_argument, NULL, OPTION_CRIU_WORK_PATH }

#define CREATE_SHORT_OPTIONS "b:t" SPEC_SHORT_OPTIONS
#define CREATE_LONG_OPTIONS                                                  \
        { "bundle", required_argument, NULL, 'b' },                          \
        { "checkpoint", required_argument, NULL, OPTION_CHECKPOINT },        \
        { "name", required_argument, NULL, OPTION_NAME },                    \
        SPEC_LONG_OPTIONS,                                                   \
        RESTORE_LONG_OPTIONS

/* Takes option 'c' with optarg into the CreateOptions. 0, VERB_USAGE or VERB_FAILED. */
int create_options_take(void *options, const char *verb, int c);

/* For VerbSyntax: a command begins where --rootfs= has been given. */
bool create_options_begin_command(void *options);

/* What create and run do when the options have been taken: the arguments are a command, or an id; 'refs' gets the
 * container, and the connection is made. 0 or a VERB_ value. */
int create_options_finish(CreateOptions *o, int argc, char *argv[], Settings *s, const VerbSyntax *syntax,
                          ContainerRefs *refs, Client **ret_client);

/* What 'path' means where we are. The caller frees it. 0 or a negative errno. */
int create_absolute_path(const char *path, char **ret);

/* Appends the a{sv} of Exec: streams and terminal as CreateContainer has them. Negative errno. */
int create_append_streams(sd_bus_message *m, const CreateOptions *o, const Settings *s);

/* Calls CreateContainer and waits until the container has been created. Negative when it was not, which has been
 * reported. */
int create_container(Client *c, const ContainerRef *ref, CreateOptions *o, uint32_t *ret_pid);

/* What create and run --detach print: the id, or as JSON all that is known. 0 or negative, reported. */
int create_print(const Settings *s, const ContainerRef *ref, uint32_t pid);
