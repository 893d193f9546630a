/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is on disk of a container and its processes. */

#include "core/state.h"
#include "core/process-io.h"
#include "util/file.h"
#include "util/json.h"
#include "util/log.h"
#include "util/strv.h"
#include "util/text.h"

#include <dirent.h>
#include <fcntl.h>

/* clang-format off */
static const char *const phase_table[] = {
        [CONTAINER_CREATING] = "creating",
        [CONTAINER_LIVE]     = "live",
        [CONTAINER_CLEANING] = "cleaning",
        [CONTAINER_DELETED]  = "deleted",
};
/* clang-format on */

/* clang-format off */
static const char *const stream_kind_table[_STREAM_KIND_MAX] = {
        [STREAM_NULL]    = "null",
        [STREAM_FIFO]    = "fifo",
        [STREAM_FILE]    = "file",
        [STREAM_JOURNAL] = "journal",
        [STREAM_BINARY]  = "binary",
        [STREAM_FD]      = "fd",
};
/* clang-format on */

/* clang-format off */
static const struct {
        const char *name;
        size_t offset;
} container_flags[] = {
        { "owns_bundle",      offsetof(Container, owns_bundle)      },
        { "systemd_cgroup",   offsetof(Container, systemd_cgroup)   },
        { "no_pivot_root",    offsetof(Container, no_pivot_root)    },
        { "no_new_keyring",   offsetof(Container, no_new_keyring)   },
        { "kill_all_on_exit", offsetof(Container, kill_all_on_exit) },
};
/* clang-format on */

/* clang-format off */
static const struct {
        const char *name;
        size_t offset;
} process_flags[] = {
        { "terminal",     offsetof(Process, terminal)     },
        { "relay",        offsetof(Process, relay)        },
        { "stdin_closed", offsetof(Process, stdin_closed) },
};
/* clang-format on */

/* ---- writing ---- */

static void state_write_stream(JsonWriter *w, const Process *p, size_t i) {
        const Stream *s = &p->streams[i];
        uint64_t start_time;
        pid_t pid;

        json_write_key(w, stream_names[i]);
        json_open_object(w);
        json_put_string(w, "kind", stream_kind_table[s->kind]);
        if (s->uri)
                json_put_string(w, "uri", s->uri);
        if (s->kind == STREAM_FIFO || s->kind == STREAM_JOURNAL) {
                json_put_uint64(w, "dev", s->dev);
                json_put_uint64(w, "ino", s->ino);
        }
        pid = process_get_logger(p, i, &start_time);
        if (pid > 0) {
                json_put_uint64(w, "logger_pid", (uint64_t) pid);
                json_put_uint64(w, "logger_start_time", start_time);
        }
        json_close_object(w);
}

/* The members of a process, in an object that is open. */
static void state_write_process(JsonWriter *w, const Process *p) {
        json_put_string(w, "state", process_state_to_string(p->state));
        json_put_uint64(w, "pid", (uint64_t) p->pid);
        json_put_uint64(w, "start_time", p->start_time);
        json_put_uint64(w, "started_at", p->started_at);
        if (p->exited) {
                json_put_bool(w, "exited", true);
                json_put_uint64(w, "exit_status", p->exit_status);
                json_put_uint64(w, "exited_at", p->exited_at);
        }
        for (size_t i = 0; i < ELEMENTSOF(process_flags); i++)
                json_put_bool(w, process_flags[i].name, *(const bool *) ((const char *) p + process_flags[i].offset));
        if (p->columns > 0 || p->rows > 0) {
                json_put_uint64(w, "columns", p->columns);
                json_put_uint64(w, "rows", p->rows);
        }
        if (p->io_uid != (uid_t) -1)
                json_put_uint64(w, "io_uid", p->io_uid);
        if (p->io_gid != (gid_t) -1)
                json_put_uint64(w, "io_gid", p->io_gid);
        for (size_t i = 0; i < PROCESS_N_STREAMS; i++)
                state_write_stream(w, p, i);
}

