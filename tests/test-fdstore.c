/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The store of descriptors: what is put is there after a restart, and what is forgotten is closed. */

#include "world.h"

#include "host/fdstore.h"

#include <poll.h>
#include <sys/socket.h>

/* --- vocabulary ------------------------------------------------------------------------------------------------- */

static FdStore *given_store(void) {
        FdStore *s = NULL;

        assert_int_equal(fdstore_new(&s, false), 0);
        fdstore_enable(s);
        return s;
}

static void put(FdStore *s, const char *key, const char *role, int fd) {
        const FdItem item = { .role = role, .fd = fd };

        assert_int_equal(fdstore_put(s, key, &item, 1), 0);
}

static int get(FdStore *s, const char *key, const char *role) {
        int fd = -EBADF, n;

        n = fdstore_get(s, key, &role, &fd, 1);
        assert_int_equal(n, fd >= 0);
        return fd;
}

/* As a crash, or an execution of ourselves, would: what is in the bags comes into another store. */
static FdStore *when_restarted(FdStore *s) {
        _cleanup_(json_writer_freep) JsonWriter *w = json_writer_new(false), *copies = json_writer_new(false);
        _cleanup_(json_freep) Json tree = NULL;
        FdStore *next = NULL;
        const char *text;
        Json bags;
        size_t size;

        json_open_object(w);
        fdstore_write_handoff(s, w);
        json_close_object(w);
        assert_int_equal(json_writer_finish(w, &text, &size), 0);
        assert_int_equal(json_parse(text, size, &tree, NULL), 0);

        json_open_object(copies);
        json_write_key(copies, "bags");
        json_open_object(copies);
        bags = json_get(tree, "bags");
        for (size_t i = 0; i < json_length(bags); i++) {
                uint64_t fd = 0;

                assert_int_equal(json_get_uint64(bags, json_key(bags, i), &fd), 1);
                json_put_uint64(copies, json_key(bags, i), (uint64_t) fcntl((int) fd, F_DUPFD_CLOEXEC, 3));
        }
        json_close_object(copies);
        json_close_object(copies);
        (void) fdstore_free(s);

        tree = json_free(tree);
        assert_int_equal(json_writer_finish(copies, &text, &size), 0);
        assert_int_equal(json_parse(text, size, &tree, NULL), 0);
        assert_int_equal(fdstore_new(&next, false), 0);
        fdstore_take_handoff(next, tree);
        return next;
}

static void given_pipe(int fds[static 2]) {
        assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
}

static bool is_at_end(int fd) {
        char byte;

        return read(fd, &byte, 1) == 0;
}

