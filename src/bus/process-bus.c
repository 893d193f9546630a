/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* org.monoshim1.Process: the init process of a container, and those exec'd into it. */

#include "bus/call.h"
#include "bus/error.h"
#include "bus/objects.h"
#include "bus/path.h"
#include "core/process-io.h"

#include <unistd.h>

#define SIGNAL_MAX 64

/* ---- properties ---- */

static int property_get_id(sd_bus *bus, const char *path, const char *interface, const char *property,
                           sd_bus_message *reply, void *userdata, sd_bus_error *ret_error) {
        const Process *p = userdata;

        return sd_bus_message_append_basic(reply, 's', p->id);
}

static int property_get_started_at(sd_bus *bus, const char *path, const char *interface, const char *property,
                                   sd_bus_message *reply, void *userdata, sd_bus_error *ret_error) {
        const Process *p = userdata;

        return sd_bus_message_append_basic(reply, 't', &p->started_at);
}

static int property_get_pid(sd_bus *bus, const char *path, const char *interface, const char *property,
                            sd_bus_message *reply, void *userdata, sd_bus_error *ret_error) {
        const Process *p = userdata;

        return sd_bus_message_append(reply, "u", p->pid > 0 ? (uint32_t) p->pid : 0);
}

static int property_get_status(sd_bus *bus, const char *path, const char *interface, const char *property,
                               sd_bus_message *reply, void *userdata, sd_bus_error *ret_error) {
        return sd_bus_message_append(reply, "s", process_get_status(userdata));
}

/* An exit that was seen but not told yet is not shown either: Status, event and these change together. */
static int property_get_exit_status(sd_bus *bus, const char *path, const char *interface, const char *property,
                                    sd_bus_message *reply, void *userdata, sd_bus_error *ret_error) {
        const Process *p = userdata;

        return sd_bus_message_append(reply, "u", p->state == PROCESS_STOPPED ? p->exit_status : 0);
}

static int property_get_exited_at(sd_bus *bus, const char *path, const char *interface, const char *property,
                                  sd_bus_message *reply, void *userdata, sd_bus_error *ret_error) {
        const Process *p = userdata;

        return sd_bus_message_append(reply, "t", p->state == PROCESS_STOPPED ? p->exited_at : 0);
}

static int property_get_stream(sd_bus *bus, const char *path, const char *interface, const char *property,
                               sd_bus_message *reply, void *userdata, sd_bus_error *ret_error) {
        size_t i = streq(property, "Stdin")    ? STDIN_FILENO
                   : streq(property, "Stdout") ? STDOUT_FILENO
                                               : STDERR_FILENO;
        const Process *p = userdata;

        return sd_bus_message_append(reply, "s", stream_to_string(&p->streams[i]));
}

static int property_get_terminal(sd_bus *bus, const char *path, const char *interface, const char *property,
                                 sd_bus_message *reply, void *userdata, sd_bus_error *ret_error) {
        const Process *p = userdata;

        return sd_bus_message_append(reply, "b", (int) p->terminal);
}

int process_emit_changed(sd_bus *bus, const Process *p, unsigned changes) {
        _cleanup_(freep) char *path = NULL;
        char *names[6];
        size_t n = 0;
        int r;

        if (changes & PROCESS_CHANGED_STATUS)
                names[n++] = (char *) "Status";
        if (changes & PROCESS_CHANGED_PID)
                names[n++] = (char *) "Pid";
        if (changes & PROCESS_CHANGED_STARTED)
                names[n++] = (char *) "StartedAt";
        if (changes & PROCESS_CHANGED_EXIT) {
                names[n++] = (char *) "ExitStatus";
                names[n++] = (char *) "ExitedAt";
        }
        names[n] = NULL;
        if (n == 0)
                return 0;

        r = process_path_encode(p, &path);
        if (r < 0)
                return r;

        return sd_bus_emit_properties_changed_strv(bus, path, PROCESS_INTERFACE, names);
}

