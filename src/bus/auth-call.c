/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a method call needs, and what is told about it. */

#include "bus/auth-call.h"
#include "bus/connection.h"
#include "util/strv.h"
#include "util/text.h"

#include <assert.h>

#define STANDARD(name) "org.freedesktop.DBus." name
#define MESSAGE_SIZE 1024U /* of a message without arguments */

const char *auth_action_to_string(AuthAction action) {
        static const char *const names[_AUTH_ACTION_MAX] = {
                [AUTH_INSPECT] = "org.monoshim1.inspect",
                [AUTH_MANAGE] = "org.monoshim1.manage-containers",
                [AUTH_CREATE] = "org.monoshim1.create-container",
        };

        assert(action < _AUTH_ACTION_MAX);
        return names[action];
}

/* A member of NULL is all that are not named. OpenPidFD only reads: signals through a pidfd take the right to send
 * them to the process. OpenTerminal types into the container. Set fails in any case, but says how only to those who
 * may read. Introspect: see below. */
/* clang-format off */
static const struct {
        const char *interface;
        const char *member;
        AuthAction action;
} action_table[] = {
        { MANAGER_INTERFACE,          "CreateContainer",   AUTH_CREATE  },
        { MANAGER_INTERFACE,          "GetContainer",      AUTH_INSPECT },
        { MANAGER_INTERFACE,          "GetContainerByPID", AUTH_INSPECT },
        { MANAGER_INTERFACE,          "ListContainers",    AUTH_INSPECT },
        { MANAGER_INTERFACE,          "GetEvents",         AUTH_INSPECT },
        { MANAGER_INTERFACE,          "SubscribeEvents",   AUTH_INSPECT },
        { MANAGER_INTERFACE,          "Reload",            AUTH_MANAGE  },

        { CONTAINER_INTERFACE,        "Pause",             AUTH_MANAGE  },
        { CONTAINER_INTERFACE,        "Resume",            AUTH_MANAGE  },
        { CONTAINER_INTERFACE,        "Exec",              AUTH_CREATE  },
        { CONTAINER_INTERFACE,        "ListPids",          AUTH_INSPECT },
        { CONTAINER_INTERFACE,        "Update",            AUTH_MANAGE  },
        { CONTAINER_INTERFACE,        "Checkpoint",        AUTH_MANAGE  },
        { CONTAINER_INTERFACE,        "GetStats",          AUTH_INSPECT },

        { PROCESS_INTERFACE,          "Start",             AUTH_MANAGE  },
        { PROCESS_INTERFACE,          "Kill",              AUTH_MANAGE  },
        { PROCESS_INTERFACE,          "Delete",            AUTH_MANAGE  },
        { PROCESS_INTERFACE,          "Wait",              AUTH_INSPECT },
        { PROCESS_INTERFACE,          "ResizePty",         AUTH_MANAGE  },
        { PROCESS_INTERFACE,          "CloseIO",           AUTH_MANAGE  },
        { PROCESS_INTERFACE,          "OpenTerminal",      AUTH_MANAGE  },
        { PROCESS_INTERFACE,          "OpenPidFD",         AUTH_INSPECT },

        { STANDARD("Properties"),     "Get",               AUTH_INSPECT },
        { STANDARD("Properties"),     "GetAll",            AUTH_INSPECT },
        { STANDARD("Properties"),     "Set",               AUTH_INSPECT },
        { STANDARD("ObjectManager"),  "GetManagedObjects", AUTH_INSPECT },
        { STANDARD("Introspectable"), "Introspect",        AUTH_INSPECT },
        { STANDARD("Peer"),           NULL,                AUTH_FREE    },
};
/* clang-format on */

static ssize_t action_find(const char *interface, const char *member) {
        for (size_t i = 0; i < ELEMENTSOF(action_table); i++)
                if (streq_ptr(action_table[i].interface, interface) &&
                    (!action_table[i].member || streq_ptr(action_table[i].member, member)))
                        return (ssize_t) i;
        return -1;
}

