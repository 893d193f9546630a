/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What of a process's descriptors must outlive us: they are kept in the store, and come back from it. */

#include "core/container.h"
#include "core/process-io.h"
#include "util/log.h"

#include <fcntl.h>
#include <stdio.h>

/* Of each stream, in this order. */
typedef enum StreamRole {
        ROLE_FD,   /* what the process is to get, while it has not been started */
        ROLE_HOLD, /* Stream::hold, and so on */
        ROLE_FROM,
        ROLE_TO,
        ROLE_REST, /* a memfd: what has been read and not written yet; only when we execute ourselves */
        _ROLE_MAX,
} StreamRole;

enum {
        ROLE_PIDFD,
        ROLE_MASTER,
        ROLE_STREAMS, /* the first of 3 x _ROLE_MAX */
        N_ROLES = ROLE_STREAMS + 3 * _ROLE_MAX,
};

/* clang-format off */
static const char *const roles[N_ROLES] = {
        FDSTORE_PIDFD, "master",
        "stdin.fd",  "stdin.hold",  "stdin.from",  "stdin.to",  "stdin.rest",
        "stdout.fd", "stdout.hold", "stdout.from", "stdout.to", "stdout.rest",
        "stderr.fd", "stderr.hold", "stderr.from", "stderr.to", "stderr.rest",
};
/* clang-format on */

#define KEY_SIZE (sizeof("process/") + 3 * (IDENTIFIER_MAX + 1))

static void process_get_key(const Process *p, char key[static KEY_SIZE]) {
        const Container *c = p->container;

        (void) snprintf(key, KEY_SIZE, "process/%s/%s%s%s", container_get_namespace(c), c->id,
                        process_is_init(p) ? "" : "/", process_is_init(p) ? "" : p->id);
}

/* ---- storing ---- */

/* The ends that bytes are moved between belong to who moves them. */
static void stream_get_ends(const Process *p, size_t i, int *ret_from, int *ret_to) {
        const ProcessIo *io = p->io;

        *ret_from = p->streams[i].from;
        *ret_to = p->streams[i].to;
        if (io && io->journals[i])
                *ret_from = journal_stream_get_fd(io->journals[i]);
        if (io && io->pumps[i])
                pump_get_fds(io->pumps[i], ret_from, ret_to);
        if (p->terminal && i == STDIN_FILENO) /* the other end is the master */
                *ret_to = -EBADF;
        if (p->terminal && i == STDOUT_FILENO)
                *ret_from = -EBADF;
}

/* What is kept of the process now. Those of rests are ours to close. */
static void process_get_descriptors(const Process *p, bool with_rests, int ret[static N_ROLES]) {
        for (size_t k = 0; k < N_ROLES; k++)
                ret[k] = -EBADF;
        if (p->state == PROCESS_DELETED)
                return;

        if (p->io)
                ret[ROLE_MASTER] = p->io->master;
        for (size_t i = 0; i < 3; i++) {
                int *s = ret + ROLE_STREAMS + i * _ROLE_MAX;

                s[ROLE_FD] = p->streams[i].fd;
                s[ROLE_HOLD] = p->streams[i].hold;
                stream_get_ends(p, i, &s[ROLE_FROM], &s[ROLE_TO]);
                if (with_rests && p->io && p->io->pumps[i])
                        s[ROLE_REST] = pump_save_rest(p->io->pumps[i]);
                if (with_rests && p->io && p->io->journals[i])
                        s[ROLE_REST] = journal_stream_save_rest(p->io->journals[i]);
        }
}

static unsigned descriptors_to_mask(const Process *p, const int fds[static N_ROLES]) {
        unsigned mask = p->watched && !p->exited ? 1U << ROLE_PIDFD : 0;

        for (unsigned k = ROLE_PIDFD + 1; k < N_ROLES; k++)
                if (fds[k] >= 0)
                        mask |= 1U << k;
        return mask;
}

