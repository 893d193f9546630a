/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* monoshimd as seccomp agent: whose a listener is, what its calls are answered, and who is told. */

#include "core/seccomp.h"
#include "core/operation.h"
#include "host/fdstore.h"
#include "host/seccomp-agent.h"
#include "host/seccomp-notify.h"
#include "util/file.h"
#include "util/log.h"
#include "util/text.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <time.h>
#include <utlist.h>

#define SOCKET_NAME "seccomp"
#define STORE_PREFIX "seccomp/"
#define STORE_ROLE "notify"

/* Of kinds of calls that are counted apart. What is more, which takes a program that tries them all, is counted by
 * answer alone. */
#define SUMS_MAX 256
#define OTHER_SYSCALLS "other"

#define SYSCALL_NAME_MAX 32

/* How far up a runtime's helper may be from the runtime that we have started. */
#define ANCESTORS_MAX 64

struct Seccomp {
        Registry *registry;
        SeccompPolicies *const *policies;
        SeccompAgent *agent;
        SeccompSlot *slot;
        char *path;
        unsigned next_number; /* of a listener */
};

/* One listener: that of a container's init and what descends from it, or of an exec'd process. */
typedef struct Watch {
        ContainerSeccomp *owner;
        SeccompListener *listener;
        unsigned number;
        char policy[IDENTIFIER_MAX + 1]; /* that it asks for, or "" */
        struct Watch *prev, *next;       /* owner::watches */
} Watch;

typedef struct Sum {
        char syscall[SYSCALL_NAME_MAX];
        SeccompAnswer answer;
        pid_t pid; /* who called last */
        uint64_t count;
} Sum;

struct ContainerSeccomp {
        Container *container;
        Watch *watches;
        unsigned n_watches;
        Sum *sums; /* what is to be told, in order */
        size_t n_sums;
        sd_event_source *second; /* a second runs, at the end of which sums are told */
        unsigned n_told;         /* in this second, one by one */
        bool summing;            /* there were too many in the last one */
        const Sum *telling;
};

/* ---- telling ---- */

void container_fill_in_seccomp(const Container *c, Event *e) {
        const Sum *sum = c->seccomp->telling;

        e->pid = sum->pid > 0 ? (uint32_t) sum->pid : 0;
        e->syscall = sum->syscall;
        e->action = seccomp_action_to_string(sum->answer.action);
        e->error = (uint32_t) sum->answer.error;
        e->count = sum->count;
}

static void seccomp_log(const Container *c, const Sum *sum) {
        _cleanup_(freep) char *field = strdup_printf("SYSCALL=%s", sum->syscall);
        const char *ns = container_get_namespace(c), *error = seccomp_error_to_string(sum->answer.error);
        char number[16];

        switch (sum->answer.action) {
        case SECCOMP_ALLOW:
                (void) log_full_field(LOG_INFO, 0, ns, c->id, field,
                                      "System call %s of process %d: allowed, %" PRIu64 " times.", sum->syscall,
                                      (int) sum->pid, sum->count);
                break;
        case SECCOMP_KILL:
                (void) log_full_field(LOG_NOTICE, 0, ns, c->id, field,
                                      "System call %s of process %d: the process was killed, %" PRIu64 " times.",
                                      sum->syscall, (int) sum->pid, sum->count);
                break;
        default:
                (void) snprintf(number, sizeof(number), "error %d", sum->answer.error);
                (void) log_full_field(LOG_NOTICE, 0, ns, c->id, field,
                                      "System call %s of process %d: refused with %s, %" PRIu64 " times.",
                                      sum->syscall, (int) sum->pid, error ?: number, sum->count);
        }
}

static void seccomp_tell(ContainerSeccomp *cs, const Sum *sum) {
        Container *c = cs->container;

        seccomp_log(c, sum);
        cs->telling = sum;
        (void) container_commit(c, EVENT_SECCOMP, &c->init, 0, false);
        cs->telling = NULL;
}

/* Nothing is told before TaskStart: the runtime's own calls, when it makes the container, come under the filter, too.
 */
static bool container_may_tell(const Container *c) {
        const Process *p = &c->init;

        return c->phase == CONTAINER_LIVE && p->state != PROCESS_CREATED && p->state != PROCESS_CREATED_CHECKPOINT &&
               !(p->operation && p->operation->kind == OPERATION_START);
}

