/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The figures of a container's cgroup, v1 or v2, and who is in it. */

#include "host/cgroup-stats.h"

#include "host/cgroup-view.h"
#include "util/file.h"
#include "util/text.h"

#include <dirent.h>
#include <fcntl.h>

/* io.stat has a line for each device, cgroup.procs one for each process, of which there can be 2^22. */
#define ATTRIBUTE_MAX (64 * 1024 * 1024)

/* A container that is allowed to can make cgroups below its own. They are walked in the event loop, which a few hundred
 * hold for some milliseconds. */
#define CGROUPS_MAX 256
#define DEPTH_MAX 64

/* --- figures ---------------------------------------------------------------------------------------------------- */

static void stats_set(CgroupStats *stats, CgroupStat which, uint64_t value) {
        if (stats->known[which])
                return;
        stats->values[which] = value;
        stats->known[which] = true;
}

static int attribute_read(int dir_fd, const char *name, char **ret) {
        _cleanup_(safe_closep) int fd = -EBADF;

        /* The kernel has made these names: there is nothing to be led astray by. */
        fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        return file_read_fd(fd, ATTRIBUTE_MAX, ret, NULL);
}

/* A file that holds one number, or "max". */
static int attribute_read_number(int dir_fd, const char *name, uint64_t *ret) {
        _cleanup_(freep) char *text = NULL;
        int r;

        r = attribute_read(dir_fd, name, &text);
        if (r < 0)
                return r;

        text[strcspn(text, "\n")] = '\0';
        if (streq(text, "max")) {
                *ret = UINT64_MAX;
                return 0;
        }
        return parse_uint64(text, ret);
}

/* What cannot be read is not offered: of older kernels some files are missing, and the cgroup may go away at any
 * moment. */
static void stats_add_number(CgroupStats *stats, CgroupStat which, int dir_fd, const char *name) {
        uint64_t value = 0;

        if (attribute_read_number(dir_fd, name, &value) >= 0)
                stats_set(stats, which, value);
}

static void stats_add_keyed(CgroupStats *stats, CgroupStat which, const char *text, const char *key,
                            uint64_t multiplier) {
        uint64_t value = 0;

        if (cgroup_get_keyed(text, key, &value) >= 0 && !__builtin_mul_overflow(value, multiplier, &value))
                stats_set(stats, which, value);
}

/* cpuacct.stat counts in the unit of times(2). */
static void stats_add_cpuacct(CgroupStats *stats, int dir_fd) {
        uint64_t tick = USEC_PER_SEC / (uint64_t) sysconf(_SC_CLK_TCK), nsec = 0;
        _cleanup_(freep) char *text = NULL;

        if (attribute_read_number(dir_fd, "cpuacct.usage", &nsec) >= 0)
                stats_set(stats, CGROUP_STAT_CPU_USAGE_USEC, nsec / NSEC_PER_USEC);

        if (attribute_read(dir_fd, "cpuacct.stat", &text) < 0)
                return;
        stats_add_keyed(stats, CGROUP_STAT_CPU_USER_USEC, text, "user", tick);
        stats_add_keyed(stats, CGROUP_STAT_CPU_SYSTEM_USEC, text, "system", tick);
}

static void stats_add_memory(CgroupStats *stats, int dir_fd) {
        uint64_t page = (uint64_t) sysconf(_SC_PAGESIZE), limit = 0;

        stats_add_number(stats, CGROUP_STAT_MEMORY_CURRENT, dir_fd, "memory.usage_in_bytes");
        stats_add_number(stats, CGROUP_STAT_MEMORY_PEAK, dir_fd, "memory.max_usage_in_bytes");

        /* Without a limit it is the largest one that there can be: as many whole pages as fit into a long. */
        if (attribute_read_number(dir_fd, "memory.limit_in_bytes", &limit) >= 0)
                stats_set(stats, CGROUP_STAT_MEMORY_MAX, limit >= INT64_MAX / page * page ? UINT64_MAX : limit);
}

static void stats_add_pids(CgroupStats *stats, int dir_fd) {
        stats_add_number(stats, CGROUP_STAT_PIDS_CURRENT, dir_fd, "pids.current");
        stats_add_number(stats, CGROUP_STAT_PIDS_MAX, dir_fd, "pids.max");
}

/* The sum over all devices of the numbers behind a word, "Read " or "rbytes=", which begins the text or stands behind
 * a space. -EBADMSG when there is something else behind one. */
