/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* org.monoshim1.Container: what concerns a container as a whole. */

#include "bus/call.h"
#include "bus/error.h"
#include "bus/objects.h"
#include "bus/option.h"
#include "bus/path.h"
#include "core/exec.h"
#include "core/operation.h"
#include "core/registry.h"
#include "host/cgroup-stats.h"
#include "util/json.h"

#define PROPERTY_GETTER(name, type, value) \
        static int property_get_##name(sd_bus *bus, const char *path, const char *interface, const char *property, \
                                       sd_bus_message *reply, void *userdata, sd_bus_error *ret_error) { \
                const Container *c = userdata; \
\
                return sd_bus_message_append_basic(reply, type, value); \
        }

PROPERTY_GETTER(namespace, 's', container_get_namespace(c))
PROPERTY_GETTER(id, 's', c->id)
PROPERTY_GETTER(bundle, 's', strempty(c->bundle))
PROPERTY_GETTER(runtime, 's', strempty(c->runtime))
PROPERTY_GETTER(created_at, 't', &c->created_at)
PROPERTY_GETTER(control_group, 's', strempty(c->control_group))
PROPERTY_GETTER(oom_kills, 't', &c->oom_kills)

static int property_get_labels(sd_bus *bus, const char *path, const char *interface, const char *property,
                               sd_bus_message *reply, void *userdata, sd_bus_error *ret_error) {
        const Container *c = userdata;
        int r;

        r = sd_bus_message_open_container(reply, 'a', "{ss}");
        if (r < 0)
                return r;

        for (char *const *l = c->labels; l && l[0]; l += 2) {
                r = sd_bus_message_append(reply, "{ss}", l[0], l[1]);
                if (r < 0)
                        return r;
        }

        return sd_bus_message_close_container(reply);
}

int container_emit_oom_kills(sd_bus *bus, const Container *c) {
        _cleanup_(freep) char *path = NULL;
        int r;

        r = container_path_encode(c, &path);
        if (r < 0)
                return r;

        return sd_bus_emit_properties_changed(bus, path, CONTAINER_INTERFACE, "OOMKills", NULL);
}

/* ---- exec ---- */

#define OPTION(type, name, signature, reader, member) \
        { name, signature, reader, offsetof(type, member) }

/* clang-format off */
static const BusOption exec_options[] = {
        OPTION(ExecRequest, "Terminal",    "b",    bus_option_bool,   terminal),
        OPTION(ExecRequest, "ConsoleSize", "(qq)", bus_option_size,   columns),
        OPTION(ExecRequest, "Stdin",       NULL,   bus_option_stream, streams[0]),
        OPTION(ExecRequest, "Stdout",      NULL,   bus_option_stream, streams[1]),
        OPTION(ExecRequest, "Stderr",      NULL,   bus_option_stream, streams[2]),
        OPTION(ExecRequest, "IoUid",       "u",    bus_option_id,     io_uid),
        OPTION(ExecRequest, "IoGid",       "u",    bus_option_id,     io_gid),
        {},
};
/* clang-format on */

static int method_exec(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        _cleanup_(failure_done) Failure failure = FAILURE_INIT;
        _cleanup_(freep) char *path = NULL;
        ExecRequest q = {
                .io_uid = (uid_t) -1,
                .io_gid = (gid_t) -1,
                .streams = { { .fd = -EBADF }, { .fd = -EBADF }, { .fd = -EBADF } },
        };
        Process *p;
        int r;

        r = sd_bus_message_read(m, "ss", &q.id, &q.spec);
        if (r < 0)
                return r;
        r = bus_options_read(m, exec_options, &q, &failure);
        if (r >= 0)
                r = container_exec(userdata, &q, &p, &failure);
        if (r < 0)
                return failure_is_set(&failure) ? bus_error_from_failure(ret_error, &failure) : r;

        r = process_path_encode(p, &path);
        if (r < 0)
                return r;
        return sd_bus_reply_method_return(m, "o", path);
}

/* ---- verbs of the runtime ---- */

static int method_pause(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        return call_submit(m, &((Container *) userdata)->init, OPERATION_PAUSE, NULL, call_on_done, ret_error);
}

static int method_resume(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        return call_submit(m, &((Container *) userdata)->init, OPERATION_RESUME, NULL, call_on_done, ret_error);
}

#define RESOURCES_MAX (1024U * 1024U)

