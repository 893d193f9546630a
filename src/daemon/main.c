/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* monoshimd: one process that watches over all containers. */

#include "daemon/daemon.h"
#include "daemon/memory.h"
#include "daemon/options.h"
#include "util/crash-point.h"
#include "util/log.h"

#include <signal.h>

static int run(const Options *options) {
        _cleanup_(daemon_done) Daemon daemon = {};
        int r;

        r = daemon_init(&daemon, options);
        if (r < 0)
                return EXIT_FAILURE;

        r = daemon_startup(&daemon);
        if (r < 0)
                return EXIT_FAILURE;

        return daemon_run(&daemon);
}

/* All signals that we read from descriptors must be blocked before the first of them can arrive. */
static void block_signals(void) {
        sigset_t mask;

        (void) sigemptyset(&mask);
        (void) sigaddset(&mask, SIGCHLD);
        (void) sigaddset(&mask, SIGTERM);
        (void) sigaddset(&mask, SIGINT);
        (void) sigaddset(&mask, SIGHUP);
        (void) sigprocmask(SIG_BLOCK, &mask, NULL);
}

int main(int argc, char *argv[]) {
        _cleanup_(options_done) Options options = {};
        int r;

        memory_configure(argv);
        log_open();
        crash_points_open();

        r = options_parse(&options, argc, argv);
        if (r <= 0)
                return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;

        block_signals();
        return run(&options);
}
