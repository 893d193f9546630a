/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Descriptors that outlive us, kept in bags.
 *
 * In each bag stands one message, with the descriptors of many keys. To change anything, a new message with all that
 * is to be in the bag is sent behind it, and then the old one is read and thrown away: so there is one, or for a
 * moment two, of which the last counts. We keep duplicates of what is stored, since a message is made of open
 * descriptors. */

#include "host/fdstore.h"

#include "util/crash-point.h"
#include "util/log.h"
#include "util/notify.h"
#include "util/rights.h"
#include "util/text.h"

#include <assert.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/socket.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>
#include <utlist.h>

#define BAG_FDS_MAX 250 /* RIGHTS_MAX is more than that */
#define SERIAL_SIZE (3 * sizeof(uint64_t))
#define BAG_TEXT_MAX (BAG_FDS_MAX * (FDSTORE_KEY_MAX + 64 + SERIAL_SIZE))
#define BAGS_MAX 4096
#define MESSAGES_MAX 16

typedef struct Bag Bag;

typedef struct Stored {
        char *role;
        int fd; /* ours */
} Stored;

typedef struct Entry {
        char *key;
        Bag *bag;
        Stored *items;
        size_t n_items;
        bool wanted;               /* got or put since the start */
        uint64_t serial;           /* of two with this key, in two bags, the larger one counts */
        struct Entry *prev, *next; /* bag::entries */
        UT_hash_handle by_key;     /* store::entries */
} Entry;

struct Bag {
        unsigned number;
        int in, out; /* the two ends; messages are sent into 'in' and stand in 'out' */
        Entry *entries;
        size_t n_fds;
        bool full;  /* there is a message in it */
        bool stale; /* and it has something in it that is not ours any more */
        Bag *prev, *next;
};

struct FdStore {
        bool notify;
        bool enabled;
        Bag *bags;
        unsigned n_bags;
        unsigned last_number;
        uint64_t last_serial;
        Entry *entries;
};

/* ---- entries ---- */

static void items_free(Stored *items, size_t n) {
        for (size_t i = 0; i < n; i++) {
                free(items[i].role);
                safe_close(items[i].fd);
        }
        free(items);
}

static void entry_leave_bag(Entry *e) {
        if (!e->bag)
                return;

        DL_DELETE(e->bag->entries, e);
        e->bag->n_fds -= e->n_items;
        e->bag = NULL;
}

static void entry_join_bag(Entry *e, Bag *bag) {
        e->bag = bag;
        DL_APPEND(bag->entries, e);
        bag->n_fds += e->n_items;
}

static Entry *entry_free(FdStore *s, Entry *e) {
        entry_leave_bag(e);
        HASH_DELETE(by_key, s->entries, e);
        items_free(e->items, e->n_items);
        free(e->key);
        return mfree(e);
}

static Entry *entry_find(FdStore *s, const char *key) {
        Entry *e = NULL;

        HASH_FIND(by_key, s->entries, key, strlen(key), e);
        return e;
}

static int entry_new(FdStore *s, const char *key, Entry **ret) {
        Entry *e;

        e = malloc(sizeof(*e));
        if (!e)
                return -ENOMEM;

        *e = (Entry) { .key = strdup(key) };
        if (e->key)
                HASH_ADD_KEYPTR(by_key, s->entries, e->key, strlen(e->key), e);
        if (!e->key || !e->by_key.tbl) {
                free(e->key);
                free(e);
                return -ENOMEM;
        }

        *ret = e;
        return 0;
}

/* ---- telling the service manager ---- */

static const char *const end_names[2] = { "in", "out" };

static void bag_name(unsigned number, size_t end, char name[static 32]) {
        (void) snprintf(name, 32, "bag-%u-%s", number, end_names[end]);
}

static int bag_name_parse(const char *name, unsigned *ret_number, size_t *ret_end) {
        const char *rest = startswith(name, "bag-");
        char *end;
        unsigned long n;

        if (!rest || rest[0] < '1' || rest[0] > '9')
                return -EINVAL;
        errno = 0;
        n = strtoul(rest, &end, 10);
        if (errno != 0 || n > UINT32_MAX || *end != '-')
                return -EINVAL;

        for (size_t i = 0; i < ELEMENTSOF(end_names); i++)
                if (streq(end + 1, end_names[i])) {
                        *ret_number = (unsigned) n;
                        *ret_end = i;
                        return 0;
                }
        return -EINVAL;
}

