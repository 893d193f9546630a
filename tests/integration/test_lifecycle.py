# SPDX-License-Identifier: LGPL-2.1-or-later
"""One container's life, with real runc where it can be: calls, events, properties, objects."""

import json
import os
import re
import select
import signal

import pytest

import monoshim_testing as t
from monoshim_testing import CONTAINER, FAKE_RUNTIME, MANAGER, PROCESS, ROOT_PATH, refused


def test_a_life_has_its_four_events_in_order_with_all_arguments(daemon, client, bundle):
    b = bundle("sh", "-c", "exit 7")
    before = t.now_usec()
    c = client.create("web.1", b, ns="tenant-a")
    assert c.path == "/org/monoshim1/container/tenant_2da/web_2e1"
    assert c.pid > 1 and t.is_alive(c.pid)
    assert c.status == "created"
    assert c.start() == c.pid
    status, exited_at = c.wait()
    assert status == 7
    assert c.delete() == (c.pid, 7, exited_at)
    after = t.now_usec()
    assert before <= exited_at <= after

    assert [e.key() for e in c.events()] == [
        ("TaskCreate", 1, "tenant-a", "web.1", {"bundle": b, "rootfs": [], "stdin": "", "stdout": "", "stderr": "",
                                                "terminal": False, "checkpoint": "", "pid": c.pid}),
        ("TaskStart", 2, "tenant-a", "web.1", {"pid": c.pid}),
        ("TaskExit", 3, "tenant-a", "web.1", {"id": "web.1", "pid": c.pid, "exit_status": 7, "exited_at": exited_at}),
        ("TaskDelete", 4, "tenant-a", "web.1", {"id": "web.1", "pid": c.pid, "exit_status": 7, "exited_at": exited_at}),
    ]


def test_each_event_comes_before_the_answer_that_it_belongs_to(client, bundle):
    c = client.create("c1", bundle("sleep", "100"))
    assert client.event_names("c1") == ["TaskCreate"]
    c.start()
    assert client.event_names("c1") == ["TaskCreate", "TaskStart"]
    c.kill()
    c.wait()
    assert client.event_names("c1") == ["TaskCreate", "TaskStart", "TaskExit"]
    c.delete()
    assert client.event_names("c1") == ["TaskCreate", "TaskStart", "TaskExit", "TaskDelete"]


def test_the_process_tells_its_state_in_its_properties(client, bundle):
    before = t.now_usec()
    c = client.create("c1", bundle("sh", "-c", "exit 3"))
    assert client.get_all(c.path, PROCESS) == {
        "Id": "c1", "Pid": c.pid, "Status": "created", "ExitStatus": 0, "ExitedAt": 0, "StartedAt": 0,
        "Stdin": "", "Stdout": "", "Stderr": "", "Terminal": False}
    c.start()
    status, exited_at = c.wait()
    p = client.get_all(c.path, PROCESS)
    assert (p["Status"], p["ExitStatus"], p["ExitedAt"], p["Pid"]) == ("stopped", 3, exited_at, c.pid)
    assert before < p["StartedAt"] <= exited_at
    c.delete()


def test_changed_properties_are_signalled(client, bundle):
    c = client.create("c1", bundle("sleep", "100"))
    client.forget_signals()
    c.start()
    client.sync()
    assert client.changes(c.path, "Status") == ["running"]
    started = client.changes(c.path, "StartedAt")
    assert len(started) == 1 and started[0] == c.get("StartedAt")
    c.kill(signal.SIGKILL)
    _, exited_at = c.wait()
    client.sync()
    assert client.changes(c.path, "Status") == ["running", "stopped"]
    assert client.changes(c.path, "ExitStatus") == [137]
    assert client.changes(c.path, "ExitedAt") == [exited_at]
    c.delete()


def test_constant_properties_of_the_container(client, bundle):
    b = bundle("sleep", "1", cgroup="/" + t.CGROUP_PREFIX + "named")
    before = t.now_usec()
    c = client.create("c1", b, ns="n1", Labels={"a": "1", "b.c": "ü"})
    p = client.get_all(c.path, CONTAINER)
    assert before <= p.pop("CreatedAt") <= t.now_usec()
    assert p == {"Namespace": "n1", "Id": "c1", "Bundle": b, "Runtime": "runc", "Labels": {"a": "1", "b.c": "ü"},
                 "ControlGroup": "/" + t.CGROUP_PREFIX + "named", "OOMKills": 0}
    c.delete()


