# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every error by name and text, every malformed call, and nothing left behind after any of them."""

import json
import os
import shutil
import socket
import time

import pytest
from jeepney import DBusAddress, MessageFlag, new_method_call

import monoshim_testing as t
from monoshim_testing import CONTAINER, FAKE_RUNTIME, MANAGER, PROCESS, ROOT_PATH, refused

NOBODY = 65534
BUS_ERROR = "org.freedesktop.DBus.Error."

BAD_IDS = {
    "empty": "",
    "long": "a" * 77,
    "parent": "../x",
    "dots": "..",
    "slash": "a/b",
    "space": "a b",
    "umlaut": "\u00e4bc",
    "dot-at-end": "abc.",
    "dot-at-start": ".abc",
    "two-separators": "a--b",
    "option": "-rf",
    "newline": "a\nb",
    "control": "a\x01b",
    "very-long": "x" * 100000,
}
REGEX = "^[A-Za-z0-9]+([._-][A-Za-z0-9]+)*$"


def id_message(id):
    if id == "":
        return "identifier must not be empty: invalid argument"
    if len(id) > 76 and id.isalnum():
        return "greater than maximum length (76 characters): invalid argument"
    return "must match"


@pytest.fixture
def at_work(fake, bundle):
    """A daemon with one live container, which must be unharmed afterwards, and nothing else may be there."""
    client = fake.connect()
    c = client.create("live", bundle("sleep", "inf"))
    c.start()
    before = sorted(fake.leftover_entries())
    client.forget_signals()
    fake.control.forget()
    yield fake, client
    client = fake.connect()
    assert sorted(fake.leftover_entries()) == before, "something was left behind"
    assert list(client.list()) == [("default", "live")]
    assert [e.id for e in client.get_events()[1]] == ["live", "live"], "a refused call has been told as an event"
    c = client.container("live")
    assert c.status == "running" and t.is_alive(c.get("Pid"))
    c.end()


@pytest.mark.parametrize("kind", BAD_IDS)
@pytest.mark.parametrize("argument", ["namespace", "id"])
def test_identifiers_are_checked_before_anything_is_touched(at_work, bundle, kind, argument):
    fake, client = at_work
    bad = BAD_IDS[kind]
    ns, id = (bad, "c1") if argument == "namespace" else ("default", bad)
    with refused("InvalidArgument", id_message(bad)) as caught:
        client.create(id, bundle("true"), ns=ns)
    assert len(caught[0].message) < 1000
    assert fake.control.invocations() == []
    with pytest.raises(t.DBusError) as e:
        client.manager("GetContainer", "ss", ns, id)
    assert e.value.name in (t.ERROR + "InvalidArgument", t.ERROR + "NotFound")


@pytest.mark.parametrize("id, message", [
    ("", "identifier must not be empty: invalid argument"),
    ("a" * 77, 'identifier "%s" greater than maximum length (76 characters): invalid argument' % ("a" * 77)),
    ("a b", 'identifier "a b" must match ' + REGEX + ': invalid argument'),
])
def test_the_texts_about_identifiers_are_containerds(at_work, bundle, id, message):
    _, client = at_work
    with refused("InvalidArgument", message):
        client.create(id, bundle("true"))


# Bundles


def test_a_relative_bundle_is_refused(at_work):
    _, client = at_work
    for path in ("bundle", "./bundle", "../bundle"):
        with refused("InvalidArgument", "bundle"):
            client.create("c1", path)


def test_a_missing_bundle_is_not_found(at_work, directory):
    fake, client = at_work
    with refused("NotFound", directory + "/none"):
        client.create("c1", directory + "/none")
    assert fake.control.invocations() == []


def test_a_bundle_without_configuration_is_not_found(at_work, directory):
    _, client = at_work
    os.mkdir(directory + "/b")
    with refused("NotFound", "config.json"):
        client.create("c1", directory + "/b")


def bad_empty(path):
    open(path, "w").close()


def bad_truncated(path):
    with open(path, "w") as f:
        f.write(json.dumps(t.spec(["true"]))[:-10])


def bad_huge(path):
    with open(path, "w") as f:
        f.write('{"annotations":{"x":"' + "x" * (20 * 1024 * 1024) + '"}}')


def bad_array(path):
    with open(path, "w") as f:
        f.write("[1,2,3]")


