/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* monoshim start, kill, stop and delete: each goes on with the next container when one fails. */

#include "ctl/i18n.h"
#include "ctl/process.h"
#include "ctl/report.h"
#include "ctl/signal-name.h"
#include "ctl/verb.h"
#include "ctl/waiter.h"
#include "util/text.h"

#include <limits.h>
#include <signal.h>

#define STOP_TIMEOUT_USEC (10 * USEC_PER_SEC)

typedef struct ControlOptions {
        int signal;
        uint64_t timeout_usec;
        bool all;
        bool force;
} ControlOptions;

static const char start_usage[] = N_("Usage: monoshim start ID...\n"
                                     "\n"
                                     "Start created containers.\n");

static const char kill_usage[] = N_("Usage: monoshim kill [OPTION...] ID...\n"
                                    "\n"
                                    "Send a signal to the init process of containers.\n"
                                    "\n"
                                    "  -s, --signal=SIGNAL      Name or number (default: TERM)\n"
                                    "  -a, --all                To every process in the container\n");

static const char stop_usage[] = N_("Usage: monoshim stop [OPTION...] ID...\n"
                                    "\n"
                                    "Ask containers to end, kill those that do not, and wait until all have ended.\n"
                                    "They are kept, to be looked at and deleted.\n"
                                    "\n"
                                    "  -t, --timeout=TIME       How long to wait before killing: seconds, or a time\n"
                                    "                           span such as 1min 30s, or infinity (default: 10)\n"
                                    "  -s, --signal=SIGNAL      What to ask with: name or number (default: TERM)\n");

static const char delete_usage[] = N_(
        "Usage: monoshim delete [OPTION...] ID...\n"
        "\n"
        "Delete containers that have ended or have not been started.\n"
        "\n"
        "  -f, --force              Kill those that still run; no complaint about those\n"
        "                           that do not exist\n");

static int control_take(ControlOptions *o, const char *verb, int c) {
        switch (c) {
        case 'a':
                o->all = true;
                return 0;
        case 'f':
                o->force = true;
                return 0;
        case 's':
                o->signal = signal_from_string(optarg);
                if (o->signal < 0)
                        return settings_usage_error(verb, _("\"%s\" is no signal."), optarg);
                return 0;
        case 't':
                if (parse_timespan(optarg, &o->timeout_usec) < 0)
                        return settings_usage_error(verb, _("\"%s\" is no time span."), optarg);
                return 0;
        default:
                return 0;
        }
}

/* Options, then at least one id, then the connection. 0, VERB_FAILED, VERB_USAGE or VERB_DONE. */
static int control_begin(int argc, char *argv[], Settings *s, const char *letters, const struct option *options,
                         const char *usage, ControlOptions *o, ContainerRefs *refs, Client **ret_client) {
        int c, r;

        while ((c = settings_getopt(s, argc, argv, letters, options, usage)) > 0) {
                r = control_take(o, argv[0], c);
                if (r < 0)
                        return r;
        }
        if (c < 0)
                return c;

        r = settings_check_arguments(argc, argv, 1, INT_MAX);
        if (r < 0)
                return r;
        r = container_refs_parse(refs, s, argc, argv);
        if (r < 0)
                return VERB_FAILED;
        r = client_new(s, ret_client);
        return r < 0 ? VERB_FAILED : 0;
}

int verb_start(int argc, char *argv[], Settings *s) {
        static const struct option options[] = { COMMON_LONG_OPTIONS, {} };
        _cleanup_(container_refs_done) ContainerRefs refs = {};
        _cleanup_(client_freep) Client *c = NULL;
        ControlOptions o = {};
        bool failed;
        int r;

        r = control_begin(argc, argv, s, COMMON_SHORT_OPTIONS, options, _(start_usage), &o, &refs, &c);
        if (r < 0)
                return r;

        failed = refs.bad;
        for (size_t i = 0; i < refs.n_items; i++)
                if (process_start(c, refs.items + i) < 0)
                        failed = true;
        return failed ? VERB_FAILED : 0;
}

int verb_kill(int argc, char *argv[], Settings *s) {
        static const struct option options[] = {
                COMMON_LONG_OPTIONS,
                { "signal", required_argument, NULL, 's' },
                { "all", no_argument, NULL, 'a' },
                {},
        };
        _cleanup_(container_refs_done) ContainerRefs refs = {};
        _cleanup_(client_freep) Client *c = NULL;
        ControlOptions o = { .signal = SIGTERM };
        bool failed;
        int r;

        r = control_begin(argc, argv, s, COMMON_SHORT_OPTIONS "s:a", options, _(kill_usage), &o, &refs, &c);
        if (r < 0)
                return r;

        failed = refs.bad;
        for (size_t i = 0; i < refs.n_items; i++)
                if (process_kill(c, refs.items + i, o.signal, o.all, false) < 0)
                        failed = true;
        return failed ? VERB_FAILED : 0;
}

