# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who may do what: callers other than root, with a real polkitd, with one that is not there, and with one that never answers.

The clients of other users are connections of this very process, made with another effective uid: that is what a socket tells
of its other end. polkitd gets our actions and rules in a mount namespace of its own."""

import contextlib
import fcntl
import functools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import termios
import threading
import time
import xml.etree.ElementTree as ET

import pytest
from jeepney import DBusAddress, HeaderFields, MessageFlag, MessageType, new_error, new_method_call, new_method_return

import monoshim_testing as t
from monoshim_testing import CONTAINER, FAKE_RUNTIME, MANAGER, OBJECT_MANAGER, PROCESS, PROPERTIES, ROOT_PATH

DATA = os.path.join(os.environ.get("top_srcdir", t.TOP), "data")
POLKITD = "/usr/lib/polkit-1/polkitd"
POLKIT = "org.freedesktop.PolicyKit1"
AUTHORITY = ("/org/freedesktop/PolicyKit1/Authority", POLKIT + ".Authority")
INTROSPECTABLE = "org.freedesktop.DBus.Introspectable"
PEER = "org.freedesktop.DBus.Peer"
DENIED = "org.freedesktop.DBus.Error.AccessDenied"
INTERACTIVE = "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired"

INSPECT, MANAGE, CREATE = ("org.monoshim1." + a for a in ("inspect", "manage-containers", "create-container"))

# Users that every Debian has, and what the rules below say of them.
YES, NO, ASK, TENANT, PLAIN = "games", "news", "lp", "mail", "uucp"
RULES = """
polkit.addAdminRule(function(action, subject) { return ["unix-user:root"]; });
polkit.addRule(function(action, subject) {
        if (action.id.indexOf("org.monoshim1.") != 0)
                return polkit.Result.NOT_HANDLED;
        if (subject.user == "games")
                return polkit.Result.YES;
        if (subject.user == "news")
                return polkit.Result.NO;
        if (subject.user == "lp")
                return polkit.Result.AUTH_ADMIN;
        if (subject.user == "mail")
                return action.lookup("namespace") == "tenant" && action.lookup("id") != "secret" ? polkit.Result.YES : polkit.Result.NO;
        return polkit.Result.NOT_HANDLED;
});
"""

# What each method takes. Those of the standard interfaces follow; every method of ours must be here.
ACTIONS = {
    (MANAGER, "CreateContainer"): CREATE, (MANAGER, "GetContainer"): INSPECT, (MANAGER, "GetContainerByPID"): INSPECT,
    (MANAGER, "ListContainers"): INSPECT, (MANAGER, "GetEvents"): INSPECT, (MANAGER, "SubscribeEvents"): INSPECT,
    (MANAGER, "Reload"): MANAGE,
    (CONTAINER, "Pause"): MANAGE, (CONTAINER, "Resume"): MANAGE, (CONTAINER, "Exec"): CREATE, (CONTAINER, "ListPids"): INSPECT,
    (CONTAINER, "Update"): MANAGE, (CONTAINER, "Checkpoint"): MANAGE, (CONTAINER, "GetStats"): INSPECT,
    (PROCESS, "Start"): MANAGE, (PROCESS, "Kill"): MANAGE, (PROCESS, "Delete"): MANAGE, (PROCESS, "Wait"): INSPECT,
    (PROCESS, "ResizePty"): MANAGE, (PROCESS, "CloseIO"): MANAGE, (PROCESS, "OpenTerminal"): MANAGE, (PROCESS, "OpenPidFD"): INSPECT,
}
DEFAULTS = {"s": "", "u": 0, "b": False, "t": 0, "q": 0, "a{sv}": {}}
NOWHERE = t.container_path("no", "where")


def our_methods():
    """(interface, member, signature, arguments) of what data/*.xml has."""
    found = []
    for name in sorted(os.listdir(DATA)):
        if name.endswith(".xml"):
            for interface in ET.parse(os.path.join(DATA, name)).findall("interface"):
                for m in interface.findall("method"):
                    types = [a.get("type") for a in m.findall("arg") if a.get("direction") != "out"]
                    found.append((interface.get("name"), m.get("name"), "".join(types), [DEFAULTS[x] for x in types]))
    return found


OURS = our_methods()


def all_calls(path):
    """(action or None, object path, interface, member, signature, arguments): everything there is to call, below 'path' where it
    is about a container; harmless where it is let in, as long as nothing is there."""
    calls = [(ACTIONS[i, m], ROOT_PATH if i == MANAGER else path, i, m, s, a) for i, m, s, a in OURS]
    for p in (path, ROOT_PATH):
        interface = MANAGER if p == ROOT_PATH else CONTAINER
        calls += [(INSPECT, p, PROPERTIES, "Get", "ss", [interface, "Version"]), (INSPECT, p, PROPERTIES, "GetAll", "s", [interface]),
                  (INSPECT, p, PROPERTIES, "Set", "ssv", [interface, "Version", ("s", "x")]),
                  (INSPECT, p, OBJECT_MANAGER, "GetManagedObjects", "", []),
                  (INSPECT, p, interface, "NoSuchMethod", "", []), (INSPECT, p, "org.example.None", "None", "", []),
                  (INSPECT, p, None, "Start", "", []), (INSPECT, p, PROPERTIES, "Nothing", "", []),
                  (None, p, PEER, "Ping", "", []), (None, p, PEER, "GetMachineId", "", []), (None, p, PEER, "Nothing", "", [])]
    calls += [(INSPECT, p, INTROSPECTABLE, "Introspect", "", []) for p in (path, ROOT_PATH + "/container")]
    calls += [(None, p, INTROSPECTABLE, "Introspect", "", []) for p in ("/", "/org", ROOT_PATH)]
    return calls


@contextlib.contextmanager
def acting_as(user):
    uid = pwd.getpwnam(user).pw_uid
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)


def begin(client, path, interface, member, signature="", *args, interactive=False):
    message = new_method_call(DBusAddress(path, t.BUS_NAME, interface), member, signature or None, tuple(args))
    if interface is None:
        message.header.fields.pop(HeaderFields.interface, None)
    if interactive:
        message.header.flags = MessageFlag.allow_interactive_authorization
    serial = next(client.outgoing_serial)
    data, fds = client._serialise(message, serial)
    client._awaited.add(serial)
    client._send_with_fds(data, fds) if fds else client.sock.sendall(data)
    return t.Pending(client, serial)


def verdict(pending):
    """"in", or the name of the refusal, which must say why."""
    try:
        for x in pending.result():
            if hasattr(x, "close"):
                x.close()
    except t.DBusError as e:
        if e.name in (DENIED, INTERACTIVE):
            return e.name, e.message
    return "in", ""


def verdicts(client, calls, interactive=False):
    return [verdict(begin(client, *c[1:5], *c[5], interactive=interactive)) for c in calls]


def check(calls, answers, expected):
    """expected: what of each call's action becomes; every refusal names the action."""
    wrong = []
    for call, (answer, text) in zip(calls, answers):
        want = expected(call[0]) if call[0] else "in"
        if answer != want or (want != "in" and call[0] not in text):
            wrong.append("%s: %s (%s) instead of %s" % (call[1:4], answer, text, want))
    assert not wrong, "\n".join(wrong)


class Polkit:
    """A polkitd of our own on a bus of our own."""

    def __init__(self, bus, rules=RULES):
        if not os.access(POLKITD, os.X_OK):
            pytest.skip("polkitd is not installed")
        d = os.path.join(bus.directory, "polkit")
        for name in ("actions", "rules", "none"):
            os.makedirs(os.path.join(d, name))
            os.chmod(os.path.join(d, name), 0o755)
        shutil.copy(os.path.join(DATA, "org.monoshim1.policy"), os.path.join(d, "actions"))
        # Agents are registered with an action of polkit's own.
        for name in os.listdir("/usr/share/polkit-1/actions"):
            if name.startswith("org.freedesktop.policykit"):
                shutil.copy("/usr/share/polkit-1/actions/" + name, os.path.join(d, "actions"))
        with open(os.path.join(d, "rules", "10-test.rules"), "w") as f:
            f.write(rules)
        self.bus, self.log = bus, os.path.join(d, "log")
        script = ("set -e; mount --bind %s/actions /usr/share/polkit-1/actions; mount --bind %s/rules /etc/polkit-1/rules.d; "
                  "mount --bind %s/none /usr/share/polkit-1/rules.d; exec %s --no-debug" % (d, d, d, POLKITD))
        self.pid = t.nursery().spawn(["unshare", "--mount", "--propagation=private", "sh", "-c", script],
                                     {"PATH": os.environ["PATH"], "DBUS_SYSTEM_BUS_ADDRESS": bus.address}, self.log)
        t.wait_for(self._is_there, what="polkitd")

    def _is_there(self):
        assert t.nursery().status(self.pid) is None, open(self.log).read()
        return self.bus.has_owner(POLKIT)

    def stop(self):
        with contextlib.suppress(ProcessLookupError):  # the guards after a test may have been quicker
            os.kill(self.pid, 15)
        t.nursery().wait(self.pid)


class Answerer(t.Client):
    """A connection that others call: handlers[member](body) returns (signature, arguments), an error's name, or None not to
    answer at all. Runs in a thread."""

    def __init__(self, path, handlers):
        super().__init__(path, is_bus=True, listen=False)
        self.handlers, self.asked, self._stopping = handlers, [], False

    def run(self):
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        return self

    def _run(self):
        while not self._stopping:
            with contextlib.suppress(TimeoutError):
                self.take(self._receive(time.monotonic() + 0.1))

    def take(self, m):
        if m.header.message_type != MessageType.method_call:
            return
        member = m.header.fields[HeaderFields.member]
        self.asked.append((member, m.body))
        answer = self.handlers[member](m.body) if member in self.handlers else None
        if isinstance(answer, str):
            self._reply(new_error(m, answer, "s", ("no",)))
        elif answer is not None:
            self._reply(new_method_return(m, *answer))

    def _reply(self, message):
        data, _ = self._serialise(message, next(self.outgoing_serial))
        self.sock.sendall(data)

    def members(self):
        return [m for m, _ in self.asked]

    def stop(self):
        self._stopping = True
        self.thread.join()
        self.close()


@pytest.fixture
def helpers(request, message_bus):
    """helpers(object) has its stop() called in the end, before the bus goes."""
    made = []

    def add(h):
        made.append(h)
        if hasattr(h, "pid"):
            request.node.helpers.append(h.pid)
        return h

    yield add
    for h in reversed(made):
        h.stop()


@pytest.fixture
def polkit(message_bus, helpers):
    return helpers(Polkit(message_bus))


@pytest.fixture
def daemon(message_bus, helpers, make_daemon):
    return make_daemon(runtime=FAKE_RUNTIME, bus=message_bus.address)


@pytest.fixture
def connect(message_bus):
    def connect(user, bus=None):
        with acting_as(user):
            return (bus or message_bus).connect(listen=False)
    return connect


def connect_peer(d, user):
    os.chmod(d.socket, 0o666)
    with acting_as(user):
        return d.connect(listen=False)


@pytest.fixture
def container(message_bus, daemon, bundle):
    c = message_bus.connect(listen=False).create("c1", bundle("sleep", "inf"))
    c.start()
    return c


def fake_polkit(message_bus, helpers, **handlers):
    p = Answerer(message_bus.socket, handlers)
    p.bus_call("RequestName", "su", POLKIT, 0)
    return helpers(p.run())


def answer_with(authorized, challenge=False):
    return lambda body: ("(bba{ss})", ((authorized, challenge, {}),))


# The table


def test_every_method_of_ours_is_in_the_table():
    assert {(i, m) for i, m, _, _ in OURS} == set(ACTIONS)


EXPECTED = {
    "root": lambda action: "in",
    YES: lambda action: "in",
    NO: lambda action: DENIED,
    ASK: lambda action: INTERACTIVE,
    PLAIN: lambda action: INTERACTIVE,  # the defaults: whoever sits at no console needs a password
}


def test_over_the_bus_polkit_decides_about_every_method(message_bus, polkit, daemon, container, connect):
    for user, expected in EXPECTED.items():
        client = connect(user)
        calls = all_calls(NOWHERE)
        answers = verdicts(client, calls)
        check(calls, answers, expected)
        # Who is refused learns nothing of what there is, nor is anything done to it.
        if user not in ("root", YES):
            there = all_calls(container.path)
            assert [a for a, _ in verdicts(client, there)] == [a for a, _ in answers]
            assert [a for a, _ in verdicts(client, there, interactive=True)] == [a for a, _ in answers]
    assert container.status == "running"
    assert not daemon.control.invocations("pause")


def test_over_the_socket_others_may_read_if_polkit_says_so(message_bus, polkit, daemon, container):
    for user, expected in EXPECTED.items():
        client = connect_peer(daemon, user)
        calls = all_calls(NOWHERE)
        check(calls, verdicts(client, calls),
              lambda action: "in" if user == "root" else expected(action) if action == INSPECT else DENIED)
    client = connect_peer(daemon, YES)
    assert client.get(container.path, PROCESS, "Status") == "running"
    assert list(client.list()) == [("default", "c1")]


@pytest.mark.parametrize("transport", ["bus", "socket", "socket, no bus"])
def test_without_polkit_only_root_may(message_bus, make_daemon, connect, transport):
    d = make_daemon(runtime=FAKE_RUNTIME, bus="none" if "no bus" in transport else message_bus.address)
    for user in ("root", YES):
        client = connect(user) if transport == "bus" else connect_peer(d, user)
        calls = all_calls(NOWHERE)
        answers = verdicts(client, calls)
        check(calls, answers, lambda action: "in" if user == "root" else DENIED)
    assert all("polkit" in text for _, text in answers if text)
    assert any("no polkit on the bus" in text for _, text in answers)


def test_introspection_that_is_free_names_no_container(message_bus, polkit, daemon, container, connect):
    client = connect(NO)
    for path in ("/", "/org", ROOT_PATH):
        assert "c1" not in client.call(path, INTROSPECTABLE, "Introspect")[0]
    assert "c1" in connect(YES).call(ROOT_PATH + "/container", INTROSPECTABLE, "Introspect")[0]


# Details


def test_a_rule_can_decide_by_namespace_and_container(message_bus, polkit, daemon, bundle, connect):
    root = message_bus.connect(listen=False)
    theirs = root.create("c1", bundle("sleep", "inf"), ns="tenant")
    for other in (root.create("c1", bundle("sleep", "inf")), root.create("secret", bundle("sleep", "inf"), ns="tenant")):
        c = other.on(connect(TENANT))
        with t.refused(DENIED, MANAGE):
            c.start()
        with t.refused(DENIED, INSPECT):
            c.get("Status")
    client = connect(TENANT)
    c = theirs.on(client)
    c.start()
    assert c.get("Status") == "running"
    c.exec("e1", "sleep", "inf").start()
    assert client.container("c1", "tenant").path == c.path
    with t.refused(DENIED, CREATE):
        client.create("c2", bundle("sleep", "inf"))
    client.create("c2", bundle("sleep", "inf"), ns="tenant").delete()
    with t.refused(DENIED, INSPECT):
        client.list()
    s = client.subscribe(Namespace="tenant", ContainerId="c1")
    assert s.record()["container_id"] == "c1"
    s.close()
    for opts in ({}, {"Namespace": "default"}, {"Namespace": "tenant", "ContainerId": "secret"}, {"Namespace": ("v", ("s", "tenant"))}):
        with t.refused(DENIED, INSPECT):
            client.subscribe(**opts)


def test_naming_two_namespaces_is_naming_none(message_bus, polkit, daemon, connect):
    """Which of the two the method would take must not matter."""
    client = connect(TENANT)
    for pair in (("tenant", "default"), ("default", "tenant"), ("tenant", "tenant")):
        # jeepney knows no dictionary with a key twice: an array of structures has the same bytes.
        message = new_method_call(DBusAddress(ROOT_PATH, t.BUS_NAME, MANAGER), "SubscribeEvents", "ta(sv)",
                                  (0, [("Namespace", ("s", n)) for n in pair]))
        serial = next(client.outgoing_serial)
        data = message.serialise(serial=serial)
        assert b"ta(sv)" in data
        client._awaited.add(serial)
        client.sock.sendall(data.replace(b"ta(sv)", b"ta{sv}"))
        with t.refused(DENIED, INSPECT):
            t.Pending(client, serial).result()


# Passwords


def own_subject():
    return "unix-process", {"pid": ("u", os.getpid()), "start-time": ("t", t.start_time(os.getpid()))}


class Agent(Answerer):
    """Whom polkit asks for passwords. It answers as root's helper would that has checked one."""

    def __init__(self, path, gives):
        super().__init__(path, {"BeginAuthentication": self.authenticate, "CancelAuthentication": lambda body: (None, ())})
        self.gives = gives
        self.authority = t.Client(path, is_bus=True, listen=False)
        self.call(*AUTHORITY, "RegisterAuthenticationAgent", "(sa{sv})ss", own_subject(), "C", "/agent", destination=POLKIT)

    def authenticate(self, body):
        if self.gives == "nothing":
            return POLKIT + ".Error.Cancelled"
        if self.gives == "no answer":
            return None
        action, _, _, _, cookie, identities = body
        self.authority.call(*AUTHORITY, "AuthenticationAgentResponse2", "us(sa{sv})", 0, cookie, identities[0], destination=POLKIT)
        return None, ()

    def stop(self):
        super().stop()
        self.authority.close()


def test_an_agent_that_gets_the_password_lets_in(message_bus, polkit, helpers, daemon, container, connect):
    agent = helpers(Agent(message_bus.socket, "password").run())
    client = connect(ASK)
    with t.refused(INTERACTIVE, MANAGE, "does not allow to ask"):
        container.on(client).kill()
    assert agent.asked == []
    assert begin(client, container.path, PROCESS, "Kill", "ub", 15, False, interactive=True).result() == ()
    assert agent.members() == ["BeginAuthentication"] and agent.asked[0][1][0] == MANAGE
    container.wait()


def test_a_password_that_is_kept_is_asked_for_once(message_bus, polkit, helpers, daemon, container, connect):
    """By polkit; and creating containers asks each time."""
    agent = helpers(Agent(message_bus.socket, "password").run())
    client = connect(PLAIN)
    pending = [begin(client, container.path, PROCESS, "CloseIO", interactive=True) for _ in range(5)]
    assert [p.result() for p in pending] == [()] * 5
    assert agent.members() == ["BeginAuthentication"]
    for _ in range(2):
        with t.refused("InvalidArgument"):
            begin(client, ROOT_PATH, MANAGER, "CreateContainer", "sssa{sv}", "", "", "", {}, interactive=True).result()
    assert [body[0] for _, body in agent.asked] == [MANAGE, CREATE, CREATE]


def test_an_agent_that_is_dismissed_lets_nobody_in(message_bus, polkit, helpers, daemon, container, connect):
    helpers(Agent(message_bus.socket, "nothing").run())
    with t.refused(DENIED, MANAGE, "was not given"):
        begin(connect(ASK), container.path, PROCESS, "Kill", "ub", 9, False, interactive=True).result()
    assert container.status == "running"


def test_who_leaves_while_a_password_is_asked_for_takes_the_question_along(message_bus, polkit, helpers, daemon, container, connect):
    agent = helpers(Agent(message_bus.socket, "no answer").run())
    for make in (lambda: connect(ASK), lambda: connect_peer(daemon, ASK)):
        client = make()
        begin(client, container.path, PROPERTIES, "Get", "ss", PROCESS, "Status", interactive=True)
        t.wait_for(lambda: agent.members()[-1:] == ["BeginAuthentication"])
        client.close()
        for clients in (message_bus.clients, daemon.clients):
            if client in clients:
                clients.remove(client)
        t.wait_for(lambda: agent.members()[-1:] == ["CancelAuthentication"])
    assert container.status == "running"


# A polkit that does not answer, and one that answers late


def test_a_polkit_that_never_answers_holds_up_nobody_else(message_bus, helpers, daemon, container, connect):
    polkit = fake_polkit(message_bus, helpers)
    client, other = connect(YES), connect(NO)
    stuck = container.on(client).begin("Kill", "ub", 9, False)
    t.wait_for(lambda: polkit.asked)
    behind = container.on(client).begin("CloseIO")  # needs the same action
    aside = client.begin(container.path, PROPERTIES, "Get", "ss", PROCESS, "Status")
    elsewhere = container.on(other).begin("Pause", interface=CONTAINER)
    t.wait_for(lambda: len(polkit.asked) == 3)
    client.sync()
    assert container.status == "running"
    message_bus.connect(listen=False).list()
    assert not any(p.done() for p in (stuck, behind, aside, elsewhere))
    actions = [body[1] for member, body in polkit.asked]
    assert actions[0] == MANAGE and sorted(actions) == [INSPECT, MANAGE, MANAGE]

    # Who leaves takes his questions back, with the names that he gave them.
    client.close()
    message_bus.clients.remove(client)
    t.wait_for(lambda: polkit.members().count("CancelCheckAuthorization") == 2)
    assert {b[0] for m, b in polkit.asked if m == "CancelCheckAuthorization"} == {b[4] for m, b in polkit.asked
                                                                                      if m == "CheckAuthorization" and b[0][1]["name"][1] == client.unique_name}
    assert not elsewhere.done()


def test_polkit_is_told_who_asks_and_whether_a_password_may_be_asked_for(message_bus, helpers, daemon, container, connect):
    polkit = fake_polkit(message_bus, helpers, CheckAuthorization=answer_with(False))
    client, peer = connect(YES), connect_peer(daemon, YES)
    for interactive in (False, True):
        for c in (client, peer):
            with t.refused(DENIED):
                begin(c, container.path, PROPERTIES, "GetAll", "s", PROCESS, interactive=interactive).result()
    process = {"pid": ("u", os.getpid()), "start-time": ("t", t.start_time(os.getpid())), "uid": ("i", pwd.getpwnam(YES).pw_uid)}
    details = {"interface": PROPERTIES, "method": "GetAll", "namespace": "default", "id": "c1"}
    subjects = [("system-bus-name", {"name": ("s", client.unique_name)}), ("unix-process", process)]
    assert [b[:4] for _, b in polkit.asked] == [(s, INSPECT, details, flag) for flag in (0, 1) for s in subjects]
    assert len({b[4] for _, b in polkit.asked}) == 4

    polkit.asked.clear()
    for path, member, signature, args in ((t.exec_path("n", "i", "e"), "Kill", "ub", (9, False)), (container.path + "_ff", "Start", "", ())):
        with t.refused(DENIED):
            client.call(path, PROCESS, member, signature, *args)
    with t.refused(DENIED):
        client.create("c2", "/nowhere", ns="other")
    with t.refused(DENIED):
        client.subscribe(Namespace="n", ContainerId="i")
    assert [(b[1], {k: v for k, v in b[2].items() if k != "interface"}) for _, b in polkit.asked] == [
        (MANAGE, {"method": "Kill", "namespace": "n", "id": "i", "exec": "e"}),
        (MANAGE, {"method": "Start", "namespace": "default"}),
        (CREATE, {"method": "CreateContainer", "namespace": "other", "id": "c2"}),
        (INSPECT, {"method": "SubscribeEvents", "namespace": "n", "id": "i"})]


def test_calls_that_need_the_same_action_keep_their_order(message_bus, helpers, daemon, container, connect):
    """polkit is asked about one at a time, and takes its time with the first."""
    count = []

    def slowly(body):
        count.append(body)
        time.sleep(0.3 if len(count) == 1 else 0)
        return answer_with(True)(body)

    fake_polkit(message_bus, helpers, CheckAuthorization=slowly)
    c = container.on(connect(YES))
    first = c.begin("Kill", "ub", 0, False)  # is refused, whenever it is its turn
    pending = [c.begin(m, interface=CONTAINER) for m in ("Pause", "Resume", "Pause")]
    c.client.sync()  # which needs no question, and does not wait
    assert not first.done()
    with t.refused("InvalidArgument", "signal"):
        first.result()
    assert [p.result() for p in pending] == [()] * 3
    assert container.status == "paused"
    assert len(count) == 4
    container.resume()


def test_the_calls_of_root_need_no_question_and_keep_their_order(message_bus, helpers, daemon, container):
    polkit = fake_polkit(message_bus, helpers)
    client = message_bus.connect(listen=False)
    c = container.on(client)
    pending = [c.begin(m, interface=CONTAINER) for m in 10 * ("Pause", "Resume")]
    pending += [client.begin(ROOT_PATH, MANAGER, "GetContainer", "ss", "default", "c1")]
    assert [p.result() for p in pending] == [()] * 20 + [(container.path,)]
    assert polkit.asked == []


def test_a_flood_of_questions_is_bounded(message_bus, helpers, daemon, container, connect):
    polkit = fake_polkit(message_bus, helpers)
    clients = [connect(YES) for _ in range(4)]
    pending = [(container.on(c).begin("CloseIO"), c) for _ in range(40) for c in clients]
    for c in clients:
        c.sync()
    t.wait_for(lambda: sum(p.done() for p, _ in pending) == 160 - 64)
    # One question for each of them, unless the others have taken all the room before it.
    n = len({p[1] for p in pending if not p[0].done()})
    for p, _ in pending:
        if p.done():
            with t.refused("ResourceExhausted", "wait for polkit's answer"):
                p.result()
    t.wait_for(lambda: len(polkit.asked) == n)
    # Another user has a share of his own; and root is not concerned.
    other = container.on(connect(NO)).begin("CloseIO")
    t.wait_for(lambda: len(polkit.asked) == n + 1)
    assert not other.done()
    assert container.status == "running"
    for c in clients:
        c.close()
        message_bus.clients.remove(c)
    t.wait_for(lambda: polkit.members().count("CancelCheckAuthorization") == n)
    again = container.on(connect(YES)).begin("CloseIO")
    t.wait_for(lambda: polkit.members().count("CheckAuthorization") == n + 2)
    assert not again.done()


def test_large_calls_cannot_pile_up(message_bus, helpers, daemon, connect):
    polkit = fake_polkit(message_bus, helpers)
    client = connect(YES)
    size = 11 << 20
    pending = [client.begin(ROOT_PATH, MANAGER, "CreateContainer", "sssa{sv}", "default", "c%d" % i, "", {"Spec": ("s", "x" * size)})
               for i in range(4)]
    for p in pending[2:]:
        with t.refused("ResourceExhausted"):
            p.result()
    t.wait_for(lambda: polkit.asked)
    assert not pending[0].done() and not pending[1].done()


@pytest.mark.parametrize("error", ["org.freedesktop.PolicyKit1.Error.Failed", "org.freedesktop.DBus.Error.ServiceUnknown"])
def test_an_error_of_polkit_lets_nobody_in(message_bus, helpers, daemon, container, connect, error):
    fake_polkit(message_bus, helpers, CheckAuthorization=lambda body: error)
    with t.refused(DENIED, MANAGE, "polkit could not be asked" if "Failed" in error else "no polkit"):
        container.on(connect(YES)).kill()
    assert container.status == "running"


def test_an_answer_that_makes_no_sense_lets_nobody_in(message_bus, helpers, daemon, container, connect):
    fake_polkit(message_bus, helpers, CheckAuthorization=lambda body: ("b", (True,)))
    with t.refused(DENIED, MANAGE, "makes no sense"):
        container.on(connect(YES)).kill()
    assert container.status == "running"


def test_a_polkit_that_dies_while_asked_lets_nobody_in(message_bus, helpers, daemon, container, connect):
    polkit = fake_polkit(message_bus, lambda h: h)
    pending = container.on(connect(YES)).begin("Kill", "ub", 9, False)
    t.wait_for(lambda: polkit.asked)
    polkit.stop()
    with t.refused(DENIED, MANAGE):
        pending.result()
    assert container.status == "running"


# Peers


def leave_a_connection(d, user):
    """Another process connects to the socket and ends; its connection stays, in our hands."""
    ours, theirs = socket.socketpair()
    os.chmod(d.socket, 0o666)
    script = ("import os, socket, sys; os.setresgid(%d, %d, %d); os.setresuid(%d, %d, %d); s = socket.socket(socket.AF_UNIX); "
              "s.connect(sys.argv[1]); p = socket.socket(fileno=%d); socket.send_fds(p, [b'x'], [s.fileno()]); p.recv(1)" %
              (*[pwd.getpwnam(user).pw_uid] * 6, theirs.fileno()))
    p = subprocess.Popen(["/usr/bin/python3", "-c", script, d.socket], pass_fds=[theirs.fileno()])
    theirs.close()
    _, fds, _, _ = socket.recv_fds(ours, 1, 1)
    return p, ours, fds[0]


def test_a_connection_that_has_outlived_its_process_may_nothing(message_bus, polkit, daemon):
    """Its pid may be another's by now; polkit must not be asked about that one."""
    p, control, fd = leave_a_connection(daemon, YES)
    s = socket.socket(fileno=fd)
    s.settimeout(t.TIMEOUT)

    def exchange(data, until):
        s.sendall(data)
        answer = b""
        while until not in answer:
            answer += s.recv(4096)
        return answer

    uid = str(pwd.getpwnam(YES).pw_uid).encode().hex().encode()
    exchange(b"\0AUTH EXTERNAL " + uid + b"\r\nBEGIN\r\n", b"OK ")
    listing = new_method_call(DBusAddress(ROOT_PATH, t.BUS_NAME, MANAGER), "ListContainers")
    assert b"a(sssuo)" in exchange(listing.serialise(1), b"a(sssuo)")
    control.close()
    assert p.wait() == 0
    assert DENIED.encode() in exchange(listing.serialise(2), b"is gone")
    s.close()


def test_others_on_the_socket_are_told_nothing_unasked(message_bus, polkit, daemon, container):
    client = connect_peer(daemon, YES)
    client.bus_call("AddMatch", "s", "type='signal'")
    container.kill()
    container.wait()
    client.sync()
    client.drain(0.2)
    assert client.signals == []


def test_who_still_waits_for_polkit_when_the_daemon_ends_is_told(message_bus, helpers, make_daemon, bundle, connect):
    d = make_daemon(runtime=FAKE_RUNTIME, bus=message_bus.address)
    c = message_bus.connect().create("c1", bundle("sleep", "inf"))
    polkit = fake_polkit(message_bus, helpers)
    others = [connect(YES), connect_peer(d, YES)]
    pending = [o.begin(c.path, PROPERTIES, "Get", "ss", PROCESS, "Status") for o in others]
    t.wait_for(lambda: polkit.asked)
    os.kill(d.pid, signal.SIGTERM)
    for p in pending:
        with t.refused("Unavailable"):
            p.result()
    assert d.wait() == 0
    d.start()
    message_bus.connect().container("c1").end()


def test_when_the_bus_goes_peers_that_wait_are_refused(message_bus, helpers, make_daemon, directory):
    os.mkdir(directory + "/second")
    bus = t.MessageBus(directory + "/second")
    d = make_daemon(runtime=FAKE_RUNTIME, bus=bus.address)
    polkit = fake_polkit(bus, lambda h: h)
    client = connect_peer(d, YES)
    pending = [client.begin(ROOT_PATH, MANAGER, "ListContainers") for _ in range(3)]
    t.wait_for(lambda: polkit.asked)
    polkit._stopping = True
    polkit.thread.join()
    bus.stop()
    for p in pending:
        with t.refused(DENIED, "polkit"):
            p.result()
    with t.refused(DENIED, "no polkit"):
        client.list()
    polkit.close()
    d.stop()
    d.bus = "none"
    d.start()


def test_a_peer_that_does_not_read_gets_unstuck_when_it_does(message_bus, helpers, make_daemon, bundle):
    """What asks for much is refused while much is unread; calls that were made before, and that polkit has let in meanwhile,
    go on."""
    polkit = fake_polkit(message_bus, helpers, CheckAuthorization=answer_with(True))
    d = make_daemon(runtime=FAKE_RUNTIME, bus=message_bus.address, config={"MaxUnreadReplies": 2})
    root, b = message_bus.connect(listen=False), bundle("sleep", "inf")
    for i in range(25):
        root.create("c%d" % i, b, Labels={"x": "y" * 20000})
    client = connect_peer(d, YES)
    # Half a megabyte each; the socket itself takes 16.
    pending = [client.begin(ROOT_PATH, OBJECT_MANAGER, "GetManagedObjects") for _ in range(50)]
    t.wait_for(lambda: len(polkit.asked) == 50, what="polkit to be asked about all of them")

    def time_taken():
        with open("/proc/%d/schedstat" % d.pid) as f:
            return f.read().split()[0]

    def does_nothing():
        before = time_taken()
        time.sleep(0.2 * t.SCALE)
        return time_taken() == before

    t.wait_for(does_nothing, what="the answers to be made")
    late = client.begin(ROOT_PATH, OBJECT_MANAGER, "GetManagedObjects")
    time.sleep(0.3 * t.SCALE)
    for p in pending:
        assert len(p.result()[0]) == 25
    with t.refused("ResourceExhausted", "read what you have been sent"):
        late.result()
    assert len(client.list()) == 25


# The policy of the bus


class SystemBus(t.MessageBus):
    """As strict as a system bus is, with our policy file; by dbus-daemon or by dbus-broker."""

    CONFIGURATION = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path=%%s</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <deny own="*"/>
    <deny send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus"/>
    <allow own="org.freedesktop.PolicyKit1"/>
    <allow send_destination="org.freedesktop.PolicyKit1"/>
  </policy>
  <include>%s</include>
</busconfig>
""" % os.path.join(DATA, "org.monoshim1.conf")

    def __init__(self, directory, kind="daemon"):
        self.kind = kind
        if kind == "daemon":
            super().__init__(directory)
            return
        self.directory = str(directory)
        self.socket = os.path.join(self.directory, "dbus")
        self.address = "unix:path=" + self.socket
        self.clients = []
        config, log = os.path.join(self.directory, "dbus.conf"), os.path.join(self.directory, "dbus.log")
        with open(config, "w") as f:
            f.write(self.CONFIGURATION % self.socket)
        # The launcher is given its socket as systemd would, and logs to the journal, or ends.
        script = ("set -e; mount -t tmpfs none /run; mkdir -p /run/systemd/journal; exec /usr/bin/python3 -c \"$0\" \"$@\"")
        program = ("import os, socket, sys\n"
                   "j = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); j.bind('/run/systemd/journal/socket')\n"
                   "os.chmod('/run/systemd/journal/socket', 0o666); os.set_inheritable(j.fileno(), True)\n"
                   "s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); os.chmod(sys.argv[1], 0o666); s.listen(100)\n"
                   "j2 = os.dup(j.fileno()); os.set_inheritable(j2, True)\n"
                   "if s.fileno() != 3: os.dup2(s.fileno(), 3)\n"
                   "os.set_inheritable(3, True); os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()))\n"
                   "os.execvp('dbus-broker-launch', ['dbus-broker-launch', '--scope=system', '--config-file=' + sys.argv[2]])\n")
        self.pid = t.nursery().spawn(["unshare", "--mount", "--propagation=private", "sh", "-c", script, program, self.socket, config],
                                     {"PATH": os.environ["PATH"], "DBUS_SYSTEM_BUS_ADDRESS": self.address}, log)
        t.wait_for(lambda: os.path.exists(self.socket), what="dbus-broker")
        t.wait_for(self._answers, what="dbus-broker")


@pytest.fixture(params=["daemon", "broker"])
def system_bus(request, directory):
    if request.param == "broker" and not shutil.which("dbus-broker-launch"):
        pytest.skip("dbus-broker is not installed")
    os.mkdir(directory + "/system")
    os.chmod(directory + "/system", 0o755)
    b = SystemBus(directory + "/system", request.param)
    request.node.helpers = [b.pid] + t.descendants(b.pid)
    yield b
    for c in b.clients:
        c.close()
    with contextlib.suppress(ProcessLookupError):
        os.kill(b.pid, 15)
    t.nursery().wait(b.pid)


def test_the_bus_lets_everybody_call_and_root_alone_listen(system_bus, make_daemon, bundle, request):
    d = make_daemon(runtime=FAKE_RUNTIME, bus=system_bus.address)
    request.node.helpers += t.descendants(system_bus.pid)
    polkit = fake_polkit(system_bus, lambda h: h, CheckAuthorization=answer_with(True))
    root = system_bus.connect()
    with acting_as(YES):
        other = system_bus.connect()
        with pytest.raises(t.DBusError, match="AccessDenied"):
            other.bus_call("RequestName", "su", t.BUS_NAME, 4)
    c = root.create("c1", bundle("sleep", "inf"))
    c.on(other).start()
    s = other.subscribe()
    c.on(other).kill()
    assert c.on(other).wait()[0] == 137
    c.delete()
    other.sync()
    root.sync()
    assert root.event_names() == ["TaskCreate", "TaskStart", "TaskExit", "TaskDelete"] and root.added() and root.changes(c.path, "Status")
    mine = [m for m in other.signals if m.header.fields[HeaderFields.path].startswith(ROOT_PATH)]
    assert mine == []
    assert [r["topic"] for r in s.records(last="/tasks/delete")] == ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"]
    s.close()
    polkit.stop()
    with t.refused(DENIED, "no polkit"):
        other.list()
    d.stop()
    d.bus = "none"
    d.start()


# The client


def become(user):
    return functools.partial(t.become, pwd.getpwnam(user).pw_uid)


@pytest.fixture
def for_others():
    """The client has to be where others than root can run it."""
    try:
        runs = subprocess.call([t.MONOSHIM, "--version"], preexec_fn=become(ASK), stdout=subprocess.DEVNULL) == 0
    except PermissionError:
        runs = False
    if not runs:
        pytest.skip("others cannot run " + t.MONOSHIM)


def test_the_client_says_what_would_help(message_bus, polkit, daemon, for_others):
    for user, text in ((ASK, "Try again on a terminal"), (NO, "polkit does not allow " + INSPECT)):
        for option in ([], ["--no-ask-password"]):
            p = subprocess.run([t.MONOSHIM, "--address=" + message_bus.address, *option, "list"], preexec_fn=become(user),
                               stdin=subprocess.DEVNULL, capture_output=True, text=True)
            assert p.returncode == 1 and text in p.stderr and INSPECT in p.stderr, p.stderr


def test_the_client_asks_on_its_terminal(message_bus, polkit, daemon, for_others):
    """pkttyagent is started, and asks; with --no-ask-password it is not."""
    if not os.access("/usr/bin/pkttyagent", os.X_OK):
        pytest.skip("pkttyagent is not installed")
    for option, text in (([], b"AUTHENTICATING FOR " + INSPECT.encode()), (["--no-ask-password"], b"without --no-ask-password")):
        master, slave = os.openpty()

        def on_terminal():
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
            become(ASK)()

        # By a shell, whose end, other than the client's, ends all on the terminal.
        p = subprocess.Popen(["sh", "-c", '"$@"; read line', "sh", t.MONOSHIM, "--address=" + message_bus.address, *option, "list"],
                             preexec_fn=on_terminal, stdin=slave, stdout=slave, stderr=slave, env={**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": message_bus.address})
        os.close(slave)
        reader = t.Reader(master)
        reader.read_until(lambda data: text in data, what=text)
        if not option:
            # However the client ends, nobody goes on asking.
            client, = t.children(p.pid)
            agent, = t.children(client)
            os.kill(client, signal.SIGKILL)
            t.wait_for(lambda: not t.is_alive(agent), what="pkttyagent to end")
        os.write(master, b"\n")
        p.wait(t.TIMEOUT)
        reader.close()


def test_the_client_waits_for_who_types_slowly(message_bus, helpers, daemon, for_others):
    """Longer than for a method call as such, of which it is told here that it should take no time at all."""
    ending = []

    def slowly(body):
        time.sleep(2)
        ending.append(body)
        return answer_with(True)(body)

    fake_polkit(message_bus, helpers, CheckAuthorization=slowly)
    master, slave = os.openpty()
    p = subprocess.Popen([t.MONOSHIM, "--address=" + message_bus.address, "list"], preexec_fn=become(ASK), stdin=slave,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                         env={**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": message_bus.address, "SYSTEMD_BUS_TIMEOUT": "1s"})
    output, _ = p.communicate(timeout=t.TIMEOUT)
    os.close(slave), os.close(master)
    assert ending and p.returncode == 0, output
