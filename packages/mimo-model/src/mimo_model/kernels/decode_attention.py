"""Grouped-query attention of a few new tokens to a long cache, split over the keys (flash-decoding).

    out[t, h] = Σ_c softmax_c(q[t, h] · keys[c] / √E) values[c],   c = 0 … positions[t]

Decoding reads every key and value once and does little with it, so what counts is that all processors read at once.
The G queries of one key-value head and all T tokens are the rows of one matrix product, so a key is read once for all
of them. A request's keys are cut into equal parts, one program each; how many parts there are follows from static
shapes, how long they are from the length on the device, so that a short request in a large cache still keeps every
program busy and a captured graph stays valid. Each part leaves an unnormalised sum, its maximum and its weight; a
second kernel joins them.
"""

# Triton's kernels are untyped, and so are torch's device guards.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mimo_model.kernels.device import fused, num_processors
from mimo_model.kernels.language import dot, tl, triton

MAX_TOKENS = 8
_BLOCK = 64


def decode_attention(q_BTHE: Tensor, keys_SKCE: Tensor, values_SKCE: Tensor, positions_BT: Tensor) -> Tensor:
    """[B, T, H, E]: query t of request b attends to places 0 … positions[b, t] of slot b.

    Args:
        q_BTHE: rotated queries, T at most 8, H a multiple of K.
        keys_SKCE, values_SKCE: of the queries' dtype; the first B slots are the requests'. What lies past a request's
            largest position is never read.
        positions_BT: int64; a query at a negative position sees nothing, and its output is zeros.

    Raises:
        ValueError: shapes that do not fit together.
    """
    _check(q_BTHE, keys_SKCE, values_SKCE, positions_BT)
    function = _decode_attention if fused(q_BTHE) else decode_attention_reference
    return function(q_BTHE, keys_SKCE, values_SKCE, positions_BT)


