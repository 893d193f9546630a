# SPDX-License-Identifier: LGPL-2.1-or-later
"""The daemon's life as a unit: killed again and again, stuck, idle, without its bus, reloaded; and what containers notice of
that, which is nothing."""

import contextlib
import json
import os
import signal
import statistics
import time

import pytest

import monoshim_testing as t
from monoshim_testing import MANAGER, ROOT_PATH
from test_systemd_bed import (PEER_BUS, RUNTIMES, SYSTEM_BUS, UNIT, create, main_pid, pytestmark, show, system,  # noqa: F401
                              systemctl, unit)

CONFIGURATION = "/etc/monoshim/monoshimd.conf"
SURVIVORS, KILLS, EXITS_EACH = (200, 50, 2) if t.LARGE else (16, 8, 2)

# With a real exit status for SIGTERM, and without a wake-up until then.
ENDS = "trap 'exit %d' TERM; echo ready; sleep 100000 & wait"


def on_bus():
    return contextlib.closing(t.Client(SYSTEM_BUS, is_bus=True, listen=False))


def on_socket():
    return contextlib.closing(t.Client(PEER_BUS, listen=False))


def until_it_answers(where):
    """Calls until there is an answer: what is on its way while the daemon is killed may be lost with it."""
    def answers():
        with contextlib.suppress(OSError, EOFError, t.DBusError), where() as c:
            return c.get(ROOT_PATH, MANAGER, "Version")

    return t.wait_for(answers, what="an answer", interval=0.001)


@contextlib.contextmanager
def drop_in(text):
    """Settings of the unit's, for as long as the block takes."""
    path = "/run/systemd/system/%s.d/test.conf" % UNIT
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as f:
        f.write(text)
    systemctl("daemon-reload")
    try:
        yield
    finally:
        os.unlink(path)
        systemctl("daemon-reload")


@contextlib.contextmanager
def configuration(**settings):
    os.makedirs(os.path.dirname(CONFIGURATION), exist_ok=True)
    with open(CONFIGURATION, "w") as f:
        f.write("[Manager]\n" + "".join("%s=%s\n" % i for i in settings.items()))
    try:
        yield
    finally:
        os.unlink(CONFIGURATION)


class Talker:
    """A container that says what it is told: on a terminal that we take, or through FIFOs."""

    def __init__(self, client, bundle, directory, number, terminal):
        self.id = "t%d" % number
        self.terminal = terminal
        self.number = 0
        path = bundle("cat", terminal=terminal)
        streams = {"Terminal": True}
        if not terminal:
            self.stdin, self.stdout = (t.Fifo("%s/%s.%s" % (directory, self.id, name)) for name in ("in", "out"))
            streams = {"Stdin": str(self.stdin), "Stdout": str(self.stdout)}
        self.container = client.create(self.id, path, **streams)
        self.container.start()
        if not terminal:
            self.stdout.open_reader()
            self.stdin.open_writer()

    def talk(self, client):
        self.number += 1
        words = b"%s says %d" % (self.id.encode(), self.number)
        if self.terminal:
            master = self.container.on(client).open_terminal()
            master.write(words + b"\n")
            master.read_until(lambda data: data.count(words) == 2, what="what the terminal and cat repeat")
            master.close()
        else:
            self.stdin.write(words + b"\n")
            assert self.stdout.read_line() == words + b"\n"


