/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The socket for seccomp listeners: whole messages, those in pieces, and what is no message. */

#include "host/seccomp-agent.h"
#include "util/text.h"

#include "world.h"

#include <sys/socket.h>
#include <sys/un.h>

#define MESSAGE \
        "{\"ociVersion\":\"1.0.2\",\"fds\":[\"seccompFd\"],\"pid\":4321,\"metadata\":\"m\"," \
        "\"state\":{\"ociVersion\":\"1.0.2\",\"id\":\"c1\",\"status\":\"creating\",\"pid\":4321,\"bundle\":\"/b\"}}"

typedef struct Seen {
        unsigned n;
        SeccompState state;
        char id[64], metadata[64];
        int fd; /* taken */
        bool refuse;
} Seen;

typedef struct Case {
        World *world;
        SeccompAgent *agent;
        char *path;
        Seen seen;
        int client;
} Case;

static void on_received(void *userdata, const SeccompState *state, int *fd) {
        Seen *seen = userdata;

        seen->n++;
        seen->state = *state;
        (void) snprintf(seen->id, sizeof(seen->id), "%s", state->id);
        (void) snprintf(seen->metadata, sizeof(seen->metadata), "%s", state->metadata);
        if (!seen->refuse) {
                safe_close(seen->fd);
                seen->fd = TAKE_FD(*fd);
        }
}

static void case_begin(Case *c, void **state) {
        *c = (Case) { .world = *state, .client = -EBADF, .seen.fd = -EBADF };
        c->path = world_path(c->world, "seccomp");
        assert_int_equal(seccomp_agent_new(&c->agent, c->world->event, 0, c->path, on_received, &c->seen), 0);
}

static void case_end(Case *c) {
        struct stat st;

        safe_close(c->client);
        safe_close(c->seen.fd);
        c->agent = seccomp_agent_free(c->agent);
        assert_int_equal(lstat(c->path, &st), -1);
        free(c->path);
}

static void given_connection(Case *c) {
        int fds[2];

        safe_close(c->client);
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        c->client = fds[0];
        assert_int_equal(seccomp_agent_add_connection(c->agent, fds[1]), 0);
}

