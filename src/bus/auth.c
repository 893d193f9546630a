/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who may call. */

#include "bus/auth.h"
#include "bus/auth-call.h"
#include "bus/call.h"
#include "bus/error.h"
#include "bus/front.h"
#include "bus/handoff.h"
#include "bus/polkit.h"
#include "host/pid.h"
#include "util/log.h"
#include "util/strv.h"
#include "util/text.h"

#include <assert.h>
#include <poll.h>
#include <sys/socket.h>
#include <utlist.h>

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

typedef enum WaitingState {
        WAITING_QUEUED, /* others go first, or it is not known yet whose it is */
        WAITING_ASKED,  /* polkit has not answered yet */
        WAITING_PASSED, /* it is on its way in again */
} WaitingState;

typedef struct Waiting {
        Sender *sender;
        AuthAction action;
        WaitingState state;
        sd_bus_message *message;
        size_t size;
        PolkitQuestion *question;
        struct Waiting *prev, *next; /* sender::queues[action] */
} Waiting;

struct Sender {
        Connection *connection;
        char *name; /* "" of a peer, which is alone on its connection */
        bool is_known;
        uid_t uid;
        Client client;

        /* Until it is known who he is, and of root, all is in the queue of AUTH_FREE. Only a queue's first can be
         * anything but WAITING_QUEUED. */
        Waiting *queues[_AUTH_ACTION_MAX];
        unsigned n_waiting;
        size_t waiting_size;

        sd_bus_slot *question;  /* GetConnectionUnixUser */
        UT_hash_handle by_name; /* connection::senders */
};

bool auth_uid_is_allowed(uid_t uid) {
        return uid == 0 || uid == geteuid();
}

/* ---- refusals ---- */

/* 0 when the caller wants no reply: to the caller of a filter that would mean that the call may pass. */
static int refused(int r) {
        return r < 0 ? r : 1;
}

#define auth_refuse(m, name, format, ...) \
        refused(sd_bus_reply_method_errorf(m, name, "%s.%s: " format, strempty(sd_bus_message_get_interface(m)), \
                                           strempty(sd_bus_message_get_member(m)), __VA_ARGS__))

static int auth_refuse_unknown(sd_bus_message *m) {
        return auth_refuse(m, SD_BUS_ERROR_ACCESS_DENIED, "%s", "The bus does not say who you are.");
}

static int auth_refuse_memory(sd_bus_message *m) {
        return auth_refuse(m, MONOSHIM_ERROR("ResourceExhausted"), "%s", "out of memory");
}

static int auth_refuse_answer(sd_bus_message *m, AuthAction action, PolkitAnswer answer, const char *reason) {
        const char *name = auth_action_to_string(action);

        switch (answer) {
        case POLKIT_AUTHORIZED: /* that is no refusal */
                break;

        case POLKIT_CHALLENGE:
                return auth_refuse(m, SD_BUS_ERROR_INTERACTIVE_AUTHORIZATION_REQUIRED,
                                   "%s takes a password, and %s (polkit action).", name,
                                   sd_bus_message_get_allow_interactive_authorization(m) > 0
                                           ? "nobody can be asked for one: no authentication agent is running"
                                           : "the call does not allow to ask for one");

        case POLKIT_DISMISSED:
                return auth_refuse(m, SD_BUS_ERROR_ACCESS_DENIED,
                                   "the password for %s (polkit action) was not given.", name);

        case POLKIT_DENIED:
                return auth_refuse(m, SD_BUS_ERROR_ACCESS_DENIED, "polkit does not allow %s.", name);

        case POLKIT_ABSENT:
                return auth_refuse(m, SD_BUS_ERROR_ACCESS_DENIED,
                                   "it takes the polkit action %s, and there is no polkit on the bus: only root may.",
                                   name);

        case POLKIT_FAILED:
                break;
        }

        return auth_refuse(m, SD_BUS_ERROR_ACCESS_DENIED, "polkit could not be asked for %s: %s", name,
                           strempty(reason));
}

