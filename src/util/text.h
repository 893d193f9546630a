/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Text that came from elsewhere: identifiers to be checked, output to be shown. */

#include "util/macro.h"

/* Namespaces, container ids and exec ids: ^[A-Za-z0-9]+([._-][A-Za-z0-9]+)*$, 1 to 76 bytes. */
#define IDENTIFIER_MAX 76
#define IDENTIFIER_REGEX "^[A-Za-z0-9]+([._-][A-Za-z0-9]+)*$"

bool identifier_is_valid(const char *s);

/* Why 's' is no identifier, in containerd's words (containerd pkg/identifiers/validate.go):
 * "identifier must not be empty: invalid argument", "identifier \"...\" greater than maximum length (76 characters):
 * invalid argument", "identifier \"...\" must match REGEX: invalid argument". A quoted identifier is cut to 128
 * bytes, at a character's edge. NULL when it is valid; -> *ret_reason is then NULL. Returns 0 if valid, -EINVAL if
 * not (the caller frees *ret_reason), -ENOMEM. */
int identifier_check(const char *s, char **ret_reason);

/* The length of the UTF-8 character that 's' starts with, looking at no more than 'size' bytes: 1 to 4, or 0 when
 * there is none (nothing left, NUL, an overlong form, a surrogate, a character that is cut off, ...). */
size_t utf8_character(const char *s, size_t size);

/* Is this character of 'n' bytes a control character, U+0080 to U+009F included? */
bool utf8_is_control(const char *s, size_t n);

/* How many bytes of 's' are such characters, up to the first that is none. */
size_t utf8_valid_length(const char *s, size_t size);

/* Valid UTF-8 without NUL; 'size' bytes are looked at. */
bool utf8_is_valid(const char *s, size_t size);

/* Makes one line or paragraph out of foreign bytes, fit for a D-Bus error or a log: white space trimmed at both ends,
 * invalid UTF-8 and control characters other than \n and \t replaced by '?', cut at 'max' bytes at a character's
 * edge. Returns a new string that the caller frees, or NULL without memory. */
char *text_sanitize(const char *s, size_t size, size_t max);

/* printf into a new string that the caller frees; NULL without memory. */
char *strdup_printf(const char *format, ...) _printf_(1, 2);

/* A decimal number, the whole string, no sign, no white space. -EINVAL or -ERANGE otherwise. */
int parse_uint64(const char *s, uint64_t *ret);

/* A systemd time span: "90", "2min 30s", "1h", "500ms", "1.5s", "infinity" (USEC_INFINITY). A bare number is seconds.
 * The units are those of systemd.time(7) from us to weeks, in all their spellings. -EINVAL, or -ERANGE past what
 * fits. */
int parse_timespan(const char *s, uint64_t *ret_usec);

/* A number of bytes: "4096", "64K", "16M", "2G", in powers of 1024. -EINVAL, or -ERANGE past what fits. */
int parse_size(const char *s, uint64_t *ret);

/* The same backwards, as short as it can be said exactly; returns 'buffer'. */
#define SIZE_TEXT_MAX 24
char *format_size(uint64_t size, char buffer[static SIZE_TEXT_MAX]);
