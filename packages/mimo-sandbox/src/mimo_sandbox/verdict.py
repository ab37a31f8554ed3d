"""The records of the judge: what goes in (submission, cases, limits) and what comes out (verdict)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Literal, TypeVar, cast, get_args

Stop = Literal["all", "first-failure", "first-failure-per-group"]
"""When to skip cases: never; after a failed one; after a failed one of the same group."""

Mode = Literal["fork", "exec"]
"""How Python starts: `fork` from a warm interpreter where that changes nothing, or a fresh one for every test."""

RecordT = TypeVar("RecordT", "Limits", "Submission", "Case", "CaseResult")


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
            most = _MOST[name]
            if not 0 < value <= most:
                raise ValueError(f"Limits({name}={str(value)[:20]}): must be positive and at most {most:,}.")
        if self.memory_bytes < _LEAST_MEMORY_BYTES:
            raise ValueError(
                f"Limits(memory_bytes={self.memory_bytes}): no program starts in so little; "
                f"must be at least {_LEAST_MEMORY_BYTES:,}."
            )


# Below 2 MiB a program's process is killed before it has become the program, which looks like a broken host.
_LEAST_MEMORY_BYTES = 4 << 20
_MOST = {
    "cpu_s": 3_600,
    "wall_s": 36_000,
    "memory_bytes": 1 << 40,
    "output_bytes": 1 << 30,
    "num_processes": 10_000,
}


@dataclass(frozen=True)
class Submission:
    """A program that nobody has read."""

    language: str
    """One of `mimo-sandbox doctor`'s list, such as `python` or `cpp`."""

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

    group: str = ""
    """Cases of one group are skipped together under the stop policy `first-failure-per-group`."""

    def __post_init__(self) -> None:
        if (self.stdin is None) == (self.arguments is None):
            raise ValueError(f"Case {self.id!r}: give stdin or arguments, and not both.")


HEAD_CHARACTERS = 1_000
"""So much of an output or message is kept in a result."""


class Status(StrEnum):
    """How a test ended. Where several apply, the first in this order is reported."""

    COMPILE_ERROR = "compile error"
    OUTPUT_LIMIT = "output limit"
    TIME_LIMIT = "time limit"
    IDLENESS_LIMIT = "idleness limit"
    MEMORY_LIMIT = "memory limit"
    RUNTIME_ERROR = "runtime error"
    CHECKER_ERROR = "checker error"
    """The caller's checker or interactor crashed, met a limit or gave no verdict: says nothing about the program."""
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
    """CPU time of all its processes and threads; see `measured_by`."""

    wall_s: float = 0.0
    """Time on the clock."""

    memory_bytes: int = 0
    """Peak of the memory of all its processes together, its files in /tmp included; see `measured_by`."""

    exit_code: int | None = None
    """Of the program; minus the signal's number if one ended it; None if it was not run."""

    stdout_head: str = ""
    """The first 1,000 characters of what it printed."""

    stderr_head: str = ""
    """The first 1,000 characters of its stderr, or the compiler's message, or what a checker said."""

    mode: Literal["", "fork", "exec"] = ""
    """How it was started: `fork` from a warm interpreter, `exec` afresh; empty if it was not run."""

    measured_by: Literal["", "cgroup", "rusage"] = ""
    """`rusage` is the fallback: it misses children that nobody waited for, and its memory is one process's peak."""


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
            if not isinstance(tree, dict) or set(tree) != {"results"} or not isinstance(tree["results"], list):
                found = f"the keys {', '.join(tree)}" if isinstance(tree, dict) else f"a {type(tree).__name__}"
                raise ValueError(f"expected an object with the one key results, an array; found {found}")
            return cls(tuple(read_record(CaseResult, row) for row in tree["results"]))
        except ValueError as error:
            raise ValueError(f"not a verdict: {error}") from None


