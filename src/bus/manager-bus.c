/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* org.monoshim1.Manager: the set of containers, and what happens in it. */

#include "bus/auth.h"
#include "bus/error.h"
#include "bus/front.h"
#include "bus/listing.h"
#include "bus/objects.h"
#include "bus/option.h"
#include "bus/path.h"
#include "core/subscription.h"
#include "util/text.h"

#include <limits.h>

/* ---- properties ---- */

static int property_get_services_string(sd_bus *bus, const char *path, const char *interface, const char *property,
                                        sd_bus_message *reply, void *userdata, sd_bus_error *ret_error) {
        const Services *s = ((Connection *) userdata)->front->registry->services;
        const char *value;

        if (streq(property, "Version"))
                value = PACKAGE_VERSION;
        else if (streq(property, "Runtime"))
                value = s->runtime;
        else if (streq(property, "RuntimeRoot"))
                value = s->runtime_root;
        else if (streq(property, "StateDirectory"))
                value = s->state_directory;
        else
                value = s->root_directory;

        return sd_bus_message_append(reply, "s", value);
}

static int property_get_n_containers(sd_bus *bus, const char *path, const char *interface, const char *property,
                                     sd_bus_message *reply, void *userdata, sd_bus_error *ret_error) {
        return sd_bus_message_append(reply, "u", ((Connection *) userdata)->front->registry->n_live);
}

static int property_get_n_jobs(sd_bus *bus, const char *path, const char *interface, const char *property,
                               sd_bus_message *reply, void *userdata, sd_bus_error *ret_error) {
        return sd_bus_message_append(reply, "u",
                                     job_pool_n_jobs(((Connection *) userdata)->front->registry->services->pool));
}

static int property_get_last_sequence(sd_bus *bus, const char *path, const char *interface, const char *property,
                                      sd_bus_message *reply, void *userdata, sd_bus_error *ret_error) {
        return sd_bus_message_append(reply, "t",
                                     eventlog_last(((Connection *) userdata)->front->registry->services->log));
}

/* ---- containers ---- */

#define ITEM_SIZE 256U
#define LIST_TURN 64 /* containers in one turn of the loop, of which each takes about a microsecond */

/* An answer that may be large counts as such for a client that does not read. */
static int send_large(Connection *c, sd_bus_message *reply, size_t n_items) {
        int r;

        r = sd_bus_message_send(reply);
        if (r >= 0)
                connection_on_sent(c, n_items * ITEM_SIZE);
        return r;
}

static int reply_with_path(sd_bus_message *m, const Container *c) {
        _cleanup_(freep) char *path = NULL;
        int r;

        r = container_path_encode(c, &path);
        if (r < 0)
                return r;

        return sd_bus_reply_method_return(m, "o", path);
}

static int method_get_container(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        Registry *registry = ((Connection *) userdata)->front->registry;
        _cleanup_(failure_done) Failure failure = FAILURE_INIT;
        const char *ns, *id;
        Container *c;
        int r;

        r = sd_bus_message_read(m, "ss", &ns, &id);
        if (r < 0)
                return r;
        r = registry_check_name(ns, id, &failure);
        if (r < 0)
                return bus_error_from_failure(ret_error, &failure);

        c = registry_find(registry, ns, id);
        if (!c)
                return sd_bus_error_setf(ret_error, MONOSHIM_ERROR("NotFound"), "task %s not found in namespace %s",
                                         id, ns);

        return reply_with_path(m, c);
}

static int method_get_container_by_pid(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        Registry *registry = ((Connection *) userdata)->front->registry;
        Container *c = NULL;
        uint32_t pid;
        int r;

        r = sd_bus_message_read(m, "u", &pid);
        if (r < 0)
                return r;

        if (pid > 1 && pid <= INT_MAX)
                c = registry_find_by_pid(registry, (pid_t) pid);
        if (!c)
                return sd_bus_error_setf(ret_error, MONOSHIM_ERROR("NotFound"),
                                         "process %u belongs to no container: not found", pid);

        return reply_with_path(m, c);
}

