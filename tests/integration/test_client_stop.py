# SPDX-License-Identifier: LGPL-2.1-or-later
"""monoshim stop: what is asked, who is killed, and that a machine with many containers is empty in the time that one takes."""

import json
import os
import re
import time

import pytest

import monoshim_testing as t
from test_client import Terminal, end, fake_shell, make_shell, shell  # noqa: F401 (fixtures)

STOP_SIGNAL = "org.opencontainers.image.stopSignal"
CONTAINERD_STOP_SIGNAL = "io.containerd.image.config.stop-signal"


def listener(**signals):
    """A program that ends with a status of its own for each signal: listener(TERM=11)."""
    return ["sh", "-c", "%s echo ready; while :; do sleep 0.02; done" %
            "".join("trap '%s' %s; " % ("exit %d" % status if status is not None else "", name) for name, status in signals.items())]


@pytest.fixture
def run(client, bundle, fifo):
    """run("web", TERM=11) starts a listener, and returns when its traps are set."""

    def start(id, ns="default", labels=None, annotations=None, **signals):
        path = bundle(*listener(**signals))
        if annotations is not None:
            with open(os.path.join(path, "config.json"), "r+") as f:
                config = dict(json.load(f), annotations=annotations)
                f.seek(0)
                json.dump(config, f)
        out = fifo("%s.%s" % (ns, id)).open_reader()
        c = client.create(id, path, ns=ns, Stdout=str(out), Labels=labels or {})
        c.start()
        out.read_line()
        return c

    return start


def test_stop_asks_first(shell, client, run):
    run("web", TERM=11)
    shell("stop", "--timeout=1min", "web").ok()
    assert client.container("web").wait()[0] == 11
    shell("stop", "web").ok()  # has ended already
    shell("stop", "--signal=USR1", "nope", "web").failed(1, "Cannot stop default/nope: there is no such container")


def test_stop_kills_those_that_do_not_listen_all_at_once(shell, client, run):
    for id in ("a", "b", "c"):
        run(id, TERM=None)
    begin = time.monotonic()
    shell("stop", "-t", "1.5", "a", "b", "c").ok()
    assert 1.5 <= time.monotonic() - begin < 3 * t.SCALE
    assert {client.container(id).wait()[0] for id in ("a", "b", "c")} == {137}


def test_stop_ends_what_was_never_started(shell, client, bundle):
    shell("create", "-b", bundle("sleep", "1000"), "web").ok("web\n")
    shell("stop", "-t", "2", "web").ok()
    assert client.container("web").status == "stopped"


def test_stop_ends_what_is_paused(shell, run):
    c = run("web", TERM=12)
    c.pause()
    shell("stop", "web").ok()
    assert c.wait()[0] == 12


@pytest.mark.parametrize("labels, annotations, expected", [
    ({STOP_SIGNAL: "SIGUSR1"}, None, 21),
    ({CONTAINERD_STOP_SIGNAL: "12"}, None, 22),
    (None, {STOP_SIGNAL: "usr1"}, 21),
    ({STOP_SIGNAL: "USR2"}, {STOP_SIGNAL: "USR1"}, 22),
    ({STOP_SIGNAL: "", "other": "USR2"}, {"other": "USR1"}, 11),
], ids=["label", "containerd's label", "annotation", "label before annotation", "none"])
def test_stop_asks_as_the_image_wants_it(shell, run, labels, annotations, expected):
    c = run("web", labels=labels, annotations=annotations, TERM=11, USR1=21, USR2=22)
    shell("stop", "-t", "1min", "web").ok()
    assert c.wait()[0] == expected


def test_a_signal_that_was_given_counts(shell, run):
    c = run("web", labels={STOP_SIGNAL: "USR1"}, TERM=11, USR1=21, USR2=22)
    shell("stop", "-t", "1min", "-s", "USR2", "web").ok()
    assert c.wait()[0] == 22


def test_a_stop_signal_that_is_none_is_told_and_the_container_ends(shell, run):
    c = run("web", labels={STOP_SIGNAL: "SIGNONSENSE"}, TERM=11)
    r = shell("stop", "-t", "1min", "web")
    assert r.status == 0 and 'web asks to be stopped with "SIGNONSENSE"' in r.err, r
    assert c.wait()[0] == 11


def test_stop_all(shell, client, run, bundle):
    made = {(ns, id): run(id, ns=ns, TERM=11) for ns, id in (("default", "a"), ("default", "b"), ("other", "a"), ("third", "c"))}
    ended = client.create("ended", bundle("true"))
    ended.start()
    ended.wait()
    created = client.create("created", bundle("true"), ns="third")

    shell("stop", "--all", "-n", "other", "-t", "1min").ok()
    assert {key for key, row in client.list().items() if row[0] == "running"} == set(made) - {("other", "a")}
    shell("stop", "--all", "-t", "1min").ok()
    assert {key for key, row in client.list().items() if row[0] == "running"} == {("third", "c")}
    assert created.status == "created"
    shell("stop", "-A", "-t", "1min").ok()
    assert {row[0] for row in client.list().values()} == {"stopped"}
    assert {c.wait()[0] for c in made.values()} == {11}
    shell("stop", "--all-namespaces").ok()
    shell("stop", "-a", "-n", "nobody").ok()
    shell("stop", "--all", "web").failed(2, lines=2)
    shell("stop").failed(2, lines=2)


