/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Who asks for the password that polkit wants. */

#include "util/macro.h"

/* Can somebody be asked? Only if there is a terminal to ask on. */
bool agent_may_ask(void);

/* Starts pkttyagent, if it is installed, and waits until polkit knows it; root needs none. It is ended when we exit. To
 * be called before the terminal is made raw. A failure is no reason to give up: polkit may know another agent. */
void agent_start(void);
