/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One bag of the store of descriptors, for host/fdstore alone: a socket pair, in which stands one message with the
 * descriptors of many keys.
 *
 * To change anything, a new message with all that is to be in the bag is sent behind it, and then the old one is read
 * and thrown away: so there is one, or for a moment two, of which the last counts. */

#include "util/macro.h"

#define BAG_FDS_MAX 250 /* the kernel takes RIGHTS_MAX at most */
#define BAG_NAME_SIZE 32

enum {
        BAG_IN,  /* messages are sent into this end */
        BAG_OUT, /* and stand in that one */
        BAG_N_ENDS,
};

typedef struct Bag {
        unsigned number;
        int ends[BAG_N_ENDS]; /* ours */
        bool full;            /* there is a message in it */
} Bag;

/* A descriptor in a bag, and what is said of it: a key and a role without tabs and line breaks, and a number. */
typedef struct BagItem {
        const char *key, *role;
        uint64_t serial;
        int fd;
} BagItem;

/* Takes the descriptor of an item over, or fails, and it is closed. The texts are there until this returns. */
typedef int (*BagFound)(void *userdata, const BagItem *item);

/* What an end is called by who keeps it for us. -EINVAL for a name that is none of ours. */
void bag_name(unsigned number, size_t end, char name[static BAG_NAME_SIZE]);
int bag_name_parse(const char *name, unsigned *ret_number, size_t *ret_end);

/* A new and empty one, of which nobody is told yet. -errno. */
int bag_open(Bag *ret, unsigned number);
void bag_close(Bag *bag);

/* Both ends are there: one may be lost on the way from a former version of us. */
bool bag_is_whole(const Bag *bag);

/* Has the service manager keep its ends, or forget them. -errno, after which it may have one of them. */
int bag_tell(const Bag *bag);
void bag_untell(const Bag *bag);

/* Has what is in the bag be these items, BAG_FDS_MAX at most, or nothing. The descriptors stay the caller's. -errno,
 * after which there is in it what was in it before. */
int bag_write(Bag *bag, const BagItem *items, size_t n);

/* Reads what is in a whole bag, and leaves in it the last message alone: found() is called for each item, which has a
 * descriptor of our own. -ENOMEM, before anything was read. */
int bag_read(Bag *bag, BagFound found, void *userdata);
