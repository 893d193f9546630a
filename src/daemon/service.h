/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* monoshimd as a service: what the service manager is told, and the end for want of anything to do. */

#include "bus/front.h"
#include "core/registry.h"

typedef struct Service {
        sd_event *event;
        Registry *registry;
        Front *front;
        bool notify;                /* there is a service manager */
        uint64_t idle_timeout_usec; /* USEC_INFINITY: never */
        uint64_t n_calls;           /* of clients, when we looked last */
        bool leaving;               /* the name is being given up */
        bool stopping;
        sd_event_source *status;
        sd_event_source *idle;
} Service;

void service_init(Service *s, sd_event *event, Registry *registry, Front *front);
void service_done(Service *s);

/* The containers are taken back and clients are served: tells the manager, and begins to answer its watchdog. */
void service_on_ready(Service *s);

/* From now on we end when there was nothing to do for so long; USEC_INFINITY: never, as at first. */
void service_set_idle_timeout(Service *s, uint64_t usec);

/* A container has come or gone. */
void service_on_changed(Service *s);

void service_on_reloading(Service *s); /* until service_on_reloaded() */
void service_on_reloaded(Service *s);
void service_on_stopping(Service *s);
