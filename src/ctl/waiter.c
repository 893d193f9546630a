/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Waiting for containers to end, through restarts of monoshimd. */

#include "ctl/waiter.h"

#include "util/clock.h"
#include "ctl/i18n.h"
#include "ctl/report.h"

struct Waiter {
        Client *client;
        sd_event *event;
        WaiterNotice notice;
        void (*on_lost)(void *userdata);
        void *userdata;
        bool lost; /* the connection; seen in a callback, where it cannot be replaced */
        size_t n_pending;
        size_t n_items;
        WaitItem items[];
};

static void waiter_on_ended(WaitItem *item) {
        Waiter *w = item->waiter;

        item->pending = false;
        w->n_pending--;
        if (w->notice)
                w->notice(item, w->userdata);
}

static int waiter_on_reply(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        WaitItem *item = userdata;
        const sd_bus_error *error = sd_bus_message_get_error(m);
        int r;

        if (error && client_error_is_lost(0, error)) {
                item->waiter->lost = true;
                return 1;
        }

        if (error)
                r = sd_bus_error_copy(&item->error, error);
        else {
                r = sd_bus_message_read(m, "ut", &item->exit_status, &item->exited_at);
                if (r < 0)
                        sd_bus_error_set_errno(&item->error, r);
                else
                        item->ended = true;
        }
        waiter_on_ended(item);
        return 1;
}

static int waiter_ask(Waiter *w, WaitItem *item) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        int r;

        item->slot = sd_bus_slot_unref(item->slot);
        r = client_new_call(w->client, item->ref->path, MONOSHIM_PROCESS, "Wait", &m);
        if (r < 0)
                return r;
        return sd_bus_call_async(w->client->bus, &item->slot, m, waiter_on_reply, item, CLIENT_FOREVER);
}

static int waiter_ask_all(Waiter *w) {
        int r;

        r = sd_bus_attach_event(w->client->bus, w->event, SD_EVENT_PRIORITY_NORMAL);
        if (r < 0)
                return r;

        for (size_t i = 0; i < w->n_items; i++)
                if (w->items[i].pending) {
                        r = waiter_ask(w, w->items + i);
                        if (r < 0)
                                return r;
                }
        return 0;
}

int waiter_new(Client *client, const ContainerRef *refs, size_t n_refs, WaiterNotice notice, void *userdata,
               Waiter **ret) {
        _cleanup_(waiter_freep) Waiter *w = NULL;
        int r;

        w = calloc(1, sizeof(*w) + n_refs * sizeof(w->items[0]));
        if (!w)
                return report_errno(ENOMEM, _("Cannot wait"));

        w->client = client;
        w->notice = notice;
        w->userdata = userdata;
        w->n_items = w->n_pending = n_refs;
        for (size_t i = 0; i < n_refs; i++)
                w->items[i] = (WaitItem) { .waiter = w, .ref = refs + i, .pending = true };

        r = sd_event_new(&w->event);
        if (r >= 0)
                r = waiter_ask_all(w);
        if (r < 0)
                return report_errno(r, _("Cannot wait"));

        *ret = TAKE_PTR(w);
        return 0;
}

Waiter *waiter_free(Waiter *w) {
        if (!w)
                return NULL;

        for (size_t i = 0; i < w->n_items; i++) {
                sd_bus_slot_unref(w->items[i].slot);
                sd_bus_error_free(&w->items[i].error);
        }
        if (w->client->bus)
                (void) sd_bus_detach_event(w->client->bus);
        sd_event_unref(w->event);
        return mfree(w);
}

WaitItem *waiter_get(Waiter *w, size_t i) {
        return w->items + i;
}

void waiter_drop(Waiter *w, size_t i) {
        if (!w->items[i].pending)
                return;

        w->items[i].slot = sd_bus_slot_unref(w->items[i].slot);
        w->items[i].pending = false;
        w->n_pending--;
}

sd_event *waiter_get_event(Waiter *w) {
        return w->event;
}

void waiter_set_lost(Waiter *w, void (*lost)(void *userdata)) {
        w->on_lost = lost;
}

/* Slots keep their bus alive, so they go first. */
int waiter_reconnect(Waiter *w) {
        int r;

        for (size_t i = 0; i < w->n_items; i++)
                w->items[i].slot = sd_bus_slot_unref(w->items[i].slot);
        if (w->on_lost)
                w->on_lost(w->userdata);
        (void) sd_bus_detach_event(w->client->bus);

        r = client_reconnect(w->client);
        if (r >= 0)
                r = waiter_ask_all(w);
        if (r >= 0) {
                w->lost = false;
                return 0;
        }

        for (size_t i = 0; i < w->n_items; i++)
                if (w->items[i].pending)
                        report(_("monoshimd went away while %s/%s was waited for; the container may still be there."),
                               w->items[i].ref->ns, w->items[i].ref->id);
        return r;
}

int waiter_run(Waiter *w, uint64_t timeout_usec) {
        uint64_t now = clock_get_monotonic();
        uint64_t deadline = timeout_usec < UINT64_MAX - now ? now + timeout_usec : UINT64_MAX;
        int r;

        while (w->n_pending > 0) {
                if (w->lost) {
                        r = waiter_reconnect(w);
                        if (r < 0)
                                return r;
                }

                now = clock_get_monotonic();
                if (now >= deadline)
                        return 0;
                r = sd_event_run(w->event, deadline == UINT64_MAX ? UINT64_MAX : deadline - now);
                if (r < 0)
                        return report_errno(r, _("Cannot wait"));
        }
        return 1;
}
