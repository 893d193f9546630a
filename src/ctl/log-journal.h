/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a container has written to the journal. */

#include "ctl/container-ref.h"
#include "ctl/log-print.h"

#include <systemd/sd-journal.h>

typedef struct LogJournal {
        sd_journal *journal;
        char *exec_id;          /* NULL: the lines of the container's own process */
        bool any_identifier;    /* then those of monoshimd about the container have to be told apart */
        uint64_t since_usec;
} LogJournal;

/* 'directory' is NULL for the journal of this machine; 'ref' a container or a process in one; 'identifiers' those of its
 * stdout and stderr, NULL where these do not go there, both NULL if nobody knows. Entries before 'since_usec' are of
 * another container of that name. 0 or a negative errno. */
int log_journal_open(LogJournal *l, const char *directory, const ContainerRef *ref, const char *const identifiers[2],
                     uint64_t since_usec);
void log_journal_done(LogJournal *l);

/* Stands before the last 'lines' entries. Negative errno. */
int log_journal_seek(LogJournal *l, uint64_t lines);

/* Prints the entries that there are. Negative errno. */
int log_journal_read(LogJournal *l, LogPrinter *p);
