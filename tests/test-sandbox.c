/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What children in a sandbox cannot do. What they can do is what their work takes, and the business of test-tree and
 * test-mounts, whose children are in it as well. */

#include "world.h"

#include "host/child.h"
#include "host/sandbox.h"
#include "util/instrument.h"

#include <linux/capability.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>

/* --- vocabulary ------------------------------------------------------------------------------------------------- */

#define SURVIVED 77 /* the exit code of a child that was not killed for what it did */

static void needs_filter(void) {
        uint32_t action = 0x80000000U; /* SECCOMP_RET_KILL_PROCESS */

        if (HAVE_SANITIZER || is_under_valgrind()) {
                print_message("the tool that watches makes system calls of its own\n");
                skip();
        }
        if (syscall(SYS_seccomp, 2 /* SECCOMP_GET_ACTION_AVAIL */, 0, &action) < 0) {
                print_message("this kernel does not filter system calls\n");
                skip();
        }
}

static void needs_root(void) {
        if (geteuid() != 0) {
                print_message("needs root\n");
                skip();
        }
}

/* Forks a child that is prepared, and sandboxed, as those of the daemon; it keeps 'fd' as 3. */
static pid_t given_sandboxed(SandboxKind kind, int fd, void (*then)(void *), void *argument) {
        pid_t parent = getpid(), pid = child_fork();

        assert_true(pid >= 0);
        if (pid == 0) {
                if (child_prepare(parent, "sandboxed", fd) < 0 || sandbox_enter(kind) < 0)
                        _exit(1);
                then(argument);
                _exit(SURVIVED);
        }
        return pid;
}

static int when_over(pid_t pid) {
        int status;

        assert_int_equal(waitpid(pid, &status, 0), pid);
        return status;
}

/* --- what is not for them --------------------------------------------------------------------------------------- */

static void do_execve(void) {
        char *const argv[] = { (char *) "true", NULL };

        (void) execve("/bin/true", argv, NULL);
}

static void do_execveat(void) {
        char *const argv[] = { (char *) "true", NULL };

        (void) syscall(SYS_execveat, -1, "/bin/true", argv, NULL, 0);
}

static void do_fork(void) {
        (void) !fork();
}

static void do_socket(void) {
        (void) socket(AF_UNIX, SOCK_STREAM, 0);
}

static void do_inet_socket(void) {
        (void) socket(AF_INET, SOCK_DGRAM, 0);
}

static void do_ptrace(void) {
        (void) ptrace(PTRACE_ATTACH, getppid(), NULL, NULL);
}

static void do_read_memory(void) {
        (void) syscall(SYS_process_vm_readv, getppid(), NULL, 0, NULL, 0, 0);
}

static void do_kill(void) {
        (void) syscall(SYS_kill, 0, 0);
}

static void do_signal_by_pidfd(void) {
        (void) syscall(SYS_pidfd_send_signal, 3, 0, NULL, 0);
}

static void do_open(void) {
        (void) !openat(AT_FDCWD, "/dev/null", O_RDONLY | O_CLOEXEC);
}

static void do_open_beneath(void) {
        (void) !openat(3, "file", O_RDONLY | O_CLOEXEC);
}

static void do_read(void) {
        char c;

        (void) !read(0, &c, 1);
}

static void do_write(void) {
        (void) !write(1, "x", 1);
}

static void do_write_vector(void) {
        (void) syscall(SYS_writev, 1, NULL, 0);
}

static void do_rename(void) {
        (void) renameat(3, "file", 3, "other");
}

static void do_link(void) {
        (void) linkat(3, "file", 3, "other", 0);
}

static void do_symlink(void) {
        (void) symlinkat("file", 3, "other");
}

static void do_mkdir(void) {
        (void) mkdirat(3, "folder", 0700);
}

static void do_chmod(void) {
        (void) fchmod(3, 0777);
}

static void do_chown(void) {
        (void) fchown(3, 1, 1);
}

static void do_mount(void) {
        (void) mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL);
}

