/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The composition root. */

#include "daemon/daemon.h"
#include "bus/handoff.h"
#include "core/operation.h"
#include "core/restore.h"
#include "core/seccomp.h"
#include "daemon/memory.h"
#include "host/pump.h"
#include "host/spawn.h"
#include "util/crash-point.h"
#include "util/file.h"
#include "util/log.h"

#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <time.h>

/* How long runtime commands that are under way may take to finish once we are told to end. */
#define STOP_USEC (10 * USEC_PER_SEC)

/* How long one that was activated on demand waits for more to do, where the configuration says nothing. */
#define IDLE_TIMEOUT_USEC (60 * USEC_PER_SEC)

#define LOCK_TRIES 100
#define LOCK_PAUSE_USEC (20 * USEC_PER_MSEC)

static void daemon_on_changed(void *userdata) {
        Daemon *d = userdata;

        service_on_changed(&d->service);
}

int daemon_init(Daemon *d, const Options *options) {
        int r;

        *d = (Daemon) {
                .options = options,
                .state_fd = -EBADF,
                .root_fd = -EBADF,
                .console_fd = -EBADF,
                .inheritance = INHERITANCE_INIT,
                .front_settings = { .bus = options->bus, .listen_path = options->listen_path, .listen_fd = -EBADF },
        };
        config_init(&d->config);

        r = spawn_reserve();
        if (r < 0)
                return log_error_errno(r, "Failed to reserve descriptors for children: %m");
        r = sd_event_new(&d->event);
        if (r < 0)
                return log_error_errno(r, "Failed to make an event loop: %m");

        registry_init(&d->registry, &d->services);
        front_init(&d->front, &d->registry, d->event, &d->front_settings);
        service_init(&d->service, d->event, &d->registry, &d->front);
        d->registry.changed = daemon_on_changed;
        d->registry.changed_userdata = d;
        return 0;
}

void daemon_done(Daemon *d) {
        d->registry.changed = NULL;
        service_done(&d->service);
        inheritance_done(&d->inheritance);
        front_done(&d->front);
        registry_done(&d->registry);
        d->subscriptions = subscriptions_free(d->subscriptions);
        d->log = eventlog_free(d->log);
        d->seccomp = seccomp_free(d->seccomp);
        d->oom = oom_watcher_free(d->oom);
        d->pids = pid_watcher_free(d->pids);
        d->store = fdstore_free(d->store);
        d->reexec = reexec_free(d->reexec);
        d->pool = job_pool_free(d->pool);
        d->reaper = reaper_free(d->reaper);
        d->console_fd = safe_close(d->console_fd);
        d->root_fd = safe_close(d->root_fd);
        d->state_fd = safe_close(d->state_fd);
        d->event = sd_event_unref(d->event);
        config_done(&d->config);
}

/* ---- signals ---- */

static void daemon_on_idle(void *userdata) {
        Daemon *d = userdata;

        (void) sd_event_exit(d->event, EXIT_SUCCESS);
}

static int daemon_on_stop_overdue(sd_event_source *source, uint64_t usec, void *userdata) {
        Daemon *d = userdata;

        log_warning(
                "Some runtime commands did not finish in time, ending without them; the next start undoes what is half-done.");
        return sd_event_exit(d->event, EXIT_SUCCESS);
}

static int daemon_on_terminate(sd_event_source *source, const struct signalfd_siginfo *si, void *userdata) {
        Daemon *d = userdata;

        if (d->stopping)
                return 0;

        log_info("Told to end by signal %u; containers keep running.", si->ssi_signo);
        d->stopping = true;
        reexec_cancel(d->reexec);
        service_on_stopping(&d->service);
        (void) sd_event_add_time_relative(d->event, NULL, CLOCK_MONOTONIC, STOP_USEC, 0, daemon_on_stop_overdue, d);
        registry_stop(&d->registry, daemon_on_idle, d);
        return 0;
}

