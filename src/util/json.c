/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Reading JSON by yajl. */

#include "util/json.h"
#include "util/json-memory.h"
#include "util/text.h"

#include <setjmp.h>
#include <yajl/yajl_parse.h>

typedef struct Scan {
        JsonHandler handler;
        void *userdata;
        unsigned depth;
        const char *reason;
        int error;
        JsonMemory memory;
} Scan;

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
        yajl_alloc_funcs memory = json_memory_functions(&s->memory);
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
                json_memory_done(&s.memory);
                return -ENOMEM;
        }
        s.memory.guarded = true;

        r = scan_run(&s, text, size, reterr_message);
        json_memory_done(&s.memory); /* the parser as well */
        return r;
}

/* ---- the tree ---- */

/* Of yajl's own nodes, and freed by yajl, but not made by it: it takes comments, has no bound, leaks on some errors
 * and does not see others. */
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

static int builder_on_json(void *userdata, JsonEvent event, const char *text, size_t size,
                           const char **reterr_reason) {
        static const yajl_type types[] = {
                [JSON_NULL] = yajl_t_null,        [JSON_TRUE] = yajl_t_true,     [JSON_FALSE] = yajl_t_false,
                [JSON_NUMBER] = yajl_t_number,    [JSON_STRING] = yajl_t_string, [JSON_OBJECT_OPEN] = yajl_t_object,
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
