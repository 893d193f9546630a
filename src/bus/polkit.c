/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Asking polkit. */

#include "bus/polkit.h"
#include "util/log.h"

#include <inttypes.h>
#include <stdio.h>

#define POLKIT_NAME "org.freedesktop.PolicyKit1"
#define POLKIT_PATH "/org/freedesktop/PolicyKit1/Authority"
#define POLKIT_INTERFACE "org.freedesktop.PolicyKit1.Authority"
#define ALLOW_USER_INTERACTION 1U

/* Enough for a machine that is busy, and for a polkit that has to be started; and for somebody who has to be fetched.
 */
#define ANSWER_USEC (25 * USEC_PER_SEC)
#define INTERACTIVE_ANSWER_USEC (10 * 60 * USEC_PER_SEC)

#define CANCELLATION_ID_LENGTH 32

struct PolkitQuestion {
        sd_bus *bus;
        sd_bus_slot *slot; /* CheckAuthorization, until it is answered */
        char cancellation_id[CANCELLATION_ID_LENGTH];
        PolkitDone done;
        void *userdata;
};

/* Without waiting for an answer, and without starting a polkit only to tell it that. */
static int polkit_cancel(const PolkitQuestion *q) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        int r;

        if ((r = sd_bus_message_new_method_call(q->bus, &m, POLKIT_NAME, POLKIT_PATH, POLKIT_INTERFACE,
                                                "CancelCheckAuthorization")) < 0 ||
            (r = sd_bus_message_append(m, "s", q->cancellation_id)) < 0 ||
            (r = sd_bus_message_set_expect_reply(m, false)) < 0 || (r = sd_bus_message_set_auto_start(m, false)) < 0)
                return r;

        return sd_bus_send(q->bus, m, NULL);
}

PolkitQuestion *polkit_question_free(PolkitQuestion *q) {
        int r;

        if (!q)
                return NULL;

        if (q->slot) {
                q->slot = sd_bus_slot_unref(q->slot);
                r = polkit_cancel(q);
                if (r < 0)
                        log_debug("Failed to take back a question to polkit, ignoring: %s", strerror(-r));
        }
        (void) sd_bus_unref(q->bus);
        return mfree(q);
}
DEFINE_CLEANUP(PolkitQuestion *, polkit_question_free);

static int read_answer(sd_bus_message *m, PolkitAnswer *ret) {
        int authorized, challenge, r;
        bool dismissed = false;
        const char *key;

        if ((r = sd_bus_message_enter_container(m, 'r', "bba{ss}")) < 0 ||
            (r = sd_bus_message_read(m, "bb", &authorized, &challenge)) < 0 ||
            (r = sd_bus_message_enter_container(m, 'a', "{ss}")) < 0)
                return r;
        while ((r = sd_bus_message_read(m, "{ss}", &key, NULL)) > 0)
                dismissed = dismissed || streq(key, "polkit.dismissed");
        if (r < 0)
                return r;

        *ret = authorized  ? POLKIT_AUTHORIZED
               : dismissed ? POLKIT_DISMISSED
               : challenge ? POLKIT_CHALLENGE
                           : POLKIT_DENIED;
        return 0;
}

static int polkit_on_answer(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        const sd_bus_error *e = sd_bus_message_get_error(m);
        PolkitAnswer answer = POLKIT_FAILED;
        PolkitQuestion *q = userdata;
        const char *reason = NULL;
        int r;

        /* One that has only become too late is still being thought about. */
        if (e && sd_bus_error_has_names(e, SD_BUS_ERROR_NO_REPLY, SD_BUS_ERROR_TIMEOUT))
                (void) polkit_cancel(q);
        q->slot = sd_bus_slot_unref(q->slot);

        if (e && sd_bus_error_has_names(e, SD_BUS_ERROR_SERVICE_UNKNOWN, SD_BUS_ERROR_NAME_HAS_NO_OWNER))
                answer = POLKIT_ABSENT;
        else if (e)
                reason = e->message ?: e->name;
        else {
                r = read_answer(m, &answer);
                if (r < 0)
                        reason = "its answer makes no sense";
        }

        if (reason)
                log_warning("polkit was asked and failed: %s", reason);
        q->done(q->userdata, answer, reason);
        return 0;
}

static int append_subject(sd_bus_message *m, const PolkitSubject *s) {
        if (s->bus_name)
                return sd_bus_message_append(m, "(sa{sv})", "system-bus-name", 1, "name", "s", s->bus_name);

        return sd_bus_message_append(m, "(sa{sv})", "unix-process", 3, "pid", "u", (uint32_t) s->pid, "start-time",
                                     "t", s->start_time, "uid", "i", (int32_t) s->uid);
}

static int append_details(sd_bus_message *m, char *const *details) {
        int r;

        r = sd_bus_message_open_container(m, 'a', "{ss}");
        for (char *const *d = details; r >= 0 && d[0]; d += 2)
                r = sd_bus_message_append(m, "{ss}", d[0], d[1]);

        return r < 0 ? r : sd_bus_message_close_container(m);
}

int polkit_ask(PolkitQuestion **ret, sd_bus *bus, const PolkitSubject *subject, const char *action,
               char *const *details, bool interactive, PolkitDone done, void *userdata) {
        _cleanup_(polkit_question_freep) PolkitQuestion *q = NULL;
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        static uint64_t last_id; /* never used again, since polkit may not have forgotten an old one yet */
        int r;

        q = malloc(sizeof(*q));
        if (!q)
                return -ENOMEM;

        *q = (PolkitQuestion) { .bus = sd_bus_ref(bus), .done = done, .userdata = userdata };
        (void) snprintf(q->cancellation_id, sizeof(q->cancellation_id), "%" PRIu64, ++last_id);

        if ((r = sd_bus_message_new_method_call(bus, &m, POLKIT_NAME, POLKIT_PATH, POLKIT_INTERFACE,
                                                "CheckAuthorization")) < 0 ||
            (r = append_subject(m, subject)) < 0 || (r = sd_bus_message_append(m, "s", action)) < 0 ||
            (r = append_details(m, details)) < 0 ||
            (r = sd_bus_message_append(m, "us", interactive ? ALLOW_USER_INTERACTION : 0, q->cancellation_id)) < 0 ||
            (r = sd_bus_call_async(bus, &q->slot, m, polkit_on_answer, q,
                                   interactive ? INTERACTIVE_ANSWER_USEC : ANSWER_USEC)) < 0)
                return r;

        *ret = TAKE_PTR(q);
        return 0;
}
