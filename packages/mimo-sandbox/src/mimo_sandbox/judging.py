"""Submissions meet their tests: compile, run, compare.

Only a program's input enters the sandbox that runs it. Expected outputs and the comparison stay here; checkers, which
are told them, run on workers of their own.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mimo_sandbox import cache, checking
from mimo_sandbox.compare import Comparator, comparator
from mimo_sandbox.interactive import interact
from mimo_sandbox.languages import (
    LANGUAGES,
    PRECOMPILED_HEADERS,
    Program,
    beside_precompiled,
    compile_program,
    may_fork,
    precompile_program,
    python_program,
    python_source,
    source_bytes,
)
from mimo_sandbox.verdict import HEAD_CHARACTERS, Case, CaseResult, Limits, Mode, Request, Status, Submission, Verdict
from mimo_sandbox.worker import Outcome

if TYPE_CHECKING:
    from mimo_sandbox.sandbox import Pool, Sandbox

INTERACTIVE = "interactive"
"""In place of a comparator: the checker talks with the program and decides."""

_COMPILE_LIMITS = Limits(cpu_s=30.0, wall_s=60.0, memory_bytes=1 << 30, output_bytes=1 << 24, num_processes=32)
_MEMORY_SIGNS = (b"MemoryError", b"std::bad_alloc")
_CHUNK_S = 0.1
_MAX_CHUNK = 32
"""Inputs that a worker is given at once: as many as it should be done with in `_CHUNK_S`."""

_MUCH_TEXT = 1 << 20
"""Characters of output from which on it is compared in a thread."""

_CROWDED = 0.2
"""Share of the last ten seconds in which something waited for a core, from which on a wall limit proves little."""


async def judge_requests(sandbox: Sandbox, requests: Sequence[Request]) -> list[Verdict]:
    """See `Judge.judge_requests`."""
    for request in requests:
        require_fit(request)
    async with _Session.open(sandbox) as session:
        tasks = [session.group.create_task(session.verdict(request)) for request in requests]
    return [task.result() for task in tasks]


async def stream_request(sandbox: Sandbox, request: Request) -> AsyncIterator[CaseResult]:
    """See `Judge.stream_request`."""
    require_fit(request)
    results: asyncio.Queue[CaseResult | None] = asyncio.Queue()

    async def work() -> None:
        try:
            async with _Session.open(sandbox) as session:
                await session.verdict(request, results.put_nowait)
        finally:
            results.put_nowait(None)

    task = asyncio.create_task(work())
    try:
        while (result := await results.get()) is not None:
            yield result
        await task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await task


@dataclass(frozen=True, kw_only=True)
class Run:
    """What one run of a program did and wrote, with nothing to compare it to."""

    result: CaseResult
    """`accepted` if it ended with 0."""

    stdout: bytes
    stderr: bytes
    compile_message: str | None
    """What the compiler said if the program does not compile; None: it does."""


async def run_once(sandbox: Sandbox, submission: Submission, stdin: bytes, limits: Limits, mode: Mode) -> Run:
    """See `Sandbox.run`."""
    case = Case(id="run", stdin="", expected="")
    require_fit(Request(submission=submission, cases=(case,), mode=mode))
    async with _Session.open(sandbox) as session:
        program = await session.program(submission, mode)
        if isinstance(program, CompileError):
            result = CaseResult(case_id=case.id, status=Status.COMPILE_ERROR, stderr_head=program.message)
            return Run(result=result, stdout=b"", stderr=b"", compile_message=program.message)
        outcome = await session.runs(program, limits).outcome(stdin)
    result = result_of(case, outcome, limits, program, lambda: True)
    return Run(result=result, stdout=outcome.stdout, stderr=outcome.stderr, compile_message=None)


async def precompile(folder: Path, make: Callable[[Program], Awaitable[bytes]]) -> None:
    """Puts into a folder what it lacks of the precompiled standard headers."""
    for header in PRECOMPILED_HEADERS:
        path = folder / f"{header}.gch"
        if not (await asyncio.to_thread(cache.is_whole, path) and (folder / header).exists()):
            # The compiler would take a damaged one at its word.
            with contextlib.suppress(OSError):
                path.unlink()
            data = await make(precompile_program(header))
            has_beside = await asyncio.to_thread(cache.write_whole, folder / header, beside_precompiled(header))
            if data and has_beside:
                await asyncio.to_thread(cache.put_whole, path, data)


@dataclass(frozen=True)
class CompileError:
    """Why there is no program."""

    message: str


class _Session:
    """One call of the API: what has been compiled and run in it."""

    def __init__(self, sandbox: Sandbox, group: asyncio.TaskGroup) -> None:
        self.sandbox = sandbox
        self.group = group
        self._compilations: dict[Submission, asyncio.Task[bytes | CompileError]] = {}
        self._programs: dict[tuple[Submission, Mode], Program] = {}
        self._runs: dict[tuple[Program, Limits], _Runs] = {}

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, sandbox: Sandbox) -> AsyncIterator[_Session]:
        """A session whose tasks are over, or cancelled, when the block is left."""
        try:
            async with asyncio.TaskGroup() as group:
                yield cls(sandbox, group)
        except BaseExceptionGroup as errors:
            raise _first(errors) from None

    async def verdict(self, request: Request, take: Callable[[CaseResult], None] = lambda result: None) -> Verdict:
        """Judges one request; `take` is given each result in order, as soon as it and all before it are known."""
        program = await self.program(request.submission, request.mode)
        checker = (
            None if request.checker is None else await self.program(request.checker, _checker_mode(request.checker))
        )
        results: dict[int, CaseResult] = {}
        num_taken = 0

        def known(position: int, result: CaseResult) -> None:
            nonlocal num_taken
            results[position] = result
            while num_taken in results:
                take(results[num_taken])
                num_taken += 1

        if isinstance(program, CompileError):
            message = program.message[:HEAD_CHARACTERS]
            for position, case in enumerate(request.cases):
                known(position, CaseResult(case_id=case.id, status=Status.COMPILE_ERROR, stderr_head=message))
        elif isinstance(checker, CompileError):
            message = f"the checker does not compile: {checker.message}"[:HEAD_CHARACTERS]
            for position, case in enumerate(request.cases):
                known(position, CaseResult(case_id=case.id, status=Status.CHECKER_ERROR, stderr_head=message))
        else:
            judged = _Judged(self, request, program, checker)
            async with asyncio.TaskGroup() as group:
                for positions in _sequences(request):
                    group.create_task(self._in_order(judged, positions, known, stops=request.stop != "all"))
        return Verdict(tuple(results[position] for position in range(len(request.cases))))

    async def _in_order(
        self, judged: _Judged, positions: Sequence[int], known: Callable[[int, CaseResult], None], *, stops: bool
    ) -> None:
        """Judges some cases of a request; if that `stops`, few at a time, and skips what follows a failed one."""
        cases = judged.request.cases
        start, size = 0, 1 if stops else len(positions)
        while start < len(positions):
            chunk = positions[start : start + size]
            tasks = [asyncio.ensure_future(judged.result(cases[position])) for position in chunk]
            try:
                for position, task in zip(chunk, tasks, strict=True):
                    result = await task
                    known(position, result)
                    start += 1
                    if stops and result.status is not Status.ACCEPTED:
                        for skipped in positions[start:]:
                            known(skipped, CaseResult(case_id=cases[skipped].id, status=Status.SKIPPED))
                        return
            finally:
                for task in tasks:
                    task.cancel()
            size = min(2 * size, _MAX_CHUNK)

    async def program(self, submission: Submission, mode: Mode) -> Program | CompileError:
        """The submission compiled, once in a session."""
        if submission not in self._compilations:
            self._compilations[submission] = self.group.create_task(self._compile(submission))
        made = await self._compilations[submission]
        if isinstance(made, CompileError):
            return made
        key = (submission, mode)
        if key not in self._programs:
            if submission.language == "python":
                warm = mode == "fork" and may_fork(submission.source)
                self._programs[key] = python_program(
                    submission.source, made, submission.entry_point, warm=warm, python=self.sandbox.python
                )
            else:
                self._programs[key] = Program((("main", made),), LANGUAGES[submission.language].run_command)
        return self._programs[key]

    def runs(self, program: Program, limits: Limits) -> _Runs:
        """What this program does under these limits, run when first asked for."""
        key = (program, limits)
        if key not in self._runs:
            self._runs[key] = _Runs(self.sandbox.programs, self.group, program, limits)
        return self._runs[key]

    async def _compile(self, submission: Submission) -> bytes | CompileError:
        if submission.language == "python":
            outcome = await self._run_compiler(python_source(submission.source))
            return outcome.stdout if outcome.exit_code == 0 and not outcome.ended_by else _compile_error(outcome)
        self.sandbox.require_language(submission.language)
        source = compile_program(submission.language, submission.source)
        name = cache.key(self.sandbox.toolchain, *source.command, *(data for _, data in source.files))
        kept = await asyncio.to_thread(self.sandbox.cache.get, name)
        if kept is not None:
            return kept
        if submission.language == "cpp":
            await self.sandbox.precompiled(self._precompile)
        outcome = await self._run_compiler(source, keep="main")
        if outcome.exit_code != 0 or outcome.ended_by is not None:
            return _compile_error(outcome)
        await asyncio.to_thread(self.sandbox.cache.put, name, outcome.kept)
        return outcome.kept

    async def _precompile(self, program: Program) -> bytes:
        outcome = await self._run_compiler(program, keep="main")
        return outcome.kept if outcome.exit_code == 0 else b""

    async def _run_compiler(self, program: Program, *, keep: str = "") -> Outcome:
        """Runs a compiler."""
        return await self.sandbox.programs.run_once(program, b"", _COMPILE_LIMITS, keep=keep)


class _Judged:
    """One request while it is judged."""

    def __init__(self, session: _Session, request: Request, program: Program, checker: Program | None) -> None:
        self.request = request
        self._session = session
        self._program = program
        self._checker = checker
        self._limits = request.limits or session.sandbox.limits
        self._comparator: Comparator | None = None
        if request.comparator != INTERACTIVE:
            self._comparator = comparator(request.comparator)

    async def result(self, case: Case) -> CaseResult:
        """Runs the program on one case and judges what it did."""
        sandbox, limits, program = self._session.sandbox, self._limits, self._program
        if self._comparator is None:
            assert self._checker is not None
            return await interact(sandbox, program, self._checker, case, limits)
        outcome = await self._session.runs(program, limits).outcome(checking.given(case))
        if self._checker is None:
            if len(case.expected) + len(outcome.stdout) < _MUCH_TEXT:
                return result_of(case, outcome, limits, program, lambda: self._is_same(case, outcome))
            # A comparison may take a second, in which other workers' results should not wait.
            is_same = outcome.exit_code == 0 and await asyncio.to_thread(self._is_same, case, outcome)
            return result_of(case, outcome, limits, program, lambda: is_same)
        result = result_of(case, outcome, limits, program, lambda: True)
        if result.status is not Status.ACCEPTED:
            return result
        assert self.request.checker is not None
        return await checking.checked(
            sandbox.checkers, self._checker, self.request.checker.entry_point, case, outcome, result
        )

    def _is_same(self, case: Case, outcome: Outcome) -> bool:
        assert self._comparator is not None
        if case.arguments is not None:
            return self._comparator.values(case.expected, outcome.stdout.decode(errors="replace"))
        return self._comparator.text(source_bytes(case.expected), outcome.stdout)


class _Runs:
    """One program under one set of limits: its inputs, spread over the workers, and what came of them."""

    def __init__(self, pool: Pool, group: asyncio.TaskGroup, program: Program, limits: Limits) -> None:
        self._pool = pool
        self._group = group
        self._program = program
        self._limits = limits
        self._outcomes: dict[bytes, asyncio.Future[Outcome]] = {}
        self._waiting: deque[bytes] = deque()
        self._num_asking: Counter[bytes] = Counter()
        self._num_feeders = 0
        self._chunk = 1

    async def outcome(self, stdin: bytes) -> Outcome:
        """What the program does with this input: run once, however often it is asked for."""
        if stdin not in self._outcomes:
            self._outcomes[stdin] = asyncio.get_running_loop().create_future()
            self._waiting.append(stdin)
            if self._num_feeders < min(self._pool.size, len(self._waiting)):
                self._num_feeders += 1
                feeder = self._feed()
                try:
                    self._group.create_task(feeder)
                except RuntimeError:
                    feeder.close()  # the session is ending
                    raise
        self._num_asking[stdin] += 1
        try:
            return await asyncio.shield(self._outcomes[stdin])
        finally:
            self._num_asking[stdin] -= 1
            if not self._num_asking[stdin] and stdin in self._waiting:
                # Nobody wants to know any more.
                self._waiting.remove(stdin)
                del self._outcomes[stdin]

    async def _feed(self) -> None:
        """Takes what waits, some inputs at a time, until nothing does."""
        try:
            while self._waiting:
                size = max(1, min(self._chunk, len(self._waiting) // self._pool.size))
                stdins = [self._waiting.popleft() for _ in range(size)]
                crowded: list[bytes] = []
                await self._pool.run(self._program, stdins, self._limits, partial(self._take, stdins, crowded))
                # A clock that ran out while the host was overloaded gets one more chance.
                for stdin in crowded:
                    await self._pool.run(self._program, [stdin], self._limits, partial(self._take, [stdin], None))
        finally:
            self._num_feeders -= 1

    def _take(self, stdins: list[bytes], crowded: list[bytes] | None, number: int, outcome: Outcome) -> None:
        """One outcome; if its clock ran out in a crowd, and `crowded` is there to be told, it does not count."""
        self._chunk = max(1, min(_MAX_CHUNK, int(_CHUNK_S / (outcome.wall_s + 1e-3))))
        if crowded is not None and outcome.ended_by == "wall" and is_crowded():
            crowded.append(stdins[number])
        elif not self._outcomes[stdins[number]].done():
            self._outcomes[stdins[number]].set_result(outcome)


def is_crowded() -> bool:
    """Whether this host has more to do than cores to do it."""
    try:
        words = Path("/proc/pressure/cpu").read_text().split()
        return float(words[1].removeprefix("avg10=")) > 100 * _CROWDED
    except (OSError, ValueError, IndexError):
        return os.getloadavg()[0] > len(os.sched_getaffinity(0))


def result_of(
    case: Case, outcome: Outcome, limits: Limits, program: Program, is_right: Callable[[], bool]
) -> CaseResult:
    """What an outcome means; `is_right` is asked about the output of a program that did nothing else wrong."""
    return CaseResult(
        case_id=case.id,
        status=_status(outcome, limits, is_right),
        cpu_s=outcome.cpu_s,
        wall_s=outcome.wall_s,
        memory_bytes=outcome.memory_bytes,
        exit_code=outcome.exit_code,
        stdout_head=_head(outcome.stdout),
        stderr_head=_head(outcome.stderr),
        mode="exec" if program.command else "fork",
        measured_by=outcome.measured_by,
    )


def _status(outcome: Outcome, limits: Limits, is_right: Callable[[], bool]) -> Status:
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
    return Status.ACCEPTED if is_right() else Status.WRONG_ANSWER


def _head(data: bytes) -> str:
    return data[: 4 * HEAD_CHARACTERS].decode(errors="replace")[:HEAD_CHARACTERS]


def _compile_error(outcome: Outcome) -> CompileError:
    message = outcome.stderr.decode(errors="replace").strip()
    if outcome.ended_by is not None:
        return CompileError(f"the compiler met its {outcome.ended_by} limit. {message}")
    if outcome.exit_code < 0:
        return CompileError(f"the compiler was ended by signal {-outcome.exit_code}. {message}")
    return CompileError(message)


def require_fit(request: Request) -> None:
    """Refuses what cannot be judged as it is asked for.

    Raises:
        ValueError: unknown language or comparator, or a case or checker that does not fit.
    """
    for what, submission in (("", request.submission), ("checker: ", request.checker)):
        if submission is None:
            continue
        if submission.language not in LANGUAGES:
            raise ValueError(f"{what}language {submission.language!r}: expected one of {', '.join(LANGUAGES)}.")
        if submission.entry_point is not None and submission.language != "python":
            raise ValueError(f"{what}entry_point {submission.entry_point!r}: only Python submissions can be called.")
    if request.comparator != INTERACTIVE:
        comparator(request.comparator)
    elif request.checker is None or request.checker.entry_point is not None:
        raise ValueError("comparator 'interactive' needs a checker that is a program: it talks with the submission.")
    elif request.submission.entry_point is not None:
        raise ValueError("comparator 'interactive': a submission with an entry_point cannot be talked with.")
    for case in request.cases:
        if (case.arguments is not None) != (request.submission.entry_point is not None):
            wanted = "stdin" if request.submission.entry_point is None else "arguments"
            raise ValueError(f"case {case.id!r}: this submission takes {wanted}.")


def _checker_mode(checker: Submission) -> Mode:
    """A function may be called in a warm interpreter; a script is given arguments, which only a new one has."""
    return "exec" if checker.entry_point is None else "fork"


def _sequences(request: Request) -> Iterator[list[int]]:
    """Positions of the cases that are judged in order, each list beside the others."""
    if request.stop != "first-failure-per-group":
        yield list(range(len(request.cases)))
        return
    groups: dict[str, list[int]] = {}
    for position, case in enumerate(request.cases):
        groups.setdefault(case.group, []).append(position)
    yield from groups.values()


def _first(errors: BaseException) -> BaseException:
    while isinstance(errors, BaseExceptionGroup):
        errors = errors.exceptions[0]
    return errors
