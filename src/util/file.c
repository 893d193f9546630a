/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Files and directories of ours. */

#include "util/crash-point.h"
#include "util/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>

#define READ_AT_FIRST 4096U /* what is asked for when fstat() does not know the size, as in /proc and /sys */
#define OPEN_TRIES 32
#define FDINFO_MAX (64U * 1024U)

static bool name_is_plain(const char *name) {
        return name[0] && !streq(name, ".") && !streq(name, "..") && !strchr(name, '/');
}

/* Which mount an open file is in. */
static int mount_id(int fd) {
        _cleanup_(freep) char *text = NULL;
        char path[sizeof("/proc/self/fdinfo/") + 3 * sizeof(int)];
        _cleanup_(safe_closep) int info = -EBADF;
        const char *id;
        int r;

        (void) snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
        info = open(path, O_RDONLY | O_CLOEXEC);
        if (info < 0)
                return -errno;
        r = file_read_fd(info, FDINFO_MAX, &text, NULL);
        if (r < 0)
                return r;

        id = strstr(text, "mnt_id:");
        return id ? atoi(id + strlen("mnt_id:")) : -ENODATA;
}

/* Neither a symbolic link nor in another mount than 'mount'. */
static int check_beneath(int fd, int mount) {
        struct stat st;
        int r;

        if (fstat(fd, &st) < 0)
                return -errno;
        if (S_ISLNK(st.st_mode))
                return -ELOOP;

        r = mount_id(fd);
        if (r < 0)
                return r;
        return r == mount ? 0 : -EXDEV;
}

