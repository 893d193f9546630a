/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* monoshimd.conf: an ini file, read with inih. */

#include "host/config.h"
#include "util/file.h"
#include "util/log.h"
#include "util/strv.h"
#include "util/text.h"

#include <dirent.h>
#include <fcntl.h>
#include <ini.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define CONFIG_SIZE_MAX (1024U * 1024U)
#define DROP_INS_MAX 1024
#define MAX_RUNTIME_JOBS_MIN 4U
#define VALUE_SHOWN_MAX 128
#define SECTION_NAME_MAX 49 /* inih cuts what is longer */

#define KIB UINT64_C(1024)
#define MIB (1024 * KIB)

/* ---- the tables ---- */

#define NUMBER(name, member, fallback, min, max) \
        { "Manager", name, SETTING_NUMBER, offsetof(Config, member), fallback, min, max }
#define SIZE(name, member, fallback, min, max) \
        { "Manager", name, SETTING_SIZE, offsetof(Config, member), fallback, min, max }
#define TIMESPAN(name, member, fallback) \
        { "Manager", name, SETTING_TIMESPAN, offsetof(Config, member), fallback, 0, USEC_INFINITY }

/* clang-format off */
const Setting config_settings[] = {
        TIMESPAN("RuntimeTimeoutSec",           runtime_timeout_usec,                 2 * 60 * USEC_PER_SEC),
        TIMESPAN("IdleTimeoutSec",              idle_timeout_usec,                    IDLE_TIMEOUT_UNSET),
        NUMBER("MaxRuntimeJobs",                max_runtime_jobs,                     0,          1,        4096),

        NUMBER("MaxContainers",                 limits.containers,                    65536,      1,        1048576),
        NUMBER("MaxContainersPerNamespace",     limits.containers_per_namespace,      65536,      1,        1048576),
        NUMBER("MaxExecsPerContainer",          limits.execs_per_container,           4096,       1,        65536),
        NUMBER("MaxOperationsPerProcess",       limits.operations_per_process,        1024,       1,        65536),
        NUMBER("MaxOperationsPerContainer",     limits.operations_per_container,      16384,      1,        1048576),
        NUMBER("MaxOperationsPerClient",        limits.operations_per_client,         32768,      1,        1048576),
        NUMBER("MaxCallsPerClient",             limits.calls_per_client,              65536,      1,        1048576),
        NUMBER("MaxUnauthorizedCallsPerClient", limits.unauthorized_calls_per_client, 1024,       1,        65536),
        NUMBER("MaxUnauthorizedCallsPerUser",   limits.unauthorized_calls_per_user,   64,         1,        65536),
        SIZE("MaxUnauthorizedSizePerUser",      limits.unauthorized_size_per_user,    32 * MIB,   64 * KIB, 1024 * MIB),
        NUMBER("MaxUnauthorizedCalls",          limits.unauthorized_calls,            256,        1,        65536),
        NUMBER("MaxWaitersPerProcess",          limits.waiters_per_process,           16384,      1,        1048576),
        NUMBER("MaxPeers",                      limits.peers,                         4096,       1,        65536),
        NUMBER("MaxSubscriptions",              limits.subscriptions,                 1024,       1,        65536),
        NUMBER("MaxSubscriptionsPerClient",     limits.subscriptions_per_client,      256,        1,        65536),

        NUMBER("MaxLabelsPerContainer",         limits.labels_per_container,          1024,       1,        4096),
        SIZE("MaxLabelsSize",                   limits.labels_size,                   256 * KIB,  1 * KIB,  512 * KIB),
        SIZE("MaxSpecSize",                     limits.spec_size,                     16 * MIB,   1 * KIB,  16 * MIB),

        NUMBER("MaxEvents",                     limits.events,                        8192,       16,       1048576),
        SIZE("MaxEventsSize",                   limits.events_size,                   16 * MIB,   64 * KIB, 128 * MIB),
        SIZE("MaxUnwrittenEventsSize",          limits.events_unwritten_size,         16 * MIB,   64 * KIB, 1024 * MIB),
        NUMBER("MaxExitsKept",                  limits.exits_kept,                    16384,      64,       1048576),

        NUMBER("MaxUnreadMessages",             limits.unread_messages,               8192,       64,       32768),
        SIZE("MaxUnreadSize",                   limits.unread_size,                   4 * MIB,    64 * KIB, 32 * MIB),
        NUMBER("MaxUnreadReplies",              limits.unread_replies,                16,         1,        4096),
        SIZE("MaxStreamTurnSize",               limits.stream_turn_size,              64 * KIB,   4 * KIB,  64 * KIB),
        {},
};

static const ConfigSection config_sections[] = {
        { "Seccomp", offsetof(Config, seccomp), seccomp_section_parse, seccomp_section_done },
        {},
};
/* clang-format on */

