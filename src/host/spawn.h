/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Starting a program as a child, cheaply (vfork) and with nothing inherited that was not meant for it. */

#include "util/macro.h"

#include <sys/types.h>

/* The allocator's settings in our environment are for us: see daemon/memory.h. */
#define SPAWN_TUNABLES "GLIBC_TUNABLES"

typedef struct SpawnParameters {
        const char *program; /* absolute path */
        char *const *argv;
        int stdio[3];   /* negative: /dev/null, opened read-write */
        const int *fds; /* further descriptors, which become 3, 4, ...; negative: /dev/null as well */
        size_t n_fds;
        const char *directory;    /* working directory, or NULL for ours */
        char *const *environment; /* exactly this, instead of ours; NULL for ours */
        bool outlives_us;         /* no PR_SET_PDEATHSIG */
} SpawnParameters;

/* Starts the program: own process group (its id is the pid), PR_SET_PDEATHSIG SIGKILL (and gone at once if we died in
 * between) unless it is to outlive us, default signal dispositions, empty signal mask, and no descriptor but those
 * named. The environment, where none is given, is ours without what systemd meant for us alone (NOTIFY_SOCKET,
 * LISTEN_*, WATCHDOG_*, JOURNAL_STREAM, ...). Where we have a negative oom_score_adj it begins at 0. The descriptors
 * stay the caller's. Returns 0 and the pid, or -errno, also when execve() fails. */
int spawn(const SpawnParameters *p, pid_t *ret);

/* Reserves eight low descriptors, so that spawn() takes no longer however many others there are. To be called early,
 * when low ones are free; without it all works, too. -errno. */
int spawn_reserve(void);

/* The RLIMIT_NOFILE that programs get from now on; ours is not changed. */
struct rlimit;
void spawn_set_nofile(const struct rlimit *limit);
bool spawn_get_nofile(struct rlimit *ret); /* false if they get ours */

/* Where a command is: an absolute path as it is, a plain name looked up in $PATH (the default path of execvp without
 * one). The caller frees *ret. -ENOENT, -EACCES (found, but not executable), -EINVAL for a relative path with a
 * slash. */
int program_find(const char *command, char **ret);

/* The path of the program that we run ourselves, also if its file has been replaced since. The caller frees *ret. */
int program_get_own(char **ret);
