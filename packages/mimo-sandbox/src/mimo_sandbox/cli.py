"""The command `mimo-sandbox`: judge a program, examine the host, build the judge image."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from mimo_sandbox import doctor, image
from mimo_sandbox.compare import COMPARATORS
from mimo_sandbox.judging import Stop, judge
from mimo_sandbox.languages import LANGUAGES
from mimo_sandbox.sandbox import Sandbox
from mimo_sandbox.verdict import Case, Limits, SandboxUnavailable, Status, Submission, Verdict

_SUFFIXES = {".py": "python", ".cpp": "cpp", ".cc": "cpp"}


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
            case "doctor":
                return asyncio.run(_doctor())
            case _:
                image.build(arguments.method, mirror=arguments.mirror, say=lambda line: print(line, file=sys.stderr))
                return 0
    except _UsageError as error:
        print(f"mimo-sandbox: error: {error}", file=sys.stderr)
        return 2
    except (_InputError, SandboxUnavailable) as error:
        print(f"mimo-sandbox: error: {error}", file=sys.stderr)
        return 1


def read_cases(path: Path) -> list[Case]:
    """The cases of a `.jsonl` file (`schemas/case.schema.json`), in order.

    Raises:
        ValueError: a line is not a case; the message names it.
        OSError: the file cannot be read.
    """
    cases = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            if any(not isinstance(value, str | None) for value in row.values()):
                raise ValueError("every value is a string")
            cases.append(Case(**row))
        except (ValueError, TypeError, AttributeError) as error:
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
    judging = verbs.add_parser("judge", help="judge one program and print a table of verdicts")
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
    judging.add_argument("--backend", choices=("auto", "docker", "local", "unsafe"), default="auto")
    judging.add_argument("--num-workers", type=int, metavar="N", help="tests at one time; default: this host's cores")
    judging.add_argument("--comparator", choices=sorted(COMPARATORS), default="tokens")
    judging.add_argument("--stop", choices=("all", "first-failure"), default="all")
    judging.add_argument(
        "--set", action="append", default=[], metavar="LIMIT=VALUE", help="such as cpu_s=2 or memory_bytes=268435456"
    )
    judging.add_argument("--json", action="store_true", help="print the verdict as JSON")
    verbs.add_parser("doctor", help="say what this host has and which backend it gets")
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
    language = arguments.language or _SUFFIXES.get(arguments.file.suffix)
    if language is None:
        raise _UsageError(f"{arguments.file}: no language has this suffix. Name one with --language.")
    limits = _limits(arguments.set)
    try:
        source = arguments.file.read_bytes().decode("utf-8", "surrogateescape")
        cases = read_cases(arguments.tests)
    except OSError as error:
        raise _InputError(f"{error.filename}: {error.strerror}.") from None
    except ValueError as error:
        raise _InputError(str(error)) from None
    submission = Submission(language, source, arguments.entry_point)
    try:
        sandbox = Sandbox(arguments.backend, num_workers=arguments.num_workers, limits=limits)
        async with sandbox:
            verdict = await judge(
                sandbox, submission, cases, comparator=arguments.comparator, stop=cast(Stop, arguments.stop)
            )
    except ValueError as error:
        raise _UsageError(str(error)) from None
    print(verdict.to_json() if arguments.json else _table(verdict, sandbox))
    return 0


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
    try:
        return Limits(**values)  # type: ignore[arg-type]
    except ValueError as error:
        raise _UsageError(str(error)) from None


def _table(verdict: Verdict, sandbox: Sandbox) -> str:
    rows = [("case", "status", "CPU s", "wall s", "MB", "exit")]
    for result in verdict.results:
        exit_code = "" if result.exit_code is None else str(result.exit_code)
        numbers = (f"{result.cpu_s:.3f}", f"{result.wall_s:.3f}", f"{result.memory_bytes / 1e6:.1f}")
        rows.append((result.case_id, result.status.value, *numbers, exit_code))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    for result in verdict.results:
        if result.status is Status.COMPILE_ERROR:
            lines.append(result.stderr_head)
            break
    lines.append(f"{sum(verdict.passed)} of {len(verdict.results)} accepted ({sandbox.backend})")
    return "\n".join(lines)


async def _doctor() -> int:
    findings, backend = await doctor.examine()
    width = max(len(finding.subject) for finding in findings)
    for finding in findings:
        print(f"{finding.subject.ljust(width)}  {finding.found}{f'  ({finding.meaning})' if finding.meaning else ''}")
    print(f"{'auto takes'.ljust(width)}  {backend or 'nothing: no isolation on this host'}")
    return 0 if backend else 1
