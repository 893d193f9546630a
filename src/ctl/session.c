/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A process from its start to its end, with us attached to it.
 *
 * The question how it ended is asked before it is started, so no end can be missed. A signal that comes before the
 * start means that there is nothing to be run; one that comes later is the process's, except for one that asks us to
 * end while our terminal is raw: then no key can have sent it, the keys being the process's already, and our terminal
 * has to be given back. While something is being created nothing can be done about a signal, so that one is kept for
 * later, but whoever insists ends us. */

#include "ctl/session.h"

#include "ctl/i18n.h"
#include "ctl/process.h"
#include "ctl/report.h"
#include "ctl/suggest.h"
#include "ctl/tty.h"

#include <fcntl.h>
#include <time.h>

static const int forwarded_signals[] = { SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2 };

/* The first of these ask us to end. */
#define N_ENDING_SIGNALS 4

/* Of those, the one that has come during the creation; the handler finds it here. */
static volatile sig_atomic_t kept_signal;

static bool signal_is_ending(int sig) {
        for (size_t i = 0; i < N_ENDING_SIGNALS; i++)
                if (forwarded_signals[i] == sig)
                        return true;
        return false;
}

int session_take_keys(DetachKeys *keys, const char *verb) {
        if (detach_keys_parse(keys, optarg) < 0)
                return settings_usage_error(verb, _("\"%s\" are no keys."), optarg);
        return 0;
}

/* -- while it is being created: an OCI runtime may take its time -- */

/* No other of these signals comes while this runs; the one it raises takes effect when it has returned. */
static void session_on_early_signal(int sig) {
        if (kept_signal != 0) {
                (void) signal(sig, SIG_DFL);
                (void) raise(sig);
        }
        kept_signal = sig;
}

/* What is ignored (nohup) stays so. Our terminal is not raw yet, so nothing has to be given back. */
static void session_await_creation(const Session *s) {
        struct sigaction action = { .sa_handler = session_on_early_signal, .sa_flags = SA_RESTART }, old;
        sigset_t unblock;

        action.sa_mask = s->signals;
        kept_signal = 0;
        sigemptyset(&unblock);
        for (size_t i = 0; i < N_ENDING_SIGNALS; i++)
                if (sigaction(forwarded_signals[i], NULL, &old) == 0 && old.sa_handler == SIG_DFL) {
                        (void) sigaction(forwarded_signals[i], &action, NULL);
                        sigaddset(&unblock, forwarded_signals[i]);
                }
        sigprocmask(SIG_UNBLOCK, &unblock, NULL);
}

/* What has been kept is pending then, as if it came now. */
static void session_end_creation(const Session *s) {
        struct sigaction old;

        sigprocmask(SIG_BLOCK, &s->signals, NULL);
        for (size_t i = 0; i < N_ENDING_SIGNALS; i++)
                if (sigaction(forwarded_signals[i], NULL, &old) == 0 && old.sa_handler == session_on_early_signal)
                        (void) signal(forwarded_signals[i], SIG_DFL);
        if (kept_signal != 0)
                (void) raise(kept_signal);
        kept_signal = 0;
}

void session_begin(Session *s) {
        sigemptyset(&s->signals);
        for (size_t i = 0; i < ELEMENTSOF(forwarded_signals); i++)
                sigaddset(&s->signals, forwarded_signals[i]);
        sigprocmask(SIG_BLOCK, &s->signals, NULL);
        session_await_creation(s);
}

/* The signal that has come meanwhile, or 0. */
static int signals_take(const sigset_t *set) {
        const struct timespec none = {};
        int r;

        do
                r = sigtimedwait(set, NULL, &none);
        while (r < 0 && errno == EINTR);
        return r < 0 ? 0 : r;
}

/* -- while it runs -- */

static int session_on_killed(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        const sd_bus_error *error = sd_bus_message_get_error(m);
        const Session *s = userdata;

        /* A process that has ended meanwhile, and a monoshimd that has gone, are for the waiter to deal with. */
        if (error && !sd_bus_error_has_name(error, MONOSHIM_ERROR("NotFound")) && !client_error_is_lost(0, error))
                report_call(-EIO, error, _("Cannot signal %s/%s"), s->process->ns, s->process->id);
        return 1;
}

static void session_kill(Session *s, int sig) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        int r;

        r = client_new_call(s->client, s->process->path, MONOSHIM_PROCESS, "Kill", &m);
        if (r >= 0)
                r = sd_bus_message_append(m, "ub", (uint32_t) sig, 0);
        if (r >= 0)
                r = sd_bus_call_async(s->client->bus, NULL, m, session_on_killed, s, CLIENT_FOREVER);
        if (r < 0 && !client_error_is_lost(r, NULL))
                report_errno(r, _("Cannot signal %s/%s"), s->process->ns, s->process->id);
}

