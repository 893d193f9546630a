/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Our own control groups, and where the hierarchies are mounted. */

#include "host/cgroup-view.h"

#include "host/mountinfo.h"
#include "util/text.h"

int cgroup_view_open(CgroupView *ret, pid_t pid) {
        CgroupView v = {};
        int r;

        r = cgroup_membership_read(pid, &v.own);
        if (r < 0)
                return r;

        *ret = v;
        return 0;
}

void cgroup_view_done(CgroupView *v) {
        cgroup_membership_done(&v->own);
        for (size_t i = 0; i < v->n_mounts; i++)
                free(v->mounts[i].line);
        free(v->mounts);
        if (v->mountinfo)
                (void) fclose(v->mountinfo);
        *v = (CgroupView) {};
}

/* "ID PARENT MAJOR:MINOR ROOT POINT OPTIONS [TAG...] - TYPE SOURCE SUPEROPTIONS", cut up in place. */
static bool mountinfo_parse(char *line, CgroupMount *ret) {
        CgroupMount m = { .line = line };
        char *fields[5], *rest, *source;

        line[strcspn(line, "\n")] = '\0';
        rest = strstr(line, " - ");
        if (!rest)
                return false;
        *rest = '\0';
        rest += 3;

        /* A source may be empty, which strtok() would not notice. */
        for (size_t i = 0; i < ELEMENTSOF(fields); i++) {
                fields[i] = strsep(&line, " ");
                if (!fields[i])
                        return false;
        }

        m.type = strsep(&rest, " ");
        source = strsep(&rest, " ");
        m.options = strsep(&rest, " ");
        if (!m.type || !source || !m.options)
                return false;

        m.root = mountinfo_unescape(fields[3]);
        m.point = mountinfo_unescape(fields[4]);
        *ret = m;
        return true;
}

static bool mount_is_hierarchy(const CgroupMount *m, const char *controllers) {
        if (isempty(controllers))
                return streq(m->type, "cgroup2");

        /* Of several controllers the first is enough, as a controller is in one hierarchy only. */
        return streq(m->type, "cgroup") && cgroup_list_contains(m->options, controllers, strcspn(controllers, ","));
}

/* 1: the next hierarchy is added; 0: there is none any more. Reads no further than needed: the hierarchies are
 * mounted at boot, in front of the many mounts that containers bring. */
static int view_read_on(CgroupView *v) {
        if (!v->is_begun) {
                v->mountinfo = fopen("/proc/self/mountinfo", "re");
                if (!v->mountinfo)
                        return -errno;
                v->is_begun = true;
        }

        while (v->mountinfo) {
                _cleanup_(freep) char *line = NULL;
                CgroupMount *mounts, m;
                size_t size = 0;

                if (getline(&line, &size, v->mountinfo) < 0) {
                        (void) fclose(TAKE_PTR(v->mountinfo));
                        break;
                }
                if (!mountinfo_parse(line, &m) || !startswith(m.type, "cgroup"))
                        continue;

                mounts = reallocarray(v->mounts, v->n_mounts + 1, sizeof(*mounts));
                if (!mounts)
                        return -ENOMEM;
                v->mounts = mounts;
                v->mounts[v->n_mounts++] = m;
                TAKE_PTR(line);
                return 1;
        }
        return 0;
}

int cgroup_view_get_directory(CgroupView *v, const char *controllers, const char *path, char **ret) {
        /* It lies outside of our own cgroup namespace. */
        if (startswith(path, "/.."))
                return -ENOENT;

        for (size_t i = 0;; i++) {
                const CgroupMount *m;
                const char *rest;
                char *directory;

                if (i == v->n_mounts) {
                        int r = view_read_on(v);

                        if (r <= 0)
                                return r < 0 ? r : -ENOENT;
                }
                m = v->mounts + i;
                if (!mount_is_hierarchy(m, controllers))
                        continue;

                rest = streq(m->root, "/") ? path : startswith(path, m->root);
                if (!rest || (*rest && *rest != '/'))
                        continue;

                directory = strdup_printf("%s%s", m->point, streq(rest, "/") ? "" : rest);
                if (!directory)
                        return -ENOMEM;
                *ret = directory;
                return 0;
        }
}
