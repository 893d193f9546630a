/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One loop for everybody whose work is measured: "lives" begin, go through their steps, and end, so many at a time.
 * How a step is done is the business of a back end; when each began and ended is written down here, so that all are
 * measured alike. */

#include "util/macro.h"

#include <stdint.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

/* What is done in each life, in this order. The life of an exec'd process has no STEP_KILL. */
typedef enum Step { STEP_CREATE, STEP_START, STEP_KILL, STEP_DELETE } Step;

/* What is written down of each life. The exit is what comes from beside: counted from the kill, and of an exec'd
 * process from its start. */
typedef enum Figure {
        FIGURE_CREATE = STEP_CREATE,
        FIGURE_START = STEP_START,
        FIGURE_KILL = STEP_KILL,
        FIGURE_DELETE = STEP_DELETE,
        FIGURE_EXIT,
        FIGURE_TOTAL,
        _FIGURE_MAX
} Figure;

typedef enum Mode {
        MODE_LIFECYCLE, /* create, start, kill, delete */
        MODE_EXITS,     /* the same, but killed by kill(2), after a pause */
        MODE_EXEC       /* processes in containers that run meanwhile */
} Mode;

/* In MODE_EXEC, there are containers before what is measured, and they are ended after it. */
typedef enum Phase { PHASE_SETUP, PHASE_LIFE, PHASE_TEARDOWN } Phase;

/* In microseconds: of a process itself, and of its children that are gone. */
typedef struct Usage {
        uint64_t own, children;
} Usage;

typedef struct Load Load;

/* Where one life takes place at a time. */
typedef struct Slot {
        Load *load;
        const char *bundle; /* this slot's own, since it names a cgroup */
        char *fifo;         /* for stdout and stderr, or NULL for none */
        char id[32];        /* of the container */
        char exec_id[32];
        bool is_exec; /* this life is that of an exec'd process */
        unsigned life;
        Phase phase;
        bool may_delete, exited;
        bool container_exists;
        pid_t pid; /* of the container's init */
        uint64_t began, step_began;
        uint64_t figures[_FIGURE_MAX];

        /* Of the back end, which frees it in close(). */
        char *container_path, *process_path;
        pid_t command, process;
} Slot;

typedef struct Backend {
        int (*open)(Load *load);
        /* Begins a step. slot_on_step() is called at its end, maybe before this returns. */
        void (*step)(Slot *slot, Step step);
        /* Undoes whatever is left, and frees. */
        void (*close)(Load *load);
} Backend;

extern const Backend monoshim_backend, runc_backend;

struct Load {
        const Backend *backend;
        Mode mode;
        const char *address;   /* of monoshimd's bus, or of its own socket; NULL: there is none */
        const char *runtime;   /* what to call without monoshimd, or what to tell it to call, or NULL */
        const char *directory; /* for what a caller of the runtime keeps: its root, pid files, logs */
        const char *process;   /* the file with the OCI process to be executed */
        char **bundles;
        unsigned n_bundles;
        bool with_fifos;
        bool detach;         /* "exec --detach", of the runtime alone */
        uint64_t pause_usec; /* before a kill in MODE_EXITS, so that nothing else is going on any more */
        unsigned count, warmup, parallel;
        pid_t daemon; /* whose use of the processor counts; 0: ours */

        sd_event *event;
        Slot *slots;
        unsigned n_slots, n_begun, n_ready, n_over, n_gone;
        uint64_t *figures; /* of 'count' lives, _FIGURE_MAX each */
        unsigned n_figures;
        uint64_t began, ended;
        Usage usage; /* from began to ended */
        void *data;  /* the back end's */
};

/* Runs all lives. 0, or -errno after having said what went wrong. */
int load_run(Load *load);

/* Prints what was written down, as one line of JSON. */
void load_print(const Load *load);

/* The end of a step; of a failed one after load_fail(). */
void slot_on_step(Slot *slot, Step step);

/* The process of this life has exited; may come before STEP_START or STEP_KILL has ended. */
void slot_on_exit(Slot *slot);

/* Says what went wrong, and ends the run. 'error' is a negative errno, or 0 if the text says it all. */
void load_fail(Load *load, int error, const char *format, ...) _printf_(3, 4);
