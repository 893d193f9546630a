# SPDX-License-Identifier: LGPL-2.1-or-later
"""State directories that former versions have written, one of each format (tests/state, made by tests/state/record): this
version takes their containers back with all that they knew, or cleans up after them, and reads their events."""

import glob
import json
import os
import re
import shutil

import pytest

import monoshim_testing as t

pytestmark = pytest.mark.skipif(t.VALGRIND, reason="valgrind does not know pidfd_open(), without which nothing is taken back")

CORPUS = os.path.join(t.TOP, "tests/state")
VERSIONS = sorted(os.path.basename(p) for p in glob.glob(os.path.join(CORPUS, "version-*")))
NOBODY = 4000000  # a number that no process here gets
OTHER_BOOT = "0123456789abcdef0123456789abcdef"


class World:
    """The containers' processes and the files that a state speaks of, and the state itself, filled in for them."""

    def __init__(self, make_daemon, directory, version):
        self.daemon = d = make_daemon(runtime=t.FAKE_RUNTIME, start=False)
        self.version = version
        self.template = os.path.join(CORPUS, version)
        self.bundle = t.make_bundle(os.path.join(d.directory, "bundle"), ["sleep", "inf"])
        self.out = t.Fifo(os.path.join(d.directory, "out"))
        self.pids, self.starts = {}, {}
        self.ids = sorted(os.listdir(os.path.join(self.template, "default")))

    def runtime(self, *arguments):
        d = self.daemon
        root = os.path.join(d.runtime_root, "default")
        os.makedirs(root, exist_ok=True)
        pid = t.nursery().spawn([t.FAKE_RUNTIME, "--root", root, *arguments],
                                {"PATH": os.environ["PATH"], "FAKE_RUNTIME_CONTROL": d.control.directory}, d.log)
        assert t.nursery().wait(pid) == 0, d.log_tail()

    def live(self):
        """As it was when the former version ended."""
        for id in self.ids:
            pid_file = os.path.join(self.daemon.directory, id + ".pid")
            self.runtime("create", "--bundle", self.bundle, "--pid-file", pid_file, id)
            with open(pid_file) as f:
                self.pids[id] = int(f.read())
            self.starts[id] = t.start_time(self.pids[id])
            if id != "created":
                self.runtime("start", id)
        for path in glob.glob(os.path.join(self.template, "default/*/exec/lives.state")):
            name = path.split("/")[-3] + "/lives"
            self.pids[name] = t.nursery().spawn(["sleep", "1000"], {"PATH": os.environ["PATH"]}, self.daemon.log)
            self.starts[name] = t.start_time(self.pids[name])
        for name in ("dead", "dead/lives", "ended"):
            if name in self.pids:
                os.kill(self.pids[name], 9)
                t.wait_for(lambda: t.read_stat(self.pids[name]) is None, what="the end of " + name)

    def value(self, match):
        kind, _, name = match.group(1).partition(":")
        if kind in ("DEV", "INO"):
            return str(getattr(os.stat(os.path.join(self.daemon.directory, name)), "st_" + kind.lower()))
        return {
            "DIRECTORY": lambda: self.daemon.directory,
            "RUNTIME": lambda: t.FAKE_RUNTIME,
            "CGROUP": lambda: t.CGROUP_PREFIX,
            "ROOTFS": t.rootfs,
            "BOOT_ID": lambda: self.boot_id,
            "PID": lambda: str(self.pids.get(name, NOBODY)),
            "START": lambda: str(self.starts.get(name, 1)),
        }[kind]()

    def write(self, boot_id=None, change=lambda path, text: text):
        self.boot_id = boot_id or t.boot_id().replace("-", "")
        for top, _, names in os.walk(self.template):
            for name in names:
                source = os.path.join(top, name)
                relative = os.path.relpath(source, self.template)
                target = os.path.join(self.daemon.state, re.sub("^events", ".events", relative))
                os.makedirs(os.path.dirname(target), mode=0o711, exist_ok=True)
                with open(source) as f:
                    text = re.sub(r"@([A-Z_]+(:[a-z/]+)?)@", self.value, f.read())
                assert "@" not in text
                with open(target, "w") as f:
                    f.write(change(relative, text))
                os.chmod(target, 0o600)

    def state(self, id):
        with open(os.path.join(self.daemon.container_dir(id), "state.json")) as f:
            return json.load(f)

    def recorded_events(self):
        found = []
        for path in sorted(glob.glob(os.path.join(self.daemon.state, ".events/*"))):
            with open(path) as f:
                found += [json.loads(line) for line in f]
        return found


@pytest.fixture
def world(request, make_daemon, directory):
    return World(make_daemon, directory, request.param)


every_version = pytest.mark.parametrize("world", VERSIONS, indirect=True)


def check_events(client, recorded):
    """Those that the former version told come first, as they were. Returns the others."""
    complete, events = client.get_events()
    assert complete and len(recorded) > 10
    topics = {v: k for k, v in t.TOPICS.items()}
    for e, r in zip(events, recorded):
        data = {**r["data"], **({"rootfs": [tuple(m) for m in r["data"]["rootfs"]]} if "rootfs" in r["data"] else {})}
        assert e.key() == (topics[r["topic"]], r["sequence"], r["namespace"], r["container_id"], data)
    assert len(events) >= len(recorded)
    return events[len(recorded):]


def test_there_is_one_of_each_version():
    assert VERSIONS == ["version-1", "version-2"]
    for v in VERSIONS:
        for path in glob.glob(os.path.join(CORPUS, v, "default/*/state.json")):
            with open(path) as f:
                assert '"version":%s,' % v.rpartition("-")[2] in f.read()


