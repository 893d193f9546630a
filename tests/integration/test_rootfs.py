# SPDX-License-Identifier: LGPL-2.1-or-later
"""Mounts that a client wants on a container's rootfs: made in their order, undone whatever happens, and never anywhere else."""

import json
import os
import stat
import subprocess
import time

import pytest

import monoshim_testing as t
from monoshim_testing import refused


@pytest.fixture
def empty(directory):
    """empty(args...) makes a bundle whose rootfs/ has yet to be filled."""
    count = [0]

    def make(*args, folder=True, **kw):
        count[0] += 1
        b = t.make_bundle(os.path.join(directory, "e%d" % count[0]), list(args), root="rootfs", **kw)
        if folder:
            os.mkdir(b + "/rootfs")
        return b

    return make


def base():
    return ("bind", t.rootfs(), "", ["rbind", "ro"])


def mounts_below(path):
    """(mount point relative to 'path', type, options), in the kernel's order."""
    found = []
    with open("/proc/self/mountinfo") as f:
        for line in f:
            fields = line.split()
            dash = fields.index("-")
            if fields[4] == path or fields[4].startswith(path + "/"):
                found.append((fields[4][len(path) + 1:], fields[dash + 1], fields[5]))
    return found


def all_mount_points():
    with open("/proc/self/mountinfo") as f:
        return sorted(line.split()[4] for line in f)


def test_a_bind_mount_is_the_containers_root(client, empty, fifo):
    """And gone after Delete, with the bundle and the source as they were."""
    out = fifo("out").open_reader()
    b = empty("sh", "-c", "echo hello; touch /x 2>&1")
    before = sorted(os.listdir(t.rootfs()))
    c = client.create("c1", b, Rootfs=[base()], Stdout=str(out))
    assert [m[0] for m in mounts_below(b)] == ["rootfs"]
    c.start()
    assert out.read_to_end().startswith(b"hello\n")
    assert c.wait()[0] == 1
    assert mounts_below(b) != []  # it is undone by Delete, not by the exit
    c.delete()
    assert mounts_below(b) == []
    assert os.listdir(b + "/rootfs") == [] and sorted(os.listdir(t.rootfs())) == before


def test_the_event_carries_the_mounts(client, empty):
    """As they were given, in their order, with signal and GetEvents agreeing."""
    mounts = [base(), ("tmpfs", "tmpfs", "tmp", ["size=1m", "mode=700"]), ("tmpfs", "none", "sys", [])]
    c = client.create("c1", empty("true"), Rootfs=mounts)
    c.delete()
    client.sync()
    assert [tuple(m) for m in c.events("TaskCreate")[0].rootfs] == mounts
    assert [tuple(m) for m in client.get_events()[1][0].rootfs] == mounts


def test_mounts_are_made_in_their_order(client, empty, fifo, directory):
    """The later one covers the earlier one, and lies below what it was mounted on."""
    out = fifo("out").open_reader()
    os.mkdir(directory + "/data")
    with open(directory + "/data/file", "w") as f:
        f.write("from the host\n")
    b = empty("sh", "-c", "cat /tmp/file; touch /tmp/new && echo written; touch /etc/x 2>&- || echo not")
    c = client.create("c1", b, Stdout=str(out), Rootfs=[
        ("tmpfs", "tmpfs", "", ["size=1m"]), base(), ("tmpfs", "tmpfs", "tmp", []),
        ("bind", directory + "/data", "tmp", ["bind"])])
    assert [m[:2] for m in mounts_below(b)][0] == ("rootfs", "tmpfs")
    assert [m[0] for m in mounts_below(b)] == ["rootfs", "rootfs", "rootfs/tmp", "rootfs/tmp"]
    c.start()
    assert out.read_to_end() == b"from the host\nwritten\nnot\n"
    c.wait()
    c.delete()
    assert mounts_below(b) == []
    assert sorted(os.listdir(directory + "/data")) == ["file", "new"]


@pytest.fixture
def tmpfs(directory):
    path = directory + "/tmpfs"
    os.mkdir(path)
    t.run("mount", "-t", "tmpfs", "tmpfs", path)
    yield path
    t.run("umount", "-l", path)


