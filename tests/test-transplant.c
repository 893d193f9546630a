/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Connections over a re-execution, in the small: a server on one end of a socket pair is thrown away in the middle of
 * its work, and another one goes on with the socket. The client must not notice.
 *
 * The client is a socket and messages made by hand where it matters what goes over the wire, and sd-bus where not. */

#include "bus/boundary.h"
#include "bus/transplant.h"
#include "world.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

#define PATH "/org/monoshim1"
#define INTERFACE "org.monoshim1.Test"
#define LARGE (300 * 1024)

/* ---- the server ---- */

typedef struct Server {
        sd_bus *bus;
        sd_bus_message *kept; /* a call of Wait */
        unsigned n_calls;
} Server;

static int on_sum(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        Server *s = userdata;
        uint32_t a, b;
        int r;

        s->n_calls++;
        r = sd_bus_message_read(m, "uu", &a, &b);
        return r < 0 ? r : sd_bus_reply_method_return(m, "u", a + b);
}

static int on_length(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        Server *s = userdata;
        const char *text;
        int r;

        s->n_calls++;
        r = sd_bus_message_read(m, "s", &text);
        return r < 0 ? r : sd_bus_reply_method_return(m, "u", (uint32_t) strlen(text));
}

/* Gives the descriptor back. */
static int on_pass(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        Server *s = userdata;
        int fd, r;

        s->n_calls++;
        r = sd_bus_message_read(m, "h", &fd);
        return r < 0 ? r : sd_bus_reply_method_return(m, "h", fd);
}

static int on_wait(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        Server *s = userdata;

        assert_null(s->kept);
        s->kept = sd_bus_message_ref(m);
        return 1;
}

static const sd_bus_vtable vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD("Sum", "uu", "u", on_sum, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Length", "s", "u", on_length, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Pass", "h", "h", on_pass, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Wait", "", "u", on_wait, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_VTABLE_END,
};

static void server_add_objects(Server *s) {
        assert_true(sd_bus_add_object_vtable(s->bus, NULL, PATH, INTERFACE, vtable, s) >= 0);
}

static void server_end(Server *s) {
        s->kept = sd_bus_message_unref(s->kept);
        s->bus = sd_bus_close_unref(s->bus);
}

/* Lets everybody work until there is nothing to do. */
static void settle(sd_bus *a, sd_bus *b) {
        unsigned idle = 0;

        while (idle < 3) {
                int n = 0, r;

                r = a ? sd_bus_process(a, NULL) : 0;
                n += r > 0;
                r = b ? sd_bus_process(b, NULL) : 0;
                n += r > 0;
                idle = n > 0 ? 0 : idle + 1;
        }
}

static BusProbe look(sd_bus *bus) {
        BusProbe probe = { .bus = bus };

        assert_int_equal(bus_probe(&probe, 1), 0);
        return probe;
}

/* What a re-execution does: everything goes but the socket, and a few words about it. */
static void server_becomes_another(Server *s) {
        Transplant t = { .is_peer = true };
        int far = -EBADF, fd;
        BusProbe probe;

        probe = look(s->bus);
        assert_true(probe.at_boundary);
        t.serial = probe.serial;
        t.can_pass_fds = sd_bus_can_send(s->bus, SD_BUS_TYPE_UNIX_FD) > 0;
        assert_true(sd_bus_get_bus_id(s->bus, &t.id) >= 0);
        fd = fcntl(sd_bus_get_fd(s->bus), F_DUPFD_CLOEXEC, 3);
        assert_true(fd >= 0);
        server_end(s);

        assert_int_equal(transplant_begin(&t, &s->bus, &far), 0);
        server_add_objects(s);
        assert_int_equal(transplant_end(s->bus, fd), 0);
        safe_close(far);
}

