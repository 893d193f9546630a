/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* JSON: the events and the tree agree on what is valid, and what was read can be written and read again. */

#include "fuzz.h"
#include "util/json.h"

FUZZ_TARGET(json) {
        _cleanup_(json_writer_freep) JsonWriter *first = json_writer_new(false), *second = json_writer_new(false);
        _cleanup_(freep) char *text = fuzz_string(data, size), *scan_reason = NULL, *parse_reason = NULL;
        _cleanup_(json_freep) Json tree = NULL, again = NULL;
        const char *a, *b;
        size_t a_size, b_size;
        int r;

        r = json_parse(text, size, &tree, &parse_reason);
        assert((r < 0) == (json_scan(text, size, NULL, NULL, &scan_reason) < 0));
        if (r < 0) {
                assert(parse_reason && scan_reason);
                return 0;
        }

        assert(first && second);
        json_write_tree(first, tree);
        assert(json_writer_finish(first, &a, &a_size) == 0);
        assert(json_parse(a, a_size, &again, NULL) == 0);
        json_write_tree(second, again);
        assert(json_writer_finish(second, &b, &b_size) == 0);
        assert(a_size == b_size && memcmp(a, b, a_size) == 0);
        return 0;
}