/* One component of a path. It is looked at before it is opened, since opening may already do something (O_TRUNC). */
static int open_component(int dir_fd, int mount, const char *name, int flags, mode_t mode) {
        _cleanup_(safe_closep) int seen = -EBADF, fd = -EBADF;
        int r;

        if (streq(name, ".."))
                return -EXDEV;

        seen = openat(dir_fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
        if (seen < 0 && (errno != ENOENT || !(flags & O_CREAT)))
                return -errno;
        if (seen >= 0) {
                r = check_beneath(seen, mount);
                if (r < 0)
                        return r;
        }

        fd = openat(dir_fd, name, flags | O_NOFOLLOW | O_CLOEXEC, mode);
        if (fd < 0)
                return -errno;
        r = check_beneath(fd, mount);
        if (r < 0)
                return r;
        return TAKE_FD(fd);
}

/* What openat2() does, where there is none: Linux before 5.6, and many a valgrind. ".." is refused altogether. */
static int open_beneath_by_hand(int dir_fd, const char *path, int flags, mode_t mode) {
        _cleanup_(safe_closep) int fd = -EBADF;
        _cleanup_(freep) char *copy = NULL;
        char *state, *name, *next;
        int mount;

        if (path[0] == '/')
                return -EXDEV;
        if (!path[0])
                return -ENOENT;
        if (path[strlen(path) - 1] == '/')
                flags |= O_DIRECTORY;

        copy = strdup(path);
        if (!copy)
                return -ENOMEM;
        fd = fcntl(dir_fd, F_DUPFD_CLOEXEC, 3);
        if (fd < 0)
                return -errno;
        mount = mount_id(fd);
        if (mount < 0)
                return mount;

        for (name = strtok_r(copy, "/", &state); name; name = next) {
                int child;

                next = strtok_r(NULL, "/", &state);
                child = open_component(fd, mount, name, next ? O_PATH | O_DIRECTORY : flags, mode);
                if (child < 0)
                        return child;
                fd = safe_close(fd);
                fd = child;
        }
        return TAKE_FD(fd);
}

int file_open_beneath(int dir_fd, const char *path, int flags, mode_t mode) {
        struct open_how how = {
                .flags = (uint64_t) (flags | O_CLOEXEC),
                .mode = flags & (O_CREAT | __O_TMPFILE) ? mode : 0,
                .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS,
        };

        /* EAGAIN: something was renamed while ".." was being looked at, and the kernel could not tell what that
         * means. */
        for (int i = 0; i < OPEN_TRIES; i++) {
                long fd = syscall(SYS_openat2, dir_fd, path, &how, sizeof(how));

                if (fd >= 0)
                        return (int) fd;
                if (errno == ENOSYS)
                        return open_beneath_by_hand(dir_fd, path, flags, mode);
                if (errno != EAGAIN && errno != EINTR)
                        return -errno;
        }
        return -EAGAIN;
}

int file_read_beneath(int dir_fd, const char *path, size_t max, char **ret, size_t *ret_size) {
        _cleanup_(safe_closep) int fd = -EBADF;

        fd = file_open_beneath(dir_fd, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
        if (fd == -ENXIO) /* what open() says of a socket, and of a device that nobody drives */
                return -EBADFD;
        if (fd < 0)
                return fd;
        return file_read_fd(fd, max, ret, ret_size);
}

ssize_t file_read_record_fd(int fd, char *text, size_t size) {
        ssize_t n;

        do
                n = pread(fd, text, size, 0);
        while (n < 0 && errno == EINTR);
        if (n < 0)
                return -errno;
        if ((size_t) n == size)
                return -EFBIG;

        text[n] = '\0';
        return n;
}

ssize_t file_read_record(int dir_fd, const char *path, char *text, size_t size) {
        _cleanup_(safe_closep) int fd = -EBADF;

        fd = openat(dir_fd, path, O_RDONLY | O_NOCTTY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        return file_read_record_fd(fd, text, size);
}

int file_read_fd(int fd, size_t max, char **ret, size_t *ret_size) {
        _cleanup_(freep) char *text = NULL;
        size_t size = 0, allocated;
        struct stat st;

        if (fstat(fd, &st) < 0)
                return -errno;
        if (S_ISDIR(st.st_mode))
                return -EISDIR;
        if (!S_ISREG(st.st_mode))
                return -EBADFD;
        if ((uint64_t) st.st_size > max)
                return -EFBIG;

        /* One byte more than there should be, so that the end of file shows without another round; one for the NUL.
         */
        allocated = st.st_size > 0 ? (size_t) st.st_size + 1 : READ_AT_FIRST;
        text = malloc(allocated + 1);
        if (!text)
                return -ENOMEM;

        for (;;) {
                ssize_t n = pread(fd, text + size, allocated - size, (off_t) size);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                if (n == 0)
                        break;

                size += (size_t) n;
                if (size > max)
                        return -EFBIG;
                if (st.st_size > 0 && size == (size_t) st.st_size && size < allocated)
                        break; /* there was room for more; who has no size (/proc) is asked once more */
                if (size == allocated) {
                        char *larger = realloc(text, allocated * 2 + 1);

                        if (!larger)
                                return -ENOMEM;
                        text = larger;
                        allocated *= 2;
                }
        }

        text[size] = 0;
        *ret = TAKE_PTR(text);
        if (ret_size)
                *ret_size = size;
        return 0;
}

int file_remove_stale_socket(const char *path) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        _cleanup_(safe_closep) int fd = -EBADF;
        struct stat st;

        if (strlen(path) >= sizeof(address.sun_path))
                return -ENAMETOOLONG;
        strcpy(address.sun_path, path);

        if (lstat(path, &st) < 0)
                return errno == ENOENT ? 0 : -errno;
        if (!S_ISSOCK(st.st_mode) || st.st_uid != geteuid())
                return -EEXIST;

        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return -errno;
        if (connect(fd, (const struct sockaddr *) &address, sizeof(address)) >= 0 || errno != ECONNREFUSED)
                return -EADDRINUSE;

        return unlink(path) < 0 ? -errno : 0;
}

int file_set_blocking(int fd, bool blocking) {
        int flags = fcntl(fd, F_GETFL);

        if (flags < 0 || fcntl(fd, F_SETFL, blocking ? flags & ~O_NONBLOCK : flags | O_NONBLOCK) < 0)
                return -errno;
        return 0;
}

int file_read_tail(int fd, size_t max, char **ret, size_t *ret_size, uint64_t *ret_skipped) {
        _cleanup_(freep) char *text = NULL;
        size_t size = 0, wanted;
        struct stat st;
        off_t offset;

        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode))
                return -EBADFD;

        offset = (uint64_t) st.st_size > max ? st.st_size - (off_t) max : 0;
        wanted = (size_t) (st.st_size - offset);
        text = malloc(wanted + 1);
        if (!text)
                return -ENOMEM;

        while (size < wanted) {
                ssize_t n = pread(fd, text + size, wanted - size, offset + (off_t) size);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                if (n == 0)
                        break;
                size += (size_t) n;
        }

        text[size] = 0;
        *ret = TAKE_PTR(text);
        *ret_size = size;
        *ret_skipped = (uint64_t) offset;
        return 0;
}

int file_write_all(int fd, const void *data, size_t size) {
        const char *p = data;

        while (size > 0) {
                ssize_t n = write(fd, p, size);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                if (n == 0)
                        return -EIO;
                p += n;
                size -= (size_t) n;
        }
        return 0;
}

