"""Special judges: programs that are shown input, output and expected output, and say whether that is right.

They run like submissions, but on workers of their own: what they are told must never be where a submission could look.
"""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

from mimo_sandbox.languages import Program, source_bytes
from mimo_sandbox.verdict import HEAD_CHARACTERS, Case, CaseResult, Limits, Status
from mimo_sandbox.worker import Outcome

if TYPE_CHECKING:
    from mimo_sandbox.sandbox import Pool

LIMITS = Limits(cpu_s=10.0, wall_s=30.0, memory_bytes=1 << 30, output_bytes=1 << 20, num_processes=32)
INPUT, OUTPUT, ANSWER = "{program}/input", "{program}/output", "{program}/answer"
_ACCEPTED, _REJECTED = (0,), (1, 2)
"""Exit codes of testlib: ok; wrong answer and presentation error. The others say that the checker failed."""

_TRACEBACK = b"Traceback (most recent call last):"
"""Of a checker in Python that crashed: its exit code is that of a wrong answer."""


def given(case: Case) -> bytes:
    """What a program finds on its standard input."""
    return source_bytes(case.stdin if case.stdin is not None else case.arguments or "")


async def checked(
    pool: Pool, checker: Program, entry_point: str | None, case: Case, outcome: Outcome, result: CaseResult
) -> CaseResult:
    """The result with the checker's decision about an output.

    Args:
        entry_point: of a checker that is a Python function; None: it is called as testlib's checkers are.

    Raises:
        SandboxUnavailable: the judge failed.
    """
    stdin, expected = given(case), source_bytes(case.expected)
    if entry_point is None:
        files = (("input", stdin), ("output", outcome.stdout), ("answer", expected))
        shown = Program((*checker.files, *files), (*checker.command, INPUT, OUTPUT, ANSWER))
        decision = decide(await pool.run_once(shown, b"", LIMITS))
    else:
        texts = [data.decode(errors="replace") for data in (stdin, outcome.stdout, expected)]
        decision = _decide_value(await pool.run_once(checker, json.dumps(texts).encode(), LIMITS))
    status, message = decision
    return dataclasses.replace(result, status=status, stderr_head=message or result.stderr_head)


def decide(outcome: Outcome) -> tuple[Status, str]:
    """What the end of a testlib checker or interactor means, and its message."""
    message = outcome.stderr.decode(errors="replace").strip()
    if outcome.ended_by is None and outcome.exit_code in _ACCEPTED:
        return Status.ACCEPTED, ""
    is_crash = outcome.exit_code == 1 and _TRACEBACK in outcome.stderr
    if outcome.ended_by is None and outcome.exit_code in _REJECTED and not is_crash:
        return Status.WRONG_ANSWER, _head(message)
    return Status.CHECKER_ERROR, _head(f"the checker {_end(outcome)}. {message}")


def _decide_value(outcome: Outcome) -> tuple[Status, str]:
    """What a checker function returned: a bool, or a bool and a message."""
    if outcome.exit_code != 0 or outcome.ended_by is not None:
        words = outcome.stderr.decode(errors="replace").strip()
        return Status.CHECKER_ERROR, _head(f"the checker {_end(outcome)}. {words[-500:]}")
    try:
        value = json.loads(outcome.stdout)
    except (ValueError, RecursionError):
        value = None
    is_right, message = value if isinstance(value, list) and len(value) == 2 else (value, "")
    if not isinstance(is_right, bool) or not isinstance(message, str):
        return Status.CHECKER_ERROR, "the checker returned neither a bool nor a bool and a message."
    return (Status.ACCEPTED, "") if is_right else (Status.WRONG_ANSWER, _head(message))


def _end(outcome: Outcome) -> str:
    if outcome.ended_by is not None:
        return f"met its {outcome.ended_by} limit"
    return f"ended with {outcome.exit_code}"


def _head(text: str) -> str:
    return text[:HEAD_CHARACTERS]
