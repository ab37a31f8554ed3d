"""The command `mimo-sandbox`: judge a program, serve, examine the host, build the judge image, plan capacity."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import os
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import cast, get_args

from mimo_sandbox import capacity, doctor, image
from mimo_sandbox.compare import COMPARATORS
from mimo_sandbox.judging import INTERACTIVE
from mimo_sandbox.languages import LANGUAGES
from mimo_sandbox.sandbox import Sandbox
from mimo_sandbox.verdict import (
    Case,
    CaseResult,
    Limits,
    Mode,
    SandboxUnavailable,
    Status,
    Stop,
    Submission,
    Verdict,
    read_record,
)

_SUFFIXES = {suffix: name for name, language in LANGUAGES.items() for suffix in language.suffixes}
_COLOURS = {Status.ACCEPTED: 32, Status.SKIPPED: 90, Status.CHECKER_ERROR: 35, Status.COMPILE_ERROR: 35}
_OTHER_COLOUR = 31
_PROGRESS_S = 1.0
_MOST_LOAD = 1e15
_CHECK_FUNCTION = re.compile(r"^def check\(", re.MULTILINE)
"""In a checker in Python: it is called. Run as a program it would end with 0, and so accept every output."""


class _UsageError(Exception):
    """The command line is wrong: exit code 2."""


class _InputError(Exception):
    """A file is missing or broken: exit code 1."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code: 2 for a wrong command line, 1 for everything else that failed."""
    arguments = _parser().parse_args(argv)
    try:
        match arguments.verb:
            case "judge":
                return asyncio.run(_judge(arguments))
            case "serve":
                return _serve(arguments)
            case "doctor":
                return asyncio.run(_doctor())
            case "capacity":
                return asyncio.run(_capacity(arguments))
            case _:
                image.build(arguments.method, mirror=arguments.mirror, say=lambda line: print(line, file=sys.stderr))
                return 0
    except _UsageError as error:
        print(f"mimo-sandbox: error: {error}", file=sys.stderr)
        return 2
    except (_InputError, SandboxUnavailable) as error:
        print(f"mimo-sandbox: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def read_cases(path: Path) -> list[Case]:
    """The cases of a `.jsonl` file (`schemas/case.schema.json`), in order.

    Raises:
        ValueError: a line is not a case; the message names it.
        OSError: the file cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a file of cases: {error}. Give the .jsonl file itself.") from None
    cases = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            case = read_record(Case, json.loads(line))
            if case.arguments is not None and not isinstance(json.loads(case.arguments), list | dict):
                raise ValueError("arguments: expected the JSON of an array or an object")
            cases.append(case)
        except (ValueError, RecursionError) as error:
            raise ValueError(
                f"{path}:{number}: not a case ({error}). Expected "
                '{"id": ..., "stdin": ..., "expected": ...}, or "arguments" in place of "stdin".'
            ) from None
    if not cases:
        raise ValueError(f"{path}: holds no cases.")
    return cases


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mimo-sandbox", description="Runs programs that nobody has read, in isolation."
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    pool = argparse.ArgumentParser(add_help=False)
    pool.add_argument("--backend", choices=("auto", "docker", "local", "unsafe"), default="auto")
    pool.add_argument("--num-workers", type=int, metavar="N", help="tests at one time; default: this host's cores")
    pool.add_argument("--runtime", metavar="NAME", help="of the docker backend's containers, such as runsc (gVisor)")
    pool.add_argument(
        "--set", action="append", default=[], metavar="LIMIT=VALUE", help="such as cpu_s=2 or memory_bytes=268435456"
    )

    judging = verbs.add_parser("judge", parents=[pool], help="judge one program and print a table of verdicts")
    judging.add_argument("file", type=Path, metavar="FILE", help="the program")
    judging.add_argument(
        "--tests",
        type=Path,
        required=True,
        metavar="FILE.jsonl",
        help="one case a line: id, stdin or arguments, expected",
    )
    judging.add_argument("--language", choices=sorted(LANGUAGES), help="default: by the file's suffix")
    judging.add_argument("--entry-point", metavar="NAME", help="call this function with each case's arguments")
    judging.add_argument(
        "--comparator",
        default="tokens",
        metavar="NAME",
        help=f"{', '.join(COMPARATORS)}, with tolerances as in float:1e-9; or {INTERACTIVE}",
    )
    judging.add_argument(
        "--checker",
        type=Path,
        metavar="FILE",
        help="decides: a testlib checker or interactor, or a function check(input, output, expected) in Python",
    )
    judging.add_argument("--stop", choices=get_args(Stop), default="all")
    judging.add_argument("--mode", choices=get_args(Mode), default="fork", help="how Python programs are started")
    judging.add_argument("--json", action="store_true", help="print the verdict as JSON")

    serving = verbs.add_parser("serve", parents=[pool], help="judge over HTTP")
    serving.add_argument("--host", default="127.0.0.1", help="another than this machine's own needs a token")
    serving.add_argument("--port", type=int, default=8080)
    serving.add_argument(
        "--token-file", type=Path, metavar="FILE", help="what clients must send; else $MIMO_SANDBOX_TOKEN"
    )

    verbs.add_parser("doctor", help="say what this host has and which backend it gets")

    planning = verbs.add_parser("capacity", parents=[pool], help="say how many cores a load needs, by a measurement")
    planning.add_argument(
        "--num-tests", type=int, default=565_000, metavar="N", help="tests to run (default: %(default)s)"
    )
    planning.add_argument(
        "--duration-s", type=float, default=60.0, metavar="S", help="in this time (default: %(default)s)"
    )
    planning.add_argument(
        "--program-cpu-s", type=float, default=0.05, metavar="S", help="a test's own CPU time (default: %(default)s)"
    )

    building = verbs.add_parser("build", help="make the judge image for the docker backend")
    building.add_argument(
        "--method",
        choices=image.METHODS,
        default="auto",
        help="auto: the Dockerfile, and without a registry debootstrap",
    )
    building.add_argument(
        "--mirror", default="http://deb.debian.org/debian", metavar="URL", help="Debian mirror for debootstrap"
    )
    return parser


async def _judge(arguments: argparse.Namespace) -> int:
    submission = _read_submission(arguments.file, arguments.language, arguments.entry_point)
    checker = None if arguments.checker is None else _read_submission(arguments.checker, None, None)
    is_function = checker is not None and checker.language == "python" and _CHECK_FUNCTION.search(checker.source)
    if checker is not None and is_function and arguments.comparator != INTERACTIVE:
        checker = dataclasses.replace(checker, entry_point="check")
    try:
        cases = read_cases(arguments.tests)
    except OSError as error:
        raise _InputError(f"{arguments.tests}: {error.strerror}.") from None
    except ValueError as error:
        raise _InputError(str(error)) from None
    results: list[CaseResult] = []
    progress = _Progress(len(cases))
    try:
        async with _sandbox(arguments) as sandbox:
            async for result in sandbox.stream(
                submission,
                cases,
                comparator=arguments.comparator,
                stop=cast(Stop, arguments.stop),
                checker=checker,
                mode=cast(Mode, arguments.mode),
            ):
                results.append(result)
                progress.show(len(results))
    except ValueError as error:
        raise _UsageError(str(error)) from None
    finally:
        progress.end()
    verdict = Verdict(tuple(results))
    _print(verdict.to_json() if arguments.json else _table(verdict, sandbox, in_colour=_is_colourful()))
    return 0


def _serve(arguments: argparse.Namespace) -> int:
    if not 0 <= arguments.port <= 65_535:
        raise _UsageError(f"--port {arguments.port}: must be 1 to 65535, or 0 for any that is free.")
    try:
        from mimo_sandbox import server
    except ModuleNotFoundError as error:
        raise _InputError(
            f"serving needs {error.name}, which is not installed: `pip install 'mimo-sandbox[server]'`."
        ) from None
    try:
        token = server.read_token(arguments.token_file)
        asyncio.run(server.serve(_sandbox(arguments), host=arguments.host, port=arguments.port, token=token))
    except ValueError as error:
        raise _UsageError(str(error)) from None
    except OSError as error:
        raise _InputError(str(error)) from None
    return 0


async def _doctor() -> int:
    findings, backend = await doctor.examine()
    width = max(len(finding.subject) for finding in findings)
    for finding in findings:
        print(f"{finding.subject.ljust(width)}  {finding.found}{f'  ({finding.meaning})' if finding.meaning else ''}")
    print(f"{'auto takes'.ljust(width)}  {backend or 'nothing: no isolation on this host'}")
    return 0 if backend else 1


async def _capacity(arguments: argparse.Namespace) -> int:
    for name in ("num_tests", "duration_s", "program_cpu_s"):
        if not 0 < getattr(arguments, name) <= _MOST_LOAD:
            raise _UsageError(f"--{name.replace('_', '-')}: must be positive and at most {_MOST_LOAD:g}.")
    async with _sandbox(arguments) as sandbox:
        rates = await capacity.measure(sandbox)
    load = f"{arguments.num_tests:,} tests in {arguments.duration_s:g} s, {arguments.program_cpu_s:g} s of CPU each"
    print(f"{sandbox.backend}, {sandbox.num_workers} workers; {load}")
    print(f"{'program':14}{'tests/s per core':>18}{'cores needed':>14}")
    for rate in rates:
        cores = rate.num_cores(arguments.num_tests, arguments.duration_s, arguments.program_cpu_s)
        print(f"{rate.name:14}{rate.tests_per_core_s:18.0f}{cores:14.1f}")
    return 0


def _sandbox(arguments: argparse.Namespace) -> Sandbox:
    try:
        return Sandbox(
            arguments.backend,
            num_workers=arguments.num_workers,
            limits=_limits(arguments.set),
            runtime=arguments.runtime,
        )
    except ValueError as error:
        raise _UsageError(str(error)) from None


def _read_submission(path: Path, language: str | None, entry_point: str | None) -> Submission:
    language = language or _SUFFIXES.get(path.suffix)
    if language is None:
        raise _UsageError(f"{path}: no language has this suffix. Name one with --language.")
    try:
        return Submission(language, path.read_bytes().decode("utf-8", "surrogateescape"), entry_point)
    except OSError as error:
        raise _InputError(f"{error.filename}: {error.strerror}.") from None


def _limits(settings: Sequence[str]) -> Limits:
    kinds = {field.name: float if field.name.endswith("_s") else int for field in dataclasses.fields(Limits)}
    values: dict[str, float] = {}
    for setting in settings:
        name, _, value = setting.partition("=")
        if name not in kinds:
            raise _UsageError(f"--set {setting}: expected one of {', '.join(kinds)}, such as cpu_s=2.")
        try:
            values[name] = kinds[name](value)
        except ValueError:
            raise _UsageError(f"--set {setting}: {value!r} is not a number.") from None
    return Limits(**values)  # type: ignore[arg-type]


class _Progress:
    """How far a long run is: a line on a terminal that is written over, or nothing."""

    def __init__(self, num_cases: int) -> None:
        self._num_cases = num_cases
        self._next_s = time.monotonic() + _PROGRESS_S
        self._is_shown = False

    def show(self, num_done: int) -> None:
        if sys.stderr.isatty() and time.monotonic() >= self._next_s:
            self._next_s = time.monotonic() + _PROGRESS_S
            self._is_shown = True
            print(f"\r{num_done} of {self._num_cases} cases", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        if self._is_shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _print(text: str) -> None:
    """Prints a long text, of which a reader such as `head` may want only the beginning."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # Python must not try to flush the rest at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _is_colourful() -> bool:
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ


def _table(verdict: Verdict, sandbox: Sandbox, *, in_colour: bool) -> str:
    rows = [("case", "status", "CPU s", "wall s", "MB", "exit")]
    for result in verdict.results:
        exit_code = "" if result.exit_code is None else str(result.exit_code)
        numbers = (f"{result.cpu_s:.3f}", f"{result.wall_s:.3f}", f"{result.memory_bytes / 1e6:.1f}")
        rows.append((result.case_id, result.status.value, *numbers, exit_code))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    if in_colour:
        for number, result in enumerate(verdict.results, 1):
            lines[number] = f"\x1b[{_COLOURS.get(result.status, _OTHER_COLOUR)}m{lines[number]}\x1b[0m"
    for result in verdict.results:
        if result.status in (Status.COMPILE_ERROR, Status.CHECKER_ERROR):
            lines.append(result.stderr_head)
            break
    measured = {result.measured_by for result in verdict.results} - {""}
    modes = {result.mode for result in verdict.results} - {""}
    how = ", ".join([sandbox.backend, *sorted(modes), *(f"measured by {name}" for name in sorted(measured))])
    lines.append(f"{sum(verdict.passed)} of {len(verdict.results)} accepted ({how})")
    return "\n".join(lines)
