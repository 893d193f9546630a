/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* monoshim stats.
 *
 * How busy the processors are is the difference between two looks, so nothing can be shown before the second one. */

#include "ctl/format.h"
#include "ctl/i18n.h"
#include "ctl/output.h"
#include "ctl/report.h"
#include "ctl/suggest.h"
#include "ctl/table.h"
#include "ctl/verb.h"
#include "ctl/verb-arguments.h"
#include "util/clock.h"
#include "util/text.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>

#define STATS_INTERVAL_USEC USEC_PER_SEC

static const char usage[] = N_("Usage: monoshim stats [OPTION...] [ID...]\n"
                               "\n"
                               "Show what containers use: all that run, or those named. On a terminal this goes\n"
                               "on until interrupted.\n"
                               "\n"
                               "  -A, --all-namespaces     Of every namespace, not only of that chosen with -n\n"
                               "      --interval=TIME      Between two looks: seconds, or a time span such as\n"
                               "                           500ms (default: 1)\n"
                               "      --no-stream          Show it once, also on a terminal\n"
                               "      --no-legend          Without the line with the names of the columns\n");

enum {
        OPTION_INTERVAL = OPTION_LONG_ONLY,
        OPTION_NO_STREAM,
        OPTION_NO_LEGEND,
};

typedef enum Figure {
        FIGURE_CPU_USAGE,
        FIGURE_MEMORY_CURRENT,
        FIGURE_MEMORY_MAX,
        FIGURE_PIDS_CURRENT,
        FIGURE_IO_READ,
        FIGURE_IO_WRITE,
        FIGURE_OOM_KILLS,
        FIGURE_CPU_USER,
        FIGURE_CPU_SYSTEM,
        FIGURE_MEMORY_PEAK,
        FIGURE_PIDS_MAX,
        _FIGURE_MAX,
} Figure;

/* clang-format off */
static const char *const figure_names[_FIGURE_MAX] = {
        [FIGURE_CPU_USAGE] = "CPUUsageUSec",
        [FIGURE_MEMORY_CURRENT] = "MemoryCurrent",
        [FIGURE_MEMORY_MAX] = "MemoryMax",
        [FIGURE_PIDS_CURRENT] = "PidsCurrent",
        [FIGURE_IO_READ] = "IOReadBytes",
        [FIGURE_IO_WRITE] = "IOWriteBytes",
        [FIGURE_OOM_KILLS] = "OOMKills",
        [FIGURE_CPU_USER] = "CPUUserUSec",
        [FIGURE_CPU_SYSTEM] = "CPUSystemUSec",
        [FIGURE_MEMORY_PEAK] = "MemoryPeak",
        [FIGURE_PIDS_MAX] = "PidsMax",
};
/* clang-format on */

/* A container at one look. UINT64_MAX is no limit. */
typedef struct StatsRow {
        const ContainerRef *ref;
        uint64_t figures[_FIGURE_MAX];
        bool known[_FIGURE_MAX];
        uint64_t taken_usec;
        double cpu_percent; /* NAN before there are two looks */
} StatsRow;

typedef struct Look {
        ContainerRefs refs; /* unless they are the user's */
        StatsRow *rows;
        size_t n_rows;
} Look;

typedef struct Stats {
        Client *client;
        const ContainerRefs *named; /* none: all that run */
        uint64_t interval_usec;
        bool all;
        bool once;
        bool no_legend;
        bool failed; /* something has been reported */
        Look before, now;
} Stats;

static void look_done(Look *look) {
        container_refs_done(&look->refs);
        look->rows = mfree(look->rows);
        look->n_rows = 0;
}

/* -- looking -- */

static int figures_read(sd_bus_message *reply, StatsRow *row) {
        const char *name;
        int r;

        r = sd_bus_message_enter_container(reply, 'a', "{sv}");
        if (r < 0)
                return r;

        while ((r = sd_bus_message_enter_container(reply, 'e', "sv")) > 0) {
                size_t i = 0;

                r = sd_bus_message_read(reply, "s", &name);
                if (r < 0)
                        return r;
                while (i < _FIGURE_MAX && !streq(figure_names[i], name))
                        i++;
                r = i < _FIGURE_MAX ? sd_bus_message_read(reply, "v", "t", &row->figures[i])
                                    : sd_bus_message_skip(reply, "v");
                if (r < 0)
                        return r;
                if (i < _FIGURE_MAX)
                        row->known[i] = true;
                r = sd_bus_message_exit_container(reply);
                if (r < 0)
                        return r;
        }
        return r;
}

