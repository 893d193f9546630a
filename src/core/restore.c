/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Coming back after a restart, a crash, or a kill -9. */

#include "core/restore.h"
#include "core/cleanup.h"
#include "core/exec.h"
#include "core/process-io.h"
#include "core/seccomp.h"
#include "core/start.h"
#include "core/state.h"
#include "host/bundle.h"
#include "host/cgroup-view.h"
#include "util/clock.h"
#include "util/crash-point.h"
#include "util/file.h"
#include "util/log.h"
#include "util/text.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>

/* What was found of one container. Everything is read first and acted upon then, since what is done makes events, and
 * those that the log still lacks come before. */
typedef struct Finding {
        Container *container;
        int status;         /* a StateStatus, or a negative errno of state_load() */
        bool empty;         /* an empty folder: a create that had not even begun to write */
        sd_id128_t boot_id; /* when its state was written */
        char *reason;
} Finding;

/* An event that the state of a process knows and the log does not: we died between writing the two. */
typedef struct LostEvent {
        Json tree;
        Event event;
        const char *record; /* the process's */
} LostEvent;

typedef struct Restore {
        Registry *registry;
        Finding *findings;
        size_t n_findings, n_allocated;
        LostEvent *lost;
        size_t n_lost;
        CgroupView view; /* what all containers' cgroups are seen from */
        unsigned n_adopted, n_stopped, n_cleaned, n_undone;
} Restore;

/* ---- walking the folders ---- */

typedef int (*FolderFound)(Restore *restore, int dir_fd, const char *ns, const char *name);

/* Calls found() for each entry of a directory, by its descriptor. The names are collected first, since found() may
 * rename them. */
static int for_each_entry(Restore *restore, int dir_fd, const char *ns, FolderFound found) {
        struct dirent **entries = NULL;
        int n;

        n = scandirat(dir_fd, ".", &entries, NULL, alphasort);
        if (n < 0)
                return -errno;

        for (int i = 0; i < n; i++) {
                if (!streq(entries[i]->d_name, ".") && !streq(entries[i]->d_name, ".."))
                        (void) found(restore, dir_fd, ns, entries[i]->d_name);
                free(entries[i]);
        }
        free(entries);
        return 0;
}

/* Opens a folder that may be ours: a real directory, of our own user. */
static int open_own_folder(int dir_fd, const char *ns, const char *name) {
        _cleanup_(safe_closep) int fd = -EBADF;
        struct stat st;

        fd = file_open_beneath(dir_fd, name, O_RDONLY | O_DIRECTORY, 0);
        if (fd < 0) {
                log_warning_errno(fd, "State directory: %s%s%s is no folder of monoshimd's, leaving it alone: %m",
                                  strempty(ns), ns ? "/" : "", name);
                return fd;
        }
        if (fstat(fd, &st) < 0)
                return -errno;
        if (st.st_uid != geteuid()) {
                log_warning("State directory: %s%s%s belongs to user %u, leaving it alone.", strempty(ns),
                            ns ? "/" : "", name, st.st_uid);
                return -EPERM;
        }

        return TAKE_FD(fd);
}

static bool folder_has_only(int fd, const char *name) {
        struct dirent **entries = NULL;
        bool found = false;
        int n;

        n = scandirat(fd, ".", &entries, NULL, NULL);
        for (int i = 0; i < n; i++) {
                found = found || streq(entries[i]->d_name, name);
                free(entries[i]);
        }
        free(entries);
        return found && n == 3;
}

static bool folder_has(int fd, const char *name) {
        struct stat st;

        return fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) >= 0;
}

/* Nothing is in it, or only the beginning of our first mark: the create had not begun to do anything else. */
static bool folder_is_empty(int fd) {
        if (directory_is_empty(fd) > 0)
                return true;

        return folder_has_only(fd, "." STATE_FILE ".tmp");
}

/* ---- reading ---- */

