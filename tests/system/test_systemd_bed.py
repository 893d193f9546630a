# SPDX-License-Identifier: LGPL-2.1-or-later
"""monoshimd as it is installed: a unit of systemd on the system bus, in a bed where both are real and there is nothing else.

Works with cgroup v1 and v2. It takes over the machine's only monoshim.service, so it is for beds alone.
"""

import contextlib
import os
import shutil
import signal
import time

import pytest

import cgroups
import monoshim_testing as t
from monoshim_testing import CONTAINER, MANAGER, ROOT_PATH, refused

SYSTEM_BUS = "/run/dbus/system_bus_socket"
PEER_BUS = "/run/monoshim/bus"
UNIT = "monoshim.service"

pytestmark = pytest.mark.skipif(t.read_stat(1) is None or not os.path.isdir("/run/systemd/system") or
                                not os.path.isdir("/monoshim"), reason="not in a bed")

RUNTIMES = ["runc", "crun"]


def systemctl(*args, check=True):
    return t.run("systemctl", "--no-pager", *args, check=check).stdout.strip()


def show(prop, unit=UNIT):
    return systemctl("show", "--value", "--property=" + prop, unit)


def main_pid():
    return int(show("MainPID"))


@pytest.fixture
def unit(request):
    """The installed daemon, started. Afterwards no container, no unit of one, and no warning in the journal is left."""
    # A unit that fails again and again may be looked at by hand; here each test starts anew.
    systemctl("reset-failed", check=False)
    began = time.time()
    systemctl("start", UNIT)
    yield UNIT
    with contextlib.suppress(AssertionError):
        systemctl("start", UNIT)
    with contextlib.closing(t.Client(PEER_BUS)) as c:
        for (ns, id), _ in c.list().items():
            c.container(id, ns).end()
        assert c.get(ROOT_PATH, MANAGER, "NContainers") == 0
    systemctl("stop", UNIT)
    log = t.run("journalctl", "--no-pager", "--unit=" + UNIT, "--since=@%d" % began, "--output=cat").stdout
    t.check_log(log)
    if getattr(request.node, "report_call", None) is not None and request.node.report_call.passed:
        assert not systemctl("list-units", "--all", "--plain", "--no-legend", "mst-*"), "units left over"
        assert not t.leftover_cgroups()
        assert not t.leftover_mounts("/run/monoshim")
        left = [n for n in os.listdir("/run/monoshim/state") if not n.startswith(".") and os.listdir("/run/monoshim/state/" + n)]
        assert not left, "state left over: %s" % left


@pytest.fixture
def system(unit):
    """A client on the system bus."""
    c = t.Client(SYSTEM_BUS, is_bus=True)
    yield c
    c.close()


@pytest.fixture
def peer(unit):
    """A client on the daemon's own socket."""
    c = t.Client(PEER_BUS)
    yield c
    c.close()


def create(client, bundle, id, *args, systemd=True, **opts):
    """A container with limits; with 'systemd' it gets the unit mst-ID.scope."""
    cgroup = "system.slice:mst:" + id if systemd else "/%s%s" % (t.CGROUP_PREFIX, id)
    b = bundle(*(args or ("sleep", "1000")), cgroup=cgroup, extra_linux=dict(cgroups.resources(**cgroups.LIMITS), cgroupsPath=cgroup))
    return client.create(id, b, SystemdCgroup=systemd, **opts)


# The unit itself


def test_the_unit_is_up_when_it_has_its_name_and_its_socket(unit):
    assert show("ActiveState") == "active" and show("SubState") == "running"
    assert show("Type") == "notify" and show("StatusText") != ""
    with contextlib.closing(t.Client(SYSTEM_BUS, is_bus=True)) as c:
        assert c.bus_call("GetConnectionUnixProcessID", "s", "org.monoshim1") == (main_pid(),)
        version = c.get(ROOT_PATH, MANAGER, "Version")
    with contextlib.closing(t.Client(PEER_BUS)) as c:
        assert c.get(ROOT_PATH, MANAGER, "Version") == version
    for path, mode in (("/run/monoshim", 0o711), ("/run/monoshim/state", 0o711), ("/var/lib/monoshim", 0o711),
                       (PEER_BUS, 0o600)):
        assert os.stat(path).st_mode & 0o7777 == mode, path
        assert os.stat(path).st_uid == 0


