"""Sampling and speculative verification without a sort, a probability table of the target, or the host (§2.2).

    draw: the first v with w[0] + … + w[v] > u Σ w             w after top-k and top-p, u from (seed, position, stream)
    accept draft d at t if u q[d] < p[d]; after the first rejection draw from max(p - q, 0), after none from p

The weights w are `cutoff`'s fixed-point ones, whose sums do not depend on their order: one pass over the logits for
their maxima and one for the sums of every chunk, and a draw is a search among those and in one chunk. It falls on the
token that `sampling.draw` finds, but where the uniform number lies within rounding of the border between two.
"""

# Triton's kernels are untyped, and so are torch's device guards.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from mimo_model.decoding.sampling import ACCEPT, DRAFT, SAMPLE, distributions, draw, uniforms
from mimo_model.kernels.cutoff import (
    RECORD,
    cutoff_of,
    exponentials,
    find_cutoffs,
    fixed,
    kept_by_chunk,
    kept_weights,
    peak_of,
)
from mimo_model.kernels.device import fused
from mimo_model.kernels.language import tl, triton

_GOLDEN: Any = tl.constexpr(0x9E3779B97F4A7C15)
_FIRST_MULTIPLIER: Any = tl.constexpr(0xBF58476D1CE4E5B9)
_SECOND_MULTIPLIER: Any = tl.constexpr(0x94D049BB133111EB)
_DRAFT: Any = tl.constexpr(DRAFT)
_ACCEPT: Any = tl.constexpr(ACCEPT)
_SAMPLE: Any = tl.constexpr(SAMPLE)
_NO_TOKEN: Any = tl.constexpr(2**31 - 1)


def draft_token(
    logits_BV: Tensor,
    temperature_B: Tensor,
    top_p_B: Tensor | None,
    top_k_B: Tensor | None,
    seed_B: Tensor,
    positions_B: Tensor,
    proposals_BV: Tensor,
) -> Tensor:
    """int64 [B]: a token of each request, drawn in the draft stream; leaves what it was drawn from in `proposals_BV`.

    Args:
        temperature_B: float32, 0 for greedy: the first of the likeliest.
        top_p_B, top_k_B: as in `Sampling`, float32 and int64; None when no request restricts, which saves passes.
        seed_B, positions_B: int64; the position is the one that the token will have.
        proposals_BV: float32, overwritten; may be a part of a larger tensor.

    Raises:
        ValueError: shapes that do not fit together.
    """
    _check(logits_BV[:, None], temperature_B, top_p_B, top_k_B, seed_B, positions_B)
    if proposals_BV.shape != logits_BV.shape or proposals_BV.dtype != torch.float32 or proposals_BV.stride(-1) != 1:
        raise ValueError(
            f"proposals_BV is {proposals_BV.dtype} {list(proposals_BV.shape)}: wanted float32 "
            f"{list(logits_BV.shape)}, contiguous in the last dimension."
        )
    function = _draft_token if fused(logits_BV) else draft_token_reference
    return function(logits_BV, temperature_B, top_p_B, top_k_B, seed_B, positions_B, proposals_BV)