/* ---- calls that wait ---- */

static void sender_advance(Sender *sender, AuthAction action);

static Waiting *waiting_free(Waiting *w) {
        Sender *sender = w->sender;

        (void) polkit_question_free(w->question);
        DL_DELETE(sender->queues[w->action], w);
        sender->n_waiting--;
        sender->waiting_size -= w->size;
        (void) sd_bus_message_unref(w->message);
        return mfree(w);
}

static int waiting_let_in(Waiting *w) {
        int r;

        (void) sd_bus_message_rewind(w->message, true);
        r = sd_bus_enqueue_for_read(w->sender->connection->bus, w->message);
        if (r < 0)
                return r;

        w->state = WAITING_PASSED;
        return 0;
}

/* Is the process that has connected still the one that has its number? Asked before polkit and after: in between
 * polkit has only the number. */
static bool peer_is_there(const Connection *c) {
        PidStat st;

        return c->pid > 0 && c->start_time > 0 && pid_read_stat(c->pid, &st) >= 0 && !st.exiting &&
               st.start_time == c->start_time;
}

static void waiting_on_answer(void *userdata, PolkitAnswer answer, const char *reason) {
        Waiting *w = userdata;
        Sender *sender = w->sender;
        AuthAction action = w->action;
        int r;

        w->question = polkit_question_free(w->question);

        if (answer == POLKIT_AUTHORIZED && sender->connection->is_peer && !peer_is_there(sender->connection)) {
                answer = POLKIT_FAILED;
                reason = "the process that has connected is gone";
        }
        if (answer == POLKIT_AUTHORIZED) {
                r = waiting_let_in(w);
                if (r >= 0)
                        return;
                if (r != -ENOTCONN) /* it has gone: not worth a line, of which it could make any number */
                        log_warning_errno(r, "Failed to go on with a call, refusing it: %m");
                (void) auth_refuse_memory(w->message);
        } else
                (void) auth_refuse_answer(w->message, action, answer, reason);

        (void) waiting_free(w);
        sender_advance(sender, action);
}

static sd_bus *find_bus(const Connection *c) {
        const Connection *broker = c->front->broker;

        return broker && !broker->gone && sd_bus_is_open(broker->bus) > 0 ? broker->bus : NULL;
}

/* 0 when polkit has been asked, 1 when the call has been refused without, or -errno. */
static int waiting_ask(Waiting *w) {
        Connection *c = w->sender->connection;
        _cleanup_(strv_freep) char **details = NULL;
        PolkitSubject subject = { .pid = c->pid, .start_time = c->start_time, .uid = w->sender->uid };
        sd_bus *bus = c->is_peer ? find_bus(c) : c->bus;
        int r;

        if (!bus)
                return auth_refuse_answer(w->message, w->action, POLKIT_ABSENT, NULL);
        if (c->is_peer && !peer_is_there(c))
                return auth_refuse_answer(w->message, w->action, POLKIT_FAILED,
                                          "the process that has connected is gone");
        if (!c->is_peer)
                subject.bus_name = w->sender->name;

        r = auth_call_details(w->message, &details);
        if (r < 0)
                return r;
        r = polkit_ask(&w->question, bus, &subject, auth_action_to_string(w->action), details,
                       sd_bus_message_get_allow_interactive_authorization(w->message) > 0, waiting_on_answer, w);
        if (r < 0)
                return r;

        w->state = WAITING_ASKED;
        return 0;
}

/* Begins with the first of a queue, if nobody has. */
static void sender_advance(Sender *sender, AuthAction action) {
        Waiting *w;
        int r;

        while ((w = sender->queues[action]) && w->state == WAITING_QUEUED) {
                r = action == AUTH_FREE ? waiting_let_in(w) : waiting_ask(w);
                if (r == 0)
                        return;
                if (r < 0) {
                        log_warning_errno(r, "Failed to ask whether a call is allowed, refusing it: %m");
                        (void) auth_refuse_memory(w->message);
                }
                (void) waiting_free(w);
        }
}

