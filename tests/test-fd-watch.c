/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Many descriptors behind one event source: who is ready is told, whoever was ended is not, whatever the order. */

#include "world.h"

#include "host/fd-watch.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#define N 600 /* more than one batch */

typedef struct Owner {
        FdWatch watch;
        unsigned n_told;
        uint32_t revents;
        struct Owner *ends; /* whom it ends when it is told */
} Owner;

static void owner_on_ready(void *userdata, uint32_t revents) {
        Owner *o = userdata;
        uint64_t n;

        o->n_told++;
        o->revents = revents;
        (void) !read(o->watch.fd, &n, sizeof(n));
        if (o->ends)
                fd_watch_end(&o->ends->watch);
}

static FdWatchSet *given_set(World *w) {
        FdWatchSet *set;

        assert_int_equal(fd_watch_set_new(&set, w->event, 0, owner_on_ready), 0);
        return set;
}

static void given_owner(FdWatchSet *set, Owner *o) {
        int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

        assert_true(fd >= 0);
        assert_int_equal(fd_watch_begin(&o->watch, set, fd, EPOLLIN, o), 0);
}

static void when_ready(const Owner *o) {
        const uint64_t one = 1;

        assert_int_equal(write(o->watch.fd, &one, sizeof(one)), sizeof(one));
}

static void end(Owner *o) {
        fd_watch_end(&o->watch);
        (void) safe_close(o->watch.fd);
}

static void test_all_that_are_ready_are_told_once(void **state) {
        World *world = *state;
        FdWatchSet *set = given_set(world);
        Owner owners[N] = {};

        for (size_t i = 0; i < N; i++)
                given_owner(set, &owners[i]);
        for (size_t i = 0; i < N; i += 2)
                when_ready(&owners[i]);
        world_run_what_is_due(world);
        for (size_t i = 0; i < N; i++) {
                assert_int_equal(owners[i].n_told, i % 2 == 0);
                assert_int_equal(owners[i].revents, i % 2 == 0 ? EPOLLIN : 0);
                end(&owners[i]);
        }
        (void) fd_watch_set_free(set);
}

static void test_whoever_was_ended_is_not_told(void **state) {
        World *world = *state;
        FdWatchSet *set = given_set(world);
        Owner a = {}, b = {};

        given_owner(set, &a);
        given_owner(set, &b);
        a.ends = &b;
        b.ends = &a;
        when_ready(&a);
        when_ready(&b);
        world_run_what_is_due(world);
        assert_int_equal(a.n_told + b.n_told, 1);
        end(&a);
        end(&b);
        (void) fd_watch_set_free(set);
}

static void test_an_ended_watch_is_forgotten_also_while_duplicates_are_open(void **state) {
        World *world = *state;
        FdWatchSet *set = given_set(world);
        Owner o = {};
        int fd;

        given_owner(set, &o);
        fd = fcntl(o.watch.fd, F_DUPFD_CLOEXEC, 3);
        assert_true(fd >= 0);
        when_ready(&o);
        end(&o);
        end(&o); /* harmless */
        world_run_what_is_due(world);
        assert_int_equal(o.n_told, 0);
        (void) safe_close(fd);
        (void) fd_watch_set_free(set);
}

static void test_what_is_watched_for_can_change(void **state) {
        World *world = *state;
        FdWatchSet *set = given_set(world);
        Owner o = {};

        given_owner(set, &o);
        fd_watch_set_events(&o.watch, 0);
        when_ready(&o);
        world_run_what_is_due(world);
        assert_int_equal(o.n_told, 0);
        fd_watch_set_events(&o.watch, EPOLLIN);
        world_run_what_is_due(world);
        assert_int_equal(o.n_told, 1);
        end(&o);
        (void) fd_watch_set_free(set);
}

static void test_what_cannot_be_watched_is_refused(void **state) {
        FdWatchSet *set = given_set(*state);
        Owner o = {};

        assert_int_equal(fd_watch_begin(&o.watch, set, -EBADF, EPOLLIN, &o), -EBADF);
        fd_watch_end(&o.watch);
        (void) fd_watch_set_free(set);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, world_begin, world_end)

int main(void) {
        const struct CMUnitTest tests[] = {
                CASE(test_all_that_are_ready_are_told_once),
                CASE(test_whoever_was_ended_is_not_told),
                CASE(test_an_ended_watch_is_forgotten_also_while_duplicates_are_open),
                CASE(test_what_is_watched_for_can_change),
                CASE(test_what_cannot_be_watched_is_refused),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
