/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Executing a newer version of ourselves in place. */

#include "daemon/reexec.h"
#include "bus/handoff.h"
#include "core/seccomp.h"
#include "core/subscription.h"
#include "daemon/inherit.h"
#include "host/spawn.h"
#include "util/clock.h"
#include "util/crash-point.h"
#include "util/file.h"
#include "util/json.h"
#include "util/log.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define LOOK_USEC (2 * USEC_PER_MSEC)
#define TRIAL_USEC (10 * USEC_PER_SEC)

struct Reexec {
        ReexecParameters p;
        char *path; /* of our program, as it was when we were started */
        bool wanted;
        bool holding;
        uint64_t hold_until; /* CLOCK_MONOTONIC */
        uint64_t retry_usec;
        pid_t trial;
        sd_event_source *timer;
};

static void reexec_try(Reexec *x);

int reexec_new(Reexec **ret, const ReexecParameters *p) {
        _cleanup_(freep) char *path = NULL;
        Reexec *x;
        int r;

        r = program_get_own(&path);
        if (r < 0)
                return r;
        x = malloc(sizeof(*x));
        if (!x)
                return -ENOMEM;

        *x = (Reexec) { .p = *p, .path = TAKE_PTR(path), .retry_usec = REEXEC_RETRY_MIN_USEC };
        *ret = x;
        return 0;
}

static void reexec_drop_trial(Reexec *x) {
        if (x->trial <= 0)
                return;

        reaper_unwatch(x->p.reaper, x->trial);
        (void) kill(-x->trial, SIGKILL);
        x->trial = 0;
}

Reexec *reexec_free(Reexec *x) {
        if (!x)
                return NULL;

        reexec_drop_trial(x);
        sd_event_source_disable_unref(x->timer);
        free(x->path);
        return mfree(x);
}

static bool program_was_replaced(const Reexec *x) {
        struct stat own, now;

        if (stat("/proc/self/exe", &own) < 0 || stat(x->path, &now) < 0)
                return false;
        return own.st_dev != now.st_dev || own.st_ino != now.st_ino;
}

static void reexec_forget(Reexec *x) {
        x->wanted = false;
        x->timer = sd_event_source_disable_unref(x->timer);
        reexec_drop_trial(x);
        if (x->holding)
                front_release(x->p.front);
        x->holding = false;
}

static void reexec_over(Reexec *x) {
        reexec_forget(x);
        x->p.over(x->p.userdata);
}

void reexec_cancel(Reexec *x) {
        if (x->wanted)
                reexec_over(x);
}

static int reexec_set_timer(Reexec *x, uint64_t usec, sd_event_time_handler_t handler) {
        x->timer = sd_event_source_disable_unref(x->timer);
        return sd_event_add_time_relative(x->p.event, &x->timer, CLOCK_MONOTONIC, usec, USEC_PER_MSEC, handler, x);
}

/* ---- the last step ---- */

/* What did not go with us must not be inherited by children instead. */
static void reexec_undo_inheritance(void) {
        (void) close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
        (void) unsetenv(HANDOFF_VARIABLE);
}

/* What was under way goes on being moved by us: kept any longer, it would be written once more after a crash. */
static void reexec_undo_store(Registry *registry) {
        fdstore_disable(registry->services->store);
        registry_store(registry);
}

static int reexec_write_handoff(Reexec *x, int *ret_fd) {
        _cleanup_(json_writer_freep) JsonWriter *w = json_writer_new(false);
        const Services *s = x->p.registry->services;
        const char *text;
        size_t size;
        int r;

        if (!w)
                return -ENOMEM;

        json_open_object(w);
        json_put_uint64(w, "version", INHERITANCE_VERSION);
        json_put_bool(w, "activated", x->p.is_activated);
        fdstore_write_handoff(s->store, w);
        json_write_key(w, "subscriptions");
        r = subscriptions_write_handoff(s->subscriptions, w);
        if (r < 0)
                return r;
        json_write_key(w, "front");
        r = front_write_handoff(x->p.front, w);
        if (r < 0)
                return r;
        json_close_object(w);
        r = json_writer_finish(w, &text, &size);
        if (r < 0)
                return r;

        r = file_memfd("handoff", 0, text, size); /* to be inherited */
        if (r < 0)
                return r;

        *ret_fd = r;
        return 0;
}

