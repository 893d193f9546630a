/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A whole OCI configuration. */

#include "ctl/oci-spec.h"

#include "ctl/i18n.h"
#include "ctl/quantity.h"
#include "util/strv.h"
#include "util/text.h"

#include <stdarg.h>
#include <stdio.h>

/* What "runc spec" of runc 1.1 writes, apart from what is always said anew. A text is read more easily than the calls
 * that would write it, and can be laid beside its original. */
#define SPEC_CAPABILITIES "[\"CAP_AUDIT_WRITE\",\"CAP_KILL\",\"CAP_NET_BIND_SERVICE\"]"

static const char model_text[] =
        "{"
        "\"process\":{"
        "  \"user\":{\"uid\":0,\"gid\":0},"
        "  \"args\":[\"sh\"],"
        "  \"env\":[\"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\",\"TERM=xterm\"],"
        "  \"cwd\":\"/\","
        "  \"capabilities\":{"
        "    \"bounding\":" SPEC_CAPABILITIES ",\"effective\":" SPEC_CAPABILITIES ","
        "    \"permitted\":" SPEC_CAPABILITIES ",\"ambient\":" SPEC_CAPABILITIES "  },"
        "  \"rlimits\":[{\"type\":\"RLIMIT_NOFILE\",\"hard\":1024,\"soft\":1024}],"
        "  \"noNewPrivileges\":true"
        "},"
        "\"mounts\":["
        "  {\"destination\":\"/proc\",\"type\":\"proc\",\"source\":\"proc\"},"
        "  {\"destination\":\"/dev\",\"type\":\"tmpfs\",\"source\":\"tmpfs\","
        "   \"options\":[\"nosuid\",\"strictatime\",\"mode=755\",\"size=65536k\"]},"
        "  {\"destination\":\"/dev/pts\",\"type\":\"devpts\",\"source\":\"devpts\","
        "   \"options\":[\"nosuid\",\"noexec\",\"newinstance\",\"ptmxmode=0666\",\"mode=0620\",\"gid=5\"]},"
        "  {\"destination\":\"/dev/shm\",\"type\":\"tmpfs\",\"source\":\"shm\","
        "   \"options\":[\"nosuid\",\"noexec\",\"nodev\",\"mode=1777\",\"size=65536k\"]},"
        "  {\"destination\":\"/dev/mqueue\",\"type\":\"mqueue\",\"source\":\"mqueue\","
        "   \"options\":[\"nosuid\",\"noexec\",\"nodev\"]},"
        "  {\"destination\":\"/sys\",\"type\":\"sysfs\",\"source\":\"sysfs\","
        "   \"options\":[\"nosuid\",\"noexec\",\"nodev\",\"ro\"]},"
        "  {\"destination\":\"/sys/fs/cgroup\",\"type\":\"cgroup\",\"source\":\"cgroup\","
        "   \"options\":[\"nosuid\",\"noexec\",\"nodev\",\"relatime\",\"ro\"]}"
        "],"
        "\"devices\":[{\"allow\":false,\"access\":\"rwm\"}],"
        "\"namespaces\":[{\"type\":\"pid\"},{\"type\":\"network\"},{\"type\":\"ipc\"},{\"type\":\"uts\"},"
        "                {\"type\":\"mount\"}],"
        "\"maskedPaths\":[\"/proc/acpi\",\"/proc/asound\",\"/proc/kcore\",\"/proc/keys\",\"/proc/latency_stats\","
        "                 \"/proc/timer_list\",\"/proc/timer_stats\",\"/proc/sched_debug\",\"/sys/firmware\","
        "                 \"/proc/scsi\"],"
        "\"readonlyPaths\":[\"/proc/bus\",\"/proc/fs\",\"/proc/irq\",\"/proc/sys\",\"/proc/sysrq-trigger\"]"
        "}";

/* -- mounts -- */

static void spec_mount_done(SpecMount *m) {
        m->type = mfree(m->type);
        m->source = mfree(m->source);
        m->target = mfree(m->target);
        m->options = strv_free(m->options);
}

void oci_spec_done(OciSpec *spec) {
        for (size_t i = 0; i < spec->n_mounts; i++)
                spec_mount_done(spec->mounts + i);
        spec->mounts = mfree(spec->mounts);
        spec->n_mounts = 0;
        spec->process.env = strv_free(spec->process.env);
}

