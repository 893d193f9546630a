/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Creating a container. */

#include "core/create.h"
#include "core/cleanup.h"
#include "core/start.h"
#include "host/bundle.h"
#include "util/clock.h"
#include "util/crash-point.h"
#include "util/file.h"
#include "util/log.h"
#include "util/strv.h"
#include "util/text.h"

#include <assert.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* ---- before anything is touched ---- */

static int check_names(Registry *registry, const CreateRequest *q, Failure *failure) {
        int r;

        r = registry_check_name(q->ns, q->id, failure);
        if (r < 0)
                return r;

        if (registry->stopping)
                return failure_set(failure, FAILURE_UNAVAILABLE, "monoshimd is stopping");
        if (registry_lookup(registry, q->ns, q->id))
                return failure_set(failure, FAILURE_ALREADY_EXISTS, "task %s: already exists", q->id);
        return registry_check_room(registry, q->ns, failure);
}

static int check_runtime(const CreateRequest *q, Failure *failure) {
        if (q->runtime && (q->runtime[0] == 0 || (q->runtime[0] != '/' && strchr(q->runtime, '/'))))
                return failure_set(failure, FAILURE_INVALID_ARGUMENT,
                                   "Runtime: \"%s\" is neither a plain name nor an absolute path: invalid argument",
                                   q->runtime);
        if (q->runtime_root && q->runtime_root[0] != '/')
                return failure_set(failure, FAILURE_INVALID_ARGUMENT,
                                   "RuntimeRoot: \"%s\" is not an absolute path: invalid argument", q->runtime_root);
        return 0;
}

static int read_config(const Limits *limits, const CreateRequest *q, BundleConfig *ret, Failure *failure) {
        _cleanup_(freep) char *reason = NULL;
        bool has_bundle = !isempty(q->bundle);
        int r;

        if (has_bundle == !!q->spec)
                return failure_set(failure, FAILURE_INVALID_ARGUMENT,
                                   has_bundle ? "bundle and Spec: only one of them can be given: invalid argument"
                                              : "bundle: neither a bundle nor a Spec was given: invalid argument");

        if (has_bundle)
                r = bundle_config_read(q->bundle, ret, &reason);
        else
                r = bundle_config_parse(q->spec, strlen(q->spec), ret, &reason);
        if (r >= 0 && ret->size <= limits->spec_size)
                return 0;
        if (r >= 0)
                return failure_set_size_limit(failure, "MaxSpecSize", limits->spec_size, "%s has %zu bytes",
                                              has_bundle ? "config.json" : "Spec", ret->size);

        switch (r) {
        case -ENOENT:
                return failure_set(failure, FAILURE_NOT_FOUND, "%s: not found", reason ?: "bundle");
        case -EINVAL:
        case -EFBIG:
        case -ELOOP:
        case -ENOTDIR:
        case -ENAMETOOLONG:
                return failure_set(failure, FAILURE_INVALID_ARGUMENT, "%s%s: invalid argument",
                                   has_bundle ? "" : "Spec: ", reason ?: "bundle");
        default:
                return failure_set_errno(failure, r, "%s", reason ?: "failed to read the bundle");
        }
}

static int check_paths(const CreateRequest *q, Failure *failure) {
        _cleanup_(freep) char *reason = NULL;
        struct stat st;
        int r;

        r = mounts_check(&q->rootfs, &reason);
        if (r == -EOPNOTSUPP)
                return failure_set(failure, FAILURE_NOT_SUPPORTED, "Rootfs: %s", strempty(reason));
        if (r < 0)
                return failure_set(failure, FAILURE_INVALID_ARGUMENT, "Rootfs: %s: invalid argument",
                                   strempty(reason));
        if (!q->checkpoint)
                return 0;

        if (stat(q->checkpoint, &st) < 0 && (errno == ENOENT || errno == ENOTDIR))
                return failure_set(failure, FAILURE_NOT_FOUND, "Checkpoint: %s does not exist: not found",
                                   q->checkpoint);
        if (!S_ISDIR(st.st_mode))
                return failure_set(failure, FAILURE_INVALID_ARGUMENT,
                                   "Checkpoint: %s is not a directory: invalid argument", q->checkpoint);
        return 0;
}

/* What is there already under this name is somebody else's. Undoing a create of ours would take it away, so none is
 * begun. */
