/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A container's output on its way to the journal: cut into lines, losing nothing, none of them too long. */

#include "host/journal.c"

#include "fuzz.h"

FUZZ_TARGET(journal) {
        /* As much in advance as a line can take, so that most of the input is not needed for that. */
        size_t padding = size > 0 ? JOURNAL_LINE_MAX - data[0] % 8 : 0, total = padding + size, at = 0;
        _cleanup_(freep) char *text = malloc(total + 1);

        assert(text);
        memset(text, 'x', padding);
        if (size > 0)
                memcpy(text + padding, data, size);

        while (at < total) {
                size_t line, skip;

                if (!find_line(text + at, total - at, 0, true, &line, &skip))
                        break;
                assert(skip > 0 && line <= skip && line <= JOURNAL_LINE_MAX && skip <= total - at);
                (void) journal_value_is_text(text + at, line);
                at += skip;
        }
        assert(at == total);
        return 0;
}