def test_the_unit_has_nothing_that_systemd_complains_of(unit):
    said = t.run("systemd-analyze", "verify", "--man=no", UNIT, check=False)
    assert said.returncode == 0 and "monoshim" not in said.stderr, said.stderr


def test_a_call_on_the_bus_starts_the_unit(unit):
    systemctl("stop", UNIT)
    assert show("ActiveState") == "inactive"
    with contextlib.closing(t.Client(SYSTEM_BUS, is_bus=True)) as c:
        assert c.get(ROOT_PATH, MANAGER, "NContainers") == 0
        assert show("ActiveState") == "active"
        assert c.bus_call("GetConnectionUnixProcessID", "s", "org.monoshim1") == (main_pid(),)


def test_nobody_else_may_own_the_name_create_containers_or_listen(system, bundle):
    def own():
        c = t.Client(SYSTEM_BUS, is_bus=True, listen=False)
        return c.bus_call("RequestName", "su", "org.monoshim1", 0)

    def create_one():
        c = t.Client(SYSTEM_BUS, is_bus=True, listen=False)
        return c.manager("CreateContainer", "sssa{sv}", "default", "c1", "/tmp", {})

    def peer_socket():
        return t.Client(PEER_BUS)

    def list_all():
        return t.Client(SYSTEM_BUS, is_bus=True, listen=False).list()

    with refused("org.freedesktop.DBus.Error.AccessDenied"):
        t.as_user(65534, own)
    # The real polkit would ask for a password, if the caller let it.
    for function in (create_one, list_all):
        with refused("org.freedesktop.DBus.Error.InteractiveAuthorizationRequired"):
            t.as_user(65534, function)
    with pytest.raises(AssertionError, match="PermissionError"):
        t.as_user(65534, peer_socket)
    assert system.list() == {}


def test_the_client_finds_the_daemon_by_itself(peer, bundle):
    create(peer, bundle, "c1")
    assert "c1" in t.run("monoshim", "list").stdout
    peer.container("c1").end()
    assert "c1" not in t.run("monoshim", "list").stdout


# Containers as units


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_container_is_a_scope_with_its_limits(system, bundle, runtime):
    c = create(system, bundle, "c1", Runtime=runtime)
    assert show("ActiveState", "mst-c1.scope") == "active"
    c.start()
    assert c.status == "running"
    group = show("ControlGroup", "mst-c1.scope")
    assert group == "/system.slice/mst-c1.scope"
    for controller in ("memory", "pids", "name=systemd"):
        assert ("%s/" % cgroups.directory(c.pid, controller)).find(group + "/") > 0
    assert c.get("ControlGroup", CONTAINER).startswith(group)
    assert str(c.pid) in show_pids("mst-c1.scope")

    assert cgroups.limits(c.pid) == cgroups.LIMITS_READ
    assert show("TasksMax", "mst-c1.scope") == "33"
    # With cgroup v1 there are two names for this, and each runtime has its own.
    assert str(64 << 20) in [show(p, "mst-c1.scope") for p in ("MemoryMax", "MemoryLimit")]
    assert show("CPUQuotaPerSecUSec", "mst-c1.scope") == "500ms"

    # systemd sets again what it knows of: nothing may get lost by that.
    systemctl("daemon-reload")
    assert cgroups.limits(c.pid) == cgroups.LIMITS_READ

    assert system.manager("GetContainerByPID", "u", c.pid) == (c.path,)
    c.end()
    t.wait_for(lambda: show("LoadState", "mst-c1.scope") == "not-found", what="the scope to go")


def show_pids(unit):
    """What systemd says is in a unit."""
    with contextlib.closing(t.Client(SYSTEM_BUS, is_bus=True)) as c:
        rows = c.call("/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager", "GetUnitProcesses", "s", unit,
                      destination="org.freedesktop.systemd1")[0]
    return [str(pid) for _, pid, _ in rows]


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_container_without_a_cgroups_path_gets_a_scope_too(system, bundle, runtime):
    b = bundle("sleep", "1000", extra_linux=dict(cgroups.resources(), cgroupsPath=""))
    c = system.create("plain1", b, SystemdCgroup=True, Runtime=runtime)
    c.start()
    unit = [p for p in cgroups.directory(c.pid, "name=systemd").split("/") if p.endswith(".scope")]
    assert unit and "plain1" in unit[-1]
    assert show("ActiveState", unit[-1]) == "active"
    c.end()
    t.wait_for(lambda: show("LoadState", unit[-1]) == "not-found", what="the scope to go")


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_stopping_the_scope_is_an_exit_like_any_other(system, bundle, fifo, runtime):
    out = fifo("out").open_reader()
    c = create(system, bundle, "c1", "sh", "-c", "trap 'exit 5' TERM; echo ready; while :; do sleep 0.1; done",
               Runtime=runtime, Stdout=str(out))
    c.start()
    out.read_line()
    systemctl("stop", "mst-c1.scope")
    # With cgroup v1 systemd cannot see when a scope is empty: SIGTERM is followed by SIGKILL at once.
    status = c.wait()[0]
    assert status == 5 or (status == 137 and not cgroups.IS_V2)
    assert c.event_names() == ["TaskCreate", "TaskStart", "TaskExit"]
    assert c.delete()[1] == status


