"""Which wiring of its MTP layers a checkpoint was made for: the released one, or one of the usual mistakes (§2.2).

A wrong wiring fails silently: the text stays right, fewer drafts are accepted. So the model answers prompts greedily,
and each MTP layer drafts that answer's tokens, from the true tokens before, wired as released and wired wrongly. A
checkpoint whose layers were trained for a wrong wiring drafts best with that one.

Not told apart are facts that make no difference to a checkpoint: a final norm of equal weights changes nothing before
another norm, and few layers care about the first position. What is tried is one mistake at a time.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from mimo_model.attention import Sight, choose_attention
from mimo_model.checkpoint import num_tokenizer_ids
from mimo_model.decoding.engine import Engine
from mimo_model.decoding.sampling import Sampling
from mimo_model.errors import ModelError
from mimo_model.model import MiMoForCausalLM, MTPLayer

CANNOT_TELL = "cannot tell"
RELEASED = "released"
UNTRAINED_COPY = "untrained copy"

PROMPTS = (
    "What is 17 + 25?",
    "Write a function that reverses a list.",
    "Why is the sky blue?",
    "Name three rivers and the countries they flow through.",
    "If 3x + 4 = 19, what is x?",
    "Translate 'good morning' into French.",
    "Summarise how a bill becomes a law.",
    "What does the word 'entropy' mean?",
)
"""Asked where the caller has none of its own."""

# Differences below this are no finding, however many tokens there are.
_LEAST_MARGIN = 0.02


@dataclass(frozen=True)
class Wiring:
    """How MTP layer k is fed, and which token its draft is held against."""

    name: str
    fault: str
    """What a checkpoint does that fits this wiring best."""

    halves_swapped: bool = False
    after_final_norm: bool = False
    chained: bool = False
    first_embedding_kept: bool = False
    target_shift: int = 0
    """Against x_{i+k+1+shift}."""

    decides: bool = False
    """Without ruling it out, nothing is known: it always makes a difference to a checkpoint that drafts."""


WIRINGS = (
    Wiring(RELEASED, "is wired as released"),
    Wiring(
        "swapped halves",
        "takes [embedding, hidden]; released is [hidden, embedding]",
        halves_swapped=True,
        decides=True,
    ),
    Wiring(
        "after the final norm",
        "takes the hidden state after the model's final norm; released is before it",
        after_final_norm=True,
    ),
    Wiring("targets one early", "predicts x_{i+k}; released is x_{i+k+1}", target_shift=-1, decides=True),
    Wiring("targets one late", "predicts x_{i+k+2}; released is x_{i+k+1}", target_shift=1, decides=True),
    Wiring("chained layers", "takes the layer before it; released is the main model's hidden state", chained=True),
    Wiring(
        "kept first embedding",
        "keeps the embedding at the first position; released is zeros there",
        first_embedding_kept=True,
    ),
)


@dataclass(frozen=True)
class LayerCheck:
    """One MTP layer under every wiring."""

    layer: int
    """From 1."""

    num_positions: int
    """Drafts that each acceptance is over."""

    acceptances: dict[str, float]
    """Share of right drafts by wiring name."""

    chance: float
    """What always drafting the commonest token would score."""

    finding: str
    """The wiring that fits: RELEASED, another one's name, or CANNOT_TELL; or UNTRAINED_COPY of layer 1."""

    not_told_apart: tuple[str, ...]
    """Wirings that fit as well as the released one."""


def self_check(
    model: MiMoForCausalLM,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    *,
    max_tokens: int = 96,
) -> list[LayerCheck]:
    """Each MTP layer's acceptance under every wiring, on the model's own greedy answers.

    Raises:
        ModelError: the model has no MTP layer.
    """
    num_layers = len(model.model.mtp_layers)
    if not num_layers:
        raise ModelError("the checkpoint has no MTP layers, so there is no wiring to check.")
    num_ids = num_tokenizer_ids(tokenizer)
    right: list[Counter[str]] = [Counter() for _ in range(num_layers)]
    targets: list[Counter[int]] = [Counter() for _ in range(num_layers)]
    for prompt, answer in zip(prompts, _answers(model, tokenizer, prompts, max_tokens), strict=True):
        ids_T = torch.tensor([*prompt, *answer], device=model.lm_head.weight.device)
        for wiring in WIRINGS:
            with torch.inference_mode():
                drafts = _drafts(model, ids_T, wiring, num_ids)
            for k, drafts_T in enumerate(drafts, start=1):
                # Positions whose input x_{i+k} and the tokens that any wiring drafts are of the answer.
                first = max(len(prompt) - k, 0)  # an answer may be too short for any
                places = torch.arange(first, max(len(ids_T) - k - 2, first), device=ids_T.device)
                wanted = ids_T[places + k + 1 + wiring.target_shift]
                right[k - 1][wiring.name] += int((drafts_T[places] == wanted).sum())
                if wiring.name == RELEASED:
                    targets[k - 1].update(wanted.tolist())
    checks = [_judge(k, right[k - 1], targets[k - 1]) for k in range(1, num_layers + 1)]
    return [
        dataclasses.replace(check, finding=UNTRAINED_COPY, not_told_apart=())
        if check.layer > 1 and _is_copy(model.model.mtp_layers[0], model.model.mtp_layers[check.layer - 1])
        else check
        for check in checks
    ]