/* What the runtime needs to forget a container of which we know nothing but its name. */
static int fill_in_unknown(Container *c) {
        const Services *s = c->services;

        c->is_unknown = !c->bundle;
        c->bundle = c->bundle ?: container_state_path(c, NULL);
        c->runtime = c->runtime ?: strdup(s->runtime);
        c->runtime_root = c->runtime_root ?: strdup_printf("%s/%s", s->runtime_root, container_get_namespace(c));
        return c->bundle && c->runtime && c->runtime_root ? 0 : -ENOMEM;
}

/* The pid file tells who it was, for the events; nothing is ever done to the process of that number. */
static void read_dead_pid(Container *c, int fd) {
        _cleanup_(freep) char *text = NULL;
        uint64_t pid;
        size_t size;

        c->init.pid = 0;
        if (file_read_beneath(fd, "init.pid", 64, &text, &size) >= 0 && parse_uint64(text, &pid) >= 0 &&
            pid <= INT32_MAX)
                c->init.pid = (pid_t) pid;
}

static int find_lost_event(Restore *restore, Process *p) {
        const Container *c = p->container;
        _cleanup_(json_freep) Json tree = NULL;
        LostEvent *larger;
        EventHead head;
        Event e;

        /* Almost always it is in the log, which its beginning tells, and need not be kept. */
        if (!p->last_event)
                return 0;
        if (event_head_from_json(p->last_event, strlen(p->last_event), &head) >= 0 &&
            head.sequence <= eventlog_last(c->services->log)) {
                p->last_event = mfree(p->last_event);
                return 0;
        }
        if (json_parse(p->last_event, strlen(p->last_event), &tree, NULL) < 0 ||
            event_from_json(tree, &e) < 0 || e.sequence <= eventlog_last(c->services->log) ||
            !streq(e.container_id, c->id) || !streq(e.ns, container_get_namespace(c)))
                return 0;

        larger = reallocarray(restore->lost, restore->n_lost + 1, sizeof(*larger));
        if (!larger)
                return -ENOMEM;
        restore->lost = larger;
        restore->lost[restore->n_lost++] = (LostEvent) { .tree = TAKE_PTR(tree),
                                                         .event = e,
                                                         .record = p->last_event };
        return 0;
}

static void find_lost_events(Restore *restore, Container *c) {
        int r;

        r = find_lost_event(restore, &c->init);
        CONTAINER_FOREACH_EXEC(p, c)
                if (r >= 0)
                        r = find_lost_event(restore, p);
        if (r < 0)
                (void) container_log(c, LOG_ERR, r, "Failed to tell an event that was not told before: %m");
}

static int read_container(Restore *restore, int fd, const char *ns, const char *id) {
        Finding f = {};
        int r;

        if (restore->n_findings == restore->n_allocated) {
                size_t n = restore->n_allocated ? restore->n_allocated * 2 : 64;
                Finding *larger = reallocarray(restore->findings, n, sizeof(*larger));

                if (!larger)
                        return log_full(LOG_ERR, ENOMEM, ns, id,
                                        "Failed to restore the container, leaving it to the next start: %m");
                restore->findings = larger;
                restore->n_allocated = n;
        }

        r = container_new(&f.container, restore->registry, ns, id);
        if (r < 0)
                return log_full(LOG_ERR, r, ns, id,
                                "Failed to restore the container, leaving it to the next start: %m");

        f.status = state_load(f.container, fd, &f.boot_id, &f.reason);
        f.empty = f.status == -ENOENT && folder_is_empty(fd);
        if (f.status == -ENOENT || f.status == -EBADMSG)
                read_dead_pid(f.container, fd);
        if (fill_in_unknown(f.container) < 0)
                f.status = -ENOMEM;
        if (f.status >= 0) {
                state_load_execs(f.container, fd, f.boot_id);
                find_lost_events(restore, f.container);
        }

        restore->findings[restore->n_findings++] = f;
        return 0;
}

