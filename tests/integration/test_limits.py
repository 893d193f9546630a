# SPDX-License-Identifier: LGPL-2.1-or-later
"""The limits of monoshimd.conf: each is set small and hit; the message names it, nobody else is harmed, one that goes makes room,
a reload raises it, and a lowered one hurts nobody who is there."""

import contextlib
import json
import os
import re
import signal

import pytest

import monoshim_testing as t
from monoshim_testing import refused

REASON = "in monoshimd.conf(5) allows no more"


@pytest.fixture
def limited(make_daemon):
    """limited(MaxContainers=2) is a daemon with the fake runtime and a client of it."""
    def make(**settings):
        d = make_daemon(runtime=t.FAKE_RUNTIME, config=settings)
        return d, d.connect()
    return make


def exhausted(name, value):
    return refused("ResourceExhausted", "%s=%s %s" % (name, value, REASON))


def reload(d, client, **settings):
    d.configure(**settings)
    client.manager("Reload")


def test_containers(limited, bundle):
    d, client = limited(MaxContainers=2)
    client.create("a", bundle("sleep", "inf"))
    b = client.create("b", bundle("sleep", "inf"), ns="other")
    with exhausted("MaxContainers", 2):
        client.create("c", bundle("sleep", "inf"))
    assert sorted(client.list()) == [("default", "a"), ("other", "b")]
    assert not d.control.invocations("create", "c") and not os.path.exists(d.container_dir("c"))
    b.start()
    b.end()
    client.create("c", bundle("sleep", "inf")).start()

    reload(d, client, MaxContainers=3)
    client.create("d", bundle("sleep", "inf"))
    with exhausted("MaxContainers", 3):
        client.create("e", bundle("sleep", "inf"))


def test_containers_that_are_being_created_count(limited, bundle):
    d, client = limited(MaxContainers=1)
    d.control.set("a", "create", "sleep 0.5")
    first = client.begin_create("a", bundle("sleep", "inf"))
    with exhausted("MaxContainers", 1):
        client.create("b", bundle("sleep", "inf"))
    first.result()


def test_containers_of_a_namespace(limited, bundle):
    d, client = limited(MaxContainersPerNamespace=1)
    client.create("a", bundle("sleep", "inf"), ns="one")
    with exhausted("MaxContainersPerNamespace", 1):
        client.create("b", bundle("sleep", "inf"), ns="one")
    client.create("b", bundle("sleep", "inf"), ns="two").end()
    reload(d, client, MaxContainersPerNamespace=2)
    client.create("b", bundle("sleep", "inf"), ns="one")


def test_whoever_is_there_stays_when_limits_are_lowered(limited, bundle):
    """By a reload, and over a restart."""
    d, client = limited()
    for id in "abc":
        c = client.create(id, bundle("sleep", "inf"))
        c.start()
        for n in range(3):
            c.exec("e%d" % n, "sleep", "inf")
    small = {"MaxContainers": 1, "MaxContainersPerNamespace": 1, "MaxExecsPerContainer": 1, "MaxPeers": 1, "MaxEvents": 16,
             "MaxCallsPerClient": 8, "MaxExitsKept": 64, "MaxStreamTurnSize": "4K"}
    reload(d, client, **small)
    for restart in (False, True):
        if restart:
            d.restart("kill9")
            client = d.connect()
        assert len(client.list()) == 3
        assert len([p for p in client.tree() if "/process/" in p]) == 9
        c = client.container("b")
        c.known_exec("e2").start()
        assert c.known_exec("e2").end()[1] == 137
        with exhausted("MaxExecsPerContainer", 1):
            c.exec("e2", "sleep", "inf")
        with exhausted("MaxContainers", 1):
            client.create("d", bundle("sleep", "inf"))
        if not restart:
            reload(d, client)
            c.exec("e2", "sleep", "inf")
            reload(d, client, **small)
    reload(d, client)  # with one peer at most, whoever comes next could come before this one is seen to have gone


def test_a_reload_that_fails_changes_no_limit(limited, bundle):
    d, client = limited(MaxContainers=1)
    client.create("a", bundle("sleep", "inf"))
    d.configure(MaxContainers=5, MaxPeers="many")
    with refused("InvalidArgument", "%s:3: MaxPeers=many is not a number from 1 to 65536" % d.config):
        client.manager("Reload")
    with exhausted("MaxContainers", 1):
        client.create("b", bundle("sleep", "inf"))


