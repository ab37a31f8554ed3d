"""Given whole to `python3 -c`: reads the agent's modules from the host and runs it.

First line: the length, padded to 16 characters. Then JSON: `modules` (name and source, in order) and `settings`.
"""

import json
import os
import sys
import types


def _read(size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = os.read(0, size - len(data))
        if not part:
            sys.exit("the host closed the connection before it had sent the agent")
        data += part
    return data


_payload = json.loads(_read(int(_read(16))))
for _name, _source in _payload["modules"]:
    _module = types.ModuleType(_name)
    sys.modules[_name] = _module
    exec(compile(_source, "<" + _name + ">", "exec"), _module.__dict__)
sys.modules["mimo_sandbox.inside.agent"].main(_payload["settings"])
