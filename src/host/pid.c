/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Who a pid number is, and watching a process that is not our child.
 *
 * A pidfd is readable (EPOLLIN) from the moment the process is dead, and hung up (EPOLLHUP) once its parent has
 * reaped it. Only then does PIDFD_GET_INFO know the exit status; in between, the zombie's own /proc/PID/stat does.
 * On a kernel without PIDFD_INFO_EXIT the zombie is the only source, and may be gone in no time: therefore it is
 * looked at right away. */

#include "host/pid.h"

#include "host/cgroup-view.h"
#include "host/fd-watch.h"
#include "util/clock.h"
#include "util/file.h"

#include <assert.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/pidfd.h>

/* How long a zombie may wait for its parent before its exit is published all the same. */
#define ZOMBIE_PATIENCE_USEC (500 * USEC_PER_MSEC)

/* struct pidfd_info of linux/pidfd.h in its first version, under a name of our own: the header may be older than
 * the kernel we run on, or newer than this file. */
typedef struct PidfdInfo {
        uint64_t mask;
        uint64_t cgroupid;
        uint32_t pid, tgid, ppid;
        uint32_t ruid, rgid, euid, egid, suid, sgid, fsuid, fsgid;
        int32_t exit_code;
} PidfdInfo;

/* One of the flags in /proc/PID/stat (include/linux/sched.h). */
#define PF_EXITING 0x4UL

#define PIDFD_INFO_MASK_EXIT (UINT64_C(1) << 3)
#define PIDFD_IOCTL_GET_INFO _IOWR(0xff, 11, PidfdInfo)

static_assert(sizeof(PidfdInfo) == 64, "the kernel's first version of it has 64 bytes");
static_assert(PIDFD_IOCTL_GET_INFO == 0xC040FF0B, "the kernel's number");

/* --- /proc/PID -------------------------------------------------------------------------------------------------- */

/* What the kernel answers once the process is gone depends on how far it was when we came. */
static int proc_errno(int error) {
        return error == ENOENT ? -ESRCH : -error;
}

/* The n-th field from 's', which stands on field number 'at'. Fields are separated by single spaces. */
static const char *stat_field(const char *s, unsigned at, unsigned n) {
        while (s && at < n) {
                s = strchr(s, ' ');
                if (s)
                        s++;
                at++;
        }
        return s;
}

/* Takes the line apart. */
static int stat_parse(const char *line, PidStat *ret) {
        const char *parent, *flags, *start_time, *exit_code, *s;
        PidStat st;

        /* "PID (COMMAND) STATE ...": the command may hold parentheses, spaces and newlines, nothing after it does. */
        s = strrchr(line, ')');
        if (!s || s[1] != ' ' || !s[2] || s[3] != ' ')
                return -EBADMSG;
        s += 2;

        /* The numbers are those of proc(5). */
        parent = stat_field(s, 3, 4);
        flags = stat_field(s, 3, 9);
        start_time = stat_field(s, 3, 22);
        exit_code = stat_field(s, 3, 52);
        if (!parent || !flags || !start_time || !exit_code)
                return -EBADMSG;

        st = (PidStat) {
                .parent = (pid_t) strtol(parent, NULL, 10),
                .state = *s,
                .start_time = strtoull(start_time, NULL, 10),
        };
        st.exiting = st.state == 'Z' || st.state == 'X' || (strtoul(flags, NULL, 10) & PF_EXITING);
        if (st.state == 'Z')
                st.exit_code = (int) strtol(exit_code, NULL, 10);

        *ret = st;
        return 0;
}

int pid_read_stat(pid_t pid, PidStat *ret) {
        char line[4096], path[64];
        ssize_t n;

        if (pid <= 0)
                return -ESRCH;

        (void) snprintf(path, sizeof(path), "/proc/%d/stat", pid);
        n = file_read_record(AT_FDCWD, path, line, sizeof(line));
        return n < 0 ? proc_errno((int) -n) : stat_parse(line, ret);
}

