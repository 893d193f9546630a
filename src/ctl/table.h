/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A table for people: columns aligned by what their text is wide on a terminal, and cut when the terminal is
 * narrower. */

#include "util/macro.h"

#include <stdio.h>

typedef struct Table Table;

/* 'header': the names of the columns. They are borrowed. */
Table *table_new(const char *const header[], size_t n_columns);
Table *table_free(Table *t);
DEFINE_CLEANUP(Table *, table_free);

/* Numbers look better to the right. */
void table_align_right(Table *t, size_t column);

/* The parameters of the escape sequence that begins with ESC [ and ends with m, for this cell, or NULL. The header is
 * never painted. */
typedef const char *(*TablePaint)(const char *cell);
void table_set_paint(Table *t, size_t column, TablePaint paint);

/* Takes copies of the cells; control characters in them are shown as blanks. 0 or -ENOMEM, with nothing added. */
int table_add_row(Table *t, const char *const cells[]);

/* Prints without trailing blanks. Where the table is wider than 'width' (0: no limit) the widest columns are cut
 * first, each cut cell ending in an ellipsis; no column becomes narrower than TABLE_COLUMN_MIN, even if lines then
 * are too long. 0, or -ENOMEM. */
#define TABLE_COLUMN_MIN 4
int table_print(const Table *t, FILE *f, bool legend, size_t width);