def test_runtimes_by_name_and_by_path_and_both_at_once(system, bundle):
    crun = shutil.which("crun")
    made = {}
    for i, (runtime, systemd) in enumerate([("runc", True), ("crun", True), (crun, True), ("crun", False), (crun, False),
                                            (shutil.which("runc"), False)]):
        c = create(system, bundle, "c%d" % i, "sh", "-c", "exit %d" % (10 + i), systemd=systemd, Runtime=runtime)
        assert c.get("Runtime", CONTAINER) == runtime
        # Each has files of its own: this is how to tell who was called.
        files = os.listdir("/run/monoshim/runtime/default/" + c.id)
        assert ("status" in files) == ("crun" in runtime), (runtime, files)
        made[c] = 10 + i
    for c, status in made.items():
        c.start()
        assert c.wait()[0] == status
        assert c.delete()[1] == status
    with refused("InvalidArgument"):
        create(system, bundle, "c9", Runtime="bin/crun")
    t.check_event_invariants(system.events())


# The unit goes, the containers stay


def start_all(client, bundle):
    """One container of each kind: runtime and cgroup driver."""
    made = []
    for runtime in RUNTIMES:
        for systemd in (True, False):
            c = create(client, bundle, "%s-%s" % (runtime, "scope" if systemd else "plain"), systemd=systemd, Runtime=runtime)
            c.start()
            made.append(c)
    return made


def check_all(made, client):
    assert client.list() == {(c.ns, c.id): ("running", c.pid, c.path) for c in made}
    assert all(t.is_alive(c.pid) for c in made)
    for c in made:
        assert cgroups.limits(c.pid) == cgroups.LIMITS_READ


@pytest.mark.parametrize("how", ["restart", "stop and start", "kill", "start by a call"])
def test_containers_outlive_the_unit(unit, bundle, how):
    with contextlib.closing(t.Client(SYSTEM_BUS, is_bus=True)) as client:
        made = start_all(client, bundle)
        before = client.get_events()[1]
    old = main_pid()
    if how == "restart":
        systemctl("restart", UNIT)
    elif how == "stop and start":
        systemctl("stop", UNIT)
        assert all(t.is_alive(c.pid) for c in made)
        systemctl("start", UNIT)
    elif how == "start by a call":
        systemctl("stop", UNIT)
    else:
        systemctl("kill", "--kill-whom=main", "--signal=KILL", UNIT)
        t.wait_for(lambda: main_pid() not in (0, old) and show("ActiveState") == "active", what="systemd to start it again")

    with contextlib.closing(t.Client(SYSTEM_BUS, is_bus=True)) as client:
        check_all(made, client)
        assert main_pid() != old
        complete, after = client.get_events()
        assert complete and [e.key() for e in after[:len(before)]] == [e.key() for e in before]
        for c in made:
            c = c.on(client)
            c.kill(signal.SIGKILL)
            assert c.wait()[0] == 137
            c.delete()
        assert client.list() == {}
        t.check_event_invariants(client.get_events()[1])


def test_an_exit_while_the_unit_was_stopped_is_told_at_its_next_start(unit, bundle):
    with contextlib.closing(t.Client(PEER_BUS)) as client:
        made = start_all(client, bundle)
        last = client.get(ROOT_PATH, MANAGER, "LastSequence")
    systemctl("stop", UNIT)
    for c in made:
        os.kill(c.pid, signal.SIGKILL)
    t.wait_for(lambda: not any(t.is_alive(c.pid) for c in made), what="the containers to die")
    systemctl("start", UNIT)
    with contextlib.closing(t.Client(PEER_BUS)) as client:
        def exits():
            return [e for e in client.get_events(last)[1] if e.name == "TaskExit"]

        told = t.wait_for(lambda: len(exits()) >= len(made) and exits(), what="four exits")
        assert sorted(e.id for e in told) == sorted(c.id for c in made)
        assert {e.exit_status for e in told} == {137}


