/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The runtime by itself, called as a careful caller does it, which is the subreaper of the containers. */

#include "load.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define ARGUMENTS_MAX 24
#define UNCLAIMED_MAX 256

extern char **environ;

/* Those that have exited before anybody knew whose they are. */
typedef struct Runc {
        pid_t unclaimed[UNCLAIMED_MAX];
        unsigned n_unclaimed;
        Step *steps; /* what each slot's command does */
} Runc;

typedef struct Command {
        const char *argv[ARGUMENTS_MAX];
        unsigned n;
        char root[PATH_MAX], log[PATH_MAX], pid_file[PATH_MAX];
} Command;

static void command_add(Command *c, const char *argument) {
        c->argv[c->n++] = argument;
}

static const char *slot_name(const Slot *s) {
        return s->is_exec ? s->exec_id : s->id;
}

/* The same that monoshimd gives to the runtime. */
static void command_init(Command *c, const Slot *s, const char *verb) {
        const Load *l = s->load;

        *c = (Command) {};
        (void) snprintf(c->root, sizeof(c->root), "%s/runtime", l->directory);
        (void) snprintf(c->log, sizeof(c->log), "%s/%s.log", l->directory, slot_name(s));
        (void) snprintf(c->pid_file, sizeof(c->pid_file), "%s/%s.pid", l->directory, slot_name(s));
        for (const char *const *a = (const char *const[]) { l->runtime, "--root", c->root, "--log", c->log,
                                                            "--log-format", "json", verb, NULL };
             *a; a++)
                command_add(c, *a);
}

static void command_add_step(Command *c, const Slot *s, Step step) {
        switch (step) {
        case STEP_CREATE:
                command_add(c, "--bundle");
                command_add(c, s->bundle);
                command_add(c, "--pid-file");
                command_add(c, c->pid_file);
                break;
        case STEP_START:
                if (!s->is_exec)
                        break;
                command_add(c, "--process");
                command_add(c, s->load->process);
                if (s->load->detach) {
                        command_add(c, "--detach");
                        command_add(c, "--pid-file");
                        command_add(c, c->pid_file);
                }
                break;
        default:
                break;
        }
        command_add(c, s->id);
        if (step == STEP_KILL)
                command_add(c, "9");
}

/* Its pid, or -errno. */
static pid_t command_spawn(const Command *c, const char *output) {
        posix_spawn_file_actions_t actions;
        posix_spawnattr_t attributes;
        sigset_t none;
        pid_t pid;
        int r;

        (void) sigemptyset(&none);
        (void) posix_spawn_file_actions_init(&actions);
        (void) posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
        /* For reading as well, so that nobody has to be at the other end of a FIFO. */
        (void) posix_spawn_file_actions_addopen(&actions, 1, output ?: "/dev/null", O_RDWR, 0);
        (void) posix_spawn_file_actions_adddup2(&actions, 1, 2);
        (void) posix_spawnattr_init(&attributes);
        (void) posix_spawnattr_setsigmask(&attributes, &none);
        (void) posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);

        r = posix_spawn(&pid, c->argv[0], &actions, &attributes, (char *const *) c->argv, environ);

        (void) posix_spawnattr_destroy(&attributes);
        (void) posix_spawn_file_actions_destroy(&actions);
        return r == 0 ? pid : -r;
}

static bool claim(Runc *runc, pid_t pid) {
        for (unsigned i = 0; i < runc->n_unclaimed; i++) {
                if (runc->unclaimed[i] != pid)
                        continue;
                runc->unclaimed[i] = runc->unclaimed[--runc->n_unclaimed];
                return true;
        }
        return false;
}

/* What the runtime has written into the file; then it is no longer needed. */
static pid_t slot_read_pid(const Slot *s) {
        _cleanup_(safe_closep) int fd = -EBADF;
        char path[PATH_MAX], text[32] = "";

        (void) snprintf(path, sizeof(path), "%s/%s.pid", s->load->directory, slot_name(s));
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0)
                return 0;
        (void) unlink(path);
        return atoi(text);
}

static void slot_remove_log(const Slot *s) {
        char path[PATH_MAX];

        (void) snprintf(path, sizeof(path), "%s/%s.log", s->load->directory, slot_name(s));
        (void) unlink(path);
}

static const char *const step_verbs[] = {
        [STEP_CREATE] = "create",
        [STEP_START] = "start",
        [STEP_KILL] = "kill",
        [STEP_DELETE] = "delete",
};