/* Only who can be started again by the next call may end for want of any. */
static void daemon_set_idle_timeout(Daemon *d) {
        uint64_t usec = d->config.idle_timeout_usec;

        if (usec == IDLE_TIMEOUT_UNSET)
                usec = d->is_activated ? IDLE_TIMEOUT_USEC : USEC_INFINITY;
        service_set_idle_timeout(&d->service, usec);
}

/* The rest is looked up when it is needed. */
static void daemon_apply_limits(Daemon *d) {
        const Limits *limits = &d->config.limits;

        job_pool_set_max(d->pool, d->config.max_runtime_jobs);
        reaper_set_max_kept(d->reaper, limits->exits_kept);
        eventlog_set_limits(d->log, limits);
        pump_set_turn_size(limits->stream_turn_size);
}

static int daemon_reload(void *userdata, Failure *failure) {
        _cleanup_(freep) char *reason = NULL;
        Daemon *d = userdata;
        Config config;
        int r;

        r = config_load(d->options->config_path, d->options->config_is_optional, &config, &reason);
        if (r < 0)
                return failure_set(failure, FAILURE_INVALID_ARGUMENT, "The configuration was not changed: %s",
                                   strempty(reason));

        config_done(&d->config);
        d->config = config;
        daemon_apply_limits(d);
        daemon_set_idle_timeout(d);
        log_info("Configuration read from %s.", d->options->config_path);
        return 0;
}

static void daemon_on_reexec_over(void *userdata) {
        Daemon *d = userdata;

        if (!d->stopping)
                service_on_reloaded(&d->service);
}

/* "systemctl reload": the configuration, and the program if that was replaced. With a configuration that it cannot
 * read no program would come up, and we are better than none. */
static int daemon_on_hangup(sd_event_source *source, const struct signalfd_siginfo *si, void *userdata) {
        _cleanup_(failure_done) Failure failure = FAILURE_INIT;
        Daemon *d = userdata;

        if (d->stopping)
                return 0;

        service_on_reloading(&d->service);
        if (daemon_reload(d, &failure) < 0) {
                log_error("%s", failure_message(&failure));
                service_on_reloaded(&d->service);
                return 0;
        }
        if (!reexec_begin(d->reexec))
                service_on_reloaded(&d->service);
        return 0;
}

static int daemon_watch_signals(Daemon *d) {
        int r;

        (void) signal(SIGPIPE, SIG_IGN);

        if ((r = sd_event_add_signal(d->event, NULL, SIGTERM, daemon_on_terminate, d)) < 0 ||
            (r = sd_event_add_signal(d->event, NULL, SIGINT, daemon_on_terminate, d)) < 0 ||
            (r = sd_event_add_signal(d->event, NULL, SIGHUP, daemon_on_hangup, d)) < 0)
                return log_error_errno(r, "Failed to watch for signals: %m");

        return 0;
}

/* ---- start ---- */

/* An adopted container costs a descriptor, and one with FIFOs up to three: the usual soft limit of 1024 is none for
 * us. What we start gets the limit that we were given. */
static void daemon_raise_limits(void) {
        struct rlimit limit;

        if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= limit.rlim_max)
                return;

        spawn_set_nofile(&limit);
        limit.rlim_cur = limit.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
                log_warning_errno(errno, "Failed to raise the limit of open files to %llu, ignoring: %m",
                                  (unsigned long long) limit.rlim_max);
}

/* Two daemons on one state directory would clean up after each other. The lock goes when we do; a child that a killed
 * one was just starting may still hold it, and lets go when it runs its program, or when it is told that its parent
 * died. */
