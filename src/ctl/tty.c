/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The terminal that we were called from. */

#include "ctl/tty.h"

#include <signal.h>
#include <sys/ioctl.h>
#include <termios.h>

/* Static, since exit() and a crash have to find it. */
static struct termios saved_modes;
static volatile sig_atomic_t raw_fd = -1;

bool tty_get_size(uint16_t *ret_columns, uint16_t *ret_rows) {
        struct winsize size = {};

        for (int fd = 0; fd < 3; fd++)
                if (ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 && size.ws_row > 0) {
                        *ret_columns = size.ws_col;
                        *ret_rows = size.ws_row;
                        return true;
                }
        return false;
}

/* A terminal that does not control us has no foreground that we could be out of. */
bool tty_is_ours(int fd) {
        pid_t foreground = tcgetpgrp(fd);

        return foreground < 0 || foreground == getpgrp();
}

/* At once, and not when all has been shown: a terminal that shows nothing would keep us. From the background as well,
 * where the signal that would stop us has to be kept back. */
void tty_restore(void) {
        sigset_t touching, before;

        if (raw_fd < 0)
                return;

        sigemptyset(&touching);
        sigaddset(&touching, SIGTTOU);
        (void) sigprocmask(SIG_BLOCK, &touching, &before);
        (void) tcsetattr(raw_fd, TCSANOW, &saved_modes);
        (void) sigprocmask(SIG_SETMASK, &before, NULL);
        raw_fd = -1;
}

/* The disposition is the default one again by now, so that this is the end. */
static void tty_on_crash(int sig) {
        tty_restore();
        (void) raise(sig);
}

/* Whoever catches crashes already (a sanitizer) goes on doing so. */
static void tty_watch_exits(void) {
        static const int crashes[] = { SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS };
        const struct sigaction action = { .sa_handler = tty_on_crash, .sa_flags = SA_RESETHAND };
        static bool watched;
        struct sigaction old;

        if (watched)
                return;

        watched = true;
        (void) atexit(tty_restore);
        for (size_t i = 0; i < ELEMENTSOF(crashes); i++)
                if (sigaction(crashes[i], NULL, &old) == 0 && old.sa_handler == SIG_DFL)
                        (void) sigaction(crashes[i], &action, NULL);
}

int tty_make_raw(int fd) {
        struct termios modes;

        if (raw_fd < 0) {
                if (tcgetattr(fd, &saved_modes) < 0)
                        return -errno;
                tty_watch_exits();
                raw_fd = fd;
        }

        modes = saved_modes;
        cfmakeraw(&modes);
        return tcsetattr(fd, TCSANOW, &modes) < 0 ? -errno : 0;
}
