/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A process's standard streams. */

#include "core/process-io.h"
#include "core/container.h"
#include "core/operation.h"
#include "host/console.h"
#include "host/journal-socket.h"
#include "host/logger.h"
#include "host/pump.h"
#include "util/file.h"
#include "util/log.h"
#include "util/text.h"

#include <fcntl.h>
#include <stdio.h>
#include <syslog.h>

const char *const stream_options[3] = { "Stdin", "Stdout", "Stderr" };
const char *const stream_names[3] = { "stdin", "stdout", "stderr" };

ProcessIo *process_get_io(Process *p) {
        if (p->io)
                return p->io;

        p->io = malloc(sizeof(*p->io));
        if (p->io)
                *p->io = (ProcessIo) { .console = CONSOLE_INIT,
                                       .master = -EBADF,
                                       .rests = { -EBADF, -EBADF, -EBADF } };
        return p->io;
}

const char *process_get_verb(const Process *p) {
        if (!process_is_init(p))
                return "exec";
        return p->state == PROCESS_CREATED_CHECKPOINT ? "restore" : "create";
}

/* ---- opening ---- */

static StreamUse stream_use(const Process *p, StreamKind kind) {
        if (p->terminal)
                return STREAM_TERMINAL;
        return p->relay && kind != STREAM_BINARY ? STREAM_RELAY : STREAM_DIRECT;
}

static bool stream_is_open(const Stream *s) {
        return s->fd >= 0 || s->from >= 0 || s->to >= 0;
}

static int stream_refuse(Failure *failure, size_t i, const char *uri, StreamKind kind, int error) {
        const char *what = kind == STREAM_FIFO ? "FIFO" : "file";

        switch (error) {
        case -ENOENT:
                return failure_set(failure, FAILURE_NOT_FOUND,
                                   kind == STREAM_FILE ? "%s: the folder of %s %s does not exist: not found"
                                                       : "%s: %s %s does not exist: not found",
                                   stream_options[i], what, uri);
        case -EINVAL:
        case -ELOOP:
        case -ENOTDIR:
        case -EISDIR:
        case -ENAMETOOLONG:
                return failure_set(failure, FAILURE_INVALID_ARGUMENT, "%s: %s is not a %s: invalid argument",
                                   stream_options[i], uri, what);
        case -ESTALE:
                return failure_set(failure, FAILURE_FAILED_PRECONDITION,
                                   "%s: %s is another FIFO now than when it was named: failed precondition",
                                   stream_options[i], uri);
        case -EOPNOTSUPP:
                return failure_set(failure, FAILURE_NOT_SUPPORTED,
                                   "%s: there is no journal here to write to (" JOURNAL_SOCKET ")",
                                   stream_options[i]);
        default:
                return failure_set_errno(failure, error, "%s: failed to open %s: %m", stream_options[i], uri);
        }
}

static int process_take_descriptor(Process *p, size_t i, int client_fd, Failure *failure) {
        int fd, r;

        if (p->terminal)
                return failure_set(failure, FAILURE_INVALID_ARGUMENT,
                                   "%s: with a terminal it can only be a FIFO, not a descriptor: invalid argument",
                                   stream_options[i]);

        r = process_allocate_streams(p);
        if (r < 0)
                return failure_set_errno(failure, r, "%s: %m", stream_options[i]);

        fd = fcntl(client_fd, F_DUPFD_CLOEXEC, 3);
        r = fd < 0 ? -errno : stream_take_fd(&p->streams[i], fd, i != STDIN_FILENO);
        if (r < 0) {
                safe_close(fd);
                return failure_set_errno(failure, r, "%s: failed to take the descriptor over: %m", stream_options[i]);
        }
        return 0;
}

static int process_check_terminal(size_t i, StreamKind kind, Failure *failure) {
        if (i == STDERR_FILENO)
                return failure_set(failure, FAILURE_INVALID_ARGUMENT,
                                   "Stderr: must be empty with a terminal, which has only one output: "
                                   "invalid argument");
        if (kind != STREAM_FIFO)
                return failure_set(failure, FAILURE_INVALID_ARGUMENT,
                                   "%s: with a terminal it can only be a FIFO: invalid argument", stream_options[i]);
        return 0;
}

/* The journal's FIFOs and the loggers' pipes are made when the runtime is about to be run. */
static int process_name_stream(Process *p, size_t i, const char *uri, StreamKind kind, Failure *failure) {
        Stream *s = &p->streams[i];

        if (kind == STREAM_JOURNAL && journal_check() < 0)
                return stream_refuse(failure, i, uri, kind, -EOPNOTSUPP);

        s->uri = strdup(uri);
        if (!s->uri)
                return failure_set_errno(failure, ENOMEM, "%s: %m", stream_options[i]);
        s->kind = kind;
        s->output = true;
        return 0;
}

