/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* JSON by yajl. */

#include "util/json.h"
#include "util/text.h"

#include <math.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdio.h>
#include <yajl/yajl_parse.h>

#define WRITER_DEPTH_MAX 127 /* yajl_gen's own YAJL_MAX_DEPTH less one */

/* ---- reading ---- */

/* A piece of memory that yajl has asked for. */
typedef struct Block {
        struct Block *prev, *next;
        max_align_t memory[];
} Block;

typedef struct YajlMemory {
        Block *blocks;
        jmp_buf exhausted;
        bool guarded; /* 'exhausted' can be jumped to */
} YajlMemory;

typedef struct Scan {
        JsonHandler handler;
        void *userdata;
        unsigned depth;
        const char *reason;
        int error;
        YajlMemory memory;
} Scan;

/* ---- memory for yajl ---- */

/* yajl uses what malloc() has returned without a look. So it is never shown that there is none: we leave it by a long
 * jump, and what it has asked for before is freed behind its back. */

static Block *block_of(void *p) {
        return (Block *) ((char *) p - offsetof(Block, memory));
}

static void memory_unlink(YajlMemory *s, const Block *b) {
        if (b->prev)
                b->prev->next = b->next;
        else
                s->blocks = b->next;
        if (b->next)
                b->next->prev = b->prev;
}

static void *memory_link(YajlMemory *s, Block *b) {
        b->prev = NULL;
        b->next = s->blocks;
        if (b->next)
                b->next->prev = b;
        s->blocks = b;
        return b->memory;
}

static void memory_free(void *ctx, void *p) {
        if (!p)
                return;

        memory_unlink(ctx, block_of(p));
        free(block_of(p));
}

static void *memory_realloc(void *ctx, void *p, size_t size) {
        Block *old = p ? block_of(p) : NULL, *larger = NULL;
        YajlMemory *s = ctx;

        if (old)
                memory_unlink(s, old);
        if (size <= SIZE_MAX - sizeof(Block))
                larger = realloc(old, sizeof(Block) + size);
        if (larger)
                return memory_link(s, larger);

        if (old)
                (void) memory_link(s, old);
        if (s->guarded)
                longjmp(s->exhausted, 1);
        return NULL;
}

static void *memory_malloc(void *ctx, size_t size) {
        return memory_realloc(ctx, NULL, size);
}

static void memory_done(YajlMemory *s) {
        while (s->blocks)
                memory_free(s, s->blocks->memory);
}

/* ---- scanning ---- */

static int scan_stop(Scan *s, int error, const char *reason) {
        s->error = error;
        s->reason = reason;
        return 0; /* yajl: stop */
}

static int scan_event(Scan *s, JsonEvent event, const char *text, size_t size) {
        const char *reason = NULL;
        int r;

        if (!s->handler)
                return 1;

        r = s->handler(s->userdata, event, text, size, &reason);
        if (r < 0)
                return scan_stop(s, r, reason);
        return 1;
}

static int scan_open(Scan *s, JsonEvent event) {
        if (s->depth >= JSON_DEPTH_MAX)
                return scan_stop(s, -EINVAL, "nested too deeply");

        s->depth++;
        return scan_event(s, event, NULL, 0);
}

static int scan_close(Scan *s, JsonEvent event) {
        s->depth--;
        return scan_event(s, event, NULL, 0);
}

static int scan_text(Scan *s, JsonEvent event, const unsigned char *text, size_t size) {
        /* The text as a whole is UTF-8; what \u escapes have made of it may not be. */
        if (!utf8_is_valid((const char *) text, size))
                return scan_stop(s, -EINVAL, "string with \\u0000 or half a surrogate pair");
        return scan_event(s, event, (const char *) text, size);
}

static int scan_on_null(void *ctx) {
        return scan_event(ctx, JSON_NULL, NULL, 0);
}

static int scan_on_boolean(void *ctx, int value) {
        return scan_event(ctx, value ? JSON_TRUE : JSON_FALSE, NULL, 0);
}

