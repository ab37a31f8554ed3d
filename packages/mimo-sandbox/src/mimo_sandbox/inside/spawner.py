"""The spawner: starts programs for the agent, confined itself, from outside the programs' process ids.

It lives in the control group of the tests, under the seccomp filter and without capabilities, so that what it starts
has all that from its first instruction and nothing has to be set up per test. Its children are born into the agent's
process id namespace: they can neither see nor signal it. It holds no input, no output and no program: it is handed
descriptors, and a warm child reads its program itself.

A native program is started with posix_spawn (vfork: no page tables are copied). Python programs that may be are forked
from this interpreter, which has the usual modules loaded.
"""

from __future__ import annotations

import _socket
import array
import gc
import json
import os
import resource
import signal
import struct
import sys
import time
from collections.abc import Callable
from typing import Any

from mimo_sandbox.inside import program

ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "HOME": "/tmp",
    "TMPDIR": "/tmp",
    "LANG": "C.UTF-8",
    # One program, one core: the judge's parallelism is over tests.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}

REPORT = struct.Struct("!iiddq")
"""errno of a start that failed, or 0; wait status; CPU seconds of the child, and of starting it; its peak in bytes."""

_WARM = (
    "math", "collections", "heapq", "itertools", "functools", "bisect", "operator", "re", "string", "random", "copy",
    "io", "queue", "typing", "time", "datetime", "array", "threading", "fractions", "decimal",
)  # fmt: skip
"""What Python programs import most; each makes every fork dearer by what it weighs."""

_RESET_SIGNALS = (signal.SIGPIPE, signal.SIGXFSZ)


def serve(channel: _socket.socket, modules: list[str], folder: str, streams: program.Streams) -> None:
    """Starts what the agent asks for, one at a time, until the agent goes away; never returns.

    Args:
        modules: to import besides the usual ones (numpy).
        folder: where programs start.
        streams: see `program.make_streams`.
    """
    os.environ.clear()
    os.environ.update(ENVIRONMENT)
    hooks = _import_all((*_WARM, *modules))
    for name in [name for name in sys.modules if name.startswith("mimo_sandbox")]:
        del sys.modules[name]
    sys.path_importer_cache.clear()
    gc.collect()
    gc.freeze()
    os.write(channel.fileno(), REPORT.pack(0, 0, 0.0, 0.0, 0))
    while True:
        files = array.array("i")
        message, ancillary, _, _ = channel.recvmsg(
            65_536, _socket.CMSG_SPACE(3 * files.itemsize), _socket.MSG_CMSG_CLOEXEC
        )
        if not message:
            os._exit(0)
        for _, _, data in ancillary:
            files.frombytes(data[: len(data) - len(data) % files.itemsize])
        os.write(channel.fileno(), _start(json.loads(message), list(files), folder, streams, hooks))


def _import_all(names: tuple[str, ...]) -> list[Callable[[], object]]:
    """Imports what there is of these; returns what they want done in a forked child.

    Those functions touch a third of the memory that a child copies: they are called for the programs that need them.
    """
    hooks: list[Callable[[], object]] = []

    def note(*, after_in_child: Callable[[], object] | None = None, **_: object) -> None:
        if after_in_child is not None:
            hooks.append(after_in_child)

    register, os.register_at_fork = os.register_at_fork, note
    for name in names:
        try:
            __import__(name)
        except ImportError:
            continue
    os.register_at_fork = register
    return hooks


def _start(
    request: dict[str, Any],
    files: list[int],
    folder: str,
    streams: program.Streams,
    hooks: list[Callable[[], object]],
) -> bytes:
    """Starts one program on three descriptors, waits for it, and returns the report."""
    start_s = time.process_time()
    try:
        for kind, value in request["limits"]:
            resource.setrlimit(kind, (value, resource.getrlimit(kind)[1]))
        if "command" in request:
            command: list[str] = request["command"]
            os.chdir(folder)
            try:
                child = os.posix_spawn(
                    command[0],
                    command,
                    ENVIRONMENT,
                    file_actions=[(os.POSIX_SPAWN_DUP2, file, target) for target, file in enumerate(files)],
                    setsid=True,
                    setsigdef=_RESET_SIGNALS,
                )
            finally:
                os.chdir("/")
        else:
            child = os.fork()
            if child == 0:
                program.become(request, files, folder, streams, hooks if request["hooks"] else [])
    except OSError as error:
        return REPORT.pack(error.errno or -1, 0, 0.0, 0.0, 0)
    finally:
        for file in files:
            os.close(file)
    started_s = time.process_time() - start_s
    _, status, used = os.wait4(child, 0)
    return REPORT.pack(0, status, used.ru_utime + used.ru_stime, started_s, used.ru_maxrss * 1024)