static int on_container_folder(Restore *restore, int ns_fd, const char *ns, const char *name) {
        _cleanup_(safe_closep) int fd = -EBADF;

        if (name[0] == '.') {
                fd = open_own_folder(ns_fd, ns, name);
                if (fd >= 0)
                        cleanup_remove_leftover(restore->registry, restore->registry->services->state_fd, ns, ns_fd,
                                                name);
                return 0;
        }
        if (!identifier_is_valid(name)) {
                log_warning("State directory: \"%s/%s\" is no container id, leaving it alone.", ns, name);
                return 0;
        }

        fd = open_own_folder(ns_fd, ns, name);
        if (fd < 0)
                return 0;

        if (!folder_has(fd, STATE_FILE) && !folder_has(fd, "init.pid") && !folder_has(fd, "config.json") &&
            !folder_has(fd, "log.json") && !folder_is_empty(fd)) {
                log_warning("State directory: there is nothing of monoshimd's in %s/%s, leaving it alone.", ns, name);
                return 0;
        }

        return read_container(restore, fd, ns, name);
}

/* We may have died between a namespace's folder and its first container's, or after its last one's. */
static void remove_empty_namespace(const Restore *restore, int dir_fd, const char *ns) {
        if (!registry_has_namespace(restore->registry, ns))
                (void) unlinkat(dir_fd, ns, AT_REMOVEDIR);
}

static int on_namespace_folder(Restore *restore, int state_fd, const char *none, const char *name) {
        _cleanup_(safe_closep) int fd = -EBADF;
        int r;

        if (name[0] == '.') {
                if (!streq(name, EVENTLOG_FOLDER) && !streq(name, CONSOLE_FOLDER) && !streq(name, SECCOMP_FOLDER))
                        log_warning("State directory: leaving \"%s\" alone, it is not ours.", name);
                return 0;
        }
        if (!identifier_is_valid(name)) {
                log_warning("State directory: \"%s\" is no namespace, leaving it alone.", name);
                return 0;
        }

        fd = open_own_folder(state_fd, NULL, name);
        if (fd < 0)
                return 0;

        r = for_each_entry(restore, fd, name, on_container_folder);
        if (r < 0)
                log_error_errno(r, "Failed to read namespace %s, leaving its containers to the next start: %m", name);
        remove_empty_namespace(restore, state_fd, name);
        return 0;
}

/* ---- events that were not told ---- */

static int lost_event_compare(const void *a, const void *b) {
        uint64_t x = ((const LostEvent *) a)->event.sequence, y = ((const LostEvent *) b)->event.sequence;

        return x < y ? -1 : x > y;
}

/* Writes and signals them with their old numbers. */
static void tell_lost_events(Restore *restore) {
        const Services *s = restore->registry->services;

        if (restore->n_lost > 0)
                qsort(restore->lost, restore->n_lost, sizeof(*restore->lost), lost_event_compare);

        for (size_t i = 0; i < restore->n_lost; i++) {
                LostEvent *lost = &restore->lost[i];

                if (lost->event.sequence > eventlog_last(s->log)) {
                        if (eventlog_append(s->log, lost->event.sequence, lost->record, strlen(lost->record)) > 0)
                                registry_retry_save(restore->registry);
                        subscriptions_publish(s->subscriptions, NULL);
                        s->observer.event(s->observer.userdata, &lost->event);
                }
                lost->tree = json_free(lost->tree);
        }
        free(restore->lost);
}

/* ---- acting ---- */

static void undo_create(Restore *restore, Container *c) {
        Operation *op;

        (void) container_log(c, LOG_NOTICE, 0, "Its creation was interrupted, undoing it.");
        op = operation_begin(&c->init, OPERATION_CREATE, NULL, NULL);
        if (!op)
                return (void) container_free(c);

        restore->n_undone++;
        op->restored = true;
        op->killed = true; /* with us */
        op->runtime_was_run = true;
        cleanup_undo_create(op);
}