static int scan_on_number(void *ctx, const char *text, size_t size) {
        return scan_event(ctx, JSON_NUMBER, text, size);
}

static int scan_on_string(void *ctx, const unsigned char *text, size_t size) {
        return scan_text(ctx, JSON_STRING, text, size);
}

static int scan_on_key(void *ctx, const unsigned char *text, size_t size) {
        return scan_text(ctx, JSON_KEY, text, size);
}

static int scan_on_object_open(void *ctx) {
        return scan_open(ctx, JSON_OBJECT_OPEN);
}

static int scan_on_object_close(void *ctx) {
        return scan_close(ctx, JSON_OBJECT_CLOSE);
}

static int scan_on_array_open(void *ctx) {
        return scan_open(ctx, JSON_ARRAY_OPEN);
}

static int scan_on_array_close(void *ctx) {
        return scan_close(ctx, JSON_ARRAY_CLOSE);
}

/* With yajl_number alone yajl passes all numbers as they are written, instead of failing at those over 63 bits. */
static const yajl_callbacks scan_callbacks = {
        .yajl_null = scan_on_null,
        .yajl_boolean = scan_on_boolean,
        .yajl_number = scan_on_number,
        .yajl_string = scan_on_string,
        .yajl_start_map = scan_on_object_open,
        .yajl_map_key = scan_on_key,
        .yajl_end_map = scan_on_object_close,
        .yajl_start_array = scan_on_array_open,
        .yajl_end_array = scan_on_array_close,
};

/* "line 3, column 14: REASON". The column counts bytes. */
static char *message_at(const char *text, size_t offset, const char *reason) {
        size_t line = 1, column = 1;

        for (size_t i = 0; i < offset; i++) {
                column++;
                if (text[i] == '\n') {
                        line++;
                        column = 1;
                }
        }
        return strdup_printf("line %zu, column %zu: %s", line, column, reason);
}

static size_t utf8_valid_length(const char *text, size_t size) {
        size_t i = 0, n;

        while ((n = utf8_character(text + i, size - i)) > 0)
                i += n;
        return i;
}

static int scan_fail(int error, const char *text, size_t offset, const char *reason, char **reterr_message) {
        if (reterr_message) {
                char *message = message_at(text, offset, reason);

                if (!message)
                        return -ENOMEM;
                *reterr_message = message;
        }
        return error;
}

static int scan_fail_by_yajl(yajl_handle parser, const char *text, size_t offset, char **reterr_message) {
        /* Without the excerpt that yajl would add: the text may hold secrets, and a position says as much. */
        unsigned char *why = yajl_get_error(parser, false, NULL, 0);
        _cleanup_(freep) char *reason = NULL;

        if (why)
                reason = text_sanitize((char *) why, strlen((char *) why), SIZE_MAX);
        yajl_free_error(parser, why);
        if (!reason)
                return -ENOMEM;
        return scan_fail(-EINVAL, text, offset, reason, reterr_message);
}

static int scan_run(Scan *s, const char *text, size_t size, char **reterr_message) {
        yajl_alloc_funcs memory = { .malloc = memory_malloc, .realloc = memory_realloc, .free = memory_free, .ctx = &s->memory };
        yajl_status status;
        yajl_handle parser;
        size_t offset;

        parser = yajl_alloc(&scan_callbacks, &memory, s);
        if (!parser)
                return -ENOMEM;

        /* What yajl has consumed includes what it stumbled on, give or take a byte. */
        status = yajl_parse(parser, (const unsigned char *) text, size);
        offset = yajl_get_bytes_consumed(parser);
        if (offset > 0)
                offset--;
        if (status == yajl_status_ok) {
                status = yajl_complete_parse(parser);
                offset = size;
        }

        if (s->error == -ENOMEM)
                return -ENOMEM;
        if (s->error < 0)
                return scan_fail(s->error, text, offset, s->reason ?: strerror(-s->error), reterr_message);
        if (status != yajl_status_ok)
                return scan_fail_by_yajl(parser, text, offset, reterr_message);
        return 0;
}

