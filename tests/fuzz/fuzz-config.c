/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* monoshimd.conf. */

#include "fuzz.h"
#include "host/config.h"
#include "util/log.h"

FUZZ_TARGET(config) {
        _cleanup_(safe_closep) int fd = fuzz_memfd(data, size);
        _cleanup_(freep) char *reason = NULL;
        Config config = {};
        char path[64];

        log_set_max_level(LOG_EMERG); /* unknown settings are no news */
        (void) snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        if (config_load(path, false, &config, &reason) < 0)
                assert(reason);
        else {
                assert(config.max_runtime_jobs > 0);
                config_done(&config);
        }
        return 0;
}