static int given_a_socket(Server *s) {
        int fds[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
        assert_true(sd_bus_new(&s->bus) >= 0);
        assert_true(sd_bus_set_fd(s->bus, fds[0], fds[0]) >= 0);
        assert_true(sd_bus_set_server(s->bus, true, SD_ID128_MAKE(01, 02, 03, 04, 05, 06, 07, 08, 09, 0a, 0b, 0c, 0d, 0e, 0f, 10)) >= 0);
        assert_true(sd_bus_negotiate_fds(s->bus, true) >= 0);
        server_add_objects(s);
        assert_true(sd_bus_start(s->bus) >= 0);
        return fds[1];
}

static sd_bus *given_a_client(Server *s) {
        sd_bus *client = NULL;
        int fd = given_a_socket(s);

        assert_true(sd_bus_new(&client) >= 0);
        assert_true(sd_bus_set_fd(client, fd, fd) >= 0);
        assert_true(sd_bus_negotiate_fds(client, true) >= 0);
        assert_true(sd_bus_start(client) >= 0);
        settle(client, s->bus);
        assert_true(sd_bus_is_ready(client) > 0);
        return client;
}

/* ---- a client by hand ---- */

typedef struct Raw {
        uint8_t bytes[512];
        size_t size;
        bool big;
} Raw;

static void put_u32(Raw *raw, uint32_t u) {
        while (raw->size % 4)
                raw->bytes[raw->size++] = 0;
        u = raw->big == (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__) ? u : __builtin_bswap32(u);
        memcpy(raw->bytes + raw->size, &u, 4);
        raw->size += 4;
}

static void put_field(Raw *raw, uint8_t code, const char *type, const char *value) {
        while (raw->size % 8)
                raw->bytes[raw->size++] = 0;
        raw->bytes[raw->size++] = code;
        raw->bytes[raw->size++] = 1;
        raw->bytes[raw->size++] = (uint8_t) type[0];
        raw->bytes[raw->size++] = 0;
        if (type[0] == 'g')
                raw->bytes[raw->size++] = (uint8_t) strlen(value);
        else
                put_u32(raw, (uint32_t) strlen(value));
        memcpy(raw->bytes + raw->size, value, strlen(value) + 1);
        raw->size += strlen(value) + 1;
}

/* A call of Sum, as a machine of this endianness would send it. */
static Raw make_sum(bool big, uint32_t serial, uint32_t a, uint32_t b) {
        Raw raw = { .big = big }, size = { .big = big };

        raw.bytes[raw.size++] = big ? 'B' : 'l';
        raw.bytes[raw.size++] = 1;
        raw.bytes[raw.size++] = 0;
        raw.bytes[raw.size++] = 1;
        put_u32(&raw, 8);
        put_u32(&raw, serial);
        put_u32(&raw, 0);
        put_field(&raw, 1, "o", PATH);
        put_field(&raw, 2, "s", INTERFACE);
        put_field(&raw, 3, "s", "Sum");
        put_field(&raw, 8, "g", "uu");
        put_u32(&size, (uint32_t) (raw.size - 16));
        memcpy(raw.bytes + 12, size.bytes, 4);
        while (raw.size % 8)
                raw.bytes[raw.size++] = 0;
        put_u32(&raw, a);
        put_u32(&raw, b);
        return raw;
}

static void send_bytes(int fd, const void *bytes, size_t size) {
        assert_int_equal(write(fd, bytes, size), size);
}

/* Every answer has our endianness, REPLY_SERIAL somewhere, and a body of one number at its end. Returns how many came. */
static unsigned read_sums(int fd, uint32_t ret[], unsigned max) {
        uint8_t buffer[8192];
        ssize_t size = read(fd, buffer, sizeof(buffer));
        unsigned n = 0;

        for (size_t at = 0; size > 0 && at < (size_t) size;) {
                uint32_t body, fields;

                assert_true((size_t) size - at >= 16);
                assert_int_equal(buffer[at + 1], 2);
                memcpy(&body, buffer + at + 4, 4);
                memcpy(&fields, buffer + at + 12, 4);
                assert_int_equal(body, 4);
                at += 16 + (fields + 7) / 8 * 8;
                assert_true(n < max);
                memcpy(&ret[n++], buffer + at, 4);
                at += body;
        }
        return n;
}

static int given_a_raw_client(Server *s) {
        char text[128], uid[16], buffer[256];
        int fd = given_a_socket(s);
        size_t n;

        (void) snprintf(uid, sizeof(uid), "%u", (unsigned) geteuid());
        n = (size_t) snprintf(text, sizeof(text), "%cAUTH EXTERNAL ", 0);
        for (const char *d = uid; *d; d++)
                n += (size_t) snprintf(text + n, sizeof(text) - n, "%02x", (unsigned) *d);
        n += (size_t) snprintf(text + n, sizeof(text) - n, "\r\nBEGIN\r\n");
        send_bytes(fd, text, n);
        settle(s->bus, NULL);
        assert_true(sd_bus_is_ready(s->bus) > 0);
        assert_true(read(fd, buffer, sizeof(buffer)) > 0);
        return fd;
}

/* ---- calls ---- */

typedef struct Answer {
        unsigned n;
        uint32_t number;
        uint64_t reply_serial;
        int fd;
} Answer;

static int on_answer(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        Answer *a = userdata;
        int fd;

        assert_false(sd_bus_message_is_method_error(m, NULL));
        a->n++;
        assert_true(sd_bus_message_get_reply_cookie(m, &a->reply_serial) >= 0);
        if (sd_bus_message_has_signature(m, "h")) {
                assert_true(sd_bus_message_read(m, "h", &fd) >= 0);
                a->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        } else
                assert_true(sd_bus_message_read(m, "u", &a->number) >= 0);
        return 0;
}

static void begin_sum(sd_bus *client, Answer *a, uint32_t x, uint32_t y) {
        assert_true(sd_bus_call_method_async(client, NULL, NULL, PATH, INTERFACE, "Sum", on_answer, a, "uu", x, y) >= 0);
}

static void check_descriptors(sd_bus *client, sd_bus *server) {
        Answer a = { .fd = -EBADF };
        char text[4] = "";
        int fds[2];

        assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
        assert_true(sd_bus_call_method_async(client, NULL, NULL, PATH, INTERFACE, "Pass", on_answer, &a, "h", fds[1]) >= 0);
        settle(client, server);
        assert_int_equal(a.n, 1);
        assert_int_equal(write(a.fd, "abc", 3), 3);
        assert_int_equal(read(fds[0], text, 3), 3);
        assert_string_equal(text, "abc");
        safe_close(a.fd);
        safe_close(fds[0]);
        safe_close(fds[1]);
}

static void test_calls_go_on(void **state) {
        Server s = {};
        sd_bus *client = given_a_client(&s);
        Answer a = {};

        check_descriptors(client, s.bus);
        for (uint32_t i = 0; i < 20; i++) {
                begin_sum(client, &a, i, 1000);
                if (i % 2)
                        settle(client, s.bus); /* or it waits in the socket while the other begins */
                server_becomes_another(&s);
                settle(client, s.bus);
                assert_int_equal(a.n, i + 1);
                assert_int_equal(a.number, i + 1000);
        }
        check_descriptors(client, s.bus);

        (void) sd_bus_close_unref(client);
        server_end(&s);
}

static uint64_t last_serial;

static int on_signal(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        uint64_t serial;

        assert_true(sd_bus_message_get_cookie(m, &serial) >= 0);
        assert_int_equal(serial, last_serial + 1);
        last_serial = serial;
        return 0;
}

static void test_serials_go_on(void **state) {
        Server s = {};
        sd_bus *client = given_a_client(&s);

        last_serial = 0;
        assert_true(sd_bus_add_filter(client, NULL, on_signal, NULL) >= 0);
        for (unsigned i = 0; i < 30; i++) {
                assert_true(sd_bus_emit_signal(s.bus, PATH, INTERFACE, "Happened", "u", i) >= 0);
                if (i % 3 == 0)
                        server_becomes_another(&s); /* what is sent already is in the socket */
        }
        settle(client, s.bus);
        assert_int_equal(last_serial, 30);

        (void) sd_bus_close_unref(client);
        server_end(&s);
}

static void test_without_descriptors(void **state) {
        Server s = {};
        int fd = given_a_raw_client(&s);

        assert_int_equal(sd_bus_can_send(s.bus, SD_BUS_TYPE_UNIX_FD), 0);
        server_becomes_another(&s);
        assert_int_equal(sd_bus_can_send(s.bus, SD_BUS_TYPE_UNIX_FD), 0);
        server_end(&s);
        safe_close(fd);
}

/* What replays a Wait: a call that comes in again, with its number. */
static void test_a_kept_call_is_answered_later(void **state) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        uint64_t serial;
        Server s = {};
        sd_bus *client = given_a_client(&s);
        Answer a = {};

        assert_true(sd_bus_call_method_async(client, NULL, NULL, PATH, INTERFACE, "Wait", on_answer, &a, "") >= 0);
        settle(client, s.bus);
        assert_non_null(s.kept);
        assert_true(sd_bus_message_get_cookie(s.kept, &serial) >= 0);

        server_becomes_another(&s);
        assert_null(s.kept);
        assert_true(sd_bus_message_new_method_call(s.bus, &m, NULL, PATH, INTERFACE, "Wait") >= 0);
        assert_true(sd_bus_message_seal(m, serial, 0) >= 0);
        assert_true(sd_bus_enqueue_for_read(s.bus, m) >= 0);
        settle(client, s.bus);
        assert_non_null(s.kept);
        assert_int_equal(a.n, 0);

        assert_true(sd_bus_reply_method_return(s.kept, "u", 137) >= 0);
        settle(client, s.bus);
        assert_int_equal(a.n, 1);
        assert_int_equal(a.number, 137);
        assert_int_equal(a.reply_serial, serial);

        (void) sd_bus_close_unref(client);
        server_end(&s);
}