static void sums_tell(ContainerSeccomp *cs, size_t max) {
        size_t n = cs->n_sums < max ? cs->n_sums : max;

        for (size_t i = 0; i < n; i++)
                seccomp_tell(cs, &cs->sums[i]);
        if (n == 0)
                return;

        cs->n_sums -= n;
        memmove(cs->sums, cs->sums + n, cs->n_sums * sizeof(*cs->sums));
}

static void second_begin(ContainerSeccomp *cs);

static int second_on_over(sd_event_source *source, uint64_t usec, void *userdata) {
        ContainerSeccomp *cs = userdata;

        cs->second = sd_event_source_disable_unref(cs->second);
        cs->n_told = 0;
        cs->summing = cs->n_sums > 0;
        if (!cs->summing)
                cs->sums = mfree(cs->sums);
        if (!cs->summing || !container_may_tell(cs->container))
                return 0; /* the start comes back to it, or the exit */

        sums_tell(cs, SECCOMP_TOLD_MAX);
        second_begin(cs);
        return 0;
}

static void second_begin(ContainerSeccomp *cs) {
        int r;

        if (cs->second)
                return;

        r = sd_event_add_time_relative(cs->container->services->event, &cs->second, CLOCK_MONOTONIC,
                                       SECCOMP_SECOND_USEC, 0, second_on_over, cs);
        if (r < 0)
                (void) container_log(cs->container, LOG_ERR, r,
                                     "Failed to set a timer, system calls that are counted are told at the exit: %m");
}

static bool sum_is(const Sum *sum, const char *syscall, SeccompAnswer answer) {
        return sum->answer.action == answer.action && sum->answer.error == answer.error &&
               streq(sum->syscall, syscall);
}

static Sum *sums_find(ContainerSeccomp *cs, const char *syscall, SeccompAnswer answer) {
        for (size_t i = 0; i < cs->n_sums; i++)
                if (sum_is(&cs->sums[i], syscall, answer))
                        return &cs->sums[i];

        return NULL;
}

static Sum sum_make(const SeccompCall *call, SeccompAnswer answer) {
        Sum sum = { .answer = answer, .pid = call->pid, .count = 1 };

        (void) snprintf(sum.syscall, sizeof(sum.syscall), "%s", call->name);
        return sum;
}

static void sums_add(ContainerSeccomp *cs, Sum sum) {
        Sum *known = sums_find(cs, sum.syscall, sum.answer), *more;

        if (!known && cs->n_sums >= SUMS_MAX) {
                strcpy(sum.syscall, OTHER_SYSCALLS);
                sum.answer.error = 0;
                known = sums_find(cs, sum.syscall, sum.answer);
        }
        if (known) {
                known->count++;
                known->pid = sum.pid;
                return;
        }

        more = reallocarray(cs->sums, cs->n_sums + 1, sizeof(*more));
        if (!more) {
                seccomp_tell(cs, &sum);
                return;
        }
        cs->sums = more;
        cs->sums[cs->n_sums++] = sum;
}

static void seccomp_account(ContainerSeccomp *cs, const SeccompCall *call, SeccompAnswer answer) {
        Sum sum = sum_make(call, answer);

        if (!container_may_tell(cs->container)) {
                sums_add(cs, sum);
                return;
        }

        if (!cs->summing && cs->n_told < SECCOMP_TOLD_MAX) {
                cs->n_told++;
                seccomp_tell(cs, &sum);
        } else
                sums_add(cs, sum);
        second_begin(cs);
}

void container_on_started_seccomp(Container *c) {
        if (c->seccomp && c->seccomp->n_sums > 0)
                second_begin(c->seccomp);
}

void container_flush_seccomp(Container *c) {
        if (c->seccomp)
                sums_tell(c->seccomp, SIZE_MAX);
}

void seccomp_flush(Registry *r) {
        REGISTRY_FOREACH(c, r)
                if (c->seccomp && container_may_tell(c))
                        container_flush_seccomp(c);
}

/* ---- listeners ---- */

