/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The state of an exec'd process: one that cannot be used is left out, and harms no other. */

#include "core/process.h"
#include "core/state.h"
#include "fuzz-world.h"
#include "fuzz.h"

#include <sys/stat.h>

FUZZ_TARGET(exec_state) {
        static const sd_id128_t boot = SD_ID128_MAKE(00, 01, 02, 03, 04, 05, 06, 07, 08, 09, 0a, 0b, 0c, 0d, 0e, 0f);
        _cleanup_(safe_closep) int dir_fd = -EBADF, exec_fd = -EBADF;
        FuzzWorld *w = fuzz_world();
        Container *c = NULL;
        Process *p;

        (void) mkdirat(w->services.state_fd, "default", 0700);
        (void) mkdirat(w->services.state_fd, "default/x2", 0700);
        (void) mkdirat(w->services.state_fd, "default/x2/" EXEC_FOLDER, 0700);
        dir_fd = openat(w->services.state_fd, "default/x2", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        exec_fd = dir_fd < 0 ? -EBADF : openat(dir_fd, EXEC_FOLDER, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert(exec_fd >= 0);
        fuzz_file(exec_fd, "e1." STATE_KIND, data, size);

        assert(container_new(&c, &w->registry, "default", "x2") == 0);
        state_load_execs(c, dir_fd, boot);
        HASH_FIND(by_id, c->execs, "e1", 2, p);
        assert(HASH_CNT(by_id, c->execs) == (p ? 1 : 0));
        if (p) {
                assert(p->state == PROCESS_CREATED || p->state == PROCESS_RUNNING || p->state == PROCESS_STOPPED);
                assert(state_save(p) == 0);
        }
        (void) container_free(c);
        return 0;
}
