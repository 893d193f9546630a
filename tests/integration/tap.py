# SPDX-License-Identifier: LGPL-2.1-or-later
"""A pytest plugin that writes one TAP line per test case, for automake's test driver.

The plan and the results go to the descriptor that --tap names, each as soon as it is known. pytest's own report goes
wherever its standard output goes.
"""

import os

import pytest


def pytest_addoption(parser):
    parser.addoption("--tap", type=int, metavar="FD", help="write TAP to descriptor FD")


@pytest.hookimpl(trylast=True)
def pytest_configure(config):
    fd = config.getoption("--tap")
    if fd is not None:
        config.pluginmanager.register(Tap(fd), "tap-writer")


class Tap:
    def __init__(self, fd):
        os.set_inheritable(fd, False)
        self.out = os.fdopen(fd, "w", buffering=1)
        self.n = 0
        self.skipped = False

    def say(self, ok, name, directive=""):
        self.n += 1
        line = f"{'ok' if ok else 'not ok'} {self.n} - {name.replace('#', '.')}{directive}"
        print(" ".join(line.split()), file=self.out)  # one line, whatever the reason looks like

    def pytest_collection_finish(self, session):
        # An empty plan would count as nothing at all; a file that cannot be read must count as a failure.
        if session.items:
            print(f"1..{len(session.items)}", file=self.out)

    def pytest_collectreport(self, report):
        if report.failed:
            print(f"Bail out! {report.nodeid} cannot be collected", file=self.out)
        elif report.skipped and isinstance(report.longrepr, tuple):
            print(f"1..0 # SKIP {report.longrepr[2].removeprefix('Skipped: ')}", file=self.out)
            self.skipped = True

    def pytest_sessionfinish(self, session):
        # pytest calls it a failure when a file that skips itself leaves nothing to run.
        if self.skipped and session.exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
            session.exitstatus = pytest.ExitCode.OK

    def pytest_runtest_logreport(self, report):
        # Setup, call and teardown are one test case; it is over after the teardown, which may be what fails.
        if report.when == "setup":
            self.failed = []
            self.directive = ""
        if report.failed:
            self.failed.append(report.when)
        elif report.skipped:
            reason = report.wasxfail if hasattr(report, "wasxfail") else str(report.longrepr[2])
            self.directive = " # SKIP " + reason.removeprefix("Skipped: ")
        if report.when == "teardown":
            name = report.nodeid.split("::", 1)[-1]
            if self.failed and self.failed != ["call"]:
                name += f" ({' and '.join(self.failed)})"
            self.say(not self.failed, name, "" if self.failed else self.directive)
