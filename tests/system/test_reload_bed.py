# SPDX-License-Identifier: LGPL-2.1-or-later
"""An upgrade under load: the program is replaced, "systemctl reload", and nobody who is at work notices."""

import contextlib
import os
import shutil
import threading
import time
import traceback

import monoshim_testing as t
from test_unit_bed import configuration
from test_systemd_bed import (PEER_BUS, SYSTEM_BUS, UNIT, main_pid, pytestmark, show, systemctl, unit)  # noqa: F401

PROGRAM = shutil.which("monoshimd")
ROUNDS = 30 if t.LARGE else 5
WORKERS = 4


def replace():
    """As a package manager does: a new file takes the name of the old one."""
    shutil.copy2(PROGRAM, PROGRAM + ".new")
    os.rename(PROGRAM + ".new", PROGRAM)


def runs_what_is_there(pid):
    return os.readlink("/proc/%d/exe" % pid) == PROGRAM


def test_reload_is_over_when_systemctl_comes_back(unit):
    pid = main_pid()
    for _ in range(ROUNDS):
        replace()
        systemctl("reload", UNIT)
        assert runs_what_is_there(pid) and show("ActiveState") == "active"
    assert main_pid() == pid and show("NRestarts") == "0"


def test_reload_fails_where_the_configuration_is_wrong(unit, bundle):
    pid = main_pid()
    with contextlib.closing(t.Client(PEER_BUS)) as client:
        c = client.create("c1", bundle("sleep", "1000"))
        c.start()
        with configuration(RuntimeTimeoutSec="soon"):
            replace()
            assert t.run("systemctl", "reload", UNIT, check=False).returncode != 0
            t.wait_for(lambda: "Cannot reload the configuration" in t.run(
                "journalctl", "--no-pager", "--unit=" + UNIT, "--lines=20").stdout, what="the reason in the journal")
            assert main_pid() == pid and not runs_what_is_there(pid) and show("ActiveState") == "active"
            assert c.status == "running"
        systemctl("reload", UNIT)
        assert main_pid() == pid and runs_what_is_there(pid)
        c.end()
    assert show("NRestarts") == "0"


def test_the_program_is_replaced_under_load(unit, bundle, capfd):
    pid = main_pid()
    bundles = [bundle("sh", "-c", "exit %d" % (3 + i)) for i in range(WORKERS)]
    with contextlib.closing(t.Client(PEER_BUS)) as client:
        lasting = client.create("lasting", bundle("sleep", "100000"))
        lasting.start()
        last = client.get_events()[1][-1].sequence
    failures, done, over = [], [0] * WORKERS, threading.Event()

    def work(i):
        """One connection for all of it: half of them on the bus, half on the socket; lifecycles and execs."""
        try:
            where = {"path": SYSTEM_BUS, "is_bus": True} if i % 2 else {"path": PEER_BUS}
            with contextlib.closing(t.Client(**where)) as c:
                home = c.container("lasting")
                while not over.is_set():
                    name = "w%d.%d" % (i, done[i])
                    one = c.create(name, bundles[i])
                    one.start()
                    e = home.run("e" + name, "sh", "-c", "exit %d" % (40 + i))
                    assert (one.wait()[0], e.wait()[0]) == (3 + i, 40 + i)
                    e.delete()
                    assert one.delete()[1] == 3 + i
                    c.sync()
                    assert c.event_names(name) == ["TaskCreate", "TaskStart", "TaskExit", "TaskDelete"]
                    c.forget_signals()
                    done[i] += 1
        except Exception as error:  # told by the main thread
            failures.append((i, done[i], error, traceback.extract_tb(error.__traceback__)[1].line))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(WORKERS)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(ROUNDS):
            time.sleep(0.3)
            replace()
            assert not runs_what_is_there(pid)
            systemctl("reload", UNIT)
            t.wait_for(lambda: runs_what_is_there(pid), what="the new program")
            t.wait_for(lambda: show("ActiveState") == "active", what="the end of the reload")
            assert main_pid() == pid and not failures, failures
        before = list(done)
        t.wait_for(lambda: failures or all(a > b for a, b in zip(done, before)), what="everybody to go on")
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert not failures, failures
    assert show("NRestarts") == "0"
    with contextlib.closing(t.Client(PEER_BUS)) as client:
        complete, events = client.get_events(last)
        if complete:
            t.check_event_invariants([e for e in events if e.id != "lasting"])
            assert len([e for e in events if e.name == "TaskDelete"]) == sum(done)
        client.container("lasting").end()
    with capfd.disabled():
        print("# %d executions, %d lifecycles meanwhile, each with an exec" % (ROUNDS, sum(done)), flush=True)