def test_properties_of_the_manager(daemon, client, bundle):
    p = client.get_all(ROOT_PATH, MANAGER)
    assert p["Version"]
    assert (p["Runtime"], p["RuntimeRoot"], p["StateDirectory"], p["RootDirectory"]) == \
        ("runc", daemon.runtime_root, daemon.state, daemon.root)
    assert (p["NContainers"], p["NJobs"], p["LastSequence"]) == (0, 0, 0)
    c = client.create("c1", bundle("sleep", "1"))
    p = client.get_all(ROOT_PATH, MANAGER)
    assert (p["NContainers"], p["NJobs"], p["LastSequence"]) == (1, 0, 1)
    client.sync()
    assert not [m for m in client._matching(ROOT_PATH, t.PROPERTIES, "PropertiesChanged")]
    c.delete()
    assert client.get(ROOT_PATH, MANAGER, "NContainers") == 0


def test_objects_come_and_go_with_their_interfaces(client, bundle):
    c = client.create("c1", bundle("sleep", "1"))
    added = client.added()
    assert [path for path, _ in added] == [c.path]
    interfaces = added[0][1]
    assert {CONTAINER, PROCESS} <= set(interfaces)
    assert interfaces[CONTAINER]["Id"] == "c1"
    assert interfaces[PROCESS]["Pid"] == c.pid
    tree = client.tree()
    assert c.path in tree
    assert {CONTAINER, PROCESS} <= set(tree[c.path])
    assert t.plain(tree[c.path][PROCESS])["Status"] == "created"
    c.delete()
    client.sync()
    removed = client.removed()
    assert [path for path, _ in removed] == [c.path]
    assert {CONTAINER, PROCESS} <= set(removed[0][1])
    assert c.path not in client.tree()


def test_the_object_is_there_when_interfaces_added_is_seen(daemon, bundle):
    watcher, worker = daemon.connect(), daemon.connect()
    pending = worker.begin_create("c1", bundle("sleep", "1"))
    while not watcher.added():
        watcher.pump(t.TIMEOUT)
    path = watcher.added()[0][0]
    assert watcher.get(path, PROCESS, "Status") == "created"
    pending.result()
    worker.container("c1").delete()


@pytest.mark.parametrize("code", [0, 1, 42, 127, 255])
def test_the_exit_code_is_the_programs(client, bundle, code):
    c = client.create("c1", bundle("sh", "-c", "exit %d" % code))
    c.start()
    assert c.wait()[0] == code
    assert c.delete()[1] == code


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGKILL, signal.SIGUSR1, signal.SIGHUP, signal.SIGSEGV, 34, 64])
def test_a_signal_is_told_as_128_plus_its_number(client, bundle, sig):
    # As pid 1 of its namespace a program without a handler ignores all signals but SIGKILL, hence the host's namespace.
    c = client.create("c1", bundle("sleep", "100", pid_namespace="host"))
    c.start()
    c.kill(sig)
    assert c.wait()[0] == 128 + sig
    assert c.delete()[1] == 128 + sig


def test_a_bundle_made_from_the_spec_option(daemon, client):
    text = json.dumps(t.spec(["sh", "-c", "exit 5"]))
    c = client.create("c1", Spec=text)
    own = daemon.container_dir("c1")
    assert client.get(c.path, CONTAINER, "Bundle") == own
    assert client.events("c1")[0].bundle == own
    with open(os.path.join(own, "config.json")) as f:
        assert f.read() == text
    assert os.stat(own).st_mode & 0o777 == 0o700
    assert os.path.isdir(os.path.join(own, "rootfs"))
    c.start()
    assert c.wait()[0] == 5
    c.delete()
    assert not os.path.exists(own)


def test_directory_modes(daemon, client):
    """T-MODES: other users can neither list nor enter a container's folder."""
    c = client.create("c1", Spec=json.dumps(t.spec(["true"])))
    assert os.stat(daemon.state).st_mode & 0o777 == 0o711
    assert os.stat(daemon.root).st_mode & 0o777 == 0o711
    assert os.stat(os.path.join(daemon.state, "default")).st_mode & 0o777 == 0o711
    assert os.stat(daemon.container_dir("c1")).st_mode & 0o777 == 0o700
    assert os.stat(os.path.join(daemon.container_dir("c1"), "state.json")).st_mode & 0o077 == 0
    assert os.stat(daemon.socket).st_mode & 0o777 == 0o600
    c.delete()


