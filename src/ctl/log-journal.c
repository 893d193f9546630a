/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What a container has written to the journal. */

#include "ctl/log-journal.h"

#include "util/text.h"

#include <fcntl.h>
#include <stdio.h>

static int match_add(sd_journal *j, const char *name, const char *value) {
        _cleanup_(freep) char *match = strdup_printf("%s=%s", name, value);

        return match ? sd_journal_add_match(j, match, 0) : -ENOMEM;
}

static int matches_add(sd_journal *j, const ContainerRef *ref, const char *id, const char *const identifiers[2]) {
        int r;

        /* Nobody but root may speak for a container. */
        r = match_add(j, "_UID", "0");
        if (r >= 0)
                r = match_add(j, "CONTAINER_NAMESPACE", ref->ns);
        if (r >= 0)
                r = match_add(j, "CONTAINER_ID", id);
        for (int i = 0; i < 2 && r >= 0; i++)
                if (identifiers[i])
                        r = match_add(j, "SYSLOG_IDENTIFIER", *identifiers[i] ? identifiers[i] : id);
        return r;
}

int log_journal_open(LogJournal *l, const char *directory, const ContainerRef *ref, const char *const identifiers[2],
                     uint64_t since_usec) {
        const char *slash = strchr(ref->id, '/');
        _cleanup_(freep) char *id = slash ? strndup(ref->id, (size_t) (slash - ref->id)) : strdup(ref->id);
        LogJournal made = { .since_usec = since_usec, .any_identifier = !identifiers[0] && !identifiers[1] };
        int r = -ENOMEM;

        if (slash)
                made.exec_id = strdup(slash + 1);
        if (id && (!slash || made.exec_id))
                r = directory ? sd_journal_open_directory(&made.journal, directory, 0)
                              : sd_journal_open(&made.journal, SD_JOURNAL_LOCAL_ONLY);
        if (r >= 0)
                r = sd_journal_set_data_threshold(made.journal, 0);
        if (r >= 0)
                r = matches_add(made.journal, ref, id, identifiers);
        if (r < 0) {
                log_journal_done(&made);
                return r;
        }
        *l = made;
        return 0;
}

void log_journal_done(LogJournal *l) {
        if (l->journal)
                sd_journal_close(l->journal);
        l->journal = NULL;
        l->exec_id = mfree(l->exec_id);
}

static bool field_get(sd_journal *j, const char *name, const char **ret, size_t *ret_size) {
        size_t n = strlen(name) + 1;
        const void *data;

        if (sd_journal_get_data(j, name, &data, ret_size) < 0 || *ret_size < n)
                return false;
        *ret = (const char *) data + n;
        *ret_size -= n;
        return true;
}

static bool field_is(sd_journal *j, const char *name, const char *value) {
        const char *text;
        size_t size;

        return field_get(j, name, &text, &size) && size == strlen(value) && memcmp(text, value, size) == 0;
}

/* Whether the entry at hand is a line of the process. */
static bool entry_is_wanted(const LogJournal *l) {
        const char *text;
        size_t size;

        if (l->any_identifier && field_is(l->journal, "SYSLOG_IDENTIFIER", "monoshimd"))
                return false;
        if (l->exec_id)
                return field_is(l->journal, "CONTAINER_EXEC_ID", l->exec_id);
        return !field_get(l->journal, "CONTAINER_EXEC_ID", &text, &size);
}

int log_journal_seek(LogJournal *l, uint64_t lines) {
        uint64_t usec, n = 0;
        int r;

        if (lines == UINT64_MAX)
                return sd_journal_seek_realtime_usec(l->journal, l->since_usec);

        r = sd_journal_seek_tail(l->journal);
        while (r >= 0 && (r = sd_journal_previous(l->journal)) > 0) {
                r = sd_journal_get_realtime_usec(l->journal, &usec);
                if (r >= 0 && usec < l->since_usec)
                        return 0; /* the next is the first */
                if (r >= 0 && entry_is_wanted(l) && ++n > lines)
                        return 0; /* likewise */
        }
        return r < 0 ? r : sd_journal_seek_realtime_usec(l->journal, l->since_usec);
}

int log_journal_read(LogJournal *l, LogPrinter *p) {
        const char *text;
        uint64_t usec;
        size_t size;
        int r;

        while ((r = sd_journal_next(l->journal)) > 0) {
                if (!entry_is_wanted(l) || sd_journal_get_realtime_usec(l->journal, &usec) < 0 ||
                    usec < l->since_usec || !field_get(l->journal, "MESSAGE", &text, &size))
                        continue;
                log_print_line(p, field_is(l->journal, "PRIORITY", "3") ? STDERR_FILENO : STDOUT_FILENO, usec, text,
                               size);
        }
        return r;
}
