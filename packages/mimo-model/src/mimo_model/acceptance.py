"""How often the main model agrees with each MTP layer, beside a control that must stay near chance (§2.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from mimo_model.decoding.engine import Engine
from mimo_model.decoding.sampling import Completion, Sampling
from mimo_model.errors import ModelError
from mimo_model.model import MiMoForCausalLM

# Sequences in one forward: logits of every layer are held for all their positions.
_BATCH_SIZE = 16


@dataclass(frozen=True)
class LayerAcceptance:
    """One MTP layer on the model's own greedy output."""

    layer: int
    """From 1."""

    acceptance: float
    """Share of response tokens that the layer drafts right, given the true tokens before."""

    control: float
    """The same drafts against the token one place further on: what a mis-wired layer, or one that always says
    the same, would score."""

    num_positions: int
    """Response tokens that `acceptance` is over."""

    num_drafted: int
    """Drafts of this layer in speculative decoding, one per round."""

    num_accepted: int
    """Those accepted together with all earlier drafts of their round."""


def measure_acceptance(
    model: MiMoForCausalLM,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    *,
    max_tokens: int,
) -> list[LayerAcceptance]:
    """Decodes the prompts greedily with all MTP layers drafting, then reads the responses once more in one pass.

    The two measurements differ: the engine stops a round at its first wrong draft, and drafts of layer 2 stand on
    the draft of layer 1, not on the true token.

    Raises:
        ModelError: the model has no MTP layer.
    """
    num_layers = len(model.model.mtp_layers)
    if not num_layers:
        raise ModelError("the checkpoint has no MTP layers, so there is no acceptance to measure.")
    completions = _decode(model, tokenizer, prompts, num_drafts=num_layers, max_tokens=max_tokens)
    right, shifted, totals, shifted_totals = ([0] * num_layers for _ in range(4))
    for start in range(0, len(prompts), _BATCH_SIZE):
        batch = slice(start, start + _BATCH_SIZE)
        ids_BT, is_response_BT = _pad(prompts[batch], completions[batch], device=model.lm_head.weight.device)
        with torch.inference_mode():
            mtp_logits = model(input_ids=ids_BT, num_mtp_layers=num_layers).mtp_logits or ()
        for k, logits_BTV in enumerate(mtp_logits, start=1):
            drafts_BT = logits_BTV.argmax(-1)
            counts = _agreement(drafts_BT, ids_BT, is_response_BT, draft_offset=k + 1, target_offset=k + 1)
            right[k - 1] += counts[0]
            totals[k - 1] += counts[1]
            counts = _agreement(drafts_BT, ids_BT, is_response_BT, draft_offset=k + 1, target_offset=k + 2)
            shifted[k - 1] += counts[0]
            shifted_totals[k - 1] += counts[1]
    return [
        LayerAcceptance(
            layer=k + 1,
            acceptance=right[k] / max(totals[k], 1),
            control=shifted[k] / max(shifted_totals[k], 1),
            num_positions=totals[k],
            num_drafted=sum(completion.num_drafted[k] for completion in completions),
            num_accepted=sum(completion.num_accepted[k] for completion in completions),
        )
        for k in range(num_layers)
    ]


def _decode(
    model: MiMoForCausalLM,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    *,
    num_drafts: int,
    max_tokens: int,
) -> list[Completion]:
    engine = Engine(model, tokenizer, num_drafts=num_drafts)
    for prompt in prompts:
        engine.submit(prompt, Sampling(temperature=0.0, max_tokens=max_tokens))
    completions: dict[int, Completion] = {}
    while engine.pending:
        completions.update(engine.step())
    return [completions[i] for i in range(len(prompts))]


def _pad(
    prompts: Sequence[Sequence[int]], completions: Sequence[Completion], *, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Prompts with their responses, padded on the right, and which tokens are responses."""
    sequences = [[*prompt, *completion.tokens] for prompt, completion in zip(prompts, completions, strict=True)]
    ids_BT = torch.zeros(len(sequences), max(map(len, sequences)), dtype=torch.int64)
    is_response_BT = torch.zeros_like(ids_BT, dtype=torch.bool)
    for row, (prompt, sequence) in enumerate(zip(prompts, sequences, strict=True)):
        ids_BT[row, : len(sequence)] = torch.tensor(sequence)
        is_response_BT[row, len(prompt) : len(sequence)] = True
    return ids_BT.to(device), is_response_BT.to(device)


def _agreement(
    drafts_BT: Tensor, ids_BT: Tensor, is_response_BT: Tensor, *, draft_offset: int, target_offset: int
) -> tuple[int, int]:
    """How many drafts equal x_{i + target_offset}, of those made for a response token x_{i + draft_offset}."""
    num_positions = ids_BT.shape[1] - target_offset
    if num_positions < 1:
        return 0, 0
    counted_BT = is_response_BT[:, draft_offset : draft_offset + num_positions] & is_response_BT[:, target_offset:]
    equal_BT = drafts_BT[:, :num_positions] == ids_BT[:, target_offset:]
    return int((equal_BT & counted_BT).sum()), int(counted_BT.sum())
