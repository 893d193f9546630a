/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Mount options as in fstab. */

#include "host/mount-options.h"

#include "util/strv.h"
#include "util/text.h"

#include <sys/mount.h>

/* clang-format off */

/* "set" adds the flags, "clear" takes them away again. */
static const struct {
        const char *set;
        const char *clear;
        unsigned long flags;
} flag_options[] = {
        { "bind",        NULL,            MS_BIND          },
        { "defaults",    NULL,            0                },
        { "dirsync",     NULL,            MS_DIRSYNC       },
        { "lazytime",    "nolazytime",    MS_LAZYTIME      },
        { "mand",        "nomand",        MS_MANDLOCK      },
        { "noatime",     "atime",         MS_NOATIME       },
        { "nodev",       "dev",           MS_NODEV         },
        { "nodiratime",  "diratime",      MS_NODIRATIME    },
        { "noexec",      "exec",          MS_NOEXEC        },
        { "nosuid",      "suid",          MS_NOSUID        },
        { "nosymfollow", "symfollow",     MS_NOSYMFOLLOW   },
        { "rbind",       NULL,            MS_BIND | MS_REC },
        { "relatime",    "norelatime",    MS_RELATIME      },
        { "remount",     NULL,            MS_REMOUNT       },
        { "ro",          "rw",            MS_RDONLY        },
        { "strictatime", "nostrictatime", MS_STRICTATIME   },
        { "sync",        "async",         MS_SYNCHRONOUS   },
};

static const struct {
        const char *name;
        unsigned long flags;
} propagation_options[] = {
        { "private",    MS_PRIVATE             }, { "rprivate",    MS_PRIVATE | MS_REC    },
        { "shared",     MS_SHARED              }, { "rshared",     MS_SHARED | MS_REC     },
        { "slave",      MS_SLAVE               }, { "rslave",      MS_SLAVE | MS_REC      },
        { "unbindable", MS_UNBINDABLE          }, { "runbindable", MS_UNBINDABLE | MS_REC },
};

static const struct {
        const char *prefix;
        int error;
        const char *reason;
} refused_options[] = {
        { "uidmap=",       -EOPNOTSUPP, "identity-mapped mounts are not supported" },
        { "gidmap=",       -EOPNOTSUPP, "identity-mapped mounts are not supported" },
        { "X-containerd.", -EINVAL,     "it means something to containerd only"    },
};

/* clang-format on */

/* --- sorting ---------------------------------------------------------------------------------------------------- */

static bool options_take_flag(MountOptions *o, const char *word) {
        for (size_t i = 0; i < ELEMENTSOF(flag_options); i++) {
                if (streq(word, flag_options[i].set)) {
                        o->flags |= flag_options[i].flags;
                        return true;
                }
                if (flag_options[i].clear && streq(word, flag_options[i].clear)) {
                        o->flags &= ~flag_options[i].flags;
                        return true;
                }
        }
        return false;
}

/* 1: it was one; 0: it is something else. */
static int options_take_propagation(MountOptions *o, const char *word) {
        for (size_t i = 0; i < ELEMENTSOF(propagation_options); i++) {
                if (!streq(word, propagation_options[i].name))
                        continue;
                if (o->n_propagation == ELEMENTSOF(o->propagation))
                        return -EINVAL;
                o->propagation[o->n_propagation++] = propagation_options[i].flags;
                return 1;
        }
        return 0;
}

static int refuse(int error, char **reterr_reason, const char *word, const char *reason) {
        char *text;

        text = strdup_printf("the option \"%s\" cannot be used: %s", word, reason);
        if (!text)
                return -ENOMEM;
        *reterr_reason = text;
        return error;
}

static int options_take(MountOptions *o, const char *word, char **reterr_reason) {
        int r;

        if (options_take_flag(o, word))
                return 0;
        if (streq(word, "loop")) {
                o->loop = true;
                return 0;
        }

        r = options_take_propagation(o, word);
        if (r < 0)
                return refuse(r, reterr_reason, word, "there are too many of its kind");
        if (r > 0)
                return 0;

        for (size_t i = 0; i < ELEMENTSOF(refused_options); i++)
                if (startswith(word, refused_options[i].prefix))
                        return refuse(refused_options[i].error, reterr_reason, word, refused_options[i].reason);

        return strv_extend(&o->data, word);
}

/* The length of the first of several options. */
static size_t first_length(const char *s) {
        bool quoted = false;
        size_t n;

        for (n = 0; s[n] && (quoted || s[n] != ','); n++)
                if (s[n] == '"')
                        quoted = !quoted;
                else if (s[n] == '\\' && s[n + 1])
                        n++;
        return n;
}