static void do_umount(void) {
        (void) umount2("/proc", MNT_DETACH);
}

static void do_chdir(void) {
        (void) !chdir("/");
}

static void do_chroot(void) {
        (void) !chroot("/");
}

static void do_pivot_root(void) {
        (void) syscall(SYS_pivot_root, "/", "/");
}

static void do_unshare(void) {
        (void) unshare(CLONE_NEWNS);
}

static void do_setns(void) {
        (void) setns(3, 0);
}

static void do_setuid(void) {
        (void) syscall(SYS_setuid, 0);
}

static void do_capset(void) {
        (void) syscall(SYS_capset, NULL, NULL);
}

static void do_prctl(void) {
        (void) prctl(PR_SET_DUMPABLE, 1);
}

static void do_setrlimit(void) {
        const struct rlimit none = {};

        (void) setrlimit(RLIMIT_CORE, &none);
}

static void do_load_module(void) {
        (void) syscall(SYS_finit_module, -1, "", 0);
}

static void do_bpf(void) {
        (void) syscall(SYS_bpf, 0, NULL, 0);
}

static void do_reboot(void) {
        (void) syscall(SYS_reboot, 0, 0, 0, NULL); /* the magic numbers are wrong: in no case does anything happen */
}

static void do_io_uring(void) {
        (void) syscall(SYS_io_uring_setup, 0, NULL);
}

static void do_ioctl(void) {
        (void) ioctl(0, TIOCSTI, "x");
}

