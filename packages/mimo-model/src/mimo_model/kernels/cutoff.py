"""The tokens that top-k and top-p leave, exactly and without a sort.

    e[v] = exp((logits[v] - max) / temperature)                weights, in fixed point: w[v] = ⌊2⁴⁴ e[v]⌋
    kept: the tokens with e[v] above a cutoff, and so many of those at it, in the order of their ids

Sums of fixed-point weights are integers, so they come out the same however the vocabulary is cut up, and every kernel
agrees to the bit on what is kept and where a draw falls. What fixed point loses is below 1e-8 of a distribution.

The cutoff is found digit by digit. Float32 numbers from 0 to 1 order as their bits do, 30 of them, so six passes over
five bits each find the largest e whose rank (top-k) or mass (top-p) is enough: a pass adds up, for its 32 digits, the
counts and weights of the tokens that share the digits found so far, and the next pass reads its digit from the sums.
Ranks and masses follow `sampling.distributions`: top-p counts the mass that is left by top-k.

A row is one distribution; its vocabulary is cut into chunks, one program each. What is found of a row stands in its
record, from which other kernels read it with the functions here: `peak_of`, `cutoff_of`, `kept_by_chunk`.
"""

# Triton's kernels are untyped.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mimo_model.kernels.language import tl, triton

NUM_PASSES = 6
_DIGITS = 32
_SUMS = 64
_SEARCH_SUMS = NUM_PASSES * 2 * _DIGITS
_RECORD = _SUMS + 2 * _SEARCH_SUMS

# A row's record of int64, zeros at first: 0 the peak; 1 the cutoff and 2 how many are kept at it; from 4 on, for top-k
# and then for top-p, what was found before each pass and after the last, four words each: digits, and the count and
# weight above them; from 64 on, for each search and pass, the counts of its digits, then their weights.
RECORD: Any = tl.constexpr(_RECORD)
_STATES_PLACE: Any = tl.constexpr(4)
_SUMS_PLACE: Any = tl.constexpr(_SUMS)
_SUMS_OF_SEARCH: Any = tl.constexpr(_SEARCH_SUMS)
_NUM_PASSES: Any = tl.constexpr(NUM_PASSES)
_NUM_DIGITS: Any = tl.constexpr(_DIGITS)
_TOP_K: Any = tl.constexpr(0)
_TOP_P: Any = tl.constexpr(1)
_SCALE: Any = tl.constexpr(2.0**44)
ONE: Any = tl.constexpr(2**44)
_LAST_TOKEN: Any = tl.constexpr(2**31 - 1)


@dataclass(frozen=True)
class Cutoffs:
    """What the searches of N rows leave on the device for the kernels that draw, and how those are launched."""

    records: Tensor
    """int64 [N, words]."""

    totals: Tensor
    """int64 [N, 3, chunks]: the weight of all tokens, that above the cutoff, and the number of tokens at it."""

    options: dict[str, Any]

    num_chunks: int


def find_cutoffs(logits_BTV: Tensor, temperature_B: Tensor, top_p_B: Tensor | None, top_k_B: Tensor | None) -> Cutoffs:
    """Searches every row of [B, T]; on a CUDA device or in the interpreter."""
    batch_size, num_tokens, vocab_size = logits_BTV.shape
    options = chunk_options(vocab_size)
    num_chunks = triton.cdiv(vocab_size, options["CHUNK"])
    num_rows, device = batch_size * num_tokens, logits_BTV.device
    maxima = torch.empty(num_rows, num_chunks, dtype=torch.float32, device=device)
    records = torch.zeros(num_rows, _RECORD, dtype=torch.int64, device=device)
    totals = torch.empty(num_rows, 3, num_chunks, dtype=torch.int64, device=device)
    shape = (vocab_size, num_tokens, num_chunks, *logits_BTV.stride()[:2])
    tensors = (logits_BTV, maxima, records, temperature_B, top_k_B, top_p_B)
    limits = {"HAS_TOP_K": top_k_B is not None, "HAS_TOP_P": top_p_B is not None}
    grid = (num_rows, num_chunks)
    maxima_kernel[grid](logits_BTV, maxima, records, *shape, **options)
    for by_count in (True, False):
        if limits["HAS_TOP_K" if by_count else "HAS_TOP_P"]:
            for index in range(NUM_PASSES):
                search_kernel[grid](
                    *tensors,
                    *shape,
                    BY_COUNT=by_count,
                    HAS_TOP_K=limits["HAS_TOP_K"],
                    PASS=index,
                    **search_options(vocab_size),
                )
    totals_kernel[grid](*tensors, totals, *shape, **limits, **options)
    return Cutoffs(records, totals, {**options, "CHUNKS_BLOCK": triton.next_power_of_2(num_chunks)}, num_chunks)


