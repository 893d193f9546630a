/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* How nearly every verb begins. */

#include "ctl/verb-arguments.h"

const struct option common_options[] = { COMMON_LONG_OPTIONS, {} };

int verb_parse(int argc, char *argv[], Settings *s, const VerbSyntax *syntax, void *userdata) {
        int c, r;

        while ((c = settings_getopt(s, argc, argv, syntax->letters, syntax->options, syntax->usage)) > 0) {
                r = syntax->take(userdata, argv[0], c);
                if (r < 0)
                        return r;
        }
        if (c < 0)
                return c;
        return settings_check_arguments(argc, argv, syntax->min, syntax->max);
}

int verb_connect(int argc, char *argv[], Settings *s, const VerbSyntax *syntax, ContainerRefs *refs,
                 Client **ret_client) {
        int r;

        r = container_refs_parse(refs, s, syntax->n_ids > 0 ? optind + syntax->n_ids : argc, argv);
        if (r < 0)
                return VERB_FAILED;
        r = client_new(s, ret_client);
        return r < 0 ? VERB_FAILED : 0;
}

int verb_begin(int argc, char *argv[], Settings *s, const VerbSyntax *syntax, void *userdata, ContainerRefs *refs,
               Client **ret_client) {
        int r;

        r = verb_parse(argc, argv, s, syntax, userdata);
        if (r < 0)
                return r;
        return verb_connect(argc, argv, s, syntax, refs, ret_client);
}
