"""The records of the judge: what goes in (submission, cases, limits) and what comes out (verdict)."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import StrEnum


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one test may use. A program that needs more has failed that test."""

    cpu_s: float = 4.0
    """CPU time of all its processes and threads."""

    wall_s: float = 10.0
    """Time on the clock: a backstop for programs that wait."""

    memory_bytes: int = 512 << 20
    """Memory of all its processes together, and private writable memory of each."""

    output_bytes: int = 16 << 20
    """Bytes on stdout; stderr is read to its end but only its head is kept."""

    num_processes: int = 32
    """Processes and threads at one time."""

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value <= 0:
                raise ValueError(f"Limits({name}={value}): must be positive.")


@dataclass(frozen=True)
class Submission:
    """A program that nobody has read."""

    language: str
    """`python` or `cpp`."""

    source: str
    """Its text, one file."""

    entry_point: str | None = None
    """A function, or method of class `Solution`, to call with each case's arguments; None: the program reads stdin."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One test of a problem. Exactly one of `stdin` and `arguments` is given."""

    id: str
    """Names the case in results."""

    stdin: str | None = None
    """What the program reads."""

    arguments: str | None = None
    """JSON for the entry point: an array of positional or an object of keyword arguments."""

    expected: str
    """What it should print, or the JSON of what it should return. Stays on this side of the sandbox."""

    def __post_init__(self) -> None:
        if (self.stdin is None) == (self.arguments is None):
            raise ValueError(f"Case {self.id!r}: give stdin or arguments, and not both.")


class Status(StrEnum):
    """How a test ended. Where several apply, the first in this order is reported."""

    COMPILE_ERROR = "compile error"
    OUTPUT_LIMIT = "output limit"
    TIME_LIMIT = "time limit"
    IDLENESS_LIMIT = "idleness limit"
    MEMORY_LIMIT = "memory limit"
    RUNTIME_ERROR = "runtime error"
    WRONG_ANSWER = "wrong answer"
    ACCEPTED = "accepted"
    SKIPPED = "skipped"
    """Not run, because an earlier case failed and the caller asked to stop there."""


@dataclass(frozen=True, kw_only=True)
class CaseResult:
    """What happened in one test."""

    case_id: str
    """The case's `id`."""

    status: Status
    """How it ended."""

    cpu_s: float = 0.0
    """CPU time of the program and of every process of it that was waited for."""

    wall_s: float = 0.0
    """Time on the clock."""

    memory_bytes: int = 0
    """Largest peak of resident memory among its processes; at least the size of the agent that started it."""

    exit_code: int | None = None
    """Of the program; minus the signal's number if one ended it; None if it was not run."""

    stdout_head: str = ""
    """The first 1,000 characters of what it printed."""

    stderr_head: str = ""
    """The first 1,000 characters of its stderr, or the compiler's message."""


@dataclass(frozen=True)
class Verdict:
    """What happened when one submission met all its tests."""

    results: tuple[CaseResult, ...]
    """One per case, in the order given."""

    @property
    def passed(self) -> tuple[bool, ...]:
        """Per case, whether it was accepted."""
        return tuple(result.status is Status.ACCEPTED for result in self.results)

    def to_json(self) -> str:
        """The verdict as one JSON object (`schemas/verdict.schema.json`)."""
        return json.dumps({"results": [asdict(result) for result in self.results]}, ensure_ascii=True)

    @classmethod
    def from_json(cls, text: str) -> Verdict:
        """The verdict that `to_json` wrote.

        Raises:
            ValueError: not such an object, a key is unknown, or a value is of the wrong kind.
        """
        try:
            tree = json.loads(text)
            if set(tree) != {"results"}:
                raise ValueError(f"keys {sorted(tree)}, expected only results")
            return cls(tuple(CaseResult(**{**row, "status": Status(row["status"])}) for row in tree["results"]))
        except (TypeError, KeyError, ValueError) as error:
            raise ValueError(f"not a verdict: {error}") from None


class SandboxUnavailable(Exception):  # noqa: N818 (the name that other packages count on)
    """The judge cannot judge: no isolation to be had, or it broke. Says nothing about the submission."""

    exit_code = 1
