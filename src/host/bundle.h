/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The part of an OCI bundle's config.json that monoshimd needs. */

#include "util/macro.h"

#include <sys/types.h>

#define BUNDLE_CONFIG_MAX (16U * 1024U * 1024U)

typedef struct BundleConfig {
        bool private_pid_namespace; /* linux.namespaces has one of type pid without a path */
        bool remaps_gid;            /* linux.gidMappings maps container gid 0 to ... */
        gid_t root_gid;             /* ... this host gid, other than 0 (containerd runtime/v1/linux/bundle.go) */
        char *cgroups_path;         /* linux.cgroupsPath, or NULL */
        size_t size;                /* of the text */
} BundleConfig;

void bundle_config_done(BundleConfig *c);

/* Reads the text of a config.json: must be one JSON object. Streaming, so that 16 MiB cost no tree. -EINVAL and in
 * *reterr_reason what is wrong with it, -EFBIG over BUNDLE_CONFIG_MAX. Members of an unexpected type that matter to
 * us are -EINVAL as well. */
int bundle_config_parse(const char *text, size_t size, BundleConfig *ret, char **reterr_reason);

/* Opens bundle directory and config.json without following a last symbolic link, and parses it. The reason names the
 * path: -ENOENT (bundle or config.json missing), -EINVAL (not a directory, not a regular file, malformed, relative
 * path), -EFBIG, other -errno. */
int bundle_config_read(const char *bundle, BundleConfig *ret, char **reterr_reason);
