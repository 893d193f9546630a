/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What somebody may have meant who mistyped a word. */

#include "util/macro.h"

/* The number of letters to insert, drop, replace or swap with their neighbour that lead from 'a' to 'b'. Words of
 * more than NEAREST_WORD_MAX bytes are infinitely far from everything. */
#define NEAREST_WORD_MAX 32
unsigned nearest_distance(const char *a, const char *b);

/* Whether 'word' is near enough to 'candidate' to be taken for a slip: at most two steps, and fewer than half of
 * its letters. */
bool nearest_is_likely(const char *word, const char *candidate, unsigned distance);
