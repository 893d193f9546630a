/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Translated words. Only the client speaks the user's language; what monoshimd says stays English. */

#ifdef ENABLE_NLS
#include <libintl.h>
#define _(text) gettext(text)
#else
#define _(text) (text)
#endif

/* Marks a text for the translators where it stands in a table; it is looked up with _() when it is shown. */
#define N_(text) text