int pid_open(pid_t pid, uint64_t start_time) {
        _cleanup_(safe_closep) int fd = -EBADF;
        PidStat st;
        int r;

        if (pid <= 0)
                return -ESRCH;

        fd = pidfd_open(pid, 0);
        if (fd < 0) {
                /* The number may be a thread's by now: the process that had it is gone as well. */
                return errno == EINVAL || errno == ENOENT ? -ESRCH : -errno;
        }
        if (start_time == 0)
                return TAKE_FD(fd);

        /* Now the descriptor stands for one process for good. If it is not the one that is meant, then that one
         * has died before, and whoever has its number started later. */
        r = pid_read_stat(pid, &st);
        if (r < 0)
                return r;
        if (st.start_time != start_time)
                return -ESRCH;
        return TAKE_FD(fd);
}

/* --- control group ---------------------------------------------------------------------------------------------- */

int pid_read_cgroup(pid_t pid, char **ret) {
        _cleanup_(cgroup_membership_done) CgroupMembership its = {};
        _cleanup_(cgroup_view_done) CgroupView view = {};
        int r;

        r = cgroup_membership_read(pid, &its);
        if (r >= 0)
                r = cgroup_view_open(&view, getpid());
        return r < 0 ? r : cgroup_get_path(&its, &view, ret);
}

/* --- watching --------------------------------------------------------------------------------------------------- */

struct PidWatcher {
        sd_event *event;
        int64_t priority;
        FdWatchSet *pidfds;
};

/* One for each process that was taken back after a restart. */
struct PidWatch {
        FdWatch pidfd; /* which is ours */
        PidWatcher *watcher;
        uint64_t start_time;
        sd_event_source *patience; /* while it is a zombie */
        PidWatchExited exited;
        void *userdata;
        uint64_t when_usec; /* when we saw that it is dead; 0: not yet */
        pid_t pid;
        int zombie_status; /* what the zombie said of itself, or -1 */
};

int pidfd_read_exit(int pidfd, int *ret_wait_status) {
        PidfdInfo info = { .mask = PIDFD_INFO_MASK_EXIT };

        /* Kernels that do not know the request, or not yet the exit, differ in their errors. They all mean the
         * same to us. */
        if (ioctl(pidfd, PIDFD_IOCTL_GET_INFO, &info) < 0)
                return -ENODATA;
        if (!(info.mask & PIDFD_INFO_MASK_EXIT))
                return -ENODATA;

        *ret_wait_status = info.exit_code;
        return 0;
}

/* The kernel shows an exit code of 0 to those who may not know it. The same right is asked for behind the link of
 * the working directory, and there it says so. */
static bool pid_may_inspect(pid_t pid) {
        char path[64], target[1];

        (void) snprintf(path, sizeof(path), "/proc/%d/cwd", pid);
        return readlink(path, target, sizeof(target)) >= 0 || (errno != EACCES && errno != EPERM);
}

/* 1: it is a zombie, and its status in watch->zombie_status (which may still be unknown). 0: it lives, or nobody
 * knows. -ESRCH: there is no such process any more. */
static int pid_watch_look(PidWatch *watch) {
        PidStat st;
        int r;

        r = pid_read_stat(watch->pid, &st);
        if (r < 0)
                return r;
        if (st.start_time != watch->start_time)
                return -ESRCH;
        if (st.state != 'Z')
                return 0;

        if (st.exit_code != 0 || pid_may_inspect(watch->pid))
                watch->zombie_status = st.exit_code;
        return 1;
}

/* Calls exited(), which may free the watch. What the kernel says now counts most: it may not have known a moment
 * ago. */
static void pid_watch_finish(PidWatch *watch) {
        int wait_status = watch->zombie_status;

        (void) pidfd_read_exit(watch->pidfd.fd, &wait_status);
        fd_watch_end(&watch->pidfd);
        watch->patience = sd_event_source_disable_unref(watch->patience);
        watch->exited(watch->userdata, wait_status, watch->when_usec);
}

static int pid_watch_on_patience(sd_event_source *source, uint64_t usec, void *userdata);