static int reason_set(char **reterr_reason, const char *format, ...) _printf_(2, 3);

static int reason_set(char **reterr_reason, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        if (vasprintf(reterr_reason, format, ap) < 0)
                *reterr_reason = NULL;
        va_end(ap);
        return -EINVAL;
}

static int text_set(char **ret, const char *value) {
        char *copy = strdup(value);

        if (!copy)
                return -ENOMEM;
        free(*ret);
        *ret = copy;
        return 0;
}

static bool mode_is_valid(const char *s) {
        return strspn(s, "01234567") == strlen(s) && strlen(s) >= 3 && strlen(s) <= 4;
}

static int mount_take_size(SpecMount *m, const char *value, char **reterr_reason) {
        int64_t bytes;

        if (quantity_parse_bytes(value, &bytes) < 0 || bytes <= 0)
                return reason_set(reterr_reason, _("\"size=\" takes an amount such as 64M, not \"%s\""), value);
        return strv_extendf(&m->options, "size=%lld", (long long) bytes);
}

/* One word between commas. */
static int mount_take(SpecMount *m, char *word, char **reterr_reason) {
        char *value = strchr(word, '=');

        if (value)
                *value++ = '\0';
        if (!value && (streq(word, "ro") || streq(word, "readonly")))
                return strv_contains(m->options, "ro") ? 0 : strv_extend(&m->options, "ro");
        if (isempty(value))
                return reason_set(reterr_reason, _("\"%s\" is none of type=, src=, dst=, size=, mode=, or \"ro\""),
                                  word);

        if (streq(word, "type"))
                return text_set(&m->type, value);
        if (streq(word, "src") || streq(word, "source"))
                return text_set(&m->source, value);
        if (streq(word, "dst") || streq(word, "destination") || streq(word, "target"))
                return text_set(&m->target, value);
        if (streq(word, "size"))
                return mount_take_size(m, value, reterr_reason);
        if (streq(word, "mode"))
                return mode_is_valid(value)
                               ? strv_extendf(&m->options, "mode=%s", value)
                               : reason_set(reterr_reason,
                                            _("\"mode=\" takes an octal number such as 1777, not \"%s\""), value);
        return reason_set(reterr_reason, _("\"%s=\" is none of type=, src=, dst=, size=, mode=, or \"ro\""), word);
}

static bool mount_has_own_options(const SpecMount *m) {
        for (size_t i = 0; m->options && m->options[i]; i++)
                if (!streq(m->options[i], "ro"))
                        return true;
        return false;
}

static int mount_check(SpecMount *m, char **reterr_reason) {
        if (!m->type)
                return reason_set(reterr_reason, _("\"type=\" is missing: bind or tmpfs"));
        if (!m->target || m->target[0] != '/')
                return reason_set(reterr_reason, _("\"dst=\" has to be an absolute path in the container"));

        if (streq(m->type, "tmpfs")) {
                if (m->source)
                        return reason_set(reterr_reason, _("a tmpfs has no \"src=\""));
                return strv_extend_all(&m->options, "nosuid", "nodev");
        }
        if (!streq(m->type, "bind"))
                return reason_set(reterr_reason, _("\"type=\" takes bind or tmpfs, not \"%s\""), m->type);
        if (!m->source)
                return reason_set(reterr_reason, _("a bind mount needs \"src=\""));
        if (mount_has_own_options(m))
                return reason_set(reterr_reason, _("\"size=\" and \"mode=\" are for a tmpfs"));
        return strv_extend_all(&m->options, "rbind", "rprivate");
}

int oci_spec_add_mount(OciSpec *spec, const char *text, char **reterr_reason) {
        _cleanup_(freep) char *copy = strdup(text);
        SpecMount *mounts, m = {};
        char *rest = copy;
        int r = 0;

        *reterr_reason = NULL;
        if (!copy)
                return -ENOMEM;
        for (char *word; r >= 0 && (word = strsep(&rest, ","));)
                r = mount_take(&m, word, reterr_reason);
        if (r >= 0)
                r = mount_check(&m, reterr_reason);
        if (r >= 0) {
                mounts = reallocarray(spec->mounts, spec->n_mounts + 1, sizeof(*mounts));
                if (mounts) {
                        spec->mounts = mounts;
                        spec->mounts[spec->n_mounts++] = m;
                        return 0;
                }
                r = -ENOMEM;
        }
        spec_mount_done(&m);
        return r;
}

