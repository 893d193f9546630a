/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The one place where failures get their D-Bus names. */

#include "core/failure.h"

#include <systemd/sd-bus.h>

#define MONOSHIM_ERROR(name) "org.monoshim1.Error." name

const char *failure_kind_to_error_name(FailureKind kind);

/* Sets *ret_error from a failure and returns a negative errno, as sd-bus wants it of a method handler. */
int bus_error_from_failure(sd_bus_error *ret_error, const Failure *failure);