def test_a_mapped_root_group_may_enter_the_containers_folder(make_daemon, directory):
    """T-MODES: 0710 and the mapped group when the configuration maps gid 0 to another host group."""
    d = make_daemon(runtime=FAKE_RUNTIME)
    client = d.connect()
    spec = t.spec(["sleep", "inf"], extra_linux={
        "uidMappings": [{"containerID": 0, "hostID": 100000, "size": 1000}],
        "gidMappings": [{"containerID": 0, "hostID": 200000, "size": 1000}]})
    c = client.create("c1", Spec=json.dumps(spec))
    st = os.stat(d.container_dir("c1"))
    assert (st.st_mode & 0o777, st.st_gid) == (0o710, 200000)
    c.delete()


def test_a_bundle_of_the_clients_is_left_as_it_was(client, bundle):
    b = bundle("true", own_rootfs=True)
    before = sorted(os.listdir(b)), open(os.path.join(b, "config.json")).read()
    c = client.create("c1", b)
    c.start()
    c.wait()
    c.delete()
    assert (sorted(os.listdir(b)), open(os.path.join(b, "config.json")).read()) == before
    assert os.path.exists(os.path.join(b, "rootfs/bin/busybox"))


# The runtime's command lines, and what it is given.


def global_flags(d, id, ns="default", systemd=False):
    return (["--root", os.path.join(d.runtime_root, ns), "--log", os.path.join(d.container_dir(id, ns), "log.json"),
             "--log-format", "json"] + (["--systemd-cgroup"] if systemd else []))


def test_the_command_lines_are_exactly_containerds(fake, bundle):
    client = fake.connect()
    b = bundle("sleep", "inf")
    c = client.create("c1", b, ns="n1")
    c.start()
    c.kill(signal.SIGUSR1)
    c.wait()
    with refused("NotFound"):
        c.kill(signal.SIGTERM)
    c.delete()
    g = global_flags(fake, "c1", "n1")
    pid_file = os.path.join(fake.container_dir("c1", "n1"), "init.pid")
    # With the host's pid namespace nothing but "kill --all" would end what the init has left: see the next test. This
    # configuration has its own.
    assert [r["argv"][1:] for r in fake.control.invocations()] == [
        g + ["create", "--bundle", b, "--pid-file", pid_file, "c1"],
        g + ["start", "c1"],
        g + ["kill", "c1", "10"],
        g + ["kill", "c1", "15"],
        g + ["delete", "c1"],
    ]
    assert fake.control.invocations()[0]["argv"][0] == FAKE_RUNTIME


def test_every_option_of_create_reaches_the_runtime(fake, directory, bundle):
    client = fake.connect()
    b = bundle("sleep", "inf")
    other_root = os.path.join(directory, "other-root")
    link = os.path.join(directory, "other-runtime")
    os.symlink(FAKE_RUNTIME, link)
    c = client.create("c1", b, Runtime=link, RuntimeRoot=other_root, SystemdCgroup=True, NoPivotRoot=True, NoNewKeyring=True)
    assert client.get(c.path, CONTAINER, "Runtime") == link
    c.start()
    c.kill(signal.SIGKILL)
    c.wait()
    c.delete()
    g = ["--root", other_root + "/default", "--log", os.path.join(fake.container_dir("c1"), "log.json"), "--log-format",
         "json", "--systemd-cgroup"]
    pid_file = os.path.join(fake.container_dir("c1"), "init.pid")
    assert [r["argv"] for r in fake.control.invocations()] == [
        [link] + g + ["create", "--bundle", b, "--pid-file", pid_file, "--no-pivot", "--no-new-keyring", "c1"],
        [link] + g + ["start", "c1"],
        [link] + g + ["kill", "c1", "9"],
        [link] + g + ["delete", "c1"],
    ]


def test_kill_all_is_passed_on(fake, bundle):
    client = fake.connect()
    c = client.create("c1", bundle("sleep", "inf"))
    c.start()
    c.kill(signal.SIGKILL, all=True)
    c.wait()
    c.delete()
    assert [r["argv"][-4:] for r in fake.control.invocations("kill-all")] == [["kill", "--all", "c1", "9"]]


