/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Mount options as in fstab: which of them are flags of mount(2), which ask for a propagation, and which are for the
 * file system itself (containerd mount/mount_linux.go, whose table this is). Nothing here touches the system. */

#include "util/macro.h"

#define MOUNT_PROPAGATIONS_MAX 8

typedef struct MountOptions {
        unsigned long flags;                               /* MS_* */
        unsigned long propagation[MOUNT_PROPAGATIONS_MAX]; /* each is a call of its own, in this order */
        size_t n_propagation;
        bool loop;
        char **data; /* what is left: words for the file system, in their order; possibly NULL */
} MountOptions;

/* Sorts the options; each string may be one option or several, separated by commas (none within double quotes or
 * behind a backslash counts). "options" may be NULL. -EINVAL for what is wrong, -EOPNOTSUPP for what we cannot do;
 * both with *reterr_reason, the end of a sentence, which the caller frees. -ENOMEM. */
int mount_options_parse(MountOptions *ret, char *const *options, char **reterr_reason);
void mount_options_done(MountOptions *o);

/* The data for mount(2), separated by commas; a new string, NULL without memory. */
char *mount_options_get_data(const MountOptions *o);
/* mount(2) takes a page of it, and cuts off the rest without a word. */
bool mount_data_fits(const char *data);

/* The layers of an overlay's "lowerdir=", as they are written: escapes are left alone, an empty one comes from "::".
 * A new array, empty when there is no such option. -ENOMEM. */
int mount_options_get_layers(const MountOptions *o, char ***ret);

/* The data of an overlay for a process whose working directory is *ret_directory: that is the longest one that all
 * layers have in common, and they are named from there. -E2BIG when there is none but "/". -ENOMEM. */
int mount_options_compact(const MountOptions *o, char **ret_directory, char **ret_data);
