"""Submissions meet their tests: compile, run, compare.

Only a program's input enters the sandbox. The expected output and the comparison stay here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mimo_sandbox.compare import COMPARATORS, json_values
from mimo_sandbox.languages import LANGUAGES, Program, python_program, source_bytes
from mimo_sandbox.sandbox import Sandbox
from mimo_sandbox.verdict import Case, CaseResult, Limits, Status, Submission, Verdict
from mimo_sandbox.worker import Outcome

Stop = Literal["all", "first-failure"]

_HEAD_CHARACTERS = 1_000
_COMPILE_LIMITS = Limits(cpu_s=30.0, wall_s=60.0, memory_bytes=1 << 30, output_bytes=1 << 20, num_processes=16)
_MEMORY_SIGNS = (b"MemoryError", b"std::bad_alloc")


async def judge(
    sandbox: Sandbox, submission: Submission, cases: Sequence[Case], *, comparator: str = "tokens", stop: Stop = "all"
) -> Verdict:
    """Runs a submission against its cases, over the sandbox's workers.

    Args:
        comparator: `exact`, `tokens` or `float` (see `COMPARATORS`).
        stop: `all` runs every case; `first-failure` runs them in order and skips what follows a failed one.

    Raises:
        ValueError: unknown language, comparator or stop policy, or a case that does not fit the submission.
        SandboxUnavailable: the judge failed; this says nothing about the submission.
    """
    (verdict,) = await judge_many(sandbox, [(submission, cases)], comparator=comparator, stop=stop)
    return verdict


async def judge_many(
    sandbox: Sandbox,
    jobs: Sequence[tuple[Submission, Sequence[Case]]],
    *,
    comparator: str = "tokens",
    stop: Stop = "all",
) -> list[Verdict]:
    """As `judge`, for many submissions at once; a program meets each distinct input once, however often it occurs.

    Raises:
        ValueError: as `judge`.
        SandboxUnavailable: the judge failed on one of them.
    """
    if comparator not in COMPARATORS:
        raise ValueError(f"comparator {comparator!r}: expected one of {', '.join(COMPARATORS)}.")
    if stop not in ("all", "first-failure"):
        raise ValueError(f"stop {stop!r}: expected all or first-failure.")
    for submission, cases in jobs:
        _require_fit(submission, cases)
    session = _Session(sandbox, comparator, stop)
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(session.verdict(group, submission, cases)) for submission, cases in jobs]
    except BaseExceptionGroup as errors:
        raise _first(errors) from None
    return [task.result() for task in tasks]


@dataclass(frozen=True)
class _CompileError:
    message: str


class _Session:
    """One call of `judge_many`: what has been compiled and run in it."""

    def __init__(self, sandbox: Sandbox, comparator: str, stop: Stop) -> None:
        self._sandbox = sandbox
        self._comparator = comparator
        self._stop = stop
        self._programs: dict[Submission, asyncio.Task[Program | _CompileError]] = {}
        self._runs: dict[tuple[Submission, str], asyncio.Task[Outcome]] = {}

    async def verdict(self, group: asyncio.TaskGroup, submission: Submission, cases: Sequence[Case]) -> Verdict:
        if submission not in self._programs:
            self._programs[submission] = group.create_task(_compile(self._sandbox, submission))
        program = await self._programs[submission]
        if isinstance(program, _CompileError):
            message = program.message[:_HEAD_CHARACTERS]
            return Verdict(
                tuple(CaseResult(case_id=case.id, status=Status.COMPILE_ERROR, stderr_head=message) for case in cases)
            )
        if self._stop == "all":
            for case in cases:
                self._begin(group, submission, program, case)
        results: list[CaseResult] = []
        failed = False
        for case in cases:
            if failed and self._stop == "first-failure":
                results.append(CaseResult(case_id=case.id, status=Status.SKIPPED))
                continue
            outcome = await self._begin(group, submission, program, case)
            results.append(_result(case, outcome, self._sandbox.limits, self._comparator))
            failed = failed or results[-1].status is not Status.ACCEPTED
        return Verdict(tuple(results))

    def _begin(
        self, group: asyncio.TaskGroup, submission: Submission, program: Program, case: Case
    ) -> asyncio.Task[Outcome]:
        stdin = case.stdin if case.stdin is not None else case.arguments or ""
        key = (submission, stdin)
        if key not in self._runs:
            self._runs[key] = group.create_task(_run(self._sandbox, program, source_bytes(stdin)))
        return self._runs[key]


async def _compile(sandbox: Sandbox, submission: Submission) -> Program | _CompileError:
    if submission.language == "python":
        program = python_program(submission.source, submission.entry_point, sandbox.python)
        outcome = await sandbox.on_worker(lambda worker: worker.check_python(program, _COMPILE_LIMITS))
        return program if outcome.exit_code == 0 else _CompileError(_compile_message(outcome))
    language = LANGUAGES[submission.language]
    assert language.compile_command is not None
    source = Program(((language.source_name, source_bytes(submission.source), 0o644),), language.compile_command)
    outcome = await sandbox.on_worker(lambda worker: worker.run(source, b"", _COMPILE_LIMITS, keep="main"))
    if outcome.exit_code != 0 or outcome.ended_by is not None:
        return _CompileError(_compile_message(outcome))
    return Program((("main", outcome.kept, 0o755),), language.run_command)


async def _run(sandbox: Sandbox, program: Program, stdin: bytes) -> Outcome:
    return await sandbox.on_worker(lambda worker: worker.run(program, stdin, sandbox.limits))


def _result(case: Case, outcome: Outcome, limits: Limits, comparator: str) -> CaseResult:
    return CaseResult(
        case_id=case.id,
        status=_status(case, outcome, limits, comparator),
        cpu_s=outcome.cpu_s,
        wall_s=outcome.wall_s,
        memory_bytes=outcome.memory_bytes,
        exit_code=outcome.exit_code,
        stdout_head=outcome.stdout[: 4 * _HEAD_CHARACTERS].decode(errors="replace")[:_HEAD_CHARACTERS],
        stderr_head=outcome.stderr[: 4 * _HEAD_CHARACTERS].decode(errors="replace")[:_HEAD_CHARACTERS],
    )


def _status(case: Case, outcome: Outcome, limits: Limits, comparator: str) -> Status:
    """In the order of precedence that `Status` lists."""
    match outcome.ended_by:
        case "output":
            return Status.OUTPUT_LIMIT
        case "cpu":
            return Status.TIME_LIMIT
        case "wall":
            return Status.IDLENESS_LIMIT
        case "memory":
            return Status.MEMORY_LIMIT
    if outcome.memory_bytes > limits.memory_bytes:
        return Status.MEMORY_LIMIT
    if outcome.exit_code != 0:
        # An allocation that was refused. The program could print this itself, but only to fail for another reason.
        out_of_memory = any(sign in outcome.stderr[-2_000:] for sign in _MEMORY_SIGNS)
        return Status.MEMORY_LIMIT if out_of_memory else Status.RUNTIME_ERROR
    if case.arguments is not None:
        output = outcome.stdout.decode(errors="replace")
        same = json_values(case.expected, output, tolerant=comparator == "float")
    else:
        same = COMPARATORS[comparator](source_bytes(case.expected), outcome.stdout)
    return Status.ACCEPTED if same else Status.WRONG_ANSWER


def _compile_message(outcome: Outcome) -> str:
    message = outcome.stderr.decode(errors="replace").strip()
    if outcome.ended_by is not None:
        return f"the compiler met its {outcome.ended_by} limit. {message}"
    if outcome.exit_code < 0:
        return f"the compiler was ended by signal {-outcome.exit_code}. {message}"
    return message


def _require_fit(submission: Submission, cases: Sequence[Case]) -> None:
    if submission.language not in LANGUAGES:
        raise ValueError(f"language {submission.language!r}: expected one of {', '.join(LANGUAGES)}.")
    if submission.entry_point is not None and submission.language != "python":
        raise ValueError(f"entry_point {submission.entry_point!r}: only Python submissions can be called.")
    for case in cases:
        if (case.arguments is not None) != (submission.entry_point is not None):
            wanted = "stdin" if submission.entry_point is None else "arguments"
            raise ValueError(f"case {case.id!r}: this submission takes {wanted}.")


def _first(errors: BaseException) -> BaseException:
    while isinstance(errors, BaseExceptionGroup):
        errors = errors.exceptions[0]
    return errors