static void state_write_labels(JsonWriter *w, char *const *labels) {
        json_write_key(w, "labels");
        json_open_object(w);
        for (char *const *l = labels; l && l[0]; l += 2)
                json_put_string(w, l[0], l[1]);
        json_close_object(w);
}

static void state_write_head(JsonWriter *w, const Container *c, const char *id) {
        char boot_id[SD_ID128_STRING_MAX];

        json_put_uint64(w, "version", STATE_VERSION);
        json_put_string(w, "boot_id", sd_id128_to_string(c->services->boot_id, boot_id));
        json_put_string(w, "namespace", container_get_namespace(c));
        json_put_string(w, "id", id);
}

static void state_write_container(JsonWriter *w, const Container *c) {
        json_open_object(w);
        state_write_head(w, c, c->id);
        json_put_string(w, "phase", phase_table[c->phase]);
        json_put_string(w, "bundle", c->bundle);
        json_put_string(w, "runtime", c->runtime);
        json_put_string(w, "runtime_root", c->runtime_root);
        json_put_string(w, "control_group", c->control_group);
        json_put_string(w, "cgroups_path", c->cgroups_path);
        json_put_string(w, "checkpoint", c->checkpoint);
        json_put_string(w, "criu_work_path", c->criu_work_path);
        json_write_key(w, "rootfs");
        mounts_write_json(&c->rootfs, w);
        json_put_uint64(w, "created_at", c->created_at);
        json_put_uint64(w, "oom_kills", c->oom_kills);
        json_put_uint64(w, "oom_counter", c->oom_counter);
        for (size_t i = 0; i < ELEMENTSOF(container_flags); i++)
                json_put_bool(w, container_flags[i].name,
                              *(const bool *) ((const char *) c + container_flags[i].offset));
        state_write_labels(w, c->labels);
        json_write_key(w, "init");
        json_open_object(w);
        state_write_process(w, &c->init);
        json_close_object(w);
        json_put_string(w, "event", c->init.last_event);
        json_close_object(w);
}

static void state_write_exec(JsonWriter *w, const Process *p) {
        json_open_object(w);
        state_write_head(w, p->container, p->id);
        state_write_process(w, p);
        json_put_string(w, "event", p->last_event);
        json_close_object(w);
}

int state_save(const Process *p) {
        _cleanup_(json_writer_freep) JsonWriter *w = json_writer_new(false);
        _cleanup_(safe_closep) int dir_fd = -EBADF;
        _cleanup_(freep) char *name = NULL;
        bool is_init = process_is_init(p);
        const char *text;
        size_t size;
        int r;

        name = is_init ? strdup(STATE_FILE) : strdup_printf("%s." STATE_KIND, p->id);
        if (!w || !name)
                return -ENOMEM;

        if (is_init)
                state_write_container(w, p->container);
        else
                state_write_exec(w, p);
        r = json_writer_finish(w, &text, &size);
        if (r < 0)
                return r;
        if (size > STATE_SIZE_MAX)
                return -EFBIG; /* it could not be read back */

        dir_fd = process_open_directory(p);
        if (dir_fd < 0)
                return dir_fd;

        return file_write_atomic(dir_fd, name, text, size, 0600, false);
}

/* ---- reading ---- */

static int load_string(Json tree, const char *name, bool needed, char **ret) {
        const char *s = NULL;
        char *copy;
        int r;

        r = json_get_string(tree, name, &s);
        if (r < 0 || (r == 0 && needed))
                return -EBADMSG;
        if (r == 0)
                return 0;

        copy = strdup(s);
        if (!copy)
                return -ENOMEM;
        free(*ret);
        *ret = copy;
        return 0;
}

static int load_uint64(Json tree, const char *name, uint64_t *ret) {
        return json_get_uint64(tree, name, ret) < 0 ? -EBADMSG : 0;
}

static int load_bool(Json tree, const char *name, bool *ret) {
        return json_get_bool(tree, name, ret) < 0 ? -EBADMSG : 0;
}

