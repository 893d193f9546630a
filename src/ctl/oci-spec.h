/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A whole OCI configuration for a program in a root file system, without a config.json that somebody has written:
 * what "runc spec" suggests, and what the command line says. */

#include "ctl/process-spec.h"
#include "ctl/resources.h"

typedef struct SpecMount {
        char *type;   /* "bind" or "tmpfs" */
        char *source; /* NULL for tmpfs */
        char *target;
        char **options;
} SpecMount;

typedef struct OciSpec {
        const char *rootfs; /* an absolute path */
        bool read_only;     /* its root file system */
        const char *hostname;
        const char *cgroups_path; /* as linux.cgroupsPath has it */
        bool cgroup_namespace;
        ProcessSpec process; /* without args: "sh" */
        SpecMount *mounts;
        size_t n_mounts;
        Resources resources;
} OciSpec;

/* Frees what has been collected: mounts and variables. */
void oci_spec_done(OciSpec *spec);

/* "type=bind,src=PATH,dst=PATH[,ro]" or "type=tmpfs,dst=PATH[,size=BYTES][,mode=OCTAL][,ro]". Adds the mount; a
 * relative source is left to whoever reads the mounts. 0; -EINVAL, and in *reterr_reason (a string that the caller
 * frees, or NULL) what is wrong; -ENOMEM. */
int oci_spec_add_mount(OciSpec *spec, const char *text, char **reterr_reason);

/* The JSON text, which the caller frees. -EILSEQ for words that JSON cannot hold, -ENOMEM. */
int oci_spec_write(const OciSpec *spec, char **ret);
