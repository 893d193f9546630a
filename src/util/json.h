/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* JSON by yajl: events or a tree to read (with a bound on depth, since yajl frees a tree recursively), and a writer.
 */

#include "util/macro.h"

#include <yajl/yajl_gen.h>
#include <yajl/yajl_tree.h>

/* How deep a text may be nested. yajl writes no more than 127 levels; what was read can thus be written again, a good
 * deal further down. */
#define JSON_DEPTH_MAX 100

typedef enum JsonEvent {
        JSON_OBJECT_OPEN,
        JSON_OBJECT_CLOSE,
        JSON_ARRAY_OPEN,
        JSON_ARRAY_CLOSE,
        JSON_KEY,
        JSON_STRING,
        JSON_NUMBER,
        JSON_TRUE,
        JSON_FALSE,
        JSON_NULL,
} JsonEvent;

/* 'text' is that of a key, string or number; it is not NUL-terminated. Returns 0 to go on; a negative errno ends the
 * scan, and *reterr_reason (preset to NULL) may then say why, in a string that is not freed. */
typedef int (*JsonHandler)(void *userdata, JsonEvent event, const char *text, size_t size,
                           const char **reterr_reason);

/* Goes through 'size' bytes of text, without a tree. Stricter than yajl: a lone value with nothing behind it, no
 * deeper than JSON_DEPTH_MAX, in real UTF-8, and no string in which \u0000 or half a surrogate pair makes it
 * something else, so that every string can be a C string and go on D-Bus. 'handler' may be NULL, to check the text
 * only. On failure returns -EINVAL, or what the handler said, and in *reterr_message (may be NULL) one line that
 * says where and why, which the caller frees; -ENOMEM. */
int json_scan(const char *text, size_t size, JsonHandler handler, void *userdata, char **reterr_message);

typedef yajl_val Json; /* a node; NULL is "not there", and every getter takes it */

/* Parses 'size' bytes of text, which must be NUL-terminated behind them, as strictly as json_scan(), and fails as it
 * does. The caller frees the tree with json_free(). */
int json_parse(const char *text, size_t size, Json *ret, char **reterr_message);
Json json_free(Json tree);
DEFINE_CLEANUP(Json, json_free);

/* A member of an object by its name, the last one if it is there twice (as Go has it, and thus runc); NULL when there
 * is none or 'object' is no object. */
Json json_get(Json object, const char *name);
bool json_is_object(Json v);

/* Typed members. They return 1 and set *ret; 0 when the member is absent or null (*ret untouched); -EINVAL when it
 * has another type or does not fit. Strings belong to the tree. */
int json_get_string(Json object, const char *name, const char **ret);
int json_get_uint64(Json object, const char *name, uint64_t *ret);
int json_get_bool(Json object, const char *name, bool *ret);

/* Arrays and objects to walk: the number of elements (0 for anything else), and each by index. */
size_t json_length(Json v);
Json json_element(Json array, size_t i);
const char *json_key(Json object, size_t i);
Json json_value(Json object, size_t i);
const char *json_string(Json v); /* NULL unless a string */

/* Writing. A writer collects errors and reports the first one at json_writer_finish(): the calls in between need no
 * check. Unsigned 64-bit numbers are written as such; strings must be UTF-8 (anything else is written with '?'). */
typedef struct JsonWriter JsonWriter;

JsonWriter *json_writer_new(bool pretty);
JsonWriter *json_writer_free(JsonWriter *w);
DEFINE_CLEANUP(JsonWriter *, json_writer_free);

void json_open_object(JsonWriter *w);
void json_close_object(JsonWriter *w);
void json_open_array(JsonWriter *w);
void json_close_array(JsonWriter *w);
void json_write_key(JsonWriter *w, const char *key);
void json_write_string(JsonWriter *w, const char *s); /* NULL writes null */
void json_write_uint64(JsonWriter *w, uint64_t u);
void json_write_int64(JsonWriter *w, int64_t i);
void json_write_bool(JsonWriter *w, bool b);
void json_write_double(JsonWriter *w, double d);
void json_write_null(JsonWriter *w);
void json_write_tree(JsonWriter *w, Json v); /* a copy of a parsed value */

/* key and value in one call */
void json_put_string(JsonWriter *w, const char *key, const char *s);
void json_put_uint64(JsonWriter *w, const char *key, uint64_t u);
void json_put_bool(JsonWriter *w, const char *key, bool b);

/* The text so far, NUL-terminated, owned by the writer and valid until its next call. 0 or the first error (-ENOMEM,
 * -EINVAL when the calls made no valid JSON, a NaN or too deep a nesting included). */
int json_writer_finish(JsonWriter *w, const char **ret, size_t *ret_size);
/* The same as a copy, which the caller frees. */
int json_writer_copy(JsonWriter *w, char **ret);
