/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* monoshim create. */

#include "ctl/create.h"
#include "ctl/i18n.h"
#include "ctl/verb.h"
#include "ctl/verb-arguments.h"

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
                               "      --io-uid=UID         Who is to own the FIFOs and pipes that the container\n"
                               "      --io-gid=GID         gets\n"
                               "  -t, --terminal           Give it a terminal (see \"monoshim attach\"); the\n"
                               "                           bundle has to ask for one, too\n"
                               "      --relay              Have monoshimd pass on what goes through the streams,\n"
                               "                           as a checkpoint needs it\n"
                               "      --rootfs-mount=TYPE:SOURCE[:TARGET[:OPTION,...]]\n"
                               "                           Mount this on the bundle's rootfs (may be repeated)\n"
                               "      --checkpoint=DIR     Restore it from this image when it is started\n"
                               "      --criu-work-path=DIR Where CRIU is to leave its logs\n"
                               "\n"
                               "Prints the id, or with --json= all that is known of the container.\n");

int verb_create(int argc, char *argv[], Settings *s) {
        static const struct option options[] = { COMMON_LONG_OPTIONS, CREATE_LONG_OPTIONS, {} };
        const VerbSyntax syntax = {
                .letters = COMMON_SHORT_OPTIONS CREATE_SHORT_OPTIONS,
                .options = options,
                .usage = _(usage),
                .take = create_options_take,
                .min = 1,
                .max = 1,
        };
        _cleanup_(create_options_done) CreateOptions o = {};
        _cleanup_(container_refs_done) ContainerRefs refs = {};
        _cleanup_(client_freep) Client *c = NULL;
        uint32_t pid;
        int r;

        r = verb_begin(argc, argv, s, &syntax, &o, &refs, &c);
        if (r < 0)
                return r;
        r = create_container(c, refs.items, &o, &pid);
        if (r < 0)
                return VERB_FAILED;
        r = create_print(s, refs.items, pid);
        return r < 0 ? VERB_FAILED : 0;
}