typedef struct Loader {
        const ConfigSection *sections;
        const char *path;
        const char *rest; /* of the file's text */
        unsigned line;
        Config config;
        int error;
        char *reason; /* of the first mistake, at 'reason_line' */
        unsigned reason_line;
} Loader;

/* ---- the settings ---- */

static void *config_member(Config *c, size_t offset) {
        return (char *) c + offset;
}

static void setting_store(const Setting *s, Config *c, uint64_t value) {
        if (s->kind == SETTING_NUMBER)
                *(unsigned *) config_member(c, s->offset) = (unsigned) value;
        else
                *(uint64_t *) config_member(c, s->offset) = value;
}

/* More than there are CPUs: a runtime waits for the disk and the kernel a good deal of its time. */
static unsigned default_max_runtime_jobs(void) {
        unsigned n = MAX_RUNTIME_JOBS_MIN;
        cpu_set_t cpus;

        if (sched_getaffinity(0, sizeof(cpus), &cpus) >= 0)
                n = 2 * (unsigned) CPU_COUNT(&cpus);
        return n < MAX_RUNTIME_JOBS_MIN ? MAX_RUNTIME_JOBS_MIN : n;
}

static uint64_t setting_get_default(const Setting *s) {
        return s->offset == offsetof(Config, max_runtime_jobs) ? default_max_runtime_jobs() : s->fallback;
}

void config_init(Config *c) {
        *c = (Config) {};
        for (const Setting *s = config_settings; s->section; s++)
                setting_store(s, c, setting_get_default(s));
}

static void config_done_sections(Config *c, const ConfigSection *sections) {
        for (const ConfigSection *s = sections; s->name; s++)
                if (s->done)
                        s->done(config_member(c, s->offset));
}

void config_done(Config *c) {
        config_done_sections(c, config_sections);
        config_init(c);
}

/* An empty value gives the default back, as in systemd's files. */
static int setting_parse(const Setting *s, Config *c, const char *value) {
        uint64_t n;
        int r;

        if (!value[0]) {
                setting_store(s, c, setting_get_default(s));
                return 0;
        }

        switch (s->kind) {
        case SETTING_TIMESPAN:
                r = parse_timespan(value, &n);
                if (r >= 0 && n == 0)
                        n = USEC_INFINITY;
                break;
        case SETTING_SIZE:
                r = parse_size(value, &n);
                break;
        default:
                r = parse_uint64(value, &n);
                break;
        }
        if (r < 0)
                return r;
        if (n < s->min || n > s->max)
                return -ERANGE;

        setting_store(s, c, n);
        return 0;
}

/* What such a setting takes, for an error's text. */
static char *setting_describe(const Setting *s) {
        char from[SIZE_TEXT_MAX], to[SIZE_TEXT_MAX];

        switch (s->kind) {
        case SETTING_TIMESPAN:
                return strdup("a time span, such as \"2min\", or \"infinity\"");
        case SETTING_SIZE:
                return strdup_printf("a size from %s to %s", format_size(s->min, from), format_size(s->max, to));
        default:
                return strdup_printf("a number from %" PRIu64 " to %" PRIu64, s->min, s->max);
        }
}

static const Setting *setting_find(const char *section, const char *name) {
        for (const Setting *s = config_settings; s->section; s++)
                if (streq(s->section, section) && streq(s->name, name))
                        return s;
        return NULL;
}

static bool section_has_settings(const char *section) {
        for (const Setting *s = config_settings; s->section; s++)
                if (streq(s->section, section))
                        return true;
        return false;
}

/* ---- one file ---- */

/* Takes over 'reason' (NULL: there was no memory for it). Only the first mistake counts: others may come from it. */
static void loader_fail(Loader *l, int error, char *reason) {
        if (l->error == 0) {
                l->error = reason ? error : -ENOMEM;
                l->reason = reason;
                l->reason_line = l->line;
        } else
                free(reason);
}

/* 'what' is what is wrong with the value, without memory NULL. */
static void loader_refuse(Loader *l, const char *name, const char *value, const char *what) {
        _cleanup_(freep) char *shown = text_sanitize(value, strlen(value), VALUE_SHOWN_MAX);

        loader_fail(l, -EINVAL,
                    shown && what ? strdup_printf("%s:%u: %s=%s %s", l->path, l->line, name, shown, what) : NULL);
}

static void loader_on_setting(Loader *l, const Setting *s, const char *value) {
        _cleanup_(freep) char *wanted = NULL, *what = NULL;

        if (setting_parse(s, &l->config, value) >= 0)
                return;

        wanted = setting_describe(s);
        what = wanted ? strdup_printf("is not %s", wanted) : NULL;
        loader_refuse(l, s->name, value, what);
}