static void when_sent(Case *c, const void *data, size_t size, unsigned n_fds) {
        int fds[64];

        assert_true(n_fds <= ELEMENTSOF(fds));
        for (unsigned i = 0; i < n_fds; i++)
                assert_true((fds[i] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0);
        send_with_fds(c->client, data, size, fds, n_fds);
        for (unsigned i = 0; i < n_fds; i++)
                safe_close(fds[i]);
        world_run_what_is_due(c->world);
}

static void when_sent_text(Case *c, const char *text, unsigned n_fds) {
        when_sent(c, text, strlen(text), n_fds);
}

static void when_it_ends(Case *c) {
        assert_int_equal(shutdown(c->client, SHUT_WR), 0);
        world_run_what_is_due(c->world);
}

static void then_seen(const Case *c, unsigned n) {
        assert_int_equal(c->seen.n, n);
        assert_int_equal(seccomp_agent_n_connections(c->agent), 0);
}

static void test_a_message_with_its_descriptor(void **state) {
        Case c;

        case_begin(&c, state);
        given_connection(&c);
        when_sent_text(&c, MESSAGE, 1); /* it counts although the sender keeps the connection */
        then_seen(&c, 1);
        assert_int_equal(c.seen.state.peer, getpid());
        assert_int_equal(c.seen.state.pid, 4321);
        assert_string_equal(c.seen.id, "c1");
        assert_string_equal(c.seen.metadata, "m");
        assert_true(fcntl(c.seen.fd, F_GETFD) & FD_CLOEXEC);
        case_end(&c);
}

static void test_a_message_that_is_there_before_it_is_accepted(void **state) {
        int fds[2];
        Case c;

        case_begin(&c, state);
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        c.client = fds[0];
        when_sent_text(&c, MESSAGE, 1);
        assert_int_equal(seccomp_agent_add_connection(c.agent, fds[1]), 0);
        then_seen(&c, 1);
        case_end(&c);
}

static void test_a_message_byte_by_byte(void **state) {
        Case c;

        case_begin(&c, state);
        given_connection(&c);
        for (size_t i = 0; i < strlen(MESSAGE); i++) {
                assert_int_equal(c.seen.n, 0);
                when_sent(&c, &MESSAGE[i], 1, i == 5);
        }
        then_seen(&c, 1);
        case_end(&c);
}

static void test_a_message_without_a_word_on_pid_and_metadata(void **state) {
        Case c;

        case_begin(&c, state);
        given_connection(&c);
        when_sent_text(&c, "{\"fds\":[\"x\",\"seccompFd\"],\"state\":{\"id\":\"c2\"}} \n", 2);
        then_seen(&c, 1);
        assert_int_equal(c.seen.state.pid, 0);
        assert_string_equal(c.seen.metadata, "");
        case_end(&c);
}

static void test_what_is_not_taken_is_closed(void **state) {
        int n_fds;
        Case c;

        case_begin(&c, state);
        given_connection(&c);
        n_fds = count_open_fds();
        c.seen.refuse = true;
        when_sent_text(&c, MESSAGE, 1);
        then_seen(&c, 1);
        assert_true(count_open_fds() < n_fds); /* the connection, and its timer if it was the last */
        case_end(&c);
}

static void test_what_is_no_message_is_refused(void **state) {
        static const struct {
                const char *text;
                unsigned n_fds;
        } cases[] = {
                { "", 0 },
                { "{", 1 },
                { " \n", 1 },
                { "\xff\xfe}", 1 },
                { "[1]", 1 },
                { "{}", 1 },
                { "{\"fds\":{},\"state\":{\"id\":\"a\"}}", 1 },
                { "{\"fds\":[],\"state\":{\"id\":\"a\"}}", 0 },
                { "{\"fds\":[\"other\"],\"state\":{\"id\":\"a\"}}", 1 },
                { "{\"fds\":[\"seccompFd\"],\"state\":{\"id\":\"a\"}}", 0 },
                { "{\"fds\":[\"seccompFd\"],\"state\":{\"id\":\"a\"}}", 2 },
                { "{\"fds\":[\"seccompFd\"],\"state\":{\"id\":7}}", 1 },
                { "{\"fds\":[\"seccompFd\"],\"state\":[]}", 1 },
                { "{\"fds\":[\"seccompFd\"]}", 1 },
                { "{\"fds\":[\"seccompFd\"],\"pid\":-1,\"state\":{\"id\":\"a\"}}", 1 },
                { "{\"fds\":[\"seccompFd\"],\"metadata\":[],\"state\":{\"id\":\"a\"}}", 1 },
                { MESSAGE, 17 },
                { MESSAGE, 64 },
                { MESSAGE MESSAGE, 1 },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                Case c;

                case_begin(&c, state);
                given_connection(&c);
                if (cases[i].text[0])
                        when_sent_text(&c, cases[i].text, cases[i].n_fds);
                if (seccomp_agent_n_connections(c.agent) > 0)
                        when_it_ends(&c);
                then_seen(&c, 0);
                case_end(&c);
        }
}

/* Blanks only: it could become a message yet. */
static void test_a_message_that_is_too_large_is_refused(void **state) {
        static char blanks[64 * 1024];
        size_t sent = 0;
        Case c;

        memset(blanks, ' ', sizeof(blanks));
        case_begin(&c, state);
        given_connection(&c);
        while (seccomp_agent_n_connections(c.agent) > 0) {
                when_sent(&c, blanks, sizeof(blanks), 0);
                sent += sizeof(blanks);
                assert_true(sent <= 2 * SECCOMP_MESSAGE_MAX);
        }
        assert_true(sent >= SECCOMP_MESSAGE_MAX);
        then_seen(&c, 0);
        case_end(&c);
}

static int connect_to(const char *path) {
        struct sockaddr_un sa = { .sun_family = AF_UNIX };
        int fd;

        assert_true(strlen(path) < sizeof(sa.sun_path));
        strcpy(sa.sun_path, path);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_true(fd >= 0);
        assert_int_equal(connect(fd, (struct sockaddr *) &sa, sizeof(sa)), 0);
        return fd;
}

/* Those who do not fit in wait, and get in when others go. */
static void test_connections_are_bounded(void **state) {
        int fds[SECCOMP_CONNECTIONS_MAX + 2];
        Case c;

        case_begin(&c, state);
        for (size_t i = 0; i < ELEMENTSOF(fds); i++)
                fds[i] = connect_to(c.path);
        world_run_what_is_due(c.world);
        assert_int_equal(seccomp_agent_n_connections(c.agent), SECCOMP_CONNECTIONS_MAX);

        c.client = fds[ELEMENTSOF(fds) - 1];
        when_sent_text(&c, MESSAGE, 1);
        assert_int_equal(c.seen.n, 0);
        for (size_t i = 0; i < 2; i++)
                safe_close(fds[i]);
        world_run_what_is_due(c.world);
        assert_int_equal(c.seen.n, 1);
        for (size_t i = 2; i < ELEMENTSOF(fds) - 1; i++)
                safe_close(fds[i]);
        world_run_what_is_due(c.world);
        then_seen(&c, 1);
        case_end(&c);
}

static void test_the_socket(void **state) {
        World *w = *state;
        _cleanup_(freep) char *path = world_path(w, "seccomp");
        char long_path[256];
        SeccompAgent *a;
        struct stat st;

        assert_int_equal(seccomp_agent_new(&a, w->event, 0, path, on_received, NULL), 0);
        assert_int_equal(lstat(path, &st), 0);
        assert_true(S_ISSOCK(st.st_mode));
        assert_int_equal(st.st_mode & 07777, 0600);
        a = seccomp_agent_free(a);

        given_file(path, "mine", 0600);
        assert_int_equal(seccomp_agent_new(&a, w->event, 0, path, on_received, NULL), -EEXIST);
        assert_int_equal(unlink(path), 0);

        memset(long_path, 'x', sizeof(long_path) - 1);
        long_path[0] = '/';
        long_path[sizeof(long_path) - 1] = 0;
        assert_int_equal(seccomp_agent_new(&a, w->event, 0, long_path, on_received, NULL), -ENAMETOOLONG);
}

static void test_a_socket_that_somebody_listens_on_stays_his(void **state) {
        SeccompAgent *a;
        Case c;

        case_begin(&c, state);
        assert_int_equal(seccomp_agent_new(&a, c.world->event, 0, c.path, on_received, NULL), -EADDRINUSE);
        c.client = connect_to(c.path);
        when_sent_text(&c, MESSAGE, 1);
        then_seen(&c, 1);
        case_end(&c);
}

static void test_a_stale_socket_is_replaced(void **state) {
        struct sockaddr_un sa = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        World *w = *state;
        Case c;

        (void) snprintf(sa.sun_path, sizeof(sa.sun_path), "%.90s/seccomp", w->folder);
        assert_int_equal(bind(fd, (struct sockaddr *) &sa, sizeof(sa)), 0);
        safe_close(fd);

        case_begin(&c, state);
        c.client = connect_to(c.path);
        when_sent_text(&c, MESSAGE, 1);
        then_seen(&c, 1);
        case_end(&c);
}

#define world_test(f) cmocka_unit_test_setup_teardown(f, world_begin, world_end)

int main(void) {
        static const struct CMUnitTest tests[] = {
                world_test(test_a_message_with_its_descriptor),
                world_test(test_a_message_that_is_there_before_it_is_accepted),
                world_test(test_a_message_byte_by_byte),
                world_test(test_a_message_without_a_word_on_pid_and_metadata),
                world_test(test_what_is_not_taken_is_closed),
                world_test(test_what_is_no_message_is_refused),
                world_test(test_a_message_that_is_too_large_is_refused),
                world_test(test_connections_are_bounded),
                world_test(test_the_socket),
                world_test(test_a_socket_that_somebody_listens_on_stays_his),
                world_test(test_a_stale_socket_is_replaced),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