static bool is_same_file(int a, int b) {
        struct stat x, y;

        assert_int_equal(fstat(a, &x), 0);
        assert_int_equal(fstat(b, &y), 0);
        return x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* --- cases ------------------------------------------------------------------------------------------------------ */

static void what_was_put_is_there_after_a_restart(void **state) {
        const char *const roles[] = { "hold", "none", "master" };
        FdStore *s = given_store();
        FdItem items[2];
        int p[2], fds[3];

        given_pipe(p);
        items[0] = (FdItem) { "master", p[0] };
        items[1] = (FdItem) { "hold", p[1] };
        assert_int_equal(fdstore_put(s, "a/b", items, 2), 0);
        put(s, "a/c", "hold", p[1]);

        s = when_restarted(s);
        assert_int_equal(fdstore_get(s, "a/b", roles, fds, 3), 2);
        assert_true(is_same_file(fds[0], p[1]) && (fcntl(fds[0], F_GETFL) & O_ACCMODE) == O_WRONLY);
        assert_int_equal(fds[1], -EBADF);
        assert_true(is_same_file(fds[2], p[0]));
        assert_true(fcntl(fds[0], F_GETFD) & FD_CLOEXEC);
        assert_int_equal(get(s, "a/d", "hold"), -EBADF);

        safe_close(fds[0]);
        safe_close(fds[2]);
        safe_close(p[0]);
        safe_close(p[1]);
        (void) fdstore_free(s);
}

static void what_is_forgotten_is_closed(void **state) {
        FdStore *s = given_store();
        int p[2];

        given_pipe(p);
        put(s, "a/b", "hold", p[1]);
        put(s, "a/c", "other", p[0]);
        p[1] = safe_close(p[1]);
        assert_false(is_at_end(p[0]));

        assert_int_equal(fdstore_put(s, "a/b", NULL, 0), 0);
        assert_true(is_at_end(p[0]));

        safe_close(p[0]);
        (void) fdstore_free(s);
}

static void what_is_replaced_is_closed(void **state) {
        FdStore *s = given_store();
        int p[2], q[2];

        given_pipe(p);
        given_pipe(q);
        put(s, "a/b", "hold", p[1]);
        put(s, "a/b", "hold", q[1]);
        p[1] = safe_close(p[1]);
        q[1] = safe_close(q[1]);
        assert_true(is_at_end(p[0]));
        assert_false(is_at_end(q[0]));

        s = when_restarted(s);
        assert_false(is_at_end(q[0]));
        fdstore_forget_rest(s); /* nobody has asked for it */
        assert_true(is_at_end(q[0]));

        safe_close(p[0]);
        safe_close(q[0]);
        (void) fdstore_free(s);
}

static void very_many_need_several_bags(void **state) {
        FdStore *s = given_store();
        char key[32];
        int p[2], fd;

        given_pipe(p);
        for (unsigned i = 0; i < 600; i++) {
                (void) snprintf(key, sizeof(key), "ns/c%u", i);
                put(s, key, i % 3 ? FDSTORE_PIDFD : "hold", p[i % 2]);
        }
        for (unsigned i = 0; i < 600; i += 5) {
                (void) snprintf(key, sizeof(key), "ns/c%u", i);
                assert_int_equal(fdstore_put(s, key, NULL, 0), 0);
        }

        s = when_restarted(s);
        for (unsigned i = 0; i < 600; i++) {
                (void) snprintf(key, sizeof(key), "ns/c%u", i);
                fd = get(s, key, i % 3 ? FDSTORE_PIDFD : "hold");
                if (i % 5 == 0 && i % 3 == 0)
                        assert_int_equal(fd, -EBADF);
                if (i % 5 != 0)
                        assert_true(is_same_file(fd, p[i % 2]));
                safe_close(fd);
        }

        safe_close(p[0]);
        safe_close(p[1]);
        (void) fdstore_free(s);
}

static void count_key(void *userdata, const char *key) {
        ++*(unsigned *) userdata;
}

static void keys_are_found_by_their_beginning(void **state) {
        FdStore *s = given_store();
        unsigned n = 0;
        int p[2];

        given_pipe(p);
        put(s, "a/b", "hold", p[0]);
        put(s, "a/c", "hold", p[0]);
        put(s, "b/a", "hold", p[0]);
        fdstore_foreach(s, "a/", count_key, &n);
        assert_int_equal(n, 2);

        safe_close(p[0]);
        safe_close(p[1]);
        (void) fdstore_free(s);
}

/* As after a crash between the new message and the taking away of the old one; and what stands there may be anything.
 */
static void the_last_message_counts(void **state) {
        FdStore *s = NULL;
        int bag[2], p[2], fd;

        given_pipe(p);
        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, bag), 0);
        for (unsigned i = 0; i < 2; i++) {
                const char *text = i ? "a/b\thold\t2\nno tab\t2\nnothing behind\tit\t2\n" : "a/b\thold\t1\n";

                send_with_fds(bag[0], text, strlen(text), &p[i], 1);
        }

        assert_int_equal(fdstore_new(&s, false), 0);
        assert_int_equal(fdstore_adopt_bag(s, "bag-7-in", bag[0]), 0);
        assert_int_equal(fdstore_adopt_bag(s, "bag-7-out", bag[1]), 0);
        assert_int_equal(fdstore_adopt_bag(s, "bag-7-out", bag[1]), -EEXIST);
        fd = get(s, "a/b", "hold");
        assert_int_equal(fcntl(fd, F_GETFL) & O_ACCMODE, O_WRONLY);
        safe_close(fd);

        safe_close(p[0]);
        safe_close(p[1]);
        (void) fdstore_free(s);
}

