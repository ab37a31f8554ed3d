"""One step's gradient updates on the groups that were kept (§3.3, §3.3.3)."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mimo_model import MiMoForCausalLM
from mimo_rl.grpo import group_advantages, policy_loss, response_logprobs, token_entropy
from mimo_rl.recipe import Record, RLRecipe
from mimo_rl.sampling import RewardedGroup
from mimo_train import Trainer


class UpdateStatistics(Record, frozen=True, kw_only=True):
    """Means over the step's response tokens, unless it says otherwise; null in a step without an update."""

    num_updates: int = 0
    loss: float | None = None
    """Mean over the mini-batches."""

    entropy: float | None = None
    """Of the policy before the first update, in nats a token."""

    clip_fraction: float | None = None
    """Share of tokens whose gradient the clipping removed."""

    ratio_mean: float | None = None
    ratio_max: float | None = None
    """Largest ρ of the step."""

    engine_gap: float | None = None
    """Distance between the engine's log-probabilities and those recomputed for training, in nats."""

    grad_norm: float | None = None
    """Mean over the mini-batches, before clipping."""


@dataclass(frozen=True)
class _Row:
    """One response, ready to train on."""

    tokens: Tensor
    """int64: prompt, then response."""

    num_prompt: int
    advantage: float
    group_tokens: int
    """Response tokens of its whole group: the Σ|oᵢ| of Eq. 1."""

    engine_logprobs: Tensor


def update_policy(
    trainer: Trainer,
    model: MiMoForCausalLM,
    groups: Sequence[RewardedGroup],
    recipe: RLRecipe,
    *,
    num_ids: int,
    step: int,
) -> UpdateStatistics:
    """Splits the groups into mini-batches, in an order given by seed and step, and makes an update with each.

    π_old is recomputed here with the forward pass of training instead of trusting the engine: decoding with
    a cache, in other batch shapes and perhaps another precision, gives other last bits, and Eq. 1 would
    read them as a change of policy. So ρ is 1 before the first update, whatever engine wrote the responses.
    It costs a forward pass per step.

    Without groups there is no update, and the policy stays as it is.

    Args:
        num_ids: ids that the tokenizer knows. The padded rest is never sampled, and takes no probability here.
    """
    if not groups:
        return UpdateStatistics()
    rows_of = [_rows(group) for group in groups]
    everything = [row for rows in rows_of for row in rows]
    old_of: dict[int, Tensor] = {}
    entropy_sum = gap_sum = 0.0
    with torch.no_grad():
        for rows in _micro_batches(everything, recipe.micro_batch_tokens):
            tokens_BT, mask_BT = _pad(rows, trainer.device)
            logits_BTV = _logits(model, tokens_BT, recipe, num_ids)
            logprobs_BT = response_logprobs(logits_BTV, tokens_BT, temperature=recipe.generation.temperature)
            entropy_BT = token_entropy(logits_BTV, temperature=recipe.generation.temperature)
            entropy_sum += float(entropy_BT[mask_BT].sum())
            for row, logprobs_T in zip(rows, logprobs_BT, strict=True):
                old_of[id(row)] = logprobs_T
                response_T = logprobs_T[row.num_prompt - 1 : len(row.tokens) - 1]
                gap_sum += float((response_T - row.engine_logprobs.to(response_T)).abs().sum())

    order = random.Random(f"{recipe.seed}/{step}/mini-batches").sample(range(len(groups)), len(groups))
    size = recipe.batch.mini_batch_problems
    losses: list[float] = []
    grad_norms: list[float] = []
    num_clipped, ratio_sum, ratio_max = 0, 0.0, 0.0
    for start in range(0, len(order), size):
        chosen = order[start : start + size]
        loss_sum = 0.0
        for rows in _micro_batches([row for g in chosen for row in rows_of[g]], recipe.micro_batch_tokens):
            tokens_BT, mask_BT = _pad(rows, trainer.device)
            logprobs_BT = response_logprobs(
                _logits(model, tokens_BT, recipe, num_ids), tokens_BT, temperature=recipe.generation.temperature
            )
            width = logprobs_BT.shape[1]
            old_BT = torch.stack([_fit(old_of[id(row)], width) for row in rows])
            # policy_loss divides by the tokens it is shown, and is linear in the advantage. Scaled so, each
            # row counts as its share of its own group's mean, and rows of many groups, sorted by length,
            # can share a micro-batch.
            num_tokens = mask_BT.sum()
            advantage_B = torch.tensor([row.advantage / row.group_tokens for row in rows], device=trainer.device)
            loss = policy_loss(
                logprobs_BT,
                old_BT,
                advantage_B * (num_tokens / len(chosen)),
                mask_BT,
                clip_low=recipe.clip_low,
                clip_high=recipe.clip_high,
            )
            trainer.backward(loss)
            with torch.no_grad():
                loss_sum += float(loss)
                ratio = (logprobs_BT - old_BT)[mask_BT].exp()
                gains = (advantage_B > 0)[:, None].expand_as(mask_BT)[mask_BT]
                losing = (advantage_B < 0)[:, None].expand_as(mask_BT)[mask_BT]
                clipped = (gains & (ratio > 1 + recipe.clip_high)) | (losing & (ratio < 1 - recipe.clip_low))
                num_clipped += int(clipped.sum())
                ratio_sum += float(ratio.sum())
                ratio_max = max(ratio_max, float(ratio.max()))
        grad_norms.append(trainer.step(recipe.lr))
        losses.append(loss_sum)
    num_tokens_in_all = sum(len(row.tokens) - row.num_prompt for row in everything)
    return UpdateStatistics(
        loss=sum(losses) / len(losses),
        entropy=entropy_sum / num_tokens_in_all,
        clip_fraction=num_clipped / num_tokens_in_all,
        ratio_mean=ratio_sum / num_tokens_in_all,
        ratio_max=ratio_max,
        engine_gap=gap_sum / num_tokens_in_all,
        grad_norm=sum(grad_norms) / len(grad_norms),
        num_updates=len(grad_norms),
    )


