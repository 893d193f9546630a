/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Taking away what is ours. */

#include "core/cleanup.h"
#include "core/registry.h"
#include "core/start.h"
#include "core/state.h"
#include "host/cgroup.h"
#include "host/tree.h"
#include "util/clock.h"
#include "util/crash-point.h"
#include "util/file.h"
#include "util/json.h"
#include "util/log.h"
#include "util/strv.h"
#include "util/text.h"

#include <assert.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <utlist.h>
#include <sys/stat.h>

#define HIDDEN_TRIES 1000
#define CGROUP_RETRY_USEC (20 * USEC_PER_MSEC)
#define CGROUP_RETRY_MAX_USEC (2 * USEC_PER_SEC)

/* ---- folders ---- */

/* What we and the runtime put into STATE/NS/ID. Whatever else is there goes in a child process. */
static const char *const known_files[] = {
        STATE_FILE, "." STATE_FILE ".tmp", "init.pid",         ".init.pid", "log.json", "stdout",
        "stderr",   "config.json",         ".config.json.tmp",
};

static const char *const known_folders[] = { "rootfs", EXEC_FOLDER };

typedef struct Removal {
        Registry *registry;
        int base_fd; /* services::state_fd or root_fd, which outlive this */
        char ns[IDENTIFIER_MAX + 1];
        char name[2 * IDENTIFIER_MAX];
        bool due;                    /* not begun: 'name' is still the container's id */
        struct Removal *prev, *next; /* registry::removals */
} Removal;

static void removal_on_done(void *userdata, int result) {
        _cleanup_(freep) Removal *removal = userdata;

        crash_point("removal-done");
        DL_DELETE(removal->registry->removals, removal);
        if (result < 0)
                log_warning_errno(result, "Failed to remove %s/%s completely, leaving the rest: %m", removal->ns,
                                  removal->name);
        else if (!registry_has_namespace(removal->registry, removal->ns))
                (void) unlinkat(removal->base_fd, removal->ns, AT_REMOVEDIR);
}

static void removal_start(Registry *registry, int base_fd, const char *ns, int ns_fd, const char *name) {
        Removal *removal;
        int r;

        removal = malloc(sizeof(*removal));
        if (!removal)
                return (void) log_warning_errno(ENOMEM, "Leaving %s/%s to the next start: %m", ns, name);

        *removal = (Removal) { .registry = registry, .base_fd = base_fd };
        (void) snprintf(removal->ns, sizeof(removal->ns), "%s", ns);
        (void) snprintf(removal->name, sizeof(removal->name), "%s", name);

        r = tree_remove_start(registry->services->reaper, ns_fd, name, removal_on_done, removal);
        if (r < 0) {
                log_warning_errno(r, "Failed to start removing %s/%s, leaving it to the next start: %m", ns, name);
                free(removal);
                return;
        }
        DL_APPEND(registry->removals, removal);
        crash_point("removal-started");
}

void cleanup_forget_removals(Registry *registry) {
        Removal *removal, *next;

        DL_FOREACH_SAFE(registry->removals, removal, next) {
                DL_DELETE(registry->removals, removal);
                free(removal);
        }
}

/* Renames a folder to ".ID", or ".ID~N" while an older one is still being removed: no identifier begins with a dot or
 * holds a tilde. */
static int folder_hide(int ns_fd, const char *id, char ret[static 2 * IDENTIFIER_MAX]) {
        for (unsigned i = 0; i < HIDDEN_TRIES; i++) {
                if (i == 0)
                        (void) snprintf(ret, 2 * IDENTIFIER_MAX, ".%s", id);
                else
                        (void) snprintf(ret, 2 * IDENTIFIER_MAX, ".%s~%u", id, i);

                if (renameat2(ns_fd, id, ns_fd, ret, RENAME_NOREPLACE) >= 0)
                        return 0;
                if (errno != EEXIST)
                        return -errno;
        }

        return -EEXIST;
}

