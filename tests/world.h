/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The world of a unit test that deals with processes: an event loop, a reaper, and the account at the end.
 *
 * Use world_begin() and world_end() as setup and teardown of every case. The end asserts that no child and no
 * descriptor is left. Nothing sleeps for luck: world_run_until() runs the loop until something is true, and fails
 * the case when that takes absurdly long. */

#include "host/pid.h"
#include "host/reaper.h"
#include "host/spawn.h"
#include "util/clock.h"
#include "util/macro.h"

#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <systemd/sd-event.h>

#include <cmocka.h>

#define WORLD_PATIENCE_USEC (60 * USEC_PER_SEC)

typedef struct World {
        sd_event *event;
        Reaper *reaper;
        PidWatcher *pids;
        int n_fds;
        char folder[PATH_MAX]; /* a temporary directory, empty at the beginning and removed in the end */
} World;

static inline int count_open_fds(void) {
        struct dirent *e;
        int n = 0;
        DIR *d;

        d = opendir("/proc/self/fd");
        assert_non_null(d);
        while ((e = readdir(d)))
                n += e->d_name[0] != '.';
        (void) closedir(d);
        return n;
}

/* One message with these descriptors. */
static inline void send_with_fds(int fd, const void *data, size_t size, const int *fds, size_t n_fds) {
        struct iovec iov = { .iov_base = (void *) data, .iov_len = size };
        struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
        char control[CMSG_SPACE(sizeof(int) * 253)] __attribute__((aligned(__alignof__(struct cmsghdr)))) = {};

        if (n_fds > 0) {
                struct cmsghdr *c = (struct cmsghdr *) control;

                m.msg_control = control;
                m.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
                c->cmsg_level = SOL_SOCKET;
                c->cmsg_type = SCM_RIGHTS;
                c->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
                memcpy(CMSG_DATA(c), fds, sizeof(int) * n_fds);
        }
        assert_int_equal(sendmsg(fd, &m, MSG_NOSIGNAL), (ssize_t) size);
}

/* Of what the tests have made themselves, by path: not a job for the code under test. Never follows a symbolic
 * link, never enters a mount. */
static inline int world_remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw) {
        return remove(path);
}

static inline void world_remove_folder(const char *path) {
        (void) nftw(path, world_remove_entry, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

static inline int world_begin(void **state) {
        World *w;

        w = calloc(1, sizeof(*w));
        assert_non_null(w);
        w->n_fds = count_open_fds();

        (void) snprintf(w->folder, sizeof(w->folder), "%s/monoshim-test.XXXXXX", getenv("TMPDIR") ?: "/tmp");
        assert_non_null(mkdtemp(w->folder));

        assert_int_equal(sd_event_new(&w->event), 0);
        assert_int_equal(reaper_new(&w->reaper, w->event, SD_EVENT_PRIORITY_NORMAL - 5), 0);
        assert_int_equal(pid_watcher_new(&w->pids, w->event, SD_EVENT_PRIORITY_NORMAL), 0);
        *state = w;
        return 0;
}

/* fork() for a test: the child does not outlive the test, however that ends. */
static inline pid_t fork_child(void) {
        pid_t parent = getpid(), pid = fork();

        assert_true(pid >= 0);
        if (pid == 0 && (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent))
                _exit(1);
        return pid;
}

static inline bool world_has_children(void) {
        siginfo_t si = {};

        return waitid(P_ALL, 0, &si, WEXITED | WNOHANG | WNOWAIT) == 0 || errno != ECHILD;
}

/* Runs the loop until 'condition' holds for 'what'. */
static inline void world_run_until(World *w, bool (*condition)(void *what), void *what) {
        uint64_t deadline = clock_get_monotonic() + WORLD_PATIENCE_USEC;

        while (!condition(what)) {
                assert_true(clock_get_monotonic() < deadline);
                assert_true(sd_event_run(w->event, 50 * USEC_PER_MSEC) >= 0);
        }
}

static inline bool world_flag_is_set(void *flag) {
        return *(bool *) flag;
}

static inline void world_run_until_set(World *w, bool *flag) {
        world_run_until(w, world_flag_is_set, flag);
}

static inline bool world_has_no_children(void *unused) {
        return !world_has_children();
}

static inline void world_run_until_no_children(World *w) {
        world_run_until(w, world_has_no_children, NULL);
}

/* Whatever is due now, without waiting for anything. */
static inline void world_run_what_is_due(World *w) {
        int r;

        do {
                r = sd_event_run(w->event, 0);
                assert_true(r >= 0);
        } while (r > 0);
}

static inline int world_end(void **state) {
        World *w = *state;

        w->reaper = reaper_free(w->reaper);
        w->pids = pid_watcher_free(w->pids);
        w->event = sd_event_unref(w->event);
        world_remove_folder(w->folder);

        assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
        assert_int_equal(errno, ECHILD);
        assert_int_equal(count_open_fds(), w->n_fds);
        free(w);
        return 0;
}

/* Starts a shell script as a child; its output goes where ours goes. */
static inline pid_t given_script(const char *script) {
        char *const argv[] = { (char *) "sh", (char *) "-c", (char *) script, NULL };
        const SpawnParameters p = { .program = "/bin/sh", .argv = argv, .stdio = { -EBADF, -EBADF, -EBADF } };
        pid_t pid = 0;

        assert_int_equal(spawn(&p, &pid), 0);
        assert_true(pid > 0);
        return pid;
}

/* Waits until a child has exited, without reaping it. */
static inline void when_it_has_exited(pid_t pid) {
        siginfo_t si = {};

        assert_int_equal(waitid(P_PID, (id_t) pid, &si, WEXITED | WNOWAIT), 0);
}

/* valgrind makes a fork() of vfork(): then what the child writes does not come back, and everything takes long. */
static inline bool vfork_shares_memory(void) {
        static volatile int shared;
        pid_t pid;

        shared = 0;
        pid = vfork();
        if (pid == 0) {
                shared = 1;
                _exit(0);
        }
        assert_true(pid > 0);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        return shared == 1;
}

static inline char *world_path(World *w, const char *name) {
        char *path = NULL;

        assert_true(asprintf(&path, "%s/%s", w->folder, name) > 0);
        return path;
}

static inline void given_file(const char *path, const char *text, mode_t mode) {
        int fd;

        fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, text, strlen(text)), (ssize_t) strlen(text));
        assert_int_equal(fchmod(fd, mode), 0);
        assert_int_equal(close(fd), 0);
}