@pytest.mark.parametrize("namespace, expected", [("private", 0), ("host", 1), ("/proc/1/ns/pid", 1)])
def test_what_a_shared_pid_namespace_leaves_is_killed_when_init_exits(fake, bundle, namespace, expected):
    """T-KILLALL: "kill --all ID 9" exactly when the container has no pid namespace of its own."""
    client = fake.connect()
    c = client.create("c1", bundle("exit", "4", pid_namespace=namespace))
    c.start()
    assert c.wait()[0] == 4
    c.delete()
    client.sync()
    assert [r["argv"][-4:] for r in fake.control.invocations("kill-all")] == [["kill", "--all", "c1", "9"]] * expected
    assert c.event_names() == ["TaskCreate", "TaskStart", "TaskExit", "TaskDelete"]


def test_children_in_the_hosts_pid_namespace_end_with_their_init(client, bundle, fifo):
    out = fifo("out").open_reader()
    c = client.create("c1", bundle("sh", "-c", "sleep 1000 & echo $!; exec sleep 1000", pid_namespace="host"),
                      Stdout=str(out))
    c.start()
    child = int(out.read_line())
    assert t.is_alive(child)
    c.kill(signal.SIGKILL)
    c.wait()
    t.wait_for(lambda: not t.is_alive(child), what="the end of the init's child")
    assert c.delete()[1] == 137


def test_the_runtime_gets_nothing_but_what_is_meant_for_it(fake, bundle):
    client = fake.connect()
    c = client.create("c1", bundle("sleep", "inf"))
    c.start()
    c.kill()
    c.wait()
    c.delete()
    for r in fake.control.invocations():
        assert r["fds"] == [0, 1, 2], r
        assert r["pgid"] == r["pid"], r
        assert r["pdeathsig"] == signal.SIGKILL, r
        assert not r["notify_socket"], r
        assert int(r["blocked"], 16) == 0, r


def test_a_container_inherits_no_descriptor(client, bundle, fifo):
    out = fifo("out").open_reader()
    c = client.create("c1", bundle("sh", "-c", "ls -l /proc/self/fd"), Stdout=str(out))
    c.start()
    c.wait()
    lines = out.read_to_end().decode()
    numbers = [int(n) for n in re.findall(r":\d\d (\d+)(?: ->.*)?$", lines, re.M)]
    assert numbers == [0, 1, 2, 3], lines  # the last is ls' own, on the directory
    c.delete()


NULL_USER = "echo out && echo err >&2 && ! read line && exit 9"


def test_with_null_streams_echo_exits_with_0(client, bundle):
    """T-NULL: /dev/null is open for reading and writing."""
    c = client.create("c1", bundle("sh", "-c", NULL_USER))
    c.start()
    assert c.wait()[0] == 9
    c.delete()


def test_null_streams_are_given_to_the_runtime_for_reading_and_writing(fake, bundle):
    """T-NULL without runc, which opens /dev/null again when it finds it there."""
    client = fake.connect()
    c = client.create("c1", bundle("run", "sh", "-c", NULL_USER))
    c.start()
    assert c.wait()[0] == 9
    c.delete()


# Wait, Kill, OpenPidFD, CloseIO


def test_wait_answers_all_who_wait_before_and_after_the_exit(daemon, client, bundle):
    c = client.create("c1", bundle("sleep", "100"))
    others = [daemon.connect(listen=False) for _ in range(3)]
    pending = [c.begin("Wait"), c.begin("Wait")] + [c.on(o).begin("Wait") for o in others]
    c.start()
    assert not any(p.done() for p in pending)
    c.kill()
    answers = {p.result() for p in pending}
    assert len(answers) == 1
    answer = answers.pop()
    assert answer[0] == 137
    assert c.wait() == answer
    assert c.wait() == answer
    assert c.events("TaskExit")[0].exited_at == answer[1]
    c.delete()


def test_who_waits_gets_the_status_when_the_object_is_deleted_meanwhile(client, bundle):
    c = client.create("c1", bundle("sleep", "100"))
    pending = [c.begin("Wait") for _ in range(3)]
    pid, status, exited_at = c.delete()  # in "created": this kills it
    assert status == 137
    assert [p.result() for p in pending] == [(137, exited_at)] * 3


def test_thousands_wait_for_one_container(client, bundle):
    c = client.create("c1", bundle("sleep", "100"))
    pending = [c.begin("Wait") for _ in range(100)]
    c.start()
    c.kill()
    assert len({p.result() for p in pending}) == 1
    c.delete()