/* What was forgotten may linger in one bag while another has what was put under the same key since. */
static void of_two_the_newer_one_counts(void **state) {
        const char *const roles[] = { FDSTORE_PIDFD, "master" };
        FdStore *s = given_store();
        int old[2], new[2], fds[2];
        FdItem items[2];
        char key[32];

        given_pipe(old);
        given_pipe(new);
        for (unsigned i = 0; i < 249; i++) {
                (void) snprintf(key, sizeof(key), "ns/c%u", i);
                put(s, key, "hold", new[0]);
        }
        put(s, "ns/x", FDSTORE_PIDFD, old[1]);
        assert_int_equal(fdstore_put(s, "ns/x", NULL, 0), 0);
        items[0] = (FdItem) { FDSTORE_PIDFD, new[1] };
        items[1] = (FdItem) { "master", new[0] };
        assert_int_equal(fdstore_put(s, "ns/x", items, 2), 0); /* there is no room for both where the one was */
        old[1] = safe_close(old[1]);

        for (unsigned i = 0; i < 2; i++) {
                s = when_restarted(s);
                assert_int_equal(fdstore_get(s, "ns/x", roles, fds, 2), 2);
                assert_true(is_same_file(fds[0], new[1]) && (fcntl(fds[0], F_GETFL) & O_ACCMODE) == O_WRONLY);
                assert_true(is_same_file(fds[1], new[0]));
                safe_close(fds[0]);
                safe_close(fds[1]);
        }
        fdstore_forget_rest(s);
        assert_true(is_at_end(old[0]));

        for (unsigned i = 0; i < 2; i++)
                safe_close(new[i]);
        safe_close(old[0]);
        (void) fdstore_free(s);
}

static void a_lost_end_costs_only_its_bag(void **state) {
        FdStore *s = given_store();
        int bag[2], p[2];

        given_pipe(p);
        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, bag), 0);
        assert_int_equal(fdstore_adopt_bag(s, "bag-3-in", bag[0]), 0);
        safe_close(bag[1]);
        put(s, "a/b", "hold", p[0]);
        fdstore_forget_rest(s);
        put(s, "a/b", "hold", p[0]);

        safe_close(p[0]);
        safe_close(p[1]);
        (void) fdstore_free(s);
}

static void other_names_are_no_bags(void **state) {
        static const char *const names[] = { "",          "bag",       "bag-",      "bag-1",
                                             "bag-0-in",  "bag-x-in",  "bag--in",   "bag-1-on",
                                             "bag-1-inn", "bag-1-",    "bag-01-in", "stored",
                                             "bus",       "bag-+1-in", "bag- 1-in", "bag-99999999999-in" };
        FdStore *s = given_store();

        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                assert_int_equal(fdstore_adopt_bag(s, names[i], 0), -EINVAL);
        (void) fdstore_free(s);
}

static void without_a_service_manager_nothing_is_kept(void **state) {
        FdStore *s = NULL;
        int p[2];

        assert_int_equal(fdstore_new(&s, false), 0);
        assert_false(fdstore_is_enabled(s));
        given_pipe(p);
        put(s, "a/b", "hold", p[1]);
        p[1] = safe_close(p[1]);
        assert_true(is_at_end(p[0]));
        assert_int_equal(get(s, "a/b", "hold"), -EBADF);

        safe_close(p[0]);
        (void) fdstore_free(s);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(what_was_put_is_there_after_a_restart, world_begin, world_end),
                cmocka_unit_test_setup_teardown(what_is_forgotten_is_closed, world_begin, world_end),
                cmocka_unit_test_setup_teardown(what_is_replaced_is_closed, world_begin, world_end),
                cmocka_unit_test_setup_teardown(very_many_need_several_bags, world_begin, world_end),
                cmocka_unit_test_setup_teardown(keys_are_found_by_their_beginning, world_begin, world_end),
                cmocka_unit_test_setup_teardown(the_last_message_counts, world_begin, world_end),
                cmocka_unit_test_setup_teardown(of_two_the_newer_one_counts, world_begin, world_end),
                cmocka_unit_test_setup_teardown(a_lost_end_costs_only_its_bag, world_begin, world_end),
                cmocka_unit_test_setup_teardown(other_names_are_no_bags, world_begin, world_end),
                cmocka_unit_test_setup_teardown(without_a_service_manager_nothing_is_kept, world_begin, world_end),
        };

        return cmocka_run_group_tests_name("fdstore", tests, NULL, NULL);
}