static void clean_dead(Restore *restore, Container *c, const char *why) {
        (void) container_log(c, LOG_WARNING, 0, "It is dead (%s), cleaning up after it.", why);

        c->phase = CONTAINER_CLEANING;
        restore->n_cleaned++;
        if (cleanup_dead(c) < 0)
                (void) container_free(c); /* without memory: the next start does it */
}

static void drop_deleted(Container *c) {
        cleanup_remove_folders(c);
        c->phase = CONTAINER_DELETED;
        (void) container_free(c);
}

/* Its exit has been told, but its output was not read to the end. */
static void resume_stopped(Process *p) {
        process_resume_io(p);
        process_drain_io(p);
}

/* An exec'd process of a container that lives. */
static void adopt_exec(Process *p) {
        int r;

        p->published = true;
        if (p->state == PROCESS_STOPPED)
                resume_stopped(p);
        if (p->state != PROCESS_RUNNING)
                return;
        p->container->n_execs_alive++;
        if (p->exited) { /* seen, but not told yet */
                process_resume_io(p);
                return;
        }

        r = p->pid > 1 && p->start_time > 0 ? process_watch(p, p->pid, p->start_time, true) : -ESRCH;
        if (r >= 0) {
                process_reopen_io(p);
                registry_index_process(p->container->registry, p);
                return;
        }
        process_resume_io(p);
        if (r == -ESRCH && process_take_stored_exit(p))
                return;

        (void) container_log(p->container, LOG_WARNING, r == -ESRCH ? 0 : r,
                             r == -ESRCH ? "Process %s ended while monoshimd was away; how, is not known."
                                         : "Failed to watch process %s, forgetting it: %m",
                             p->id);
        process_set_exit_unknown(p);
}

/* We were killed while it was being started. If the runtime got as far as to make the process, it runs: in the cgroup
 * of its container, where its number is nobody else's. */
static void adopt_started_exec(Process *p) {
        _cleanup_(freep) char *cgroup = NULL;
        Container *c = p->container;
        PidStat stat;
        pid_t pid;

        if (p->state != PROCESS_CREATED || isempty(c->control_group) ||
            process_read_pid_file(p, "exec", &pid, NULL) < 0 || pid_read_stat(pid, &stat) < 0 ||
            pid_read_cgroup(pid, &cgroup) < 0 || !streq(cgroup, c->control_group) ||
            process_watch(p, pid, stat.start_time, true) < 0)
                return;

        p->state = PROCESS_RUNNING;
        p->started_at = process_get_start(p);
        c->n_execs_alive++;
        process_reopen_io(p);
        registry_index_process(c->registry, p);
        exec_forget_spec(p);
        (void) container_log(c, LOG_NOTICE, 0, "Process %s runs, although its start was not seen to succeed.", p->id);
        (void) container_commit(c, EVENT_EXEC_STARTED, p,
                                PROCESS_CHANGED_STATUS | PROCESS_CHANGED_STARTED | PROCESS_CHANGED_PID, false);
}

static void take_back_execs(Container *c) {
        CONTAINER_FOREACH_EXEC(p, c)
                adopt_exec(p);
}

/* A pause or resume that we did not see to its end, and one that somebody else did, are told now. */
static void adopt_freezer(Container *c, const CgroupMembership *its, CgroupView *view) {
        Process *p = &c->init;
        int frozen;

        if (!process_state_is_alive(p->state))
                return;
        frozen = cgroup_is_frozen(its, view);
        if (frozen < 0 || frozen == (p->state == PROCESS_PAUSED))
                return;

        p->state = frozen ? PROCESS_PAUSED : PROCESS_RUNNING;
        (void) container_commit(c, frozen ? EVENT_PAUSED : EVENT_RESUMED, p, PROCESS_CHANGED_STATUS, false);
}

