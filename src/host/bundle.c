/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The part of an OCI bundle's config.json that monoshimd needs. */

#include "host/bundle.h"
#include "util/file.h"
#include "util/json.h"
#include "util/text.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>

/* The places in config.json that matter. */
typedef enum Place {
        PLACE_ELSEWHERE,
        PLACE_ROOT,
        PLACE_LINUX,
        PLACE_NAMESPACES,
        PLACE_NAMESPACE,
        PLACE_NAMESPACE_TYPE,
        PLACE_NAMESPACE_PATH,
        PLACE_GID_MAPPINGS,
        PLACE_GID_MAPPING,
        PLACE_CONTAINER_ID,
        PLACE_HOST_ID,
        PLACE_CGROUPS_PATH,
        _PLACE_MAX,
} Place;

static const struct {
        Place parent;
        const char *key; /* NULL: an element of an array */
        JsonEvent expected;
        const char *complaint;
} places[_PLACE_MAX] = {
        [PLACE_ROOT] = { PLACE_ELSEWHERE, NULL, JSON_OBJECT_OPEN, "must be an object" },
        [PLACE_LINUX] = { PLACE_ROOT, "linux", JSON_OBJECT_OPEN, "linux must be an object" },
        [PLACE_NAMESPACES] = { PLACE_LINUX, "namespaces", JSON_ARRAY_OPEN, "linux.namespaces must be an array" },
        [PLACE_NAMESPACE] = { PLACE_NAMESPACES, NULL, JSON_OBJECT_OPEN, "linux.namespaces[] must be an object" },
        [PLACE_NAMESPACE_TYPE] = { PLACE_NAMESPACE, "type", JSON_STRING, "linux.namespaces[].type must be a string" },
        [PLACE_NAMESPACE_PATH] = { PLACE_NAMESPACE, "path", JSON_STRING, "linux.namespaces[].path must be a string" },
        [PLACE_GID_MAPPINGS] = { PLACE_LINUX, "gidMappings", JSON_ARRAY_OPEN, "linux.gidMappings must be an array" },
        [PLACE_GID_MAPPING] = { PLACE_GID_MAPPINGS, NULL, JSON_OBJECT_OPEN, "linux.gidMappings[] must be an object" },
        [PLACE_CONTAINER_ID] = { PLACE_GID_MAPPING, "containerID", JSON_NUMBER,
                                 "linux.gidMappings[].containerID must be a group id" },
        [PLACE_HOST_ID] = { PLACE_GID_MAPPING, "hostID", JSON_NUMBER, "linux.gidMappings[].hostID must be a group id" },
        [PLACE_CGROUPS_PATH] = { PLACE_LINUX, "cgroupsPath", JSON_STRING, "linux.cgroupsPath must be a string" },
};

typedef struct Parser {
        BundleConfig config;

        Place stack[JSON_DEPTH_MAX + 1]; /* the objects and arrays that we are in; [0] is what holds the root */
        unsigned depth;
        Place next; /* the place of the value that comes next in an object */

        bool is_pid, has_path; /* of the namespace that we are in */
        gid_t container_gid, host_gid; /* of the mapping that we are in */
        bool found_mapping;
} Parser;

void bundle_config_done(BundleConfig *c) {
        free(c->cgroups_path);
        *c = (BundleConfig) {};
}

static int _printf_(3, 4) fail(int error, char **reterr_reason, const char *format, ...) {
        char *reason = NULL;
        va_list args;
        int n;

        va_start(args, format);
        n = vasprintf(&reason, format, args);
        va_end(args);
        if (n < 0)
                return -ENOMEM;

        *reterr_reason = reason;
        return error;
}

static bool text_is(const char *s, const char *text, size_t size) {
        return strlen(s) == size && memcmp(s, text, size) == 0;
}