@dataclass(frozen=True, kw_only=True)
class Request:
    """One submission with everything that judging it needs."""

    submission: Submission
    cases: tuple[Case, ...]
    comparator: str = "tokens"
    """See `COMPARATORS`."""

    stop: Stop = "all"
    checker: Submission | None = None
    """Decides in place of the comparator; with the comparator `interactive`, it talks with the program."""

    limits: Limits | None = None
    """None: the sandbox's."""

    mode: Mode = "fork"

    def __post_init__(self) -> None:
        for name, value, choices in (("stop", self.stop, get_args(Stop)), ("mode", self.mode, get_args(Mode))):
            if value not in choices:
                raise ValueError(f"{name} {value!r}: expected one of {', '.join(choices)}.")

    def to_json(self) -> dict[str, object]:
        """The request as a JSON object; what has its default value is left out."""
        tree: dict[str, object] = {
            "submission": asdict(self.submission),
            "cases": [
                {name: value for name, value in asdict(case).items() if value is not None} for case in self.cases
            ],
        }
        for name in ("comparator", "stop", "mode"):
            tree[name] = getattr(self, name)
        for name in ("checker", "limits"):
            if (record := getattr(self, name)) is not None:
                tree[name] = asdict(record)
        return tree

    @classmethod
    def from_json(cls, tree: object) -> Request:
        """The request that `to_json` gave.

        Raises:
            ValueError: not such an object, a key is missing or unknown, or a value is of the wrong kind.
        """
        if not isinstance(tree, Mapping):
            raise ValueError(f"a request is an object, not {type(tree).__name__}.")
        unknown = set(tree) - {"submission", "cases", "comparator", "stop", "checker", "limits", "mode"}
        if unknown or not {"submission", "cases"} <= set(tree):
            raise ValueError(
                f"a request has submission, cases, and if wanted comparator, stop, checker, limits, mode; "
                f"this has {', '.join(sorted(tree)) or 'nothing'}."
            )
        if not isinstance(tree["cases"], Sequence) or isinstance(tree["cases"], str):
            raise ValueError("a request's cases are an array.")
        for name in ("comparator", "stop", "mode"):
            if not isinstance(tree.get(name, ""), str):
                raise ValueError(f"a request's {name} is a string.")
        checker, limits = tree.get("checker"), tree.get("limits")
        return cls(
            submission=read_record(Submission, tree["submission"]),
            cases=tuple(read_record(Case, case) for case in tree["cases"]),
            comparator=tree.get("comparator", "tokens"),
            stop=tree.get("stop", "all"),
            checker=None if checker is None else read_record(Submission, checker),
            limits=None if limits is None else read_record(Limits, limits),
            mode=tree.get("mode", "fork"),
        )


_KINDS: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "str | None": (str, type(None)),
    "int": (int,),
    "int | None": (int, type(None)),
    "float": (int, float),
}


def read_record(kind: type[RecordT], tree: object) -> RecordT:
    """A record from a JSON object, with the kind of every value checked.

    Raises:
        ValueError: not an object, a key is missing or unknown, or a value is of the wrong kind.
    """
    if not isinstance(tree, Mapping):
        raise ValueError(f"not a {kind.__name__}: expected an object, not {type(tree).__name__}.")
    values: dict[str, object] = {}
    for name, value in tree.items():
        hint = kind.__dataclass_fields__[name].type if name in kind.__dataclass_fields__ else None
        if hint is None:
            raise ValueError(f"not a {kind.__name__}: unknown key {name!r}.")
        if hint == "Status":
            try:
                values[name] = Status(cast(str, value))
                continue
            except ValueError:
                raise ValueError(f"not a {kind.__name__}: unknown status {value!r}.") from None
        if isinstance(value, bool) or not isinstance(value, _KINDS.get(str(hint), (str,))):
            raise ValueError(f"not a {kind.__name__}: {name} is a {hint}, not {value!r}.")
        values[name] = value
    try:
        return kind(**values)  # type: ignore[arg-type]
    except TypeError as error:
        raise ValueError(f"not a {kind.__name__}: {error}") from None


class SandboxUnavailable(Exception):  # noqa: N818 (the name that other packages count on)
    """The judge cannot judge: no isolation to be had, or it broke. Says nothing about the submission."""

    exit_code = 1