/* ---- where a stream stands ---- */

static void half_a_message(bool big) {
        Server s = {};
        int fd = given_a_raw_client(&s);
        Raw raw = make_sum(big, 7, 30, 12);
        uint32_t sums[4];

        assert_true(look(s.bus).at_boundary);
        for (size_t part = 1; part < raw.size; part++) {
                send_bytes(fd, raw.bytes, part);
                settle(s.bus, NULL);
                for (unsigned i = 0; i < 2; i++) /* looking changes nothing */
                        assert_false(look(s.bus).at_boundary);

                send_bytes(fd, raw.bytes + part, raw.size - part);
                settle(s.bus, NULL);
                assert_true(look(s.bus).at_boundary);
                server_becomes_another(&s);
                assert_int_equal(read_sums(fd, sums, 4), 1);
                assert_int_equal(sums[0], 42);
        }

        server_end(&s);
        safe_close(fd);
}

static void test_half_a_message_little_endian(void **state) {
        half_a_message(false);
}

static void test_half_a_message_big_endian(void **state) {
        half_a_message(true);
}

static void test_calls_in_one_piece(void **state) {
        uint32_t sums[64];
        uint8_t bytes[16384];
        unsigned n = 0;
        size_t size = 0;
        Server s = {};
        int fd = given_a_raw_client(&s);

        for (uint32_t i = 0; i < 60; i++) {
                Raw raw = make_sum(i % 2, i + 1, i, 500);

                memcpy(bytes + size, raw.bytes, raw.size);
                size += raw.size;
        }
        send_bytes(fd, bytes, size);

        /* One of them each time: the rest waits for the next one. */
        for (uint32_t i = 0; i < 60; i++) {
                assert_true(sd_bus_process(s.bus, NULL) > 0);
                server_becomes_another(&s);
        }
        n = read_sums(fd, sums, 64);
        assert_int_equal(n, 60);
        for (uint32_t i = 0; i < n; i++)
                assert_int_equal(sums[i], i + 500);

        server_end(&s);
        safe_close(fd);
}

