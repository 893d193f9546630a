/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Events as monoshimd replays them. */

#include "ctl/event-print.h"

#include "ctl/format.h"
#include "ctl/value.h"

#include <stdio.h>

/* Strings belong to the message. */
typedef struct EventHead {
        uint64_t sequence, time;
        const char *topic, *ns, *id;
} EventHead;

bool event_filter_matches(const EventFilter *filter, const char *ns, const char *id) {
        const ContainerRefs *refs = filter->refs;

        if (refs->n_items == 0)
                return !filter->ns || streq(filter->ns, ns);

        for (size_t i = 0; i < refs->n_items; i++)
                if (streq(refs->items[i].ns, ns) && streq(refs->items[i].id, id))
                        return true;
        return false;
}

static int data_print_text(sd_bus_message *m) {
        const char *name;
        int r;

        r = sd_bus_message_enter_container(m, 'a', "{sv}");
        if (r < 0)
                return r;

        while ((r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
                _cleanup_(freep) char *value = NULL;

                r = sd_bus_message_read(m, "s", &name);
                if (r < 0)
                        return r;
                r = value_read_text(m, true, &value);
                if (r < 0)
                        return r;
                printf(" %s=%s", name, value);
                r = sd_bus_message_exit_container(m);
                if (r < 0)
                        return r;
        }
        if (r < 0)
                return r;
        return sd_bus_message_exit_container(m);
}

static int event_print_text(sd_bus_message *m, const EventHead *head) {
        _cleanup_(freep) char *time = format_time(head->time);
        int r;

        if (!time)
                return -ENOMEM;

        printf("%s %s %s/%s sequence=%llu", time, head->topic, head->ns, head->id,
               (unsigned long long) head->sequence);
        r = data_print_text(m);
        putchar('\n');
        return r;
}

static int event_print_json(sd_bus_message *m, const EventHead *head, bool pretty) {
        _cleanup_(json_writer_freep) JsonWriter *w = json_writer_new(pretty);
        const char *text;
        size_t size;
        int r;

        if (!w)
                return -ENOMEM;

        json_open_object(w);
        json_put_uint64(w, "sequence", head->sequence);
        json_put_string(w, "topic", head->topic);
        json_put_uint64(w, "time", head->time);
        json_put_string(w, "namespace", head->ns);
        json_put_string(w, "container_id", head->id);
        json_write_key(w, "data");
        r = value_write_json(m, w);
        if (r < 0)
                return r;
        json_close_object(w);

        r = json_writer_finish(w, &text, &size);
        if (r < 0)
                return r;
        fwrite(text, 1, size, stdout);
        if (size == 0 || text[size - 1] != '\n')
                putchar('\n');
        return 0;
}

int event_print(sd_bus_message *m, const EventFilter *filter, OutputMode output, uint64_t *ret_sequence) {
        EventHead head;
        int r;

        r = sd_bus_message_enter_container(m, 'r', "tstssa{sv}");
        if (r <= 0)
                return r;
        r = sd_bus_message_read(m, "tstss", &head.sequence, &head.topic, &head.time, &head.ns, &head.id);
        if (r < 0)
                return r;

        if (!event_filter_matches(filter, head.ns, head.id))
                r = sd_bus_message_skip(m, "a{sv}");
        else if (output == OUTPUT_TEXT)
                r = event_print_text(m, &head);
        else
                r = event_print_json(m, &head, output == OUTPUT_JSON_PRETTY);
        if (r < 0)
                return r;

        r = sd_bus_message_exit_container(m);
        if (r < 0)
                return r;
        *ret_sequence = head.sequence;
        return 1;
}