def bad_string(path):
    with open(path, "w") as f:
        f.write('"process"')


def bad_two(path):
    with open(path, "w") as f:
        f.write("{}{}")


def bad_binary(path):
    with open(path, "wb") as f:
        f.write(bytes(range(256)))


def bad_nested(path):
    with open(path, "w") as f:
        f.write('{"a":' * 100000 + "1" + "}" * 100000)


def bad_linux(path):
    with open(path, "w") as f:
        f.write('{"linux":{"namespaces":"all of them"}}')


BAD_CONFIGURATIONS = {
    "empty": bad_empty, "truncated": bad_truncated, "20-MiB": bad_huge, "array": bad_array, "string": bad_string,
    "two": bad_two, "binary": bad_binary, "nested": bad_nested, "wrong-type": bad_linux,
    "fifo": os.mkfifo, "directory": os.mkdir, "device": lambda path: os.symlink("/dev/zero", path),
}


@pytest.mark.parametrize("kind", BAD_CONFIGURATIONS)
def test_a_configuration_that_cannot_be_used_is_refused(at_work, directory, kind):
    fake, client = at_work
    os.mkdir(directory + "/b")
    BAD_CONFIGURATIONS[kind](directory + "/b/config.json")
    with refused("InvalidArgument", "config.json"):
        client.create("c1", directory + "/b")
    assert fake.control.invocations() == []


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "7", '"x"', "{} {}", '{"linux":7}', "\u00e4", '{"a":' * 5000],
                         ids=range(10))
def test_a_spec_that_cannot_be_used_is_refused(at_work, text):
    fake, client = at_work
    with refused("InvalidArgument", "Spec" if text else ""):
        client.create("c1", Spec=text)
    assert fake.control.invocations() == []


def test_a_spec_over_16_mib_is_refused(at_work):
    _, client = at_work
    with refused("InvalidArgument", "Spec"):
        client.create("c1", Spec='{"annotations":{"x":"' + "x" * (17 * 1024 * 1024) + '"}}')


def test_a_bundle_and_a_spec_or_neither_are_refused(at_work, bundle):
    _, client = at_work
    with refused("InvalidArgument", "Spec"):
        client.create("c1", bundle("true"), Spec=json.dumps(t.spec(["true"])))
    with refused("InvalidArgument", "Spec"):
        client.create("c1", "")


def test_a_bundle_that_is_a_file_is_refused(at_work, directory):
    _, client = at_work
    with open(directory + "/file", "w"):
        pass
    with refused("InvalidArgument", directory + "/file"):
        client.create("c1", directory + "/file")


# Streams


@pytest.mark.parametrize("stream", ["Stdin", "Stdout", "Stderr"])
@pytest.mark.parametrize("kind, error", [("directory", "InvalidArgument"), ("device", "InvalidArgument"), ("missing", "NotFound"),
                                         ("file", "InvalidArgument"), ("relative", "InvalidArgument"), ("scheme", "InvalidArgument"),
                                         ("socket", "InvalidArgument"), ("symlink", "InvalidArgument")])
def test_a_stream_that_is_no_fifo_is_refused(at_work, bundle, directory, stream, kind, error):
    fake, client = at_work
    path = directory + "/stream"
    if kind == "directory":
        os.mkdir(path)
    elif kind == "device":
        path = "/dev/zero"
    elif kind == "file":
        open(path, "w").close()
    elif kind == "relative":
        path = "stream"
    elif kind == "scheme":
        path = "gopher://hole"
    elif kind == "socket":
        s = socket.socket(socket.AF_UNIX)
        s.bind(path)
    elif kind == "symlink":
        os.mkfifo(path + ".fifo")
        os.symlink(path + ".fifo", path)
    texts = ["unknown STDIO scheme gopher"] if kind == "scheme" else []
    with refused(error, stream if kind == "relative" else "", *texts):
        client.create("c1", bundle("true"), **{stream: path})
    assert fake.control.invocations() == []


def test_streams_that_only_go_out_are_refused_for_stdin(at_work, bundle):
    _, client = at_work
    for uri in ("file:///tmp/x", "journal:", "binary:///bin/true"):
        with pytest.raises(t.DBusError) as e:
            client.create("c1", bundle("true"), Stdin=uri)
        assert e.value.name in (t.ERROR + "InvalidArgument", t.ERROR + "NotSupported")


# Options


