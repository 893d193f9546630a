/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Answers that grow with the number of containers. */

#include "bus/listing.h"
#include "bus/call.h"
#include "bus/front.h"
#include "bus/objects.h"
#include "bus/path.h"
#include "util/log.h"

#include <limits.h>
#include <utlist.h>

#define LISTINGS_MAX 16   /* at once, of all clients: each has half an answer in memory */
#define OBJECTS_TURN 32   /* containers, of which each takes some ten microseconds */
#define STANDARD_SIZE 256 /* about what a container, or one of its processes, weighs besides its strings */

typedef struct Listing {
        Front *front;
        Call *call; /* NULL while it is answered at once */
        sd_bus_message *reply;
        ListingAppend append;
        unsigned turn;
        unsigned n;
        Container *next; /* one that others see: without telling of it, it cannot go */
        sd_event_source *source;
        struct Listing *prev, *next_listing; /* front::listings */
} Listing;

static Listing *listing_free(Listing *l) {
        if (l->call)
                DL_DELETE2(l->front->listings, l, prev, next_listing);
        sd_event_source_disable_unref(l->source);
        (void) sd_bus_message_unref(l->reply);
        return mfree(l);
}

static Container *skip_unseen(Container *c) {
        while (c && c->phase != CONTAINER_LIVE)
                c = c->by_name.next;
        return c;
}

/* Returns 1 when all is in the answer, 0 when there is more. */
static int listing_take_turn(Listing *l, unsigned turn) {
        int r;

        /* The first of them may be just about to be deleted. */
        l->next = skip_unseen(l->next);
        for (unsigned i = 0; l->next && i < turn; i++) {
                r = l->append(l->reply, l->next);
                if (r < 0)
                        return r;
                l->next = skip_unseen(l->next->by_name.next);
                l->n++;
        }
        if (l->next)
                return 0;

        r = sd_bus_message_close_container(l->reply);
        return r < 0 ? r : 1;
}

static void listing_end(Listing *l, int r) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = TAKE_PTR(l->reply);
        _cleanup_(failure_done) Failure failure = FAILURE_INIT;
        Connection *c = l->call->connection;
        Call *call = l->call;
        unsigned n = l->n;

        (void) listing_free(l);
        if (r < 0) {
                (void) failure_set_errno(&failure, r, "Failed to make a list of all containers: %m");
                call_reply_failure(call, &failure);
                return;
        }

        call_reply_message(call, reply);
        if (c)
                connection_on_sent(c, (size_t) n * STANDARD_SIZE);
}

static int listing_on_turn(sd_event_source *source, void *userdata);

/* A new source each time: one that is only enabled again would keep its place in front of all others. */
static int listing_go_on(Listing *l) {
        l->source = sd_event_source_disable_unref(l->source);
        return sd_event_add_defer(l->front->event, &l->source, listing_on_turn, l);
}

static void listing_finish(Listing *l) {
        int r = 0;

        if (l->call->message)
                r = listing_take_turn(l, UINT_MAX);
        listing_end(l, r);
}

static int listing_on_turn(sd_event_source *source, void *userdata) {
        Listing *l = userdata;
        int r;

        if (!l->call->message) {
                listing_end(l, 0); /* nobody waits for it any more */
                return 0;
        }

        r = listing_take_turn(l, l->turn);
        if (r != 0)
                listing_end(l, r < 0 ? r : 0);
        else if (listing_go_on(l) < 0)
                listing_finish(l);
        return 0;
}

void listings_finish(Front *f) {
        while (f->listings)
                listing_finish(f->listings);
}

unsigned listings_count(const Front *f, const Connection *c) {
        unsigned n = 0;

        for (const Listing *l = f->listings; l; l = l->next_listing)
                n += !c || l->call->connection == c;
        return n;
}

/* From now on it is made turn by turn, if it can be. */
static int listing_keep(const Listing *begun, Connection *c, sd_bus_message *call) {
        _cleanup_(failure_done) Failure failure = FAILURE_INIT;
        Front *f = c->front;
        Listing *l;

        if (listings_count(f, NULL) >= LISTINGS_MAX)
                listing_finish(f->listings);

        l = malloc(sizeof(*l));
        if (!l)
                return -ENOMEM;
        *l = *begun;
        l->call = call_new(c, call, false, &failure);
        if (!l->call) {
                free(l);
                return -ENOBUFS;
        }
        DL_APPEND2(f->listings, l, prev, next_listing);
        l->reply = sd_bus_message_ref(l->reply);
        if (listing_go_on(l) < 0)
                listing_finish(l);
        return 0;
}

