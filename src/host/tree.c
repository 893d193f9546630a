/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Removing directory trees that may hold anything, and that somebody may be changing at the same time.
 *
 * The walk has one directory open at a time, however deep it is. Each directory is read once: what is no directory
 * goes at once, the names of its subdirectories are remembered and visited one after the other. The way back up is
 * "..", believed only if it leads to the very directory (device and inode) that we came from; if someone has moved
 * things about, the walk goes down once more from the top. */

#include "host/tree.h"

#include "host/child.h"
#include "host/sandbox.h"
#include "util/file.h"
#include "util/log.h"
#include "util/strv.h"

#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <signal.h>
#include <stdalign.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* How often the walk goes back to something that it was done with, because somebody has put something in or moved
 * it about. Who does not let go must not keep us for ever. */
#define PATIENCE 1024

typedef struct Level {
        char *name; /* in the directory above; NULL at the top */
        dev_t dev;
        ino_t ino;
        char **subdirectories;
        size_t n_subdirectories;
        size_t next; /* the subdirectory to be visited next */
        bool failed; /* something below must stay, and so must this */
} Level;

typedef struct Walk {
        int top; /* the caller's */
        const char *name;
        int fd;        /* the directory of the last level; ours */
        Level *levels; /* the first is the directory the tree is in */
        size_t n_levels;
        size_t n_allocated;
        unsigned patience;
        int error; /* the first one */
} Walk;

static Level *walk_last(Walk *w) {
        return &w->levels[w->n_levels - 1];
}

static void walk_fail(Walk *w, int error) {
        walk_last(w)->failed = true;
        if (w->error == 0)
                w->error = error;
}

static void level_forget_subdirectories(Level *l) {
        for (size_t i = l->next; i < l->n_subdirectories; i++)
                free(l->subdirectories[i]);
        l->subdirectories = mfree(l->subdirectories);
        l->n_subdirectories = l->next = 0;
}

static int level_add_subdirectory(Level *l, const char *name) {
        char **v, *copy;

        /* Grows by doubling, whenever the number is a power of two. */
        if ((l->n_subdirectories & (l->n_subdirectories - 1)) == 0) {
                v = reallocarray(l->subdirectories, l->n_subdirectories > 0 ? l->n_subdirectories * 2 : 1,
                                 sizeof(char *));
                if (!v)
                        return -ENOMEM;
                l->subdirectories = v;
        }

        copy = strdup(name);
        if (!copy)
                return -ENOMEM;
        l->subdirectories[l->n_subdirectories++] = copy;
        return 0;
}

static int walk_push(Walk *w, const char *name, const struct stat *st) {
        char *copy = NULL;

        if (w->n_levels == w->n_allocated) {
                size_t n = w->n_allocated > 0 ? w->n_allocated * 2 : 32;
                Level *levels = reallocarray(w->levels, n, sizeof(*levels));

                if (!levels)
                        return -ENOMEM;
                w->levels = levels;
                w->n_allocated = n;
        }

        if (name) {
                copy = strdup(name);
                if (!copy)
                        return -ENOMEM;
        }
        w->levels[w->n_levels++] = (Level) { .name = copy, .dev = st->st_dev, .ino = st->st_ino };
        return 0;
}

static void walk_pop(Walk *w) {
        Level *l = walk_last(w);

        level_forget_subdirectories(l);
        free(l->name);
        w->n_levels--;
}

static void walk_done(Walk *w) {
        while (w->n_levels > 0)
                walk_pop(w);
        free(w->levels);
        safe_close(w->fd);
}

