/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the core is given to work with: the loop, the host's services, the settings, and whom to tell. It is put
 * together once, by the daemon, and outlives every container. */

#include "core/event.h"
#include "core/eventlog.h"
#include "core/subscription.h"
#include "host/fdstore.h"
#include "host/job.h"
#include "host/limits.h"
#include "host/oom.h"
#include "host/pid.h"
#include "host/reaper.h"
#include "util/macro.h"

#include <systemd/sd-event.h>
#include <systemd/sd-id128.h>

typedef struct Container Container;
typedef struct Process Process;
typedef struct Seccomp Seccomp;

/* The properties of a Process that can change, for Observer::process_changed. */
typedef enum ProcessChange {
        PROCESS_CHANGED_STATUS = 1 << 0,
        PROCESS_CHANGED_PID = 1 << 1,
        PROCESS_CHANGED_EXIT = 1 << 2,      /* ExitStatus and ExitedAt */
        PROCESS_CHANGED_STARTED = 1 << 3,   /* StartedAt */
        PROCESS_CHANGED_OOM_KILLS = 1 << 4, /* of its container */
} ProcessChange;

/* The one road by which news goes up. Every function must be set; none may destroy what it is told about. */
typedef struct Observer {
        void (*container_added)(void *userdata, Container *c);   /* it can be found from now on */
        void (*container_removed)(void *userdata, Container *c); /* it still can be found, for the last time */
        void (*process_added)(void *userdata, Process *p);       /* an exec'd one, likewise */
        void (*process_removed)(void *userdata, Process *p);
        void (*process_changed)(void *userdata, Process *p, unsigned changes);
        void (*event)(void *userdata, const Event *e); /* it is on disk already */
        void *userdata;
} Observer;

typedef struct Services {
        sd_event *event;
        Reaper *reaper;
        JobPool *pool;
        EventLog *log;
        SubscriptionSet *subscriptions;
        OomWatcher *oom;
        PidWatcher *pids; /* of processes that are not our children */
        FdStore *store; /* descriptors that outlive us */
        Seccomp *seccomp; /* NULL: none */
        Observer observer;
        sd_id128_t boot_id;

        int state_fd;   /* STATE */
        int root_fd;    /* ROOT */
        int console_fd; /* STATE/.console, where the console sockets are */
        const char *state_directory;
        const char *root_directory;
        const char *runtime;                  /* the default OCI runtime */
        const char *runtime_root;             /* the default, without the namespace */
        const uint64_t *runtime_timeout_usec; /* it may change at a reload, as the next */
        const Limits *limits;
} Services;

/* Priorities of event sources: exits are seen before new requests are read. */
#define PRIORITY_SECCOMP (-7) /* what a runtime hands over, before that it has ended */
#define PRIORITY_OOM (-6) /* before the exit that it causes */
#define PRIORITY_EXIT (-5)
#define PRIORITY_BUS 0
#define PRIORITY_STREAM 5 /* bytes can wait, requests should not */

#define CONSOLE_FOLDER ".console" /* no namespace begins with a dot */
