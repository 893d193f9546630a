# SPDX-License-Identifier: LGPL-2.1-or-later
"""SubscribeEvents: what was signalled and what will be, through a pipe, for readers of every speed."""

import json
import os
import resource
import stat
import time

import pytest

import monoshim_testing as t
from monoshim_testing import refused


@pytest.fixture
def watched(fake):
    """A client of the fake runtime's daemon that hears no signals: only pipes tell it anything."""
    return fake.connect(listen=False)


def live(client, bundle, id, ns="default"):
    """A short life: four events."""
    c = client.create(id, bundle("exit", "3"), ns=ns)
    c.start()
    c.wait()
    c.delete()


def as_record(e, time):
    return {"sequence": e.sequence, "topic": t.TOPICS[e.name], "time": time, "namespace": e.ns, "container_id": e.id,
            "data": json.loads(json.dumps(e.data))}


def all_records(client):
    """What GetEvents has, in the form of records."""
    times = {row[0]: row[2] for row in client.manager("GetEvents", "tu", 0, 0)[1]}
    return [as_record(e, times[e.sequence]) for e in client.get_events()[1]]


def test_what_has_been_is_replayed_and_then_what_comes(watched, bundle):
    """The same numbers, times, names and values as the signals, once each."""
    live(watched, bundle, "c1")
    s = watched.subscribe()
    live(watched, bundle, "c2", "tenant")
    records = s.records(8)
    assert records == all_records(watched)
    assert [r["topic"] for r in records] == ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"] * 2
    assert records[6]["data"]["exit_status"] == 3 and records[6]["data"]["id"] == "c2"
    assert s.quiet(0.2)


def test_every_topic(watched, bundle, directory):
    s = watched.subscribe()
    c = watched.create("c1", bundle("sleep", "inf"))
    c.start()
    c.run("e1", "exit", "1").wait()
    c.pause()
    c.resume()
    c.checkpoint(directory + "/image")
    c.end()
    records = s.records(last="/tasks/delete")
    assert [r["topic"].rpartition("/")[2] for r in records] == [
        "create", "start", "exec-added", "exec-started", "exit", "paused", "resumed", "checkpointed", "exit", "delete"]
    assert records == all_records(watched)
    assert records[7]["data"] == {"checkpoint": directory + "/image"}


@pytest.mark.parametrize("after, first", [(0, 1), (1, 2), (3, 4), (4, 5), (5, 5), (2 ** 63, 5), (2 ** 64 - 1, 5)])
def test_from_where(watched, bundle, after, first):
    """Behind the newest one, and far behind it, means: what comes."""
    live(watched, bundle, "c1")
    s = watched.subscribe(after)
    live(watched, bundle, "c2")
    assert [r["sequence"] for r in s.records(9 - first)] == list(range(first, 9))


@pytest.mark.parametrize("opts, expected", [
    ({"Namespace": "n1"}, {("n1", "c1"), ("n1", "c2")}),
    ({"ContainerId": "c1"}, {("n1", "c1"), ("n2", "c1")}),
    ({"Namespace": "n2", "ContainerId": "c1"}, {("n2", "c1")}),
    ({"Namespace": "n3"}, set()),
])
def test_filters(watched, bundle, opts, expected):
    """Of what is replayed and of what comes."""
    subscriptions = []
    for _ in range(2):
        subscriptions.append(watched.subscribe(0, **opts))
        for ns, id in (("n1", "c1"), ("n1", "c2"), ("n2", "c1"), ("n2", "c2")):
            live(watched, bundle, id, ns)
    subscriptions.append(watched.subscribe(0, **opts))
    for s in subscriptions:
        records = s.records(8 * len(expected))
        assert {(r["namespace"], r["container_id"]) for r in records} == expected
        assert s.quiet(0.1)


@pytest.mark.parametrize("opts, name", [({"Bogus": ("s", "x")}, "Bogus"), ({"Namespace": ("u", 1)}, "Namespace"),
                                        ({"ContainerId": ("as", [])}, "ContainerId"), ({"Namespace": "../etc"}, "")])
def test_wrong_options(watched, opts, name):
    with refused("InvalidArgument", name):
        watched.subscribe(0, **opts)


def test_it_is_the_read_end_of_a_pipe(fake, watched):
    s = watched.subscribe()
    assert stat.S_ISFIFO(os.fstat(s.fd).st_mode)
    with pytest.raises(OSError):
        os.write(s.fd, b"x")


def test_the_frames_are_those_of_rfc_7464(watched, bundle):
    """Record separator, one JSON text without a raw newline, newline."""
    s = watched.subscribe()
    c = watched.create("c1", bundle("sleep", "inf"), Labels={"a": "line\nline\x1e"})
    c.delete()
    text = s.read_until(lambda d: d.count(b"\n") == 3)
    for frame in text.split(b"\x1e")[1:]:
        assert frame.endswith(b"\n") and frame.count(b"\n") == 1
        assert set(json.loads(frame)) == {"sequence", "topic", "time", "namespace", "container_id", "data"}
    assert text.startswith(b"\x1e") and text.count(b"\x1e") == 3


def test_it_comes_before_the_answer(watched, bundle):
    """As the signals do: when CreateContainer and Delete answer, the event is there to be read."""
    s = watched.subscribe()
    c = watched.create("c1", bundle("sleep", "inf"))
    assert b"/tasks/create" in s.read_available()
    c.delete()
    assert b"/tasks/delete" in s.read_available()


def test_several_subscribers_and_one_that_goes(fake, watched, bundle):
    """Each gets all of it; who closes his end costs nothing any more."""
    before = fake.all_fds()
    one, two, three = watched.subscribe(), watched.subscribe(), fake.connect(listen=False).subscribe()
    live(watched, bundle, "c1")
    one.records(2)
    one.close()
    two.close()
    live(watched, bundle, "c2")
    assert len(three.records(8)) == 8
    three.close()
    live(watched, bundle, "c3")
    t.wait_for(lambda: fake.all_fds() <= before + 1, what="the end of the pipes")