/* ---- methods that queue ---- */

static void on_started(void *userdata, Process *p, const Failure *failure) {
        if (failure_is_set(failure))
                call_reply_failure(userdata, failure);
        else
                call_reply(userdata, "u", (uint32_t) p->pid);
}

static int method_start(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        return call_submit(m, userdata, OPERATION_START, NULL, on_started, ret_error);
}

static int method_kill(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        OperationParameters q = {};
        Process *p = userdata;
        uint32_t signal;
        int all, r;

        r = sd_bus_message_read(m, "ub", &signal, &all);
        if (r < 0)
                return r;
        if (signal < 1 || signal > SIGNAL_MAX)
                return sd_bus_error_setf(ret_error, MONOSHIM_ERROR("InvalidArgument"),
                                         "signal: %u is no signal, they go from 1 to %d: invalid argument", signal,
                                         SIGNAL_MAX);
        if (all && !process_is_init(p))
                return sd_bus_error_setf(ret_error, MONOSHIM_ERROR("InvalidArgument"),
                                         "all: process %s was exec'd, only a container has all processes: "
                                         "invalid argument",
                                         p->id);

        q.signal = signal;
        q.all = all;
        return call_submit(m, p, OPERATION_KILL, &q, call_on_done, ret_error);
}

static void on_deleted(void *userdata, Process *p, const Failure *failure) {
        if (failure_is_set(failure))
                call_reply_failure(userdata, failure);
        else
                call_reply(userdata, "uut", (uint32_t) p->pid, p->exit_status, p->exited_at);
}

static int method_delete(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        return call_submit(m, userdata, OPERATION_DELETE, NULL, on_deleted, ret_error);
}

/* ---- methods that never queue ---- */

static void on_exited(void *userdata, uint32_t exit_status, uint64_t exited_at) {
        Call *call = userdata;

        call->waiter = NULL; /* it was freed before it called */
        call_reply(call, "ut", exit_status, exited_at);
}

static int method_wait(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        _cleanup_(failure_done) Failure failure = FAILURE_INIT;
        Process *p = userdata;
        Call *call;
        int r;

        if (p->state == PROCESS_STOPPED)
                return sd_bus_reply_method_return(m, "ut", p->exit_status, p->exited_at);

        call = call_new(connection_of(m), m, false, &failure);
        if (!call)
                return bus_error_from_failure(ret_error, &failure);

        r = process_add_waiter(p, on_exited, call, call->connection->is_replaying, &call->waiter, &failure);
        if (r < 0)
                call_reply_failure(call, &failure);
        return 1;
}

static int method_close_io(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        Process *p = userdata;

        if (!p->stdin_closed) {
                process_close_stdin(p);
                process_save_soon(p);
        }
        return sd_bus_reply_method_return(m, NULL);
}

static int no_terminal(const Process *p, sd_bus_error *ret_error) {
        return sd_bus_error_setf(ret_error, MONOSHIM_ERROR("FailedPrecondition"),
                                 p->terminal ? "the terminal of process %s is not there: failed precondition"
                                             : "process %s has no terminal: failed precondition",
                                 p->id);
}

static int method_resize_pty(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        const LifecycleRule *rule;
        uint16_t width, height;
        Process *p = userdata;
        int r;

        r = sd_bus_message_read(m, "qq", &width, &height);
        if (r < 0)
                return r;

        rule = process_rule(p, VERB_RESIZE);
        if (p->terminal && rule->answer != LIFECYCLE_ALLOWED)
                return sd_bus_error_set(ret_error, MONOSHIM_ERROR("FailedPrecondition"), rule->text);

        r = process_resize(p, width, height);
        if (r == -EOPNOTSUPP || r == -ENXIO)
                return no_terminal(p, ret_error);
        if (r < 0)
                return r;
        if (p->state == PROCESS_CREATED || p->state == PROCESS_CREATED_CHECKPOINT)
                process_save_soon(p);

        return sd_bus_reply_method_return(m, NULL);
}

