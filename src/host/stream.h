/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One standard stream of a process, as the client named it: nothing, a FIFO, or a descriptor.
 *
 * The container gets the FIFO itself, nothing is copied. Output FIFOs are opened read-write, so that nobody's coming
 * or going ends or kills anything; we keep one such descriptor (the hold) while the process lives and, once it has
 * ended, for as long as unread data stands in it. stdin is opened for reading, and we hold one write end until
 * CloseIO. */

#include "util/macro.h"

#include <sys/types.h>
#include <systemd/sd-event.h>

typedef enum StreamKind {
        STREAM_NULL,
        STREAM_FIFO,
        STREAM_FD,
        _STREAM_KIND_MAX,
        _STREAM_KIND_INVALID = -EINVAL,
} StreamKind;

typedef struct Stream {
        StreamKind kind;
        char *path; /* of a FIFO */
        int fd;     /* what the process gets; closed by stream_release_child_end() */
        int hold;   /* ours: the write end of stdin, or the read-write end of an output */
        dev_t dev;  /* identity of the FIFO, so that a path swapped meanwhile is noticed at restore */
        ino_t ino;
        bool output;
} Stream;

#define STREAM_INIT ((Stream) { .fd = -EBADF, .hold = -EBADF })

/* What kind a client's string asks for: empty is STREAM_NULL, an absolute path STREAM_FIFO. *reterr_reason tells what
 * is wrong (caller frees): -EINVAL (relative path, unknown scheme: "unknown STDIO scheme x"), -EOPNOTSUPP (file://,
 * journal:, binary://: known, but not yet there). */
int stream_parse(const char *uri, StreamKind *ret, char **reterr_reason);

/* Opens a FIFO by an O_PATH descriptor without following a last symbolic link. -ENOENT, -EINVAL when it is no FIFO (a
 * directory, device, ...), -ELOOP for a symbolic link. uid/gid: the owner to give to the FIFO, or -1 each to leave
 * it. */
int stream_open_fifo(Stream *s, const char *path, bool output, uid_t uid, gid_t gid);

/* Takes over 'fd' (on success only). */
int stream_take_fd(Stream *s, int fd, bool output);

/* At restore: opens our hold again, and only if the path still is the FIFO with s->dev and s->ino (-ESTALE). Sets no
 * fd. stdin without any reader is -ENXIO. */
int stream_reopen_hold(Stream *s);

void stream_release_child_end(Stream *s); /* once the runtime has been started */
void stream_close_hold(Stream *s);
bool stream_has_unread(const Stream *s); /* an output FIFO whose hold is open and that still holds bytes (FIONREAD) */
void stream_done(Stream *s);             /* closes and frees everything, back to STREAM_INIT */

/* What the D-Bus property says: the path, "fd", or "". */
const char *stream_to_string(const Stream *s);

/* After the process has ended: closes the holds of outputs as their data is read, looking every 10 ms at first and
 * every 5 s in the end (and often again whenever somebody reads). Streams with nothing unread are closed at once. */
typedef struct StreamDrain StreamDrain;

/* Returns 0 and NULL in *ret when nothing was left to wait for. 'streams' stay the caller's and must outlive the
 * drain; drained() is called once all holds are closed (it may free the drain); never from within this call. */
int stream_drain_new(StreamDrain **ret, sd_event *event, Stream *streams, size_t n_streams,
                     void (*drained)(void *userdata), void *userdata);
StreamDrain *stream_drain_free(StreamDrain *drain); /* stops looking; the holds stay as they are */
DEFINE_CLEANUP(StreamDrain *, stream_drain_free);
