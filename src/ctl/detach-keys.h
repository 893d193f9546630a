/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The keys that take us off a process's terminal and leave it running. */

#include "util/macro.h"

#define DETACH_KEYS_DEFAULT "ctrl-p,ctrl-q"
#define DETACH_KEYS_MAX 16

typedef struct DetachKeys {
        uint8_t keys[DETACH_KEYS_MAX];
        size_t n_keys;    /* 0: there are none */
        size_t n_matched; /* typed so far, and kept back */
} DetachKeys;

/* Keys separated by commas, each a character or "ctrl-" and one of a-z @ [ \ ] ^ _; an empty text for none. 0, or
 * -EINVAL. */
int detach_keys_parse(DetachKeys *k, const char *text);

/* Takes what has been typed, and gives what is to be passed on: up to DETACH_KEYS_MAX bytes more, which had been kept
 * back. Returns whether all the keys have been typed, one after the other; what was typed behind them is dropped. */
bool detach_keys_filter(DetachKeys *k, const uint8_t *typed, size_t n_typed, uint8_t *ret, size_t *ret_n);
