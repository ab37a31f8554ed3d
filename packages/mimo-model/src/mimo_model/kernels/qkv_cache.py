"""What stands between the packed projection and attention while decoding: bias, RoPE, and the write to the cache.

    q, k, v = split(qkv + bias);   q, k = rotate(q), rotate(k);   keys[b, :, place] = k;   values[b, :, place] = v

where place is the token's position, or the waste bin (the last place) when that is negative or past the end. The sum
is rounded to the projection's dtype, as a linear layer's is; the turn is float32 and rounded once. One program does
one head of one token, so a round of one request already has 48 at MiMo-7B's 32 + 2 * 8 heads.
"""

# Triton's kernels are untyped, and so are torch's device guards.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mimo_model.kernels.device import fused
from mimo_model.kernels.language import tl, triton
from mimo_model.rope import Rope, rotate


def write_qkv(
    qkv_BTX: Tensor,
    bias_X: Tensor,
    positions_BT: Tensor,
    keys_SKCE: Tensor,
    values_SKCE: Tensor,
    rope: Rope,
    *,
    num_heads: int,
) -> Tensor:
    """Rotated queries [B, T, H, E]; keys and values go into the first B slots of the cache, in place.

    Args:
        qkv_BTX: the packed projection without its bias, X = (H + 2 K) E: queries, then keys, then values.
        positions_BT: int64. Negative ones, and those past the cache, write to the waste bin; their queries mean
            nothing. Two tokens of a request at one place leave either's key there.
        keys_SKCE, values_SKCE: of the projection's dtype.
        rope: `rope_at` positions 0, 1, …, at least C - 1 of them, in the projection's dtype: tables, because cosines
            of large angles are dear to compute, and so that every path turns by the same numbers.

    Raises:
        ValueError: shapes that do not fit together.
    """
    cos_PE, sin_PE = (table.flatten(0, 2) for table in rope)
    _check(qkv_BTX, bias_X, positions_BT, keys_SKCE, values_SKCE, cos_PE, sin_PE, num_heads)
    function = _write_qkv if fused(qkv_BTX) else write_qkv_reference
    return function(qkv_BTX, bias_X, positions_BT, keys_SKCE, values_SKCE, cos_PE, sin_PE, num_heads)


def write_qkv_reference(
    qkv_BTX: Tensor,
    bias_X: Tensor,
    positions_BT: Tensor,
    keys_SKCE: Tensor,
    values_SKCE: Tensor,
    cos_PE: Tensor,
    sin_PE: Tensor,
    num_heads: int,
) -> Tensor:
    """The formula in torch."""
    num_places, head_dim = keys_SKCE.shape[2:]
    heads_BTAE = (qkv_BTX + bias_X).unflatten(-1, (-1, head_dim))
    num_kv_heads = keys_SKCE.shape[1]
    q_BTHE, k_BTKE, v_BTKE = heads_BTAE.split((num_heads, num_kv_heads, num_kv_heads), dim=2)
    rows_BT = positions_BT.clamp(0, len(cos_PE) - 1)
    tables = (cos_PE[rows_BT].unsqueeze(2).float(), sin_PE[rows_BT].unsqueeze(2).float())
    dtype = qkv_BTX.dtype
    is_inside_BT = (positions_BT >= 0) & (positions_BT < num_places)
    places_BT = torch.where(is_inside_BT, positions_BT, num_places - 1)
    slots_B1 = torch.arange(len(positions_BT), device=positions_BT.device)[:, None]
    keys_SKCE[slots_B1, :, places_BT] = rotate(k_BTKE.float(), tables).to(dtype)
    values_SKCE[slots_B1, :, places_BT] = v_BTKE
    return rotate(q_BTHE.float(), tables).to(dtype)


