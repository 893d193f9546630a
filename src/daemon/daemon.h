/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The composition root: owns everything, introduces each to what it needs, and has no verbs of its own. */

#include "bus/front.h"
#include "core/registry.h"
#include "core/seccomp.h"
#include "core/services.h"
#include "daemon/inherit.h"
#include "daemon/options.h"
#include "daemon/reexec.h"
#include "daemon/service.h"
#include "host/config.h"

typedef struct Daemon {
        const Options *options;
        Config config;
        sd_event *event;
        Reaper *reaper;
        JobPool *pool;
        EventLog *log;
        SubscriptionSet *subscriptions;
        OomWatcher *oom;
        PidWatcher *pids;
        Seccomp *seccomp;
        FdStore *store;
        Inheritance inheritance;
        Service service;
        Reexec *reexec;
        Services services;
        Registry registry;
        FrontSettings front_settings;
        Front front;
        int state_fd, root_fd, console_fd;
        bool stopping;
        bool is_activated; /* somebody else holds the socket that we listen on, and starts us when a client comes */
} Daemon;

/* Allocates, touches nothing. Signals that the daemon handles must be blocked already. */
int daemon_init(Daemon *d, const Options *options);
void daemon_done(Daemon *d);

/* Reads the configuration, opens the directories, takes the containers back, goes on the bus. -errno, logged. */
int daemon_startup(Daemon *d);

/* Runs until SIGTERM or SIGINT. Returns the exit status. */
int daemon_run(Daemon *d);