def test_kill_in_created_ends_it_and_start_is_then_refused(client, bundle):
    c = client.create("c1", bundle("sleep", "100"))
    c.kill(signal.SIGKILL)
    assert c.wait()[0] == 137
    with refused("FailedPrecondition", exactly="cannot start a stopped process"):
        c.start()
    c.delete()
    assert c.event_names() == ["TaskCreate", "TaskExit", "TaskDelete"]
    assert [e.exit_status for e in c.events()[1:]] == [137, 137]


def test_killing_what_has_exited_is_not_found(client, bundle):
    c = client.create("c1", bundle("true"))
    c.start()
    c.wait()
    with refused("NotFound", exactly="process already finished: not found"):
        c.kill(signal.SIGKILL)
    with refused("NotFound"):
        c.kill(signal.SIGTERM)
    c.delete()


def test_delete_in_created_kills_it_with_137(client, bundle):
    c = client.create("c1", bundle("sleep", "100"))
    pid, status, exited_at = c.delete()
    assert (pid, status) == (c.pid, 137)
    assert exited_at > 0
    assert [(e.name, e.data.get("exit_status"), e.data.get("exited_at")) for e in c.events()[1:]] == [
        ("TaskExit", 137, exited_at), ("TaskDelete", 137, exited_at)]
    assert not t.is_alive(c.pid)


def test_a_pidfd_can_be_polled(client, bundle):
    c = client.create("c1", bundle("sleep", "100"))
    with c.process("OpenPidFD")[0].to_file("rb", 0) as pidfd:
        p = select.poll()
        p.register(pidfd, select.POLLIN)
        assert p.poll(0) == []
        assert "pidfd" in os.readlink("/proc/self/fd/%d" % pidfd.fileno())
        c.start()
        signal.pidfd_send_signal(pidfd.fileno(), signal.SIGKILL)
        assert p.poll(t.TIMEOUT * 1000)
    assert c.wait()[0] == 137
    with refused("NotFound"):
        c.process("OpenPidFD")
    c.delete()


def test_close_io_is_harmless_without_stdin_and_when_repeated(client, bundle):
    c = client.create("c1", bundle("sleep", "100"))
    for _ in range(3):
        assert c.process("CloseIO") == ()
    c.start()
    assert c.process("CloseIO") == ()
    c.kill()
    c.wait()
    assert c.process("CloseIO") == ()
    c.delete()


def test_what_needs_a_terminal_is_refused_without_one(client, bundle):
    c = client.create("c1", bundle("sleep", "100"))
    for state in ("created", "running"):
        with refused("FailedPrecondition"):
            c.process("ResizePty", "qq", 80, 25)
        with refused("FailedPrecondition"):
            c.process("OpenTerminal")
        if state == "created":
            c.start()
    c.kill()
    c.wait()
    c.delete()


def test_a_container_that_runs_can_neither_be_started_nor_deleted(client, bundle):
    c = client.create("c1", bundle("sleep", "100"))
    c.start()
    with refused("FailedPrecondition", exactly="cannot start a running process"):
        c.start()
    with refused("FailedPrecondition", exactly="cannot delete a running process"):
        c.delete()
    assert c.status == "running"
    c.kill()
    c.wait()
    c.delete()


def test_after_delete_nothing_is_found(client, bundle):
    c = client.create("c1", bundle("true"))
    c.delete()
    for member, signature, args in (("Start", "", ()), ("Kill", "ub", (9, False)), ("Delete", "", ()), ("Wait", "", ()),
                                    ("CloseIO", "", ()), ("OpenPidFD", "", ()), ("OpenTerminal", "", ()),
                                    ("ResizePty", "qq", (1, 1))):
        with refused("NotFound"):
            c.process(member, signature, *args)
    with refused("NotFound"):
        client.manager("GetContainer", "ss", "default", "c1")


def test_the_pid_of_a_short_process_is_known_after_its_end(client, bundle):
    c = client.create("c1", bundle("true"))
    assert c.start() == c.pid > 0
    c.wait()
    assert c.get("Pid") == c.pid
    c.delete()


def test_a_container_deleted_behind_the_daemons_back_can_still_be_deleted(daemon, client, bundle):
    c = client.create("c1", bundle("sleep", "1000"))
    c.start()
    t.run("runc", "--root", os.path.join(daemon.runtime_root, "default"), "delete", "--force", "c1")
    assert c.wait(2 * t.SCALE)[0] == 137
    with refused("NotFound"):
        c.kill()
    assert c.delete()[1] == 137