static int reexec_execute(Reexec *x) {
        Registry *registry = x->p.registry;
        struct rlimit own, original;
        char number[3 * sizeof(int) + 1];
        bool limited;
        int fd = -EBADF, r;

        /* What only we know would be lost. Of what is told now, somebody may have no room. */
        seccomp_flush(registry);
        r = registry_save(registry);
        if (r < 0)
                return r;
        if (!front_is_quiet(x->p.front))
                return -EAGAIN;

        crash_point("reexec-flushed");
        fdstore_enable(registry->services->store);
        registry_store_for_handover(registry);

        r = reexec_write_handoff(x, &fd);
        if (r >= 0) {
                (void) snprintf(number, sizeof(number), "%d", fd);
                r = setenv(HANDOFF_VARIABLE, number, true) < 0 ? -errno : 0;
        }
        limited = spawn_get_nofile(&original) && getrlimit(RLIMIT_NOFILE, &own) >= 0;
        if (r >= 0) {
                if (limited)
                        (void) setrlimit(RLIMIT_NOFILE, &original); /* what children are to get */
                log_info("Executing %s, which was replaced.", x->path);
                crash_point("reexec-before-exec");
                crash_points_hand_over();
                (void) execv(x->path, x->p.argv);
                r = -errno;
                if (limited)
                        (void) setrlimit(RLIMIT_NOFILE, &own);
        }

        safe_close(fd);
        subscriptions_release(registry->services->subscriptions);
        reexec_undo_inheritance();
        reexec_undo_store(registry);
        return r;
}

/* ---- waiting for the moment ---- */

static int reexec_on_retry(sd_event_source *source, uint64_t usec, void *userdata) {
        reexec_try(userdata);
        return 0;
}

static void reexec_give_up_for_now(Reexec *x) {
        log_notice("Not executing %s now, since something takes long; trying again in %llu s.", x->path,
                   (unsigned long long) (x->retry_usec / USEC_PER_SEC));
        front_release(x->p.front);
        x->holding = false;

        if (reexec_set_timer(x, x->retry_usec, reexec_on_retry) < 0) {
                reexec_over(x);
                return;
        }
        x->p.over(x->p.userdata);
        x->retry_usec = x->retry_usec * 2 > REEXEC_RETRY_MAX_USEC ? REEXEC_RETRY_MAX_USEC : x->retry_usec * 2;
}

static bool reexec_is_time(const Reexec *x) {
        return registry_is_quiet(x->p.registry) && front_is_quiet(x->p.front);
}

static int reexec_on_look(sd_event_source *source, uint64_t usec, void *userdata) {
        Reexec *x = userdata;
        int r;

        r = reexec_is_time(x) ? reexec_execute(x) : -EAGAIN;
        if (r == -EAGAIN) {
                if (clock_get_monotonic() >= x->hold_until || reexec_set_timer(x, LOOK_USEC, reexec_on_look) < 0)
                        reexec_give_up_for_now(x);
                return 0;
        }

        log_error_errno(r, "Failed to execute %s, going on as before: %m", x->path);
        reexec_over(x);
        return 0;
}

static void reexec_hold(Reexec *x) {
        x->hold_until = clock_get_monotonic() + REEXEC_HOLD_USEC;
        x->holding = true;
        crash_point("reexec-before-hold");
        front_hold(x->p.front);
        if (reexec_set_timer(x, 0, reexec_on_look) < 0)
                reexec_over(x);
}

/* ---- the trial ---- */

static void reexec_on_trial(void *userdata, pid_t pid, int wait_status, uint64_t when_usec) {
        Reexec *x = userdata;

        x->trial = 0;
        x->timer = sd_event_source_disable_unref(x->timer);
        if (wait_status == 0) {
                reexec_hold(x);
                return;
        }

        log_error("Not executing %s: \"monoshimd --version\" of it has ended with status %u.", x->path,
                  exit_status_from_wait(wait_status));
        reexec_over(x);
}

static int reexec_on_trial_overdue(sd_event_source *source, uint64_t usec, void *userdata) {
        Reexec *x = userdata;

        log_error("Not executing %s: it has not shown its version in time.", x->path);
        reexec_over(x);
        return 0;
}

static void reexec_try(Reexec *x) {
        char *const argv[] = { x->path, (char *) "--version", NULL };
        SpawnParameters p = { .program = x->path, .argv = argv, .stdio = { -EBADF, -EBADF, -EBADF } };
        int r;

        r = spawn(&p, &x->trial);
        if (r >= 0)
                r = reaper_watch(x->p.reaper, x->trial, reexec_on_trial, x);
        if (r >= 0)
                r = reexec_set_timer(x, TRIAL_USEC, reexec_on_trial_overdue);
        if (r < 0) {
                log_error_errno(r, "Not executing %s, it cannot be run: %m", x->path);
                reexec_over(x);
        }
}

bool reexec_begin(Reexec *x) {
        if (x->wanted && (x->trial > 0 || x->holding))
                return true;
        if (!program_was_replaced(x)) {
                reexec_forget(x);
                return false;
        }

        /* One that was put off is tried at once: who asks for it again waits for an answer. */
        x->timer = sd_event_source_disable_unref(x->timer);
        x->wanted = true;
        x->retry_usec = REEXEC_RETRY_MIN_USEC;
        reexec_try(x);
        return x->wanted;
}
