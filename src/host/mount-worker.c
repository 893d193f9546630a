/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Making mounts and undoing them, in the process that calls.
 *
 * The rootfs is always reached from the folder that it is in, by its name: with each mount it may become another
 * directory, and whoever holds a descriptor below a mount keeps it busy. */

#include "host/mount-worker.h"

#include "host/mount-attach.h"
#include "host/mount-options.h"
#include "host/mountinfo.h"
#include "util/text.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

#define BUSY_TRIES 50
#define BUSY_INTERVAL_USEC (50 * USEC_PER_MSEC)

/* So often the mounts are looked at, even if there is always something that can be unmounted: who keeps mounting must
 * not keep us for ever. */
#define PASSES_MAX 4096

/* openat2() gives up when somebody renames what it walks through. */
#define OPEN_TRIES 64

/* Of Linux 5.6, or a sandbox like that of an old container runtime refuses it. */
#define WITHOUT_OPENAT2 "openat2() is missing here, without which links could lead out of the rootfs"

typedef struct Worker {
        int parent_fd; /* the folder that the rootfs is in */
        char *name;    /* the rootfs in it */
        char *path;    /* the rootfs without any symbolic link, as mountinfo has it */
        MountReport *report;
} Worker;

/* --- telling ---------------------------------------------------------------------------------------------------- */

static void report_doing(MountReport *report, const char *format, ...) _printf_(2, 3);
static int report_failure(MountReport *report, int error, const char *format, ...) _printf_(3, 4);

static void report_doing(MountReport *report, const char *format, ...) {
        va_list args;

        va_start(args, format);
        (void) vsnprintf(report->doing, sizeof(report->doing), format, args);
        va_end(args);
}

/* The first failure is the one to be told of. "%m" is the error. */
static int report_failure(MountReport *report, int error, const char *format, ...) {
        va_list args;

        if (report->error == 0) {
                report->error = error;
                errno = -error;
                va_start(args, format);
                (void) vsnprintf(report->text, sizeof(report->text), format, args);
                va_end(args);
        }
        return error;
}

static void report_add(MountReport *report, const char *text) {
        size_t n = strlen(report->text);

        (void) snprintf(report->text + n, sizeof(report->text) - n, "%s", text);
}

/* --- the rootfs ------------------------------------------------------------------------------------------------- */

static void worker_done(Worker *w) {
        safe_close(w->parent_fd);
        free(w->name);
        free(w->path);
}

static int worker_find_path(Worker *w) {
        char link[64], parent[PATH_MAX];
        ssize_t n;

        (void) snprintf(link, sizeof(link), "/proc/self/fd/%d", w->parent_fd);
        n = readlink(link, parent, sizeof(parent) - 1);
        if (n < 0)
                return -errno;
        parent[n] = '\0';

        w->path = strdup_printf("%s/%s", streq(parent, "/") ? "" : parent, w->name);
        return w->path ? 0 : -ENOMEM;
}

