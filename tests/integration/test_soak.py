# SPDX-License-Identifier: LGPL-2.1-or-later
"""Many lives: nothing may grow."""

import os
import threading
import time

import monoshim_testing as t

LIVES = int(os.environ.get("MONOSHIM_TEST_SOAK", 1000 if t.SLOW and not t.INSTRUMENTED else 60))
WORKERS = 8
GROWTH_MAX_KIB = 64


def live(d, bundle, directory, worker, lives, failures):
    try:
        client = t.Client(d.socket, listen=False)
        out = t.Fifo(os.path.join(directory, "out%d" % worker))
        for i in range(lives):
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


def soak(d, bundles, directory, lives):
    """That many lives, by several clients at once; returns how many there were."""
    os.mkdir(directory)
    failures = []
    threads = [threading.Thread(target=live, args=(d, bundles[w], directory, w, lives // WORKERS, failures)) for w in range(WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return lives // WORKERS * WORKERS


def test_a_thousand_lives_leave_nothing_and_nothing_grows(daemon, bundle, directory):
    """T-FD, T-ZOMBIE, T-CYCLE"""
    bundles = [bundle("sh", "-c", "echo hello; exit 3") for _ in range(WORKERS)]  # each has a control group of its own
    lives = soak(daemon, bundles, directory + "/warm-up", LIVES // 10)
    daemon.wait_idle()
    time.sleep(0.5)  # it gives memory back a moment after the last container has gone
    memory, fds = t.anonymous_kib(daemon.pid), daemon.all_fds()
    lives += soak(daemon, bundles, directory + "/soak", LIVES - LIVES // 10)
    daemon.wait_idle()
    time.sleep(0.5)
    assert daemon.zombies() == []
    assert daemon.all_fds() <= fds
    assert t.leftover_cgroups() == []
    if not t.INSTRUMENTED:
        grown = t.anonymous_kib(daemon.pid) - memory
        print("anonymous memory: %d KiB after %d lives, %d KiB more after %d" % (memory, LIVES // 10, grown, LIVES))
        assert grown <= GROWTH_MAX_KIB, "%d KiB more than %d, after %d lives" % (grown, memory, LIVES)
    client = daemon.connect()
    complete, events = client.get_events()
    if complete:  # as long as no more lives were asked for than are kept
        t.check_event_invariants(events)
        assert [e.name for e in events].count("TaskStart") == lives
        assert len(events) == 4 * lives
