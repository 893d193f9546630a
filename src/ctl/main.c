/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* monoshim, the command-line client of monoshimd. */

#include "ctl/i18n.h"
#include "ctl/nearest.h"
#include "ctl/output.h"
#include "ctl/report.h"
#include "ctl/verb.h"

#include <fcntl.h>
#include <limits.h>
#include <locale.h>
#include <stdio.h>

typedef struct Verb {
        const char *name;
        int (*run)(int argc, char *argv[], Settings *s);
        int status_failed;
        int status_usage;
} Verb;

static int verb_help(int argc, char *argv[], Settings *s);

/* Where every status below 125 may be the container's own, all that is ours is 125, wrong options included. */
static const Verb verbs[] = {
        { "run", verb_run, EXIT_STATUS_CONTAINER_FAILED, EXIT_STATUS_CONTAINER_FAILED },
        { "exec", verb_exec, EXIT_STATUS_CONTAINER_FAILED, EXIT_STATUS_CONTAINER_FAILED },
        { "attach", verb_attach, EXIT_STATUS_CONTAINER_FAILED, EXIT_STATUS_CONTAINER_FAILED },
        { "create", verb_create, EXIT_STATUS_FAILED, EXIT_STATUS_USAGE },
        { "start", verb_start, EXIT_STATUS_FAILED, EXIT_STATUS_USAGE },
        { "kill", verb_kill, EXIT_STATUS_FAILED, EXIT_STATUS_USAGE },
        { "stop", verb_stop, EXIT_STATUS_FAILED, EXIT_STATUS_USAGE },
        { "pause", verb_pause, EXIT_STATUS_FAILED, EXIT_STATUS_USAGE },
        { "resume", verb_resume, EXIT_STATUS_FAILED, EXIT_STATUS_USAGE },
        { "update", verb_update, EXIT_STATUS_FAILED, EXIT_STATUS_USAGE },
        { "delete", verb_delete, EXIT_STATUS_FAILED, EXIT_STATUS_USAGE },
        { "wait", verb_wait, EXIT_STATUS_CONTAINER_FAILED, EXIT_STATUS_CONTAINER_FAILED },
        { "checkpoint", verb_checkpoint, EXIT_STATUS_FAILED, EXIT_STATUS_USAGE },
        { "restore", verb_restore, EXIT_STATUS_FAILED, EXIT_STATUS_USAGE },
        { "list", verb_list, EXIT_STATUS_FAILED, EXIT_STATUS_USAGE },
        { "logs", verb_logs, EXIT_STATUS_FAILED, EXIT_STATUS_USAGE },
        { "inspect", verb_inspect, EXIT_STATUS_FAILED, EXIT_STATUS_USAGE },
        { "ps", verb_ps, EXIT_STATUS_FAILED, EXIT_STATUS_USAGE },
        { "stats", verb_stats, EXIT_STATUS_FAILED, EXIT_STATUS_USAGE },
        { "events", verb_events, EXIT_STATUS_FAILED, EXIT_STATUS_USAGE },
        { "reload", verb_reload, EXIT_STATUS_FAILED, EXIT_STATUS_USAGE },
        { "help", verb_help, EXIT_STATUS_FAILED, EXIT_STATUS_USAGE },
};

static const char usage[] = N_("Usage: monoshim [OPTION...] VERB [ARGUMENT...]\n"
                               "\n"
                               "Run OCI containers under monoshimd, and look after them.\n"
                               "\n"
                               "Verbs:\n"
                               "  run ID                   Create and start a container, wait, delete it\n"
                               "  exec ID COMMAND...       Run another program in a container\n"
                               "  attach ID [EXEC]         Show the terminal of what runs there on our own\n"
                               "  create ID                Create a container from an OCI bundle\n"
                               "  start ID...              Start created containers\n"
                               "  kill ID...               Send them a signal\n"
                               "  stop ID...               Ask them to end, and kill those that do not\n"
                               "  pause ID...              Stop all that runs in them, for a while\n"
                               "  resume ID...             Let it go on\n"
                               "  update ID...             Change what they may use\n"
                               "  delete ID...             Delete containers that have ended\n"
                               "  wait ID...               Wait until they have ended\n"
                               "  checkpoint ID DIR        Write an image of a running container\n"
                               "  restore ID BUNDLE DIR    Start a container from an image\n"
                               "  list                     List containers\n"
                               "  logs ID                  Show what a container has written\n"
                               "  inspect ID...            Show all that is known of containers\n"
                               "  ps ID                    List the processes in a container\n"
                               "  stats [ID...]            Show what containers use\n"
                               "  events [ID...]           Show what has happened, and what happens\n"
                               "  reload                   Have monoshimd read its configuration again\n"
                               "  help [VERB]              Show this, or the options of a verb\n"
                               "\n"
                               "Options, before or after the verb:\n"
                               "  -n, --namespace=NS       The namespace of ids (default: $MONOSHIM_NAMESPACE,\n"
                               "                           else \"default\"); an id may also be given as NS/ID\n"
                               "      --json=short|pretty  Print JSON\n"
                               "      --address=ADDRESS    Where monoshimd is: a D-Bus address, or the path of a\n"
                               "                           socket (default: $MONOSHIM_ADDRESS, else\n"
                               "                           /run/monoshim/bus, else the system bus)\n"
                               "      --no-ask-password    Fail where polkit would ask for a password\n"
                               "  -h, --help               Show this, or after a verb its options\n"
                               "      --version            Show the version\n");

