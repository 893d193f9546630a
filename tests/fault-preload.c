/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* For LD_PRELOAD under the daemon: calls of the C library that fail when a test wants them to, and a wall clock that it
 * can set.
 *
 * $MONOSHIM_FAULT_FILE names a file that holds a Control, mapped by the test and by us. Setting Control::armed has the
 * calls of the kinds asked for counted, and the Nth fail with the errno given; Control::fired says that it did. Only
 * the process that was started with this is concerned, neither its children nor what it executes. */

#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

enum {
        KIND_OPEN = 1 << 0,   /* opening what there is */
        KIND_MAKE = 1 << 1,   /* making files and folders, writing, renaming */
        KIND_READ = 1 << 2,   /* reading, and looking at files */
        KIND_FD = 1 << 3,     /* whatever makes a descriptor */
        KIND_MEMORY = 1 << 4, /* malloc() and its kin */
        KIND_CHILD = 1 << 5,  /* new processes */
        KIND_EVENT = 1 << 6,  /* what event loops do */
};

/* Known to tests/integration/test_injected_errors.py. */
typedef struct Control {
        uint32_t armed;
        uint32_t kinds;
        int32_t error;
        uint32_t fired;
        uint64_t countdown; /* the call that brings it to 0 fails, */
        uint64_t repeat;    /* and so many after it */
        int64_t clock_offset_usec;
        char name[32]; /* what has failed last */
} Control;

static Control *control;
static pid_t owner;

static void *find(const char *name) {
        return dlsym(RTLD_NEXT, name);
}