static Place place_below(Place parent, const char *key, size_t size) {
        for (Place p = PLACE_LINUX; p < _PLACE_MAX; p++)
                if (places[p].parent == parent && places[p].key && text_is(places[p].key, key, size))
                        return p;
        return PLACE_ELSEWHERE;
}

/* The place of the value that has just begun. */
static Place parser_place(const Parser *p) {
        if (p->depth == 0)
                return PLACE_ROOT;
        if (p->stack[p->depth] == PLACE_NAMESPACES)
                return PLACE_NAMESPACE;
        if (p->stack[p->depth] == PLACE_GID_MAPPINGS)
                return PLACE_GID_MAPPING;
        return p->next;
}

/* Not (gid_t) -1, which means "leave it" to chown(). */
static int gid_parse(const char *text, size_t size, gid_t *ret) {
        char digits[16];
        uint64_t u;

        if (size >= sizeof(digits))
                return -ERANGE;
        memcpy(digits, text, size);
        digits[size] = 0;

        if (parse_uint64(digits, &u) < 0 || u >= UINT32_MAX)
                return -EINVAL;

        *ret = (gid_t) u;
        return 0;
}

/* A null is what Go makes of it: an object or array becomes empty, anything else stays as it was. */
static void parser_on_null(Parser *p, Place place) {
        if (place == PLACE_LINUX)
                bundle_config_done(&p->config);
        if (place == PLACE_NAMESPACES)
                p->config.private_pid_namespace = false;
        if (place == PLACE_LINUX || place == PLACE_GID_MAPPINGS) {
                p->config.remaps_gid = false;
                p->config.root_gid = 0;
                p->found_mapping = false;
        }
}

static int parser_on_value(Parser *p, Place place, const char *text, size_t size) {
        BundleConfig *c = &p->config;

        switch (place) {
        case PLACE_NAMESPACES: /* of two arrays of that name, the last counts */
        case PLACE_GID_MAPPINGS:
                parser_on_null(p, place);
                return 0;
        case PLACE_NAMESPACE:
                p->is_pid = p->has_path = false;
                return 0;
        case PLACE_NAMESPACE_TYPE:
                p->is_pid = text_is("pid", text, size);
                return 0;
        case PLACE_NAMESPACE_PATH:
                p->has_path = size > 0;
                return 0;
        case PLACE_GID_MAPPING:
                p->container_gid = p->host_gid = 0;
                return 0;
        case PLACE_CONTAINER_ID:
                return gid_parse(text, size, &p->container_gid);
        case PLACE_HOST_ID:
                return gid_parse(text, size, &p->host_gid);
        case PLACE_CGROUPS_PATH:
                c->cgroups_path = mfree(c->cgroups_path);
                if (size > 0) {
                        c->cgroups_path = strndup(text, size);
                        if (!c->cgroups_path)
                                return -ENOMEM;
                }
                return 0;
        case PLACE_ELSEWHERE:
        case PLACE_ROOT:
        case PLACE_LINUX:
        case _PLACE_MAX:
                return 0;
        }
        return 0;
}

static void parser_on_close(Parser *p) {
        Place place = p->stack[p->depth--];

        if (place == PLACE_NAMESPACE && p->is_pid && !p->has_path)
                p->config.private_pid_namespace = true;

        /* The first mapping of group 0 counts (containerd runtime/v1/linux/bundle.go). */
        if (place == PLACE_GID_MAPPING && p->container_gid == 0 && !p->found_mapping) {
                p->found_mapping = true;
                p->config.remaps_gid = p->host_gid != 0;
                p->config.root_gid = p->host_gid;
        }
}