/* Has 'section' this name, and maybe an argument? */
static bool section_is(const char *section, const char *name) {
        size_t n = strlen(name);

        return strncmp(section, name, n) == 0 && strchr(" \t", section[n]);
}

static void loader_on_section_setting(Loader *l, const ConfigSection *s, const char *section, const char *name,
                                      const char *value) {
        const char *start = section + strlen(s->name);
        _cleanup_(freep) char *argument = NULL, *what = NULL;
        size_t n;
        int r;

        start += strspn(start, " \t");
        n = strlen(start);
        while (n > 0 && strchr(" \t", start[n - 1]))
                n--;
        if (n > 0) {
                argument = strndup(start, n);
                if (!argument) {
                        loader_fail(l, -ENOMEM, NULL);
                        return;
                }
        }

        r = s->parse(config_member(&l->config, s->offset), argument, name, value, &what);
        if (r == -ENOENT)
                log_warning("%s:%u: Unknown setting \"%s\" in section [%s], ignoring.", l->path, l->line, name,
                            section);
        else if (r < 0)
                loader_refuse(l, name, value, what);
        else if (r > 0)
                log_warning("%s:%u: %s= in section [%s] %s", l->path, l->line, name, section, strempty(what));
}

static int loader_on_entry(void *userdata, const char *section, const char *name, const char *value) {
        const Setting *setting = setting_find(section, name);
        Loader *l = userdata;

        if (setting) {
                loader_on_setting(l, setting, value);
                return 1;
        }

        for (const ConfigSection *s = l->sections; s->name; s++)
                if (section_is(section, s->name)) {
                        loader_on_section_setting(l, s, section, name, value);
                        return 1;
                }

        if (section_has_settings(section))
                log_warning("%s:%u: Unknown setting \"%s\" in section [%s], ignoring.", l->path, l->line, name,
                            section);
        else if (section[0])
                log_warning("%s:%u: Unknown section [%s], ignoring its \"%s\".", l->path, l->line, section, name);
        else
                log_warning("%s:%u: Setting \"%s\" stands outside of any section, ignoring.", l->path, l->line, name);
        return 1;
}

/* Is the name of the section that begins here more than inih keeps of it? */
static bool section_is_too_long(const char *line, size_t length) {
        const char *end = line[0] == '[' ? memchr(line, ']', length) : NULL;

        return end && end - line - 1 > SECTION_NAME_MAX;
}

/* Gives inih the next line. inih cuts long lines in two, which makes two settings of one, and takes an indented line
 * for more of the one before: so it gets neither. */
static char *loader_read_line(char *buffer, int size, void *userdata) {
        Loader *l = userdata;
        size_t length, room = (size_t) size - 2;
        const char *start;

        if (!l->rest[0])
                return NULL;

        start = l->rest + strspn(l->rest, " \t\r");
        length = strcspn(start, "\n");
        l->rest = start + length + (start[length] == '\n');
        l->line++;

        if (length == 0 || strchr("#;", start[0]))
                return strcpy(buffer, "\n");
        if (length > room) {
                loader_fail(l, -EINVAL,
                            strdup_printf("%s:%u: the line is longer than %zu bytes", l->path, l->line, room));
                return strcpy(buffer, "\n");
        }

        if (section_is_too_long(start, length)) {
                loader_fail(l, -EINVAL,
                            strdup_printf("%s:%u: the name of the section is longer than %u bytes", l->path, l->line,
                                          SECTION_NAME_MAX));
                return strcpy(buffer, "\n");
        }

        strcpy(mempcpy(buffer, start, length), "\n");
        return buffer;
}

/* A link to /dev/null is how an admin takes back a file of a package. */
static bool fd_is_null_device(int fd) {
        struct stat st;

        return fstat(fd, &st) >= 0 && S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3);
}

static int config_read(const char *path, bool may_be_null, char **ret, char **reterr_reason) {
        _cleanup_(safe_closep) int fd = -EBADF;
        _cleanup_(freep) char *text = NULL;
        const char *reason;
        size_t size;
        int r;

        /* A symbolic link is the admin's choice; a FIFO must not stop us. */
        fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (fd >= 0 && may_be_null && fd_is_null_device(fd)) {
                *ret = strdup("");
                return *ret ? 0 : -ENOMEM;
        }
        r = fd < 0 ? -errno : file_read_fd(fd, CONFIG_SIZE_MAX, &text, &size);
        if (r >= 0 && strlen(text) == size) {
                *ret = TAKE_PTR(text);
                return 0;
        }

        if (r >= 0) {
                reason = "there is a NUL byte in it";
                r = -EINVAL;
        } else if (r == -EISDIR || r == -EBADFD || r == -ENXIO) {
                reason = "not a regular file";
                r = -EINVAL;
        } else if (r == -EFBIG)
                reason = "larger than 1 MiB";
        else
                reason = strerror(-r);

        *reterr_reason = strdup_printf("%s: %s", path, reason);
        return *reterr_reason ? r : -ENOMEM;
}

