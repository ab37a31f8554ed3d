"""Drawing problems, and the easy-data pool of §3.3.2."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimo_rl import EasyPool


def a_pool(num_hard: int, num_easy: int, probability: float = 0.1) -> EasyPool:
    easy = [f"easy-{i}" for i in range(num_easy)]
    pool = EasyPool([f"hard-{i}" for i in range(num_hard)] + easy, probability=probability)
    for problem_id in easy:
        pool.update(problem_id, solved_in_all=True)
    return pool


def test_a_tenth_of_the_draws_come_from_the_pool_however_large_it_is() -> None:
    pool = a_pool(num_hard=5_000, num_easy=4_000)
    drawn = pool.draw(3_000, random.Random(0))
    share = sum(problem_id in pool for problem_id in drawn) / len(drawn)
    assert 0.08 < share < 0.12


def test_a_problem_solved_in_all_waits_in_the_pool_until_it_is_failed_again() -> None:
    pool = EasyPool(["a", "b"], probability=0.0)
    pool.update("a", solved_in_all=True)
    assert "a" in pool
    assert [pool.draw(1, random.Random(seed)) for seed in range(5)] == [["b"]] * 5
    pool.update("a", solved_in_all=False)
    assert "a" not in pool
    assert len(pool) == 0


@given(st.integers(0, 8), st.integers(0, 8), st.integers(0, 20), st.integers(0, 999), st.floats(0, 1))
def test_draws_are_distinct_new_and_as_many_as_there_are(
    num_hard: int, num_easy: int, num: int, seed: int, probability: float
) -> None:
    pool = a_pool(num_hard, num_easy, probability)
    drawn = pool.draw(num, random.Random(seed), exclude={"hard-0", "easy-0"})
    available = max(num_hard - 1, 0) + max(num_easy - 1, 0)
    assert len(drawn) == len(set(drawn)) == min(num, available)
    assert not {"hard-0", "easy-0"} & set(drawn)


def test_a_restored_pool_draws_the_same() -> None:
    pool = a_pool(20, 20)
    copy = a_pool(20, 20)
    copy.update("easy-3", solved_in_all=False)
    copy.restore(pool.state())
    assert copy.draw(30, random.Random(7)) == pool.draw(30, random.Random(7))


def test_ids_must_be_unique_and_known() -> None:
    with pytest.raises(ValueError, match="unique"):
        EasyPool(["a", "a"], probability=0.1)
    with pytest.raises(ValueError, match="not one of"):
        EasyPool(["a"], probability=0.1).update("b", solved_in_all=True)
