/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Text that came from elsewhere: identifiers, numbers, time spans, and what is shown of foreign bytes. */

#include "fuzz.h"
#include "util/text.h"

#define SHOWN 64

FUZZ_TARGET(text) {
        _cleanup_(freep) char *s = fuzz_string(data, size), *reason = NULL, *shown = NULL;
        uint64_t value;
        int r;

        r = identifier_check(s, &reason);
        assert((r == 0) == identifier_is_valid(s));
        assert((r < 0) == !!reason);
        assert(!reason || utf8_is_valid(reason, strlen(reason)));

        (void) parse_uint64(s, &value);
        (void) parse_timespan(s, &value);
        (void) utf8_is_valid(s, size);
        assert(utf8_character(s, size) <= 4);

        shown = text_sanitize(s, size, SHOWN);
        assert(shown && strlen(shown) <= SHOWN);
        assert(utf8_is_valid(shown, strlen(shown)));
        return 0;
}