# Finding containers


def test_get_container_by_pid_finds_the_container_of_any_of_its_processes(daemon, client, bundle, fifo):
    out = fifo("out").open_reader()
    c = client.create("c1", bundle("sh", "-c", "sleep 1000 & echo go; wait", pid_namespace="host"), Stdout=str(out))
    d = client.create("c2", bundle("sleep", "1000"))
    assert client.manager("GetContainerByPID", "u", c.pid) == (c.path,)
    c.start()
    d.start()
    out.read_line()
    child = t.children(c.pid)[0]
    assert client.manager("GetContainerByPID", "u", c.pid) == (c.path,)
    assert client.manager("GetContainerByPID", "u", child) == (c.path,)
    assert client.manager("GetContainerByPID", "u", d.pid) == (d.path,)
    for foreign in (os.getpid(), daemon.pid, 1, 0, 4194304, 2**32 - 1):
        with refused("NotFound"):
            client.manager("GetContainerByPID", "u", foreign)
    c.end()
    d.end()


def test_equal_ids_in_different_namespaces_are_different_containers(daemon, client, bundle):
    a = client.create("same", bundle("sh", "-c", "exit 1"), ns="n1")
    b = client.create("same", bundle("sh", "-c", "exit 2"), ns="n2")
    assert a.path != b.path and a.pid != b.pid
    assert client.manager("GetContainer", "ss", "n1", "same") == (a.path,)
    assert client.manager("GetContainer", "ss", "n2", "same") == (b.path,)
    with refused("NotFound"):
        client.manager("GetContainer", "ss", "n3", "same")
    a.start()
    assert a.wait()[0] == 1
    assert b.status == "created"
    a.delete()
    assert b.status == "created"
    b.start()
    assert b.wait()[0] == 2
    b.delete()
    t.check_event_invariants(client.events())


def test_list_containers(client, bundle):
    assert client.list() == {}
    a = client.create("a", bundle("sleep", "100"), ns="n1")
    b = client.create("b", bundle("true"), ns="n2")
    b.start()
    b.wait()
    c = client.create("c", bundle("sleep", "100"), ns="n1")
    c.start()
    assert client.list() == {("n1", "a"): ("created", a.pid, a.path), ("n2", "b"): ("stopped", b.pid, b.path),
                             ("n1", "c"): ("running", c.pid, c.path)}
    for x in (a, b, c):
        x.end()
    assert client.list() == {}


@pytest.mark.parametrize("id", ["a", "0", "a.b-c_d", "A" * 76, "9lives", "x-1.2_3", "init", "exec", "state.json",
                                "log.json", "rootfs", "config.json", "events", "shim"])
def test_odd_ids_live(client, bundle, id):
    """T-EXECID's sisters: names that our own files have are nothing special as ids and namespaces."""
    c = client.create(id, bundle("true"), ns=id)
    assert c.path == t.container_path(id, id)
    assert client.manager("GetContainer", "ss", id, id) == (c.path,)
    c.start()
    assert c.wait()[0] == 0
    c.delete()


# Events from the ring


def test_get_events_replays_what_was_signalled(daemon, client, bundle):
    assert client.get_events() == (True, [])
    for i in range(3):
        c = client.create("c%d" % i, bundle("true"))
        c.start()
        c.wait()
        c.delete()
    signalled = client.events()
    assert [e.sequence for e in signalled] == list(range(1, 13))
    complete, kept = client.get_events()
    assert complete
    assert [e.key() for e in kept] == [e.key() for e in signalled]
    assert client.get(ROOT_PATH, MANAGER, "LastSequence") == 12


def test_get_events_in_pages(client, bundle):
    for i in range(2):
        c = client.create("c%d" % i, bundle("true"))
        c.delete()
    complete, page = client.get_events(0, 4)
    assert complete and [e.sequence for e in page] == [1, 2, 3, 4]
    complete, page = client.get_events(4, 4)
    assert complete and [e.sequence for e in page] == [5, 6]
    assert client.get_events(6) == (True, [])
    assert client.get_events(5, 1)[1][0].name == "TaskDelete"
    assert client.get_events(2**64 - 1)[1] == []