static void adopt_cgroup(Restore *restore, Container *c) {
        _cleanup_(cgroup_membership_done) CgroupMembership its = {};
        int r;

        r = cgroup_membership_read(c->init.pid, &its);
        if (r >= 0) {
                adopt_freezer(c, &its, &restore->view);
                container_watch_oom(c, &its, &restore->view);
        } else if (r != -ESRCH) /* its exit is on the way */
                (void) container_log(
                        c, LOG_WARNING, r,
                        "Whether it is paused is not known, and out-of-memory kills will not be seen: %m");
}

/* Its init lives: taken back, with what happened to it meanwhile. */
static int adopt(Restore *restore, Container *c) {
        Process *p = &c->init;
        int r;

        r = process_watch(p, p->pid, p->start_time, true);
        if (r < 0)
                return r;

        process_reopen_io(p);
        restore->n_adopted++;
        take_back_execs(c);
        container_publish(c);
        adopt_cgroup(restore, c);
        CONTAINER_FOREACH_EXEC(e, c)
                adopt_started_exec(e);
        if (p->state == PROCESS_CREATED)
                operation_submit(p, OPERATION_PROBE, NULL, NULL, NULL);
        container_dispatch(c); /* exec'd processes whose exit is still to be told */
        return 0;
}

/* Nothing of it runs: its exit was told, or was seen, or is known from the kernel, and is told now; or it has never
 * been started from its checkpoint, as far as we know. */
static void take_back_ended(Restore *restore, Container *c) {
        Process *p = &c->init;

        restore->n_stopped++;
        if (p->state == PROCESS_STOPPED)
                resume_stopped(p);
        else if (p->exited)
                process_resume_io(p);
        take_back_execs(c);
        container_publish(c);
        if (p->state == PROCESS_CREATED_CHECKPOINT)
                operation_submit(p, OPERATION_PROBE, NULL, NULL, NULL);
        container_dispatch(c);
}

static void take_descriptors(Container *c) {
        process_take_stored(&c->init);
        CONTAINER_FOREACH_EXEC(p, c)
                process_take_stored(p);
}

static void take_back(Restore *restore, Finding *f) {
        Container *c = f->container;
        Process *p = &c->init;
        int r;

        if (!sd_id128_equal(f->boot_id, c->services->boot_id)) {
                clean_dead(restore, c, "the machine was rebooted since");
                return;
        }

        take_descriptors(c);
        if (p->state == PROCESS_STOPPED || p->state == PROCESS_CREATED_CHECKPOINT || p->exited) {
                take_back_ended(restore, c);
                return;
        }

        r = p->pid > 1 && p->start_time > 0 ? adopt(restore, c) : -ESRCH;
        if (r == -ESRCH && process_take_stored_exit(p))
                take_back_ended(restore, c);
        else if (r == -ESRCH)
                clean_dead(restore, c, "its process exited while monoshimd was away");
        else if (r < 0) {
                (void) container_log(c, LOG_ERR, r,
                                     "Failed to watch process %d, leaving the container to the next start: %m",
                                     (int) p->pid);
                (void) container_free(c);
        }
}

static void act_on(Restore *restore, Finding *f) {
        Container *c = f->container;

        switch (f->status) {
        case STATE_LOADED:
                take_back(restore, f);
                break;
        case STATE_CREATING:
                undo_create(restore, c);
                break;
        case STATE_DELETED:
                drop_deleted(c);
                break;
        case STATE_CLEANING:
                clean_dead(restore, c, "its cleanup was interrupted");
                break;
        case -ENOENT:
                if (f->empty)
                        undo_create(restore, c);
                else
                        clean_dead(restore, c, STATE_FILE " is missing");
                break;
        case -EBADMSG:
                clean_dead(restore, c, f->reason ?: STATE_FILE " is unreadable");
                break;
        default:
                (void) container_log(c, LOG_ERR, f->status,
                                     "Failed to read its state, leaving the container to the next start: %m");
                (void) container_free(c);
        }
}

