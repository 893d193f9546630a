/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What one running container costs of the heap, part by part, as the C library counts it: 4 KiB are promised for a
 * container with three FIFOs and two labels, whether it is watched as our child or has been taken back after a
 * restart. Who needs more for one part has to take it from another. */

#include "world.h"

#include "core/container.h"
#include "core/registry.h"
#include "host/fdstore.h"
#include "host/oom.h"
#include "util/instrument.h"
#include "util/strv.h"

#include <malloc.h>

#define PROMISED 4096

/* Bytes for one container, with what the allocator adds. */
enum {
        BUDGET_CONTAINER =
                640,          /* the object, its init, its name in a namespace "default" and an id of 64 characters */
        BUDGET_STREAMS = 416, /* three FIFOs, whose paths have 64 characters */
        BUDGET_LABELS = 128,  /* two labels */
        BUDGET_TEXTS = 480,   /* bundle, runtime and its root, and two paths of control groups, of 80 */
        BUDGET_STORE = 512,   /* a pidfd and three holds in the store of descriptors */
        BUDGET_OOM = 288,     /* the watch of a control group whose path has 120 */
        BUDGET_REAPER_WATCH = 112, /* if it is our child, ... */
        BUDGET_PID_WATCH = 112,    /* ... and if it is not */
        BUDGET_FRAGMENTS = 768,    /* tables that grow, holes, half-used pages */
        BUDGET_RESERVE = 752,      /* yours to spend */
};

static_assert(BUDGET_CONTAINER + BUDGET_STREAMS + BUDGET_LABELS + BUDGET_TEXTS + BUDGET_STORE + BUDGET_OOM +
                              (BUDGET_REAPER_WATCH > BUDGET_PID_WATCH ? BUDGET_REAPER_WATCH : BUDGET_PID_WATCH) +
                              BUDGET_FRAGMENTS + BUDGET_RESERVE <=
                      PROMISED,
              "a container costs more than is promised");

#define N 128 /* of each, to see what tables and bags take in the mean */
#define ID_64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789a"
#define PATH_64 "/run/containerd/fifo/123456789/0123456789abcdef-012-"
#define TEXT_80 "/run/containerd/io.containerd.runtime.v2.task/k8s.io/0123456789abcdef0123456789"

static size_t heap_used(void) {
        return mallinfo2().uordblks;
}

/* valgrind and the sanitizers have allocators of their own, which count otherwise or not at all. */
static bool heap_is_counted(void) {
        size_t before = heap_used();
        void *volatile p = malloc(5000); /* volatile, or the compiler does without it */
        bool counted = heap_used() >= before + 5000;

        free(p);
        return counted && !is_under_valgrind();
}

static void then_each_costs_at_most(const char *what, size_t before, size_t budget) {
        size_t used = heap_used() - before, each = (used + N - 1) / N;

        print_message("%-44s %5zu bytes of %5zu\n", what, each, budget);
        assert_true(used > 0);
        assert_true(each <= budget);
}

static void needs_the_count(void) {
        if (!heap_is_counted()) {
                print_message("this allocator does not count\n");
                skip();
        }
}

static void test_the_object(void **state) {
        Registry registry;
        Services services = {};
        Container *c[N];
        size_t before;

        needs_the_count();
        registry_init(&registry, &services);
        before = heap_used();
        for (size_t i = 0; i < N; i++) {
                char id[65];

                (void) snprintf(id, sizeof(id), ID_64 "%05zu", i);
                assert_int_equal(strlen(id), 64);
                assert_int_equal(container_new(&c[i], &registry, "default", id), 0);
        }
        then_each_costs_at_most("container, init, name", before, BUDGET_CONTAINER);

        before = heap_used();
        for (size_t i = 0; i < N; i++) {
                assert_int_equal(process_allocate_streams(&c[i]->init), 0);
                for (size_t k = 0; k < PROCESS_N_STREAMS; k++) {
                        char path[65];

                        (void) snprintf(path, sizeof(path), PATH_64 "%05zu-stream", i);
                        c[i]->init.streams[k].uri = strdup(path);
                }
        }
        then_each_costs_at_most("three FIFOs", before, BUDGET_STREAMS);

        before = heap_used();
        for (size_t i = 0; i < N; i++) {
                char *labels[] = { (char *) "io.kubernetes.pod.name", (char *) "web-0123456789", (char *) "app",
                                   (char *) "web", NULL };

                c[i]->labels = strv_pack(labels);
                assert_non_null(c[i]->labels);
        }
        then_each_costs_at_most("two labels", before, BUDGET_LABELS);

        before = heap_used();
        for (size_t i = 0; i < N; i++) {
                char **texts[] = { &c[i]->bundle, &c[i]->runtime, &c[i]->runtime_root, &c[i]->control_group,
                                   &c[i]->cgroups_path };

                for (size_t k = 0; k < ELEMENTSOF(texts); k++)
                        *texts[k] = strdup(TEXT_80);
        }
        then_each_costs_at_most("bundle, runtime, control group", before, BUDGET_TEXTS);

        for (size_t i = 0; i < N; i++) {
                c[i]->phase = CONTAINER_LIVE;
                (void) container_free(c[i]);
        }
        registry_done(&registry);
}

