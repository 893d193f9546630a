/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Taking away what is ours. */

#include "core/cleanup.h"
#include "core/registry.h"
#include "core/state.h"
#include "host/cgroup.h"
#include "host/tree.h"
#include "util/clock.h"
#include "util/file.h"
#include "util/json.h"
#include "util/log.h"
#include "util/strv.h"
#include "util/text.h"

#include <assert.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>

#define HIDDEN_TRIES 1000
#define CGROUP_RETRY_USEC (20 * USEC_PER_MSEC)
#define CGROUP_RETRY_MAX_USEC (2 * USEC_PER_SEC)

/* ---- folders ---- */

/* What we and the runtime put into STATE/NS/ID. Whatever else is there goes in a child process. */
static const char *const known_files[] = {
        STATE_FILE, "." STATE_FILE ".tmp", "init.pid", ".init.pid", "log.json", "config.json", ".config.json.tmp",
};

static const char *const known_folders[] = { "rootfs", "exec" };

typedef struct Removal {
        Registry *registry;
        int base_fd; /* services::state_fd or root_fd, which outlive this */
        char ns[IDENTIFIER_MAX + 1];
        char name[2 * IDENTIFIER_MAX];
} Removal;

static void removal_on_done(void *userdata, int result) {
        _cleanup_(freep) Removal *removal = userdata;

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

/* Removes a folder that holds nothing but files of ours, without a child process. */
static int folder_remove_known(int ns_fd, const char *name) {
        _cleanup_(safe_closep) int fd = -EBADF;

        fd = file_open_beneath(ns_fd, name, O_RDONLY | O_DIRECTORY, 0);
        if (fd < 0)
                return fd;

        for (size_t i = 0; i < ELEMENTSOF(known_files); i++)
                (void) unlinkat(fd, known_files[i], 0);
        for (size_t i = 0; i < ELEMENTSOF(known_folders); i++)
                (void) unlinkat(fd, known_folders[i], AT_REMOVEDIR);

        return unlinkat(ns_fd, name, AT_REMOVEDIR) < 0 ? -errno : 0;
}

static void folder_remove(Container *c, int base_fd, const char *base) {
        _cleanup_(safe_closep) int ns_fd = -EBADF;
        const char *ns = container_get_namespace(c);
        char hidden[2 * IDENTIFIER_MAX];
        int r;

        ns_fd = file_open_beneath(base_fd, ns, O_RDONLY | O_DIRECTORY, 0);
        if (ns_fd == -ENOENT)
                return;
        if (ns_fd < 0) {
                (void) container_log(c, LOG_WARNING, ns_fd,
                                     "Failed to open %s/%s to remove the container's folder, leaving it: %m", base,
                                     ns);
                return;
        }

        r = folder_hide(ns_fd, c->id, hidden);
        if (r < 0 && r != -ENOENT)
                (void) container_log(c, LOG_WARNING, r, "Failed to rename %s/%s/%s, leaving it: %m", base, ns, c->id);
        if (r >= 0 && folder_remove_known(ns_fd, hidden) < 0)
                removal_start(c->registry, base_fd, ns, ns_fd, hidden);

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

int cleanup_forget_log(const Container *c) {
        _cleanup_(safe_closep) int fd = container_open_state_directory(c);

        if (fd == -ENOENT) /* a dead container without a folder: the runtime is told of no log then */
                return 0;
        if (fd < 0)
                return fd;

        return unlinkat(fd, "log.json", 0) < 0 && errno != ENOENT ? -errno : 0;
}

/* ---- "delete --force" ---- */

static int cleanup_run_delete_force(Operation *op, OperationThen then) {
        _cleanup_(freep) char *log = NULL;
        Container *c = op->container;
        char **argv = NULL;
        Runtime runtime;
        int r;

        r = container_get_runtime(c, &runtime, &log);
        if (r < 0)
                return r;
        r = runtime_delete_force_argv(&runtime, &argv);
        if (r < 0)
                return r;

        return operation_run(op, argv, NULL, true, operation_cleanup_timeout(c), then);
}

static void cleanup_log_delete_force(const Container *c, const JobResult *result) {
        _cleanup_(freep) char *text = NULL;

        if (job_result_ok(result))
                return;

        text = runtime_result_to_text(c->runtime, result, operation_cleanup_timeout(c));
        (void) container_log(c, LOG_WARNING, 0, "Failed to delete the runtime's state, going on: %s", strempty(text));
}

/* ---- a failed create ---- */

static void undo_finish(Operation *op) {
        Container *c = op->container;

        cleanup_remove_folders(c);
        process_unwatch(&c->init);
        container_withdraw(c);
        operation_finish(op);
}

static int undo_on_cgroups(sd_event_source *source, uint64_t usec, void *userdata) {
        Operation *op = userdata;
        Container *c = op->container;
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

        undo_finish(op);
        return 0;
}

/* A runtime that was killed half-way has told nobody which cgroups it had made: those its children were in, and those
 * that the container would have had. Only empty ones can go. */
static void undo_list_cgroups(Operation *op) {
        _cleanup_(strv_freep) char **expected = NULL;
        Container *c = op->container;

        if (!op->killed || c->systemd_cgroup || cgroup_list_of_container(c->cgroups_path, c->id, &expected) < 0)
                return;

        for (char **path = expected; path && *path; path++)
                if (!strv_contains(op->cgroups, *path))
                        (void) strv_extend(&op->cgroups, *path);
}

static void undo_continue(Operation *op) {
        undo_list_cgroups(op);
        op->give_up_usec = clock_get_monotonic() + CGROUP_RETRY_MAX_USEC;
        (void) undo_on_cgroups(NULL, 0, op);
}

static void undo_on_runtime(Operation *op, const JobResult *result) {
        cleanup_log_delete_force(op->container, result);
        undo_continue(op);
}

static void stray_on_reaped(void *userdata, pid_t pid, int wait_status, uint64_t when_usec) {
}

/* The runtime may have left its pid file and died before it had written down anything else. The number is only
 * believed if it is that of a child of ours which nobody else watches: then it cannot be anybody else's. */
static void undo_kill_stray(Container *c) {
        _cleanup_(safe_closep) int dir_fd = container_open_state_directory(c);
        _cleanup_(freep) char *text = NULL;
        uint64_t pid;
        PidStat stat;
        size_t size;

        if (c->init.watched) {
                process_kill(&c->init);
                return;
        }

        if (dir_fd < 0 || file_read_beneath(dir_fd, "init.pid", 64, &text, &size) < 0 ||
            parse_uint64(text, &pid) < 0 || pid <= 1 || pid > INT32_MAX)
                return;
        if (pid_read_stat((pid_t) pid, &stat) < 0 || stat.parent != getpid())
                return;
        if (reaper_watch(c->services->reaper, (pid_t) pid, stray_on_reaped, NULL) < 0)
                return;

        (void) kill((pid_t) pid, SIGKILL);
}

void cleanup_undo_create(Operation *op, bool runtime_was_run) {
        Container *c = op->container;
        int r;

        if (!runtime_was_run) {
                undo_finish(op);
                return;
        }

        if (!op->restored)
                undo_kill_stray(c);

        r = cleanup_run_delete_force(op, undo_on_runtime);
        if (r < 0) {
                (void) container_log(c, LOG_WARNING, r,
                                     "Failed to run the runtime to undo a failed create, going on: %m");
                undo_continue(op);
        }
}

/* ---- a dead container ---- */

static void dead_finish(Operation *op) {
        Container *c = op->container;

        if (c->init.state != PROCESS_STOPPED) {
                c->init.state = PROCESS_STOPPED;
                c->init.exited = true;
                c->init.exit_status = EXIT_STATUS_UNKNOWN;
                c->init.exited_at = clock_get_realtime();
                (void) container_commit(c, EVENT_EXIT, &c->init, 0, false);
        }

        c->phase = CONTAINER_DELETED;
        (void) container_commit(c, EVENT_DELETE, &c->init, 0, false);
        cleanup_remove_folders(c);
        container_withdraw(c);
        operation_finish(op);
}

static void dead_on_runtime(Operation *op, const JobResult *result) {
        cleanup_log_delete_force(op->container, result);
        dead_finish(op);
}

int cleanup_dead(Container *c) {
        Operation *op;
        int r;

        assert(c->phase == CONTAINER_CLEANING);

        op = operation_begin(c, OPERATION_CLEANUP, NULL, NULL);
        if (!op)
                return -ENOMEM;

        r = cleanup_run_delete_force(op, dead_on_runtime);
        if (r < 0) {
                (void) container_log(c, LOG_WARNING, r,
                                     "Failed to run the runtime to clean up a dead container, going on: %m");
                dead_finish(op);
        }
        return 0;
}

/* ---- a container that may have been started ---- */

static void probe_on_runtime(Operation *op, const JobResult *result) {
        _cleanup_(json_freep) Json tree = NULL;
        Container *c = op->container;
        const char *status = NULL;

        if (job_result_ok(result) && json_parse(result->output, strlen(result->output), &tree, NULL) >= 0 &&
            json_get_string(tree, "status", &status) > 0 && streq(status, "running")) {
                c->init.state = PROCESS_RUNNING;
                c->init.started_at = process_get_start(&c->init);
                (void) container_log(c, LOG_NOTICE, 0, "It runs, although its start was not seen to succeed.");
                (void) container_commit(c, EVENT_START, &c->init, PROCESS_CHANGED_STATUS | PROCESS_CHANGED_STARTED,
                                        false);
        }

        operation_finish(op);
}

int cleanup_probe_started(Operation *op) {
        _cleanup_(freep) char *log = NULL;
        Container *c = op->container;
        char **argv = NULL;
        Runtime runtime;
        int r;

        r = container_get_runtime(c, &runtime, &log);
        if (r >= 0)
                r = runtime_state_argv(&runtime, &argv);
        if (r >= 0)
                r = operation_run(op, argv, NULL, true, operation_cleanup_timeout(c), probe_on_runtime);
        return r;
}
