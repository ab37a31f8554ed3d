"""The curated problem: a problem, how often it was solved, and how hard each of its tests is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from mimo_eval import Grade, Problem
from mimo_rl.errors import RLError
from mimo_rl.rewards import level_scores, soft_reward, strict_reward


class CuratedProblem(Problem, frozen=True, kw_only=True):
    """A problem as RL takes it. A plain problem file decodes too: then nothing was measured."""

    pass_rate: float | None = None
    """Share of the first model's rollouts that were right."""

    test_pass_rates: tuple[float, ...] = ()
    """One per test: the share of all models' rollouts that passed it (code)."""

    test_levels: tuple[int, ...] = ()
    """One per test, 0 the easiest; see `difficulty_levels` (code)."""

    measured_by: str = ""
    """Which models, how many rollouts, at what temperature and length."""

    def __post_init__(self) -> None:
        if self.test_levels and len(self.test_levels) != len(self.tests):
            raise ValueError(f"{len(self.test_levels)} test levels for {len(self.tests)} tests")


def reward(problem: CuratedProblem, grade: Grade, *, code_reward: str) -> float:
    """What training pays for a grade (§3.2): right or wrong for most kinds, by test difficulty for code."""
    if problem.kind != "code":
        return float(grade.correct)
    levels = problem.test_levels or (0,) * len(problem.tests)
    pay = strict_reward if code_reward == "strict" else soft_reward
    return pay(grade.passed, levels, level_scores(levels))


def read_curated(paths: Sequence[Path]) -> list[CuratedProblem]:
    """Problems of `.jsonl` files, plain or curated, in order.

    Raises:
        RLError: a file is missing or holds no problem, a line is not a problem, or two share an id; the
            message has file and line.
    """
    problems: list[CuratedProblem] = []
    places: dict[str, str] = {}
    for path in paths:
        try:
            lines = path.read_bytes().split(b"\n")
        except OSError as error:
            raise RLError(
                f"{path}: cannot be read ({error.strerror}). `mimo-eval problems` makes problem files."
            ) from None
        before = len(problems)
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                problem = msgspec.json.decode(line, type=CuratedProblem)
            except msgspec.MsgspecError as error:
                raise RLError(
                    f"{path}:{number}: not a problem: {error}. See mimo-rl's schemas/curated-problem.schema.json."
                ) from None
            if problem.id in places:
                raise RLError(f"{path}:{number}: id {problem.id!r} is also at {places[problem.id]}; make ids unique.")
            places[problem.id] = f"{path}:{number}"
            problems.append(problem)
        if len(problems) == before:
            raise RLError(f"{path}: holds no problem. `mimo-eval problems` makes problem files.")
    return problems


def write_curated(path: Path, problems: Iterable[CuratedProblem]) -> int:
    """Writes problems, one JSON object a line, whole or not at all; returns how many."""
    encoded = [msgspec.json.encode(problem) + b"\n" for problem in problems]
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(b"".join(encoded))
    temporary.replace(path)
    return len(encoded)


def judgeable(problem: Problem) -> bool:
    """Whether the problem holds what a grade needs: tests for code, an answer for every other kind."""
    return bool(problem.tests) if problem.kind == "code" else bool(problem.answer.strip())