static int sum_of_devices(const char *text, const char *word, uint64_t *ret) {
        uint64_t sum = 0;

        for (const char *p = text; (p = strstr(p, word));) {
                bool is_word = p == text || p[-1] == ' ';
                char number[32];
                uint64_t value;
                size_t n;

                p += strlen(word);
                if (!is_word)
                        continue;

                n = strcspn(p, " \n");
                if (n >= sizeof(number))
                        return -EBADMSG;
                *(char *) mempcpy(number, p, n) = '\0';
                if (parse_uint64(number, &value) < 0 || __builtin_add_overflow(sum, value, &sum))
                        return -EBADMSG;
        }
        *ret = sum;
        return 0;
}

static void stats_add_devices(CgroupStats *stats, CgroupStat which, const char *text, const char *word) {
        uint64_t sum = 0;

        if (sum_of_devices(text, word, &sum) >= 0)
                stats_set(stats, which, sum);
}

/* Only the recursive file counts what cgroups below have done; older kernels do not have it. */
static void stats_add_blkio(CgroupStats *stats, int dir_fd) {
        _cleanup_(freep) char *text = NULL;

        if (attribute_read(dir_fd, "blkio.throttle.io_service_bytes_recursive", &text) < 0 &&
            attribute_read(dir_fd, "blkio.throttle.io_service_bytes", &text) < 0)
                return;
        stats_add_devices(stats, CGROUP_STAT_IO_READ_BYTES, text, "Read ");
        stats_add_devices(stats, CGROUP_STAT_IO_WRITE_BYTES, text, "Write ");
}

static void stats_add_unified(CgroupStats *stats, int dir_fd) {
        _cleanup_(freep) char *cpu = NULL, *io = NULL;

        if (attribute_read(dir_fd, "cpu.stat", &cpu) >= 0) {
                stats_add_keyed(stats, CGROUP_STAT_CPU_USAGE_USEC, cpu, "usage_usec", 1);
                stats_add_keyed(stats, CGROUP_STAT_CPU_USER_USEC, cpu, "user_usec", 1);
                stats_add_keyed(stats, CGROUP_STAT_CPU_SYSTEM_USEC, cpu, "system_usec", 1);
        }

        stats_add_number(stats, CGROUP_STAT_MEMORY_CURRENT, dir_fd, "memory.current");
        stats_add_number(stats, CGROUP_STAT_MEMORY_PEAK, dir_fd, "memory.peak");
        stats_add_number(stats, CGROUP_STAT_MEMORY_MAX, dir_fd, "memory.max");
        stats_add_pids(stats, dir_fd);

        if (attribute_read(dir_fd, "io.stat", &io) >= 0) {
                stats_add_devices(stats, CGROUP_STAT_IO_READ_BYTES, io, "rbytes=");
                stats_add_devices(stats, CGROUP_STAT_IO_WRITE_BYTES, io, "wbytes=");
        }
}

/* The unified hierarchy comes last: where a controller is in one of v1, that is where a container's figures are. */
static const struct {
        const char *controller;
        void (*add)(CgroupStats *stats, int dir_fd);
} controller_table[] = {
        { "cpuacct", stats_add_cpuacct },
        { "memory", stats_add_memory },
        { "pids", stats_add_pids },
        { "blkio", stats_add_blkio },
        { "", stats_add_unified },
};

void cgroup_stats_add(CgroupStats *stats, const char *controller, int dir_fd) {
        for (size_t i = 0; i < ELEMENTSOF(controller_table); i++)
                if (streq(controller_table[i].controller, controller))
                        controller_table[i].add(stats, dir_fd);
}

