/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Places where a test may have the daemon die, as by SIGKILL. */

#include "util/crash-point.h"
#include "util/log.h"
#include "util/macro.h"
#include "util/text.h"

#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

bool crash_points_armed;

static uint64_t passed, last; /* last: where to die, or 0 */
static int log_fd = -EBADF;
static pid_t armed_pid;

void crash_points_open(void) {
        const char *number = secure_getenv(CRASH_POINT_VARIABLE), *path = secure_getenv(CRASH_POINT_LOG_VARIABLE);

        if (isempty(number) && isempty(path))
                return;

        if (!isempty(number) && parse_uint64(number, &last) < 0) {
                log_warning("%s=%s is no number, ignoring it.", CRASH_POINT_VARIABLE, number);
                last = 0;
        }
        if (!isempty(path)) {
                log_fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NOFOLLOW, 0600);
                if (log_fd < 0)
                        log_warning_errno(errno, "Failed to open %s for the marks passed, ignoring: %m", path);
        }
        if (last == 0 && log_fd < 0)
                return;

        log_warning("This is a test: dying at mark %llu.", (unsigned long long) last);
        armed_pid = getpid();
        crash_points_armed = true;
}

void crash_points_hand_over(void) {
        char number[3 * sizeof(last)];

        if (!crash_points_armed || last == 0)
                return;

        (void) snprintf(number, sizeof(number), "%" PRIu64, last > passed ? last - passed : 0);
        (void) setenv(CRASH_POINT_VARIABLE, number, true);
}

void crash_point_pass(const char *name) {
        char line[128];
        int n;

        /* A forked child is another process, and its death another matter. */
        if (getpid() != armed_pid)
                return;

        passed++;
        if (log_fd >= 0) {
                /* In one write, and formatted on the stack: marks are passed where nothing may fail. */
                n = snprintf(line, sizeof(line), "%s\n", name);
                if (n > 0 && (size_t) n < sizeof(line) && write(log_fd, line, (size_t) n) != n)
                        log_debug("Failed to log the mark %s, ignoring.", name);
        }
        if (passed == last)
                (void) kill(armed_pid, SIGKILL);
}
