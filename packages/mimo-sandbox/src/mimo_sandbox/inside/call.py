"""Beside a submission with an entry point: calls it with the JSON on stdin and prints the result as JSON.

An array gives positional arguments, an object keyword arguments. The entry point is a function of the submission
or a method of its class `Solution`. What the submission prints goes to stderr.
"""

# os.path, because importing pathlib costs an interpreter 10 ms:
# ruff: noqa: PTH123

import json
import os
import sys
import types


def _main(name: str) -> None:
    arguments = json.load(sys.stdin)
    result_file = os.dup(1)
    os.dup2(2, 1)
    module = types.ModuleType("solution")
    module.__file__ = "main.py"
    sys.modules["solution"] = module
    with open("main.py", "rb") as file:
        source = file.read()
    exec(compile(source, "main.py", "exec"), module.__dict__)
    function = module.__dict__.get(name)
    if function is None:
        function = getattr(module.__dict__["Solution"](), name)
    result = function(**arguments) if isinstance(arguments, dict) else function(*arguments)
    with os.fdopen(result_file, "w") as out:
        out.write(json.dumps(result))


_main(sys.argv[1])
