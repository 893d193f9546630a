/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The mounts that a client wants on a bundle's rootfs, and undoing them (containerd mount/mount_linux.go). mount(2)
 * and umount(2) can take for ever, so both are done in a child process. */

#include "host/reaper.h"
#include "util/json.h"
#include "util/macro.h"

#include <systemd/sd-event.h>

#define MOUNTS_MAX 256
#define MOUNT_SIZE_MAX \
        (256U * 1024U) /* bytes in all the strings of one: 500 layers with long names, and some more \
                        */

typedef struct Mount {
        char *type;
        char *source;
        char *target;   /* relative to the rootfs, or "" */
        char **options; /* as in fstab; possibly NULL */
} Mount;

typedef struct Mounts {
        Mount *mounts;
        size_t n_mounts;
} Mounts;

/* Copies one to the end of the list; -ENOMEM, -E2BIG over MOUNTS_MAX or when it is longer than MOUNT_SIZE_MAX. */
int mounts_add(Mounts *m, const char *type, const char *source, const char *target, char *const *options);
void mounts_done(Mounts *m); /* back to an empty list; takes an empty one as well */

/* What can be known to be wrong without trying: a target that is absolute or holds "..", an option string that is too
 * long, options that nobody supports (X-containerd.*, loop with a relative file, ...), an empty type without bind.
 * -EINVAL, or -EOPNOTSUPP for what is right but not done here (types that take a mount helper, identity-mapped
 * mounts); *reterr_reason then says which mount and why, and the caller frees it. -ENOMEM. */
int mounts_check(const Mounts *m, char **reterr_reason);

/* As a JSON array of {"type","source","target","options":[...]}, and back (-EINVAL). */
void mounts_write_json(const Mounts *m, JsonWriter *w);
int mounts_read_json(Mounts *ret, Json array);

/* 'error' is 0, -ETIMEDOUT (the child was killed, or hangs unkillably in the kernel a second later), or the -errno of
 * what failed; 'text' then says what, on what, and why, in one sentence; it lives during the call, and is NULL
 * without an error. From the loop, once; may free the job, which somebody must do. */
typedef void (*MountsFinished)(void *userdata, int error, const char *text);
typedef struct MountsJob MountsJob;

/* Makes the folder 'rootfs' (0711; it may be there) and mounts all in their order, none of them through a symbolic
 * link that leads out of the rootfs. A folder to mount on that is missing is made (0755). If one fails, those before
 * it are unmounted again; after -ETIMEDOUT that is left to mounts_undo(). 'm' is only used during the call. */
int mounts_make(MountsJob **ret, sd_event *event, Reaper *reaper, const char *rootfs, const Mounts *m,
                uint64_t timeout_usec, MountsFinished finished, void *userdata);

/* Unmounts everything at and below 'rootfs', deepest and newest first, whoever mounted it: what is no mount point (or
 * not there at all) is fine, with a warning if not even its folder is there, as that may have been renamed, mounts
 * and all. A busy one is tried again 50 times every 50 ms, then fails with -EBUSY. Never follows a symbolic link:
 * where 'rootfs' is one, nothing of ours can be mounted, so nothing is done, with a warning. */
int mounts_undo(MountsJob **ret, sd_event *event, Reaper *reaper, const char *rootfs, uint64_t timeout_usec,
                MountsFinished finished, void *userdata);

/* Kills the child; finished() is not called. */
MountsJob *mounts_job_free(MountsJob *job);
DEFINE_CLEANUP(MountsJob *, mounts_job_free);
