/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One loop for everybody whose work is measured. */

#include "load.h"
#include "util/clock.h"

#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/param.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>

static const char *const figure_names[_FIGURE_MAX] = {
        [FIGURE_CREATE] = "create", [FIGURE_START] = "start", [FIGURE_KILL] = "kill",
        [FIGURE_DELETE] = "delete", [FIGURE_EXIT] = "exit",   [FIGURE_TOTAL] = "total",
};

void load_fail(Load *load, int error, const char *format, ...) {
        va_list args;

        va_start(args, format);
        (void) vfprintf(stderr, format, args);
        va_end(args);
        (void) fprintf(stderr, "%s%s\n", error < 0 ? ": " : "", error < 0 ? strerror(-error) : "");
        (void) sd_event_exit(load->event, 1);
}

static void slot_begin_step(Slot *s, Step step) {
        s->step_began = clock_get_monotonic();
        s->load->backend->step(s, step);
}

static void slot_begin_life(Slot *s, Phase phase) {
        s->phase = phase;
        s->is_exec = phase == PHASE_LIFE && s->load->mode == MODE_EXEC;
        s->may_delete = s->exited = false;
        memset(s->figures, 0, sizeof(s->figures));
        s->began = clock_get_monotonic();
        slot_begin_step(s, phase == PHASE_TEARDOWN ? STEP_KILL : STEP_CREATE);
}

static uint64_t timeval_to_usec(struct timeval t) {
        return (uint64_t) t.tv_sec * USEC_PER_SEC + (uint64_t) t.tv_usec;
}

static uint64_t rusage_to_usec(int who) {
        struct rusage usage = {};

        (void) getrusage(who, &usage);
        return timeval_to_usec(usage.ru_utime) + timeval_to_usec(usage.ru_stime);
}

/* What the kernel tells of another process: nanoseconds, and ticks for its children. Zero where it does not. */
static Usage usage_of_process(pid_t pid) {
        uint64_t own = 0, user = 0, system = 0, tick = USEC_PER_SEC / (uint64_t) sysconf(_SC_CLK_TCK);
        char path[64];
        FILE *f;

        (void) snprintf(path, sizeof(path), "/proc/%d/schedstat", pid);
        f = fopen(path, "re");
        if (f && fscanf(f, "%" SCNu64, &own) != 1)
                own = 0;
        if (f)
                (void) fclose(f);

        (void) snprintf(path, sizeof(path), "/proc/%d/stat", pid);
        f = fopen(path, "re");
        if (f && fscanf(f, "%*d (%*[^)]) %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %" SCNu64 " %" SCNu64,
                        &user, &system) != 2)
                user = system = 0;
        if (f)
                (void) fclose(f);
        return (Usage) { .own = own / NSEC_PER_USEC, .children = (user + system) * tick };
}

static Usage load_usage(const Load *l) {
        if (l->daemon > 0)
                return usage_of_process(l->daemon);
        return (Usage) { .own = rusage_to_usec(RUSAGE_SELF), .children = rusage_to_usec(RUSAGE_CHILDREN) };
}

static void load_begin(Load *l) {
        l->usage = load_usage(l);
        l->began = clock_get_monotonic();
}

static void load_end(Load *l) {
        Usage usage;

        l->ended = clock_get_monotonic();
        usage = load_usage(l);
        l->usage.own = usage.own - l->usage.own;
        l->usage.children = usage.children - l->usage.children;
}

/* All lives are over. */
static void load_finish(Load *l) {
        load_end(l);
        if (l->mode != MODE_EXEC) {
                (void) sd_event_exit(l->event, 0);
                return;
        }
        for (unsigned i = 0; i < l->n_slots; i++)
                slot_begin_life(l->slots + i, PHASE_TEARDOWN);
}

/* The next life in this slot, if there is to be one. */
static void slot_next(Slot *s) {
        Load *l = s->load;

        if (l->n_begun < l->warmup + l->count) {
                s->life = l->n_begun++;
                if (l->mode == MODE_EXEC)
                        (void) snprintf(s->exec_id, sizeof(s->exec_id), "e%u", s->life);
                else
                        (void) snprintf(s->id, sizeof(s->id), "c%u", s->life);
                slot_begin_life(s, PHASE_LIFE);
                return;
        }
        if (++l->n_over == l->n_slots)
                load_finish(l);
}

/* The containers are there, and what is measured can begin in them. */
static void load_begin_execs(Load *l) {
        load_begin(l);
        for (unsigned i = 0; i < l->n_slots; i++)
                slot_next(l->slots + i);
}

static void slot_end_life(Slot *s) {
        Load *l = s->load;

        if (s->phase == PHASE_TEARDOWN) {
                if (++l->n_gone == l->n_slots)
                        (void) sd_event_exit(l->event, 0);
                return;
        }
        s->figures[FIGURE_TOTAL] = clock_get_monotonic() - s->began;
        if (s->life >= l->warmup)
                memcpy(l->figures + (size_t) l->n_figures++ * _FIGURE_MAX, s->figures, sizeof(s->figures));
        slot_next(s);
}