static int daemon_lock(Daemon *d) {
        const struct timespec pause = { .tv_nsec = (long) (LOCK_PAUSE_USEC * NSEC_PER_USEC) };
        int r = 0;

        for (unsigned i = 0; i < LOCK_TRIES; i++) {
                r = flock(d->state_fd, LOCK_EX | LOCK_NB) < 0 ? -errno : 0;
                if (r != -EWOULDBLOCK)
                        break;
                (void) nanosleep(&pause, NULL);
        }
        if (r < 0)
                return log_error_errno(
                        r,
                        "The state directory %s is in use by another monoshimd (%m); end that one, or give this one "
                        "directories of its own with --state= and --root=.",
                        d->options->state_directory);
        return 0;
}

static int daemon_open_directories(Daemon *d) {
        const Options *o = d->options;

        d->state_fd = directory_open_or_make(o->state_directory, 0711);
        if (d->state_fd < 0)
                return log_error_errno(d->state_fd, "Failed to open or make the state directory %s: %m",
                                       o->state_directory);
        d->root_fd = directory_open_or_make(o->root_directory, 0711);
        if (d->root_fd < 0)
                return log_error_errno(d->root_fd, "Failed to open or make the root directory %s: %m",
                                       o->root_directory);

        return daemon_lock(d);
}

/* The runtime connects to sockets there; what a former monoshimd has left is of no use to anybody. */
static int daemon_open_console_folder(Daemon *d) {
        struct dirent **entries = NULL;
        int n, r;

        r = directory_make_beneath(d->state_fd, CONSOLE_FOLDER, 0700);
        if (r >= 0)
                r = d->console_fd = file_open_beneath(d->state_fd, CONSOLE_FOLDER, O_RDONLY | O_DIRECTORY, 0);
        if (r < 0)
                return log_error_errno(r, "Failed to make %s/" CONSOLE_FOLDER ": %m", d->options->state_directory);

        n = scandirat(d->console_fd, ".", &entries, NULL, NULL);
        for (int i = 0; i < n; i++) {
                (void) unlinkat(d->console_fd, entries[i]->d_name, 0);
                free(entries[i]);
        }
        free(entries);
        return 0;
}

static int daemon_open_services(Daemon *d) {
        int r;

        r = reaper_new(&d->reaper, d->event, PRIORITY_EXIT);
        if (r < 0)
                return log_error_errno(r, "Failed to watch for children: %m");
        r = job_pool_new(&d->pool, d->event, d->reaper, d->config.max_runtime_jobs);
        if (r < 0)
                return log_error_errno(r, "Failed to set up runtime jobs: %m");
        r = eventlog_open(&d->log, d->state_fd);
        if (r < 0)
                return log_error_errno(r, "Failed to open the event log in %s: %m", d->options->state_directory);
        r = subscriptions_new(&d->subscriptions, d->event, d->log, &d->config.limits, PRIORITY_STREAM);
        if (r < 0)
                return log_error_errno(r, "Failed to set up subscriptions to events: %m");
        r = oom_watcher_new(&d->oom, d->event, PRIORITY_OOM);
        if (r < 0)
                return log_error_errno(r, "Failed to watch for out-of-memory kills: %m");
        r = pid_watcher_new(&d->pids, d->event, PRIORITY_EXIT);
        if (r < 0)
                return log_error_errno(r, "Failed to watch for processes that are not children: %m");
        daemon_apply_limits(d);

        r = fdstore_new(&d->store, d->service.notify);
        if (r < 0)
                return log_error_errno(r, "Failed to set up the store of descriptors: %m");
        r = inherit(&d->inheritance, d->store);
        if (r < 0)
                return r;

        d->services = (Services) {
                .event = d->event,
                .reaper = d->reaper,
                .pool = d->pool,
                .log = d->log,
                .subscriptions = d->subscriptions,
                .oom = d->oom,
                .pids = d->pids,
                .store = d->store,
                .observer = front_get_observer(&d->front),
                .state_fd = d->state_fd,
                .root_fd = d->root_fd,
                .console_fd = d->console_fd,
                .state_directory = d->options->state_directory,
                .root_directory = d->options->root_directory,
                .runtime = d->options->runtime,
                .runtime_root = d->options->runtime_root,
                .runtime_timeout_usec = &d->config.runtime_timeout_usec,
                .limits = &d->config.limits,
        };

        r = sd_id128_get_boot(&d->services.boot_id);
        if (r < 0)
                return log_error_errno(r, "Failed to get the boot id: %m");

        r = seccomp_new(&d->seccomp, &d->registry, &d->config.seccomp);
        if (r < 0)
                return log_error_errno(r, "Failed to set up the seccomp agent: %m");
        d->services.seccomp = d->seccomp;
        return 0;
}

