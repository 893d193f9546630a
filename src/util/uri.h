/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The URIs that name a stream: a scheme, an absolute path, and perhaps a query. */

#include "util/macro.h"

/* The length of SCHEME in "SCHEME:...", as RFC 3986 spells one, or 0. */
size_t uri_scheme_length(const char *uri);

/* Takes "SCHEME:///abs/path?query" apart; without the empty host, as "SCHEME:/abs/path", it means the same. The path is
 * decoded, and the caller's to free. *ret_query is what stands behind the '?', as it is, within 'uri'; NULL when there
 * is none. -EINVAL and a sentence in *reterr_reason (the caller frees it) for a path that is not absolute, for a
 * fragment, for control characters and for what uri_unescape() refuses. */
int uri_split(const char *uri, char **ret_path, const char **ret_query, char **reterr_reason);

/* Replaces each %XX by its byte, and with 'plus_is_space', as in a query, each '+' by a space. A new string, which the
 * caller frees. -EINVAL for a '%' without two hexadecimal digits, and for %00. */
int uri_unescape(const char *s, size_t size, bool plus_is_space, char **ret);
