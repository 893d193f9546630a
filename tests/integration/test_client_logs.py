# SPDX-License-Identifier: LGPL-2.1-or-later
"""monoshim logs: what a container has written to files or to a journal, shown again and followed."""

import json
import os
import subprocess
import time

import pytest

import monoshim_testing as t
from test_client import fake_shell, make_shell, read_line, shell  # noqa: F401 (fixtures)

JOURNALD = "/usr/lib/systemd/systemd-journald"

SLOWLY = "echo one; echo bad >&2; while ! test -e /go/on; do usleep 20000; done; echo two; printf three"


@pytest.fixture
def gate(directory):
    """A directory that a container sees as /go, and what lets it go on."""
    path = os.path.join(directory, "go")
    os.mkdir(path)

    def open_gate():
        with open(os.path.join(path, "on"), "w"):
            pass

    open_gate.mount = "--mount=type=bind,src=%s,dst=/go" % path
    return open_gate


@pytest.fixture
def root(directory):
    path = os.path.join(directory, "root")
    t.populate_rootfs(path)
    return path


def files(directory):
    return ["--stdout=file://%s/o%%20ut" % directory, "--stderr=file://%s/err" % directory]


def test_files_are_shown_by_their_last_lines(fake_shell, fake, directory, bundle):
    fake_shell("create", "-b", bundle("sleep", "inf"), *files(directory), "web").ok(None)
    big = "".join("line %d\n" % i for i in range(30000)) + "unfinished"
    for content, lines, shown in (("", None, ""), ("a\nb\n", None, "a\nb\n"), ("a\n\nb", None, "a\n\nb\n"), ("a\nb\nc\n", 2, "b\nc\n"),
                                  ("a\nb\nc", 2, "b\nc\n"), ("a\nb", 5, "a\nb\n"), ("a\n", 0, ""), ("a\n\n\n", 2, "\n\n"),
                                  (big, None, big + "\n"), (big, 20000, "".join(x + "\n" for x in big.split("\n")[-20000:])), ("a\nb\n", "all", "a\nb\n")):
        with open(directory + "/o ut", "w") as f:
            f.write(content)
        r = fake_shell("logs", "web", *(["--lines=%s" % lines] if lines is not None else []))
        assert (r.status, r.out == shown, r.err) == (0, True, ""), (content[:20], lines, r.out[:40])


def test_both_streams_come_back_as_they_were(shell, client, root, gate, directory):
    shell("run", "-d", "--name=web", "--rootfs", root, gate.mount, *files(directory), "sh", "-c", SLOWLY).ok(None)
    t.wait_for(lambda: os.path.exists(directory + "/err") and os.path.getsize(directory + "/err"), what="output")
    r = shell("logs", "web")
    assert (r.status, r.out, r.err) == (0, "one\n", "bad\n")

    p = shell.start("logs", "-f", "web")
    assert read_line(p) == "one\n"
    gate()
    out, err = p.communicate(timeout=t.TIMEOUT)
    assert (p.returncode, out, err) == (0, "two\nthree\n", "bad\n")
    told = [json.loads(line) for line in shell("logs", "--json=short", "web").ok(None).splitlines()]
    assert [(x["stream"], x["message"], x["time"]) for x in told] == [("stdout", "one", None), ("stdout", "two", None),
                                                                      ("stdout", "three", None), ("stderr", "bad", None)]
    shell("delete", "web").ok()


def test_a_file_that_is_truncated_is_read_from_its_beginning(fake, fake_shell, directory, bundle):
    fake_shell("create", "-b", bundle("sleep", "inf"), *files(directory), "web").ok(None)
    path = directory + "/o ut"
    with open(path, "a") as f:
        f.write("a long first line\n")
    p = fake_shell.start("logs", "-f", "web")
    assert read_line(p) == "a long first line\n"
    with open(path, "w") as f:
        f.write("new\n")
    assert read_line(p) == "new\n"
    p.terminate()
    p.wait(t.TIMEOUT)


def test_output_that_is_elsewhere_is_told(fake, fake_shell, bundle, fifo):
    fake_shell("create", "-b", bundle("sleep", "inf"), "--stdout=%s" % fifo("out"), "web").ok(None)
    fake_shell("create", "-b", bundle("sleep", "inf"), "db").ok(None)
    fake_shell("logs", "web").failed(1, "/out", "cannot be read again")
    fake_shell("logs", "db").failed(1, "/dev/null", "cannot be read again")
    fake_shell("logs", "wbe").failed(1, "there is no such container. Did you mean \"web\"?")
    fake_shell("logs", "--lines=few", "web").failed(2, '--lines= takes a number or "all", not "few"', lines=2)


@pytest.fixture
def journal(directory):
    """A real journald of this test's own, where /run and /var/log are its folders: (the folder of its files, a wrapper)."""
    if not os.access(JOURNALD, os.X_OK):
        pytest.skip("there is no systemd-journald")
    run, log = directory + "/run", directory + "/log"
    os.makedirs(run + "/systemd/journal")
    os.mkdir(log)
    p = subprocess.Popen(["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /run && mount --bind "$1" /var/log && exec %s' % JOURNALD,
                          run, log], stderr=subprocess.DEVNULL)
    t.wait_for(lambda: os.path.exists(run + "/systemd/journal/socket") or p.poll() is not None, what="journald")
    assert p.poll() is None, "journald does not start"
    yield run + "/log/journal", ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /run && exec "$@"', run]
    p.kill()
    p.wait()


def test_the_journal_is_shown_and_followed(journal, make_daemon, make_shell, root, gate):
    files, wrapper = journal
    shell = make_shell("unix:path=" + make_daemon(wrapper=wrapper).socket)
    shell("run", "-d", "--name=web", "--rootfs", root, gate.mount, "--stdout=journal:", "--stderr=journal:errors", "sh", "-c", SLOWLY).ok(None)
    shell("exec", "--stdout=journal:", "web", "echo", "executed").ok()
    shell("run", "-d", "-n", "other", "--name=web", "--rootfs", root, "--stdout=journal:web", "echo", "another").ok(None)
    shell("logs", "-f", "-D", files, "-n", "other", "web").ok("another\n")

    p = shell.start("logs", "--follow", "--directory", files, "web")
    assert read_line(p) == "one\n"
    gate()
    out, err = p.communicate(timeout=t.TIMEOUT)
    assert (p.returncode, out, err) == (0, "two\nthree\n", "bad\n")
    shell("logs", "-D", files, "--lines=2", "web").ok("two\nthree\n")

    before = time.time()
    told = [json.loads(line) for line in shell("logs", "-D", files, "--json=short", "web").ok(None).splitlines()]
    assert {(x["stream"], x["message"]) for x in told} == {("stdout", "one"), ("stderr", "bad"), ("stdout", "two"), ("stdout", "three")}
    assert all(before - 600 < x["time"] / 1e6 <= before for x in told)

    # What another container of that name has written is not this one's; of one that has gone it is all there is.
    shell("delete", "web").ok()
    r = shell("logs", "-D", files, "web")
    assert (r.status, r.out, r.err) == (0, "one\ntwo\nthree\n", "bad\n")
    shell("run", "-d", "--name=web", "--rootfs", root, "--stdout=journal:", "echo", "new").ok(None)
    shell("logs", "-f", "-D", files, "web").ok("new\n")
    shell("delete", "-f", "web", "other/web").ok()


def test_no_journal_is_no_output(fake, fake_shell, directory):
    os.mkdir(directory + "/empty")
    fake_shell("logs", "-D", directory + "/empty", "web").failed(1, "there is no such container")
