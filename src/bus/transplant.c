/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Making an sd_bus out of a connection that stands already. */

#include "bus/transplant.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>

#define STEPS_MAX 64
#define TEXT_MAX 4096 /* what an authentication may amount to */

#define DRIVER_NAME "org.freedesktop.DBus"
#define DRIVER_PATH "/org/freedesktop/DBus"

/* The first bytes of every message. */
typedef struct MessageHead {
        uint8_t endian, type, flags, version;
        uint32_t body_size, serial;
} MessageHead;

static int far_write(int far, const char *text, size_t size) {
        ssize_t n;

        n = send(far, text, size, MSG_NOSIGNAL);
        if (n < 0)
                return -errno;

        return (size_t) n == size ? 0 : -EPROTO; /* a few bytes into an empty socket */
}

/* Reads what there is, if there is anything. What does not fit is thrown away. */
static size_t far_read(int far, void *buffer, size_t size) {
        char rest[TEXT_MAX];
        size_t done = 0;

        for (;;) {
                bool fits = done < size;
                ssize_t n;

                n = fits ? read(far, (char *) buffer + done, size - done) : read(far, rest, sizeof(rest));
                if (n <= 0)
                        return done;
                if (fits)
                        done += (size_t) n;
        }
}

static void far_drain(int far) {
        (void) far_read(far, NULL, 0);
}

/* Lets the bus take in an answer to its call 'serial', as if it had come over the wire. */
static int bus_take_answer(sd_bus *bus, uint32_t serial, const char *text) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *call = NULL, *answer = NULL;
        int r;

        /* An answer is made to a call. The real one has gone; it is known by its number only. */
        if ((r = sd_bus_message_new_method_call(bus, &call, DRIVER_NAME, DRIVER_PATH, DRIVER_NAME, "Hello")) < 0 ||
            (r = sd_bus_message_seal(call, serial, 0)) < 0 ||
            (r = sd_bus_message_new_method_return(call, &answer)) < 0 ||
            (r = sd_bus_message_set_sender(answer, DRIVER_NAME)) < 0)
                return r;
        if (text) {
                r = sd_bus_message_append(answer, "s", text);
                if (r < 0)
                        return r;
        }
        r = sd_bus_message_seal(answer, 1, 0);
        if (r < 0)
                return r;

        return sd_bus_enqueue_for_read(bus, answer);
}

static int bus_make_ready(sd_bus *bus, int far) {
        int r = 0;

        for (unsigned i = 0; i < STEPS_MAX && r >= 0; i++) {
                if (sd_bus_is_ready(bus) > 0)
                        return 0;
                r = sd_bus_process(bus, NULL);
                far_drain(far);
        }

        return r < 0 ? r : -EPROTO;
}

/* ---- the other side of a server ---- */

static int peer_authenticate(sd_bus *bus, int far, bool can_pass_fds) {
        char uid[16], text[128];
        size_t n;
        int r;

        /* We are who connects here, so it is our own uid: in decimal, and the digits in hexadecimal. */
        (void) snprintf(uid, sizeof(uid), "%u", (unsigned) geteuid());
        n = (size_t) snprintf(text, sizeof(text), "%cAUTH EXTERNAL ", 0);
        for (const char *d = uid; *d; d++)
                n += (size_t) snprintf(text + n, sizeof(text) - n, "%02x", (unsigned) *d);
        n += (size_t) snprintf(text + n, sizeof(text) - n, "\r\n%sBEGIN\r\n",
                               can_pass_fds ? "NEGOTIATE_UNIX_FD\r\n" : "");

        r = far_write(far, text, n);
        return r < 0 ? r : bus_make_ready(bus, far);
}

/* ---- the message bus ---- */

/* Answers one line of a client. Returns 1 after the last one. */
static int broker_answer_line(const Transplant *t, int far, const char *line) {
        char ok[SD_ID128_STRING_MAX + 8], id[SD_ID128_STRING_MAX];

        if (streq(line, "BEGIN"))
                return 1;
        if (streq(line, "NEGOTIATE_UNIX_FD"))
                return t->can_pass_fds ? far_write(far, "AGREE_UNIX_FD\r\n", 15) : far_write(far, "ERROR\r\n", 7);
        if (streq(line, "AUTH EXTERNAL"))
                return far_write(far, "DATA\r\n", 6);
        if (streq(line, "DATA") || startswith(line, "DATA ") || startswith(line, "AUTH EXTERNAL ")) {
                int n = snprintf(ok, sizeof(ok), "OK %s\r\n", sd_id128_to_string(t->id, id));

                return far_write(far, ok, (size_t) n);
        }
        return -EPROTO;
}