def test_it_outlives_the_connection_that_asked(fake, bundle):
    asking, other = fake.connect(listen=False), fake.connect(listen=False)
    s = asking.subscribe()
    asking.close()
    fake.clients.remove(asking)
    live(other, bundle, "c1")
    assert len(s.records(4)) == 4


@pytest.mark.parametrize("how", ["term", "kill9"])
def test_over_a_restart(fake, watched, bundle, how):
    """The pipe ends with the daemon; who subscribes again after the last number it saw misses nothing and gets nothing twice."""
    s = watched.subscribe()
    c = watched.create("c1", bundle("sleep", "inf"))
    c.start()
    seen = s.records(2)
    fake.stop() if how == "term" else fake.kill9()
    assert s.read_to_end() == b""
    client = fake.start().connect(listen=False)
    s = client.subscribe(seen[-1]["sequence"])
    client.container("c1").end()
    seen += s.records(last="/tasks/delete")
    assert [r["sequence"] for r in seen] == [1, 2, 3, 4]
    assert seen == all_records(client)


def test_by_a_message_bus(message_bus, make_daemon, bundle):
    make_daemon(runtime=t.FAKE_RUNTIME, bus=message_bus.address)
    client = message_bus.connect(listen=False)
    s = client.subscribe()
    live(client, bundle, "c1")
    assert len(s.records(4)) == 4


def many_events(client, bundle, n):
    """'n' events at little cost: execs that are added and deleted."""
    c = client.create("busy", bundle("sleep", "inf"))
    c.start()
    for first in range(0, n, 100):
        pending = [c.begin_exec("e%d" % i, "sleep", "inf") for i in range(min(100, n - first))]
        paths = [p.result()[0] for p in pending]
        for p in [client.begin(path, t.PROCESS, "Delete") for path in paths]:
            p.result()
    return c


def test_a_reader_that_does_not_read_for_a_while(fake, watched, bundle):
    """T-SLOWSUB: it holds up nobody, costs little memory, and then gets everything in order: it is still kept."""
    s, quick = watched.subscribe(), watched.subscribe()
    memory = t.rss_kib(fake.pid)
    many_events(watched, bundle, 800)
    assert t.rss_kib(fake.pid) - memory < 4096 or t.INSTRUMENTED
    began = time.monotonic()
    watched.sync()
    assert time.monotonic() - began < 0.2 * t.SCALE
    assert [r["sequence"] for r in s.records(802)] == list(range(1, 803))
    assert [r["sequence"] for r in quick.records(802)] == list(range(1, 803))
    watched.container("busy").end()
    assert s.record()["topic"] == quick.record()["topic"] == "/tasks/exit"


def write_log(d, first, last, segment=2048):
    """The event log of a daemon that is not running: as many events as these, of a container that is long gone."""
    folder = os.path.join(d.state, ".events")
    for name in os.listdir(folder):
        os.unlink(os.path.join(folder, name))
    for begin in range(first, last + 1, segment):
        with open(os.path.join(folder, "%020d" % begin), "w") as f:
            for sequence in range(begin, min(begin + segment, last + 1)):
                f.write(json.dumps({"sequence": sequence, "topic": "/tasks/oom", "time": 1, "namespace": "default",
                                    "container_id": "old", "data": {}}) + "\n")


def test_a_reader_for_whom_not_everything_was_kept(make_daemon, bundle):
    """It is told by a record {"gap":true} where something is missing, and goes on with what comes then."""
    d = make_daemon(runtime=t.FAKE_RUNTIME)
    d.stop()
    write_log(d, 1, 8192)
    client = d.start().connect(listen=False)
    s = client.subscribe()
    t.wait_for(lambda: s.unread() > 60000, what="a full pipe")
    live(client, bundle, "c1")  # more than is kept: the oldest have to go
    records, gaps = [], 0
    while not records or records[-1] < 8196:
        r = s.record()
        if "gap" in r:
            assert r == {"gap": True}
            gaps += 1
        else:
            assert r["sequence"] == (records[-1] + 1 if records else 1) or (gaps == 1 and r["sequence"] > records[-1])
            records.append(r["sequence"])
    assert gaps == 1 and 400 < len(records) < 8196
    assert client.get_events(0)[0] is False
    live(client, bundle, "c2")
    assert [r["sequence"] for r in s.records(4)] == [8197, 8198, 8199, 8200]


def test_a_gap_before_the_first_event_that_is_kept(make_daemon, bundle):
    d = make_daemon(runtime=t.FAKE_RUNTIME)
    d.stop()
    write_log(d, 10001, 10002)
    client = d.start().connect(listen=False)
    for after, expected in ((0, [True, 10001, 10002]), (9999, [True, 10001, 10002]), (10000, [10001, 10002]), (10001, [10002])):
        assert [r.get("gap") or r["sequence"] for r in client.subscribe(after).records(len(expected))] == expected


def test_many_subscribers_that_never_read(fake, watched, bundle):
    """A limit is met in the end, with words; the others are served."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 10000), hard))
    pipes = []
    with pytest.raises(t.DBusError) as caught:
        for _ in range(5000):
            pipes.append(watched.subscribe(0, Namespace="none"))
    assert caught.value.name == t.ERROR + "ResourceExhausted", caught.value
    live(watched, bundle, "c1")
    assert len(watched.get_events()[1]) == 4
    for p in pipes:
        p.close()
    live(watched, bundle, "c2")
    t.wait_for(lambda: fake.all_fds() < 50, what="the end of the pipes")
