/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Control groups, as /proc and the mounted hierarchies show them. */

#include "host/cgroup.h"

#include "host/cgroup-view.h"
#include "util/file.h"
#include "util/strv.h"
#include "util/text.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>

/* Of a runtime that hangs while it creates a container. A handful is usual; a hook could have started anything. */
#define DESCENDANTS_MAX 1024

#define ATTRIBUTE_MAX 4096
#define MEMBERSHIP_MAX (64 * 1024) /* a path in each of a dozen hierarchies */

static void fclosep(FILE **f) {
        if (*f)
                (void) fclose(*f);
}

static void closedirp(DIR **d) {
        if (*d)
                (void) closedir(*d);
}

/* --- membership ------------------------------------------------------------------------------------------------- */

void cgroup_membership_done(CgroupMembership *m) {
        for (size_t i = 0; i < m->n_entries; i++) {
                free(m->entries[i].controllers);
                free(m->entries[i].path);
        }
        free(m->entries);
        *m = (CgroupMembership) {};
}

/* "ID:CONTROLLERS:PATH"; the unified hierarchy is "0::PATH". A colon in the path is part of it. */
static int membership_add_line(CgroupMembership *m, char *line) {
        char *controllers, *path;
        CgroupEntry *entries, e;

        controllers = strchr(line, ':');
        path = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!path)
                return -EBADMSG;
        *path = '\0';

        entries = realloc(m->entries, (m->n_entries + 1) * sizeof(*entries));
        if (!entries)
                return -ENOMEM;
        m->entries = entries;

        e = (CgroupEntry) { .controllers = strdup(controllers + 1), .path = strdup(path + 1) };
        if (!e.controllers || !e.path) {
                free(e.controllers);
                free(e.path);
                return -ENOMEM;
        }
        m->entries[m->n_entries++] = e;
        return 0;
}

int cgroup_membership_read(pid_t pid, CgroupMembership *ret) {
        _cleanup_(cgroup_membership_done) CgroupMembership m = {};
        char file[64], text[MEMBERSHIP_MAX], *rest = text, *line;
        ssize_t n;
        int r;

        (void) snprintf(file, sizeof(file), "/proc/%d/cgroup", pid);
        n = file_read_record(AT_FDCWD, file, text, sizeof(text));
        if (n < 0)
                return n == -ENOENT ? -ESRCH : (int) n;

        while ((line = strsep(&rest, "\n"))) {
                r = *line ? membership_add_line(&m, line) : 0;
                if (r < 0)
                        return r;
        }

        /* A process that goes away between open() and read() gives an error, or nothing at all. */
        if (m.n_entries == 0)
                return -ESRCH;

        *ret = m;
        m = (CgroupMembership) {};
        return 0;
}

const char *cgroup_membership_get(const CgroupMembership *m, const char *controllers) {
        for (size_t i = 0; i < m->n_entries; i++)
                if (streq(m->entries[i].controllers, controllers))
                        return m->entries[i].path;
        return NULL;
}

bool cgroup_list_contains(const char *list, const char *word, size_t n) {
        for (;;) {
                size_t l = strcspn(list, ",");

                if (l == n && memcmp(list, word, n) == 0)
                        return true;
                if (!list[l])
                        return false;
                list += l + 1;
        }
}

/* --- a container's directory ---------------------------------------------------------------------------------------
 */

/* Is it this cgroup, or one below it? */
static bool path_is_within(const char *path, const char *top) {
        const char *rest;

        if (streq(top, "/"))
                return true;
        rest = startswith(path, top);
        return rest && (*rest == '\0' || *rest == '/');
}

static const CgroupEntry *membership_find(const CgroupMembership *m, const char *controller) {
        for (size_t i = 0; i < m->n_entries; i++) {
                const CgroupEntry *e = &m->entries[i];

                if (isempty(controller) ? isempty(e->controllers)
                                        : cgroup_list_contains(e->controllers, controller, strlen(controller)))
                        return e;
        }
        return NULL;
}

int cgroup_get_directory_of(const CgroupMembership *its, CgroupView *view, const char *controller,
                            const char *control_group, char **ret) {
        const CgroupEntry *e = membership_find(its, controller);
        const char *ours, *path;

        if (!e)
                return -ENOENT;

        path = e->path;
        if (!isempty(control_group) && path_is_within(path, control_group))
                path = control_group;

        /* The root is above us in any case: that is where a v1 hierarchy shows a process that is dead. */
        ours = cgroup_membership_get(&view->own, e->controllers);
        if (!ours || path_is_within(ours, path))
                return -ENOENT;
        return cgroup_view_get_directory(view, e->controllers, path, ret);
}

