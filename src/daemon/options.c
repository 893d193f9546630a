/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* monoshimd's command line. */

#include "daemon/options.h"
#include "host/config.h"
#include "util/log.h"
#include "util/text.h"

#include <getopt.h>
#include <stdio.h>

#define STATE_DIRECTORY_DEFAULT "/run/monoshim/state"
#define ROOT_DIRECTORY_DEFAULT "/var/lib/monoshim"
#define RUNTIME_DEFAULT "runc"

static void options_help(void) {
        (void) printf("Usage: %s [OPTION...]\n"
                      "\n"
                      "Runs OCI containers for clients on D-Bus, and watches over all of them.\n"
                      "\n"
                      "  -h, --help               Show this help\n"
                      "      --version            Show the version\n"
                      "      --bus=BUS            Serve on this bus: system, user, none, or a D-Bus\n"
                      "                           address (default: system)\n"
                      "      --listen=PATH        Serve peer to peer on this unix socket as well\n"
                      "      --state=DIR          Volatile state (default: " STATE_DIRECTORY_DEFAULT ")\n"
                      "      --root=DIR           Persistent data (default: " ROOT_DIRECTORY_DEFAULT ")\n"
                      "      --runtime=NAME       Default OCI runtime, a name or an absolute path\n"
                      "                           (default: " RUNTIME_DEFAULT ")\n"
                      "      --runtime-root=DIR   Where the runtime keeps its state (default: the\n"
                      "                           folder \"runtime\" beside the state directory)\n"
                      "      --config=FILE        Configuration (default: " CONFIG_PATH_DEFAULT ")\n"
                      "      --log-level=LEVEL    emerg, alert, crit, err, warning, notice, info or\n"
                      "                           debug (default: info)\n"
                      "\n"
                      "See monoshimd(8) for more.\n",
                      program_invocation_short_name);
}

void options_done(Options *o) {
        free(o->state_directory);
        free(o->root_directory);
        free(o->runtime_root);
}

/* Absolute, without slashes at its end, and not the root of everything: we remove hidden folders below it. */
static int set_directory(char **member, const char *option, const char *path) {
        _cleanup_(freep) char *current = NULL, *absolute = NULL;
        size_t n;

        if (isempty(path))
                return log_error_errno(EINVAL, "%s needs a directory.", option);

        current = path[0] == '/' ? NULL : getcwd(NULL, 0);
        absolute = path[0] == '/' ? strdup(path) : strdup_printf("%s/%s", strempty(current), path);
        if (!absolute)
                return log_error_errno(ENOMEM, "%s: %m", option);

        n = strlen(absolute);
        while (n > 0 && absolute[n - 1] == '/')
                absolute[--n] = 0;
        if (n == 0)
                return log_error_errno(EINVAL, "%s=/ is refused: a folder of its own is needed.", option);

        free(*member);
        *member = TAKE_PTR(absolute);
        return 0;
}

static int set_defaults(Options *o) {
        int r;

        if (!o->state_directory) {
                r = set_directory(&o->state_directory, "--state", STATE_DIRECTORY_DEFAULT);
                if (r < 0)
                        return r;
        }
        if (!o->root_directory) {
                r = set_directory(&o->root_directory, "--root", ROOT_DIRECTORY_DEFAULT);
                if (r < 0)
                        return r;
        }
        if (!o->runtime_root) {
                const char *slash = strrchr(o->state_directory, '/');

                o->runtime_root = strdup_printf("%.*s/runtime", (int) (slash - o->state_directory),
                                                o->state_directory);
                if (!o->runtime_root)
                        return log_error_errno(ENOMEM, "--runtime-root: %m");
        }
        return 0;
}

static int set_log_level(const char *s) {
        int level = log_level_from_string(s);

        if (level < 0)
                return log_error_errno(
                        EINVAL,
                        "--log-level=%s is no level: use emerg, alert, crit, err, warning, notice, info or debug.",
                        s);

        log_set_max_level(level);
        return 0;
}

static int set_runtime(Options *o, const char *s) {
        if (isempty(s) || (s[0] != '/' && strchr(s, '/')))
                return log_error_errno(EINVAL, "--runtime=%s is neither a plain name nor an absolute path.", s);

        o->runtime = s;
        return 0;
}

enum {
        ARG_VERSION = 0x100,
        ARG_BUS,
        ARG_LISTEN,
        ARG_STATE,
        ARG_ROOT,
        ARG_RUNTIME,
        ARG_RUNTIME_ROOT,
        ARG_CONFIG,
        ARG_LOG_LEVEL,
};

/* As options_parse(). */
static int options_apply(Options *o, int option, const char *value) {
        int r = 0;

        switch (option) {
        case 'h':
                options_help();
                return 0;
        case ARG_VERSION:
                (void) printf("monoshimd %s\n", PACKAGE_VERSION);
                return 0;
        case ARG_BUS:
                o->bus = value;
                break;
        case ARG_LISTEN:
                o->listen_path = value;
                break;
        case ARG_STATE:
                r = set_directory(&o->state_directory, "--state", value);
                break;
        case ARG_ROOT:
                r = set_directory(&o->root_directory, "--root", value);
                break;
        case ARG_RUNTIME:
                r = set_runtime(o, value);
                break;
        case ARG_RUNTIME_ROOT:
                r = set_directory(&o->runtime_root, "--runtime-root", value);
                break;
        case ARG_CONFIG:
                o->config_path = value;
                o->config_is_optional = false;
                break;
        case ARG_LOG_LEVEL:
                r = set_log_level(value);
                break;
        default:
                return -EINVAL; /* getopt has complained */
        }
        return r < 0 ? -EINVAL : 1;
}

int options_parse(Options *o, int argc, char *argv[]) {
        /* clang-format off */
        static const struct option table[] = {
                { "help",         no_argument,       NULL, 'h'              },
                { "version",      no_argument,       NULL, ARG_VERSION      },
                { "bus",          required_argument, NULL, ARG_BUS          },
                { "listen",       required_argument, NULL, ARG_LISTEN       },
                { "state",        required_argument, NULL, ARG_STATE        },
                { "root",         required_argument, NULL, ARG_ROOT         },
                { "runtime",      required_argument, NULL, ARG_RUNTIME      },
                { "runtime-root", required_argument, NULL, ARG_RUNTIME_ROOT },
                { "config",       required_argument, NULL, ARG_CONFIG       },
                { "log-level",    required_argument, NULL, ARG_LOG_LEVEL    },
                {},
        };
        /* clang-format on */
        int option, r;

        *o = (Options) { .argv = argv,
                         .bus = "system",
                         .runtime = RUNTIME_DEFAULT,
                         .config_path = CONFIG_PATH_DEFAULT,
                         .config_is_optional = true };

        while ((option = getopt_long(argc, argv, "h", table, NULL)) >= 0) {
                r = options_apply(o, option, optarg);
                if (r <= 0)
                        return r;
        }

        if (optind < argc)
                return log_error_errno(EINVAL, "monoshimd takes no arguments, only options: \"%s\" is too much.",
                                       argv[optind]);

        r = set_defaults(o);
        return r < 0 ? r : 1;
}