static int directory_open(int dir_fd, const char *name) {
        return file_open_beneath(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
}

static bool directory_is(int fd, const Level *l) {
        struct stat st;

        return fstat(fd, &st) >= 0 && st.st_dev == l->dev && st.st_ino == l->ino;
}

/* Removes one entry that was no directory when it was read; one that is by now goes to the others. */
static void walk_unlink(Walk *w, const char *name) {
        int r;

        if (unlinkat(w->fd, name, 0) >= 0 || errno == ENOENT)
                return;
        if (errno != EISDIR) {
                walk_fail(w, -errno);
                return;
        }

        r = level_add_subdirectory(walk_last(w), name);
        if (r < 0)
                walk_fail(w, r);
}

static void walk_read_entry(Walk *w, const struct dirent64 *e) {
        int r;

        if (streq(e->d_name, ".") || streq(e->d_name, ".."))
                return;
        if (e->d_type != DT_DIR) {
                walk_unlink(w, e->d_name);
                return;
        }

        r = level_add_subdirectory(walk_last(w), e->d_name);
        if (r < 0)
                walk_fail(w, r);
}

static void walk_read_directory(Walk *w) {
        alignas(struct dirent64) char buf[32 * 1024];
        ssize_t n;

        if (lseek(w->fd, 0, SEEK_SET) < 0) {
                walk_fail(w, -errno);
                return;
        }

        for (;;) {
                n = getdents64(w->fd, buf, sizeof(buf));
                if (n < 0) {
                        /* ENOENT: it has been removed under our feet. */
                        if (errno != ENOENT)
                                walk_fail(w, -errno);
                        return;
                }
                if (n == 0)
                        return;

                for (ssize_t at = 0; at < n;) {
                        const struct dirent64 *e = (const struct dirent64 *) (buf + at);

                        walk_read_entry(w, e);
                        at += e->d_reclen;
                }
        }
}

/* Goes down into a subdirectory that is not empty, and reads it. */
static int walk_enter(Walk *w, const char *name) {
        _cleanup_(safe_closep) int fd = -EBADF;
        struct stat st;
        int r;

        fd = directory_open(w->fd, name);
        if (fd < 0)
                return fd;
        if (fstat(fd, &st) < 0)
                return -errno;

        r = walk_push(w, name, &st);
        if (r < 0)
                return r;

        safe_close(w->fd);
        w->fd = TAKE_FD(fd);
        walk_read_directory(w);
        return 0;
}

/* Removes a subdirectory of the last level, or enters it. */
static void walk_visit(Walk *w, const char *name) {
        int r;

        if (unlinkat(w->fd, name, AT_REMOVEDIR) >= 0)
                return;

        switch (errno) {
        case ENOENT:
                return;
        case ENOTEMPTY:
        case EEXIST:
                r = walk_enter(w, name);
                if (r >= 0 || r == -ENOENT)
                        return;
                if (r != -ENOTDIR && r != -ELOOP) {
                        /* A mount (which may have come since) says EXDEV. */
                        walk_fail(w, r);
                        return;
                }
                break;
        case ENOTDIR:
                break;
        default:
                walk_fail(w, -errno); /* EBUSY: a mount point */
                return;
        }

        /* Has become something else. */
        if (unlinkat(w->fd, name, 0) < 0 && errno != ENOENT)
                walk_fail(w, -errno);
}

/* Comes back to the last level that is still where we found it, from the top. The levels below that are gone, or
 * have been moved away: they are forgotten, and found again if they are still somewhere in the tree. */
static int walk_descend_again(Walk *w) {
        _cleanup_(safe_closep) int fd = -EBADF;
        size_t n = 1;

        fd = fcntl(w->top, F_DUPFD_CLOEXEC, 3);
        if (fd < 0)
                return -errno;

        for (; n < w->n_levels; n++) {
                int below = directory_open(fd, w->levels[n].name);

                if (below < 0 || !directory_is(below, &w->levels[n])) {
                        safe_close(below);
                        break;
                }
                safe_close(fd);
                fd = below;
        }

        while (w->n_levels > n)
                walk_pop(w);

        safe_close(w->fd);
        w->fd = TAKE_FD(fd);
        return 0;
}

/* Goes back up from a level that has just been taken off. */
static int walk_ascend(Walk *w) {
        static const struct open_how how = {
                .flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC,
                .resolve = RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
        };
        int fd;

        if (w->n_levels == 1)
                return walk_descend_again(w);

        fd = (int) syscall(SYS_openat2, w->fd, "..", &how, sizeof(how));
        if (fd < 0 || !directory_is(fd, walk_last(w))) {
                safe_close(fd);
                return walk_descend_again(w);
        }

        safe_close(w->fd);
        w->fd = fd;
        return 0;
}

/* All that the last level held has been visited: goes back up and removes it. */
static int walk_leave(Walk *w) {
        _cleanup_(freep) char *name = TAKE_PTR(walk_last(w)->name);
        bool failed = walk_last(w)->failed;
        size_t n_levels = w->n_levels;
        int r;

        walk_pop(w);
        r = walk_ascend(w);
        if (r < 0)
                return r;

        /* Lost the way: what is still there keeps the directories above from being empty, and is found thereby.
         * Only at the top nothing is ever read again. */
        if (w->n_levels < n_levels - 1) {
                if (w->patience-- == 0)
                        return -EBUSY;
                return w->n_levels == 1 ? level_add_subdirectory(walk_last(w), w->name) : 0;
        }

        if (failed) {
                walk_last(w)->failed = true;
                return 0;
        }

        if (unlinkat(w->fd, name, AT_REMOVEDIR) >= 0 || errno == ENOENT)
                return 0;
        if (errno != ENOTEMPTY && errno != EEXIST) {
                walk_fail(w, -errno);
                return 0;
        }

        /* Somebody has put something in. */
        if (w->patience-- == 0)
                return -ENOTEMPTY;
        return level_add_subdirectory(walk_last(w), name);
}

static int walk_run(Walk *w) {
        int r;

        for (;;) {
                Level *l = walk_last(w);

                if (l->next < l->n_subdirectories) {
                        _cleanup_(freep) char *name = l->subdirectories[l->next++];

                        walk_visit(w, name); /* may add a level, so that 'l' is no more */
                        continue;
                }

                if (w->n_levels == 1)
                        return w->error;

                r = walk_leave(w);
                if (r < 0)
                        return r;
        }
}

static bool name_is_plain(const char *name) {
        return !isempty(name) && !streq(name, ".") && !streq(name, "..") && !strchr(name, '/');
}

int tree_remove(int dir_fd, const char *name) {
        _cleanup_(walk_done) Walk w = { .top = dir_fd, .name = name, .fd = -EBADF, .patience = PATIENCE };
        struct stat st;
        int r;

        if (!name_is_plain(name))
                return -EINVAL;

        if (fstat(dir_fd, &st) < 0)
                return -errno;

        w.fd = fcntl(dir_fd, F_DUPFD_CLOEXEC, 3);
        if (w.fd < 0)
                return -errno;

        r = walk_push(&w, NULL, &st);
        if (r < 0)
                return r;

        r = level_add_subdirectory(walk_last(&w), name);
        if (r < 0)
                return r;

        return walk_run(&w);
}

/* --- in a child ------------------------------------------------------------------------------------------------- */

typedef struct Removal {
        TreeRemoved done;
        void *userdata;
        char name[];
} Removal;

static void removal_on_exit(void *userdata, pid_t pid, int wait_status, uint64_t when_usec) {
        _cleanup_(freep) Removal *removal = userdata;
        int result;

        result = WIFEXITED(wait_status) ? -WEXITSTATUS(wait_status) : -ECANCELED;
        if (sandbox_was_violated(wait_status))
                log_error("The process that was to remove the directory %s was killed, since it made a system call "
                          "that its sandbox has not. This is a bug, or an attack; the kernel's log has the call's number.",
                          removal->name);
        if (removal->done)
                removal->done(removal->userdata, result);
        else if (result < 0)
                (void) log_warning_errno(result, "Failed to remove the directory %s, ignoring: %m", removal->name);
}

static _noreturn_ void child_remove(pid_t parent, int dir_fd, const char *name) {
        int r;

        r = child_prepare(parent, "remove-tree", dir_fd);
        if (r >= 0)
                r = sandbox_enter(SANDBOX_REMOVAL);
        if (r >= 0)
                r = tree_remove(3, name);
        _exit(r < 0 ? -r : 0);
}

int tree_remove_start(Reaper *reaper, int dir_fd, const char *name, TreeRemoved done, void *userdata) {
        _cleanup_(freep) Removal *removal = NULL;
        pid_t parent, pid;
        int r;

        if (!name_is_plain(name))
                return -EINVAL;

        removal = calloc(1, sizeof(*removal) + strlen(name) + 1);
        if (!removal)
                return -ENOMEM;

        removal->done = done;
        removal->userdata = userdata;
        (void) memcpy(removal->name, name, strlen(name) + 1);

        sandbox_check();
        parent = getpid();
        pid = child_fork();
        if (pid == 0) {
                removal = mfree(removal); /* the parent's business */
                child_remove(parent, dir_fd, name);
        }
        if (pid < 0)
                return pid;

        r = reaper_watch_owned(reaper, pid, removal_on_exit, removal);
        if (r < 0) {
                (void) kill(pid, SIGKILL);
                return r;
        }

        TAKE_PTR(removal);
        return 0;
}