/* The copy must not carry out what sd-bus has read together with the end of the authentication. */
static void test_a_call_behind_the_authentication(void **state) {
        Raw raw = make_sum(false, 1, 40, 2);
        char text[512], uid[16];
        uint32_t sums[2];
        Server s = {};
        int fd = given_a_socket(&s);
        size_t n;

        (void) snprintf(uid, sizeof(uid), "%u", (unsigned) geteuid());
        n = (size_t) snprintf(text, sizeof(text), "%cAUTH EXTERNAL ", 0);
        for (const char *d = uid; *d; d++)
                n += (size_t) snprintf(text + n, sizeof(text) - n, "%02x", (unsigned) *d);
        n += (size_t) snprintf(text + n, sizeof(text) - n, "\r\nBEGIN\r\n");
        memcpy(text + n, raw.bytes, raw.size);
        send_bytes(fd, text, n + raw.size);

        while (sd_bus_is_ready(s.bus) <= 0)
                assert_true(sd_bus_process(s.bus, NULL) >= 0);
        assert_true(read(fd, text, sizeof(text)) > 0); /* OK ... */
        if (s.n_calls == 0) {
                assert_false(look(s.bus).at_boundary);
                assert_int_equal(read(fd, text, sizeof(text)), -1);
        }
        settle(s.bus, NULL);
        assert_int_equal(s.n_calls, 1);
        assert_true(look(s.bus).at_boundary);
        assert_int_equal(read_sums(fd, sums, 2), 1);
        assert_int_equal(sums[0], 42);

        server_end(&s);
        safe_close(fd);
}

