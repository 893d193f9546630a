/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Taking away what is ours: folders of a container, the remains of a failed create, containers found dead after a
 * restart. */

#include "core/container.h"
#include "core/operation.h"

/* Removes STATE/NS/ID and ROOT/NS/ID: renamed to a hidden name at once, so that the id is free again, then taken
 * away; what holds more than files of ours goes in a child process. Empty folders of the namespace go with its last
 * container. Failures are logged. */
void cleanup_remove_folders(Container *c);

/* Is that what a container's folder is renamed to before it is removed? */
bool cleanup_is_hidden_name(const char *name);

/* Removes a hidden leftover 'name' of the namespace's folder, in a child process. 'base_fd' is STATE or ROOT, 'ns_fd'
 * its folder 'ns'. */
void cleanup_remove_leftover(Registry *registry, int base_fd, const char *ns, int ns_fd, const char *name);

/* At our own end: what is being removed goes on being removed, and nobody is told. */
void cleanup_forget_removals(Registry *registry);

/* Tries once more what could not even be begun. True if something is still left. */
bool cleanup_retry_removals(Registry *registry);

/* Removes log.json, so that what the next runtime command writes there is its own, and the file's size stays bounded.
 */
int cleanup_forget_log(const Process *p);

/* Undoes a create that failed or was found half-done: kills what it may have started, "delete --force", cgroups,
 * mounts, folders; then answers with the operation's failure. The container is freed. What only concerns the runtime
 * is left out if op->runtime_was_run says that it cannot know of the container. */
void cleanup_undo_create(Operation *op);

/* Unmounts what is at and below the bundle's rootfs. -errno if that could not be begun. */
int cleanup_unmount(Operation *op, MountsFinished finished);

/* A restore from a checkpoint has failed: lets the runtime forget what it may have kept of it, then finishes the
 * operation. */
void cleanup_failed_restore(Operation *op);

/* Cleans up after a container that was found dead (containerd runtime/v1/linux/runtime.go, cleanupAfterDeadShim):
 * "delete --force", TaskExit unless it was told before, TaskDelete, folders. The container must be
 * CONTAINER_CLEANING. It is freed in the end. */
int cleanup_dead(Container *c);

/* Asks the runtime whether a container that we know as created has been started after all (while monoshimd was away,
 * or by a start that failed later), and finishes the operation. -errno if the runtime could not be asked: then the
 * operation is not finished. */
int cleanup_probe_started(Operation *op);