static int process_open_stream(Process *p, size_t i, const StreamRequest *q, Failure *failure) {
        StreamOptions o = { .uid = p->io_uid, .gid = p->io_gid, .dir_fd = -EBADF };
        bool output = i != STDIN_FILENO;
        _cleanup_(freep) char *reason = NULL;
        StreamKind kind;
        int r;

        if (q->fd >= 0)
                return process_take_descriptor(p, i, q->fd, failure);

        r = stream_parse(strempty(q->uri), output, &kind, &reason);
        if (r == -ENOMEM)
                return failure_set_errno(failure, r, "%s: %m", stream_options[i]);
        if (r < 0)
                return failure_set(failure, FAILURE_INVALID_ARGUMENT, "%s: %s: invalid argument", stream_options[i],
                                   strempty(reason));
        if (kind == STREAM_NULL)
                return 0;
        if (p->terminal) {
                r = process_check_terminal(i, kind, failure);
                if (r < 0)
                        return r;
        }

        r = process_allocate_streams(p);
        if (r < 0)
                return failure_set_errno(failure, r, "%s: %m", stream_options[i]);
        if (kind == STREAM_JOURNAL || kind == STREAM_BINARY)
                return process_name_stream(p, i, q->uri, kind, failure);

        o.use = stream_use(p, kind);
        r = stream_open(&p->streams[i], q->uri, kind, output, &o);
        return r < 0 ? stream_refuse(failure, i, q->uri, kind, r) : 0;
}