static void test_a_large_message(void **state) {
        _cleanup_(freep) char *text = calloc(1, LARGE + 1);
        int room = 64 * 1024;
        Server s = {};
        sd_bus *client = given_a_client(&s);
        Answer a = {};
        unsigned n_half = 0;

        assert_non_null(text);
        memset(text, 'x', LARGE);
        (void) setsockopt(sd_bus_get_fd(client), SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
        assert_true(sd_bus_call_method_async(client, NULL, NULL, PATH, INTERFACE, "Length", on_answer, &a, "s", text) >= 0);

        while (a.n == 0) {
                (void) sd_bus_process(s.bus, NULL);
                n_half += !look(s.bus).at_boundary;
                (void) sd_bus_process(client, NULL);
        }
        assert_true(n_half > 0);
        assert_int_equal(a.number, LARGE);
        server_becomes_another(&s);
        begin_sum(client, &a, 1, 2);
        settle(client, s.bus);
        assert_int_equal(a.number, 3);

        (void) sd_bus_close_unref(client);
        server_end(&s);
}

/* What is no D-Bus, after the other program has gone on with it: closed by that as it would be by this one. */
static void test_garbage(void **state) {
        Server s = {};
        int fd = given_a_raw_client(&s);

        server_becomes_another(&s);
        send_bytes(fd, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", 35);
        while (sd_bus_process(s.bus, NULL) > 0)
                ;
        assert_int_equal(sd_bus_process(s.bus, NULL) < 0 || sd_bus_is_open(s.bus) <= 0, 1);
        server_end(&s);
        safe_close(fd);
}

/* Many at once, and each with an answer of its own. */
static void test_many_connections(void **state) {
        Server servers[40] = {};
        BusProbe probes[40];
        int fds[40];

        for (size_t i = 0; i < 40; i++) {
                Raw raw = make_sum(false, 1, 1, 1);

                fds[i] = given_a_raw_client(&servers[i]);
                send_bytes(fds[i], raw.bytes, i % 3 == 1 ? 20 : raw.size);
                settle(servers[i].bus, NULL);
                probes[i] = (BusProbe) { .bus = servers[i].bus };
        }
        assert_int_equal(bus_probe(probes, 40), 0);
        for (size_t i = 0; i < 40; i++) {
                assert_int_equal(probes[i].at_boundary, i % 3 != 1);
                assert_int_equal(probes[i].serial, i % 3 != 1);
                server_end(&servers[i]);
                safe_close(fds[i]);
        }
}

/* Nobody is taken for somebody who does not send the rest of a message only because there are no descriptors left. */
static void test_without_descriptors_to_spare(void **state) {
        struct rlimit original, limit;
        Server servers[2] = {};
        BusProbe probes[2];
        int fds[2], last, r;

        for (size_t i = 0; i < 2; i++) {
                fds[i] = given_a_raw_client(&servers[i]);
                settle(servers[i].bus, NULL);
                probes[i] = (BusProbe) { .bus = servers[i].bus };
        }

        /* Room for the two that the probe needs for itself, and for no other. */
        assert_int_equal(getrlimit(RLIMIT_NOFILE, &original), 0);
        last = dup(STDIN_FILENO);
        assert_true(last >= 0);
        safe_close(last);
        while (fcntl(last + 1, F_GETFD) >= 0)
                last++;
        limit = original;
        limit.rlim_cur = (rlim_t) last + 2;
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
        r = bus_probe(probes, 2);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &original), 0);
        assert_int_equal(r, 0);

        for (size_t i = 0; i < 2; i++) {
                assert_true(probes[i].at_boundary);
                server_end(&servers[i]);
                safe_close(fds[i]);
        }
}

