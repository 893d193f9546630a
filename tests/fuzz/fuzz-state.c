/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* state.json: what can be loaded is saved and loaded as the same. */

#include "core/process.h"
#include "core/state.h"
#include "fuzz-world.h"
#include "fuzz.h"
#include "util/file.h"

#include <sys/stat.h>

/* Saves the container and returns the text, which the caller frees. */
static char *save(Container *c, int dir_fd) {
        char *text;
        size_t size;

        assert(state_save(&c->init) == 0);
        assert(file_read_beneath(dir_fd, STATE_FILE, 2 * STATE_SIZE_MAX, &text, &size) == 0);
        return text;
}

static char *load_and_save(FuzzWorld *w, int dir_fd) {
        _cleanup_(freep) char *reason = NULL;
        Container *c = NULL;
        char *text = NULL;
        sd_id128_t boot;
        int r;

        assert(container_new(&c, &w->registry, "default", "x1") == 0);
        r = state_load(c, dir_fd, &boot, &reason);
        assert((r == -EBADMSG) == !!reason);
        if (r >= 0)
                text = save(c, dir_fd);
        c->init.state = PROCESS_DELETED;
        (void) container_free(c);
        return text;
}

FUZZ_TARGET(state) {
        _cleanup_(freep) char *first = NULL, *second = NULL;
        _cleanup_(safe_closep) int dir_fd = -EBADF;
        FuzzWorld *w = fuzz_world();

        (void) mkdirat(w->services.state_fd, "default", 0700);
        (void) mkdirat(w->services.state_fd, "default/x1", 0700);
        dir_fd = openat(w->services.state_fd, "default/x1", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert(dir_fd >= 0);

        fuzz_file(dir_fd, STATE_FILE, data, size);
        first = load_and_save(w, dir_fd);
        if (first) {
                second = load_and_save(w, dir_fd);
                assert(second && streq(first, second));
        }
        return 0;
}
