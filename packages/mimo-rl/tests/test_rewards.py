"""Rewards from test results: the laws of §3.3.1."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimo_rl import difficulty_levels, soft_reward, strict_reward


@st.composite
def judged_submissions(draw: st.DrawFn) -> tuple[tuple[bool, ...], tuple[int, ...], tuple[float, ...]]:
    num_levels = draw(st.integers(1, 4))
    extra = draw(st.lists(st.integers(0, num_levels - 1), max_size=8))
    levels = tuple(draw(st.permutations([*range(num_levels), *extra])))
    passed = tuple(draw(st.lists(st.booleans(), min_size=len(levels), max_size=len(levels))))
    return passed, levels, (1.0 / num_levels,) * num_levels


def test_strict_reward_stops_at_the_first_level_with_a_failed_test() -> None:
    levels, scores = (0, 0, 1, 2), (0.2, 0.3, 0.5)
    assert strict_reward((True, True, True, False), levels, scores) == pytest.approx(0.5)
    assert strict_reward((True, False, True, True), levels, scores) == 0.0
    assert strict_reward((True, True, False, True), levels, scores) == pytest.approx(0.2)


def test_soft_reward_splits_a_level_equally_among_its_tests() -> None:
    levels, scores = (0, 0, 1, 2), (0.2, 0.3, 0.5)
    assert soft_reward((True, False, False, True), levels, scores) == pytest.approx(0.1 + 0.5)


@given(judged_submissions())
def test_strict_reward_never_pays_more_than_soft(
    case: tuple[tuple[bool, ...], tuple[int, ...], tuple[float, ...]],
) -> None:
    assert strict_reward(*case) <= soft_reward(*case) + 1e-9


@given(judged_submissions())
def test_passing_everything_pays_one_and_nothing_pays_zero(
    case: tuple[tuple[bool, ...], tuple[int, ...], tuple[float, ...]],
) -> None:
    _, levels, scores = case
    for reward in (strict_reward, soft_reward):
        assert reward((True,) * len(levels), levels, scores) == pytest.approx(1.0)
        assert reward((False,) * len(levels), levels, scores) == 0.0


@given(judged_submissions(), st.integers(0, 11))
def test_passing_one_more_test_never_pays_less(
    case: tuple[tuple[bool, ...], tuple[int, ...], tuple[float, ...]], index: int
) -> None:
    passed, levels, scores = case
    better = tuple(ok or i == index for i, ok in enumerate(passed))
    for reward in (strict_reward, soft_reward):
        assert reward(better, levels, scores) >= reward(passed, levels, scores) - 1e-9


def test_one_level_makes_the_strict_reward_all_or_nothing() -> None:
    assert strict_reward((True, True), (0, 0), (1.0,)) == 1.0
    assert strict_reward((True, False), (0, 0), (1.0,)) == 0.0


def test_rewards_reject_results_that_do_not_match_the_levels() -> None:
    with pytest.raises(ValueError, match="2 test results but 3 levels"):
        soft_reward((True, False), (0, 0, 1), (0.5, 0.5))
    with pytest.raises(ValueError, match="do not fit 1 scores"):
        strict_reward((True, False), (0, 1), (1.0,))


def test_levels_follow_the_colours_of_figure_5() -> None:
    # Model-1: bars at 0.0, 0.1, 0.2 are "hard", 0.6 is "medium", 0.7 and 0.8 are "easy".
    assert difficulty_levels((0.0, 0.1, 0.2, 0.6, 0.7, 0.8), cuts=(0.7, 0.3)) == (2, 2, 2, 1, 0, 0)


def test_a_level_without_tests_is_skipped() -> None:
    # Model-3: nothing is "medium", so "hard" comes right after "easy".
    assert difficulty_levels((0.9, 0.0, 0.9), cuts=(0.7, 0.3)) == (0, 1, 0)
    assert difficulty_levels((0.1, 0.0), cuts=(0.7, 0.3)) == (0, 0)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_a_test_passed_more_often_is_never_in_a_harder_level(rates: list[float]) -> None:
    levels = difficulty_levels(rates, cuts=(0.7, 0.3))
    assert [level for _, level in sorted(zip(rates, levels, strict=True))] == sorted(levels, reverse=True)
    assert set(levels) == set(range(max(levels) + 1))


def test_levels_reject_rates_and_cuts_that_make_no_sense() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        difficulty_levels((0.5, 1.5), cuts=(0.7, 0.3))
    with pytest.raises(ValueError, match="cuts fall"):
        difficulty_levels((0.5,), cuts=(0.3, 0.7))
