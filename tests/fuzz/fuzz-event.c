/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* An event as it stands on disk: both readers agree, and what was read is written and read as the same. */

#include "core/event.h"
#include "fuzz.h"

static char *write_event(const Event *e) {
        _cleanup_(json_writer_freep) JsonWriter *w = json_writer_new(false);
        const char *text;
        size_t size;

        assert(w);
        event_write_json(e, w);
        assert(json_writer_finish(w, &text, &size) == 0);
        return strdup(text);
}

FUZZ_TARGET(event) {
        _cleanup_(freep) char *text = fuzz_string(data, size), *first = NULL, *second = NULL;
        _cleanup_(json_freep) Json tree = NULL, again = NULL;
        EventHead head;
        Event e, copy;
        bool has_head;

        has_head = event_head_from_json(text, size, &head) >= 0;
        if (json_parse(text, size, &tree, NULL) < 0 || event_from_json(tree, &e) < 0)
                return 0;

        assert(has_head && head.sequence == e.sequence);
        assert(streq(head.ns, e.ns) && streq(head.container_id, e.container_id));

        first = write_event(&e);
        assert(json_parse(first, strlen(first), &again, NULL) == 0);
        assert(event_from_json(again, &copy) == 0);
        second = write_event(&copy);
        assert(streq(first, second));
        return 0;
}