static void test_what_is_kept_over_a_restart(void **state) {
        FdStore *store;
        size_t before;

        needs_the_count();
        assert_int_equal(fdstore_new(&store, false), 0);
        fdstore_enable(store);
        before = heap_used();
        for (size_t i = 0; i < N; i++) {
                const FdItem items[] = {
                        { FDSTORE_PIDFD, 0 },
                        { "stdin.hold", 0 },
                        { "stdout.hold", 0 },
                        { "stderr.hold", 0 },
                };
                char key[100];

                (void) snprintf(key, sizeof(key), "process/default/" ID_64 "%05zu", i);
                assert_int_equal(fdstore_put(store, key, items, ELEMENTSOF(items)), 0);
        }
        then_each_costs_at_most("pidfd and holds in the store", before, BUDGET_STORE);
        (void) fdstore_free(store);
}

static void on_oom(void *userdata, uint64_t kills) {
}

static void given_counter(const char *folder, const char *name, const char *text) {
        char path[PATH_MAX];

        (void) snprintf(path, sizeof(path), "%.2000s/%s", folder, name);
        given_file(path, text, 0600);
}

static void check_oom(World *world, bool unified) {
        char folder[PATH_MAX];
        OomWatcher *watcher;
        OomWatch *watches[N];
        size_t before, n;

        n = (size_t) snprintf(folder, sizeof(folder), "%.100s/", world->folder);
        while (n < 120)
                folder[n++] = 'x';
        folder[n] = 0;
        assert_true(mkdir(folder, 0700) == 0 || errno == EEXIST);
        given_counter(folder, "memory.events", "oom 0\noom_kill 0\n");
        given_counter(folder, "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n");
        given_counter(folder, "cgroup.event_control", "");

        assert_int_equal(oom_watcher_new(&watcher, world->event, 0), 0);
        before = heap_used();
        for (size_t i = 0; i < N; i++)
                assert_int_equal(oom_watch_new_in(&watches[i], watcher, folder, unified, 0, on_oom, NULL), 0);
        then_each_costs_at_most(unified ? "out-of-memory kills, cgroup v2" : "out-of-memory kills, cgroup v1", before,
                                BUDGET_OOM);
        for (size_t i = 0; i < N; i++)
                (void) oom_watch_free(watches[i]);
        (void) oom_watcher_free(watcher);
}

static void test_its_control_group(void **state) {
        needs_the_count();
        check_oom(*state, true);
        check_oom(*state, false);
}

static void on_reaped(void *userdata, pid_t pid, int wait_status, uint64_t when_usec) {
}

static void on_exited(void *userdata, int wait_status, uint64_t when_usec) {
}

static void test_its_watch(void **state) {
        World *world = *state;
        PidWatch *watches[N];
        size_t before;

        needs_the_count();
        before = heap_used();
        for (int i = 0; i < N; i++)
                assert_int_equal(reaper_watch(world->reaper, INT32_MAX - i, on_reaped, NULL), 0);
        then_each_costs_at_most("watched as a child", before, BUDGET_REAPER_WATCH);
        for (int i = 0; i < N; i++)
                reaper_unwatch(world->reaper, INT32_MAX - i);

        before = heap_used();
        for (size_t i = 0; i < N; i++)
                assert_int_equal(pid_watch_new(&watches[i], world->pids, getpid(), 0, on_exited, NULL), 0);
        then_each_costs_at_most("watched by its pidfd", before, BUDGET_PID_WATCH);
        for (size_t i = 0; i < N; i++)
                (void) pid_watch_free(watches[i]);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, world_begin, world_end)

int main(void) {
        const struct CMUnitTest tests[] = {
                CASE(test_the_object),
                CASE(test_what_is_kept_over_a_restart),
                CASE(test_its_control_group),
                CASE(test_its_watch),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