static void slot_kill(Slot *s) {
        s->step_began = clock_get_monotonic();
        if (kill(s->pid, SIGKILL) < 0)
                load_fail(s->load, -errno, "kill(%d)", s->pid);
        else
                slot_on_step(s, STEP_KILL);
}

static int on_pause_over(sd_event_source *source, uint64_t usec, void *userdata) {
        slot_kill(userdata);
        return 0;
}

static void slot_on_started(Slot *s) {
        Load *l = s->load;

        if (s->phase == PHASE_SETUP) {
                if (++l->n_ready == l->n_slots)
                        load_begin_execs(l);
                return;
        }
        if (s->is_exec) {
                s->may_delete = true;
                if (s->exited)
                        slot_begin_step(s, STEP_DELETE);
                return;
        }
        if (l->mode == MODE_EXITS) {
                int r = sd_event_add_time_relative(l->event, NULL, CLOCK_MONOTONIC, l->pause_usec, 1, on_pause_over,
                                                   s);

                if (r < 0)
                        load_fail(l, r, "sd_event_add_time_relative()");
                return;
        }
        slot_begin_step(s, STEP_KILL);
}

void slot_on_step(Slot *s, Step step) {
        s->figures[step] = clock_get_monotonic() - s->step_began;

        switch (step) {
        case STEP_CREATE:
                s->container_exists = true;
                slot_begin_step(s, STEP_START);
                return;
        case STEP_START:
                slot_on_started(s);
                return;
        case STEP_KILL:
                s->may_delete = true;
                if (s->exited)
                        slot_begin_step(s, STEP_DELETE);
                return;
        case STEP_DELETE:
                s->container_exists = s->is_exec;
                slot_end_life(s);
                return;
        }
}

void slot_on_exit(Slot *s) {
        if (s->exited)
                return;
        /* step_began is still that of the kill, or of the start */
        s->figures[FIGURE_EXIT] = clock_get_monotonic() - s->step_began;
        s->exited = true;
        if (s->may_delete)
                slot_begin_step(s, STEP_DELETE);
}

/* 0, or -errno; load_close() undoes it in any case. */
static int load_open(Load *l) {
        int r;

        r = sd_event_default(&l->event);
        if (r < 0)
                return r;

        l->n_slots = l->mode == MODE_EXEC ? l->parallel : MIN(l->parallel, l->warmup + l->count);
        l->slots = calloc(l->n_slots, sizeof(*l->slots));
        l->figures = calloc((size_t) l->count * _FIGURE_MAX, sizeof(*l->figures));
        if (!l->slots || !l->figures)
                return -ENOMEM;

        for (unsigned i = 0; i < l->n_slots; i++) {
                Slot *s = l->slots + i;

                *s = (Slot) { .load = l, .bundle = l->bundles[i] };
                if (!l->with_fifos)
                        continue;
                if (asprintf(&s->fifo, "%s/fifo%u", l->directory, i) < 0)
                        return -ENOMEM;
                if (mkfifo(s->fifo, 0600) < 0 && errno != EEXIST)
                        return -errno;
        }
        return l->backend->open(l);
}

static void load_close(Load *l) {
        l->backend->close(l);
        for (unsigned i = 0; i < l->n_slots && l->slots; i++)
                free(l->slots[i].fifo);
        l->slots = mfree(l->slots);
        l->event = sd_event_unref(l->event);
}

int load_run(Load *l) {
        int r;

        r = load_open(l);
        if (r < 0) {
                (void) fprintf(stderr, "Cannot prepare: %s\n", strerror(-r));
                load_close(l);
                return r;
        }

        if (l->mode != MODE_EXEC)
                load_begin(l);
        for (unsigned i = 0; i < l->n_slots; i++) {
                Slot *s = l->slots + i;

                if (l->mode != MODE_EXEC) {
                        slot_next(s);
                        continue;
                }
                (void) snprintf(s->id, sizeof(s->id), "x%u", i);
                slot_begin_life(s, PHASE_SETUP);
        }
        r = sd_event_loop(l->event);
        load_close(l);
        return r == 0 ? 0 : r < 0 ? r : -EIO;
}

void load_print(const Load *l) {
        (void) printf("{");
        for (unsigned f = 0; f < _FIGURE_MAX; f++) {
                (void) printf("\"%s\": [", figure_names[f]);
                for (unsigned i = 0; i < l->n_figures; i++)
                        (void) printf("%s%" PRIu64, i > 0 ? ", " : "", l->figures[(size_t) i * _FIGURE_MAX + f]);
                (void) printf("], ");
        }
        (void) printf("\"wall\": %" PRIu64 ", \"cpu_own\": %" PRIu64 ", \"cpu_children\": %" PRIu64 "}\n",
                      l->ended - l->began, l->usage.own, l->usage.children);
}