def test_an_unknown_option_is_named(at_work, bundle):
    _, client = at_work
    for key in ("Bogus", "spec", "", "stdin", "x" * 5000):
        with refused("InvalidArgument", key[:64]) as caught:
            client.create("c1", bundle("true"), **{key: ("s", "x")})
        assert len(caught[0].message) < 1000


@pytest.mark.parametrize("key", sorted(t.OPTION_SIGNATURES))
def test_an_option_of_the_wrong_type_is_named(at_work, bundle, key):
    _, client = at_work
    signature = t.OPTION_SIGNATURES[key]
    for other, value in (("i", 7), ("s", "x"), ("b", True), ("as", ["x"]), ("(ss)", ("a", "b")), ("d", 1.5),
                         ("v", ("s", "x")), ("u", 7)):
        if other == signature:
            continue
        with refused("InvalidArgument", key):
            client.create("c1", bundle("true"), **{key: (other, value)})


@pytest.mark.parametrize("key, value", [("Runtime", ""), ("Runtime", "./runc"), ("Runtime", "a/b"), ("RuntimeRoot", "relative"),
                                        ("RuntimeRoot", "./x"), ("CriuWorkPath", "relative")])
def test_an_option_with_a_value_that_makes_no_sense_is_named(at_work, bundle, key, value):
    _, client = at_work
    with refused("InvalidArgument", key):
        client.create("c1", bundle("true"), **{key: value})


def test_labels_that_are_too_many_or_too_long_are_refused(at_work, bundle):
    _, client = at_work
    for labels in ({"k%d" % i: "v" for i in range(100000)}, {"k": "v" * (10 * 1024 * 1024)}):
        with pytest.raises(t.DBusError) as e:
            client.create("c1", bundle("true"), Labels=labels)
        assert e.value.name in (t.ERROR + "InvalidArgument", t.ERROR + "ResourceExhausted")


# Calls


@pytest.mark.parametrize("sig", [0, 65, 66, 1000, 2**31, 2**32 - 1])
def test_signals_that_do_not_exist_are_refused(at_work, sig):
    fake, client = at_work
    c = client.container("live")
    with refused("InvalidArgument", "signal"):
        c.kill(sig)
    assert fake.control.invocations() == []


@pytest.mark.parametrize("interface, member, signature, args", [
    (MANAGER, "CreateContainer", "sss", ("a", "b", "/c")),
    (MANAGER, "CreateContainer", "", ()),
    (MANAGER, "CreateContainer", "sssa{ss}", ("a", "b", "/c", {})),
    (MANAGER, "GetContainer", "s", ("live",)),
    (MANAGER, "GetContainerByPID", "s", ("1",)),
    (MANAGER, "GetContainerByPID", "t", (1,)),
    (MANAGER, "ListContainers", "s", ("x",)),
    (MANAGER, "GetEvents", "uu", (0, 0)),
    (MANAGER, "Reload", "b", (True,)),
    (PROCESS, "Start", "s", ("x",)),
    (PROCESS, "Kill", "ib", (9, False)),
    (PROCESS, "Kill", "u", (9,)),
    (PROCESS, "Delete", "b", (True,)),
    (PROCESS, "Wait", "u", (1,)),
    (PROCESS, "ResizePty", "uu", (1, 1)),
    (CONTAINER, "Exec", "ss", ("a", "b")),
])
def test_a_call_with_the_wrong_signature_gets_the_buss_own_error(at_work, interface, member, signature, args):
    _, client = at_work
    path = ROOT_PATH if interface == MANAGER else t.container_path("default", "live")
    with refused(BUS_ERROR + "InvalidArgs"):
        client.call(path, interface, member, signature, *args)


def test_unknown_members_and_interfaces_get_the_buss_own_errors(at_work):
    _, client = at_work
    path = t.container_path("default", "live")
    with refused(BUS_ERROR + "UnknownMethod"):
        client.call(ROOT_PATH, MANAGER, "Frobnicate")
    with refused(BUS_ERROR + "UnknownMethod"):
        client.call(path, PROCESS, "Frobnicate")
    with pytest.raises(t.DBusError) as e:
        client.call(ROOT_PATH, "org.monoshim1.Nothing", "Start")
    assert e.value.name in (BUS_ERROR + "UnknownInterface", BUS_ERROR + "UnknownMethod")
    with refused(BUS_ERROR + "UnknownProperty"):
        client.get(path, PROCESS, "Frobnicate")
    with refused(BUS_ERROR + "PropertyReadOnly"):
        client.call(path, t.PROPERTIES, "Set", "ssv", PROCESS, "Status", ("s", "running"))