/* ---- limits ---- */

typedef struct Load {
        unsigned n_user, n_all;
        size_t size_user;
} Load;

#define SENDER_FOREACH(s, c) for (Sender *s = (c)->senders; s; s = s->by_name.next)

/* Those whom nobody knows yet do not count: the broker will answer. */
static Load load_measure(const Front *front, uid_t uid) {
        Load load = {};

        for (const Connection *c = front->connections; c; c = c->next)
                SENDER_FOREACH(s, c) {
                        if (!s->is_known || auth_uid_is_allowed(s->uid))
                                continue;
                        load.n_all += s->n_waiting;
                        if (s->uid == uid) {
                                load.n_user += s->n_waiting;
                                load.size_user += s->waiting_size;
                        }
                }
        return load;
}

#define auth_refuse_limit(m, setting, value, format, ...) \
        auth_refuse(m, MONOSHIM_ERROR("ResourceExhausted"), \
                    format "; " setting "=%u in monoshimd.conf(5) allows no more", __VA_ARGS__, (unsigned) (value))

/* 0 when there is room for it, else what a filter returns. The call must not count yet. As long as it waits, so do
 * the descriptors that were passed with it. */
static int sender_check_room(const Sender *sender, AuthAction action, sd_bus_message *m, size_t size) {
        const Limits *limits = sender->connection->front->registry->services->limits;
        char text[SIZE_TEXT_MAX];
        Load load;

        if (action == AUTH_FREE) {
                if (sender->n_waiting < limits->unauthorized_calls_per_client)
                        return 0;
                return auth_refuse_limit(m, "MaxUnauthorizedCallsPerClient", limits->unauthorized_calls_per_client,
                                         "%u calls wait for the bus to say who you are already", sender->n_waiting);
        }

        load = load_measure(sender->connection->front, sender->uid);
        if (load.n_user >= limits->unauthorized_calls_per_user)
                return auth_refuse_limit(m, "MaxUnauthorizedCallsPerUser", limits->unauthorized_calls_per_user,
                                         "%u calls of this user wait for polkit's answer already", load.n_user);
        if (load.n_all >= limits->unauthorized_calls)
                return auth_refuse_limit(m, "MaxUnauthorizedCalls", limits->unauthorized_calls,
                                         "%u calls wait for polkit's answer already", load.n_all);
        if (size <= limits->unauthorized_size_per_user && load.size_user <= limits->unauthorized_size_per_user - size)
                return 0;

        return auth_refuse(m, MONOSHIM_ERROR("ResourceExhausted"),
                           "calls of %zu bytes of this user would wait for polkit's answer; "
                           "MaxUnauthorizedSizePerUser=%s in monoshimd.conf(5) allows no more",
                           load.size_user + size, format_size(limits->unauthorized_size_per_user, text));
}

/* ---- senders ---- */

static Sender *sender_free(Sender *sender) {
        Connection *c = sender->connection;

        if (!c->is_peer)
                calls_abandon(c, sender->name);
        assert(sender->client.n_calls == 0);

        for (AuthAction a = 0; a < _AUTH_ACTION_MAX; a++)
                while (sender->queues[a])
                        (void) waiting_free(sender->queues[a]);

        (void) sd_bus_slot_unref(sender->question);
        HASH_DELETE(by_name, c->senders, sender);
        if (!c->senders)
                c->senders_watch = sd_bus_slot_unref(c->senders_watch);
        free(sender->name);
        return mfree(sender);
}

static AuthAction sender_action(const Sender *sender, sd_bus_message *m) {
        if (!sender->is_known || auth_uid_is_allowed(sender->uid))
                return AUTH_FREE;

        return auth_action_of_call(m);
}

static void waiting_join(Waiting *w) {
        Sender *sender = w->sender;

        DL_APPEND(sender->queues[w->action], w);
        sender->n_waiting++;
        sender->waiting_size += w->size;
}