static int load_labels(Container *c, Json tree) {
        _cleanup_(strv_freep) char **labels = NULL;

        for (size_t i = 0; i < json_length(tree); i++) {
                const char *value = json_string(json_value(tree, i));

                if (!value)
                        return -EBADMSG;
                if (strv_extend(&labels, json_key(tree, i)) < 0 || strv_extend(&labels, value) < 0)
                        return -ENOMEM;
        }
        if (labels && !(c->labels = strv_pack(labels)))
                return -ENOMEM;

        return 0;
}

static int load_logger(Process *p, size_t i, Json tree) {
        uint64_t pid = 0, start_time = 0;

        if (load_uint64(tree, "logger_pid", &pid) < 0 || load_uint64(tree, "logger_start_time", &start_time) < 0 ||
            pid > INT32_MAX)
                return -EBADMSG;

        return pid > 0 && start_time > 0 ? process_expect_logger(p, i, (pid_t) pid, start_time) : 0;
}

static int load_stream(Process *p, size_t i, Json tree) {
        uint64_t dev = 0, ino = 0;
        const char *kind = NULL;
        Stream *s;
        size_t k;
        int r;

        if (!tree)
                return 0;
        if (json_get_string(tree, "kind", &kind) <= 0)
                return -EBADMSG;
        for (k = 0; k < ELEMENTSOF(stream_kind_table); k++)
                if (streq(stream_kind_table[k], kind))
                        break;
        if (k == ELEMENTSOF(stream_kind_table))
                return -EBADMSG;

        if (k == STREAM_NULL)
                return 0;
        r = process_allocate_streams(p);
        if (r < 0)
                return r;
        s = &p->streams[i];
        s->kind = (StreamKind) k;
        if (s->kind == STREAM_FD)
                return 0;

        /* Version 1 knew only FIFOs, and called this their path. */
        r = load_string(tree, json_get(tree, "path") ? "path" : "uri", true, &s->uri);
        if (r < 0 || (r = load_uint64(tree, "dev", &dev)) < 0 || (r = load_uint64(tree, "ino", &ino)) < 0)
                return r;
        s->dev = dev;
        s->ino = ino;
        return s->kind == STREAM_BINARY ? load_logger(p, i, tree) : 0;
}

static int load_small(Json tree, const char *name, uint64_t max, uint64_t *ret) {
        int r;

        r = load_uint64(tree, name, ret);
        return r >= 0 && *ret > max ? -EBADMSG : r;
}

static int load_process(Process *p, Json tree) {
        uint64_t pid = 0, status = 0, columns = 0, rows = 0, uid = p->io_uid, gid = p->io_gid;
        const char *state = NULL;
        int r;

        if (!json_is_object(tree) || json_get_string(tree, "state", &state) <= 0)
                return -EBADMSG;

        p->state = process_state_from_string(state);
        if (p->state < 0)
                return -EBADMSG;

        if ((r = load_small(tree, "pid", INT32_MAX, &pid)) < 0 ||
            (r = load_uint64(tree, "start_time", &p->start_time)) < 0 ||
            (r = load_uint64(tree, "started_at", &p->started_at)) < 0 ||
            (r = load_small(tree, "exit_status", UINT32_MAX, &status)) < 0 ||
            (r = load_uint64(tree, "exited_at", &p->exited_at)) < 0 ||
            (r = load_bool(tree, "exited", &p->exited)) < 0 ||
            (r = load_small(tree, "columns", UINT16_MAX, &columns)) < 0 ||
            (r = load_small(tree, "rows", UINT16_MAX, &rows)) < 0 ||
            (r = load_small(tree, "io_uid", UINT32_MAX, &uid)) < 0 ||
            (r = load_small(tree, "io_gid", UINT32_MAX, &gid)) < 0)
                return r;
        for (size_t i = 0; i < ELEMENTSOF(process_flags); i++) {
                r = load_bool(tree, process_flags[i].name, (bool *) ((char *) p + process_flags[i].offset));
                if (r < 0)
                        return r;
        }

        p->pid = (pid_t) pid;
        p->exit_status = (uint32_t) status;
        p->columns = (uint16_t) columns;
        p->rows = (uint16_t) rows;
        p->io_uid = (uid_t) uid;
        p->io_gid = (gid_t) gid;
        if (p->state == PROCESS_STOPPED || p->state == PROCESS_DELETED)
                p->exited = true;
        p->exit_saved = p->exited;

        for (size_t i = 0; i < PROCESS_N_STREAMS; i++) {
                r = load_stream(p, i, json_get(tree, stream_names[i]));
                if (r < 0)
                        return r;
        }

        return load_string(tree, "event", false, &p->last_event);
}