static int method_open_terminal(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        const Process *p = userdata;
        int master;

        master = process_get_terminal(p);
        if (master < 0)
                return no_terminal(p, ret_error);

        return sd_bus_reply_method_return(m, "h", master); /* which duplicates it */
}

static int method_open_pidfd(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        _cleanup_(safe_closep) int fd = -EBADF;
        Process *p = userdata;

        if (p->pid == 0 && !p->exited)
                return sd_bus_error_setf(ret_error, MONOSHIM_ERROR("FailedPrecondition"),
                                         "process %s was not started: failed precondition", p->id);

        fd = process_open_pidfd(p);
        if (fd == -ESRCH)
                return sd_bus_error_set(ret_error, MONOSHIM_ERROR("NotFound"), "process already finished: not found");
        if (fd == -EMFILE || fd == -ENFILE || fd == -ENOMEM)
                return sd_bus_error_setf(ret_error, MONOSHIM_ERROR("ResourceExhausted"),
                                         "Failed to open a pidfd of process %s: %s", p->id, strerror(-fd));
        if (fd < 0)
                return fd;

        return sd_bus_reply_method_return(m, "h", fd);
}

/* clang-format off */
#define PROCESS_PROPERTIES(ROW) \
        ROW("Id",         "s", property_get_id,          SD_BUS_VTABLE_PROPERTY_CONST)        \
        ROW("Pid",        "u", property_get_pid,         SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE) \
        ROW("Status",     "s", property_get_status,      SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE) \
        ROW("ExitStatus", "u", property_get_exit_status, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE) \
        ROW("ExitedAt",   "t", property_get_exited_at,   SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE) \
        ROW("StartedAt",  "t", property_get_started_at,  SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE) \
        ROW("Stdin",      "s", property_get_stream,      SD_BUS_VTABLE_PROPERTY_CONST)        \
        ROW("Stdout",     "s", property_get_stream,      SD_BUS_VTABLE_PROPERTY_CONST)        \
        ROW("Stderr",     "s", property_get_stream,      SD_BUS_VTABLE_PROPERTY_CONST)        \
        ROW("Terminal",   "b", property_get_terminal,    SD_BUS_VTABLE_PROPERTY_CONST)

const BusProperty process_properties[] = {
        PROCESS_PROPERTIES(BUS_PROPERTY_ROW)
        {},
};
/* clang-format on */

const sd_bus_vtable process_vtable[] = {
        SD_BUS_VTABLE_START(0),

        PROCESS_PROPERTIES(BUS_PROPERTY_VTABLE)

        SD_BUS_METHOD_WITH_ARGS("Start", SD_BUS_NO_ARGS, SD_BUS_RESULT("u", pid), method_start,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Kill", SD_BUS_ARGS("u", signal, "b", all), SD_BUS_NO_RESULT, method_kill,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Delete", SD_BUS_NO_ARGS, SD_BUS_RESULT("u", pid, "u", exit_status, "t", exited_at),
                                method_delete, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Wait", SD_BUS_NO_ARGS, SD_BUS_RESULT("u", exit_status, "t", exited_at), method_wait,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ResizePty", SD_BUS_ARGS("q", width, "q", height), SD_BUS_NO_RESULT,
                                method_resize_pty, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("CloseIO", SD_BUS_NO_ARGS, SD_BUS_NO_RESULT, method_close_io,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("OpenTerminal", SD_BUS_NO_ARGS, SD_BUS_RESULT("h", terminal), method_open_terminal,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("OpenPidFD", SD_BUS_NO_ARGS, SD_BUS_RESULT("h", pidfd), method_open_pidfd,
                                SD_BUS_VTABLE_UNPRIVILEGED),

        SD_BUS_VTABLE_END
};
