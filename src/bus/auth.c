/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who may call. */

#include "bus/auth.h"
#include "bus/call.h"
#include "bus/front.h"
#include "bus/handoff.h"
#include "util/log.h"
#include "util/text.h"

#include <assert.h>
#include <utlist.h>

/* A sender whose calls have not been let through yet can make this many wait; sd-bus keeps the rest of them on the
 * socket. */
#define SENDER_WAITING_MAX 1024

typedef enum SenderState {
        SENDER_ASKING, /* the broker has not answered yet */
        SENDER_ALLOWED,
        SENDER_DENIED,
} SenderState;

/* A call that waits for the broker's answer, or for its turn after those that did. */
typedef struct Waiting {
        sd_bus_message *message;
        struct Waiting *prev, *next; /* sender::waiting */
} Waiting;

struct Sender {
        Connection *connection;
        char *name;
        SenderState state;
        unsigned n_calls; /* under way, see auth_get_counter() */
        Waiting *waiting;
        unsigned n_waiting;
        sd_bus_slot *question;  /* GetConnectionUnixUser */
        UT_hash_handle by_name; /* connection::senders */
};

bool auth_uid_is_allowed(uid_t uid) {
        return uid == 0 || uid == geteuid();
}

static int auth_deny(sd_bus_message *m) {
        int r;

        r = sd_bus_reply_method_errorf(
                m, SD_BUS_ERROR_ACCESS_DENIED, "Only root may use monoshimd; %s.%s was refused.",
                strempty(sd_bus_message_get_interface(m)), strempty(sd_bus_message_get_member(m)));

        /* 0 when the caller wants no reply: to the caller of a filter that would mean that the call may pass. */
        return r < 0 ? r : 1;
}

static void sender_drop_waiting(Sender *sender, Waiting *w) {
        DL_DELETE(sender->waiting, w);
        sender->n_waiting--;
        (void) sd_bus_message_unref(w->message);
        free(w);
}

static Sender *sender_free(Sender *sender) {
        Connection *c = sender->connection;

        calls_abandon(c, sender->name);
        assert(sender->n_calls == 0);

        while (sender->waiting)
                sender_drop_waiting(sender, sender->waiting);

        (void) sd_bus_slot_unref(sender->question);
        HASH_DELETE(by_name, c->senders, sender);
        if (!c->senders)
                c->senders_watch = sd_bus_slot_unref(c->senders_watch);
        free(sender->name);
        return mfree(sender);
}

/* Lets the calls that have waited come in again, in their order. Each is recognised by being the first of those that
 * wait. */
static void sender_release(Sender *sender) {
        Waiting *w, *next;

        DL_FOREACH_SAFE(sender->waiting, w, next) {
                int r;

                (void) sd_bus_message_rewind(w->message, true);
                r = sd_bus_enqueue_for_read(sender->connection->bus, w->message);
                if (r < 0) {
                        log_warning_errno(r, "Failed to go on with a call of %s, refusing it: %m", sender->name);
                        (void) auth_deny(w->message);
                        sender_drop_waiting(sender, w);
                }
        }
}

static int sender_on_answer(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        Sender *sender = userdata;
        uint32_t uid;

        sender->question = sd_bus_slot_unref(sender->question);

        if (sd_bus_message_is_method_error(m, NULL) || sd_bus_message_read(m, "u", &uid) < 0) {
                log_debug("The bus does not say who %s is; most likely it has left.", sender->name);
                for (Waiting *w = sender->waiting; w; w = w->next)
                        (void) auth_deny(w->message);
                (void) sender_free(sender);
                return 0;
        }

        sender->state = auth_uid_is_allowed(uid) ? SENDER_ALLOWED : SENDER_DENIED;
        sender_release(sender);
        return 0;
}

static Sender *sender_find(Connection *c, const char *name) {
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

        *sender = (Sender) { .connection = c, .name = strdup(name), .state = SENDER_ASKING };
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

        r = sender_ask(sender);
        if (r < 0) {
                (void) sender_free(sender);
                return r;
        }

        *ret = sender;
        return 0;
}

