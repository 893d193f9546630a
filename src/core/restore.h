/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Coming back: what a monoshimd that ended, or was killed, has left in its state directory. */

#include "core/registry.h"

/* Scans STATE. Containers whose init still lives are taken back; stopped ones are listed again with their status;
 * dead ones and half-done creates are cleaned up, in the background and with the events that this takes. What is not
 * ours is left alone, and never followed. One bad entry never harms the others. Returns -errno only if STATE itself
 * cannot be read. */
int restore_all(Registry *registry);