/* How much a hierarchy's word counts, most first. A v1 hierarchy may carry several controllers: "cpu,cpuacct". */
static unsigned hierarchy_rank(const char *controllers) {
        static const char *const known[] = { "", "name=systemd", "memory", "pids", "cpu" };

        for (unsigned i = 0; i < ELEMENTSOF(known); i++) {
                const char *rest = startswith(controllers, known[i]);

                if (rest && (*rest == '\0' || (i > 0 && *rest == ',')))
                        return i;
        }
        return ELEMENTSOF(known);
}

int cgroup_get_path(const CgroupMembership *its, const CgroupView *view, char **ret) {
        unsigned best_rank = UINT32_MAX;
        const char *best = "";
        char *copy;

        for (size_t i = 0; i < its->n_entries; i++) {
                const CgroupEntry *e = &its->entries[i];
                unsigned rank = hierarchy_rank(e->controllers);

                if (rank < best_rank && !streq_ptr(e->path, cgroup_membership_get(&view->own, e->controllers))) {
                        best = e->path;
                        best_rank = rank;
                }
        }

        copy = strdup(best);
        if (!copy)
                return -ENOMEM;

        *ret = copy;
        return 0;
}

/* --- what files say --------------------------------------------------------------------------------------------- */

int cgroup_get_keyed(const char *text, const char *key, uint64_t *ret) {
        for (const char *line = text; *line;) {
                const char *rest = startswith(line, key);
                size_t n = strcspn(line, "\n");
                char number[32];

                if (rest && *rest == ' ') {
                        n -= (size_t) (rest + 1 - line);
                        if (n >= sizeof(number))
                                return -EBADMSG;
                        *(char *) mempcpy(number, rest + 1, n) = '\0';
                        return parse_uint64(number, ret) < 0 ? -EBADMSG : 0;
                }
                line += n + (line[n] == '\n');
        }
        return -ENODATA;
}

/* --- what a runtime has made ------------------------------------------------------------------------------------ */

typedef struct Descendants {
        pid_t pids[DESCENDANTS_MAX];
        size_t n_pids;
} Descendants;

/* The children of one thread. A kernel without that file, or a thread that is gone, adds nothing. */
static void descendants_add_of_thread(Descendants *d, pid_t pid, const char *thread) {
        _cleanup_(fclosep) FILE *f = NULL;
        char file[320];
        pid_t child;

        (void) snprintf(file, sizeof(file), "/proc/%d/task/%s/children", pid, thread);
        f = fopen(file, "re");
        if (!f)
                return;

        while (d->n_pids < DESCENDANTS_MAX && fscanf(f, "%d", &child) == 1)
                d->pids[d->n_pids++] = child;
}

static void descendants_add_of(Descendants *d, pid_t pid) {
        _cleanup_(closedirp) DIR *dir = NULL;
        char folder[64];

        (void) snprintf(folder, sizeof(folder), "/proc/%d/task", pid);
        dir = opendir(folder);
        if (!dir)
                return;

        for (struct dirent *e; (e = readdir(dir));)
                if (e->d_name[0] != '.')
                        descendants_add_of_thread(d, pid, e->d_name);
}

static int list_add_foreign(char ***paths, CgroupView *view, pid_t pid) {
        _cleanup_(cgroup_membership_done) CgroupMembership its = {};
        int r;

        r = cgroup_membership_read(pid, &its);
        if (r < 0)
                return r == -ESRCH ? 0 : r;

        for (size_t i = 0; i < its.n_entries; i++) {
                _cleanup_(freep) char *directory = NULL;
                const CgroupEntry *e = &its.entries[i];

                if (streq_ptr(e->path, cgroup_membership_get(&view->own, e->controllers)))
                        continue;

                r = cgroup_view_get_directory(view, e->controllers, e->path, &directory);
                if (r == -ENOENT)
                        continue;
                if (r < 0)
                        return r;

                if (strv_contains(*paths, directory))
                        continue;

                r = strv_extend(paths, directory);
                if (r < 0)
                        return r;
        }
        return 0;
}

int cgroup_list_of_children(pid_t pid, char ***ret) {
        _cleanup_(cgroup_view_done) CgroupView view = {};
        _cleanup_(strv_freep) char **paths = NULL;
        _cleanup_(freep) Descendants *d = NULL;
        int r;

        r = cgroup_view_open(&view, pid);
        if (r < 0)
                return r;

        d = calloc(1, sizeof(*d));
        if (!d)
                return -ENOMEM;

        /* The list grows while it is walked: children behind children. */
        descendants_add_of(d, pid);
        for (size_t i = 0; i < d->n_pids; i++)
                descendants_add_of(d, d->pids[i]);

        for (size_t i = 0; i < d->n_pids; i++) {
                r = list_add_foreign(&paths, &view, d->pids[i]);
                if (r < 0)
                        return r;
        }

        if (!paths) {
                paths = calloc(1, sizeof(char *));
                if (!paths)
                        return -ENOMEM;
        }
        *ret = TAKE_PTR(paths);
        return 0;
}

