/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What a child that runs code of ours gives up.
 *
 * Any system call that is not in the list kills the child. An error would be kinder, but it would look like one of
 * the file system's, and would be taken for that: a directory that cannot be removed is left alone, and nobody would
 * ever know. A child that was killed is told of, and its work is tried again at the next start.
 *
 * The child stays in our mount namespace. To mount in another one would be of no use. To remove in one would be worse
 * than of no use: a directory can be removed although something is mounted on it, if that is in another namespace,
 * and the kernel then takes the mount away. What is mounted into a tree after the child has begun would no longer be
 * safe from it. */

#include "host/sandbox.h"

#include "util/instrument.h"
#include "util/log.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/loop.h>
#include <linux/openat2.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define CAP(name) (UINT64_C(1) << CAP_##name)

/* Directories belong to anybody, and may be closed to their owner, or sticky. Nothing is done about files that are
 * immutable: who has made them so meant them to stay. */
#define CAPABILITIES_REMOVAL (CAP(DAC_OVERRIDE) | CAP(FOWNER))

/* An overlay remembers who has mounted it, and does in his name, as long as it is there, whatever it does to its
 * upper layer: copies files with their owners, attributes and capabilities, makes devices. A mounter with fewer
 * capabilities would make a file system that behaves in another way. So all that have to do with files stay, and what
 * there is of the network goes, but for the low ports that some servers insist on. */
#define CAPABILITIES_MOUNTING \
        (CAP(SYS_ADMIN) | CAP(CHOWN) | CAP(DAC_OVERRIDE) | CAP(DAC_READ_SEARCH) | CAP(FOWNER) | CAP(FSETID) | \
         CAP(LINUX_IMMUTABLE) | CAP(MKNOD) | CAP(SETFCAP) | CAP(MAC_ADMIN) | CAP(MAC_OVERRIDE) | CAP(SYS_RESOURCE) | \
         CAP(SYS_RAWIO) | CAP(NET_BIND_SERVICE))

/* --- capabilities, limits, environment -------------------------------------------------------------------------- */

/* Those that could be had again by executing something need not be looked at: nothing is executed any more, and
 * no_new_privs would not give them. */
static int drop_capabilities(uint64_t keep) {
        struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};

        if (syscall(SYS_capget, &header, data) < 0)
                return -errno;
        for (size_t i = 0; i < ELEMENTSOF(data); i++) {
                data[i].permitted &= (uint32_t) (keep >> (32 * i));
                data[i].effective = data[i].permitted;
                data[i].inheritable = 0;
        }
        return syscall(SYS_capset, &header, data) < 0 ? -errno : 0;
}

static int limit(__rlimit_resource_t resource) {
        const struct rlimit none = {};

        return setrlimit(resource, &none) < 0 ? -errno : 0;
}

/* What its end would leave, and what it could write. RLIMIT_NPROC says nothing to root; the filter does. */
static int limit_resources(void) {
        int r;

        r = limit(RLIMIT_CORE);
        if (r >= 0)
                r = limit(RLIMIT_FSIZE);
        if (r >= 0)
                r = limit(RLIMIT_NPROC);
        if (r >= 0)
                r = limit(RLIMIT_MSGQUEUE);

        /* A core goes through a pipe whatever the limit is; but not the core of such a process. */
        if (r >= 0 && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
                r = -errno;
        return r;
}

/* How much it has to remember depends on what it finds. It is a pity if that does not work, and no more. */
static void volunteer_for_oom(void) {
        static const char most[] = "1000";
        int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

        if (fd >= 0)
                (void) !write(fd, most, sizeof(most) - 1);
        (void) safe_close(fd);
}

/* --- the filter ------------------------------------------------------------------------------------------------- */

/* Memory, and what every process does. */
static const int calls_of_all[] = {
        SYS_brk,   SYS_munmap, SYS_mremap, SYS_madvise, SYS_close,           SYS_fcntl,      SYS_fstat,
        SYS_lseek, SYS_exit,   SYS_futex,  SYS_getpid,  SYS_restart_syscall, SYS_exit_group, SYS_getrandom,
};

static const int calls_of_removal[] = { SYS_openat2, SYS_getdents64, SYS_unlinkat };

/* Where openat2() is missing, its work is done by hand, one name at a time. */
static const int calls_without_openat2[] = { SYS_openat, SYS_newfstatat };

static const int calls_of_mounting[] = {
        SYS_openat,     SYS_openat2,       SYS_newfstatat,    SYS_statfs,   SYS_fstatfs,  SYS_read,
        SYS_pread64,    SYS_readlinkat,    SYS_mkdirat,       SYS_unlinkat, SYS_chdir,    SYS_clock_nanosleep,
        SYS_nanosleep,  SYS_mount,         SYS_umount2,       SYS_fsopen,   SYS_fsconfig, SYS_fsmount,
        SYS_move_mount, SYS_mount_setattr, SYS_clock_gettime,
#ifdef SYS_open /* not on newer architectures */
        SYS_open,       SYS_stat,          SYS_lstat,         SYS_readlink,
#endif
};

static int allow(scmp_filter_ctx filter, const int *calls, size_t n) {
        int r = 0;

        for (size_t i = 0; i < n && r >= 0; i++)
                r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, calls[i], 0);
        return r;
}

