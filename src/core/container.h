/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One container: what it was made of, its init process, and the processes exec'd into it.
 *
 * While a runtime command runs for a process, its exit is only recorded; it is published when the operation is over,
 * so that a start always comes before its exit. The exit of the init is published after those of all others. */

#include "core/event.h"
#include "core/failure.h"
#include "core/process.h"
#include "core/services.h"
#include "host/mounts.h"
#include "host/oom.h"
#include "host/runtime.h"

#include <uthash.h>

#define EXIT_STATUS_UNKNOWN 137 /* 128 + SIGKILL, as containerd says of a container whose shim has died */
#define EXEC_FOLDER "exec"      /* below the container's */

typedef struct Namespace Namespace;
typedef struct Registry Registry;

typedef enum ContainerPhase {
        CONTAINER_CREATING, /* its id is taken, but nobody can see it yet */
        CONTAINER_LIVE,
        CONTAINER_CLEANING, /* found dead after a restart: being cleaned up, nobody can see it */
        CONTAINER_DELETED,  /* only the operations that still wait are refused, then it goes */
} ContainerPhase;

struct Container {
        const Services *services;
        Registry *registry;
        Namespace *ns;
        char *id; /* in 'name' */
        ContainerPhase phase;

        char *bundle;
        char *runtime;
        char *runtime_root;   /* with the namespace appended */
        char **labels;        /* key, value, key, value, ..., in one block (strv_pack()) */
        char *control_group;  /* where its init is */
        char *cgroups_path;   /* linux.cgroupsPath of its config.json, or NULL */
        char *checkpoint;     /* the CRIU image that its start restores it from, or NULL */
        char *criu_work_path; /* or NULL: below the work directory */
        Mounts rootfs;        /* what was mounted on the bundle's rootfs */
        uint64_t created_at;
        uint64_t oom_kills;   /* told so far */
        uint64_t oom_counter; /* the kernel's count that has been told of; UINT64_MAX: not known yet */
        uint64_t oom_untold;  /* while it is being started */
        OomWatch *oom;
        struct ContainerSeccomp *seccomp; /* if it has a listener of ours, or had one */
        bool owns_bundle;
        bool is_unknown; /* its state was lost: what it had is looked for where it would be */
        bool systemd_cgroup;
        bool no_pivot_root;
        bool no_new_keyring;
        bool kill_all_on_exit; /* it has no pid namespace of its own */
        bool pausing;          /* the runtime is about it */

        Process init;
        Process *execs;         /* by id */
        unsigned n_execs_alive; /* of them, those that run */
        unsigned n_exec_starts; /* of them, those whose start runs */
        unsigned n_queued;      /* operations that wait, for whichever of its processes */
        unsigned n_dispatching; /* while this is not 0, nothing is freed */

        UT_hash_handle by_name; /* registry::containers */
        char name[];            /* "NS/ID" */
};

/* Builds one that is CONTAINER_CREATING and registers its name, so that no other can take it. -EEXIST. */
int container_new(Container **ret, Registry *registry, const char *ns, const char *id);
/* Unregisters it and frees everything; its operations must be over. The disk is not touched. */
Container *container_free(Container *c);
DEFINE_CLEANUP(Container *, container_free);

const char *container_get_namespace(const Container *c);

/* A log line about this container. */
int container_log(const Container *c, int level, int error, const char *format, ...) _printf_(4, 5);

/* The paths of its folders and files, below STATE and ROOT. The caller frees them; NULL without memory. */
char *container_state_path(const Container *c, const char *name); /* absolute: STATE/NS/ID/NAME; name may be NULL */
char *container_relative_path(const Container *c);                /* "NS/ID" */

char *container_work_path(const Container *c, const char *name); /* absolute: ROOT/NS/ID/NAME */

/* A descriptor of STATE/NS/ID; -errno. The caller closes it. */
int container_open_state_directory(const Container *c);

/* The folder of a process's files below STATE, and the path of one of them relative to STATE/NS/ID: of the init
 * "init.pid" and "log.json", of an exec'd process "exec/EXEC.pid" and "exec/EXEC.log", so that an exec may be called
 * "init". The caller frees it. */
char *process_file(const Process *p, const char *kind);

/* A descriptor of the folder that it is in: STATE/NS/ID, or that of its exec'd processes. -errno. */
int process_open_directory(const Process *p);

/* Fills in what every runtime invocation for this process shares. ret_log is to be freed by the caller and must
 * outlive *ret. */
int process_get_runtime(const Process *p, Runtime *ret, char **ret_log);

/* Writes the process's state, then records and signals an event of this topic about it, then tells of the changed
 * properties: the only way in which a container changes in others' eyes. -errno only if 'must_save' and the state
 * could not be written: then nothing has happened. Otherwise a full disk is logged, remembered, and tried again. */
int container_commit(Container *c, EventTopic topic, Process *subject, unsigned changes, bool must_save);

/* Writes the state of the process alone (of the init: state.json); -errno. process_save_soon() logs a failure and
 * sees to it that it is tried again. */
int process_save(Process *p);
void process_save_soon(Process *p);

/* A process of ours was reaped. */
void container_on_exited(Container *c, Process *p, uint32_t exit_status, uint64_t when_usec);

/* Makes the container visible: index, observer. */
void container_publish(Container *c);

/* Publishes the exit that was recorded: out-of-memory kills, state, event, waiters, streams. */
void process_publish_exit(Process *p);

/* Looks where its init is, which has just begun: for the ControlGroup, and to watch for out-of-memory kills there.
 * Not being able to is logged. */
void container_look_at_cgroup(Container *c);

/* Begins to watch for out-of-memory kills; not being able to is logged. 'its' is the membership of its init. */
void container_watch_oom(Container *c, const CgroupMembership *its, CgroupView *view);

/* Tells of kills that were not told yet, those included that nobody has noticed so far. */
void container_flush_oom(Container *c);

/* Says that it is gone (observer), and wakes who still waits for it or its processes. */
void container_withdraw(Container *c);

/* Frees what is gone and has nothing left to do: exec'd processes, in the end the container. Nothing of the container
 * may be used after this, unless c->n_dispatching holds it. */
void container_collect(Container *c);

/* ---- exec'd processes ---- */

/* An exec'd process that clients can see; NULL. */
Process *container_find_exec(Container *c, const char *id);

/* Adds one with a copy of this id, visible to nobody yet; -EEXIST (the container's own id included), -ENOMEM. */
int container_add_exec(Container *c, const char *id, Process **ret);

/* Says that it is gone, wakes who waits for it; it is freed by container_collect(). */
void process_withdraw(Process *p);

#define CONTAINER_FOREACH_EXEC(p, c) \
        for (Process *p = (c)->execs, *_next_exec = NULL; p && (_next_exec = p->by_id.next, true); p = _next_exec)