static int broker_answer_lines(const Transplant *t, int far, char *text, size_t *size) {
        char *line = text, *end;
        int r = 0;

        while (r == 0 && (end = memmem(line, *size - (size_t) (line - text), "\r\n", 2))) {
                *end = 0;
                r = broker_answer_line(t, far, *line ? line : line + 1 /* the NUL that comes first of all */);
                line = end + 2;
        }

        *size -= (size_t) (line - text);
        memmove(text, line, *size);
        return r;
}

static int broker_authenticate(const Transplant *t, sd_bus *bus, int far) {
        char text[TEXT_MAX];
        size_t size = 0;
        int r;

        for (unsigned i = 0; i < STEPS_MAX; i++) {
                size += far_read(far, text + size, sizeof(text) - size);
                r = broker_answer_lines(t, far, text, &size);
                if (r != 0)
                        return r < 0 ? r : 0;
                r = sd_bus_process(bus, NULL);
                if (r < 0)
                        return r;
        }

        return -EPROTO;
}

static int broker_say_hello(const Transplant *t, sd_bus *bus, int far) {
        int r;

        r = bus_take_answer(bus, 1, t->unique_name); /* a client's Hello is always its first call */
        return r < 0 ? r : bus_make_ready(bus, far);
}

/* ---- both ---- */

/* A message that has a number already makes sd-bus go on from there. */
static int bus_set_serial(sd_bus *bus, int far, uint32_t serial) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        int r;

        if (serial == 0)
                return 0;

        if ((r = sd_bus_message_new_signal(bus, &m, "/", "org.monoshim1.Serial", "Serial")) < 0 ||
            (r = sd_bus_message_seal(m, serial, 0)) < 0 || (r = sd_bus_send(bus, m, NULL)) < 0)
                return r;

        far_drain(far);
        return 0;
}

static int bus_set_up(sd_bus *bus, const Transplant *t) {
        int r;

        (void) sd_bus_set_description(bus, t->is_peer ? "peer" : "bus");
        r = t->is_peer ? sd_bus_set_server(bus, true, t->id) : sd_bus_set_bus_client(bus, true);
        if (r < 0)
                return r;
        r = sd_bus_negotiate_fds(bus, !t->is_peer || t->can_pass_fds);
        if (r < 0)
                return r;

        return sd_bus_start(bus);
}

int transplant_begin(const Transplant *t, sd_bus **ret, int *ret_far) {
        _cleanup_(sd_bus_close_unrefp) sd_bus *bus = NULL;
        _cleanup_(safe_closep) int far = -EBADF;
        int fds[2], r;

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0)
                return -errno;
        far = fds[1];

        r = sd_bus_new(&bus);
        if (r >= 0)
                r = sd_bus_set_fd(bus, fds[0], fds[0]);
        if (r < 0) {
                safe_close(fds[0]);
                return r;
        }

        r = bus_set_up(bus, t);
        if (r < 0)
                return r;

        r = t->is_peer ? peer_authenticate(bus, far, t->can_pass_fds) : broker_authenticate(t, bus, far);
        if (r < 0)
                return r;
        if (!t->is_peer) {
                r = broker_say_hello(t, bus, far);
                if (r < 0)
                        return r;
        }

        r = bus_set_serial(bus, far, t->serial);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(bus);
        *ret_far = TAKE_FD(far);
        return 0;
}

int transplant_answer(sd_bus *bus, int far) {
        MessageHead head;

        if (far_read(far, &head, sizeof(head)) != sizeof(head) || head.type != SD_BUS_MESSAGE_METHOD_CALL)
                return -EPROTO;

        return bus_take_answer(bus, head.serial, NULL);
}

int transplant_end(sd_bus *bus, int fd) {
        int place;

        place = sd_bus_get_fd(bus);
        if (place < 0)
                return place;

        if (dup3(fd, place, O_CLOEXEC) < 0)
                return -errno;

        safe_close(fd);
        return 0;
}
