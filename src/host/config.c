/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* monoshimd.conf: an ini file, read with inih. */

#include "host/config.h"
#include "util/file.h"
#include "util/log.h"
#include "util/text.h"

#include <fcntl.h>
#include <ini.h>
#include <sched.h>

#define CONFIG_SIZE_MAX (1024U * 1024U)
#define RUNTIME_TIMEOUT_DEFAULT (2 * 60 * USEC_PER_SEC)
#define MAX_RUNTIME_JOBS_MIN 4U
#define MAX_RUNTIME_JOBS_MAX 4096U
#define VALUE_SHOWN_MAX 128

typedef struct Loader {
        const char *path;
        const char *rest; /* of the file's text */
        unsigned line;
        Config config;
        int error;
        char *reason; /* of the first mistake, at 'reason_line' */
        unsigned reason_line;
} Loader;

/* More than there are CPUs: a runtime waits for the disk and the kernel a good deal of its time. */
static unsigned default_max_runtime_jobs(void) {
        unsigned n = MAX_RUNTIME_JOBS_MIN;
        cpu_set_t cpus;

        if (sched_getaffinity(0, sizeof(cpus), &cpus) >= 0)
                n = 2 * (unsigned) CPU_COUNT(&cpus);
        return n < MAX_RUNTIME_JOBS_MIN ? MAX_RUNTIME_JOBS_MIN : n;
}

void config_init(Config *c) {
        *c = (Config) {
                .runtime_timeout_usec = RUNTIME_TIMEOUT_DEFAULT,
                .max_runtime_jobs = default_max_runtime_jobs(),
        };
}

/* Takes over 'reason' (NULL: there was no memory for it). Only the first mistake counts: others may come from it. */
static void loader_fail(Loader *l, int error, char *reason) {
        if (l->error == 0) {
                l->error = reason ? error : -ENOMEM;
                l->reason = reason;
                l->reason_line = l->line;
        } else
                free(reason);
}

/* An empty value gives the default back, as in systemd's files. */
static int setting_runtime_timeout(Config *c, const char *value) {
        uint64_t usec = RUNTIME_TIMEOUT_DEFAULT;
        int r;

        if (value[0]) {
                r = parse_timespan(value, &usec);
                if (r < 0)
                        return r;
        }

        c->runtime_timeout_usec = usec > 0 ? usec : USEC_INFINITY;
        return 0;
}

static int setting_max_runtime_jobs(Config *c, const char *value) {
        uint64_t n = default_max_runtime_jobs();
        int r;

        if (value[0]) {
                r = parse_uint64(value, &n);
                if (r < 0)
                        return r;
                if (n < 1 || n > MAX_RUNTIME_JOBS_MAX)
                        return -ERANGE;
        }

        c->max_runtime_jobs = (unsigned) n;
        return 0;
}

static const struct {
        const char *name;
        const char *wanted;
        int (*parse)(Config *c, const char *value);
} settings[] = {
        { "RuntimeTimeoutSec", "a time span, such as \"2min\", or \"infinity\"", setting_runtime_timeout },
        { "MaxRuntimeJobs", "a number from 1 to 4096", setting_max_runtime_jobs },
};

static void loader_on_setting(Loader *l, const char *name, const char *value) {
        for (size_t i = 0; i < ELEMENTSOF(settings); i++) {
                _cleanup_(freep) char *shown = NULL;

                if (!streq(name, settings[i].name))
                        continue;
                if (settings[i].parse(&l->config, value) >= 0)
                        return;

                shown = text_sanitize(value, strlen(value), VALUE_SHOWN_MAX);
                loader_fail(l, -EINVAL,
                            shown ? strdup_printf("%s:%u: %s=%s is not %s", l->path, l->line, name, shown,
                                                  settings[i].wanted)
                                  : NULL);
                return;
        }

        log_warning("%s:%u: Unknown setting \"%s\" in section [Manager], ignoring.", l->path, l->line, name);
}

static int loader_on_entry(void *userdata, const char *section, const char *name, const char *value) {
        Loader *l = userdata;

        if (streq(section, "Manager"))
                loader_on_setting(l, name, value);
        else if (section[0])
                log_warning("%s:%u: Unknown section [%s], ignoring its \"%s\".", l->path, l->line, section, name);
        else
                log_warning("%s:%u: Setting \"%s\" stands outside of any section, ignoring.", l->path, l->line, name);
        return 1;
}

/* Gives inih the next line. inih cuts long lines in two, which makes two settings of one, and takes an indented line for
 * more of the one before: so it gets neither. */
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
                loader_fail(l, -EINVAL, strdup_printf("%s:%u: the line is longer than %zu bytes", l->path, l->line, room));
                return strcpy(buffer, "\n");
        }

        strcpy(mempcpy(buffer, start, length), "\n");
        return buffer;
}

static int config_read(const char *path, char **ret, char **reterr_reason) {
        _cleanup_(safe_closep) int fd = -EBADF;
        _cleanup_(freep) char *text = NULL;
        const char *reason;
        size_t size;
        int r;

        /* A symbolic link is the admin's choice; a FIFO must not stop us. */
        fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
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

int config_load(const char *path, bool optional, Config *ret, char **reterr_reason) {
        _cleanup_(freep) char *text = NULL, *why = NULL;
        Loader l = { .path = path };
        int r;

        config_init(&l.config);
        r = config_read(path, &text, &why);
        if (r == -ENOENT && optional) {
                *ret = l.config;
                return 0;
        }
        if (r < 0) {
                *reterr_reason = TAKE_PTR(why);
                return r;
        }

        l.rest = text;
        r = ini_parse_stream(loader_read_line, &l, loader_on_entry, &l);
        if (r > 0 && (l.error == 0 || (unsigned) r < l.reason_line)) {
                free(l.reason);
                l.reason = strdup_printf("%s:%d: neither a [Section] nor Name=Value", path, r);
                l.error = l.reason ? -EINVAL : -ENOMEM;
        } else if (r < 0 && l.error == 0)
                l.error = -ENOMEM;
        if (l.error < 0) {
                *reterr_reason = l.reason;
                return l.error;
        }

        *ret = l.config;
        return 0;
}
