/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Writing JSON by yajl. */

#include "util/json-memory.h"
#include "util/json.h"
#include "util/text.h"

#include <math.h>
#include <stdio.h>

#define WRITER_DEPTH_MAX 127 /* yajl_gen's own YAJL_MAX_DEPTH less one */

/* What may be written next. yajl_gen knows some of it, but not that "[" wants "]", nor that a key wants a value. */
typedef enum Place {
        PLACE_TOP,
        PLACE_ARRAY,
        PLACE_KEY,
        PLACE_VALUE,
        PLACE_END,
} Place;

struct JsonWriter {
        yajl_gen generator;
        Place places[WRITER_DEPTH_MAX + 1];
        unsigned depth;
        int error;

        char *text;
        size_t size;
        size_t allocated;
        JsonMemory memory;
};

static void writer_fail(JsonWriter *w, int error) {
        if (w->error == 0)
                w->error = error;
}

/* yajl's own buffer cannot say that memory ran out. */
static void writer_on_text(void *ctx, const char *text, size_t size) {
        JsonWriter *w = ctx;

        if (w->error < 0)
                return;

        if (size >= w->allocated - w->size) {
                size_t allocated = (w->size + size) * 2 + 64;
                char *larger = realloc(w->text, allocated);

                if (!larger) {
                        writer_fail(w, -ENOMEM);
                        return;
                }
                w->text = larger;
                w->allocated = allocated;
        }

        memcpy(w->text + w->size, text, size);
        w->size += size;
        w->text[w->size] = 0;
}

/* Later yajl asks for no memory any more: what it writes goes to the callback. */
static void writer_make_generator(JsonWriter *w, bool pretty) {
        yajl_alloc_funcs memory = json_memory_functions(&w->memory);

        w->generator = yajl_gen_alloc(&memory);
        if (!w->generator)
                return;

        yajl_gen_config(w->generator, yajl_gen_print_callback, writer_on_text, w);
        yajl_gen_config(w->generator, yajl_gen_beautify, (int) pretty);
        yajl_gen_config(w->generator, yajl_gen_indent_string, "  ");
}

/* A function of its own, so that no variable is changed between setjmp() and the jump back. */
static __attribute__((noinline)) int writer_guard_generator(JsonWriter *w, bool pretty) {
        if (setjmp(w->memory.exhausted) != 0)
                return -ENOMEM;

        w->memory.guarded = true;
        writer_make_generator(w, pretty);
        w->memory.guarded = false;
        return w->generator ? 0 : -ENOMEM;
}

JsonWriter *json_writer_new(bool pretty) {
        JsonWriter *w = calloc(1, sizeof(JsonWriter));

        if (!w)
                return NULL;

        return writer_guard_generator(w, pretty) < 0 ? json_writer_free(w) : w;
}

JsonWriter *json_writer_free(JsonWriter *w) {
        if (!w)
                return NULL;

        json_memory_done(&w->memory); /* the generator as well */
        free(w->text);
        free(w);
        return NULL;
}

/* Whether a value may stand here; if so, what comes after it is noted. */
static bool writer_begin_value(JsonWriter *w) {
        Place *place = &w->places[w->depth];

        if (*place == PLACE_KEY || *place == PLACE_END)
                writer_fail(w, -EINVAL);
        if (w->error < 0)
                return false;

        if (*place == PLACE_TOP)
                *place = PLACE_END;
        else if (*place == PLACE_VALUE)
                *place = PLACE_KEY;
        return true;
}

static void writer_check(JsonWriter *w, yajl_gen_status status) {
        if (status != yajl_gen_status_ok)
                writer_fail(w, -EINVAL);
}

static bool writer_open(JsonWriter *w, Place inside) {
        if (!writer_begin_value(w))
                return false;
        if (w->depth >= WRITER_DEPTH_MAX) {
                writer_fail(w, -EINVAL);
                return false;
        }

        w->places[++w->depth] = inside;
        return true;
}

static bool writer_close(JsonWriter *w, Place inside) {
        if (w->depth == 0 || w->places[w->depth] != inside)
                writer_fail(w, -EINVAL);
        if (w->error < 0)
                return false;

        w->depth--;
        return true;
}

void json_open_object(JsonWriter *w) {
        if (writer_open(w, PLACE_KEY))
                writer_check(w, yajl_gen_map_open(w->generator));
}

void json_close_object(JsonWriter *w) {
        if (writer_close(w, PLACE_KEY))
                writer_check(w, yajl_gen_map_close(w->generator));
}

void json_open_array(JsonWriter *w) {
        if (writer_open(w, PLACE_ARRAY))
                writer_check(w, yajl_gen_array_open(w->generator));
}

