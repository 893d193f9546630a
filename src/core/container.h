/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One container: what it was made of, its init process, and the queue of operations on it.
 *
 * Operations of one container run one at a time, in the order of their arrival; those of different containers run
 * side by side. While a runtime command runs, the exit of the container's processes is only recorded; it is published
 * when the operation is over, so that a start always comes before its exit. */

#include "core/event.h"
#include "core/failure.h"
#include "core/process.h"
#include "core/services.h"
#include "host/runtime.h"

#include <uthash.h>

#define EXIT_STATUS_UNKNOWN 137 /* 128 + SIGKILL, as containerd says of a container whose shim has died */
#define CONTAINER_OPERATIONS_MAX 1024

typedef struct Namespace Namespace;
typedef struct Operation Operation;
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
        char *id;
        ContainerPhase phase;

        char *bundle;
        char *runtime;
        char *runtime_root;  /* with the namespace appended */
        char **labels;       /* key, value, key, value, ... */
        char *control_group; /* where its init is */
        char *cgroups_path;  /* linux.cgroupsPath of its config.json, or NULL */
        uint64_t created_at;
        uint64_t oom_kills;
        bool owns_bundle;
        bool systemd_cgroup;
        bool no_pivot_root;
        bool no_new_keyring;
        bool kill_all_on_exit; /* it has no pid namespace of its own */

        Process init;

        Operation *operation; /* the one that runs */
        Operation *queue;     /* those that wait */
        unsigned n_queued;
        bool dispatching;

        char *last_event; /* the record of its newest event, which state.json repeats */
        bool unsaved;     /* state.json could not be written; tried again by the registry */

        UT_hash_handle by_name; /* registry::containers */
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

/* A descriptor of STATE/NS/ID; -errno. The caller closes it. */
int container_open_state_directory(const Container *c);

/* Fills in what every runtime invocation shares. ret_log is to be freed by the caller and must outlive *ret. */
int container_get_runtime(const Container *c, Runtime *ret, char **ret_log);

/* Writes state.json, then records and signals an event of this topic, then tells of the changed properties: the only
 * way in which a container changes in others' eyes. -errno only if 'must_save' and state.json could not be written:
 * then nothing has happened. Otherwise a full disk is logged, remembered, and tried again. */
int container_commit(Container *c, EventTopic topic, const Process *subject, unsigned changes, bool must_save);

/* Writes state.json alone; -errno. container_save_soon() logs a failure and sees to it that it is tried again. */
int container_save(Container *c);
void container_save_soon(Container *c);

/* A process of ours was reaped. */
void container_on_exited(Container *c, Process *p, uint32_t exit_status, uint64_t when_usec);

/* Makes the container visible: index, observer. */
int container_publish(Container *c);

/* Publishes the exit that was recorded for the init: state, event, waiters, streams. */
void container_publish_exit(Container *c);

/* Says that it is gone (observer), and wakes who still waits for it. */
void container_withdraw(Container *c);
