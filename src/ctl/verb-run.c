/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* monoshim run: create, start, wait, delete. And restore: create from an image, start. */

#include "ctl/i18n.h"
#include "ctl/launch.h"
#include "ctl/session.h"
#include "ctl/verb.h"
#include "ctl/verb-arguments.h"

#include <limits.h>

enum {
        OPTION_DETACH_KEYS = OPTION_AFTER_CREATE,
        OPTION_RM,
};

static const char run_usage[] = N_(
        "Usage: monoshim run [OPTION...] ID\n"
        "       monoshim run [OPTION...] --rootfs=DIR [--] [COMMAND...]\n"
        "\n"
        "Run a container from an OCI bundle, or a command (default: sh) in a root file\n"
        "system: create and start it, wait for its end, delete it. Signals are passed on\n"
        "to it, and its exit status becomes that of monoshim.\n"
        "\n"
        "  -d, --detach             Leave it running; print its id\n"
        "      --rm                 Delete it when it has ended, as is done anyway; not\n"
        "                           with --detach\n"
        "  -t, --terminal           Give it a terminal, and show it on our own; the\n"
        "                           bundle has to ask for one, too\n"
        "  -i, --interactive        With --terminal, pass on what is typed; with\n"
        "                           --detach, pass our stdin\n"
        "      --detach-keys=KEYS   What to type to leave it running (default:\n"
        "                           ctrl-p,ctrl-q; empty: nothing)\n"
        "  -b, --bundle=DIR         The OCI bundle (default: the current directory)\n"
        "      --rootfs=DIR         No bundle: run a command in this root file system,\n"
        "                           with what a container usually has. The id is a\n"
        "                           random one then, or NAME\n"
        "      --name=NAME          The id, where it is no argument\n"
        "      --checkpoint=DIR     Restore it from this image\n"
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
        "and these, which are described at \"monoshim help create\":\n"
        "      --runtime=NAME       --runtime-root=DIR    --systemd-cgroup\n"
        "      --no-pivot           --no-new-keyring      --label=NAME=VALUE\n"
        "      --stdin=STREAM       --stdout=STREAM       --stderr=STREAM\n"
        "      --io-uid=UID         --io-gid=GID          --relay\n"
        "      --rootfs-mount=MOUNT --criu-work-path=DIR\n"
        "\n"
        "Streams are our own by default, or /dev/null with --detach.\n");

static const char restore_usage[] = N_(
        "Usage: monoshim restore [OPTION...] ID BUNDLE DIR\n"
        "\n"
        "Start a container from an OCI bundle where the image in DIR, which checkpoint\n"
        "has made, had got to. It is left running, and its id is printed.\n"
        "\n"
        "  -t, --terminal           It has a terminal (see \"monoshim attach\")\n"
        "\n"
        "and these, which are described at \"monoshim help create\":\n"
        "      --runtime=NAME       --runtime-root=DIR    --systemd-cgroup\n"
        "      --no-pivot           --no-new-keyring      --label=NAME=VALUE\n"
        "      --stdin=STREAM       --stdout=STREAM       --stderr=STREAM\n"
        "      --io-uid=UID         --io-gid=GID          --relay\n"
        "      --rootfs-mount=MOUNT --criu-work-path=DIR\n");

static bool run_begins_command(void *userdata) {
        Launch *l = userdata;

        return create_options_begin_command(&l->create);
}

static int run_take(void *userdata, const char *verb, int c) {
        Launch *l = userdata;

        switch (c) {
        case 'd':
                l->detach = true;
                return 0;
        case 'i':
                l->interactive = true;
                return 0;
        case OPTION_RM:
                l->remove = true;
                return 0;
        case OPTION_DETACH_KEYS:
                return session_take_keys(&l->keys, verb);
        default:
                return create_options_take(&l->create, verb, c);
        }
}

int verb_run(int argc, char *argv[], Settings *s) {
        static const struct option options[] = {
                COMMON_LONG_OPTIONS,
                CREATE_LONG_OPTIONS,
                { "detach", no_argument, NULL, 'd' },
                { "interactive", no_argument, NULL, 'i' },
                { "detach-keys", required_argument, NULL, OPTION_DETACH_KEYS },
                { "rm", no_argument, NULL, OPTION_RM },
                {},
        };
        const VerbSyntax syntax = {
                .letters = "-" COMMON_SHORT_OPTIONS CREATE_SHORT_OPTIONS "di",
                .options = options,
                .usage = _(run_usage),
                .take = run_take,
                .begins_command = run_begins_command,
                .max = INT_MAX,
        };
        _cleanup_(container_refs_done) ContainerRefs refs = {};
        _cleanup_(client_freep) Client *c = NULL;
        Launch launch = {};
        int r;

        (void) detach_keys_parse(&launch.keys, DETACH_KEYS_DEFAULT);
        r = verb_parse(argc, argv, s, &syntax, &launch);
        if (r >= 0 && launch.remove && launch.detach)
                r = settings_usage_error(argv[0], _("--rm and --detach exclude each other: nobody would be there to "
                                                    "delete the container."));
        if (r >= 0)
                r = create_options_finish(&launch.create, argc, argv, s, &syntax, &refs, &c);
        if (r >= 0)
                r = launch_run(&launch, c, refs.items);
        create_options_done(&launch.create);
        return r;
}

int verb_restore(int argc, char *argv[], Settings *s) {
        static const struct option options[] = { COMMON_LONG_OPTIONS, RESTORE_LONG_OPTIONS, {} };
        const VerbSyntax syntax = {
                .letters = COMMON_SHORT_OPTIONS "t",
                .options = options,
                .usage = _(restore_usage),
                .take = run_take,
                .min = 3,
                .max = 3,
                .n_ids = 1,
        };
        _cleanup_(container_refs_done) ContainerRefs refs = {};
        _cleanup_(client_freep) Client *c = NULL;
        Launch launch = { .detach = true };
        int r;

        r = verb_begin(argc, argv, s, &syntax, &launch, &refs, &c);
        if (r >= 0) {
                launch.create.bundle = argv[optind + 1];
                launch.create.checkpoint = argv[optind + 2];
                r = launch_run(&launch, c, refs.items);
        }
        create_options_done(&launch.create);
        return r;
}
