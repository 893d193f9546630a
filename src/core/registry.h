/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The set of all containers: by name, by pid, and by namespace. */

#include "core/container.h"
#include "core/services.h"

#include <uthash.h>


/* A tenant's name space for ids. Counted, so that its empty folders can go with its last container. */
struct Namespace {
        char *name;
        unsigned n_containers;
        UT_hash_handle by_name;
};

struct Registry {
        const Services *services;
        Container *containers; /* all, also those nobody can see; key "NS/ID" */
        Namespace *namespaces;
        Process *processes;       /* by pid */
        struct Removal *removals; /* folders that are being taken away */
        unsigned n_live;          /* the visible ones */
        bool stopping;
        sd_event_source *trim;        /* gives memory back once nobody is left */
        sd_event_source *retry;       /* writes again what could not be written */
        void (*idle)(void *userdata); /* stopping: no operation is left */
        void *idle_userdata;
        void (*changed)(void *userdata); /* the number of containers has; set by the daemon, may be NULL */
        void *changed_userdata;
};

void registry_init(Registry *r, const Services *services);
/* Frees all containers, leaving processes and disk as they are. */
void registry_done(Registry *r);

/* Both must be identifiers; FAILURE_INVALID_ARGUMENT that names the argument and the rule otherwise. */
int registry_check_name(const char *ns, const char *id, Failure *failure);

/* Any container of this name, also one that is being created; NULL. */
Container *registry_lookup(Registry *r, const char *ns, const char *id);
/* Only one that clients can see. */
Container *registry_find(Registry *r, const char *ns, const char *id);

/* The process of this pid, if it is one that we know; NULL. */
Process *registry_get_process(Registry *r, pid_t pid);

/* The container that the process belongs to: a process we know, a descendant of one, or one in the container's
 * cgroup. NULL when there is none. */
Container *registry_find_by_pid(Registry *r, pid_t pid);

/* May one more container be created in this namespace? FAILURE_RESOURCE_EXHAUSTED else. Whoever is taken back after a
 * restart is not asked: a limit that was lowered meanwhile is none of his business. */
int registry_check_room(Registry *r, const char *ns, Failure *failure);

int registry_add(Registry *r, Container *c, const char *ns); /* sets c->ns; -EEXIST, -ENOMEM */
void registry_remove(Registry *r, Container *c);
/* By its pid, unless it has exited; failures are logged: it is then not found by that. */
void registry_index_process(Registry *r, Process *p);
void registry_unindex_process(Registry *r, Process *p);

/* Is there a container, visible or not, of this namespace? And is this one the only one? */
bool registry_has_namespace(Registry *r, const char *name);
bool registry_is_last_of_namespace(const Container *c);

/* Writes what could not be written before. A negative errno if there is still something that cannot. */
int registry_save(Registry *r);

/* Sees to it that process_save() is tried again later. */
void registry_retry_save(Registry *r);

/* Has the descriptors of all processes kept, with what is under way between them: we are about to end, or to execute
 * ourselves. And as process_store() does by itself: it did not come to that, and what is under way is moved by us. */
void registry_store_for_handover(Registry *r);
void registry_store(Registry *r);

/* Nothing is under way: no operation runs or waits, no runtime, no exit that is still to be told. */
bool registry_is_quiet(const Registry *r);

/* To be called when a container has come or gone. */
void registry_on_changed(Registry *r);

/* No more operations are accepted; idle() is called (perhaps at once) when none is running. */
void registry_stop(Registry *r, void (*idle)(void *userdata), void *userdata);
void registry_check_idle(Registry *r);

#define REGISTRY_FOREACH(c, r) \
        for (Container *c = (r)->containers, *_next = NULL; c && (_next = c->by_name.next, true); c = _next)
