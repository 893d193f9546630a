/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Mounts that a client wants: type, source, target and options, a line each; or, from disk, as JSON. */

#include "fuzz.h"
#include "host/mount-options.h"
#include "host/mounts.h"
#include "util/strv.h"

static void take_options_apart(char *const *options) {
        _cleanup_(strv_freep) char **layers = NULL;
        _cleanup_(freep) char *reason = NULL, *text = NULL, *directory = NULL, *compact = NULL;
        MountOptions o;

        if (mount_options_parse(&o, options, &reason) < 0) {
                assert(reason);
                return;
        }

        text = mount_options_get_data(&o);
        assert(text);
        (void) mount_data_fits(text);
        assert(mount_options_get_layers(&o, &layers) == 0);
        if (mount_options_compact(&o, &directory, &compact) >= 0)
                assert(directory[0] == '/' && strlen(compact) <= strlen(text));
        mount_options_done(&o);
}

FUZZ_TARGET(mounts) {
        _cleanup_(freep) char *text = fuzz_string(data, size), *copy = fuzz_string(data, size), *reason = NULL;
        _cleanup_(mounts_done) Mounts mounts = {}, from_json = {};
        _cleanup_(json_freep) Json tree = NULL;
        char *words[64] = {}, *rest = text, *word;
        size_t n = 0;

        while (n + 1 < ELEMENTSOF(words) && (word = strsep(&rest, "\n")))
                words[n++] = word;

        if (n >= 3) {
                take_options_apart(words + 3);
                if (mounts_add(&mounts, words[0], words[1], words[2], words + 3) >= 0 &&
                    mounts_check(&mounts, &reason) < 0)
                        assert(reason);
        }
        if (json_parse(copy, size, &tree, NULL) >= 0)
                (void) mounts_read_json(&from_json, tree);
        return 0;
}
