/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Events as D-Bus messages. */

#include "bus/objects.h"
#include "util/crash-point.h"
#include "util/macro.h"

static int append_mount(sd_bus_message *m, const EventMount *mount) {
        int r;

        if ((r = sd_bus_message_open_container(m, 'r', "sssas")) < 0 ||
            (r = sd_bus_message_append(m, "sss", mount->type, mount->source, mount->target)) < 0 ||
            (r = sd_bus_message_open_container(m, 'a', "s")) < 0)
                return r;
        for (size_t i = 0; i < mount->n_options; i++) {
                r = sd_bus_message_append(m, "s", event_mount_option(mount, i));
                if (r < 0)
                        return r;
        }
        r = sd_bus_message_close_container(m);
        if (r < 0)
                return r;

        return sd_bus_message_close_container(m);
}

static int append_mounts(sd_bus_message *m, const Event *e, bool as_variant) {
        int r;

        if (as_variant && (r = sd_bus_message_open_container(m, 'v', "a(sssas)")) < 0)
                return r;
        r = sd_bus_message_open_container(m, 'a', "(sssas)");
        if (r < 0)
                return r;
        for (size_t i = 0; i < event_rootfs_length(e); i++) {
                EventMount mount = event_rootfs_get(e, i);

                r = append_mount(m, &mount);
                if (r < 0)
                        return r;
        }
        r = sd_bus_message_close_container(m);
        if (r < 0 || !as_variant)
                return r;

        return sd_bus_message_close_container(m);
}

static int append_value(sd_bus_message *m, const Event *e, const EventField *f, bool as_variant) {
        const void *p = event_field_ptr(e, f);

        switch (f->type) {
        case EVENT_FIELD_STRING:
                return as_variant ? sd_bus_message_append(m, "v", "s", strempty(*(const char *const *) p))
                                  : sd_bus_message_append(m, "s", strempty(*(const char *const *) p));
        case EVENT_FIELD_BOOL:
                return as_variant ? sd_bus_message_append(m, "v", "b", (int) *(const bool *) p)
                                  : sd_bus_message_append(m, "b", (int) *(const bool *) p);
        case EVENT_FIELD_UINT32:
                return as_variant ? sd_bus_message_append(m, "v", "u", *(const uint32_t *) p)
                                  : sd_bus_message_append(m, "u", *(const uint32_t *) p);
        case EVENT_FIELD_UINT64:
                return as_variant ? sd_bus_message_append(m, "v", "t", *(const uint64_t *) p)
                                  : sd_bus_message_append(m, "t", *(const uint64_t *) p);
        case EVENT_FIELD_MOUNTS:
                return append_mounts(m, e, as_variant);
        }

        return -EINVAL;
}

int event_emit_signal(sd_bus *bus, const Event *e) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        int r;

        r = sd_bus_message_new_signal(bus, &m, BUS_PATH, MANAGER_INTERFACE, event_topic_to_signal(e->topic));
        if (r < 0)
                return r;
        r = sd_bus_message_append(m, "tss", e->sequence, e->ns, e->container_id);
        if (r < 0)
                return r;

        for (const EventField *f = event_topic_fields(e->topic); f->name; f++) {
                r = append_value(m, e, f, false);
                if (r < 0)
                        return r;
        }

        crash_point("signal-before-send");
        return sd_bus_message_send(m);
}

int event_append_dictionary(sd_bus_message *m, const Event *e) {
        int r;

        r = sd_bus_message_open_container(m, 'a', "{sv}");
        if (r < 0)
                return r;

        for (const EventField *f = event_topic_fields(e->topic); f->name; f++) {
                if ((r = sd_bus_message_open_container(m, 'e', "sv")) < 0 ||
                    (r = sd_bus_message_append(m, "s", f->name)) < 0 || (r = append_value(m, e, f, true)) < 0 ||
                    (r = sd_bus_message_close_container(m)) < 0)
                        return r;
        }

        return sd_bus_message_close_container(m);
}