def test_killed_again_and_again(unit, bundle, directory, capfd):
    """Nobody dies of it, every exit in between is told with its own status, and terminals and FIFOs go on."""
    with on_socket() as client:
        talkers = [Talker(client, bundle, directory, i, terminal=i % 2 == 0) for i in range(SURVIVORS)]
        mortals = []
        for i in range(KILLS * EXITS_EACH):
            out = t.Fifo("%s/m%d.out" % (directory, i)).open_reader()
            c = client.create("m%d" % i, bundle("sh", "-c", ENDS % (1 + i % 120)), Stdout=str(out))
            c.start()
            mortals.append((c, 1 + i % 120, out))
        for _, _, out in mortals:
            out.read_line()
            out.close()
        for talker in talkers:
            talker.talk(client)
        last = client.get(ROOT_PATH, MANAGER, "LastSequence")

    took = {on_socket: [], on_bus: []}
    stored = []
    for i in range(KILLS):
        pid, where = main_pid(), (on_socket, on_bus)[i % 2]
        began = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        for c, _, _ in mortals[i * EXITS_EACH:(i + 1) * EXITS_EACH]:
            os.kill(c.pid, signal.SIGTERM)
        until_it_answers(where)
        took[where].append(time.monotonic() - began)
        t.wait_for(lambda: main_pid() not in (0, pid) and show("ActiveState") == "active", what="systemd to start it again")
        stored.append(int(show("NFileDescriptorStore")))

    with on_socket() as client:
        def exits():
            return [e for e in client.get_events(last)[1] if e.name == "TaskExit"]

        told = t.wait_for(lambda: len(exits()) >= len(mortals) and exits(), what="all exits")
        assert {e.id: e.exit_status for e in told} == {c.id: status for c, status, _ in mortals}
        assert len(told) == len(mortals)
        rows = client.list()
        for talker in talkers:
            assert rows["default", talker.id][:2] == ("running", talker.container.pid)
            talker.talk(client)
        for c, status, _ in mortals:
            assert c.on(client).delete()[1] == status
    with capfd.disabled():
        print("# %d containers, %d kills, %d exits meanwhile; from SIGKILL to an answer, median: socket %.1f ms, bus %.1f ms; "
              "descriptors stored: at most %d" % (SURVIVORS, KILLS, len(mortals), statistics.median(took[on_socket]) * 1000,
                                                  statistics.median(took[on_bus]) * 1000, max(stored)), flush=True)
    assert max(stored) <= 64
    assert statistics.median(took[on_socket]) < 2 * t.SCALE


def test_a_daemon_that_is_stuck_is_replaced(unit, bundle):
    with drop_in("[Service]\nWatchdogSec=1\n"):
        systemctl("restart", UNIT)
        with on_socket() as client:
            c = create(client, bundle, "c1")
            c.start()
        time.sleep(2.5)  # it answers the watchdog, for otherwise it would be gone by now
        pid = main_pid()
        assert show("NRestarts") == "0"
        os.kill(pid, signal.SIGSTOP)
        t.wait_for(lambda: main_pid() not in (0, pid) and show("ActiveState") == "active", what="the watchdog to bite")
        assert show("NRestarts") == "1"
        with on_socket() as client:
            assert client.list() == {("default", "c1"): ("running", c.pid, c.path)}
            c.on(client).end()
    systemctl("restart", UNIT)


def idle():
    return show("ActiveState") == "inactive"


def test_an_idle_daemon_ends_and_is_back_at_the_next_call(unit, bundle):
    with configuration(IdleTimeoutSec="1"):
        systemctl("restart", UNIT)
        for where in (on_socket, on_bus, on_socket):
            t.wait_for(idle, what="the daemon to end")
            assert show("Result") == "success" and show("NRestarts") == "0"
            assert show("ActiveState", "monoshim.socket") == "active"
            with where() as client:
                assert client.list() == {}
            assert show("ActiveState") == "active"

        with on_socket() as client:
            c = create(client, bundle, "c1")
            c.start()
        pid = main_pid()
        time.sleep(3)
        assert main_pid() == pid, "it has left its container alone"
        with on_socket() as client:
            c.on(client).end()
        t.wait_for(idle, what="the daemon to end")
    systemctl("start", UNIT)


def test_a_client_that_calls_while_there_is_no_daemon_waits_for_it(unit):
    systemctl("stop", UNIT)
    assert show("ActiveState") == "inactive"
    t.run("monoshim", "list")
    assert show("ActiveState") == "active"


def test_without_its_socket_unit_it_listens_by_itself(unit):
    systemctl("stop", UNIT, "monoshim.socket")
    assert not os.path.exists(PEER_BUS)
    systemctl("mask", "--runtime", "monoshim.socket")
    try:
        systemctl("start", UNIT)
        assert os.stat(PEER_BUS).st_mode & 0o7777 == 0o600
        with on_socket() as client:
            assert client.list() == {}
        systemctl("stop", UNIT)
    finally:
        systemctl("unmask", "--runtime", "monoshim.socket")
    systemctl("start", UNIT)
    assert show("ActiveState", "monoshim.socket") == "active"
    with on_socket() as client:
        assert client.list() == {}


def test_the_status_says_how_many_there_are(unit, bundle):
    with on_socket() as client:
        c = create(client, bundle, "c1")
        t.wait_for(lambda: "1 container" in show("StatusText"), what="the status")
        assert 'Status: "%s"' % show("StatusText") in systemctl("status", UNIT)
        c.end()
        t.wait_for(lambda: "0 containers" in show("StatusText"), what="the status")


# The bus