def test_a_drop_in_counts_and_is_named_when_it_is_wrong(limited, bundle):
    d, client = limited(MaxContainers=1)
    client.create("a", bundle("sleep", "inf"))
    os.mkdir(d.config + ".d")
    drop_in = d.config + ".d/50-more.conf"
    for text in ("[Manager]\nMaxContainers=2\n", "[Manager]\nMaxContainers=no\n"):
        with open(drop_in, "w") as f:
            f.write(text)
        if "no" in text:
            with refused("InvalidArgument", "%s:2: MaxContainers=no is not a number" % drop_in):
                client.manager("Reload")
        else:
            client.manager("Reload")
            client.create("b", bundle("sleep", "inf"))
    with exhausted("MaxContainers", 2):
        client.create("c", bundle("sleep", "inf"))
    os.kill(d.pid, signal.SIGHUP)
    t.wait_for(lambda: d.log_text().count("50-more.conf:2:") >= 1, what="the complaint")
    os.unlink(drop_in)


def test_execs(limited, bundle):
    d, client = limited(MaxExecsPerContainer=2)
    one, other = (client.create(id, bundle("sleep", "inf")) for id in "ab")
    one.start(), other.start()
    e = one.run("e1", "sleep", "inf")
    one.exec("e2", "sleep", "inf")
    with exhausted("MaxExecsPerContainer", 2):
        one.exec("e3", "sleep", "inf")
    other.run("e3", "exit", "0").wait()
    e.end()
    one.run("e3", "exit", "0").wait()
    reload(d, client, MaxExecsPerContainer=3)
    one.exec("e4", "sleep", "inf")


def queued(client, c, n):
    """A pause that takes a while, and this many operations behind it."""
    slow = c.begin("Pause", interface=t.CONTAINER)
    return slow, [c.begin("Kill", "ub", signal.SIGCONT, False) for _ in range(n)]


@pytest.mark.parametrize("setting, limit", [("MaxOperationsPerProcess", 3), ("MaxOperationsPerContainer", 3),
                                            ("MaxOperationsPerClient", 4), ("MaxCallsPerClient", 4)])
def test_operations(limited, bundle, setting, limit):
    """Of a client, the one that is under way counts as well."""
    d, client = limited(**{setting: limit})
    c = client.create("a", bundle("sleep", "inf"))
    c.start()
    other = d.connect()
    bystander = other.create("b", bundle("sleep", "inf"))
    bystander.start()
    d.control.set("a", "pause", "sleep 1")

    slow, behind = queued(client, c, 3)
    with exhausted(setting, limit):
        c.kill(signal.SIGCONT)
    assert not slow.done()
    bystander.kill(signal.SIGCONT)
    assert c.status in ("running", "pausing")
    if setting.endswith("PerClient"):
        assert c.on(other).begin("Kill", "ub", signal.SIGCONT, False).result() == ()
    for p in [slow, *behind]:
        p.result()
    c.kill(signal.SIGCONT)
    c.resume()

    reload(d, client, **{setting: limit + 1})
    slow, behind = queued(client, c, 4)
    with exhausted(setting, limit + 1):
        c.kill(signal.SIGCONT)
    for p in [slow, *behind[:3]]:
        p.result()
    with contextlib.suppress(t.DBusError):
        behind[3].result()
    c.resume()


def test_waiting_is_no_operation(limited, bundle):
    """A client that has used up its operations may still wait."""
    d, client = limited(MaxOperationsPerClient=1)
    c = client.create("a", bundle("sleep", "inf"))
    c.start()
    waits = [c.begin("Wait") for _ in range(5)]
    c.kill()
    assert [w.result()[0] for w in waits] == [137] * 5


def test_waiters(limited, bundle):
    d, client = limited(MaxWaitersPerProcess=2)
    c, b = (client.create(id, bundle("sleep", "inf")) for id in "ab")
    c.start(), b.start()
    other = d.connect()
    waits = [c.begin("Wait"), c.on(other).begin("Wait")]
    client.sync(), other.sync()
    with exhausted("MaxWaitersPerProcess", 2):
        c.wait()
    another = b.begin("Wait")
    other.close()
    t.wait_for(lambda: can_wait(c, waits), what="the place of one who has left")
    reload(d, client, MaxWaitersPerProcess=3)
    waits.append(c.begin("Wait"))
    client.sync()
    with exhausted("MaxWaitersPerProcess", 3):
        c.wait()
    c.kill()
    assert [w.result()[0] for w in (waits[0], *waits[2:])] == [137] * 3
    b.kill()
    assert another.result()[0] == 137


