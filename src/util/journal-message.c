/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One message in the journal's native protocol, and where it goes. */

#include "util/journal-message.h"
#include "util/text.h"

#include <assert.h>

static const char *address = JOURNAL_SOCKET;

void journal_set_address(const char *path) {
        address = path ?: JOURNAL_SOCKET;
}

int journal_get_address(struct sockaddr_un *ret) {
        struct sockaddr_un sa = { .sun_family = AF_UNIX };

        if (strlen(address) >= sizeof(sa.sun_path))
                return -ENAMETOOLONG;
        strcpy(sa.sun_path, address);
        *ret = sa;
        return 0;
}

bool journal_value_is_text(const char *value, size_t size) {
        for (size_t i = 0; i < size; i++)
                if (((unsigned char) value[i] < 0x20 && value[i] != '\t') || value[i] == 0x7f)
                        return false;
        return utf8_is_valid(value, size);
}

void journal_message_add_ready(JournalMessage *m, const char *fields, size_t size) {
        assert(m->n_parts < ELEMENTSOF(m->parts));
        m->parts[m->n_parts++] = (struct iovec) { .iov_base = (char *) fields, .iov_len = size };
}

void journal_message_add(JournalMessage *m, const char *name, const char *value, size_t size) {
        size_t n = strlen(name);
        char *head;

        assert(m->n_heads < ELEMENTSOF(m->heads));
        head = m->heads[m->n_heads++];
        assert(n + 1 + sizeof(uint64_t) <= sizeof(m->heads[0]));

        memcpy(head, name, n);
        if (journal_value_is_text(value, size))
                head[n++] = '=';
        else {
                head[n++] = '\n';
                for (size_t i = 0; i < sizeof(uint64_t); i++)
                        head[n++] = (char) ((uint64_t) size >> (8 * i));
        }

        journal_message_add_ready(m, head, n);
        journal_message_add_ready(m, value, size);
        journal_message_add_ready(m, "\n", 1);
}

void journal_message_add_string(JournalMessage *m, const char *name, const char *value) {
        journal_message_add(m, name, value, strlen(value));
}

int journal_message_send(const JournalMessage *m) {
        _cleanup_(safe_closep) int fd = -EBADF;
        struct sockaddr_un sa;
        struct msghdr header = {
                .msg_name = &sa,
                .msg_namelen = sizeof(sa),
                .msg_iov = (struct iovec *) m->parts,
                .msg_iovlen = m->n_parts,
        };
        ssize_t n;
        int r;

        r = journal_get_address(&sa);
        if (r < 0)
                return r;

        fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return -errno;
        do
                n = sendmsg(fd, &header, MSG_NOSIGNAL | MSG_DONTWAIT);
        while (n < 0 && errno == EINTR);
        return n < 0 ? -errno : 0;
}
