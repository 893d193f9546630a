/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Checkpoints by CRIU. */

#include "core/checkpoint.h"
#include "core/process-io.h"
#include "host/tree.h"
#include "util/file.h"
#include "util/log.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#define WORK_FOLDER "criu-work"   /* of a checkpoint, below ROOT/NS/ID */
#define DUMP_COPY "criu-dump.log" /* in the bundle */

/* CRIU's logs can be large; what matters stands at the end. */
#define LOG_KEPT_MAX (1024U * 1024U)

/* ---- CRIU's log ---- */

/* The end of the log 'name' in the folder 'path', if it is not older than this try: nothing of it is followed or
 * waited for. */
static int log_read_end(const char *path, const char *name, uint64_t since_usec, char **ret, size_t *ret_size) {
        _cleanup_(safe_closep) int dir_fd = -EBADF, fd = -EBADF;
        uint64_t skipped;
        struct stat st;

        dir_fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (dir_fd < 0)
                return -errno;
        fd = file_open_beneath(dir_fd, name, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
        if (fd < 0)
                return fd;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (((uint64_t) st.st_mtim.tv_sec + 1) * USEC_PER_SEC < since_usec)
                return -ENODATA;

        return file_read_tail(fd, LOG_KEPT_MAX, ret, ret_size, &skipped);
}

/* Keeps the log where its readers look for it (containerd pkg/process/init.go, checkpoint). */
static int log_keep(const Container *c, const char *text, size_t size) {
        _cleanup_(safe_closep) int fd = -EBADF;

        fd = open(c->bundle, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        return file_write_atomic(fd, DUMP_COPY, text, size, 0600, false);
}

/* ---- making one ---- */

static char *checkpoint_work_path(const Operation *op) {
        const CheckpointRequest *q = op->q.checkpoint;

        return q->work_path ? strdup(q->work_path) : container_work_path(op->process->container, WORK_FOLDER);
}

static void checkpoint_on_work_removed(void *userdata, int result) {
        Operation *op = userdata;

        if (result < 0)
                (void) container_log(op->process->container, LOG_WARNING, result,
                                     "Failed to remove CRIU's work directory, leaving it: %m");
        operation_finish(op);
}

static void checkpoint_finish(Operation *op) {
        Container *c = op->process->container;
        _cleanup_(freep) char *path = container_relative_path(c);
        _cleanup_(safe_closep) int fd = -EBADF;
        int r;

        if (op->q.checkpoint->work_path) {
                operation_finish(op);
                return;
        }

        fd = path ? file_open_beneath(c->services->root_fd, path, O_RDONLY | O_DIRECTORY, 0) : -ENOMEM;
        r = fd < 0 ? fd : tree_remove_start(c->services->reaper, fd, WORK_FOLDER, checkpoint_on_work_removed, op);
        if (r < 0)
                checkpoint_on_work_removed(op, r);
}

static void checkpoint_set_failure(Operation *op, const JobResult *result) {
        _cleanup_(freep) char *text = NULL, *first = NULL, *work = NULL, *dump = NULL, *tail = NULL;
        Container *c = op->process->container;
        size_t size = 0;
        int r;

        if (result->error != 0) {
                operation_set_runtime_failure(op, "checkpoint", result);
                return;
        }

        text = runtime_result_to_text(c->runtime, result, *c->services->runtime_timeout_usec);
        first = text ? runtime_first_line(text) : NULL;
        work = checkpoint_work_path(op);
        r = work ? log_read_end(work, "dump.log", result->started_usec, &dump, &size) : -ENOMEM;
        if (r < 0) {
                /* CRIU did not come as far as to write one. */
                (void) failure_set(&op->failure, FAILURE_RUNTIME_FAILED, "OCI runtime checkpoint failed: %s",
                                   strempty(text));
                return;
        }

        tail = runtime_criu_tail(dump, size);
        r = log_keep(c, dump, size);
        if (r < 0)
                (void) container_log(c, LOG_WARNING, r, "Failed to keep CRIU's log in %s/" DUMP_COPY ": %m",
                                     c->bundle);
        (void) failure_set(&op->failure, FAILURE_RUNTIME_FAILED,
                           "OCI runtime checkpoint failed: %s path= %s/" DUMP_COPY ": %s", strempty(first), c->bundle,
                           strempty(tail));
}

static void checkpoint_on_runtime(Operation *op, const JobResult *result) {
        Process *p = op->process;

        if (job_result_ok(result))
                (void) container_commit(p->container, EVENT_CHECKPOINTED, p, 0, false);
        else
                checkpoint_set_failure(op, result);

        checkpoint_finish(op);
}

/* CRIU looks for the parent relative to the image, and the runtime takes it only so. */
static int checkpoint_parent_path(const CheckpointRequest *q, char **ret) {
        _cleanup_(freep) char *image = NULL, *path = NULL;
        size_t depth = 0;
        char *end;

        if (!q->parent_path)
                return 0;

        image = realpath(q->image_path, NULL);
        if (!image)
                return -errno;
        for (const char *c = image; *c; c++)
                depth += c[0] == '/' && c[1];

        path = malloc(3 * depth + strlen(q->parent_path) + 1);
        if (!path)
                return -ENOMEM;
        end = path;
        for (size_t i = 0; i < depth; i++)
                end = stpcpy(end, "../");
        (void) strcpy(end, q->parent_path + 1);

        *ret = TAKE_PTR(path);
        return 0;
}

static int checkpoint_argv(const Operation *op, const Runtime *runtime, char ***ret) {
        const CheckpointRequest *q = op->q.checkpoint;
        _cleanup_(freep) char *work = checkpoint_work_path(op), *parent = NULL;
        RuntimeCheckpointOptions o;
        int r;

        if (!work)
                return -ENOMEM;
        r = checkpoint_parent_path(q, &parent);
        if (r < 0)
                return r;

        o = (RuntimeCheckpointOptions) {
                .image_path = q->image_path,
                .work_path = work,
                .parent_path = parent,
                .leave_running = !q->exit,
                .open_tcp = q->open_tcp,
                .external_unix_sockets = q->external_unix_sockets,
                .terminal = q->terminal,
                .file_locks = q->file_locks,
                .empty_namespaces = q->empty_namespaces,
        };
        return runtime_checkpoint_argv(runtime, &o, ret);
}

/* CRIU cannot dump what lies outside of the container: the FIFO of a client, the file, the journal's FIFO. */
static int checkpoint_check_streams(const Process *p, Failure *failure) {
        if (p->relay || p->terminal)
                return 0;

        for (size_t i = 0; i < PROCESS_N_STREAMS; i++)
                switch (p->streams[i].kind) {
                case STREAM_FIFO:
                case STREAM_FILE:
                case STREAM_JOURNAL:
                        return failure_set(
                                failure, FAILURE_FAILED_PRECONDITION,
                                "process %s has %s as its %s, which CRIU cannot dump; create the container "
                                "with Relay to have it checkpointed: failed precondition",
                                p->id, p->streams[i].uri, stream_options[i]);
                default:
                        break;
                }
        return 0;
}

/* runc makes its directories itself, crun does not. */
static int checkpoint_make_directories(Operation *op) {
        const CheckpointRequest *q = op->q.checkpoint;
        _cleanup_(safe_closep) int image_fd = -EBADF, work_fd = -EBADF;
        _cleanup_(freep) char *work = checkpoint_work_path(op);

        if (!work)
                return failure_set_errno(&op->failure, ENOMEM, "Failed to prepare the checkpoint: %m");
        image_fd = directory_open_or_make(q->image_path, 0700);
        if (image_fd < 0)
                return failure_set_errno(&op->failure, image_fd, "Failed to open or make image directory %s: %m",
                                         q->image_path);
        work_fd = directory_open_or_make(work, 0700);
        if (work_fd < 0)
                return failure_set_errno(&op->failure, work_fd, "Failed to open or make work directory %s: %m", work);
        return 0;
}

int operation_checkpoint(Operation *op) {
        Container *c = op->process->container;
        int r;

        r = checkpoint_check_streams(&c->init, &op->failure);
        CONTAINER_FOREACH_EXEC(p, c)
                if (r >= 0 && p->state == PROCESS_RUNNING)
                        r = checkpoint_check_streams(p, &op->failure);
        if (r >= 0)
                r = checkpoint_make_directories(op);
        if (r < 0)
                return r;

        return operation_run_verb(op, checkpoint_argv, checkpoint_on_runtime);
}

/* ---- restoring from one ---- */

static char *restore_work_path(const Container *c) {
        return c->criu_work_path ? strdup(c->criu_work_path) : container_work_path(c, "");
}

int checkpoint_restore_argv(const Process *p, const Runtime *runtime, const char *pid_file, char ***ret) {
        const Container *c = p->container;
        _cleanup_(freep) char *work = restore_work_path(c);
        RuntimeRestoreOptions o;

        if (!work)
                return -ENOMEM;

        o = (RuntimeRestoreOptions) {
                .image_path = c->checkpoint,
                .work_path = work,
                .bundle = c->bundle,
                .pid_file = pid_file,
                .console_socket = process_get_console_socket(p),
                .no_pivot = c->no_pivot_root,
        };
        return runtime_restore_argv(runtime, &o, ret);
}

void checkpoint_explain_restore(Operation *op, const JobResult *result) {
        _cleanup_(freep) char *work = restore_work_path(op->process->container), *text = NULL, *tail = NULL;
        _cleanup_(freep) char *message = NULL;
        size_t size = 0;

        if (op->failure.kind != FAILURE_RUNTIME_FAILED || !work ||
            log_read_end(work, "restore.log", result->started_usec, &text, &size) < 0)
                return;

        tail = runtime_criu_tail(text, size);
        if (isempty(tail))
                return;
        message = strdup_printf("%s: %s", failure_message(&op->failure), tail);
        if (!message)
                return;

        free(op->failure.message);
        op->failure.message = TAKE_PTR(message);
}
