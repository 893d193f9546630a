/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Object paths: each names at most one object, and that object has no other path. */

#include "bus/path.h"
#include "fuzz-world.h"
#include "fuzz.h"

FUZZ_TARGET(path) {
        _cleanup_(freep) char *path = fuzz_string(data, size), *canonical = NULL;
        FuzzWorld *w = fuzz_world();
        Container *c;
        Process *p;

        /* sd-bus lets no others through to us, and insists on that of those it is given. */
        if (!sd_bus_object_path_is_valid(path))
                return 0;

        c = container_path_find(&w->registry, path);
        p = process_path_find(&w->registry, path);
        assert(!c || p == &c->init);
        if (p) {
                assert(process_path_encode(p, &canonical) == 0);
                assert(streq(canonical, path));
        }
        return 0;
}
