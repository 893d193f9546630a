/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* monoshim exec and attach: another program in a container, and the terminal of one that runs already. */

#include "ctl/i18n.h"
#include "ctl/json-file.h"
#include "ctl/launch.h"
#include "ctl/output.h"
#include "ctl/process-spec.h"
#include "ctl/report.h"
#include "ctl/session.h"
#include "ctl/suggest.h"
#include "ctl/verb.h"
#include "ctl/verb-arguments.h"
#include "util/file.h"
#include "util/strv.h"
#include "util/text.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/random.h>

enum {
        OPTION_EXEC_ID = OPTION_AFTER_CREATE,
        OPTION_PROCESS,
        OPTION_DETACH_KEYS,
};

static const char exec_usage[] = N_(
        "Usage: monoshim exec [OPTION...] ID [--] COMMAND [ARGUMENT...]\n"
        "       monoshim exec [OPTION...] --process=FILE ID\n"
        "\n"
        "Run a program in a container, wait for its end, delete it. Signals are passed\n"
        "on to it, and its exit status becomes that of monoshim.\n"
        "\n"
        "  -i, --interactive        Pass our stdin (default: /dev/null)\n"
        "  -t, --terminal           Give it a terminal, and show it on our own\n"
        "      --detach-keys=KEYS   What to type to leave it running (default:\n"
        "                           ctrl-p,ctrl-q; empty: nothing)\n"
        "  -d, --detach             Leave it running; print its exec id\n"
        "      --exec-id=EXEC       Its id in the container (default: a random one)\n"
        "  -e, --env=NAME[=VALUE]   A variable; ours if there is no value (may be\n"
        "                           repeated)\n"
        "      --cwd=DIR            The directory to run it in\n"
        "  -u, --user=UID[:GID]     Who is to run it, by number\n"
        "      --process=FILE       A file (\"-\": stdin) with the \"process\" object of an\n"
        "                           OCI configuration, instead of the container's own\n"
        "      --stdin=STREAM       Standard streams, as in create (default: stdout\n"
        "      --stdout=STREAM      and stderr are our own, or /dev/null with\n"
        "      --stderr=STREAM      --detach)\n"
        "      --io-uid=UID         Who is to own the FIFOs and pipes that it gets\n"
        "      --io-gid=GID\n");

static const char attach_usage[] = N_(
        "Usage: monoshim attach [OPTION...] ID [EXEC]\n"
        "\n"
        "Show the terminal of a container, or of a program run there, on our own, until\n"
        "it ends. Its exit status becomes that of monoshim.\n"
        "\n"
        "      --detach-keys=KEYS   What to type to leave it running (default:\n"
        "                           ctrl-p,ctrl-q; empty: nothing)\n"
        "      --no-stdin           Pass nothing on to it\n");

typedef struct Exec {
        Client *client;
        const ContainerRef *container;
        ContainerRef process;
        CreateOptions io;
        ProcessSpec spec;
        const char *file;
        const char *exec_id;
        bool detach;
        bool interactive;
        DetachKeys keys;
} Exec;

static void exec_done(Exec *e) {
        container_ref_done(&e->process);
        create_options_done(&e->io);
        e->spec.env = strv_free(e->spec.env);
}

/* -- what is to be run -- */

static int exec_take(void *userdata, const char *verb, int c) {
        Exec *e = userdata;

        /* clang-format off */
        switch (c) {
        case 'd':                       e->detach = true; return 0;
        case 'i':                       e->interactive = true; return 0;
        case OPTION_EXEC_ID:            e->exec_id = optarg; return 0;
        case 'e':
        case 'u':
        case OPTION_CWD:                return process_option_take(&e->spec, verb, c);
        case OPTION_PROCESS:            e->file = optarg; return 0;
        case OPTION_DETACH_KEYS:        return session_take_keys(&e->keys, verb);
        default:                        return create_options_take(&e->io, verb, c);
        }
        /* clang-format on */
}

/* What stands behind the id, and maybe behind "--". */
static int exec_take_command(Exec *e, int argc, char *argv[]) {
        int first = optind + 1;

        if (first < argc && streq(argv[first], "--"))
                first++;
        e->spec.args = argv + first;
        if (first == argc && !e->file)
                return settings_usage_error(argv[0], _("No command is given."));

        if (e->file && streq(e->file, "-") && e->interactive)
                return settings_usage_error(argv[0], _("--process=- and --interactive cannot both have stdin."));
        return 0;
}

