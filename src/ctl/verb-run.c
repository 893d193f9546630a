/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* monoshim run: create, start, wait, delete.
 *
 * The question how the container ended is asked before it is started, so no end can be missed. Signals are blocked
 * from the beginning: one that comes before Start means that there is nothing to be run, one that comes later is
 * the container's. */

#include "ctl/create.h"
#include "ctl/i18n.h"
#include "ctl/process.h"
#include "ctl/report.h"
#include "ctl/verb.h"
#include "ctl/waiter.h"

#include <signal.h>
#include <time.h>

static const int forwarded_signals[] = { SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2 };

static const char usage[] = N_("Usage: monoshim run [OPTION...] ID\n"
                               "\n"
                               "Run a container from an OCI bundle: create and start it, wait for its end,\n"
                               "delete it. Signals are passed on to it, and its exit status becomes that of\n"
                               "monoshim.\n"
                               "\n"
                               "  -d, --detach             Leave it running; print its id\n"
                               "  -b, --bundle=DIR         The OCI bundle (default: the current directory)\n"
                               "      --runtime=NAME       The OCI runtime, by name or path\n"
                               "      --runtime-root=DIR   Where the runtime keeps its state\n"
                               "      --systemd-cgroup     Let the runtime have its cgroups made by systemd\n"
                               "      --no-pivot           Do not use pivot_root\n"
                               "      --no-new-keyring     Do not make a session keyring for the container\n"
                               "      --label=NAME=VALUE   Attach a label (may be repeated)\n"
                               "      --stdin=STREAM       Standard streams: the path of a FIFO, file:///PATH,\n"
                               "      --stdout=STREAM      journal:NAME, binary:///PATH, \"-\" for our own\n"
                               "      --stderr=STREAM      (the default), empty for /dev/null (the default with\n"
                               "                           --detach)\n");

typedef struct Run {
        Client *client;
        const ContainerRef *ref;
        CreateOptions create;
        bool detach;
        bool lost; /* monoshimd has gone; the container may run on */
} Run;

static int run_parse(int argc, char *argv[], Settings *s, Run *run) {
        static const struct option options[] = {
                COMMON_LONG_OPTIONS,
                CREATE_LONG_OPTIONS,
                { "detach", no_argument, NULL, 'd' },
                {},
        };
        int c, r;

        while ((c = settings_getopt(s, argc, argv, COMMON_SHORT_OPTIONS CREATE_SHORT_OPTIONS "d", options,
                                    _(usage))) > 0) {
                if (c == 'd') {
                        run->detach = true;
                        continue;
                }
                r = create_options_take(&run->create, argv[0], c);
                if (r < 0)
                        return r;
        }
        if (c < 0)
                return c;

        run->create.own_streams = !run->detach;
        return settings_check_arguments(argc, argv, 1, 1);
}

static void signals_block(sigset_t *ret) {
        sigemptyset(ret);
        for (size_t i = 0; i < ELEMENTSOF(forwarded_signals); i++)
                sigaddset(ret, forwarded_signals[i]);
        sigprocmask(SIG_BLOCK, ret, NULL);
}

/* The signal that has come meanwhile, or 0. */
static int signals_take(const sigset_t *set) {
        const struct timespec none = {};
        int r;

        do
                r = sigtimedwait(set, NULL, &none);
        while (r < 0 && errno == EINTR);
        return r < 0 ? 0 : r;
}

static int run_on_killed(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        const sd_bus_error *error = sd_bus_message_get_error(m);
        const Run *run = userdata;

        /* A container that has ended meanwhile, and a monoshimd that has gone, are for the waiter to deal with. */
        if (error && !sd_bus_error_has_name(error, MONOSHIM_ERROR("NotFound")) && !client_error_is_lost(0, error))
                report_call(-EIO, error, _("Cannot signal %s/%s"), run->ref->ns, run->ref->id);
        return 1;
}

static int run_on_signal(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        Run *run = userdata;
        int r;

        r = client_new_call(run->client, run->ref->path, MONOSHIM_PROCESS, "Kill", &m);
        if (r >= 0)
                r = sd_bus_message_append(m, "ub", info->ssi_signo, 0);
        if (r >= 0)
                r = sd_bus_call_async(run->client->bus, NULL, m, run_on_killed, run, CLIENT_FOREVER);
        if (r < 0 && !client_error_is_lost(r, NULL))
                report_errno(r, _("Cannot signal %s/%s"), run->ref->ns, run->ref->id);
        return 0;
}