bool cleanup_is_hidden_name(const char *name) {
        char id[2 * IDENTIFIER_MAX];

        if (name[0] != '.' || strlen(name) > sizeof(id))
                return false;

        (void) snprintf(id, sizeof(id), "%.*s", (int) strcspn(name + 1, "~"), name + 1);
        return identifier_is_valid(id);
}

/* Removes a folder that holds nothing but files of ours, without a child process. */
static int folder_remove_known(int ns_fd, const char *name) {
        _cleanup_(safe_closep) int fd = -EBADF;

        /* Without a checkpoint nothing has ever been in the work folder. */
        if (unlinkat(ns_fd, name, AT_REMOVEDIR) >= 0)
                return 0;

        fd = file_open_beneath(ns_fd, name, O_RDONLY | O_DIRECTORY, 0);
        if (fd < 0)
                return fd;

        for (size_t i = 0; i < ELEMENTSOF(known_files); i++)
                (void) unlinkat(fd, known_files[i], 0);
        for (size_t i = 0; i < ELEMENTSOF(known_folders); i++)
                (void) unlinkat(fd, known_folders[i], AT_REMOVEDIR);
        crash_point("folder-emptied");

        return unlinkat(ns_fd, name, AT_REMOVEDIR) < 0 ? -errno : 0;
}

static bool errno_is_passing(int r) {
        return r == -EMFILE || r == -ENFILE || r == -ENOMEM || r == -EIO || r == -EAGAIN || r == -EINTR ||
               r == -ENOSPC;
}

/* -EEXIST and the like stay as they are; what was a moment's trouble (no descriptors, no memory) may be over later.
 */
static int folder_try_remove(Registry *registry, int base_fd, const char *ns, const char *id) {
        _cleanup_(safe_closep) int ns_fd = -EBADF;
        char hidden[2 * IDENTIFIER_MAX];
        int r;

        ns_fd = file_open_beneath(base_fd, ns, O_RDONLY | O_DIRECTORY, 0);
        if (ns_fd < 0)
                return ns_fd == -ENOENT ? 0 : ns_fd;

        crash_point("folder-before-hide");
        r = folder_hide(ns_fd, id, hidden);
        crash_point("folder-hidden");
        if (r < 0)
                return r == -ENOENT ? 0 : r;

        if (folder_remove_known(ns_fd, hidden) < 0)
                removal_start(registry, base_fd, ns, ns_fd, hidden);
        crash_point("folder-removed");
        return 0;
}

/* Its name is still in the way of a new container; so we come back to it. */
static void folder_remove_later(Registry *registry, int base_fd, const char *ns, const char *id) {
        Removal *removal = malloc(sizeof(*removal));

        if (!removal)
                return;

        *removal = (Removal) { .registry = registry, .base_fd = base_fd, .due = true };
        (void) snprintf(removal->ns, sizeof(removal->ns), "%s", ns);
        (void) snprintf(removal->name, sizeof(removal->name), "%s", id);
        DL_APPEND(registry->removals, removal);
        registry_retry_save(registry);
}

bool cleanup_retry_removals(Registry *registry) {
        Removal *removal, *next;
        bool again = false;

        DL_FOREACH_SAFE(registry->removals, removal, next) {
                Container *c;
                int r;

                if (!removal->due)
                        continue;

                c = registry_lookup(registry, removal->ns, removal->name);
                if (c && c->phase == CONTAINER_DELETED) { /* on its way out */
                        again = true;
                        continue;
                }

                /* One that has been made anew in what was left has it for its own. */
                r = c ? 0 : folder_try_remove(registry, removal->base_fd, removal->ns, removal->name);
                if (errno_is_passing(r)) {
                        again = true;
                        continue;
                }
                if (!registry_has_namespace(registry, removal->ns))
                        (void) unlinkat(removal->base_fd, removal->ns, AT_REMOVEDIR);
                DL_DELETE(registry->removals, removal);
                free(removal);
        }
        return again;
}

