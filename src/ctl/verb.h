/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The verbs. Each takes its own arguments (argv[0] is its name) and returns the exit status of the command, or a
 * VERB_ value. */

#include "ctl/settings.h"

/* The exit status when it is monoshim or monoshimd that failed. Where the status is the container's own, it has to
 * be one that containers hardly use. */
#define EXIT_STATUS_FAILED 1
#define EXIT_STATUS_USAGE 2
#define EXIT_STATUS_CONTAINER_FAILED 125

int verb_attach(int argc, char *argv[], Settings *s);
int verb_checkpoint(int argc, char *argv[], Settings *s);
int verb_create(int argc, char *argv[], Settings *s);
int verb_delete(int argc, char *argv[], Settings *s);
int verb_events(int argc, char *argv[], Settings *s);
int verb_exec(int argc, char *argv[], Settings *s);
int verb_inspect(int argc, char *argv[], Settings *s);
int verb_kill(int argc, char *argv[], Settings *s);
int verb_list(int argc, char *argv[], Settings *s);
int verb_logs(int argc, char *argv[], Settings *s);
int verb_pause(int argc, char *argv[], Settings *s);
int verb_ps(int argc, char *argv[], Settings *s);
int verb_reload(int argc, char *argv[], Settings *s);
int verb_restore(int argc, char *argv[], Settings *s);
int verb_resume(int argc, char *argv[], Settings *s);
int verb_run(int argc, char *argv[], Settings *s);
int verb_start(int argc, char *argv[], Settings *s);
int verb_stats(int argc, char *argv[], Settings *s);
int verb_stop(int argc, char *argv[], Settings *s);
int verb_update(int argc, char *argv[], Settings *s);
int verb_wait(int argc, char *argv[], Settings *s);