static void do_map_code(void) {
        (void) mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void do_make_code(void) {
        (void) syscall(SYS_mprotect, 4096, 4096, PROT_READ | PROT_EXEC);
}

static void do_open_by_handle(void) {
        (void) syscall(SYS_open_by_handle_at, 3, NULL, 0);
}

static void do_memfd(void) {
        (void) !memfd_create("memory", MFD_CLOEXEC);
}

#define REMOVAL (1U << SANDBOX_REMOVAL)
#define MOUNTING (1U << SANDBOX_MOUNTING)
#define BOTH (REMOVAL | MOUNTING)

static const struct {
        const char *name;
        void (*attempt)(void);
        unsigned kinds; /* those in which it is forbidden */
} attempts[] = {
        { "execve", do_execve, BOTH },
        { "execveat", do_execveat, BOTH },
        { "fork", do_fork, BOTH },
        { "socket", do_socket, BOTH },
        { "socket of the internet", do_inet_socket, BOTH },
        { "ptrace", do_ptrace, BOTH },
        { "process_vm_readv", do_read_memory, BOTH },
        { "kill", do_kill, BOTH },
        { "pidfd_send_signal", do_signal_by_pidfd, BOTH },
        { "openat", do_open, REMOVAL },
        { "openat beneath", do_open_beneath, REMOVAL },
        { "open_by_handle_at", do_open_by_handle, BOTH },
        { "read", do_read, REMOVAL },
        { "write", do_write, BOTH },
        { "writev", do_write_vector, BOTH },
        { "rename", do_rename, BOTH },
        { "link", do_link, BOTH },
        { "symlink", do_symlink, BOTH },
        { "mkdir", do_mkdir, REMOVAL },
        { "chmod", do_chmod, BOTH },
        { "chown", do_chown, BOTH },
        { "mount", do_mount, REMOVAL },
        { "umount", do_umount, REMOVAL },
        { "chdir", do_chdir, REMOVAL },
        { "chroot", do_chroot, BOTH },
        { "pivot_root", do_pivot_root, BOTH },
        { "unshare", do_unshare, BOTH },
        { "setns", do_setns, BOTH },
        { "setuid", do_setuid, BOTH },
        { "capset", do_capset, BOTH },
        { "prctl", do_prctl, BOTH },
        { "setrlimit", do_setrlimit, BOTH },
        { "finit_module", do_load_module, BOTH },
        { "bpf", do_bpf, BOTH },
        { "reboot", do_reboot, BOTH },
        { "io_uring", do_io_uring, BOTH },
        { "ioctl", do_ioctl, BOTH },
        { "mmap of code", do_map_code, BOTH },
        { "mprotect", do_make_code, BOTH },
        { "memfd_create", do_memfd, BOTH },
};

static void attempt_it(void *argument) {
        const size_t *i = argument;

        attempts[*i].attempt();
}

static void then_all_are_killed(World *world, SandboxKind kind) {
        int fd = open(world->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        bool good = true;

        for (size_t i = 0; i < ELEMENTSOF(attempts); i++) {
                int status;

                if (!(attempts[i].kinds & (1U << kind)))
                        continue;
                status = when_over(given_sandboxed(kind, fd, attempt_it, &i));
                if (sandbox_was_violated(status))
                        continue;
                print_error("%s: wait status %#x\n", attempts[i].name, (unsigned) status);
                good = false;
        }
        assert_true(good);
        assert_int_equal(close(fd), 0);
}

static void test_who_removes_is_killed_for_anything_else(void **state) {
        needs_filter();
        then_all_are_killed(*state, SANDBOX_REMOVAL);
}

static void test_who_mounts_is_killed_for_anything_else(void **state) {
        needs_filter();
        then_all_are_killed(*state, SANDBOX_MOUNTING);
}

#ifdef __x86_64__
static void call_as_32_bit_program(void *unused) {
        long result = 20; /* getpid(), which is writev() for others */

        __asm__ volatile("int $0x80" : "+a"(result) : : "memory", "r8", "r9", "r10", "r11");
}

static void test_calls_of_another_architecture_are_no_way_out(void **state) {
        World *world = *state;
        int fd, status;

        needs_filter();
        fd = open(world->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        status = when_over(given_sandboxed(SANDBOX_REMOVAL, fd, call_as_32_bit_program, NULL));
        assert_true(WIFSIGNALED(status)); /* SIGSEGV, where there are none */
        assert_int_equal(close(fd), 0);
}
#endif

/* --- who they are ----------------------------------------------------------------------------------------------- */

typedef struct Meeting {
        uint32_t arrived, go;
} Meeting;

static void meeting_attend(void *argument) {
        Meeting *m = argument;

        __atomic_store_n(&m->arrived, 1, __ATOMIC_SEQ_CST);
        while (!__atomic_load_n(&m->go, __ATOMIC_SEQ_CST))
                (void) syscall(SYS_futex, &m->go, FUTEX_WAIT, 0, NULL, NULL, 0);
}

static char *read_of(pid_t pid, const char *name) {
        char path[64], *text;
        size_t size;
        int fd;

        (void) snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        assert_true(fd >= 0);
        text = calloc(1, 65536);
        assert_non_null(text);
        size = 0;
        for (ssize_t n; (n = read(fd, text + size, 65535 - size)) > 0;)
                size += (size_t) n;
        assert_int_equal(close(fd), 0);
        return text;
}

static void then_line(const char *text, const char *begin, const char *end) {
        const char *line = strstr(text, begin);

        if (!line)
                fail_msg("no %s in %s", begin, text);
        line += strlen(begin);
        line += strspn(line, " \t");
        if (strncmp(line, end, strlen(end)) != 0 || !strchr(" \n", line[strlen(end)]))
                fail_msg("%s %.40s, not %s", begin, line, end);
}

static void then_capabilities(const char *status, uint64_t most) {
        char line[32];

        for (const char *const *name = (const char *const[]) { "CapPrm:", "CapEff:", NULL }; *name; name++) {
                uint64_t has = strtoull(strstr(status, *name) + strlen(*name), NULL, 16);

                assert_int_equal(has & ~most, 0);
                if (geteuid() == 0)
                        assert_true(has & (UINT64_C(1) << CAP_DAC_OVERRIDE));
        }
        (void) snprintf(line, sizeof(line), "%016x", 0);
        then_line(status, "CapInh:", line);
        then_line(status, "CapAmb:", line);
}

static void then_it_is_poor(World *world, SandboxKind kind, uint64_t capabilities) {
        _cleanup_(freep) char *status = NULL, *limits = NULL, *score = NULL;
        int fd = open(world->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        Meeting *m;
        pid_t pid;

        m = mmap(NULL, sizeof(*m), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        assert_true(m != MAP_FAILED);
        pid = given_sandboxed(kind, fd, meeting_attend, m);
        while (!__atomic_load_n(&m->arrived, __ATOMIC_SEQ_CST))
                (void) usleep(1000);

        status = read_of(pid, "status");
        limits = read_of(pid, "limits");
        score = read_of(pid, "oom_score_adj");

        then_line(status, "NoNewPrivs:", "1");
        if (!HAVE_SANITIZER && !is_under_valgrind())
                then_line(status, "Seccomp:", "2");
        then_capabilities(status, capabilities);
        then_line(limits, "Max core file size", "0");
        then_line(limits, "Max file size", "0");
        then_line(limits, "Max processes", "0");
        if (kind == SANDBOX_REMOVAL)
                assert_string_equal(score, "1000\n");

        __atomic_store_n(&m->go, 1, __ATOMIC_SEQ_CST);
        (void) syscall(SYS_futex, &m->go, FUTEX_WAKE, 1, NULL, NULL, 0);
        assert_int_equal(when_over(pid), SURVIVED << 8);
        assert_int_equal(munmap(m, sizeof(*m)), 0);
        assert_int_equal(close(fd), 0);
}

#define CAP(name) (UINT64_C(1) << CAP_##name)

static void test_who_removes_has_next_to_nothing(void **state) {
        then_it_is_poor(*state, SANDBOX_REMOVAL, CAP(DAC_OVERRIDE) | CAP(FOWNER));
}

static void test_who_mounts_has_nothing_to_do_with_processes_or_networks(void **state) {
        then_it_is_poor(*state, SANDBOX_MOUNTING,
                        ~(CAP(SYS_PTRACE) | CAP(KILL) | CAP(NET_ADMIN) | CAP(NET_RAW) | CAP(SYS_MODULE) |
                          CAP(SETUID) | CAP(SETGID) | CAP(SETPCAP) | CAP(SYS_CHROOT) | CAP(SYS_BOOT) | CAP(SYS_TIME) |
                          CAP(SYSLOG)));
}

/* With capabilities gone, root is somebody who owns some files. */
static void remove_theirs(void *unused) {
        _exit(syscall(SYS_unlinkat, 3, "theirs", 0) >= 0 ? 0 : errno);
}

static void test_what_belongs_to_others_can_be_removed_all_the_same(void **state) {
        World *world = *state;
        char path[PATH_MAX + 32];
        int fd, status;

        needs_root();
        (void) snprintf(path, sizeof(path), "%s/sticky", world->folder);
        assert_int_equal(mkdir(path, 0700), 0);
        fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(fd >= 0);
        assert_int_equal(close(openat(fd, "theirs", O_CREAT | O_WRONLY | O_CLOEXEC, 0)), 0);
        assert_int_equal(fchownat(fd, "theirs", 12345, 12345, 0), 0);
        assert_int_equal(fchown(fd, 12346, 12346), 0);
        assert_int_equal(fchmod(fd, 01000), 0);

        status = when_over(given_sandboxed(SANDBOX_REMOVAL, fd, remove_theirs, NULL));
        assert_int_equal(status, 0);
        assert_int_equal(close(fd), 0);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, world_begin, world_end)

int main(void) {
        const struct CMUnitTest tests[] = {
                CASE(test_who_removes_is_killed_for_anything_else),
                CASE(test_who_mounts_is_killed_for_anything_else),
#ifdef __x86_64__
                CASE(test_calls_of_another_architecture_are_no_way_out),
#endif
                CASE(test_who_removes_has_next_to_nothing),
                CASE(test_who_mounts_has_nothing_to_do_with_processes_or_networks),
                CASE(test_what_belongs_to_others_can_be_removed_all_the_same),
        };

        return cmocka_run_group_tests_name("sandbox", tests, NULL, NULL);
}
