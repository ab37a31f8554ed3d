"""The policy-gradient objective of §3.3: Eq. 1 and Eq. 2 of the report.

Shape letters: P problems, G responses per problem, B rows, T tokens, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor


def group_advantages(rewards_PG: Tensor) -> Tensor:
    """Advantage of each response within its group (§3.3, Eq. 2).

    Args:
        rewards_PG: float32, one row per problem.

    Returns:
        float32 [P, G]; each row has zero mean and unit standard deviation (population; the report does not
        say which). A row of equal rewards carries no signal and is all zeros.

    Raises:
        ValueError: a reward is NaN or infinite, so a grade was lost on the way here.
    """
    if not torch.isfinite(rewards_PG).all():
        raise ValueError("a reward is not a finite number: a grade was lost before the advantages.")
    # In float64, so that a row of equal rewards such as 0.1 has a deviation of exactly zero.
    rewards_PG = rewards_PG.double()
    centred_PG = rewards_PG - rewards_PG.mean(dim=-1, keepdim=True)
    deviation_P1 = centred_PG.square().mean(dim=-1, keepdim=True).sqrt()
    equal_P1 = (rewards_PG == rewards_PG[..., :1]).all(dim=-1, keepdim=True)
    return torch.where(equal_P1, 0.0, centred_PG / deviation_P1.where(~equal_P1, 1.0)).float()


def policy_loss(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    mask: Tensor,
    *,
    clip_low: float,
    clip_high: float,
) -> Tensor:
    """The negative of Eq. 1 (§3.3), to be minimised: clipped, token-normalised, no KL term.

    For one group, −1/Σ|oᵢ| · Σᵢ Σⱼ min(ρ A, clip(ρ, 1 − clip_low, 1 + clip_high) A): every token of a group
    weighs the same, however long its response. Eq. 1 prints ρ without a token index; as in GRPO it is the
    ratio of one token's probabilities. How groups are put together is an expectation over problems in Eq.
    1, so their mean is taken here: a problem with long responses weighs no more than one with short ones.

    Args:
        logprobs: float [..., G, T], log π(token) under the policy being trained; leading dimensions are
            groups.
        old_logprobs: float [..., G, T], log π_old(token), without gradient.
        advantages: float [..., G], `group_advantages`.
        mask: bool [..., G, T], true on response tokens, the end-of-text token among them. Every group has
            some.

    Returns:
        Scalar. Where a mask is false the inputs do not matter, not even as NaN.
    """
    log_ratio = torch.where(mask, logprobs - old_logprobs, 0.0)
    ratio = log_ratio.exp()
    advantage = advantages.unsqueeze(-1)
    clipped = ratio.clamp(1.0 - clip_low, 1.0 + clip_high)
    objective = torch.minimum(ratio * advantage, clipped * advantage) * mask
    return -(objective.sum(dim=(-2, -1)) / mask.sum(dim=(-2, -1))).mean()


def response_logprobs(logits_BTV: Tensor, tokens_BT: Tensor, *, temperature: float) -> Tensor:
    """Log-probability of each token given those before it, as it was sampled.

    Args:
        logits_BTV: position t predicts token t + 1.
        temperature: that of sampling: the policy which Eq. 1 compares is the one that wrote the responses.

    Returns:
        float32 [B, T - 1]: entry t belongs to token t + 1.
    """
    logits_BTV = logits_BTV[:, :-1].float() / temperature
    picked_BT = logits_BTV.gather(-1, tokens_BT[:, 1:, None]).squeeze(-1)
    return picked_BT - logits_BTV.logsumexp(dim=-1)


def token_entropy(logits_BTV: Tensor, *, temperature: float) -> Tensor:
    """Entropy in nats of the distribution that each token was drawn from: float32 [B, T - 1]."""
    logprobs_BTV = (logits_BTV[:, :-1].float() / temperature).log_softmax(dim=-1)
    return -(logprobs_BTV.exp() * logprobs_BTV).sum(dim=-1)