static void folder_remove(Container *c, int base_fd, const char *base) {
        const char *ns = container_get_namespace(c);
        int r;

        r = folder_try_remove(c->registry, base_fd, ns, c->id);
        if (r < 0) {
                (void) container_log(c, LOG_WARNING, r, "Failed to remove %s/%s/%s, %s: %m", base, ns, c->id,
                                     errno_is_passing(r) ? "trying again every second" : "leaving it");
                if (errno_is_passing(r))
                        folder_remove_later(c->registry, base_fd, ns, c->id);
                return;
        }

        if (registry_is_last_of_namespace(c))
                (void) unlinkat(base_fd, ns, AT_REMOVEDIR);
}

void cleanup_remove_folders(Container *c) {
        const Services *s = c->services;
        _cleanup_(freep) char *runtime_root = NULL;

        /* STATE last: as long as it is there, the next start comes back to the rest. */
        folder_remove(c, s->root_fd, s->root_directory);
        folder_remove(c, s->state_fd, s->state_directory);

        /* The runtime makes its ROOT/NS and never removes it. Below a root of the client's own it is not ours to
         * remove. */
        runtime_root = strdup_printf("%s/%s", s->runtime_root, container_get_namespace(c));
        if (runtime_root && registry_is_last_of_namespace(c))
                (void) rmdir(runtime_root);
}

void cleanup_remove_leftover(Registry *registry, int base_fd, const char *ns, int ns_fd, const char *name) {
        removal_start(registry, base_fd, ns, ns_fd, name);
}

int cleanup_forget_log(const Process *p) {
        _cleanup_(safe_closep) int fd = container_open_state_directory(p->container);
        _cleanup_(freep) char *name = process_file(p, "log");

        if (!name)
                return -ENOMEM;

        if (fd == -ENOENT) /* a dead container without a folder: the runtime is told of no log then */
                return 0;
        if (fd < 0)
                return fd;

        return unlinkat(fd, name, 0) < 0 && errno != ENOENT ? -errno : 0;
}

/* ---- "delete --force" ---- */

static int delete_force_argv(const Operation *op, const Runtime *runtime, char ***ret) {
        return runtime_delete_force_argv(runtime, ret);
}

static int cleanup_run_delete_force(Operation *op, OperationThen then) {
        return operation_run_cleanup(op, delete_force_argv, then);
}

static void cleanup_log_delete_force(const Container *c, const JobResult *result) {
        _cleanup_(freep) char *text = NULL;

        if (job_result_ok(result))
                return;

        text = runtime_result_to_text(c->runtime, result, operation_cleanup_timeout(c));
        (void) container_log(c, LOG_WARNING, 0, "Failed to delete the runtime's state, going on: %s", strempty(text));
}

/* ---- mounts ---- */

/* Where its state was lost, nobody knows. */
static bool cleanup_may_be_mounted(const Container *c) {
        return c->rootfs.n_mounts > 0 || c->is_unknown;
}

int cleanup_unmount(Operation *op, MountsFinished finished) {
        Container *c = op->process->container;
        _cleanup_(freep) char *rootfs = strdup_printf("%s/rootfs", c->bundle);

        if (!rootfs)
                return -ENOMEM;
        return mounts_undo(&op->mounts, c->services->event, c->services->reaper, rootfs,
                           *c->services->runtime_timeout_usec, finished, op);
}

/* ---- a failed create ---- */

static void undo_finish(Operation *op) {
        Container *c = op->process->container;

        crash_point("undo-before-remove");
        cleanup_remove_folders(c);
        process_unwatch(&c->init);
        container_withdraw(c);
        operation_finish(op);
}

static void undo_unmount(Operation *op);