def decode_attention_reference(q_BTHE: Tensor, keys_SKCE: Tensor, values_SKCE: Tensor, positions_BT: Tensor) -> Tensor:
    """The formula in torch, in float32."""
    batch_size, _, num_heads, head_dim = q_BTHE.shape
    num_kv_heads, num_places = keys_SKCE.shape[1:3]
    visible_BTC = torch.arange(num_places, device=q_BTHE.device) <= positions_BT[..., None]
    # A place that no query sees may hold anything, and 0 * NaN is NaN.
    seen_B1C1 = visible_BTC.any(1)[:, None, :, None]
    keys_BKCE, values_BKCE = (
        torch.where(seen_B1C1, cache[:batch_size].float(), 0.0) for cache in (keys_SKCE, values_SKCE)
    )
    q_BTKGE = q_BTHE.float().unflatten(2, (num_kv_heads, num_heads // num_kv_heads))
    scores_BKGTC = torch.einsum("btkge,bkce->bkgtc", q_BTKGE, keys_BKCE) * head_dim**-0.5
    scores_BKGTC = scores_BKGTC.masked_fill(~visible_BTC[:, None, None], -torch.inf)
    weights_BKGTC = scores_BKGTC.softmax(-1).nan_to_num(0.0)
    return torch.einsum("bkgtc,bkce->btkge", weights_BKGTC, values_BKCE).flatten(2, 3).to(q_BTHE.dtype)


@triton.jit
def attend_kernel(
    q_ptr,
    keys_ptr,
    values_ptr,
    positions_ptr,
    out_ptr,
    partial_ptr,
    stats_ptr,
    scale,
    num_places,
    q_batch_stride,
    q_token_stride,
    q_head_stride,
    keys_slot_stride,
    keys_head_stride,
    keys_place_stride,
    values_slot_stride,
    values_head_stride,
    values_place_stride,
    positions_batch_stride,
    NUM_TOKENS: tl.constexpr,
    NUM_KV_HEADS: tl.constexpr,
    NUM_GROUPS: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    HEAD_BLOCK: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
    NUM_SPLITS: tl.constexpr,
    NUM_STAGES: tl.constexpr,
):
    kv_head = tl.program_id(0) % NUM_KV_HEADS
    batch = (tl.program_id(0) // NUM_KV_HEADS).to(tl.int64)
    split = tl.program_id(1)
    row = tl.arange(0, ROWS)
    token = row // NUM_GROUPS
    head = kv_head * NUM_GROUPS + row % NUM_GROUPS
    column = tl.arange(0, HEAD_BLOCK)
    is_row = row < NUM_TOKENS * NUM_GROUPS
    is_column = column < HEAD_DIM

    position = tl.load(positions_ptr + batch * positions_batch_stride + token, mask=is_row, other=-1)
    position = tl.minimum(position, num_places - 1).to(tl.int32)
    length = tl.max(position) + 1
    part = tl.cdiv(tl.cdiv(length, NUM_SPLITS), BLOCK) * BLOCK
    start = split * part
    end = tl.minimum(start + part, length)
    # Parts past the end are not even stored: the join derives from the length which there are.
    if (start >= end) & ((NUM_SPLITS > 1) | (length > 0)):
        return

    q_ptr += batch * q_batch_stride
    q = tl.load(
        q_ptr + token[:, None] * q_token_stride + head[:, None] * q_head_stride + column[None, :],
        mask=is_row[:, None] & is_column[None, :],
        other=0.0,
    )
    keys_ptr += batch * keys_slot_stride + kv_head * keys_head_stride
    values_ptr += batch * values_slot_stride + kv_head * values_head_stride
    maximum = tl.full([ROWS], -float("inf"), tl.float32)
    weight = tl.zeros([ROWS], tl.float32)
    total = tl.zeros([ROWS, HEAD_BLOCK], tl.float32)
    for first in tl.range(start, end, BLOCK, num_stages=NUM_STAGES):
        place = first + tl.arange(0, BLOCK)
        inside = (place < end)[:, None] & is_column[None, :]
        offset = place.to(tl.int64)[:, None]
        keys = tl.load(keys_ptr + offset * keys_place_stride + column[None, :], mask=inside, other=0.0)
        values = tl.load(values_ptr + offset * values_place_stride + column[None, :], mask=inside, other=0.0)
        # In base 2: the scale has log2(e) in it.
        scores = dot(q, tl.trans(keys), tl.zeros([ROWS, BLOCK], tl.float32)) * scale
        visible = (place[None, :] <= position[:, None]) & (place < end)[None, :]
        scores = tl.where(visible, scores, -float("inf"))
        new_maximum = tl.maximum(maximum, tl.max(scores, 1))
        # A row that has seen nothing yet has a maximum of -inf, from which nothing can be taken.
        base = tl.where(new_maximum == -float("inf"), 0.0, new_maximum)
        exponentials = tl.exp2(scores - base[:, None])
        decay = tl.exp2(maximum - base)
        weight = weight * decay + tl.sum(exponentials, 1)
        total = total * decay[:, None]
        total = dot(exponentials.to(values.dtype), values, total)
        maximum = new_maximum

    inside = is_row[:, None] & is_column[None, :]
    if NUM_SPLITS == 1:
        total = total / tl.where(weight > 0, weight, 1.0)[:, None]
        out_row = (batch * NUM_TOKENS + token) * (NUM_KV_HEADS * NUM_GROUPS) + head
        target = out_ptr + out_row[:, None] * HEAD_DIM + column[None, :]
        tl.store(target, total.to(out_ptr.dtype.element_ty), mask=inside)
    else:
        slot = (tl.program_id(0).to(tl.int64) * NUM_SPLITS + split) * (NUM_TOKENS * NUM_GROUPS) + row
        tl.store(partial_ptr + slot[:, None] * HEAD_DIM + column[None, :], total, mask=inside)
        tl.store(stats_ptr + slot * 2, maximum, mask=is_row)
        tl.store(stats_ptr + slot * 2 + 1, weight, mask=is_row)


@triton.jit
def join_kernel(
    partial_ptr,
    stats_ptr,
    positions_ptr,
    out_ptr,
    num_places,
    positions_batch_stride,
    NUM_TOKENS: tl.constexpr,
    TOKEN_BLOCK: tl.constexpr,
    NUM_KV_HEADS: tl.constexpr,
    NUM_GROUPS: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    HEAD_BLOCK: tl.constexpr,
    BLOCK: tl.constexpr,
    NUM_SPLITS: tl.constexpr,
    SPLIT_BLOCK: tl.constexpr,
):
    kv_head = tl.program_id(0) % NUM_KV_HEADS
    batch = (tl.program_id(0) // NUM_KV_HEADS).to(tl.int64)
    row = tl.program_id(1)
    tokens = tl.arange(0, TOKEN_BLOCK)
    position = tl.load(positions_ptr + batch * positions_batch_stride + tokens, mask=tokens < NUM_TOKENS, other=-1)
    length = tl.max(tl.minimum(position, num_places - 1).to(tl.int32)) + 1
    part = tl.cdiv(tl.cdiv(length, NUM_SPLITS), BLOCK) * BLOCK

    split = tl.arange(0, SPLIT_BLOCK)
    column = tl.arange(0, HEAD_BLOCK)
    is_split = (split < NUM_SPLITS) & (split * part < length)
    slot = (tl.program_id(0).to(tl.int64) * NUM_SPLITS + split) * (NUM_TOKENS * NUM_GROUPS) + row
    maximum = tl.load(stats_ptr + slot * 2, mask=is_split, other=-float("inf"))
    weight = tl.load(stats_ptr + slot * 2 + 1, mask=is_split, other=0.0)
    partial = tl.load(
        partial_ptr + slot[:, None] * HEAD_DIM + column[None, :],
        mask=is_split[:, None] & (column < HEAD_DIM)[None, :],
        other=0.0,
    )
    base = tl.max(maximum)
    factor = tl.exp2(maximum - tl.where(base == -float("inf"), 0.0, base))
    weight = tl.sum(weight * factor)
    total = tl.sum(partial * factor[:, None], 0) / tl.where(weight > 0, weight, 1.0)
    head = kv_head * NUM_GROUPS + row % NUM_GROUPS
    out_row = (batch * NUM_TOKENS + row // NUM_GROUPS) * (NUM_KV_HEADS * NUM_GROUPS) + head
    tl.store(out_ptr + out_row * HEAD_DIM + column, total.to(out_ptr.dtype.element_ty), mask=column < HEAD_DIM)


def num_splits(batch_size: int, num_kv_heads: int, num_places: int, processors: int) -> int:
    """Parts of a request's keys: two programs a processor, no more parts than the cache has blocks."""
    wanted = -(-2 * processors // (batch_size * num_kv_heads))
    return max(min(wanted, -(-num_places // _BLOCK), 64), 1)


def attend_options(
    num_tokens: int, num_heads: int, num_kv_heads: int, head_dim: int, splits: int, itemsize: int
) -> dict[str, Any]:
    """How attention with these heads is launched: up to three blocks of keys and values on their way at once."""
    num_groups = num_heads // num_kv_heads
    return {
        "NUM_TOKENS": num_tokens,
        "NUM_KV_HEADS": num_kv_heads,
        "NUM_GROUPS": num_groups,
        "HEAD_DIM": head_dim,
        "HEAD_BLOCK": max(triton.next_power_of_2(head_dim), 16),
        # The tensor core's product has at least 16 rows.
        "ROWS": max(triton.next_power_of_2(num_tokens * num_groups), 16),
        "BLOCK": _BLOCK,
        "NUM_SPLITS": splits,
        "NUM_STAGES": 3 if itemsize <= 2 else 1,
        "num_warps": 4,
    }


def join_options(num_tokens: int, num_heads: int, num_kv_heads: int, head_dim: int, splits: int) -> dict[str, Any]:
    """How the parts are joined: a program for each query head of each token."""
    return {
        "NUM_TOKENS": num_tokens,
        "TOKEN_BLOCK": triton.next_power_of_2(num_tokens),
        "NUM_KV_HEADS": num_kv_heads,
        "NUM_GROUPS": num_heads // num_kv_heads,
        "HEAD_DIM": head_dim,
        "HEAD_BLOCK": triton.next_power_of_2(head_dim),
        "BLOCK": _BLOCK,
        "NUM_SPLITS": splits,
        "SPLIT_BLOCK": triton.next_power_of_2(splits),
        "num_warps": 4,
    }


@torch.library.custom_op("mimo::decode_attention", mutates_args=())
def _decode_attention(q_BTHE: Tensor, keys_SKCE: Tensor, values_SKCE: Tensor, positions_BT: Tensor) -> Tensor:
    batch_size, num_tokens, num_heads, head_dim = q_BTHE.shape
    num_kv_heads, num_places = keys_SKCE.shape[1:3]
    splits = num_splits(batch_size, num_kv_heads, num_places, num_processors(q_BTHE.device))
    out_BTHE = q_BTHE.new_empty(q_BTHE.shape)
    rows = num_tokens * num_heads // num_kv_heads
    partial = stats = None
    if splits > 1:
        num_parts = batch_size * num_kv_heads * splits * rows
        partial = torch.empty(num_parts, head_dim, device=q_BTHE.device, dtype=torch.float32)
        stats = torch.empty(num_parts, 2, device=q_BTHE.device, dtype=torch.float32)
    with torch.cuda.device_of(q_BTHE):
        attend_kernel[(batch_size * num_kv_heads, splits)](
            q_BTHE,
            keys_SKCE,
            values_SKCE,
            positions_BT,
            out_BTHE,
            partial,
            stats,
            head_dim**-0.5 * 1.4426950408889634,
            num_places,
            *q_BTHE.stride()[:3],
            *keys_SKCE.stride()[:3],
            *values_SKCE.stride()[:3],
            positions_BT.stride(0),
            **attend_options(num_tokens, num_heads, num_kv_heads, head_dim, splits, q_BTHE.itemsize),
        )
        if splits > 1:
            join_kernel[(batch_size * num_kv_heads, rows)](
                partial,
                stats,
                positions_BT,
                out_BTHE,
                num_places,
                positions_BT.stride(0),
                **join_options(num_tokens, num_heads, num_kv_heads, head_dim, splits),
            )
    return out_BTHE


@_decode_attention.register_fake
def _(q_BTHE: Tensor, _keys_SKCE: Tensor, _values_SKCE: Tensor, _positions_BT: Tensor) -> Tensor:
    return q_BTHE.new_empty(q_BTHE.shape)


def _check(q_BTHE: Tensor, keys_SKCE: Tensor, values_SKCE: Tensor, positions_BT: Tensor) -> None:
    batch_size, num_tokens, num_heads, head_dim = q_BTHE.shape
    num_slots, num_kv_heads, _, width = keys_SKCE.shape
    if values_SKCE.shape != keys_SKCE.shape or num_slots < batch_size or width != head_dim or num_heads % num_kv_heads:
        raise ValueError(
            f"Queries are {list(q_BTHE.shape)}, keys {list(keys_SKCE.shape)} and values {list(values_SKCE.shape)}: "
            "wanted [B, T, H, E] and twice [S, K, C, E], with S at least B and H a multiple of K."
        )
    if not 1 <= num_tokens <= MAX_TOKENS or positions_BT.shape != (batch_size, num_tokens):
        raise ValueError(
            f"Queries are {list(q_BTHE.shape)} and positions {list(positions_BT.shape)}: wanted [B, T, H, E] and "
            f"[B, T] with T from 1 to {MAX_TOKENS}. Longer prompts go through SDPA."
        )
    if any(tensor.stride(-1) != 1 for tensor in (q_BTHE, keys_SKCE, values_SKCE, positions_BT)):
        raise ValueError(
            "The last dimension of every tensor must be contiguous. Call .contiguous() on the one that isn't."
        )
