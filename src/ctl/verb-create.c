/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* monoshim create. */

#include "ctl/create.h"
#include "ctl/i18n.h"
#include "ctl/report.h"
#include "ctl/verb.h"

static const char usage[] = N_("Usage: monoshim create [OPTION...] ID\n"
                               "\n"
                               "Create a container from an OCI bundle, to be started later.\n"
                               "\n"
                               "  -b, --bundle=DIR         The OCI bundle (default: the current directory)\n"
                               "      --runtime=NAME       The OCI runtime, by name or path\n"
                               "      --runtime-root=DIR   Where the runtime keeps its state\n"
                               "      --systemd-cgroup     Let the runtime have its cgroups made by systemd\n"
                               "      --no-pivot           Do not use pivot_root\n"
                               "      --no-new-keyring     Do not make a session keyring for the container\n"
                               "      --label=NAME=VALUE   Attach a label (may be repeated)\n"
                               "      --stdin=STREAM       Standard streams: the path of a FIFO, file:///PATH,\n"
                               "      --stdout=STREAM      journal:NAME, binary:///PATH, \"-\" for our own\n"
                               "      --stderr=STREAM      (default: /dev/null)\n"
                               "\n"
                               "Prints the id, or with --json= all that is known of the container.\n");

static int create_parse(int argc, char *argv[], Settings *s, CreateOptions *o) {
        static const struct option options[] = { COMMON_LONG_OPTIONS, CREATE_LONG_OPTIONS, {} };
        int c, r;

        while ((c = settings_getopt(s, argc, argv, COMMON_SHORT_OPTIONS CREATE_SHORT_OPTIONS, options, _(usage))) >
               0) {
                r = create_options_take(o, argv[0], c);
                if (r < 0)
                        return r;
        }
        if (c < 0)
                return c;
        return settings_check_arguments(argc, argv, 1, 1);
}

int verb_create(int argc, char *argv[], Settings *s) {
        _cleanup_(create_options_done) CreateOptions o = {};
        _cleanup_(container_refs_done) ContainerRefs refs = {};
        _cleanup_(client_freep) Client *c = NULL;
        uint32_t pid;
        int r;

        r = create_parse(argc, argv, s, &o);
        if (r < 0)
                return r;
        r = container_refs_parse(&refs, s, argc, argv);
        if (r < 0 || refs.bad)
                return VERB_FAILED;
        r = client_new(s, &c);
        if (r < 0)
                return VERB_FAILED;
        r = create_container(c, refs.items, &o, &pid);
        if (r < 0)
                return VERB_FAILED;
        r = create_print(s, refs.items, pid);
        return r < 0 ? VERB_FAILED : 0;
}
