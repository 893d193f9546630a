/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* monoshim checkpoint. */

#include "ctl/create.h"
#include "ctl/i18n.h"
#include "ctl/report.h"
#include "ctl/suggest.h"
#include "ctl/verb.h"
#include "ctl/verb-arguments.h"
#include "util/strv.h"
#include "util/text.h"

static const char usage[] = N_("Usage: monoshim checkpoint [OPTION...] ID DIR\n"
                               "\n"
                               "Write an image of a running container to a directory. See \"monoshim restore\".\n"
                               "\n"
                               "      --exit               End the container then\n"
                               "      --open-tcp           Allow open TCP connections\n"
                               "      --external-unix-sockets\n"
                               "                           Allow unix sockets whose other end is outside\n"
                               "      --terminal           Allow a terminal\n"
                               "      --file-locks         Allow file locks\n"
                               "      --empty-namespace=TYPE\n"
                               "                           Make a namespace, but do not restore what is in it\n"
                               "                           (may be repeated)\n"
                               "      --work-path=DIR      Where CRIU is to leave its logs\n"
                               "      --parent-path=DIR    An earlier image to build on\n");

enum {
        OPTION_WORK_PATH = OPTION_LONG_ONLY,
        OPTION_PARENT_PATH,
        OPTION_EMPTY_NAMESPACE,
        OPTION_FIRST_FLAG, /* and those behind it, in the order of flag_names */
};

static const char *const flag_names[] = { "Exit", "OpenTcp", "ExternalUnixSockets", "Terminal", "FileLocks" };

typedef struct CheckpointOptions {
        bool flags[ELEMENTSOF(flag_names)];
        const char *work_path;
        const char *parent_path;
        char **empty_namespaces;
} CheckpointOptions;

static int checkpoint_take(void *userdata, const char *verb, int c) {
        CheckpointOptions *o = userdata;

        switch (c) {
        case OPTION_WORK_PATH:
                o->work_path = optarg;
                return 0;
        case OPTION_PARENT_PATH:
                o->parent_path = optarg;
                return 0;
        case OPTION_EMPTY_NAMESPACE:
                if (strv_extend(&o->empty_namespaces, optarg) < 0) {
                        report_errno(ENOMEM, _("Cannot keep the options"));
                        return VERB_FAILED;
                }
                return 0;
        default:
                o->flags[c - OPTION_FIRST_FLAG] = true;
                return 0;
        }
}

/* The daemon has a working directory of its own. */
static int append_path(sd_bus_message *m, const char *name, const char *path) {
        _cleanup_(freep) char *absolute = NULL;
        int r;

        if (!path)
                return 0;

        r = create_absolute_path(path, &absolute);
        return r < 0 ? r : sd_bus_message_append(m, "{sv}", name, "s", absolute);
}

static int append_options(sd_bus_message *m, const CheckpointOptions *o) {
        int r;

        r = sd_bus_message_open_container(m, 'a', "{sv}");
        for (size_t i = 0; i < ELEMENTSOF(flag_names) && r >= 0; i++)
                if (o->flags[i])
                        r = sd_bus_message_append(m, "{sv}", flag_names[i], "b", true);
        if (r >= 0)
                r = append_path(m, "ParentPath", o->parent_path);
        if (r >= 0)
                r = append_path(m, "WorkPath", o->work_path);
        if (r >= 0 && o->empty_namespaces) {
                r = sd_bus_message_open_container(m, 'e', "sv");
                if (r >= 0)
                        r = sd_bus_message_append(m, "s", "EmptyNamespaces");
                if (r >= 0)
                        r = sd_bus_message_open_container(m, 'v', "as");
                if (r >= 0)
                        r = sd_bus_message_append_strv(m, o->empty_namespaces);
                if (r >= 0)
                        r = sd_bus_message_close_container(m);
                if (r >= 0)
                        r = sd_bus_message_close_container(m);
        }
        return r < 0 ? r : sd_bus_message_close_container(m);
}

static int checkpoint(Client *c, const ContainerRef *ref, const char *directory, const CheckpointOptions *o) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_(freep) char *path = NULL, *doing = strdup_printf(_("Making an image of %s/%s"), ref->ns, ref->id);
        int r;

        r = create_absolute_path(directory, &path);
        if (r >= 0)
                r = client_new_call(c, ref->path, MONOSHIM_CONTAINER, "Checkpoint", &m);
        if (r >= 0)
                r = sd_bus_message_append(m, "s", path);
        if (r >= 0)
                r = append_options(m, o);
        if (r >= 0)
                r = client_call_patiently(c, m, doing, &error, NULL);
        if (r < 0) {
                suggest_report(c, ref, r, &error, _("Cannot make an image of %s/%s"), ref->ns, ref->id);
                return VERB_FAILED;
        }
        return 0;
}

int verb_checkpoint(int argc, char *argv[], Settings *s) {
        static const struct option options[] = {
                COMMON_LONG_OPTIONS,
                { "exit", no_argument, NULL, OPTION_FIRST_FLAG },
                { "open-tcp", no_argument, NULL, OPTION_FIRST_FLAG + 1 },
                { "external-unix-sockets", no_argument, NULL, OPTION_FIRST_FLAG + 2 },
                { "terminal", no_argument, NULL, OPTION_FIRST_FLAG + 3 },
                { "file-locks", no_argument, NULL, OPTION_FIRST_FLAG + 4 },
                { "empty-namespace", required_argument, NULL, OPTION_EMPTY_NAMESPACE },
                { "work-path", required_argument, NULL, OPTION_WORK_PATH },
                { "parent-path", required_argument, NULL, OPTION_PARENT_PATH },
                {},
        };
        const VerbSyntax syntax = {
                .letters = COMMON_SHORT_OPTIONS,
                .options = options,
                .usage = _(usage),
                .take = checkpoint_take,
                .min = 2,
                .max = 2,
                .n_ids = 1,
        };
        _cleanup_(container_refs_done) ContainerRefs refs = {};
        _cleanup_(client_freep) Client *c = NULL;
        CheckpointOptions o = {};
        int r;

        r = verb_begin(argc, argv, s, &syntax, &o, &refs, &c);
        if (r >= 0)
                r = checkpoint(c, refs.items, argv[optind + 1], &o);
        strv_free(o.empty_namespaces);
        return r;
}