/* Signals those that have not ended yet, and gives up on those that cannot be signalled. Whether one that is not
 * there is to be complained about is for Wait's answer to say: a container that has just ended is gone for Kill,
 * too. */
static bool stop_signal(Client *c, Waiter *w, const ContainerRefs *refs, int signal) {
        bool failed = false;

        for (size_t i = 0; i < refs->n_items; i++) {
                if (!waiter_get(w, i)->pending)
                        continue;
                if (process_kill(c, refs->items + i, signal, false, true) < 0) {
                        waiter_drop(w, i);
                        failed = true;
                } else
                        process_resume_if_paused(c, refs->items + i);
        }
        return failed;
}

static bool stop_report(Waiter *w, size_t n) {
        bool failed = false;

        for (size_t i = 0; i < n; i++) {
                const WaitItem *item = waiter_get(w, i);

                if (!sd_bus_error_is_set(&item->error))
                        continue;
                report_call(-EIO, &item->error, _("Cannot stop %s/%s"), item->ref->ns, item->ref->id);
                failed = true;
        }
        return failed;
}

/* Returns whether anything went wrong. */
static bool stop_all(Client *c, const ContainerRefs *refs, const ControlOptions *o) {
        _cleanup_(waiter_freep) Waiter *w = NULL;
        bool failed;
        int r;

        r = waiter_new(c, refs->items, refs->n_items, NULL, NULL, &w);
        if (r < 0)
                return true;

        failed = stop_signal(c, w, refs, o->signal);
        r = waiter_run(w, o->timeout_usec);
        if (r == 0) {
                failed |= stop_signal(c, w, refs, SIGKILL);
                r = waiter_run(w, USEC_INFINITY);
        }
        return r < 0 || stop_report(w, refs->n_items) || failed;
}

int verb_stop(int argc, char *argv[], Settings *s) {
        static const struct option options[] = {
                COMMON_LONG_OPTIONS,
                { "signal", required_argument, NULL, 's' },
                { "timeout", required_argument, NULL, 't' },
                {},
        };
        _cleanup_(container_refs_done) ContainerRefs refs = {};
        _cleanup_(client_freep) Client *c = NULL;
        ControlOptions o = { .signal = SIGTERM, .timeout_usec = STOP_TIMEOUT_USEC };
        bool failed;
        int r;

        r = control_begin(argc, argv, s, COMMON_SHORT_OPTIONS "s:t:", options, _(stop_usage), &o, &refs, &c);
        if (r < 0)
                return r;

        failed = stop_all(c, &refs, &o);
        return failed || refs.bad ? VERB_FAILED : 0;
}

/* Killing what has ended already is no failure, and then there is nothing to wait for but what Wait knows anyway. */
static int delete_forcibly(Client *c, const ContainerRef *ref) {
        _cleanup_(waiter_freep) Waiter *w = NULL;
        int r;

        r = process_kill(c, ref, SIGKILL, false, true);
        if (r < 0)
                return r;
        if (r > 0) {
                process_resume_if_paused(c, ref);
                r = waiter_new(c, ref, 1, NULL, NULL, &w);
                if (r < 0)
                        return r;
                r = waiter_run(w, USEC_INFINITY);
                if (r < 0)
                        return r;
        }

        r = process_delete(c, ref, true);
        return r == -ENOENT ? 0 : r;
}

int verb_delete(int argc, char *argv[], Settings *s) {
        static const struct option options[] = {
                COMMON_LONG_OPTIONS,
                { "force", no_argument, NULL, 'f' },
                {},
        };
        _cleanup_(container_refs_done) ContainerRefs refs = {};
        _cleanup_(client_freep) Client *c = NULL;
        ControlOptions o = {};
        bool failed;
        int r;

        r = control_begin(argc, argv, s, COMMON_SHORT_OPTIONS "f", options, _(delete_usage), &o, &refs, &c);
        if (r < 0)
                return r;

        failed = refs.bad;
        for (size_t i = 0; i < refs.n_items; i++) {
                const ContainerRef *ref = refs.items + i;

                r = o.force ? delete_forcibly(c, ref) : process_delete(c, ref, false);
                if (r < 0)
                        failed = true;
        }
        return failed ? VERB_FAILED : 0;
}
