/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* CreateContainer: its options, all checked before anything is touched. */

#include "bus/call.h"
#include "bus/error.h"
#include "bus/front.h"
#include "bus/objects.h"
#include "bus/path.h"
#include "core/create.h"
#include "util/strv.h"

#define LABELS_MAX 1024
#define LABELS_SIZE_MAX (256U * 1024U)

typedef struct CreateOptions {
        CreateRequest request;
        Failure failure;
} CreateOptions;

typedef struct CreateOption CreateOption;
typedef int (*OptionRead)(sd_bus_message *m, const CreateOption *option, CreateOptions *o);

struct CreateOption {
        const char *name;
        const char *signature; /* of the variant; NULL: several, read() looks itself */
        OptionRead read;       /* -errno of sd-bus, or o->failure set */
        size_t offset;         /* of the member of CreateRequest */
};

static void *option_member(CreateOptions *o, const CreateOption *option) {
        return (char *) &o->request + option->offset;
}

static int read_string(sd_bus_message *m, const CreateOption *option, CreateOptions *o) {
        return sd_bus_message_read(m, "s", option_member(o, option));
}

static int read_bool(sd_bus_message *m, const CreateOption *option, CreateOptions *o) {
        int b, r;

        r = sd_bus_message_read(m, "b", &b);
        if (r >= 0)
                *(bool *) option_member(o, option) = b;
        return r;
}

static int read_id(sd_bus_message *m, const CreateOption *option, CreateOptions *o) {
        uint32_t u;
        int r;

        r = sd_bus_message_read(m, "u", &u);
        if (r < 0)
                return r;
        if (u == UINT32_MAX)
                return failure_set(&o->failure, FAILURE_INVALID_ARGUMENT,
                                   "%s: %u is no user or group id: invalid argument", option->name, u);

        *(uint32_t *) option_member(o, option) = u;
        return 0;
}

static int read_stream(sd_bus_message *m, const CreateOption *option, CreateOptions *o) {
        StreamRequest *stream = option_member(o, option);

        if (sd_bus_message_verify_type(m, 'h', NULL) > 0)
                return sd_bus_message_read(m, "h", &stream->fd);
        if (sd_bus_message_verify_type(m, 's', NULL) > 0)
                return sd_bus_message_read(m, "s", &stream->uri);

        return failure_set(&o->failure, FAILURE_INVALID_ARGUMENT,
                           "%s: must be a string or a file descriptor: invalid argument", option->name);
}

static int read_labels(sd_bus_message *m, const CreateOption *option, CreateOptions *o) {
        const char *key, *value;
        size_t n = 0, size = 0;
        int r;

        r = sd_bus_message_enter_container(m, 'a', "{ss}");
        if (r < 0)
                return r;

        o->request.labels = strv_free(o->request.labels);
        while ((r = sd_bus_message_read(m, "{ss}", &key, &value)) > 0) {
                size += strlen(key) + strlen(value);
                if (++n > LABELS_MAX || size > LABELS_SIZE_MAX)
                        return failure_set(&o->failure, FAILURE_INVALID_ARGUMENT,
                                           "Labels: more than %u labels or %u bytes: invalid argument",
                                           (unsigned) LABELS_MAX, LABELS_SIZE_MAX);
                if (isempty(key))
                        return failure_set(&o->failure, FAILURE_INVALID_ARGUMENT,
                                           "Labels: a label has an empty name: invalid argument");
                if (strv_extend(&o->request.labels, key) < 0 || strv_extend(&o->request.labels, value) < 0)
                        return -ENOMEM;
        }
        if (r < 0)
                return r;

        return sd_bus_message_exit_container(m);
}

/* ---- known, but not there yet ---- */

static int not_supported(const CreateOption *option, CreateOptions *o) {
        return failure_set(&o->failure, FAILURE_NOT_SUPPORTED, "%s is not supported by this version of monoshimd",
                           option->name);
}

/* Terminal and Relay: asking for none is fine. */
static int read_bool_unsupported(sd_bus_message *m, const CreateOption *option, CreateOptions *o) {
        int b, r;

        r = sd_bus_message_read(m, "b", &b);
        if (r < 0)
                return r;

        return b ? not_supported(option, o) : 0;
}

static int read_path_unsupported(sd_bus_message *m, const CreateOption *option, CreateOptions *o) {
        const char *path;
        int r;

        r = sd_bus_message_read(m, "s", &path);
        if (r < 0)
                return r;
        if (isempty(path))
                return 0;
        if (path[0] != '/')
                return failure_set(&o->failure, FAILURE_INVALID_ARGUMENT,
                                   "%s: \"%s\" is not an absolute path: invalid argument", option->name, path);

        return not_supported(option, o);
}

static int read_rootfs(sd_bus_message *m, const CreateOption *option, CreateOptions *o) {
        int r;

        r = sd_bus_message_enter_container(m, 'a', "(sssas)");
        if (r < 0)
                return r;
        if (sd_bus_message_at_end(m, false) == 0)
                return not_supported(option, o);

        return sd_bus_message_exit_container(m);
}

