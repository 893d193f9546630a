/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Containers as they are named on the command line. */

#include "ctl/container-ref.h"

#include "ctl/client.h"
#include "ctl/i18n.h"
#include "ctl/report.h"
#include "util/text.h"

#include <assert.h>

static int ref_check(const ContainerRef *ref, char **reterr_reason) {
        int r;

        r = identifier_check(ref->ns, reterr_reason);
        if (r < 0)
                return r;
        return identifier_check(ref->id, reterr_reason);
}

static int ref_make_path(ContainerRef *ref) {
        _cleanup_(freep) char *ns_path = NULL;
        int r;

        r = sd_bus_path_encode(MONOSHIM_PATH "/container", ref->ns, &ns_path);
        if (r < 0)
                return r;
        return sd_bus_path_encode(ns_path, ref->id, &ref->path);
}

int container_ref_parse(ContainerRef *ref, const Settings *s, const char *text, char **reterr_reason) {
        const char *slash = strchr(text, '/');
        ContainerRef made = {};
        int r;

        made.ns = slash ? strndup(text, (size_t) (slash - text)) : strdup(s->ns);
        made.id = strdup(slash ? slash + 1 : text);
        r = made.ns && made.id ? ref_check(&made, reterr_reason) : -ENOMEM;
        if (r >= 0)
                r = ref_make_path(&made);
        if (r < 0) {
                container_ref_done(&made);
                return r;
        }

        *ref = made;
        return 0;
}

void container_ref_done(ContainerRef *ref) {
        ref->ns = mfree(ref->ns);
        ref->id = mfree(ref->id);
        ref->path = mfree(ref->path);
}

int container_ref_process(const ContainerRef *container, const char *exec_id, ContainerRef *ret,
                          char **reterr_reason) {
        _cleanup_(freep) char *parent = NULL;
        ContainerRef made = {};
        int r;

        r = identifier_check(exec_id, reterr_reason);
        if (r < 0)
                return r;

        parent = strdup_printf("%s/process", container->path);
        made.ns = strdup(container->ns);
        made.id = strdup_printf("%s/%s", container->id, exec_id);
        r = parent && made.ns && made.id ? sd_bus_path_encode(parent, exec_id, &made.path) : -ENOMEM;
        if (r < 0) {
                container_ref_done(&made);
                return r;
        }

        *ret = made;
        return 0;
}

int container_refs_select(ContainerRefs *refs, const char *exec_id) {
        _cleanup_(freep) char *reason = NULL;
        ContainerRef process;
        int r;

        for (size_t i = 0; exec_id && i < refs->n_items; i++) {
                r = container_ref_process(refs->items + i, exec_id, &process, &reason);
                if (r < 0) {
                        report(_("\"%s\" names no process: %s"), exec_id, reason ? reason : strerror(-r));
                        return r;
                }
                container_ref_done(refs->items + i);
                refs->items[i] = process;
        }
        return 0;
}

int container_refs_parse(ContainerRefs *refs, const Settings *s, int argc, char *argv[]) {
        int r;

        refs->items = calloc((size_t) (argc - optind) + 1, sizeof(*refs->items));
        if (!refs->items)
                return report_errno(ENOMEM, _("Cannot look at the arguments"));

        for (int i = optind; i < argc; i++) {
                _cleanup_(freep) char *reason = NULL;

                r = container_ref_parse(refs->items + refs->n_items, s, argv[i], &reason);
                if (r < 0) {
                        report(_("\"%s\" names no container: %s"), argv[i], reason ? reason : strerror(-r));
                        refs->bad = true;
                        continue;
                }
                refs->n_items++;
        }
        return refs->bad && refs->n_items == 0 ? -EINVAL : 0;
}

void container_refs_done(ContainerRefs *refs) {
        for (size_t i = 0; i < refs->n_items; i++)
                container_ref_done(refs->items + i);
        refs->items = mfree(refs->items);
        refs->n_items = 0;
}

/* Room for more is made whenever their number is one less than a power of two. */
static int refs_add(ContainerRefs *refs, const char *ns, const char *id, const char *path) {
        ContainerRef *items, ref;

        if ((refs->n_items & (refs->n_items + 1)) == 0) {
                items = reallocarray(refs->items, refs->n_items * 2 + 2, sizeof(*items));
                if (!items)
                        return -ENOMEM;
                refs->items = items;
        }

        ref = (ContainerRef) { .ns = strdup(ns), .id = strdup(id), .path = strdup(path) };
        if (!ref.ns || !ref.id || !ref.path) {
                container_ref_done(&ref);
                return -ENOMEM;
        }
        refs->items[refs->n_items++] = ref;
        return 0;
}

int container_refs_list(ContainerRefs *refs, Client *c, const char *ns, sd_bus_error *reterr) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        const char *its_ns, *id, *status, *path;
        int r;

        assert(refs->n_items == 0);

        r = client_call(c, MONOSHIM_PATH, MONOSHIM_MANAGER, "ListContainers", CLIENT_DEFAULT_TIMEOUT, reterr, &reply,
                        NULL);
        if (r >= 0)
                r = sd_bus_message_enter_container(reply, 'a', "(sssuo)");
        if (r < 0)
                return r;

        while ((r = sd_bus_message_read(reply, "(sssuo)", &its_ns, &id, &status, NULL, &path)) > 0) {
                if (streq(status, "stopped") || (ns && !streq(its_ns, ns)))
                        continue;
                r = refs_add(refs, its_ns, id, path);
                if (r < 0)
                        return r;
        }
        return r;
}
