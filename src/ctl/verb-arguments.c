/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* How nearly every verb begins. */

#include "ctl/verb-arguments.h"

const struct option common_options[] = { COMMON_LONG_OPTIONS, {} };

/* What getopt gives for an argument when its letters begin with '-'. */
#define ARGUMENT_IN_ORDER 1

int verb_parse(int argc, char *argv[], Settings *s, const VerbSyntax *syntax, void *userdata) {
        int n_kept = 0, c, r;

        while ((c = settings_getopt(s, argc, argv, syntax->letters, syntax->options, syntax->usage)) > 0) {
                if (c == ARGUMENT_IN_ORDER && syntax->begins_command) {
                        if (syntax->begins_command(userdata)) {
                                optind--;
                                break;
                        }
                        /* What stands before has been looked at, so there is room. */
                        argv[1 + n_kept++] = optarg;
                        continue;
                }
                r = syntax->take(userdata, argv[0], c);
                if (r < 0)
                        return r;
        }
        if (c < 0)
                return c;

        optind -= n_kept;
        memmove(argv + optind, argv + 1, (size_t) n_kept * sizeof(argv[0]));
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