static int undo_on_cgroups(sd_event_source *source, uint64_t usec, void *userdata) {
        Operation *op = userdata;
        Container *c = op->process->container;
        int r;

        /* A cgroup can go once the killed processes in it are gone, which takes the kernel a moment. */
        r = cgroup_remove_empty(op->cgroups);
        if (r > 0 && clock_get_monotonic() < op->give_up_usec) {
                op->timer = sd_event_source_disable_unref(op->timer);
                r = sd_event_add_time_relative(c->services->event, &op->timer, CLOCK_MONOTONIC, CGROUP_RETRY_USEC,
                                               1000, undo_on_cgroups, op);
                if (r >= 0)
                        return 0;
        }
        if (r != 0)
                (void) container_log(
                        c, LOG_WARNING, 0,
                        "A control group of the failed create is in use and could not be removed, leaving it.");

        undo_unmount(op);
        return 0;
}

/* A runtime that was killed half-way has told nobody which cgroups it had made: those its children were in, and those
 * that the container would have had. Only empty ones can go. */
static void undo_list_cgroups(Operation *op) {
        _cleanup_(strv_freep) char **expected = NULL;
        Container *c = op->process->container;

        if (!op->killed || c->systemd_cgroup || cgroup_list_of_container(c->cgroups_path, c->id, &expected) < 0)
                return;

        for (char **path = expected; path && *path; path++)
                if (!strv_contains(op->cgroups, *path))
                        (void) strv_extend(&op->cgroups, *path);
}

static void undo_on_unmounted(void *userdata, int error, const char *text) {
        Operation *op = userdata;

        op->mounts = mounts_job_free(op->mounts);
        if (error < 0)
                (void) container_log(op->process->container, LOG_WARNING, 0,
                                     "Failed to unmount the rootfs, leaving it: %s", text);
        undo_finish(op);
}

static void undo_unmount(Operation *op) {
        int r;

        if (!cleanup_may_be_mounted(op->process->container)) {
                undo_finish(op);
                return;
        }

        r = cleanup_unmount(op, undo_on_unmounted);
        if (r < 0)
                undo_on_unmounted(op, r, strerror(-r));
}

static void undo_continue(Operation *op) {
        undo_list_cgroups(op);
        op->give_up_usec = clock_get_monotonic() + CGROUP_RETRY_MAX_USEC;
        (void) undo_on_cgroups(NULL, 0, op);
}

static void undo_on_runtime(Operation *op, const JobResult *result) {
        cleanup_log_delete_force(op->process->container, result);
        undo_continue(op);
}

void cleanup_undo_create(Operation *op) {
        Container *c = op->process->container;
        int r;

        c->oom = oom_watch_free(c->oom); /* nobody has seen the container */
        if (!op->runtime_was_run) {
                undo_unmount(op);
                return;
        }

        if (!op->restored)
                process_kill_stray(&c->init);

        r = cleanup_run_delete_force(op, undo_on_runtime);
        if (r < 0) {
                (void) container_log(c, LOG_WARNING, r,
                                     "Failed to run the runtime to undo a failed create, going on: %m");
                undo_continue(op);
        }
}

/* ---- a dead container ---- */

/* Those that lived when we saw them last died with it, before it. */
static void dead_publish_exit(Process *p) {
        if (!p->exited)
                process_set_exit_unknown(p);
        p->state = PROCESS_STOPPED;
        (void) container_commit(p->container, EVENT_EXIT, p, 0, false);
}

static void dead_finish(Operation *op) {
        Container *c = op->process->container;

        crash_point("dead-before-told");
        CONTAINER_FOREACH_EXEC(p, c)
                if (p->state == PROCESS_RUNNING)
                        dead_publish_exit(p);
        if (c->init.state != PROCESS_STOPPED)
                dead_publish_exit(&c->init);

        c->phase = CONTAINER_DELETED;
        (void) container_commit(c, EVENT_DELETE, &c->init, 0, false);
        cleanup_remove_folders(c);
        container_withdraw(c);
        operation_finish(op);
}

static void dead_on_unmounted(void *userdata, int error, const char *text) {
        Operation *op = userdata;

        op->mounts = mounts_job_free(op->mounts);
        if (error < 0)
                (void) container_log(op->process->container, LOG_WARNING, 0,
                                     "Failed to unmount the rootfs, leaving it: %s", text);
        dead_finish(op);
}

