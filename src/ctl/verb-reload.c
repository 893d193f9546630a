/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* monoshim reload. */

#include "ctl/client.h"
#include "ctl/i18n.h"
#include "ctl/report.h"
#include "ctl/verb-arguments.h"
#include "ctl/verb.h"

static const char usage[] = N_("Usage: monoshim reload\n"
                               "\n"
                               "Have monoshimd read its configuration again.\n");

int verb_reload(int argc, char *argv[], Settings *s) {
        const VerbSyntax syntax = { .letters = COMMON_SHORT_OPTIONS, .options = common_options, .usage = _(usage) };
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_(client_freep) Client *c = NULL;
        int r;

        r = verb_parse(argc, argv, s, &syntax, NULL);
        if (r < 0)
                return r;

        r = client_new(s, &c);
        if (r < 0)
                return VERB_FAILED;

        r = client_call(c, MONOSHIM_PATH, MONOSHIM_MANAGER, "Reload", CLIENT_DEFAULT_TIMEOUT, &error, NULL, NULL);
        if (r < 0) {
                report_call(r, &error, _("Cannot reload the configuration"));
                return VERB_FAILED;
        }
        return 0;
}
