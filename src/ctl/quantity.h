/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Amounts as people write them. */

#include "util/macro.h"

/* "max", "unlimited" or "-1": no limit. */
#define QUANTITY_UNLIMITED INT64_C(-1)

/* Bytes: "4096", "64K", "512M", "1.5G", "2T", also spelled "64KB" and "64KiB", in powers of 1024; or no limit. 0,
 * -EINVAL or -ERANGE. */
int quantity_parse_bytes(const char *s, int64_t *ret);

/* A number that is not negative, or no limit. */
int quantity_parse_count(const char *s, int64_t *ret);

/* A number of CPUs such as "2" or "0.5", as microseconds of each QUANTITY_CPU_PERIOD; or no limit. Less than a
 * hundredth is -ERANGE, since the kernel has no less. */
#define QUANTITY_CPU_PERIOD 100000
int quantity_parse_cpus(const char *s, int64_t *ret_quota);

/* A user and maybe a group, "1000" or "1000:100", by number. -EINVAL otherwise; *ret_gid is untouched without one. */
int quantity_parse_user(const char *s, uint32_t *ret_uid, uint32_t *ret_gid);