static int exec_choose_id(Exec *e) {
        _cleanup_(freep) char *id = NULL, *reason = NULL;
        uint64_t random = 0;
        int r;

        if (!e->exec_id) {
                if (getrandom(&random, sizeof(random), 0) != sizeof(random))
                        return report_errno(errno, _("Cannot make an id"));
                id = strdup_printf("exec-%016llx", (unsigned long long) random);
                if (!id)
                        return report_errno(ENOMEM, _("Cannot make an id"));
        }

        r = container_ref_process(e->container, id ? id : e->exec_id, &e->process, &reason);
        if (r < 0)
                report(_("\"%s\" names no process: %s"), strempty(e->exec_id), reason ? reason : strerror(-r));
        return r;
}

/* -- the model: the process of the container's own configuration -- */

static int config_read(const char *bundle, Json *ret) {
        _cleanup_(freep) char *path = strdup_printf("%s/config.json", bundle), *text = NULL;
        _cleanup_(safe_closep) int fd = -EBADF;
        size_t size;
        int r;

        if (!path)
                return -ENOMEM;
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        if (fd < 0)
                return -errno;
        r = file_read_fd(fd, JSON_FILE_MAX, &text, &size);
        if (r < 0)
                return r;
        return json_parse(text, size, ret, NULL);
}

/* The file need not be for us, or be where we are. That is no reason to stop, but one to be told: the program is
 * root's then, whoever the container's is. */
static int model_read(Exec *e, Json *ret) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_(freep) char *bundle = NULL;
        int r;

        if (e->file)
                return json_file_read(e->file, ret, NULL);

        r = sd_bus_get_property_string(e->client->bus, MONOSHIM_SERVICE, e->container->path, MONOSHIM_CONTAINER,
                                       "Bundle", &error, &bundle);
        if (r < 0)
                return suggest_report(e->client, e->container, r, &error, _("Cannot look at %s/%s"), e->container->ns,
                                      e->container->id);

        r = config_read(bundle, ret);
        if (r < 0)
                report_errno(r, _("Going on without the config.json of %s/%s"), e->container->ns, e->container->id);
        return 0;
}

static int exec_describe(Exec *e, char **ret) {
        _cleanup_(json_freep) Json tree = NULL;
        Json model;
        int r;

        r = model_read(e, &tree);
        if (r < 0)
                return r;
        model = e->file ? tree : json_get(tree, "process");
        if (e->file && !json_is_object(model)) {
                report(_("\"%s\" holds no object."), e->file);
                return -EINVAL;
        }

        e->spec.terminal = e->io.terminal;
        e->spec.term = getenv("TERM");
        r = process_spec_write(&e->spec, model, ret);
        if (r == -EINVAL)
                report(_("No command is given."));
        else if (r < 0)
                report_errno(r, _("Cannot describe the process"));
        return r;
}

/* -- running it -- */

static int exec_create(Exec *e, const char *process) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        int r;

        r = client_new_call(e->client, e->container->path, MONOSHIM_CONTAINER, "Exec", &m);
        if (r >= 0)
                r = sd_bus_message_append(m, "ss", strrchr(e->process.id, '/') + 1, process);
        if (r >= 0)
                r = create_append_streams(m, &e->io, e->client->settings);
        if (r == -EOPNOTSUPP)
                return report_errno(r, _("Cannot pass our own standard streams over this connection"));
        if (r >= 0)
                r = client_call_patiently(e->client, m, NULL, &error, &reply);
        if (r < 0)
                return suggest_report(e->client, e->container, r, &error, _("Cannot run anything in %s/%s"),
                                      e->container->ns, e->container->id);
        return 0;
}

static int exec_print(const Exec *e) {
        const Settings *s = e->client->settings;
        _cleanup_(json_writer_freep) JsonWriter *w = NULL;
        const char *exec_id = strrchr(e->process.id, '/') + 1;

        if (s->output == OUTPUT_TEXT) {
                puts(exec_id);
                return 0;
        }

        w = output_json_new(s);
        if (!w)
                return -ENOMEM;
        json_open_object(w);
        json_put_string(w, "namespace", e->container->ns);
        json_put_string(w, "id", e->container->id);
        json_put_string(w, "exec_id", exec_id);
        json_put_string(w, "path", e->process.path);
        json_close_object(w);
        return output_json(w);
}

