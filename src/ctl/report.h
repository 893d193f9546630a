/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What goes wrong, told in one line on stderr. */

#include "util/macro.h"

#include <stdarg.h>
#include <systemd/sd-bus.h>

/* "monoshim: TEXT". Control characters are shown as blanks, so that foreign text cannot fake a line or move the
 * cursor. */
void report(const char *format, ...) _printf_(1, 2);
void reportv(const char *format, va_list ap) _printf_(1, 0);

/* "monoshim: TEXT: why". Returns -abs(error). */
int report_errno(int error, const char *format, ...) _printf_(2, 3);

/* The same for a call that failed, with the words of the D-Bus error if there are any, and what to do about the
 * usual causes. Returns 'r', or -EIO if it is not negative. */
int report_call(int r, const sd_bus_error *error, const char *format, ...) _printf_(3, 4);

/* The same with 'hint', a sentence, where there is one. */
int report_callv(int r, const sd_bus_error *error, const char *hint, const char *format, va_list ap) _printf_(4, 0);

/* What to do about this error: a sentence, or NULL. 'error' may be unset; then 'r' is looked at. */
const char *report_hint(int r, const sd_bus_error *error);