def test_an_overlay(client, empty, fifo, tmpfs):
    for name in ("upper", "work"):
        os.mkdir(os.path.join(tmpfs, name))
    b = empty("sh", "-c", "echo new >/etc/new; echo done")
    with open(b + "/config.json") as f:
        config = json.load(f)
    config["root"]["readonly"] = False
    with open(b + "/config.json", "w") as f:
        json.dump(config, f)
    c = client.create("c1", b, Rootfs=[("overlay", "overlay", "", ["lowerdir=" + t.rootfs(), "upperdir=%s/upper" % tmpfs,
                                                                   "workdir=%s/work" % tmpfs])])
    c.start()
    assert c.wait()[0] == 0
    c.delete()
    with open(tmpfs + "/upper/etc/new") as f:
        assert f.read() == "new\n"
    assert not os.path.exists(t.rootfs() + "/etc/new")


def test_options_as_in_fstab(fake, empty):
    """Flags are flags, the rest is for the file system."""
    b = empty("sleep", "inf")
    c = fake.connect().create("c1", b, Rootfs=[("tmpfs", "tmpfs", "", ["ro", "nosuid", "nodev", "noexec", "noatime", "size=64k",
                                                                       "mode=0711"])])
    (_, kind, options), = mounts_below(b)
    assert kind == "tmpfs" and {"ro", "nosuid", "nodev", "noexec", "noatime"} <= set(options.split(","))
    st = os.statvfs(b + "/rootfs")
    assert st.f_blocks * st.f_frsize == 65536
    assert stat.S_IMODE(os.stat(b + "/rootfs").st_mode) == 0o711
    c.delete()


def test_a_read_only_bind_mount_is_read_only(fake, empty, directory):
    os.mkdir(directory + "/source")
    b = empty("sleep", "inf")
    c = fake.connect().create("c1", b, Rootfs=[("", directory + "/source", "", ["bind", "ro"])])
    with pytest.raises(OSError):
        open(b + "/rootfs/x", "w")
    open(directory + "/source/x", "w").close()
    c.delete()
    assert os.listdir(directory + "/source") == ["x"]


def test_the_folder_is_made_if_it_is_missing(fake, empty):
    b = empty("sleep", "inf", folder=False)
    c = fake.connect().create("c1", b, Rootfs=[("tmpfs", "tmpfs", "", [])])
    assert [m[0] for m in mounts_below(b)] == ["rootfs"]
    c.delete()
    assert mounts_below(b) == []


@pytest.mark.parametrize("mount", [
    ("bind", "/no/such/source", "", ["bind"]),
    ("no-such-fs", "none", "", []),
    ("tmpfs", "tmpfs", "", ["no-such-option=1"]),
])
def test_when_one_fails_those_before_it_are_undone(fake, empty, mount):
    """The error says which and why, no runtime is run, and the next attempt works."""
    client = fake.connect()
    b = empty("sleep", "inf")
    with pytest.raises(t.DBusError) as caught:
        client.create("c1", b, Rootfs=[("tmpfs", "tmpfs", "", []), ("tmpfs", "tmpfs", "", ["size=1m"]), mount])
    assert caught.value.name.startswith(t.ERROR)
    assert mount[1] in caught.value.message or mount[0] in caught.value.message
    assert mounts_below(b) == []
    assert "create" not in [r["verb"] for r in fake.control.invocations()]
    client.sync()
    assert client.list() == {} and client.event_names() == []
    client.create("c1", b, Rootfs=[("tmpfs", "tmpfs", "", [])]).delete()
    assert mounts_below(b) == []


@pytest.mark.parametrize("fault", [["exit 1"], ["crash"], ["pid garbage"], ["exit-after 1"]])
def test_when_the_create_fails_they_are_undone(fake, empty, fault):
    client = fake.connect()
    b = empty("sleep", "inf")
    fake.control.set("c1", "create", *fault)
    with pytest.raises(t.DBusError):
        client.create("c1", b, Rootfs=[("tmpfs", "tmpfs", "", []), ("tmpfs", "tmpfs", "", [])])
    t.wait_for(lambda: mounts_below(b) == [], what="the mounts undone")
    assert client.list() == {}