static void cpu_compute(const Look *before, StatsRow *row) {
        row->cpu_percent = NAN;
        if (!row->known[FIGURE_CPU_USAGE])
                return;

        for (size_t i = 0; i < before->n_rows; i++) {
                const StatsRow *old = before->rows + i;
                uint64_t used = row->figures[FIGURE_CPU_USAGE], was = old->figures[FIGURE_CPU_USAGE];

                /* Less than before: another container of the same name. */
                if (streq(old->ref->path, row->ref->path) && old->known[FIGURE_CPU_USAGE] && used >= was &&
                    row->taken_usec > old->taken_usec)
                        row->cpu_percent = (double) (used - was) * 100 / (double) (row->taken_usec - old->taken_usec);
        }
}

/* 1 when there is something to be shown, 0 when not: one that is not named may have ended since it was listed. Of one
 * that is named it is told, at the first look. */
static int row_fill(Stats *s, StatsRow *row, bool first, sd_bus_error *error) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        int r;

        row->taken_usec = clock_get_monotonic();
        r = client_call(s->client, row->ref->path, MONOSHIM_CONTAINER, "GetStats", CLIENT_DEFAULT_TIMEOUT, error,
                        &reply, NULL);
        if (r >= 0)
                r = figures_read(reply, row);
        if (r >= 0) {
                cpu_compute(&s->before, row);
                return 1;
        }
        if (client_error_is_lost(r, error))
                return r;

        if (first && s->named->n_items > 0) {
                suggest_report(s->client, row->ref, r, error, _("Cannot look at %s/%s"), row->ref->ns, row->ref->id);
                s->failed = true;
        }
        return 0;
}

static int stats_look_once(Stats *s, bool first, sd_bus_error *error) {
        const ContainerRefs *refs = s->named;
        Look *look = &s->now;
        int r;

        look_done(look);
        if (refs->n_items == 0) {
                r = container_refs_list(&look->refs, s->client, s->all ? NULL : s->client->settings->ns, error);
                if (r < 0)
                        return r;
                refs = &look->refs;
        }

        look->rows = calloc(refs->n_items + 1, sizeof(*look->rows));
        if (!look->rows)
                return -ENOMEM;
        for (size_t i = 0; i < refs->n_items; i++) {
                _cleanup_(sd_bus_error_free) sd_bus_error row_error = SD_BUS_ERROR_NULL;
                StatsRow *row = look->rows + look->n_rows;

                *row = (StatsRow) { .ref = refs->items + i };
                r = row_fill(s, row, first, &row_error);
                if (r < 0) {
                        (void) sd_bus_error_move(error, &row_error);
                        return r;
                }
                look->n_rows += (size_t) r;
        }
        return 0;
}

/* A monoshimd that is restarted meanwhile is waited for. */
static int stats_look(Stats *s, bool first) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        int r;

        look_done(&s->before);
        s->before = s->now;
        s->now = (Look) {};

        r = stats_look_once(s, first, &error);
        if (r < 0 && client_error_is_lost(r, &error) && client_reconnect(s->client) >= 0) {
                sd_bus_error_free(&error);
                r = stats_look_once(s, first, &error);
        }
        return r < 0 ? report_call(r, &error, _("Cannot get the figures")) : 0;
}

/* -- showing -- */

static int stats_print_json(const Stats *s) {
        _cleanup_(json_writer_freep) JsonWriter *w = output_json_new(s->client->settings);

        if (!w)
                return -ENOMEM;

        json_open_array(w);
        for (size_t i = 0; i < s->now.n_rows; i++) {
                const StatsRow *row = s->now.rows + i;

                json_open_object(w);
                json_put_string(w, "namespace", row->ref->ns);
                json_put_string(w, "id", row->ref->id);
                json_write_key(w, "cpu_percent");
                isnan(row->cpu_percent) ? json_write_null(w) : json_write_double(w, row->cpu_percent);
                for (size_t f = 0; f < _FIGURE_MAX; f++) {
                        if (!row->known[f])
                                continue;
                        json_write_key(w, figure_names[f]);
                        row->figures[f] == UINT64_MAX ? json_write_null(w) : json_write_uint64(w, row->figures[f]);
                }
                json_close_object(w);
        }
        json_close_array(w);
        return output_json(w);
}