int file_memfd(const char *name, unsigned flags, const void *data, size_t size) {
        _cleanup_(safe_closep) int fd = -EBADF;
        int r;

        fd = memfd_create(name, flags);
        if (fd < 0)
                return -errno;

        r = file_write_all(fd, data, size);
        if (r < 0)
                return r;
        if (lseek(fd, 0, SEEK_SET) < 0)
                return -errno;
        return TAKE_FD(fd);
}

/* Makes the new file with all that it is to hold. close() is checked too: some file systems notice a full disk only
 * then. */
static int write_new_file(int dir_fd, const char *name, const void *data, size_t size, mode_t mode, bool sync) {
        _cleanup_(safe_closep) int fd = -EBADF;
        int r;

        fd = file_open_beneath(dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOCTTY, 0600);
        if (fd < 0)
                return fd;

        r = file_write_all(fd, data, size);
        if (r < 0)
                return r;
        if (fchmod(fd, mode) < 0) /* whatever the umask */
                return -errno;
        if (sync && fsync(fd) < 0)
                return -errno;
        if (close(TAKE_FD(fd)) < 0 && errno != EINTR)
                return -errno;
        return 0;
}

int file_write_atomic(int dir_fd, const char *name, const void *data, size_t size, mode_t mode, bool sync) {
        char temporary[NAME_MAX + 1];
        int n, r;

        if (!name_is_plain(name))
                return -EINVAL;
        n = snprintf(temporary, sizeof(temporary), ".%s.tmp", name);
        if (n < 0 || (size_t) n >= sizeof(temporary))
                return -ENAMETOOLONG;

        crash_point("file-before-write");
        r = write_new_file(dir_fd, temporary, data, size, mode, sync);
        if (r == -EEXIST || r == -ELOOP) { /* one that a crash left behind */
                if (unlinkat(dir_fd, temporary, 0) < 0)
                        return -errno;
                r = write_new_file(dir_fd, temporary, data, size, mode, sync);
        }
        crash_point("file-before-rename");
        if (r >= 0 && renameat(dir_fd, temporary, dir_fd, name) < 0)
                r = -errno;
        crash_point("file-after-rename");
        if (r < 0) {
                (void) unlinkat(dir_fd, temporary, 0);
                return r;
        }

        if (sync && fsync(dir_fd) < 0)
                return -errno;
        return 0;
}

/* Made 0700 and widened afterwards: the umask has no say, and nobody gets in before it is as it should be. */
static int make_directory(int dir_fd, const char *name, mode_t mode) {
        _cleanup_(safe_closep) int fd = -EBADF;

        if (mkdirat(dir_fd, name, 0700) < 0)
                return -errno;

        fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        if (fchmod(fd, mode) < 0)
                return -errno;
        return 0;
}

int directory_open_or_make(const char *path, mode_t mode) {
        _cleanup_(safe_closep) int fd = -EBADF;
        _cleanup_(freep) char *copy = NULL;
        char *state, *name, *next;
        int r;

        if (path[0] != '/')
                return -EINVAL;

        copy = strdup(path);
        if (!copy)
                return -ENOMEM;
        fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return -errno;

        for (name = strtok_r(copy, "/", &state); name; name = next) {
                int flags = O_DIRECTORY | O_CLOEXEC;
                int child;

                next = strtok_r(NULL, "/", &state);
                flags |= next ? O_PATH : O_RDONLY | O_NOFOLLOW;

                child = openat(fd, name, flags);
                if (child < 0 && errno == ENOENT) {
                        r = make_directory(fd, name, mode);
                        if (r < 0 && r != -EEXIST)
                                return r;
                        child = openat(fd, name, flags);
                }
                if (child < 0)
                        return -errno;

                fd = safe_close(fd);
                fd = child;
        }
        return TAKE_FD(fd);
}

int directory_make_beneath(int dir_fd, const char *name, mode_t mode) {
        _cleanup_(safe_closep) int fd = -EBADF;
        int r;

        if (!name_is_plain(name))
                return -EINVAL;

        r = make_directory(dir_fd, name, mode);
        if (r != -EEXIST)
                return r < 0 ? r : 1;

        fd = file_open_beneath(dir_fd, name, O_PATH | O_DIRECTORY, 0);
        return fd < 0 ? fd : 0;
}

int directory_is_empty(int fd) {
        struct dirent *entry;
        int copy, result = 1;
        DIR *dir;

        copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (copy < 0)
                return -errno;
        dir = fdopendir(copy);
        if (!dir) {
                safe_close(copy);
                return -ENOMEM;
        }

        errno = 0;
        while (result > 0 && (entry = readdir(dir)))
                if (!streq(entry->d_name, ".") && !streq(entry->d_name, ".."))
                        result = 0;
        if (result > 0 && errno != 0)
                result = -errno;

        (void) closedir(dir);
        return result;
}