@pytest.mark.parametrize("path", [
    t.container_path("default", "nothing"),
    t.container_path("nowhere", "live"),
    t.container_path("default", "live") + "/process/e1",
    ROOT_PATH + "/container/default/_2e_2e",
    ROOT_PATH + "/container/default/a_2fb",
    ROOT_PATH + "/container/default/" + "a" * 200,
    ROOT_PATH + "/container/default/_zz",
])
def test_a_path_that_names_nothing_is_not_found(at_work, path):
    _, client = at_work
    for member, signature, args in (("Start", "", ()), ("Kill", "ub", (9, False)), ("Delete", "", ()), ("Wait", "", ())):
        with refused("NotFound"):
            client.call(path, PROCESS, member, signature, *args)
    with pytest.raises(t.DBusError) as e:
        client.get(path, PROCESS, "Status")
    assert e.value.name.startswith(BUS_ERROR + "Unknown"), e.value


def test_the_pid_of_nobody_is_not_found(at_work):
    _, client = at_work
    with refused("NotFound"):
        client.manager("GetContainerByPID", "u", os.getpid())


# What the runtime says


def test_what_the_runtime_says_of_a_failed_create(at_work, bundle):
    _, client = at_work
    with refused("RuntimeFailed", exactly="OCI runtime create failed: runc create failed: unable to start container process: "
                 'exec: "nothing": executable file not found in $PATH'):
        client.create("c1", bundle("nothing"))


def test_what_real_runc_says_of_a_missing_program(daemon, client, bundle):
    with refused("RuntimeFailed", "OCI runtime create failed: runc create failed: unable to start container process: "
                 'exec: "nothing": executable file not found in $PATH') as caught:
        client.create("c1", bundle("nothing"))
    assert caught[0].message.startswith("OCI runtime create failed: ")
    assert client.list() == {} and client.event_names() == []


def test_the_texts_of_failures(at_work, bundle, directory):
    """Golden texts: the last error in the log; without one, how the runtime ended."""
    fake, client = at_work
    b = bundle("sleep", "inf")
    log = os.path.join(fake.container_dir("c1"), "log.json")
    for lines, message in (
            (["exit 1", "log the cause"], "OCI runtime create failed: the cause"),
            (["exit 1", "log   spaces around  "], "OCI runtime create failed: spaces around"),
            (["exit 1", "log empty"], "OCI runtime create failed: %s did not terminate successfully: exit status 1" % FAKE_RUNTIME),
            (["exit 77", "log warning"], "OCI runtime create failed: %s did not terminate successfully: exit status 77" % FAKE_RUNTIME),
            (["exit 1", "log no-msg"], "OCI runtime create failed: %s did not terminate successfully: exit status 1" % FAKE_RUNTIME),
            (["exit 1", "log none"], "OCI runtime create failed: unable to retrieve OCI runtime error (open %s: no such file or "
             "directory): %s did not terminate successfully: exit status 1" % (log, FAKE_RUNTIME)),
            (["crash"], "did not terminate successfully: signal: segmentation fault")):
        fake.control.set("c1", "create", *lines)
        with refused("RuntimeFailed", "OCI runtime create failed: ", message) as caught:
            client.create("c1", b)
        if lines != ["crash"]:
            assert caught[0].message == message


def test_the_texts_of_a_missing_runtime(at_work, bundle):
    _, client = at_work
    with refused("RuntimeFailed", "OCI runtime create failed: ", 'exec: "no-runc": executable file not found in $PATH'):
        client.create("c1", bundle("true"), Runtime="no-runc")
    with refused("RuntimeFailed", "OCI runtime create failed: ", "fork/exec /no/where/runc: no such file or directory"):
        client.create("c1", bundle("true"), Runtime="/no/where/runc")
    with refused("RuntimeFailed", "OCI runtime create failed: "):
        client.create("c1", bundle("true"), Runtime="/etc/passwd")
    with refused("RuntimeFailed", "OCI runtime create failed: "):
        client.create("c1", bundle("true"), Runtime="/tmp")