bool auth_action_is_known(const char *interface, const char *member) {
        return action_find(interface, member) >= 0;
}

/* Above the containers the tree is the same for everybody, and generic tools look for it. From there on its nodes are
 * containers' names. */
static bool is_bare_path(const char *path) {
        return streq_ptr(path, "/") || streq_ptr(path, "/org") || streq_ptr(path, BUS_PATH);
}

AuthAction auth_action_of(const char *path, const char *interface, const char *member) {
        ssize_t i = action_find(interface, member);

        if (i < 0)
                return AUTH_INSPECT;
        if (streq(action_table[i].interface, STANDARD("Introspectable")) && is_bare_path(path))
                return AUTH_FREE;
        return action_table[i].action;
}

AuthAction auth_action_of_call(sd_bus_message *m) {
        return auth_action_of(sd_bus_message_get_path(m), sd_bus_message_get_interface(m),
                              sd_bus_message_get_member(m));
}

/* ---- details ---- */

typedef struct Subject {
        char *ns;
        char *id;
        char *exec;
} Subject;

static void subject_done(Subject *s) {
        free(s->ns);
        free(s->id);
        free(s->exec);
}

static int subject_set(char **member, const char *value) {
        char *copy = strdup(value);

        if (!copy)
                return -ENOMEM;

        free(*member);
        *member = copy;
        return 0;
}

/* Who names one thing twice is taken to have named none: which of the two the method takes must not matter. */
static int subject_set_option(Subject *s, bool seen[static 2], const char *name, const char *value) {
        bool is_ns = streq(name, "Namespace"), again;
        char **member = is_ns ? &s->ns : &s->id;

        if (!is_ns && !streq(name, "ContainerId"))
                return 0;

        again = seen[is_ns];
        seen[is_ns] = true;
        if (again) {
                *member = mfree(*member);
                return 0;
        }
        return subject_set(member, value);
}