/* On failure the loader has the reason. */
static int loader_read_file(Loader *l, const char *path, bool is_drop_in) {
        _cleanup_(freep) char *text = NULL;
        int r;

        r = config_read(path, is_drop_in, &text, &l->reason);
        if (r < 0)
                return r;

        l->path = path;
        l->rest = text;
        l->line = 0;
        r = ini_parse_stream(loader_read_line, l, loader_on_entry, l);
        if (r > 0 && (l->error == 0 || (unsigned) r < l->reason_line)) {
                free(l->reason);
                l->reason = strdup_printf("%s:%d: neither a [Section] nor Name=Value", path, r);
                l->error = l->reason ? -EINVAL : -ENOMEM;
        } else if (r < 0 && l->error == 0)
                l->error = -ENOMEM;
        return l->error;
}

/* ---- all files ---- */

static int drop_in_is_wanted(const struct dirent *de) {
        size_t n = strlen(de->d_name);

        return de->d_name[0] != '.' && n > strlen(".conf") && streq(de->d_name + n - strlen(".conf"), ".conf");
}

static bool drop_ins_contain(char *const *paths, const char *name) {
        for (char *const *p = paths; p && *p; p++)
                if (streq(strrchr(*p, '/') + 1, name))
                        return true;
        return false;
}

static int drop_ins_add_directory(char ***paths, const char *directory, char **reterr_reason) {
        struct dirent **entries = NULL;
        int n, r = 0;

        n = scandir(directory, &entries, drop_in_is_wanted, NULL);
        if (n < 0) {
                r = errno == ENOENT ? 0 : -errno;
                if (r < 0)
                        *reterr_reason = strdup_printf("%s: %s", directory, strerror(-r));
                return r;
        }

        if (strv_length(*paths) + (size_t) n > DROP_INS_MAX) {
                *reterr_reason = strdup_printf("%s: there are more than %d drop-ins", directory, DROP_INS_MAX);
                r = -E2BIG;
        }
        for (int i = 0; i < n; i++) {
                if (r >= 0 && !drop_ins_contain(*paths, entries[i]->d_name))
                        r = strv_extendf(paths, "%s/%s", directory, entries[i]->d_name);
                free(entries[i]);
        }
        free(entries);
        return r;
}

/* By the names of the files, whatever folder they are in; no two are the same. */
static int drop_in_compare(const void *a, const void *b) {
        const char *const *one = a, *const *other = b;

        return strcmp(strrchr(*one, '/'), strrchr(*other, '/'));
}

static int loader_read_drop_ins(Loader *l, char *const *directories) {
        _cleanup_(strv_freep) char **paths = NULL;
        int r;

        for (char *const *d = directories; d && *d; d++) {
                r = drop_ins_add_directory(&paths, *d, &l->reason);
                if (r < 0)
                        return r;
        }
        if (!paths)
                return 0;

        qsort(paths, strv_length(paths), sizeof(*paths), drop_in_compare);
        for (char **p = paths; *p; p++) {
                r = loader_read_file(l, *p, true);
                if (r < 0)
                        return r;
        }
        return 0;
}

int config_load_sources(const ConfigSources *sources, Config *ret, char **reterr_reason) {
        Loader l = { .sections = sources->sections ?: config_sections };
        int r;

        config_init(&l.config);
        r = loader_read_file(&l, sources->path, false);
        if (r == -ENOENT && sources->optional) {
                l.reason = mfree(l.reason);
                r = 0;
        }
        if (r >= 0)
                r = loader_read_drop_ins(&l, sources->directories);
        if (r < 0) {
                config_done_sections(&l.config, l.sections);
                *reterr_reason = l.reason;
                return r;
        }

        *ret = l.config;
        return 0;
}

char **config_list_directories(const char *path) {
        _cleanup_(strv_freep) char **directories = NULL;

        if (strv_extendf(&directories, "%s.d", path) < 0)
                return NULL;
        if (streq(path, CONFIG_PATH_DEFAULT) &&
            strv_extend_all(&directories, "/run/monoshim/monoshimd.conf.d", "/usr/lib/monoshim/monoshimd.conf.d") < 0)
                return NULL;

        return TAKE_PTR(directories);
}

int config_load(const char *path, bool optional, Config *ret, char **reterr_reason) {
        _cleanup_(strv_freep) char **directories = config_list_directories(path);
        const ConfigSources sources = { .path = path, .optional = optional, .directories = directories };

        if (!directories)
                return -ENOMEM;
        return config_load_sources(&sources, ret, reterr_reason);
}
