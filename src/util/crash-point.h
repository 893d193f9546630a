/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Places where a test may have the daemon die, as by SIGKILL.
 *
 * Whatever is done in several steps can be interrupted between any two of them, and what the next start finds must make
 * sense. So each step of that kind passes a mark, and a test that is told of all marks can walk through them: die at
 * the first, die at the second, and so on. They are in every build, since what is installed is what is to be tested;
 * unless the environment asks for them a mark costs one branch.
 *
 *   MONOSHIMD_CRASH_POINT=N    the daemon dies at the Nth mark that it passes; 0: at none
 *   MONOSHIMD_CRASH_LOG=FILE   the name of each mark that is passed is appended to this file, one a line */

#include <stdbool.h>

#define CRASH_POINT_VARIABLE "MONOSHIMD_CRASH_POINT"
#define CRASH_POINT_LOG_VARIABLE "MONOSHIMD_CRASH_LOG"

extern bool crash_points_armed;

/* Reads the environment; once, at the start. What is asked for does not hold for child processes. */
void crash_points_open(void);

/* Before a newer version of us is executed in place: it goes on counting where we are. */
void crash_points_hand_over(void);

/* Passes the mark; may not return. Behind crash_point(). */
void crash_point_pass(const char *name);

static inline void crash_point(const char *name) {
        if (__builtin_expect(crash_points_armed, false))
                crash_point_pass(name);
}
