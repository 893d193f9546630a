/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Who asks for the password that polkit wants. */

#include "ctl/agent.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <systemd/sd-login.h>
#include <unistd.h>

#define AGENT_PATH "/usr/bin/pkttyagent"
#define AGENT_READY_MSEC 5000

/* Static, since exit() has to find it. */
static pid_t agent_pid;

bool agent_may_ask(void) {
        return isatty(STDIN_FILENO);
}

/* It changes the terminal while it asks, and puts it right when it is told to end. */
static void agent_stop(void) {
        if (agent_pid <= 0)
                return;

        (void) kill(agent_pid, SIGTERM);
        (void) kill(agent_pid, SIGCONT);
        while (waitpid(agent_pid, NULL, 0) < 0 && errno == EINTR)
                ;
        agent_pid = 0;
}

/* In a session another agent, that of a desktop, goes first. Outside of one polkit does not look at any that stands
 * back, and there is none but ours. */
static int agent_spawn(int ready_fd) {
        char option[32];
        char *arguments[] = { (char *) AGENT_PATH, (char *) "--notify-fd", option, NULL, NULL };
        const pid_t parent = getpid();

        if (sd_pid_get_session(0, NULL) >= 0)
                arguments[3] = (char *) "--fallback";
        (void) snprintf(option, sizeof(option), "%d", ready_fd);

        agent_pid = fork();
        if (agent_pid < 0)
                return -errno;
        if (agent_pid > 0)
                return 0;

        /* However we end: it must not go on asking, and read what is typed for somebody else. */
        if (prctl(PR_SET_PDEATHSIG, SIGTERM) >= 0 && getppid() == parent)
                (void) execv(AGENT_PATH, arguments);
        _exit(EXIT_FAILURE);
}

void agent_start(void) {
        _cleanup_(safe_closep) int ours = -EBADF, theirs = -EBADF;
        struct pollfd p = { .events = POLLIN };
        int fds[2], r;

        if (geteuid() == 0 || agent_pid > 0 || access(AGENT_PATH, X_OK) < 0 || pipe2(fds, O_CLOEXEC) < 0)
                return;

        ours = fds[0];
        theirs = fds[1];
        if (fcntl(theirs, F_SETFD, 0) < 0)
                return;
        r = agent_spawn(theirs);
        theirs = safe_close(theirs);
        if (r < 0) {
                agent_pid = 0;
                return;
        }
        (void) atexit(agent_stop);

        /* It closes its end once it is registered, or because it cannot be. */
        p.fd = ours;
        while (poll(&p, 1, AGENT_READY_MSEC) < 0 && errno == EINTR)
                ;
}
