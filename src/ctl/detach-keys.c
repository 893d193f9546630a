/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The keys that take us off a process's terminal. */

#include "ctl/detach-keys.h"

#include <ctype.h>

/* One key of 'n' letters. */
static int key_parse(const char *text, size_t n, uint8_t *ret) {
        const char *control = startswith(text, "ctrl-");
        unsigned char c;

        if (n == 1) {
                *ret = (uint8_t) text[0];
                return 0;
        }
        if (!control || n != strlen("ctrl-") + 1)
                return -EINVAL;

        /* The control characters are @ to _ without their seventh bit. */
        c = (unsigned char) toupper((unsigned char) control[0]);
        if (c < '@' || c > '_')
                return -EINVAL;
        *ret = c & 0x1f;
        return 0;
}

int detach_keys_parse(DetachKeys *k, const char *text) {
        DetachKeys parsed = {};
        int r;

        while (*text) {
                size_t n = strcspn(text, ",");

                if (parsed.n_keys == DETACH_KEYS_MAX)
                        return -EINVAL;
                r = key_parse(text, n, &parsed.keys[parsed.n_keys]);
                if (r < 0)
                        return r;
                parsed.n_keys++;

                text += n;
                if (*text == ',' && *++text == '\0')
                        return -EINVAL;
        }

        *k = parsed;
        return 0;
}

/* After a key that does not go on with the sequence: as much of what is kept back as still could begin it, followed
 * by 'key', stays; the rest is passed on. */
static size_t keys_give_back(DetachKeys *k, uint8_t key, uint8_t *ret) {
        size_t n_kept = k->n_matched;

        for (size_t first = 1; first <= n_kept; first++) {
                size_t n = n_kept - first;

                if (memcmp(k->keys, k->keys + first, n) == 0 && k->keys[n] == key) {
                        memcpy(ret, k->keys, first);
                        k->n_matched = n + 1;
                        return first;
                }
        }

        memcpy(ret, k->keys, n_kept);
        ret[n_kept] = key;
        k->n_matched = 0;
        return n_kept + 1;
}

bool detach_keys_filter(DetachKeys *k, const uint8_t *typed, size_t n_typed, uint8_t *ret, size_t *ret_n) {
        size_t n = 0;

        for (size_t i = 0; i < n_typed; i++) {
                if (k->n_matched < k->n_keys && typed[i] == k->keys[k->n_matched])
                        k->n_matched++;
                else
                        n += keys_give_back(k, typed[i], ret + n);

                if (k->n_keys > 0 && k->n_matched == k->n_keys) {
                        k->n_matched = 0;
                        *ret_n = n;
                        return true;
                }
        }

        *ret_n = n;
        return false;
}
