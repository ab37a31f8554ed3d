"""Which problems are worth training on, and how hard their tests are (§3.2, §3.3.1)."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from mimo_eval import Problem
from mimo_model import MiMoConfig, load_model, load_tokenizer
from mimo_rl.errors import RLError
from mimo_rl.problems import CuratedProblem, judgeable, read_curated, write_curated
from mimo_rl.progress import Progress
from mimo_rl.recipe import CurateRecipe, Record
from mimo_rl.rewards import difficulty_levels
from mimo_rl.rollout import RolloutWorker, require_fit
from mimo_train import Run

CHUNK_PROBLEMS = 64
"""Problems whose rollouts are written together, and saved together."""


class Drop(Record, frozen=True, kw_only=True):
    """One line of `drops.jsonl`: a problem that was left out, and why."""

    id: str
    step: str = "curate"
    reason: str
    """not_math_or_code, no_prompt, no_tests, no_answer, prompt_too_long, solution_fails, unsolved, too_easy."""

    detail: str = ""


class Measurement(Record, frozen=True, kw_only=True):
    """How one model's rollouts on one problem went: one line of `measurements.jsonl`."""

    model: int
    """Place in the list of models, from 0."""

    problem_id: str
    correct: tuple[bool, ...]
    """One per rollout."""

    passed: tuple[tuple[bool, ...], ...]
    """One per rollout, with one entry per test (code)."""


def curate(recipe: CurateRecipe, out: Path, *, models: Sequence[Path], problems: Sequence[Path]) -> bool:
    """Measures problems with rollouts and keeps those that teach: `problems.jsonl`, `drops.jsonl`,
    `measurements.jsonl`.

    The first model is the one to be trained: what it solves too often is dropped. Together, all models
    decide what nobody solves and how hard each test is; the report takes stronger models there, which are
    the further ones here. With one model alone, "unsolved" means unsolved by the one to be trained.

    Returns:
        False when `out` was already made from the same recipe and inputs, and was left as it is.

    Raises:
        RLError: a model does not fit the recipe, or every problem was dropped.
        SandboxUnavailable: programs cannot be run here; no problem is dropped for that.
    """
    inputs = {f"model {n}": path for n, path in enumerate(models)}
    inputs |= {f"problems {n}": path for n, path in enumerate(problems)}
    with Run.open(out, package="mimo-rl", command="curate", recipe=recipe, inputs=inputs, resumable=True) as run:
        if run.complete:
            return False
        for folder in models:  # all, before the first is measured
            require_fit(MiMoConfig.from_pretrained(folder), folder, recipe.generation, recipe.sequence_length)
        given = read_curated(problems)
        drops = {problem.id: drop for problem in given if (drop := screen(problem))}
        measured = _Measurements(run.folder)
        for number, folder in enumerate(models):
            candidates = [problem for problem in given if problem.id not in drops]
            judge = recipe.judge if any(problem.kind == "code" for problem in candidates) else None
            model, tokenizer = load_model(folder, dtype="float32"), load_tokenizer(folder)
            with RolloutWorker(model, tokenizer, generation=recipe.generation, judge=judge) as worker:
                if number == 0:
                    drops |= _failing_solutions(candidates, worker)
                for problem in candidates:
                    if len(worker.prompt(problem)) >= recipe.sequence_length and problem.id not in drops:
                        drops[problem.id] = Drop(id=problem.id, reason="prompt_too_long", detail=str(folder))
                candidates = [problem for problem in candidates if problem.id not in drops]
                _measure(recipe, number, candidates, worker, measured)
        how = (
            f"{recipe.num_rollouts} rollouts each of {', '.join(folder.name for folder in models)}; "
            f"temperature {recipe.generation.temperature}, top-p {recipe.generation.top_p}, "
            f"{recipe.sequence_length} tokens"
        )
        kept: list[CuratedProblem] = []
        for problem in given:
            if problem.id in drops:
                continue
            decision = decide(problem, [measured.of[n, problem.id] for n in range(len(models))], recipe, how=how)
            if isinstance(decision, Drop):
                drops[problem.id] = decision
            else:
                kept.append(decision)
        if not kept:
            raise RLError(_nothing_kept(drops, recipe))
        write_curated(run.folder / "problems.jsonl", kept)
        lines = [msgspec.json.encode(drops[problem.id]) + b"\n" for problem in given if problem.id in drops]
        (run.folder / "drops.jsonl").write_bytes(b"".join(lines))
        measured.finish()
        run.finish(num_in=len(given), num_out=len(kept), num_dropped=len(drops))
        return True


def screen(problem: Problem) -> Drop | None:
    """Drops what no rollout is needed for: only mathematics and code can be verified by rule (§3.2).

    The report has a language model find proofs and multiple-choice questions among mathematics problems.
    Here the problem's kind decides, so a choice question that calls itself mathematics passes.
    """
    if problem.kind not in ("math", "code"):
        return Drop(id=problem.id, reason="not_math_or_code", detail=problem.kind)
    if not problem.prompt.strip():
        return Drop(id=problem.id, reason="no_prompt")
    if not judgeable(problem):
        return Drop(id=problem.id, reason="no_tests" if problem.kind == "code" else "no_answer")
    return None


