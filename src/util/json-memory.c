/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Memory for yajl. */

#include "util/json-memory.h"

/* A piece of memory that yajl has asked for. */
typedef struct JsonBlock {
        struct JsonBlock *prev, *next;
        max_align_t memory[];
} Block;

static Block *block_of(void *p) {
        return (Block *) ((char *) p - offsetof(Block, memory));
}

static void memory_unlink(JsonMemory *s, const Block *b) {
        if (b->prev)
                b->prev->next = b->next;
        else
                s->blocks = b->next;
        if (b->next)
                b->next->prev = b->prev;
}

static void *memory_link(JsonMemory *s, Block *b) {
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
        JsonMemory *s = ctx;

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

yajl_alloc_funcs json_memory_functions(JsonMemory *m) {
        return (yajl_alloc_funcs) {
                .malloc = memory_malloc, .realloc = memory_realloc, .free = memory_free, .ctx = m
        };
}

void json_memory_done(JsonMemory *s) {
        while (s->blocks)
                memory_free(s, s->blocks->memory);
}