@pytest.fixture(params=["dbus-daemon", "dbus-broker"])
def bus(request):
    """One of the two programs as the system bus. Changing it is itself a bus that goes and another that comes."""
    if request.param == "dbus-broker":
        systemctl("enable", "dbus-broker.service")
        systemctl("stop", "dbus.service")
        systemctl("daemon-reload")
        systemctl("start", "dbus.service")
    yield request.param
    if request.param == "dbus-broker":
        systemctl("disable", "dbus-broker.service")
        systemctl("stop", "dbus-broker.service")
        systemctl("daemon-reload")
        systemctl("start", "dbus.service")
        t.wait_for(has_owner, what="the daemon to be back on the bus")


def has_owner():
    with contextlib.suppress(OSError, EOFError, t.DBusError), on_bus() as c:
        return c.bus_call("GetConnectionUnixProcessID", "s", "org.monoshim1")[0]


@pytest.mark.parametrize("how", ["restart", "kill"])
def test_a_bus_that_goes_and_comes_back(unit, bus, bundle, how):
    t.wait_for(has_owner, what="the daemon on the bus")
    with on_socket() as client:
        c = create(client, bundle, "c1")
        c.start()
        pid, program = main_pid(), os.readlink("/proc/%s/exe" % show("MainPID", "dbus.service"))
        assert ("broker" in program) == (bus == "dbus-broker"), program
        if how == "restart":
            systemctl("restart", "dbus.service")
        else:
            systemctl("kill", "--signal=KILL", "dbus.service")
            t.wait_for(lambda: os.path.exists(SYSTEM_BUS), what="the bus")
            systemctl("start", "dbus.service", check=False)
        assert client.list() == {("default", "c1"): ("running", c.pid, c.path)}  # whoever has the socket notices nothing
    t.wait_for(lambda: has_owner() == pid, what="the daemon to be back on the bus")
    assert main_pid() == pid
    with on_bus() as client:
        assert client.list() == {("default", "c1"): ("running", c.pid, c.path)}
        c = c.on(client)
        c.kill()
        assert c.wait()[0] == 137
        c.delete()


# Where containers are


@pytest.mark.parametrize("systemd", [False, True], ids=["cgroupfs", "systemd"])
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_container_that_names_no_cgroup_is_not_in_ours_and_outlives_us(unit, bundle, runtime, systemd):
    b = bundle("sleep", "1000")
    with open(b + "/config.json", "r+") as f:
        config = json.load(f)
        del config["linux"]["cgroupsPath"]  # an empty one is the root's to crun
        f.seek(0)
        f.truncate()
        json.dump(config, f)
    with on_socket() as client:
        c = client.create("c1", b, Runtime=runtime, SystemdCgroup=systemd)
        c.start()

    def groups(pid):
        with open("/proc/%d/cgroup" % pid) as f:
            return {line.split(":", 2)[1]: line.rstrip("\n").split(":", 2)[2] for line in f}

    ours, its = groups(main_pid()), groups(c.pid)
    # systemd kills by the one, and the kernel by the other.
    for name in ("name=systemd", "memory", "pids"):
        assert name not in ours or its[name] != ours[name], (name, its[name])
    systemctl("restart", UNIT)
    systemctl("kill", "--kill-whom=main", "--signal=KILL", UNIT)
    until_it_answers(on_socket)
    with on_socket() as client:
        assert client.list() == {("default", "c1"): ("running", c.pid, c.path)}
        c.on(client).end()


def test_what_protects_the_daemon_does_not_protect_containers(system, bundle):
    def score(pid):
        with open("/proc/%d/oom_score_adj" % pid) as f:
            return int(f.read())

    c = create(system, bundle, "c1")
    c.start()
    e = c.run("e1", "sleep", "1000")
    assert (score(c.pid), score(e.pid)) == (0, 0)
    # A machine's own limits may forbid a negative one, which systemd takes in its stride.
    assert score(main_pid()) in (-900, 0)
    c.end()


# The end


def test_the_unit_for_the_end_is_there_whenever_the_daemon_is_and_nobody_stops_it_by_hand(unit):
    assert show("ActiveState", "monoshim-shutdown.service") == "active"
    assert systemctl("stop", "monoshim-shutdown.service", check=False) == ""
    assert show("ActiveState", "monoshim-shutdown.service") == "active"
    after = show("After", "monoshim-shutdown.service").split()
    assert {"monoshim.service", "monoshim.socket", "dbus.service", "network.target"} <= set(after)
    assert "shutdown.target" in show("Conflicts", "monoshim-shutdown.service").split()
