/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Signals by name or number. */

#include "ctl/signal-name.h"

#include "util/text.h"

#include <signal.h>
#include <strings.h>

static int number_up_to(const char *s, int max) {
        uint64_t n;

        if (parse_uint64(s, &n) < 0 || n > (uint64_t) max)
                return -EINVAL;
        return (int) n;
}

static int realtime_from_string(const char *s) {
        int range = SIGRTMAX - SIGRTMIN, n;

        if (strcasecmp(s, "RTMIN") == 0)
                return SIGRTMIN;
        if (strcasecmp(s, "RTMAX") == 0)
                return SIGRTMAX;

        if (strncasecmp(s, "RTMIN+", 6) == 0) {
                n = number_up_to(s + 6, range);
                return n < 0 ? n : SIGRTMIN + n;
        }
        if (strncasecmp(s, "RTMAX-", 6) == 0) {
                n = number_up_to(s + 6, range);
                return n < 0 ? n : SIGRTMAX - n;
        }
        return -EINVAL;
}

int signal_from_string(const char *s) {
        static const struct {
                const char *name;
                int number;
        } aliases[] = {
                { "IOT", SIGABRT },
                { "CLD", SIGCHLD },
                { "IO", SIGIO },
                { "POLL", SIGIO },
        };
        int n;

        if (s[0] >= '0' && s[0] <= '9') {
                n = number_up_to(s, SIGRTMAX);
                return n > 0 ? n : -EINVAL;
        }

        if (strncasecmp(s, "SIG", 3) == 0)
                s += 3;

        /* The numbers between the standard signals and SIGRTMIN belong to the C library and have no name. */
        for (int i = 1; i < SIGRTMIN; i++) {
                const char *name = sigabbrev_np(i);

                if (name && strcasecmp(s, name) == 0)
                        return i;
        }
        for (size_t i = 0; i < ELEMENTSOF(aliases); i++)
                if (strcasecmp(s, aliases[i].name) == 0)
                        return aliases[i].number;

        return realtime_from_string(s);
}
