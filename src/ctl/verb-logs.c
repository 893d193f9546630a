/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* monoshim logs. */

#include "ctl/i18n.h"
#include "ctl/log-file.h"
#include "ctl/log-journal.h"
#include "ctl/output.h"
#include "ctl/report.h"
#include "ctl/suggest.h"
#include "ctl/verb.h"
#include "ctl/verb-arguments.h"
#include "ctl/waiter.h"
#include "util/text.h"
#include "util/uri.h"

#include <stdio.h>
#include <sys/epoll.h>
#include <sys/inotify.h>

/* What a container has written may come to the journal after the news of its end. */
#define DRAIN_USEC (300 * USEC_PER_MSEC)

static const char usage[] = N_("Usage: monoshim logs [OPTION...] ID\n"
                               "\n"
                               "Show what a container has written, if that goes to the journal or to files.\n"
                               "\n"
                               "  -f, --follow             Go on with what it writes, until it has ended\n"
                               "  -l, --lines=NUMBER       Only the last lines (default: all)\n"
                               "      --exec=EXEC          Of the program of this id that was run there\n"
                               "  -D, --directory=DIR      The journal in this directory, not this machine's\n");

enum {
        OPTION_EXEC = OPTION_LONG_ONLY,
};

typedef struct Logs {
        Client *client;
        const ContainerRef *ref;
        const char *exec_id;
        const char *directory;
        uint64_t lines;
        bool follow;

        char *streams[2];
        bool gone; /* there is no such container any more */
        uint64_t created_usec;
        LogPrinter printer;
        LogJournal journal;
        LogFile files[2];
        size_t n_files;
        sd_event_source *watches[2]; /* of the files; floating, they would keep the loop */
        Waiter *waiter;
        bool failed; /* which has been reported */
} Logs;

static void logs_done(Logs *l) {
        for (int i = 0; i < 2; i++)
                free(l->streams[i]);
        for (size_t i = 0; i < l->n_files; i++) {
                sd_event_source_unref(l->watches[i]);
                log_file_done(l->files + i);
        }
        log_journal_done(&l->journal);
        waiter_free(l->waiter);
}

/* -- where it goes -- */

static int logs_look(Logs *l, const ContainerRef *container, sd_bus_error *error) {
        static const char *const names[2] = { "Stdout", "Stderr" };
        sd_bus *bus = l->client->bus;
        int r = 0;

        for (int i = 0; i < 2 && r >= 0; i++)
                r = sd_bus_get_property_string(bus, MONOSHIM_SERVICE, l->ref->path, MONOSHIM_PROCESS, names[i], error,
                                               &l->streams[i]);
        if (r >= 0)
                r = sd_bus_get_property_trivial(bus, MONOSHIM_SERVICE, container->path, MONOSHIM_CONTAINER,
                                                "CreatedAt", error, 't', &l->created_usec);
        return r;
}

/* What stands behind "journal:", or NULL. */
static const char *journal_identifier(const char *stream) {
        return stream && strncmp(stream, "journal:", strlen("journal:")) == 0 ? stream + strlen("journal:") : NULL;
}

static int logs_open_journal(Logs *l) {
        const char *const identifiers[2] = { journal_identifier(l->streams[0]), journal_identifier(l->streams[1]) };
        int r;

        if (!l->gone && !identifiers[0] && !identifiers[1])
                return 0;
        r = log_journal_open(&l->journal, l->directory, l->ref, identifiers, l->created_usec);
        if (r >= 0)
                r = log_journal_seek(&l->journal, l->lines);
        return r < 0 ? report_errno(r, _("Cannot read the journal")) : 0;
}

static int logs_open_file(Logs *l, int stream) {
        _cleanup_(freep) char *path = NULL, *reason = NULL;
        const char *query;
        int r;

        if (!l->streams[stream] || strncmp(l->streams[stream], "file:", strlen("file:")) != 0)
                return 0;
        if (stream == 1 && streq_ptr(l->streams[0], l->streams[1]))
                return 0; /* one file for both, in which they are not told apart */

        r = uri_split(l->streams[stream], &path, &query, &reason);
        if (r >= 0)
                r = log_file_open(l->files + l->n_files, path, stream + 1, l->lines);
        if (r < 0)
                return report_errno(r, _("Cannot read \"%s\""), path ? path : l->streams[stream]);
        path = NULL;
        l->n_files++;
        return 0;
}

static int logs_open(Logs *l) {
        int r;

        r = logs_open_journal(l);
        for (int i = 0; i < 2 && r >= 0; i++)
                r = logs_open_file(l, i);
        if (r < 0)
                return r;
        if (l->journal.journal || l->n_files > 0)
                return 0;

        report(_("The output of %s/%s goes to \"%s\", where it cannot be read again. Only that to journal: or file:// "
                 "can, see --stdout= of \"monoshim create\"."),
               l->ref->ns, l->ref->id, isempty(l->streams[0]) ? "/dev/null" : l->streams[0]);
        return -ENOENT;
}

/* -- showing it -- */

static int logs_read(Logs *l, bool rest) {
        int r = 0;

        if (l->journal.journal) {
                r = log_journal_read(&l->journal, &l->printer);
                if (r < 0)
                        return report_errno(r, _("Cannot read the journal"));
        }
        for (size_t i = 0; i < l->n_files; i++) {
                r = log_file_read(l->files + i, &l->printer, rest);
                if (r < 0)
                        return report_errno(r, _("Cannot read \"%s\""), l->files[i].path);
        }
        return output_flush();
}