int json_scan(const char *text, size_t size, JsonHandler handler, void *userdata, char **reterr_message) {
        Scan s = { .handler = handler, .userdata = userdata };
        size_t valid;
        int r;

        /* yajl lets some of it pass that is no UTF-8. */
        valid = utf8_valid_length(text, size);
        if (valid < size)
                return scan_fail(-EINVAL, text, valid, text[valid] ? "invalid UTF-8" : "NUL byte", reterr_message);

        if (setjmp(s.memory.exhausted) != 0) {
                memory_done(&s.memory);
                return -ENOMEM;
        }
        s.memory.guarded = true;

        r = scan_run(&s, text, size, reterr_message);
        memory_done(&s.memory); /* the parser as well */
        return r;
}

/* ---- the tree ---- */

/* Of yajl's own nodes, and freed by yajl, but not made by it: it takes comments, has no bound, leaks on some errors and
 * does not see others. */
typedef struct Builder {
        Json root;
        Json open[JSON_DEPTH_MAX];
        unsigned depth;
} Builder;

/* Makes room for one more; what is allocated is always the power of two that holds the length. */
static int list_grow(void **list, size_t length, size_t size) {
        void *larger;

        if (length > 0 && (length & (length - 1)) != 0)
                return 0;

        larger = reallocarray(*list, length > 0 ? length * 2 : 1, size);
        if (!larger)
                return -ENOMEM;
        *list = larger;
        return 0;
}

/* Puts it where the next value belongs. */
static int builder_add(Builder *b, Json value) {
        Json parent = b->depth > 0 ? b->open[b->depth - 1] : NULL;
        void *list;
        int r;

        if (!parent)
                b->root = value;
        else if (parent->type == yajl_t_object)
                parent->u.object.values[parent->u.object.len - 1] = value;
        else {
                list = parent->u.array.values;
                r = list_grow(&list, parent->u.array.len, sizeof(Json));
                parent->u.array.values = list;
                if (r < 0)
                        return r;
                parent->u.array.values[parent->u.array.len++] = value;
        }
        return 0;
}

static int builder_add_key(Builder *b, const char *text, size_t size) {
        Json object = b->open[b->depth - 1];
        void *keys = object->u.object.keys, *values = object->u.object.values;
        char *key;
        int r;

        r = list_grow(&keys, object->u.object.len, sizeof(char *));
        object->u.object.keys = keys;
        if (r < 0)
                return r;
        r = list_grow(&values, object->u.object.len, sizeof(Json));
        object->u.object.values = values;
        if (r < 0)
                return r;

        key = strndup(strempty(text), size);
        if (!key)
                return -ENOMEM;
        object->u.object.keys[object->u.object.len] = key;
        object->u.object.values[object->u.object.len++] = NULL;
        return 0;
}

/* As it is written, and as yajl's macros want to know it. */
static int number_fill(Json value, const char *text, size_t size) {
        char *end, *copy = strndup(text, size);

        if (!copy)
                return -ENOMEM;
        value->u.number.r = copy;

        errno = 0;
        value->u.number.i = strtoll(copy, &end, 10);
        if (errno == 0 && *end == 0)
                value->u.number.flags |= YAJL_NUMBER_INT_VALID;
        errno = 0;
        value->u.number.d = strtod(copy, &end);
        if (errno == 0 && *end == 0)
                value->u.number.flags |= YAJL_NUMBER_DOUBLE_VALID;
        return 0;
}