static int sender_let_wait(Sender *sender, AuthAction action, sd_bus_message *m) {
        size_t size = auth_call_size(m);
        Waiting *w;
        int r;

        r = sender_check_room(sender, action, m, size);
        if (r != 0)
                return r;

        w = malloc(sizeof(*w));
        if (!w)
                return -ENOMEM;

        *w = (Waiting) { .sender = sender, .action = action, .size = size, .message = sd_bus_message_ref(m) };
        waiting_join(w);
        return 1;
}

/* From now on each action has a queue of its own. */
static void sender_sort(Sender *sender) {
        Waiting *w, *next, *old = sender->queues[AUTH_FREE];
        int r;

        sender->queues[AUTH_FREE] = NULL;
        sender->n_waiting = 0;
        sender->waiting_size = 0;

        DL_FOREACH_SAFE(old, w, next) {
                DL_DELETE(old, w);
                w->action = sender_action(sender, w->message);
                r = sender_check_room(sender, w->action, w->message, w->size);
                if (r == 0) {
                        waiting_join(w);
                        continue;
                }
                if (r < 0)
                        (void) auth_refuse_memory(w->message);
                (void) sd_bus_message_unref(w->message);
                free(w);
        }
}

static int sender_on_answer(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        Sender *sender = userdata;
        uint32_t uid;

        sender->question = sd_bus_slot_unref(sender->question);

        if (sd_bus_message_is_method_error(m, NULL) || sd_bus_message_read(m, "u", &uid) < 0) {
                log_debug("The bus does not say who %s is; most likely it has left.", sender->name);
                for (Waiting *w = sender->queues[AUTH_FREE]; w; w = w->next)
                        (void) auth_refuse_unknown(w->message);
                (void) sender_free(sender);
                return 0;
        }

        sender->is_known = true;
        sender->uid = uid;
        if (!auth_uid_is_allowed(uid))
                sender_sort(sender);
        for (AuthAction a = 0; a < _AUTH_ACTION_MAX; a++)
                sender_advance(sender, a);
        return 0;
}

static Sender *sender_find(const Connection *c, const char *name) {
        Sender *sender = NULL;

        HASH_FIND(by_name, c->senders, name, strlen(name), sender);
        return sender;
}

static int senders_on_name_gone(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        const char *name, *old_owner, *new_owner;
        Connection *c = userdata;
        Sender *sender;

        if (sd_bus_message_read(m, "sss", &name, &old_owner, &new_owner) < 0 || !isempty(new_owner))
                return 0;

        sender = sender_find(c, name);
        if (sender)
                (void) sender_free(sender);
        return 0;
}

static int senders_on_watch_installed(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        const sd_bus_error *e = sd_bus_message_get_error(m);

        if (e)
                log_warning("The bus does not tell us who leaves it, their calls are kept until we are off it: %s",
                            e->message);
        return 0;
}

/* One watch for all senders, as long as there are any: a match for each would use up what the bus allows us. */
static int senders_watch(Connection *c) {
        if (c->senders_watch)
                return 0;

        return sd_bus_add_match_async(c->bus, &c->senders_watch,
                                      "type='signal',sender='org.freedesktop.DBus',path='/org/freedesktop/DBus',"
                                      "interface='org.freedesktop.DBus',member='NameOwnerChanged',arg2=''",
                                      senders_on_name_gone, senders_on_watch_installed, c);
}

static int sender_ask(Sender *sender) {
        Connection *c = sender->connection;
        int r;

        /* The watch first: should the sender leave right after the broker's answer, we hear of it. */
        r = senders_watch(c);
        if (r < 0)
                return r;

        return sd_bus_call_method_async(c->bus, &sender->question, "org.freedesktop.DBus", "/org/freedesktop/DBus",
                                        "org.freedesktop.DBus", "GetConnectionUnixUser", sender_on_answer, sender,
                                        "s", sender->name);
}

