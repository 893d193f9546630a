/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The options that describe a program and what it runs in. */

#include "ctl/spec-options.h"

#include "ctl/format.h"
#include "ctl/i18n.h"
#include "ctl/quantity.h"
#include "ctl/report.h"
#include "util/text.h"

#include <limits.h>
#include <linux/magic.h>
#include <sys/vfs.h>

void spec_options_done(SpecOptions *o) {
        oci_spec_done(&o->spec);
}

/* -- taking them -- */

static int take_env(ProcessSpec *spec, const char *verb) {
        int r;

        r = process_spec_add_env(&spec->env, optarg);
        if (r == -EINVAL)
                return settings_usage_error(verb, _("--env= takes NAME or NAME=VALUE, not \"%s\"."), optarg);
        if (r < 0) {
                report_errno(r, _("Cannot keep the options"));
                return VERB_FAILED;
        }
        return 0;
}

static int take_user(ProcessSpec *spec, const char *verb) {
        if (quantity_parse_user(optarg, &spec->uid, &spec->gid) < 0)
                return settings_usage_error(verb, _("--user= takes UID or UID:GID, as numbers, not \"%s\"."), optarg);
        spec->user = true;
        spec->group = strchr(optarg, ':') != NULL;
        return 0;
}

static int take_cwd(ProcessSpec *spec, const char *verb) {
        if (optarg[0] != '/')
                return settings_usage_error(verb, _("--cwd= takes an absolute path, not \"%s\"."), optarg);
        spec->cwd = optarg;
        return 0;
}

int process_option_take(ProcessSpec *spec, const char *verb, int c) {
        switch (c) {
        case 'e':
                return take_env(spec, verb);
        case 'u':
                return take_user(spec, verb);
        default:
                return take_cwd(spec, verb);
        }
}

static int take_rootfs(SpecOptions *o, const char *verb) {
        if (isempty(optarg))
                return settings_usage_error(verb, _("--rootfs= needs a directory."));
        o->rootfs = optarg;
        return 0;
}

static int take_hostname(SpecOptions *o, const char *verb) {
        if (isempty(optarg) || strlen(optarg) > HOST_NAME_MAX)
                return settings_usage_error(verb, _("--hostname= takes a name of 1 to %d characters, not \"%s\"."),
                                            HOST_NAME_MAX, optarg);
        o->spec.hostname = optarg;
        return 0;
}

static int take_mount(SpecOptions *o, const char *verb) {
        _cleanup_(freep) char *reason = NULL;
        int r;

        r = oci_spec_add_mount(&o->spec, optarg, &reason);
        if (r == -EINVAL)
                return settings_usage_error(
                        verb,
                        _("--mount= takes type=bind,src=PATH,dst=PATH[,ro] or type=tmpfs,dst=PATH[,size=BYTES]: %s."),
                        reason ? reason : optarg);
        if (r < 0) {
                report_errno(r, _("Cannot keep the options"));
                return VERB_FAILED;
        }
        return 0;
}

static int take_resource(SpecOptions *o, const char *verb, ResourceId id, const char *name, const char *accepted) {
        if (resources_take(&o->spec.resources, id, optarg) < 0)
                return settings_usage_error(verb, _("--%s= takes %s, not \"%s\"."), name, accepted, optarg);
        return 0;
}

static int take(SpecOptions *o, const char *verb, int c) {
        switch (c) {
        case 'e':
        case 'u':
        case OPTION_CWD:
                return process_option_take(&o->spec.process, verb, c);
        case OPTION_ROOTFS:
                return take_rootfs(o, verb);
        case OPTION_HOSTNAME:
                return take_hostname(o, verb);
        case OPTION_MOUNT:
                return take_mount(o, verb);
        case OPTION_READ_ONLY:
                o->spec.read_only = true;
                return 0;
        case OPTION_MEMORY:
                return take_resource(o, verb, RESOURCE_MEMORY, "memory", _("bytes, such as 512M, or \"max\""));
        case OPTION_CPUS:
                return take_resource(o, verb, RESOURCE_CPUS, "cpus", _("a number, such as 1.5, or \"max\""));
        default:
                return take_resource(o, verb, RESOURCE_PIDS_LIMIT, "pids-limit", _("a number or \"max\""));
        }
}

int spec_options_take(SpecOptions *o, const char *verb, int c) {
        static const struct option options[] = { SPEC_LONG_OPTIONS, {} };
        int r;

        for (const struct option *known = options; known->name; known++) {
                if (known->val != c)
                        continue;
                r = take(o, verb, c);
                if (r < 0)
                        return r;
                if (c != OPTION_ROOTFS)
                        o->orphan = known->name;
                return 1;
        }
        return 0;
}

/* -- the text -- */

/* As "runc spec" does, which asks what is mounted here. */
static bool cgroup_is_unified(void) {
        struct statfs fs;

        return statfs("/sys/fs/cgroup", &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC;
}

static int absolute_set(char **path) {
        _cleanup_(freep) char *cwd = getcwd(NULL, 0);
        char *absolute;

        if (!cwd)
                return -errno;
        absolute = format_absolute_path(cwd, *path);
        if (!absolute)
                return -ENOMEM;
        free(*path);
        *path = absolute;
        return 0;
}

static int sources_set(OciSpec *spec) {
        int r;

        for (size_t i = 0; i < spec->n_mounts; i++) {
                if (!spec->mounts[i].source)
                        continue;
                r = absolute_set(&spec->mounts[i].source);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* The runtime's own choice is the id alone, which is another container in another namespace. Systemd wants a slice,
 * and what the name of the scope is made of. */
static char *cgroups_path_new(const ContainerRef *ref, bool systemd_cgroup) {
        if (systemd_cgroup)
                return strdup_printf("system.slice:monoshim-%s:%s", ref->ns, ref->id);
        return strdup_printf("/monoshim-%s@%s", ref->ns, ref->id);
}

int spec_options_write(SpecOptions *o, const ContainerRef *ref, bool terminal, bool systemd_cgroup, char **ret) {
        _cleanup_(freep) char *cgroups_path = cgroups_path_new(ref, systemd_cgroup), *rootfs = strdup(o->rootfs);
        _cleanup_(freep) char *hostname = strndup(ref->id, HOST_NAME_MAX);
        OciSpec spec;
        int r = -ENOMEM;

        if (cgroups_path && rootfs && hostname)
                r = absolute_set(&rootfs);
        if (r >= 0)
                r = sources_set(&o->spec);
        if (r >= 0) {
                spec = o->spec;
                spec.rootfs = rootfs;
                spec.cgroups_path = cgroups_path;
                spec.cgroup_namespace = cgroup_is_unified();
                spec.process.terminal = terminal;
                spec.process.term = getenv("TERM");
                if (!spec.hostname)
                        spec.hostname = hostname;
                r = oci_spec_write(&spec, ret);
        }
        return r < 0 ? report_errno(r, _("Cannot describe %s/%s"), ref->ns, ref->id) : 0;
}
