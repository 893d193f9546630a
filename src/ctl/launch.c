/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A container from its creation on. */

#include "ctl/launch.h"

#include "ctl/i18n.h"
#include "ctl/session.h"
#include "util/text.h"

/* With streams of its own, monoshimd moves what is typed and shown. */
bool launch_takes_terminal(const CreateOptions *o) {
        return o->terminal && isempty(o->streams[0]) && isempty(o->streams[1]);
}

int launch_run(Launch *l, Client *c, const ContainerRef *ref) {
        Session session = {
                .client = c,
                .process = ref,
                .detach = l->detach,
                .terminal = launch_takes_terminal(&l->create),
                .interactive = l->interactive,
                .keys = l->keys,
        };
        _cleanup_(freep) char *doing = NULL;
        uint32_t pid;
        int r;

        l->create.own_streams = !l->detach;
        if (l->interactive && !l->create.terminal && !l->create.streams[0])
                l->create.streams[0] = "-";

        if (l->create.checkpoint)
                session.doing = doing = strdup_printf(_("Restoring %s/%s"), ref->ns, ref->id);
        session_begin(&session);
        r = create_container(c, ref, &l->create, &pid);
        if (r < 0)
                return VERB_FAILED;
        r = session_run(&session);
        if (l->detach && session.started && create_print(c->settings, ref, pid) < 0)
                return VERB_FAILED;
        return r;
}
