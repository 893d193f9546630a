/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* monoshimd.conf and its drop-ins: ini files, read with inih.
 *
 * A setting is a row in the table of config.c, which says its section, name, kind, default, range and place in
 * Config. A section whose settings are no such rows, such as one that occurs several times with a name of its own, as
 * in [Section NAME], is a row in the table of sections there. */

#include "host/limits.h"
#include "host/seccomp-policy.h"
#include "util/macro.h"

#define CONFIG_PATH_DEFAULT "/etc/monoshim/monoshimd.conf"

#define IDLE_TIMEOUT_UNSET 0 /* monoshimd decides; 0 in the file is USEC_INFINITY here */

typedef struct Config {
        uint64_t runtime_timeout_usec; /* RuntimeTimeoutSec=, default 2 min; 0 and infinity: none -> USEC_INFINITY */
        uint64_t idle_timeout_usec;    /* IdleTimeoutSec=, the same, or IDLE_TIMEOUT_UNSET */
        unsigned max_runtime_jobs;     /* MaxRuntimeJobs=, default 2 x CPUs, at least 4 */
        Limits limits;                 /* Max...= */
        SeccompPolicies *seccomp;      /* [Seccomp]; NULL: none */
} Config;

void config_init(Config *c); /* the defaults */
void config_done(Config *c);

/* Reads 'path' over the defaults, and after it the drop-ins, *.conf in the folder 'path'.d, in the order of their
 * names: what comes later counts. For CONFIG_PATH_DEFAULT there are drop-ins below /run and /usr/lib as well; of
 * several with one name that in /etc counts, then that in /run, and one that is a link to /dev/null, or empty, sets
 * nothing.
 *
 * 'optional': a main file that does not exist is fine. Unknown sections and settings are logged as warnings with file
 * and line, and ignored. *ret is written over. On failure nothing in *ret has changed, and *reterr_reason says file,
 * line, and what is wrong: -ENOENT, -EINVAL, -errno. */
int config_load(const char *path, bool optional, Config *ret, char **reterr_reason);

/* ---- the tables ---- */

typedef enum SettingKind {
        SETTING_NUMBER,   /* unsigned */
        SETTING_SIZE,     /* uint64_t, bytes, may be followed by K, M or G */
        SETTING_TIMESPAN, /* uint64_t, microseconds; 0 and infinity become USEC_INFINITY; no range */
} SettingKind;

typedef struct Setting {
        const char *section; /* NULL ends the table */
        const char *name;
        SettingKind kind;
        size_t offset;     /* in Config */
        uint64_t fallback; /* the default, except where config_init() works one out */
        uint64_t min, max;
} Setting;

extern const Setting config_settings[];

/* Takes one setting of such a section. 'target' is what ConfigSection::offset points to, 'argument' is NULL without
 * one. Returns 0; -ENOENT if there is no such setting, which is warned of; another negative errno, with
 * *reterr_reason saying what is wrong ("is no name of a system call": it is appended to "NAME=VALUE "), or NULL
 * without memory; 1 if only part of the value was ignored, which *reterr_reason says likewise and is warned of. An empty
 * value is to take back what was set before. */
typedef int (*ConfigSectionParse)(void *target, const char *argument, const char *name, const char *value,
                                  char **reterr_reason);

typedef struct ConfigSection {
        const char *name; /* NULL ends the table */
        size_t offset;    /* in Config, which is all zeroes there at first */
        ConfigSectionParse parse;
        void (*done)(void *target); /* NULL: there is nothing to free */
} ConfigSection;

/* ---- for tests ---- */

/* config_load() with these folders of drop-ins, the first of which goes before the others, and sections (NULL: ours).
 * What sections of its own have made is freed on failure, and is the caller's on success. */
typedef struct ConfigSources {
        const char *path;
        bool optional;
        char *const *directories;
        const ConfigSection *sections;
} ConfigSources;

int config_load_sources(const ConfigSources *sources, Config *ret, char **reterr_reason);

/* The folders of drop-ins for a file, the first of which goes before the others; NULL-terminated, the caller's. */
char **config_list_directories(const char *path);
