# SPDX-License-Identifier: LGPL-2.1-or-later
"""Standard streams: FIFOs that nobody's coming or going disturbs, and descriptors passed by the client."""

import os
import select
import socket
import time

import pytest

import monoshim_testing as t
from monoshim_testing import refused


def test_output_written_before_a_reader_came_is_delivered(client, bundle, fifo):
    """T-NOREADER"""
    out, err = fifo("out"), fifo("err")
    c = client.create("c1", bundle("sh", "-c", "echo to out; echo to err >&2; sleep 1000"), Stdout=str(out), Stderr=str(err))
    assert (c.get("Stdin"), c.get("Stdout"), c.get("Stderr")) == ("", str(out), str(err))
    assert client.events("c1")[0].stdout == str(out) and client.events("c1")[0].stderr == str(err)
    c.start()
    time.sleep(0.2)
    assert out.open_reader().read_line() == b"to out\n"
    assert err.open_reader().read_line() == b"to err\n"
    c.end()


def test_output_written_after_the_end_of_the_first_reader_is_delivered(client, bundle, fifo):
    """T-READER-GONE: the container lives on, and the next reader gets what was written in between."""
    inp, out = fifo("in"), fifo("out")
    c = client.create("c1", bundle("sh", "-c", "while read l; do echo got $l; done"), Stdin=str(inp), Stdout=str(out))
    c.start()
    inp.open_writer()
    out.open_reader()
    inp.write(b"1\n")
    assert out.read_line() == b"got 1\n"
    out.close()
    inp.write(b"2\n3\n")
    time.sleep(0.2)
    assert c.status == "running"
    assert out.open_reader().read_line() == b"got 2\n"
    assert out.read_line() == b"got 3\n"
    c.end()


def test_readers_that_come_and_go_lose_nothing(client, bundle, fifo):
    out = fifo("out")
    c = client.create("c1", bundle("sh", "-c", "seq 1 2000"), Stdout=str(out))
    c.start()
    data = b""
    while not data.endswith(b"\n2000\n"):
        out.open_reader()
        ready, _, _ = select.select([out.fd], [], [], t.TIMEOUT)
        assert ready
        data += os.read(out.fd, 777)
        out.close()
    assert data == b"".join(b"%d\n" % i for i in range(1, 2001))
    assert c.wait()[0] == 0
    c.delete()


def test_a_waiting_reader_gets_end_of_file_without_delete(client, bundle, fifo):
    out = fifo("out").open_reader()
    c = client.create("c1", bundle("echo", "hello"), Stdout=str(out))
    c.start()
    assert out.read_to_end(5 * t.SCALE) == b"hello\n"
    assert c.status == "stopped"
    assert c.wait()[0] == 0
    c.delete()


def test_end_of_file_comes_when_init_is_killed(client, bundle, fifo):
    out, err = fifo("out").open_reader(), fifo("err").open_reader()
    c = client.create("c1", bundle("sh", "-c", "echo x; exec sleep 1000"), Stdout=str(out), Stderr=str(err))
    c.start()
    out.read_until(lambda d: d == b"x\n")
    c.kill()
    assert out.read_to_end(5 * t.SCALE) == b"x\n"
    assert err.read_to_end(5 * t.SCALE) == b""
    c.wait()
    c.delete()


def test_end_of_file_comes_when_a_created_container_is_deleted(client, bundle, fifo):
    out = fifo("out").open_reader()
    c = client.create("c1", bundle("sleep", "1000"), Stdout=str(out))
    c.delete()
    assert out.read_to_end(5 * t.SCALE) == b""


def test_end_of_file_comes_when_create_fails(client, bundle, fifo):
    out = fifo("out").open_reader()
    inp = fifo("in")
    with refused("RuntimeFailed"):
        client.create("c1", bundle("/no/such/program"), Stdin=str(inp), Stdout=str(out))
    out.read_to_end(5 * t.SCALE)
    with pytest.raises(OSError):
        inp.open_writer()  # ENXIO: nobody holds its other end


def test_data_is_kept_after_the_exit_until_it_is_read(client, bundle, fifo):
    out = fifo("out")
    c = client.create("c1", bundle("sh", "-c", "seq 1 5000; exit 3"), Stdout=str(out))
    c.start()
    assert c.wait()[0] == 3
    time.sleep(1)
    assert out.open_reader().read_to_end(10 * t.SCALE) == b"".join(b"%d\n" % i for i in range(1, 5001))
    c.delete()