/* NS, ID and the policy's name have no slash in them. */
static int watch_make_key(const Watch *w, char ret[static FDSTORE_KEY_MAX + 1]) {
        const Container *c = w->owner->container;
        int n;

        n = snprintf(ret, FDSTORE_KEY_MAX + 1, STORE_PREFIX "%s/%s/%u/%s", container_get_namespace(c), c->id,
                     w->number, w->policy);
        return n > FDSTORE_KEY_MAX ? -ENAMETOOLONG : 0;
}

static int watch_store(const Watch *w) {
        FdStore *store = w->owner->container->services->store;
        FdItem item = { .role = STORE_ROLE, .fd = seccomp_listener_get_fd(w->listener) };
        char key[FDSTORE_KEY_MAX + 1];
        int r;

        r = watch_make_key(w, key);
        return r < 0 || !store ? r : fdstore_put(store, key, &item, 1);
}

static void watch_forget(const Watch *w) {
        FdStore *store = w->owner->container->services->store;
        char key[FDSTORE_KEY_MAX + 1];

        if (store && watch_make_key(w, key) >= 0)
                (void) fdstore_put(store, key, NULL, 0);
}

static Watch *watch_free(Watch *w) {
        ContainerSeccomp *cs;

        if (!w)
                return NULL;

        cs = w->owner;
        DL_DELETE(cs->watches, w);
        cs->n_watches--;
        (void) seccomp_listener_free(w->listener);
        return mfree(w);
}
DEFINE_CLEANUP(Watch *, watch_free);

static SeccompAnswer watch_on_decide(void *userdata, const SeccompCall *call) {
        const Watch *w = userdata;
        const Container *c = w->owner->container;
        const SeccompPolicies *policies = *c->services->seccomp->policies;

        return seccomp_policy_decide(seccomp_policies_choose(policies, w->policy, container_get_namespace(c)),
                                     call->name);
}

static void watch_on_answered(void *userdata, const SeccompCall *call, SeccompAnswer answer) {
        const Watch *w = userdata;

        seccomp_account(w->owner, call, answer);
}

static void watch_on_gone(void *userdata, int error) {
        Watch *w = userdata;

        if (error < 0)
                (void) container_log(w->owner->container, LOG_WARNING, error,
                                     "Failed to receive system calls to be answered, giving up their listener: %m");
        watch_forget(w);
        (void) watch_free(w);
}

static ContainerSeccomp *container_get_seccomp(Container *c) {
        if (c->seccomp)
                return c->seccomp;

        c->seccomp = malloc(sizeof(*c->seccomp));
        if (c->seccomp)
                *c->seccomp = (ContainerSeccomp) { .container = c };
        return c->seccomp;
}

ContainerSeccomp *container_seccomp_free(ContainerSeccomp *cs) {
        if (!cs)
                return NULL;

        while (cs->watches)
                (void) watch_free(cs->watches);
        (void) sd_event_source_disable_unref(cs->second);
        free(cs->sums);
        return mfree(cs);
}

void container_forget_seccomp(Container *c) {
        if (!c->seccomp)
                return;

        for (Watch *w = c->seccomp->watches; w; w = w->next)
                watch_forget(w);
        c->seccomp = container_seccomp_free(c->seccomp);
}

static const SeccompHandlers watch_handlers = {
        .decide = watch_on_decide,
        .answered = watch_on_answered,
        .gone = watch_on_gone,
};

/* Takes the descriptor over on success. 'policy' is "" or an identifier. */
static int container_add_listener(Container *c, int fd, unsigned number, const char *policy, Watch **ret) {
        ContainerSeccomp *cs = container_get_seccomp(c);
        _cleanup_(watch_freep) Watch *w = NULL;
        int r;

        if (!cs)
                return -ENOMEM;
        if (cs->n_watches > c->services->limits->execs_per_container) /* one for each process */
                return -ENOBUFS;

        w = malloc(sizeof(*w));
        if (!w)
                return -ENOMEM;
        *w = (Watch) { .owner = cs, .number = number };
        strcpy(w->policy, policy);
        DL_APPEND(cs->watches, w);
        cs->n_watches++;

        r = seccomp_listener_new(&w->listener, c->services->event, PRIORITY_STREAM, c->services->seccomp->slot, fd,
                                 &watch_handlers, w);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(w);
        return 0;
}

