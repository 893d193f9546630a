/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* monoshim stop. */

#include "ctl/i18n.h"
#include "ctl/report.h"
#include "ctl/signal-name.h"
#include "ctl/stop.h"
#include "ctl/verb.h"
#include "ctl/verb-arguments.h"
#include "util/text.h"

#include <limits.h>

#define STOP_TIMEOUT_USEC (10 * USEC_PER_SEC)

static const char usage[] = N_("Usage: monoshim stop [OPTION...] ID...\n"
                               "       monoshim stop [OPTION...] --all\n"
                               "\n"
                               "Ask containers to end, kill those that do not, and wait until all have ended.\n"
                               "They are kept, to be looked at and deleted.\n"
                               "\n"
                               "  -t, --timeout=TIME       How long to wait before killing: seconds, or a time\n"
                               "                           span such as 1min 30s, or infinity (default: 10)\n"
                               "  -s, --signal=SIGNAL      What to ask with: name or number (default: what the\n"
                               "                           container's image asks for, or TERM)\n"
                               "  -a, --all                All that run in the namespace chosen with -n\n"
                               "  -A, --all-namespaces     All that run\n");

typedef struct StopArguments {
        StopOptions options;
        bool all;
        bool all_namespaces;
} StopArguments;

static int stop_take(void *userdata, const char *verb, int c) {
        StopArguments *a = userdata;

        switch (c) {
        case 'a':
                a->all = true;
                return 0;
        case 'A':
                a->all = a->all_namespaces = true;
                return 0;
        case 's':
                a->options.signal = signal_from_string(optarg);
                if (a->options.signal < 0)
                        return settings_usage_error(verb, _("\"%s\" is no signal."), optarg);
                return 0;
        case 't':
                if (parse_timespan(optarg, &a->options.timeout_usec) < 0)
                        return settings_usage_error(verb, _("\"%s\" is no time span."), optarg);
                return 0;
        default:
                return 0;
        }
}

int verb_stop(int argc, char *argv[], Settings *s) {
        static const struct option options[] = {
                COMMON_LONG_OPTIONS,
                { "all", no_argument, NULL, 'a' },
                { "all-namespaces", no_argument, NULL, 'A' },
                { "signal", required_argument, NULL, 's' },
                { "timeout", required_argument, NULL, 't' },
                {},
        };
        const VerbSyntax syntax = {
                .letters = COMMON_SHORT_OPTIONS "s:t:aA",
                .options = options,
                .usage = _(usage),
                .take = stop_take,
                .max = INT_MAX,
        };
        StopArguments a = { .options.timeout_usec = STOP_TIMEOUT_USEC };
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_(container_refs_done) ContainerRefs refs = {};
        _cleanup_(client_freep) Client *c = NULL;
        int r;

        r = verb_parse(argc, argv, s, &syntax, &a);
        if (r < 0)
                return r;
        r = settings_check_arguments(argc, argv, a.all ? 0 : 1, a.all ? 0 : INT_MAX);
        if (r < 0)
                return r;
        r = verb_connect(argc, argv, s, &syntax, &refs, &c);
        if (r < 0)
                return r;

        if (a.all) {
                a.options.gone_is_fine = true;
                r = container_refs_list(&refs, c, a.all_namespaces ? NULL : s->ns, &error);
                if (r < 0) {
                        report_call(r, &error, _("Cannot list the containers"));
                        return VERB_FAILED;
                }
        }
        r = stop_containers(c, &refs, &a.options);
        return r < 0 || refs.bad ? VERB_FAILED : 0;
}