static int sender_add(Connection *c, const char *name, Sender **ret) {
        Sender *sender;

        sender = malloc(sizeof(*sender));
        if (!sender)
                return -ENOMEM;

        *sender = (Sender) { .connection = c, .name = strdup(name), .is_known = c->is_peer, .uid = c->uid };
        sender->client.number = ++c->front->last_client;
        if (!sender->name) {
                free(sender);
                return -ENOMEM;
        }
        HASH_ADD_KEYPTR(by_name, c->senders, sender->name, strlen(sender->name), sender);

        *ret = sender;
        return 0;
}

static int sender_new(Connection *c, const char *name, Sender **ret) {
        Sender *sender;
        int r;

        r = sender_add(c, name, &sender);
        if (r < 0)
                return r;

        r = c->is_peer ? 0 : sender_ask(sender);
        if (r < 0) {
                (void) sender_free(sender);
                return r;
        }

        *ret = sender;
        return 0;
}

static Sender *sender_get(Connection *c, const char *name, int *ret_error) {
        Sender *sender = sender_find(c, name);

        *ret_error = sender ? 0 : sender_new(c, name, &sender);
        return *ret_error < 0 ? NULL : sender;
}

/* ---- the filter ---- */

static Waiting *sender_find_passed(const Sender *sender, const sd_bus_message *m) {
        for (AuthAction a = 0; a < _AUTH_ACTION_MAX; a++) {
                Waiting *w = sender->queues[a];

                if (w && w->state == WAITING_PASSED && w->message == m)
                        return w;
        }
        return NULL;
}

bool auth_has_let_in(const Connection *c, sd_bus_message *m) {
        const Sender *sender = sender_find(c, "");

        return sender && sender_find_passed(sender, m);
}

static int sender_on_call(Sender *sender, sd_bus_message *m) {
        Waiting *passed = sender_find_passed(sender, m);
        AuthAction action;
        int r;

        if (passed) {
                action = passed->action;
                (void) waiting_free(passed);
                sender_advance(sender, action);
                return 0;
        }

        action = sender_action(sender, m);
        if (sender->is_known && action == AUTH_FREE && !sender->queues[AUTH_FREE])
                return 0;
        if (sender->connection->is_peer && (action == AUTH_MANAGE || action == AUTH_CREATE))
                return auth_refuse(
                        m, SD_BUS_ERROR_ACCESS_DENIED,
                        "on this socket only root may do it; over a message bus, polkit would be asked for %s.",
                        auth_action_to_string(action));

        r = sender_let_wait(sender, action, m);
        if (r < 0)
                return r;
        if (sender->is_known)
                sender_advance(sender, action);
        return 1;
}

static int auth_on_message(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        Connection *c = userdata;
        const char *name;
        Sender *sender;
        uint8_t type;
        int r;

        if (sd_bus_message_get_type(m, &type) < 0 || type != SD_BUS_MESSAGE_METHOD_CALL)
                return 0;

        c->front->n_calls_seen++;
        c->is_replaying = handoff_is_replay(c, m);
        if (c->is_replaying)
                return 0; /* it passed when it came in first */
        if (c->is_peer && auth_uid_is_allowed(c->uid))
                return 0;

        name = c->is_peer ? "" : sd_bus_message_get_sender(m);
        if (!name)
                return auth_refuse_unknown(m);

        sender = sender_get(c, name, &r);
        if (!sender) {
                log_warning_errno(r, "Failed to find out who %s is, refusing its call: %m", name);
                return auth_refuse_unknown(m);
        }
        return sender_on_call(sender, m);
}

int auth_attach(Connection *c) {
        return sd_bus_add_filter(c->bus, NULL, auth_on_message, c);
}

/* With 'passed' also what has been let in, but has not come in again yet. */
static void sender_refuse_all(Sender *sender, bool passed, const char *error, const char *text) {
        Waiting *w, *next;

        for (AuthAction a = 0; a < _AUTH_ACTION_MAX; a++)
                DL_FOREACH_SAFE(sender->queues[a], w, next) {
                        if (w->state == WAITING_PASSED && !passed)
                                continue;
                        (void) auth_refuse(w->message, error, "%s", text);
                        (void) waiting_free(w);
                }
}