def test_a_slow_reader_gets_everything_and_then_end_of_file(client, bundle, fifo):
    """T-DRAIN: 1 MB through a FIFO of 64 KiB, read in small bites with pauses."""
    out = fifo("out").open_reader()
    c = client.create("c1", bundle("sh", "-c", "dd if=/proc/self/exe bs=1000 count=1000 2>&-; exit 4"), Stdout=str(out))
    c.start()
    size, bites = 0, 0
    while True:
        assert select.select([out.fd], [], [], t.TIMEOUT)[0]
        try:
            chunk = os.read(out.fd, 20000)
        except BlockingIOError:
            continue
        if not chunk:
            break
        size += len(chunk)
        bites += 1
        if bites % 10 == 0:
            time.sleep(0.05)
    assert size == 1000000
    assert c.wait()[0] == 4
    c.delete()


def test_the_rest_is_dropped_and_let_go_at_delete(daemon, client, bundle, fifo):
    out = fifo("out")
    c = client.create("c1", bundle("echo", "nobody reads this"), Stdout=str(out))
    c.start()
    c.wait()
    c.delete()
    t.wait_for(lambda: str(out) not in "".join(daemon.fds()), what="the end of the hold")
    assert os.read(out.open_reader().fd, 100) == b""


def test_a_container_whose_reader_is_gone_blocks_and_goes_on_later(client, bundle, fifo):
    """T-BACKPRESSURE: nothing is dropped, and nothing but the container waits."""
    out = fifo("out")
    c = client.create("c1", bundle("sh", "-c", "dd if=/proc/self/exe bs=1000 count=300 2>&-"), Stdout=str(out))
    c.start()
    time.sleep(0.3)
    assert c.status == "running"
    assert len(out.open_reader().read_to_end(10 * t.SCALE)) == 300000
    assert c.wait()[0] == 0
    c.delete()


def test_a_blocked_container_can_be_killed(client, bundle, fifo):
    out = fifo("out")
    c = client.create("c1", bundle("yes"), Stdout=str(out))
    c.start()
    out.open_reader()
    t.wait_for(lambda: out.unread() >= 32768, what="a full FIFO")
    c.kill()
    assert c.wait()[0] == 137
    data = out.read_to_end(10 * t.SCALE)
    assert data.startswith(b"y\ny\n") and len(data) >= 32768
    c.delete()


def test_stdout_and_stderr_may_be_one_fifo(client, bundle, fifo):
    both = fifo("both").open_reader()
    c = client.create("c1", bundle("sh", "-c", "echo a; echo b >&2; echo c"), Stdout=str(both), Stderr=str(both))
    c.start()
    assert both.read_to_end(5 * t.SCALE) == b"a\nb\nc\n"
    c.wait()
    c.delete()


def test_only_stderr(client, bundle, fifo):
    err = fifo("err").open_reader()
    c = client.create("c1", bundle("sh", "-c", "echo a; echo b >&2"), Stderr=str(err))
    c.start()
    assert err.read_to_end(5 * t.SCALE) == b"b\n"
    c.wait()
    c.delete()


def test_a_background_child_that_keeps_stdout_holds_up_neither_exit_nor_delete(client, bundle, fifo):
    """T-BG: end-of-file comes when whoever inherited the stream has ended as well."""
    out = fifo("out").open_reader()
    c = client.create("c1", bundle("sh", "-c", "sleep 1000 & echo done"), Stdout=str(out))
    c.start()
    began = time.monotonic()
    assert c.wait()[0] == 0
    assert c.delete()[1] == 0
    assert time.monotonic() - began < 3 * t.SCALE
    assert out.read_to_end(5 * t.SCALE) == b"done\n"


