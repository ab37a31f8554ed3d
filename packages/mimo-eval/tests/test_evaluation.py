"""Accuracy, pass@k and their intervals, from samples of a known generator."""

from __future__ import annotations

import asyncio
import random
from itertools import combinations
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimo_eval import EvalError, Problem, compare, evaluate, pass_at_k
from mimo_eval.estimate import accuracy_interval, difference_interval
from mimo_sandbox import SandboxUnavailable

PROBLEMS = [Problem(id=f"{n}", prompt=f"{n}+{n}=", kind="math", answer=str(2 * n)) for n in range(4)]


def generator(responses):
    """Answers from a list, last prompt first, as an engine that finishes out of order would."""

    def generate(prompts, seeds):
        assert len(prompts) == len(seeds) == len(responses)
        for index in reversed(range(len(prompts))):
            yield index, responses[index], 3, "length" if responses[index] == "" else "stop"

    return generate


@given(st.integers(1, 8).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_pass_at_k_equals_the_brute_force_count(case):
    n, c, k = case
    draws = list(combinations([True] * c + [False] * (n - c), k))
    assert pass_at_k(n, c, k) == pytest.approx(sum(map(any, draws)) / len(draws), abs=1e-15)


@pytest.mark.parametrize("case", [(4, 5, 1), (4, -1, 1), (4, 2, 0), (4, 2, 5)])
def test_pass_at_k_refuses_impossible_counts(case):
    with pytest.raises(ValueError, match="want 0 <= c <= n"):
        pass_at_k(*case)


def test_accuracy_is_the_mean_over_samples_and_pass_at_k_over_problems():
    samples = []
    responses = ["0", "0", "2", "9", "9", "8", "", "6"]
    result = asyncio.run(evaluate(PROBLEMS, generator(responses), num_samples=2, on_sample=samples.append))
    assert result.num_correct == {"0": 2, "1": 1, "2": 0, "3": 1}
    assert result.accuracy == pytest.approx(4 / 8)
    assert result.pass_at == pytest.approx({"1": 4 / 8, "2": 3 / 4})
    assert (result.cut_off_share, result.no_answer_share, result.response_tokens_mean) == (1 / 8, 1 / 8, 3)
    assert sorted((sample.problem_id, sample.index, sample.response) for sample in samples) == [
        (str(n // 2), n % 2, response) for n, response in enumerate(responses)
    ]


def test_a_sample_s_seed_does_not_depend_on_the_other_problems():
    def seeds_of(problems):
        found = []

        def generate(prompts, seeds):
            found.extend(zip(prompts, seeds, strict=True))
            return ((index, "", 0, "stop") for index in range(len(prompts)))

        asyncio.run(evaluate(problems, generate, num_samples=2, seed=5))
        return found

    assert seeds_of(PROBLEMS)[2:4] == seeds_of(PROBLEMS[1:2])
    assert len(set(seeds_of(PROBLEMS))) == 8


def test_a_generator_that_skips_or_repeats_a_prompt_is_an_error():
    with pytest.raises(EvalError, match="each prompt once"):
        asyncio.run(evaluate(PROBLEMS, lambda prompts, seeds: iter([(0, "0", 1, "stop")])))
    with pytest.raises(EvalError, match="two responses"):
        asyncio.run(evaluate(PROBLEMS, lambda prompts, seeds: iter([(0, "0", 1, "stop")] * 2)))


def test_a_broken_judge_ends_the_evaluation_without_a_score(monkeypatch):
    async def broken(*_, **__):
        raise SandboxUnavailable("gone")

    monkeypatch.setattr("mimo_eval.evaluation.grade", broken)
    with pytest.raises(SandboxUnavailable):
        asyncio.run(evaluate(PROBLEMS, generator(["1"] * 4)))


def test_compare_pairs_by_problem():
    first = asyncio.run(evaluate(PROBLEMS, generator(["0", "0", "0", "0"])))
    second = asyncio.run(evaluate(PROBLEMS, generator(["9", "2", "4", "6"])))
    found = compare(first, second)
    assert (found.difference, found.num_better, found.num_worse) == (pytest.approx(0.5), 3, 1)
    with pytest.raises(EvalError, match="same problem file"):
        compare(first, asyncio.run(evaluate(PROBLEMS[:2], generator(["0", "0"]))))


def test_the_interval_of_independent_problems_is_wilson_s():
    # Wilson score interval of 8 successes in 10 (Brown, Cai and DasGupta's formula, worked by hand).
    assert accuracy_interval([1.0] * 8 + [0.0] * 2, 1) == pytest.approx((0.4902, 0.9433), abs=5e-4)


def test_the_interval_keeps_a_width_when_everything_is_right():
    low, high = accuracy_interval([1.0] * 50, 8)
    assert high == 1.0
    assert low == pytest.approx(50 / (50 + 1.96**2), abs=1e-3)


@given(
    st.integers(1, 16).flatmap(lambda k: st.tuples(st.lists(st.integers(0, k), min_size=1, max_size=30), st.just(k)))
)
def test_the_interval_holds_the_mean_and_more_samples_never_widen_it_past_one_per_problem(case):
    counts, num_samples = case
    scores = [count / num_samples for count in counts]
    low, high = accuracy_interval(scores, num_samples)
    assert 0 <= low <= fmean(scores) <= high <= 1


@pytest.mark.slow
@pytest.mark.parametrize(("num_problems", "num_samples", "strength"), [(30, 32, 0.5), (200, 1, 1.0), (100, 8, 20.0)])
def test_the_interval_covers_the_true_accuracy(num_problems, num_samples, strength):
    """Problems of beta-distributed difficulty; 95% nominal, and at least 91% in 1,000 experiments."""
    draws = random.Random(0)
    for mean in (0.1, 0.5, 0.9):
        covered = 0
        for _ in range(1_000):
            scores = []
            for _ in range(num_problems):
                chance = draws.betavariate(mean * strength, (1 - mean) * strength)
                scores.append(sum(draws.random() < chance for _ in range(num_samples)) / num_samples)
            low, high = accuracy_interval(scores, num_samples)
            covered += low <= mean <= high
        assert covered >= 910, (mean, covered)


def test_the_difference_of_one_problem_says_nothing():
    assert difference_interval([0.5]) == (-1.0, 1.0)