static int load_rootfs(Container *c, Json tree) {
        Json rootfs = json_get(tree, "rootfs");
        int r;

        r = rootfs ? mounts_read_json(&c->rootfs, rootfs) : 0;
        return r == -EINVAL ? -EBADMSG : r;
}

static int load_container(Container *c, Json tree) {
        int r;

        c->oom_counter = UINT64_MAX;
        if ((r = load_string(tree, "bundle", true, &c->bundle)) < 0 ||
            (r = load_string(tree, "runtime", true, &c->runtime)) < 0 ||
            (r = load_string(tree, "runtime_root", true, &c->runtime_root)) < 0 ||
            (r = load_string(tree, "control_group", false, &c->control_group)) < 0 ||
            (r = load_string(tree, "cgroups_path", false, &c->cgroups_path)) < 0 ||
            (r = load_string(tree, "checkpoint", false, &c->checkpoint)) < 0 ||
            (r = load_string(tree, "criu_work_path", false, &c->criu_work_path)) < 0 ||
            (r = load_rootfs(c, tree)) < 0 || (r = load_string(tree, "event", false, &c->init.last_event)) < 0 ||
            (r = load_uint64(tree, "created_at", &c->created_at)) < 0 ||
            (r = load_uint64(tree, "oom_kills", &c->oom_kills)) < 0 ||
            (r = load_uint64(tree, "oom_counter", &c->oom_counter)) < 0)
                return r;

        for (size_t i = 0; i < ELEMENTSOF(container_flags); i++) {
                r = load_bool(tree, container_flags[i].name, (bool *) ((char *) c + container_flags[i].offset));
                if (r < 0)
                        return r;
        }

        r = load_labels(c, json_get(tree, "labels"));
        if (r < 0)
                return r;

        return load_process(&c->init, json_get(tree, "init"));
}

static int phase_to_status(const char *phase) {
        if (streq(phase, phase_table[CONTAINER_LIVE]))
                return STATE_LOADED;
        if (streq(phase, phase_table[CONTAINER_CREATING]))
                return STATE_CREATING;
        if (streq(phase, phase_table[CONTAINER_DELETED]))
                return STATE_DELETED;
        if (streq(phase, phase_table[CONTAINER_CLEANING]))
                return STATE_CLEANING;
        return -EBADMSG;
}

static int state_refuse(char **reterr_reason, const char *reason) {
        if (reterr_reason && !*reterr_reason)
                *reterr_reason = strdup(reason);
        return -EBADMSG;
}

int state_load(Container *c, int dir_fd, sd_id128_t *ret_boot_id, char **reterr_reason) {
        _cleanup_(json_freep) Json tree = NULL;
        _cleanup_(freep) char *text = NULL;
        const char *phase = NULL, *boot_id = NULL, *ns = NULL, *id = NULL;
        uint64_t version = 0;
        size_t size;
        int r;

        /* What is no file of ours, or none that we would write, is damage. Any other failure is ours or the moment's,
         * and harms no container: the next start may have more luck. */
        r = file_read_beneath(dir_fd, STATE_FILE, STATE_SIZE_MAX, &text, &size);
        if (r == -EFBIG || r == -EISDIR || r == -EBADFD || r == -ELOOP || r == -EXDEV)
                return state_refuse(reterr_reason, STATE_FILE " is no file that monoshimd has written");
        if (r < 0)
                return r;

        r = json_parse(text, size, &tree, reterr_reason);
        if (r < 0)
                return r == -ENOMEM ? r : state_refuse(reterr_reason, STATE_FILE ": it is no JSON");
        if (json_get_uint64(tree, "version", &version) <= 0 || version == 0)
                return state_refuse(reterr_reason, STATE_FILE ": it has no version");
        if (version > STATE_VERSION)
                return -EPROTONOSUPPORT; /* of a newer monoshimd: not damaged, only not for us */
        if (json_get_string(tree, "namespace", &ns) <= 0 || json_get_string(tree, "id", &id) <= 0 ||
            !streq(ns, container_get_namespace(c)) || !streq(id, c->id))
                return state_refuse(reterr_reason, STATE_FILE ": it is that of another container");

        /* What it was made of comes first: the cleanup after a damaged one needs as much of it as there is. */
        r = load_container(c, tree);
        if (r < 0)
                return r == -ENOMEM
                               ? r
                               : state_refuse(reterr_reason, STATE_FILE ": a member is missing or of the wrong type");
        if (json_get_string(tree, "boot_id", &boot_id) <= 0 || sd_id128_from_string(boot_id, ret_boot_id) < 0)
                return state_refuse(reterr_reason, STATE_FILE ": it has no boot id");
        if (json_get_string(tree, "phase", &phase) <= 0 || phase_to_status(phase) < 0)
                return state_refuse(reterr_reason, STATE_FILE ": it has no phase");

        return phase_to_status(phase);
}

