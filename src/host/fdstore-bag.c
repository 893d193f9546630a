/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* One bag of the store of descriptors. */

#include "host/fdstore-bag.h"

#include "host/fdstore.h"
#include "util/crash-point.h"
#include "util/notify.h"
#include "util/rights.h"
#include "util/text.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/socket.h>

#define SERIAL_SIZE (3 * sizeof(uint64_t))
#define TEXT_MAX (BAG_FDS_MAX * (FDSTORE_KEY_MAX + 64 + SERIAL_SIZE))
#define MESSAGES_MAX 16

/* ---- telling the service manager ---- */

static const char *const end_names[BAG_N_ENDS] = { [BAG_IN] = "in", [BAG_OUT] = "out" };

void bag_name(unsigned number, size_t end, char name[static BAG_NAME_SIZE]) {
        (void) snprintf(name, BAG_NAME_SIZE, "bag-%u-%s", number, end_names[end]);
}

int bag_name_parse(const char *name, unsigned *ret_number, size_t *ret_end) {
        const char *rest = startswith(name, "bag-");
        char *end;
        unsigned long n;

        if (!rest || rest[0] < '1' || rest[0] > '9')
                return -EINVAL;
        errno = 0;
        n = strtoul(rest, &end, 10);
        if (errno != 0 || n > UINT32_MAX || *end != '-')
                return -EINVAL;

        for (size_t i = 0; i < BAG_N_ENDS; i++)
                if (streq(end + 1, end_names[i])) {
                        *ret_number = (unsigned) n;
                        *ret_end = i;
                        return 0;
                }
        return -EINVAL;
}

void bag_untell(const Bag *bag) {
        char name[BAG_NAME_SIZE];

        for (size_t i = 0; i < BAG_N_ENDS; i++) {
                bag_name(bag->number, i, name);
                (void) notify("FDSTOREREMOVE=1\nFDNAME=%s", name);
        }
}

int bag_tell(const Bag *bag) {
        char name[BAG_NAME_SIZE], text[96];
        int r;

        /* There is another of this name if it was lost on the way from a former version of us. */
        bag_untell(bag);
        for (size_t i = 0; i < BAG_N_ENDS; i++) {
                bag_name(bag->number, i, name);
                /* Without FDPOLL=0 it would drop a socket as soon as the other end is closed. */
                (void) snprintf(text, sizeof(text), "FDSTORE=1\nFDNAME=%s\nFDPOLL=0", name);
                r = notify_send(text, &bag->ends[i], 1);
                if (r < 0)
                        return r;
                crash_point("fdstore-end-told");
        }
        return 0;
}

/* ---- the socket pair ---- */

int bag_open(Bag *ret, unsigned number) {
        const int size = 2 * TEXT_MAX;
        Bag bag = { .number = number };

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, bag.ends) < 0)
                return -errno;
        /* It is large enough by default for all but the longest names. */
        (void) setsockopt(bag.ends[BAG_IN], SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));

        *ret = bag;
        return 0;
}

void bag_close(Bag *bag) {
        for (size_t i = 0; i < BAG_N_ENDS; i++)
                bag->ends[i] = safe_close(bag->ends[i]);
}

bool bag_is_whole(const Bag *bag) {
        return bag->ends[BAG_IN] >= 0 && bag->ends[BAG_OUT] >= 0;
}

/* ---- writing ---- */

/* "KEY\tROLE\tSERIAL\n" for each descriptor, in the order of the descriptors. */
static int items_describe(const BagItem *items, size_t n, char **ret, size_t *ret_size) {
        size_t size = 0;
        char *text, *at;

        for (size_t i = 0; i < n; i++)
                size += strlen(items[i].key) + strlen(items[i].role) + SERIAL_SIZE + 3;

        at = text = malloc(size + 1);
        if (!text)
                return -ENOMEM;

        for (size_t i = 0; i < n; i++) {
                at = stpcpy(stpcpy(stpcpy(stpcpy(at, items[i].key), "\t"), items[i].role), "\t");
                at += snprintf(at, SERIAL_SIZE + 2, "%" PRIu64 "\n", items[i].serial);
        }

        *ret_size = (size_t) (at - text);
        *ret = text;
        return 0;
}