static int pid_watch_arm(PidWatch *watch) {
        int r;

        watch->patience = sd_event_source_disable_unref(watch->patience);
        r = sd_event_add_time_relative(watch->watcher->event, &watch->patience, CLOCK_MONOTONIC, ZOMBIE_PATIENCE_USEC,
                                       10 * USEC_PER_MSEC, pid_watch_on_patience, watch);
        if (r < 0)
                return r;

        (void) sd_event_source_set_priority(watch->patience, watch->watcher->priority);
        (void) sd_event_source_set_description(watch->patience, "pid-watch-patience");
        return 0;
}

/* Dead, but not reaped: gives its parent some time. Without memory for that it is over now. */
static void pid_watch_wait(PidWatch *watch) {
        if (pid_watch_arm(watch) < 0)
                pid_watch_finish(watch);
}

static void pid_watch_on_ready(void *owner, uint32_t revents) {
        PidWatch *watch = owner;

        if (watch->when_usec == 0)
                watch->when_usec = clock_get_realtime();

        if ((revents & (EPOLLHUP | EPOLLERR)) || pid_watch_look(watch) == -ESRCH) {
                pid_watch_finish(watch);
                return;
        }

        /* It stays readable from now on, so no more of that; the hang-up is reported unasked. */
        fd_watch_set_events(&watch->pidfd, 0);
        pid_watch_wait(watch);
}

static int pid_watch_on_patience(sd_event_source *source, uint64_t usec, void *userdata) {
        PidWatch *watch = userdata;
        int r;

        /* Gone without a hang-up, as with kernels that do not report it on a pidfd; or a parent that takes its
         * time. */
        r = pid_watch_look(watch);
        if (r == -ESRCH || (r > 0 && watch->zombie_status >= 0))
                pid_watch_finish(watch);
        else
                pid_watch_wait(watch);
        return 0;
}

int pid_watcher_new(PidWatcher **ret, sd_event *event, int64_t priority) {
        _cleanup_(pid_watcher_freep) PidWatcher *watcher = NULL;
        int r;

        watcher = calloc(1, sizeof(*watcher));
        if (!watcher)
                return -ENOMEM;

        watcher->event = sd_event_ref(event);
        watcher->priority = priority;
        r = fd_watch_set_new(&watcher->pidfds, event, priority, pid_watch_on_ready);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(watcher);
        return 0;
}

PidWatcher *pid_watcher_free(PidWatcher *watcher) {
        if (!watcher)
                return NULL;

        (void) fd_watch_set_free(watcher->pidfds);
        sd_event_unref(watcher->event);
        return mfree(watcher);
}

int pid_watch_new(PidWatch **ret, PidWatcher *watcher, pid_t pid, uint64_t start_time, PidWatchExited exited,
                  void *userdata) {
        _cleanup_(safe_closep) int fd = -EBADF;
        PidWatch *watch;
        PidStat st;
        int r;

        fd = pid_open(pid, start_time);
        if (fd < 0)
                return fd;

        if (start_time == 0) {
                r = pid_read_stat(pid, &st);
                if (r < 0)
                        return r;
                start_time = st.start_time;
        }

        watch = malloc(sizeof(*watch));
        if (!watch)
                return -ENOMEM;

        *watch = (PidWatch) {
                .watcher = watcher,
                .pid = pid,
                .start_time = start_time,
                .exited = exited,
                .userdata = userdata,
                .zombie_status = -1,
        };
        r = fd_watch_begin(&watch->pidfd, watcher->pidfds, fd, EPOLLIN, watch);
        if (r < 0) {
                free(watch);
                return r;
        }

        TAKE_FD(fd);
        *ret = watch;
        return 0;
}

PidWatch *pid_watch_free(PidWatch *watch) {
        if (!watch)
                return NULL;

        fd_watch_end(&watch->pidfd);
        sd_event_source_disable_unref(watch->patience);
        safe_close(watch->pidfd.fd);
        return mfree(watch);
}

int pid_watch_get_fd(const PidWatch *watch) {
        return watch->pidfd.fd;
}
