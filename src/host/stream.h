/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One standard stream of a process, as the client named it: nothing, a FIFO, a file, the journal, a logger process,
 * or a descriptor.
 *
 * Where it can be, the process is given the stream itself, and nothing is copied. Output FIFOs are opened read-write,
 * so that nobody's coming or going ends or kills anything; we keep one such descriptor (the hold) while the process
 * lives and, once it has ended, for as long as unread data stands in it. stdin is opened for reading, and we hold one
 * write end until CloseIO. */

#include "util/macro.h"

#include <sys/types.h>
#include <systemd/sd-event.h>

typedef enum StreamKind {
        STREAM_NULL,
        STREAM_FIFO,    /* "/abs/path" */
        STREAM_FILE,    /* "file:///abs/path" */
        STREAM_JOURNAL, /* "journal:" or "journal:IDENTIFIER" */
        STREAM_BINARY,  /* "binary:///abs/path?..." */
        STREAM_FD,      /* a descriptor of the client's */
        _STREAM_KIND_MAX,
        _STREAM_KIND_INVALID = -EINVAL,
} StreamKind;

/* What the process gets. */
typedef enum StreamUse {
        STREAM_DIRECT,   /* the stream itself (of the journal a FIFO of ours, of a logger a pipe) */
        STREAM_RELAY,    /* an anonymous pipe, whatever has a name; the bytes are moved by us */
        STREAM_TERMINAL, /* a terminal; the bytes are moved by us between that and the FIFO */
} StreamUse;

typedef struct Stream {
        StreamKind kind;
        char *uri; /* as the client wrote it: of a FIFO, its path; NULL for none and for a descriptor */
        int fd;    /* what the process gets; closed by stream_release_child_end() */
        int hold;  /* ours: the write end of a stdin FIFO, the read-write end of an output FIFO */

        /* What bytes are moved between, by whom the caller arranges (it takes them with TAKE_FD()): a relay has both
         * ends, a terminal's stream only that which is not the terminal, the journal and a logger only 'from'. They
         * do not wait (O_NONBLOCK), but for a logger's, which is to be inherited and read by a program. */
        int from;
        int to;

        dev_t dev; /* identity of the FIFO, so that a path swapped meanwhile is noticed at restore */
        ino_t ino;
        bool output;
} Stream;

#define STREAM_INIT ((Stream) { .fd = -EBADF, .hold = -EBADF, .from = -EBADF, .to = -EBADF })

/* What kind a client's string asks for. *reterr_reason tells what is wrong (caller frees), always -EINVAL: a relative
 * path ("\"x\" is not an absolute path", also behind file:// and binary://), an unknown scheme ("unknown STDIO scheme
 * x"), a URI that cannot be taken apart, an identifier of the journal that is no text of 1 to 64 printable
 * characters, a kind that is for output only when 'output' is false. */
int stream_parse(const char *uri, bool output, StreamKind *ret, char **reterr_reason);

typedef struct StreamOptions {
        StreamUse use;
        uid_t uid; /* owner to give to FIFOs and pipes that the process gets; (uid_t) -1 leaves it */
        gid_t gid;
        int dir_fd;       /* where the journal's FIFO is made, if it is not there yet, ... */
        const char *name; /* ... and its name in that folder; both may be unset for other kinds */
} StreamOptions;

/* Opens what 'uri' names; 's' must be STREAM_INIT, or one that was loaded after a restart (kind, uri, output, dev and
 * ino set, nothing open: then -ESTALE if the path is another FIFO now). Never waits, never follows a last symbolic
 * link. -ENOENT (a FIFO that is not there; the folder of a file), -ELOOP for a symbolic link, -EINVAL when it is of
 * the wrong kind (a directory, a device, a FIFO for a file) or is asked for what it cannot be (a terminal behind a
 * file, input from the journal), -EOPNOTSUPP when there is no journal, else -errno. A file is opened for appending
 * and made, 0640 whatever the umask, if it is missing; the journal's FIFO likewise, with 0600. On failure nothing
 * stays open, and 's' is as it was. A second stream of the same FIFO or file is opened independently. */
int stream_open(Stream *s, const char *uri, StreamKind kind, bool output, const StreamOptions *o);

/* Takes over 'fd' (on success only). */
int stream_take_fd(Stream *s, int fd, bool output);

/* After a restart, for a process that runs: opens our hold again, and 'from' of the journal; what the process was
 * given it still has. Only if the path still is the FIFO with s->dev and s->ino (-ESTALE). stdin without any reader
 * is -ENXIO: so is that of every relay and terminal, since the reader was we. 'o' as in stream_open(), for the
 * journal's FIFO. 0, and nothing is done, for what has nothing to open again. */
int stream_reopen(Stream *s, const StreamOptions *o);

void stream_release_child_end(Stream *s); /* once the runtime has been started */
void stream_close_hold(Stream *s);
void stream_done(Stream *s); /* closes and frees everything, back to STREAM_INIT */

/* How many bytes stand unread in an output FIFO (FIONREAD); 0 also for what is none, and when nothing holds it open.
 * The journal's is read by us, and nobody else ever will. */
int stream_get_unread(const Stream *s);
bool stream_has_unread(const Stream *s);

/* What the D-Bus property says: the URI, "fd", or "". */
const char *stream_to_string(const Stream *s);

/* After the process has ended: closes the holds of outputs as their data is read, looking every 10 ms at first and
 * every 5 s in the end (and often again whenever somebody reads). Streams with nothing unread are closed at once. */
typedef struct StreamDrain StreamDrain;

/* Returns 0 and NULL in *ret when nothing was left to wait for. 'streams' stay the caller's and must outlive the
 * drain; drained() is called once all holds are closed (it may free the drain); never from within this call. */
int stream_drain_new(StreamDrain **ret, sd_event *event, Stream *streams, size_t n_streams,
                     void (*drained)(void *userdata), void *userdata);
/* closed() is called whenever some, but not all, holds have been closed; it may not free the drain. */
void stream_drain_set_on_closed(StreamDrain *drain, void (*closed)(void *userdata));
StreamDrain *stream_drain_free(StreamDrain *drain); /* stops looking; the holds stay as they are */
DEFINE_CLEANUP(StreamDrain *, stream_drain_free);