static int method_update(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        _cleanup_(json_freep) Json tree = NULL;
        _cleanup_(freep) char *reason = NULL;
        OperationParameters q = {};
        const char *resources;
        int r;

        r = sd_bus_message_read(m, "s", &resources);
        if (r < 0)
                return r;

        r = strlen(resources) > RESOURCES_MAX ? -EFBIG : json_parse(resources, strlen(resources), &tree, &reason);
        if (r == -ENOMEM)
                return r;
        if (r < 0)
                return sd_bus_error_setf(ret_error, MONOSHIM_ERROR("InvalidArgument"),
                                         "resources: %s: invalid argument", reason ?: "larger than 1 MiB");
        if (!json_is_object(tree))
                return sd_bus_error_set(ret_error, MONOSHIM_ERROR("InvalidArgument"),
                                        "resources: it is no JSON object: invalid argument");

        q.resources = strdup(resources);
        if (!q.resources)
                return -ENOMEM;
        return call_submit(m, &((Container *) userdata)->init, OPERATION_UPDATE, &q, call_on_done, ret_error);
}

/* clang-format off */
static const BusOption checkpoint_options[] = {
        OPTION(CheckpointRequest, "Exit",                "b",  bus_option_bool,      exit),
        OPTION(CheckpointRequest, "OpenTcp",             "b",  bus_option_bool,      open_tcp),
        OPTION(CheckpointRequest, "ExternalUnixSockets", "b",  bus_option_bool,      external_unix_sockets),
        OPTION(CheckpointRequest, "Terminal",            "b",  bus_option_bool,      terminal),
        OPTION(CheckpointRequest, "FileLocks",           "b",  bus_option_bool,      file_locks),
        OPTION(CheckpointRequest, "EmptyNamespaces",     "as", bus_option_strv,      empty_namespaces),
        OPTION(CheckpointRequest, "WorkPath",            "s",  bus_option_path_copy, work_path),
        OPTION(CheckpointRequest, "ParentPath",          "s",  bus_option_path_copy, parent_path),
        {},
};
/* clang-format on */

static int method_checkpoint(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        _cleanup_(checkpoint_request_freep) CheckpointRequest *request = calloc(1, sizeof(*request));
        _cleanup_(failure_done) Failure failure = FAILURE_INIT;
        OperationParameters q = {};
        const char *image_path;
        int r;

        if (!request)
                return -ENOMEM;

        r = sd_bus_message_read(m, "s", &image_path);
        if (r < 0)
                return r;
        if (image_path[0] != '/')
                return sd_bus_error_setf(ret_error, MONOSHIM_ERROR("InvalidArgument"),
                                         "image_path: \"%s\" is not an absolute path: invalid argument", image_path);
        r = bus_options_read(m, checkpoint_options, request, &failure);
        if (r < 0)
                return failure_is_set(&failure) ? bus_error_from_failure(ret_error, &failure) : r;

        request->image_path = strdup(image_path);
        if (!request->image_path)
                return -ENOMEM;
        q.checkpoint = TAKE_PTR(request);
        return call_submit(m, &((Container *) userdata)->init, OPERATION_CHECKPOINT, &q, call_on_done, ret_error);
}

/* ---- what the kernel knows ---- */

static bool container_is_alive(const Container *c) {
        return c->init.pid > 0 && !c->init.exited;
}

static int append_pid(sd_bus_message *reply, const Container *c, pid_t pid) {
        const Process *p = registry_get_process(c->registry, pid);

        /* As in containerd, it is the exec'd process itself that has the id, not what that has started. */
        return sd_bus_message_append(reply, "(us)", (uint32_t) pid,
                                     p && p->container == c && !process_is_init(p) ? p->id : "");
}

static int append_pids(sd_bus_message *reply, const Container *c, const pid_t *pids, size_t n) {
        int r;

        r = sd_bus_message_open_container(reply, 'a', "(us)");
        for (size_t i = 0; i < n && r >= 0; i++)
                r = append_pid(reply, c, pids[i]);

        return r < 0 ? r : sd_bus_message_close_container(reply);
}

static void on_listed(void *userdata, Process *p, const Failure *failure) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        Call *call = userdata;

        if (failure_is_set(failure))
                call_reply_failure(call, failure);
        else if (call->message && (sd_bus_message_new_method_return(call->message, &reply) < 0 ||
                                   append_pids(reply, p->container, p->operation->pids, p->operation->n_pids) < 0))
                call_reply_exhausted(call);
        else
                call_reply_message(call, reply);
}

static int method_list_pids(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_(freep) pid_t *pids = NULL;
        Container *c = userdata;
        size_t n = 0;
        int r;

        if (container_is_alive(c)) {
                r = cgroup_list_pids(c->init.pid, c->control_group, &pids, &n);
                if (r == -ENODATA) /* it has no cgroup of its own */
                        return call_submit(m, &c->init, OPERATION_LIST_PIDS, NULL, on_listed, ret_error);
                if (r < 0 && r != -ESRCH)
                        return sd_bus_error_setf(ret_error, SD_BUS_ERROR_FAILED,
                                                 "Failed to list the processes of container %s: %s", c->id,
                                                 strerror(-r));
        }

        if ((r = sd_bus_message_new_method_return(m, &reply)) < 0 || (r = append_pids(reply, c, pids, n)) < 0)
                return r;

        return sd_bus_message_send(reply);
}