int listing_answer(Connection *c, sd_bus_message *call, const char *element, unsigned turn, ListingAppend append,
                   sd_bus_error *ret_error) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        Listing l = { .front = c->front, .append = append, .turn = turn };
        int r;

        if ((r = sd_bus_message_new_method_return(call, &reply)) < 0 ||
            (r = sd_bus_message_open_container(reply, 'a', element)) < 0)
                return r;

        l.reply = reply;
        l.next = c->front->registry->containers;
        r = listing_take_turn(&l, turn);
        if (r < 0)
                return r;
        if (r == 0) {
                if (listing_keep(&l, c, call) >= 0)
                        return 1;
                r = listing_take_turn(&l, UINT_MAX);
                if (r < 0)
                        return r;
        }

        r = sd_bus_message_send(reply);
        if (r < 0)
                return r;
        connection_on_sent(c, (size_t) l.n * STANDARD_SIZE);
        return 1;
}

/* ---- GetManagedObjects ---- */

static int append_property(sd_bus_message *reply, const BusProperty *p, const char *interface, void *object) {
        int r;

        if ((r = sd_bus_message_open_container(reply, 'e', "sv")) < 0 ||
            (r = sd_bus_message_append_basic(reply, 's', p->name)) < 0 ||
            (r = sd_bus_message_open_container(reply, 'v', p->signature)) < 0 ||
            (r = p->get(NULL, NULL, interface, p->name, reply, object, NULL)) < 0 ||
            (r = sd_bus_message_close_container(reply)) < 0)
                return r;

        return sd_bus_message_close_container(reply);
}

static int append_interface(sd_bus_message *reply, const char *interface, const BusProperty *properties,
                            void *object) {
        int r;

        if ((r = sd_bus_message_open_container(reply, 'e', "sa{sv}")) < 0 ||
            (r = sd_bus_message_append_basic(reply, 's', interface)) < 0 ||
            (r = sd_bus_message_open_container(reply, 'a', "{sv}")) < 0)
                return r;
        for (const BusProperty *p = properties; p && p->name; p++) {
                r = append_property(reply, p, interface, object);
                if (r < 0)
                        return r;
        }
        r = sd_bus_message_close_container(reply);
        if (r < 0)
                return r;

        return sd_bus_message_close_container(reply);
}

static int append_object(sd_bus_message *reply, const char *path, Container *c, Process *p) {
        static const char *const standard[] = {
                "org.freedesktop.DBus.Peer",
                "org.freedesktop.DBus.Introspectable",
                "org.freedesktop.DBus.Properties",
        };
        int r;

        if ((r = sd_bus_message_open_container(reply, 'e', "oa{sa{sv}}")) < 0 ||
            (r = sd_bus_message_append_basic(reply, 'o', path)) < 0 ||
            (r = sd_bus_message_open_container(reply, 'a', "{sa{sv}}")) < 0)
                return r;
        for (size_t i = 0; i < ELEMENTSOF(standard); i++) {
                r = append_interface(reply, standard[i], NULL, NULL);
                if (r < 0)
                        return r;
        }
        if ((c && (r = append_interface(reply, CONTAINER_INTERFACE, container_properties, c)) < 0) ||
            (r = append_interface(reply, PROCESS_INTERFACE, process_properties, p)) < 0 ||
            (r = sd_bus_message_close_container(reply)) < 0)
                return r;

        return sd_bus_message_close_container(reply);
}

static int append_objects(sd_bus_message *reply, const Container *container) {
        Container *c = (Container *) container; /* a property's reader takes anything */
        char path[PATH_SIZE];
        int r;

        r = append_object(reply, container_path_write(c, path), c, &c->init);
        if (r < 0)
                return r;

        CONTAINER_FOREACH_EXEC(p, c) {
                r = p->published ? append_object(reply, process_path_write(p, path), NULL, p) : 0;
                if (r < 0)
                        return r;
        }
        return 0;
}

int listing_on_get_managed_objects(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        if (!sd_bus_message_is_method_call(m, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects"))
                return 0;

        return listing_answer(userdata, m, "{oa{sa{sv}}}", OBJECTS_TURN, append_objects, ret_error);
}