def test_reload_keeps_everything(system, bundle):
    made = start_all(system, bundle)
    pid = main_pid()
    systemctl("reload", UNIT)
    assert main_pid() == pid
    with contextlib.closing(t.Client(SYSTEM_BUS, is_bus=True)) as client:
        check_all(made, client)
        for c in made:
            c.on(client).end()


def test_the_unit_comes_back_however_often_it_dies(unit, bundle):
    with contextlib.closing(t.Client(SYSTEM_BUS, is_bus=True)) as client:
        c = create(client, bundle, "c1")
        c.start()
    for _ in range(8):
        old = main_pid()
        os.kill(old, signal.SIGKILL)
        t.wait_for(lambda: main_pid() not in (0, old) and show("ActiveState") == "active", what="systemd to start it again")
    with contextlib.closing(t.Client(SYSTEM_BUS, is_bus=True)) as client:
        assert client.list() == {("default", "c1"): ("running", c.pid, c.path)}
        assert c.on(client).end()[1] == 137


def test_killing_the_unit_for_good_leaves_containers_to_the_next_one(unit, bundle):
    """"systemctl kill" reaches every process of the unit's cgroup: no container may be among them."""
    with contextlib.closing(t.Client(PEER_BUS)) as client:
        made = start_all(client, bundle)
    systemctl("kill", "--signal=KILL", UNIT)
    t.wait_for(lambda: show("ActiveState") == "active" and main_pid() > 0 and os.path.exists(PEER_BUS), what="the restart")
    with contextlib.closing(t.Client(SYSTEM_BUS, is_bus=True)) as client:
        check_all(made, client)
        for c in made:
            c.on(client).end()


def test_what_a_container_inherits(system, bundle, fifo):
    """The unit's own settings must not be the containers': no file limit, no place in its cgroup, no NOTIFY_SOCKET."""
    out = fifo("out").open_reader()
    c = create(system, bundle, "c1", "sh", "-c", "ulimit -n; cat /proc/self/environ | tr '\\0' ' '", Stdout=str(out))
    c.start()
    assert c.wait()[0] == 0
    text = out.read_to_end().decode()
    for word in ("NOTIFY_SOCKET", "LISTEN_", "INVOCATION_ID", "JOURNAL_STREAM", "MAINPID", "WATCHDOG"):
        assert word not in text, text
    c.delete()


# Checkpoints: crun's too, which many machines cannot run outside of a bed


@pytest.fixture(scope="module")
def criu():
    p = t.run("criu", "check", check=False)
    if p.returncode != 0:
        pytest.skip("this kernel cannot checkpoint: " + (p.stderr.strip().splitlines() or ["no reason given"])[-1])


def counter(pid):
    with open("/proc/%d/root/dev/counter" % pid) as f:
        return int(f.read().strip() or 0)


@pytest.mark.parametrize("systemd", [False, True], ids=["cgroupfs", "systemd"])
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_checkpoint_goes_on_where_it_was(criu, system, bundle, directory, runtime, systemd):
    command = "i=0; while :; do i=$((i+1)); echo $i >/dev/counter~; mv /dev/counter~ /dev/counter; sleep 0.05; done"
    args = ("sh", "-c", command)
    os.path.lexists(t.rootfs() + "/bin/mv") or os.symlink("busybox", t.rootfs() + "/bin/mv")
    c = create(system, bundle, "c1", *args, systemd=systemd, Runtime=runtime)
    c.start()
    t.wait_for(lambda: os.path.exists("/proc/%d/root/dev/counter" % c.pid) and counter(c.pid) > 5, what="the counter")
    image = os.path.join(directory, "image")
    before = counter(c.pid)
    assert system.call(c.path, CONTAINER, "Checkpoint", "sa{sv}", image, {"Exit": ("b", True)}) == ()
    c.wait()
    c.delete()
    assert sorted(c.event_names()[2:4]) == ["TaskCheckpointed", "TaskExit"] and len(c.event_names()) == 5

    d = create(system, bundle, "c2", *args, systemd=systemd, Runtime=runtime, Checkpoint=image)
    d.start()
    assert d.status == "running"
    after = counter(d.pid)
    assert after >= before
    t.wait_for(lambda: counter(d.pid) > after, what="the counter to go on")
    assert d.end()[1] == 137
