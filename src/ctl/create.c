/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Creating a container.
 *
 * Paths are the user's, relative to where he is; monoshimd wants absolute ones. They are made so by their letters
 * alone: it is monoshimd that opens them, and it may see more than we. */

#include "ctl/create.h"

#include "ctl/format.h"
#include "ctl/i18n.h"
#include "ctl/output.h"
#include "ctl/quantity.h"
#include "ctl/report.h"
#include "ctl/tty.h"
#include "util/strv.h"
#include "util/text.h"

#include <ctype.h>
#include <stdio.h>
#include <sys/random.h>

static const char *const stream_names[3] = { "Stdin", "Stdout", "Stderr" };

void create_options_done(CreateOptions *o) {
        o->labels = strv_free(o->labels);
        o->rootfs = strv_free(o->rootfs);
        o->made_id = mfree(o->made_id);
        spec_options_done(&o->spec);
}

static int list_take(char ***list, const char *text) {
        if (strv_extend(list, text) < 0) {
                report_errno(ENOMEM, _("Cannot keep the options"));
                return VERB_FAILED;
        }
        return 0;
}

static int label_take(CreateOptions *o, const char *verb, const char *text) {
        const char *equals = strchr(text, '=');

        if (!equals || equals == text)
                return settings_usage_error(verb, _("--label= takes NAME=VALUE, not \"%s\"."), text);
        return list_take(&o->labels, text);
}

static int mount_take(CreateOptions *o, const char *verb, const char *text) {
        const char *colon = strchr(text, ':');

        if (!colon || colon == text || colon[1] == ':' || colon[1] == '\0')
                return settings_usage_error(
                        verb, _("--rootfs-mount= takes TYPE:SOURCE[:TARGET[:OPTIONS]], not \"%s\"."), text);
        return list_take(&o->rootfs, text);
}

static int directory_take(const char **ret, const char *verb, const char *name) {
        if (isempty(optarg))
                return settings_usage_error(verb, _("--%s= needs a directory."), name);
        *ret = optarg;
        return 0;
}

static int owner_take(const char **ret, const char *verb, const char *name) {
        uint32_t id, none = 0;

        if (strchr(optarg, ':') || quantity_parse_user(optarg, &id, &none) < 0)
                return settings_usage_error(verb, _("--%s= takes a number, not \"%s\"."), name, optarg);
        *ret = optarg;
        return 0;
}

int create_options_take(void *options, const char *verb, int c) {
        CreateOptions *o = options;
        int r;

        r = spec_options_take(&o->spec, verb, c);
        if (r != 0)
                return r < 0 ? r : 0;

        /* clang-format off */
        switch (c) {
        case 'b':                       return directory_take(&o->bundle, verb, "bundle");
        case 't':                       o->terminal = true; return 0;
        case OPTION_NAME:               o->name = optarg; return 0;
        case OPTION_RUNTIME:            o->runtime = optarg; return 0;
        case OPTION_RUNTIME_ROOT:       o->runtime_root = optarg; return 0;
        case OPTION_SYSTEMD_CGROUP:     o->systemd_cgroup = true; return 0;
        case OPTION_NO_PIVOT:           o->no_pivot = true; return 0;
        case OPTION_NO_NEW_KEYRING:     o->no_new_keyring = true; return 0;
        case OPTION_LABEL:              return label_take(o, verb, optarg);
        case OPTION_IO_UID:             return owner_take(&o->io_uid, verb, "io-uid");
        case OPTION_IO_GID:             return owner_take(&o->io_gid, verb, "io-gid");
        case OPTION_ROOTFS_MOUNT:       return mount_take(o, verb, optarg);
        case OPTION_RELAY:              o->relay = true; return 0;
        case OPTION_CHECKPOINT:         return directory_take(&o->checkpoint, verb, "checkpoint");
        case OPTION_CRIU_WORK_PATH:     return directory_take(&o->criu_work_path, verb, "criu-work-path");
        case OPTION_STDIN:
        case OPTION_STDOUT:
        case OPTION_STDERR:             o->streams[c - OPTION_STDIN] = optarg; return 0;
        }
        /* clang-format on */
        return 0;
}

bool create_options_begin_command(void *options) {
        CreateOptions *o = options;

        if (!o->spec.rootfs)
                o->argument_first = true;
        return o->spec.rootfs;
}

/* Short enough to be typed, long enough to be new. */
static int id_make(char **ret) {
        unsigned char random[6];

        if (getrandom(random, sizeof(random), 0) != sizeof(random))
                return report_errno(errno, _("Cannot make an id"));
        *ret = strdup_printf("%02x%02x%02x%02x%02x%02x", random[0], random[1], random[2], random[3], random[4],
                             random[5]);
        return *ret ? 0 : report_errno(ENOMEM, _("Cannot make an id"));
}