@every_version
def test_what_a_former_version_left_is_taken_back(world):
    world.live()
    world.write()
    recorded = world.recorded_events()
    states = {id: world.state(id) for id in world.ids}
    client = world.daemon.start().connect()

    # The dead one is cleaned up, with its events, and those of its exec first.
    t.wait_for(lambda: any(e.name == "TaskDelete" for e in check_events(client, recorded)), what="its last event")
    assert ("default", "dead") not in client.list()
    new = [(e.name, e.id, e.data["id"], e.data["exit_status"]) for e in check_events(client, recorded)]
    expected = [("TaskExit", "dead", "dead", 137), ("TaskDelete", "dead", "dead", 137)]
    if "dead/lives" in world.pids:
        expected.insert(0, ("TaskExit", "dead", "lives", 137))
    assert new == expected
    statuses = {"created": "created", "ended": "stopped"}
    assert {id: v[0] for (_, id), v in client.list().items()} == {
        id: statuses.get(id, "running") for id in world.ids if id != "dead"}

    # All that was known of the others.
    for id in set(world.ids) - {"dead"}:
        c, s = client.container(id), states[id]
        process, container = client.get_all(c.path, t.PROCESS), client.get_all(c.path, t.CONTAINER)
        assert container["Bundle"] == s["bundle"] and container["Labels"] == s["labels"]
        assert container["CreatedAt"] == s["created_at"] and container["Runtime"] == t.FAKE_RUNTIME
        assert process["StartedAt"] == s["init"]["started_at"] and process["Terminal"] == s["init"]["terminal"]
        assert process["Pid"] in (world.pids[id], 0) and (process["Pid"] or id == "ended")
        if id == "ended":
            assert (process["ExitStatus"], process["ExitedAt"]) == (137, s["init"]["exited_at"])
            assert c.wait() == (137, s["init"]["exited_at"])
    running = client.container("running")
    assert running.get("Stdout") == str(world.out)
    assert running.get("Labels", t.CONTAINER) == {"color": "blue", "empty": ""}

    if world.version != "version-1":
        check_execs(client, world, running)

    # And they go on: what was created can be started, what runs can be ended, and all can be deleted.
    created = client.container("created")
    assert created.start() == world.pids["created"]
    assert world.daemon.state_json("created")["version"] == int(VERSIONS[-1].rpartition("-")[2])
    world.daemon.restart("kill9")
    client = world.daemon.connect()
    assert client.container("created").status == "running"
    for _, id in client.list():
        c = client.container(id)
        status = c.end()
        assert status[1] == 137 and status[0] in (world.pids[id], 0), (id, status)
    assert not os.path.exists(world.daemon.container_dir("own")) and os.path.exists(world.bundle)
    t.check_event_invariants(client.get_events()[1])


def check_execs(client, world, running):
    lives, done, added = (running.known_exec(e) for e in ("lives", "done", "added"))
    assert lives.status == "running" and lives.get("Pid") == world.pids["running/lives"]
    assert lives.get("Stdout") == "file://" + os.path.join(world.daemon.directory, "file")
    assert done.status == "stopped" and done.wait()[0] == 3
    assert added.status == "created"
    added.start()
    assert added.wait()[0] == 4
    lives.kill()
    assert lives.wait()[0] == 137
    for e in (lives, done, added):
        e.delete()
    assert client.container("terminal").get("Terminal") is True


@every_version
def test_what_a_former_version_left_before_the_machine_was_started_anew_is_cleaned_up(world):
    world.write(boot_id=OTHER_BOOT)
    recorded = world.recorded_events()
    client = world.daemon.start().connect()

    def deleted():
        return sorted(e.id for e in check_events(client, recorded) if e.name == "TaskDelete")

    # They are gone from the list before the last of it is told.
    t.wait_for(lambda: not client.list() and len(deleted()) >= len(world.ids), what="the end of the cleanup")
    assert deleted() == world.ids
    new = check_events(client, recorded)
    assert {e.id for e in new if e.name == "TaskExit" and e.data["id"] == e.id} == set(world.ids) - {"ended"}
    t.check_event_invariants(client.get_events()[1])


@pytest.mark.parametrize("world", VERSIONS[-1:], indirect=True)
def test_what_a_later_version_left_is_left_alone(world):
    """It may know what this one does not; its containers go on, and so does everything else."""
    def later(path, text):
        return re.sub(r'^\{"version":\d+,', '{"version":99,', text)

    def files():
        return {path: open(path).read() for path in glob.glob(world.daemon.state + "/default/**", recursive=True)
                if os.path.isfile(path)}

    world.live()
    world.write(change=later)
    before = files()
    assert sum('"version":99' in text for text in before.values()) > len(world.ids)
    recorded = world.recorded_events()
    client = world.daemon.start().connect()
    assert client.list() == {} and check_events(client, recorded) == []
    for id in world.ids:
        assert re.search(r"default/%s: .*leaving the container to the next start" % id, world.daemon.log_text()), id
    with t.refused("AlreadyExists"):
        client.create("running", world.bundle)
    client.create("other", world.bundle).delete()
    assert files() == before
    assert all(t.is_alive(world.pids[n]) for n in ("running", "created", "own", "terminal", "running/lives"))
    world.daemon.disconnect()
    world.daemon.stop()
    assert files() == before
    for pid in world.pids.values():
        if t.read_stat(pid):
            os.kill(pid, 9)
    shutil.rmtree(world.daemon.state)
    shutil.rmtree(world.daemon.runtime_root)
