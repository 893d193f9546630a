/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Creating a container.
 *
 * Paths are the user's, relative to where he is; monoshimd wants absolute ones. They are made so by their letters
 * alone: it is monoshimd that opens them, and it may see more than we. */

#include "ctl/create.h"

#include "ctl/format.h"
#include "ctl/i18n.h"
#include "ctl/output.h"
#include "ctl/report.h"
#include "util/strv.h"

#include <ctype.h>
#include <stdio.h>

static const char *const stream_names[3] = { "Stdin", "Stdout", "Stderr" };

void create_options_done(CreateOptions *o) {
        o->labels = strv_free(o->labels);
}

int create_options_take(CreateOptions *o, const char *verb, int c) {
        const char *equals;

        switch (c) {
        case 'b':
                if (isempty(optarg))
                        return settings_usage_error(verb, _("--bundle= needs a directory."));
                o->bundle = optarg;
                break;
        case OPTION_RUNTIME:
                o->runtime = optarg;
                break;
        case OPTION_RUNTIME_ROOT:
                o->runtime_root = optarg;
                break;
        case OPTION_SYSTEMD_CGROUP:
                o->systemd_cgroup = true;
                break;
        case OPTION_NO_PIVOT:
                o->no_pivot = true;
                break;
        case OPTION_NO_NEW_KEYRING:
                o->no_new_keyring = true;
                break;
        case OPTION_LABEL:
                equals = strchr(optarg, '=');
                if (!equals || equals == optarg)
                        return settings_usage_error(verb, _("--label= takes NAME=VALUE, not \"%s\"."), optarg);
                if (strv_extend(&o->labels, optarg) < 0) {
                        report_errno(ENOMEM, _("Cannot keep the labels"));
                        return VERB_FAILED;
                }
                break;
        case OPTION_STDIN:
        case OPTION_STDOUT:
        case OPTION_STDERR:
                o->streams[c - OPTION_STDIN] = optarg;
                break;
        }
        return 0;
}

static int absolute_path(const char *path, char **ret) {
        _cleanup_(freep) char *cwd = NULL;

        cwd = getcwd(NULL, 0);
        if (!cwd)
                return -errno;
        *ret = format_absolute_path(cwd, path);
        return *ret ? 0 : -ENOMEM;
}

/* "file:", "journal:", "binary:" and whatever else monoshimd may know; a file with such a name can be had as
 * "./journal:x". */
static bool has_scheme(const char *s) {
        const char *p = s;

        while (islower((unsigned char) *p))
                p++;
        return p > s && *p == ':';
}

static int append_stream(sd_bus_message *m, const CreateOptions *o, const Settings *s, int i) {
        _cleanup_(freep) char *path = NULL;
        const char *given = o->streams[i];
        int r;

        /* A stream of ours that is closed is /dev/null by now, and open the wrong way round: leave it to
         * monoshimd. */
        if (given ? streq(given, "-") : o->own_streams)
                return s->closed[i] ? 0 : sd_bus_message_append(m, "{sv}", stream_names[i], "h", i);
        if (isempty(given))
                return 0;
        if (has_scheme(given))
                return sd_bus_message_append(m, "{sv}", stream_names[i], "s", given);

        r = absolute_path(given, &path);
        if (r < 0)
                return r;
        return sd_bus_message_append(m, "{sv}", stream_names[i], "s", path);
}

