/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Containers as they are named on the command line. */

#include "ctl/client.h"
#include "ctl/settings.h"

typedef struct ContainerRef {
        char *ns;
        char *id;       /* of a process in a container: ID/EXEC */
        char *path;     /* of the D-Bus object */
} ContainerRef;

typedef struct ContainerRefs {
        ContainerRef *items;
        size_t n_items;
        bool bad;       /* some arguments named no container; they have been reported and left out */
} ContainerRefs;

/* "ID", in the namespace of the settings, or "NS/ID". 0, -EINVAL with *reterr_reason (the caller frees it) saying
 * what is wrong, or -ENOMEM. */
int container_ref_parse(ContainerRef *ref, const Settings *s, const char *text, char **reterr_reason);
void container_ref_done(ContainerRef *ref);

/* A process that was started in the container. As above. */
int container_ref_process(const ContainerRef *container, const char *exec_id, ContainerRef *ret,
                          char **reterr_reason);

/* All arguments from optind on. 0, -EINVAL if there were some but no good one, or -ENOMEM; all has been reported. */
int container_refs_parse(ContainerRefs *refs, const Settings *s, int argc, char *argv[]);
void container_refs_done(ContainerRefs *refs);

/* Turns the containers into their processes of that id; NULL leaves them alone. 0 or negative, reported. */
int container_refs_select(ContainerRefs *refs, const char *exec_id);

/* Fills an empty list with those that have not ended, of one namespace, or for NULL of all. 0 or negative, not reported. */
int container_refs_list(ContainerRefs *refs, Client *c, const char *ns, sd_bus_error *reterr);
