/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A process's standard streams, from what a client named to what is closed in the end: opening, the terminal, the
 * pumps between that and FIFOs, relays, the journal, logger processes. */

#include "core/failure.h"
#include "core/process.h"
#include "host/console.h"
#include "host/journal.h"
#include "host/logger.h"
#include "host/pump.h"

/* "Stdin", "Stdout", "Stderr", as the options are called, and "stdin", ... as in files. */
extern const char *const stream_options[3];
extern const char *const stream_names[3];

typedef struct StreamRequest {
        const char *uri; /* as the client wrote it; NULL or "" for none */
        int fd;          /* or this very descriptor, which stays the caller's; negative for none */
} StreamRequest;

typedef void (*ProcessIoThen)(Operation *op);

/* Only for a process whose bytes we move, or that has loggers; most have none of it. */
struct ProcessIo {
        Console console; /* while the runtime runs */
        int master;      /* of the terminal */
        Pump *pumps[3];
        int rests[3]; /* after a restart: what a former pump had read and not written, in a memfd */
        JournalStream *journals[3];
        Logger *loggers[3];   /* [1]: of stdout, and of stderr if that names the same */
        pid_t logger_pids[3]; /* after a restart, of those that are still to be taken back */
        uint64_t logger_start_times[3];

        Operation *operation; /* waits for the loggers to be ready */
        ProcessIoThen then;
        unsigned n_unready;
        bool draining; /* the process has ended */
        sd_event_source *drain_timer;
};

/* Checks what a client named, and opens it, save what takes the process's own folder or a logger: that is left to
 * process_prepare_io(). p->terminal, relay, io_uid and io_gid are set. A failure names the option. */
int process_open_streams(Process *p, const StreamRequest requests[3], Failure *failure);

/* Before the runtime is run: opens what is not open (after a restart, or an earlier try), makes the console socket,
 * starts the loggers. Returns 1 when all is ready now; 0 when then() will be called from the loop, with a failure or
 * not; -errno with *failure. */
int process_prepare_io(Process *p, Operation *op, ProcessIoThen then, Failure *failure);

/* What the runtime gets as its streams: with a terminal none of its own. */
void process_get_stdio(const Process *p, int ret[3]);

/* For --console-socket, or NULL. */
const char *process_get_console_socket(const Process *p);

/* After the runtime's success: takes the terminal's master, sets its size, starts to move bytes. */
int process_begin_io(Process *p, Failure *failure);

/* The runtime has been run, and has failed: what was only for this try is closed, so that it can be tried again. */
void process_cancel_io(Process *p);

/* The process has its ends: ours of them are closed. */
void process_release_child_ends(Process *p);

/* After a restart, for one that lives: goes on with what was taken back, and opens again what was not kept but has a
 * name: our holds, the journal. A terminal and relays that were not kept are lost. */
void process_reopen_io(Process *p);

/* The terminal's master, which stays ours; -ENXIO when there is none. */
int process_get_terminal(const Process *p);

/* Remembers the size and sets it if there is a terminal already. -EOPNOTSUPP without one, -ENXIO for a terminal that
 * was lost, or -errno. */
int process_resize(Process *p, uint16_t columns, uint16_t rows);

/* Closes our hold on stdin. */
void process_close_stdin(Process *p);

/* After the exit: lets the readers of the outputs get what is left, and then their end-of-file. */
void process_drain_io(Process *p);

/* Does nothing have to be moved any more? A delete waits for it, up to PROCESS_DRAIN_USEC after the exit. */
bool process_io_is_drained(const Process *p);
#define PROCESS_DRAIN_USEC (10 * USEC_PER_SEC)

/* Lets go of all streams at once: the process is being deleted. What nobody has read is lost. */
void process_release_io(Process *p);

/* The same at our own end: the process lives on, and so do its loggers. */
void process_free_io(Process *p);

/* What the runtime does for the process just now: "create", "restore", "exec"; for the beginning of a failure. */
const char *process_get_verb(const Process *p);

/* Gives the process a ProcessIo, if it has none; NULL without memory. */
ProcessIo *process_get_io(Process *p);

/* A pump or the journal's stream may be done. */
void process_on_moved(Process *p);

/* ---- over a restart (process-store.c) ---- */

/* Has what we hold for the process kept, as far as it has changed: called after each change. Between its exit and the
 * moment when that is on disk nothing is changed. A failure is logged: it only costs what a crash would. */
void process_store(Process *p);
void process_store_for_handover(Process *p); /* with the bytes that are under way: we are about to execute ourselves */
void process_forget_stored(Process *p);

/* After a restart: its streams and its terminal are what they were, as far as they were kept. */
void process_take_stored(Process *p);

/* The process is gone; if the kernel says how it ended, by the pidfd that was kept, it has exited so: true. */
bool process_take_stored_exit(Process *p);

/* Goes on with moving bytes between what was taken back. */
void process_resume_io(Process *p);

/* ---- loggers (process-logger.c) ---- */

/* Starts those that its streams name; they count in io->n_unready until they are ready, then io->then() is called. */
int process_start_loggers(Process *p, Failure *failure);
void process_stop_loggers(Process *p);
void process_kill_loggers(Process *p); /* at once */

/* Waits for them no longer: the operation that does goes on with this failure. False if none does. */
bool process_abandon_loggers(Process *p, FailureKind kind, const char *text);

/* The logger of stdout (1) or stderr (2), to be kept on disk: its pid, 0 if there is none. After
 * a restart: what was read there, and taking them back once it is known that their process lives. */
pid_t process_get_logger(const Process *p, size_t i, uint64_t *ret_start_time);
int process_expect_logger(Process *p, size_t i, pid_t pid, uint64_t start_time);
void process_adopt_loggers(Process *p);
