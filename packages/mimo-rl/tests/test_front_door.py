"""What `import mimo_rl` offers."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import inspect
import mimo_rl
from mimo_rl import *
print([name for name in mimo_rl.__all__ if inspect.ismodule(globals()[name])])
"""


def test_no_name_of_the_front_door_is_a_module() -> None:
    # In a process of its own: which module was imported first would decide.
    found = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)

    assert found.stdout == "[]\n"
