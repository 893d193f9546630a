/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The load generator of "make bench": the same lives by way of monoshimd or by bare calls of the runtime, so that the
 * client's language and loop do not count. It prints one line of JSON: an array of microseconds for each step. */

#include "load.h"

#include <getopt.h>
#include <stdio.h>

static void help(void) {
        (void) printf("Usage: %s [OPTION...] lifecycle|exits|exec BUNDLE...\n"
                      "\n"
                      "lifecycle creates, starts, kills and deletes containers; exits kills them by kill(2),\n"
                      "after a pause; exec runs processes in containers that run meanwhile.\n"
                      "\n"
                      "  --address=ADDRESS    Ask monoshimd there; without it, the runtime is called\n"
                      "  --runtime=PATH       The runtime\n"
                      "  --directory=DIR      For the runtime's root, logs and pid files, and for FIFOs\n"
                      "  --process=FILE       The OCI process that exec is to run\n"
                      "  --count=N            How many lives are measured (default: 10)\n"
                      "  --warmup=N           How many go before them (default: 0)\n"
                      "  --parallel=N         How many at once, each with a BUNDLE of its own (default: 1)\n"
                      "  --fifos              Give them FIFOs as stdout and stderr, not /dev/null\n"
                      "  --detach             exec: have the runtime return before the process ends\n"
                      "  --daemon-pid=PID     Whose processor time is measured, if not our own\n"
                      "  --pause=USEC         exits: the pause (default: 20000)\n",
                      program_invocation_short_name);
}

enum {
        ARG_ADDRESS = 0x100,
        ARG_RUNTIME,
        ARG_DIRECTORY,
        ARG_PROCESS,
        ARG_COUNT,
        ARG_WARMUP,
        ARG_PARALLEL,
        ARG_FIFOS,
        ARG_DETACH,
        ARG_DAEMON_PID,
        ARG_PAUSE
};

static const struct option long_options[] = {
        { "help", no_argument, NULL, 'h' },
        { "address", required_argument, NULL, ARG_ADDRESS },
        { "runtime", required_argument, NULL, ARG_RUNTIME },
        { "directory", required_argument, NULL, ARG_DIRECTORY },
        { "process", required_argument, NULL, ARG_PROCESS },
        { "count", required_argument, NULL, ARG_COUNT },
        { "warmup", required_argument, NULL, ARG_WARMUP },
        { "parallel", required_argument, NULL, ARG_PARALLEL },
        { "fifos", no_argument, NULL, ARG_FIFOS },
        { "detach", no_argument, NULL, ARG_DETACH },
        { "daemon-pid", required_argument, NULL, ARG_DAEMON_PID },
        { "pause", required_argument, NULL, ARG_PAUSE },
        {},
};

static bool parse_option(Load *l, int option) {
        switch (option) {
        case ARG_ADDRESS:
                l->address = optarg;
                return true;
        case ARG_RUNTIME:
                l->runtime = optarg;
                return true;
        case ARG_DIRECTORY:
                l->directory = optarg;
                return true;
        case ARG_PROCESS:
                l->process = optarg;
                return true;
        case ARG_COUNT:
                l->count = (unsigned) atoi(optarg);
                return true;
        case ARG_WARMUP:
                l->warmup = (unsigned) atoi(optarg);
                return true;
        case ARG_PARALLEL:
                l->parallel = (unsigned) atoi(optarg);
                return true;
        case ARG_FIFOS:
                l->with_fifos = true;
                return true;
        case ARG_DETACH:
                l->detach = true;
                return true;
        case ARG_DAEMON_PID:
                l->daemon = atoi(optarg);
                return true;
        case ARG_PAUSE:
                l->pause_usec = strtoull(optarg, NULL, 10);
                return true;
        default:
                return false;
        }
}

/* What is missing or makes no sense, or NULL. */
static const char *check_options(const Load *l) {
        if (!l->address && !l->runtime)
                return "Either --address= or --runtime= is needed";
        if (!l->directory && (!l->address || l->with_fifos))
                return "--directory= is needed";
        if (l->mode == MODE_EXEC && !l->process)
                return "exec needs --process=";
        if (l->count == 0 || l->parallel == 0)
                return "--count= and --parallel= are at least 1";
        if (l->n_bundles < l->parallel)
                return "Each of those that live at once needs a bundle of its own";
        return NULL;
}

int main(int argc, char *argv[]) {
        static const char *const modes[] = {
                [MODE_LIFECYCLE] = "lifecycle", [MODE_EXITS] = "exits", [MODE_EXEC] = "exec"
        };
        Load load = { .count = 10, .parallel = 1, .pause_usec = 20 * USEC_PER_MSEC };
        const char *wrong;
        unsigned mode = 0;
        int option;

        while ((option = getopt_long(argc, argv, "+h", long_options, NULL)) >= 0) {
                if (option == 'h') {
                        help();
                        return 0;
                }
                if (!parse_option(&load, option))
                        return 2;
        }
        while (mode < ELEMENTSOF(modes) && !streq(modes[mode], optind < argc ? argv[optind] : ""))
                mode++;
        if (mode == ELEMENTSOF(modes)) {
                help();
                return 2;
        }
        load.mode = (Mode) mode;
        load.bundles = argv + optind + 1;
        load.n_bundles = (unsigned) (argc - optind - 1);
        load.backend = load.address ? &monoshim_backend : &runc_backend;

        wrong = check_options(&load);
        if (wrong) {
                (void) fprintf(stderr, "%s; see --help.\n", wrong);
                return 2;
        }
        if (load_run(&load) < 0)
                return 1;

        load_print(&load);
        free(load.figures);
        return 0;
}
