/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* JSON in files that the user names. */

#include "util/json.h"

/* As much as monoshimd takes. */
#define JSON_FILE_MAX (16 * 1024 * 1024)

/* Reads and parses the file, or stdin for "-". The caller frees the tree, and the text if it is asked for. Negative
 * errno, reported. */
int json_file_read(const char *path, Json *ret, char **ret_text);
