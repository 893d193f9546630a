/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* monoshim update. */

#include "ctl/i18n.h"
#include "ctl/json-file.h"
#include "ctl/report.h"
#include "ctl/resources.h"
#include "ctl/suggest.h"
#include "ctl/verb.h"
#include "ctl/verb-arguments.h"

#include <limits.h>

enum {
        OPTION_RESOURCES = OPTION_LONG_ONLY,
        OPTION_FIRST, /* and those behind it, in the order of ResourceId */
};

static const char usage[] = N_("Usage: monoshim update [OPTION...] ID...\n"
                               "\n"
                               "Change what containers may use while they run.\n"
                               "\n"
                               "      --memory=BYTES       Such as 512M, or \"max\" for no limit\n"
                               "      --memory-swap=BYTES  Memory and swap together\n"
                               "      --memory-reservation=BYTES\n"
                               "                           What is left to it when there is little\n"
                               "      --cpus=NUMBER        So many CPUs' time, such as 1.5, or \"max\"\n"
                               "      --cpu-quota=USEC     The same by hand: so much time of each ...\n"
                               "      --cpu-period=USEC    ... period\n"
                               "      --cpu-shares=NUMBER  Its weight among others\n"
                               "      --cpuset-cpus=LIST   The CPUs that it may use, such as 0-3,7\n"
                               "      --cpuset-mems=LIST   The memory nodes that it may use\n"
                               "      --pids-limit=NUMBER  How many processes and threads, or \"max\"\n"
                               "      --blkio-weight=NUMBER\n"
                               "                           Its weight among others where disks are concerned\n"
                               "      --resources=FILE     All of it: a file (\"-\": stdin) with the\n"
                               "                           \"linux.resources\" object of an OCI configuration\n");

typedef struct Update {
        Resources resources;
        const char *file;
} Update;

static int update_take(void *userdata, const char *verb, int c) {
        Update *u = userdata;

        if (c == OPTION_RESOURCES) {
                u->file = optarg;
                return 0;
        }
        if (resources_take(&u->resources, (ResourceId) (c - OPTION_FIRST), optarg) < 0)
                return settings_usage_error(verb, _("\"%s\" is no such amount."), optarg);
        return 0;
}

/* The JSON text for all of the containers. 0 or a VERB_ value. */
static int update_get_text(const Update *u, const char *verb, char **ret) {
        _cleanup_(json_freep) Json tree = NULL;
        int r;

        if (!u->file) {
                if (resources_are_empty(&u->resources))
                        return settings_usage_error(verb, _("What is to be changed? No resource is given."));
                r = resources_write(&u->resources, ret);
                return r < 0 ? (report_errno(r, _("Cannot write JSON")), VERB_FAILED) : 0;
        }

        if (!resources_are_empty(&u->resources))
                return settings_usage_error(verb, _("--resources= says it all; nothing else can be given."));
        return json_file_read(u->file, &tree, ret) < 0 ? VERB_FAILED : 0;
}

static int update_one(Client *c, const ContainerRef *ref, const char *text) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        int r;

        r = client_call(c, ref->path, MONOSHIM_CONTAINER, "Update", CLIENT_FOREVER, &error, NULL, "s", text);
        return r < 0 ? suggest_report(c, ref, r, &error, _("Cannot update %s/%s"), ref->ns, ref->id) : 0;
}

int verb_update(int argc, char *argv[], Settings *s) {
        static const struct option options[] = {
                COMMON_LONG_OPTIONS,
                { "resources", required_argument, NULL, OPTION_RESOURCES },
                { "memory", required_argument, NULL, OPTION_FIRST + RESOURCE_MEMORY },
                { "memory-swap", required_argument, NULL, OPTION_FIRST + RESOURCE_MEMORY_SWAP },
                { "memory-reservation", required_argument, NULL, OPTION_FIRST + RESOURCE_MEMORY_RESERVATION },
                { "cpus", required_argument, NULL, OPTION_FIRST + RESOURCE_CPUS },
                { "cpu-quota", required_argument, NULL, OPTION_FIRST + RESOURCE_CPU_QUOTA },
                { "cpu-period", required_argument, NULL, OPTION_FIRST + RESOURCE_CPU_PERIOD },
                { "cpu-shares", required_argument, NULL, OPTION_FIRST + RESOURCE_CPU_SHARES },
                { "cpuset-cpus", required_argument, NULL, OPTION_FIRST + RESOURCE_CPUSET_CPUS },
                { "cpuset-mems", required_argument, NULL, OPTION_FIRST + RESOURCE_CPUSET_MEMS },
                { "pids-limit", required_argument, NULL, OPTION_FIRST + RESOURCE_PIDS_LIMIT },
                { "blkio-weight", required_argument, NULL, OPTION_FIRST + RESOURCE_BLKIO_WEIGHT },
                {},
        };
        const VerbSyntax syntax = {
                .letters = COMMON_SHORT_OPTIONS,
                .options = options,
                .usage = _(usage),
                .take = update_take,
                .min = 1,
                .max = INT_MAX,
        };
        _cleanup_(container_refs_done) ContainerRefs refs = {};
        _cleanup_(client_freep) Client *c = NULL;
        _cleanup_(freep) char *text = NULL;
        Update update = {};
        bool failed;
        int r;

        r = verb_parse(argc, argv, s, &syntax, &update);
        if (r >= 0)
                r = update_get_text(&update, argv[0], &text);
        if (r >= 0)
                r = verb_connect(argc, argv, s, &syntax, &refs, &c);
        if (r < 0)
                return r;

        failed = refs.bad;
        for (size_t i = 0; i < refs.n_items; i++)
                if (update_one(c, refs.items + i, text) < 0)
                        failed = true;
        return failed ? VERB_FAILED : 0;
}
