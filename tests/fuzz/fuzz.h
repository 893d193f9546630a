/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One fuzz target to a file: FUZZ_TARGET(NAME) { ... } takes 'data' and 'size'.
 *
 * Configured with --enable-fuzzing, each file becomes a program of its own, driven by libFuzzer. Otherwise all of
 * them stand in tests/test-fuzz, which feeds each with what is in tests/fuzz/corpus/NAME, so that what was once found
 * stays mended under every compiler, sanitizer and valgrind. */

#include "util/macro.h"

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>

#ifdef WITH_LIBFUZZER
#define FUZZ_TARGET(name) \
        int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size); \
        int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
#else
#define FUZZ_TARGET(name) \
        int fuzz_##name(const uint8_t *data, size_t size); \
        int fuzz_##name(const uint8_t *data, size_t size)
#endif

/* Inputs that take long for their size alone teach nothing. */
#define FUZZ_SIZE_MAX (256U * 1024U)

/* The input as a C string of exactly its size, so that reading past its end is noticed. The caller frees it. */
static inline char *fuzz_string(const uint8_t *data, size_t size) {
        char *s = malloc(size + 1);

        assert(s);
        if (size > 0)
                memcpy(s, data, size);
        s[size] = '\0';
        return s;
}

/* The input as a file that can be read: a descriptor that the caller closes. */
static inline int fuzz_memfd(const uint8_t *data, size_t size) {
        int fd = memfd_create("fuzz", MFD_CLOEXEC);

        assert(fd >= 0);
        assert(write(fd, data, size) == (ssize_t) size);
        assert(lseek(fd, 0, SEEK_SET) == 0);
        return fd;
}

/* The input as file 'name' in a folder. */
static inline void fuzz_file(int dir_fd, const char *name, const uint8_t *data, size_t size) {
        int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        assert(fd >= 0);
        assert(write(fd, data, size) == (ssize_t) size);
        assert(close(fd) == 0);
}

/* A folder of this process's own, in memory where there is such a place: made when it is asked for, and removed at
 * exit. */
int fuzz_folder(void);
const char *fuzz_folder_path(void);