void auth_detach(Connection *c) {
        Sender *sender, *next;

        HASH_ITER(by_name, c->senders, sender, next)
                (void) sender_free(sender);

        if (c->is_peer)
                return;
        for (Connection *peer = c->front->connections; peer; peer = peer->next)
                if (peer->is_peer)
                        SENDER_FOREACH(s, peer)
                                sender_refuse_all(s, false, SD_BUS_ERROR_ACCESS_DENIED,
                                                  "polkit cannot be asked any more: the message bus has gone.");
}

void auth_abandon(Connection *c) {
        SENDER_FOREACH(s, c)
                sender_refuse_all(s, true, MONOSHIM_ERROR("Unavailable"), "monoshimd is stopping");
}

Client *auth_get_client(Connection *c, sd_bus_message *m) {
        Sender *sender = c->is_peer ? NULL : sender_find(c, sd_bus_message_get_sender(m));

        return sender ? &sender->client : &c->client;
}

/* ---- peers ---- */

/* Was the process behind this socket still there just now? Then what /proc says of its number is about it. Kernels
 * before 6.5 cannot say; there the time of its start has to do, as of a moment after it has connected. */
static bool peer_lives(int fd) {
        _cleanup_(safe_closep) int pidfd = -EBADF;
        socklen_t size = sizeof(pidfd);
        struct pollfd p = { .events = POLLIN };

        if (getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &size) < 0) {
                pidfd = -EBADF;
                return errno == ENOPROTOOPT;
        }

        p.fd = pidfd;
        return poll(&p, 1, 0) == 0;
}

void auth_identify_peer(Connection *c, int fd, pid_t pid) {
        PidStat st;

        if (auth_uid_is_allowed(c->uid) || pid_read_stat(pid, &st) < 0 || !peer_lives(fd))
                return;

        c->pid = pid;
        c->start_time = st.start_time;
}

bool auth_is_quiet(const Connection *c) {
        SENDER_FOREACH(s, c)
                if (!s->is_known || s->n_waiting > 0)
                        return false;
        if (c->is_peer)
                return true;

        for (const Connection *peer = c->front->connections; peer; peer = peer->next)
                if (peer->is_peer && !auth_is_quiet(peer))
                        return false;
        return true;
}

/* ---- over a re-execution ---- */

void auth_write_handoff(Connection *c, JsonWriter *w) {
        json_put_bool(w, "watches_senders", c->senders_watch);
        json_write_key(w, "senders");
        json_open_array(w);
        SENDER_FOREACH(sender, c) {
                json_open_object(w);
                json_put_string(w, "name", sender->name);
                json_put_uint64(w, "uid", sender->uid);
                json_close_object(w);
        }
        json_close_array(w);
}

int auth_take_handoff(Connection *c, Json tree, bool *ret_has_asked) {
        Json senders = json_get(tree, "senders");
        bool watches = false;
        int r;

        r = json_get_bool(tree, "watches_senders", &watches);
        if (r < 0)
                return r;

        if (!watches) {
                *ret_has_asked = false;
                return 0;
        }

        for (size_t i = 0; i < json_length(senders); i++) {
                Json v = json_element(senders, i);
                const char *name;
                Sender *sender;
                uint64_t uid;

                /* One that is not known is asked about again. */
                if (json_get_string(v, "name", &name) <= 0 || json_get_uint64(v, "uid", &uid) <= 0 ||
                    sender_find(c, name))
                        continue;

                r = sender_add(c, name, &sender);
                if (r < 0)
                        return r;
                sender->is_known = true;
                sender->uid = (uid_t) uid;
        }

        r = senders_watch(c);
        if (r < 0)
                return r;

        *ret_has_asked = true;
        return 0;
}
