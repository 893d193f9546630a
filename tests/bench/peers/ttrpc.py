# SPDX-License-Identifier: LGPL-2.1-or-later
"""As much of ttrpc and of protobuf as calling a shim takes: unary calls, and fields that are numbers, texts or messages."""

import os
import select
import socket
import struct

HEADER = struct.Struct(">IIBB")  # length, stream, type, flags
REQUEST, RESPONSE = 1, 2


def _varint(n):
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def encode(fields):
    """{number: an int, a bool, a str or bytes}; what is empty or 0 is left out, as protobuf has it."""
    out = b""
    for number, value in fields.items():
        if not value:
            continue
        if isinstance(value, int):
            out += _varint(number << 3) + _varint(int(value))
        else:
            data = value.encode() if isinstance(value, str) else value
            out += _varint(number << 3 | 2) + _varint(len(data)) + data
    return out


def decode(data):
    """{number: int or bytes}, of a message without repeated fields."""
    found, at = {}, 0

    def varint():
        nonlocal at
        n = shift = 0
        while True:
            byte = data[at]
            at += 1
            n |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return n

    while at < len(data):
        key = varint()
        if key & 7 == 0:
            found[key >> 3] = varint()
        elif key & 7 == 2:
            size = varint()
            found[key >> 3] = data[at:at + size]
            at += size
        else:
            raise ValueError("a field of wire type %d" % (key & 7))
    return found


def any_message(type_url, value):
    return encode({1: type_url, 2: value})


class Error(Exception):
    pass


def _receive(sock, size):
    data = b""
    while len(data) < size:
        chunk = sock.recv(size - len(data))
        if not chunk:
            raise ConnectionError("the shim has closed the connection")
        data += chunk
    return data


def _read_frame(sock):
    size, stream, kind, _ = HEADER.unpack(_receive(sock, HEADER.size))
    return stream, kind, _receive(sock, size)


class Client:
    """One connection, one call at a time."""

    def __init__(self, path, service, timeout=120):
        self.service = service
        self.stream = 1
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(timeout)
        try:
            self.sock.connect(path)
        except OSError:
            self.sock.close()
            raise

    def call(self, method, fields):
        """Returns the fields of the answer."""
        request = encode({1: self.service, 2: method, 3: encode(fields)})
        self.sock.sendall(HEADER.pack(len(request), self.stream, REQUEST, 0) + request)
        stream, kind, data = _read_frame(self.sock)
        if (stream, kind) != (self.stream, RESPONSE):
            raise Error("%s: an answer of type %d on stream %d" % (method, kind, stream))
        self.stream += 2
        response = decode(data)
        status = decode(response.get(1, b""))
        if status.get(1):
            raise Error("%s: %s" % (method, status.get(2, b"").decode(errors="replace")))
        return decode(response.get(2, b""))

    def close(self):
        self.sock.close()


def serve_events(path):
    """Starts a process that takes the events of shims, as containerd does, and forgets them. Returns its pid; it listens
    already. It ends with its parent."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen(1024)
    pid = os.fork()
    if pid != 0:
        listener.close()
        return pid
    try:
        _serve(listener)
    finally:
        os._exit(1)


def _serve(listener):
    parent = os.pidfd_open(os.getppid())
    poll = select.epoll()
    poll.register(listener, select.EPOLLIN)
    poll.register(parent, select.EPOLLIN)
    clients = {}
    while True:
        for fd, _ in poll.poll():
            if fd == parent:
                os._exit(0)
            if fd == listener.fileno():
                client, _ = listener.accept()
                clients[client.fileno()] = client
                poll.register(client, select.EPOLLIN)
                continue
            try:
                stream, _, _ = _read_frame(clients[fd])
                clients[fd].sendall(HEADER.pack(0, stream, RESPONSE, 0))
            except OSError:
                clients.pop(fd).close()