static int list_add_directory(char ***paths, CgroupView *view, const CgroupEntry *own, const char *cgroups_path,
                              const char *id) {
        _cleanup_(freep) char *path = NULL, *directory = NULL;
        int r;

        if (cgroups_path && cgroups_path[0] == '/')
                path = strdup(cgroups_path);
        else
                path = strdup_printf("%s/%s", streq(own->path, "/") ? "" : own->path, cgroups_path ?: id);
        if (!path)
                return -ENOMEM;

        r = cgroup_view_get_directory(view, own->controllers, path, &directory);
        if (r == -ENOENT)
                return 0;
        if (r < 0)
                return r;

        return strv_contains(*paths, directory) ? 0 : strv_extend(paths, directory);
}

int cgroup_list_of_container(const char *cgroups_path, const char *id, char ***ret) {
        _cleanup_(cgroup_view_done) CgroupView view = {};
        _cleanup_(strv_freep) char **paths = NULL;
        int r;

        paths = calloc(1, sizeof(char *));
        if (!paths)
                return -ENOMEM;

        /* ".." is the runtime's to make sense of, not ours. */
        if (isempty(cgroups_path))
                cgroups_path = NULL;
        if (cgroups_path && (strchr(cgroups_path, ':') || strstr(cgroups_path, ".."))) {
                *ret = TAKE_PTR(paths);
                return 0;
        }

        r = cgroup_view_open(&view, getpid());
        if (r < 0)
                return r;

        for (size_t i = 0; i < view.own.n_entries; i++) {
                r = list_add_directory(&paths, &view, &view.own.entries[i], cgroups_path, id);
                if (r < 0)
                        return r;
        }

        *ret = TAKE_PTR(paths);
        return 0;
}

static unsigned path_depth(const char *path) {
        unsigned n = 0;

        for (; *path; path++)
                n += *path == '/';
        return n;
}

int cgroup_remove_empty(char *const *paths) {
        unsigned deepest = 0;
        int n_left = 0;

        for (size_t i = 0; paths && paths[i]; i++)
                if (path_depth(paths[i]) > deepest)
                        deepest = path_depth(paths[i]);

        /* A cgroup is not empty while another is below it. */
        for (unsigned depth = deepest; depth > 0; depth--)
                for (size_t i = 0; paths[i]; i++)
                        if (path_depth(paths[i]) == depth && rmdir(paths[i]) < 0 && errno != ENOENT)
                                n_left++;
        return n_left;
}

/* --- freezer ---------------------------------------------------------------------------------------------------- */

/* Whether one of the file's lines is one of these two texts: 1, 0, or -errno. */
static int attribute_says(const char *directory, const char *name, const char *text, const char *or_text) {
        char content[ATTRIBUTE_MAX], *rest = content, *line;
        _cleanup_(freep) char *path = NULL;
        ssize_t n;

        path = strdup_printf("%s/%s", directory, name);
        if (!path)
                return -ENOMEM;

        n = file_read_record(AT_FDCWD, path, content, sizeof(content));
        if (n < 0)
                return (int) n;

        while ((line = strsep(&rest, "\n")))
                if (streq(line, text) || streq(line, or_text))
                        return 1;
        return 0;
}

/* Where both kinds are mounted either may have been used: one that says "frozen" is enough, and one that says
 * anything is enough for "thawed". Frozen is who is so by itself or by a cgroup above; what was told to freeze and is
 * not there yet counts as well. */
int cgroup_is_frozen(const CgroupMembership *its, CgroupView *view) {
        int result = -ENOENT, r;

        for (size_t i = 0; i < its->n_entries; i++) {
                const CgroupEntry *e = &its->entries[i];
                _cleanup_(freep) char *directory = NULL;
                bool unified = isempty(e->controllers);

                if (!unified && !cgroup_list_contains(e->controllers, "freezer", strlen("freezer")))
                        continue;

                r = cgroup_view_get_directory(view, e->controllers, e->path, &directory);
                if (r >= 0 && unified) {
                        r = attribute_says(directory, "cgroup.events", "frozen 1", "frozen 1");
                        if (r <= 0)
                                r = attribute_says(directory, "cgroup.freeze", "1", "1");
                } else if (r >= 0)
                        r = attribute_says(directory, "freezer.state", "FROZEN", "FREEZING");

                if (r > 0)
                        return 1;
                if (r == 0 || (r != -ENOENT && result == -ENOENT))
                        result = r;
        }
        return result;
}