/* News: all is looked at. What fails ends the waiting. */
static void logs_go_on(Logs *l) {
        if (logs_read(l, false) >= 0)
                return;
        l->failed = true;
        waiter_drop(l->waiter, 0);
}

static int logs_on_file(sd_event_source *source, const struct inotify_event *event, void *userdata) {
        logs_go_on(userdata);
        return 0;
}

static int logs_on_journal(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        Logs *l = userdata;

        (void) sd_journal_process(l->journal.journal);
        logs_go_on(l);
        return 0;
}

static int logs_watch(Logs *l, sd_event *event) {
        int fd, r = 0;

        if (l->journal.journal) {
                fd = sd_journal_get_fd(l->journal.journal);
                r = fd < 0 ? fd : sd_event_add_io(event, NULL, fd, EPOLLIN, logs_on_journal, l);
        }
        for (size_t i = 0; i < l->n_files && r >= 0; i++)
                r = sd_event_add_inotify(event, l->watches + i, l->files[i].path, IN_MODIFY, logs_on_file, l);
        return r < 0 ? report_errno(r, _("Cannot wait for more of %s/%s"), l->ref->ns, l->ref->id) : 0;
}

/* Until nothing has come for a while. */
static int logs_drain(Logs *l, sd_event *event) {
        uint64_t before;
        int r;

        do {
                before = l->printer.n_lines;
                r = sd_event_run(event, DRAIN_USEC);
                if (r >= 0)
                        r = logs_read(l, false);
        } while (r >= 0 && l->journal.journal && before < l->printer.n_lines);
        return r;
}

static int logs_follow(Logs *l) {
        sd_event *event;
        int r;

        r = waiter_new(l->client, l->ref, 1, NULL, NULL, &l->waiter);
        if (r < 0)
                return r;
        event = waiter_get_event(l->waiter);
        r = logs_watch(l, event);
        if (r < 0)
                return r;
        r = logs_read(l, false); /* what has come before we watched */
        if (r < 0)
                return r;
        r = waiter_run(l->waiter, USEC_INFINITY);
        if (r < 0 || l->failed)
                return -EIO;
        return logs_drain(l, event);
}

/* One that has been deleted may have left its lines in the journal, under a name that says little of when. */
static int logs_show(Logs *l, const ContainerRef *container) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        int r, found;

        found = logs_look(l, container, &error);
        l->gone = sd_bus_error_has_name(&error, MONOSHIM_ERROR("NotFound")) ||
                  sd_bus_error_has_name(&error, SD_BUS_ERROR_UNKNOWN_OBJECT);
        r = found < 0 && !l->gone ? found : logs_open(l);
        if (found < 0 && (!l->gone || r < 0))
                return suggest_report(l->client, l->ref, found, &error, _("Cannot show the output of %s/%s"),
                                      l->ref->ns, l->ref->id);
        if (r >= 0)
                r = logs_read(l, !l->follow || l->gone);
        if (r >= 0 && l->gone && l->printer.n_lines == 0)
                return suggest_report(l->client, l->ref, found, &error, _("Cannot show the output of %s/%s"),
                                      l->ref->ns, l->ref->id);
        if (r >= 0 && l->follow && !l->gone)
                r = logs_follow(l);
        if (r >= 0)
                r = logs_read(l, true);
        return r;
}

static int logs_take(void *userdata, const char *verb, int c) {
        Logs *l = userdata;

        switch (c) {
        case 'f':
                l->follow = true;
                return 0;
        case 'l':
                if (streq(optarg, "all"))
                        l->lines = LOG_LINES_ALL;
                else if (parse_uint64(optarg, &l->lines) < 0)
                        return settings_usage_error(verb, _("--lines= takes a number or \"all\", not \"%s\"."),
                                                    optarg);
                return 0;
        case 'D':
                l->directory = optarg;
                return 0;
        default:
                l->exec_id = optarg;
                return 0;
        }
}

int verb_logs(int argc, char *argv[], Settings *s) {
        static const struct option options[] = {
                COMMON_LONG_OPTIONS,
                { "follow", no_argument, NULL, 'f' },
                { "lines", required_argument, NULL, 'l' },
                { "directory", required_argument, NULL, 'D' },
                { "exec", required_argument, NULL, OPTION_EXEC },
                {},
        };
        const VerbSyntax syntax = {
                .letters = COMMON_SHORT_OPTIONS "fl:D:",
                .options = options,
                .usage = _(usage),
                .take = logs_take,
                .min = 1,
                .max = 1,
        };
        _cleanup_(container_refs_done) ContainerRefs refs = {}, processes = {};
        _cleanup_(client_freep) Client *c = NULL;
        _cleanup_(logs_done) Logs l = { .lines = LOG_LINES_ALL };
        int r;

        r = verb_begin(argc, argv, s, &syntax, &l, &refs, &c);
        if (r < 0)
                return r;
        r = container_refs_parse(&processes, s, argc, argv);
        if (r >= 0)
                r = container_refs_select(&processes, l.exec_id);
        if (r < 0)
                return VERB_FAILED;

        l.client = c;
        l.ref = processes.items;
        l.printer.output = s->output;
        return logs_show(&l, refs.items) < 0 ? VERB_FAILED : 0;
}