static int row_add(Table *t, const StatsRow *row) {
        static const Figure shown[] = { FIGURE_MEMORY_CURRENT, FIGURE_MEMORY_MAX, FIGURE_PIDS_CURRENT,
                                        FIGURE_IO_READ,        FIGURE_IO_WRITE,   FIGURE_OOM_KILLS };
        const char *cells[3 + ELEMENTSOF(shown)] = { row->ref->ns, row->ref->id };
        char *texts[ELEMENTSOF(shown)] = {}, percent[32] = "-";
        int r = 0;

        if (!isnan(row->cpu_percent))
                snprintf(percent, sizeof(percent), "%.1f", row->cpu_percent);
        cells[2] = percent;

        for (size_t i = 0; i < ELEMENTSOF(shown); i++) {
                uint64_t value = row->figures[shown[i]];

                if (!row->known[shown[i]] || value == UINT64_MAX)
                        texts[i] = strdup("-");
                else if (shown[i] == FIGURE_PIDS_CURRENT || shown[i] == FIGURE_OOM_KILLS)
                        texts[i] = strdup_printf("%llu", (unsigned long long) value);
                else
                        texts[i] = format_bytes(value);
                if (!texts[i])
                        r = -ENOMEM;
                cells[3 + i] = texts[i];
        }

        if (r >= 0)
                r = table_add_row(t, cells);
        for (size_t i = 0; i < ELEMENTSOF(shown); i++)
                free(texts[i]);
        return r;
}

static int stats_print_table(const Stats *s) {
        const char *const header[] = { _("NAMESPACE"), _("ID"),   _("CPU %"),   _("MEMORY"), _("LIMIT"),
                                       _("PIDS"),      _("READ"), _("WRITTEN"), _("OOM") };
        _cleanup_(table_freep) Table *t = table_new(header, ELEMENTSOF(header));
        int r = t ? 0 : -ENOMEM;

        for (size_t i = 2; t && i < ELEMENTSOF(header); i++)
                table_align_right(t, i);
        for (size_t i = 0; i < s->now.n_rows && r >= 0; i++)
                r = row_add(t, s->now.rows + i);
        if (r < 0)
                return report_errno(r, _("Cannot show the figures"));

        if (!s->once)
                fputs("\033[H\033[J", stdout); /* home, and clear what follows */
        r = table_print(t, stdout, !s->no_legend, output_width());
        if (r < 0)
                return report_errno(r, _("Cannot show the figures"));
        return output_flush();
}

/* Until interrupted; or until none of those named is there any more, which does not come back. */
static int stats_run(Stats *s) {
        int r;

        r = stats_look(s, true);
        if (r < 0)
                return r;
        do {
                if (s->named->n_items > 0 && s->now.n_rows == 0)
                        return s->once && s->client->settings->output != OUTPUT_TEXT ? stats_print_json(s) : 0;
                (void) usleep((useconds_t) s->interval_usec);
                r = stats_look(s, false);
                if (r >= 0)
                        r = s->client->settings->output != OUTPUT_TEXT ? stats_print_json(s) : stats_print_table(s);
        } while (r >= 0 && !s->once);
        return r;
}

static int stats_take(void *userdata, const char *verb, int c) {
        Stats *s = userdata;

        switch (c) {
        case 'A':
                s->all = true;
                return 0;
        case OPTION_NO_STREAM:
                s->once = true;
                return 0;
        case OPTION_NO_LEGEND:
                s->no_legend = true;
                return 0;
        case OPTION_INTERVAL:
                if (parse_timespan(optarg, &s->interval_usec) < 0 || s->interval_usec < 10 * USEC_PER_MSEC ||
                    s->interval_usec > 3600 * USEC_PER_SEC)
                        return settings_usage_error(verb, _("--interval= takes 10ms to 1h, not \"%s\"."), optarg);
                return 0;
        }
        return 0;
}

int verb_stats(int argc, char *argv[], Settings *s) {
        static const struct option options[] = {
                COMMON_LONG_OPTIONS,
                { "all-namespaces", no_argument, NULL, 'A' },
                { "interval", required_argument, NULL, OPTION_INTERVAL },
                { "no-stream", no_argument, NULL, OPTION_NO_STREAM },
                { "no-legend", no_argument, NULL, OPTION_NO_LEGEND },
                {},
        };
        const VerbSyntax syntax = {
                .letters = COMMON_SHORT_OPTIONS "A",
                .options = options,
                .usage = _(usage),
                .take = stats_take,
                .max = INT_MAX,
        };
        _cleanup_(container_refs_done) ContainerRefs refs = {};
        _cleanup_(client_freep) Client *c = NULL;
        Stats stats = { .named = &refs, .interval_usec = STATS_INTERVAL_USEC };
        int r;

        r = verb_begin(argc, argv, s, &syntax, &stats, &refs, &c);
        if (r < 0)
                return r;

        stats.client = c;
        if (!isatty(STDOUT_FILENO) || s->output != OUTPUT_TEXT)
                stats.once = true;
        r = stats_run(&stats);
        look_done(&stats.before);
        look_done(&stats.now);
        return r < 0 || stats.failed || refs.bad ? VERB_FAILED : 0;
}
