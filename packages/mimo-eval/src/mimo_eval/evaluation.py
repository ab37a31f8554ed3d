"""Evaluation: sample every problem, grade every response, say how sure the average is (§2.4, §3.5)."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterator, Sequence
from statistics import fmean
from typing import Literal

from mimo_eval.estimate import accuracy_interval, difference_interval, pass_at_k
from mimo_eval.grading import Grade, grade
from mimo_eval.problem import Problem
from mimo_eval.run import EvalError, Record
from mimo_sandbox import Sandbox

Finish = Literal["stop", "length", "abort"]
Generator = Callable[[Sequence[str], Sequence[int]], Iterator[tuple[int, str, int, Finish]]]
"""Given prompts and one seed for each, yields (index, response, number of tokens, finish reason) for every prompt once,
in any order. Sampling settings are its own."""


class Sample(Record, frozen=True, kw_only=True):
    """One response and its grade: one line of `samples.jsonl`."""

    benchmark: str
    """Name in the recipe."""
    problem_id: str
    """Id in the problem file."""
    index: int
    """Which of the problem's samples, from 0."""
    prompt: str
    """The problem's prompt, without few-shot examples."""
    response: str
    """All text the model generated, reasoning included."""
    num_tokens: int
    """Length of the response."""
    finish: Finish
    """`length`: cut off at max_tokens."""
    grade: Grade
    """Whether it is right."""


class EvalResult(Record, frozen=True, kw_only=True):
    """How one benchmark went."""

    num_problems: int
    """Clusters of the interval."""
    num_samples: int
    """Per problem."""
    accuracy: float
    """Share of right responses (mean of `num_samples` per problem, then over problems): mean@k, pass@1."""
    interval: tuple[float, float]
    """95% interval of `accuracy`, with problems as clusters: Wilson at the effective sample size."""
    pass_at: dict[str, float]
    """Unbiased pass@k for k = 1, 2, 4, … and `num_samples`, by k."""
    num_correct: dict[str, int]
    """Right responses by problem id."""
    response_tokens_mean: float
    """Mean length of a response."""
    cut_off_share: float
    """Share of responses that ended at max_tokens."""
    no_answer_share: float
    """Share of responses in which no answer was found."""


class Comparison(Record, frozen=True, kw_only=True):
    """How much better one result is than another on the same problems."""

    difference: float
    """Accuracy of the second minus the first."""
    interval: tuple[float, float]
    """95% interval of the difference, paired by problem (normal)."""
    num_better: int
    """Problems on which the second is right more often."""
    num_worse: int
    """Problems on which the first is right more often."""


class PromptError(EvalError):
    """A generator cannot serve the prompt at this position."""

    def __init__(self, position: int, message: str) -> None:
        super().__init__(message)
        self.position = position


async def evaluate(
    problems: Sequence[Problem],
    generator: Generator,
    *,
    num_samples: int = 1,
    seed: int = 0,
    prompts: Sequence[str] | None = None,
    sandbox: Sandbox | None = None,
    benchmark: str = "",
    on_sample: Callable[[Sample], None] | None = None,
) -> EvalResult:
    """Samples and grades every problem `num_samples` times; grading runs beside generation.

    Args:
        seed: with the problem's id and the sample's index it fixes a response, whatever else is evaluated.
        prompts: what the model reads for each problem, such as few-shot prompts; by default the problems' own.
        sandbox: needed for code problems.
        benchmark: name for the samples.
        on_sample: called with each sample as it is graded, in no fixed order.

    Raises:
        EvalError: no problems, a generator that skips or repeats a prompt, or a broken judge.
        SandboxUnavailable: the sandbox broke; no score is made of that.
    """
    if not problems or num_samples < 1:
        raise EvalError(f"{benchmark or 'evaluate'}: needs at least one problem and one sample of each.")
    prompts = [problem.prompt for problem in problems] if prompts is None else prompts
    jobs = [(problem, index) for problem in problems for index in range(num_samples)]
    samples: dict[tuple[str, int], Sample] = {}

    answered: set[int] = set()

    async def judge(position: int, response: str, num_tokens: int, finish: Finish) -> None:
        problem, index = jobs[position]
        if position in answered:
            raise EvalError(f"{benchmark or 'evaluate'}: two responses to sample {index} of problem {problem.id!r}.")
        answered.add(position)
        sample = Sample(
            benchmark=benchmark,
            problem_id=problem.id,
            index=index,
            prompt=problem.prompt,
            response=response,
            num_tokens=num_tokens,
            finish=finish,
            grade=await grade(problem, response, sandbox, stop="first-failure"),
        )
        samples[problem.id, index] = sample
        if on_sample:
            on_sample(sample)

    responses = generator(
        [prompt for prompt in prompts for _ in range(num_samples)],
        [_sample_seed(seed, problem.id, index) for problem, index in jobs],
    )
    try:
        async with asyncio.TaskGroup() as group:
            while (item := await asyncio.to_thread(next, responses, None)) is not None:
                group.create_task(judge(*item))
    except BaseExceptionGroup as failures:
        failure = failures.exceptions[0]
        if isinstance(failure, PromptError):
            name = jobs[failure.position][0].id
            failure = EvalError(f"{benchmark or 'evaluate'}: problem {name!r}: {failure}")
        raise failure from None
    if len(samples) != len(jobs):
        raise EvalError(
            f"{benchmark or 'evaluate'}: {len(samples)} different responses to {len(jobs)} prompts. "
            "The generator must answer each prompt once."
        )
    return _summarise(problems, num_samples, samples)


def compare(first: EvalResult, second: EvalResult) -> Comparison:
    """How much better `second` is, paired by problem.

    Raises:
        EvalError: the two are not about the same problems.
    """
    if first.num_correct.keys() != second.num_correct.keys():
        differing = sorted(first.num_correct.keys() ^ second.num_correct.keys())
        raise EvalError(
            f"{len(differing)} problems, such as {differing[0]!r}, are in one result only: "
            "evaluate both models on the same problem file."
        )
    differences = [
        second.num_correct[name] / second.num_samples - first.num_correct[name] / first.num_samples
        for name in first.num_correct
    ]
    return Comparison(
        difference=fmean(differences),
        interval=difference_interval(differences),
        num_better=sum(difference > 0 for difference in differences),
        num_worse=sum(difference < 0 for difference in differences),
    )


def _summarise(problems: Sequence[Problem], num_samples: int, samples: dict[tuple[str, int], Sample]) -> EvalResult:
    num_correct = dict.fromkeys((problem.id for problem in problems), 0)
    for sample in samples.values():
        num_correct[sample.problem_id] += sample.grade.correct
    counts = list(num_correct.values())
    scores = [count / num_samples for count in counts]
    powers = [2**i for i in range(num_samples.bit_length()) if 2**i <= num_samples]
    return EvalResult(
        num_problems=len(problems),
        num_samples=num_samples,
        accuracy=fmean(scores),
        interval=accuracy_interval(scores, num_samples),
        pass_at={
            str(k): fmean(pass_at_k(num_samples, count, k) for count in counts) for k in sorted({*powers, num_samples})
        },
        num_correct=num_correct,
        response_tokens_mean=fmean(sample.num_tokens for sample in samples.values()),
        cut_off_share=fmean(sample.finish == "length" for sample in samples.values()),
        no_answer_share=fmean(sample.grade.reason == "no_answer" for sample in samples.values()),
    )


def _sample_seed(seed: int, problem_id: str, index: int) -> int:
    digest = hashlib.sha256(f"{seed}/{problem_id}/{index}".encode()).digest()
    return int.from_bytes(digest[:4], "little") >> 1
