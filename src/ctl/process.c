/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What can be done to the init process of a container. */

#include "ctl/process.h"

#include "ctl/i18n.h"
#include "ctl/report.h"
#include "ctl/suggest.h"
#include "util/text.h"

static bool error_is_gone(const sd_bus_error *error) {
        return sd_bus_error_has_name(error, MONOSHIM_ERROR("NotFound"));
}

int process_start(Client *c, const ContainerRef *ref) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        int r;

        r = client_call(c, ref->path, MONOSHIM_PROCESS, "Start", CLIENT_FOREVER, &error, NULL, NULL);
        if (r < 0)
                return suggest_report(c, ref, r, &error, _("Cannot start %s/%s"), ref->ns, ref->id);
        return 0;
}

int process_kill(Client *c, const ContainerRef *ref, int signal, bool all, bool gone_is_fine) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        int r;

        r = client_call(c, ref->path, MONOSHIM_PROCESS, "Kill", CLIENT_FOREVER, &error, NULL, "ub", (uint32_t) signal,
                        (int) all);
        if (r < 0 && gone_is_fine && error_is_gone(&error))
                return 0;
        if (r < 0)
                return suggest_report(c, ref, r, &error, _("Cannot signal %s/%s"), ref->ns, ref->id);
        return 1;
}

int process_delete(Client *c, const ContainerRef *ref, bool gone_is_fine) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_(freep) char *doing = strdup_printf(_("Deleting %s/%s"), ref->ns, ref->id);
        int r;

        r = client_new_call(c, ref->path, MONOSHIM_PROCESS, "Delete", &m);
        if (r >= 0)
                r = client_call_patiently(c, m, doing, &error, NULL);
        if (r < 0 && gone_is_fine && error_is_gone(&error))
                return -ENOENT;
        if (r < 0)
                return suggest_report(c, ref, r, &error, _("Cannot delete %s/%s"), ref->ns, ref->id);
        return 0;
}

void process_resume_if_paused(Client *c, const ContainerRef *ref) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_(freep) char *status = NULL;
        int r;

        r = sd_bus_get_property_string(c->bus, MONOSHIM_SERVICE, ref->path, MONOSHIM_PROCESS, "Status", &error,
                                       &status);
        if (r < 0 || !streq(status, "paused"))
                return;
        (void) client_call(c, ref->path, MONOSHIM_CONTAINER, "Resume", CLIENT_FOREVER, NULL, NULL, NULL);
}