static int read_console_size(sd_bus_message *m, const CreateOption *option, CreateOptions *o) {
        uint16_t columns, rows;
        int r;

        r = sd_bus_message_read(m, "(qq)", &columns, &rows);
        return r < 0 ? r : not_supported(option, o);
}

#define MEMBER(member) offsetof(CreateRequest, member)

/* clang-format off */
static const CreateOption option_table[] = {
        { "Spec",             "s",         read_string,           MEMBER(spec)           },
        { "Rootfs",           "a(sssas)",  read_rootfs,           0                      },
        { "Runtime",          "s",         read_string,           MEMBER(runtime)        },
        { "RuntimeRoot",      "s",         read_string,           MEMBER(runtime_root)   },
        { "SystemdCgroup",    "b",         read_bool,             MEMBER(systemd_cgroup) },
        { "NoPivotRoot",      "b",         read_bool,             MEMBER(no_pivot_root)  },
        { "NoNewKeyring",     "b",         read_bool,             MEMBER(no_new_keyring) },
        { "IoUid",            "u",         read_id,               MEMBER(io_uid)         },
        { "IoGid",            "u",         read_id,               MEMBER(io_gid)         },
        { "Terminal",         "b",         read_bool_unsupported, 0                      },
        { "ConsoleSize",      "(qq)",      read_console_size,     0                      },
        { "Stdin",            NULL,        read_stream,           MEMBER(streams[0])     },
        { "Stdout",           NULL,        read_stream,           MEMBER(streams[1])     },
        { "Stderr",           NULL,        read_stream,           MEMBER(streams[2])     },
        { "Checkpoint",       "s",         read_path_unsupported, 0                      },
        { "ParentCheckpoint", "s",         read_path_unsupported, 0                      },
        { "CriuWorkPath",     "s",         read_path_unsupported, 0                      },
        { "Relay",            "b",         read_bool_unsupported, 0                      },
        { "Labels",           "a{ss}",     read_labels,           0                      },
};
/* clang-format on */

static const CreateOption *option_find(const char *name) {
        for (size_t i = 0; i < ELEMENTSOF(option_table); i++)
                if (streq(option_table[i].name, name))
                        return &option_table[i];

        return NULL;
}

static int read_option(sd_bus_message *m, CreateOptions *o) {
        const CreateOption *option;
        const char *name, *contents;
        char type;
        int r;

        r = sd_bus_message_read(m, "s", &name);
        if (r < 0)
                return r;

        option = option_find(name);
        if (!option)
                return failure_set(&o->failure, FAILURE_INVALID_ARGUMENT,
                                   "%.128s: there is no such option: invalid argument", name);

        r = sd_bus_message_peek_type(m, &type, &contents);
        if (r < 0)
                return r;
        if (option->signature && !streq(contents, option->signature))
                return failure_set(&o->failure, FAILURE_INVALID_ARGUMENT,
                                   "%s: must be of type \"%s\", not \"%s\": invalid argument", name,
                                   option->signature, contents);

        if ((r = sd_bus_message_enter_container(m, 'v', contents)) < 0 || (r = option->read(m, option, o)) < 0)
                return r;

        return sd_bus_message_exit_container(m);
}

static int read_options(sd_bus_message *m, CreateOptions *o) {
        int r;

        r = sd_bus_message_enter_container(m, 'a', "{sv}");
        if (r < 0)
                return r;

        while ((r = sd_bus_message_enter_container(m, 'e', "sv")) > 0)
                if ((r = read_option(m, o)) < 0 || (r = sd_bus_message_exit_container(m)) < 0)
                        return r;
        if (r < 0)
                return r;

        return sd_bus_message_exit_container(m);
}

/* ---- the method ---- */

static void on_created(void *userdata, Container *c, const Failure *failure) {
        _cleanup_(freep) char *path = NULL;
        Call *call = userdata;

        if (failure_is_set(failure))
                call_reply_failure(call, failure);
        else if (container_path_encode(c, &path) >= 0)
                call_reply(call, "ou", path, c->init.pid > 0 ? (uint32_t) c->init.pid : 0);
        else
                (void) call_free(call);
}

static int create_container(Connection *connection, sd_bus_message *m, CreateOptions *o) {
        Call *call;
        int r;

        call = call_new(connection, m, &o->failure);
        if (!call)
                return -ENOBUFS;

        r = container_create(connection->front->registry, &o->request, on_created, call, &o->failure);
        if (r < 0)
                call_reply_failure(call, &o->failure);
        return 1;
}

static void create_options_done(CreateOptions *o) {
        strv_free(o->request.labels);
        failure_done(&o->failure);
}

int manager_method_create_container(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        _cleanup_(create_options_done) CreateOptions o = {
                .request = {
                        .io_uid = (uid_t) -1,
                        .io_gid = (gid_t) -1,
                        .streams = { { .fd = -EBADF }, { .fd = -EBADF }, { .fd = -EBADF } },
                },
        };
        int r;

        r = sd_bus_message_read(m, "sss", &o.request.ns, &o.request.id, &o.request.bundle);
        if (r < 0)
                return r;

        r = read_options(m, &o);
        if (r >= 0)
                r = create_container(userdata, m, &o);
        if (r < 0 && failure_is_set(&o.failure))
                return bus_error_from_failure(ret_error, &o.failure);

        return r;
}