static void runc_step(Slot *s, Step step) {
        Runc *runc = s->load->data;
        Command c;

        if (s->is_exec && step == STEP_CREATE) {
                slot_on_step(s, step);
                return;
        }
        if (s->is_exec && step == STEP_DELETE) {
                slot_remove_log(s);
                slot_on_step(s, step);
                return;
        }

        command_init(&c, s, s->is_exec ? "exec" : step_verbs[step]);
        command_add_step(&c, s, step);
        runc->steps[s - s->load->slots] = step;
        s->command = command_spawn(&c, (step == STEP_CREATE || s->is_exec) ? s->fifo : NULL);
        if (s->command < 0) {
                load_fail(s->load, s->command, "%s", c.argv[0]);
                s->command = 0;
        }
}

/* The log says why; it stays where it is. */
static void slot_on_command(Slot *s, const siginfo_t *info) {
        Runc *runc = s->load->data;
        Step step = runc->steps[s - s->load->slots];

        s->command = 0;
        if (info->si_code != CLD_EXITED || info->si_status != 0) {
                load_fail(s->load, 0, "%s of %s failed; see %s/%s.log", step_verbs[step], s->id, s->load->directory,
                          slot_name(s));
                return;
        }

        if (step == STEP_CREATE || (s->is_exec && s->load->detach)) {
                pid_t *pid = s->is_exec ? &s->process : &s->pid;

                *pid = slot_read_pid(s);
                if (*pid <= 0) {
                        load_fail(s->load, 0, "There is no pid of %s", slot_name(s));
                        return;
                }
        }
        if (step == STEP_DELETE)
                slot_remove_log(s);
        /* Who has run it in the foreground knows with one exit of the other. */
        if (s->is_exec && (!s->load->detach || claim(runc, s->process)))
                slot_on_exit(s);
        slot_on_step(s, step);
}

static void load_on_exit(Load *l, const siginfo_t *info) {
        Runc *runc = l->data;

        for (unsigned i = 0; i < l->n_slots; i++) {
                Slot *s = l->slots + i;

                if (s->command == info->si_pid) {
                        slot_on_command(s, info);
                        return;
                }
                if (info->si_pid == (s->is_exec ? s->process : s->pid)) {
                        slot_on_exit(s);
                        return;
                }
        }
        /* If there are too many, these are orphans of the runtime's that nobody will ask for. */
        if (runc->n_unclaimed == UNCLAIMED_MAX)
                memmove(runc->unclaimed, runc->unclaimed + 1, --runc->n_unclaimed * sizeof(runc->unclaimed[0]));
        runc->unclaimed[runc->n_unclaimed++] = info->si_pid;
}

static int on_sigchld(sd_event_source *source, const struct signalfd_siginfo *signal, void *userdata) {
        for (;;) {
                siginfo_t info = {};

                if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG) < 0 || info.si_pid == 0)
                        return 0;
                load_on_exit(userdata, &info);
        }
}

static int runc_open(Load *l) {
        _cleanup_(freep) Runc *runc = NULL;
        sigset_t mask;
        int r;

        runc = calloc(1, sizeof(*runc));
        if (!runc)
                return -ENOMEM;
        runc->steps = calloc(l->n_slots, sizeof(*runc->steps));
        if (!runc->steps)
                return -ENOMEM;
        l->data = TAKE_PTR(runc);

        if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
                return -errno;
        (void) sigemptyset(&mask);
        (void) sigaddset(&mask, SIGCHLD);
        if (sigprocmask(SIG_BLOCK, &mask, NULL) < 0)
                return -errno;
        r = sd_event_add_signal(l->event, NULL, SIGCHLD, on_sigchld, l);
        return r < 0 ? r : 0;
}

/* What is over in the ordinary way has left nothing; what has failed may have. */
static void runc_close(Load *l) {
        Runc *runc = l->data;

        for (unsigned i = 0; i < l->n_slots; i++) {
                Slot *s = l->slots + i;
                Command c;
                pid_t pid;

                if (!s->id[0] || !(s->container_exists || s->command > 0))
                        continue;
                s->is_exec = false;
                command_init(&c, s, "delete");
                command_add(&c, "--force");
                command_add(&c, s->id);
                pid = command_spawn(&c, NULL);
                if (pid > 0)
                        (void) waitpid(pid, NULL, 0);
        }
        if (runc)
                free(runc->steps);
        l->data = mfree(runc);
}

const Backend runc_backend = { .open = runc_open, .step = runc_step, .close = runc_close };
