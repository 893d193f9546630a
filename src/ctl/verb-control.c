/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* monoshim start, kill, pause, resume and delete: each goes on with the next container when one fails. */

#include "ctl/i18n.h"
#include "ctl/process.h"
#include "ctl/report.h"
#include "ctl/signal-name.h"
#include "ctl/suggest.h"
#include "ctl/verb.h"
#include "ctl/verb-arguments.h"
#include "ctl/waiter.h"

#include <limits.h>
#include <signal.h>

typedef struct ControlOptions {
        int signal;
        const char *exec_id;
        bool all;
        bool force;
} ControlOptions;

enum {
        OPTION_EXEC = OPTION_LONG_ONLY,
};

static const char start_usage[] = N_("Usage: monoshim start ID...\n"
                                     "\n"
                                     "Start created containers.\n");

static const char kill_usage[] = N_("Usage: monoshim kill [OPTION...] ID...\n"
                                    "\n"
                                    "Send a signal to the init process of containers.\n"
                                    "\n"
                                    "  -s, --signal=SIGNAL      Name or number (default: TERM)\n"
                                    "  -a, --all                To every process in the container\n"
                                    "      --exec=EXEC          To the program of this id that was run there\n");

static const char delete_usage[] = N_(
        "Usage: monoshim delete [OPTION...] ID...\n"
        "\n"
        "Delete containers that have ended or have not been started.\n"
        "\n"
        "  -f, --force              Kill those that still run; no complaint about those\n"
        "                           that do not exist\n"
        "      --exec=EXEC          Not the containers, but the program of this id that\n"
        "                           was run there\n");

static const char pause_usage[] = N_("Usage: monoshim pause ID...\n"
                                     "\n"
                                     "Stop every process of containers where it is.\n");

static const char resume_usage[] = N_("Usage: monoshim resume ID...\n"
                                      "\n"
                                      "Let paused containers go on.\n");

static int control_take(void *userdata, const char *verb, int c) {
        ControlOptions *o = userdata;

        switch (c) {
        case OPTION_EXEC:
                o->exec_id = optarg;
                return 0;
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
        default:
                return 0;
        }
}

/* Options, ids, the connection. 0 or a VERB_ value. */
static int control_begin(int argc, char *argv[], Settings *s, const char *letters, const struct option *options,
                         const char *usage, ControlOptions *o, ContainerRefs *refs, Client **ret_client) {
        const VerbSyntax syntax = {
                .letters = letters,
                .options = options,
                .usage = usage,
                .take = control_take,
                .min = 1,
                .max = INT_MAX,
        };
        int r;

        r = verb_begin(argc, argv, s, &syntax, o, refs, ret_client);
        if (r < 0)
                return r;
        return container_refs_select(refs, o->exec_id) < 0 ? VERB_FAILED : 0;
}

/* Those verbs that have no options, each done to every container. */
static int control_each(int argc, char *argv[], Settings *s, const char *usage,
                        int (*control)(Client *c, const ContainerRef *ref)) {
        _cleanup_(container_refs_done) ContainerRefs refs = {};
        _cleanup_(client_freep) Client *c = NULL;
        ControlOptions o = {};
        bool failed;
        int r;

        r = control_begin(argc, argv, s, COMMON_SHORT_OPTIONS, common_options, usage, &o, &refs, &c);
        if (r < 0)
                return r;

        failed = refs.bad;
        for (size_t i = 0; i < refs.n_items; i++)
                if (control(c, refs.items + i) < 0)
                        failed = true;
        return failed ? VERB_FAILED : 0;
}

int verb_start(int argc, char *argv[], Settings *s) {
        return control_each(argc, argv, s, _(start_usage), process_start);
}

static int container_pause(Client *c, const ContainerRef *ref) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        int r;

        r = client_call(c, ref->path, MONOSHIM_CONTAINER, "Pause", CLIENT_FOREVER, &error, NULL, NULL);
        return r < 0 ? suggest_report(c, ref, r, &error, _("Cannot pause %s/%s"), ref->ns, ref->id) : 0;
}

static int container_resume(Client *c, const ContainerRef *ref) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        int r;

        r = client_call(c, ref->path, MONOSHIM_CONTAINER, "Resume", CLIENT_FOREVER, &error, NULL, NULL);
        return r < 0 ? suggest_report(c, ref, r, &error, _("Cannot resume %s/%s"), ref->ns, ref->id) : 0;
}

int verb_pause(int argc, char *argv[], Settings *s) {
        return control_each(argc, argv, s, _(pause_usage), container_pause);
}

int verb_resume(int argc, char *argv[], Settings *s) {
        return control_each(argc, argv, s, _(resume_usage), container_resume);
}

int verb_kill(int argc, char *argv[], Settings *s) {
        static const struct option options[] = {
                COMMON_LONG_OPTIONS,
                { "signal", required_argument, NULL, 's' },
                { "all", no_argument, NULL, 'a' },
                { "exec", required_argument, NULL, OPTION_EXEC },
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

static int wait_for_end(Client *c, const ContainerRef *ref) {
        _cleanup_(waiter_freep) Waiter *w = NULL;
        int r;

        r = waiter_new(c, ref, 1, NULL, NULL, &w);
        return r < 0 ? r : waiter_run(w, USEC_INFINITY);
}

/* Killing what has ended already is no failure, and then there is nothing to wait for but what Wait knows anyway. */
static int delete_forcibly(Client *c, const ContainerRef *ref) {
        int r;

        r = process_kill(c, ref, SIGKILL, false, true);
        if (r < 0)
                return r;
        if (r > 0) {
                process_resume_if_paused(c, ref);
                r = wait_for_end(c, ref);
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
                { "exec", required_argument, NULL, OPTION_EXEC },
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
