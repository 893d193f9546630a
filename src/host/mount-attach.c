/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The system calls that one mount takes. */

#include "host/mount-attach.h"

#include "util/strv.h"
#include "util/text.h"

#include <fcntl.h>
#include <linux/loop.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#ifndef AT_RECURSIVE
#define AT_RECURSIVE 0x8000
#endif

#define LOOP_TRIES 64

/* What belongs to a mount, and not to the file system that is mounted. */
#define ATIME_FLAGS ((unsigned long) MS_NOATIME | MS_RELATIME | MS_STRICTATIME)
#define MOUNT_FLAGS \
        ((unsigned long) MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NODIRATIME | MS_NOSYMFOLLOW | ATIME_FLAGS)

typedef struct FdPath {
        char path[32];
} FdPath;

static FdPath fd_path(int fd) {
        FdPath p;

        (void) snprintf(p.path, sizeof(p.path), "/proc/self/fd/%d", fd);
        return p;
}

static uint64_t attributes_from_flags(unsigned long flags) {
        static const struct {
                unsigned long flag;
                uint64_t attribute;
        } table[] = {
                { MS_RDONLY, MOUNT_ATTR_RDONLY },         { MS_NOSUID, MOUNT_ATTR_NOSUID },
                { MS_NODEV, MOUNT_ATTR_NODEV },           { MS_NOEXEC, MOUNT_ATTR_NOEXEC },
                { MS_NODIRATIME, MOUNT_ATTR_NODIRATIME }, { MS_NOSYMFOLLOW, MOUNT_ATTR_NOSYMFOLLOW },
        };
        uint64_t attributes = 0;

        for (size_t i = 0; i < ELEMENTSOF(table); i++)
                if (flags & table[i].flag)
                        attributes |= table[i].attribute;

        /* Of these there is one, not several. */
        if (flags & MS_STRICTATIME)
                attributes |= MOUNT_ATTR_STRICTATIME;
        else if (flags & MS_NOATIME)
                attributes |= MOUNT_ATTR_NOATIME;
        return attributes;
}

/* --- loop devices ----------------------------------------------------------------------------------------------- */

typedef struct LoopDevice {
        int fd; /* it vanishes when this is closed, unless it is mounted by then */
        char path[32];
} LoopDevice;