void json_close_array(JsonWriter *w) {
        if (writer_close(w, PLACE_ARRAY))
                writer_check(w, yajl_gen_array_close(w->generator));
}

static void writer_put_text(JsonWriter *w, const char *s) {
        size_t size = strlen(s), valid = utf8_valid_length(s, size);
        _cleanup_(freep) char *repaired = NULL;

        if (valid < size) {
                repaired = strdup(s);
                if (!repaired) {
                        writer_fail(w, -ENOMEM);
                        return;
                }
                for (; valid < size; valid += utf8_valid_length(repaired + valid, size - valid))
                        repaired[valid] = '?';
                s = repaired;
        }
        writer_check(w, yajl_gen_string(w->generator, (const unsigned char *) s, size));
}

void json_write_key(JsonWriter *w, const char *key) {
        if (w->places[w->depth] != PLACE_KEY)
                writer_fail(w, -EINVAL);
        if (w->error < 0)
                return;

        w->places[w->depth] = PLACE_VALUE;
        writer_put_text(w, key);
}

void json_write_string(JsonWriter *w, const char *s) {
        if (!s)
                json_write_null(w);
        else if (writer_begin_value(w))
                writer_put_text(w, s);
}

static void writer_put_number(JsonWriter *w, const char *digits) {
        if (writer_begin_value(w))
                writer_check(w, yajl_gen_number(w->generator, digits, strlen(digits)));
}

void json_write_uint64(JsonWriter *w, uint64_t u) {
        char digits[32];

        (void) snprintf(digits, sizeof(digits), "%llu", (unsigned long long) u);
        writer_put_number(w, digits);
}

void json_write_int64(JsonWriter *w, int64_t i) {
        char digits[32];

        (void) snprintf(digits, sizeof(digits), "%lld", (long long) i);
        writer_put_number(w, digits);
}

void json_write_double(JsonWriter *w, double d) {
        char digits[32];

        if (!isfinite(d)) {
                writer_fail(w, -EINVAL);
                return;
        }

        /* The shorter form where it says the same: 0.1, not 0.10000000000000001. */
        (void) snprintf(digits, sizeof(digits), "%.15g", d);
        if (strtod(digits, NULL) != d)
                (void) snprintf(digits, sizeof(digits), "%.17g", d);
        writer_put_number(w, digits);
}

void json_write_bool(JsonWriter *w, bool b) {
        if (writer_begin_value(w))
                writer_check(w, yajl_gen_bool(w->generator, b));
}

void json_write_null(JsonWriter *w) {
        if (writer_begin_value(w))
                writer_check(w, yajl_gen_null(w->generator));
}

void json_write_tree(JsonWriter *w, Json v) {
        if (YAJL_IS_OBJECT(v)) {
                json_open_object(w);
                for (size_t i = 0; i < v->u.object.len; i++) {
                        json_write_key(w, v->u.object.keys[i]);
                        json_write_tree(w, v->u.object.values[i]);
                }
                json_close_object(w);
        } else if (YAJL_IS_ARRAY(v)) {
                json_open_array(w);
                for (size_t i = 0; i < v->u.array.len; i++)
                        json_write_tree(w, v->u.array.values[i]);
                json_close_array(w);
        } else if (YAJL_IS_STRING(v))
                json_write_string(w, v->u.string);
        else if (YAJL_IS_NUMBER(v))
                writer_put_number(w, v->u.number.r);
        else if (YAJL_IS_TRUE(v) || YAJL_IS_FALSE(v))
                json_write_bool(w, YAJL_IS_TRUE(v));
        else
                json_write_null(w);
}

void json_put_string(JsonWriter *w, const char *key, const char *s) {
        json_write_key(w, key);
        json_write_string(w, s);
}

void json_put_uint64(JsonWriter *w, const char *key, uint64_t u) {
        json_write_key(w, key);
        json_write_uint64(w, u);
}

void json_put_bool(JsonWriter *w, const char *key, bool b) {
        json_write_key(w, key);
        json_write_bool(w, b);
}

int json_writer_finish(JsonWriter *w, const char **ret, size_t *ret_size) {
        if (w->depth > 0 || w->places[0] != PLACE_END)
                writer_fail(w, -EINVAL);
        if (w->error < 0)
                return w->error;

        *ret = w->text;
        if (ret_size)
                *ret_size = w->size;
        return 0;
}

int json_writer_copy(JsonWriter *w, char **ret) {
        const char *text;
        char *copy;
        int r;

        r = json_writer_finish(w, &text, NULL);
        if (r < 0)
                return r;

        copy = strdup(text);
        if (!copy)
                return -ENOMEM;
        *ret = copy;
        return 0;
}