/* SubscribeEvents: t after, a{sv} options. */
static int subject_read_options(Subject *s, sd_bus_message *m) {
        bool seen[2] = {};
        int r;

        if ((r = sd_bus_message_skip(m, "t")) < 0 || (r = sd_bus_message_enter_container(m, 'a', "{sv}")) < 0)
                return r;

        while ((r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
                const char *name, *contents, *value = "";

                if ((r = sd_bus_message_read(m, "s", &name)) < 0 ||
                    (r = sd_bus_message_peek_type(m, NULL, &contents)) < 0)
                        return r;
                r = streq(contents, "s") ? sd_bus_message_read(m, "v", "s", &value) : sd_bus_message_skip(m, "v");
                if (r < 0 || (r = subject_set_option(s, seen, name, value)) < 0 ||
                    (r = sd_bus_message_exit_container(m)) < 0)
                        return r;
        }
        return r;
}

static int subject_read_names(Subject *s, sd_bus_message *m) {
        const char *ns, *id;
        int r;

        if ((r = sd_bus_message_read(m, "ss", &ns, &id)) < 0 || (r = subject_set(&s->ns, ns)) < 0)
                return r;

        return subject_set(&s->id, id);
}

static int subject_read_arguments(Subject *s, sd_bus_message *m) {
        const char *member = sd_bus_message_get_member(m);

        if (!streq_ptr(sd_bus_message_get_interface(m), MANAGER_INTERFACE))
                return 0;
        if (streq_ptr(member, "CreateContainer") && sd_bus_message_has_signature(m, "sssa{sv}"))
                return subject_read_names(s, m);
        if (streq_ptr(member, "GetContainer") && sd_bus_message_has_signature(m, "ss"))
                return subject_read_names(s, m);
        if (streq_ptr(member, "SubscribeEvents") && sd_bus_message_has_signature(m, "ta{sv}"))
                return subject_read_options(s, m);
        return 0;
}

static int subject_read(Subject *s, sd_bus_message *m) {
        const char *path = strempty(sd_bus_message_get_path(m));
        int r;

        r = sd_bus_path_decode_many(path, BUS_CONTAINER_PREFIX "/%/%", &s->ns, &s->id);
        if (r == 0)
                r = sd_bus_path_decode_many(path, BUS_CONTAINER_PREFIX "/%/%/process/%", &s->ns, &s->id, &s->exec);
        if (r != 0)
                return r < 0 ? r : 0;

        r = subject_read_arguments(s, m);
        (void) sd_bus_message_rewind(m, true);

        /* Arguments that cannot be read name nobody, and the method will say so. */
        if (r < 0 && r != -ENOMEM) {
                subject_done(s);
                *s = (Subject) {};
                r = 0;
        }
        return r;
}

int auth_call_details(sd_bus_message *m, char ***ret) {
        _cleanup_(strv_freep) char **details = NULL;
        _cleanup_(subject_done) Subject s = {};
        int r;

        r = subject_read(&s, m);
        if (r < 0)
                return r;

        const char *const pairs[][2] = {
                { "interface", sd_bus_message_get_interface(m) },
                { "method", sd_bus_message_get_member(m) },
                { "namespace", identifier_is_valid(s.ns) ? s.ns : NULL },
                { "id", identifier_is_valid(s.id) ? s.id : NULL },
                { "exec", identifier_is_valid(s.exec) ? s.exec : NULL },
        };

        for (size_t i = 0; i < ELEMENTSOF(pairs); i++)
                if (pairs[i][1] && strv_extend_all(&details, pairs[i][0], pairs[i][1]) < 0)
                        return -ENOMEM;

        *ret = TAKE_PTR(details);
        return 0;
}

/* ---- size ---- */

static int weigh_rest(sd_bus_message *m, size_t *size);

static int weigh_one(sd_bus_message *m, char type, const char *contents, size_t *size) {
        const void *value;
        uint64_t number;
        size_t n;
        int r;

        switch (type) {
        case SD_BUS_TYPE_ARRAY:
        case SD_BUS_TYPE_VARIANT:
        case SD_BUS_TYPE_STRUCT:
        case SD_BUS_TYPE_DICT_ENTRY:
                if (type == SD_BUS_TYPE_ARRAY && streq(contents, "y")) {
                        r = sd_bus_message_read_array(m, SD_BUS_TYPE_BYTE, &value, &n);
                        *size += r < 0 ? 0 : n;
                        return r;
                }
                if ((r = sd_bus_message_enter_container(m, type, contents)) < 0 || (r = weigh_rest(m, size)) < 0)
                        return r;
                *size += sizeof(uint64_t);
                return sd_bus_message_exit_container(m);

        case SD_BUS_TYPE_STRING:
        case SD_BUS_TYPE_OBJECT_PATH:
        case SD_BUS_TYPE_SIGNATURE:
                r = sd_bus_message_read_basic(m, type, &value);
                *size += r < 0 ? 0 : strlen(value) + sizeof(uint64_t);
                return r;

        default:
                *size += sizeof(uint64_t);
                return sd_bus_message_read_basic(m, type, &number);
        }
}

/* sd-bus bounds how deep it may go. */
static int weigh_rest(sd_bus_message *m, size_t *size) {
        const char *contents;
        char type;
        int r;

        while ((r = sd_bus_message_peek_type(m, &type, &contents)) > 0) {
                r = weigh_one(m, type, contents, size);
                if (r < 0)
                        return r;
        }
        return r;
}

size_t auth_call_size(sd_bus_message *m) {
        size_t size = MESSAGE_SIZE + strlen(strempty(sd_bus_message_get_path(m)));
        int r;

        r = weigh_rest(m, &size);
        (void) sd_bus_message_rewind(m, true);

        /* Behind what cannot be read there may be anything. */
        return r < 0 ? SIZE_MAX : size;
}