static int loop_open_file(const char *path, bool read_only) {
        _cleanup_(safe_closep) int fd = -EBADF;
        struct stat st;

        fd = open(path, (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        if (fd < 0)
                return -errno;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
                return -EINVAL;
        return TAKE_FD(fd);
}

/* Takes a free one. Somebody may be quicker: then the next one is asked for. */
static int loop_open(const char *file, bool read_only, LoopDevice *ret, char **ret_why) {
        _cleanup_(safe_closep) int control = -EBADF, backing = -EBADF;
        struct loop_config config = {
                .info = { .lo_flags = LO_FLAGS_AUTOCLEAR | (read_only ? (unsigned) LO_FLAGS_READ_ONLY : 0) },
        };

        backing = loop_open_file(file, read_only);
        if (backing < 0)
                return backing;
        config.fd = (uint32_t) backing;

        control = open("/dev/loop-control", O_RDWR | O_CLOEXEC | O_NOCTTY);
        if (control < 0) {
                *ret_why = strdup("there are no loop devices here");
                return -EOPNOTSUPP;
        }

        for (unsigned i = 0; i < LOOP_TRIES; i++) {
                _cleanup_(safe_closep) int fd = -EBADF;
                LoopDevice device;
                int n;

                n = ioctl(control, LOOP_CTL_GET_FREE);
                if (n < 0)
                        return -errno;
                (void) snprintf(device.path, sizeof(device.path), "/dev/loop%d", n);
                fd = open(device.path, (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOCTTY);
                if (fd < 0)
                        return -errno;
                if (ioctl(fd, LOOP_CONFIGURE, &config) >= 0) {
                        device.fd = TAKE_FD(fd);
                        *ret = device;
                        return 0;
                }
                if (errno != EBUSY)
                        return -errno;
        }
        return -EBUSY;
}

static int loop_attach(const Mount *m, const MountOptions *o, const char *data, const char *target, char **ret_why) {
        LoopDevice device = { .fd = -EBADF };
        int r;

        r = loop_open(m->source, o->flags & MS_RDONLY, &device, ret_why);
        if (r < 0)
                return r;

        r = mount(device.path, target, m->type, o->flags, data) < 0 ? -errno : 0;
        safe_close(device.fd);
        return r;
}

/* --- overlays with many layers ---------------------------------------------------------------------------------- */

/* Can they be given one by one? Escapes and data-only layers ("::") mean something in the list only. */
static bool layers_are_plain(char *const *layers) {
        for (char *const *l = layers; *l; l++)
                if (!(*l)[0] || strchr(*l, '\\'))
                        return false;
        return true;
}

static int context_set(int fd, const char *key, const char *value) {
        return fsconfig(fd, value ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG, key, value, 0) < 0 ? -errno : 0;
}

static int context_set_word(int fd, const char *word) {
        _cleanup_(freep) char *key = strdup(word);
        char *value;

        if (!key)
                return -ENOMEM;
        value = strchr(key, '=');
        if (value)
                *value++ = '\0';
        return context_set(fd, key, value);
}

static int context_set_flags(int fd, unsigned long flags) {
        static const struct {
                unsigned long flag;
                const char *key;
        } table[] = {
                { MS_RDONLY, "ro" },     { MS_SYNCHRONOUS, "sync" },  { MS_DIRSYNC, "dirsync" },
                { MS_MANDLOCK, "mand" }, { MS_LAZYTIME, "lazytime" },
        };
        int r;

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                if (!(flags & table[i].flag))
                        continue;
                r = context_set(fd, table[i].key, NULL);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int context_set_all(int fd, const Mount *m, const MountOptions *o, char *const *layers) {
        int r;

        r = context_set(fd, "source", isempty(m->source) ? "overlay" : m->source);
        if (r < 0)
                return r;
        r = context_set_flags(fd, o->flags);
        if (r < 0)
                return r;

        for (char *const *l = layers; *l; l++) {
                r = context_set(fd, "lowerdir+", *l);
                if (r < 0)
                        return r;
        }
        for (char *const *w = o->data; *w; w++) {
                r = startswith(*w, "lowerdir=") ? 0 : context_set_word(fd, *w);
                if (r < 0)
                        return r;
        }
        return fsconfig(fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0 ? -errno : 0;
}

/* The last error that the kernel tells of, as a new string, or NULL. */
static char *context_read_error(int fd) {
        char *error = NULL, line[512];
        ssize_t n;

        while ((n = read(fd, line, sizeof(line) - 1)) > 0) {
                line[n] = '\0';
                line[strcspn(line, "\n")] = '\0';
                if (!startswith(line, "e "))
                        continue;
                free(error);
                error = strdup(line + 2);
        }
        return error;
}

/* Since Linux 6.5 each layer can be given by itself. */
static int overlay_attach_by_context(const Mount *m, const MountOptions *o, char *const *layers, int target_fd,
                                     char **ret_why) {
        _cleanup_(safe_closep) int fd = -EBADF, mounted = -EBADF;
        int r;

        fd = fsopen(m->type, FSOPEN_CLOEXEC);
        if (fd < 0)
                return -errno;
        r = context_set_all(fd, m, o, layers);
        if (r < 0) {
                *ret_why = context_read_error(fd);
                return r;
        }

        mounted = fsmount(fd, FSMOUNT_CLOEXEC, (unsigned) attributes_from_flags(o->flags));
        if (mounted < 0)
                return -errno;
        if (move_mount(mounted, "", target_fd, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
                return -errno;
        return 0;
}

/* As containerd does it: the layers are named relative to what they have in common. */
static int overlay_attach_by_directory(const Mount *m, const MountOptions *o, const char *target) {
        _cleanup_(freep) char *directory = NULL, *data = NULL;
        int r;

        r = mount_options_compact(o, &directory, &data);
        if (r < 0)
                return r;
        if (!mount_data_fits(data))
                return -E2BIG;

        if (chdir(directory) < 0)
                return -errno;
        r = mount(m->source, target, m->type, o->flags, data) < 0 ? -errno : 0;

        /* Whoever works there keeps it busy. */
        if (chdir("/") < 0 && r >= 0)
                r = -errno;
        return r;
}

static int refuse_length(char **ret_why) {
        *ret_why = strdup("mount options is too long");
        return -EINVAL;
}

static int overlay_attach(const Mount *m, const MountOptions *o, int target_fd, const char *target, char **ret_why) {
        _cleanup_(strv_freep) char **layers = NULL;
        _cleanup_(freep) char *why = NULL;
        int r;

        r = mount_options_get_layers(o, &layers);
        if (r < 0)
                return r;
        if (strv_length(layers) < 2)
                return refuse_length(ret_why);

        if (layers_are_plain(layers)) {
                r = overlay_attach_by_context(m, o, layers, target_fd, &why);

                /* These also come from a kernel that is too old, from a name of more than 255 bytes, and from a
                 * filter that has never heard of the calls. */
                if (r != -EINVAL && r != -ENOSYS && r != -EPERM) {
                        *ret_why = TAKE_PTR(why);
                        return r;
                }
        }

        r = overlay_attach_by_directory(m, o, target);
        if (r < 0 && why) {
                *ret_why = TAKE_PTR(why);
                return -EINVAL;
        }
        return r == -E2BIG ? refuse_length(ret_why) : r;
}

/* --- one mount -------------------------------------------------------------------------------------------------- */

int mount_attach(const Mount *m, const MountOptions *o, int target_fd, char **ret_why) {
        FdPath target = fd_path(target_fd);
        _cleanup_(freep) char *data = NULL;

        data = mount_options_get_data(o);
        if (!data)
                return -ENOMEM;

        if (!mount_data_fits(data)) {
                if (streq_ptr(m->type, "overlay") && !(o->flags & (MS_BIND | MS_REMOUNT)))
                        return overlay_attach(m, o, target_fd, target.path, ret_why);
                return refuse_length(ret_why);
        }

        if (o->loop)
                return loop_attach(m, o, data, target.path, ret_why);
        return mount(m->source, target.path, m->type, o->flags, data) < 0 ? -errno : 0;
}

static bool needs_attributes(const MountOptions *o) {
        return (o->flags & MS_BIND) && !(o->flags & MS_REMOUNT) && (o->flags & MOUNT_FLAGS);
}

/* Before mount_setattr() there was no way to do this to a whole tree, nor to add to the flags: so those that the
 * source is restricted by are said again. */
static int attributes_set_by_remount(const MountOptions *o, const char *path) {
        unsigned long flags = MS_BIND | MS_REMOUNT | (o->flags & MOUNT_FLAGS);
        struct statvfs st;

        if (statvfs(path, &st) < 0)
                return -errno;
        if (st.f_flag & ST_RDONLY)
                flags |= MS_RDONLY;
        if (st.f_flag & ST_NOSUID)
                flags |= MS_NOSUID;
        if (st.f_flag & ST_NODEV)
                flags |= MS_NODEV;
        if (st.f_flag & ST_NOEXEC)
                flags |= MS_NOEXEC;
        return mount("none", path, "", flags, NULL) < 0 ? -errno : 0;
}

static int attributes_set(const MountOptions *o, int fd) {
        struct mount_attr attr = {
                .attr_set = attributes_from_flags(o->flags),
                .attr_clr = o->flags & ATIME_FLAGS ? MOUNT_ATTR__ATIME : 0,
        };
        unsigned how = AT_EMPTY_PATH | (o->flags & MS_REC ? AT_RECURSIVE : 0);

        if (mount_setattr(fd, "", how, &attr, sizeof(attr)) >= 0)
                return 0;
        if (errno != ENOSYS)
                return -errno;
        return attributes_set_by_remount(o, fd_path(fd).path);
}

bool mount_needs_more(const MountOptions *o) {
        return needs_attributes(o) || o->n_propagation > 0;
}

int mount_finish(const MountOptions *o, int mounted_fd) {
        FdPath mounted = fd_path(mounted_fd);
        int r;

        if (needs_attributes(o)) {
                r = attributes_set(o, mounted_fd);
                if (r < 0)
                        return r;
        }
        for (size_t i = 0; i < o->n_propagation; i++)
                if (mount("none", mounted.path, "", o->propagation[i], NULL) < 0)
                        return -errno;
        return 0;
}
