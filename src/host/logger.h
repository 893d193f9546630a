/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A logger process, as "binary:///abs/path?key=value..." names one (containerd pkg/process/io.go, NewBinaryIO): it
 * has the container's stdout on descriptor 3 and its stderr on 4, and closes 5 once it is ready; CONTAINER_ID and
 * CONTAINER_NAMESPACE are all its environment; each key and value of the query is one argument, in their order. Its
 * stdin and stdout are /dev/null, its stderr is ours, unless that is a pipe, which may lose its reader with us.
 *
 * It outlives us: after a restart it goes on reading its pipes, and can be taken back by its pid. */

#include "host/pid.h"
#include "host/reaper.h"
#include "util/macro.h"

#include <sys/types.h>
#include <systemd/sd-event.h>

#define LOGGER_STOP_USEC (12 * USEC_PER_SEC) /* from SIGTERM to SIGKILL */

typedef struct Logger Logger;

typedef struct LoggerParameters {
        const char *uri;
        const char *ns;
        const char *container_id;
        int output;            /* read end of the container's stdout; negative: /dev/null. Stays the caller's */
        int error;             /* the same for its stderr */
        uint64_t timeout_usec; /* until it must be ready; USEC_INFINITY for none */
} LoggerParameters;

/* Told once, from the loop: 0 when descriptor 5 was closed by a living logger, or written to; -EPIPE when it ended
 * before
 * ("logging binary did not call ready (it may have crashed or exited prematurely)"), -ETIMEDOUT (it was killed then).
 * 'text' says so in a sentence, and lives during the call. May free the logger. */
typedef void (*LoggerReady)(void *userdata, int error, const char *text);

/* Told once, from the loop: a logger that was ready, or was taken back, has ended without being stopped. The status
 * is as wait(2) gives it, or -1 when nobody knows it (only of one that was taken back). May free the logger. */
typedef void (*LoggerExited)(void *userdata, int wait_status);

/* Takes the URI apart: absolute path, percent-decoded; the query's keys and values percent-decoded, '+' is a space; a
 * key without '=' has an empty value, as in Go's net/url. A new argument vector, argv[0] being the path. -EINVAL and
 * *reterr_reason (caller frees). */
int logger_parse(const char *uri, char ***ret_argv, char **reterr_reason);

/* Starts it. -ENOENT, -EACCES and the like when that fails. The reaper must outlive the logger. */
int logger_new(Logger **ret, sd_event *event, Reaper *reaper, const LoggerParameters *p, LoggerReady ready,
               void *userdata);

/* Takes one back after a restart, which is ready; -ESRCH when it is gone. */
int logger_adopt(Logger **ret, sd_event *event, PidWatcher *pids, pid_t pid, uint64_t start_time);

/* NULL for nobody, as at first. */
void logger_set_on_exited(Logger *l, LoggerExited exited, void *userdata);

pid_t logger_get_pid(const Logger *l); /* 0 once it has ended */
uint64_t logger_get_start_time(const Logger *l);

/* Tells it to end: it reads end-of-file once the container's ends are closed, and is sent SIGTERM after 'grace_usec'
 * (USEC_INFINITY: never) and it and its process group SIGKILL LOGGER_STOP_USEC later, if it is still there. Frees it:
 * what is left to do belongs to the event loop, needs no Logger, and is dropped with the loop. Nobody is told. */
Logger *logger_stop(Logger *l, uint64_t grace_usec);

/* Lets it run on, unwatched (at our own end). */
Logger *logger_free(Logger *l);
DEFINE_CLEANUP(Logger *, logger_free);