static void dead_unmount(Operation *op) {
        int r;

        if (!cleanup_may_be_mounted(op->process->container)) {
                dead_finish(op);
                return;
        }

        r = cleanup_unmount(op, dead_on_unmounted);
        if (r < 0)
                dead_on_unmounted(op, r, strerror(-r));
}

static void dead_on_runtime(Operation *op, const JobResult *result) {
        cleanup_log_delete_force(op->process->container, result);
        dead_unmount(op);
}

int cleanup_dead(Container *c) {
        Operation *op;
        int r;

        assert(c->phase == CONTAINER_CLEANING);

        op = operation_begin(&c->init, OPERATION_CLEANUP, NULL, NULL);
        if (!op)
                return -ENOMEM;

        r = cleanup_run_delete_force(op, dead_on_runtime);
        if (r < 0) {
                (void) container_log(c, LOG_WARNING, r,
                                     "Failed to run the runtime to clean up a dead container, going on: %m");
                dead_unmount(op);
        }
        return 0;
}

/* ---- a failed restore from a checkpoint ---- */

static void restore_on_forgotten(Operation *op, const JobResult *result) {
        (void) process_forget_pid_file(op->process);
        cleanup_log_delete_force(op->process->container, result);
        operation_finish(op);
}

void cleanup_failed_restore(Operation *op) {
        int r;

        r = cleanup_run_delete_force(op, restore_on_forgotten);
        if (r < 0) {
                (void) container_log(op->process->container, LOG_WARNING, r,
                                     "Failed to run the runtime to undo a failed restore, going on: %m");
                operation_finish(op);
        }
}

/* ---- a container that may have been started ---- */

#define EXEC_FIFO "exec.fifo"

/* runc takes a container for created as long as its exec.fifo is there. A "runc start" that was killed just after it
 * had let the init go, and before it had removed that, leaves a container that runs and that every later start would
 * wait for in vain. runc's init has a name of its own until it becomes the container's program
 * (libcontainer/nsenter). */
static bool probe_has_begun(const Container *c) {
        _cleanup_(freep) char *fifo = strdup_printf("%s/%s/" EXEC_FIFO, c->runtime_root, c->id);
        char path[sizeof("/proc//comm") + 3 * sizeof(pid_t)];
        _cleanup_(safe_closep) int fd = -EBADF;
        char name[32] = {};
        struct stat st;

        if (!startswith(basename(c->runtime), "runc") || !fifo || lstat(fifo, &st) < 0 || !S_ISFIFO(st.st_mode))
                return false;

        (void) snprintf(path, sizeof(path), "/proc/%d/comm", (int) c->init.pid);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || read(fd, name, sizeof(name) - 1) <= 0 || startswith(name, "runc:["))
                return false;

        if (unlink(fifo) < 0 && errno != ENOENT)
                (void) container_log(c, LOG_WARNING, errno, "Failed to remove %s, ignoring: %m", fifo);
        return true;
}

static void probe_on_runtime(Operation *op, const JobResult *result) {
        _cleanup_(json_freep) Json tree = NULL;
        Container *c = op->process->container;
        const char *status = NULL;

        if (job_result_ok(result) && json_parse(result->output, strlen(result->output), &tree, NULL) >= 0)
                (void) json_get_string(tree, "status", &status);

        if (status && (streq(status, "running") || (streq(status, "created") && probe_has_begun(c)))) {
                c->init.state = PROCESS_RUNNING;
                c->init.started_at = process_get_start(&c->init);
                (void) container_log(c, LOG_NOTICE, 0, "It runs, although its start was not seen to succeed.");
                (void) container_commit(c, EVENT_START, &c->init, PROCESS_CHANGED_STATUS | PROCESS_CHANGED_STARTED,
                                        false);
        }

        operation_finish(op);
}

static int state_argv(const Operation *op, const Runtime *runtime, char ***ret) {
        return runtime_state_argv(runtime, ret);
}

int cleanup_probe_started(Operation *op) {
        return operation_run_cleanup(op, state_argv, probe_on_runtime);
}