static int append_container(sd_bus_message *reply, const Container *c) {
        uint32_t pid = c->init.pid > 0 ? (uint32_t) c->init.pid : 0;
        char path[PATH_SIZE];
        int r;

        if ((r = sd_bus_message_open_container(reply, 'r', "sssuo")) < 0 ||
            (r = sd_bus_message_append_basic(reply, 's', container_get_namespace(c))) < 0 ||
            (r = sd_bus_message_append_basic(reply, 's', c->id)) < 0 ||
            (r = sd_bus_message_append_basic(reply, 's', process_get_status(&c->init))) < 0 ||
            (r = sd_bus_message_append_basic(reply, 'u', &pid)) < 0 ||
            (r = sd_bus_message_append_basic(reply, 'o', container_path_write(c, path))) < 0)
                return r;

        return sd_bus_message_close_container(reply);
}

static int method_list_containers(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        return listing_answer(userdata, m, "(sssuo)", LIST_TURN, append_container, ret_error);
}

/* ---- events ---- */

typedef struct EventsReply {
        sd_bus_message *message;
        size_t n;
} EventsReply;

static int append_event(void *userdata, const Event *e) {
        EventsReply *events = userdata;
        sd_bus_message *reply = events->message;
        int r;

        events->n++;

        if ((r = sd_bus_message_open_container(reply, 'r', "tstssa{sv}")) < 0 ||
            (r = sd_bus_message_append(reply, "tstss", e->sequence, event_topic_to_string(e->topic), e->time_usec,
                                       e->ns, e->container_id)) < 0 ||
            (r = event_append_dictionary(reply, e)) < 0)
                return r;

        return sd_bus_message_close_container(reply);
}

static int method_get_events(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        EventLog *log = ((Connection *) userdata)->front->registry->services->log;
        EventsReply events = {};
        uint64_t after;
        uint32_t max;
        int r;

        r = sd_bus_message_read(m, "tu", &after, &max);
        if (r < 0)
                return r;

        r = sd_bus_message_new_method_return(m, &reply);
        if (r < 0)
                return r;

        events.message = reply;
        if ((r = sd_bus_message_append(reply, "b", (int) eventlog_is_complete(log, after))) < 0 ||
            (r = sd_bus_message_open_container(reply, 'a', "(tstssa{sv})")) < 0 ||
            (r = eventlog_read(log, after, max, append_event, &events)) < 0 ||
            (r = sd_bus_message_close_container(reply)) < 0)
                return r;

        return send_large(userdata, reply, events.n);
}

typedef struct SubscribeRequest {
        const char *ns;
        const char *container_id;
} SubscribeRequest;

static int read_identifier(sd_bus_message *m, const BusOption *option, void *target, Failure *failure) {
        const char **member = bus_option_member(option, target);
        _cleanup_(freep) char *reason = NULL;
        const char *id;
        int r;

        r = sd_bus_message_read(m, "s", &id);
        if (r < 0)
                return r;
        if (identifier_check(id, &reason) < 0)
                return failure_set(failure, FAILURE_INVALID_ARGUMENT, "%s: %s", option->name, strempty(reason));

        *member = id;
        return 0;
}

/* clang-format off */
static const BusOption subscribe_options[] = {
        { "Namespace",   "s", read_identifier, offsetof(SubscribeRequest, ns)           },
        { "ContainerId", "s", read_identifier, offsetof(SubscribeRequest, container_id) },
        {},
};
/* clang-format on */

static int method_subscribe_events(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        Connection *c = userdata;
        SubscriptionSet *set = c->front->registry->services->subscriptions;
        _cleanup_(failure_done) Failure failure = FAILURE_INIT;
        _cleanup_(safe_closep) int fd = -EBADF;
        SubscribeRequest q = {};
        uint64_t after;
        int r;

        r = sd_bus_message_read(m, "t", &after);
        if (r < 0)
                return r;
        r = bus_options_read(m, subscribe_options, &q, &failure);
        if (r >= 0)
                r = subscription_new(set, auth_get_client(c, m)->number, after, q.ns, q.container_id, &fd, &failure);
        if (r < 0)
                return failure_is_set(&failure) ? bus_error_from_failure(ret_error, &failure) : r;

        return sd_bus_reply_method_return(m, "h", fd);
}

/* ---- configuration ---- */

static int method_reload(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        _cleanup_(failure_done) Failure failure = FAILURE_INIT;
        Front *f = ((Connection *) userdata)->front;

        if (f->reload(f->userdata, &failure) < 0)
                return bus_error_from_failure(ret_error, &failure);

        return sd_bus_reply_method_return(m, NULL);
}

