/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The "linux.resources" of an OCI configuration, from the command line. */

#include "util/json.h"

typedef enum ResourceId {
        RESOURCE_MEMORY,
        RESOURCE_MEMORY_SWAP,
        RESOURCE_MEMORY_RESERVATION,
        RESOURCE_CPU_SHARES,
        RESOURCE_CPU_QUOTA,
        RESOURCE_CPU_PERIOD,
        RESOURCE_CPUSET_CPUS,
        RESOURCE_CPUSET_MEMS,
        RESOURCE_PIDS_LIMIT,
        RESOURCE_BLKIO_WEIGHT,
        RESOURCE_CPUS, /* quota and period in one */
        _RESOURCE_MAX,
} ResourceId;

typedef struct Resource {
        bool set;
        int64_t number;
        const char *text;
} Resource;

typedef struct Resources {
        Resource items[_RESOURCE_MAX];
} Resources;

/* 0, -EINVAL or -ERANGE. Strings are borrowed. */
int resources_take(Resources *resources, ResourceId id, const char *value);

bool resources_are_empty(const Resources *resources);

/* Writes the members of the object: one for each group of which anything is given. */
void resources_put(JsonWriter *w, const Resources *resources);

/* The JSON text of the object, which the caller frees. -ENOMEM. */
int resources_write(const Resources *resources, char **ret);
