/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The vocabulary of tests that make real control groups, below our own in whatever hierarchies this machine has. Use
 * cgroups_end() as the teardown of such a case, after world_begin(): it removes them, also after a failure. */

#include "world.h"

#include "host/cgroup.h"

#include <linux/magic.h>
#include <sys/vfs.h>

/* A hierarchy in which we may make cgroups. Those of the tests lie below our own, with a name that is ours for
 * certain. */
typedef struct Hierarchy {
        const char *controllers; /* as in /proc/PID/cgroup */
        char *directory;         /* of our own cgroup */
        char *path;              /* the same as in /proc/PID/cgroup */
} Hierarchy;

static inline void hierarchy_done(Hierarchy *h) {
        free(h->directory);
        free(h->path);
}

static inline char *cgroup_name(const char *name) {
        char *s = NULL;

        assert_true(asprintf(&s, "monoshim-test-%d%s%s", getpid(), name[0] ? "/" : "", name) > 0);
        return s;
}

static inline char *cgroup_directory(const Hierarchy *h, const char *name) {
        _cleanup_(freep) char *tail = cgroup_name(name);
        char *s = NULL;

        assert_true(asprintf(&s, "%s/%s", h->directory, tail) > 0);
        return s;
}

/* What /proc/PID/cgroup says of it. */
static inline char *cgroup_path(const Hierarchy *h, const char *name) {
        _cleanup_(freep) char *tail = cgroup_name(name);
        char *s = NULL;

        assert_true(asprintf(&s, "%s/%s", streq(h->path, "/") ? "" : h->path, tail) > 0);
        return s;
}

static inline bool given_hierarchy(const char *controllers, const char *mount_point, Hierarchy *ret) {
        _cleanup_(cgroup_membership_done) CgroupMembership own = {};
        _cleanup_(freep) char *probe = NULL;
        Hierarchy h = { .controllers = controllers };
        const char *path;
        struct statfs fs;

        assert_int_equal(cgroup_membership_read(getpid(), &own), 0);
        path = cgroup_membership_get(&own, controllers);
        if (!path || statfs(mount_point, &fs) < 0)
                return false;
        if (fs.f_type != (controllers[0] ? CGROUP_SUPER_MAGIC : CGROUP2_SUPER_MAGIC))
                return false;

        h.path = strdup(path);
        assert_true(asprintf(&h.directory, "%s%s", mount_point, streq(path, "/") ? "" : path) > 0);
        probe = cgroup_directory(&h, "");
        if (mkdir(probe, 0755) < 0) {
                hierarchy_done(&h);
                return false;
        }
        assert_int_equal(rmdir(probe), 0);
        *ret = h;
        return true;
}

/* Any, since for most cases one is as good as the other. */
static inline bool given_any_hierarchy(Hierarchy *ret) {
        return given_hierarchy("pids", "/sys/fs/cgroup/pids", ret) || given_hierarchy("", "/sys/fs/cgroup", ret) ||
               given_hierarchy("", "/sys/fs/cgroup/unified", ret) ||
               given_hierarchy("memory", "/sys/fs/cgroup/memory", ret);
}

static inline void needs_cgroups(bool has) {
        if (!has) {
                print_message("no cgroup can be made here: needs root\n");
                skip();
        }
}

/* Those that have been made, so that a case that fails leaves nothing behind either. */
static char *made[16];
static size_t n_made;

static inline void given_cgroup(const Hierarchy *h, const char *name) {
        char *directory = cgroup_directory(h, name);

        assert_in_range(n_made, 0, ELEMENTSOF(made) - 1);
        made[n_made++] = directory;
        assert_int_equal(mkdir(directory, 0755), 0);
}

/* Whatever is still there: thaws it, and kills who is in it. */
static inline void clear_out(const char *directory) {
        static const char *const thaw[][2] = { { "freezer.state", "THAWED" }, { "cgroup.freeze", "0" } };
        _cleanup_(freep) char *procs = NULL;
        pid_t pid;
        FILE *f;

        for (size_t i = 0; i < ELEMENTSOF(thaw); i++) {
                _cleanup_(freep) char *path = NULL;
                int fd;

                assert_true(asprintf(&path, "%s/%s", directory, thaw[i][0]) > 0);
                fd = open(path, O_WRONLY | O_CLOEXEC);
                if (fd >= 0) {
                        (void) !write(fd, thaw[i][1], strlen(thaw[i][1]));
                        (void) close(fd);
                }
        }

        assert_true(asprintf(&procs, "%s/cgroup.procs", directory) > 0);
        f = fopen(procs, "re");
        if (!f)
                return;
        while (fscanf(f, "%d", &pid) == 1)
                (void) kill(pid, SIGKILL);
        (void) fclose(f);
}

static inline void write_to(const char *directory, const char *attribute, const char *text) {
        _cleanup_(freep) char *path = NULL;
        int fd;

        assert_true(asprintf(&path, "%s/%s", directory, attribute) > 0);
        fd = open(path, O_WRONLY | O_CLOEXEC);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, text, strlen(text)), (ssize_t) strlen(text));
        assert_int_equal(close(fd), 0);
}

static inline void when_moved(const Hierarchy *h, const char *name, pid_t pid) {
        _cleanup_(freep) char *directory = cgroup_directory(h, name);
        char text[16];

        (void) snprintf(text, sizeof(text), "%d", pid);
        write_to(directory, "cgroup.procs", text);
}

/* A process that does nothing, and has this many descendants in a line below it: pids[0] is the first. */
static inline void given_family(pid_t *pids, size_t n) {
        int news[2];

        assert_int_equal(pipe2(news, O_CLOEXEC), 0);
        pids[0] = fork_child();
        if (pids[0] == 0) {
                for (size_t i = 1; i < n; i++) {
                        pid_t pid = fork_child();

                        if (pid > 0)
                                break;
                        pid = getpid();
                        if (write(news[1], &pid, sizeof(pid)) != sizeof(pid))
                                _exit(1);
                }
                for (;;)
                        (void) pause();
        }
        assert_true(pids[0] > 0);
        for (size_t i = 1; i < n; i++)
                assert_int_equal(read(news[0], &pids[i], sizeof(pids[i])), sizeof(pids[i]));
        assert_int_equal(close(news[0]) | close(news[1]), 0);
}

static inline void when_killed(World *world, const pid_t *pids, size_t n) {
        for (size_t i = 0; i < n; i++)
                assert_int_equal(kill(pids[i], SIGKILL), 0);
        world_run_until_no_children(world);
}

static inline bool directory_exists(const char *path) {
        return access(path, F_OK) >= 0;
}

/* A cgroup of v1 can still be busy for a moment after its last process has been reaped. */
static inline bool cgroup_is_removed(void *path) {
        return rmdir(path) >= 0 || errno == ENOENT;
}

static inline void then_removable(World *world, const Hierarchy *h, const char *name) {
        _cleanup_(freep) char *directory = cgroup_directory(h, name);

        world_run_until(world, cgroup_is_removed, directory);
}

static inline int cgroups_end(void **state) {
        for (size_t i = 0; i < n_made; i++)
                clear_out(made[i]);
        if (n_made > 0)
                world_run_until_no_children(*state);
        while (n_made > 0) {
                world_run_until(*state, cgroup_is_removed, made[--n_made]);
                made[n_made] = mfree(made[n_made]);
        }
        return world_end(state);
}