static int process_put(Process *p, int fds[static N_ROLES], unsigned mask) {
        _cleanup_(safe_closep) int pidfd = -EBADF;
        FdItem items[N_ROLES];
        char key[KEY_SIZE];
        size_t n = 0;

        if (mask & 1U << ROLE_PIDFD)
                fds[ROLE_PIDFD] = pidfd = process_open_pidfd(p);
        for (size_t k = 0; k < N_ROLES; k++)
                if (fds[k] >= 0)
                        items[n++] = (FdItem) { roles[k], fds[k] };

        process_get_key(p, key);
        return fdstore_put(p->container->services->store, key, items, n);
}

static void process_store_all(Process *p, bool with_rests, bool always) {
        int fds[N_ROLES], r = 0;
        unsigned mask;

        if (p->container->phase == CONTAINER_CREATING || !fdstore_is_enabled(p->container->services->store))
                return;

        process_get_descriptors(p, with_rests, fds);
        mask = descriptors_to_mask(p, fds);
        if (always || mask != p->stored) {
                r = process_put(p, fds, mask);
                p->stored = r < 0 ? 0 : mask;
        }
        for (size_t i = 0; i < 3; i++)
                safe_close(fds[ROLE_STREAMS + i * _ROLE_MAX + ROLE_REST]);
        if (r < 0)
                (void) container_log(p->container, LOG_WARNING, r,
                                     "Failed to have the descriptors of process %s kept, they would not survive a "
                                     "crash of monoshimd: %m",
                                     p->id);
}

void process_store(Process *p) {
        /* What is kept of it is replaced as a whole, and its pidfd cannot be had again. */
        if (p->exited && !p->exit_saved)
                return;

        process_store_all(p, false, false);
}

void process_store_for_handover(Process *p) {
        process_store_all(p, true, true);
}

void process_forget_stored(Process *p) {
        char key[KEY_SIZE];

        if (p->stored == 0)
                return;

        p->stored = 0;
        process_get_key(p, key);
        (void) fdstore_put(p->container->services->store, key, NULL, 0);
}

/* ---- taking back ---- */

static void process_take_stored_stream(Process *p, size_t i, const int fds[static _ROLE_MAX]) {
        if (fds[ROLE_FD] < 0 && fds[ROLE_HOLD] < 0 && fds[ROLE_FROM] < 0 && fds[ROLE_TO] < 0)
                return;

        if (process_allocate_streams(p) < 0) {
                for (size_t k = ROLE_FD; k < ROLE_REST; k++)
                        safe_close(fds[k]);
                return;
        }

        p->streams[i].fd = fds[ROLE_FD];
        p->streams[i].hold = fds[ROLE_HOLD];
        p->streams[i].from = fds[ROLE_FROM];
        p->streams[i].to = fds[ROLE_TO];
        p->streams[i].output = i != STDIN_FILENO;
}

void process_take_stored(Process *p) {
        int fds[N_ROLES], n;
        char key[KEY_SIZE];

        process_get_key(p, key);
        n = fdstore_get(p->container->services->store, key, roles, fds, N_ROLES);
        if (n <= 0)
                return;

        /* What has not changed since is not put again: with very many processes that would take most of a start. */
        for (unsigned k = 0; k < N_ROLES; k++)
                if (fds[k] >= 0)
                        p->stored |= 1U << k;
        p->pidfd = fds[ROLE_PIDFD];
        if (fds[ROLE_MASTER] >= 0) {
                if (process_get_io(p))
                        p->io->master = fds[ROLE_MASTER];
                else
                        safe_close(fds[ROLE_MASTER]);
        }
        for (size_t i = 0; i < 3; i++) {
                const int *s = fds + ROLE_STREAMS + i * _ROLE_MAX;

                process_take_stored_stream(p, i, s);
                if (s[ROLE_REST] >= 0) {
                        if (process_get_io(p))
                                p->io->rests[i] = s[ROLE_REST];
                        else
                                safe_close(s[ROLE_REST]);
                }
        }
}

bool process_take_stored_exit(Process *p) {
        _cleanup_(safe_closep) int pidfd = TAKE_FD(p->pidfd);
        int wait_status;

        if (pidfd < 0 || p->exited || pidfd_read_exit(pidfd, &wait_status) < 0)
                return false;

        process_set_exit_unknown(p); /* the time is */
        p->exit_status = exit_status_from_wait(wait_status);
        return true;
}
