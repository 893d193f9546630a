/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Descriptors that outlive us, kept in bags: whose they are, which bag they are in, and when they are forgotten.
 *
 * In each bag stands one message (host/fdstore-bag), with the descriptors of many keys, that is written anew to
 * change anything. We keep duplicates of what is stored, since a message is made of open descriptors. */

#include "host/fdstore.h"
#include "host/fdstore-bag.h"

#include "util/crash-point.h"
#include "util/log.h"

#include <assert.h>
#include <fcntl.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>
#include <utlist.h>

#define BAGS_MAX 4096

typedef struct StoreBag StoreBag;

typedef struct Stored {
        char *role;
        int fd; /* ours */
} Stored;

typedef struct Entry {
        char *key;
        StoreBag *bag;
        Stored *items;
        size_t n_items;
        bool wanted;               /* got or put since the start */
        uint64_t serial;           /* of two with this key, in two bags, the larger one counts */
        struct Entry *prev, *next; /* StoreBag::entries */
        UT_hash_handle by_key;     /* store::entries */
} Entry;

/* A bag, and what of ours is in it. */
struct StoreBag {
        FdStore *store;
        Bag bag;
        Entry *entries;
        size_t n_fds;
        bool stale;            /* it has something in it that is not ours any more */
        StoreBag *prev, *next; /* store::bags */
};

