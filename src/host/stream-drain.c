/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Waiting for the readers of a process that has ended. */

#include "host/stream.h"

#include <stdio.h>
#include <sys/inotify.h>
#include <sys/utsname.h>

#define DRAIN_INTERVAL_MIN (10 * USEC_PER_MSEC)
#define DRAIN_INTERVAL_MAX (5 * USEC_PER_SEC)

/* Who is told of each reader looks no more when looks have become so rare. */
#define DRAIN_INTERVAL_TOLD USEC_PER_SEC

typedef struct DrainStream {
        Stream *stream;
        int unread;            /* when we looked last */
        sd_event_source *read; /* inotify: somebody has read */
} DrainStream;

struct StreamDrain {
        void (*drained)(void *userdata);
        void (*closed)(void *userdata);
        void *userdata;
        sd_event_source *timer;
        uint64_t interval_usec;
        bool is_told; /* by inotify, of whatever is read of any of the streams */
        size_t n_streams;
        DrainStream streams[];
};

/* Closes what has been read to its end. 1: there is something left and it has become less, 0: it has not, -ENODATA:
 * there is nothing left. */
static int drain_look(StreamDrain *d) {
        bool left = false, progress = false, closed = false;

        for (size_t i = 0; i < d->n_streams; i++) {
                DrainStream *s = &d->streams[i];
                int unread = stream_get_unread(s->stream);

                if (unread == 0) {
                        s->read = sd_event_source_disable_unref(s->read);
                        closed = closed || s->stream->hold >= 0;
                        if (s->stream->output)
                                stream_close_hold(s->stream);
                } else
                        left = true;
                if (unread != s->unread)
                        progress = true;
                s->unread = unread;
        }
        if (closed && left && d->closed)
                d->closed(d->userdata);
        return left ? progress : -ENODATA;
}

void stream_drain_set_on_closed(StreamDrain *d, void (*closed)(void *userdata)) {
        d->closed = closed;
}

static int drain_arm(StreamDrain *d) {
        int r;

        r = sd_event_source_set_time_relative(d->timer, d->interval_usec);
        if (r < 0)
                return r;
        return sd_event_source_set_enabled(d->timer, SD_EVENT_ONESHOT);
}

/* Nobody can be told if the timer fails here; rather end a reader's wait too early than never. */
static void drain_go_on(StreamDrain *d, bool progress) {
        if (progress)
                d->interval_usec = DRAIN_INTERVAL_MIN;
        else if (d->interval_usec < DRAIN_INTERVAL_MAX / 2)
                d->interval_usec *= 2;
        else
                d->interval_usec = DRAIN_INTERVAL_MAX;

        /* Output that nobody fetches may stand there for days, of very many processes. */
        if (d->is_told && d->interval_usec >= DRAIN_INTERVAL_TOLD)
                return;
        if (drain_arm(d) >= 0)
                return;
        for (size_t i = 0; i < d->n_streams; i++)
                if (d->streams[i].stream->output)
                        stream_close_hold(d->streams[i].stream);
        d->drained(d->userdata);
}

static int drain_on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        StreamDrain *d = userdata;
        int r;

        r = drain_look(d);
        if (r == -ENODATA)
                d->drained(d->userdata);
        else
                drain_go_on(d, r > 0);
        return 0;
}

static int drain_on_read(sd_event_source *source, const struct inotify_event *event, void *userdata) {
        StreamDrain *d = userdata;

        if (drain_look(d) == -ENODATA)
                d->drained(d->userdata);
        return 0;
}

/* Is inotify told also of those who read with splice(), or by way of io_uring? Not by kernels before 6.6; this asks
 * for the first one with long support that does. */
static bool kernel_tells_of_every_reader(void) {
        unsigned major = 0, minor = 0;
        struct utsname name;

        return uname(&name) >= 0 && sscanf(name.release, "%u.%u", &major, &minor) == 2 &&
               (major > 6 || (major == 6 && minor >= 12));
}

/* With inotify a reader gets its end-of-file at once. Without (there are only so many watches), the timer does it. */
static bool drain_watch(StreamDrain *d, sd_event *event) {
        bool is_told = kernel_tells_of_every_reader();

        for (size_t i = 0; i < d->n_streams; i++) {
                DrainStream *s = &d->streams[i];

                if (s->unread > 0 &&
                    sd_event_add_inotify_fd(event, &s->read, s->stream->hold, IN_ACCESS, drain_on_read, d) < 0)
                        is_told = false;
        }
        return is_told;
}

StreamDrain *stream_drain_free(StreamDrain *d) {
        if (!d)
                return NULL;

        for (size_t i = 0; i < d->n_streams; i++)
                sd_event_source_disable_unref(d->streams[i].read);
        sd_event_source_disable_unref(d->timer);
        free(d);
        return NULL;
}

int stream_drain_new(StreamDrain **ret, sd_event *event, Stream *streams, size_t n_streams,
                     void (*drained)(void *userdata), void *userdata) {
        _cleanup_(stream_drain_freep) StreamDrain *d = NULL;
        int r;

        d = calloc(1, sizeof(StreamDrain) + n_streams * sizeof(DrainStream));
        if (!d)
                return -ENOMEM;

        d->drained = drained;
        d->userdata = userdata;
        d->interval_usec = DRAIN_INTERVAL_MIN;
        d->n_streams = n_streams;
        for (size_t i = 0; i < n_streams; i++)
                d->streams[i].stream = &streams[i];

        if (drain_look(d) == -ENODATA) {
                *ret = NULL;
                return 0;
        }

        r = sd_event_add_time_relative(event, &d->timer, CLOCK_MONOTONIC, d->interval_usec, USEC_PER_MSEC,
                                       drain_on_timer, d);
        if (r < 0)
                return r;

        d->is_told = drain_watch(d, event);
        *ret = TAKE_PTR(d);
        return 0;
}