@pytest.mark.parametrize("said, error, message", [
    ("os: process already finished", "NotFound", "process already finished: not found"),
    ("container not running", "NotFound", "process already finished: not found"),
    ("kill: No such process", "NotFound", "process already finished: not found"),
    ("container does not exist", "NotFound", "no such container: not found"),
])
def test_what_a_failed_kill_means(at_work, said, error, message):
    fake, client = at_work
    fake.control.set("live", "kill", "exit 1", "say " + said, "log " + said)
    with refused(error, exactly=message):
        client.container("live").kill()
    fake.control.clear()


def test_any_other_failure_of_kill_is_told_with_all_that_was_said(at_work):
    fake, client = at_work
    fake.control.set("live", "kill", "exit 1", "say the moon is full", "log the moon is full")
    with refused("RuntimeFailed", "OCI runtime kill failed: ", "the moon is full"):
        client.container("live").kill()
    fake.control.clear()


def test_start_and_delete_failures_have_their_own_prefix(fake, bundle):
    client = fake.connect()
    c = client.create("c1", bundle("sleep", "inf"))
    fake.control.set("c1", "start", "exit 1", "log no go")
    with refused("RuntimeFailed", exactly="OCI runtime start failed: no go"):
        c.start()
    fake.control.set("c1", "delete", "exit 1", "log no end")
    with refused("RuntimeFailed", "OCI runtime delete failed: ", "no end"):
        c.delete()
    fake.control.clear()
    c.delete()


def test_what_the_runtime_says_is_made_fit_to_be_sent(at_work, bundle):
    """Control characters, half characters, and far too much of it."""
    fake, client = at_work
    fake.control.set("c1", "create", "exit 1", "log bad \x1b[31m\x07 text")
    with refused("RuntimeFailed", "bad ", " text") as caught:
        client.create("c1", bundle("sleep", "inf"))
    assert "\x1b" not in caught[0].message and "\x07" not in caught[0].message
    fake.control.set("c1", "create", "exit 1", "log huge")
    with refused("RuntimeFailed", "OCI runtime create failed: ") as caught:
        client.create("c1", bundle("sleep", "inf"))
    assert len(caught[0].message) <= 64 * 1024


# Who may call


def nobody_tries(path, is_bus, calls):
    """In a child process: the error name of each call, or None if it was answered."""
    try:
        client = t.Client(path, is_bus=is_bus, listen=False)
    except (ConnectionError, t.DBusError):
        return "no connection"
    results = []
    for object_path, interface, member, signature, args in calls:
        try:
            client.call(object_path, interface, member, signature, *args)
            results.append(None)
        except t.DBusError as e:
            results.append(e.name)
    return results


def changing_calls(path, b):
    return [
        (ROOT_PATH, MANAGER, "CreateContainer", "sssa{sv}", ("default", "c2", b, {})),
        (ROOT_PATH, MANAGER, "Reload", "", ()),
        (path, PROCESS, "Start", "", ()),
        (path, PROCESS, "Kill", "ub", (9, False)),
        (path, PROCESS, "Delete", "", ()),
        (path, PROCESS, "CloseIO", "", ()),
        (path, CONTAINER, "Exec", "ssa{sv}", ("e1", "{}", {})),
        (path, CONTAINER, "Pause", "", ()),
        (path, CONTAINER, "Update", "s", ("{}",)),
        (path, PROCESS, "OpenPidFD", "", ()),
    ]


def test_over_the_socket_only_root_may_change_anything(at_work, bundle):
    fake, client = at_work
    b = bundle("sleep", "inf")
    path = t.container_path("default", "live")
    calls = changing_calls(path, b)
    with pytest.raises(AssertionError, match="PermissionError"):
        t.as_user(NOBODY, nobody_tries, fake.socket, False, calls)
    os.chmod(fake.socket, 0o666)
    answers = t.as_user(NOBODY, nobody_tries, fake.socket, False, calls)
    assert answers == "no connection" or answers == [BUS_ERROR + "AccessDenied"] * len(calls)
    assert fake.control.invocations() == []
    # whoever is refused gains nothing by naming what is not there
    answers = t.as_user(NOBODY, nobody_tries, fake.socket, False, changing_calls(t.container_path("a", "b"), "/nowhere"))
    assert answers == "no connection" or set(answers) <= {BUS_ERROR + "AccessDenied", t.ERROR + "NotFound"}
    assert client.list()