static int run_forward_signals(Run *run, Waiter *w) {
        int r;

        for (size_t i = 0; i < ELEMENTSOF(forwarded_signals); i++) {
                r = sd_event_add_signal(waiter_get_event(w), NULL, forwarded_signals[i], run_on_signal, run);
                if (r < 0)
                        return report_errno(r, _("Cannot catch signals"));
        }
        return 0;
}

/* Whether what has been created still waits to be started; if that cannot be said, Wait's answer will tell. */
static bool run_is_created(Run *run) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_(freep) char *status = NULL;

        return sd_bus_get_property_string(run->client->bus, MONOSHIM_SERVICE, run->ref->path, MONOSHIM_PROCESS,
                                          "Status", &error, &status) >= 0 &&
               streq(status, "created");
}

/* A monoshimd that goes away before it answers may have started the container or not. That is found out from the
 * next one. */
static int run_start(Run *run, Waiter *w) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        int r;

        r = client_call(run->client, run->ref->path, MONOSHIM_PROCESS, "Start", CLIENT_FOREVER, &error, NULL, NULL);
        if (r >= 0)
                return 0;
        if (!client_error_is_lost(r, &error))
                return report_call(r, &error, _("Cannot start %s/%s"), run->ref->ns, run->ref->id);

        r = waiter_reconnect(w);
        if (r < 0) {
                run->lost = true;
                return r;
        }
        return run_is_created(run) ? process_start(run->client, run->ref) : 0;
}

/* The container's exit status, or VERB_FAILED. */
static int run_attached(Run *run) {
        _cleanup_(waiter_freep) Waiter *w = NULL;
        const WaitItem *item;
        int r;

        r = waiter_new(run->client, run->ref, 1, NULL, NULL, &w);
        if (r < 0)
                return VERB_FAILED;
        r = run_forward_signals(run, w);
        if (r < 0)
                return VERB_FAILED;
        r = run_start(run, w);
        if (r < 0)
                return VERB_FAILED;
        r = waiter_run(w, USEC_INFINITY);
        if (r < 0) {
                run->lost = true;
                return VERB_FAILED;
        }

        item = waiter_get(w, 0);
        if (!item->ended) {
                report_call(-EIO, &item->error, _("Cannot wait for %s/%s"), run->ref->ns, run->ref->id);
                return VERB_FAILED;
        }
        return (int) (item->exit_status & 0xff);
}

static int run_detached(Run *run, uint32_t pid) {
        int r;

        r = process_start(run->client, run->ref);
        if (r < 0)
                return VERB_FAILED;
        r = create_print(run->client->settings, run->ref, pid);
        return r < 0 ? VERB_FAILED : 0;
}

/* Somebody else may have deleted it. Failing to is reported, and does not change how the container ended. */
static void run_delete(Run *run) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        int r;

        r = client_call(run->client, run->ref->path, MONOSHIM_PROCESS, "Delete", CLIENT_FOREVER, &error, NULL, NULL);
        if (r >= 0 || sd_bus_error_has_name(&error, MONOSHIM_ERROR("NotFound")))
                return;
        if (client_error_is_lost(r, &error) && client_reconnect(run->client) >= 0)
                (void) process_delete(run->client, run->ref, true);
        else
                report_call(r, &error, _("Cannot delete %s/%s"), run->ref->ns, run->ref->id);
}

static int run_created(Run *run, const sigset_t *signals, uint32_t pid) {
        int status, signal;

        signal = signals_take(signals);
        if (signal > 0)
                status = 128 + signal;
        else
                status = run->detach ? run_detached(run, pid) : run_attached(run);

        if (!run->lost && (!run->detach || signal > 0 || status < 0))
                run_delete(run);
        return status;
}

int verb_run(int argc, char *argv[], Settings *s) {
        _cleanup_(container_refs_done) ContainerRefs refs = {};
        _cleanup_(client_freep) Client *c = NULL;
        Run run = {};
        sigset_t signals;
        uint32_t pid;
        int r;

        r = run_parse(argc, argv, s, &run);
        if (r >= 0)
                r = container_refs_parse(&refs, s, argc, argv) < 0 || refs.bad ? VERB_FAILED : 0;
        if (r >= 0)
                r = client_new(s, &c) < 0 ? VERB_FAILED : 0;
        if (r >= 0) {
                run.client = c;
                run.ref = refs.items;
                signals_block(&signals);
                r = create_container(c, run.ref, &run.create, &pid) < 0 ? VERB_FAILED
                                                                        : run_created(&run, &signals, pid);
        }

        create_options_done(&run.create);
        return r;
}
