/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* monoshim events.
 *
 * All that is shown comes from GetEvents, by sequence number. A signal is only the news that there is something to
 * get: so nothing is shown twice, nothing is left out, and a connection that had to be made again goes on where
 * the old one ended. */

#include "ctl/client.h"
#include "ctl/event-print.h"
#include "ctl/i18n.h"
#include "ctl/output.h"
#include "ctl/report.h"
#include "ctl/verb.h"
#include "util/text.h"

#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <systemd/sd-event.h>

/* Events asked for at once, so that a reply stays small whatever monoshimd keeps. */
#define EVENTS_PAGE 1000

static const char usage[] = N_("Usage: monoshim events [OPTION...] [ID...]\n"
                               "\n"
                               "Show what has happened to containers, as far as monoshimd remembers it.\n"
                               "\n"
                               "  -s, --since=SEQUENCE     Only what came after the event with this number\n"
                               "  -f, --follow             Go on with what happens; without --since, show that\n"
                               "                           alone\n"
                               "  -A, --all-namespaces     Of every namespace, not only of that chosen with -n\n");

typedef struct Events {
        Client *client;
        sd_event *event;
        sd_bus_slot *slot;
        EventFilter filter;
        uint64_t last; /* the sequence number up to which all has been shown */
        bool since;    /* the user said from where */
        bool follow;
        bool all;
        bool news;
        bool lost;
        bool closed; /* stdout: our reader has gone, which is a good end, or ... */
        bool failed; /* ... writing failed, which has been reported */
} Events;

static void events_done(Events *e) {
        sd_bus_slot_unref(e->slot);
        if (e->client && e->event)
                (void) sd_bus_detach_event(e->client->bus);
        sd_event_unref(e->event);
        client_free(e->client);
}

/* One page. Returns the number of events in it. */
static int events_print_page(Events *e, sd_bus_message *reply) {
        uint64_t sequence;
        int n = 0, r;

        r = sd_bus_message_enter_container(reply, 'a', "(tstssa{sv})");
        if (r < 0)
                return r;

        while ((r = event_print(reply, &e->filter, e->client->settings->output, &sequence)) > 0) {
                if (sequence > e->last)
                        e->last = sequence;
                n++;
                r = output_flush();
                if (r < 0) {
                        e->closed = true;
                        e->failed = r != -EPIPE;
                        return r;
                }
        }
        return r < 0 ? r : n;
}

static int events_get_page(Events *e, bool *ret_complete, sd_bus_error *error) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        int complete, r;

        r = client_call(e->client, MONOSHIM_PATH, MONOSHIM_MANAGER, "GetEvents", CLIENT_DEFAULT_TIMEOUT, error,
                        &reply, "tu", e->last, (uint32_t) EVENTS_PAGE);
        if (r < 0)
                return r;
        r = sd_bus_message_read(reply, "b", &complete);
        if (r < 0)
                return r;

        *ret_complete = complete;
        return events_print_page(e, reply);
}

/* Everything after e->last. Reports its failures, except for a monoshimd that has gone while we follow it
 * (e->lost). */
static int events_catch_up(Events *e) {
        int n;

        do {
                _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
                uint64_t after = e->last;
                bool complete = true;

                n = events_get_page(e, &complete, &error);
                if (e->closed)
                        return n;
                if (n < 0 && e->follow && client_error_is_lost(n, &error)) {
                        e->lost = true;
                        return n;
                }
                if (n < 0)
                        return report_call(n, &error, _("Cannot get the events"));
                if (!complete && (e->since || e->follow))
                        report(_("Some of the events after %llu are no longer known."), (unsigned long long) after);
                e->since = false; /* once is enough */
        } while (n == EVENTS_PAGE);
        return 0;
}

static int events_on_message(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        const char *name, *owner;
        Events *e = userdata;
        uint64_t sequence;
        int r;

        if (sd_bus_message_is_signal(m, "org.freedesktop.DBus.Local", "Disconnected") > 0)
                e->lost = true;

        if (sd_bus_message_is_signal(m, "org.freedesktop.DBus", "NameOwnerChanged") > 0) {
                r = sd_bus_message_read(m, "sss", &name, NULL, &owner);
                if (r >= 0 && streq(name, MONOSHIM_SERVICE))
                        *(isempty(owner) ? &e->lost : &e->news) = true;
                (void) sd_bus_message_rewind(m, true);
        }

        if (sd_bus_message_is_signal(m, MONOSHIM_MANAGER, NULL) > 0) {
                r = sd_bus_message_read(m, "t", &sequence);
                if (r > 0 && sequence > e->last)
                        e->news = true;
                (void) sd_bus_message_rewind(m, true);
        }
        return 0;
}

/* The match is made by hand: sd_bus_match_signal() would compare the sender, too, and on a socket without a bus
 * there is none. */
static int events_add_match(Events *e, const char *match) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        int r;

        r = sd_bus_call_method(e->client->bus, "org.freedesktop.DBus", "/org/freedesktop/DBus",
                               "org.freedesktop.DBus", "AddMatch", &error, NULL, "s", match);
        if (r < 0)
                return report_call(r, &error, _("Cannot subscribe to events"));
        return 0;
}