def chunk_options(vocab_size: int) -> dict[str, Any]:
    """How the kernels of a row are launched: chunks of 1,024 tokens, fewer where that would leave but a few chunks."""
    return {"CHUNK": min(1024, max(64, triton.next_power_of_2(vocab_size // 8))), "num_warps": 4}


def search_options(vocab_size: int) -> dict[str, Any]:
    """How a pass is launched: a step's 32 sums per token stay in registers."""
    options = chunk_options(vocab_size)
    return {**options, "STEP": min(options["CHUNK"], 128)}


@triton.jit
def fixed(e):
    """int64: e in fixed point."""
    return (e * _SCALE).to(tl.int64)


@triton.jit
def _weight_at(bits):
    return fixed(bits.to(tl.int32).to(tl.float32, bitcast=True))


@triton.jit
def peak_of(record_ptr):
    """The largest logit of a row, and the first token that has it."""
    packed = tl.load(record_ptr)
    ordered = packed >> 31
    bits = tl.where(ordered >= 2147483648, ordered - 2147483648, 4294967295 - ordered)
    peak = bits.to(tl.uint32).to(tl.float32, bitcast=True)
    return peak, ((packed & _LAST_TOKEN) ^ _LAST_TOKEN).to(tl.int32)


@triton.jit
def exponentials(logits_ptr, token, inside, peak, temperature):
    """e, and its bits, which are -1 outside; a temperature of 0 counts as 1."""
    divisor = tl.where(temperature > 0, temperature, 1.0)
    logits = tl.load(logits_ptr + token, mask=inside, other=-float("inf")).to(tl.float32)
    e = tl.exp(tl.div_rn(logits, divisor) - tl.div_rn(peak, divisor))
    e = tl.where(inside, e, 0.0)
    return e, tl.where(inside, e.to(tl.int32, bitcast=True), -1)


@triton.jit
def _found_before(record_ptr, wanted, SEARCH: tl.constexpr, PASS: tl.constexpr):
    """The digits of the passes before this one, and how many tokens, of what weight, lie above them.

    The last of those passes has left its sums, and the program before them what was found until then.
    """
    found = tl.full([], 0, tl.int64)
    above_count = tl.full([], 0, tl.int64)
    above_weight = tl.full([], 0, tl.int64)
    if PASS > 0:
        state_ptr = record_ptr + _STATES_PLACE + (SEARCH * (_NUM_PASSES + 1) + PASS - 1) * 4
        found = tl.load(state_ptr)
        above_count = tl.load(state_ptr + 1)
        above_weight = tl.load(state_ptr + 2)
        digit = tl.arange(0, _NUM_DIGITS)
        sums_ptr = record_ptr + _SUMS_PLACE + SEARCH * _SUMS_OF_SEARCH + (PASS - 1) * 2 * _NUM_DIGITS + digit
        counts = tl.load(sums_ptr)
        weights = tl.load(sums_ptr + _NUM_DIGITS)
        if SEARCH == _TOP_K:
            at_least = above_count + tl.cumsum(counts, 0, reverse=True)
        else:
            at_least = above_weight + tl.cumsum(weights, 0, reverse=True)
        chosen = tl.max(tl.where(at_least >= wanted, digit, 0))
        above_count += tl.sum(tl.where(digit > chosen, counts, 0))
        above_weight += tl.sum(tl.where(digit > chosen, weights, 0))
        found = found * _NUM_DIGITS + chosen
    return found, above_count, above_weight


@triton.jit
def _note(record_ptr, found, above_count, above_weight, SEARCH: tl.constexpr, PASS: tl.constexpr):
    state_ptr = record_ptr + _STATES_PLACE + (SEARCH * (_NUM_PASSES + 1) + PASS) * 4
    tl.store(state_ptr, found)
    tl.store(state_ptr + 1, above_count)
    tl.store(state_ptr + 2, above_weight)


@triton.jit
def _after_top_k(record_ptr, top_k):
    """Top-k's cutoff, how many are kept at it, and the weight that is left; the search has been noted."""
    state_ptr = record_ptr + _STATES_PLACE + _NUM_PASSES * 4
    cutoff = tl.load(state_ptr)
    num_ties = top_k - tl.load(state_ptr + 1)
    return cutoff, num_ties, tl.load(state_ptr + 2) + num_ties * _weight_at(cutoff)


@triton.jit
def _mass_wanted(record_ptr, top_k, top_p, HAS_TOP_K: tl.constexpr):
    """int64: the weight that top-p asks for, of what top-k leaves; known once the first pass of top-p is over."""
    sums_ptr = record_ptr + _SUMS_PLACE + _SUMS_OF_SEARCH + _NUM_DIGITS
    total = tl.sum(tl.load(sums_ptr + tl.arange(0, _NUM_DIGITS)))
    if HAS_TOP_K:  # noqa: SIM102 (decided when compiled, the other on the device)
        if top_k > 0:
            _, _, total = _after_top_k(record_ptr, top_k)
    wanted = tl.ceil(top_p.to(tl.float64) * total.to(tl.float64)).to(tl.int64)
    return tl.maximum(tl.minimum(wanted, total), 1)


@triton.jit
def cutoff_of(record_ptr):
    """The bits of e above which every token of a row is kept, and how many are kept at it."""
    return tl.load(record_ptr + 1).to(tl.int32), tl.load(record_ptr + 2)


@triton.jit
def kept_by_chunk(totals_ptr, row, cutoff, num_ties, num_chunks, CHUNKS_BLOCK: tl.constexpr):
    """Per chunk, the weight that is kept and how many tokens at the cutoff; and the weight of the whole row."""
    chunk = tl.arange(0, CHUNKS_BLOCK)
    inside = chunk < num_chunks
    totals_ptr += row * 3 * num_chunks + chunk
    everything = tl.load(totals_ptr, mask=inside, other=0)
    above = tl.load(totals_ptr + num_chunks, mask=inside, other=0)
    at = tl.load(totals_ptr + 2 * num_chunks, mask=inside, other=0)
    ties = tl.minimum(tl.maximum(num_ties - (tl.cumsum(at, 0) - at), 0), at)
    return above + ties * _weight_at(tl.maximum(cutoff, 0)), ties, tl.sum(everything)


@triton.jit
def kept_weights(e, bits, token, is_greedy, first, cutoff, num_ties):
    """int64: the weights of the tokens of a chunk that are kept, zero for others; `num_ties` is this chunk's."""
    is_tie = bits == cutoff
    rank = tl.cumsum(is_tie.to(tl.int32), 0)
    is_kept = (bits > cutoff) | (is_tie & (rank <= num_ties))
    weights = tl.where(is_kept, fixed(e), 0)
    return tl.where(is_greedy, tl.where(token == first, ONE, 0), weights)


@triton.jit
def maxima_kernel(
    logits_ptr,
    maxima_ptr,
    records_ptr,
    vocab_size,
    num_tokens,
    num_chunks,
    logits_batch_stride,
    logits_token_stride,
    CHUNK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    chunk = tl.program_id(1)
    logits_ptr += (row // num_tokens) * logits_batch_stride + (row % num_tokens) * logits_token_stride
    token = chunk * CHUNK + tl.arange(0, CHUNK)
    inside = token < vocab_size
    logits = tl.load(logits_ptr + token, mask=inside, other=-float("inf")).to(tl.float32)
    maximum = tl.max(logits)
    tl.store(maxima_ptr + row * num_chunks + chunk, maximum)
    # Larger for a larger logit, then for an earlier token; never negative. Zeros of either sign are equals.
    maximum = tl.where(maximum == 0.0, 0.0, maximum)
    first = tl.min(tl.where((logits == maximum) & inside, token, _LAST_TOKEN))
    bits = maximum.to(tl.uint32, bitcast=True).to(tl.int64)
    ordered = tl.where(bits >= 2147483648, 4294967295 - bits, bits + 2147483648)
    tl.atomic_max(records_ptr + row * RECORD, ordered * 2147483648 + (first ^ _LAST_TOKEN))


@triton.jit
def search_kernel(
    logits_ptr,
    maxima_ptr,
    records_ptr,
    temperature_ptr,
    top_k_ptr,
    top_p_ptr,
    vocab_size,
    num_tokens,
    num_chunks,
    logits_batch_stride,
    logits_token_stride,
    BY_COUNT: tl.constexpr,
    HAS_TOP_K: tl.constexpr,
    PASS: tl.constexpr,
    CHUNK: tl.constexpr,
    STEP: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    chunk = tl.program_id(1)
    batch = row // num_tokens
    record_ptr = records_ptr + row * RECORD
    search: tl.constexpr = _TOP_K if BY_COUNT else _TOP_P
    temperature = tl.load(temperature_ptr + batch)
    top_k = tl.full([], 0, tl.int64)
    if HAS_TOP_K:
        top_k = tl.load(top_k_ptr + batch)
    if BY_COUNT:
        if (temperature <= 0) | (top_k <= 0):
            return
        wanted = top_k
    else:
        if HAS_TOP_K and PASS == 0:  # noqa: SIM102 (decided when compiled, the other on the device)
            if (chunk == 0) & (top_k > 0):
                found, above_count, above_weight = _found_before(record_ptr, top_k, _TOP_K, _NUM_PASSES)
                _note(record_ptr, found, above_count, above_weight, _TOP_K, _NUM_PASSES)
        top_p = tl.load(top_p_ptr + batch)
        if (temperature <= 0) | (top_p >= 1.0):
            return
        wanted = tl.full([], 0, tl.int64)
        if PASS > 0:
            wanted = _mass_wanted(record_ptr, top_k, top_p, HAS_TOP_K)
    found, above_count, above_weight = _found_before(record_ptr, wanted, search, PASS)
    if chunk == 0:
        _note(record_ptr, found, above_count, above_weight, search, PASS)

    shift: tl.constexpr = 5 * (_NUM_PASSES - 1 - PASS)
    peak, _ = peak_of(record_ptr)
    _, largest = exponentials(maxima_ptr + row * num_chunks, chunk, chunk < num_chunks, peak, temperature)
    if (largest >> (shift + 5)) < found:
        return
    logits_ptr += batch * logits_batch_stride + (row % num_tokens) * logits_token_stride
    digit = tl.arange(0, _NUM_DIGITS)
    counts = tl.zeros([_NUM_DIGITS, STEP], tl.int32)
    weights = tl.zeros([_NUM_DIGITS, STEP], tl.int64)
    for start in range(0, CHUNK, STEP):
        token = chunk * CHUNK + start + tl.arange(0, STEP)
        e, bits = exponentials(logits_ptr, token, token < vocab_size, peak, temperature)
        is_among = (bits >> (shift + 5)) == found
        matches = (((bits >> shift) & (_NUM_DIGITS - 1))[None, :] == digit[:, None]) & is_among[None, :]
        weights += tl.where(matches, fixed(e)[None, :], 0)
        if BY_COUNT:
            counts += matches.to(tl.int32)
    sums_ptr = record_ptr + _SUMS_PLACE + search * _SUMS_OF_SEARCH + PASS * 2 * _NUM_DIGITS + digit
    weights = tl.sum(weights, 1)
    tl.atomic_add(sums_ptr + _NUM_DIGITS, weights, mask=weights > 0)
    if BY_COUNT:
        counts = tl.sum(counts, 1).to(tl.int64)
        tl.atomic_add(sums_ptr, counts, mask=counts > 0)


@triton.jit
def totals_kernel(
    logits_ptr,
    maxima_ptr,
    records_ptr,
    temperature_ptr,
    top_k_ptr,
    top_p_ptr,
    totals_ptr,
    vocab_size,
    num_tokens,
    num_chunks,
    logits_batch_stride,
    logits_token_stride,
    HAS_TOP_K: tl.constexpr,
    HAS_TOP_P: tl.constexpr,
    CHUNK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    chunk = tl.program_id(1)
    batch = row // num_tokens
    record_ptr = records_ptr + row * RECORD
    temperature = tl.load(temperature_ptr + batch)
    top_k = tl.full([], 0, tl.int64)
    cutoff = tl.full([], -1, tl.int64)
    num_ties = tl.full([], 0, tl.int64)
    if HAS_TOP_K:
        top_k = tl.load(top_k_ptr + batch)
        if (top_k > 0) & (temperature > 0):
            if HAS_TOP_P:
                cutoff, num_ties, _ = _after_top_k(record_ptr, top_k)
            else:
                cutoff, above_count, _ = _found_before(record_ptr, top_k, _TOP_K, _NUM_PASSES)
                num_ties = top_k - above_count
    if HAS_TOP_P:
        top_p = tl.load(top_p_ptr + batch)
        if (top_p < 1.0) & (temperature > 0):
            wanted = _mass_wanted(record_ptr, top_k, top_p, HAS_TOP_K)
            found, _, above_weight = _found_before(record_ptr, wanted, _TOP_P, _NUM_PASSES)
            weight = tl.maximum(_weight_at(found), 1)
            num_found = (wanted - above_weight + weight - 1) // weight
            # The mass can end among the equals at top-k's own cutoff.
            num_ties = tl.where(found == cutoff, tl.minimum(num_found, num_ties), num_found)
            cutoff = found
    if chunk == 0:
        tl.store(record_ptr + 1, cutoff)
        tl.store(record_ptr + 2, num_ties)

    peak, first = peak_of(record_ptr)
    logits_ptr += batch * logits_batch_stride + (row % num_tokens) * logits_token_stride
    token = chunk * CHUNK + tl.arange(0, CHUNK)
    e, bits = exponentials(logits_ptr, token, token < vocab_size, peak, temperature)
    weights = fixed(e)
    above = tl.sum(tl.where(bits > cutoff, weights, 0))
    at = tl.sum(((bits == cutoff) & (bits >= 0)).to(tl.int64))
    if temperature <= 0:
        above = tl.where(chunk == first // CHUNK, ONE, 0).to(tl.int64)
        at = tl.full([], 0, tl.int64)
    totals_ptr += row * 3 * num_chunks + chunk
    tl.store(totals_ptr, tl.sum(weights))
    tl.store(totals_ptr + num_chunks, above)
    tl.store(totals_ptr + 2 * num_chunks, at)