/* Symbolic links in front of the last name are the admin's business. */
static int worker_open(Worker *w, const char *rootfs) {
        _cleanup_(freep) char *parent = NULL;
        size_t n = strlen(rootfs);
        char *slash;

        if (rootfs[0] != '/')
                return -EINVAL;
        while (n > 1 && rootfs[n - 1] == '/')
                n--;
        parent = strndup(rootfs, n);
        if (!parent)
                return -ENOMEM;

        slash = strrchr(parent, '/');
        w->name = strdup(slash + 1);
        if (!w->name)
                return -ENOMEM;
        if (streq(w->name, "") || streq(w->name, ".") || streq(w->name, ".."))
                return -EINVAL;
        slash[slash == parent] = '\0';

        w->parent_fd = open(parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (w->parent_fd < 0)
                return -errno;
        return worker_find_path(w);
}

/* Asked without looking at what may be mounted there: a file system that has lost its server does not answer. */
static bool rootfs_is_link(const Worker *w) {
        char target[1];

        return readlinkat(w->parent_fd, w->name, target, sizeof(target)) >= 0;
}

/* What is on top of it now. */
static int rootfs_open(const Worker *w) {
        int fd;

        if (rootfs_is_link(w))
                return -ELOOP;
        fd = openat(w->parent_fd, w->name, O_PATH | O_NOFOLLOW | O_DIRECTORY | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

static int open_resolved(int dir_fd, const char *path, int flags, uint64_t resolve) {
        struct open_how how = { .flags = (uint64_t) (flags | O_PATH | O_CLOEXEC), .resolve = resolve };

        for (unsigned i = 0; i < OPEN_TRIES; i++) {
                int fd = (int) syscall(SYS_openat2, dir_fd, path, &how, sizeof(how));

                if (fd >= 0)
                        return fd;
                if (errno != EAGAIN && errno != EINTR)
                        return -errno;
        }
        return -EAGAIN;
}

/* As a process would see it whose root the rootfs is. */
static int open_in_root(int root_fd, const char *path, int flags) {
        return open_resolved(root_fd, isempty(path) ? "." : path, flags, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
}

/* mkdir -p within the root. What is there already may be a symbolic link that leads to a directory within. */
static int make_in_root(int root_fd, const char *path) {
        _cleanup_(safe_closep) int above = -EBADF;
        _cleanup_(freep) char *here = NULL;

        here = strdup(path);
        if (!here)
                return -ENOMEM;
        above = open_in_root(root_fd, "", O_DIRECTORY);
        if (above < 0)
                return above;

        for (char *name = here + strspn(here, "/"), *end; *name; name = end + strspn(end, "/")) {
                char saved;
                int fd;

                end = strchrnul(name, '/');
                saved = *end;
                *end = '\0';
                if (mkdirat(above, name, 0755) < 0 && errno != EEXIST)
                        return -errno;
                fd = open_in_root(root_fd, here, O_DIRECTORY);
                if (fd < 0)
                        return fd;
                safe_close(above);
                above = fd;
                *end = saved;
        }
        return 0;
}

/* --- which mounts there are ------------------------------------------------------------------------------------- */

typedef struct MountPoint {
        int id;
        char *path; /* from the folder that the rootfs is in */
} MountPoint;

typedef struct MountPoints {
        MountPoint *points; /* the oldest first */
        size_t n_points;
} MountPoints;

static void mount_points_done(MountPoints *p) {
        for (size_t i = 0; i < p->n_points; i++)
                free(p->points[i].path);
        free(p->points);
        *p = (MountPoints) {};
}

static int mount_points_add(MountPoints *p, int id, const char *path) {
        MountPoint *points;
        char *copy;

        points = reallocarray(p->points, p->n_points + 1, sizeof(*points));
        if (!points)
                return -ENOMEM;
        p->points = points;

        copy = strdup(path);
        if (!copy)
                return -ENOMEM;
        points[p->n_points++] = (MountPoint) { .id = id, .path = copy };
        return 0;
}

static bool mount_points_contain(const MountPoints *p, int id) {
        for (size_t i = 0; p && i < p->n_points; i++)
                if (p->points[i].id == id)
                        return true;
        return false;
}

/* "ID PARENT MAJOR:MINOR ROOT POINT ..."; returns the mount point, unescaped in place, or NULL. */
static char *mountinfo_take_apart(char *line, int *ret_id) {
        char *point = line;
        int id = atoi(line);

        for (size_t i = 0; i < 4; i++) {
                point = strchr(point, ' ');
                if (!point)
                        return NULL;
                point++;
        }
        point[strcspn(point, " \n")] = '\0';
        (void) mountinfo_unescape(point);

        *ret_id = id;
        return point;
}

static void fclosep(FILE **f) {
        if (*f)
                (void) fclose(*f);
}

/* Those at and below the rootfs. */
static int mount_points_read(const Worker *w, MountPoints *ret) {
        _cleanup_(mount_points_done) MountPoints p = {};
        _cleanup_(fclosep) FILE *f = NULL;
        _cleanup_(freep) char *line = NULL;
        size_t size = 0, n_parent = strlen(w->path) - strlen(w->name);
        int r;

        f = fopen("/proc/self/mountinfo", "re");
        if (!f)
                return -errno;

        while (getline(&line, &size, f) >= 0) {
                const char *point, *rest;
                int id = -1;

                point = mountinfo_take_apart(line, &id);
                rest = point ? startswith(point, w->path) : NULL;
                if (!rest || (*rest && *rest != '/'))
                        continue;
                r = mount_points_add(&p, id, point + n_parent);
                if (r < 0)
                        return r;
        }
        if (ferror(f))
                return -EIO;

        *ret = p;
        p = (MountPoints) {};
        return 0;
}

/* --- unmounting ------------------------------------------------------------------------------------------------- */

/* No descriptor of the mount itself may be open; one of the directory that it is in does not keep it busy. */
static int unmount_point(const Worker *w, const char *path) {
        const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
        _cleanup_(safe_closep) int above = -EBADF;
        char point[64 + NAME_MAX];

        if (slash) {
                _cleanup_(freep) char *directory = strndup(path, (size_t) (slash - path));

                if (!directory)
                        return -ENOMEM;
                above = open_resolved(w->parent_fd, directory, O_DIRECTORY,
                                      RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS);
                if (above < 0)
                        return above;
        }

        (void) snprintf(point, sizeof(point), "/proc/self/fd/%d/%s", slash ? above : w->parent_fd, name);
        report_doing(w->report, "unmounting %.*s%s", (int) (strlen(w->path) - strlen(w->name)), w->path, path);
        return umount2(point, UMOUNT_NOFOLLOW) < 0 ? -errno : 0;
}

/* Tries each of them once, the newest first. What cannot be unmounted now is told of in *ret_left and *ret_error. */
static unsigned unmount_pass(const Worker *w, const MountPoints *p, const MountPoints *keep, const char **ret_left,
                             int *ret_error) {
        unsigned n = 0;

        for (size_t i = p->n_points; i > 0; i--) {
                const MountPoint *point = &p->points[i - 1];
                int r;

                if (mount_points_contain(keep, point->id))
                        continue;
                r = unmount_point(w, point->path);
                if (r >= 0)
                        n++;
                else if (!*ret_left) {
                        *ret_left = point->path;
                        *ret_error = r;
                }
        }
        return n;
}

/* Busy, or not (or no longer) where mountinfo has said: the next look may find it otherwise. */
static bool error_may_pass(int error) {
        return error == -EBUSY || error == -EINVAL || error == -ENOENT || error == -ELOOP || error == -ENOTDIR;
}

static void wait_a_little(void) {
        const struct timespec ts = { .tv_nsec = (long) (BUSY_INTERVAL_USEC * NSEC_PER_USEC) };

        (void) nanosleep(&ts, NULL);
}

/* Unmounts all but those to be kept. Each pass starts from what mountinfo says then: one that was in the way may be
 * gone, and others may have come. */
static int unmount_all(const Worker *w, const MountPoints *keep) {
        unsigned tries = 0;
        int r;

        for (unsigned pass = 0; pass < PASSES_MAX; pass++) {
                _cleanup_(mount_points_done) MountPoints p = {};
                const char *left = NULL;
                int error = 0;

                report_doing(w->report, "looking for mounts on %s", w->path);
                r = mount_points_read(w, &p);
                if (r < 0)
                        return report_failure(w->report, r, "failed to read which mounts there are: %m");

                if (unmount_pass(w, &p, keep, &left, &error) > 0)
                        tries = 0;
                else if (!left)
                        return 0;
                else if (++tries > BUSY_TRIES || !error_may_pass(error))
                        return report_failure(w->report, error, "failed to unmount target %.*s%s: %s",
                                              (int) (strlen(w->path) - strlen(w->name)), w->path, left,
                                              error == -ENOSYS ? WITHOUT_OPENAT2 : strerror(-error));
                if (left)
                        wait_a_little();
        }
        return report_failure(w->report, -EBUSY, "failed to unmount %s, as there are always new mounts on it: %m",
                              w->path);
}

void mount_worker_undo(const char *rootfs, MountReport *report) {
        _cleanup_(worker_done) Worker w = { .parent_fd = -EBADF, .report = report };
        int r;

        report_doing(report, "looking for %s", rootfs);
        r = worker_open(&w, rootfs);
        if (r < 0) {
                /* Where nothing is, nothing is mounted; but nobody knows where what was there is now. */
                if (r == -ENOENT || r == -ENOTDIR)
                        report->is_gone = true;
                else
                        (void) report_failure(report, r, "failed to open the folder that %s is in: %m", rootfs);
        } else if (rootfs_is_link(&w))
                report->is_link = true;
        else
                (void) unmount_all(&w, NULL);
        report->complete = true;
}

/* --- mounting --------------------------------------------------------------------------------------------------- */

/* Is there something to be mounted on a directory? What cannot be looked at will be told of by mount(2). */
static bool mount_wants_directory(const Mount *m, const MountOptions *o) {
        struct stat st;

        return !(o->flags & MS_BIND) || stat(m->source, &st) < 0 || S_ISDIR(st.st_mode);
}

static int target_open(const Worker *w, const Mount *m) {
        _cleanup_(safe_closep) int root = -EBADF;

        root = rootfs_open(w);
        if (root < 0)
                return root;
        return open_in_root(root, m->target, 0);
}

static int target_make(const Worker *w, const Mount *m, const MountOptions *o) {
        _cleanup_(safe_closep) int root = -EBADF;
        int fd, r;

        fd = target_open(w, m);
        if (fd != -ENOENT || (o->flags & MS_REMOUNT) || !mount_wants_directory(m, o))
                return fd;

        root = rootfs_open(w);
        if (root < 0)
                return root;
        r = make_in_root(root, m->target);
        if (r < 0)
                return r;
        return open_in_root(root, m->target, 0);
}

/* *ret_why may be set to what the kernel says beyond the error. */
static int mount_one(const Worker *w, const Mount *m, const MountOptions *o, char **ret_why) {
        _cleanup_(safe_closep) int target = -EBADF, mounted = -EBADF;
        int r;

        target = target_make(w, m, o);
        if (target == -ENOENT)
                *ret_why = strdup("there is no such target, and only folders are made");
        if (target == -ENOSYS)
                *ret_why = strdup(WITHOUT_OPENAT2);
        if (target < 0)
                return target;
        r = mount_attach(m, o, target, ret_why);
        if (r < 0)
                return r;
        if (!mount_needs_more(o))
                return 0;

        /* 'target' is what is now below. */
        mounted = target_open(w, m);
        if (mounted < 0)
                return mounted;
        return mount_finish(o, mounted);
}

static int mount_number(const Worker *w, const Mount *m, size_t number) {
        _cleanup_(mount_options_done) MountOptions o = {};
        _cleanup_(freep) char *why = NULL;
        int r;

        report_doing(w->report, "mounting rootfs component %zu (%.64s) on %s%s%.512s", number, strempty(m->type),
                     w->path, isempty(m->target) ? "" : "/", strempty(m->target));

        r = mount_options_parse(&o, m->options, &why);
        if (r >= 0)
                r = mount_one(w, m, &o, &why);
        if (r < 0)
                return report_failure(w->report, r,
                                      "failed to mount rootfs component %zu (%.64s, %.512s) on %.512s%s%.512s: %s",
                                      number, strempty(m->type), strempty(m->source), w->path,
                                      isempty(m->target) ? "" : "/", strempty(m->target), why ?: strerror(-r));
        return 0;
}

/* Takes back what has come since 'before'. The failure that has led here is what is told of. */
static void mounts_roll_back(const Worker *w, const MountPoints *before, bool rootfs_is_new) {
        MountReport report = {};
        Worker quiet = *w;

        report_doing(w->report, "unmounting from %s again, as a later mount has failed", w->path);
        quiet.report = &report;
        if (unmount_all(&quiet, before) < 0) {
                report_add(w->report, "; and then: ");
                report_add(w->report, report.text);
        } else if (rootfs_is_new)
                (void) unlinkat(w->parent_fd, w->name, AT_REMOVEDIR);
}

static int mounts_make_all(const Worker *w, const Mounts *m) {
        _cleanup_(mount_points_done) MountPoints before = {};
        bool is_new;
        int r;

        is_new = mkdirat(w->parent_fd, w->name, 0711) >= 0;
        if (!is_new && errno != EEXIST)
                return report_failure(w->report, -errno, "failed to make the folder %s: %m", w->path);

        r = mount_points_read(w, &before);
        if (r < 0)
                return report_failure(w->report, r, "failed to read which mounts there are: %m");

        for (size_t i = 0; i < m->n_mounts; i++) {
                r = mount_number(w, &m->mounts[i], i + 1);
                if (r < 0) {
                        mounts_roll_back(w, &before, is_new);
                        return r;
                }
        }
        return 0;
}

void mount_worker_make(const char *rootfs, const Mounts *m, MountReport *report) {
        _cleanup_(worker_done) Worker w = { .parent_fd = -EBADF, .report = report };
        int r;

        report_doing(report, "looking for %s", rootfs);
        r = worker_open(&w, rootfs);
        if (r < 0)
                (void) report_failure(report, r, "failed to open the folder that %s is in: %m", rootfs);
        else if (rootfs_is_link(&w))
                (void) report_failure(report, -ELOOP, "%s is a symbolic link, on which nothing is mounted", rootfs);
        else
                (void) mounts_make_all(&w, m);
        report->complete = true;
}