/* clang-format off */
static const char *const stat_names[_CGROUP_STAT_MAX] = {
        [CGROUP_STAT_CPU_USAGE_USEC]  = "CPUUsageUSec",
        [CGROUP_STAT_CPU_USER_USEC]   = "CPUUserUSec",
        [CGROUP_STAT_CPU_SYSTEM_USEC] = "CPUSystemUSec",
        [CGROUP_STAT_MEMORY_CURRENT]  = "MemoryCurrent",
        [CGROUP_STAT_MEMORY_PEAK]     = "MemoryPeak",
        [CGROUP_STAT_MEMORY_MAX]      = "MemoryMax",
        [CGROUP_STAT_PIDS_CURRENT]    = "PidsCurrent",
        [CGROUP_STAT_PIDS_MAX]        = "PidsMax",
        [CGROUP_STAT_IO_READ_BYTES]   = "IOReadBytes",
        [CGROUP_STAT_IO_WRITE_BYTES]  = "IOWriteBytes",
};
/* clang-format on */

static int method_get_stats(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        const Container *c = userdata;
        CgroupStats stats;
        int r;

        r = container_is_alive(c) ? cgroup_read_stats(c->init.pid, c->control_group, &stats) : -ESRCH;
        if (r == -ESRCH)
                return sd_bus_error_setf(ret_error, MONOSHIM_ERROR("FailedPrecondition"),
                                         "container %s is %s, and has no figures: failed precondition", c->id,
                                         process_get_status(&c->init));
        if (r < 0)
                return sd_bus_error_setf(ret_error, SD_BUS_ERROR_FAILED,
                                         "Failed to read the figures of container %s: %s", c->id, strerror(-r));

        if ((r = sd_bus_message_new_method_return(m, &reply)) < 0 ||
            (r = sd_bus_message_open_container(reply, 'a', "{sv}")) < 0)
                return r;
        for (size_t i = 0; i < _CGROUP_STAT_MAX; i++) {
                r = stats.known[i] ? sd_bus_message_append(reply, "{sv}", stat_names[i], "t", stats.values[i]) : 0;
                if (r < 0)
                        return r;
        }
        if ((r = sd_bus_message_append(reply, "{sv}", "OOMKills", "t", c->oom_kills)) < 0 ||
            (r = sd_bus_message_close_container(reply)) < 0)
                return r;

        return sd_bus_message_send(reply);
}

/* clang-format off */
#define CONTAINER_PROPERTIES(ROW) \
        ROW("Namespace",    "s",     property_get_namespace,     SD_BUS_VTABLE_PROPERTY_CONST)        \
        ROW("Id",           "s",     property_get_id,            SD_BUS_VTABLE_PROPERTY_CONST)        \
        ROW("Bundle",       "s",     property_get_bundle,        SD_BUS_VTABLE_PROPERTY_CONST)        \
        ROW("Runtime",      "s",     property_get_runtime,       SD_BUS_VTABLE_PROPERTY_CONST)        \
        ROW("Labels",       "a{ss}", property_get_labels,        SD_BUS_VTABLE_PROPERTY_CONST)        \
        ROW("CreatedAt",    "t",     property_get_created_at,    SD_BUS_VTABLE_PROPERTY_CONST)        \
        ROW("ControlGroup", "s",     property_get_control_group, SD_BUS_VTABLE_PROPERTY_CONST)        \
        ROW("OOMKills",     "t",     property_get_oom_kills,     SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE)

const BusProperty container_properties[] = {
        CONTAINER_PROPERTIES(BUS_PROPERTY_ROW)
        {},
};
/* clang-format on */

const sd_bus_vtable container_vtable[] = {
        SD_BUS_VTABLE_START(0),

        CONTAINER_PROPERTIES(BUS_PROPERTY_VTABLE)

        SD_BUS_METHOD_WITH_ARGS("Pause", SD_BUS_NO_ARGS, SD_BUS_NO_RESULT, method_pause, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Resume", SD_BUS_NO_ARGS, SD_BUS_NO_RESULT, method_resume,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Exec", SD_BUS_ARGS("s", exec_id, "s", process, "a{sv}", options),
                                SD_BUS_RESULT("o", process), method_exec, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ListPids", SD_BUS_NO_ARGS, SD_BUS_RESULT("a(us)", pids), method_list_pids,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Update", SD_BUS_ARGS("s", resources), SD_BUS_NO_RESULT, method_update,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Checkpoint", SD_BUS_ARGS("s", image_path, "a{sv}", options), SD_BUS_NO_RESULT,
                                method_checkpoint, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("GetStats", SD_BUS_NO_ARGS, SD_BUS_RESULT("a{sv}", stats), method_get_stats,
                                SD_BUS_VTABLE_UNPRIVILEGED),

        SD_BUS_VTABLE_END
};