static int options_check(const CreateOptions *o, const char *verb) {
        if (!o->spec.rootfs && o->spec.orphan)
                return settings_usage_error(
                        verb, _("--%s needs --rootfs=; with a bundle, its config.json says such things."),
                        o->spec.orphan);
        if (!o->spec.rootfs)
                return 0;
        if (o->bundle)
                return settings_usage_error(verb, _("--bundle= and --rootfs= exclude each other."));
        if (o->argument_first)
                return settings_usage_error(
                        verb, _("--rootfs= has to stand before the command, and the id is given by --name=."));
        return 0;
}

int create_options_finish(CreateOptions *o, int argc, char *argv[], Settings *s, const VerbSyntax *syntax,
                          ContainerRefs *refs, Client **ret_client) {
        char *ids[] = { argv[0], (char *) o->name, NULL };
        int r;

        r = options_check(o, argv[0]);
        if (r < 0)
                return r;
        if (o->spec.rootfs)
                o->spec.spec.process.args = argv + optind;
        else {
                r = settings_check_arguments(argc, argv, o->name ? 0 : 1, o->name ? 0 : 1);
                if (r < 0)
                        return r;
        }

        if (o->spec.rootfs && !o->name) {
                r = id_make(&o->made_id);
                if (r < 0)
                        return VERB_FAILED;
                ids[1] = o->made_id;
        } else if (!o->name)
                ids[1] = argv[optind];
        optind = 1;
        return verb_connect(2, ids, s, syntax, refs, ret_client);
}

int create_absolute_path(const char *path, char **ret) {
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
        if (given ? streq(given, "-") : o->own_streams && !o->terminal)
                return s->closed[i] ? 0 : sd_bus_message_append(m, "{sv}", stream_names[i], "h", i);
        if (isempty(given))
                return 0;
        if (has_scheme(given))
                return sd_bus_message_append(m, "{sv}", stream_names[i], "s", given);

        r = create_absolute_path(given, &path);
        if (r < 0)
                return r;
        return sd_bus_message_append(m, "{sv}", stream_names[i], "s", path);
}

/* A dictionary entry with a variant of this array type, up to where its elements go; and its end. */
static int array_open(sd_bus_message *m, const char *name, const char *type) {
        int r;

        r = sd_bus_message_open_container(m, 'e', "sv");
        if (r < 0)
                return r;
        r = sd_bus_message_append(m, "s", name);
        if (r < 0)
                return r;
        r = sd_bus_message_open_container(m, 'v', type);
        if (r < 0)
                return r;
        return sd_bus_message_open_container(m, 'a', type + 1);
}

static int array_close(sd_bus_message *m) {
        int r = 0;

        for (int i = 0; i < 3 && r >= 0; i++)
                r = sd_bus_message_close_container(m);
        return r;
}

static int append_labels(sd_bus_message *m, char *const *labels) {
        int r;

        if (!labels)
                return 0;

        r = array_open(m, "Labels", "a{ss}");
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
        return array_close(m);
}