static int events_subscribe(Events *e) {
        int r;

        r = sd_bus_attach_event(e->client->bus, e->event, SD_EVENT_PRIORITY_NORMAL);
        if (r >= 0)
                r = sd_bus_add_filter(e->client->bus, &e->slot, events_on_message, e);
        if (r < 0)
                return report_errno(r, _("Cannot subscribe to events"));

        r = events_add_match(e, "type='signal',sender='" MONOSHIM_SERVICE "',path='" MONOSHIM_PATH
                                "',interface='" MONOSHIM_MANAGER "'");
        if (r < 0)
                return r;
        return events_add_match(e, "type='signal',sender='org.freedesktop.DBus',interface='org.freedesktop.DBus',"
                                   "member='NameOwnerChanged',arg0='" MONOSHIM_SERVICE "'");
}

/* Where "from now on" is. */
static int events_get_last(Events *e) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        int r;

        r = sd_bus_get_property_trivial(e->client->bus, MONOSHIM_SERVICE, MONOSHIM_PATH, MONOSHIM_MANAGER,
                                        "LastSequence", &error, 't', &e->last);
        if (r < 0)
                return report_call(r, &error, _("Cannot get the events"));
        return 0;
}

static int events_reconnect(Events *e) {
        int r;

        e->slot = sd_bus_slot_unref(e->slot);
        (void) sd_bus_detach_event(e->client->bus);

        r = client_reconnect(e->client);
        if (r < 0) {
                report(_("monoshimd went away, and has not come back. The last event was %llu."),
                       (unsigned long long) e->last);
                return r;
        }
        e->lost = false;
        e->news = true;
        return events_subscribe(e);
}

static int events_on_hangup(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        Events *e = userdata;

        e->closed = true;
        return 0;
}

/* Without this, "monoshim events -f | head -1" would stay until the next event, which may never come. */
static void events_watch_stdout(Events *e) {
        /* A file cannot be watched, and need not. */
        (void) sd_event_add_io(e->event, NULL, STDOUT_FILENO, 0, events_on_hangup, e);
}

static int events_follow(Events *e) {
        int r;

        r = sd_event_new(&e->event);
        if (r < 0)
                return report_errno(r, _("Cannot subscribe to events"));
        events_watch_stdout(e);

        r = events_subscribe(e);
        if (r < 0)
                return r;
        if (!e->since) {
                r = events_get_last(e);
                if (r < 0)
                        return r;
        }
        e->news = e->since;

        for (;;) {
                if (e->closed)
                        return 0;
                if (e->lost) {
                        r = events_reconnect(e);
                        if (r < 0)
                                return r;
                }
                if (e->news) {
                        e->news = false;
                        r = events_catch_up(e);
                        if (r < 0 && !e->lost && !e->closed)
                                return r;
                        continue;
                }
                r = sd_event_run(e->event, UINT64_MAX);
                if (r < 0)
                        return report_errno(r, _("Cannot wait for events"));
        }
}

static int events_parse(int argc, char *argv[], Settings *s, Events *e) {
        static const struct option options[] = {
                COMMON_LONG_OPTIONS,
                { "since", required_argument, NULL, 's' },
                { "follow", no_argument, NULL, 'f' },
                { "all-namespaces", no_argument, NULL, 'A' },
                {},
        };
        int c;

        while ((c = settings_getopt(s, argc, argv, COMMON_SHORT_OPTIONS "s:fA", options, _(usage))) > 0)
                switch (c) {
                case 's':
                        if (parse_uint64(optarg, &e->last) < 0)
                                return settings_usage_error(argv[0], _("\"%s\" is no sequence number."), optarg);
                        e->since = true;
                        break;
                case 'f':
                        e->follow = true;
                        break;
                case 'A':
                        e->all = true;
                        break;
                }
        if (c < 0)
                return c;
        return settings_check_arguments(argc, argv, 0, INT_MAX);
}

int verb_events(int argc, char *argv[], Settings *s) {
        _cleanup_(container_refs_done) ContainerRefs refs = {};
        _cleanup_(events_done) Events e = {};
        int r;

        r = events_parse(argc, argv, s, &e);
        if (r < 0)
                return r;
        r = container_refs_parse(&refs, s, argc, argv);
        if (r < 0 || refs.bad)
                return VERB_FAILED;

        /* So that a reader who goes is seen as EPIPE, and ends this well. */
        (void) signal(SIGPIPE, SIG_IGN);

        e.filter = (EventFilter) { .ns = e.all ? NULL : s->ns, .refs = &refs };
        r = client_new(s, &e.client);
        if (r < 0)
                return VERB_FAILED;
        r = e.follow ? events_follow(&e) : events_catch_up(&e);
        if (e.closed)
                return e.failed ? VERB_FAILED : 0;
        return r < 0 ? VERB_FAILED : 0;
}