def describe(checks: Sequence[LayerCheck]) -> str:
    """The acceptances as a table for a terminal."""
    width = max(len(wiring.name) for wiring in WIRINGS)
    lines = [f"{'wiring':<{width}}" + "".join(f"  layer {check.layer}" for check in checks)]
    lines += [
        f"{wiring.name:<{width}}" + "".join(f"  {check.acceptances[wiring.name]:7.3f}" for check in checks)
        for wiring in WIRINGS
    ]
    lines.append(f"{'chance':<{width}}" + "".join(f"  {check.chance:7.3f}" for check in checks))
    for check in checks:
        same = f" (not told apart: {', '.join(check.not_told_apart)})" if check.not_told_apart else ""
        lines.append(f"layer {check.layer}: {check.finding}, over {check.num_positions:,} drafts{same}")
    return "\n".join(lines)


def faults(checks: Sequence[LayerCheck]) -> list[str]:
    """One sentence for each layer that the released wiring does not clearly fit."""
    found = {wiring.name: wiring.fault for wiring in WIRINGS}
    sentences = []
    for check in checks:
        if check.finding == CANNOT_TELL:
            sentences.append(f"layer {check.layer}: cannot tell, no wiring drafts clearly better than chance")
        elif check.finding == UNTRAINED_COPY:
            sentences.append(f"layer {check.layer} is a copy of layer 1 that was never fine-tuned (§2.2)")
        elif check.finding != RELEASED:
            sentences.append(f"layer {check.layer} {found[check.finding]} ({check.finding})")
    return sentences


def _answers(
    model: MiMoForCausalLM, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Sequence[int]], max_tokens: int
) -> list[Sequence[int]]:
    engine = Engine(model, tokenizer, num_drafts=0)
    order = [engine.submit(prompt, Sampling(temperature=0.0, max_tokens=max_tokens)) for prompt in prompts]
    answers: dict[int, Sequence[int]] = {}
    while engine.pending:
        answers.update((request, completion.tokens) for request, completion in engine.step())
    return [answers[request] for request in order]


def _drafts(model: MiMoForCausalLM, ids_T: Tensor, wiring: Wiring, num_ids: int) -> list[Tensor]:
    """Each layer's likeliest id at every position, int64 [T]."""
    network = model.model
    x_1TD = network.embed_tokens(ids_T[None])
    rope = network.rope(torch.arange(len(ids_T), device=ids_T.device)[None], x_1TD.dtype)
    attend = choose_attention(network, Sight(len(ids_T), 0), ids_T.device)
    hidden_1TD = network.trunk(x_1TD, rope, attend)
    if wiring.after_final_norm:
        hidden_1TD = network.norm(hidden_1TD)
    drafts = []
    for k, layer in enumerate(network.mtp_layers, start=1):
        assert isinstance(layer, MTPLayer)
        shifted_1TD = F.pad(x_1TD[:, k:], (0, 0, 0, min(k, len(ids_T))))
        if not wiring.first_embedding_kept:
            shifted_1TD[:, 0] = 0.0
        halves = [layer.hidden_layernorm(hidden_1TD), layer.token_layernorm(shifted_1TD)]
        if wiring.halves_swapped:
            halves.reverse()
        output_1TD = layer(layer.input_proj(torch.cat(halves, dim=-1)), rope, attend)
        if wiring.chained:
            hidden_1TD = output_1TD
        logits_TV = model.lm_head(layer.final_layernorm(output_1TD[0]))
        drafts.append(logits_TV[:, :num_ids].argmax(-1))
    return drafts


def _judge(layer: int, right: Counter[str], targets: Counter[int]) -> LayerCheck:
    num_positions = targets.total()
    acceptances = {wiring.name: right[wiring.name] / max(num_positions, 1) for wiring in WIRINGS}
    chance = max(targets.values(), default=0) / max(num_positions, 1)
    released = acceptances[RELEASED]
    others = [wiring for wiring in WIRINGS if wiring.name != RELEASED and not (wiring.chained and layer == 1)]
    best = max(others, key=lambda wiring: acceptances[wiring.name])
    same = tuple(
        wiring.name for wiring in others if abs(acceptances[wiring.name] - released) <= _margin(released, num_positions)
    )
    most = max(released, acceptances[best.name])
    if not num_positions or most - chance <= _margin(most, num_positions):
        finding = CANNOT_TELL
    elif acceptances[best.name] - released > _margin(most, num_positions):
        finding = best.name
    elif any(wiring.name in same for wiring in others if wiring.decides):
        finding = CANNOT_TELL
    else:
        finding = RELEASED
    return LayerCheck(layer, num_positions, acceptances, chance, finding, same if finding == RELEASED else ())


def _is_copy(first: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))


def _margin(share: float, num_positions: int) -> float:
    """Four standard errors of the difference of two such shares."""
    error = math.sqrt(2 * max(share * (1 - share), 0.01) / max(num_positions, 1))
    return max(_LEAST_MARGIN, 4 * error)
