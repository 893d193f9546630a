/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* D-Bus values of any type, as JSON or as text. The bus limits how deep values nest, so recursion is harmless. */

#include "ctl/value.h"

#include "ctl/format.h"

#include <math.h>
#include <stdio.h>

static int basic_write_json(sd_bus_message *m, char type, JsonWriter *w) {
        union {
                uint8_t y;
                int b, h;
                int16_t n;
                uint16_t q;
                int32_t i;
                uint32_t u;
                int64_t x;
                uint64_t t;
                double d;
                const char *s;
        } v;
        int r;

        r = sd_bus_message_read_basic(m, type, &v);
        if (r < 0)
                return r;
        if (r == 0)
                return -EBADMSG;

        /* clang-format off */
        switch (type) {
        case SD_BUS_TYPE_BYTE:          json_write_uint64(w, v.y); break;
        case SD_BUS_TYPE_BOOLEAN:       json_write_bool(w, v.b); break;
        case SD_BUS_TYPE_INT16:         json_write_int64(w, v.n); break;
        case SD_BUS_TYPE_UINT16:        json_write_uint64(w, v.q); break;
        case SD_BUS_TYPE_INT32:         json_write_int64(w, v.i); break;
        case SD_BUS_TYPE_UINT32:        json_write_uint64(w, v.u); break;
        case SD_BUS_TYPE_INT64:         json_write_int64(w, v.x); break;
        case SD_BUS_TYPE_UINT64:        json_write_uint64(w, v.t); break;
        case SD_BUS_TYPE_UNIX_FD:       json_write_int64(w, v.h); break;
        case SD_BUS_TYPE_DOUBLE: /* JSON has no infinity */
                if (isfinite(v.d))
                        json_write_double(w, v.d);
                else
                        json_write_null(w);
                break;
        default: /* strings, object paths, signatures */
                json_write_string(w, v.s);
        }
        /* clang-format on */
        return 0;
}

/* JSON wants strings for keys, whatever the dictionary has. */
static int key_write_json(sd_bus_message *m, JsonWriter *w) {
        _cleanup_(freep) char *key = NULL;
        int r;

        r = value_read_text(m, false, &key);
        if (r < 0)
                return r;
        json_write_key(w, key);
        return 0;
}

static int container_write_members(sd_bus_message *m, bool dictionary, JsonWriter *w) {
        int r;

        for (;;) {
                r = sd_bus_message_at_end(m, false);
                if (r != 0)
                        return r < 0 ? r : 0;

                if (dictionary) {
                        r = sd_bus_message_enter_container(m, 0, NULL);
                        if (r < 0)
                                return r;
                        r = key_write_json(m, w);
                        if (r < 0)
                                return r;
                }
                r = value_write_json(m, w);
                if (r < 0)
                        return r;
                if (dictionary) {
                        r = sd_bus_message_exit_container(m);
                        if (r < 0)
                                return r;
                }
        }
}

static int container_write_json(sd_bus_message *m, char type, const char *contents, JsonWriter *w) {
        bool dictionary = type == SD_BUS_TYPE_ARRAY && contents[0] == SD_BUS_TYPE_DICT_ENTRY_BEGIN;
        int r;

        r = sd_bus_message_enter_container(m, type, contents);
        if (r < 0)
                return r;

        if (type == SD_BUS_TYPE_VARIANT)
                r = value_write_json(m, w);
        else {
                dictionary ? json_open_object(w) : json_open_array(w);
                r = container_write_members(m, dictionary, w);
                dictionary ? json_close_object(w) : json_close_array(w);
        }
        if (r < 0)
                return r;

        r = sd_bus_message_exit_container(m);
        return r < 0 ? r : 0;
}

int value_write_json(sd_bus_message *m, JsonWriter *w) {
        const char *contents;
        char type;
        int r;

        r = sd_bus_message_peek_type(m, &type, &contents);
        if (r < 0)
                return r;
        if (r == 0)
                return -EBADMSG;

        if (contents)
                return container_write_json(m, type, contents, w);
        return basic_write_json(m, type, w);
}

static int value_read_json_text(sd_bus_message *m, char **ret) {
        _cleanup_(json_writer_freep) JsonWriter *w = NULL;
        int r;

        w = json_writer_new(false);
        if (!w)
                return -ENOMEM;
        r = value_write_json(m, w);
        if (r < 0)
                return r;
        r = json_writer_copy(w, ret);
        if (r < 0)
                return r;

        format_make_line(*ret);
        return 0;
}

static int string_read_text(sd_bus_message *m, char type, bool quote, char **ret) {
        const char *s;
        char *copy;
        int r;

        r = sd_bus_message_read_basic(m, type, &s);
        if (r < 0)
                return r;

        copy = quote ? format_quote(s) : strdup(s);
        if (!copy)
                return -ENOMEM;
        format_make_line(copy);
        *ret = copy;
        return 0;
}

int value_read_text(sd_bus_message *m, bool quote, char **ret) {
        const char *contents;
        char type;
        int r;

        r = sd_bus_message_peek_type(m, &type, &contents);
        if (r < 0)
                return r;
        if (r == 0)
                return -EBADMSG;

        if (type == SD_BUS_TYPE_VARIANT) {
                r = sd_bus_message_enter_container(m, type, contents);
                if (r < 0)
                        return r;
                r = value_read_text(m, quote, ret);
                if (r < 0)
                        return r;
                r = sd_bus_message_exit_container(m);
                if (r >= 0)
                        return 0;
                *ret = mfree(*ret);
                return r;
        }
        if (type == SD_BUS_TYPE_STRING || type == SD_BUS_TYPE_OBJECT_PATH || type == SD_BUS_TYPE_SIGNATURE)
                return string_read_text(m, type, quote, ret);
        return value_read_json_text(m, ret);
}
