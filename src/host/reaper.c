/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The one place that waits for children: a table of watched pids, and one of exits that nobody has asked for yet. */

#include "host/reaper.h"

#include "util/clock.h"
#include "util/log.h"

#include <assert.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

/* A container that dies with thousands of processes, or thousands of containers that die at once, must not keep
 * everybody else waiting: after so many exits the others in the loop get their turn. One that somebody watches for
 * costs a hundred times as much as one that nobody does, for it is written down and told. */
#define REAP_BATCH 512
#define REAP_WATCHED_BATCH 16

/* To find one that has ended the kernel walks along all children: 15 microseconds for a thousand, more than its share
 * for more, and once again in vain. With so many, the one that the signal names is asked for by its pid, which costs
 * the same however many there are; and who has ended at the same moment, for whom there is no other signal, is found
 * a little later. */
#define MANY_CHILDREN 256
#define LOOK_FOR_OTHERS_USEC (5 * USEC_PER_MSEC)

#define KEPT_DEFAULT 16384 /* before reaper_set_max_kept() */

typedef struct Watch {
        pid_t pid;
        ReaperExited exited;
        void *userdata;
        bool owned;        /* 'userdata' is the watch's to free, as long as it has not been handed to 'exited' */
        UT_hash_handle hh; /* reaper::watches */
} Watch;

typedef struct Kept {
        pid_t pid;
        int wait_status;
        uint64_t when_usec;   /* CLOCK_REALTIME, for those who are told */
        uint64_t reaped_usec; /* CLOCK_MONOTONIC, to compare */
        UT_hash_handle hh;    /* reaper::kept, which iterates in the order of insertion: the oldest comes first */
} Kept;

struct Reaper {
        sd_event_source *signal;
        sd_event_source *more; /* enabled when a pass is due without a signal */
        Watch *watches;
        Kept *kept;
        unsigned n_holds;
        unsigned max_kept;
        bool reaping;
        bool had_children;
        bool more_due;     /* 'more' is enabled, and its time has come */
        unsigned n_by_pid; /* reaped since all were looked for, one for each signal */
};

static void reaper_drop_watch(Reaper *reaper, Watch *w) {
        HASH_DELETE(hh, reaper->watches, w);
        if (w->owned)
                free(w->userdata);
        free(w);
}

static Kept *reaper_find_kept(Reaper *reaper, pid_t pid) {
        Kept *k;

        HASH_FIND(hh, reaper->kept, &pid, sizeof(pid), k);
        return k;
}

static void reaper_drop_kept(Reaper *reaper, Kept *k) {
        HASH_DELETE(hh, reaper->kept, k);
        free(k);
}

static void reaper_purge_kept(Reaper *reaper) {
        Kept *k, *next;

        HASH_ITER(hh, reaper->kept, k, next)
                reaper_drop_kept(reaper, k);
}

/* One exit for each pid is enough: who claims wants the latest, and what came before it is another process's. */
static void reaper_keep(Reaper *reaper, pid_t pid, int wait_status, uint64_t when_usec) {
        Kept *k, *old;

        old = reaper_find_kept(reaper, pid);
        if (!old && HASH_COUNT(reaper->kept) >= reaper->max_kept)
                old = reaper->kept;
        if (old)
                reaper_drop_kept(reaper, old);

        k = calloc(1, sizeof(*k));
        if (!k) {
                log_warning("Out of memory: the exit of process %d is not kept", pid);
                return;
        }

        *k = (Kept) {
                .pid = pid, .wait_status = wait_status, .when_usec = when_usec, .reaped_usec = clock_get_monotonic()
        };
        HASH_ADD(hh, reaper->kept, pid, sizeof(k->pid), k);
        if (!k->hh.tbl) {
                log_warning("Out of memory: the exit of process %d is not kept", pid);
                free(k);
        }
}

/* Was anybody watching? */
static bool reaper_dispatch(Reaper *reaper, pid_t pid, int wait_status, uint64_t when_usec) {
        ReaperExited exited;
        void *userdata;
        Watch *w;

        HASH_FIND(hh, reaper->watches, &pid, sizeof(pid), w);
        if (!w) {
                if (reaper->n_holds > 0)
                        reaper_keep(reaper, pid, wait_status, when_usec);
                return false;
        }

        /* The callback may watch the same number again, since it is free now. */
        exited = w->exited;
        userdata = TAKE_PTR(w->userdata);
        reaper_drop_watch(reaper, w);

        exited(userdata, pid, wait_status, when_usec);
        return true;
}

