"""Eq. 1 and Eq. 2 of the report, against a version written out in loops."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mimo_rl import group_advantages, policy_loss

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}


def equation_1(logprobs: Tensor, old: Tensor, advantages: Tensor, mask: Tensor, low: float, high: float) -> float:
    """The objective of one group as printed, token by token."""
    total, num_tokens = 0.0, 0
    for i in range(logprobs.shape[0]):
        for j in range(logprobs.shape[1]):
            if mask[i, j]:
                ratio = math.exp(float(logprobs[i, j] - old[i, j]))
                clipped = min(max(ratio, 1 - low), 1 + high)
                total += min(ratio * float(advantages[i]), clipped * float(advantages[i]))
                num_tokens += 1
    return total / num_tokens


def a_batch(seed: int, num_groups: int = 3, num_responses: int = 4, num_tokens: int = 7) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    shape = (num_groups, num_responses, num_tokens)
    old = -torch.rand(shape, generator=generator, dtype=torch.float64) * 3
    logprobs = old + torch.randn(shape, generator=generator, dtype=torch.float64) * 0.4
    advantages = torch.randn(shape[:2], generator=generator, dtype=torch.float64)
    lengths = torch.randint(1, num_tokens + 1, shape[:2], generator=generator)
    mask = torch.arange(num_tokens) < lengths[..., None]
    return logprobs, old, advantages, mask


@given(st.integers(0, 10_000))
def test_policy_loss_is_minus_equation_1_averaged_over_groups(seed: int) -> None:
    logprobs, old, advantages, mask = a_batch(seed)
    expected = -sum(equation_1(*group, 0.2, 0.28) for group in zip(logprobs, old, advantages, mask, strict=True)) / len(
        logprobs
    )
    found = policy_loss(logprobs, old, advantages, mask, clip_low=0.2, clip_high=0.28)
    assert abs(float(found) - expected) < TOLERANCE[torch.float64]


def test_one_group_needs_no_leading_dimension() -> None:
    logprobs, old, advantages, mask = (x[0] for x in a_batch(0))
    found = policy_loss(logprobs, old, advantages, mask, clip_low=0.2, clip_high=0.28)
    assert float(found) == pytest.approx(-equation_1(logprobs, old, advantages, mask, 0.2, 0.28))


def test_every_token_of_a_group_weighs_the_same_however_long_its_response() -> None:
    logprobs = torch.zeros(2, 4, requires_grad=True)
    mask = torch.tensor([[True, False, False, False], [True, True, True, True]])
    policy_loss(logprobs, torch.zeros(2, 4), torch.tensor([1.0, -1.0]), mask, clip_low=0.2, clip_high=0.28).backward()
    assert logprobs.grad is not None
    torch.testing.assert_close(logprobs.grad, torch.tensor([[-0.2, 0, 0, 0], [0.2, 0.2, 0.2, 0.2]]))


def test_groups_weigh_the_same_however_many_tokens_they_have() -> None:
    logprobs = torch.zeros(2, 1, 4, requires_grad=True)
    mask = torch.tensor([[[True, False, False, False]], [[True, True, True, True]]])
    policy_loss(logprobs, torch.zeros(2, 1, 4), torch.ones(2, 1), mask, clip_low=0.2, clip_high=0.28).backward()
    assert logprobs.grad is not None
    assert logprobs.grad.sum(dim=(1, 2)).tolist() == pytest.approx([-0.5, -0.5])


@pytest.mark.parametrize(
    ("ratio", "advantage", "gradient"),
    [
        (1.27, 1.0, -1.27),
        (1.29, 1.0, 0.0),
        (0.5, 1.0, -0.5),
        (0.81, -1.0, 0.81),
        (0.79, -1.0, 0.0),
        (1.5, -1.0, 1.5),
    ],
)
def test_clip_higher_stops_the_gradient_above_for_gains_and_below_for_losses(
    ratio: float, advantage: float, gradient: float
) -> None:
    logprobs = torch.tensor([[math.log(ratio)]], requires_grad=True)
    loss = policy_loss(
        logprobs,
        torch.zeros(1, 1),
        torch.tensor([advantage]),
        torch.ones(1, 1, dtype=torch.bool),
        clip_low=0.2,
        clip_high=0.28,
    )
    loss.backward()
    assert logprobs.grad is not None
    assert logprobs.grad.item() == pytest.approx(gradient, abs=TOLERANCE[torch.float32])


def test_what_lies_under_the_mask_does_not_matter_even_as_nan() -> None:
    logprobs, old, advantages, mask = a_batch(1)
    expected = policy_loss(logprobs, old, advantages, mask, clip_low=0.2, clip_high=0.28)
    broken = logprobs.masked_fill(~mask, float("nan")).requires_grad_()
    found = policy_loss(broken, old, advantages, mask, clip_low=0.2, clip_high=0.28)
    assert found.item() == expected.item()
    (gradient,) = torch.autograd.grad(found, broken)
    assert not gradient.isnan().any()


def test_the_loss_scales_with_the_advantages_so_that_rows_can_be_split_over_micro_batches() -> None:
    logprobs, old, advantages, mask = a_batch(2)
    whole = policy_loss(logprobs, old, advantages, mask, clip_low=0.2, clip_high=0.28)
    group_tokens = mask.sum(dim=(1, 2))
    parts = 0.0
    for rows in (slice(0, 1), slice(1, 4)):
        part_tokens = mask[:, rows].sum()
        scaled = advantages[:, rows] * part_tokens / (group_tokens[:, None] * len(group_tokens))
        part = [x[:, rows].flatten(0, 1) for x in (logprobs, old)]
        parts += float(policy_loss(*part, scaled.flatten(), mask[:, rows].flatten(0, 1), clip_low=0.2, clip_high=0.28))
    assert parts == pytest.approx(float(whole), abs=TOLERANCE[torch.float64])


def test_advantages_are_equation_2() -> None:
    found = group_advantages(torch.tensor([[1.0, 0.0, 0.0, 0.0]]))
    deviation = math.sqrt(3) / 4
    torch.testing.assert_close(found, torch.tensor([[0.75, -0.25, -0.25, -0.25]]) / deviation)


@given(st.lists(st.sampled_from((0.0, 0.1, 0.25, 1 / 3, 0.5, 1.0)), min_size=2, max_size=16))
def test_advantages_have_zero_mean_and_unit_deviation_or_are_all_zero(rewards: list[float]) -> None:
    found = group_advantages(torch.tensor([rewards]))
    if len(set(rewards)) == 1:
        assert found.tolist() == [[0.0] * len(rewards)]
    else:
        assert abs(float(found.mean())) < TOLERANCE[torch.float32]
        assert abs(float(found.square().mean()) - 1) < TOLERANCE[torch.float32]


def test_a_lost_grade_is_an_error_and_not_an_advantage() -> None:
    with pytest.raises(ValueError, match="grade was lost"):
        group_advantages(torch.tensor([[1.0, float("nan")]]))
