/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Memory for yajl, which uses what malloc() has returned without a look. So it is never shown that there is none: we
 * leave it by a long jump, and what it has asked for before is freed behind its back. */

#include "util/macro.h"

#include <setjmp.h>
#include <yajl/yajl_common.h>

/* Begins as {}. Whoever has called setjmp() on 'exhausted' sets 'guarded' for as long as it can be jumped to. */
typedef struct JsonMemory {
        struct JsonBlock *blocks;
        jmp_buf exhausted;
        bool guarded; /* 'exhausted' can be jumped to */
} JsonMemory;

/* What a parser or generator is to be made with; 'm' stays where it is while there is one. */
yajl_alloc_funcs json_memory_functions(JsonMemory *m);

/* Frees everything that was asked for, the parser or generator as well. */
void json_memory_done(JsonMemory *m);