struct FdStore {
        bool notify;
        bool enabled;
        StoreBag *bags;
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

static void entry_join_bag(Entry *e, StoreBag *b) {
        e->bag = b;
        DL_APPEND(b->entries, e);
        b->n_fds += e->n_items;
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

/* ---- bags ---- */

static StoreBag *store_bag_free(StoreBag *b) {
        while (b->entries)
                (void) entry_free(b->store, b->entries);

        DL_DELETE(b->store->bags, b);
        b->store->n_bags--;
        bag_close(&b->bag);
        return mfree(b);
}

/* Takes the bag over, unless it fails. */
static int store_bag_add(FdStore *s, const Bag *bag, StoreBag **ret) {
        StoreBag *b;

        if (s->n_bags >= BAGS_MAX)
                return -ENOBUFS;
        b = malloc(sizeof(*b));
        if (!b)
                return -ENOMEM;

        *b = (StoreBag) { .store = s, .bag = *bag };
        DL_APPEND(s->bags, b);
        s->n_bags++;
        if (s->last_number < bag->number)
                s->last_number = bag->number;
        *ret = b;
        return 0;
}

static int store_bag_new(FdStore *s, StoreBag **ret) {
        StoreBag *b;
        Bag bag;
        int r;

        r = bag_open(&bag, s->last_number + 1);
        if (r < 0)
                return r;
        r = store_bag_add(s, &bag, &b);
        if (r < 0) {
                bag_close(&bag);
                return r;
        }

        if (s->notify) {
                r = bag_tell(&b->bag);
                if (r < 0) {
                        (void) store_bag_free(b);
                        return r;
                }
        }

        *ret = b;
        return 0;
}

static int store_find_room(FdStore *s, size_t n, StoreBag **ret) {
        StoreBag *b;

        DL_FOREACH(s->bags, b) {
                if (bag_is_whole(&b->bag) && b->n_fds + n <= BAG_FDS_MAX) {
                        *ret = b;
                        return 0;
                }
        }
        return store_bag_new(s, ret);
}

/* Has what is in the bag say what is to be in it. */
static int store_bag_write(StoreBag *b) {
        BagItem items[BAG_FDS_MAX];
        size_t n = 0;
        Entry *e;
        int r;

        assert(b->n_fds <= BAG_FDS_MAX);

        DL_FOREACH(b->entries, e)
                for (size_t i = 0; i < e->n_items; i++)
                        items[n++] = (BagItem) {
                                .key = e->key,
                                .role = e->items[i].role,
                                .serial = e->serial,
                                .fd = e->items[i].fd,
                        };
        assert(n == b->n_fds);

        r = bag_write(&b->bag, items, n);
        if (r < 0)
                return r;
        b->stale = false;
        return 0;
}

/* One empty bag may stay, so that a single container that comes and goes does not cost the service manager's time. */
static void store_bag_collect(StoreBag *b) {
        if (b->n_fds > 0 || b->bag.full || b->store->n_bags <= 1)
                return;

        if (b->store->notify) {
                bag_untell(&b->bag);
                crash_point("fdstore-untold");
        }
        (void) store_bag_free(b);
}

/* ---- taking bags back ---- */

/* A key is in two bags if we died between putting it into the one and taking it out of the other, or if a pidfd that
 * was forgotten lingers: then only the newer one is what it says, and the other bag is to be written anew. */
static Entry *store_choose(FdStore *s, StoreBag *b, Entry *e, uint64_t serial) {
        if (!e || e->bag == b)
                return e;
        if (e->serial >= serial) {
                b->stale = true;
                return e;
        }

        e->bag->stale = true;
        return entry_free(s, e);
}

static int store_bag_on_found(void *userdata, const BagItem *item) {
        StoreBag *b = userdata;
        FdStore *s = b->store;
        Entry *e = store_choose(s, b, entry_find(s, item->key), item->serial);
        Stored *items;
        char *copy;
        int r;

        if (s->last_serial < item->serial)
                s->last_serial = item->serial;
        if (!e) {
                r = entry_new(s, item->key, &e);
                if (r < 0)
                        return r;
                e->serial = item->serial;
                entry_join_bag(e, b);
        }
        if (e->bag != b || e->n_items >= FDSTORE_ITEMS_MAX)
                return -EEXIST;

        items = reallocarray(e->items, e->n_items + 1, sizeof(*items));
        if (!items)
                return -ENOMEM;
        e->items = items;
        copy = strdup(item->role);
        if (!copy)
                return -ENOMEM;

        e->items[e->n_items++] = (Stored) { .role = copy, .fd = item->fd };
        b->n_fds++;
        return 0;
}

/* The bag of this number, of which an end has come before, or is here first. */
static int store_bag_by_number(FdStore *s, unsigned number, StoreBag **ret) {
        const Bag bag = { .number = number, .ends = { -EBADF, -EBADF } };
        StoreBag *b;

        DL_FOREACH(s->bags, b)
                if (b->bag.number == number) {
                        *ret = b;
                        return 0;
                }
        return store_bag_add(s, &bag, ret);
}

int fdstore_adopt_bag(FdStore *s, const char *name, int fd) {
        unsigned number;
        StoreBag *b;
        size_t end;
        int r;

        r = bag_name_parse(name, &number, &end);
        if (r < 0)
                return r;
        r = store_bag_by_number(s, number, &b);
        if (r < 0)
                return r;

        if (b->bag.ends[end] >= 0)
                return -EEXIST;
        (void) fcntl(fd, F_SETFD, FD_CLOEXEC);
        b->bag.ends[end] = fd;
        if (!bag_is_whole(&b->bag))
                return 0;

        r = bag_read(&b->bag, store_bag_on_found, b);
        if (r < 0)
                (void) log_error_errno(r, "Failed to read what descriptors were kept, going on without them: %m");
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
                (void) store_bag_free(s->bags);
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
                (void) store_bag_free(s->bags);
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
        StoreBag *b = e->bag;
        int r = 0;

        (void) entry_free(s, e);
        if (!lingers || b->n_fds == 0)
                r = store_bag_write(b);
        store_bag_collect(b);
        return r;
}

int fdstore_put(FdStore *s, const char *key, const FdItem *items, size_t n) {
        Entry *e = entry_find(s, key);
        StoreBag *b = NULL, *before;
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
                b = before;
        else {
                r = store_find_room(s, n, &b);
                if (r < 0) {
                        (void) entry_free(s, e);
                        if (before)
                                (void) store_bag_write(before);
                        return r;
                }
        }

        entry_join_bag(e, b);
        r = store_bag_write(b);
        if (r < 0) {
                (void) entry_free(s, e);
                (void) store_bag_write(b);
        }
        if (before && before != b) {
                (void) store_bag_write(before);
                store_bag_collect(before);
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
        StoreBag *b, *next_bag;
        Entry *e, *next;
        int r;

        DL_FOREACH_SAFE(s->bags, b, next_bag) {
                bool whole = bag_is_whole(&b->bag), changed = b->stale || !whole; /* one of its ends was lost */

                DL_FOREACH_SAFE(b->entries, e, next)
                        if (!e->wanted) {
                                (void) entry_free(s, e);
                                changed = true;
                        }
                if (whole && changed)
                        (void) store_bag_write(b);
                else if (changed)
                        b->bag.full = false;
                store_bag_collect(b);
        }

        /* The first one is made now, and not with the first container. */
        if (s->notify && !s->bags && (r = store_bag_new(s, &b)) < 0)
                log_warning_errno(r,
                                  "Failed to have descriptors kept by the service manager, they will not survive a "
                                  "crash: %m");

        fdstore_disable(s);
}

void fdstore_write_handoff(FdStore *s, JsonWriter *w) {
        char name[BAG_NAME_SIZE];
        StoreBag *b;

        json_write_key(w, "bags");
        json_open_object(w);
        DL_FOREACH(s->bags, b)
                for (size_t i = 0; i < BAG_N_ENDS; i++) {
                        int fd = b->bag.ends[i];

                        if (fd < 0 || fcntl(fd, F_SETFD, 0) < 0)
                                continue;
                        bag_name(b->bag.number, i, name);
                        json_put_uint64(w, name, (uint64_t) fd);
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
