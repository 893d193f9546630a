/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the runtime and CRIU leave behind of a failure: log.json, dump.log, output. */

#include "fuzz.h"
#include "host/runtime.h"
#include "util/text.h"

FUZZ_TARGET(runtime) {
        _cleanup_(freep) char *text = fuzz_string(data, size), *error = NULL, *reason = NULL, *tail = NULL,
                              *line = NULL;
        int r;

        r = runtime_log_last_error(text, size, &error, &reason);
        assert((r == 1) == !!error);
        assert((r == -EBADMSG) == !!reason);

        /* These go on D-Bus. */
        tail = runtime_criu_tail(text, size);
        line = runtime_first_line(text);
        assert(tail && line);
        assert(utf8_is_valid(tail, strlen(tail)) && !strchr(tail, '\n'));
        assert(utf8_is_valid(line, strlen(line)) && !strchr(line, '\n'));

        (void) runtime_kill_classify(text);
        (void) runtime_delete_is_gone(text, text);
        return 0;
}
