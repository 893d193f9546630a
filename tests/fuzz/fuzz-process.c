/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The process object of Exec: whatever is let through can be written for the runtime, and read again. The file itself
 * is included, as what takes the text apart is its own. */

#include "core/exec.c"

#include "fuzz.h"

FUZZ_TARGET(process) {
        _cleanup_(failure_done) Failure failure = FAILURE_INIT;
        _cleanup_(json_writer_freep) JsonWriter *w = NULL;
        _cleanup_(json_freep) Json spec = NULL, again = NULL;
        _cleanup_(freep) char *text = fuzz_string(data, size);
        const char *written;
        size_t written_size;

        if (spec_parse(text, size, &spec, &failure) < 0) {
                assert(failure_is_set(&failure));
                return 0;
        }

        w = json_writer_new(false);
        assert(w);
        json_write_tree(w, spec);
        assert(json_writer_finish(w, &written, &written_size) == 0);
        assert(spec_parse(written, written_size, &again, &failure) == 0);
        assert(json_length(again) == json_length(spec));
        return 0;
}
