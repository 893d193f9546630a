/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What people type at the client: amounts, signals, keys; and what it makes of foreign text. */

#include "ctl/detach-keys.h"
#include "ctl/format.h"
#include "ctl/quantity.h"
#include "ctl/signal-name.h"
#include "fuzz.h"
#include "util/json.h"

#include <signal.h>

static void detach(const char *s, const uint8_t *data, size_t size) {
        _cleanup_(freep) uint8_t *out = malloc(size + DETACH_KEYS_MAX);
        DetachKeys keys = {};
        size_t n = 0;

        assert(out);
        if (detach_keys_parse(&keys, s) >= 0)
                assert(keys.n_keys <= DETACH_KEYS_MAX);

        assert(detach_keys_parse(&keys, DETACH_KEYS_DEFAULT) == 0);
        (void) detach_keys_filter(&keys, data, size, out, &n);
        assert(n <= size + DETACH_KEYS_MAX);
}

static void show(const char *s, size_t size) {
        _cleanup_(freep) char *line = strdup(s), *quoted = format_quote(s), *path = format_absolute_path("/a", s),
                              *address = format_unix_address(s), *bytes = NULL, *when = NULL;
        uint64_t number = 0;

        assert(line && quoted && path && address);
        format_make_line(line);
        for (const char *p = line; *p; p++)
                assert((unsigned char) *p >= 0x20 && *p != 0x7f);
        assert(path[0] == '/');

        memcpy(&number, s, size < sizeof(number) ? size : sizeof(number));
        bytes = format_bytes(number);
        when = format_time(number);
        assert(bytes && when);
}

FUZZ_TARGET(ctl) {
        _cleanup_(freep) char *s = fuzz_string(data, size);
        uint32_t uid, gid;
        int64_t value;
        int r;

        if (quantity_parse_bytes(s, &value) >= 0)
                assert(value >= QUANTITY_UNLIMITED);
        if (quantity_parse_count(s, &value) >= 0)
                assert(value >= QUANTITY_UNLIMITED);
        if (quantity_parse_cpus(s, &value) >= 0)
                assert(value >= QUANTITY_UNLIMITED);
        (void) quantity_parse_user(s, &uid, &gid);

        r = signal_from_string(s);
        assert(r == -EINVAL || (r >= 1 && r <= SIGRTMAX));

        detach(s, data, size);
        show(s, size);
        return 0;
}
