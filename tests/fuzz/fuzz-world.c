/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A daemon's core and front end, for fuzz targets. */

#include "fuzz-world.h"
#include "fuzz.h"
#include "util/log.h"

#include <signal.h>
#include <syslog.h>

static FuzzWorld *world;

static int world_reload(void *userdata, Failure *failure) {
        return 0;
}

static void world_ready(void *userdata) {
}

static void world_free(void) {
        FuzzWorld *w = TAKE_PTR(world);

        front_done(&w->front);
        registry_done(&w->registry);
        (void) subscriptions_free(w->services.subscriptions);
        (void) eventlog_free(w->services.log);
        (void) oom_watcher_free(w->services.oom);
        (void) job_pool_free(w->services.pool);
        (void) fdstore_free(w->services.store);
        (void) reaper_free(w->services.reaper);
        config_done(&w->config);
        (void) sd_event_unref(w->event);
        free(w);
}

static void world_make_services(FuzzWorld *w) {
        Services *s = &w->services;

        *s = (Services) {
                .event = w->event,
                .observer = front_get_observer(&w->front),
                .state_fd = fuzz_folder(),
                .root_fd = fuzz_folder(),
                .console_fd = fuzz_folder(),
                .state_directory = fuzz_folder_path(),
                .root_directory = fuzz_folder_path(),
                .runtime = "/nonexistent/runtime",
                .runtime_root = "/nonexistent/root",
                .runtime_timeout_usec = &w->config.runtime_timeout_usec,
                .limits = &w->config.limits,
        };
        assert(reaper_new(&s->reaper, w->event, PRIORITY_EXIT) == 0);
        assert(job_pool_new(&s->pool, w->event, s->reaper, 1) == 0);
        assert(eventlog_open(&s->log, s->state_fd) == 0);
        assert(subscriptions_new(&s->subscriptions, w->event, s->log, s->limits, PRIORITY_STREAM) == 0);
        assert(oom_watcher_new(&s->oom, w->event, PRIORITY_OOM) == 0);
        assert(fdstore_new(&s->store, false) == 0);
        assert(sd_id128_get_boot(&s->boot_id) == 0);
}

static void world_make_container(FuzzWorld *w) {
        Container *c;
        Process *e;

        assert(container_new(&c, &w->registry, "default", "c1") == 0);
        c->bundle = strdup("/bundle");
        c->runtime = strdup(w->services.runtime);
        c->runtime_root = strdup(w->services.runtime_root);
        assert(c->bundle && c->runtime && c->runtime_root);
        c->init.state = PROCESS_RUNNING;
        container_publish(c);

        assert(container_add_exec(c, "e1", &e) == 0);
        e->state = PROCESS_CREATED;
        e->published = true;
        w->container = c;
}

FuzzWorld *fuzz_world(void) {
        FuzzWorld *w;

        if (world)
                return world;

        (void) fuzz_folder(); /* so that it goes after us */
        (void) signal(SIGPIPE, SIG_IGN);
        log_set_max_level(LOG_EMERG);

        w = calloc(1, sizeof(*w));
        assert(w);
        config_init(&w->config);
        w->front_settings = (FrontSettings) { .bus = "none", .listen_fd = -EBADF };
        assert(sd_event_new(&w->event) == 0);
        registry_init(&w->registry, &w->services);
        front_init(&w->front, &w->registry, w->event, &w->front_settings);
        world_make_services(w);

        w->front.reload = world_reload;
        w->front.ready = world_ready;
        assert(front_start(&w->front) == 0);
        world_make_container(w);
        w->registry.stopping = true;

        world = w;
        assert(atexit(world_free) == 0);
        return w;
}
