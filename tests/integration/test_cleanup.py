# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is removed when a container goes may hold anything, and somebody may be changing it at the same time. Decoys stand
wherever a careless removal would come by; none of them is anything of this machine."""

import contextlib
import os
import re
import shutil
import signal
import statistics
import subprocess
import threading
import time

import pytest

import monoshim_testing as t
from monoshim_testing import MANAGER, ROOT_PATH

RENAME_EXCHANGE = 2
AT_FDCWD = -100


def exchange(a, b):
    t._libc.renameat2(AT_FDCWD, a.encode(), AT_FDCWD, b.encode(), RENAME_EXCHANGE)


class Decoy:
    """A tree that must survive."""

    def __init__(self, path):
        self.path = path
        for d in ("", "a", "a/b", "0", "0/1"):
            os.mkdir(os.path.join(path, d))
        for f in ("precious", "a/precious", "a/b/precious", "0/precious", "0/1/precious"):
            with open(os.path.join(path, f), "w") as file:
                file.write(f)

    def check(self):
        for f in ("precious", "a/precious", "a/b/precious", "0/precious", "0/1/precious"):
            with open(os.path.join(self.path, f)) as file:
                assert file.read() == f


@pytest.fixture
def decoy(directory):
    d = Decoy(os.path.join(directory, "decoy"))
    yield d
    d.check()


def given_stopped(d, client, bundle, id="c1"):
    """A container that has only to be deleted, and a folder in its own for what does not belong there."""
    c = client.create(id, bundle("exit", "0"))
    c.start()
    c.wait()
    tree = os.path.join(d.container_dir(id), "tree")
    os.mkdir(tree)
    return c, tree


def hidden(d, id="c1", ns="default"):
    """The folders that are being removed."""
    with contextlib.suppress(FileNotFoundError):
        return [os.path.join(d.state, ns, e) for e in os.listdir(os.path.join(d.state, ns))
                if re.fullmatch(r"\.%s(~\d+)?" % re.escape(id), e)]
    return []


def removers(d):
    """The children that are at it."""
    found = []
    for pid in d.children():
        with contextlib.suppress(OSError):
            with open("/proc/%d/comm" % pid) as f:
                if f.read().strip() == "remove-tree" and t.is_alive(pid):
                    found.append(pid)
    return found


def wait_removed(d, id="c1", timeout=None):
    t.wait_for(lambda: not hidden(d, id) and not removers(d), timeout, what="the end of the removal")


def given_files(folder, n, per_folder=1000):
    """n empty files, not too many in a folder."""
    for i in range(0, n, per_folder):
        sub = os.path.join(folder, "d%d" % i)
        os.mkdir(sub)
        fd = os.open(sub, os.O_RDONLY)
        for k in range(min(per_folder, n - i)):
            os.close(os.open("f%d" % k, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600, dir_fd=fd))
        os.close(fd)


def test_links_to_decoys_are_removed_and_not_followed(fake, bundle, decoy):
    client = fake.connect()
    c, tree = given_stopped(fake, client, bundle)
    here = tree
    for level in range(10):
        os.symlink(decoy.path, os.path.join(here, "absolute"))
        os.symlink("../" * (level + 5) + "decoy", os.path.join(here, "relative"))
        os.symlink("..", os.path.join(here, "up"))
        os.symlink("/proc/self/root", os.path.join(here, "magic"))
        os.link(os.path.join(decoy.path, "precious"), os.path.join(here, "hard"))
        here = os.path.join(here, str(level))
        os.mkdir(here)
    os.symlink(decoy.path, os.path.join(fake.container_dir("c1"), "rootfs"))
    c.delete()
    wait_removed(fake)
    decoy.check()


def swap(tops, decoy, stop):
    """Renames directories, and puts links to the decoy in their places, as long as it is let."""
    n = 0
    while not stop.is_set():
        n += 1
        for top in tops():
            here = top + "/tree"
            for level in range(6):
                link, below = "%s/link%d" % (here, n % 5), "%s/%d" % (here, level)
                for action in (lambda: os.mkdir(below), lambda: os.symlink(decoy.path, link), lambda: exchange(link, below),
                               lambda: os.rename(below, below + "-moved") if n % 3 == 0 else None,
                               lambda: os.rename(below, decoy.path + "/moved") if n % 11 == 0 else None,
                               lambda: os.rename(decoy.path + "/moved", below) if n % 11 == 5 else None,
                               lambda: os.symlink("../../../../decoy", below) if n % 4 == 0 else None):
                    with contextlib.suppress(OSError):
                        action()
                here = below


def test_links_that_come_while_it_is_removed_are_not_followed(fake, bundle, decoy):
    """Somebody swaps directories for links to a decoy, and moves them away and back, at every level and all the time."""
    client = fake.connect()
    stop = threading.Event()
    swapper = threading.Thread(target=swap, args=(lambda: hidden(fake), decoy, stop))
    swapper.start()
    try:
        for _ in range(30 if t.LARGE else 8):
            c, tree = given_stopped(fake, client, bundle)
            here = tree
            for level in range(6):
                given_files(here, 200, 50)
                here = os.path.join(here, str(level))
                os.mkdir(here)
            c.delete()
            t.wait_for(lambda: not removers(fake), what="the end of the removal")
            decoy.check()
    finally:
        stop.set()
        swapper.join()
    for path in hidden(fake) + [decoy.path + "/moved"]:  # who never stops may win
        shutil.rmtree(path, ignore_errors=True)
    assert "its sandbox" not in fake.log_text()
    decoy.check()


@pytest.mark.parametrize("kind", ["bind", "tmpfs", "file", "top"])
def test_a_mount_is_left_alone_and_the_next_start_tries_again(fake, bundle, decoy, kind):
    client = fake.connect()
    c, tree = given_stopped(fake, client, bundle)
    os.makedirs(tree + "/a/point")
    os.mkdir(tree + "/gone")
    open(tree + "/a/gone", "w").close()
    point = tree + "/a/point"
    if kind == "tmpfs":
        t.run("mount", "-t", "tmpfs", "tmpfs", point)
        open(point + "/precious", "w").close()
    elif kind == "file":
        point = tree + "/a/file"
        open(point, "w").close()
        t.run("mount", "--bind", decoy.path + "/precious", point)
    else:
        point = tree if kind == "top" else point
        t.run("mount", "--bind", decoy.path, point)
    c.delete()
    assert client.list() == {}
    t.wait_for(lambda: "completely, leaving the rest" in fake.log_text() and not removers(fake), what="the warning")
    assert re.search(r"Failed to remove default/\.c1 completely, leaving the rest: (Device or resource busy|"
                     r"Invalid cross-device link)", fake.log_text())
    top, = hidden(fake)
    moved = top + point[len(fake.container_dir("c1")):]
    assert moved in open("/proc/self/mountinfo").read()
    if kind == "tmpfs":
        assert os.path.exists(moved + "/precious")
    decoy.check()
    assert kind == "top" or not os.path.exists(top + "/tree/gone")

    # The id is free all the same, and the next start is not held up, tries again, and says so again.
    client.create("c1", bundle("exit", "0")).delete()
    fake.restart()
    t.wait_for(lambda: fake.log_text().count("completely, leaving the rest") >= 2, what="another warning")
    decoy.check()
    t.run("umount", moved)
    fake.restart()
    wait_removed(fake)
    assert not os.path.exists(top)


def test_many_files_are_removed_while_others_are_served(fake, bundle):
    """The daemon itself does nothing of it, so that others do not wait."""
    client = fake.connect()
    b = bundle("sleep", "inf")
    n = 1_000_000 if t.LARGE else 20_000

    def latency(enough):
        took = []
        while not enough(len(took)):
            began = time.monotonic()
            client.get(ROOT_PATH, MANAGER, "NContainers")
            took.append(time.monotonic() - began)
            time.sleep(0.0005)
        return took

    c, tree = given_stopped(fake, client, bundle)
    given_files(tree, n)
    other = client.create("other", b)
    other.start()
    latency(lambda k: k >= 50)
    before = latency(lambda k: k >= 200)
    began = time.monotonic()
    c.delete()
    assert time.monotonic() - began < 2 * t.SCALE, "Delete waited for the removal"
    during = latency(lambda k: not removers(fake) and k >= 20)
    wait_removed(fake, timeout=170 * t.SCALE)
    # On a busy machine a call takes what it takes; as long as the removal it must not take.
    assert statistics.median(during) < 5 * statistics.median(before) + 0.1 * t.SCALE, (statistics.median(before),
                                                                                       statistics.median(during))
    assert max(during) < t.SCALE, max(during)
    other.end()


def test_depth_does_not_matter(fake, bundle, decoy):
    client = fake.connect()
    c, tree = given_stopped(fake, client, bundle)
    fd = os.open(tree, os.O_RDONLY | os.O_DIRECTORY)
    for level in range(20_000):
        os.mkdir("down", dir_fd=fd)
        if level % 1000 == 0:
            os.symlink(decoy.path, "link", dir_fd=fd)
        below = os.open("down", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    c.delete()
    wait_removed(fake, timeout=60 * t.SCALE)


def test_what_is_put_in_meanwhile_goes_as_well(fake, bundle):
    client = fake.connect()
    c, tree = given_stopped(fake, client, bundle)
    given_files(tree, 5000, 100)
    stop, made = threading.Event(), [0]

    def put_in():
        while not stop.is_set():
            for top in hidden(fake):
                for name in ("new%d", "d100/new%d", "d4900/new%d"):
                    with contextlib.suppress(OSError):
                        open(os.path.join(top, "tree", name % made[0]), "w").close()
                        made[0] += 1
            if made[0] > 2000:
                return

    thread = threading.Thread(target=put_in)
    thread.start()
    try:
        c.delete()
        t.wait_for(lambda: not removers(fake), what="the end of the removal")
    finally:
        stop.set()
        thread.join()
    fake.restart()  # whatever came too late
    wait_removed(fake)


def test_a_file_that_cannot_be_removed_stays_alone(fake, bundle):
    client = fake.connect()
    c, tree = given_stopped(fake, client, bundle)
    os.makedirs(tree + "/a/b")
    for name in ("a/b/immutable", "a/b/file", "a/file"):
        open(os.path.join(tree, name), "w").close()
    if subprocess.run(["chattr", "+i", tree + "/a/b/immutable"], capture_output=True).returncode != 0:
        c.delete()
        pytest.skip("files cannot be made immutable here")
    c.delete()
    t.wait_for(lambda: "completely, leaving the rest: Operation not permitted" in fake.log_text(), what="the warning")
    top, = hidden(fake)
    try:
        assert os.listdir(top) == ["tree"] and os.listdir(top + "/tree/a") == ["b"]
        assert os.listdir(top + "/tree/a/b") == ["immutable"]
        client.create("c1", bundle("exit", "0")).delete()
    finally:
        t.run("chattr", "-i", top + "/tree/a/b/immutable")
    fake.restart()
    wait_removed(fake)


def given_long_removal(d, client, bundle):
    """One that is in the middle of it: the pid of its process, which is stopped."""
    c, tree = given_stopped(d, client, bundle)
    given_files(tree, 6000)
    pending = c.begin("Delete")
    deadline = time.monotonic() + t.TIMEOUT
    while time.monotonic() < deadline:
        for pid in removers(d):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGSTOP)
            pending.result()
            return pid
    raise AssertionError("no removal was seen")


def test_a_daemon_that_is_killed_finishes_at_its_next_start(fake, bundle):
    client = fake.connect()
    pid = given_long_removal(fake, client, bundle)
    assert hidden(fake)
    fake.kill9()
    t.wait_for(lambda: not t.is_alive(pid), what="the end of the child, which does not outlive its parent")
    assert hidden(fake), "there was nothing left to finish"
    fake.start()
    wait_removed(fake)
    assert not hidden(fake)


def test_a_removal_that_is_killed_is_told_of_and_tried_again(fake, bundle):
    client = fake.connect()
    pid = given_long_removal(fake, client, bundle)
    os.kill(pid, signal.SIGKILL)
    t.wait_for(lambda: "Failed to remove default/.c1 completely" in fake.log_text(), what="the warning")
    fake.restart()
    wait_removed(fake)


@pytest.mark.skipif(t.INSTRUMENTED, reason="the tool that watches the daemon would not live in its sandbox")
def test_who_removes_has_nothing_but_that(fake, bundle):
    """As seen from outside, while it is at work."""
    client = fake.connect()
    pid = given_long_removal(fake, client, bundle)
    t.wait_for(lambda: (t.read_stat(pid) or "?")[0] == "T", what="the child to stand still")
    with open("/proc/%d/status" % pid) as f:
        status = f.read()
    assert re.search(r"^NoNewPrivs:\s1$", status, re.M)
    assert re.search(r"^Seccomp:\s2$", status, re.M) or not os.path.exists("/proc/sys/kernel/seccomp")
    allowed = 1 << 1 | 1 << 3  # CAP_DAC_OVERRIDE, CAP_FOWNER
    for which in ("Prm", "Eff"):
        assert int(re.search(r"^Cap%s:\s(\w+)$" % which, status, re.M).group(1), 16) & ~allowed == 0
    targets = [os.readlink("/proc/%d/fd/%s" % (pid, fd)) for fd in os.listdir("/proc/%d/fd" % pid)]
    assert [x for x in targets if x != "/dev/null" and not x.startswith(fake.state + "/")] == []
    assert len(targets) <= 8, targets
    with open("/proc/%d/oom_score_adj" % pid) as f:
        assert f.read() == "1000\n"
    os.kill(pid, signal.SIGCONT)
    wait_removed(fake)
