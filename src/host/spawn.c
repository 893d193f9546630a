/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Starting a program as a child.
 *
 * vfork() spares the kernel the copy of our page tables, and lets execve()'s errno come back through a variable.
 * Its price: until execve() the child runs in our memory. So everything that allocates is done before, all signals
 * are blocked around it, and the child makes nothing but system calls.
 *
 * What vfork() does not spare is the copy of the table of descriptors, of which we have some for each container, and
 * which the child then closes one by one: with 7,000 of them that takes longer than all else. So a child that begins
 * with our own table gets a copy of no more than its first numbers. What it is to be given must be among these, and
 * is put there for the moment: into slots that have been reserved at our start, when low numbers were free. */

#include "host/spawn.h"
#include "host/child.h"
#include "util/crash-point.h"
#include "util/instrument.h"

#include <assert.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* What the service manager and the bus tell a service about itself. A runtime that believed NOTIFY_SOCKET or
 * LISTEN_FDS to be meant for it would hand them to the container. */
static const char *const private_variables[] = {
        "CACHE_DIRECTORY",
        "CONFIGURATION_DIRECTORY",
        CRASH_POINT_VARIABLE,
        CRASH_POINT_LOG_VARIABLE,
        "CREDENTIALS_DIRECTORY",
        "DBUS_STARTER_ADDRESS",
        "DBUS_STARTER_BUS_TYPE",
        "FDSTORE",
        SPAWN_TUNABLES,
        "INVOCATION_ID",
        "JOURNAL_STREAM",
        "LISTEN_FDNAMES",
        "LISTEN_FDS",
        "LISTEN_PID",
        "LISTEN_PIDFDID",
        "LOGS_DIRECTORY",
        "MAINPID",
        "MAINPIDFDID",
        "MANAGERPID",
        "MANAGERPIDFDID",
        "MEMORY_PRESSURE_WATCH",
        "MEMORY_PRESSURE_WRITE",
        "NOTIFY_SOCKET",
        "PIDFILE",
        "REMOTE_ADDR",
        "REMOTE_PORT",
        "RUNTIME_DIRECTORY",
        "STATE_DIRECTORY",
        "SYSTEMD_EXEC_PID",
        "WATCHDOG_PID",
        "WATCHDOG_USEC",
};

#define SLOTS_MAX 8
#define SLOTS_FIRST 16 /* above what programs are given */
#define CHILD_STACK_SIZE (16 * 1024)

/* Ascending. Each is /dev/null while it is not used. */
static int slots[SLOTS_MAX];
static int n_slots; /* 0: none is reserved */

typedef struct Child {
        const SpawnParameters *p;
        char *const *environment;
        int *fds; /* what becomes 0, 1, 2, ... */
        int n_fds;
        pid_t parent;
        bool reset_oom_score;
        bool shares_fds;     /* it has our own table of descriptors until it has made itself a copy */
        volatile int *error; /* written by the child, in our memory */
} Child;

/* Every program that is started pays for this once for each of our variables, so most are told by their first letter.
 */
static bool variable_is_private(const char *assignment) {
        for (size_t i = 0; i < ELEMENTSOF(private_variables); i++) {
                const char *rest = NULL;

                if (private_variables[i][0] == assignment[0])
                        rest = startswith(assignment, private_variables[i]);
                if (rest && *rest == '=')
                        return true;
        }
        return false;
}

/* An array of our own; the strings stay those of 'environ'. */
static char **environment_filter(void) {
        size_t n = 0, n_all = 0;
        char **v;

        for (char **e = environ; e && *e; e++)
                n_all++;

        v = malloc((n_all + 1) * sizeof(char *));
        if (!v)
                return NULL;

        for (size_t i = 0; i < n_all; i++)
                if (!variable_is_private(environ[i]))
                        v[n++] = environ[i];
        v[n] = NULL;
        return v;
}

/* Makes fds[i] become descriptor i. First every source that lies where another is to go moves out of the way;
 * after that no dup2() can overwrite one that is still needed. */
static int child_arrange_fds(int *fds, int n) {
        for (int i = 0; i < n; i++) {
                if (fds[i] >= n || fds[i] == i)
                        continue;

                fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, n);
                if (fds[i] < 0)
                        return -errno;
        }

        for (int i = 0; i < n; i++)
                if (fds[i] == i) {
                        /* dup2() onto itself would leave the close-on-exec flag. */
                        if (fcntl(i, F_SETFD, 0) < 0)
                                return -errno;
                } else if (dup2(fds[i], i) < 0)
                        return -errno;

        if (close_range((unsigned) n, ~0U, 0) < 0)
                return -errno;
        return 0;
}