def test_many_end_in_the_time_of_one(shell, client, bundle, fifo):
    """More than are asked at a time; each takes a second to end."""
    n, made = 40, []
    for i in range(n):
        out = fifo("out%d" % i).open_reader()
        c = client.create("c%d" % i, bundle("sh", "-c", "trap 'sleep 1; exit %d' TERM; echo ready; while :; do sleep 0.05; done" % i),
                          Stdout=str(out))
        c.start()
        made.append((c, out))
    for _, out in made:
        out.read_line()
    began = time.monotonic()
    shell("stop", "--all", "-t", "5min", timeout=10 * t.TIMEOUT).ok()
    took = time.monotonic() - began
    assert [c.wait()[0] for c, _ in made] == list(range(n))
    assert took < n / 2 * t.SCALE, took


def test_stop_leaves_no_process_behind(shell, client, bundle, fifo):
    """Neither one that was executed there, nor, in a container without a pid namespace, what init has started."""
    out = fifo("out").open_reader()
    c = client.create("web", bundle("sh", "-c", "trap 'exit 11' TERM; sleep 1000 & echo ready; wait; wait", pid_namespace="host"),
                      Stdout=str(out))
    c.start()
    out.read_line()
    e = c.run("e1", "sleep", "1000")
    pids = list(c.pids())
    assert len(pids) == 3 and e.pid in pids
    shell("stop", "-t", "1min", "web").ok()
    assert c.wait()[0] == 11 and e.wait()[0] == 137
    t.wait_for(lambda: not any(t.is_alive(pid) for pid in pids), what="all of them to go")


def test_stop_goes_on_when_the_daemon_is_killed_meanwhile(daemon, shell, client, run):
    made = [run("c%d" % i, TERM=None) for i in range(4)] + [run("d", TERM=14)]
    p = shell.start("stop", "--all", "-t", "%g" % (3 * t.SCALE))
    made[-1].wait()  # so they have been asked
    daemon.kill9()
    daemon.start()
    end(p).ok()
    client = daemon.connect()
    assert [c.on(client).wait()[0] for c in made] == [137] * 4 + [14]


def shown_on(terminal):
    """What the line has said, one text for each time that it was written, and whether it has gone in the end."""
    assert terminal.text.startswith("\r") and terminal.text.endswith("\r\033[K"), terminal.text
    return terminal.text.replace("\033[K", "").split("\r")[1:-1]


def test_a_terminal_shows_how_long_there_is_to_wait(run, shell):
    run("web", TERM=None)
    with Terminal(shell, "stop", "--timeout=3", "web", env={"TERM": "xterm"}, columns=60) as terminal:
        assert terminal.wait() == 0
    texts = shown_on(terminal)
    assert re.fullmatch("Waiting for default/web to end; it will be killed in [123]s", texts[0]), texts
    assert all(len(x) < 60 for x in texts)

    run("a", TERM=None)
    run("b", TERM=None)
    with Terminal(shell, "stop", "--timeout=2", "a", "b", env={"TERM": "xterm"}) as terminal:
        assert terminal.wait() == 0
    assert re.fullmatch("Waiting for 2 of 2 containers to end; killing begins in [12]s", shown_on(terminal)[0])


def test_what_takes_long_is_shown_and_goes_away(fake, fake_shell, bundle, directory):
    for verb in ("checkpoint", "delete"):
        fake_shell("run", "-d", "-b", bundle("sleep", "inf"), "web").ok(None)
        fake.control.set("web", verb, "sleep 1.3")
        if verb == "checkpoint":
            arguments, text = ["checkpoint", "web", directory + "/image"], "Making an image of default/web: "
        else:
            arguments, text = ["delete", "-f", "web"], "Deleting default/web: "
        with Terminal(fake_shell, *arguments, env={"TERM": "xterm"}) as terminal:
            assert terminal.wait() == 0, terminal.text
        assert re.fullmatch(re.escape(text) + r"\ds", shown_on(terminal)[0])
        fake.control.clear("web", verb)
        fake_shell("delete", "-f", "web").ok()

    # A complaint comes when the line has gone; and where there is no terminal, or one that cannot take a line back, there is none.
    fake_shell("run", "-d", "-b", bundle("sleep", "inf"), "web").ok(None)
    fake.control.set("web", "checkpoint", "sleep 1.3", "exit 1")
    with Terminal(fake_shell, "checkpoint", "web", directory + "/image", env={"TERM": "xterm"}) as terminal:
        assert terminal.wait() == 1
    assert re.search(r"web: \ds\x1b\[K\r\x1b\[Kmonoshim: Cannot make an image of default/web: ", terminal.text), terminal.text
    with Terminal(fake_shell, "checkpoint", "web", directory + "/image", env={"TERM": "dumb"}) as terminal:
        assert terminal.wait() == 1
    assert terminal.text.startswith("monoshim: Cannot make an image")
    fake_shell("checkpoint", "web", directory + "/image", env={"TERM": "xterm"}).failed(1, "Cannot make an image")