static int check_absent(const Container *c, Failure *failure) {
        _cleanup_(freep) char *runtime_state = NULL, *work = NULL;
        _cleanup_(safe_closep) int fd = -EBADF;
        const Services *s = c->services;
        int r;

        runtime_state = strdup_printf("%s/%s", c->runtime_root, c->id);
        work = container_relative_path(c);
        if (!runtime_state || !work)
                return failure_set_errno(failure, ENOMEM, "Failed to create container %s: %m", c->id);

        if (faccessat(AT_FDCWD, runtime_state, F_OK, AT_SYMLINK_NOFOLLOW) >= 0)
                return failure_set(failure, FAILURE_ALREADY_EXISTS,
                                   "task %s: already exists: the OCI runtime knows a container of this name, in %s, "
                                   "that is not monoshimd's; delete it there or choose another id",
                                   c->id, runtime_state);

        fd = file_open_beneath(s->root_fd, work, O_RDONLY | O_DIRECTORY, 0);
        r = fd >= 0 ? directory_is_empty(fd) : fd;
        if (r > 0 || r == -ENOENT)
                return 0;
        if (r < 0 && r != -ENOTDIR && r != -ELOOP && r != -EXDEV) /* nobody knows what is there */
                return failure_set_errno(failure, r, "Failed to look into %s/%s: %m", s->root_directory, work);

        return failure_set(failure, FAILURE_ALREADY_EXISTS,
                           "task %s: already exists: %s/%s is there, but of no container of monoshimd; remove it or "
                           "choose another id",
                           c->id, s->root_directory, work);
}

/* ---- the container and its folders ---- */

static int fill_in(Container *c, CreateRequest *q, BundleConfig *config) {
        const Services *s = c->services;

        c->owns_bundle = q->spec;
        c->bundle = q->spec ? container_state_path(c, NULL) : strdup(q->bundle);
        c->runtime = strdup(q->runtime ?: s->runtime);
        c->runtime_root = strdup_printf("%s/%s", q->runtime_root ?: s->runtime_root, container_get_namespace(c));
        if (!c->bundle || !c->runtime || !c->runtime_root)
                return -ENOMEM;

        c->created_at = clock_get_realtime();
        c->systemd_cgroup = q->systemd_cgroup;
        c->no_pivot_root = q->no_pivot_root;
        c->no_new_keyring = q->no_new_keyring;
        c->cgroups_path = TAKE_PTR(config->cgroups_path);
        c->kill_all_on_exit = !config->private_pid_namespace;
        if ((q->checkpoint && !(c->checkpoint = strdup(q->checkpoint))) ||
            (q->criu_work_path && !(c->criu_work_path = strdup(q->criu_work_path))))
                return -ENOMEM;
        c->oom_counter = UINT64_MAX;
        if (c->checkpoint)
                c->init.state = PROCESS_CREATED_CHECKPOINT;
        if (q->labels && !(c->labels = strv_pack(q->labels)))
                return -ENOMEM;
        c->rootfs = q->rootfs;
        q->rootfs = (Mounts) {};
        return 0;
}

/* STATE/NS/ID is the one lock against what is not ours: plain mkdir, so that a folder that is there already is never
 * used. */
static int make_state_directory(Container *c, const BundleConfig *config, int *ret_fd, Failure *failure) {
        _cleanup_(safe_closep) int ns_fd = -EBADF, fd = -EBADF;
        const Services *s = c->services;
        const char *ns = container_get_namespace(c);
        int r;

        r = directory_make_beneath(s->state_fd, ns, 0711);
        crash_point("create-namespace-made");
        if (r >= 0)
                r = ns_fd = file_open_beneath(s->state_fd, ns, O_RDONLY | O_DIRECTORY, 0);
        if (r < 0)
                return failure_set_errno(failure, r, "Failed to make %s/%s: %m", s->state_directory, ns);

        if (mkdirat(ns_fd, c->id, 0700) < 0) {
                r = -errno;
                if (registry_is_last_of_namespace(c))
                        (void) unlinkat(s->state_fd, ns, AT_REMOVEDIR);
                if (r == -EEXIST)
                        return failure_set(failure, FAILURE_ALREADY_EXISTS,
                                           "task %s: already exists: %s/%s/%s is there, but no container of "
                                           "monoshimd; remove it or choose another id",
                                           c->id, s->state_directory, ns, c->id);
                return failure_set_errno(failure, r, "Failed to make %s/%s/%s: %m", s->state_directory, ns, c->id);
        }

        /* Whoever is root in a container with mapped ids must get at the rootfs (containerd
         * runtime/v1/linux/bundle.go). */
        crash_point("create-folder-made");
        fd = file_open_beneath(ns_fd, c->id, O_RDONLY | O_DIRECTORY, 0);
        if (fd < 0 || fchmod(fd, 0700) < 0 ||
            (config->remaps_gid && (fchown(fd, (uid_t) -1, config->root_gid) < 0 || fchmod(fd, 0710) < 0))) {
                r = fd < 0 ? fd : -errno;
                (void) unlinkat(ns_fd, c->id, AT_REMOVEDIR);
                return failure_set_errno(failure, r, "Failed to prepare %s/%s/%s: %m", s->state_directory, ns, c->id);
        }

        *ret_fd = TAKE_FD(fd);
        return 0;
}

