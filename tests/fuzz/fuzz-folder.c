/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The folder of fuzz.h. */

#include "fuzz.h"

#include <ftw.h>
#include <sys/stat.h>

static char folder[64];
static int folder_fd = -EBADF;

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw) {
        return remove(path);
}

/* Never follows a symbolic link, never enters a mount. */
static void folder_remove(void) {
        folder_fd = safe_close(folder_fd);
        (void) nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

const char *fuzz_folder_path(void) {
        (void) fuzz_folder();
        return folder;
}

int fuzz_folder(void) {
        if (folder_fd >= 0)
                return folder_fd;

        (void) snprintf(folder, sizeof(folder), "%s/monoshim-fuzz.XXXXXX",
                        access("/dev/shm", W_OK) < 0 ? "/tmp" : "/dev/shm");
        assert(mkdtemp(folder));
        assert(atexit(folder_remove) == 0);

        folder_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert(folder_fd >= 0);
        return folder_fd;
}
