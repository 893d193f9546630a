/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Children that run code of ours. */

#include "host/child.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

pid_t child_fork(void) {
        sigset_t all, before;
        pid_t pid;
        int r;

        (void) sigfillset(&all);
        r = pthread_sigmask(SIG_SETMASK, &all, &before);
        if (r > 0)
                return -r;

        pid = fork();
        if (pid == 0)
                return 0;

        r = pid < 0 ? -errno : 0;
        (void) pthread_sigmask(SIG_SETMASK, &before, NULL);
        return r < 0 ? r : pid;
}

static int child_keep_only(int keep) {
        int fd = -EBADF, null;

        /* Out of the way of what is put in front of it. */
        if (keep >= 0) {
                fd = fcntl(keep, F_DUPFD_CLOEXEC, 3);
                if (fd < 0)
                        return -errno;
        }

        null = open("/dev/null", O_RDWR | O_CLOEXEC | O_NOCTTY);
        if (null < 0)
                return -errno;
        for (int i = 0; i < 3; i++)
                if (dup2(null, i) < 0)
                        return -errno;
        if (keep >= 0 && dup2(fd, 3) < 0)
                return -errno;
        return close_range(keep >= 0 ? 4 : 3, ~0U, 0) < 0 ? -errno : 0;
}

/* Errors of single signals are of no interest: SIGKILL and SIGSTOP cannot be set, and libc keeps two for itself. */
void child_reset_signals(void) {
        /* The kernel's own struct, all zero: SIG_DFL, no flags. libc would refuse the two signals that it keeps for
         * itself, and who was started by posix_spawn() (by make, say) has those ignored. */
        static const struct {
                void *handler;
                unsigned long flags;
                void *restorer;
                uint64_t mask;
        } standard;

        for (int s = 1; s < _NSIG; s++)
                (void) syscall(SYS_rt_sigaction, s, &standard, NULL, sizeof(standard.mask));
}

int child_prepare(pid_t parent, const char *name, int keep) {
        sigset_t none;

        child_reset_signals();
        (void) sigemptyset(&none);
        (void) sigprocmask(SIG_SETMASK, &none, NULL);

        (void) setpgid(0, 0);
        (void) prctl(PR_SET_NAME, name);
        if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
                return -errno;
        if (getppid() != parent)
                return -ECANCELED;

        return child_keep_only(keep);
}
