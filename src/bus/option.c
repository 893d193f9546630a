/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Options dictionaries. */

#include "bus/option.h"
#include "core/process-io.h"
#include "util/strv.h"

static const BusOption *option_find(const BusOption *table, const char *name) {
        for (const BusOption *o = table; o->name; o++)
                if (streq(o->name, name))
                        return o;

        return NULL;
}

static int option_read(sd_bus_message *m, const BusOption *table, void *target, Failure *failure) {
        const BusOption *option;
        const char *name, *contents;
        char type;
        int r;

        r = sd_bus_message_read(m, "s", &name);
        if (r < 0)
                return r;

        option = option_find(table, name);
        if (!option)
                return failure_set(failure, FAILURE_INVALID_ARGUMENT,
                                   "%.128s: there is no such option: invalid argument", name);

        r = sd_bus_message_peek_type(m, &type, &contents);
        if (r < 0)
                return r;
        if (option->signature && !streq(contents, option->signature))
                return failure_set(failure, FAILURE_INVALID_ARGUMENT,
                                   "%s: must be of type \"%s\", not \"%s\": invalid argument", name,
                                   option->signature, contents);

        if ((r = sd_bus_message_enter_container(m, 'v', contents)) < 0 ||
            (r = option->read(m, option, target, failure)) < 0)
                return r;

        return sd_bus_message_exit_container(m);
}

int bus_options_read(sd_bus_message *m, const BusOption *table, void *target, Failure *failure) {
        int r;

        r = sd_bus_message_enter_container(m, 'a', "{sv}");
        if (r < 0)
                return r;

        while ((r = sd_bus_message_enter_container(m, 'e', "sv")) > 0)
                if ((r = option_read(m, table, target, failure)) < 0 || (r = sd_bus_message_exit_container(m)) < 0)
                        return r;
        if (r < 0)
                return r;

        return sd_bus_message_exit_container(m);
}

/* ---- readers ---- */

int bus_option_bool(sd_bus_message *m, const BusOption *option, void *target, Failure *failure) {
        int b, r;

        r = sd_bus_message_read(m, "b", &b);
        if (r >= 0)
                *(bool *) bus_option_member(option, target) = b;
        return r;
}

int bus_option_string(sd_bus_message *m, const BusOption *option, void *target, Failure *failure) {
        return sd_bus_message_read(m, "s", bus_option_member(option, target));
}

/* 1 if there is one, 0 if it is empty. */
static int path_read(sd_bus_message *m, const BusOption *option, const char **ret, Failure *failure) {
        const char *path = NULL;
        int r;

        r = sd_bus_message_read(m, "s", &path);
        if (r < 0 || isempty(path))
                return r < 0 ? r : 0;
        if (path[0] != '/')
                return failure_set(failure, FAILURE_INVALID_ARGUMENT,
                                   "%s: \"%s\" is not an absolute path: invalid argument", option->name, path);

        *ret = path;
        return 1;
}

int bus_option_path(sd_bus_message *m, const BusOption *option, void *target, Failure *failure) {
        return path_read(m, option, bus_option_member(option, target), failure);
}

int bus_option_path_copy(sd_bus_message *m, const BusOption *option, void *target, Failure *failure) {
        char **member = bus_option_member(option, target), *copy;
        const char *path = NULL;
        int r;

        r = path_read(m, option, &path, failure);
        if (r <= 0)
                return r;

        copy = strdup(path);
        if (!copy)
                return -ENOMEM;
        free(*member);
        *member = copy;
        return 0;
}

int bus_option_unsupported_path(sd_bus_message *m, const BusOption *option, void *target, Failure *failure) {
        const char *path = NULL;
        int r;

        r = path_read(m, option, &path, failure);
        if (r <= 0)
                return r;
        return failure_set(failure, FAILURE_NOT_SUPPORTED, "%s: no OCI runtime can do this", option->name);
}

int bus_option_id(sd_bus_message *m, const BusOption *option, void *target, Failure *failure) {
        uint32_t u;
        int r;

        r = sd_bus_message_read(m, "u", &u);
        if (r < 0)
                return r;
        if (u == UINT32_MAX)
                return failure_set(failure, FAILURE_INVALID_ARGUMENT,
                                   "%s: %u is no user or group id: invalid argument", option->name, u);

        *(uint32_t *) bus_option_member(option, target) = u;
        return 0;
}

int bus_option_strv(sd_bus_message *m, const BusOption *option, void *target, Failure *failure) {
        char ***member = bus_option_member(option, target), **list = NULL;
        int r;

        r = sd_bus_message_read_strv(m, &list);
        if (r < 0)
                return r;

        strv_free(*member);
        *member = list;
        return 0;
}

int bus_option_stream(sd_bus_message *m, const BusOption *option, void *target, Failure *failure) {
        StreamRequest *stream = bus_option_member(option, target);

        /* Given more than once, the last one counts, be it of the other kind. */
        *stream = (StreamRequest) { .fd = -EBADF };
        if (sd_bus_message_verify_type(m, 'h', NULL) > 0)
                return sd_bus_message_read(m, "h", &stream->fd);
        if (sd_bus_message_verify_type(m, 's', NULL) > 0)
                return sd_bus_message_read(m, "s", &stream->uri);

        return failure_set(failure, FAILURE_INVALID_ARGUMENT,
                           "%s: must be a string or a file descriptor: invalid argument", option->name);
}

int bus_option_size(sd_bus_message *m, const BusOption *option, void *target, Failure *failure) {
        uint16_t *size = bus_option_member(option, target);

        return sd_bus_message_read(m, "(qq)", &size[0], &size[1]);
}
