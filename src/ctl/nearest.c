/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What somebody may have meant who mistyped a word: the Damerau-Levenshtein distance (optimal string alignment). */

#include "ctl/nearest.h"

#include <limits.h>

static unsigned min3(unsigned a, unsigned b, unsigned c) {
        unsigned m = a < b ? a : b;

        return m < c ? m : c;
}

unsigned nearest_distance(const char *a, const char *b) {
        unsigned d[NEAREST_WORD_MAX + 1][NEAREST_WORD_MAX + 1];
        size_t n = strlen(a), m = strlen(b);

        if (n > NEAREST_WORD_MAX || m > NEAREST_WORD_MAX)
                return UINT_MAX;

        for (size_t i = 0; i <= n; i++)
                d[i][0] = (unsigned) i;
        for (size_t j = 0; j <= m; j++)
                d[0][j] = (unsigned) j;

        for (size_t i = 1; i <= n; i++)
                for (size_t j = 1; j <= m; j++) {
                        unsigned cost = a[i - 1] != b[j - 1];

                        d[i][j] = min3(d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + cost);
                        if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                            d[i - 2][j - 2] + 1 < d[i][j])
                                d[i][j] = d[i - 2][j - 2] + 1;
                }

        return d[n][m];
}

bool nearest_is_likely(const char *word, const char *candidate, unsigned distance) {
        return distance <= 2 && distance * 2 < strlen(candidate) && distance < strlen(word);
}
