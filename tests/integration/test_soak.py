# SPDX-License-Identifier: LGPL-2.1-or-later
"""Many lives: nothing may grow."""

import itertools
import os
import threading

import monoshim_testing as t

LIVES = int(os.environ.get("MONOSHIM_TEST_SOAK", 1000 if t.SLOW and not t.INSTRUMENTED else 60))
WORKERS = 8
GROWTH_MAX_KIB = 64


def live(d, bundle, directory, worker, ids, failures):
    try:
        client = t.Client(d.socket, listen=False)
        out = t.Fifo(os.path.join(directory, "out%d" % worker))
        for _ in range(LIVES // WORKERS):
            i = next(ids)
            c = client.create("c%d-%d" % (worker, i), bundle, ns="n%d" % (i % 5), Stdout=str(out), Labels={"number": str(i)})
            pending = c.begin("Wait")
            c.start()
            assert pending.result()[0] == 3
            out.open_reader()
            assert out.read_to_end() == b"hello\n"
            out.close()
            assert c.delete()[1] == 3
        client.close()
    except BaseException as e:  # whatever it is, it is raised in the test
        failures.append(e)


def soak(d, bundle, directory):
    os.mkdir(directory)
    failures, ids = [], itertools.count()
    threads = [threading.Thread(target=live, args=(d, bundle, directory, w, ids, failures)) for w in range(WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def test_a_thousand_lives_leave_nothing_and_nothing_grows(daemon, bundle, directory, monkeypatch):
    """T-FD, T-ZOMBIE, T-CYCLE"""
    b = bundle("sh", "-c", "echo hello; exit 3")
    monkeypatch.setattr("test_soak.LIVES", min(104, LIVES))
    soak(daemon, b, directory + "/warm-up")
    daemon.wait_idle()
    memory, fds = t.anonymous_kib(daemon.pid), daemon.all_fds()
    monkeypatch.setattr("test_soak.LIVES", LIVES)
    soak(daemon, b, directory + "/soak")
    daemon.wait_idle()
    assert daemon.zombies() == []
    assert daemon.all_fds() <= fds
    assert t.leftover_cgroups() == []
    if not t.INSTRUMENTED:
        grown = t.anonymous_kib(daemon.pid) - memory
        assert grown <= GROWTH_MAX_KIB, "%d KiB more after %d lives" % (grown, LIVES)
    client = daemon.connect()
    complete, events = client.get_events()
    if complete:  # as long as no more lives were asked for than are kept
        t.check_event_invariants(events)
        assert len(events) % 4 == 0