/* waitid() tells in two numbers what wait() tells in one. */
static int wait_status_from_siginfo(const siginfo_t *si) {
        switch (si->si_code) {
        case CLD_KILLED:
                return si->si_status & 0x7f;
        case CLD_DUMPED:
                return (si->si_status & 0x7f) | WCOREFLAG;
        default:
                return (si->si_status & 0xff) << 8;
        }
}

/* 1: a child is reaped, and *watched says whether anybody was watching; 0: there is none that has ended. */
static int reaper_wait(Reaper *reaper, idtype_t type, pid_t pid, bool *watched) {
        siginfo_t si = {};

        while (waitid(type, (id_t) pid, &si, WEXITED | WNOHANG) < 0) {
                if (errno == EINTR)
                        continue;
                if (errno != ECHILD)
                        (void) log_error_errno(errno, "Failed to wait for children, ignoring: %m");
                return 0;
        }
        if (si.si_pid == 0)
                return 0;

        *watched = reaper_dispatch(reaper, si.si_pid, wait_status_from_siginfo(&si), clock_get_realtime());
        return 1;
}

static void reaper_look_soon(Reaper *reaper, uint64_t usec) {
        if ((usec == 0 ? sd_event_source_set_time(reaper->more, 1)
                       : sd_event_source_set_time_relative(reaper->more, usec)) >= 0)
                (void) sd_event_source_set_enabled(reaper->more, SD_EVENT_ONESHOT);
        reaper->more_due = usec == 0;
}

static void reaper_reap(Reaper *reaper) {
        unsigned n_watched = 0;
        bool watched;

        assert(!reaper->reaping);
        reaper->reaping = true;
        reaper->more_due = false;
        reaper->n_by_pid = 0;
        (void) sd_event_source_set_enabled(reaper->more, SD_EVENT_OFF);

        for (unsigned n = 0; reaper_wait(reaper, P_ALL, 0, &watched) > 0; n++) {
                n_watched += watched;
                if (n + 1 >= REAP_BATCH || n_watched >= REAP_WATCHED_BATCH) {
                        reaper_look_soon(reaper, 0);
                        break;
                }
        }

        reaper->reaping = false;
}

static void reaper_reap_one(Reaper *reaper, pid_t pid) {
        bool watched;

        reaper->reaping = true;
        (void) reaper_wait(reaper, P_PID, pid, &watched);
        reaper->reaping = false;

        if (reaper->n_by_pid++ == 0)
                reaper_look_soon(reaper, LOOK_FOR_OTHERS_USEC);
        else if (reaper->n_by_pid >= REAP_WATCHED_BATCH)
                reaper_look_soon(reaper, 0);
}

static int reaper_on_signal(sd_event_source *source, const struct signalfd_siginfo *si, void *userdata) {
        Reaper *reaper = userdata;

        /* In a storm signals come as fast as we reap, and before everybody else: the others' turn comes all the same.
         */
        if (reaper->more_due)
                return 0;

        if (HASH_COUNT(reaper->watches) < MANY_CHILDREN || si->ssi_pid == 0)
                reaper_reap(reaper);
        else
                reaper_reap_one(reaper, (pid_t) si->ssi_pid);
        return 0;
}

static int reaper_on_more(sd_event_source *source, uint64_t usec, void *userdata) {
        reaper_reap(userdata);
        return 0;
}

static bool has_children(void) {
        siginfo_t si;

        /* Only a look. */
        return waitid(P_ALL, 0, &si, WEXITED | WNOHANG | WNOWAIT) >= 0;
}

static int reaper_add_sources(Reaper *reaper, sd_event *event, int64_t priority) {
        int r;

        r = sd_event_add_signal(event, &reaper->signal, SIGCHLD | SD_EVENT_SIGNAL_PROCMASK, reaper_on_signal, reaper);
        if (r < 0)
                return r;

        r = sd_event_source_set_priority(reaper->signal, priority);
        if (r < 0)
                return r;

        (void) sd_event_source_set_description(reaper->signal, "reaper");

        /* A timer whose time has come, and not a defer source: that one counts as waiting since it was made, and
         * would be served before all others of its priority every time. It is on from the start, as children may have
         * exited before the signal was blocked; they are not reaped right here, so that the caller, who may have them
         * from an earlier image of itself, can watch them first. */
        r = sd_event_add_time(event, &reaper->more, CLOCK_MONOTONIC, 1, 1, reaper_on_more, reaper);
        if (r < 0)
                return r;

        /* Not before everybody else's sources, or they would have to wait after all. */
        r = sd_event_source_set_priority(reaper->more,
                                         priority > SD_EVENT_PRIORITY_NORMAL ? priority : SD_EVENT_PRIORITY_NORMAL);
        if (r < 0)
                return r;

        (void) sd_event_source_set_description(reaper->more, "reaper-more");
        return 0;
}

