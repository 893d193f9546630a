/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Amounts as people write them. */

#include "ctl/quantity.h"

#include "util/text.h"

#include <ctype.h>
#include <strings.h>

/* As exact as it gets; further digits are not looked at. */
#define FRACTION_UNIT 1000000

static bool is_unlimited(const char *s) {
        return streq(s, "max") || streq(s, "unlimited") || streq(s, "-1");
}

/* "12.5" at the beginning of 's', in millionths. Returns the rest, or NULL. */
static const char *decimal_parse(const char *s, uint64_t *ret_whole, uint64_t *ret_millionths) {
        uint64_t whole = 0, millionths = 0, unit = FRACTION_UNIT;

        if (!isdigit((unsigned char) *s))
                return NULL;
        for (; isdigit((unsigned char) *s); s++)
                if (__builtin_mul_overflow(whole, UINT64_C(10), &whole) ||
                    __builtin_add_overflow(whole, (uint64_t) (*s - '0'), &whole))
                        return NULL;

        if (*s == '.') {
                if (!isdigit((unsigned char) *++s))
                        return NULL;
                for (; isdigit((unsigned char) *s); s++) {
                        unit /= 10;
                        millionths += (uint64_t) (*s - '0') * unit;
                }
        }

        *ret_whole = whole;
        *ret_millionths = millionths;
        return s;
}

/* 1, 1024, ... or 0 for what is no unit. */
static uint64_t unit_parse(const char *s) {
        static const char units[] = "KMGTP";
        const char *u;

        if (!*s || strcasecmp(s, "b") == 0)
                return 1;
        u = strchr(units, toupper((unsigned char) *s));
        if (!u || (s[1] && strcasecmp(s + 1, "b") != 0 && strcasecmp(s + 1, "ib") != 0))
                return 0;
        return UINT64_C(1024) << (10 * (u - units));
}

int quantity_parse_bytes(const char *s, int64_t *ret) {
        uint64_t whole, millionths, unit, bytes;
        const char *rest;

        if (is_unlimited(s)) {
                *ret = QUANTITY_UNLIMITED;
                return 0;
        }

        rest = decimal_parse(s, &whole, &millionths);
        unit = rest ? unit_parse(rest) : 0;
        if (unit == 0 || (unit == 1 && strchr(s, '.')))
                return -EINVAL;

        /* A millionth of the largest unit still is more than a thousand bytes. */
        if (__builtin_mul_overflow(whole, unit, &bytes) ||
            __builtin_add_overflow(bytes, (uint64_t) ((unsigned __int128) unit * millionths / FRACTION_UNIT),
                                   &bytes) ||
            bytes > INT64_MAX)
                return -ERANGE;
        *ret = (int64_t) bytes;
        return 0;
}

int quantity_parse_count(const char *s, int64_t *ret) {
        uint64_t n;
        int r;

        if (is_unlimited(s)) {
                *ret = QUANTITY_UNLIMITED;
                return 0;
        }

        r = parse_uint64(s, &n);
        if (r < 0)
                return r;
        if (n > INT64_MAX)
                return -ERANGE;
        *ret = (int64_t) n;
        return 0;
}

int quantity_parse_cpus(const char *s, int64_t *ret_quota) {
        uint64_t whole, millionths, quota;
        const char *rest;

        if (is_unlimited(s)) {
                *ret_quota = QUANTITY_UNLIMITED;
                return 0;
        }

        rest = decimal_parse(s, &whole, &millionths);
        if (!rest || *rest)
                return -EINVAL;
        if (whole > UINT32_MAX)
                return -ERANGE;
        quota = whole * QUANTITY_CPU_PERIOD + millionths / (FRACTION_UNIT / QUANTITY_CPU_PERIOD);
        if (quota < QUANTITY_CPU_PERIOD / 100)
                return -ERANGE;
        *ret_quota = (int64_t) quota;
        return 0;
}

int quantity_parse_user(const char *s, uint32_t *ret_uid, uint32_t *ret_gid) {
        const char *colon = strchr(s, ':');
        _cleanup_(freep) char *user = NULL;
        uint64_t uid, gid = 0;

        user = colon ? strndup(s, (size_t) (colon - s)) : strdup(s);
        if (!user)
                return -ENOMEM;

        /* The last number of all means "none" to the kernel. */
        if (parse_uint64(user, &uid) < 0 || uid >= UINT32_MAX)
                return -EINVAL;
        if (colon && (parse_uint64(colon + 1, &gid) < 0 || gid >= UINT32_MAX))
                return -EINVAL;

        *ret_uid = (uint32_t) uid;
        if (colon)
                *ret_gid = (uint32_t) gid;
        return 0;
}
