/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Files and directories of ours, always relative to a directory descriptor and never through a symbolic link or a
 * mount. */

#include "util/macro.h"

#include <sys/types.h>

/* openat2() with RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS; O_CLOEXEC is added.
 * Returns the descriptor, which the caller closes, or -errno (-ELOOP for a symbolic link, -EXDEV for a mount). Where
 * there is no openat2() the same is done step by step, and a ".." in the path is -EXDEV. */
int file_open_beneath(int dir_fd, const char *path, int flags, mode_t mode);

/* Reads a whole regular file of at most 'max' bytes below 'dir_fd'. Never blocks on a FIFO or device (O_NONBLOCK,
 * then fstat). The result is NUL-terminated; the caller frees it. -EFBIG when it is larger, -EISDIR for a directory,
 * -EBADFD for any other kind of file that is not regular, else -errno of the open or read. */
int file_read_beneath(int dir_fd, const char *path, size_t max, char **ret, size_t *ret_size);

/* The same for an open descriptor: fstat, then pread from offset 0. Also for memfds. */
int file_read_fd(int fd, size_t max, char **ret, size_t *ret_size);

/* Reads a file that the kernel makes up as one record when it is read: /proc/PID/stat, most of those in a cgroup, but no
 * lists such as cgroup.procs. Such a file gives all it has in one read(), so that nobody need ask for its size or for
 * its end. The text gets a NUL. Returns its length; -EFBIG when there is no room for it in 'size' bytes. */
ssize_t file_read_record(int dir_fd, const char *path, char *text, size_t size);
ssize_t file_read_record_fd(int fd, char *text, size_t size); /* of an open one, from its beginning */

/* The same as file_read_fd(), but of a file larger than 'max' its last 'max' bytes: for logs, which say last what
 * matters. *ret_skipped is how many came before them. */
int file_read_tail(int fd, size_t max, char **ret, size_t *ret_size, uint64_t *ret_skipped);

/* Writes all bytes, going on after short writes and EINTR. -errno. */
int file_write_all(int fd, const void *data, size_t size);

/* A memfd with these bytes, to be read from its beginning; 'flags' are those of memfd_create(). Returns the
 * descriptor, which the caller closes, or -errno. */
int file_memfd(const char *name, unsigned flags, const void *data, size_t size);

/* Replaces 'name' (a plain name in 'dir_fd') by these bytes, atomically: a temporary file ".NAME.tmp" in the same
 * directory, then rename. On failure (a full disk, say) nothing has changed and the temporary file is gone. 'sync':
 * fsync the file and the directory, for what must survive a power cut. -errno. */
int file_write_atomic(int dir_fd, const char *name, const void *data, size_t size, mode_t mode, bool sync);

/* Removes a unix socket of ours that nobody answers on any more, or does nothing where there is none. -EADDRINUSE if
 * somebody does; -EEXIST for any other kind of file and for somebody else's, which are not ours to remove; -errno. */
int file_remove_stale_socket(const char *path);

/* Whether reading and writing wait: a property of the open file, which all its descriptors share. -errno. */
int file_set_blocking(int fd, bool blocking);

/* mkdir -p of an absolute path, new directories get 'mode' (not masked). Symbolic links in the prefix are the admin's
 * business and followed; the last component must be a real directory. Returns an O_DIRECTORY|O_CLOEXEC descriptor
 * that the caller closes, or -errno. */
int directory_open_or_make(const char *path, mode_t mode);

/* Has the directory no entries but "." and ".."? 1, 0, or -errno. */
int directory_is_empty(int fd);

/* mkdir of a plain name below 'dir_fd' with exactly 'mode' whatever the umask; an existing real directory is fine.
 * Returns 1 made, 0 was there, -errno (-ENOTDIR, -ELOOP for anything that is no directory). */
int directory_make_beneath(int dir_fd, const char *name, mode_t mode);