static int bag_send(const Bag *bag, const char *text, size_t size, const int *fds, size_t n) {
        struct iovec iov = { .iov_base = (char *) text, .iov_len = size };
        struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
        RightsBuffer control;

        rights_attach(&m, &control, fds, n);
        return sendmsg(bag->ends[BAG_IN], &m, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/* Throws the oldest message away; the descriptors in it, for which there is no room, are closed by the kernel. */
static void bag_drop_message(const Bag *bag) {
        char byte;

        (void) recv(bag->ends[BAG_OUT], &byte, sizeof(byte), MSG_DONTWAIT | MSG_TRUNC);
}

int bag_write(Bag *bag, const BagItem *items, size_t n) {
        _cleanup_(freep) char *text = NULL;
        int fds[BAG_FDS_MAX], r;
        size_t size;

        assert(n <= BAG_FDS_MAX);

        if (n > 0) {
                r = items_describe(items, n, &text, &size);
                if (r < 0)
                        return r;
                for (size_t i = 0; i < n; i++)
                        fds[i] = items[i].fd;
                crash_point("fdstore-before-send");
                r = bag_send(bag, text, size, fds, n);
                if (r < 0)
                        return r;
        }

        if (bag->full) {
                crash_point("fdstore-before-drop");
                bag_drop_message(bag);
        }
        bag->full = n > 0;
        crash_point("fdstore-written");
        return 0;
}

/* ---- reading ---- */

/* Takes a line and, unless it fails, its descriptor. */
static int line_take(char *line, int fd, BagFound found, void *userdata) {
        const char *key = strsep(&line, "\t"), *role = strsep(&line, "\t");
        BagItem item = { .key = key, .role = role, .fd = fd };

        if (!role || !line || parse_uint64(line, &item.serial) < 0)
                return -EBADMSG;
        return found(userdata, &item);
}

/* Takes the descriptors over. */
static void message_take(char *text, int *fds, size_t n, BagFound found, void *userdata) {
        char *line = text;
        size_t i = 0;

        for (char *end; i < n && (end = strchr(line, '\n')); line = end + 1, i++) {
                *end = 0;
                if (line_take(line, fds[i], found, userdata) < 0)
                        safe_close(fds[i]);
        }
        for (; i < n; i++)
                safe_close(fds[i]);
}

/* A look at the message after the one that was looked at last (SO_PEEK_OFF), with descriptors of our own. */
static ssize_t bag_peek(const Bag *bag, char *text, size_t size, int fds[static BAG_FDS_MAX], size_t *ret_n) {
        struct iovec iov = { .iov_base = text, .iov_len = size };
        RightsBuffer control;
        struct msghdr m = {
                .msg_iov = &iov,
                .msg_iovlen = 1,
                .msg_control = control.buffer,
                .msg_controllen = sizeof(control.buffer),
        };
        size_t n;
        ssize_t l;

        l = recvmsg(bag->ends[BAG_OUT], &m, MSG_PEEK | MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        if (l < 0)
                return -errno;

        n = rights_take(&m, fds, BAG_FDS_MAX);
        *ret_n = n < BAG_FDS_MAX ? n : BAG_FDS_MAX;
        return l;
}

int bag_read(Bag *bag, BagFound found, void *userdata) {
        _cleanup_(freep) char *text = malloc(TEXT_MAX + 1), *last = malloc(TEXT_MAX + 1);
        int fds[BAG_FDS_MAX] = {}, last_fds[BAG_FDS_MAX] = {}, offset = 0;
        size_t n = 0, n_last = 0, n_messages = 0;
        ssize_t l;

        if (!text || !last)
                return -ENOMEM;

        (void) setsockopt(bag->ends[BAG_OUT], SOL_SOCKET, SO_PEEK_OFF, &offset, sizeof(offset));
        while (n_messages < MESSAGES_MAX && (l = bag_peek(bag, text, TEXT_MAX, fds, &n)) > 0) {
                text[l] = 0;
                for (size_t i = 0; i < n_last; i++)
                        safe_close(last_fds[i]);
                memcpy(last_fds, fds, sizeof(fds));
                n_last = n;
                strcpy(last, text);
                n_messages++;
        }
        offset = -1;
        (void) setsockopt(bag->ends[BAG_OUT], SOL_SOCKET, SO_PEEK_OFF, &offset, sizeof(offset));

        for (size_t i = 1; i < n_messages; i++) {
                bag_drop_message(bag);
                crash_point("fdstore-old-dropped");
        }
        bag->full = n_messages > 0;
        message_take(last, last_fds, n_last, found, userdata);
        return 0;
}
