"""The problem: a prompt and how an answer to it is judged. One JSON object a line on disk."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Literal

import msgspec

from mimo_eval.run import EvalError, Record
from mimo_sandbox import Case


class Problem(Record, frozen=True, kw_only=True):
    """One question with what is needed to judge a response to it, and nothing about how it is sampled."""

    id: str
    """Unique in its file; survives into samples, rollouts and reports."""
    prompt: str
    """What the model reads, without few-shot examples and without a chat template."""
    kind: Literal["math", "code", "choice", "text"]
    """How a response is graded: see `grade`."""
    answer: str = ""
    """Expected answer: LaTeX or a number (math), letters such as `B` or `AD` (choice), words (text); empty for code."""
    aliases: tuple[str, ...] = ()
    """Other accepted answers (text)."""
    tests: tuple[Case, ...] = ()
    """What a program must pass (code)."""
    test_style: Literal["io", "assertions"] = "io"
    """`io`: a case is an input and its output. `assertions`: a case's stdin is Python text that runs after the
    submission in its namespace, and passes unless it raises (HumanEval, MBPP)."""
    comparator: Literal["exact", "tokens", "float"] = "tokens"
    """How mimo-sandbox compares output with what was expected (code)."""
    entry_point: str = ""
    """The function that cases with `arguments` call (code)."""
    language: Literal["python", "cpp"] = "python"
    """Of the program (code)."""
    prelude: str = ""
    """Program text that the response continues, such as HumanEval's signature (code)."""
    solution: str = ""
    """A right response in the form the prompt asks for: a few-shot example, and a check of the judge."""
    source: str = ""
    """Benchmark or data set it comes from."""
    licence: str = ""
    """Of the problem text."""


def read_problems(path: Path) -> list[Problem]:
    """Problems of a `.jsonl` file, in its order.

    Raises:
        EvalError: the file is missing or empty, a line is not a problem, two share an id, or a problem
            lacks what its kind is judged by; the message has file and line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise EvalError(f"{path}: no such problem file. `mimo-eval problems` makes one.") from None
    except (IsADirectoryError, UnicodeDecodeError) as error:
        raise EvalError(f"{path}: not a problem file: {error}. Give the .jsonl file itself.") from None
    problems: list[Problem] = []
    lines: dict[str, int] = {}
    # Not splitlines(): a prompt may hold U+2028, which is no line end in JSON lines.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            problem = msgspec.json.decode(line, type=Problem)
        except msgspec.MsgspecError as error:
            raise EvalError(
                f"{path}:{number}: not a problem: {error}. See mimo-eval's schemas/problem.schema.json."
            ) from None
        if problem.tests:
            _require_known_case_keys(line, f"{path}:{number}")
        if problem.id in lines:
            raise EvalError(f"{path}:{number}: id {problem.id!r} is also on line {lines[problem.id]}; make ids unique.")
        if not problem.prompt:
            raise EvalError(f"{path}:{number}: problem {problem.id!r} has an empty prompt, so it asks nothing.")
        if problem.kind == "code" and not problem.tests:
            raise EvalError(f"{path}:{number}: code problem {problem.id!r} has no tests, so nothing can judge it.")
        if problem.kind != "code" and not problem.answer.strip():
            raise EvalError(f"{path}:{number}: problem {problem.id!r} has an empty answer, so nothing can judge it.")
        lines[problem.id] = number
        problems.append(problem)
    if not problems:
        raise EvalError(f"{path}: holds no problem.")
    return problems


def _require_known_case_keys(line: str, place: str) -> None:
    """Raises for an unknown key in a test: mimo-sandbox's Case is a dataclass, in which msgspec lets it pass."""
    known = {field.name for field in fields(Case)}
    for case in msgspec.json.decode(line)["tests"]:
        if unknown := sorted(case.keys() - known):
            raise EvalError(f"{place}: a test has the unknown key {unknown[0]!r}; it may have {sorted(known)}.")


def encode_problems(problems: Iterable[Problem]) -> bytes:
    """What a problem file of these problems holds: one JSON object a line."""
    return b"".join(msgspec.json.encode(problem) + b"\n" for problem in problems)


def write_problems(path: Path, problems: Iterable[Problem]) -> int:
    """Writes problems, one JSON object a line, whole or not at all; returns how many.

    Raises:
        EvalError: the file cannot be written.
    """
    temporary = path.with_name(path.name + ".tmp")
    count = 0
    try:
        with temporary.open("wb") as file:
            for problem in problems:
                file.write(encode_problems([problem]))
                count += 1
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise EvalError(f"{path}: cannot be written: {error.strerror}. Choose another file.") from None
    finally:
        with suppress(OSError):
            temporary.unlink()
    return count
