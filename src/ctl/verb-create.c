/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* monoshim create. */

#include "ctl/create.h"
#include "ctl/i18n.h"
#include "ctl/verb.h"
#include "ctl/verb-arguments.h"

#include <limits.h>

static const char usage[] = N_("Usage: monoshim create [OPTION...] ID\n"
                               "       monoshim create [OPTION...] --rootfs=DIR [--] [COMMAND...]\n"
                               "\n"
                               "Create a container from an OCI bundle, or for a command (default: sh) in a root\n"
                               "file system, to be started later.\n"
                               "\n"
                               "  -b, --bundle=DIR         The OCI bundle (default: the current directory)\n"
                               "      --rootfs=DIR         No bundle: run a command in this root file system,\n"
                               "                           with what a container usually has. The id is a\n"
                               "                           random one then, or NAME\n"
                               "      --name=NAME          The id, where it is no argument\n"
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
                               "With --rootfs=:\n"
                               "  -e, --env=NAME[=VALUE]   A variable; ours if there is no value (may be\n"
                               "                           repeated)\n"
                               "      --cwd=DIR            The directory to run it in\n"
                               "  -u, --user=UID[:GID]     Who is to run it, by number\n"
                               "      --hostname=NAME      The host name (default: the id)\n"
                               "      --mount=type=bind,src=PATH,dst=PATH[,ro]\n"
                               "      --mount=type=tmpfs,dst=PATH[,size=BYTES][,mode=OCTAL][,ro]\n"
                               "                           Mount this in the container (may be repeated)\n"
                               "      --read-only          Its root file system is not to be changed\n"
                               "      --memory=BYTES       Such as 512M, or \"max\" for no limit\n"
                               "      --cpus=NUMBER        So many CPUs' time, such as 1.5, or \"max\"\n"
                               "      --pids-limit=NUMBER  How many processes and threads, or \"max\"\n"
                               "\n"
                               "Prints the id, or with --json= all that is known of the container.\n");

int verb_create(int argc, char *argv[], Settings *s) {
        static const struct option options[] = { COMMON_LONG_OPTIONS, CREATE_LONG_OPTIONS, {} };
        const VerbSyntax syntax = {
                .letters = "-" COMMON_SHORT_OPTIONS CREATE_SHORT_OPTIONS,
                .options = options,
                .usage = _(usage),
                .take = create_options_take,
                .begins_command = create_options_begin_command,
                .max = INT_MAX,
        };
        _cleanup_(create_options_done) CreateOptions o = {};
        _cleanup_(container_refs_done) ContainerRefs refs = {};
        _cleanup_(client_freep) Client *c = NULL;
        uint32_t pid;
        int r;

        r = verb_parse(argc, argv, s, &syntax, &o);
        if (r >= 0)
                r = create_options_finish(&o, argc, argv, s, &syntax, &refs, &c);
        if (r < 0)
                return r;
        r = create_container(c, refs.items, &o, &pid);
        if (r < 0)
                return VERB_FAILED;
        r = create_print(s, refs.items, pid);
        return r < 0 ? VERB_FAILED : 0;
}
