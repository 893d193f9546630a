/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The "linux.resources" of an OCI configuration. */

#include "ctl/resources.h"

#include "ctl/quantity.h"

typedef enum ResourceKind {
        RESOURCE_BYTES,
        RESOURCE_COUNT, /* or no limit */
        RESOURCE_NUMBER,
        RESOURCE_LIST,
        RESOURCE_CPU_NUMBER,
} ResourceKind;

/* Those of one group stand together. */
static const struct {
        const char *group;
        const char *member;
        ResourceKind kind;
} resource_table[_RESOURCE_MAX] = {
        [RESOURCE_MEMORY] = { "memory", "limit", RESOURCE_BYTES },
        [RESOURCE_MEMORY_SWAP] = { "memory", "swap", RESOURCE_BYTES },
        [RESOURCE_MEMORY_RESERVATION] = { "memory", "reservation", RESOURCE_BYTES },
        [RESOURCE_CPU_SHARES] = { "cpu", "shares", RESOURCE_NUMBER },
        [RESOURCE_CPU_QUOTA] = { "cpu", "quota", RESOURCE_COUNT },
        [RESOURCE_CPU_PERIOD] = { "cpu", "period", RESOURCE_NUMBER },
        [RESOURCE_CPUSET_CPUS] = { "cpu", "cpus", RESOURCE_LIST },
        [RESOURCE_CPUSET_MEMS] = { "cpu", "mems", RESOURCE_LIST },
        [RESOURCE_PIDS_LIMIT] = { "pids", "limit", RESOURCE_COUNT },
        [RESOURCE_BLKIO_WEIGHT] = { "blockIO", "weight", RESOURCE_NUMBER },
        [RESOURCE_CPUS] = { NULL, NULL, RESOURCE_CPU_NUMBER },
};

/* "0-3,7" */
static bool list_is_valid(const char *s) {
        return s[0] != '\0' && strspn(s, "0123456789-,") == strlen(s);
}

static int resource_parse(ResourceKind kind, const char *value, Resource *ret) {
        int r = 0;

        switch (kind) {
        case RESOURCE_BYTES:
                r = quantity_parse_bytes(value, &ret->number);
                break;
        case RESOURCE_COUNT:
                r = quantity_parse_count(value, &ret->number);
                break;
        case RESOURCE_NUMBER:
                r = quantity_parse_count(value, &ret->number);
                if (r >= 0 && ret->number < 0)
                        r = -EINVAL;
                break;
        case RESOURCE_LIST:
                ret->text = value;
                r = list_is_valid(value) ? 0 : -EINVAL;
                break;
        case RESOURCE_CPU_NUMBER:
                r = quantity_parse_cpus(value, &ret->number);
                break;
        }
        ret->set = r >= 0;
        return r;
}

int resources_take(Resources *resources, ResourceId id, const char *value) {
        Resource parsed = {};
        int r;

        r = resource_parse(resource_table[id].kind, value, &parsed);
        if (r < 0)
                return r;

        if (id == RESOURCE_CPUS) {
                resources->items[RESOURCE_CPU_QUOTA] = parsed;
                resources->items[RESOURCE_CPU_PERIOD] = (Resource) { .set = true, .number = QUANTITY_CPU_PERIOD };
        } else
                resources->items[id] = parsed;
        return 0;
}

bool resources_are_empty(const Resources *resources) {
        for (size_t i = 0; i < _RESOURCE_MAX; i++)
                if (resources->items[i].set)
                        return false;
        return true;
}

void resources_put(JsonWriter *w, const Resources *resources) {
        const char *group = NULL;

        for (size_t i = 0; i < RESOURCE_CPUS; i++) {
                const Resource *item = resources->items + i;

                if (!item->set)
                        continue;
                if (!streq_ptr(group, resource_table[i].group)) {
                        if (group)
                                json_close_object(w);
                        group = resource_table[i].group;
                        json_write_key(w, group);
                        json_open_object(w);
                }
                json_write_key(w, resource_table[i].member);
                item->text ? json_write_string(w, item->text) : json_write_int64(w, item->number);
        }
        if (group)
                json_close_object(w);
}

int resources_write(const Resources *resources, char **ret) {
        _cleanup_(json_writer_freep) JsonWriter *w = json_writer_new(false);

        if (!w)
                return -ENOMEM;

        json_open_object(w);
        resources_put(w, resources);
        json_close_object(w);

        return json_writer_copy(w, ret);
}