static int parser_on_event(void *userdata, JsonEvent event, const char *text, size_t size, const char **reterr_reason) {
        Parser *p = userdata;
        Place place;
        int r = 0;

        if (event == JSON_KEY) {
                p->next = place_below(p->stack[p->depth], text, size);
                return 0;
        }
        if (event == JSON_OBJECT_CLOSE || event == JSON_ARRAY_CLOSE) {
                parser_on_close(p);
                return 0;
        }

        place = parser_place(p);
        if (place != PLACE_ELSEWHERE) {
                if (event == places[place].expected)
                        r = parser_on_value(p, place, text, size);
                else if (event == JSON_NULL && place != PLACE_ROOT)
                        parser_on_null(p, place);
                else
                        r = -EINVAL;
                if (r == -ENOMEM)
                        return r;
                if (r < 0) {
                        *reterr_reason = places[place].complaint;
                        return -EINVAL;
                }
        }

        if (event == JSON_OBJECT_OPEN || event == JSON_ARRAY_OPEN) {
                p->stack[++p->depth] = place;
                p->next = PLACE_ELSEWHERE; /* what stands in an array that does not matter */
        }
        return 0;
}

int bundle_config_parse(const char *text, size_t size, BundleConfig *ret, char **reterr_reason) {
        Parser p = {};
        int r;

        if (size > BUNDLE_CONFIG_MAX)
                return fail(-EFBIG, reterr_reason, "larger than %u MiB", BUNDLE_CONFIG_MAX >> 20);

        r = json_scan(text, size, parser_on_event, &p, reterr_reason);
        if (r < 0) {
                bundle_config_done(&p.config);
                return r;
        }

        *ret = p.config;
        ret->size = size;
        return 0;
}

/* Opens only what is a regular file: opening a device can already do something. */
static int open_regular(int dir_fd, const char *name) {
        char path[sizeof("/proc/self/fd/") + 3 * sizeof(int)];
        _cleanup_(safe_closep) int fd = -EBADF;
        struct stat st;
        int regular;

        fd = openat(dir_fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode))
                return -EBADFD;

        (void) snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        regular = open(path, O_RDONLY | O_NOCTTY | O_CLOEXEC);
        return regular < 0 ? -errno : regular;
}

/* Without the slashes at its end: with one there, O_NOFOLLOW would follow all the same. */
static char *without_trailing_slashes(const char *path) {
        size_t n = strlen(path);

        while (n > 1 && path[n - 1] == '/')
                n--;
        return strndup(path, n);
}

int bundle_config_read(const char *bundle, BundleConfig *ret, char **reterr_reason) {
        _cleanup_(freep) char *directory = NULL, *text = NULL, *why = NULL;
        _cleanup_(safe_closep) int dir_fd = -EBADF, fd = -EBADF;
        size_t size;
        int r;

        if (bundle[0] != '/')
                return fail(-EINVAL, reterr_reason, "bundle \"%s\" is not an absolute path", bundle);
        directory = without_trailing_slashes(bundle);
        if (!directory)
                return -ENOMEM;

        dir_fd = open(directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (dir_fd < 0 && (errno == ENOTDIR || errno == ELOOP))
                return fail(-EINVAL, reterr_reason, "bundle %s is not a directory", directory);
        if (dir_fd < 0) {
                r = -errno;
                return fail(r, reterr_reason, "cannot open bundle %s: %s", directory, strerror(-r));
        }

        fd = open_regular(dir_fd, "config.json");
        if (fd == -EBADFD)
                return fail(-EINVAL, reterr_reason, "%s/config.json is not a regular file", directory);
        if (fd < 0)
                return fail(fd, reterr_reason, "cannot open %s/config.json: %s", directory, strerror(-fd));

        r = file_read_fd(fd, BUNDLE_CONFIG_MAX, &text, &size);
        if (r == -EFBIG)
                return fail(r, reterr_reason, "%s/config.json is larger than %u MiB", directory, BUNDLE_CONFIG_MAX >> 20);
        if (r < 0)
                return fail(r, reterr_reason, "cannot read %s/config.json: %s", directory, strerror(-r));

        r = bundle_config_parse(text, size, ret, &why);
        if (r < 0)
                return why ? fail(r, reterr_reason, "%s/config.json: %s", directory, why) : r;
        return 0;
}
