from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimo_train import Schedule
from mimo_train.schedule import Batch, MTPWeight

STAGE_1 = Schedule(warmup_tokens=84, constant_tokens=10_200, cosine_tokens=7_500, peak_lr=1.07e-4, final_lr=3e-5)


@pytest.mark.parametrize(
    ("tokens", "lr"),
    [
        (0, 0.0),
        (42, 0.535e-4),
        (84, 1.07e-4),
        (10_284, 1.07e-4),
        (10_284 + 3_750, (1.07e-4 + 3e-5) / 2),
        (17_784, 3e-5),
        (99_999, 3e-5),
    ],
)
def test_stage_1_rises_stays_and_falls_along_a_cosine(tokens, lr):
    assert STAGE_1.lr(tokens) == pytest.approx(lr)


def test_total_tokens_is_the_sum_of_the_three_parts():
    assert STAGE_1.total_tokens == 17_784


@st.composite
def schedules(draw):
    warmup, constant, cosine = (draw(st.integers(0, 10**6)) for _ in range(3))
    peak = draw(st.floats(1e-6, 1.0))
    final = draw(st.floats(0.0, 1.0)) * peak if cosine else None
    constant += warmup + constant + cosine == 0
    return Schedule(peak_lr=peak, final_lr=final, warmup_tokens=warmup, constant_tokens=constant, cosine_tokens=cosine)


@given(schedules(), st.integers(0, 3 * 10**6))
def test_the_rate_is_continuous_and_never_leaves_its_bounds(schedule, tokens):
    here, there = schedule.lr(tokens), schedule.lr(tokens + 1)
    steepest = max(
        schedule.peak_lr / max(schedule.warmup_tokens, 1),
        (math.pi / 2) * schedule.peak_lr / max(schedule.cosine_tokens, 1),
    )
    # Without a warm-up the rate starts at its peak: there is no jump to check at zero.
    assert abs(there - here) <= steepest * (1 + 1e-6)
    assert 0 <= here <= schedule.peak_lr * (1 + 1e-9)


@given(schedules())
def test_a_stage_ends_on_the_rate_that_the_next_one_starts_from(schedule):
    end = schedule.lr(schedule.total_tokens)
    following = Schedule(peak_lr=max(end, 1e-12), constant_tokens=1)
    assert following.lr(0) == pytest.approx(max(end, 1e-12))


def test_the_batch_grows_linearly_to_its_size():
    batch = Batch(sequence_length=8, num_sequences=100, initial_sequences=20, warmup_tokens=1000)
    assert [batch.sequences_after(tokens) for tokens in (0, 500, 999, 1000, 5000)] == [20, 60, 99, 100, 100]


@given(st.integers(1, 50), st.integers(0, 50), st.integers(1, 10**5), st.integers(0, 2 * 10**5))
def test_the_batch_never_shrinks(initial, growth, warmup_tokens, tokens):
    batch = Batch(
        sequence_length=4,
        num_sequences=initial + growth,
        initial_sequences=initial,
        warmup_tokens=warmup_tokens,
    )
    assert batch.sequences_after(tokens) <= batch.sequences_after(tokens + 1) <= batch.num_sequences


def test_the_mtp_weight_switches_once():
    weight = MTPWeight(weight=0.3, later_weight=0.1, switch_tokens=10_300)
    assert [weight.after(tokens) for tokens in (0, 10_299, 10_300, 17_784)] == [0.3, 0.3, 0.1, 0.1]


@pytest.mark.parametrize(
    ("record", "fields", "message"),
    [
        (Schedule, {"peak_lr": 1e-3}, "empty"),
        (Schedule, {"peak_lr": 1e-3, "cosine_tokens": 5}, "final_lr"),
        (Schedule, {"peak_lr": 1e-3, "constant_tokens": 5, "final_lr": 1e-4}, "final_lr"),
        (Schedule, {"peak_lr": 1e-3, "constant_tokens": 8.4e9}, "int"),
        (Batch, {"sequence_length": 8, "num_sequences": 4, "warmup_tokens": 9}, "initial_sequences"),
        (MTPWeight, {"weight": 0.3, "later_weight": 0.1}, "switch_tokens"),
    ],
)
def test_a_contradictory_record_does_not_decode(record, fields, message):
    with pytest.raises(msgspec.ValidationError, match=message):
        msgspec.convert(fields, record)
