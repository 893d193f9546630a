/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The event log after whatever has happened to its files: it opens, reads what can be read, in order, and goes on. A
 * byte 0xff stands between two segments. */

#include "core/eventlog.h"
#include "fuzz.h"

#include <sys/stat.h>

static const char *const names[] = { "00000000000000000001", "00000000000000000003" };

static int on_event(void *userdata, const Event *e) {
        uint64_t *last = userdata;

        assert(e->sequence > *last);
        *last = e->sequence;
        return 0;
}

static int on_record(void *userdata, const EventRecord *record) {
        return 0;
}

static void read_all(EventLog *log) {
        EventCursor cursor = eventlog_seek(log, 0);
        uint64_t last = 0;
        int r;

        (void) eventlog_read(log, 0, 0, on_event, &last);
        (void) eventlog_is_complete(log, 0);

        /* Bounded, so that a reader who never gets any further is noticed. */
        for (unsigned i = 0; (r = eventlog_read_on(log, &cursor, on_record, NULL)) == 0; i++)
                assert(i < 10000);
}

FUZZ_TARGET(eventlog) {
        const uint8_t *border = memchr(data, 0xff, size);
        _cleanup_(eventlog_freep) EventLog *log = NULL;
        _cleanup_(safe_closep) int dir_fd = -EBADF;
        static const char record[] = "{\"sequence\":18446744073709551615}";
        int state_fd = fuzz_folder();
        uint64_t next;

        if (size > FUZZ_SIZE_MAX)
                return 0;

        (void) mkdirat(state_fd, EVENTLOG_FOLDER, 0700);
        dir_fd = openat(state_fd, EVENTLOG_FOLDER, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert(dir_fd >= 0);
        fuzz_file(dir_fd, names[0], data, border ? (size_t) (border - data) : size);
        if (border)
                fuzz_file(dir_fd, names[1], border + 1, size - (size_t) (border - data) - 1);

        if (eventlog_open(&log, state_fd) >= 0) {
                read_all(log);
                next = eventlog_next(log);
                assert(next > 0);
                (void) eventlog_append(log, next, record, strlen(record));
                assert(eventlog_last(log) == next);
                read_all(log);
        }

        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                (void) unlinkat(dir_fd, names[i], 0);
        return 0;
}