static int options_take_list(MountOptions *o, const char *list, char **reterr_reason) {
        int r;

        for (;;) {
                size_t n = first_length(list);

                if (n > 0) {
                        _cleanup_(freep) char *word = strndup(list, n);

                        if (!word)
                                return -ENOMEM;
                        r = options_take(o, word, reterr_reason);
                        if (r < 0)
                                return r;
                }
                if (!list[n])
                        return 0;
                list += n + 1;
        }
}

int mount_options_parse(MountOptions *ret, char *const *options, char **reterr_reason) {
        _cleanup_(mount_options_done) MountOptions o = {};
        int r;

        for (; options && *options; options++) {
                r = options_take_list(&o, *options, reterr_reason);
                if (r < 0)
                        return r;
        }

        *ret = o;
        o = (MountOptions) {};
        return 0;
}

void mount_options_done(MountOptions *o) {
        strv_free(o->data);
        *o = (MountOptions) {};
}

/* --- data ------------------------------------------------------------------------------------------------------- */

static char *join(char *const *words, char separator) {
        char *joined, *p;
        size_t size = 1;

        for (char *const *w = words; w && *w; w++)
                size += strlen(*w) + 1;
        joined = p = malloc(size);
        if (!joined)
                return NULL;

        for (char *const *w = words; w && *w; w++) {
                if (w > words)
                        *p++ = separator;
                p = stpcpy(p, *w);
        }
        *p = '\0';
        return joined;
}

char *mount_options_get_data(const MountOptions *o) {
        return join(o->data, ',');
}

bool mount_data_fits(const char *data) {
        return strlen(data) < (size_t) sysconf(_SC_PAGESIZE);
}

/* --- the layers of an overlay ----------------------------------------------------------------------------------- */

int mount_options_get_layers(const MountOptions *o, char ***ret) {
        _cleanup_(strv_freep) char **layers = NULL;
        const char *list = NULL;
        int r;

        /* Said twice, the last one holds. */
        for (char *const *w = o->data; w && *w; w++)
                list = startswith(*w, "lowerdir=") ?: list;

        layers = calloc(1, sizeof(char *));
        if (!layers)
                return -ENOMEM;

        while (list) {
                size_t n = 0;

                while (list[n] && list[n] != ':')
                        n += list[n] == '\\' && list[n + 1] ? 2 : 1;

                r = strv_extendf(&layers, "%.*s", (int) n, list);
                if (r < 0)
                        return r;
                list = list[n] ? list + n + 1 : NULL;
        }

        *ret = TAKE_PTR(layers);
        return 0;
}

/* The length of the part in front of the last slash. */
static size_t directory_length(const char *path, size_t length) {
        while (length > 0 && path[length - 1] != '/')
                length--;
        while (length > 0 && path[length - 1] == '/')
                length--;
        return length;
}

/* The longest directory that all layers lie below: it is the beginning of the string that is returned. NULL when
 * there is none but "/". chdir() knows no escapes, so it has none. */
static const char *common_directory(char *const *layers, size_t *ret_length) {
        const char *first = NULL;
        size_t length = 0;

        for (char *const *l = layers; *l; l++) {
                size_t n = strlen(*l);

                if (n == 0)
                        continue;
                while (n > 1 && (*l)[n - 1] == '/')
                        n--;
                n = directory_length(*l, n);
                if (!first) {
                        first = *l;
                        length = n;
                }
                while (length > 0 && (length > n || strncmp(*l, first, length) != 0 || (*l)[length] != '/'))
                        length = directory_length(first, length);
        }

        while (length > 0 && memchr(first, '\\', length))
                length = directory_length(first, length);
        if (length == 0 || first[0] != '/')
                return NULL;

        *ret_length = length;
        return first;
}

int mount_options_compact(const MountOptions *o, char **ret_directory, char **ret_data) {
        _cleanup_(strv_freep) char **layers = NULL, **words = NULL;
        _cleanup_(freep) char *directory = NULL, *lower = NULL, *data = NULL;
        const char *common;
        size_t length = 0;
        int r;

        r = mount_options_get_layers(o, &layers);
        if (r < 0)
                return r;

        common = common_directory(layers, &length);
        if (!common)
                return -E2BIG;
        directory = strndup(common, length);
        if (!directory)
                return -ENOMEM;

        for (char **l = layers; *l; l++) {
                const char *rest = *l + (**l ? length : 0);

                rest += strspn(rest, "/");
                (void) memmove(*l, rest, strlen(rest) + 1);
        }

        for (char *const *w = o->data; *w; w++) {
                r = strv_extend(&words, startswith(*w, "lowerdir=") ? NULL : *w);
                if (r < 0)
                        return r;
        }

        lower = join(layers, ':');
        if (!lower)
                return -ENOMEM;
        r = strv_extendf(&words, "lowerdir=%s", lower);
        if (r < 0)
                return r;

        data = join(words, ',');
        if (!data)
                return -ENOMEM;

        *ret_directory = TAKE_PTR(directory);
        *ret_data = TAKE_PTR(data);
        return 0;
}