def can_wait(c, waits):
    pending = c.begin("Wait")
    c.client.sync()
    if pending.done():
        with exhausted("MaxWaitersPerProcess", 2):
            pending.result()
        return False
    waits.append(pending)
    return True


def test_subscriptions_of_one_client(limited, bundle):
    """It cannot take the places of all."""
    d, client = limited(MaxSubscriptions=5, MaxSubscriptionsPerClient=3)
    other = d.connect()
    pipes = [client.subscribe() for _ in range(3)]
    with exhausted("MaxSubscriptionsPerClient", 3):
        client.subscribe()
    pipes += [other.subscribe() for _ in range(2)]
    with exhausted("MaxSubscriptions", 5):
        other.subscribe()
    client.create("a", bundle("sleep", "inf"))
    assert [p.record()["topic"] for p in pipes] == ["/tasks/create"] * 5

    pipes[0].close()
    t.wait_for(lambda: may_subscribe(client, pipes), what="a place")
    reload(d, client, MaxSubscriptions=6, MaxSubscriptionsPerClient=3)
    pipes.append(other.subscribe())
    with exhausted("MaxSubscriptions", 6):
        other.subscribe()
    for p in pipes[1:]:
        p.close()


def may_subscribe(client, pipes):
    try:
        pipes.append(client.subscribe())
    except t.DBusError:
        return False
    return True


def test_subscriptions_of_clients_of_a_message_bus(message_bus, make_daemon):
    d = make_daemon(runtime=t.FAKE_RUNTIME, bus=message_bus.address, config={"MaxSubscriptionsPerClient": 2})
    one, other = message_bus.connect(), message_bus.connect()
    pipes = [c.subscribe() for c in (one, one, other, other)]
    for c in (one, other):
        with exhausted("MaxSubscriptionsPerClient", 2):
            c.subscribe()
    reload(d, one, MaxSubscriptionsPerClient=3)
    pipes.append(one.subscribe())
    for p in pipes:
        p.close()
    one.close(), other.close()


def test_peers(limited, bundle):
    d, client = limited(MaxPeers=2)
    other = d.connect()
    with pytest.raises((OSError, EOFError, AssertionError)):
        d.connect()
    assert "MaxPeers=2 allows no more" in d.log_text()
    client.create("a", bundle("sleep", "inf"))
    other.close()
    t.wait_for(lambda: may_connect(d), what="the place of a peer")
    with pytest.raises((OSError, EOFError, AssertionError)):
        d.connect()
    reload(d, client, MaxPeers=3)
    d.connect()
    reload(d, client)


def may_connect(d):
    try:
        return d.connect()
    except (OSError, EOFError, AssertionError):
        return None


def test_labels(limited, bundle):
    d, client = limited(MaxLabelsPerContainer=2, MaxLabelsSize="1K")
    b = bundle("sleep", "inf")
    with exhausted("MaxLabelsPerContainer", 2):
        client.create("a", b, Labels={"1": "", "2": "", "3": ""})
    with exhausted("MaxLabelsSize", "1K"):
        client.create("a", b, Labels={"1": "x" * 1024})
    assert client.list() == {}
    client.create("a", b, Labels={"1": "x" * 1022, "2": ""}).end()
    reload(d, client, MaxLabelsPerContainer=3, MaxLabelsSize="2K")
    labels = {"1": "x" * 1024, "2": "", "3": ""}
    assert client.create("a", b, Labels=labels).get("Labels", t.CONTAINER) == labels