def verify(
    logits_BTV: Tensor,
    drafts_BK: Tensor,
    proposals_BKV: Tensor,
    temperature_B: Tensor,
    top_p_B: Tensor | None,
    top_k_B: Tensor | None,
    seed_B: Tensor,
    positions_B: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Accepts a prefix of each request's K drafts and draws one token more (Leviathan's rule); K = 0 just samples.

    Args:
        logits_BTV: T = K + 1; row t is what the model says after t drafts.
        drafts_BK: int64.
        proposals_BKV: float32, what each draft was drawn from: as `draft_token` leaves it.
        positions_B: int64, of the first draft; the other settings are those of `draft_token`.

    Returns:
        tokens int64 [B, T]: the accepted drafts, then the drawn token; what follows it means nothing.
        num_accepted int64 [B].
        logprobs float32 [B, T]: of each token under softmax(logits / temperature), at 1 for greedy, before top-k
        and top-p.

    Raises:
        ValueError: shapes that do not fit together.
    """
    _check(logits_BTV, temperature_B, top_p_B, top_k_B, seed_B, positions_B)
    batch_size, num_tokens, vocab_size = logits_BTV.shape
    wanted = (batch_size, num_tokens - 1)
    if drafts_BK.shape != wanted or proposals_BKV.shape != (*wanted, vocab_size):
        raise ValueError(
            f"Logits are {list(logits_BTV.shape)}, drafts {list(drafts_BK.shape)} and proposals "
            f"{list(proposals_BKV.shape)}: wanted [B, K + 1, V], [B, K] and [B, K, V]."
        )
    if proposals_BKV.dtype != torch.float32 or (proposals_BKV.numel() and proposals_BKV.stride(-1) != 1):
        raise ValueError("The proposals must be float32 and contiguous in the last dimension.")
    function = _verify if fused(logits_BTV) else verify_reference
    return function(logits_BTV, drafts_BK, proposals_BKV, temperature_B, top_p_B, top_k_B, seed_B, positions_B)


def draft_token_reference(
    logits_BV: Tensor,
    temperature_B: Tensor,
    top_p_B: Tensor | None,
    top_k_B: Tensor | None,
    seed_B: Tensor,
    positions_B: Tensor,
    proposals_BV: Tensor,
) -> Tensor:
    """The same with torch, by sorting."""
    sampled_BTV, _ = _distributions(logits_BV[:, None], temperature_B, top_p_B, top_k_B)
    proposals_BV.copy_(sampled_BTV[:, 0])
    return draw(sampled_BTV[:, 0], uniforms(seed_B, positions_B[:, None], DRAFT)[:, 0])


def verify_reference(
    logits_BTV: Tensor,
    drafts_BK: Tensor,
    proposals_BKV: Tensor,
    temperature_B: Tensor,
    top_p_B: Tensor | None,
    top_k_B: Tensor | None,
    seed_B: Tensor,
    positions_B: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """The same with torch, by sorting."""
    sampled_BTV, model_BTV = _distributions(logits_BTV, temperature_B, top_p_B, top_k_B)
    wanted_BK = sampled_BTV[:, :-1].gather(2, drafts_BK[..., None])[..., 0]
    proposed_BK = proposals_BKV.gather(2, drafts_BK[..., None])[..., 0]
    places_BK = positions_B[:, None] + torch.arange(drafts_BK.shape[1], device=drafts_BK.device)
    chances_BK = uniforms(seed_B, places_BK, ACCEPT)
    num_accepted_B = (chances_BK * proposed_BK < wanted_BK).long().cumprod(1).sum(1)
    rows_B = torch.arange(len(positions_B), device=positions_B.device)
    target_BV = sampled_BTV[rows_B, num_accepted_B]
    # After all drafts there is no proposal, and all of the target is in excess of it.
    excess_BV = (target_BV - F.pad(proposals_BKV, (0, 0, 0, 1))[rows_B, num_accepted_B]).clamp(min=0.0)
    # Equal distributions leave no excess; a rejection there comes from rounding alone.
    excess_BV = torch.where(excess_BV.sum(-1, keepdim=True) > 0, excess_BV, target_BV)
    drawn_B = draw(excess_BV, uniforms(seed_B, (positions_B + num_accepted_B)[:, None], SAMPLE)[:, 0])
    tokens_BT = F.pad(drafts_BK, (0, 1)).scatter(1, num_accepted_B[:, None], drawn_B[:, None])
    return tokens_BT, num_accepted_B, model_BTV.gather(2, tokens_BT[..., None])[..., 0].log()


def _distributions(
    logits_BTV: Tensor, temperature_B: Tensor, top_p_B: Tensor | None, top_k_B: Tensor | None
) -> tuple[Tensor, Tensor]:
    return distributions(
        logits_BTV,
        temperature_B,
        torch.ones_like(temperature_B) if top_p_B is None else top_p_B,
        torch.zeros_like(temperature_B, dtype=torch.int64) if top_k_B is None else top_k_B,
        restricted=top_p_B is not None or top_k_B is not None,
        greedy=True,
    )


@triton.jit
def _mix(x):
    x = (x ^ (x >> 30)) * _FIRST_MULTIPLIER
    x = (x ^ (x >> 27)) * _SECOND_MULTIPLIER
    return x ^ (x >> 31)


@triton.jit
def _uniform(seed, position, STREAM: tl.constexpr):
    """float64 in [0, 1): `sampling.uniforms`."""
    state = _mix(seed.to(tl.uint64, bitcast=True) * _GOLDEN + STREAM)
    bits = _mix(state + position.to(tl.uint64, bitcast=True) * _GOLDEN) >> 12
    return bits.to(tl.int64).to(tl.float64) * 2.220446049250313e-16  # 2^-52


@triton.jit
def _target(uniform, total):
    """int64: the place below `total` where this uniform number falls."""
    return tl.minimum((uniform * total.to(tl.float64)).to(tl.int64), total - 1)


@triton.jit
def _probabilities(weights, total):
    return (weights.to(tl.float64) * (1.0 / total.to(tl.float64))).to(tl.float32)


@triton.jit
def propose_kernel(
    logits_ptr,
    records_ptr,
    totals_ptr,
    temperature_ptr,
    seed_ptr,
    positions_ptr,
    proposals_ptr,
    tokens_ptr,
    vocab_size,
    num_chunks,
    logits_batch_stride,
    proposals_batch_stride,
    CHUNKS_BLOCK: tl.constexpr,
    CHUNK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    chunk = tl.program_id(1)
    temperature = tl.load(temperature_ptr + row)
    cutoff, num_ties = cutoff_of(records_ptr + row * RECORD)
    peak, first = peak_of(records_ptr + row * RECORD)
    kept, ties, _ = kept_by_chunk(totals_ptr, row, cutoff, num_ties, num_chunks, CHUNKS_BLOCK)
    token = chunk * CHUNK + tl.arange(0, CHUNK)
    inside = token < vocab_size
    e, bits = exponentials(logits_ptr + row * logits_batch_stride, token, inside, peak, temperature)
    num_ties = tl.sum(tl.where(tl.arange(0, CHUNKS_BLOCK) == chunk, ties, 0))
    weights = kept_weights(e, bits, token, temperature <= 0, first, cutoff, num_ties)
    total = tl.sum(kept)
    tl.store(proposals_ptr + row * proposals_batch_stride + token, _probabilities(weights, total), mask=inside)

    target = _target(_uniform(tl.load(seed_ptr + row), tl.load(positions_ptr + row), _DRAFT), total)
    target -= tl.sum(tl.where(tl.arange(0, CHUNKS_BLOCK) < chunk, kept, 0))
    if (target >= 0) & (target < tl.sum(weights)):
        drawn = tl.min(tl.where(tl.cumsum(weights, 0) > target, token, _NO_TOKEN))
        tl.store(tokens_ptr + row, drawn.to(tl.int64))


@triton.jit
def accept_kernel(
    logits_ptr,
    records_ptr,
    totals_ptr,
    temperature_ptr,
    seed_ptr,
    positions_ptr,
    drafts_ptr,
    proposals_ptr,
    tokens_ptr,
    num_accepted_ptr,
    logprobs_ptr,
    vocab_size,
    num_chunks,
    logits_batch_stride,
    logits_token_stride,
    drafts_batch_stride,
    proposals_batch_stride,
    proposals_token_stride,
    NUM_DRAFTS: tl.constexpr,
    CHUNKS_BLOCK: tl.constexpr,
    CHUNK: tl.constexpr,
):
    batch = tl.program_id(0).to(tl.int64)
    temperature = tl.load(temperature_ptr + batch)
    seed = tl.load(seed_ptr + batch)
    position = tl.load(positions_ptr + batch)
    num_accepted = tl.full([], 0, tl.int64)
    logits_ptr += batch * logits_batch_stride
    for index in range(NUM_DRAFTS):
        row = batch * (NUM_DRAFTS + 1) + index
        draft = tl.load(drafts_ptr + batch * drafts_batch_stride + index)
        cutoff, num_ties = cutoff_of(records_ptr + row * RECORD)
        peak, first = peak_of(records_ptr + row * RECORD)
        kept, ties, everything = kept_by_chunk(totals_ptr, row, cutoff, num_ties, num_chunks, CHUNKS_BLOCK)
        # The draft's whole chunk, for at the cutoff it matters how many equals come before it.
        chunk = draft // CHUNK
        token = chunk * CHUNK + tl.arange(0, CHUNK)
        e, bits = exponentials(logits_ptr + index * logits_token_stride, token, token < vocab_size, peak, temperature)
        num_ties = tl.sum(tl.where(tl.arange(0, CHUNKS_BLOCK) == chunk, ties, 0))
        weights = kept_weights(e, bits, token, temperature <= 0, first, cutoff, num_ties)
        wanted = _probabilities(tl.sum(tl.where(token == draft, weights, 0)), tl.sum(kept))
        proposed = tl.load(proposals_ptr + batch * proposals_batch_stride + index * proposals_token_stride + draft)
        chance = _uniform(seed, position + index, _ACCEPT)
        is_accepted = chance * proposed.to(tl.float64) < wanted.to(tl.float64)
        num_accepted += (is_accepted & (num_accepted == index)).to(tl.int64)
        tl.store(tokens_ptr + row, draft)
        logit = tl.load(logits_ptr + index * logits_token_stride + draft).to(tl.float32)
        tl.store(logprobs_ptr + row, _logprob(logit, peak, temperature, everything))
    tl.store(num_accepted_ptr + batch, num_accepted)


@triton.jit
def _logprob(logit, peak, temperature, everything):
    divisor = tl.where(temperature > 0, temperature, 1.0)
    # 2^-44
    normaliser = tl.log((everything.to(tl.float64) * 5.684341886080802e-14).to(tl.float32))
    return tl.div_rn(logit, divisor) - tl.div_rn(peak, divisor) - normaliser


@triton.jit
def _excess(
    logits_ptr, proposals_ptr, token, vocab_size, peak, first, temperature, cutoff, num_ties, total, has_proposal
):
    """Kept weights of a chunk's tokens, and what their probabilities have in excess of the proposal's."""
    inside = token < vocab_size
    e, bits = exponentials(logits_ptr, token, inside, peak, temperature)
    weights = kept_weights(e, bits, token, temperature <= 0, first, cutoff, num_ties)
    proposed = tl.load(proposals_ptr + token, mask=inside & has_proposal, other=0.0)
    return weights, fixed(tl.maximum(_probabilities(weights, total) - proposed, 0.0))


@triton.jit
def excess_kernel(
    logits_ptr,
    records_ptr,
    totals_ptr,
    excess_ptr,
    temperature_ptr,
    proposals_ptr,
    num_accepted_ptr,
    vocab_size,
    num_chunks,
    logits_batch_stride,
    logits_token_stride,
    proposals_batch_stride,
    proposals_token_stride,
    NUM_DRAFTS: tl.constexpr,
    CHUNKS_BLOCK: tl.constexpr,
    CHUNK: tl.constexpr,
):
    batch = tl.program_id(0).to(tl.int64)
    chunk = tl.program_id(1)
    index = tl.load(num_accepted_ptr + batch)
    if index == NUM_DRAFTS:
        return
    row = batch * (NUM_DRAFTS + 1) + index
    temperature = tl.load(temperature_ptr + batch)
    cutoff, num_ties = cutoff_of(records_ptr + row * RECORD)
    peak, first = peak_of(records_ptr + row * RECORD)
    kept, ties, _ = kept_by_chunk(totals_ptr, row, cutoff, num_ties, num_chunks, CHUNKS_BLOCK)
    _, excess = _excess(
        logits_ptr + batch * logits_batch_stride + index * logits_token_stride,
        proposals_ptr + batch * proposals_batch_stride + index * proposals_token_stride,
        chunk * CHUNK + tl.arange(0, CHUNK),
        vocab_size,
        peak,
        first,
        temperature,
        cutoff,
        tl.sum(tl.where(tl.arange(0, CHUNKS_BLOCK) == chunk, ties, 0)),
        tl.sum(kept),
        index < NUM_DRAFTS,
    )
    tl.store(excess_ptr + batch * num_chunks + chunk, tl.sum(excess))


@triton.jit
def emit_kernel(
    logits_ptr,
    records_ptr,
    totals_ptr,
    excess_ptr,
    temperature_ptr,
    seed_ptr,
    positions_ptr,
    proposals_ptr,
    num_accepted_ptr,
    tokens_ptr,
    logprobs_ptr,
    vocab_size,
    num_chunks,
    logits_batch_stride,
    logits_token_stride,
    proposals_batch_stride,
    proposals_token_stride,
    NUM_DRAFTS: tl.constexpr,
    CHUNKS_BLOCK: tl.constexpr,
    CHUNK: tl.constexpr,
):
    batch = tl.program_id(0).to(tl.int64)
    index = tl.load(num_accepted_ptr + batch)
    row = batch * (NUM_DRAFTS + 1) + index
    temperature = tl.load(temperature_ptr + batch)
    cutoff, num_ties = cutoff_of(records_ptr + row * RECORD)
    peak, first = peak_of(records_ptr + row * RECORD)
    kept, ties, everything = kept_by_chunk(totals_ptr, row, cutoff, num_ties, num_chunks, CHUNKS_BLOCK)
    total = tl.sum(kept)
    chunks = tl.arange(0, CHUNKS_BLOCK)
    has_proposal = index < NUM_DRAFTS
    excess = tl.load(excess_ptr + batch * num_chunks + chunks, mask=(chunks < num_chunks) & has_proposal, other=0)
    # Equal distributions leave no excess; a rejection there comes from rounding alone.
    is_excess = tl.sum(excess) > 0
    by_chunk = tl.where(is_excess, excess, kept)

    target = _target(
        _uniform(tl.load(seed_ptr + batch), tl.load(positions_ptr + batch) + index, _SAMPLE), tl.sum(by_chunk)
    )
    chunk = tl.min(tl.where(tl.cumsum(by_chunk, 0) > target, chunks, CHUNKS_BLOCK - 1))
    target -= tl.sum(tl.where(chunks < chunk, by_chunk, 0))
    logits_ptr += batch * logits_batch_stride + index * logits_token_stride
    token = chunk * CHUNK + tl.arange(0, CHUNK)
    weights, excess_weights = _excess(
        logits_ptr,
        proposals_ptr + batch * proposals_batch_stride + index * proposals_token_stride,
        token,
        vocab_size,
        peak,
        first,
        temperature,
        cutoff,
        tl.sum(tl.where(tl.arange(0, CHUNKS_BLOCK) == chunk, ties, 0)),
        total,
        has_proposal,
    )
    weights = tl.where(is_excess, excess_weights, weights)
    drawn = tl.min(tl.where(tl.cumsum(weights, 0) > target, token, _NO_TOKEN))
    drawn = tl.minimum(drawn, vocab_size - 1)  # where logits are not finite, nothing was found
    tl.store(tokens_ptr + row, drawn.to(tl.int64))
    logit = tl.load(logits_ptr + drawn).to(tl.float32)
    tl.store(logprobs_ptr + row, _logprob(logit, peak, temperature, everything))
    if has_proposal:
        # The last row is neither a draft's nor drawn, unless all were accepted.
        last = batch * (NUM_DRAFTS + 1) + NUM_DRAFTS
        tl.store(tokens_ptr + last, tl.full([], 0, tl.int64))
        tl.store(logprobs_ptr + last, 0.0)


@torch.library.custom_op("mimo::draft_token", mutates_args=("proposals_BV",))
def _draft_token(
    logits_BV: Tensor,
    temperature_B: Tensor,
    top_p_B: Tensor | None,
    top_k_B: Tensor | None,
    seed_B: Tensor,
    positions_B: Tensor,
    proposals_BV: Tensor,
) -> Tensor:
    tokens_B = torch.zeros_like(positions_B)  # no program writes where logits are not finite
    batch_size, vocab_size = logits_BV.shape
    with torch.cuda.device_of(logits_BV):
        found = find_cutoffs(logits_BV[:, None], temperature_B, top_p_B, top_k_B)
        propose_kernel[(batch_size, found.num_chunks)](
            logits_BV,
            found.records,
            found.totals,
            temperature_B,
            seed_B,
            positions_B,
            proposals_BV,
            tokens_B,
            vocab_size,
            found.num_chunks,
            logits_BV.stride(0),
            proposals_BV.stride(0),
            **found.options,
        )
    return tokens_B


@_draft_token.register_fake
def _(_logits: Tensor, *settings_and_proposals: Tensor | None) -> Tensor:
    positions_B = settings_and_proposals[4]
    assert positions_B is not None
    return torch.empty_like(positions_B)


@torch.library.custom_op("mimo::verify", mutates_args=())
def _verify(
    logits_BTV: Tensor,
    drafts_BK: Tensor,
    proposals_BKV: Tensor,
    temperature_B: Tensor,
    top_p_B: Tensor | None,
    top_k_B: Tensor | None,
    seed_B: Tensor,
    positions_B: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    batch_size, num_tokens, vocab_size = logits_BTV.shape
    tokens_BT, num_accepted_B, logprobs_BT = _outputs(logits_BTV)
    strides = (*logits_BTV.stride()[:2],)
    proposals_strides = (*proposals_BKV.stride()[:2],)
    with torch.cuda.device_of(logits_BTV):
        found = find_cutoffs(logits_BTV, temperature_B, top_p_B, top_k_B)
        excess = torch.empty(batch_size, found.num_chunks, dtype=torch.int64, device=logits_BTV.device)
        options = {"NUM_DRAFTS": num_tokens - 1, **found.options}
        accept_kernel[(batch_size,)](
            logits_BTV,
            found.records,
            found.totals,
            temperature_B,
            seed_B,
            positions_B,
            drafts_BK,
            proposals_BKV,
            tokens_BT,
            num_accepted_B,
            logprobs_BT,
            vocab_size,
            found.num_chunks,
            *strides,
            drafts_BK.stride(0),
            *proposals_strides,
            **options,
        )
        if num_tokens > 1:
            excess_kernel[(batch_size, found.num_chunks)](
                logits_BTV,
                found.records,
                found.totals,
                excess,
                temperature_B,
                proposals_BKV,
                num_accepted_B,
                vocab_size,
                found.num_chunks,
                *strides,
                *proposals_strides,
                **options,
            )
        emit_kernel[(batch_size,)](
            logits_BTV,
            found.records,
            found.totals,
            excess,
            temperature_B,
            seed_B,
            positions_B,
            proposals_BKV,
            num_accepted_B,
            tokens_BT,
            logprobs_BT,
            vocab_size,
            found.num_chunks,
            *strides,
            *proposals_strides,
            **options,
        )
    return tokens_BT, num_accepted_B, logprobs_BT


@_verify.register_fake
def _outputs(logits_BTV: Tensor, *_: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    shape, device = logits_BTV.shape[:2], logits_BTV.device
    return (
        torch.empty(shape, dtype=torch.int64, device=device),
        torch.empty(shape[0], dtype=torch.int64, device=device),
        torch.empty(shape, dtype=torch.float32, device=device),
    )


def _check(
    logits_BTV: Tensor,
    temperature_B: Tensor,
    top_p_B: Tensor | None,
    top_k_B: Tensor | None,
    seed_B: Tensor,
    positions_B: Tensor,
) -> None:
    settings = {
        "temperature_B": (temperature_B, torch.float32),
        "top_p_B": (top_p_B, torch.float32),
        "top_k_B": (top_k_B, torch.int64),
        "seed_B": (seed_B, torch.int64),
        "positions_B": (positions_B, torch.int64),
    }
    for name, (tensor, dtype) in settings.items():
        if tensor is not None and (tensor.shape != logits_BTV.shape[:1] or tensor.dtype != dtype):
            raise ValueError(
                f"{name} is {tensor.dtype} {list(tensor.shape)}: wanted {dtype}, one per row of the logits "
                f"{list(logits_BTV.shape)}."
            )
    if logits_BTV.stride(-1) != 1:
        raise ValueError("The logits must be contiguous in the last dimension. Call .contiguous() on them.")
