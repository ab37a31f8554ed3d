"""A Python program in an interpreter that is already running: what `python main.py` would do, without starting one.

`become` turns a forked child into the program: its `__main__`, its streams, its exit code, its last words. What cannot
be the same (frames below the program's first, objects that only the end of an interpreter finalises) is looked for in
the source beforehand, and such programs get an interpreter of their own: see `languages.py`.

As a script, `python program.py FUNCTION`, for programs whose function is called, in an interpreter of its own.
"""

# os.path, because importing pathlib costs an interpreter 10 ms:
# ruff: noqa: PTH100, PTH118, PTH120, PTH123, SIM115

from __future__ import annotations

import _thread
import atexit
import json
import marshal
import os
import resource
import signal
import sys
import types
from collections.abc import Callable
from typing import Any, TextIO

SOURCE, CODE = "main.py", "main.code"

_PRELUDE = "\n".join(
    f"from {name} import *"
    for name in ("typing", "string", "math", "operator", "bisect", "heapq", "itertools", "functools", "collections")
)
"""What LeetCode has imported for a `class Solution`."""


Streams = tuple[TextIO, TextIO, TextIO]


def become(
    request: dict[str, Any], files: list[int], folder: str, streams: Streams, hooks: list[Callable[[], object]]
) -> None:
    """In the forked child: runs the program on the three descriptors, starting in `folder`; never returns.

    Args:
        streams: see `make_streams`.
        hooks: what loaded modules want done in a child, for a program that may use them.
    """
    status = 1
    try:
        os.setsid()
        for target, file in enumerate(files):
            os.dup2(file, target)
        os.closerange(3, 256)
        os.chdir(folder)
        sys.stdin, sys.stdout, sys.stderr = sys.__stdin__, sys.__stdout__, sys.__stderr__ = streams  # type: ignore[assignment, misc]
        if request["fork"] == "compile":
            status = compile_source(request["program"])
        else:
            for kind, value in request["limits"]:
                resource.setrlimit(kind, (value, value))
            # Frames of the spawner are no frames of the program's.
            sys.setrecursionlimit(1000 + _depth())
            for hook in hooks:
                hook()
            if "numpy.random" in sys.modules:
                sys.modules["numpy.random"].seed()
            num_exit_functions = atexit._ncallbacks()
            main, status = run(request["program"], request["function"])
            if _thread._count() > 0:
                sys.modules["threading"]._shutdown()
            if atexit._ncallbacks() > num_exit_functions:
                atexit._run_exitfuncs()
            status = _end(main, streams[1], status)
    finally:
        os._exit(status)


def compile_source(folder: str) -> int:
    """Compiles the source and writes the code to stdout; or returns 1, with the message on stderr."""
    path = os.path.join(folder, SOURCE)
    with open(path, "rb") as file:
        source = file.read()
    try:
        code = compile(source, path, "exec", dont_inherit=True)
    except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError) as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode(errors="replace"))
        return 1
    sys.stdout.buffer.write(marshal.dumps(code))
    sys.stdout.flush()
    return 0


def run(folder: str, function: str) -> tuple[types.ModuleType, int]:
    """Runs the compiled program, as `__main__` or, to call a function of it, as a module; also the exit code."""
    with open(os.path.join(folder, CODE), "rb") as file:
        code = marshal.loads(file.read())
    path = os.path.join(folder, SOURCE)
    main = types.ModuleType("solution" if function else "__main__")
    sys.modules[main.__name__] = main
    main.__dict__.update(__file__=path, __builtins__=sys.modules["builtins"], __annotations__={}, __cached__=None)
    sys.argv = [path]
    try:
        if function:
            _call(code, main.__dict__, function)
        else:
            exec(code, main.__dict__)
        return main, 0
    except SystemExit as error:
        if error.code is None or isinstance(error.code, int):
            return main, (error.code or 0) & 0xFF
        print(error.code, file=sys.stderr)
        return main, 1
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
        return main, 1
    except BaseException as error:
        # Without the frame of this function.
        shown = error.with_traceback(error.__traceback__ and error.__traceback__.tb_next)
        sys.excepthook(type(shown), shown, shown.__traceback__)
        return main, 1


def _call(code: types.CodeType, names: dict[str, Any], function: str) -> None:
    """Calls a function of the program, or a method of its class `Solution`.

    On stdin are a word that the agent has just made up and the arguments as JSON: an array gives positional ones, an
    object keyword arguments. The word and what the function returns, as JSON, go to stdout, and nothing else: what the
    program prints goes to stderr, and what it writes there by itself spoils the result. All that is needed afterwards
    is bound before the program can change it.
    """
    stdin = bytearray()
    while data := os.read(0, 1 << 20):
        stdin += data
    os.ftruncate(0, 0)
    word, _, arguments_json = stdin.partition(b"\n")
    arguments = json.loads(arguments_json)
    result_file = os.dup(1)
    os.dup2(2, 1)
    encode, write, close = _encoder(), os.write, os.close
    if "Solution" in code.co_names:
        exec(_PRELUDE, names)
    imported = names.get(function)
    exec(code, names)
    target = names.get(function)
    if target is None or target is imported:
        target = getattr(names["Solution"](), function)
    result = target(**arguments) if isinstance(arguments, dict) else target(*arguments)
    reply = memoryview(word + encode(result).encode())
    while reply:
        reply = reply[write(result_file, reply) :]
    close(result_file)


def _encoder() -> Callable[[Any], str]:
    """JSON of a value, by the C encoder that `json.dumps` uses, with nothing of it in Python that could be patched."""

    def refuse(value: object) -> None:
        raise TypeError(f"a {type(value).__name__} cannot be returned as JSON")

    encode = json.encoder.c_make_encoder(  # type: ignore[attr-defined]
        {}, refuse, json.encoder.encode_basestring_ascii, None, ": ", ", ", False, False, True
    )
    return lambda value: "".join(encode(value, 0))


def make_streams() -> Streams:
    """stdin, stdout and stderr as a new interpreter makes them, for the kinds of file that programs will get."""
    stdin, (pipe, stdout) = os.memfd_create("stdin"), os.pipe()
    own = [os.dup(number) for number in range(3)]
    for number, file in enumerate((stdin, stdout, stdout)):
        os.dup2(file, number)
    streams = (
        open(0, encoding="utf-8", errors="surrogateescape", newline="\n", closefd=False),
        open(1, "w", encoding="utf-8", errors="surrogateescape", newline="\n", closefd=False),
        # Line by line; stdout, which is a pipe, in blocks.
        open(2, "w", 1, encoding="utf-8", errors="backslashreplace", newline="\n", closefd=False),
    )
    for number, file in enumerate(own):
        os.dup2(file, number)
    for file in (stdin, pipe, stdout, *own):
        os.close(file)
    return streams


def _depth() -> int:
    depth, frame = -1, sys._getframe()
    while frame is not None:
        depth, frame = depth + 1, frame.f_back  # type: ignore[assignment]
    return depth


def _end(main: types.ModuleType, stdout: TextIO, status: int) -> int:
    """The rest of what an interpreter does at its end, as far as it can be seen from outside; returns the exit code."""
    names = main.__dict__
    for name in list(names):
        # Files that the program left open are flushed when their names go.
        if name != "__builtins__":
            names[name] = None
    for stream in (stdout,) if sys.stdout is stdout else (sys.stdout, stdout):
        try:
            if stream is not None and not stream.closed:
                stream.flush()
        except BaseException:
            return 120
    return status


if __name__ == "__main__":
    sys.exit(run(os.path.dirname(os.path.abspath(__file__)), sys.argv[1])[1])