/* ---- a message bus ---- */

typedef struct Broker {
        pid_t pid;
        char address[PATH_MAX + 16];
} Broker;

static bool given_a_broker(World *w, Broker *ret) {
        char config[PATH_MAX + 16], argument[PATH_MAX + 64], path[PATH_MAX + 16];
        FILE *f;

        if (system("command -v dbus-daemon >/dev/null") != 0)
                return false;

        (void) snprintf(path, sizeof(path), "%s/socket", w->folder);
        (void) snprintf(ret->address, sizeof(ret->address), "unix:path=%.*s", PATH_MAX, path);
        (void) snprintf(config, sizeof(config), "%s/conf", w->folder);
        (void) snprintf(argument, sizeof(argument), "--config-file=%s", config);
        f = fopen(config, "we");
        assert_non_null(f);
        fprintf(f, "<busconfig><type>custom</type><listen>%s</listen><auth>EXTERNAL</auth><policy context=\"default\">"
                   "<allow send_destination=\"*\" eavesdrop=\"true\"/><allow eavesdrop=\"true\"/><allow own=\"*\"/><allow user=\"*\"/></policy>"
                   "</busconfig>\n", ret->address);
        (void) fclose(f);

        ret->pid = fork();
        assert_true(ret->pid >= 0);
        if (ret->pid == 0) {
                (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
                execlp("dbus-daemon", "dbus-daemon", "--nofork", "--nopidfile", argument, NULL);
                _exit(127);
        }
        for (unsigned i = 0; access(path, F_OK) < 0; i++) {
                assert_true(i < 10000);
                (void) usleep(1000);
        }
        return true;
}

static sd_bus *connect_to(const Broker *b) {
        sd_bus *bus = NULL;
        int r = -1;

        for (unsigned i = 0; r < 0 && i < 1000; i++) {
                assert_true(sd_bus_new(&bus) >= 0);
                assert_true(sd_bus_set_address(bus, b->address) >= 0);
                assert_true(sd_bus_set_bus_client(bus, true) >= 0);
                assert_true(sd_bus_negotiate_fds(bus, true) >= 0);
                r = sd_bus_start(bus);
                if (r < 0) {
                        bus = sd_bus_unref(bus);
                        (void) usleep(1000); /* the file is there before it is listened on */
                }
        }
        assert_true(r >= 0);
        return bus;
}

static void wait_for_answers(sd_bus *client, sd_bus *server, const unsigned *n, unsigned expected) {
        uint64_t deadline = clock_get_monotonic() + WORLD_PATIENCE_USEC;

        while (*n < expected) {
                assert_true(clock_get_monotonic() < deadline);
                settle(client, server);
                (void) usleep(200);
        }
}

static int on_gone(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        (*(unsigned *) userdata)++;
        return 0;
}

static void test_message_bus(void **state) {
        World *w = *state;
        unsigned n_gone = 0, n_installed = 0;
        Server s = {};
        char unique[64];
        const char *name;
        sd_bus *client, *third;
        Answer a = {};
        Broker b;

        if (!given_a_broker(w, &b)) {
                print_message("# there is no dbus-daemon here\n");
                skip();
        }

        s.bus = connect_to(&b);
        server_add_objects(&s);
        assert_true(sd_bus_request_name(s.bus, "org.monoshim1.Test", 0) >= 0);
        assert_true(sd_bus_get_unique_name(s.bus, &name) >= 0);
        (void) snprintf(unique, sizeof(unique), "%s", name);
        client = connect_to(&b);
        third = connect_to(&b);
        assert_true(sd_bus_add_match(s.bus, NULL, "type='signal',member='NameOwnerChanged',arg2=''", on_gone, &n_gone) >= 0);

        for (unsigned round = 0; round < 10; round++) {
                Transplant t = { .unique_name = unique };
                int far = -EBADF, fd;
                BusProbe probe;

                assert_true(sd_bus_call_method_async(client, NULL, "org.monoshim1.Test", PATH, INTERFACE, "Sum",
                                                     on_answer, &a, "uu", round, 5) >= 0);
                probe = look(s.bus);
                while (!probe.at_boundary) {
                        settle(s.bus, NULL);
                        probe = look(s.bus);
                }
                t.serial = probe.serial;
                t.can_pass_fds = sd_bus_can_send(s.bus, SD_BUS_TYPE_UNIX_FD) > 0;
                assert_true(t.can_pass_fds);
                assert_true(sd_bus_get_bus_id(s.bus, &t.id) >= 0);
                fd = fcntl(sd_bus_get_fd(s.bus), F_DUPFD_CLOEXEC, 3);
                assert_true(fd >= 0);

                /* Not closed politely: its name goes with its last descriptor only. */
                server_end(&s);
                assert_int_equal(transplant_begin(&t, &s.bus, &far), 0);
                server_add_objects(&s);
                assert_true(sd_bus_add_match_async(s.bus, NULL, "type='signal',member='NameOwnerChanged',arg2=''",
                                                   on_gone, on_gone, &n_gone) >= 0);
                assert_int_equal(transplant_answer(s.bus, far), 0);
                assert_int_equal(transplant_end(s.bus, fd), 0);
                safe_close(far);
                assert_true(sd_bus_get_unique_name(s.bus, &name) >= 0);
                assert_string_equal(name, unique);

                wait_for_answers(client, s.bus, &a.n, round + 1);
                assert_int_equal(a.number, round + 5);

                /* The bus took the call that installs the match for one that had been answered. */
                n_installed = n_gone;
                assert_int_equal(n_installed, round + 1);
        }

        /* The bus knows of one match, from before all that. */
        (void) sd_bus_flush_close_unref(third);
        wait_for_answers(client, s.bus, &n_gone, n_installed + 1);
        assert_int_equal(n_gone, n_installed + 1);

        assert_true(sd_bus_call_method_async(s.bus, NULL, "org.freedesktop.DBus", "/org/freedesktop/DBus",
                                             "org.freedesktop.DBus", "GetConnectionUnixUser", on_answer, &a, "s",
                                             "org.monoshim1.Test") >= 0);
        wait_for_answers(client, s.bus, &a.n, 11);
        assert_int_equal(a.number, geteuid());

        (void) sd_bus_flush_close_unref(client);
        server_end(&s);
        assert_int_equal(kill(b.pid, SIGTERM), 0);
        assert_int_equal(waitpid(b.pid, NULL, 0), b.pid);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_calls_go_on, world_begin, world_end),
                cmocka_unit_test_setup_teardown(test_serials_go_on, world_begin, world_end),
                cmocka_unit_test_setup_teardown(test_without_descriptors, world_begin, world_end),
                cmocka_unit_test_setup_teardown(test_a_kept_call_is_answered_later, world_begin, world_end),
                cmocka_unit_test_setup_teardown(test_half_a_message_little_endian, world_begin, world_end),
                cmocka_unit_test_setup_teardown(test_half_a_message_big_endian, world_begin, world_end),
                cmocka_unit_test_setup_teardown(test_calls_in_one_piece, world_begin, world_end),
                cmocka_unit_test_setup_teardown(test_a_call_behind_the_authentication, world_begin, world_end),
                cmocka_unit_test_setup_teardown(test_a_large_message, world_begin, world_end),
                cmocka_unit_test_setup_teardown(test_garbage, world_begin, world_end),
                cmocka_unit_test_setup_teardown(test_many_connections, world_begin, world_end),
                cmocka_unit_test_setup_teardown(test_without_descriptors_to_spare, world_begin, world_end),
                cmocka_unit_test_setup_teardown(test_message_bus, world_begin, world_end),
        };

        (void) signal(SIGPIPE, SIG_IGN);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
