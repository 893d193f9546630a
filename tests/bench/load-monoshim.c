/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* monoshimd, over D-Bus: calls that do not wait, and the signal of an exit. */

#include "load.h"
#include "util/file.h"

#include <fcntl.h>
#include <stdio.h>
#include <systemd/sd-bus.h>

#define NAME "org.monoshim1"
#define PATH "/org/monoshim1"
#define NAMESPACE "default"
#define PROCESS_MAX (1024U * 1024U)
#define CALL_TIMEOUT_USEC (600 * USEC_PER_SEC)

typedef struct Monoshim {
        sd_bus *bus;
        char *process; /* the text of the file */
} Monoshim;

/* True if the call has failed, having said so. */
static bool reply_is_error(Slot *s, sd_bus_message *m, const char *what) {
        const sd_bus_error *e = sd_bus_message_get_error(m);

        if (!e)
                return false;
        load_fail(s->load, 0, "%s of %s: %s", what, s->id, e->message);
        return true;
}

static int keep_path(char **path, const char *value) {
        free(*path);
        *path = strdup(value);
        return *path ? 0 : -ENOMEM;
}

static int on_created(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Slot *s = userdata;
        const char *path;
        uint32_t pid;
        int r;

        if (reply_is_error(s, m, "CreateContainer"))
                return 0;
        r = sd_bus_message_read(m, "ou", &path, &pid);
        if (r >= 0)
                r = keep_path(&s->container_path, path);
        if (r < 0) {
                load_fail(s->load, r, "CreateContainer's answer");
                return 0;
        }
        s->pid = (pid_t) pid;
        slot_on_step(s, STEP_CREATE);
        return 0;
}

static int on_exec_added(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Slot *s = userdata;
        const char *path;
        int r;

        if (reply_is_error(s, m, "Exec"))
                return 0;
        r = sd_bus_message_read(m, "o", &path);
        if (r >= 0)
                r = keep_path(&s->process_path, path);
        if (r < 0) {
                load_fail(s->load, r, "Exec's answer");
                return 0;
        }
        slot_on_step(s, STEP_CREATE);
        return 0;
}

static int on_started(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        if (!reply_is_error(userdata, m, "Start"))
                slot_on_step(userdata, STEP_START);
        return 0;
}

static int on_killed(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        if (!reply_is_error(userdata, m, "Kill"))
                slot_on_step(userdata, STEP_KILL);
        return 0;
}

static int on_deleted(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        if (!reply_is_error(userdata, m, "Delete"))
                slot_on_step(userdata, STEP_DELETE);
        return 0;
}

static int on_task_exit(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *ns, *container_id, *id;
        uint64_t sequence;
        Load *l = userdata;
        int r;

        r = sd_bus_message_read(m, "tsss", &sequence, &ns, &container_id, &id);
        if (r < 0) {
                load_fail(l, r, "TaskExit");
                return 0;
        }
        for (unsigned i = 0; i < l->n_slots; i++) {
                Slot *s = l->slots + i;

                if (streq(s->id, container_id) && streq(s->is_exec ? s->exec_id : s->id, id) &&
                    streq(ns, NAMESPACE)) {
                        slot_on_exit(s);
                        break;
                }
        }
        return 0;
}

static int append_option(sd_bus_message *m, const char *key, const char *value) {
        return value ? sd_bus_message_append(m, "{sv}", key, "s", value) : 0;
}

static int append_options(sd_bus_message *m, const Slot *s) {
        int r;

        if ((r = sd_bus_message_open_container(m, 'a', "{sv}")) < 0 ||
            (r = append_option(m, "Stdout", s->fifo)) < 0 || (r = append_option(m, "Stderr", s->fifo)) < 0 ||
            (r = append_option(m, "Runtime", s->is_exec ? NULL : s->load->runtime)) < 0)
                return r;
        return sd_bus_message_close_container(m);
}

static int slot_create(Slot *s, Monoshim *monoshim) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        int r;

        if (s->is_exec) {
                r = sd_bus_message_new_method_call(monoshim->bus, &m, NAME, s->container_path, NAME ".Container",
                                                   "Exec");
                if (r >= 0)
                        r = sd_bus_message_append(m, "ss", s->exec_id, monoshim->process);
        } else {
                r = sd_bus_message_new_method_call(monoshim->bus, &m, NAME, PATH, NAME ".Manager", "CreateContainer");
                if (r >= 0)
                        r = sd_bus_message_append(m, "sss", NAMESPACE, s->id, s->bundle);
        }
        if (r < 0 || (r = append_options(m, s)) < 0)
                return r;
        return sd_bus_call_async(monoshim->bus, NULL, m, s->is_exec ? on_exec_added : on_created, s, 0);
}

static void monoshim_step(Slot *s, Step step) {
        Monoshim *monoshim = s->load->data;
        const char *path = s->is_exec ? s->process_path : s->container_path;
        int r = -EINVAL;

        switch (step) {
        case STEP_CREATE:
                r = slot_create(s, monoshim);
                break;
        case STEP_START:
                r = sd_bus_call_method_async(monoshim->bus, NULL, NAME, path, NAME ".Process", "Start", on_started, s,
                                             NULL);
                break;
        case STEP_KILL:
                r = sd_bus_call_method_async(monoshim->bus, NULL, NAME, path, NAME ".Process", "Kill", on_killed, s,
                                             "ub", 9, 0);
                break;
        case STEP_DELETE:
                r = sd_bus_call_method_async(monoshim->bus, NULL, NAME, path, NAME ".Process", "Delete", on_deleted,
                                             s, NULL);
                break;
        }
        if (r < 0)
                load_fail(s->load, r, "A call about %s", s->id);
}

static int process_read(const char *path, char **ret) {
        _cleanup_(safe_closep) int fd = -EBADF;
        size_t size;

        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        return file_read_fd(fd, PROCESS_MAX, ret, &size);
}

static int monoshim_open(Load *l) {
        Monoshim *monoshim;
        int r;

        monoshim = calloc(1, sizeof(*monoshim));
        if (!monoshim)
                return -ENOMEM;
        l->data = monoshim;

        if (l->process) {
                r = process_read(l->process, &monoshim->process);
                if (r < 0)
                        return r;
        }
        if ((r = sd_bus_new(&monoshim->bus)) < 0 || (r = sd_bus_set_address(monoshim->bus, l->address)) < 0 ||
            (r = sd_bus_set_bus_client(monoshim->bus, true)) < 0 ||
            (r = sd_bus_set_method_call_timeout(monoshim->bus, CALL_TIMEOUT_USEC)) < 0 ||
            (r = sd_bus_start(monoshim->bus)) < 0 ||
            (r = sd_bus_match_signal(monoshim->bus, NULL, NULL, PATH, NAME ".Manager", "TaskExit", on_task_exit, l)) <
                    0)
                return r;
        return sd_bus_attach_event(monoshim->bus, l->event, 0);
}

/* Whoever has started the daemon ends what has been left in it. */
static void monoshim_close(Load *l) {
        Monoshim *monoshim = l->data;

        for (unsigned i = 0; i < l->n_slots; i++) {
                l->slots[i].container_path = mfree(l->slots[i].container_path);
                l->slots[i].process_path = mfree(l->slots[i].process_path);
        }
        if (monoshim) {
                sd_bus_flush_close_unref(monoshim->bus);
                free(monoshim->process);
        }
        l->data = mfree(monoshim);
}

const Backend monoshim_backend = { .open = monoshim_open, .step = monoshim_step, .close = monoshim_close };
