"""A reward from a grade: being right, turned into the number that training pays (§3.2, §3.3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise


def difficulty_levels(pass_rates: Sequence[float], *, cuts: Sequence[float]) -> tuple[int, ...]:
    """The difficulty level of each test of one problem, 0 being the easiest (§3.3.1).

    The report clusters tests by pass rate and does not say how. The colours of its Figure 5 (three models,
    ten bars of width 0.1 each) are those of fixed cuts at 0.7 and 0.3, and not of clusters fitted to a
    problem: one model's 0.6 is "medium" beside a crowd at 0.7. Hence cuts, which also keep one noisy test
    from moving another.

    Args:
        pass_rates: one per test, between 0 and 1: the share of all models' rollouts that passed it.
        cuts: falling; a test at or above cuts[0] is in the easiest level, one below cuts[-1] in the hardest.

    Returns:
        One level per test. Levels that no test of this problem falls in are skipped, so that the levels in
        use are 0, 1, … without a gap.
    """
    if any(not 0.0 <= rate <= 1.0 for rate in pass_rates):
        raise ValueError(f"pass rates lie between 0 and 1, found {pass_rates}.")
    if any(low >= high for high, low in pairwise(cuts)):
        raise ValueError(f"cuts fall from the easiest level to the hardest, such as (0.7, 0.3); found {tuple(cuts)}.")
    raw = [sum(rate < cut for cut in cuts) for rate in pass_rates]
    used = sorted(set(raw))
    return tuple(used.index(level) for level in raw)


def level_scores(levels: Sequence[int]) -> tuple[float, ...]:
    """What each level is worth: equal shares of 1. The report gives no scores; the IOI sets them by hand."""
    num_levels = max(levels) + 1
    return (1.0 / num_levels,) * num_levels


def strict_reward(passed: Sequence[bool], levels: Sequence[int], scores: Sequence[float]) -> float:
    """Pays a level's score only if all its tests and all tests of easier levels passed (§3.3.1).

    Args:
        passed: one per test, in the problem's order.
        levels: one per test, 0 the easiest.
        scores: one per level.
    """
    _require_matching(passed, levels, scores)
    failed_levels = [level for level, ok in zip(levels, passed, strict=True) if not ok]
    return float(sum(scores[: min(failed_levels, default=len(scores))]))


def soft_reward(passed: Sequence[bool], levels: Sequence[int], scores: Sequence[float]) -> float:
    """Splits each level's score equally among its tests and pays the share of every passed test (§3.3.1).

    Arguments as for `strict_reward`. A level without tests pays nothing.
    """
    _require_matching(passed, levels, scores)
    num_tests = [0] * len(scores)
    num_passed = [0] * len(scores)
    for ok, level in zip(passed, levels, strict=True):
        num_tests[level] += 1
        num_passed[level] += ok
    # Counted per level before dividing: with floats summed test by test, passing all would pay 0.9999….
    return float(sum(s * p / t for s, p, t in zip(scores, num_passed, num_tests, strict=True) if t))


def _require_matching(passed: Sequence[bool], levels: Sequence[int], scores: Sequence[float]) -> None:
    if len(passed) != len(levels):
        raise ValueError(f"{len(passed)} test results but {len(levels)} levels: every test needs one of each.")
    if any(not 0 <= level < len(scores) for level in levels):
        raise ValueError(f"levels {tuple(levels)} do not fit {len(scores)} scores: level k is paid scores[k].")