@pytest.mark.parametrize("mounts, text", [
    ([("tmpfs", "tmpfs", "/etc", [])], ""),
    ([("tmpfs", "tmpfs", "../x", [])], ""),
    ([("tmpfs", "tmpfs", "a/../../x", [])], ""),
    ([("", "", "", [])], ""),
    ([("tmpfs", "tmpfs", "", ["X-containerd.mkdir.path=/x"])], "X-containerd"),
    ([("tmpfs", "tmpfs", "", ["x" * 5000])], ""),
    ([("tmpfs", "tmpfs", "", [])] * 1000, ""),
])
def test_mounts_that_are_refused_before_anything(fake, empty, directory, mounts, text):
    client = fake.connect()
    b = empty("sleep", "inf")
    before = t.leftover_mounts(directory)
    with refused("InvalidArgument", "Rootfs", text):
        client.create("c1", b, Rootfs=mounts)
    assert t.leftover_mounts(directory) == before
    assert fake.control.invocations() == [] and client.list() == {}


@pytest.mark.parametrize("mount", [("fuse.x", "y", "", []), ("tmpfs", "tmpfs", "", ["uidmap=0:1000:1"])])
def test_mounts_that_are_known_but_not_supported(fake, empty, mount):
    with refused("NotSupported", "Rootfs"):
        fake.connect().create("c1", empty("sleep", "inf"), Rootfs=[mount])
    assert fake.control.invocations() == []


def test_a_rootfs_of_the_wrong_type(fake, empty):
    for wrong in (("s", "/x"), ("as", ["/x"]), ("a(ssas)", [("bind", "/x", [])])):
        with refused("InvalidArgument", "Rootfs"):
            fake.connect().create("c1", empty("sleep", "inf"), Rootfs=wrong)


def test_a_symbolic_link_does_not_lead_out_of_the_rootfs(fake, empty, directory):
    """Neither one below it nor "rootfs" itself: nothing of the host's is mounted over."""
    client = fake.connect()
    os.mkdir(directory + "/outside")
    os.makedirs(directory + "/source/inside")
    os.symlink(directory + "/outside", directory + "/source/absolute")
    os.symlink("../../../../../../.." + directory + "/outside", directory + "/source/relative")
    for target in ("absolute", "relative"):
        b = empty("sleep", "inf")
        try:
            client.create("c-" + target, b, Rootfs=[("bind", directory + "/source", "", ["bind"]),
                                                    ("tmpfs", "tmpfs", target, [])]).delete()
        except t.DBusError as e:
            assert e.name.startswith(t.ERROR)
        assert directory + "/outside" not in all_mount_points()
        assert mounts_below(b) == []
    b = empty("sleep", "inf", folder=False)
    os.symlink(directory + "/outside", b + "/rootfs")
    with pytest.raises(t.DBusError):
        client.create("c2", b, Rootfs=[("tmpfs", "tmpfs", "", [])])
    assert directory + "/outside" not in all_mount_points()


def test_a_bundle_of_ours_with_mounts(daemon, client, directory):
    """Deleted with the container, and what was mounted on it is not touched."""
    os.makedirs(directory + "/precious")
    with open(directory + "/precious/file", "w") as f:
        f.write("x")
    spec = t.spec(["cat", "/tmp/file"], root="rootfs")
    c = client.create("c1", "", Spec=json.dumps(spec), Rootfs=[base(), ("bind", directory + "/precious", "tmp", ["bind"])])
    b = c.get("Bundle", t.CONTAINER)
    c.start()
    assert c.wait()[0] == 0
    c.delete()
    t.wait_for(lambda: not os.path.exists(b), what="the end of the bundle")
    assert os.listdir(directory + "/precious") == ["file"]
    assert os.path.exists(t.rootfs() + "/bin/busybox")