/* The directory of a process's cgroup; -ENOENT when it is none of its own, or has gone. */
static int directory_open_of(const CgroupMembership *its, CgroupView *view, const char *controller,
                             const char *control_group) {
        _cleanup_(freep) char *directory = NULL;
        int fd, r;

        r = cgroup_get_directory_of(its, view, controller, control_group, &directory);
        if (r < 0)
                return r;

        fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

int cgroup_read_stats(pid_t pid, const char *control_group, CgroupStats *ret) {
        _cleanup_(cgroup_membership_done) CgroupMembership its = {};
        _cleanup_(cgroup_view_done) CgroupView view = {};
        CgroupStats stats = {};
        int r;

        r = cgroup_membership_read(pid, &its);
        if (r >= 0)
                r = cgroup_view_open(&view, getpid());
        if (r < 0)
                return r;

        for (size_t i = 0; i < ELEMENTSOF(controller_table); i++) {
                _cleanup_(safe_closep) int fd = -EBADF;

                fd = directory_open_of(&its, &view, controller_table[i].controller, control_group);
                if (fd == -ENOENT)
                        continue;
                if (fd < 0)
                        return fd;
                controller_table[i].add(&stats, fd);
        }

        *ret = stats;
        return 0;
}

/* --- who is in it ----------------------------------------------------------------------------------------------- */

typedef struct PidList {
        pid_t *pids;
        size_t n_pids, n_allocated;
        size_t n_cgroups;
} PidList;

static void pid_list_done(PidList *l) {
        free(l->pids);
}

static int pid_list_add(PidList *l, pid_t pid) {
        if (l->n_pids == l->n_allocated) {
                size_t n = l->n_allocated > 0 ? l->n_allocated * 2 : 16;
                pid_t *larger = reallocarray(l->pids, n, sizeof(*larger));

                if (!larger)
                        return -ENOMEM;
                l->pids = larger;
                l->n_allocated = n;
        }
        l->pids[l->n_pids++] = pid;
        return 0;
}

static int pid_list_add_of(PidList *l, int dir_fd) {
        _cleanup_(freep) char *text = NULL;
        char *saved = NULL;
        int r;

        /* A cgroup that holds threads only has no list: their processes are in that of a cgroup above. And one that
         * has just been removed had nobody in it. */
        r = attribute_read(dir_fd, "cgroup.procs", &text);
        if (r == -EOPNOTSUPP || r == -ENODEV || r == -ENOENT)
                return 0;
        if (r < 0)
                return r;

        for (const char *line = strtok_r(text, "\n", &saved); line; line = strtok_r(NULL, "\n", &saved)) {
                uint64_t pid;

                r = parse_uint64(line, &pid);
                if (r < 0 || pid > INT32_MAX)
                        return -EBADMSG;
                if (pid == 0) /* not of our pid namespace */
                        continue;
                r = pid_list_add(l, (pid_t) pid);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int pid_list_add_below(PidList *l, int dir_fd, unsigned depth);

static int pid_list_add_child(PidList *l, int parent_fd, const char *name, unsigned depth) {
        _cleanup_(safe_closep) int fd = -EBADF;

        fd = openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return errno == ENOENT || errno == ENODEV || errno == ENOTDIR ? 0 : -errno;
        return pid_list_add_below(l, fd, depth);
}

static void closedirp(DIR **d) {
        if (*d)
                (void) closedir(*d);
}

static int pid_list_add_below(PidList *l, int dir_fd, unsigned depth) {
        _cleanup_(closedirp) DIR *dir = NULL;
        int copy, r;

        if (depth > DEPTH_MAX || ++l->n_cgroups > CGROUPS_MAX)
                return -E2BIG;

        r = pid_list_add_of(l, dir_fd);
        if (r < 0)
                return r;

        copy = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (copy < 0)
                return errno == ENOENT || errno == ENODEV ? 0 : -errno;
        dir = fdopendir(copy);
        if (!dir) {
                (void) safe_close(copy);
                return -ENOMEM;
        }

        for (struct dirent *e; (e = readdir(dir));) {
                if (streq(e->d_name, ".") || streq(e->d_name, "..") ||
                    (e->d_type != DT_DIR && e->d_type != DT_UNKNOWN))
                        continue;
                r = pid_list_add_child(l, dir_fd, e->d_name, depth + 1);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int pid_compare(const void *a, const void *b) {
        pid_t x = *(const pid_t *) a, y = *(const pid_t *) b;

        return (x > y) - (x < y);
}

int cgroup_list_pids_in(int dir_fd, pid_t **ret, size_t *ret_n) {
        _cleanup_(pid_list_done) PidList l = {};
        size_t n = 0;
        int r;

        r = pid_list_add_below(&l, dir_fd, 0);
        if (r < 0)
                return r;

        /* One that is moved while we look can be met twice. */
        if (l.n_pids > 0)
                qsort(l.pids, l.n_pids, sizeof(*l.pids), pid_compare);
        for (size_t i = 0; i < l.n_pids; i++)
                if (n == 0 || l.pids[n - 1] != l.pids[i])
                        l.pids[n++] = l.pids[i];

        *ret = TAKE_PTR(l.pids);
        *ret_n = n;
        return 0;
}

int cgroup_list_pids(pid_t pid, const char *control_group, pid_t **ret, size_t *ret_n) {
        _cleanup_(cgroup_membership_done) CgroupMembership its = {};
        _cleanup_(cgroup_view_done) CgroupView view = {};
        _cleanup_(safe_closep) int fd = -EBADF;
        int r;

        r = cgroup_membership_read(pid, &its);
        if (r >= 0)
                r = cgroup_view_open(&view, getpid());
        if (r < 0)
                return r;

        fd = directory_open_of(&its, &view, "", control_group);
        for (size_t i = 0; i < its.n_entries && fd == -ENOENT; i++) {
                const char *controllers = its.entries[i].controllers;
                _cleanup_(freep) char *first = strndup(controllers, strcspn(controllers, ","));

                if (!first)
                        return -ENOMEM;
                fd = directory_open_of(&its, &view, first, control_group);
        }
        if (fd == -ENOENT)
                return -ENODATA;
        if (fd < 0)
                return fd;
        return cgroup_list_pids_in(fd, ret, ret_n);
}
