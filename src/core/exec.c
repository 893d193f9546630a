/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Processes that are exec'd into a container. */

#include "core/exec.h"
#include "core/registry.h"
#include "core/state.h"
#include "util/crash-point.h"
#include "util/file.h"
#include "util/json.h"
#include "util/log.h"
#include "util/text.h"

#include <fcntl.h>

/* ---- the OCI process object ---- */

static int spec_refuse(Failure *failure, const char *what) {
        return failure_set(failure, FAILURE_INVALID_ARGUMENT, "process: %s: invalid argument", what);
}

static bool is_string_array(Json v) {
        for (size_t i = 0; i < json_length(v); i++)
                if (!json_string(json_element(v, i)))
                        return false;
        return YAJL_IS_ARRAY(v);
}

/* What a runtime would choke on, or take for something else, once it is too late to say so. */
static int spec_check(Json spec, Failure *failure) {
        static const char *const lists[] = { "args", "env" };
        const char *cwd = NULL;

        if (!json_is_object(spec))
                return spec_refuse(failure, "it is no JSON object");
        for (size_t i = 0; i < ELEMENTSOF(lists); i++) {
                Json v = json_get(spec, lists[i]);

                if (v && !YAJL_IS_NULL(v) && !is_string_array(v))
                        return failure_set(failure, FAILURE_INVALID_ARGUMENT,
                                           "process: \"%s\" is no array of strings: invalid argument", lists[i]);
        }
        if (json_get_string(spec, "cwd", &cwd) < 0)
                return spec_refuse(failure, "\"cwd\" is no string");
        if (json_get(spec, "user") && !json_is_object(json_get(spec, "user")))
                return spec_refuse(failure, "\"user\" is no object");
        return 0;
}

static int spec_parse(const char *text, size_t size, Json *ret, Failure *failure) {
        _cleanup_(json_freep) Json spec = NULL;
        _cleanup_(freep) char *reason = NULL;
        int r;

        if (size > EXEC_SPEC_MAX)
                return spec_refuse(failure, "it is larger than 16 MiB");

        r = json_parse(text, size, &spec, &reason);
        if (r == -ENOMEM)
                return failure_set_errno(failure, r, "Failed to parse the process: %m");
        if (r < 0)
                return spec_refuse(failure, strempty(reason));
        r = spec_check(spec, failure);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(spec);
        return 0;
}

/* The client's text with our terminal and its size in the place of theirs. */
static int spec_write(const Process *p, Json spec) {
        _cleanup_(json_writer_freep) JsonWriter *w = json_writer_new(false);
        _cleanup_(safe_closep) int dir_fd = container_open_state_directory(p->container), exec_fd = -EBADF;
        _cleanup_(freep) char *name = strdup_printf("%s.json", p->id);
        const char *text;
        size_t size;
        int r;

        if (!w || !name)
                return -ENOMEM;

        json_open_object(w);
        for (size_t i = 0; i < json_length(spec); i++) {
                const char *key = json_key(spec, i);

                if (streq(key, "terminal") || (streq(key, "consoleSize") && p->columns > 0))
                        continue;
                json_write_key(w, key);
                json_write_tree(w, json_value(spec, i));
        }
        json_put_bool(w, "terminal", p->terminal);
        if (p->terminal && p->columns > 0) {
                json_write_key(w, "consoleSize");
                json_open_object(w);
                json_put_uint64(w, "height", p->rows);
                json_put_uint64(w, "width", p->columns);
                json_close_object(w);
        }
        json_close_object(w);
        r = json_writer_finish(w, &text, &size);
        if (r < 0)
                return r;

        r = dir_fd < 0 ? dir_fd : directory_make_beneath(dir_fd, EXEC_FOLDER, 0700);
        crash_point("exec-folder-made");
        if (r >= 0)
                r = exec_fd = process_open_directory(p);
        if (r >= 0)
                r = file_write_atomic(exec_fd, name, text, size, 0600, false);
        return r;
}

int exec_prepare_spec(const Process *p, Failure *failure) {
        _cleanup_(safe_closep) int dir_fd = -EBADF;
        _cleanup_(freep) char *name = NULL, *text = NULL;
        _cleanup_(json_freep) Json spec = NULL;
        size_t size;
        int r;

        if (!p->terminal || p->columns == 0)
                return 0;

        dir_fd = container_open_state_directory(p->container);
        name = process_file(p, "json");
        r = !name ? -ENOMEM : dir_fd < 0 ? dir_fd : file_read_beneath(dir_fd, name, 2 * EXEC_SPEC_MAX, &text, &size);
        if (r >= 0)
                r = json_parse(text, size, &spec, NULL);
        if (r >= 0)
                r = spec_write(p, spec);
        if (r < 0)
                return failure_set_errno(failure, r, "Failed to set the size of the terminal of process %s: %m",
                                         p->id);
        return 0;
}

