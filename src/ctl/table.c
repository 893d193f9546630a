/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A table for people.
 *
 * Widths are counted in columns of the terminal (wcwidth), under the locale's idea of characters. A cell that the
 * locale cannot decode counts one column for each byte. */

#include "ctl/table.h"

#include "ctl/format.h"

#include <langinfo.h>
#include <wchar.h>

struct Table {
        size_t n_columns;
        size_t n_rows; /* the header included */
        size_t n_allocated;
        bool *right;
        TablePaint paint;
        size_t painted; /* the column */
        char **cells;   /* n_rows * n_columns */
};

Table *table_new(const char *const header[], size_t n_columns) {
        _cleanup_(table_freep) Table *t = NULL;

        t = calloc(1, sizeof(*t));
        if (!t)
                return NULL;

        t->n_columns = n_columns;
        t->right = calloc(n_columns, sizeof(*t->right));
        if (!t->right || table_add_row(t, header) < 0)
                return NULL;
        return TAKE_PTR(t);
}

Table *table_free(Table *t) {
        if (!t)
                return NULL;

        for (size_t i = 0; i < t->n_rows * t->n_columns; i++)
                free(t->cells[i]);
        free(t->cells);
        free(t->right);
        return mfree(t);
}

void table_align_right(Table *t, size_t column) {
        t->right[column] = true;
}

void table_set_paint(Table *t, size_t column, TablePaint paint) {
        t->paint = paint;
        t->painted = column;
}

static int table_reserve_row(Table *t) {
        size_t n = t->n_allocated ? t->n_allocated * 2 : 16;
        char **cells;

        if (t->n_rows < t->n_allocated)
                return 0;

        cells = reallocarray(t->cells, n * t->n_columns, sizeof(*cells));
        if (!cells)
                return -ENOMEM;
        t->cells = cells;
        t->n_allocated = n;
        return 0;
}

int table_add_row(Table *t, const char *const cells[]) {
        char **row;
        int r;

        r = table_reserve_row(t);
        if (r < 0)
                return r;

        row = t->cells + t->n_rows * t->n_columns;
        for (size_t i = 0; i < t->n_columns; i++) {
                row[i] = strdup(cells[i]);
                if (!row[i]) {
                        while (i > 0)
                                free(row[--i]);
                        return -ENOMEM;
                }
                format_make_line(row[i]);
        }
        t->n_rows++;
        return 0;
}

/* The length in bytes and the width in columns of the character at 's'. */
static size_t character_measure(const char *s, mbstate_t *state, size_t *ret_width) {
        wchar_t c;
        size_t n = mbrtowc(&c, s, strlen(s), state);
        int w;

        if (n == 0 || n > strlen(s)) { /* undecodable, or the end came too early */
                memset(state, 0, sizeof(*state));
                *ret_width = 1;
                return 1;
        }
        w = wcwidth(c);
        *ret_width = w < 0 ? 1 : (size_t) w;
        return n;
}

/* How many bytes of 's' fit into 'limit' columns, and how many columns they take. */
static size_t text_measure(const char *s, size_t limit, size_t *ret_width) {
        mbstate_t state = {};
        size_t bytes = 0, width = 0;

        while (s[bytes]) {
                size_t w, n = character_measure(s + bytes, &state, &w);

                if (width + w > limit)
                        break;
                bytes += n;
                width += w;
        }
        *ret_width = width;
        return bytes;
}

static size_t text_width(const char *s) {
        size_t width;

        text_measure(s, SIZE_MAX, &width);
        return width;
}

/* Takes columns away from the widest until all fit. */
static void widths_shrink(size_t *widths, size_t n, size_t limit) {
        size_t total = n > 0 ? n - 1 : 0; /* the blanks between */

        for (size_t i = 0; i < n; i++)
                total += widths[i];

        while (total > limit) {
                size_t widest = 0;

                for (size_t i = 1; i < n; i++)
                        if (widths[i] > widths[widest])
                                widest = i;
                if (widths[widest] <= TABLE_COLUMN_MIN)
                        return;
                widths[widest]--;
                total--;
        }
}

static const char *ellipsis_for_locale(void) {
        return streq(nl_langinfo(CODESET), "UTF-8") ? "\xe2\x80\xa6" : "~";
}

static void pad(FILE *f, size_t n) {
        while (n-- > 0)
                fputc(' ', f);
}

static void cell_print(FILE *f, const char *text, size_t width, bool right, bool last, const char *paint) {
        size_t shown, bytes = strlen(text);
        const char *tail = "";

        shown = text_width(text);
        if (shown > width) {
                bytes = text_measure(text, width - 1, &shown);
                tail = ellipsis_for_locale();
                shown++;
        }

        if (right)
                pad(f, width - shown);
        if (paint)
                fprintf(f, "\033[%sm", paint);
        fprintf(f, "%.*s%s%s", (int) bytes, text, tail, paint ? "\033[0m" : "");
        if (!right && !last)
                pad(f, width - shown);
        fputc(last ? '\n' : ' ', f);
}

int table_print(const Table *t, FILE *f, bool legend, size_t width) {
        _cleanup_(freep) size_t *widths = NULL;
        size_t first = legend ? 0 : 1;

        widths = calloc(t->n_columns, sizeof(*widths));
        if (!widths)
                return -ENOMEM;

        for (size_t row = first; row < t->n_rows; row++)
                for (size_t i = 0; i < t->n_columns; i++) {
                        size_t w = text_width(t->cells[row * t->n_columns + i]);

                        if (w > widths[i])
                                widths[i] = w;
                }
        if (width > 0)
                widths_shrink(widths, t->n_columns, width);

        for (size_t row = first; row < t->n_rows; row++)
                for (size_t i = 0; i < t->n_columns; i++) {
                        const char *cell = t->cells[row * t->n_columns + i];

                        cell_print(f, cell, widths[i], t->right[i], i + 1 == t->n_columns,
                                   row > 0 && t->paint && i == t->painted ? t->paint(cell) : NULL);
                }
        return 0;
}