const sd_bus_vtable manager_vtable[] = {
        SD_BUS_VTABLE_START(0),

        SD_BUS_PROPERTY("Version", "s", property_get_services_string, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Runtime", "s", property_get_services_string, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("RuntimeRoot", "s", property_get_services_string, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("StateDirectory", "s", property_get_services_string, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("RootDirectory", "s", property_get_services_string, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("NContainers", "u", property_get_n_containers, 0, 0),
        SD_BUS_PROPERTY("NJobs", "u", property_get_n_jobs, 0, 0),
        SD_BUS_PROPERTY("LastSequence", "t", property_get_last_sequence, 0, 0),

        SD_BUS_METHOD_WITH_ARGS(
                "CreateContainer", SD_BUS_ARGS("s", namespace, "s", id, "s", bundle, "a{sv}", options),
                SD_BUS_RESULT("o", container, "u", pid), manager_method_create_container, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("GetContainer", SD_BUS_ARGS("s", namespace, "s", id), SD_BUS_RESULT("o", container),
                                method_get_container, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("GetContainerByPID", SD_BUS_ARGS("u", pid), SD_BUS_RESULT("o", container),
                                method_get_container_by_pid, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ListContainers", SD_BUS_NO_ARGS, SD_BUS_RESULT("a(sssuo)", containers),
                                method_list_containers, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("GetEvents", SD_BUS_ARGS("t", after, "u", max),
                                SD_BUS_RESULT("b", complete, "a(tstssa{sv})", events), method_get_events,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("SubscribeEvents", SD_BUS_ARGS("t", after, "a{sv}", options),
                                SD_BUS_RESULT("h", events), method_subscribe_events, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Reload", SD_BUS_NO_ARGS, SD_BUS_NO_RESULT, method_reload,
                                SD_BUS_VTABLE_UNPRIVILEGED),

        SD_BUS_SIGNAL_WITH_ARGS("TaskCreate",
                                SD_BUS_ARGS("t", sequence, "s", namespace, "s", container_id, "s", bundle, "a(sssas)",
                                            rootfs, "s", stdin, "s", stdout, "s", stderr, "b", terminal, "s",
                                            checkpoint, "u", pid),
                                0),
        SD_BUS_SIGNAL_WITH_ARGS("TaskStart", SD_BUS_ARGS("t", sequence, "s", namespace, "s", container_id, "u", pid),
                                0),
        SD_BUS_SIGNAL_WITH_ARGS("TaskOOM", SD_BUS_ARGS("t", sequence, "s", namespace, "s", container_id), 0),
        SD_BUS_SIGNAL_WITH_ARGS("TaskExit",
                                SD_BUS_ARGS("t", sequence, "s", namespace, "s", container_id, "s", id, "u", pid, "u",
                                            exit_status, "t", exited_at),
                                0),
        SD_BUS_SIGNAL_WITH_ARGS("TaskDelete",
                                SD_BUS_ARGS("t", sequence, "s", namespace, "s", container_id, "s", id, "u", pid, "u",
                                            exit_status, "t", exited_at),
                                0),
        SD_BUS_SIGNAL_WITH_ARGS("TaskExecAdded",
                                SD_BUS_ARGS("t", sequence, "s", namespace, "s", container_id, "s", exec_id), 0),
        SD_BUS_SIGNAL_WITH_ARGS("TaskExecStarted",
                                SD_BUS_ARGS("t", sequence, "s", namespace, "s", container_id, "s", exec_id, "u", pid),
                                0),
        SD_BUS_SIGNAL_WITH_ARGS("TaskPaused", SD_BUS_ARGS("t", sequence, "s", namespace, "s", container_id), 0),
        SD_BUS_SIGNAL_WITH_ARGS("TaskResumed", SD_BUS_ARGS("t", sequence, "s", namespace, "s", container_id), 0),
        SD_BUS_SIGNAL_WITH_ARGS("TaskCheckpointed",
                                SD_BUS_ARGS("t", sequence, "s", namespace, "s", container_id, "s", checkpoint), 0),
        /* Spelt out, since errno is a macro. */
        SD_BUS_SIGNAL_WITH_NAMES("TaskSeccomp", "tssussut",
                                 "sequence\0namespace\0container_id\0pid\0syscall\0action\0errno\0count\0", 0),

        SD_BUS_VTABLE_END
};
