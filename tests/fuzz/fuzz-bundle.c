/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* config.json, as a client brings it. */

#include "fuzz.h"
#include "host/bundle.h"

FUZZ_TARGET(bundle) {
        _cleanup_(freep) char *text = fuzz_string(data, size), *reason = NULL;
        BundleConfig c;

        if (bundle_config_parse(text, size, &c, &reason) < 0) {
                assert(reason);
                return 0;
        }

        assert(!c.remaps_gid || c.root_gid != 0);
        bundle_config_done(&c);
        return 0;
}