static int builder_on_json(void *userdata, JsonEvent event, const char *text, size_t size, const char **reterr_reason) {
        static const yajl_type types[] = {
                [JSON_NULL] = yajl_t_null,
                [JSON_TRUE] = yajl_t_true,
                [JSON_FALSE] = yajl_t_false,
                [JSON_NUMBER] = yajl_t_number,
                [JSON_STRING] = yajl_t_string,
                [JSON_OBJECT_OPEN] = yajl_t_object,
                [JSON_ARRAY_OPEN] = yajl_t_array,
        };
        Builder *b = userdata;
        Json value;
        int r = 0;

        if (event == JSON_KEY)
                return builder_add_key(b, text, size);
        if (event == JSON_OBJECT_CLOSE || event == JSON_ARRAY_CLOSE) {
                b->depth--;
                return 0;
        }

        value = calloc(1, sizeof(*value));
        if (!value)
                return -ENOMEM;
        value->type = types[event];
        if (event == JSON_NUMBER)
                r = number_fill(value, text, size);
        else if (event == JSON_STRING) {
                value->u.string = strndup(strempty(text), size);
                r = value->u.string ? 0 : -ENOMEM;
        }
        if (r >= 0)
                r = builder_add(b, value);
        if (r < 0) {
                (void) json_free(value);
                return r;
        }

        if (event == JSON_OBJECT_OPEN || event == JSON_ARRAY_OPEN)
                b->open[b->depth++] = value; /* json_scan() bounds the depth */
        return 0;
}

int json_parse(const char *text, size_t size, Json *ret, char **reterr_message) {
        Builder b = {};
        int r;

        r = json_scan(text, size, builder_on_json, &b, reterr_message);
        if (r < 0) {
                (void) json_free(b.root);
                return r;
        }

        *ret = b.root;
        return 0;
}

Json json_free(Json tree) {
        yajl_tree_free(tree);
        return NULL;
}

Json json_get(Json object, const char *name) {
        for (size_t i = YAJL_IS_OBJECT(object) ? object->u.object.len : 0; i > 0; i--)
                if (streq(object->u.object.keys[i - 1], name))
                        return object->u.object.values[i - 1];
        return NULL;
}

bool json_is_object(Json v) {
        return YAJL_IS_OBJECT(v);
}

int json_get_string(Json object, const char *name, const char **ret) {
        Json v = json_get(object, name);

        if (!v || YAJL_IS_NULL(v))
                return 0;
        if (!YAJL_IS_STRING(v))
                return -EINVAL;

        *ret = v->u.string;
        return 1;
}

int json_get_uint64(Json object, const char *name, uint64_t *ret) {
        Json v = json_get(object, name);

        if (!v || YAJL_IS_NULL(v))
                return 0;
        if (!YAJL_IS_NUMBER(v) || parse_uint64(v->u.number.r, ret) < 0)
                return -EINVAL;
        return 1;
}

int json_get_bool(Json object, const char *name, bool *ret) {
        Json v = json_get(object, name);

        if (!v || YAJL_IS_NULL(v))
                return 0;
        if (!YAJL_IS_TRUE(v) && !YAJL_IS_FALSE(v))
                return -EINVAL;

        *ret = YAJL_IS_TRUE(v);
        return 1;
}

size_t json_length(Json v) {
        if (YAJL_IS_ARRAY(v))
                return v->u.array.len;
        return YAJL_IS_OBJECT(v) ? v->u.object.len : 0;
}

Json json_element(Json array, size_t i) {
        return YAJL_IS_ARRAY(array) && i < array->u.array.len ? array->u.array.values[i] : NULL;
}

const char *json_key(Json object, size_t i) {
        return YAJL_IS_OBJECT(object) && i < object->u.object.len ? object->u.object.keys[i] : NULL;
}

Json json_value(Json object, size_t i) {
        return YAJL_IS_OBJECT(object) && i < object->u.object.len ? object->u.object.values[i] : NULL;
}

const char *json_string(Json v) {
        return YAJL_GET_STRING(v);
}

/* ---- writing ---- */

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
        YajlMemory memory;
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
        yajl_alloc_funcs memory = { .malloc = memory_malloc, .realloc = memory_realloc, .free = memory_free, .ctx = &w->memory };

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

        memory_done(&w->memory); /* the generator as well */
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
