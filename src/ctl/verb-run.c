/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* monoshim run: create, start, wait, delete. And restore: create from an image, start. */

#include "ctl/i18n.h"
#include "ctl/launch.h"
#include "ctl/session.h"
#include "ctl/verb.h"
#include "ctl/verb-arguments.h"

enum {
        OPTION_DETACH_KEYS = OPTION_AFTER_CREATE,
};

static const char run_usage[] = N_("Usage: monoshim run [OPTION...] ID\n"
                                   "\n"
                                   "Run a container from an OCI bundle: create and start it, wait for its end,\n"
                                   "delete it. Signals are passed on to it, and its exit status becomes that of\n"
                                   "monoshim.\n"
                                   "\n"
                                   "  -d, --detach             Leave it running; print its id\n"
                                   "  -t, --terminal           Give it a terminal, and show it on our own; the\n"
                                   "                           bundle has to ask for one, too\n"
                                   "  -i, --interactive        With --terminal, pass on what is typed; with\n"
                                   "                           --detach, pass our stdin\n"
                                   "      --detach-keys=KEYS   What to type to leave it running (default:\n"
                                   "                           ctrl-p,ctrl-q; empty: nothing)\n"
                                   "  -b, --bundle=DIR         The OCI bundle (default: the current directory)\n"
                                   "      --checkpoint=DIR     Restore it from this image\n"
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

static int run_take(void *userdata, const char *verb, int c) {
        Launch *l = userdata;

        switch (c) {
        case 'd':
                l->detach = true;
                return 0;
        case 'i':
                l->interactive = true;
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
                {},
        };
        const VerbSyntax syntax = {
                .letters = COMMON_SHORT_OPTIONS CREATE_SHORT_OPTIONS "di",
                .options = options,
                .usage = _(run_usage),
                .take = run_take,
                .min = 1,
                .max = 1,
        };
        _cleanup_(container_refs_done) ContainerRefs refs = {};
        _cleanup_(client_freep) Client *c = NULL;
        Launch launch = {};
        int r;

        (void) detach_keys_parse(&launch.keys, DETACH_KEYS_DEFAULT);
        r = verb_begin(argc, argv, s, &syntax, &launch, &refs, &c);
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