/* Set once, at the start: what programs are given, where we have raised our own. */
static struct rlimit nofile;
static bool nofile_is_set;

void spawn_set_nofile(const struct rlimit *limit) {
        nofile = *limit;
        nofile_is_set = true;
}

bool spawn_get_nofile(struct rlimit *ret) {
        if (nofile_is_set)
                *ret = nofile;
        return nofile_is_set;
}

/* A service that is to be the last to go when memory runs short is given a negative score, and children inherit it.
 * What protects us is not for containers: one without a score of its own would be protected before all else. */
static bool oom_score_is_negative(void) {
        static int negative = -1;
        char text[16] = "";
        int fd;

        if (negative >= 0)
                return negative;

        fd = open("/proc/self/oom_score_adj", O_RDONLY | O_CLOEXEC);
        negative = fd >= 0 && read(fd, text, sizeof(text) - 1) > 0 && text[0] == '-';
        safe_close(fd);
        return negative;
}

static void child_reset_oom_score(void) {
        int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

        if (fd < 0)
                return;
        (void) !write(fd, "0", 1);
        (void) close(fd);
}

static int child_set_up(const Child *c) {
        sigset_t none;
        int r;

        /* First of all, since the table is ours up to here. */
        if (c->shares_fds && close_range((unsigned) slots[SLOTS_MAX - 1] + 1, ~0U, CLOSE_RANGE_UNSHARE) < 0)
                return -errno;

        child_reset_signals();
        if (c->reset_oom_score)
                child_reset_oom_score();

        if (setpgid(0, 0) < 0)
                return -errno;

        if (!c->p->outlives_us) {
                /* If our parent died before the prctl(), no signal will come. */
                if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
                        return -errno;
                if (getppid() != c->parent)
                        return -ESRCH;
        }

        r = child_arrange_fds(c->fds, c->n_fds);
        if (r < 0)
                return r;

        if (c->p->directory && chdir(c->p->directory) < 0)
                return -errno;

        /* After the descriptors: those of ours may have numbers beyond it. */
        if (nofile_is_set && setrlimit(RLIMIT_NOFILE, &nofile) < 0)
                return -errno;

        (void) sigemptyset(&none);
        if (sigprocmask(SIG_SETMASK, &none, NULL) < 0)
                return -errno;
        return 0;
}

/* Not inlined, so that no variable of the caller is kept in a register that the child changes. */
static _noreturn_ __attribute__((noinline)) void child_run(const Child *c) {
        int r;

        r = child_set_up(c);
        if (r >= 0) {
                (void) execve(c->p->program, c->p->argv, c->environment);
                r = -errno;
        }

        *c->error = r;
        _exit(127);
}

int spawn_reserve(void) {
        _cleanup_(safe_closep) int null = -EBADF;

        /* valgrind knows no such clone(), and the sanitizers no such stack. */
        if (HAVE_SANITIZER || is_under_valgrind() || n_slots > 0)
                return 0;

        null = open("/dev/null", O_RDWR | O_CLOEXEC | O_NOCTTY);
        if (null < 0)
                return -errno;

        for (unsigned n = 0; n < SLOTS_MAX; n++) {
                slots[n] = fcntl(null, F_DUPFD_CLOEXEC, n > 0 ? slots[n - 1] + 1 : SLOTS_FIRST);
                if (slots[n] < 0) {
                        int r = -errno;

                        for (; n > 0; n--)
                                slots[n - 1] = safe_close(slots[n - 1]);
                        return r;
                }
        }
        n_slots = SLOTS_MAX;
        return 0;
}

static int child_main(void *userdata) {
        child_run(userdata);
}

/* As vfork() and child_run(), but with a table of descriptors of its own that is as small as can be. */
static pid_t child_clone(Child *c) {
        _Alignas(16) char stack[CHILD_STACK_SIZE];
        int fds[SLOTS_MAX], n, error = 0;
        pid_t pid = -1;

        for (n = 0; n < c->n_fds && error == 0; n++) {
                fds[n] = slots[n];
                if (dup3(c->fds[n], slots[n], O_CLOEXEC) < 0)
                        error = errno;
        }

        if (error == 0) {
                c->fds = fds;
                c->shares_fds = true;
                pid = clone(child_main, stack + sizeof(stack), CLONE_VM | CLONE_VFORK | CLONE_FILES | SIGCHLD, c);
                error = errno;
        }

        /* The last slot is never used, and so it is /dev/null. What was in the others is not to be kept open. */
        while (n-- > 0)
                (void) dup3(slots[SLOTS_MAX - 1], slots[n], O_CLOEXEC);

        errno = error;
        return pid;
}

