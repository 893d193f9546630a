/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The options that every verb takes. */

#include "ctl/settings.h"

#include "ctl/i18n.h"
#include "ctl/nearest.h"
#include "ctl/report.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>

static const char *environment_get(const char *name) {
        const char *value = getenv(name);

        return isempty(value) ? NULL : value;
}

void settings_init(Settings *s) {
        const char *ns = environment_get("MONOSHIM_NAMESPACE");

        s->ns = ns ? ns : "default";
        s->address = environment_get("MONOSHIM_ADDRESS");
}

static int usage_hint(const char *verb) {
        if (verb)
                fprintf(stderr, _("Try \"monoshim %s --help\".\n"), verb);
        else
                fputs(_("Try \"monoshim --help\".\n"), stderr);
        return VERB_USAGE;
}

int settings_usage_error(const char *verb, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        reportv(format, ap);
        va_end(ap);
        return usage_hint(verb);
}

static int settings_set_output(Settings *s, const char *verb, const char *value) {
        if (streq(value, "short"))
                s->output = OUTPUT_JSON_SHORT;
        else if (streq(value, "pretty"))
                s->output = OUTPUT_JSON_PRETTY;
        else if (streq(value, "off"))
                s->output = OUTPUT_TEXT;
        else
                return settings_usage_error(verb, _("--json= takes \"short\", \"pretty\" or \"off\", not \"%s\"."),
                                            value);
        return 0;
}

/* 1 when 'c' was a common option, 0 when it is the verb's, or a VERB_ value. */
static int settings_take(Settings *s, const char *verb, int c, const char *usage) {
        int r;

        switch (c) {
        case 'h':
                fputs(usage, stdout);
                return VERB_DONE;

        case OPTION_VERSION:
                puts("monoshim " VERSION);
                return VERB_DONE;

        case 'n':
                s->ns = optarg;
                return 1;

        case OPTION_JSON:
                r = settings_set_output(s, verb, optarg);
                return r < 0 ? r : 1;

        case OPTION_ADDRESS:
                if (isempty(optarg))
                        return settings_usage_error(verb, _("--address= needs a D-Bus address or an absolute path."));
                s->address = optarg;
                return 1;

        case OPTION_NO_ASK_PASSWORD:
                s->no_ask_password = true;
                return 1;

        default:
                return 0;
        }
}

/* Behind getopt's complaint about an option that is none: which one may have been meant. */
static void option_suggest(const char *given, const struct option *options) {
        _cleanup_(freep) char *word = NULL;
        const char *nearest = NULL;
        unsigned least = UINT_MAX;

        if (strncmp(given, "--", 2) != 0)
                return;
        word = strndup(given + 2, strcspn(given + 2, "="));
        if (!word)
                return;

        for (; options->name; options++) {
                unsigned distance = nearest_distance(word, options->name);

                if (distance < least && distance > 0 && nearest_is_likely(word, options->name, distance)) {
                        least = distance;
                        nearest = options->name;
                }
        }
        if (nearest)
                report(_("Did you mean \"--%s\"?"), nearest);
}

/* getopt puts argv[0] in front of its complaints, which is the verb to us and should be the program to the user. */
static int getopt_as_program(int argc, char *argv[], const char *short_options, const struct option *long_options) {
        char *verb = argv[0];
        int c;

        argv[0] = (char *) "monoshim";
        c = getopt_long(argc, argv, short_options, long_options, NULL);
        argv[0] = verb;
        return c;
}

int settings_getopt(Settings *s, int argc, char *argv[], const char *short_options, const struct option *long_options,
                    const char *usage) {
        int c, r;

        for (;;) {
                c = getopt_as_program(argc, argv, short_options, long_options);
                if (c < 0)
                        return 0;
                if (c == '?') {
                        if (optopt == 0 && optind > 0 && optind <= argc)
                                option_suggest(argv[optind - 1], long_options);
                        return usage_hint(s->verb);
                }

                r = settings_take(s, s->verb, c, usage);
                if (r < 0)
                        return r;
                if (r == 0)
                        return c;
        }
}

int settings_check_arguments(int argc, char *argv[], int min, int max) {
        int n = argc - optind;

        if (n < min && n == 0)
                return settings_usage_error(argv[0], _("\"%s\" needs the id of a container."), argv[0]);
        if (n < min)
                return settings_usage_error(argv[0], _("\"%s\" needs more than \"%s\"."), argv[0], argv[argc - 1]);
        if (n > max)
                return settings_usage_error(argv[0], _("\"%s\" takes no argument \"%s\"."), argv[0],
                                            argv[optind + max]);
        return 0;
}