/* ---- what belongs to nobody ---- */

/* Work directories without a container go if they are empty; with something in them they are an admin's to judge. */
static int on_work_folder(Restore *restore, int ns_fd, const char *ns, const char *name) {
        _cleanup_(safe_closep) int fd = -EBADF;

        if (cleanup_is_hidden_name(name)) {
                fd = open_own_folder(ns_fd, ns, name);
                if (fd >= 0)
                        cleanup_remove_leftover(restore->registry, restore->registry->services->root_fd, ns, ns_fd,
                                                name);
                return 0;
        }
        if (!identifier_is_valid(name) || registry_lookup(restore->registry, ns, name))
                return 0;
        if (unlinkat(ns_fd, name, AT_REMOVEDIR) < 0 && errno == ENOTEMPTY)
                log_notice("Work directory %s/%s/%s belongs to no container; leaving it alone.",
                           restore->registry->services->root_directory, ns, name);
        return 0;
}

static int on_runtime_folder(Restore *restore, int ns_fd, const char *ns, const char *name) {
        if (identifier_is_valid(name) && !registry_lookup(restore->registry, ns, name))
                log_notice("The OCI runtime knows a container %s in %s/%s that is not monoshimd's; leaving it alone.",
                           name, restore->registry->services->runtime_root, ns);
        return 0;
}

static int on_namespace_of_nobody(Restore *restore, int dir_fd, const char *name, FolderFound found) {
        _cleanup_(safe_closep) int fd = -EBADF;

        if (!identifier_is_valid(name))
                return 0;

        fd = file_open_beneath(dir_fd, name, O_RDONLY | O_DIRECTORY, 0);
        if (fd < 0)
                return 0;

        (void) for_each_entry(restore, fd, name, found);
        remove_empty_namespace(restore, dir_fd, name);
        return 0;
}

static int on_work_namespace(Restore *restore, int dir_fd, const char *none, const char *name) {
        return on_namespace_of_nobody(restore, dir_fd, name, on_work_folder);
}

static int on_runtime_namespace(Restore *restore, int dir_fd, const char *none, const char *name) {
        return on_namespace_of_nobody(restore, dir_fd, name, on_runtime_folder);
}

static void look_for_leftovers(Restore *restore) {
        const Services *s = restore->registry->services;
        _cleanup_(safe_closep) int fd = -EBADF;

        (void) for_each_entry(restore, s->root_fd, NULL, on_work_namespace);

        fd = open(s->runtime_root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd >= 0)
                (void) for_each_entry(restore, fd, NULL, on_runtime_namespace);
}

int restore_all(Registry *registry) {
        Restore restore = { .registry = registry };
        int r;

        r = for_each_entry(&restore, registry->services->state_fd, NULL, on_namespace_folder);
        if (r < 0)
                return r;
        r = cgroup_view_open(&restore.view, getpid());
        if (r < 0)
                log_warning_errno(r, "Failed to read monoshimd's own control groups, ignoring: %m");

        crash_point("restore-read");
        tell_lost_events(&restore);
        crash_point("restore-lost-told");
        look_for_leftovers(&restore);

        for (size_t i = 0; i < restore.n_findings; i++) {
                Finding *f = &restore.findings[i];

                act_on(&restore, f);
                crash_point("restore-acted");
                free(f->reason);
        }
        if (registry->services->seccomp)
                seccomp_restore(registry->services->seccomp);
        fdstore_forget_rest(registry->services->store);

        if (restore.n_findings > 0)
                log_info(
                        "Restored %u running and %u stopped containers; cleaning up after %u dead ones, undoing %u interrupted creates.",
                        restore.n_adopted, restore.n_stopped, restore.n_cleaned, restore.n_undone);
        cgroup_view_done(&restore.view);
        free(restore.findings);
        return 0;
}