def test_over_the_bus_only_root_may_change_anything(message_bus, make_daemon, bundle):
    d = make_daemon(runtime=FAKE_RUNTIME, bus=message_bus.address)
    client = message_bus.connect()
    b = bundle("sleep", "inf")
    c = client.create("live", b)
    c.start()
    d.control.forget()
    calls = changing_calls(c.path, b)
    answers = t.as_user(NOBODY, nobody_tries, message_bus.socket, True, calls)
    refusals = {BUS_ERROR + "AccessDenied", BUS_ERROR + "InteractiveAuthorizationRequired"}
    assert set(answers) <= refusals, answers
    assert d.control.invocations() == []
    assert c.status == "running"
    c.end()


def nobody_tries_without_a_reply(path, is_bus, calls):
    """In a child process: calls that want no reply, so that a refusal cannot be sent; then one that does."""
    client = t.Client(path, is_bus=is_bus, listen=False)
    for object_path, interface, member, signature, args in 2 * calls:
        message = new_method_call(DBusAddress(object_path, t.BUS_NAME, interface), member, signature or None, args)
        message.header.flags = MessageFlag.no_reply_expected
        client.sock.sendall(message.serialise(serial=next(client.outgoing_serial)))
    return nobody_tries(path, is_bus, calls[:1]) and [None]


def test_asking_for_no_reply_lets_nobody_in(message_bus, make_daemon, bundle):
    d = make_daemon(runtime=FAKE_RUNTIME, bus=message_bus.address)
    client = message_bus.connect()
    b = bundle("sleep", "inf")
    c = client.create("live", b)
    c.start()
    d.control.forget()
    os.chmod(d.socket, 0o666)
    for path, is_bus in ((d.socket, False), (message_bus.socket, True)):
        t.as_user(NOBODY, nobody_tries_without_a_reply, path, is_bus, changing_calls(c.path, b))
    client.sync()
    time.sleep(0.2)
    assert d.control.invocations() == []
    assert c.status == "running"
    assert len(client.list()) == 1
    c.end()


# What is there already is not ours


def test_a_container_that_the_runtime_knows_from_elsewhere_is_left_alone(fake, bundle):
    client = fake.connect()
    state = os.path.join(fake.runtime_root, "default", "c1")
    os.makedirs(state)
    with open(os.path.join(state, "foreign"), "w"):
        pass
    with refused("AlreadyExists", state):
        client.create("c1", bundle("sleep", "inf"))
    assert os.listdir(state) == ["foreign"]
    assert fake.control.invocations() == []
    shutil.rmtree(state)
    client.create("c1", bundle("sleep", "inf")).delete()


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_a_work_directory_with_something_in_it_is_left_alone(fake, bundle, kind):
    client = fake.connect()
    work = os.path.join(fake.root, "default", "c1")
    os.makedirs(work if kind == "folder" else os.path.dirname(work))
    precious = os.path.join(work, "precious") if kind == "folder" else work
    with open(precious, "w") as f:
        f.write("data")
    fake.control.set("c1", "create", "exit 1")
    with refused("AlreadyExists", work):
        client.create("c1", bundle("sleep", "inf"))
    with open(precious) as f:
        assert f.read() == "data"
    assert fake.control.invocations() == []
    shutil.rmtree(os.path.dirname(work))


# Limits of the peer


def test_a_peer_that_talks_nonsense_only_harms_itself(at_work):
    fake, client = at_work
    for data in (b"", b"\0", b"GET / HTTP/1.0\r\n\r\n", b"\0AUTH EXTERNAL 30\r\nBEGIN\r\n" + b"\xff" * 1000,
                 b"\0AUTH ANONYMOUS\r\nBEGIN\r\n", b"\0" + b"A" * 100000):
        s = socket.socket(socket.AF_UNIX)
        s.connect(fake.socket)
        try:
            s.sendall(data)
            s.settimeout(0.05)
            s.recv(100)
        except OSError:
            pass
        s.close()
        client.sync()


def test_a_peer_that_says_nothing_holds_up_nobody(at_work):
    fake, client = at_work
    silent = []
    for _ in range(20):
        s = socket.socket(socket.AF_UNIX)
        s.connect(fake.socket)
        silent.append(s)
    client.sync()
    assert client.container("live").status == "running"
    for s in silent:
        s.close()