def test_an_inheritor_outside_the_container_holds_up_nothing_but_end_of_file(client, bundle, fifo, directory):
    """T-BG with a process that outlives the container: here, one that was handed the FIFO by its path."""
    out = fifo("out").open_reader()
    c = client.create("c1", bundle("echo", "x"), Stdout=str(out))
    other = os.open(str(out), os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    c.start()
    assert c.wait()[0] == 0
    out.read_until(lambda d: d == b"x\n")
    assert not select.select([out.fd], [], [], 0.3)[0]
    c.delete()
    os.write(other, b"late\n")
    os.close(other)
    assert out.read_to_end(5 * t.SCALE) == b"x\nlate\n"


# stdin


def test_stdin_reads_end_of_file_after_close_io_and_the_clients_close(client, bundle, fifo):
    """T-STDIN"""
    inp, out = fifo("in"), fifo("out").open_reader()
    c = client.create("c1", bundle("cat"), Stdin=str(inp), Stdout=str(out))
    c.start()
    inp.open_writer()
    inp.write(b"one\n")
    assert out.read_line() == b"one\n"
    inp.close()  # detached: no end-of-file, the daemon holds it open
    assert not select.select([out.fd], [], [], 0.3)[0]
    assert c.status == "running"
    inp.open_writer()  # attached again
    inp.write(b"two\n")
    assert out.read_line() == b"two\n"
    assert c.process("CloseIO") == ()
    assert not select.select([out.fd], [], [], 0.3)[0]
    inp.write(b"three\n")
    inp.close()
    assert out.read_to_end(5 * t.SCALE) == b"three\n"
    assert c.wait()[0] == 0
    c.delete()


def test_close_io_before_start_is_remembered(client, bundle, fifo):
    inp, out = fifo("in"), fifo("out").open_reader()
    c = client.create("c1", bundle("cat"), Stdin=str(inp), Stdout=str(out))
    inp.open_writer()
    inp.write(b"early\n")
    c.process("CloseIO")
    c.process("CloseIO")
    inp.close()
    c.start()
    assert out.read_to_end(5 * t.SCALE) == b"early\n"
    assert c.wait()[0] == 0
    c.delete()


def test_close_io_without_any_writer_ends_the_container(client, bundle, fifo):
    inp = fifo("in")
    c = client.create("c1", bundle("cat"), Stdin=str(inp))
    c.start()
    time.sleep(0.2)
    assert c.status == "running"
    c.process("CloseIO")
    assert c.wait(5 * t.SCALE)[0] == 0
    c.delete()


def test_a_megabyte_and_then_close_io_arrives_whole(client, bundle, fifo):
    inp, out = fifo("in"), fifo("out").open_reader()
    c = client.create("c1", bundle("wc", "-c"), Stdin=str(inp), Stdout=str(out))
    c.start()
    inp.open_writer()
    inp.write(b"z" * 1000000)
    c.process("CloseIO")
    inp.close()
    assert out.read_to_end(5 * t.SCALE).strip() == b"1000000"
    c.wait()
    c.delete()


def test_data_written_to_stdin_before_the_start_arrives(client, bundle, fifo):
    inp, out = fifo("in"), fifo("out").open_reader()
    c = client.create("c1", bundle("head", "-n", "1"), Stdin=str(inp), Stdout=str(out))
    inp.open_writer()
    inp.write(b"early bird\n")
    c.start()
    assert out.read_line() == b"early bird\n"
    c.wait()
    c.delete()


def test_the_same_fifo_again_after_delete(client, bundle, fifo):
    inp, out = fifo("in"), fifo("out").open_reader()
    for i in range(5):
        c = client.create("c1", bundle("echo", "%d" % i), Stdin=str(inp), Stdout=str(out))
        c.start()
        assert out.read_line() == b"%d\n" % i
        c.wait()
        c.delete()


# Descriptors


def test_a_passed_descriptor_is_the_containers_very_own(client, bundle):
    r, w = os.pipe()
    in_r, in_w = os.pipe()
    c = client.create("c1", bundle("sh", "-c", "read l; echo got $l; exit 2"), Stdin=in_r, Stdout=w)
    os.close(w)
    os.close(in_r)
    assert (c.get("Stdin"), c.get("Stdout"), c.get("Stderr")) == ("fd", "fd", "")
    assert client.events("c1")[0].stdin == "fd"
    c.start()
    os.write(in_w, b"it\n")
    os.close(in_w)
    with os.fdopen(r, "rb") as f:
        assert f.read() == b"got it\n"  # to its end: nobody else holds the pipe
    assert c.wait()[0] == 2
    c.delete()


def test_a_file_and_a_socket_can_be_passed(client, bundle, directory):
    ours, theirs = socket.socketpair()
    with open(directory + "/output", "wb") as f:
        c = client.create("c1", bundle("sh", "-c", "echo to file; echo to socket >&2"), Stdout=f, Stderr=theirs)
    theirs.close()
    c.start()
    c.wait()
    ours.settimeout(t.TIMEOUT)
    assert ours.recv(100) == b"to socket\n"
    assert ours.recv(100) == b""
    with open(directory + "/output") as f:
        assert f.read() == "to file\n"
    c.delete()


def test_the_daemon_keeps_no_copy_of_a_passed_descriptor(daemon, client, bundle):
    r, w = os.pipe()
    before = daemon.all_fds()
    c = client.create("c1", bundle("sleep", "1000"), Stdout=w)
    os.close(w)
    c.start()
    c.kill()
    assert select.select([r], [], [], t.TIMEOUT)[0] and os.read(r, 1) == b""
    c.wait()
    c.delete()
    os.close(r)
    t.wait_for(lambda: daemon.all_fds() <= before + 2, what="its descriptors closed")


def test_descriptors_of_a_refused_create_are_closed(daemon, client, bundle):
    r, w = os.pipe()
    with refused("InvalidArgument"):
        client.create("bad id", bundle("true"), Stdout=w)
    with refused("RuntimeFailed"):
        client.create("c1", bundle("/no/such/program"), Stdout=w)
    os.close(w)
    assert select.select([r], [], [], t.TIMEOUT)[0]
    while os.read(r, 1000):
        pass
    os.close(r)


# Owners, and FIFOs that change


def test_io_uid_and_gid_own_the_fifos(client, bundle, fifo):
    """T-IOUID: so that a program of that user can open /dev/stdout again."""
    out, err, inp = fifo("out").open_reader(), fifo("err"), fifo("in")
    c = client.create("c1", bundle("sh", "-c", "echo again > /proc/self/fd/1", user={"uid": 1234, "gid": 2345}),
                      Stdin=str(inp), Stdout=str(out), Stderr=str(err), IoUid=1234, IoGid=2345)
    for f in (out, err, inp):
        st = os.stat(str(f))
        assert (st.st_uid, st.st_gid) == (1234, 2345)
    c.start()
    assert c.wait()[0] == 0
    assert out.read_to_end(5 * t.SCALE) == b"again\n"
    c.delete()


def test_io_uid_never_touches_a_passed_descriptor(client, bundle, directory):
    with open(directory + "/file", "w") as f:
        c = client.create("c1", bundle("true"), Stdout=f, IoUid=1234, IoGid=2345)
        assert os.fstat(f.fileno()).st_uid == 0
    c.delete()


def test_a_fifo_replaced_after_create_is_not_the_containers(client, bundle, fifo, directory):
    out = fifo("out").open_reader()
    c = client.create("c1", bundle("echo", "x"), Stdout=str(out))
    os.unlink(str(out))
    os.mkfifo(str(out))
    c.start()
    assert out.read_to_end(5 * t.SCALE) == b"x\n"
    c.wait()
    c.delete()


def test_a_fifo_removed_after_create_harms_nothing(client, bundle, fifo):
    out = fifo("out")
    c = client.create("c1", bundle("sh", "-c", "echo x; exit 1"), Stdout=str(out))
    os.unlink(str(out))
    c.start()
    assert c.wait()[0] == 1
    c.delete()


def test_bytes_are_not_touched(client, bundle, fifo, directory):
    out, inp = fifo("out").open_reader(), fifo("in")
    c = client.create("c1", bundle("cat"), Stdin=str(inp), Stdout=str(out))
    c.start()
    inp.open_writer()
    data = bytes(range(256)) * 64
    inp.write(data)
    c.process("CloseIO")
    inp.close()
    assert out.read_to_end(5 * t.SCALE) == data
    c.wait()
    c.delete()


def cpu_ticks(pid):
    with open("/proc/%d/stat" % pid) as f:
        fields = f.read().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


@pytest.mark.skipif(t.INSTRUMENTED, reason="measures time")
def test_the_daemon_moves_no_bytes_itself(daemon, client, bundle, fifo):
    """500 MB flow, and it uses no processor time for them."""
    out = fifo("out").open_reader()
    c = client.create("c1", bundle("yes", "x" * 100), Stdout=str(out))
    c.start()
    before, size = cpu_ticks(daemon.pid), 0
    while size < 500_000_000 // (1 if t.SLOW else 10):
        assert select.select([out.fd], [], [], t.TIMEOUT)[0]
        size += len(os.read(out.fd, 1 << 16))
    assert cpu_ticks(daemon.pid) - before <= 1
    c.end()


def test_many_failing_creates_leak_no_descriptor(fake, bundle, fifo):
    """T-FD-FAIL"""
    client = fake.connect()
    inp, out, err = fifo("in"), fifo("out"), fifo("err")
    b = bundle("sleep", "inf")
    fake.control.set("c1", "create", "exit 1")
    before = None
    for i in range(100 if t.SLOW else 30):
        with refused("RuntimeFailed"):
            client.create("c1", b, Stdin=str(inp), Stdout=str(out), Stderr=str(err))
        if i == 5:
            before = fake.all_fds()
    assert fake.all_fds() <= before