/* ---- exec'd processes ---- */

static int load_exec(Container *c, int exec_fd, const char *file, const char *id, sd_id128_t boot_id,
                     char **reterr_reason) {
        _cleanup_(json_freep) Json tree = NULL;
        const char *boot_text = NULL, *named = NULL, *ns = NULL;
        _cleanup_(freep) char *text = NULL;
        uint64_t version = 0;
        sd_id128_t boot;
        Process *p;
        size_t size;
        int r;

        r = file_read_beneath(exec_fd, file, STATE_SIZE_MAX, &text, &size);
        if (r >= 0)
                r = json_parse(text, size, &tree, reterr_reason);
        if (r < 0)
                return r;
        if (json_get_uint64(tree, "version", &version) <= 0 || version == 0 || version > STATE_VERSION ||
            json_get_string(tree, "id", &named) <= 0 || !streq(named, id) ||
            json_get_string(tree, "namespace", &ns) <= 0 || !streq(ns, container_get_namespace(c)) ||
            json_get_string(tree, "boot_id", &boot_text) <= 0 || sd_id128_from_string(boot_text, &boot) < 0 ||
            !sd_id128_equal(boot, boot_id))
                return -EBADMSG;

        r = container_add_exec(c, id, &p);
        if (r < 0)
                return r;
        r = load_process(p, tree);
        if (r >= 0 && p->state != PROCESS_CREATED && p->state != PROCESS_RUNNING && p->state != PROCESS_STOPPED)
                r = -EBADMSG; /* those that an exec'd process never has */
        if (r < 0) {
                p->state = PROCESS_DELETED;
                container_collect(c);
                return r;
        }
        return 0;
}

void state_load_execs(Container *c, int dir_fd, sd_id128_t boot_id) {
        _cleanup_(safe_closep) int fd = -EBADF;
        struct dirent **entries = NULL;
        int n;

        fd = file_open_beneath(dir_fd, EXEC_FOLDER, O_RDONLY | O_DIRECTORY, 0);
        if (fd < 0)
                return;

        n = scandirat(fd, ".", &entries, NULL, alphasort);
        for (int i = 0; i < n; i++) {
                _cleanup_(freep) char *id = NULL, *reason = NULL;
                const char *name = entries[i]->d_name;
                size_t length = strlen(name), suffix = strlen("." STATE_KIND);
                int r;

                if (name[0] != '.' && length > suffix && streq(name + length - suffix, "." STATE_KIND)) {
                        id = strndup(name, length - suffix);
                        r = !id                        ? -ENOMEM
                            : !identifier_is_valid(id) ? -EINVAL
                                                       : load_exec(c, fd, name, id, boot_id, &reason);
                        if (r < 0)
                                (void) container_log(c, LOG_WARNING, r,
                                                     "Leaving out what " EXEC_FOLDER
                                                     "/%s says, it cannot be used%s%s: "
                                                     "%m",
                                                     name, reason ? ": " : "", strempty(reason));
                }
                free(entries[i]);
        }
        free(entries);
}