def _rows(rewarded: RewardedGroup) -> list[_Row]:
    group = rewarded.group
    advantages = group_advantages(torch.tensor([rewarded.rewards]))[0].tolist()
    group_tokens = sum(len(rollout.tokens) for rollout in group.rollouts)
    return [
        _Row(
            tokens=torch.tensor(group.prompt + rollout.tokens),
            num_prompt=len(group.prompt),
            advantage=advantage,
            group_tokens=group_tokens,
            engine_logprobs=torch.tensor(rollout.logprobs),
        )
        for rollout, advantage in zip(group.rollouts, advantages, strict=True)
    ]


def _micro_batches(rows: Sequence[_Row], max_tokens: int) -> Iterator[list[_Row]]:
    """Rows from long to short, as many at a time as fit when padded to the longest; at least one."""
    batch: list[_Row] = []
    for row in sorted(rows, key=lambda row: -len(row.tokens)):
        if batch and len(batch[0].tokens) * (len(batch) + 1) > max_tokens:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def _pad(rows: Sequence[_Row], device: torch.device) -> tuple[Tensor, Tensor]:
    """tokens_BT, and mask_BT over the T - 1 predicted tokens, true on responses.

    Padding is on the right, where causal attention keeps it from every real token: no attention mask is
    needed.
    """
    tokens_BT = torch.nn.utils.rnn.pad_sequence([row.tokens for row in rows], batch_first=True)
    positions_T = torch.arange(1, tokens_BT.shape[1])
    starts_B1 = torch.tensor([[row.num_prompt] for row in rows])
    ends_B1 = torch.tensor([[len(row.tokens)] for row in rows])
    mask_BT = (positions_T >= starts_B1) & (positions_T < ends_B1)
    return tokens_BT.to(device), mask_BT.to(device)


def _fit(logprobs_T: Tensor, width: int) -> Tensor:
    """Cut or padded to another micro-batch's width; what is cut or added lies behind the response."""
    if len(logprobs_T) >= width:
        return logprobs_T[:width]
    return torch.nn.functional.pad(logprobs_T, (0, width - len(logprobs_T)))


def _logits(model: MiMoForCausalLM, tokens_BT: Tensor, recipe: RLRecipe, num_ids: int) -> Tensor:
    with torch.autocast(tokens_BT.device.type, torch.bfloat16, enabled=recipe.dtype == "bfloat16"):
        logits_BTV: Tensor = model(input_ids=tokens_BT, use_cache=False).logits
    return logits_BTV[..., :num_ids]
