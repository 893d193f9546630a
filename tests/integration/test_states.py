# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every state of an init process times every operation on it, by brute force: which command is run, what the new state is,
and how it is refused."""

import signal

import pytest

import monoshim_testing as t
from monoshim_testing import refused

OK = object()

# operation -> (member, signature, arguments, the runtime's verb)
OPERATIONS = {
    "start": ("Start", "", (), "start"),
    "kill": ("Kill", "ub", (signal.SIGKILL, False), "kill"),
    "kill-term": ("Kill", "ub", (signal.SIGTERM, False), "kill"),
    "kill-all": ("Kill", "ub", (signal.SIGKILL, True), "kill-all"),
    "delete": ("Delete", "", (), "delete"),
    "close": ("CloseIO", "", (), None),
    "pidfd": ("OpenPidFD", "", (), None),
}

# (state, operation) -> what is run, and either OK and the state afterwards, or the error's name and text
TABLE = {
    ("created", "start"): (["start"], OK, "running"),
    ("created", "kill"): (["kill"], OK, "stopped"),
    ("created", "kill-term"): (["kill"], OK, "stopped"),
    ("created", "kill-all"): (["kill-all"], OK, "stopped"),
    ("created", "delete"): (["delete"], OK, None),
    ("created", "close"): ([], OK, "created"),
    ("created", "pidfd"): ([], OK, "created"),
    ("running", "start"): ([], "FailedPrecondition", "cannot start a running process"),
    ("running", "kill"): (["kill"], OK, "stopped"),
    ("running", "kill-term"): (["kill"], OK, "stopped"),
    ("running", "kill-all"): (["kill-all"], OK, "stopped"),
    ("running", "delete"): ([], "FailedPrecondition", "cannot delete a running process"),
    ("running", "close"): ([], OK, "running"),
    ("running", "pidfd"): ([], OK, "running"),
    ("stopped", "start"): ([], "FailedPrecondition", "cannot start a stopped process"),
    ("stopped", "kill"): (["kill"], "NotFound", "process already finished: not found"),
    ("stopped", "kill-term"): (["kill"], "NotFound", "process already finished: not found"),
    ("stopped", "delete"): (["delete"], OK, None),
    ("stopped", "close"): ([], OK, "stopped"),
    ("stopped", "pidfd"): ([], "NotFound", None),
    # never started, but killed
    ("killed", "start"): ([], "FailedPrecondition", "cannot start a stopped process"),
    ("killed", "kill"): (["kill"], "NotFound", "process already finished: not found"),
    ("killed", "delete"): (["delete"], OK, None),
    ("killed", "close"): ([], OK, "stopped"),
    ("deleted", "start"): ([], "NotFound", None),
    ("deleted", "kill"): ([], "NotFound", None),
    ("deleted", "kill-all"): ([], "NotFound", None),
    ("deleted", "delete"): ([], "NotFound", None),
    ("deleted", "close"): ([], "NotFound", None),
    ("deleted", "pidfd"): ([], "NotFound", None),
}


def bring_to(c, state):
    if state in ("running", "stopped", "deleted"):
        c.start()
    if state in ("stopped", "deleted", "killed"):
        c.kill()
        c.wait()
    if state == "deleted":
        c.delete()


@pytest.mark.parametrize("state, operation", list(TABLE))
def test_what_an_operation_does_in_a_state(fake, bundle, state, operation):
    verbs, answer, more = TABLE[state, operation]
    member, signature, args, _ = OPERATIONS[operation]
    client = fake.connect()
    c = client.create("c1", bundle("sleep", "inf"))
    bring_to(c, state)
    status = None if state == "deleted" else c.status
    fake.control.forget()
    client.forget_signals()

    if answer is OK:
        result = c.process(member, signature, *args)
        for fd in result:
            if hasattr(fd, "close"):
                fd.close()
        if more is None:
            with refused("NotFound"):
                client.manager("GetContainer", "ss", "default", "c1")
        else:
            t.wait_for(lambda: c.status == more, what="state %s" % more)
    else:
        with refused(answer, exactly=more):
            c.process(member, signature, *args)
        if status is not None:
            assert c.status == status, "a refused operation has changed the state"
        client.sync()
        assert client.event_names() == [], "a refused operation has been told as an event"
    assert [r["verb"] for r in fake.control.invocations()] == verbs


@pytest.mark.parametrize("state", ["created", "running", "stopped"])
def test_what_reads_is_answered_in_every_state(fake, bundle, state):
    client = fake.connect()
    c = client.create("c1", bundle("sleep", "inf"))
    bring_to(c, state)
    fake.control.forget()
    assert c.status == state
    assert client.list() == {("default", "c1"): (state, c.pid, c.path)}
    assert client.manager("GetContainer", "ss", "default", "c1") == (c.path,)
    pending = c.begin("Wait")
    client.sync()
    assert pending.done() == (state == "stopped")
    assert fake.control.invocations() == [], "reading runs nothing"
    c.end()
    assert pending.result()[0] == 137


@pytest.mark.parametrize("state, failing", [("created", "start"), ("created", "kill"), ("created", "delete"), ("running", "kill"),
                                            ("stopped", "delete")])
def test_a_failed_operation_leaves_the_state_and_can_be_repeated(fake, bundle, state, failing):
    member, signature, args, verb = OPERATIONS[failing]
    client = fake.connect()
    c = client.create("c1", bundle("sleep", "inf"))
    bring_to(c, state)
    fake.control.set("c1", verb, "exit 1", "log not today", "say not today")
    for _ in range(2):
        with refused("RuntimeFailed", "not today"):
            c.process(member, signature, *args)
        assert c.status == state
    fake.control.clear()
    c.process(member, signature, *args)
    if failing != "delete":
        c.end()
    assert c.event_names().count("TaskExit") == 1


def test_the_refusals_name_the_state_and_leave_no_runtime_behind(fake, bundle):
    """Refused at once, also while the runtime would hang."""
    client = fake.connect()
    c = client.create("c1", bundle("sleep", "inf"))
    c.start()
    fake.control.set("*", "start", "hang")
    fake.control.set("*", "delete", "hang")
    with refused("FailedPrecondition", "running"):
        c.start()
    with refused("FailedPrecondition", "running"):
        c.delete()
    fake.control.clear()
    c.end()
