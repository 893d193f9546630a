/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* org.monoshim1.Container: what concerns a container as a whole. */

#include "bus/error.h"
#include "bus/objects.h"

static int property_get_namespace(sd_bus *bus, const char *path, const char *interface, const char *property,
                                  sd_bus_message *reply, void *userdata, sd_bus_error *ret_error) {
        return sd_bus_message_append(reply, "s", container_get_namespace(userdata));
}

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

static int method_not_supported(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        return sd_bus_error_setf(ret_error, MONOSHIM_ERROR("NotSupported"),
                                 "%s is not supported by this version of monoshimd", sd_bus_message_get_member(m));
}

const sd_bus_vtable container_vtable[] = {
        SD_BUS_VTABLE_START(0),

        SD_BUS_PROPERTY("Namespace", "s", property_get_namespace, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Id", "s", NULL, offsetof(Container, id), SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Bundle", "s", NULL, offsetof(Container, bundle), SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Runtime", "s", NULL, offsetof(Container, runtime), SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Labels", "a{ss}", property_get_labels, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("CreatedAt", "t", NULL, offsetof(Container, created_at), SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("ControlGroup", "s", NULL, offsetof(Container, control_group), SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("OOMKills", "t", NULL, offsetof(Container, oom_kills), SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),

        SD_BUS_METHOD_WITH_ARGS("Pause", SD_BUS_NO_ARGS, SD_BUS_NO_RESULT, method_not_supported,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Resume", SD_BUS_NO_ARGS, SD_BUS_NO_RESULT, method_not_supported,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Exec", SD_BUS_ARGS("s", exec_id, "s", process, "a{sv}", options),
                                SD_BUS_RESULT("o", process), method_not_supported, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ListPids", SD_BUS_NO_ARGS, SD_BUS_RESULT("a(us)", pids), method_not_supported,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Update", SD_BUS_ARGS("s", resources), SD_BUS_NO_RESULT, method_not_supported,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Checkpoint", SD_BUS_ARGS("s", image_path, "a{sv}", options), SD_BUS_NO_RESULT,
                                method_not_supported, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("GetStats", SD_BUS_NO_ARGS, SD_BUS_RESULT("a{sv}", stats), method_not_supported,
                                SD_BUS_VTABLE_UNPRIVILEGED),

        SD_BUS_VTABLE_END
};
