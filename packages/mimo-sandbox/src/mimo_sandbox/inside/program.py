"""A Python program in an interpreter that is already running: what `python main.py` would do, without starting one.

`become` turns a forked child into the program: its `__main__`, its streams, its recursion limit, its exit code, its
last words. What cannot be the same (frames below the program's first, modules that are loaded, the order in which an
interpreter's end finalises) is looked for in the source beforehand, and such programs get an interpreter of their own:
see `languages.py`. What is the same is in `tests/modes.toml`. Known to differ: strings hash alike in all forks of one
spawner, and in threads the recursion limit is a few frames higher.

As a script, for programs whose function is called, in an interpreter of its own.
"""

# os.path, because importing pathlib costs an interpreter 10 ms:
# ruff: noqa: PTH100, PTH118, PTH120, PTH123, SIM115

from __future__ import annotations

import _thread
import atexit
import contextlib
import gc
import json
import marshal
import operator
import os
import resource
import signal
import sys
import types
from collections.abc import Callable
from typing import Any, TextIO

SOURCE, CODE, FUNCTION = "main.py", "main.code", "function"

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
            _hide_frames(_depth() + _COMPILES)
            status = compile_source(request["program"])
        else:
            for kind, value in request["limits"]:
                resource.setrlimit(kind, (value, value))
            _hide_frames(_depth() + (_CALLED if request["calls"] else _RUN))
            for hook in hooks:
                hook()
                # And for the children that the program itself forks.
                os.register_at_fork(after_in_child=hook)
            if "numpy.random" in sys.modules:
                sys.modules["numpy.random"].seed()
            failure = run(request["program"], calls=request["calls"])
            status = 0 if failure is None else report(failure)
            failure = None
            if not _end(streams, collects=request["collects"]) and status >= 0:
                status = 120
            if status == -signal.SIGINT:
                signal.signal(signal.SIGINT, signal.SIG_DFL)
                os.kill(os.getpid(), signal.SIGINT)
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


def run(folder: str, *, calls: bool) -> BaseException | None:
    """Runs the compiled program, as `__main__` or, to call a function of it, as a module; returns what it raised."""
    with open(os.path.join(folder, CODE), "rb") as file:
        code = marshal.loads(file.read())
    path = os.path.join(folder, SOURCE)
    main = types.ModuleType("solution" if calls else "__main__")
    sys.modules[main.__name__] = main
    main.__dict__.update(__annotations__={}, __builtins__=sys.modules["builtins"], __file__=path, __cached__=None)
    sys.argv = [path]
    try:
        if calls:
            with open(os.path.join(folder, FUNCTION), "rb") as file:
                function = file.read().decode("utf-8", "surrogatepass")
            _call(code, main.__dict__, function)
        else:
            exec(code, main.__dict__)
    except BaseException as error:
        return _without_our_frames(error)
    return None


def _without_our_frames(error: BaseException) -> BaseException:
    # Not in `run`, whose frame the program's frames refer to: it would keep alive what they hold.
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == run.__code__.co_filename:
        trace = trace.tb_next
    return error.with_traceback(trace)


def report(error: BaseException) -> int:
    """Says what an interpreter says about an exception that nobody caught; returns the exit code, or -SIGINT."""
    if isinstance(error, SystemExit):
        return _exit_code(error)
    sys.last_type, sys.last_value, sys.last_traceback = type(error), error, error.__traceback__
    try:
        sys.excepthook(type(error), error, error.__traceback__)
    except SystemExit as wish:
        return _exit_code(wish)
    except BaseException:
        sys.__excepthook__(type(error), error, error.__traceback__)
    return -signal.SIGINT if type(error) is KeyboardInterrupt else 1


def _exit_code(error: SystemExit) -> int:
    code = error.code
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF if abs(code) < 1 << 63 else 0xFF
    with contextlib.suppress(BaseException):
        if sys.stderr is not None:
            print(code, file=sys.stderr)
    return 1


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
    for stream, name in zip(streams, ("<stdin>", "<stdout>", "<stderr>"), strict=True):
        stream.buffer.raw.name = name  # type: ignore[attr-defined]
    for number, file in enumerate(own):
        os.dup2(file, number)
    for file in (stdin, pipe, stdout, *own):
        os.close(file)
    return streams


_COMPILES, _RUN, _CALLED = 2, 2, -1
"""Frames between `become` and the compiler, the program, or its function, less those that a script has there."""


def _hide_frames(num_frames: int) -> None:
    """Counts the recursion limit from above some frames, which are none of the program's."""
    set_limit, get_limit = sys.setrecursionlimit, sys.getrecursionlimit
    most = 2**31 - 1 - num_frames

    def setrecursionlimit(limit: int, /) -> None:
        limit = operator.index(limit)
        set_limit(limit + num_frames if 0 < limit <= most else limit)

    def getrecursionlimit() -> int:
        limit = get_limit()
        return limit - num_frames if limit <= most else limit

    set_limit(get_limit() + num_frames)
    sys.setrecursionlimit, sys.getrecursionlimit = setrecursionlimit, getrecursionlimit


def _depth() -> int:
    depth, frame = -1, sys._getframe()
    while frame is not None:
        depth, frame = depth + 1, frame.f_back  # type: ignore[assignment]
    return depth


def _end(streams: Streams, *, collects: bool) -> bool:
    """What an interpreter does at its end, as far as it can be seen from outside; False if output was lost.

    Args:
        collects: whether the program may leave objects whose own end can be seen, such as files.
    """
    if _thread._count() > 0:
        with contextlib.suppress(BaseException):
            sys.modules["threading"]._shutdown()
    if atexit._ncallbacks() > 0:
        atexit._run_exitfuncs()
    out, err = getattr(sys, "stdout", None), getattr(sys, "stderr", None)
    is_whole = _flush(out) & _flush(err)
    if collects:
        gc.collect()
        # What may hold the program's names lets go of them.
        out = err = None
        sys.stdin, sys.stdout, sys.stderr = streams
        sys.excepthook = sys.__excepthook__
        for name in ("last_type", "last_value", "last_traceback"):
            sys.__dict__.pop(name, None)
        atexit._clear()
        for number in signal.valid_signals():
            if callable(signal.getsignal(number)):
                signal.signal(number, signal.SIG_DFL)
        for name in ("__main__", "solution"):
            sys.modules.pop(name, None)
        gc.collect()
    if out is not streams[1]:
        with contextlib.suppress(BaseException):
            streams[1].flush()
    return is_whole


def _flush(stream: TextIO | None) -> bool:
    if stream is None:
        return True
    try:
        is_closed = stream.closed
    except BaseException:
        is_closed = False
    if is_closed:
        return True
    try:
        stream.flush()
    except BaseException as error:
        with contextlib.suppress(BaseException):
            sys.__excepthook__(type(error), error.with_traceback(None), None)
        return False
    return True


if __name__ == "__main__":
    _failure = run(os.path.dirname(os.path.abspath(__file__)), calls=True)
    if type(_failure) is KeyboardInterrupt:
        raise _failure
    sys.exit(0 if _failure is None else report(_failure))
