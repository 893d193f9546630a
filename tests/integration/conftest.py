# SPDX-License-Identifier: LGPL-2.1-or-later
"""Fixtures: directories with short names, daemons, and the guards that run after every test."""

import contextlib
import os
import shutil
import signal
import tempfile

import pytest

import monoshim_testing as t

TEST_DEADLINE = int(os.environ.get("MONOSHIM_TEST_DEADLINE", 180 * max(t.SCALE, 1)))


def pytest_configure(config):
    if os.geteuid() != 0:
        raise pytest.UsageError("these tests start containers: run them as root")
    config.addinivalue_line("markers", "elsewhere(condition): not one of this run's tests, since another run has it")
    t.nursery()


def pytest_collection_modifyitems(config, items):
    elsewhere = [i for i in items if any(m.args[0] for m in i.iter_markers("elsewhere"))]
    config.hook.pytest_deselected(items=elsewhere)
    items[:] = [i for i in items if i not in elsewhere]


def pytest_sessionstart(session):
    for path in (t.MONOSHIMD, t.FAKE_RUNTIME):
        if not os.access(path, os.X_OK):
            raise pytest.UsageError("%s is not there: build it, or set MONOSHIMD and FAKE_RUNTIME" % path)


def pytest_unconfigure(config):
    t.nursery().close()
    t.rootfs_remove()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.failed and lacks_pidfd(item, call):
        report.outcome = "skipped"
        report.longrepr = (str(item.path), item.location[1] or 0, "Skipped: valgrind does not know pidfd_open()")
    setattr(item, "report_" + report.when, report)
    if report.failed:
        for d in getattr(item, "daemons", []):
            report.sections.append(("log of the daemon in %s" % d.directory, d.log_tail(120)))


def lacks_pidfd(item, call):
    """valgrind 3.19 answers ENOSYS: OpenPidFD fails, and no live container can be taken back after a restart."""
    if not t.VALGRIND:
        return False
    logs = "".join(d.log_text() for d in getattr(item, "daemons", []))
    return "Function not implemented" in logs + str(call.excinfo.value)


@pytest.fixture(autouse=True)
def deadline():
    def expired(*_):
        raise AssertionError("the test took longer than %d s" % TEST_DEADLINE)

    signal.signal(signal.SIGALRM, expired)
    signal.alarm(TEST_DEADLINE)
    yield
    signal.alarm(0)


@pytest.fixture
def directory():
    """A directory with a short name: unix sockets need one."""
    d = tempfile.mkdtemp(prefix="mst.")
    os.chmod(d, 0o755)
    yield d
    shutil.rmtree(d, ignore_errors=True)


@pytest.fixture
def make_daemon(request, directory):
    """make_daemon(runtime=..., config={...}, ...) starts a daemon. After the test: whatever containers are left are ended
    by their client's own means, nothing else may be left, and the daemon must stop cleanly."""
    daemons = request.node.daemons = []

    def make(name=None, start=True, **kw):
        d = t.Daemon(os.path.join(directory, name or "d%d" % len(daemons)), **kw)
        daemons.append(d)
        return d.start() if start else d

    yield make

    passed = getattr(request.node, "report_call", None) is not None and request.node.report_call.passed
    try:
        if passed:
            for d in daemons:
                check_guards(d)
            helpers = getattr(request.node, "helpers", ())

            def strays():
                return [p for p in t.descendants(t.nursery().pid) if p not in helpers]

            # What has been killed may take a moment to go on a busy machine.
            with contextlib.suppress(AssertionError):
                t.wait_for(lambda: not strays(), timeout=2 * t.SCALE)
            assert not strays(), "processes left over: %s" % t.describe(strays())
    finally:
        clean_up(daemons)


def check_guards(d):
    d.disconnect()
    if d.pid is not None:
        assert t.nursery().status(d.pid) is None, "the daemon has died:\n" + d.log_tail()
        client = d.connect()
        d.control.clear()
        for (ns, id), _ in client.list().items():
            client.container(id, ns).end()
        d.disconnect()
        d.wait_idle()
        d.stop()
    else:
        assert not d.leftovers(), d.leftovers()
    t.check_log(d.log_text())


def clean_up(daemons):
    """Whatever happened: no process, mount or cgroup may disturb the next test."""
    for d in daemons:
        d.disconnect()
        if d.pid is not None and t.nursery().status(d.pid) is None:
            os.kill(d.pid, signal.SIGKILL)
            d.wait()
        d.manager.close()
        d.manager.forget()
    for pid in t.descendants(t.nursery().pid):
        if not t.command_line(pid).startswith("dbus-daemon"):
            for sig in (signal.SIGKILL, signal.SIGCONT):
                with contextlib.suppress(OSError):
                    os.kill(pid, sig)
    for d in daemons:
        for complaint in reversed(t.leftover_mounts(d.directory)):
            t.run("umount", "-l", complaint.partition(": ")[2], check=False)
    if t.leftover_cgroups():
        with contextlib.suppress(AssertionError):
            t.wait_for(remove_cgroups, timeout=2)


def remove_cgroups():
    for path in t.leftover_cgroups():
        path = path.partition(": ")[2]
        with contextlib.suppress(OSError):
            with open(os.path.join(path, "freezer.state"), "w") as f:
                f.write("THAWED")
        with contextlib.suppress(OSError):
            os.rmdir(path)
    return not t.leftover_cgroups()


@pytest.fixture
def binary(directory):
    """For a daemon whose program is to be replaced: make_daemon(program=binary.path)."""
    return t.Binary(directory)


@pytest.fixture
def daemon(make_daemon):
    """A daemon with real runc."""
    return make_daemon()


@pytest.fixture
def fake(make_daemon):
    """A daemon with the fake runtime and short deadlines."""
    return make_daemon(runtime=t.FAKE_RUNTIME)


@pytest.fixture
def client(daemon):
    return daemon.connect()


@pytest.fixture
def message_bus(request, directory):
    """A private dbus-daemon. Ask for it before any daemon that is to use it, so that it outlives that daemon."""
    b = t.MessageBus(directory)
    request.node.helpers = [b.pid]
    yield b
    b.stop()


@pytest.fixture
def bundle(directory):
    """bundle(args...) makes a bundle; bundle.number tells them apart."""
    count = [0]

    def make(*args, **kw):
        count[0] += 1
        return t.make_bundle(os.path.join(directory, "b%d" % count[0]), list(args), **kw)

    return make


@pytest.fixture
def fifo(directory):
    """fifo("out") makes a FIFO."""
    made = []

    def make(name):
        f = t.Fifo(os.path.join(directory, name))
        made.append(f)
        return f

    yield make
    for f in made:
        f.close()
