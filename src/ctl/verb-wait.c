/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* monoshim wait. */

#include "ctl/i18n.h"
#include "ctl/output.h"
#include "ctl/report.h"
#include "ctl/suggest.h"
#include "ctl/verb.h"
#include "ctl/verb-arguments.h"
#include "ctl/waiter.h"

#include <limits.h>
#include <stdio.h>

static const char usage[] = N_("Usage: monoshim wait [OPTION...] ID...\n"
                               "\n"
                               "Wait until containers have ended. The exit status is that of the (last)\n"
                               "container, or 125 if one could not be waited for.\n"
                               "\n"
                               "Prints nothing for one container, and for several \"ID STATUS\" as each ends.\n"
                               "\n"
                               "      --exec=EXEC          Wait for the program of this id that was run there\n");

enum {
        OPTION_EXEC = OPTION_LONG_ONLY,
};

typedef struct Wait {
        Client *client;
        const Settings *settings;
        size_t n;
} Wait;

static void wait_on_ended(WaitItem *item, void *userdata) {
        const Wait *wait = userdata;

        if (!item->ended)
                suggest_report(wait->client, item->ref, -EIO, &item->error, _("Cannot wait for %s/%s"), item->ref->ns,
                               item->ref->id);
        else if (wait->settings->output == OUTPUT_TEXT && wait->n > 1) {
                if (!streq(item->ref->ns, wait->settings->ns))
                        printf("%s/", item->ref->ns);
                printf("%s %u\n", item->ref->id, item->exit_status);
                fflush(stdout);
        }
}

/* A process in a container is CONTAINER/EXEC. */
static void wait_put_id(JsonWriter *json, const ContainerRef *ref) {
        const char *slash = strchr(ref->id, '/');
        _cleanup_(freep) char *id = NULL;

        if (!slash) {
                json_put_string(json, "id", ref->id);
                return;
        }
        id = strndup(ref->id, (size_t) (slash - ref->id));
        json_put_string(json, "id", id);
        json_put_string(json, "exec_id", slash + 1);
}

static int wait_print_json(const Settings *s, Waiter *w, size_t n) {
        _cleanup_(json_writer_freep) JsonWriter *json = output_json_new(s);

        if (!json)
                return -ENOMEM;

        json_open_array(json);
        for (size_t i = 0; i < n; i++) {
                const WaitItem *item = waiter_get(w, i);

                if (!item->ended)
                        continue;
                json_open_object(json);
                json_put_string(json, "namespace", item->ref->ns);
                wait_put_id(json, item->ref);
                json_put_uint64(json, "exit_status", item->exit_status);
                json_put_uint64(json, "exited_at", item->exited_at);
                json_close_object(json);
        }
        json_close_array(json);
        return output_json(json);
}

static int wait_for(const Settings *s, Client *c, const ContainerRefs *refs) {
        _cleanup_(waiter_freep) Waiter *w = NULL;
        Wait wait = { .client = c, .settings = s, .n = refs->n_items };
        int r, status = 0;

        r = waiter_new(c, refs->items, refs->n_items, wait_on_ended, &wait, &w);
        if (r < 0)
                return VERB_FAILED;
        r = waiter_run(w, USEC_INFINITY);
        if (r < 0)
                return VERB_FAILED;

        if (s->output != OUTPUT_TEXT && wait_print_json(s, w, refs->n_items) < 0)
                return VERB_FAILED;

        for (size_t i = 0; i < refs->n_items; i++) {
                const WaitItem *item = waiter_get(w, i);

                if (!item->ended)
                        return VERB_FAILED;
                status = (int) (item->exit_status & 0xff);
        }
        return status;
}

static int wait_take(void *userdata, const char *verb, int c) {
        *(const char **) userdata = optarg;
        return 0;
}

int verb_wait(int argc, char *argv[], Settings *s) {
        static const struct option options[] = {
                COMMON_LONG_OPTIONS,
                { "exec", required_argument, NULL, OPTION_EXEC },
                {},
        };
        const VerbSyntax syntax = {
                .letters = COMMON_SHORT_OPTIONS,
                .options = options,
                .usage = _(usage),
                .take = wait_take,
                .min = 1,
                .max = INT_MAX,
        };
        _cleanup_(container_refs_done) ContainerRefs refs = {};
        _cleanup_(client_freep) Client *c = NULL;
        const char *exec_id = NULL;
        int r;

        r = verb_begin(argc, argv, s, &syntax, &exec_id, &refs, &c);
        if (r < 0)
                return r;
        r = container_refs_select(&refs, exec_id);
        if (r < 0)
                return VERB_FAILED;

        r = wait_for(s, c, &refs);
        return refs.bad ? VERB_FAILED : r;
}