static int sender_let_wait(Sender *sender, sd_bus_message *m) {
        Waiting *w;

        if (sender->n_waiting >= SENDER_WAITING_MAX)
                return sd_bus_reply_method_errorf(m, SD_BUS_ERROR_LIMITS_EXCEEDED,
                                                  "Too many calls before the bus has said who you are.");

        w = malloc(sizeof(*w));
        if (!w)
                return -ENOMEM;

        *w = (Waiting) { .message = sd_bus_message_ref(m) };
        DL_APPEND(sender->waiting, w);
        sender->n_waiting++;

        /* The ones before it have been let in again already and stand in the queue: behind them. */
        if (sender->state != SENDER_ASKING)
                return sd_bus_enqueue_for_read(sender->connection->bus, m);
        return 0;
}

static int auth_on_bus_call(Connection *c, sd_bus_message *m) {
        const char *name = sd_bus_message_get_sender(m);
        Sender *sender;
        int r;

        if (!name)
                return auth_deny(m);

        sender = sender_find(c, name);
        if (!sender) {
                r = sender_new(c, name, &sender);
                if (r < 0) {
                        log_warning_errno(r, "Failed to ask the bus who %s is, refusing its call: %m", name);
                        return auth_deny(m);
                }
        }

        if (sender->waiting) {
                if (sender->state == SENDER_ASKING || sender->waiting->message != m) {
                        r = sender_let_wait(sender, m);
                        return r < 0 ? r : 1;
                }
                sender_drop_waiting(sender, sender->waiting);
        } else if (sender->state == SENDER_ASKING) {
                r = sender_let_wait(sender, m);
                return r < 0 ? r : 1;
        }

        return sender->state == SENDER_ALLOWED ? 0 : auth_deny(m);
}

static int auth_on_message(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        Connection *c = userdata;
        uint8_t type;

        if (sd_bus_message_get_type(m, &type) < 0 || type != SD_BUS_MESSAGE_METHOD_CALL)
                return 0;

        c->front->n_calls_seen++;
        if (handoff_is_replay(c, m))
                return 0; /* it passed when it came in first */
        if (c->is_peer)
                return auth_uid_is_allowed(c->uid) ? 0 : auth_deny(m);

        return auth_on_bus_call(c, m);
}

int auth_attach(Connection *c) {
        return sd_bus_add_filter(c->bus, NULL, auth_on_message, c);
}

void auth_detach(Connection *c) {
        Sender *sender, *next;

        HASH_ITER(by_name, c->senders, sender, next)
                (void) sender_free(sender);
}

unsigned *auth_get_counter(Connection *c, sd_bus_message *m) {
        Sender *sender = c->is_peer ? NULL : sender_find(c, sd_bus_message_get_sender(m));

        return sender ? &sender->n_calls : &c->n_calls;
}

bool auth_is_quiet(const Connection *c) {
        for (const Sender *sender = c->senders; sender; sender = sender->by_name.next)
                if (sender->state == SENDER_ASKING || sender->waiting)
                        return false;
        return true;
}

/* ---- over a re-execution ---- */

void auth_write_handoff(Connection *c, JsonWriter *w) {
        json_put_bool(w, "watches_senders", c->senders_watch);
        json_write_key(w, "senders");
        json_open_array(w);
        for (const Sender *sender = c->senders; sender; sender = sender->by_name.next) {
                json_open_object(w);
                json_put_string(w, "name", sender->name);
                json_put_bool(w, "allowed", sender->state == SENDER_ALLOWED);
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

        for (size_t i = 0; watches && i < json_length(senders); i++) {
                Json v = json_element(senders, i);
                const char *name;
                Sender *sender;
                bool allowed;

                /* One that is not known is asked about again. */
                if (json_get_string(v, "name", &name) <= 0 || json_get_bool(v, "allowed", &allowed) <= 0 ||
                    sender_find(c, name))
                        continue;

                r = sender_add(c, name, &sender);
                if (r < 0)
                        return r;
                sender->state = allowed ? SENDER_ALLOWED : SENDER_DENIED;
        }

        if (watches) {
                r = senders_watch(c);
                if (r < 0)
                        return r;
        }

        *ret_has_asked = watches;
        return 0;
}