int process_open_streams(Process *p, const StreamRequest requests[3], Failure *failure) {
        int r;

        for (size_t i = 0; i < PROCESS_N_STREAMS; i++) {
                r = process_open_stream(p, i, &requests[i], failure);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* The name of one of its files in its folder. */
static char *process_file_name(const Process *p, const char *kind) {
        return process_is_init(p) ? strdup(kind) : strdup_printf("%s.%s", p->id, kind);
}

/* Opens again what is named but not open. */
static int process_open_rest(Process *p, size_t i, Failure *failure) {
        _cleanup_(safe_closep) int dir_fd = -EBADF;
        _cleanup_(freep) char *name = NULL, *uri = NULL;
        Stream *s = &p->streams[i];
        StreamOptions o;
        int r;

        if (s->kind == STREAM_NULL || stream_is_open(s))
                return 0;
        if (s->kind == STREAM_FD)
                return failure_set(failure, FAILURE_FAILED_PRECONDITION,
                                   "%s: the descriptor was lost when monoshimd was restarted; delete the process and "
                                   "make it again: failed precondition",
                                   stream_options[i]);

        dir_fd = process_open_directory(p);
        name = process_file_name(p, stream_names[i]);
        uri = strdup(s->uri);
        if (dir_fd < 0 || !name || !uri)
                return failure_set_errno(failure, dir_fd < 0 ? dir_fd : ENOMEM, "%s: failed to open %s: %m",
                                         stream_options[i], s->uri);

        o = (StreamOptions) {
                .use = stream_use(p, s->kind),
                .uid = p->io_uid,
                .gid = p->io_gid,
                .dir_fd = dir_fd,
                .name = name,
        };
        r = stream_open(s, uri, s->kind, i != STDIN_FILENO, &o);
        if (r < 0)
                return stream_refuse(failure, i, uri, s->kind, r);
        if (i == STDIN_FILENO && p->stdin_closed)
                stream_close_hold(s);
        return 0;
}

/* ---- before and after the runtime ---- */

int process_prepare_io(Process *p, Operation *op, ProcessIoThen then, Failure *failure) {
        bool has_loggers = false;
        int r;

        for (size_t i = 0; i < PROCESS_N_STREAMS; i++) {
                r = process_open_rest(p, i, failure);
                if (r < 0)
                        return r;
                has_loggers = has_loggers || p->streams[i].kind == STREAM_BINARY;
        }
        if (!p->terminal && !has_loggers)
                return 1;

        if (!process_get_io(p))
                return failure_set_errno(failure, ENOMEM, "Failed to prepare the streams: %m");
        if (p->terminal) {
                r = console_open(&p->io->console, p->container->services->console_fd);
                if (r < 0)
                        return failure_set_errno(failure, r, "failed to create OCI runtime console socket: %m");
        }
        r = has_loggers ? process_start_loggers(p, failure) : 0;
        if (r < 0)
                return r;
        if (p->io->n_unready == 0)
                return 1;

        p->io->operation = op;
        p->io->then = then;
        return 0;
}

void process_get_stdio(const Process *p, int ret[3]) {
        for (size_t i = 0; i < PROCESS_N_STREAMS; i++)
                ret[i] = p->terminal ? -EBADF : p->streams[i].fd;
}

const char *process_get_console_socket(const Process *p) {
        return p->terminal && p->io ? p->io->console.path : NULL;
}

static void process_on_pumped(void *userdata, int error) {
        process_on_moved(userdata);
}

static void process_on_journaled(void *userdata) {
        process_on_moved(userdata);
}

/* After a restart: what was under way. */
static void process_load_rest(Process *p, size_t i) {
        _cleanup_(safe_closep) int fd = TAKE_FD(p->io->rests[i]);
        int r;

        if (fd < 0)
                return;

        r = p->io->pumps[i] ? pump_load_rest(p->io->pumps[i], fd) : journal_stream_load_rest(p->io->journals[i], fd);
        if (r < 0)
                (void) container_log(p->container, LOG_WARNING, r,
                                     "Failed to take over what was under way to %s of process %s, it is lost: %m",
                                     stream_names[i], p->id);
}

static int process_add_pump(Process *p, size_t i, int *from, int *to, PumpFlags flags) {
        _cleanup_(freep) char *name = NULL;
        int r;

        name = strdup_printf("%s of process %s of container %s/%s", stream_names[i], p->id,
                             container_get_namespace(p->container), p->container->id);
        if (!name)
                return -ENOMEM;

        r = pump_new(&p->io->pumps[i], p->container->services->event, PRIORITY_STREAM, *from, *to, flags, name,
                     process_on_pumped, p);
        if (r < 0)
                return r;
        TAKE_FD(*from);
        TAKE_FD(*to);

        process_load_rest(p, i);
        return 0;
}

static int process_begin_terminal(Process *p) {
        _cleanup_(safe_closep) int in = -EBADF, out = -EBADF;
        Stream *s = p->streams;
        int r;

        if (s[0].from >= 0) {
                in = fcntl(p->io->master, F_DUPFD_CLOEXEC, 3);
                r = in < 0 ? -errno : process_add_pump(p, 0, &s[0].from, &in, PUMP_TO_TERMINAL);
                if (r < 0)
                        return r;
        }
        if (s[1].to >= 0) {
                out = fcntl(p->io->master, F_DUPFD_CLOEXEC, 3);
                r = out < 0 ? -errno : process_add_pump(p, 1, &out, &s[1].to, PUMP_FROM_TERMINAL);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int process_begin_journal(Process *p, size_t i) {
        const char *uri = p->streams[i].uri;
        const char *identifier = strchr(uri, ':') + 1;
        JournalFields f = {
                .identifier = identifier[0] ? identifier : p->container->id,
                .ns = container_get_namespace(p->container),
                .container_id = p->container->id,
                .exec_id = process_is_init(p) ? NULL : p->id,
                .priority = i == STDERR_FILENO ? LOG_ERR : LOG_INFO,
        };
        int r;

        r = journal_stream_new(&p->io->journals[i], p->container->services->event, PRIORITY_STREAM,
                               p->streams[i].from, &f, process_on_journaled, p);
        if (r < 0)
                return r;
        TAKE_FD(p->streams[i].from);
        process_load_rest(p, i);
        return 0;
}

/* What is moved by us, other than between a terminal and its FIFOs. */
static int process_begin_stream(Process *p, size_t i) {
        Stream *s = &p->streams[i];

        if (s->kind == STREAM_JOURNAL && s->from >= 0)
                return process_get_io(p) ? process_begin_journal(p, i) : -ENOMEM;
        if (s->from >= 0 && s->to >= 0)
                return process_get_io(p) ? process_add_pump(p, i, &s->from, &s->to, PUMP_SPLICE) : -ENOMEM;
        return 0;
}

int process_begin_io(Process *p, Failure *failure) {
        int r = 0;

        if (p->terminal) {
                p->io->master = console_receive(&p->io->console);
                if (p->io->master < 0)
                        return failure_set(failure, FAILURE_RUNTIME_FAILED,
                                           "OCI runtime %s failed: failed to retrieve console master: %s",
                                           process_get_verb(p), strerror(-p->io->master));
                console_done(&p->io->console);
                if (p->columns > 0 || p->rows > 0)
                        (void) console_resize(p->io->master, p->columns, p->rows);

                r = process_begin_terminal(p);
                if (r < 0)
                        return failure_set_errno(failure, r, "failed to start console copy: %m");
                return 0;
        }

        for (size_t i = 0; i < PROCESS_N_STREAMS && r >= 0; i++)
                r = process_begin_stream(p, i);
        if (r < 0)
                return failure_set_errno(failure, r, "failed to start io pipe copy: %m");
        return 0;
}

static void process_close_stream(Stream *s) {
        stream_release_child_end(s);
        stream_close_hold(s);
        s->from = safe_close(s->from);
        s->to = safe_close(s->to);
}

void process_cancel_io(Process *p) {
        ProcessIo *io = p->io;
        bool begun;

        if (!io)
                return;

        console_done(&io->console);
        process_stop_loggers(p);

        begun = io->master >= 0;
        for (size_t i = 0; i < PROCESS_N_STREAMS; i++) {
                begun = begun || io->pumps[i] || io->journals[i];
                io->pumps[i] = pump_free(io->pumps[i]);
                io->journals[i] = journal_stream_free(io->journals[i]);
        }
        io->master = safe_close(io->master);
        if (!begun)
                return;

        /* What has begun to be moved cannot be begun again: the next try opens it anew. */
        for (size_t i = 0; i < PROCESS_N_STREAMS; i++)
                if (p->streams[i].kind != STREAM_FD)
                        process_close_stream(&p->streams[i]);
        process_store(p);
}

void process_release_child_ends(Process *p) {
        for (size_t i = 0; i < PROCESS_N_STREAMS; i++)
                stream_release_child_end(&p->streams[i]);
}

/* ---- after a restart ---- */

void process_resume_io(Process *p) {
        int r = 0;

        if (p->terminal && process_get_terminal(p) >= 0)
                r = process_begin_terminal(p);
        for (size_t i = 0; i < PROCESS_N_STREAMS && !p->terminal && r >= 0; i++)
                r = process_begin_stream(p, i);
        if (r < 0)
                (void) container_log(p->container, LOG_WARNING, r,
                                     "Failed to go on with moving the bytes of process %s: %m", p->id);
}

/* What was not kept is opened by its name, if the process can be reached that way. */
static void process_reopen_stream(Process *p, size_t i) {
        _cleanup_(freep) char *name = process_file_name(p, stream_names[i]);
        _cleanup_(safe_closep) int dir_fd = -EBADF;
        Stream *s = &p->streams[i];
        StreamOptions o;
        int r;

        if ((s->kind != STREAM_FIFO && s->kind != STREAM_JOURNAL) || p->terminal || p->relay || s->hold >= 0 ||
            s->from >= 0 || s->to >= 0 || (i == STDIN_FILENO && p->stdin_closed))
                return;

        dir_fd = process_open_directory(p);
        o = (StreamOptions) { .uid = (uid_t) -1, .gid = (gid_t) -1, .dir_fd = dir_fd, .name = name };
        r = stream_reopen(s, &o);
        if (r < 0 && r != -ENXIO)
                (void) container_log(p->container, LOG_WARNING, r,
                                     "Failed to take back %s of process %s, going on without it: %m", s->uri, p->id);
}

static bool process_has_lost_io(const Process *p) {
        bool kept = process_get_terminal(p) >= 0;

        for (size_t i = 0; i < PROCESS_N_STREAMS && p->relay; i++)
                kept = kept || p->streams[i].from >= 0 || p->streams[i].to >= 0;
        return (p->terminal || p->relay) && !kept;
}

void process_reopen_io(Process *p) {
        if (process_has_lost_io(p))
                (void) container_log(p->container, LOG_WARNING, 0,
                                     "The %s of process %s was lost when monoshimd ended.",
                                     p->terminal ? "terminal" : "relay", p->id);

        process_adopt_loggers(p);
        for (size_t i = 0; i < PROCESS_N_STREAMS; i++)
                process_reopen_stream(p, i);
        process_resume_io(p);
        process_store(p);
}

/* ---- the terminal ---- */

int process_get_terminal(const Process *p) {
        return p->io && p->io->master >= 0 ? p->io->master : -ENXIO;
}

int process_resize(Process *p, uint16_t columns, uint16_t rows) {
        int master;

        if (!p->terminal)
                return -EOPNOTSUPP;

        p->columns = columns;
        p->rows = rows;
        master = process_get_terminal(p);
        if (master >= 0)
                return console_resize(master, columns, rows);
        return p->state == PROCESS_CREATED || p->state == PROCESS_CREATED_CHECKPOINT ? 0 : -ENXIO;
}

/* ---- the end ---- */

void process_close_stdin(Process *p) {
        p->stdin_closed = true;
        stream_close_hold(&p->streams[STDIN_FILENO]);
}

bool process_io_is_drained(const Process *p) {
        const ProcessIo *io = p->io;

        return !io || (!io->pumps[1] && !io->pumps[2] && !io->journals[1] && !io->journals[2]);
}

static void process_on_drained(void *userdata) {
        Process *p = userdata;

        p->drain = stream_drain_free(p->drain);
        process_store(p);
}

static void process_on_hold_closed(void *userdata) {
        process_store(userdata);
}

/* All is in the FIFOs now; there it waits for readers. */
static void process_drain_fifos(Process *p) {
        int r;

        if (p->drain)
                return;

        r = stream_drain_new(&p->drain, p->container->services->event, p->streams + STDOUT_FILENO, 2,
                             process_on_drained, p);
        if (r < 0) {
                /* Without the timer a waiting reader would never see the end; what nobody has read yet is the lesser
                 * loss. */
                (void) container_log(p->container, LOG_WARNING, r,
                                     "Failed to watch the output FIFOs after the exit, closing them: %m");
                stream_close_hold(&p->streams[STDOUT_FILENO]);
                stream_close_hold(&p->streams[STDERR_FILENO]);
        }
        if (p->drain)
                stream_drain_set_on_closed(p->drain, process_on_hold_closed);
}

void process_on_moved(Process *p) {
        ProcessIo *io = p->io;

        for (size_t i = 0; i < 3; i++) {
                if (io->pumps[i] && pump_is_done(io->pumps[i]))
                        io->pumps[i] = pump_free(io->pumps[i]);
                if (io->journals[i] && journal_stream_is_done(io->journals[i]))
                        io->journals[i] = journal_stream_free(io->journals[i]);
        }

        if (!io->draining || !process_io_is_drained(p)) {
                process_store(p);
                return;
        }

        io->drain_timer = sd_event_source_disable_unref(io->drain_timer);
        process_drain_fifos(p);
        process_store(p);
        process_dispatch(p); /* a delete may wait for this */
}

static void process_finish_moving(Process *p) {
        ProcessIo *io = p->io;
        int r = 0;

        for (size_t i = 1; i < 3; i++) {
                if (io->pumps[i] && (r = pump_finish(io->pumps[i])) < 0)
                        io->pumps[i] = pump_free(io->pumps[i]);
                if (io->journals[i] && (r = journal_stream_finish(io->journals[i])) < 0)
                        io->journals[i] = journal_stream_free(io->journals[i]);
        }
        if (r < 0)
                (void) container_log(p->container, LOG_WARNING, r,
                                     "Failed to move what is left of the output of process %s: %m", p->id);
}

static int process_on_drain_overdue(sd_event_source *source, uint64_t usec, void *userdata) {
        Process *p = userdata;

        p->io->drain_timer = sd_event_source_disable_unref(p->io->drain_timer);
        process_finish_moving(p);
        process_on_moved(p);
        return 0;
}

void process_drain_io(Process *p) {
        ProcessIo *io = p->io;
        bool has_pipes = io && !p->terminal && !process_io_is_drained(p);

        process_close_stdin(p);
        if (io) {
                io->draining = true;
                io->pumps[0] = pump_free(io->pumps[0]);

                for (size_t i = 1; i < 3; i++)
                        if (p->streams[i].kind == STREAM_JOURNAL)
                                stream_close_hold(&p->streams[i]);

                /* A relay's pipe and the journal's FIFO may have been inherited, and end when their last writer has
                 * gone; who still writes then, does so for as long as a delete would wait. */
                if (!has_pipes ||
                    sd_event_add_time_relative(p->container->services->event, &io->drain_timer, CLOCK_MONOTONIC,
                                               PROCESS_DRAIN_USEC, 0, process_on_drain_overdue, p) < 0)
                        process_finish_moving(p);
        }
        if (process_io_is_drained(p))
                process_drain_fifos(p);
        process_store(p);
}

void process_release_io(Process *p) {
        p->drain = stream_drain_free(p->drain);
        for (size_t i = 0; i < PROCESS_N_STREAMS; i++)
                process_close_stream(&p->streams[i]);
        process_stop_loggers(p);
        process_free_io(p);
        process_forget_stored(p);
}

void process_free_io(Process *p) {
        ProcessIo *io = p->io;

        p->drain = stream_drain_free(p->drain);
        if (!io)
                return;

        sd_event_source_disable_unref(io->drain_timer);
        for (size_t i = 0; i < 3; i++) {
                safe_close(io->rests[i]);
                (void) pump_free(io->pumps[i]);
                (void) journal_stream_free(io->journals[i]);
                (void) logger_free(io->loggers[i]);
        }
        console_done(&io->console);
        safe_close(io->master);
        p->io = mfree(io);
}
