"""When two mathematical answers are the same: exact numbers at once, all else through math-verify."""

from __future__ import annotations

import json
import os
import re
import select
import subprocess
import sys
import threading
from contextlib import suppress
from decimal import Decimal
from functools import lru_cache
from pathlib import Path

from mimo_eval.run import EvalError

_NUMBER = re.compile(r"-?\d{1,30}(\.\d{1,30})?")
_MAX_ANSWER_CHARACTERS = 1_000
_MAX_TEXT_CHARACTERS = 3_000
"""Unboxed text is searched from its end: math-verify's patterns take quadratic time in a long one."""
_WALL_S = 120.0
"""Far above the worker's CPU allowance: passed only when the machine gives the worker no time at all."""
_SCALES = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_NUMBER_WITH_WORDS = re.compile(r"((?:\\?\$)?[-+]?[\d.,/]*\d) ([a-z]{3,}(?: [a-z]+)*)\.?")
_NOT_UNITS = {
    "and",
    "or",
    "sin",
    "cos",
    "tan",
    "cot",
    "sec",
    "log",
    "exp",
    "sqrt",
    "mod",
    "choose",
    "times",
    "plus",
}
_NOT_UNITS |= {"minus", "over", "divided", "to", "inf", "infinity", "factorial"}


def math_equal(expected: str, answer: str) -> bool:
    """Whether `answer` is mathematically the same as `expected` (§3.2: rewards by Math-Verify).

    Identical text is equal, two plain decimal numbers are compared exactly, and everything else (fractions, LaTeX,
    units, sets, intervals, equations, matrices) is decided by math-verify. Not symmetric where math-verify is not: an
    answer `x=3` matches the expected `3`. An answer that takes more than `math_worker.CPU_S` to compare, or is
    longer than a thousand characters, is not equal. Safe in any thread.

    Raises:
        EvalError: the worker process cannot be started or was killed: the judge is broken, which says
            nothing about the answer.
    """
    expected, answer = expected.strip(), answer.strip()
    if not expected or not answer:
        return False
    if expected == answer:
        return True
    if _NUMBER.fullmatch(expected) and _NUMBER.fullmatch(answer):
        return Decimal(expected) == Decimal(answer)
    if len(answer) > _MAX_ANSWER_CHARACTERS:
        return False
    return _ask(_plain(expected), _plain(answer), "answer")[1]


def find_and_compare(expected: str, text: str) -> tuple[str, bool]:
    """The last answer-like expression of unboxed text ('' if none) and whether it equals `expected`."""
    text = text.strip()
    if _NUMBER.fullmatch(text):
        return text, math_equal(expected, text)
    return _ask(_plain(expected), text[-_MAX_TEXT_CHARACTERS:], "text")


def _plain(text: str) -> str:
    """Plain words behind a number, told to math-verify: `18 dollars` as a unit, `2 million` as a factor.

    math-verify reads `dollars` as a product of seven variables and drops a word in \\text, even `million`.
    """
    flat = re.sub(r"\\(?:text|mathrm|mbox)\s*\{([^{}]*)\}", r" \1 ", text)
    match = _NUMBER_WITH_WORDS.fullmatch(" ".join(flat.split()))
    if not match or _NOT_UNITS & set(match.group(2).split()):
        return text
    scale, words = 0, match.group(2).split()
    while words and words[0] in _SCALES:
        scale += _SCALES[words.pop(0)]
    factor = rf" \times 10^{{{scale}}}" if scale else ""
    unit = rf"\text{{ {' '.join(words)}}}" if words else ""
    return match.group(1) + factor + unit


@lru_cache(maxsize=65_536)
def _ask(expected: str, found: str, role: str) -> tuple[str, bool]:
    reply = _workers.ask({"expected": expected, role: found})
    return ("", False) if reply is None else (str(reply["answer"]).strip(), bool(reply["equal"]))


class _Worker:
    """One math-verify process and its pipe."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            # By path, with -P: the worker needs math-verify alone, not this package or what it imports.
            [sys.executable, "-P", str(Path(__file__).with_name("math_worker.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for us to handle; the worker ends when its pipe closes
        )

    def ask(self, request: dict[str, str]) -> dict[str, object] | None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
            ready, _, _ = select.select([self._process.stdout], [], [], _WALL_S)
            line = self._process.stdout.readline() if ready else b""
        except BrokenPipeError:
            line = b""
        if not line.endswith(b"\n"):
            self._process.kill()
            with suppress(BrokenPipeError):
                self._process.stdin.close()
            raise EvalError(
                f"The math-verify worker process gave no reply (exit code {self._process.wait()}). "
                "See its message above; free memory or CPU time, and run again."
            )
        reply: dict[str, object] | None = json.loads(line)
        return reply


class _Workers:
    """Idle workers, at most one for each thread that asks at the same time."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forgets the workers, which belong to another process after a fork."""
        self._lock = threading.Lock()
        self._slots = threading.Semaphore(os.cpu_count() or 1)
        self._idle: list[_Worker] = []

    def ask(self, request: dict[str, str]) -> dict[str, object] | None:
        with self._slots:
            with self._lock:
                worker = self._idle.pop() if self._idle else None
            worker = worker or _Worker()
            reply = worker.ask(request)
            with self._lock:
                self._idle.append(worker)
            return reply


_workers = _Workers()
os.register_at_fork(after_in_child=_workers.reset)