static void bag_untell(const Bag *bag) {
        char name[32];

        for (size_t i = 0; i < ELEMENTSOF(end_names); i++) {
                bag_name(bag->number, i, name);
                (void) notify("FDSTOREREMOVE=1\nFDNAME=%s", name);
        }
}

static int bag_tell(const Bag *bag) {
        char name[32], text[96];
        const int *fds = (const int[]) { bag->in, bag->out };
        int r;

        /* There is another of this name if it was lost on the way from a former version of us. */
        bag_untell(bag);
        for (size_t i = 0; i < ELEMENTSOF(end_names); i++) {
                bag_name(bag->number, i, name);
                /* Without FDPOLL=0 it would drop a socket as soon as the other end is closed. */
                (void) snprintf(text, sizeof(text), "FDSTORE=1\nFDNAME=%s\nFDPOLL=0", name);
                r = notify_send(text, &fds[i], 1);
                if (r < 0)
                        return r;
                crash_point("fdstore-end-told");
        }
        return 0;
}

/* ---- bags ---- */

static Bag *bag_free(FdStore *s, Bag *bag) {
        while (bag->entries)
                (void) entry_free(s, bag->entries);

        DL_DELETE(s->bags, bag);
        s->n_bags--;
        safe_close(bag->in);
        safe_close(bag->out);
        return mfree(bag);
}

static int bag_add(FdStore *s, unsigned number, Bag **ret) {
        Bag *bag;

        if (s->n_bags >= BAGS_MAX)
                return -ENOBUFS;
        bag = malloc(sizeof(*bag));
        if (!bag)
                return -ENOMEM;

        *bag = (Bag) { .number = number, .in = -EBADF, .out = -EBADF };
        DL_APPEND(s->bags, bag);
        s->n_bags++;
        if (s->last_number < number)
                s->last_number = number;
        *ret = bag;
        return 0;
}

static int bag_new(FdStore *s, Bag **ret) {
        const int size = 2 * BAG_TEXT_MAX;
        int fds[2], r;
        Bag *bag;

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0)
                return -errno;
        /* It is large enough by default for all but the longest names. */
        (void) setsockopt(fds[0], SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));

        r = bag_add(s, s->last_number + 1, &bag);
        if (r < 0) {
                safe_close(fds[0]);
                safe_close(fds[1]);
                return r;
        }
        bag->in = fds[0];
        bag->out = fds[1];

        if (s->notify) {
                r = bag_tell(bag);
                if (r < 0) {
                        (void) bag_free(s, bag);
                        return r;
                }
        }

        *ret = bag;
        return 0;
}

static int bag_find_room(FdStore *s, size_t n, Bag **ret) {
        Bag *bag;

        DL_FOREACH(s->bags, bag) {
                if (bag->in >= 0 && bag->out >= 0 && bag->n_fds + n <= BAG_FDS_MAX) {
                        *ret = bag;
                        return 0;
                }
        }
        return bag_new(s, ret);
}

/* "KEY\tROLE\tSERIAL\n" for each descriptor, in the order of the descriptors. */
static int bag_describe(const Bag *bag, int fds[static BAG_FDS_MAX], char **ret, size_t *ret_size) {
        _cleanup_(freep) char *text = NULL;
        size_t size = 0, n = 0;
        const Entry *e;
        char *at;

        DL_FOREACH(bag->entries, e)
                for (size_t i = 0; i < e->n_items; i++)
                        size += strlen(e->key) + strlen(e->items[i].role) + SERIAL_SIZE + 3;

        at = text = malloc(size + 1);
        if (!text)
                return -ENOMEM;

        DL_FOREACH(bag->entries, e)
                for (size_t i = 0; i < e->n_items; i++) {
                        at = stpcpy(stpcpy(stpcpy(stpcpy(at, e->key), "\t"), e->items[i].role), "\t");
                        at += snprintf(at, SERIAL_SIZE + 2, "%" PRIu64 "\n", e->serial);
                        fds[n++] = e->items[i].fd;
                }
        assert(n == bag->n_fds);

        *ret_size = (size_t) (at - text);
        *ret = TAKE_PTR(text);
        return 0;
}