static int append_labels(sd_bus_message *m, char *const *labels) {
        int r;

        if (!labels)
                return 0;

        r = sd_bus_message_open_container(m, 'e', "sv");
        if (r < 0)
                return r;
        r = sd_bus_message_append(m, "s", "Labels");
        if (r < 0)
                return r;
        r = sd_bus_message_open_container(m, 'v', "a{ss}");
        if (r < 0)
                return r;
        r = sd_bus_message_open_container(m, 'a', "{ss}");
        if (r < 0)
                return r;

        for (size_t i = 0; labels[i]; i++) {
                const char *equals = strchr(labels[i], '=');
                _cleanup_(freep) char *name = strndup(labels[i], (size_t) (equals - labels[i]));

                if (!name)
                        return -ENOMEM;
                r = sd_bus_message_append(m, "{ss}", name, equals + 1);
                if (r < 0)
                        return r;
        }

        for (int i = 0; i < 3; i++) {
                r = sd_bus_message_close_container(m);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int append_flag(sd_bus_message *m, const char *name, bool value) {
        return value ? sd_bus_message_append(m, "{sv}", name, "b", true) : 0;
}

/* A runtime is a name to be looked up, or a path. */
static int append_runtime(sd_bus_message *m, const char *name, const char *value, bool path) {
        _cleanup_(freep) char *absolute = NULL;
        int r;

        if (!value)
                return 0;
        if (!path || isempty(value))
                return sd_bus_message_append(m, "{sv}", name, "s", value);

        r = absolute_path(value, &absolute);
        if (r < 0)
                return r;
        return sd_bus_message_append(m, "{sv}", name, "s", absolute);
}

static int append_options(sd_bus_message *m, const CreateOptions *o, const Settings *s) {
        int r;

        r = sd_bus_message_open_container(m, 'a', "{sv}");
        if (r < 0)
                return r;
        r = append_runtime(m, "Runtime", o->runtime, o->runtime && strchr(o->runtime, '/'));
        if (r < 0)
                return r;
        r = append_runtime(m, "RuntimeRoot", o->runtime_root, true);
        if (r < 0)
                return r;
        r = append_flag(m, "SystemdCgroup", o->systemd_cgroup);
        if (r < 0)
                return r;
        r = append_flag(m, "NoPivotRoot", o->no_pivot);
        if (r < 0)
                return r;
        r = append_flag(m, "NoNewKeyring", o->no_new_keyring);
        if (r < 0)
                return r;
        for (int i = 0; i < 3; i++) {
                r = append_stream(m, o, s, i);
                if (r < 0)
                        return r;
        }
        r = append_labels(m, o->labels);
        if (r < 0)
                return r;
        return sd_bus_message_close_container(m);
}

static int create_message(Client *c, const ContainerRef *ref, const CreateOptions *o, sd_bus_message **ret) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        _cleanup_(freep) char *bundle = NULL;
        int r;

        r = absolute_path(o->bundle ? o->bundle : ".", &bundle);
        if (r < 0)
                return r;
        r = client_new_call(c, MONOSHIM_PATH, MONOSHIM_MANAGER, "CreateContainer", &m);
        if (r < 0)
                return r;
        r = sd_bus_message_append(m, "sss", ref->ns, ref->id, bundle);
        if (r < 0)
                return r;
        r = append_options(m, o, c->settings);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(m);
        return 0;
}

int create_container(Client *c, const ContainerRef *ref, const CreateOptions *o, uint32_t *ret_pid) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        int r;

        r = create_message(c, ref, o, &m);
        if (r == -EOPNOTSUPP)
                return report_errno(r, _("Cannot pass our own standard streams over this connection"));
        if (r < 0)
                return report_errno(r, _("Cannot create %s/%s"), ref->ns, ref->id);

        r = sd_bus_call(c->bus, m, CLIENT_FOREVER, &error, &reply);
        if (r >= 0)
                r = sd_bus_message_read(reply, "ou", NULL, ret_pid);
        if (r < 0)
                return report_call(r, &error, _("Cannot create %s/%s"), ref->ns, ref->id);
        return 0;
}

int create_print(const Settings *s, const ContainerRef *ref, uint32_t pid) {
        _cleanup_(json_writer_freep) JsonWriter *w = NULL;

        if (s->output == OUTPUT_TEXT) {
                puts(ref->id);
                return 0;
        }

        w = output_json_new(s);
        if (!w)
                return -ENOMEM;
        json_open_object(w);
        json_put_string(w, "namespace", ref->ns);
        json_put_string(w, "id", ref->id);
        json_put_uint64(w, "pid", pid);
        json_put_string(w, "path", ref->path);
        json_close_object(w);
        return output_json(w);
}
