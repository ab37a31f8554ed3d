"""The number of drafts follows what rounds brought and took."""

from __future__ import annotations

import pytest

from mimo_model.decoding.drafting import DraftChooser


def rounds(
    chooser: DraftChooser, number: int, *, batch_size: int, tokens: list[float], seconds: list[float]
) -> list[int]:
    """What it chooses when a round of k drafts brings tokens[k] in seconds[k]."""
    chosen = []
    for _ in range(number):
        k = chooser.choose(batch_size)
        chooser.note(batch_size, k, num_tokens=int(tokens[k]), seconds=seconds[k])
        chosen.append(k)
    return chosen


@pytest.mark.parametrize(
    ("tokens", "seconds", "best"),
    [
        ([10, 19, 27, 34], [1.0, 1.1, 1.2, 1.3], 3),  # drafts are cheap and right
        ([10, 11, 11, 11], [1.0, 1.5, 2.0, 2.5], 0),  # dear and wrong
        ([10, 19, 20, 20], [1.0, 1.2, 1.6, 2.0], 1),  # only the first is right
    ],
)
def test_after_a_few_trials_the_best_is_chosen(tokens, seconds, best):
    chosen = rounds(DraftChooser(3), 500, batch_size=4, tokens=tokens, seconds=seconds)
    assert chosen[12:].count(best) > 0.97 * len(chosen[12:])
    assert set(chosen[12:]) == {0, 1, 2, 3}  # the others are tried now and then


def test_it_changes_its_mind_when_the_text_does():
    chooser = DraftChooser(1)
    rounds(chooser, 200, batch_size=1, tokens=[10, 20], seconds=[1.0, 1.5])
    chosen = rounds(chooser, 2_000, batch_size=1, tokens=[10, 10], seconds=[1.0, 1.5])
    assert chosen[:50].count(1) > 10
    assert chosen[-500:].count(0) > 450


def test_batch_sizes_are_judged_apart():
    chooser = DraftChooser(1)
    rounds(chooser, 100, batch_size=1, tokens=[10, 20], seconds=[1.0, 1.1])
    rounds(chooser, 100, batch_size=64, tokens=[10, 20], seconds=[1.0, 3.0])
    assert chooser.choose(1) == 1
    assert chooser.choose(64) == 0
