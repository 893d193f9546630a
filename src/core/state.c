/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* state.json: everything needed to take a container back. */

#include "core/state.h"
#include "util/file.h"
#include "util/json.h"
#include "util/strv.h"
#include "util/text.h"

#include <fcntl.h>

/* clang-format off */
static const char *const phase_table[] = {
        [CONTAINER_CREATING] = "creating",
        [CONTAINER_LIVE]     = "live",
        [CONTAINER_CLEANING] = "cleaning",
        [CONTAINER_DELETED]  = "deleted",
};
/* clang-format on */

static const char *const stream_names[3] = { "stdin", "stdout", "stderr" };

/* clang-format off */
static const char *const stream_kind_table[_STREAM_KIND_MAX] = {
        [STREAM_NULL] = "null",
        [STREAM_FIFO] = "fifo",
        [STREAM_FD]   = "fd",
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

/* ---- writing ---- */

static void state_write_stream(JsonWriter *w, const char *name, const Stream *s) {
        json_write_key(w, name);
        json_open_object(w);
        json_put_string(w, "kind", stream_kind_table[s->kind]);
        if (s->kind == STREAM_FIFO) {
                json_put_string(w, "path", s->path);
                json_put_uint64(w, "dev", s->dev);
                json_put_uint64(w, "ino", s->ino);
        }
        json_close_object(w);
}

static void state_write_process(JsonWriter *w, const Process *p) {
        json_open_object(w);
        json_put_string(w, "state", process_state_to_string(p->state));
        json_put_uint64(w, "pid", (uint64_t) p->pid);
        json_put_uint64(w, "start_time", p->start_time);
        json_put_uint64(w, "started_at", p->started_at);
        if (p->exited) {
                json_put_bool(w, "exited", true);
                json_put_uint64(w, "exit_status", p->exit_status);
                json_put_uint64(w, "exited_at", p->exited_at);
        }
        json_put_bool(w, "terminal", p->terminal);
        json_put_bool(w, "stdin_closed", p->stdin_closed);
        for (size_t i = 0; i < ELEMENTSOF(p->streams); i++)
                state_write_stream(w, stream_names[i], &p->streams[i]);
        json_close_object(w);
}

static void state_write_labels(JsonWriter *w, char *const *labels) {
        json_write_key(w, "labels");
        json_open_object(w);
        for (char *const *l = labels; l && l[0]; l += 2)
                json_put_string(w, l[0], l[1]);
        json_close_object(w);
}

static void state_write(JsonWriter *w, const Container *c) {
        char boot_id[SD_ID128_STRING_MAX];

        json_open_object(w);
        json_put_uint64(w, "version", STATE_VERSION);
        json_put_string(w, "boot_id", sd_id128_to_string(c->services->boot_id, boot_id));
        json_put_string(w, "namespace", container_get_namespace(c));
        json_put_string(w, "id", c->id);
        json_put_string(w, "phase", phase_table[c->phase]);
        json_put_string(w, "bundle", c->bundle);
        json_put_string(w, "runtime", c->runtime);
        json_put_string(w, "runtime_root", c->runtime_root);
        json_put_string(w, "control_group", c->control_group);
        json_put_string(w, "cgroups_path", c->cgroups_path);
        json_put_uint64(w, "created_at", c->created_at);
        json_put_uint64(w, "oom_kills", c->oom_kills);
        for (size_t i = 0; i < ELEMENTSOF(container_flags); i++)
                json_put_bool(w, container_flags[i].name,
                              *(const bool *) ((const char *) c + container_flags[i].offset));
        state_write_labels(w, c->labels);
        json_write_key(w, "init");
        state_write_process(w, &c->init);
        json_put_string(w, "event", c->last_event);
        json_close_object(w);
}

int state_save(const Container *c) {
        _cleanup_(json_writer_freep) JsonWriter *w = json_writer_new(false);
        _cleanup_(safe_closep) int dir_fd = -EBADF;
        const char *text;
        size_t size;
        int r;

        if (!w)
                return -ENOMEM;

        state_write(w, c);
        r = json_writer_finish(w, &text, &size);
        if (r < 0)
                return r;
        if (size > STATE_SIZE_MAX)
                return -EFBIG; /* it could not be read back */

        dir_fd = container_open_state_directory(c);
        if (dir_fd < 0)
                return dir_fd;

        return file_write_atomic(dir_fd, STATE_FILE, text, size, 0600, false);
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

static int load_labels(Container *c, Json labels) {
        for (size_t i = 0; i < json_length(labels); i++) {
                const char *value = json_string(json_value(labels, i));

                if (!value)
                        return -EBADMSG;
                if (strv_extend(&c->labels, json_key(labels, i)) < 0 || strv_extend(&c->labels, value) < 0)
                        return -ENOMEM;
        }

        return 0;
}

static int load_stream(Stream *s, Json tree, bool output) {
        const char *kind = NULL;
        uint64_t dev = 0, ino = 0;
        int r;

        s->output = output;
        if (!tree)
                return 0;
        if (json_get_string(tree, "kind", &kind) <= 0)
                return -EBADMSG;

        for (size_t i = 0; i < ELEMENTSOF(stream_kind_table); i++)
                if (streq(stream_kind_table[i], kind)) {
                        s->kind = (StreamKind) i;
                        if (s->kind != STREAM_FIFO)
                                return 0;

                        r = load_string(tree, "path", true, &s->path);
                        if (r < 0 || (r = load_uint64(tree, "dev", &dev)) < 0 ||
                            (r = load_uint64(tree, "ino", &ino)) < 0)
                                return r;
                        s->dev = dev;
                        s->ino = ino;
                        return 0;
                }

        return -EBADMSG;
}

static int load_process(Process *p, Json tree) {
        uint64_t pid = 0, status = 0;
        const char *state = NULL;
        int r;

        if (!json_is_object(tree) || json_get_string(tree, "state", &state) <= 0)
                return -EBADMSG;

        p->state = process_state_from_string(state);
        if (p->state < 0)
                return -EBADMSG;

        if ((r = load_uint64(tree, "pid", &pid)) < 0 || (r = load_uint64(tree, "start_time", &p->start_time)) < 0 ||
            (r = load_uint64(tree, "started_at", &p->started_at)) < 0 ||
            (r = load_uint64(tree, "exit_status", &status)) < 0 ||
            (r = load_uint64(tree, "exited_at", &p->exited_at)) < 0 ||
            (r = load_bool(tree, "exited", &p->exited)) < 0 || (r = load_bool(tree, "terminal", &p->terminal)) < 0 ||
            (r = load_bool(tree, "stdin_closed", &p->stdin_closed)) < 0)
                return r;
        if (pid > INT32_MAX || status > UINT32_MAX)
                return -EBADMSG;

        p->pid = (pid_t) pid;
        p->exit_status = (uint32_t) status;
        if (p->state == PROCESS_STOPPED || p->state == PROCESS_DELETED)
                p->exited = true;

        for (size_t i = 0; i < ELEMENTSOF(p->streams); i++) {
                r = load_stream(&p->streams[i], json_get(tree, stream_names[i]), i > 0);
                if (r < 0)
                        return r;
        }

        return 0;
}

static int load_container(Container *c, Json tree) {
        int r;

        if ((r = load_string(tree, "bundle", true, &c->bundle)) < 0 ||
            (r = load_string(tree, "runtime", true, &c->runtime)) < 0 ||
            (r = load_string(tree, "runtime_root", true, &c->runtime_root)) < 0 ||
            (r = load_string(tree, "control_group", false, &c->control_group)) < 0 ||
            (r = load_string(tree, "cgroups_path", false, &c->cgroups_path)) < 0 ||
            (r = load_string(tree, "event", false, &c->last_event)) < 0 ||
            (r = load_uint64(tree, "created_at", &c->created_at)) < 0 ||
            (r = load_uint64(tree, "oom_kills", &c->oom_kills)) < 0)
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
        if (json_get_string(tree, "boot_id", &boot_id) <= 0 || sd_id128_from_string(boot_id, ret_boot_id) < 0)
                return state_refuse(reterr_reason, STATE_FILE ": it has no boot id");
        if (json_get_string(tree, "phase", &phase) <= 0 || phase_to_status(phase) < 0)
                return state_refuse(reterr_reason, STATE_FILE ": it has no phase");

        r = load_container(c, tree);
        if (r < 0)
                return r == -ENOMEM
                               ? r
                               : state_refuse(reterr_reason, STATE_FILE ": a member is missing or of the wrong type");

        return phase_to_status(phase);
}