def test_the_time_of_an_event_is_when_it_happened(client, bundle):
    before = t.now_usec()
    c = client.create("c1", bundle("true"))
    c.delete()
    times = [row[2] for row in client.manager("GetEvents", "tu", 0, 0)[1]]
    assert times == sorted(times)
    assert before <= times[0] and times[-1] <= t.now_usec()


def test_sequence_numbers_go_on_after_a_restart(daemon, bundle):
    client = daemon.connect()
    c = client.create("c1", bundle("true"))
    c.delete()
    before = [e.key() for e in client.events()]
    for how, last in (("term", 3), ("kill9", 6)):
        daemon.restart(how)
        client = daemon.connect()
        complete, kept = client.get_events()
        assert complete
        assert [e.key() for e in kept] == before
        assert client.get(ROOT_PATH, MANAGER, "LastSequence") == last
        client.create("c1", bundle("true")).delete()
        before += [e.key() for e in client.events()]
        assert [k[1] for k in before] == list(range(1, last + 4))


@pytest.mark.skipif(not t.SLOW, reason="MONOSHIM_TEST_SLOW=0")
def test_get_events_says_when_it_is_not_complete(make_daemon, bundle):
    """What went before was dropped: as after many thousands of events (that they are is test-eventlog's to show)."""
    d = make_daemon(runtime=FAKE_RUNTIME)
    d.stop()
    folder = os.path.join(d.state, ".events")
    for name in os.listdir(folder):
        os.unlink(os.path.join(folder, name))
    with open(os.path.join(folder, "%020d" % 10001), "w") as f:
        for sequence in (10001, 10002):
            f.write(json.dumps({"sequence": sequence, "topic": "/tasks/oom", "time": 1, "namespace": "default",
                                "container_id": "old", "data": {}}) + "\n")
    d.start()
    client = d.connect(listen=False)
    assert client.get(ROOT_PATH, MANAGER, "LastSequence") == 10002
    client.create("c1", bundle("sleep", "inf")).delete()
    for after, complete, first in ((0, False, 10001), (9999, False, 10001), (10000, True, 10001), (10001, True, 10002)):
        answer, kept = client.get_events(after)
        assert answer == complete
        assert [e.sequence for e in kept] == list(range(first, 10006))


def test_reload_takes_new_settings(fake, bundle):
    client = fake.connect()
    fake.configure(RuntimeTimeoutSec="1")
    assert client.manager("Reload") == ()
    fake.control.set("c1", "create", "hang", "once")
    with refused("DeadlineExceeded"):
        client.create("c1", bundle("sleep", "inf"))
    client.create("c1", bundle("sleep", "inf")).delete()


def test_a_bad_configuration_does_not_survive_reload_and_harms_nothing(fake, bundle):
    client = fake.connect()
    with open(fake.config, "w") as f:
        f.write("[Manager]\nRuntimeTimeoutSec=soon\n")
    with pytest.raises(t.DBusError):
        client.manager("Reload")
    client.create("c1", bundle("sleep", "inf")).delete()


def test_sigterm_leaves_containers_running(daemon, client, bundle):
    c = client.create("c1", bundle("sleep", "1000"))
    c.start()
    daemon.stop()
    assert t.is_alive(c.pid)
    daemon.start()
    c = daemon.connect().container("c1")
    assert c.status == "running"
    c.end()


def test_a_second_create_of_a_live_id_is_refused_and_disturbs_nothing(daemon, client, bundle):
    c = client.create("c1", bundle("sleep", "1000"))
    before = sorted(os.listdir(daemon.container_dir("c1")))
    for _ in range(2):
        with refused("AlreadyExists"):
            client.create("c1", bundle("true"))
    assert sorted(os.listdir(daemon.container_dir("c1"))) == before
    assert c.status == "created" and t.is_alive(c.pid)
    c.start()
    with refused("AlreadyExists"):
        client.create("c1", bundle("true"))
    assert c.status == "running"
    c.end()
    assert c.event_names() == ["TaskCreate", "TaskStart", "TaskExit", "TaskDelete"]


def test_the_defaults_of_new_options_are_accepted(client, bundle):
    """Saying explicitly what is the default anyway is no use of a feature."""
    c = client.create("c1", bundle("true"), Terminal=False, Relay=False, Stdin="", Stdout="", Stderr="", Rootfs=[],
                      SystemdCgroup=False, NoPivotRoot=False, NoNewKeyring=False, Labels={})
    c.delete()