static const Verb *verb_find(const char *name) {
        for (size_t i = 0; i < ELEMENTSOF(verbs); i++)
                if (streq(verbs[i].name, name))
                        return verbs + i;
        return NULL;
}

static int verb_unknown(const char *name) {
        const char *nearest = NULL;
        unsigned least = UINT_MAX;

        for (size_t i = 0; i < ELEMENTSOF(verbs); i++) {
                unsigned distance = nearest_distance(name, verbs[i].name);

                if (distance < least && nearest_is_likely(name, verbs[i].name, distance)) {
                        least = distance;
                        nearest = verbs[i].name;
                }
        }

        if (nearest)
                return settings_usage_error(NULL, _("Unknown verb \"%s\". Did you mean \"%s\"?"), name, nearest);
        return settings_usage_error(NULL, _("Unknown verb \"%s\"."), name);
}

/* Turns what a verb returned into the exit status of the program. */
static int verb_status(const Verb *v, int r) {
        switch (r) {
        case VERB_DONE:
                return EXIT_SUCCESS;
        case VERB_USAGE:
                return v ? v->status_usage : EXIT_STATUS_USAGE;
        case VERB_FAILED:
                return v ? v->status_failed : EXIT_STATUS_FAILED;
        default:
                return r;
        }
}

static int verb_help(int argc, char *argv[], Settings *s) {
        static const struct option options[] = { COMMON_LONG_OPTIONS, {} };
        char *arguments[] = { NULL, (char *) "--help", NULL };
        const Verb *v;
        int r;

        r = settings_getopt(s, argc, argv, COMMON_SHORT_OPTIONS, options, _(usage));
        if (r < 0)
                return r;
        r = settings_check_arguments(argc, argv, 0, 1);
        if (r < 0)
                return r;

        if (optind == argc) {
                fputs(_(usage), stdout);
                return 0;
        }

        v = verb_find(argv[optind]);
        if (!v)
                return verb_unknown(argv[optind]);
        arguments[0] = argv[optind];
        s->verb = v->name;
        optind = 0;
        return v->run(2, arguments, s);
}

/* 0, 1 and 2 must be taken, or the connection would become one of them. Those that were closed are opened the
 * wrong way round, so that using them fails as it would have. */
static int streams_reserve(Settings *s) {
        static const int flags[3] = { O_WRONLY | O_CLOEXEC, O_RDONLY | O_CLOEXEC, O_RDONLY | O_CLOEXEC };

        for (int fd = 0; fd < 3; fd++) {
                if (fcntl(fd, F_GETFD) >= 0)
                        continue;
                if (open("/dev/null", flags[fd]) != fd)
                        return -EIO;
                s->closed[fd] = true;
        }
        return 0;
}

static void locale_init(void) {
        setlocale(LC_ALL, "");
#ifdef ENABLE_NLS
        bindtextdomain(PACKAGE, LOCALEDIR);
        textdomain(PACKAGE);
#endif
}

static int command_run(int argc, char *argv[], Settings *s) {
        static const struct option options[] = { COMMON_LONG_OPTIONS, {} };
        const Verb *v;
        int first, r;

        r = settings_getopt(s, argc, argv, "+" COMMON_SHORT_OPTIONS, options, _(usage));
        if (r < 0)
                return verb_status(NULL, r);
        if (optind == argc)
                return verb_status(NULL, settings_usage_error(NULL, _("What is to be done? No verb is given.")));

        v = verb_find(argv[optind]);
        if (!v)
                return verb_status(NULL, verb_unknown(argv[optind]));

        s->verb = v->name;
        first = optind;
        optind = 0; /* getopt begins anew, on the verb's own arguments */
        r = verb_status(v, v->run(argc - first, argv + first, s));

        /* A status that is the container's own stays; output that nobody got is a failure otherwise. */
        if (output_flush() < 0 && r == 0)
                return v->status_failed;
        return r;
}

int main(int argc, char *argv[]) {
        Settings settings = {};

        if (streams_reserve(&settings) < 0)
                return EXIT_STATUS_FAILED;
        locale_init();
        settings_init(&settings);
        return command_run(argc, argv, &settings);
}
