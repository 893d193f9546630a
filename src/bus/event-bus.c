/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Events as D-Bus messages. */

#include "bus/objects.h"
#include "util/macro.h"

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
                return as_variant ? sd_bus_message_append(m, "v", "a(sssas)", 0)
                                  : sd_bus_message_append(m, "a(sssas)", 0);
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