static int make_work_directory(Container *c, Failure *failure) {
        _cleanup_(safe_closep) int ns_fd = -EBADF;
        const Services *s = c->services;
        const char *ns = container_get_namespace(c);
        int r;

        r = directory_make_beneath(s->root_fd, ns, 0711);
        if (r >= 0)
                r = ns_fd = file_open_beneath(s->root_fd, ns, O_RDONLY | O_DIRECTORY, 0);
        if (r >= 0)
                r = directory_make_beneath(ns_fd, c->id, 0711);
        crash_point("create-work-folder-made");
        if (r < 0)
                return failure_set_errno(failure, r, "Failed to make %s/%s/%s: %m", s->root_directory, ns, c->id);

        return 0;
}

static int make_bundle(Container *c, int dir_fd, const char *spec, Failure *failure) {
        int r;

        r = directory_make_beneath(dir_fd, "rootfs", 0711);
        crash_point("create-rootfs-made");
        if (r >= 0)
                r = file_write_atomic(dir_fd, "config.json", spec, strlen(spec), 0600, false);
        if (r < 0)
                return failure_set_errno(failure, r, "Failed to make the bundle in %s: %m", c->bundle);

        return 0;
}

static int make_folders(Container *c, const CreateRequest *q, const BundleConfig *config, Failure *failure) {
        _cleanup_(safe_closep) int dir_fd = -EBADF;
        int r;

        r = make_state_directory(c, config, &dir_fd, failure);
        if (r < 0)
                return r;

        /* First of all our mark, so that a crash from here on is undone by the next start. */
        r = process_save(&c->init);
        if (r < 0)
                failure_set_errno(failure, r, "Failed to write the container's state below %s: %m",
                                  c->services->state_directory);
        if (r >= 0)
                r = make_work_directory(c, failure);
        if (r >= 0 && q->spec)
                r = make_bundle(c, dir_fd, q->spec, failure);
        if (r < 0)
                cleanup_remove_folders(c);

        return r;
}

/* ---- the runtime's answer ---- */

static void create_complete(Operation *op) {
        Container *c = op->process->container;
        int r;

        r = container_commit(c, EVENT_CREATE, &c->init, 0, true);
        if (r < 0) {
                failure_set_errno(&op->failure, r, "Failed to write the container's state below %s: %m",
                                  c->services->state_directory);
                cleanup_undo_create(op);
                return;
        }

        operation_finish(op);
}

static void create_on_runtime(Operation *op, const JobResult *result) {
        Container *c = op->process->container;
        int r;

        op->runtime_was_run = result->started_usec > 0;
        if (!job_result_ok(result)) {
                operation_set_runtime_failure(op, "create", result);
                op->killed = result->error == -ETIMEDOUT || (result->error == 0 && WIFSIGNALED(result->wait_status));
                if (result->orphan_cgroups)
                        op->cgroups = strv_copy(result->orphan_cgroups);
                cleanup_undo_create(op);
                return;
        }

        r = process_take(&c->init, "create", result->since_usec, &op->failure);
        if (r >= 0)
                r = process_begin_io(&c->init, &op->failure);
        if (r < 0) {
                cleanup_undo_create(op);
                return;
        }

        process_release_child_ends(&c->init);
        if (!c->init.exited)
                container_look_at_cgroup(c);
        create_complete(op);
}

/* ---- the steps before it ---- */

static int create_argv(const Container *c, char ***ret) {
        _cleanup_(freep) char *log = NULL, *pid_file = container_state_path(c, "init.pid");
        RuntimeCreateOptions o;
        Runtime runtime;
        int r;

        if (!pid_file)
                return -ENOMEM;
        r = process_get_runtime(&c->init, &runtime, &log);
        if (r < 0)
                return r;

        o = (RuntimeCreateOptions) {
                .bundle = c->bundle,
                .pid_file = pid_file,
                .console_socket = process_get_console_socket(&c->init),
                .no_pivot = c->no_pivot_root,
                .no_new_keyring = c->no_new_keyring,
        };
        return runtime_create_argv(&runtime, &o, ret);
}

