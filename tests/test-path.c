/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Object paths: what one names, and what is below one. What concerns one container must not touch the others. */

#include "bus/path.h"
#include "bus/front.h"
#include "util/strv.h"
#include "util/text.h"
#include "world.h"

#define N 100

typedef struct Test {
        Services services;
        Registry registry;
        Front front;
        Connection connection;
        Container *containers[N];
} Test;

static int test_begin(void **state) {
        Test *t = calloc(1, sizeof(*t));

        assert_non_null(t);
        registry_init(&t->registry, &t->services);
        t->front.registry = &t->registry;
        t->connection.front = &t->front;
        for (size_t i = 0; i < N; i++) {
                char id[16];
                Process *p;

                (void) snprintf(id, sizeof(id), "c-%zu", i);
                assert_int_equal(container_new(&t->containers[i], &t->registry, i % 2 ? "odd" : "even", id), 0);
                t->containers[i]->phase = i == 9 ? CONTAINER_CREATING : CONTAINER_LIVE;
                assert_int_equal(container_add_exec(t->containers[i], "e1", &p), 0);
                p->published = true;
                assert_int_equal(container_add_exec(t->containers[i], "hidden", &p), 0);
        }
        *state = t;
        return 0;
}

static int test_end(void **state) {
        Test *t = *state;

        for (size_t i = 0; i < N; i++) {
                t->containers[i]->phase = CONTAINER_DELETED; /* so that nobody else is told */
                (void) container_free(t->containers[i]);
        }
        free(t);
        return 0;
}

static size_t when_it_is_asked_what_is_below(Test *t, const char *path, char ***ret) {
        char **nodes = NULL;

        assert_int_equal(container_node_enumerate(NULL, path, &t->connection, &nodes, NULL), 1);
        *ret = nodes;
        return strv_length(nodes);
}

static void test_below_a_container_are_its_own_processes_only(void **state) {
        static const char *const paths[] = {
                BUS_CONTAINER_PREFIX "/odd/c_2d51",
                BUS_CONTAINER_PREFIX "/odd/c_2d51/process",
                BUS_CONTAINER_PREFIX "/odd/c_2d51/process/e1",
        };

        for (size_t i = 0; i < ELEMENTSOF(paths); i++) {
                _cleanup_(strv_freep) char **nodes = NULL;

                assert_int_equal(when_it_is_asked_what_is_below(*state, paths[i], &nodes), 2);
                assert_string_equal(nodes[0], paths[0]);
                assert_string_equal(nodes[1], paths[2]);
        }
}

static void test_nothing_is_below_what_is_not_there(void **state) {
        static const char *const paths[] = {
                BUS_CONTAINER_PREFIX "/even/c_2d51", /* of the other namespace */
                BUS_CONTAINER_PREFIX "/odd/c_2d9",   /* on its way */
                BUS_CONTAINER_PREFIX "/none/none/process/none",
        };

        for (size_t i = 0; i < ELEMENTSOF(paths); i++) {
                _cleanup_(strv_freep) char **nodes = NULL;

                assert_int_equal(when_it_is_asked_what_is_below(*state, paths[i], &nodes), 0);
        }
}

static void test_everybody_else_is_told_of_all_whom_others_see(void **state) {
        static const char *const paths[] = { BUS_PATH, BUS_CONTAINER_PREFIX, BUS_CONTAINER_PREFIX "/odd" };

        for (size_t i = 0; i < ELEMENTSOF(paths); i++) {
                _cleanup_(strv_freep) char **nodes = NULL;

                assert_int_equal(when_it_is_asked_what_is_below(*state, paths[i], &nodes), 2 * (N - 1));
        }
}

static void test_an_object_has_one_path(void **state) {
        Test *t = *state;

        assert_ptr_equal(container_path_find(&t->registry, BUS_CONTAINER_PREFIX "/odd/c_2d51"), t->containers[51]);
        assert_ptr_equal(process_path_find(&t->registry, BUS_CONTAINER_PREFIX "/odd/c_2d51"),
                         &t->containers[51]->init);
        assert_null(container_path_find(&t->registry, BUS_CONTAINER_PREFIX "/odd/c_2D51"));
        assert_null(container_path_find(&t->registry, BUS_CONTAINER_PREFIX "/odd/_63_2d51"));
        assert_null(container_path_find(&t->registry, BUS_CONTAINER_PREFIX "/odd/c_2d9"));
        assert_non_null(process_path_find(&t->registry, BUS_CONTAINER_PREFIX "/odd/c_2d51/process/e1"));
        assert_null(process_path_find(&t->registry, BUS_CONTAINER_PREFIX "/odd/c_2d51/process/hidden"));
        assert_null(process_path_find(&t->registry, BUS_CONTAINER_PREFIX "/odd/c_2d51/process/_65_31"));
}

static void test_a_path_is_what_sd_bus_makes_of_it(void **state) {
        static const char *const ids[] = {
                "a",
                "Z",
                "0",
                "9lives",
                "a0",
                "a-b.c_d",
                "k8s.io",
                "A.b-9_0",
                "0123456789012345678901234567890123456789012345678901234567890123456789012345", /* the longest */
        };
        Test *t = *state;
        char path[PATH_SIZE];

        for (size_t i = 0; i < ELEMENTSOF(ids); i++) {
                _cleanup_(freep) char *expected = NULL, *of_process = NULL;
                Container *c;
                Process *p;

                assert_int_equal(container_new(&c, &t->registry, ids[i], ids[ELEMENTSOF(ids) - 1 - i]), 0);
                assert_int_equal(container_add_exec(c, "e-1", &p), 0);
                assert_true(sd_bus_path_encode_many(&expected, BUS_CONTAINER_PREFIX "/%/%", ids[i], c->id) >= 0);
                assert_string_equal(container_path_write(c, path), expected);
                assert_string_equal(process_path_write(&c->init, path), expected);
                assert_true(sd_bus_path_encode_many(&of_process, BUS_CONTAINER_PREFIX "/%/%/process/%", ids[i], c->id,
                                                    "e-1") >= 0);
                assert_string_equal(process_path_write(p, path), of_process);
                (void) container_free(c);
        }
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, test_begin, test_end)

int main(void) {
        const struct CMUnitTest tests[] = {
                CASE(test_below_a_container_are_its_own_processes_only),
                CASE(test_nothing_is_below_what_is_not_there),
                CASE(test_everybody_else_is_told_of_all_whom_others_see),
                CASE(test_an_object_has_one_path),
                CASE(test_a_path_is_what_sd_bus_makes_of_it),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
