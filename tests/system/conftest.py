# SPDX-License-Identifier: LGPL-2.1-or-later
"""The fixtures of the integration tests, for tests that need a machine of their own. See "bed"."""

import importlib.util
import os
import sys

_folder = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "integration")
sys.path.insert(0, _folder)
_spec = importlib.util.spec_from_file_location("integration_conftest", os.path.join(_folder, "conftest.py"))
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)
globals().update({name: value for name, value in vars(_module).items() if not name.startswith("__")})