def test_over_a_crash_of_the_daemon(fake, empty):
    """They stay for the container that lives, and are undone by its Delete after the restart."""
    b = empty("sleep", "inf")
    c = fake.connect().create("c1", b, Rootfs=[("tmpfs", "tmpfs", "", []), ("tmpfs", "tmpfs", "", [])])
    c.start()
    fake.kill9()
    client = fake.start().connect()
    assert len(mounts_below(b)) == 2
    client.container("c1").end()
    assert mounts_below(b) == []


def test_of_a_create_that_the_daemon_did_not_survive(fake, empty):
    b = empty("sleep", "inf")
    fake.control.set("c1", "create", "sleep 30")
    fake.connect().begin_create("c1", b, Rootfs=[("tmpfs", "tmpfs", "", [])])
    t.wait_for(lambda: fake.control.invocations("create"), what="runc create")
    assert len(mounts_below(b)) == 1
    fake.kill9()
    fake.control.clear()
    client = fake.start().connect()
    t.wait_for(lambda: mounts_below(b) == [], what="the mounts undone")
    t.wait_for(lambda: not os.path.exists(fake.container_dir("c1")), what="the end of the folder")
    client.create("c1", b).delete()


def test_of_a_container_found_dead(fake, empty):
    """Nobody knows how it ended; it is cleaned up, and with it everything that is mounted at its rootfs."""
    client = fake.connect()
    b = empty("sleep", "inf")
    c = client.create("c1", b, Rootfs=[("tmpfs", "tmpfs", "", []), ("tmpfs", "tmpfs", "", [])])
    c.start()
    pid = c.pid
    fake.kill9()
    os.kill(pid, 9)
    t.wait_for(lambda: t.read_stat(pid) is None, what="the end of the init")
    client = fake.start().connect()
    t.wait_for(lambda: mounts_below(b) == [], what="the mounts undone")
    assert client.list() == {}


@pytest.mark.parametrize("state", ["gone", "garbage"])
def test_nothing_is_removed_through_a_mount_whose_state_is_lost(fake, directory, state):
    """A bundle of ours, which is removed after a crash: what was mounted on its rootfs is somebody's data."""
    os.makedirs(directory + "/precious/folder")
    open(directory + "/precious/file", "w").close()
    spec = json.dumps(t.spec(["sleep", "inf"], root="rootfs"))
    c = fake.connect().create("c1", "", Spec=spec, Rootfs=[("bind", directory + "/precious", "", ["bind"])])
    c.start()
    pid = c.pid
    fake.kill9()
    os.kill(pid, 9)
    t.wait_for(lambda: t.read_stat(pid) is None, what="the end of the init")
    path = os.path.join(fake.container_dir("c1"), "state.json")
    os.unlink(path)
    if state == "garbage":
        with open(path, "w") as f:
            f.write("{")
    fake.start()
    t.wait_for(lambda: mounts_below(fake.directory) == [], what="the mounts undone")
    t.wait_for(lambda: not os.path.exists(fake.container_dir("c1")), what="the end of the folder")
    assert sorted(os.listdir(directory + "/precious")) == ["file", "folder"]


def test_a_rootfs_that_somebody_uses(fake, empty):
    """T-EBUSY: the daemon goes on answering meanwhile, and what fails can be repeated."""
    client = fake.connect()
    b = empty("sleep", "inf")
    c = client.create("c1", b, Rootfs=[("tmpfs", "tmpfs", "", [])])
    c.start()
    c.kill()
    c.wait()
    user = subprocess.Popen(["sleep", "1000"], cwd=b + "/rootfs")
    try:
        pending = c.begin("Delete")
        for _ in range(10):
            began = time.monotonic()
            client.sync()
            assert time.monotonic() - began < 0.2 * t.SCALE
            time.sleep(0.05)
        failed = None
        try:
            pending.result(20 * t.SCALE)
        except t.DBusError as e:
            failed = e
            assert "rootfs" in e.message, e
    finally:
        user.kill()
        user.wait()
    if failed:
        assert c.status == "stopped"
        assert c.delete()[1] == 137
    assert mounts_below(b) == []
    client.sync()
    assert c.event_names().count("TaskDelete") == 1