int reaper_new(Reaper **ret, sd_event *event, int64_t priority) {
        /* An ignored SIGCHLD, which is inherited through execve(), would make the kernel reap for us and lose
         * every status. */
        static const struct sigaction sa = { .sa_handler = SIG_DFL };
        _cleanup_(reaper_freep) Reaper *reaper = NULL;
        int r;

        reaper = calloc(1, sizeof(*reaper));
        if (!reaper)
                return -ENOMEM;
        reaper->max_kept = KEPT_DEFAULT;
        reaper->had_children = has_children();

        if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
                return -errno;
        if (sigaction(SIGCHLD, &sa, NULL) < 0)
                return -errno;

        r = reaper_add_sources(reaper, event, priority);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(reaper);
        return 0;
}

Reaper *reaper_free(Reaper *reaper) {
        Watch *w, *next;

        if (!reaper)
                return NULL;

        assert(!reaper->reaping);

        sd_event_source_disable_unref(reaper->more);
        sd_event_source_disable_unref(reaper->signal);
        HASH_ITER(hh, reaper->watches, w, next)
                reaper_drop_watch(reaper, w);
        reaper_purge_kept(reaper);
        return mfree(reaper);
}

bool reaper_had_children(const Reaper *reaper) {
        return reaper->had_children;
}

static int reaper_add_watch(Reaper *reaper, pid_t pid, ReaperExited exited, void *userdata, bool owned) {
        Watch *w;

        if (pid <= 0 || !exited)
                return -EINVAL;

        HASH_FIND(hh, reaper->watches, &pid, sizeof(pid), w);
        if (w)
                return -EEXIST;

        w = calloc(1, sizeof(*w));
        if (!w)
                return -ENOMEM;

        *w = (Watch) { .pid = pid, .exited = exited, .userdata = userdata, .owned = owned };
        HASH_ADD(hh, reaper->watches, pid, sizeof(w->pid), w);
        if (!w->hh.tbl) {
                free(w);
                return -ENOMEM;
        }
        return 0;
}

int reaper_watch(Reaper *reaper, pid_t pid, ReaperExited exited, void *userdata) {
        return reaper_add_watch(reaper, pid, exited, userdata, false);
}

int reaper_watch_owned(Reaper *reaper, pid_t pid, ReaperExited exited, void *userdata) {
        return reaper_add_watch(reaper, pid, exited, userdata, true);
}

void reaper_unwatch(Reaper *reaper, pid_t pid) {
        Watch *w;

        HASH_FIND(hh, reaper->watches, &pid, sizeof(pid), w);
        if (w)
                reaper_drop_watch(reaper, w);
}

void reaper_set_max_kept(Reaper *reaper, unsigned max) {
        reaper->max_kept = max;
        while (HASH_COUNT(reaper->kept) > max)
                reaper_drop_kept(reaper, reaper->kept);
}

void reaper_hold(Reaper *reaper) {
        reaper->n_holds++;
}

void reaper_release(Reaper *reaper) {
        assert(reaper->n_holds > 0);

        if (--reaper->n_holds == 0)
                reaper_purge_kept(reaper);
}

int reaper_claim(Reaper *reaper, pid_t pid, uint64_t since_usec, int *ret_wait_status, uint64_t *ret_when_usec) {
        Kept *k;

        k = reaper_find_kept(reaper, pid);
        if (!k || k->reaped_usec < since_usec)
                return 0;

        *ret_wait_status = k->wait_status;
        *ret_when_usec = k->when_usec;
        reaper_drop_kept(reaper, k);
        return 1;
}

unsigned reaper_n_watched(const Reaper *reaper) {
        return HASH_COUNT(reaper->watches);
}

unsigned reaper_n_kept(const Reaper *reaper) {
        return HASH_COUNT(reaper->kept);
}

uint32_t exit_status_from_wait(int wait_status) {
        if (WIFSIGNALED(wait_status))
                return 128U + (uint32_t) WTERMSIG(wait_status);
        return (uint32_t) WEXITSTATUS(wait_status);
}
