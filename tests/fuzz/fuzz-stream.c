/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What names a stream: paths and URIs, those of loggers with their queries. */

#include "fuzz.h"
#include "host/logger.h"
#include "host/stream.h"
#include "util/strv.h"
#include "util/uri.h"

static void split(const char *uri) {
        _cleanup_(freep) char *path = NULL, *reason = NULL;
        const char *query;

        if (uri_split(uri, &path, &query, &reason) < 0) {
                assert(reason);
                return;
        }
        assert(path[0] == '/');
        assert(!query || (query > uri && query <= uri + strlen(uri)));
}

static void take_logger_apart(const char *uri) {
        _cleanup_(strv_freep) char **argv = NULL;
        _cleanup_(freep) char *reason = NULL;

        if (logger_parse(uri, &argv, &reason) < 0)
                assert(reason);
        else
                assert(argv[0][0] == '/');
}

FUZZ_TARGET(stream) {
        _cleanup_(freep) char *uri = fuzz_string(data, size), *plain = NULL;

        assert(uri_scheme_length(uri) <= size);
        for (int output = 0; output < 2; output++) {
                _cleanup_(freep) char *reason = NULL;
                StreamKind kind;

                if (stream_parse(uri, output, &kind, &reason) < 0) {
                        assert(reason);
                        continue;
                }
                assert(kind >= 0 && kind < _STREAM_KIND_MAX && kind != STREAM_FD);
                assert(output || kind == STREAM_NULL || kind == STREAM_FIFO);
                assert(kind != STREAM_FIFO || uri[0] == '/');
        }

        split(uri);
        take_logger_apart(uri);
        if (uri_unescape(uri, strlen(uri), true, &plain) >= 0)
                assert(strlen(plain) <= strlen(uri));
        return 0;
}
