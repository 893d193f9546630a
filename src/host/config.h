/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* monoshimd.conf: an ini file, read with inih. */

#include "util/macro.h"

#define CONFIG_PATH_DEFAULT "/etc/monoshim/monoshimd.conf"

typedef struct Config {
        uint64_t runtime_timeout_usec; /* RuntimeTimeoutSec=, default 2 min; 0 and infinity: none -> USEC_INFINITY */
        unsigned max_runtime_jobs;     /* MaxRuntimeJobs=, default 2 x CPUs, at least 4 */
} Config;

void config_init(Config *c); /* the defaults */

/* Reads 'path' over the defaults. 'optional': a file that does not exist is fine. Unknown sections and settings are
 * logged as warnings with file and line, and ignored. On failure nothing in *ret has changed, and *reterr_reason says
 * file, line, and what is wrong: -ENOENT, -EINVAL, -errno. */
int config_load(const char *path, bool optional, Config *ret, char **reterr_reason);