@pytest.mark.parametrize("kind", ["bundle", "Spec", "process"])
def test_specs(limited, bundle, kind):
    d, client = limited(MaxSpecSize="64K")
    c = client.create("a", bundle("sleep", "inf"))
    c.start()
    b = bundle("sleep", "inf")
    with open(b + "/config.json") as f:
        config = json.load(f)
    config["annotations"] = {"x": "y" * 65536}
    process = {**t.process_spec(["sleep", "inf"]), "x": "y" * 65536}
    with open(b + "/config.json", "w") as f:
        json.dump(config, f)
    config["root"]["path"] = os.path.join(b, config["root"]["path"])

    def make():
        if kind == "process":
            c.exec("e1", spec=process)
        elif kind == "Spec":
            client.create("b", Spec=json.dumps(config))
        else:
            client.create("b", b)

    with exhausted("MaxSpecSize", "64K"):
        make()
    assert len(client.tree()) == 1
    reload(d, client, MaxSpecSize="128K")
    make()
    assert len(client.tree()) == 2


def test_events(limited, bundle):
    """As many as are set are kept, and at least three quarters of them; a reload counts for those to come."""
    d, client = limited(MaxEvents=40)
    for _ in range(20):
        client.create("a", bundle("sleep", "inf")).end()
    complete, events = client.get_events()
    assert not complete and 30 <= len(events) <= 40
    reload(d, client, MaxEvents=16)
    for _ in range(10):
        client.create("a", bundle("sleep", "inf")).end()
    assert 12 <= len(client.get_events()[1]) <= 16
    reload(d, client, MaxEvents=400)
    for _ in range(20):
        client.create("a", bundle("sleep", "inf")).end()
    assert len(client.get_events()[1]) >= 60


def test_the_size_of_events(limited, bundle):
    d, client = limited(MaxEventsSize="64K")
    b = bundle("sleep", "inf")
    for _ in range(30):
        client.create("a", b, Stdout="file://%s/%s" % (d.directory, "./" * 1500 + "out")).end()
    folder = d.state + "/.events"
    size = sum(os.path.getsize(os.path.join(folder, name)) for name in os.listdir(folder))
    assert 32 * 1024 <= size <= 64 * 1024


def test_replies_that_are_not_read(limited, bundle):
    d, client = limited(MaxUnreadReplies=2)
    for i in range(40):
        client.create("c%d" % i, bundle("sleep", "inf"), Labels={"x": "y" * 20000})
    other = d.connect(listen=False)
    pending = [other.begin(t.ROOT_PATH, t.OBJECT_MANAGER, "GetManagedObjects") for _ in range(30)]
    for _ in range(200):
        client.sync()
    refusals = 0
    for p in pending:
        try:
            assert len(p.result()[0]) == 40
        except t.DBusError as e:
            assert e.name == t.ERROR + "ResourceExhausted" and "MaxUnreadReplies=2 " + REASON in e.message, e
            refusals += 1
    assert 0 < refusals < 30
    assert len(other.tree()) == 40


@pytest.mark.parametrize("settings", [{"MaxUnreadMessages": 64, "MaxUnreadSize": "32M"}, {"MaxUnreadSize": "64K"}])
def test_a_peer_that_does_not_read(limited, bundle, settings):
    """It is cut off, once the socket takes no more (8 MiB) and the limit is reached; the others do not notice."""
    d, client = limited(**settings)
    d.connect()
    b = bundle("sleep", "inf")
    t.wait_for(lambda: lives(client, b) and "does not read what it is told" in d.log_text(), what="the end of its patience",
               timeout=60 * t.SCALE)
    assert "MaxUnreadMessages=" in d.log_text()
    client.create("a", b)


def lives(client, b):
    for _ in range(10):
        client.create("a", b, Labels={"x": "y" * 200000}).end()
    client.forget_signals()
    return True


def test_every_limit_that_a_message_names_is_a_setting():
    sources = os.path.join(os.environ.get("top_srcdir", os.path.join(os.path.dirname(__file__), "../..")), "src")
    texts = {}
    for folder, _, names in os.walk(sources):
        for name in names:
            if name.endswith((".c", ".h")):
                path = os.path.join(folder, name)
                with open(path) as f:
                    texts[os.path.relpath(path, sources)] = f.read()
    known = set(re.findall(r'^ +(?:NUMBER|SIZE)\("(\w+)"', texts.pop("host/config.c"), re.M))
    texts.pop("host/config.h")
    named = {n for text in texts.values() for n in re.findall(r'"(Max[A-Z]\w+)"|\b(Max[A-Z]\w+)=%', text) for n in n if n}
    assert named <= known, named - known
    assert len(named) >= 14