static int spawn_child(Child *c, pid_t *ret) {
        volatile int error = 0;
        sigset_t all, before;
        pid_t pid;
        int r;

        c->error = &error;

        (void) sigfillset(&all);
        r = pthread_sigmask(SIG_SETMASK, &all, &before);
        if (r > 0)
                return -r;

        if (c->n_fds < n_slots)
                pid = child_clone(c);
        else {
                pid = vfork();
                if (pid == 0)
                        child_run(c);
        }

        r = pid < 0 ? -errno : 0;
        (void) pthread_sigmask(SIG_SETMASK, &before, NULL);
        if (r < 0)
                return r;

        /* Where vfork() is a plain fork() (valgrind), a failure shows as exit code 127 only. Elsewhere the child is
         * gone already, and nobody has been told of it: ours to reap, which does not block. */
        if (error < 0) {
                while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
                        ;
                return error;
        }

        *ret = pid;
        return 0;
}

int spawn(const SpawnParameters *p, pid_t *ret) {
        const size_t n_stdio = ELEMENTSOF(p->stdio), n = n_stdio + p->n_fds;
        _cleanup_(freep) char **environment = NULL;
        _cleanup_(safe_closep) int null = -EBADF;
        _cleanup_(freep) int *fds = NULL;
        Child c;

        assert(p->program && p->argv && p->argv[0]);

        if (!p->environment) {
                environment = environment_filter();
                if (!environment)
                        return -ENOMEM;
        }

        fds = calloc(n, sizeof(int));
        if (!fds)
                return -ENOMEM;

        for (size_t i = 0; i < n; i++) {
                fds[i] = i < n_stdio ? p->stdio[i] : p->fds[i - n_stdio];
                if (fds[i] >= 0)
                        continue;

                /* Read-write for all: a program that writes to its stdin, as a terminal's child may, must not be told
                 * EBADF. */
                if (null < 0) {
                        null = open("/dev/null", O_RDWR | O_CLOEXEC | O_NOCTTY);
                        if (null < 0)
                                return -errno;
                }
                fds[i] = null;
        }

        c = (Child) {
                .p = p,
                .environment = p->environment ?: environment,
                .fds = fds,
                .n_fds = (int) n,
                .parent = getpid(),
                .reset_oom_score = oom_score_is_negative(),
        };
        return spawn_child(&c, ret);
}

/* -ENOENT also for a folder that we may not search, and for what is no regular file: neither hides the program in
 * the next one. */
static int program_check(const char *path) {
        struct stat st;

        if (stat(path, &st) < 0)
                return -ENOENT;
        if (!S_ISREG(st.st_mode))
                return -ENOENT;
        if (faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) < 0)
                return -EACCES;
        return 0;
}

static int program_find_in(const char *folders, const char *command, char **ret) {
        int result = -ENOENT, r;

        for (const char *f = folders, *end;; f = end + 1) {
                _cleanup_(freep) char *path = NULL;

                end = strchrnul(f, ':');

                /* An empty or relative entry means our working directory, which is nobody's choice. */
                if (*f == '/') {
                        if (asprintf(&path, "%.*s/%s", (int) (end - f), f, command) < 0) {
                                path = NULL;
                                return -ENOMEM;
                        }

                        r = program_check(path);
                        if (r >= 0) {
                                *ret = TAKE_PTR(path);
                                return 0;
                        }
                        if (r == -EACCES)
                                result = r;
                }

                if (!*end)
                        return result;
        }
}

int program_find(const char *command, char **ret) {
        char standard[256];
        const char *folders;
        char *path;

        if (command[0] == '/') {
                path = strdup(command);
                if (!path)
                        return -ENOMEM;
                *ret = path;
                return 0;
        }
        if (strchr(command, '/'))
                return -EINVAL;
        if (isempty(command))
                return -ENOENT;

        folders = getenv("PATH");
        if (!folders) {
                size_t n = confstr(_CS_PATH, standard, sizeof(standard));

                folders = n > 0 && n <= sizeof(standard) ? standard : "/bin:/usr/bin";
        }
        return program_find_in(folders, command, ret);
}

#define DELETED " (deleted)" /* what the kernel says behind the path of a file that is no longer there */

int program_get_own(char **ret) {
        char path[PATH_MAX], *copy;
        ssize_t n;

        n = readlink("/proc/self/exe", path, sizeof(path) - 1);
        if (n < 0)
                return -errno;
        path[n] = 0;
        if (n > (ssize_t) strlen(DELETED) && streq(path + n - strlen(DELETED), DELETED))
                path[n - (ssize_t) strlen(DELETED)] = 0;

        copy = strdup(path);
        if (!copy)
                return -ENOMEM;
        *ret = copy;
        return 0;
}