def decide(
    problem: CuratedProblem, measurements: Sequence[Measurement], recipe: CurateRecipe, *, how: str
) -> CuratedProblem | Drop:
    """Keeps a problem that is neither out of reach nor too easy (§3.2), with what was measured.

    Args:
        measurements: one per model, that to be trained first.
    """
    correct = [ok for measurement in measurements for ok in measurement.correct]
    passed = [tests for measurement in measurements for tests in measurement.passed]
    policy = measurements[0].correct
    pass_rate = sum(policy) / len(policy)
    tally = f"{sum(policy)} of {len(policy)} rollouts right"
    if problem.kind == "math":
        if not any(correct):
            return Drop(id=problem.id, reason="unsolved", detail=f"0 of {len(correct)} rollouts right")
        if pass_rate > recipe.max_pass_rate:
            return Drop(id=problem.id, reason="too_easy", detail=tally)
        return msgspec.structs.replace(problem, pass_rate=pass_rate, measured_by=how)
    # A solution that passes says that the tests can be met; without one, some rollout has to say it for
    # some test.
    if not problem.solution and not any(any(tests) for tests in passed):
        return Drop(id=problem.id, reason="unsolved", detail=f"no test passed in {len(passed)} rollouts")
    if all(policy):
        return Drop(id=problem.id, reason="too_easy", detail=tally)
    rates = tuple(sum(column) / len(passed) for column in zip(*passed, strict=True))
    return msgspec.structs.replace(
        problem,
        pass_rate=pass_rate,
        test_pass_rates=rates,
        test_levels=difficulty_levels(rates, cuts=recipe.level_cuts),
        measured_by=how,
    )


def _failing_solutions(problems: Sequence[CuratedProblem], worker: RolloutWorker) -> dict[str, Drop]:
    """Code problems whose own solution fails a test (§3.2)."""
    solved = [problem for problem in problems if problem.kind == "code" and problem.solution]
    grades = worker.grade_all([(problem, problem.solution) for problem in solved])
    return {
        problem.id: Drop(
            id=problem.id,
            reason="solution_fails",
            detail=f"{sum(grade.passed)} of {len(grade.passed)} tests passed",
        )
        for problem, grade in zip(solved, grades, strict=True)
        if not grade.correct
    }


def _measure(
    recipe: CurateRecipe,
    number: int,
    problems: Sequence[CuratedProblem],
    worker: RolloutWorker,
    measured: _Measurements,
) -> None:
    """Rolls out model `number` on every problem, but for the chunks that a killed run has saved."""
    chunks = [problems[start : start + CHUNK_PROBLEMS] for start in range(0, len(problems), CHUNK_PROBLEMS)]
    done = sum(all((number, problem.id) in measured.of for problem in chunk) for chunk in chunks)
    with Progress(f"curate, model {number + 1}", num_steps=len(chunks), first_step=done + 1) as progress:
        for step, chunk in enumerate(chunks[done:], start=done + 1):
            groups = worker.rollout(
                chunk,
                num_responses=recipe.num_rollouts,
                sequence_length=recipe.sequence_length,
                seed=f"{recipe.seed}/{number}",
                policy_version=0,
            )
            measured.add(
                Measurement(
                    model=number,
                    problem_id=group.problem.id,
                    correct=tuple(rollout.grade.correct for rollout in group.rollouts),
                    passed=tuple(rollout.grade.passed for rollout in group.rollouts)
                    if group.problem.kind == "code"
                    else (),
                )
                for group in groups
            )
            progress.show(step, f"{len(groups)} problems")


class _Measurements:
    """All measurements of a run, logged in its `state/` while it lasts."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._log = folder / "state" / "measurements.jsonl"
        data = self._log.read_bytes() if self._log.exists() else b""
        *lines, torn = data.split(b"\n")
        if torn:  # by a kill or a full disk; it is measured again
            os.truncate(self._log, len(data) - len(torn))
        found = [msgspec.json.decode(line, type=Measurement) for line in lines]
        self.of = {(measurement.model, measurement.problem_id): measurement for measurement in found}

    def add(self, measurements: Iterable[Measurement]) -> None:
        self._log.parent.mkdir(exist_ok=True)
        with self._log.open("ab") as file:
            for measurement in measurements:
                self.of[measurement.model, measurement.problem_id] = measurement
                file.write(msgspec.json.encode(measurement) + b"\n")

    def finish(self) -> None:
        """Writes `measurements.jsonl` and removes the log."""
        lines = [msgspec.json.encode(measurement) + b"\n" for measurement in self.of.values()]
        (self._folder / "measurements.jsonl").write_bytes(b"".join(lines))
        shutil.rmtree(self._log.parent, ignore_errors=True)


def _nothing_kept(drops: dict[str, Drop], recipe: CurateRecipe) -> str:
    counts = Counter(drop.reason for drop in drops.values())
    found = ", ".join(f"{n} {reason}" for reason, n in counts.most_common())
    remedy = {
        "not_math_or_code": 'Give problems of kind "math" or "code".',
        "no_prompt": "Give problems with a prompt.",
        "no_tests": "Give code problems with tests.",
        "no_answer": "Give mathematics problems with an answer.",
        "prompt_too_long": f"Raise sequence_length, which is {recipe.sequence_length}.",
        "solution_fails": "Mend the problems' solutions or tests, or raise the limits in [judge].",
        "unsolved": f"Give easier problems, a stronger further model, or more than {recipe.sequence_length} tokens.",
        "too_easy": "Give harder problems.",
    }[counts.most_common(1)[0][0]]
    return f"all {len(drops)} problems were dropped ({found}). {remedy}"