@triton.jit
def write_qkv_kernel(
    qkv_ptr,
    bias_ptr,
    positions_ptr,
    keys_ptr,
    values_ptr,
    cos_ptr,
    sin_ptr,
    q_ptr,
    num_tokens,
    num_places,
    num_angles,
    qkv_batch_stride,
    qkv_token_stride,
    positions_batch_stride,
    keys_slot_stride,
    keys_head_stride,
    keys_place_stride,
    values_slot_stride,
    values_head_stride,
    values_place_stride,
    NUM_HEADS: tl.constexpr,
    NUM_KV_HEADS: tl.constexpr,
    HALF: tl.constexpr,
    HALF_BLOCK: tl.constexpr,
):
    row = tl.program_id(0)
    head = tl.program_id(1)
    batch = (row // num_tokens).to(tl.int64)
    token = row % num_tokens
    position = tl.load(positions_ptr + batch * positions_batch_stride + token)
    pair = tl.arange(0, HALF_BLOCK)
    real = pair < HALF

    source = head * 2 * HALF + pair
    qkv_ptr += batch * qkv_batch_stride + token * qkv_token_stride
    dtype: tl.constexpr = qkv_ptr.dtype.element_ty
    first = tl.load(qkv_ptr + source, mask=real, other=0.0).to(tl.float32)
    second = tl.load(qkv_ptr + source + HALF, mask=real, other=0.0).to(tl.float32)
    first += tl.load(bias_ptr + source, mask=real, other=0.0).to(tl.float32)
    second += tl.load(bias_ptr + source + HALF, mask=real, other=0.0).to(tl.float32)
    first = first.to(dtype)
    second = second.to(dtype)

    place = tl.where((position < 0) | (position >= num_places), num_places - 1, position)
    if head >= NUM_HEADS + NUM_KV_HEADS:
        kv_head = head - NUM_HEADS - NUM_KV_HEADS
        target = values_ptr + batch * values_slot_stride + kv_head * values_head_stride + place * values_place_stride
        tl.store(target + pair, first, mask=real)
        tl.store(target + HALF + pair, second, mask=real)
    else:
        angle = tl.minimum(tl.maximum(position, 0), num_angles - 1) * (2 * HALF)
        cos = tl.load(cos_ptr + angle + pair, mask=real, other=0.0).to(tl.float32)
        # The table's first half has the sign turned already.
        sin = tl.load(sin_ptr + angle + HALF + pair, mask=real, other=0.0).to(tl.float32)
        turned_first = (first.to(tl.float32) * cos - second.to(tl.float32) * sin).to(dtype)
        turned_second = (second.to(tl.float32) * cos + first.to(tl.float32) * sin).to(dtype)
        if head < NUM_HEADS:
            target = q_ptr + (row.to(tl.int64) * NUM_HEADS + head) * (2 * HALF)
        else:
            target = (
                keys_ptr + batch * keys_slot_stride + (head - NUM_HEADS) * keys_head_stride + place * keys_place_stride
            )
        tl.store(target + pair, turned_first, mask=real)
        tl.store(target + HALF + pair, turned_second, mask=real)


def write_qkv_options(num_heads: int, num_kv_heads: int, head_dim: int) -> dict[str, Any]:
    """How a token with these heads is launched."""
    return {
        "NUM_HEADS": num_heads,
        "NUM_KV_HEADS": num_kv_heads,
        "HALF": head_dim // 2,
        "HALF_BLOCK": triton.next_power_of_2(head_dim // 2),
        "num_warps": 1,
    }


@torch.library.custom_op("mimo::write_qkv", mutates_args=("keys_SKCE", "values_SKCE"))
def _write_qkv(
    qkv_BTX: Tensor,
    bias_X: Tensor,
    positions_BT: Tensor,
    keys_SKCE: Tensor,
    values_SKCE: Tensor,
    cos_PE: Tensor,
    sin_PE: Tensor,
    num_heads: int,
) -> Tensor:
    batch_size, num_tokens, _ = qkv_BTX.shape
    num_kv_heads, num_places, head_dim = keys_SKCE.shape[1:]
    q_BTHE = qkv_BTX.new_empty(batch_size, num_tokens, num_heads, head_dim)
    with torch.cuda.device_of(qkv_BTX):
        write_qkv_kernel[(batch_size * num_tokens, num_heads + 2 * num_kv_heads)](
            qkv_BTX,
            bias_X,
            positions_BT,
            keys_SKCE,
            values_SKCE,
            cos_PE,
            sin_PE,
            q_BTHE,
            num_tokens,
            num_places,
            len(cos_PE),
            *qkv_BTX.stride()[:2],
            positions_BT.stride(0),
            *keys_SKCE.stride()[:3],
            *values_SKCE.stride()[:3],
            **write_qkv_options(num_heads, num_kv_heads, head_dim),
        )
    return q_BTHE


@_write_qkv.register_fake
def _(
    qkv_BTX: Tensor,
    _bias_X: Tensor,
    _positions_BT: Tensor,
    keys_SKCE: Tensor,
    _values_SKCE: Tensor,
    _cos_PE: Tensor,
    _sin_PE: Tensor,
    num_heads: int,
) -> Tensor:
    return qkv_BTX.new_empty(*qkv_BTX.shape[:2], num_heads, keys_SKCE.shape[-1])


def _check(
    qkv_BTX: Tensor,
    bias_X: Tensor,
    positions_BT: Tensor,
    keys_SKCE: Tensor,
    values_SKCE: Tensor,
    cos_PE: Tensor,
    sin_PE: Tensor,
    num_heads: int,
) -> None:
    num_slots, num_kv_heads, _, head_dim = keys_SKCE.shape
    width = (num_heads + 2 * num_kv_heads) * head_dim
    if qkv_BTX.shape != (*positions_BT.shape, width) or bias_X.shape != (width,) or head_dim % 2:
        raise ValueError(
            f"The projection is {list(qkv_BTX.shape)}, its bias {list(bias_X.shape)} and positions "
            f"{list(positions_BT.shape)}: with {num_heads} query heads and a cache {list(keys_SKCE.shape)} they must "
            f"be [B, T, {width}], [{width}] and [B, T], with an even head width."
        )
    if values_SKCE.shape != keys_SKCE.shape or num_slots < len(positions_BT):
        raise ValueError(
            f"Keys are {list(keys_SKCE.shape)} and values {list(values_SKCE.shape)}: both must be [S, K, C, E] with "
            f"at least the batch's {len(positions_BT)} slots."
        )
    if cos_PE.shape[-1] != head_dim or cos_PE.shape != sin_PE.shape:
        raise ValueError(
            f"The rope tables are {list(cos_PE.shape)} and {list(sin_PE.shape)}: both must be [places, {head_dim}]."
        )
    tensors = (qkv_BTX, bias_X, positions_BT, keys_SKCE, values_SKCE, cos_PE, sin_PE)
    if any(tensor.stride(-1) != 1 for tensor in tensors):
        raise ValueError(
            "The last dimension of every tensor must be contiguous. Call .contiguous() on the one that isn't."
        )
