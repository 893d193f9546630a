/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The "process" of an OCI configuration. */

#include "ctl/process-spec.h"

#include "util/strv.h"
#include "util/text.h"

#define DEFAULT_PATH "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

static bool env_same_name(const char *a, const char *b) {
        size_t n = strcspn(a, "=");

        return n == strcspn(b, "=") && strncmp(a, b, n) == 0;
}

static bool env_has(char *const *env, const char *variable) {
        for (size_t i = 0; env && env[i]; i++)
                if (env_same_name(env[i], variable))
                        return true;
        return false;
}

static int env_set(char ***env, const char *variable) {
        for (size_t i = 0; *env && (*env)[i]; i++)
                if (env_same_name((*env)[i], variable)) {
                        char *copy = strdup(variable);

                        if (!copy)
                                return -ENOMEM;
                        free((*env)[i]);
                        (*env)[i] = copy;
                        return 0;
                }
        return strv_extend(env, variable);
}

int process_spec_add_env(char ***env, const char *text) {
        _cleanup_(freep) char *variable = NULL;
        const char *value;

        if (text[0] == '\0' || text[0] == '=')
                return -EINVAL;
        if (strchr(text, '='))
                return env_set(env, text);

        value = getenv(text);
        if (!value)
                return 0;
        variable = malloc(strlen(text) + strlen(value) + 2);
        if (!variable)
                return -ENOMEM;
        stpcpy(stpcpy(stpcpy(variable, text), "="), value);
        return env_set(env, variable);
}

static bool strv_is_utf8(char *const *v) {
        for (size_t i = 0; v && v[i]; i++)
                if (!utf8_is_valid(v[i], strlen(v[i])))
                        return false;
        return true;
}

static void write_args(JsonWriter *w, const ProcessSpec *spec, Json model) {
        json_write_key(w, "args");
        if (!spec->args || !spec->args[0]) {
                json_write_tree(w, json_get(model, "args"));
                return;
        }

        json_open_array(w);
        for (size_t i = 0; spec->args[i]; i++)
                json_write_string(w, spec->args[i]);
        json_close_array(w);
}

static void write_env(JsonWriter *w, const ProcessSpec *spec, Json model) {
        Json env = json_get(model, "env");
        bool term = spec->terminal && spec->term && !env_has(spec->env, "TERM");

        json_write_key(w, "env");
        json_open_array(w);
        if (!env && !env_has(spec->env, "PATH"))
                json_write_string(w, DEFAULT_PATH);

        for (size_t i = 0; i < json_length(env); i++) {
                const char *variable = json_string(json_element(env, i));

                if (variable && !env_has(spec->env, variable) && !(term && env_same_name(variable, "TERM")))
                        json_write_string(w, variable);
        }

        if (term) {
                _cleanup_(freep) char *variable = malloc(strlen("TERM=") + strlen(spec->term) + 1);

                if (variable) {
                        stpcpy(stpcpy(variable, "TERM="), spec->term);
                        json_write_string(w, variable);
                }
        }
        for (size_t i = 0; spec->env && spec->env[i]; i++)
                json_write_string(w, spec->env[i]);
        json_close_array(w);
}

static void write_user(JsonWriter *w, const ProcessSpec *spec, Json model) {
        Json user = json_get(model, "user");
        uint64_t gid = 0;

        json_write_key(w, "user");
        if (user && !spec->user) {
                json_write_tree(w, user);
                return;
        }

        /* Supplementary groups are somebody else's. */
        (void) json_get_uint64(user, "gid", &gid);
        json_open_object(w);
        json_put_uint64(w, "uid", spec->user ? spec->uid : 0);
        json_put_uint64(w, "gid", spec->group ? spec->gid : gid);
        json_close_object(w);
}

static void write_capabilities(JsonWriter *w, const ProcessSpec *spec, Json model) {
        Json capabilities = json_get(model, "capabilities");
        uint64_t uid = 0;

        (void) json_get_uint64(json_get(model, "user"), "uid", &uid);
        if (!spec->user || spec->uid == 0 || spec->uid == uid) {
                if (capabilities) {
                        json_write_key(w, "capabilities");
                        json_write_tree(w, capabilities);
                }
                return;
        }

        json_write_key(w, "capabilities");
        json_open_object(w);
        if (json_get(capabilities, "bounding")) {
                json_write_key(w, "bounding");
                json_write_tree(w, json_get(capabilities, "bounding"));
        }
        json_close_object(w);
}

/* Whatever else the model has (limits, labels, profiles) holds for this one, too. The size of its terminal does not:
 * monoshimd is told that apart. */
static void write_rest(JsonWriter *w, Json model) {
        static const char *const ours[] = { "args", "env", "user", "capabilities", "cwd", "terminal", "consoleSize" };

        for (size_t i = 0; i < json_length(model); i++) {
                const char *key = json_key(model, i);
                bool known = false;

                for (size_t k = 0; k < ELEMENTSOF(ours); k++)
                        known |= streq(key, ours[k]);
                if (known)
                        continue;
                json_write_key(w, key);
                json_write_tree(w, json_value(model, i));
        }
}

int process_spec_put(JsonWriter *w, const ProcessSpec *spec, Json model) {
        const char *cwd = "/";

        if (!(spec->args && spec->args[0]) && json_length(json_get(model, "args")) == 0)
                return -EINVAL;
        if (!strv_is_utf8(spec->args) || !strv_is_utf8(spec->env) ||
            (spec->cwd && !utf8_is_valid(spec->cwd, strlen(spec->cwd))))
                return -EILSEQ;

        (void) json_get_string(model, "cwd", &cwd);
        json_open_object(w);
        json_put_bool(w, "terminal", spec->terminal);
        write_user(w, spec, model);
        write_args(w, spec, model);
        write_env(w, spec, model);
        json_put_string(w, "cwd", spec->cwd ? spec->cwd : cwd);
        write_capabilities(w, spec, model);
        write_rest(w, model);
        json_close_object(w);
        return 0;
}

int process_spec_write(const ProcessSpec *spec, Json model, char **ret) {
        _cleanup_(json_writer_freep) JsonWriter *w = json_writer_new(false);
        int r;

        if (!w)
                return -ENOMEM;
        r = process_spec_put(w, spec, model);
        if (r < 0)
                return r;

        return json_writer_copy(w, ret);
}