/* ---- from a runtime ---- */

static bool pid_is_below(pid_t pid, pid_t ancestor) {
        for (unsigned i = 0; i < ANCESTORS_MAX && pid > 1; i++) {
                PidStat stat;

                if (pid == ancestor)
                        return true;
                if (pid_read_stat(pid, &stat) < 0)
                        return false;
                pid = stat.parent;
        }

        return false;
}

static bool process_has_runtime(const Process *p, pid_t pid) {
        pid_t runtime = p->operation && p->operation->job ? job_get_pid(p->operation->job) : 0;

        /* crun leaves it to a child, of which we become the parent when crun has ended: but the process group, which
         * we have made for the runtime, stays the same. */
        return runtime > 0 && (pid_is_below(pid, runtime) || getpgid(pid) == runtime);
}

/* The process for which we have just now started the runtime that has connected: ids alone are not unique, and
 * anybody might say any. */
static Process *registry_find_by_runtime(Registry *r, const char *id, pid_t pid) {
        for (const Namespace *ns = r->namespaces; ns; ns = ns->by_name.next) {
                Container *c = registry_lookup(r, ns->name, id);

                if (!c)
                        continue;
                if (process_has_runtime(&c->init, pid))
                        return &c->init;
                CONTAINER_FOREACH_EXEC(p, c)
                        if (process_has_runtime(p, pid))
                                return p;
        }

        return NULL;
}

/* crun hands the init's over no sooner than at its start, by a process that it has left behind when it made the
 * container: then the init, whose number cannot be another's as long as we know it, says whose it is. */
static Process *registry_find_by_state(Registry *r, const SeccompState *state) {
        Process *p = registry_find_by_runtime(r, state->id, state->peer);

        if (!p && state->pid > 0 && state->pid <= INT32_MAX)
                p = registry_get_process(r, (pid_t) state->pid);
        return p && streq(p->container->id, state->id) ? p : NULL;
}

/* Which policy a specification asks for: what it says may also be meant for another agent. */
static const char *seccomp_get_wanted(const Seccomp *s, const Container *c, const char *metadata) {
        if (!metadata[0])
                return "";
        if (identifier_is_valid(metadata) && seccomp_policies_find(*s->policies, metadata))
                return metadata;

        (void) container_log(c, LOG_WARNING, 0,
                             "Its seccomp metadata name no policy [Seccomp NAME], going by its namespace.");
        return identifier_is_valid(metadata) ? metadata : "";
}

static void seccomp_on_received(void *userdata, const SeccompState *state, int *fd) {
        Seccomp *s = userdata;
        Process *p = registry_find_by_state(s->registry, state);
        Watch *w;
        int r;

        if (!p) {
                log_warning("Refused a seccomp listener from process %d: container \"%s\" is none that it makes for "
                            "monoshimd.",
                            (int) state->peer, state->id);
                return;
        }

        r = container_add_listener(p->container, *fd, s->next_number,
                                   seccomp_get_wanted(s, p->container, state->metadata), &w);
        if (r < 0) {
                (void) container_log(p->container, LOG_ERR, r,
                                     "Failed to take over the seccomp listener of process %s, its system calls will "
                                     "fail: %m",
                                     p->id);
                return;
        }
        TAKE_FD(*fd);
        s->next_number++;

        r = watch_store(w);
        (void) container_log(p->container, r < 0 ? LOG_WARNING : LOG_DEBUG, r,
                             r < 0 ? "Failed to store the seccomp listener of process %s, its system calls will fail "
                                     "after a restart: %m"
                                   : "Took over the seccomp listener of process %s.",
                             p->id);
}

/* ---- after a restart ---- */

/* Takes "seccomp/NS/ID/NUMBER/POLICY" apart, in place. */
static int key_parse(char *key, const char **ret_ns, const char **ret_id, unsigned *ret_number,
                     const char **ret_policy) {
        char *rest = key + strlen(STORE_PREFIX), *ns, *id, *digits;
        uint64_t number;

        ns = strsep(&rest, "/");
        id = strsep(&rest, "/");
        digits = strsep(&rest, "/");
        if (!rest || parse_uint64(digits, &number) < 0 || number > UINT32_MAX ||
            (rest[0] && !identifier_is_valid(rest)))
                return -EINVAL;

        *ret_ns = ns;
        *ret_id = id;
        *ret_number = (unsigned) number;
        *ret_policy = rest;
        return 0;
}