#define REAL(name) \
        static __typeof__(&name) real; \
        if (!real) \
                real = (__typeof__(&name)) find(#name)

/* Where a failure has led to: for the test's log. */
static void on_crash(int s) {
        void *frames[64];

        control->armed = 0;
        backtrace_symbols_fd(frames, backtrace(frames, 64), STDERR_FILENO);
        (void) signal(s, SIG_DFL);
        (void) raise(s);
}

__attribute__((constructor)) static void preload_open(void) {
        const char *path = getenv("MONOSHIM_FAULT_FILE");
        void *p;
        int fd;

        fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
        (void) unsetenv("LD_PRELOAD");
        (void) unsetenv("MONOSHIM_FAULT_FILE");
        if (fd < 0)
                return;

        p = mmap(NULL, sizeof(Control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        (void) close(fd);
        if (p == MAP_FAILED)
                return;
        owner = getpid();
        control = p;
        (void) backtrace((void *[1]) { NULL }, 1); /* which loads a library the first time */
        (void) signal(SIGSEGV, on_crash);
        (void) signal(SIGABRT, on_crash);
}

static bool fails(uint32_t kinds, const char *name) {
        if (!control || !control->armed || !(control->kinds & kinds) || getpid() != owner)
                return false;
        if (control->countdown > 1) {
                control->countdown--;
                return false;
        }
        if (control->countdown == 0)
                return false;
        if (control->repeat > 0)
                control->repeat--;
        else
                control->countdown = 0;

        control->fired++;
        strncpy(control->name, name, sizeof(control->name) - 1);
        errno = control->error;
        return true;
}

/* ---- files ---- */

static uint32_t open_kinds(int flags) {
        return KIND_FD | (flags & O_CREAT ? KIND_MAKE : KIND_OPEN);
}

#define DEFINE_OPEN(name) \
        int name(const char *path, int flags, ...) { \
                mode_t mode = 0; \
                va_list args; \
                REAL(name); \
                if (flags & (O_CREAT | __O_TMPFILE)) { \
                        va_start(args, flags); \
                        mode = va_arg(args, mode_t); \
                        va_end(args); \
                } \
                return fails(open_kinds(flags), "open") ? -1 : real(path, flags, mode); \
        }

#define DEFINE_OPENAT(name) \
        int name(int dir_fd, const char *path, int flags, ...) { \
                mode_t mode = 0; \
                va_list args; \
                REAL(name); \
                if (flags & (O_CREAT | __O_TMPFILE)) { \
                        va_start(args, flags); \
                        mode = va_arg(args, mode_t); \
                        va_end(args); \
                } \
                return fails(open_kinds(flags), "openat") ? -1 : real(dir_fd, path, flags, mode); \
        }

DEFINE_OPEN(open)
DEFINE_OPEN(open64)
DEFINE_OPENAT(openat)
DEFINE_OPENAT(openat64)

/* The daemon calls openat2() this way, and what else there is no function for. */
long syscall(long number, ...) {
        long a[6];
        va_list args;
        REAL(syscall);

        va_start(args, number);
        for (int i = 0; i < 6; i++)
                a[i] = va_arg(args, long);
        va_end(args);

#ifdef SYS_openat2
        /* struct open_how begins with the flags */
        if (number == SYS_openat2 && fails(open_kinds((int) *(const uint64_t *) a[2]), "openat2"))
                return -1;
#endif
        return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

#define DEFINE(kinds, type, name, parameters, arguments) \
        type name parameters { \
                REAL(name); \
                return fails(kinds, #name) ? -1 : real arguments; \
        }

DEFINE(KIND_MAKE, int, mkdirat, (int fd, const char *path, mode_t mode), (fd, path, mode))
DEFINE(KIND_MAKE, ssize_t, write, (int fd, const void *data, size_t size), (fd, data, size))
DEFINE(KIND_MAKE, int, ftruncate, (int fd, off_t size), (fd, size))
DEFINE(KIND_MAKE, int, ftruncate64, (int fd, off64_t size), (fd, size))
DEFINE(KIND_MAKE, int, fchmod, (int fd, mode_t mode), (fd, mode))
DEFINE(KIND_MAKE, int, renameat, (int fd, const char *a, int other, const char *b), (fd, a, other, b))
DEFINE(KIND_MAKE, int, renameat2, (int fd, const char *a, int other, const char *b, unsigned flags), (fd, a, other, b, flags))
DEFINE(KIND_READ, int, fstat, (int fd, struct stat *st), (fd, st))
DEFINE(KIND_READ, int, fstat64, (int fd, struct stat64 *st), (fd, st))
DEFINE(KIND_READ, int, fstatat, (int fd, const char *path, struct stat *st, int flags), (fd, path, st, flags))
DEFINE(KIND_READ, int, fstatat64, (int fd, const char *path, struct stat64 *st, int flags), (fd, path, st, flags))
DEFINE(KIND_READ, ssize_t, pread, (int fd, void *data, size_t size, off_t offset), (fd, data, size, offset))
DEFINE(KIND_READ, ssize_t, pread64, (int fd, void *data, size_t size, off64_t offset), (fd, data, size, offset))

/* ---- descriptors ---- */

int pidfd_open(pid_t pid, unsigned flags);

DEFINE(KIND_FD, int, socket, (int domain, int type, int protocol), (domain, type, protocol))
DEFINE(KIND_FD, int, socketpair, (int domain, int type, int protocol, int fds[2]), (domain, type, protocol, fds))
DEFINE(KIND_FD, int, accept4, (int fd, struct sockaddr *a, socklen_t *size, int flags), (fd, a, size, flags))
DEFINE(KIND_FD, int, pipe2, (int fds[2], int flags), (fds, flags))
DEFINE(KIND_FD, int, memfd_create, (const char *name, unsigned flags), (name, flags))
DEFINE(KIND_FD, int, pidfd_open, (pid_t pid, unsigned flags), (pid, flags))
DEFINE(KIND_FD, int, dup, (int fd), (fd))

#define DEFINE_FCNTL(name) \
        int name(int fd, int command, ...) { \
                va_list args; \
                void *argument; \
                REAL(name); \
                va_start(args, command); \
                argument = va_arg(args, void *); \
                va_end(args); \
                if ((command == F_DUPFD || command == F_DUPFD_CLOEXEC) && fails(KIND_FD, "fcntl")) \
                        return -1; \
                return real(fd, command, argument); \
        }

DEFINE_FCNTL(fcntl)
DEFINE_FCNTL(fcntl64)

/* ---- event loops, children ---- */

DEFINE(KIND_EVENT, int, epoll_ctl, (int epoll, int op, int fd, struct epoll_event *e), (epoll, op, fd, e))
DEFINE(KIND_EVENT, int, inotify_add_watch, (int fd, const char *path, uint32_t mask), (fd, path, mask))
DEFINE(KIND_CHILD, pid_t, fork, (void), ())

/* The real one cannot be called from another function, which returns twice; a plain fork() will do. */
pid_t vfork(void) {
        return fork();
}

int clone(int (*run)(void *), void *stack, int flags, void *userdata, ...) {
        REAL(clone);
        return fails(KIND_CHILD, "clone") ? -1 : real(run, stack, flags, userdata);
}

/* ---- memory: from the time before dlsym(), which takes some itself ---- */

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);

void *malloc(size_t size) {
        return fails(KIND_MEMORY, "malloc") ? NULL : __libc_malloc(size);
}

void *calloc(size_t n, size_t size) {
        return fails(KIND_MEMORY, "calloc") ? NULL : __libc_calloc(n, size);
}

void *realloc(void *p, size_t size) {
        return fails(KIND_MEMORY, "realloc") ? NULL : __libc_realloc(p, size);
}

/* ---- the clock ---- */

int clock_gettime(clockid_t clock, struct timespec *ts) {
        int64_t usec;
        int r;
        REAL(clock_gettime);

        r = real(clock, ts);
        if (r < 0 || clock != CLOCK_REALTIME || !control || control->clock_offset_usec == 0)
                return r;

        usec = (int64_t) ts->tv_sec * 1000000 + ts->tv_nsec / 1000 + control->clock_offset_usec;
        ts->tv_sec = usec / 1000000;
        ts->tv_nsec = usec % 1000000 * 1000;
        return r;
}