static int mount_options_split(const char *text, char ***ret) {
        _cleanup_(freep) char *copy = strdup(text);
        char *state = NULL;
        int r;

        if (!copy)
                return -ENOMEM;
        for (char *o = strtok_r(copy, ",", &state); o; o = strtok_r(NULL, ",", &state)) {
                r = strv_extend(ret, o);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* "TYPE:SOURCE[:TARGET[:OPTIONS]]"; options may have colons themselves, as overlayfs has. A source with a slash is a
 * path, that of a bind mount is one anyway, and others are names ("tmpfs", "overlay"). */
static int append_mount(sd_bus_message *m, const char *text) {
        _cleanup_(strv_freep) char **options = NULL;
        _cleanup_(freep) char *copy = strdup(text), *path = NULL;
        char *type = copy, *source, *target, *rest = copy;
        int r;

        if (!copy)
                return -ENOMEM;
        (void) strsep(&rest, ":");
        source = strsep(&rest, ":");
        target = strsep(&rest, ":");
        r = rest ? mount_options_split(rest, &options) : 0;
        if (r < 0)
                return r;

        if (strchr(source, '/') || streq(type, "bind")) {
                r = create_absolute_path(source, &path);
                if (r < 0)
                        return r;
        }

        r = sd_bus_message_open_container(m, 'r', "sssas");
        if (r < 0)
                return r;
        r = sd_bus_message_append(m, "sss", type, path ? path : source, strempty(target));
        if (r < 0)
                return r;
        r = sd_bus_message_append_strv(m, options);
        if (r < 0)
                return r;
        return sd_bus_message_close_container(m);
}

static int append_rootfs(sd_bus_message *m, char *const *mounts) {
        int r;

        if (!mounts)
                return 0;

        r = array_open(m, "Rootfs", "a(sssas)");
        for (size_t i = 0; mounts[i] && r >= 0; i++)
                r = append_mount(m, mounts[i]);
        return r < 0 ? r : array_close(m);
}

static int append_terminal(sd_bus_message *m, bool terminal) {
        uint16_t columns, rows;
        int r;

        if (!terminal)
                return 0;
        r = sd_bus_message_append(m, "{sv}", "Terminal", "b", true);
        if (r < 0 || !tty_get_size(&columns, &rows))
                return r;
        return sd_bus_message_append(m, "{sv}", "ConsoleSize", "(qq)", columns, rows);
}

static int append_owner(sd_bus_message *m, const char *name, const char *value) {
        uint32_t id = 0;

        return value && quantity_parse_user(value, &id, &id) >= 0 ? sd_bus_message_append(m, "{sv}", name, "u", id)
                                                                  : 0;
}

static int append_flag(sd_bus_message *m, const char *name, bool value) {
        return value ? sd_bus_message_append(m, "{sv}", name, "b", true) : 0;
}

static int append_path(sd_bus_message *m, const char *name, const char *value) {
        _cleanup_(freep) char *absolute = NULL;
        int r;

        if (isempty(value))
                return value ? sd_bus_message_append(m, "{sv}", name, "s", value) : 0;

        r = create_absolute_path(value, &absolute);
        if (r < 0)
                return r;
        return sd_bus_message_append(m, "{sv}", name, "s", absolute);
}

/* A runtime is a name to be looked up, or a path. */
static int append_runtime(sd_bus_message *m, const char *value) {
        if (!value || strchr(value, '/'))
                return append_path(m, "Runtime", value);
        return sd_bus_message_append(m, "{sv}", "Runtime", "s", value);
}

static int append_streams(sd_bus_message *m, const CreateOptions *o, const Settings *s) {
        int r = 0;

        for (int i = 0; i < 3 && r >= 0; i++)
                r = append_stream(m, o, s, i);
        if (r >= 0)
                r = append_terminal(m, o->terminal);
        if (r >= 0)
                r = append_owner(m, "IoUid", o->io_uid);
        if (r >= 0)
                r = append_owner(m, "IoGid", o->io_gid);
        return r;
}

static int append_options(sd_bus_message *m, const CreateOptions *o, const char *spec, const Settings *s) {
        int r;

        r = sd_bus_message_open_container(m, 'a', "{sv}");
        if (r >= 0 && spec)
                r = sd_bus_message_append(m, "{sv}", "Spec", "s", spec);
        if (r >= 0)
                r = append_runtime(m, o->runtime);
        if (r >= 0)
                r = append_path(m, "RuntimeRoot", o->runtime_root);
        if (r >= 0)
                r = append_flag(m, "SystemdCgroup", o->systemd_cgroup);
        if (r >= 0)
                r = append_flag(m, "NoPivotRoot", o->no_pivot);
        if (r >= 0)
                r = append_flag(m, "NoNewKeyring", o->no_new_keyring);
        if (r >= 0)
                r = append_flag(m, "Relay", o->relay);
        if (r >= 0)
                r = append_path(m, "Checkpoint", o->checkpoint);
        if (r >= 0)
                r = append_path(m, "CriuWorkPath", o->criu_work_path);
        if (r >= 0)
                r = append_streams(m, o, s);
        if (r >= 0)
                r = append_rootfs(m, o->rootfs);
        if (r >= 0)
                r = append_labels(m, o->labels);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

int create_append_streams(sd_bus_message *m, const CreateOptions *o, const Settings *s) {
        int r;

        r = sd_bus_message_open_container(m, 'a', "{sv}");
        if (r >= 0)
                r = append_streams(m, o, s);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

static int append_bundle(sd_bus_message *m, const CreateOptions *o) {
        _cleanup_(freep) char *bundle = NULL;
        int r;

        if (o->spec.rootfs)
                return sd_bus_message_append(m, "s", "");
        r = create_absolute_path(o->bundle ? o->bundle : ".", &bundle);
        return r < 0 ? r : sd_bus_message_append(m, "s", bundle);
}

static int create_message(Client *c, const ContainerRef *ref, const CreateOptions *o, const char *spec,
                          sd_bus_message **ret) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        int r;

        r = client_new_call(c, MONOSHIM_PATH, MONOSHIM_MANAGER, "CreateContainer", &m);
        if (r < 0)
                return r;
        r = sd_bus_message_append(m, "ss", ref->ns, ref->id);
        if (r < 0)
                return r;
        r = append_bundle(m, o);
        if (r < 0)
                return r;
        r = append_options(m, o, spec, c->settings);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(m);
        return 0;
}

int create_container(Client *c, const ContainerRef *ref, CreateOptions *o, uint32_t *ret_pid) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_(freep) char *spec = NULL, *doing = NULL;
        int r;

        if (o->checkpoint)
                doing = strdup_printf(_("Preparing to restore %s/%s"), ref->ns, ref->id);
        if (o->spec.rootfs) {
                r = spec_options_write(&o->spec, ref, o->terminal, o->systemd_cgroup, &spec);
                if (r < 0)
                        return r;
        }
        r = create_message(c, ref, o, spec, &m);
        if (r == -EOPNOTSUPP)
                return report_errno(r, _("Cannot pass our own standard streams over this connection"));
        if (r < 0)
                return report_errno(r, _("Cannot create %s/%s"), ref->ns, ref->id);

        r = client_call_patiently(c, m, doing, &error, &reply);
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