/* Memory that is to be executed is not to be had. */
static int allow_memory(scmp_filter_ctx filter) {
        return seccomp_rule_add(filter, SCMP_ACT_ALLOW, SYS_mmap, 1, SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
}

/* fstat() of newer C libraries is this, with an empty name, which leads nowhere. The name itself cannot be looked at.
 */
static int allow_fstat(scmp_filter_ctx filter) {
        return seccomp_rule_add(filter, SCMP_ACT_ALLOW, SYS_newfstatat, 1,
                                SCMP_A3(SCMP_CMP_MASKED_EQ, AT_EMPTY_PATH, AT_EMPTY_PATH));
}

static int allow_removal(scmp_filter_ctx filter) {
        struct open_how how = {};
        int r;

        r = allow(filter, calls_of_removal, ELEMENTSOF(calls_of_removal));
        if (r < 0)
                return r;
        if (syscall(SYS_openat2, -1, "", &how, 0) < 0 && errno == ENOSYS)
                return allow(filter, calls_without_openat2, ELEMENTSOF(calls_without_openat2));
        return allow_fstat(filter);
}

static int allow_mounting(scmp_filter_ctx filter) {
        static const unsigned long requests[] = { LOOP_CTL_GET_FREE, LOOP_CONFIGURE };
        int r;

        r = allow(filter, calls_of_mounting, ELEMENTSOF(calls_of_mounting));
        for (size_t i = 0; i < ELEMENTSOF(requests) && r >= 0; i++)
                r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SYS_ioctl, 1, SCMP_A1(SCMP_CMP_EQ, requests[i], 0));
        return r;
}

static void filter_releasep(scmp_filter_ctx *filter) {
        if (*filter)
                seccomp_release(*filter);
}

static int install_filter(SandboxKind kind) {
        _cleanup_(filter_releasep) scmp_filter_ctx filter = NULL;
        int r;

        filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
        if (!filter)
                return -ENOMEM;

        /* System calls of another architecture, for 32 bits say, have other numbers. */
        r = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
        if (r < 0)
                return r;

        r = allow(filter, calls_of_all, ELEMENTSOF(calls_of_all));
        if (r >= 0)
                r = allow_memory(filter);
        if (r >= 0)
                r = kind == SANDBOX_REMOVAL ? allow_removal(filter) : allow_mounting(filter);
        if (r < 0)
                return r;
        return seccomp_load(filter);
}

/* Asked in a way that works in somebody else's sandbox, too. */
static bool filter_is_available(void) {
        uint32_t action = SECCOMP_RET_KILL_PROCESS;

        return syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) >= 0;
}

/* --- all of it -------------------------------------------------------------------------------------------------- */

void sandbox_check(void) {
        static bool checked;

        if (checked)
                return;
        checked = true;

        if (HAVE_SANITIZER || is_under_valgrind())
                log_debug("Children that remove or mount run without a filter for system calls, since the tool that "
                          "watches this process has to make some of its own.");
        else if (!filter_is_available())
                log_warning(
                        "This kernel does not filter system calls (CONFIG_SECCOMP_FILTER): children that remove or "
                        "mount do without.");
}

int sandbox_enter(SandboxKind kind) {
        bool filtered = !HAVE_SANITIZER && !is_under_valgrind();
        int r;

        /* In this order: each step takes something away that the one before has needed. */
        (void) clearenv();
        if (kind == SANDBOX_REMOVAL)
                volunteer_for_oom();

        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                return -errno;
        r = limit_resources();
        if (r < 0)
                return r;
        r = drop_capabilities(kind == SANDBOX_REMOVAL ? CAPABILITIES_REMOVAL : CAPABILITIES_MOUNTING);
        if (r < 0)
                return r;

        if (!filtered || !filter_is_available())
                return 0;
        return install_filter(kind);
}

bool sandbox_was_violated(int wait_status) {
        return WIFSIGNALED(wait_status) && WTERMSIG(wait_status) == SIGSYS;
}
