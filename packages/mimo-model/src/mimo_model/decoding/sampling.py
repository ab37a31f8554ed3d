"""What to sample and how: request settings, exact distributions, and random draws that belong to a request.

Shapes: B batch, T tokens, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

DRAFT, ACCEPT, SAMPLE = 0, 1, 2
"""The independent streams of draws at one position of one request."""

_MULTIPLIERS = (0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64)
_GOLDEN = 0x9E3779B97F4A7C15 - 2**64


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How one request is sampled; MiMo recommends temperature 0.6 and, in evaluation, top-p 0.95 (§3.5)."""

    max_tokens: int
    """At most so many tokens, the stop token included."""

    temperature: float = 1.0
    """0 is greedy."""

    top_p: float = 1.0
    """The smallest set of likeliest tokens whose probabilities reach this, after `top_k`."""

    top_k: int = 0
    """Only the so many likeliest tokens; 0 for all."""

    seed: int = 0
    """All random draws of the request follow from it and the position, whatever else is in the batch."""

    stop: tuple[str, ...] = ()
    """The response ends at the token that completes one of these strings; its tokens include that string's."""

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise ValueError(f"max_tokens={self.max_tokens}: at least 1.")
        # Smaller ones vanish in float32, or make logits that do not fit it.
        if self.temperature != 0.0 and not 1e-5 <= self.temperature < float("inf"):
            raise ValueError(f"temperature={self.temperature}: 0 for greedy, or a finite number from 1e-5 on.")
        if not 1e-6 <= self.top_p <= 1.0:
            raise ValueError(f"top_p={self.top_p}: from 1e-6 to 1.")
        if self.top_k < 0:
            raise ValueError(f"top_k={self.top_k}: 0 for all tokens, or a positive number.")
        if isinstance(self.stop, str) or not all(self.stop):
            raise ValueError(f"stop={self.stop!r}: a tuple of strings, none of them empty.")


@dataclass(frozen=True)
class Completion:
    """What one request produced."""

    tokens: tuple[int, ...]
    """The new tokens; the last is the stop token when `finish` is "stop"."""

    logprobs: tuple[float, ...]
    """Of each token under the model at the request's temperature (at 1 for greedy), before top-k and top-p."""

    finish: Literal["stop", "length", "abort"]

    num_drafted: tuple[int, ...]
    """Per MTP layer: how often its draft was put to the main model."""

    num_accepted: tuple[int, ...]
    """Per MTP layer: how often its draft and all earlier ones of the round were accepted, drafts past the stop
    token or the length limit included."""


def distributions(
    logits_BTV: Tensor, temperature_B: Tensor, top_p_B: Tensor, top_k_B: Tensor, *, restricted: bool, greedy: bool
) -> tuple[Tensor, Tensor]:
    """What each position is sampled from, and the model's own probabilities.

    Args:
        temperature_B: 0 for greedy, whose distribution is all on the likeliest token (the first of equals).
        restricted: some row has a top-k or top-p that restricts; without it both are skipped.
        greedy: some row is greedy.

    Returns:
        float32 [B, T, V] twice: the exact sampling distribution, and softmax(logits / temperature).
    """
    scaled_BTV = logits_BTV.float()
    divisor_B = torch.where(temperature_B > 0, temperature_B, 1.0)
    # The largest first: divided by a small temperature, logits may leave float32.
    model_BTV = ((scaled_BTV - scaled_BTV.amax(-1, keepdim=True)) / divisor_B[:, None, None]).softmax(-1)
    sampled_BTV = _restrict(model_BTV, top_p_B, top_k_B) if restricted else model_BTV
    if greedy:
        argmax_BT1 = scaled_BTV.argmax(-1, keepdim=True)
        one_hot_BTV = torch.zeros_like(model_BTV).scatter_(-1, argmax_BT1, 1.0)
        sampled_BTV = torch.where((temperature_B > 0)[:, None, None], sampled_BTV, one_hot_BTV)
    return sampled_BTV, model_BTV


def uniforms(seed_B: Tensor, positions_BT: Tensor, stream: int) -> Tensor:
    """float64 [B, T] in [0, 1): a function of the request's seed, the token's position and the stream alone.

    Counter-based (the finaliser of SplitMix64), so that batching and speculation cannot shift the draws.
    """
    state_B = _mix(seed_B * _GOLDEN + stream)
    return _shift(_mix(state_B[:, None] + positions_BT * _GOLDEN), 12).double() * 2.0**-52


def draw(weights_NV: Tensor, uniforms_N: Tensor) -> Tensor:
    """int64 [N]: by inverse distribution function; weights need not be normalised, weight 0 is never drawn."""
    cumulative_NV = weights_NV.cumsum(-1, dtype=torch.float64)
    targets_N1 = uniforms_N[:, None] * cumulative_NV[:, -1:]
    return torch.searchsorted(cumulative_NV, targets_N1, right=True)[:, 0]


def _restrict(probabilities_BTV: Tensor, top_p_B: Tensor, top_k_B: Tensor) -> Tensor:
    sorted_BTV, order_BTV = probabilities_BTV.sort(dim=-1, descending=True, stable=True)
    ranks_V = torch.arange(sorted_BTV.shape[-1], device=sorted_BTV.device)
    limit_B = torch.where(top_k_B > 0, top_k_B, len(ranks_V))
    sorted_BTV = sorted_BTV * (ranks_V < limit_B[:, None, None])
    sorted_BTV = sorted_BTV / sorted_BTV.sum(-1, keepdim=True)
    mass_before_BTV = sorted_BTV.cumsum(-1) - sorted_BTV
    # A top-p of 1 keeps everything, however the sum was rounded.
    kept_BTV = (mass_before_BTV < top_p_B[:, None, None]) | (top_p_B >= 1.0)[:, None, None]
    sorted_BTV = sorted_BTV * kept_BTV
    restricted_BTV = torch.zeros_like(sorted_BTV).scatter_(-1, order_BTV, sorted_BTV)
    return restricted_BTV / restricted_BTV.sum(-1, keepdim=True)


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _shift(x, 30)) * _MULTIPLIERS[0]
    x = (x ^ _shift(x, 27)) * _MULTIPLIERS[1]
    return x ^ _shift(x, 31)


def _shift(x: Tensor, bits: int) -> Tensor:
    """Logical right shift of int64, whose own shift keeps the sign."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)