/* -- the text -- */

static void write_mount(JsonWriter *w, const SpecMount *m) {
        json_open_object(w);
        json_put_string(w, "destination", m->target);
        json_put_string(w, "type", m->type);
        json_put_string(w, "source", m->source ? m->source : m->type);
        json_write_key(w, "options");
        json_open_array(w);
        for (size_t i = 0; m->options[i]; i++)
                json_write_string(w, m->options[i]);
        json_close_array(w);
        json_close_object(w);
}

static void write_mounts(JsonWriter *w, const OciSpec *spec, Json model) {
        Json mounts = json_get(model, "mounts");

        json_write_key(w, "mounts");
        json_open_array(w);
        for (size_t i = 0; i < json_length(mounts); i++)
                json_write_tree(w, json_element(mounts, i));
        for (size_t i = 0; i < spec->n_mounts; i++)
                write_mount(w, spec->mounts + i);
        json_close_array(w);
}

static void write_member(JsonWriter *w, Json model, const char *name) {
        json_write_key(w, name);
        json_write_tree(w, json_get(model, name));
}

static void write_namespaces(JsonWriter *w, const OciSpec *spec, Json model) {
        Json namespaces = json_get(model, "namespaces");

        json_write_key(w, "namespaces");
        json_open_array(w);
        for (size_t i = 0; i < json_length(namespaces); i++)
                json_write_tree(w, json_element(namespaces, i));
        if (spec->cgroup_namespace) {
                json_open_object(w);
                json_put_string(w, "type", "cgroup");
                json_close_object(w);
        }
        json_close_array(w);
}

static void write_linux(JsonWriter *w, const OciSpec *spec, Json model) {
        json_write_key(w, "linux");
        json_open_object(w);
        json_write_key(w, "resources");
        json_open_object(w);
        write_member(w, model, "devices");
        resources_put(w, &spec->resources);
        json_close_object(w);
        if (spec->cgroups_path)
                json_put_string(w, "cgroupsPath", spec->cgroups_path);
        write_namespaces(w, spec, model);
        write_member(w, model, "maskedPaths");
        write_member(w, model, "readonlyPaths");
        json_close_object(w);
}

static bool spec_is_utf8(const OciSpec *spec) {
        const char *const texts[] = { spec->rootfs, spec->hostname, spec->cgroups_path };

        for (size_t i = 0; i < ELEMENTSOF(texts); i++)
                if (texts[i] && !utf8_is_valid(texts[i], strlen(texts[i])))
                        return false;
        for (size_t i = 0; i < spec->n_mounts; i++) {
                const SpecMount *m = spec->mounts + i;

                if (!utf8_is_valid(m->target, strlen(m->target)) ||
                    (m->source && !utf8_is_valid(m->source, strlen(m->source))))
                        return false;
        }
        return true;
}

int oci_spec_write(const OciSpec *spec, char **ret) {
        _cleanup_(json_writer_freep) JsonWriter *w = json_writer_new(false);
        _cleanup_(json_freep) Json model = NULL;
        int r;

        if (!w)
                return -ENOMEM;
        if (!spec_is_utf8(spec))
                return -EILSEQ;
        r = json_parse(model_text, sizeof(model_text) - 1, &model, NULL);
        if (r < 0)
                return r;

        json_open_object(w);
        json_put_string(w, "ociVersion", "1.0.2-dev");
        json_write_key(w, "process");
        r = process_spec_put(w, &spec->process, json_get(model, "process"));
        if (r < 0)
                return r;
        json_write_key(w, "root");
        json_open_object(w);
        json_put_string(w, "path", spec->rootfs);
        json_put_bool(w, "readonly", spec->read_only);
        json_close_object(w);
        json_put_string(w, "hostname", spec->hostname);
        write_mounts(w, spec, model);
        write_linux(w, spec, model);
        json_close_object(w);

        return json_writer_copy(w, ret);
}