static void create_run(Operation *op) {
        Container *c = op->process->container;
        char **argv = NULL;
        int stdio[3], r;

        if (failure_is_set(&op->failure)) {
                process_cancel_io(&c->init);
                cleanup_undo_create(op);
                return;
        }

        process_get_stdio(&c->init, stdio);
        r = create_argv(c, &argv);
        if (r >= 0)
                r = operation_run(op, argv, stdio, c->init.terminal, *c->services->runtime_timeout_usec,
                                  create_on_runtime);
        if (r < 0) {
                (void) failure_set_errno(&op->failure, r, "Failed to run the OCI runtime %s: %m", c->runtime);
                cleanup_undo_create(op);
        }
}

/* A container from a checkpoint is made by its start (containerd pkg/process/init.go, createdCheckpointState). */
static void create_prepare(Operation *op) {
        Container *c = op->process->container;
        int r;

        if (c->checkpoint) {
                create_complete(op);
                return;
        }

        r = process_prepare_io(&c->init, op, create_run, &op->failure);
        if (r < 0)
                cleanup_undo_create(op);
        else if (r > 0)
                create_run(op);
}

static FailureKind mount_error_to_kind(int error) {
        switch (error) {
        case -ENOENT:
                return FAILURE_NOT_FOUND;
        case -ETIMEDOUT:
                return FAILURE_DEADLINE_EXCEEDED;
        case -EOPNOTSUPP:
                return FAILURE_NOT_SUPPORTED;
        case -EINVAL:
        case -ENODEV:
        case -ENOTDIR:
        case -ELOOP:
        case -EXDEV:
                return FAILURE_INVALID_ARGUMENT;
        default:
                return failure_errno_is_exhaustion(error) ? FAILURE_RESOURCE_EXHAUSTED : FAILURE_INTERNAL;
        }
}

static void create_on_mounted(void *userdata, int error, const char *text) {
        Operation *op = userdata;

        op->mounts = mounts_job_free(op->mounts);
        if (error == 0) {
                create_prepare(op);
                return;
        }

        (void) failure_set(&op->failure, mount_error_to_kind(error), "failed to mount rootfs component: %s", text);
        cleanup_undo_create(op);
}

static void create_mount(Operation *op) {
        Container *c = op->process->container;
        _cleanup_(freep) char *rootfs = NULL;
        int r;

        if (c->rootfs.n_mounts == 0) {
                create_prepare(op);
                return;
        }

        rootfs = strdup_printf("%s/rootfs", c->bundle);
        r = !rootfs ? -ENOMEM
                    : mounts_make(&op->mounts, c->services->event, c->services->reaper, rootfs, &c->rootfs,
                                  *c->services->runtime_timeout_usec, create_on_mounted, op);
        if (r < 0) {
                (void) failure_set_errno(&op->failure, r, "Failed to mount the rootfs: %m");
                cleanup_undo_create(op);
        }
}

int container_create(Registry *registry, CreateRequest *q, OperationDone done, void *userdata, Failure *failure) {
        _cleanup_(bundle_config_done) BundleConfig config = {};
        _cleanup_(container_freep) Container *c = NULL;
        Operation *op;
        int r;

        if ((r = check_names(registry, q, failure)) < 0 || (r = check_runtime(q, failure)) < 0 ||
            (r = check_paths(q, failure)) < 0 || (r = read_config(registry->services->limits, q, &config, failure)) < 0)
                return r;

        r = container_new(&c, registry, q->ns, q->id);
        if (r < 0)
                return failure_set_errno(failure, r, "Failed to register container %s/%s: %m", q->ns, q->id);

        c->init.terminal = q->terminal;
        c->init.relay = q->relay;
        c->init.columns = q->columns;
        c->init.rows = q->rows;
        c->init.io_uid = q->io_uid;
        c->init.io_gid = q->io_gid;
        r = process_open_streams(&c->init, q->streams, failure);
        if (r < 0)
                return r;
        r = fill_in(c, q, &config);
        if (r < 0)
                return failure_set_errno(failure, r, "Failed to create container %s/%s: %m", q->ns, q->id);
        r = check_absent(c, failure);
        if (r < 0)
                return r;

        r = make_folders(c, q, &config, failure);
        if (r < 0)
                return r;
        crash_point("create-folders-made");

        op = operation_begin(&c->init, OPERATION_CREATE, done, userdata);
        if (!op) {
                cleanup_remove_folders(c);
                return failure_set_errno(failure, ENOMEM, "Failed to create container %s/%s: %m", q->ns, q->id);
        }
        TAKE_PTR(c); /* the operation frees it, if it fails */

        create_mount(op);
        return 0;
}
