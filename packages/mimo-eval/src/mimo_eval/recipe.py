"""The evaluation recipe: which benchmarks, how they are prompted, how they are sampled."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mimo_eval.problem import Problem
from mimo_eval.run import EvalError, Record


class Sampling(Record, frozen=True, kw_only=True):
    """How responses are drawn; a benchmark may say otherwise for itself."""

    temperature: float
    """0 is greedy."""
    top_p: float = 1.0
    """Nucleus; 1 keeps every token."""
    max_tokens: int
    """Longest response."""
    num_samples: int = 1
    """Responses per problem."""


class BenchmarkRecipe(Record, frozen=True, kw_only=True):
    """One benchmark: a problem file and what differs from `[sampling]`."""

    name: str
    """Key in the result; also the problem file's name without `.jsonl`, unless `problems` is given."""
    problems: str = ""
    """Name of the problem file, when it is not NAME.jsonl."""
    shots: str = ""
    """Name of the problem file whose first problems, with their solutions, are the few-shot examples. Problems of the
    same `source` come first, so that MMLU's examples are of the question's subject."""
    num_shots: int = 0
    """How many examples precede the question."""
    template: str = "{prompt}"
    """The text around `{prompt}` and, for examples, `{solution}`. The question itself ends where `{solution}` begins,
    and without the spaces before it, since tokens begin with their space."""
    stop: tuple[str, ...] = ()
    """The response ends before the first of these strings (a base model goes on with the next question)."""
    num_samples: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None

    def problem_file(self) -> str:
        """Name that one of the files given to `--problems` must have."""
        return self.problems or f"{self.name}.jsonl"

    def sampling(self, default: Sampling) -> Sampling:
        """Settings of this benchmark."""
        return Sampling(
            temperature=default.temperature if self.temperature is None else self.temperature,
            top_p=default.top_p if self.top_p is None else self.top_p,
            max_tokens=default.max_tokens if self.max_tokens is None else self.max_tokens,
            num_samples=default.num_samples if self.num_samples is None else self.num_samples,
        )

    def prompts(self, problems: Sequence[Problem], shots: Sequence[Problem]) -> list[str]:
        """What the model reads for each problem; a problem is never its own example.

        Raises:
            EvalError: fewer usable examples than `num_shots`.
        """
        question, solution, _ = self.template.partition("{solution}")
        question = question.rstrip(" ") if solution else question
        texts = []
        for problem in problems:
            usable = [shot for shot in shots if shot.solution and shot.prompt != problem.prompt]
            usable.sort(key=lambda shot: shot.source != problem.source)
            if len(usable) < self.num_shots:
                raise EvalError(
                    f"{self.shots}: has {len(usable)} problems with a solution, but {self.name} wants "
                    f"{self.num_shots} shots. Give a longer file."
                )
            examples = [
                _fill(self.template, {"{prompt}": shot.prompt, "{solution}": shot.solution})
                for shot in usable[: self.num_shots]
            ]
            texts.append("".join(examples) + _fill(question, {"{prompt}": problem.prompt}))
        return texts


class EvalRecipe(Record, frozen=True, kw_only=True):
    """What `mimo-eval run` reads: `[sampling]` and one `[[benchmark]]` for each."""

    sampling: Sampling
    """Unless a benchmark says otherwise."""
    benchmark: tuple[BenchmarkRecipe, ...]
    """In the order of the result. Those without a problem file are left out, and said to be."""
    chat: bool = True
    """Prompts go through the chat template, as one user message after no system prompt; false for a base model."""
    num_drafts: int = 0
    """MTP layers that draft (speculative decoding); the responses' distribution is the same."""
    seed: int = 0
    """Of all sampling."""

    def __post_init__(self) -> None:
        _require_within("recipe", "num_drafts", self.num_drafts, 0, 100)
        _require_within("recipe", "seed", self.seed, 0, 2**63 - 1)
        names = [benchmark.name for benchmark in self.benchmark]
        if not names or len(names) != len(set(names)):
            raise ValueError("[[benchmark]]: want at least one, each with its own name")
        for benchmark in self.benchmark:
            sampling = benchmark.sampling(self.sampling)
            _require_within(benchmark.name, "num_samples", sampling.num_samples, 1, 100_000)
            _require_within(benchmark.name, "max_tokens", sampling.max_tokens, 1, 10_000_000)
            _require_within(benchmark.name, "temperature", sampling.temperature, 0, 100)
            _require_within(benchmark.name, "num_shots", benchmark.num_shots, 0, 10_000)
            if not 0 < sampling.top_p <= 1:
                raise ValueError(f"{benchmark.name}: want 0 < top_p <= 1")
            if sampling.num_samples > 1 and sampling.temperature == 0:
                raise ValueError(f"{benchmark.name}: greedy samples are all the same; set num_samples = 1")
            if "{prompt}" not in benchmark.template.partition("{solution}")[0]:
                raise ValueError(f"{benchmark.name}: template must hold {{prompt}}, before any {{solution}}")
            if benchmark.num_shots and "{solution}" not in benchmark.template:
                raise ValueError(f"{benchmark.name}: {benchmark.num_shots} shots need {{solution}} in the template")
            if benchmark.num_shots and not benchmark.shots:
                raise ValueError(f"{benchmark.name}: {benchmark.num_shots} shots need a `shots` file name")


def _require_within(owner: str, key: str, value: float, least: int, most: int) -> None:
    if not least <= value <= most:
        raise ValueError(f"{owner}: {key} must be {least} to {most:,}")


def _fill(template: str, values: dict[str, str]) -> str:
    """The template with its fields replaced in one pass: a value may hold the text of a field."""
    return re.sub(r"\{(prompt|solution)\}", lambda field: values[field.group()], template)
