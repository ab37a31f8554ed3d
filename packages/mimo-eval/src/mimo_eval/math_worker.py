"""The process that runs math-verify, so that no input can hang, crash or swell the process that grades.

It reads one JSON request a line and answers one JSON line. A supervisor, in which
sympy is already imported, forks the child that answers; when an input costs the child its CPU allowance or its
stack, the kernel ends it, the reply is `null`, and a fresh child is there within milliseconds.

Covered: endless loops and big-integer arithmetic inside C code (math-verify's own alarm cannot stop those, and works
in the main thread only), deep recursion, memory. Not covered: code execution through sympy's parsers; the request
is parsed with math-verify's grammar, which lets no identifier reach `eval`, but the worker is no sandbox.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
from functools import lru_cache
from typing import Any

import math_verify

CPU_S = 3
"""CPU seconds one request may take: measured in CPU time so that a busy machine does not change a grade."""
_MEMORY_BYTES = 2 << 30
_WARM_UP = (
    (r"\frac{1}{2}", "The answer is 0.5."),
    (r"(3, 4]", r"$x \in (3, 4]$"),
    (r"x^2 + 2x + 1", r"$(x+1)^2$"),
    (r"2 \times 10^{6}", r"$\sqrt{3}$"),
    (r"\text{east}", r"$\{1, 2\}$"),
)
_INPUT_SIGNALS = {signal.SIGXCPU, signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT}


def main() -> int:
    replies = os.dup(1)
    os.dup2(2, 1)  # nothing that a library prints may look like a reply
    logging.disable(logging.CRITICAL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, hard))
    for expected, text in _WARM_UP:  # regexes and parser tables, once for all children
        _judge({"expected": expected, "text": text})
    while True:
        child = os.fork()
        if child == 0:
            _serve(replies)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            return os.WEXITSTATUS(status)
        if os.WTERMSIG(status) not in _INPUT_SIGNALS:
            # Killed from outside (out of memory, an operator): that says nothing about the answer.
            return 128 + os.WTERMSIG(status)
        os.write(replies, b"null\n")


def _serve(replies: int) -> None:
    request = b""
    while True:
        part = os.read(0, 1 << 20)
        if not part:
            return
        request += part
        if not request.endswith(b"\n"):
            continue
        used = resource.getrusage(resource.RUSAGE_SELF)
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + CPU_S, hard))
        try:
            reply = _judge(json.loads(request))
        except (Exception, MemoryError, RecursionError):
            # sympy raises whatever it likes on odd input; all of it means "not a comparable expression".
            reply = None
        request = b""
        line = memoryview(json.dumps(reply).encode() + b"\n")
        while line:
            line = line[os.write(replies, line) :]


def _judge(request: dict[str, str]) -> dict[str, Any]:
    """Reply to {expected, answer} or {expected, text}: the answer found and whether it equals what was expected."""
    expected = _parse_expected(request["expected"])
    if "answer" in request:
        found, answer = _parse(rf"\boxed{{{request['answer']}}}"), request["answer"]
    else:
        found = _parse(request["text"])
        answer = next((item for item in reversed(found) if isinstance(item, str)), "")
    equal = bool(expected and found) and math_verify.verify(expected, found, timeout_seconds=0)
    return {"answer": answer, "equal": bool(equal)}


@lru_cache(maxsize=1024)
def _parse_expected(expected: str) -> list[Any]:
    # Many responses to one problem are compared in a row.
    return _parse(rf"\boxed{{{expected}}}")


def _parse(text: str) -> list[Any]:
    found: list[Any] = math_verify.parse(text, parsing_timeout=0)
    return found


if __name__ == "__main__":
    raise SystemExit(main())
