/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Creating a container. */

#include "core/create.h"
#include "core/cleanup.h"
#include "host/bundle.h"
#include "util/clock.h"
#include "util/file.h"
#include "util/log.h"
#include "util/strv.h"
#include "util/text.h"

#include <assert.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

static const char *const stream_options[3] = { "Stdin", "Stdout", "Stderr" };

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
        return 0;
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

static int read_config(const CreateRequest *q, BundleConfig *ret, Failure *failure) {
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
        if (r >= 0)
                return 0;

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

static int open_stream(Stream *s, const CreateRequest *q, size_t i, Failure *failure) {
        const StreamRequest *request = &q->streams[i];
        _cleanup_(freep) char *reason = NULL;
        StreamKind kind;
        int fd, r;

        s->output = i > 0;

        if (request->fd >= 0) {
                fd = fcntl(request->fd, F_DUPFD_CLOEXEC, 3);
                if (fd < 0)
                        return failure_set_errno(failure, errno, "%s: failed to take the descriptor over: %m",
                                                 stream_options[i]);
                r = stream_take_fd(s, fd, i > 0);
                if (r < 0) {
                        safe_close(fd);
                        return failure_set_errno(failure, r, "%s: failed to take the descriptor over: %m",
                                                 stream_options[i]);
                }
                return 0;
        }

        r = stream_parse(strempty(request->uri), &kind, &reason);
        if (r == -EOPNOTSUPP && i == STDIN_FILENO)
                return failure_set(failure, FAILURE_INVALID_ARGUMENT,
                                   "%s: \"%s\" is for output only: invalid argument", stream_options[i],
                                   request->uri);
        if (r == -EOPNOTSUPP)
                return failure_set(failure, FAILURE_NOT_SUPPORTED, "%s: %s", stream_options[i], strempty(reason));
        if (r < 0)
                return failure_set(failure, FAILURE_INVALID_ARGUMENT, "%s: %s: invalid argument", stream_options[i],
                                   strempty(reason));
        if (kind != STREAM_FIFO)
                return 0;

        r = stream_open_fifo(s, request->uri, i > 0, q->io_uid, q->io_gid);
        switch (r) {
        case 0:
                return 0;
        case -ENOENT:
                return failure_set(failure, FAILURE_NOT_FOUND, "%s: FIFO %s does not exist: not found",
                                   stream_options[i], request->uri);
        case -EINVAL:
        case -ELOOP:
        case -ENOTDIR:
        case -ENAMETOOLONG:
                return failure_set(failure, FAILURE_INVALID_ARGUMENT, "%s: %s is not a FIFO: invalid argument",
                                   stream_options[i], request->uri);
        default:
                return failure_set_errno(failure, r, "%s: failed to open FIFO %s: %m", stream_options[i],
                                         request->uri);
        }
}

/* What is there already under this name is somebody else's. Undoing a create of ours would take it away, so none is
 * begun. */
static int check_absent(const Container *c, Failure *failure) {
        _cleanup_(freep) char *runtime_state = NULL, *work = NULL;
        _cleanup_(safe_closep) int fd = -EBADF;
        const Services *s = c->services;

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
        if (fd == -ENOENT || (fd >= 0 && directory_is_empty(fd) > 0))
                return 0;

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
        c->labels = TAKE_PTR(q->labels);
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
        if (r < 0)
                return failure_set_errno(failure, r, "Failed to make %s/%s/%s: %m", s->root_directory, ns, c->id);

        return 0;
}

static int make_bundle(Container *c, int dir_fd, const char *spec, Failure *failure) {
        int r;

        r = directory_make_beneath(dir_fd, "rootfs", 0711);
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
        r = container_save(c);
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

static int read_pid_file(Container *c, pid_t *ret_pid, uint64_t *ret_written_usec, Failure *failure) {
        _cleanup_(safe_closep) int dir_fd = container_open_state_directory(c), fd = -EBADF;
        _cleanup_(freep) char *text = NULL;
        struct stat st = {};
        uint64_t pid = 0;
        size_t size = 0;
        int r;

        r = dir_fd;
        if (r >= 0)
                r = fd = file_open_beneath(dir_fd, "init.pid", O_RDONLY | O_NONBLOCK, 0);
        if (r >= 0)
                r = file_read_fd(fd, 64, &text, &size);
        if (r >= 0 && fstat(fd, &st) < 0)
                r = -errno;
        if (r >= 0)
                r = parse_uint64(text, &pid);
        if (r >= 0 && (pid <= 1 || pid > INT32_MAX))
                r = -ERANGE;
        if (r < 0) {
                errno = -r;
                return failure_set(
                        failure, FAILURE_RUNTIME_FAILED,
                        "OCI runtime create failed: failed to retrieve OCI runtime container pid: init.pid: %m");
        }

        *ret_pid = (pid_t) pid;
        *ret_written_usec = (uint64_t) st.st_mtim.tv_sec * USEC_PER_SEC +
                            (uint64_t) st.st_mtim.tv_nsec / NSEC_PER_USEC;
        return 0;
}

/* Finds the init, alive or just dead. The runtime is believed only so far: its container must be a child of ours. */
static int take_init(Container *c, Failure *failure) {
        uint64_t written_usec = 0, when_usec = 0;
        Process *p = &c->init;
        int wait_status, r;
        pid_t pid = 0;
        PidStat stat;

        r = read_pid_file(c, &pid, &written_usec, failure);
        if (r < 0)
                return r;

        if (reaper_claim(c->services->reaper, pid, written_usec, &wait_status, &when_usec) > 0) {
                p->pid = pid;
                p->exited = true;
                p->exit_status = exit_status_from_wait(wait_status);
                p->exited_at = when_usec;
                return 0;
        }

        r = pid_read_stat(pid, &stat);
        if (r < 0 || stat.parent != getpid())
                return failure_set(failure, FAILURE_RUNTIME_FAILED,
                                   "OCI runtime create failed: failed to retrieve OCI runtime container pid: "
                                   "init.pid says %d, which is no process that %s has started",
                                   (int) pid, c->runtime);

        r = process_watch(p, pid, stat.start_time, false);
        if (r == -EEXIST)
                return failure_set(failure, FAILURE_RUNTIME_FAILED,
                                   "OCI runtime create failed: failed to retrieve OCI runtime container pid: "
                                   "init.pid says %d, which is another container's process",
                                   (int) pid);
        if (r < 0)
                return failure_set_errno(failure, r, "OCI runtime create failed: failed to watch process %d: %m",
                                         (int) pid);

        (void) pid_read_cgroup(pid, &c->control_group);
        return 0;
}

static void create_on_runtime(Operation *op, const JobResult *result) {
        Container *c = op->container;
        int r;

        if (!job_result_ok(result)) {
                operation_set_runtime_failure(op, "create", result);
                op->killed = result->error == -ETIMEDOUT || (result->error == 0 && WIFSIGNALED(result->wait_status));
                if (result->orphan_cgroups)
                        op->cgroups = strv_copy(result->orphan_cgroups);
                cleanup_undo_create(op, result->started_usec > 0);
                return;
        }

        r = take_init(c, &op->failure);
        if (r >= 0) {
                r = container_commit(c, EVENT_CREATE, &c->init, 0, true);
                if (r < 0)
                        failure_set_errno(&op->failure, r, "Failed to write the container's state below %s: %m",
                                          c->services->state_directory);
        }
        if (r < 0) {
                cleanup_undo_create(op, true);
                return;
        }

        operation_finish(op);
}

static int run_create(Operation *op) {
        _cleanup_(freep) char *log = NULL, *pid_file = NULL;
        Container *c = op->container;
        RuntimeCreateOptions o;
        char **argv = NULL;
        Runtime runtime;
        int stdio[3], r;

        pid_file = container_state_path(c, "init.pid");
        if (!pid_file)
                return -ENOMEM;
        r = container_get_runtime(c, &runtime, &log);
        if (r < 0)
                return r;

        o = (RuntimeCreateOptions) {
                .bundle = c->bundle,
                .pid_file = pid_file,
                .no_pivot = c->no_pivot_root,
                .no_new_keyring = c->no_new_keyring,
        };
        r = runtime_create_argv(&runtime, &o, &argv);
        if (r < 0)
                return r;

        for (size_t i = 0; i < ELEMENTSOF(stdio); i++)
                stdio[i] = c->init.streams[i].fd;

        r = operation_run(op, argv, stdio, false, *c->services->runtime_timeout_usec, create_on_runtime);
        if (r < 0)
                return r;

        for (size_t i = 0; i < ELEMENTSOF(stdio); i++)
                stream_release_child_end(&c->init.streams[i]);
        return 0;
}

int container_create(Registry *registry, CreateRequest *q, OperationDone done, void *userdata, Failure *failure) {
        _cleanup_(bundle_config_done) BundleConfig config = {};
        _cleanup_(container_freep) Container *c = NULL;
        Operation *op;
        int r;

        r = check_names(registry, q, failure);
        if (r < 0)
                return r;
        r = check_runtime(q, failure);
        if (r < 0)
                return r;
        r = read_config(q, &config, failure);
        if (r < 0)
                return r;

        r = container_new(&c, registry, q->ns, q->id);
        if (r < 0)
                return failure_set_errno(failure, r, "Failed to register container %s/%s: %m", q->ns, q->id);
        for (size_t i = 0; i < ELEMENTSOF(c->init.streams); i++) {
                r = open_stream(&c->init.streams[i], q, i, failure);
                if (r < 0)
                        return r;
        }
        r = fill_in(c, q, &config);
        if (r < 0)
                return failure_set_errno(failure, r, "Failed to create container %s/%s: %m", q->ns, q->id);
        r = check_absent(c, failure);
        if (r < 0)
                return r;

        r = make_folders(c, q, &config, failure);
        if (r < 0)
                return r;

        op = operation_begin(c, OPERATION_CREATE, done, userdata);
        if (!op) {
                cleanup_remove_folders(c);
                return failure_set_errno(failure, ENOMEM, "Failed to create container %s/%s: %m", q->ns, q->id);
        }
        TAKE_PTR(c); /* the operation frees it, if it fails */

        r = run_create(op);
        if (r < 0) {
                (void) failure_set_errno(&op->failure, r, "Failed to run the OCI runtime %s: %m",
                                         op->container->runtime);
                cleanup_undo_create(op, false);
        }
        return 0;
}
