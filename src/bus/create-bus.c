/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* CreateContainer: its options, all checked before anything is touched. */

#include "bus/call.h"
#include "bus/error.h"
#include "bus/front.h"
#include "bus/objects.h"
#include "bus/option.h"
#include "bus/path.h"
#include "core/create.h"
#include "util/strv.h"

static int read_labels(sd_bus_message *m, const BusOption *option, void *target, Failure *failure) {
        CreateRequest *q = target;
        const Limits *limits = q->limits;
        const char *key, *value;
        size_t n = 0, size = 0;
        int r;

        r = sd_bus_message_enter_container(m, 'a', "{ss}");
        if (r < 0)
                return r;

        q->labels = strv_free(q->labels);
        while ((r = sd_bus_message_read(m, "{ss}", &key, &value)) > 0) {
                size += strlen(key) + strlen(value);
                if (++n > limits->labels_per_container)
                        return failure_set_limit(failure, "MaxLabelsPerContainer", limits->labels_per_container,
                                                 "Labels: there is one more after %zu of them", n - 1);
                if (size > limits->labels_size)
                        return failure_set_size_limit(failure, "MaxLabelsSize", limits->labels_size,
                                                      "Labels: they have %zu bytes or more", size);
                if (isempty(key))
                        return failure_set(failure, FAILURE_INVALID_ARGUMENT,
                                           "Labels: a label has an empty name: invalid argument");
                if (strv_extend(&q->labels, key) < 0 || strv_extend(&q->labels, value) < 0)
                        return -ENOMEM;
        }
        if (r < 0)
                return r;

        return sd_bus_message_exit_container(m);
}

static int read_mount(sd_bus_message *m, CreateRequest *q, Failure *failure) {
        const char *type, *source, *target;
        _cleanup_(strv_freep) char **options = NULL;
        int r;

        if ((r = sd_bus_message_read(m, "sss", &type, &source, &target)) < 0 ||
            (r = sd_bus_message_read_strv(m, &options)) < 0)
                return r;

        r = mounts_add(&q->rootfs, type, source, target, options);
        if (r == -E2BIG)
                return failure_set(failure, FAILURE_INVALID_ARGUMENT,
                                   "Rootfs: more than %u mounts, or one of more than %u bytes: invalid argument",
                                   (unsigned) MOUNTS_MAX, (unsigned) MOUNT_SIZE_MAX);
        return r;
}

static int read_rootfs(sd_bus_message *m, const BusOption *option, void *target, Failure *failure) {
        CreateRequest *q = target;
        int r;

        mounts_done(&q->rootfs);
        r = sd_bus_message_enter_container(m, 'a', "(sssas)");
        if (r < 0)
                return r;

        while ((r = sd_bus_message_enter_container(m, 'r', "sssas")) > 0)
                if ((r = read_mount(m, q, failure)) < 0 || (r = sd_bus_message_exit_container(m)) < 0)
                        return r;
        if (r < 0)
                return r;

        return sd_bus_message_exit_container(m);
}

#define OPTION(name, signature, reader, member) \
        { name, signature, reader, offsetof(CreateRequest, member) }

/* clang-format off */
static const BusOption option_table[] = {
        OPTION("Spec",             "s",        bus_option_string,           spec),
        OPTION("Rootfs",           "a(sssas)", read_rootfs,                 rootfs),
        OPTION("Runtime",          "s",        bus_option_string,           runtime),
        OPTION("RuntimeRoot",      "s",        bus_option_string,           runtime_root),
        OPTION("SystemdCgroup",    "b",        bus_option_bool,             systemd_cgroup),
        OPTION("NoPivotRoot",      "b",        bus_option_bool,             no_pivot_root),
        OPTION("NoNewKeyring",     "b",        bus_option_bool,             no_new_keyring),
        OPTION("IoUid",            "u",        bus_option_id,               io_uid),
        OPTION("IoGid",            "u",        bus_option_id,               io_gid),
        OPTION("Terminal",         "b",        bus_option_bool,             terminal),
        OPTION("ConsoleSize",      "(qq)",     bus_option_size,             columns),
        OPTION("Stdin",            NULL,       bus_option_stream,           streams[0]),
        OPTION("Stdout",           NULL,       bus_option_stream,           streams[1]),
        OPTION("Stderr",           NULL,       bus_option_stream,           streams[2]),
        OPTION("Checkpoint",       "s",        bus_option_path,             checkpoint),
        OPTION("ParentCheckpoint", "s",        bus_option_unsupported_path, checkpoint),
        OPTION("CriuWorkPath",     "s",        bus_option_path,             criu_work_path),
        OPTION("Relay",            "b",        bus_option_bool,             relay),
        OPTION("Labels",           "a{ss}",    read_labels,                 labels),
        {},
};
/* clang-format on */

/* ---- the method ---- */

static void on_created(void *userdata, Process *p, const Failure *failure) {
        _cleanup_(freep) char *path = NULL;
        Call *call = userdata;

        if (failure_is_set(failure))
                call_reply_failure(call, failure);
        else if (process_path_encode(p, &path) >= 0)
                call_reply(call, "ou", path, p->pid > 0 ? (uint32_t) p->pid : 0);
        else
                call_reply_exhausted(call);
}

static int create_container(Connection *connection, sd_bus_message *m, CreateRequest *q, Failure *failure) {
        Call *call;
        int r;

        call = call_new(connection, m, true, failure);
        if (!call)
                return -ENOBUFS;

        r = container_create(connection->front->registry, q, on_created, call, failure);
        if (r < 0)
                call_reply_failure(call, failure);
        return 1;
}

static void create_request_done(CreateRequest *q) {
        strv_free(q->labels);
        mounts_done(&q->rootfs);
}

int manager_method_create_container(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        _cleanup_(failure_done) Failure failure = FAILURE_INIT;
        _cleanup_(create_request_done) CreateRequest q = {
                .limits = ((Connection *) userdata)->front->registry->services->limits,
                .io_uid = (uid_t) -1,
                .io_gid = (gid_t) -1,
                .streams = { { .fd = -EBADF }, { .fd = -EBADF }, { .fd = -EBADF } },
        };
        int r;

        r = sd_bus_message_read(m, "sss", &q.ns, &q.id, &q.bundle);
        if (r < 0)
                return r;

        r = bus_options_read(m, option_table, &q, &failure);
        if (r >= 0)
                r = create_container(userdata, m, &q, &failure);
        if (r < 0 && failure_is_set(&failure))
                return bus_error_from_failure(ret_error, &failure);

        return r;
}
