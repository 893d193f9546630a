# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is measured: each module here has a title and run(context), which returns a list of measure.result()."""

import importlib

MODULES = ("lifecycle", "exec", "exit", "hang", "stdout", "memory", "idle", "restart", "queries", "storm")


def all_scenarios():
    """{name: module}, in the order in which they are run."""
    return {m: importlib.import_module("scenarios." + m) for m in MODULES}