static int bag_send(const Bag *bag, const char *text, size_t size, const int *fds, size_t n) {
        struct iovec iov = { .iov_base = (char *) text, .iov_len = size };
        struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
        RightsBuffer control;

        rights_attach(&m, &control, fds, n);
        return sendmsg(bag->in, &m, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/* Throws the oldest message away; the descriptors in it, for which there is no room, are closed by the kernel. */
static void bag_drop_message(Bag *bag) {
        char byte;

        (void) recv(bag->out, &byte, sizeof(byte), MSG_DONTWAIT | MSG_TRUNC);
}

/* Has what is in the bag say what is to be in it. */
static int bag_write(Bag *bag) {
        _cleanup_(freep) char *text = NULL;
        int fds[BAG_FDS_MAX], r;
        size_t size;

        if (bag->n_fds > 0) {
                r = bag_describe(bag, fds, &text, &size);
                if (r < 0)
                        return r;
                crash_point("fdstore-before-send");
                r = bag_send(bag, text, size, fds, bag->n_fds);
                if (r < 0)
                        return r;
        }

        if (bag->full) {
                crash_point("fdstore-before-drop");
                bag_drop_message(bag);
        }
        bag->full = bag->n_fds > 0;
        bag->stale = false;
        crash_point("fdstore-written");
        return 0;
}

/* One empty bag may stay, so that a single container that comes and goes does not cost the service manager's time. */
static void bag_collect(FdStore *s, Bag *bag) {
        if (bag->n_fds > 0 || bag->full || s->n_bags <= 1)
                return;

        if (s->notify) {
                bag_untell(bag);
                crash_point("fdstore-untold");
        }
        (void) bag_free(s, bag);
}

/* ---- taking bags back ---- */

/* A key is in two bags if we died between putting it into the one and taking it out of the other, or if a pidfd that
 * was forgotten lingers: then only the newer one is what it says, and the other bag is to be written anew. */
static Entry *store_choose(FdStore *s, Bag *bag, Entry *e, uint64_t serial) {
        if (!e || e->bag == bag)
                return e;
        if (e->serial >= serial) {
                bag->stale = true;
                return e;
        }

        e->bag->stale = true;
        return entry_free(s, e);
}

static int store_add_item(FdStore *s, Bag *bag, const char *key, const char *role, uint64_t serial, int fd) {
        Entry *e = store_choose(s, bag, entry_find(s, key), serial);
        Stored *items;
        char *copy;
        int r;

        if (s->last_serial < serial)
                s->last_serial = serial;
        if (!e) {
                r = entry_new(s, key, &e);
                if (r < 0)
                        return r;
                e->serial = serial;
                entry_join_bag(e, bag);
        }
        if (e->bag != bag || e->n_items >= FDSTORE_ITEMS_MAX)
                return -EEXIST;

        items = reallocarray(e->items, e->n_items + 1, sizeof(*items));
        if (!items)
                return -ENOMEM;
        e->items = items;
        copy = strdup(role);
        if (!copy)
                return -ENOMEM;

        e->items[e->n_items++] = (Stored) { .role = copy, .fd = fd };
        bag->n_fds++;
        return 0;
}

/* Takes a line and its descriptor. */
static int bag_take_line(FdStore *s, Bag *bag, char *line, int fd) {
        const char *key = strsep(&line, "\t"), *role = strsep(&line, "\t");
        uint64_t serial;

        if (!role || !line || parse_uint64(line, &serial) < 0)
                return -EBADMSG;
        return store_add_item(s, bag, key, role, serial, fd);
}

/* Takes the descriptors over. */
static void bag_take_message(FdStore *s, Bag *bag, char *text, int *fds, size_t n) {
        char *line = text;
        size_t i = 0;

        for (char *end; i < n && (end = strchr(line, '\n')); line = end + 1, i++) {
                *end = 0;
                if (bag_take_line(s, bag, line, fds[i]) < 0)
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

        l = recvmsg(bag->out, &m, MSG_PEEK | MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        if (l < 0)
                return -errno;

        n = rights_take(&m, fds, BAG_FDS_MAX);
        *ret_n = n < BAG_FDS_MAX ? n : BAG_FDS_MAX;
        return l;
}

/* Reads what is in a bag whose two ends are there, and leaves in it the last message alone. */
static void bag_open(FdStore *s, Bag *bag) {
        _cleanup_(freep) char *text = malloc(BAG_TEXT_MAX + 1), *last = malloc(BAG_TEXT_MAX + 1);
        int fds[BAG_FDS_MAX] = {}, last_fds[BAG_FDS_MAX] = {}, offset = 0;
        size_t n = 0, n_last = 0, n_messages = 0;
        ssize_t l;

        if (!text || !last) {
                (void) log_error_errno(ENOMEM,
                                       "Failed to read what descriptors were kept, going on without them: %m");
                return;
        }

        (void) setsockopt(bag->out, SOL_SOCKET, SO_PEEK_OFF, &offset, sizeof(offset));
        while (n_messages < MESSAGES_MAX && (l = bag_peek(bag, text, BAG_TEXT_MAX, fds, &n)) > 0) {
                text[l] = 0;
                for (size_t i = 0; i < n_last; i++)
                        safe_close(last_fds[i]);
                memcpy(last_fds, fds, sizeof(fds));
                n_last = n;
                strcpy(last, text);
                n_messages++;
        }
        offset = -1;
        (void) setsockopt(bag->out, SOL_SOCKET, SO_PEEK_OFF, &offset, sizeof(offset));

        for (size_t i = 1; i < n_messages; i++) {
                bag_drop_message(bag);
                crash_point("fdstore-old-dropped");
        }
        bag->full = n_messages > 0;
        bag_take_message(s, bag, last, last_fds, n_last);
}

int fdstore_adopt_bag(FdStore *s, const char *name, int fd) {
        unsigned number;
        Bag *bag, *b;
        size_t end;
        int *place, r;

        r = bag_name_parse(name, &number, &end);
        if (r < 0)
                return r;

        bag = NULL;
        DL_FOREACH(s->bags, b)
                if (b->number == number)
                        bag = b;
        if (!bag) {
                r = bag_add(s, number, &bag);
                if (r < 0)
                        return r;
        }

        place = end == 0 ? &bag->in : &bag->out;
        if (*place >= 0)
                return -EEXIST;
        (void) fcntl(fd, F_SETFD, FD_CLOEXEC);
        *place = fd;
        if (bag->in >= 0 && bag->out >= 0)
                bag_open(s, bag);
        return 0;
}

/* ---- the store ---- */

int fdstore_new(FdStore **ret, bool notify) {
        FdStore *s;

        s = malloc(sizeof(*s));
        if (!s)
                return -ENOMEM;

        *s = (FdStore) { .notify = notify, .enabled = notify };
        *ret = s;
        return 0;
}

FdStore *fdstore_free(FdStore *s) {
        if (!s)
                return NULL;

        while (s->bags)
                (void) bag_free(s, s->bags);
        assert(!s->entries);
        return mfree(s);
}

bool fdstore_is_enabled(const FdStore *s) {
        return s->enabled;
}

void fdstore_enable(FdStore *s) {
        s->enabled = true;
}

void fdstore_disable(FdStore *s) {
        if (s->notify)
                return;

        while (s->bags)
                (void) bag_free(s, s->bags);
        s->enabled = false;
}

static int items_copy(const FdItem *items, size_t n, Stored **ret) {
        Stored *copy;

        copy = calloc(n, sizeof(*copy));
        if (!copy)
                return -ENOMEM;

        for (size_t i = 0; i < n; i++) {
                int fd = fcntl(items[i].fd, F_DUPFD_CLOEXEC, 3), error = errno;
                char *role = fd < 0 ? NULL : strdup(items[i].role);

                if (!role) {
                        int r = fd < 0 ? -error : -ENOMEM;

                        safe_close(fd);
                        items_free(copy, i);
                        return r;
                }
                copy[i] = (Stored) { .role = role, .fd = fd };
        }

        *ret = copy;
        return 0;
}

/* A pidfd too many in a bag harms nobody: it goes with the next change. Anything else keeps something open that is to
 * be closed. */
static bool entry_may_linger(const Entry *e) {
        for (size_t i = 0; i < e->n_items; i++)
                if (!streq(e->items[i].role, FDSTORE_PIDFD))
                        return false;
        return true;
}

static int store_forget(FdStore *s, Entry *e) {
        bool lingers = entry_may_linger(e);
        Bag *bag = e->bag;
        int r = 0;

        (void) entry_free(s, e);
        if (!lingers || bag->n_fds == 0)
                r = bag_write(bag);
        bag_collect(s, bag);
        return r;
}

int fdstore_put(FdStore *s, const char *key, const FdItem *items, size_t n) {
        Entry *e = entry_find(s, key);
        Bag *bag = NULL, *before;
        Stored *copy = NULL;
        int r;

        assert(n <= FDSTORE_ITEMS_MAX && strlen(key) <= FDSTORE_KEY_MAX);

        if (n == 0)
                return e ? store_forget(s, e) : 0;
        if (!s->enabled)
                return 0;

        r = items_copy(items, n, &copy);
        if (r < 0)
                return r;
        if (!e) {
                r = entry_new(s, key, &e);
                if (r < 0) {
                        items_free(copy, n);
                        return r;
                }
        }

        before = e->bag;
        entry_leave_bag(e);
        items_free(e->items, e->n_items);
        e->items = copy;
        e->n_items = n;
        e->wanted = true;
        e->serial = ++s->last_serial;

        if (before && before->n_fds + n <= BAG_FDS_MAX)
                bag = before;
        else {
                r = bag_find_room(s, n, &bag);
                if (r < 0) {
                        (void) entry_free(s, e);
                        if (before)
                                (void) bag_write(before);
                        return r;
                }
        }

        entry_join_bag(e, bag);
        r = bag_write(bag);
        if (r < 0) {
                (void) entry_free(s, e);
                (void) bag_write(bag);
        }
        if (before && before != bag) {
                (void) bag_write(before);
                bag_collect(s, before);
        }
        return r;
}

int fdstore_get(FdStore *s, const char *key, const char *const roles[], int ret[], size_t n_roles) {
        Entry *e = entry_find(s, key);
        int n = 0;

        for (size_t k = 0; k < n_roles; k++)
                ret[k] = -EBADF;
        if (!e)
                return 0;

        e->wanted = true;
        for (size_t i = 0; i < e->n_items; i++)
                for (size_t k = 0; k < n_roles; k++)
                        if (streq(e->items[i].role, roles[k]) && ret[k] < 0) {
                                ret[k] = fcntl(e->items[i].fd, F_DUPFD_CLOEXEC, 3);
                                n += ret[k] >= 0;
                        }
        return n;
}

void fdstore_foreach(FdStore *s, const char *prefix, void (*found)(void *userdata, const char *key), void *userdata) {
        Entry *e, *next;

        HASH_ITER(by_key, s->entries, e, next) {
                _cleanup_(freep) char *key = startswith(e->key, prefix) ? strdup(e->key) : NULL;

                if (key)
                        found(userdata, key);
        }
}

void fdstore_forget_rest(FdStore *s) {
        Bag *bag, *next_bag;
        Entry *e, *next;
        int r;

        DL_FOREACH_SAFE(s->bags, bag, next_bag) {
                bool changed = bag->stale || bag->in < 0 || bag->out < 0; /* one of its ends was lost */

                DL_FOREACH_SAFE(bag->entries, e, next)
                        if (!e->wanted) {
                                (void) entry_free(s, e);
                                changed = true;
                        }
                if (bag->in >= 0 && bag->out >= 0 && changed)
                        (void) bag_write(bag);
                else if (changed)
                        bag->full = false;
                bag_collect(s, bag);
        }

        /* The first one is made now, and not with the first container. */
        if (s->notify && !s->bags && (r = bag_new(s, &bag)) < 0)
                log_warning_errno(r,
                                  "Failed to have descriptors kept by the service manager, they will not survive a "
                                  "crash: %m");

        fdstore_disable(s);
}

void fdstore_write_handoff(FdStore *s, JsonWriter *w) {
        char name[32];
        Bag *bag;

        json_write_key(w, "bags");
        json_open_object(w);
        DL_FOREACH(s->bags, bag) {
                const int *fds = (const int[]) { bag->in, bag->out };

                for (size_t i = 0; i < ELEMENTSOF(end_names); i++) {
                        if (fds[i] < 0 || fcntl(fds[i], F_SETFD, 0) < 0)
                                continue;
                        bag_name(bag->number, i, name);
                        json_put_uint64(w, name, (uint64_t) fds[i]);
                }
        }
        json_close_object(w);
}

void fdstore_take_handoff(FdStore *s, Json tree) {
        Json bags = json_get(tree, "bags");

        for (size_t i = 0; i < json_length(bags); i++) {
                const char *name = json_key(bags, i);
                uint64_t fd;
                int r;

                if (json_get_uint64(bags, name, &fd) <= 0 || fd < 3 || fd > INT32_MAX)
                        continue;
                r = fdstore_adopt_bag(s, name, (int) fd);
                if (r < 0)
                        log_warning_errno(r, "Failed to take back descriptors handed over as %s, ignoring: %m", name);
        }
        s->enabled = true;
}