int exec_argv(const Process *p, const Runtime *runtime, const char *pid_file, char ***ret) {
        _cleanup_(freep) char *name = process_file(p, "json"), *spec = NULL;
        RuntimeExecOptions o;

        spec = name ? container_state_path(p->container, name) : NULL;
        if (!spec)
                return -ENOMEM;

        o = (RuntimeExecOptions) {
                .process_file = spec,
                .pid_file = pid_file,
                .console_socket = process_get_console_socket(p),
        };
        return runtime_exec_argv(runtime, &o, ret);
}

/* ---- files ---- */

static void exec_remove_file(const Process *p, int dir_fd, const char *kind) {
        _cleanup_(freep) char *name = process_file(p, kind);

        if (name)
                (void) unlinkat(dir_fd, name, 0);
}

void exec_forget_spec(const Process *p) {
        _cleanup_(safe_closep) int dir_fd = container_open_state_directory(p->container);

        if (dir_fd >= 0)
                exec_remove_file(p, dir_fd, "json");
}

int exec_remove_files(const Process *p) {
        static const char *const kinds[] = { "json", "pid", "log", "stdout", "stderr" };
        _cleanup_(safe_closep) int dir_fd = container_open_state_directory(p->container);
        _cleanup_(freep) char *state = process_file(p, STATE_KIND);

        if (dir_fd == -ENOENT)
                return 0;
        if (dir_fd < 0)
                return dir_fd;
        if (!state)
                return -ENOMEM;

        crash_point("exec-before-remove");
        /* First: without it the rest belongs to nobody, and with it the next start would bring the process back. */
        if (unlinkat(dir_fd, state, 0) < 0 && errno != ENOENT)
                return -errno;
        for (size_t i = 0; i < ELEMENTSOF(kinds); i++)
                exec_remove_file(p, dir_fd, kinds[i]);
        crash_point("exec-removed");
        return 0;
}

/* ---- registering ---- */

static int exec_check(const Container *c, const ExecRequest *q, Failure *failure) {
        const LifecycleRule *rule = lifecycle_init_rule(c->init.state, VERB_EXEC);
        _cleanup_(freep) char *reason = NULL;

        if (identifier_check(q->id, &reason) < 0)
                return failure_set(failure, FAILURE_INVALID_ARGUMENT, "invalid exec id: %s", strempty(reason));
        if (c->registry->stopping)
                return failure_set(failure, FAILURE_UNAVAILABLE, "monoshimd is stopping");

        /* An exit that is known but not told yet is as good as told. */
        if (c->init.exited && c->init.state != PROCESS_STOPPED)
                rule = lifecycle_init_rule(PROCESS_STOPPED, VERB_EXEC);
        if (rule->answer != LIFECYCLE_ALLOWED)
                return failure_set(failure, FAILURE_FAILED_PRECONDITION, "%s", rule->text);
        return 0;
}

static int exec_fill_in(Process *p, const ExecRequest *q, Json spec, Failure *failure) {
        int r;

        p->terminal = q->terminal;
        p->columns = q->columns;
        p->rows = q->rows;
        p->io_uid = q->io_uid;
        p->io_gid = q->io_gid;

        r = process_open_streams(p, q->streams, failure);
        if (r < 0)
                return r;

        r = spec_write(p, spec);
        if (r >= 0)
                r = container_commit(p->container, EVENT_EXEC_ADDED, p, 0, true);
        if (r < 0)
                return failure_set_errno(failure, r, "Failed to write the state of process %s below %s: %m", p->id,
                                         p->container->services->state_directory);
        return 0;
}

static int exec_check_limits(const Container *c, const ExecRequest *q, Failure *failure) {
        const Limits *limits = c->services->limits;
        unsigned n = HASH_CNT(by_id, c->execs);
        size_t size = strlen(q->spec);

        if (size > limits->spec_size && size <= EXEC_SPEC_MAX)
                return failure_set_size_limit(failure, "MaxSpecSize", limits->spec_size, "process: it has %zu bytes", size);
        if (n >= limits->execs_per_container)
                return failure_set_limit(failure, "MaxExecsPerContainer", limits->execs_per_container,
                                         "container %s has %u exec'd processes already", c->id, n);
        return 0;
}

int container_exec(Container *c, const ExecRequest *q, Process **ret, Failure *failure) {
        _cleanup_(json_freep) Json spec = NULL;
        Process *p;
        int r;

        r = exec_check(c, q, failure);
        if (r < 0)
                return r;
        r = exec_check_limits(c, q, failure);
        if (r < 0)
                return r;
        r = spec_parse(q->spec, strlen(q->spec), &spec, failure);
        if (r < 0)
                return r;

        r = container_add_exec(c, q->id, &p);
        if (r == -EEXIST)
                return failure_set(failure, FAILURE_ALREADY_EXISTS, "id %s: already exists", q->id);
        if (r < 0)
                return failure_set_errno(failure, r, "Failed to register process %s: %m", q->id);

        r = exec_fill_in(p, q, spec, failure);
        if (r < 0) {
                (void) exec_remove_files(p);
                process_release_io(p);
                p->state = PROCESS_DELETED;
                container_collect(c);
                return r;
        }

        *ret = p;
        return 0;
}