static void seccomp_on_stored(void *userdata, const char *key) {
        static const char *const roles[] = { STORE_ROLE };
        _cleanup_(freep) char *copy = strdup(key);
        _cleanup_(safe_closep) int fd = -EBADF;
        const char *ns, *id, *policy;
        Seccomp *s = userdata;
        unsigned number;
        Container *c;
        Watch *w;
        int r;

        if (!copy || key_parse(copy, &ns, &id, &number, &policy) < 0)
                return; /* nobody gets it, so the store forgets it */
        if (number >= s->next_number)
                s->next_number = number + 1;

        c = registry_find(s->registry, ns, id);
        if (!c || fdstore_get(s->registry->services->store, key, roles, &fd, 1) < 1)
                return;

        r = container_add_listener(c, fd, number, policy, &w);
        if (r < 0)
                (void) container_log(c, LOG_ERR, r,
                                     "Failed to take back a seccomp listener, its system calls will fail: %m");
        else
                TAKE_FD(fd);
}

void seccomp_restore(Seccomp *s) {
        FdStore *store = s->registry->services->store;

        if (!s->slot)
                return;

        if (store)
                fdstore_foreach(store, STORE_PREFIX, seccomp_on_stored, s);
        seccomp_slot_clear(s->slot);
}

/* ---- the agent ---- */

static int seccomp_open_slot(Seccomp *s) {
        const Services *services = s->registry->services;
        _cleanup_(safe_closep) int dir_fd = -EBADF;
        int r, error = 0;

        r = directory_make_beneath(services->state_fd, SECCOMP_FOLDER, 0700);
        if (r >= 0)
                r = dir_fd = file_open_beneath(services->state_fd, SECCOMP_FOLDER, O_RDONLY | O_DIRECTORY, 0);
        if (r < 0)
                return log_error_errno(r, "Failed to make %s/" SECCOMP_FOLDER ": %m", services->state_directory);

        r = seccomp_slot_open(&s->slot, dir_fd, &error);
        if (r < 0)
                return log_warning_errno(r,
                                         "There is no seccomp agent, since the kernel has no seccomp listeners: %m");
        if (error < 0)
                log_warning_errno(error,
                                  "Failed to write to %s/" SECCOMP_FOLDER ", a system call that is being answered "
                                  "while monoshimd is killed will hang: %m",
                                  services->state_directory);
        return 0;
}

int seccomp_new(Seccomp **ret, Registry *registry, SeccompPolicies *const *policies) {
        _cleanup_(seccomp_freep) Seccomp *s = NULL;
        const char *state = registry->services->state_directory;
        int r;

        s = malloc(sizeof(*s));
        if (!s)
                return -ENOMEM;
        *s = (Seccomp) { .registry = registry, .policies = policies };

        s->path = strdup_printf("%.*s/" SOCKET_NAME, (int) (strrchr(state, '/') - state), state);
        if (!s->path)
                return -ENOMEM;

        r = seccomp_open_slot(s);
        if (r >= 0) {
                r = seccomp_agent_new(&s->agent, registry->services->event, PRIORITY_SECCOMP, s->path,
                                      seccomp_on_received, s);
                if (r == -EADDRINUSE)
                        log_warning_errno(
                                r,
                                "There is no seccomp agent, since another monoshimd listens on %s; with its state "
                                "directory in another folder, this one has a socket of its own: %m",
                                s->path);
                else if (r < 0)
                        log_warning_errno(r, "There is no seccomp agent, since there can be no socket %s: %m",
                                          s->path);
        }

        *ret = TAKE_PTR(s);
        return 0;
}

Seccomp *seccomp_free(Seccomp *s) {
        if (!s)
                return NULL;

        (void) seccomp_agent_free(s->agent);
        (void) seccomp_slot_free(s->slot);
        free(s->path);
        return mfree(s);
}

const char *seccomp_get_path(const Seccomp *s) {
        return s->agent ? s->path : "";
}