/* Nothing is pending then, which ends waiter_run(). */
static void session_leave(Session *s, int sig) {
        s->left = true;
        s->signal = sig;
        waiter_drop(s->waiter, 0);
}

static int session_on_signal(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata) {
        Session *s = userdata;
        int sig = (int) info->ssi_signo;
        bool ours = s->draining || (s->screen && terminal_is_raw(s->screen));

        if (ours && signal_is_ending(sig))
                session_leave(s, sig);
        else if (!s->draining)
                session_kill(s, sig);
        return 0;
}

static int session_catch_signals(Session *s) {
        int r;

        for (size_t i = 0; i < ELEMENTSOF(forwarded_signals); i++) {
                r = sd_event_add_signal(waiter_get_event(s->waiter), NULL, forwarded_signals[i], session_on_signal,
                                        s);
                if (r < 0)
                        return report_errno(r, _("Cannot catch signals"));
        }
        return 0;
}

/* -- its terminal -- */

/* Whoever wrote to a terminal that is gone would be hung up as well. */
static void session_on_terminal(TerminalNotice notice, void *userdata) {
        Session *s = userdata;

        switch (notice) {
        case TERMINAL_DETACHED:
                session_leave(s, 0);
                break;
        case TERMINAL_HUNG_UP:
                session_kill(s, SIGHUP);
                break;
        }
}

/* We have the terminal ourselves, so it gets its size even if monoshimd is not there to be told. */
static int session_on_resized(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        uint16_t columns, rows;
        Session *s = userdata;

        if (sd_bus_message_is_method_error(m, NULL) && s->screen && tty_get_size(&columns, &rows))
                terminal_resize(s->screen, columns, rows);
        return 1;
}

static void session_resize(Session *s) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        uint16_t columns, rows;
        int r;

        if (!tty_get_size(&columns, &rows))
                return;

        r = client_new_call(s->client, s->process->path, MONOSHIM_PROCESS, "ResizePty", &m);
        if (r >= 0)
                r = sd_bus_message_append(m, "qq", columns, rows);
        if (r >= 0)
                r = sd_bus_call_async(s->client->bus, NULL, m, session_on_resized, s, CLIENT_DEFAULT_TIMEOUT);
        if (r < 0)
                terminal_resize(s->screen, columns, rows);
}

static int session_on_winch(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata) {
        session_resize(userdata);
        return 0;
}

/* A descriptor of our own for the master. */
static int session_get_master(Session *s, sd_bus_error *error) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        int fd, r;

        r = client_call(s->client, s->process->path, MONOSHIM_PROCESS, "OpenTerminal", CLIENT_DEFAULT_TIMEOUT, error,
                        &reply, NULL);
        if (r < 0)
                return r;
        r = sd_bus_message_read(reply, "h", &fd);
        if (r < 0)
                return r;
        fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        return fd < 0 ? -errno : fd;
}

static int session_open_terminal(Session *s) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_(safe_closep) int master = -EBADF;
        int r;

        master = session_get_master(s, &error);
        if (master < 0 && client_error_is_lost(master, &error)) {
                r = waiter_reconnect(s->waiter);
                if (r < 0) {
                        s->lost = true;
                        return r;
                }
                sd_bus_error_free(&error);
                master = session_get_master(s, &error);
        }
        if (master < 0)
                return suggest_report(s->client, s->process, master, &error, _("Cannot open the terminal of %s/%s"),
                                      s->process->ns, s->process->id);

        r = terminal_new(waiter_get_event(s->waiter), master, s->interactive, &s->keys, session_on_terminal, s,
                         &s->screen);
        if (r < 0)
                return report_errno(r, _("Cannot use our terminal"));
        TAKE_FD(master);

        r = sd_event_add_signal(waiter_get_event(s->waiter), NULL, SIGWINCH | SD_EVENT_SIGNAL_PROCMASK,
                                session_on_winch, s);
        if (r < 0)
                return report_errno(r, _("Cannot catch signals"));
        session_resize(s);
        return 0;
}

/* What it has left on its terminal. Signals have nobody to go to any more, and end this. 0, or the signal. */
static int session_drain(Session *s) {
        s->draining = true;
        terminal_end(s->screen);
        while (!terminal_is_drained(s->screen) && !s->left)
                if (sd_event_run(waiter_get_event(s->waiter), UINT64_MAX) < 0)
                        break;
        s->draining = s->left = false; /* it does not go on */
        return s->signal;
}

/* -- from start to end -- */

/* Whether what has been created still waits to be started; if that cannot be said, Wait's answer will tell. */
static bool session_is_created(Session *s) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_(freep) char *status = NULL;

        return sd_bus_get_property_string(s->client->bus, MONOSHIM_SERVICE, s->process->path, MONOSHIM_PROCESS,
                                          "Status", &error, &status) >= 0 &&
               streq(status, "created");
}

