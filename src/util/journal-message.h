/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One message in the journal's native protocol, and where it goes.
 *
 * sd_journal_send() is not used, since it waits while journald's socket is full: a journald that hangs would hang us,
 * and with us every container's client. */

#include "util/macro.h"

#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>

#define JOURNAL_SOCKET "/run/systemd/journal/socket"

#define JOURNAL_FIELDS_MAX 8

/* Begins as {}, and has at most JOURNAL_FIELDS_MAX fields, ready ones included. Nothing is copied: what was added has
 * to stay until the message has been sent. */
typedef struct JournalMessage {
        struct iovec parts[3 * JOURNAL_FIELDS_MAX]; /* as sendmsg() wants them */
        size_t n_parts;
        size_t n_heads;
        char heads[JOURNAL_FIELDS_MAX][40]; /* what stands in front of each value */
} JournalMessage;

/* Adds one field. A value that is no plain text, be it that there is a newline in it, goes by its length, and so
 * cannot pass for more fields. The name is at most 30 characters long. */
void journal_message_add(JournalMessage *m, const char *name, const char *value, size_t size);
void journal_message_add_string(JournalMessage *m, const char *name, const char *value);

/* Adds fields that are in the protocol's form already, each with its newline. */
void journal_message_add_ready(JournalMessage *m, const char *fields, size_t size);

/* Sends it through a socket of its own and never waits: 0; -EAGAIN if the journal's queue is full, -ENOENT or
 * -ECONNREFUSED without a journal, another -errno. */
int journal_message_send(const JournalMessage *m);

/* Is it valid UTF-8 without control characters but tabs? */
bool journal_value_is_text(const char *value, size_t size);

/* Where messages go, for whoever connects to it: 0 or -ENAMETOOLONG. */
int journal_get_address(struct sockaddr_un *ret);

/* For tests: somewhere else than JOURNAL_SOCKET from now on; NULL for that. The string is not copied. */
void journal_set_address(const char *path);
