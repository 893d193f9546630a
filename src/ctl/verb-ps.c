/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* monoshim ps. */

#include "ctl/i18n.h"
#include "ctl/output.h"
#include "ctl/report.h"
#include "ctl/suggest.h"
#include "ctl/table.h"
#include "ctl/verb.h"
#include "ctl/verb-arguments.h"
#include "util/text.h"

#include <fcntl.h>
#include <stdio.h>

/* As much of a command line as is worth showing. */
#define COMMAND_MAX 4096

static const char usage[] = N_("Usage: monoshim ps [OPTION...] ID\n"
                               "\n"
                               "List the processes in a container.\n"
                               "\n"
                               "      --no-legend          Without the line with the names of the columns\n");

enum {
        OPTION_NO_LEGEND = OPTION_LONG_ONLY,
};

static ssize_t proc_read(uint32_t pid, const char *name, char buffer[COMMAND_MAX]) {
        char path[sizeof("/proc//cmdline") + 16];
        _cleanup_(safe_closep) int fd = -EBADF;

        snprintf(path, sizeof(path), "/proc/%u/%s", pid, name);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        return fd < 0 ? -1 : read(fd, buffer, COMMAND_MAX);
}

/* The arguments, or the name in brackets where there are none, as ps(1) has it. A process that has gone meanwhile has
 * neither. The caller frees it; NULL without memory. */
static char *command_read(uint32_t pid) {
        _cleanup_(freep) char *name = NULL;
        char buffer[COMMAND_MAX];
        ssize_t n;

        n = proc_read(pid, "cmdline", buffer);
        if (n > 0) {
                for (ssize_t i = 0; i < n; i++)
                        if (buffer[i] == '\0' || buffer[i] == '\n')
                                buffer[i] = ' ';
                return text_sanitize(buffer, (size_t) n, COMMAND_MAX);
        }

        n = proc_read(pid, "comm", buffer);
        name = text_sanitize(buffer, n > 0 ? (size_t) n : 0, COMMAND_MAX);
        if (!name || !name[0])
                return TAKE_PTR(name);
        return strdup_printf("[%s]", name);
}

static int ps_add_json(JsonWriter *w, uint32_t pid, const char *exec_id, const char *command) {
        json_open_object(w);
        json_put_uint64(w, "pid", pid);
        json_put_string(w, "exec_id", exec_id);
        json_put_string(w, "command", command);
        json_close_object(w);
        return 0;
}

static int ps_add_row(Table *t, uint32_t pid, const char *exec_id, const char *command) {
        char number[16];

        snprintf(number, sizeof(number), "%u", pid);
        return table_add_row(t, (const char *const[]) { number, isempty(exec_id) ? "-" : exec_id, command });
}

static int ps_read(sd_bus_message *reply, JsonWriter *w, Table *t) {
        const char *exec_id;
        uint32_t pid;
        int r;

        r = sd_bus_message_enter_container(reply, 'a', "(us)");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_read(reply, "(us)", &pid, &exec_id)) > 0) {
                _cleanup_(freep) char *command = command_read(pid);

                if (!command)
                        return -ENOMEM;
                r = w ? ps_add_json(w, pid, exec_id, command) : ps_add_row(t, pid, exec_id, command);
                if (r < 0)
                        return r;
        }
        return r;
}

static int ps_print(const Settings *s, sd_bus_message *reply, bool legend) {
        const char *const header[] = { _("PID"), _("EXEC"), _("COMMAND") };
        _cleanup_(json_writer_freep) JsonWriter *w = NULL;
        _cleanup_(table_freep) Table *t = NULL;
        int r;

        if (s->output != OUTPUT_TEXT) {
                w = output_json_new(s);
                if (!w)
                        return -ENOMEM;
                json_open_array(w);
        } else {
                t = table_new(header, ELEMENTSOF(header));
                if (!t)
                        return report_errno(ENOMEM, _("Cannot list the processes"));
                table_align_right(t, 0);
        }

        r = ps_read(reply, w, t);
        if (r >= 0 && t)
                r = table_print(t, stdout, legend, output_width());
        if (r < 0)
                return report_errno(r, _("Cannot list the processes"));
        if (!w)
                return 0;
        json_close_array(w);
        return output_json(w);
}

static int ps_take(void *userdata, const char *verb, int c) {
        *(bool *) userdata = false;
        return 0;
}

int verb_ps(int argc, char *argv[], Settings *s) {
        static const struct option options[] = {
                COMMON_LONG_OPTIONS,
                { "no-legend", no_argument, NULL, OPTION_NO_LEGEND },
                {},
        };
        const VerbSyntax syntax = {
                .letters = COMMON_SHORT_OPTIONS,
                .options = options,
                .usage = _(usage),
                .take = ps_take,
                .min = 1,
                .max = 1,
        };
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_(container_refs_done) ContainerRefs refs = {};
        _cleanup_(client_freep) Client *c = NULL;
        bool legend = true;
        int r;

        r = verb_begin(argc, argv, s, &syntax, &legend, &refs, &c);
        if (r < 0)
                return r;

        r = client_call(c, refs.items[0].path, MONOSHIM_CONTAINER, "ListPids", CLIENT_FOREVER, &error, &reply, NULL);
        if (r < 0) {
                suggest_report(c, refs.items, r, &error, _("Cannot list the processes of %s/%s"), refs.items[0].ns,
                               refs.items[0].id);
                return VERB_FAILED;
        }
        return ps_print(s, reply, legend) < 0 ? VERB_FAILED : 0;
}
