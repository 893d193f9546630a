/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A daemon's core and front end in this process, for targets that need one: without a message bus, with the state in
 * fuzz_folder(), and told to stop, so that every call is taken apart and looked at, and no runtime is ever run.
 *
 * There is one container, "default" "c1", which runs, with an exec'd process "e1". */

#include "bus/front.h"
#include "core/registry.h"
#include "host/config.h"

typedef struct FuzzWorld {
        sd_event *event;
        Services services;
        Registry registry;
        Front front;
        FrontSettings front_settings;
        Container *container;
        Config config; /* the defaults */
} FuzzWorld;

/* Made at the first call, gone at exit. */
FuzzWorld *fuzz_world(void);