static int session_call_start(Session *s, sd_bus_error *error) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        int r;

        /* With a waiter there is a loop. */
        if (s->waiter || !s->doing)
                return client_call(s->client, s->process->path, MONOSHIM_PROCESS, "Start", CLIENT_FOREVER, error,
                                   NULL, NULL);

        r = client_new_call(s->client, s->process->path, MONOSHIM_PROCESS, "Start", &m);
        return r < 0 ? r : client_call_patiently(s->client, m, s->doing, error, NULL);
}

static int session_reconnect(Session *s) {
        int r;

        if (s->waiter)
                return waiter_reconnect(s->waiter);
        r = client_reconnect(s->client);
        if (r < 0)
                report(_("monoshimd went away while %s/%s was started; the container may still be there."),
                       s->process->ns, s->process->id);
        return r;
}

/* A monoshimd that goes away before it answers may have started the process or not. The next one finds that out, but
 * may take its time: what it still calls "created" may turn out to run when it is to be started once more. */
static int session_start(Session *s) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        int r;

        r = session_call_start(s, &error);
        if (r < 0 && client_error_is_lost(r, &error)) {
                r = session_reconnect(s);
                if (r < 0) {
                        s->lost = true;
                        return r;
                }
                if (!session_is_created(s))
                        return 0;

                sd_bus_error_free(&error);
                r = session_call_start(s, &error);
                if (r < 0 && !session_is_created(s))
                        return 0;
        }
        return r < 0 ? suggest_report(s->client, s->process, r, &error, _("Cannot start %s/%s"), s->process->ns,
                                      s->process->id)
                     : 0;
}

/* Without its terminal it would be of no use to anybody. */
static int session_give_up(Session *s) {
        if (!s->attach && !s->lost && process_kill(s->client, s->process, SIGKILL, false, true) >= 0)
                (void) waiter_run(s->waiter, USEC_INFINITY);
        return VERB_FAILED;
}

static int session_left(const Session *s) {
        report(_("%s/%s goes on."), s->process->ns, s->process->id);
        return s->signal > 0 ? 128 + s->signal : 0;
}

static int session_wait(Session *s) {
        const WaitItem *item;
        int sig = 0, r;

        r = waiter_run(s->waiter, USEC_INFINITY);
        if (r >= 0 && !s->left && s->screen)
                sig = session_drain(s);
        s->screen = terminal_free(s->screen); /* before anything is said */
        if (r < 0) {
                s->lost = true;
                return VERB_FAILED;
        }
        if (s->left)
                return session_left(s);
        if (sig > 0)
                return 128 + sig;

        item = waiter_get(s->waiter, 0);
        if (!item->ended) {
                suggest_report(s->client, s->process, -EIO, &item->error, _("Cannot wait for %s/%s"), s->process->ns,
                               s->process->id);
                return VERB_FAILED;
        }
        return (int) (item->exit_status & 0xff);
}

static int session_run_attached(Session *s) {
        int r;

        r = waiter_new(s->client, s->process, 1, NULL, NULL, &s->waiter);
        if (r >= 0)
                r = session_catch_signals(s);
        if (r >= 0 && !s->attach) {
                r = session_start(s);
                s->started = r >= 0;
        }
        if (r < 0)
                return VERB_FAILED;

        if (s->terminal && session_open_terminal(s) < 0) {
                s->screen = terminal_free(s->screen);
                return session_give_up(s);
        }
        return session_wait(s);
}

/* Somebody else may have deleted it. Failing to is reported, and does not change how it ended. */
static void session_delete(Session *s) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        int r;

        r = client_call(s->client, s->process->path, MONOSHIM_PROCESS, "Delete", CLIENT_FOREVER, &error, NULL, NULL);
        if (r >= 0 || sd_bus_error_has_name(&error, MONOSHIM_ERROR("NotFound")))
                return;
        if (client_error_is_lost(r, &error) && client_reconnect(s->client) >= 0)
                (void) process_delete(s->client, s->process, true);
        else
                report_call(r, &error, _("Cannot delete %s/%s"), s->process->ns, s->process->id);
}

int session_run(Session *s) {
        int status;

        session_end_creation(s);
        s->signal = signals_take(&s->signals);
        if (s->signal > 0)
                status = 128 + s->signal;
        else if (s->detach) {
                status = session_start(s) < 0 ? VERB_FAILED : 0;
                s->started = s->left = status >= 0;
        } else
                status = session_run_attached(s);

        s->screen = terminal_free(s->screen);
        s->waiter = waiter_free(s->waiter);
        if (!s->attach && !s->left && !s->lost)
                session_delete(s);
        return status;
}