static void daemon_on_ready(void *userdata) {
        Daemon *d = userdata;

        log_info("monoshimd %s is ready: %u containers, runtime %s, state in %s.", PACKAGE_VERSION,
                 d->registry.n_live, d->options->runtime, d->options->state_directory);
        crash_point("daemon-before-ready");
        service_on_ready(&d->service);
        daemon_set_idle_timeout(d);
        memory_settle();
}

/* What the version before us has left, now that the containers are back that it speaks of. */
static void daemon_take_handoff(Daemon *d) {
        Json tree = d->inheritance.handoff;
        int r;

        if (!tree)
                return;

        crash_point("handoff-before-take");
        r = front_take_handoff(&d->front, json_get(tree, "front"));
        if (r < 0)
                log_warning_errno(r, "Failed to take over connections, clients have to connect anew: %m");
        (void) json_get_bool(tree, "activated", &d->is_activated);
        d->inheritance.handoff = json_free(tree);
        crash_point("handoff-taken");
}

int daemon_startup(Daemon *d) {
        _cleanup_(freep) char *reason = NULL;
        int r;

        r = config_load(d->options->config_path, d->options->config_is_optional, &d->config, &reason);
        if (r < 0)
                return log_error_errno(r, "%s", strempty(reason));

        daemon_raise_limits();

        if ((r = daemon_watch_signals(d)) < 0 || (r = daemon_open_directories(d)) < 0 ||
            (r = daemon_open_console_folder(d)) < 0 || (r = daemon_open_services(d)) < 0)
                return r;

        d->front.untold = eventlog_last(d->log);
        crash_point("daemon-opened");
        if (d->inheritance.handoff)
                subscriptions_take_handoff(d->subscriptions, json_get(d->inheritance.handoff, "subscriptions"));

        r = restore_all(&d->registry);
        if (r < 0)
                return log_error_errno(r, "Failed to read the state directory %s: %m", d->options->state_directory);

        crash_point("daemon-restored");
        daemon_take_handoff(d);
        inheritance_close_rest(&d->inheritance);

        d->front.reload = daemon_reload;
        d->front.ready = daemon_on_ready;
        d->front.userdata = d;
        d->is_activated = d->is_activated || d->inheritance.listen_fd >= 0;
        d->front_settings.listen_fd = TAKE_FD(d->inheritance.listen_fd);

        r = reexec_new(&d->reexec, &(ReexecParameters) {
                                           .event = d->event,
                                           .reaper = d->reaper,
                                           .registry = &d->registry,
                                           .front = &d->front,
                                           .argv = d->options->argv,
                                           .is_activated = d->is_activated,
                                           .over = daemon_on_reexec_over,
                                           .userdata = d,
                                   });
        if (r < 0)
                return log_error_errno(r, "Failed to find out which program we are: %m");
        return front_start(&d->front);
}

int daemon_run(Daemon *d) {
        int r;

        r = sd_event_loop(d->event);
        if (r < 0) {
                log_error_errno(r, "The event loop failed: %m");
                return EXIT_FAILURE;
        }

        seccomp_flush(&d->registry);
        (void) registry_save(&d->registry);
        registry_store_for_handover(&d->registry);
        REGISTRY_FOREACH(c, &d->registry)
                container_abort(c);
        front_flush(&d->front);
        return r;
}