static int exec_run(Exec *e) {
        _cleanup_(freep) char *process = NULL;
        Session session = {
                .client = e->client,
                .process = &e->process,
                .detach = e->detach,
                .terminal = launch_takes_terminal(&e->io),
                .interactive = e->interactive,
                .keys = e->keys,
        };
        int r;

        r = exec_choose_id(e);
        if (r >= 0)
                r = exec_describe(e, &process);
        if (r < 0)
                return VERB_FAILED;

        e->io.own_streams = !e->detach;
        if (!e->io.streams[0])
                e->io.streams[0] = e->interactive && !e->io.terminal ? "-" : "";

        session_begin(&session);
        r = exec_create(e, process);
        if (r < 0)
                return VERB_FAILED;
        r = session_run(&session);
        if (e->detach && session.started && exec_print(e) < 0)
                return VERB_FAILED;
        return r;
}

int verb_exec(int argc, char *argv[], Settings *s) {
        static const struct option options[] = {
                COMMON_LONG_OPTIONS,
                { "interactive", no_argument, NULL, 'i' },
                { "terminal", no_argument, NULL, 't' },
                { "detach-keys", required_argument, NULL, OPTION_DETACH_KEYS },
                { "detach", no_argument, NULL, 'd' },
                { "exec-id", required_argument, NULL, OPTION_EXEC_ID },
                { "env", required_argument, NULL, 'e' },
                { "cwd", required_argument, NULL, OPTION_CWD },
                { "user", required_argument, NULL, 'u' },
                { "process", required_argument, NULL, OPTION_PROCESS },
                { "stdin", required_argument, NULL, OPTION_STDIN },
                { "stdout", required_argument, NULL, OPTION_STDOUT },
                { "stderr", required_argument, NULL, OPTION_STDERR },
                { "io-uid", required_argument, NULL, OPTION_IO_UID },
                { "io-gid", required_argument, NULL, OPTION_IO_GID },
                {},
        };
        /* The plus: what stands behind the id is the command's, options included. */
        const VerbSyntax syntax = {
                .letters = "+" COMMON_SHORT_OPTIONS "itde:u:",
                .options = options,
                .usage = _(exec_usage),
                .take = exec_take,
                .min = 1,
                .max = INT_MAX,
                .n_ids = 1,
        };
        _cleanup_(container_refs_done) ContainerRefs refs = {};
        _cleanup_(client_freep) Client *c = NULL;
        _cleanup_(exec_done) Exec e = {};
        int r;

        (void) detach_keys_parse(&e.keys, DETACH_KEYS_DEFAULT);
        r = verb_parse(argc, argv, s, &syntax, &e);
        if (r >= 0)
                r = exec_take_command(&e, argc, argv);
        if (r >= 0)
                r = verb_connect(argc, argv, s, &syntax, &refs, &c);
        if (r < 0)
                return r;

        e.client = c;
        e.container = refs.items;
        return exec_run(&e);
}

/* -- attach -- */

enum {
        OPTION_NO_STDIN = OPTION_LONG_ONLY,
        OPTION_ATTACH_KEYS,
};

static int attach_take(void *userdata, const char *verb, int c) {
        Session *session = userdata;

        if (c == OPTION_ATTACH_KEYS)
                return session_take_keys(&session->keys, verb);
        session->interactive = false;
        return 0;
}

int verb_attach(int argc, char *argv[], Settings *s) {
        static const struct option options[] = {
                COMMON_LONG_OPTIONS,
                { "detach-keys", required_argument, NULL, OPTION_ATTACH_KEYS },
                { "no-stdin", no_argument, NULL, OPTION_NO_STDIN },
                {},
        };
        const VerbSyntax syntax = {
                .letters = COMMON_SHORT_OPTIONS,
                .options = options,
                .usage = _(attach_usage),
                .take = attach_take,
                .min = 1,
                .max = 2,
                .n_ids = 1,
        };
        _cleanup_(container_refs_done) ContainerRefs refs = {};
        _cleanup_(client_freep) Client *c = NULL;
        Session session = { .attach = true, .terminal = true, .interactive = true };
        int r;

        (void) detach_keys_parse(&session.keys, DETACH_KEYS_DEFAULT);
        r = verb_begin(argc, argv, s, &syntax, &session, &refs, &c);
        if (r < 0)
                return r;
        r = container_refs_select(&refs, optind + 1 < argc ? argv[optind + 1] : NULL);
        if (r < 0)
                return VERB_FAILED;

        session.client = c;
        session.process = refs.items;
        session_begin(&session);
        return session_run(&session);
}
