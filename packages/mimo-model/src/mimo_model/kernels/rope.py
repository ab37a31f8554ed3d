"""Rotary position embedding of queries and keys at once, forward and backward.

    y[e]       = x[e]       * cos[e] - x[e + E/2] * sin[e]          for e < E/2
    y[e + E/2] = x[e + E/2] * cos[e] + x[e]       * sin[e]

The backward is the turn by the negative angle, so it is the same kernel. One program turns every head of one token,
in float32, and reads its cosines and sines once.
"""

# Triton's kernels are untyped, and so are torch's device guards.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mimo_model.kernels.device import fused
from mimo_model.kernels.language import tl, triton
from mimo_model.rope import rotate as rotate_reference


def rotate(q_BTHE: Tensor, k_BTKE: Tensor, cos_BT1E: Tensor, sin_BT1E: Tensor) -> tuple[Tensor, Tensor]:
    """Queries and keys, turned by their positions' angles; differentiable in both.

    Args:
        q_BTHE, k_BTKE: of one dtype, which the results have too.
        cos_BT1E, sin_BT1E: as `rope_at` gives them, [B or 1, T, 1, E]: halves are equal, but for the sign of the first
            half of the sine, which is turned.
    """
    if not fused(q_BTHE):
        rope = (cos_BT1E, sin_BT1E)
        return rotate_reference(q_BTHE, rope).to(q_BTHE.dtype), rotate_reference(k_BTKE, rope).to(k_BTKE.dtype)
    return _rotate(q_BTHE, k_BTKE, cos_BT1E, sin_BT1E, False)  # type: ignore[no-any-return]


@triton.jit
def rotate_kernel(
    q_ptr,
    k_ptr,
    cos_ptr,
    sin_ptr,
    q_out_ptr,
    k_out_ptr,
    num_tokens,
    q_batch_stride,
    q_token_stride,
    q_head_stride,
    k_batch_stride,
    k_token_stride,
    k_head_stride,
    cos_batch_stride,
    cos_token_stride,
    sin_batch_stride,
    sin_token_stride,
    NUM_QUERY_HEADS: tl.constexpr,
    NUM_KEY_HEADS: tl.constexpr,
    HALF: tl.constexpr,
    BACKWARD: tl.constexpr,
    QUERY_BLOCK: tl.constexpr,
    KEY_BLOCK: tl.constexpr,
    HALF_BLOCK: tl.constexpr,
):
    place = tl.program_id(0).to(tl.int64)
    batch, token = place // num_tokens, place % num_tokens
    pair = tl.arange(0, HALF_BLOCK)
    real = pair < HALF
    cos = tl.load(cos_ptr + batch * cos_batch_stride + token * cos_token_stride + pair, mask=real, other=0.0)
    sin = tl.load(sin_ptr + batch * sin_batch_stride + token * sin_token_stride + HALF + pair, mask=real, other=0.0)
    cos = cos.to(tl.float32)[None, :]
    sin = sin.to(tl.float32)[None, :]
    if BACKWARD:
        sin = -sin

    head = tl.arange(0, QUERY_BLOCK)[:, None]
    inside = (head < NUM_QUERY_HEADS) & real[None, :]
    source = q_ptr + batch * q_batch_stride + token * q_token_stride + head * q_head_stride + pair[None, :]
    first = tl.load(source, mask=inside, other=0.0).to(tl.float32)
    second = tl.load(source + HALF, mask=inside, other=0.0).to(tl.float32)
    target = q_out_ptr + (place * NUM_QUERY_HEADS + head) * (2 * HALF) + pair[None, :]
    tl.store(target, (first * cos - second * sin).to(q_out_ptr.dtype.element_ty), mask=inside)
    tl.store(target + HALF, (second * cos + first * sin).to(q_out_ptr.dtype.element_ty), mask=inside)

    head = tl.arange(0, KEY_BLOCK)[:, None]
    inside = (head < NUM_KEY_HEADS) & real[None, :]
    source = k_ptr + batch * k_batch_stride + token * k_token_stride + head * k_head_stride + pair[None, :]
    first = tl.load(source, mask=inside, other=0.0).to(tl.float32)
    second = tl.load(source + HALF, mask=inside, other=0.0).to(tl.float32)
    target = k_out_ptr + (place * NUM_KEY_HEADS + head) * (2 * HALF) + pair[None, :]
    tl.store(target, (first * cos - second * sin).to(k_out_ptr.dtype.element_ty), mask=inside)
    tl.store(target + HALF, (second * cos + first * sin).to(k_out_ptr.dtype.element_ty), mask=inside)


def rotate_options(num_query_heads: int, num_key_heads: int, head_dim: int) -> dict[str, Any]:
    """How a token with these heads is launched."""
    blocks = [triton.next_power_of_2(size) for size in (num_query_heads, num_key_heads, head_dim // 2)]
    return {
        "NUM_QUERY_HEADS": num_query_heads,
        "NUM_KEY_HEADS": num_key_heads,
        "HALF": head_dim // 2,
        "QUERY_BLOCK": blocks[0],
        "KEY_BLOCK": blocks[1],
        "HALF_BLOCK": blocks[2],
        "num_warps": min(max(blocks[0] * blocks[2] // 512, 1), 8),
    }


@torch.library.custom_op("mimo::rotate", mutates_args=())
def _rotate(
    q_BTHE: Tensor, k_BTKE: Tensor, cos_BT1E: Tensor, sin_BT1E: Tensor, backward: bool
) -> tuple[Tensor, Tensor]:
    num_sequences, num_tokens, num_query_heads, head_dim = q_BTHE.shape
    num_key_heads = k_BTKE.shape[2]
    if head_dim % 2 or k_BTKE.shape != (num_sequences, num_tokens, num_key_heads, head_dim):
        raise ValueError(
            f"Queries are {list(q_BTHE.shape)} and keys {list(k_BTKE.shape)}: wanted [B, T, H, E] and [B, T, K, E], "
            "E even."
        )
    wanted = (num_sequences, num_tokens, 1, head_dim)
    q_BTHE, k_BTKE, cos_BT1E, sin_BT1E = (
        x if x.stride(-1) == 1 else x.contiguous()
        for x in (q_BTHE, k_BTKE, cos_BT1E.expand(wanted), sin_BT1E.expand(wanted))
    )
    q_out, k_out = _outputs(q_BTHE, k_BTKE)
    if num_sequences * num_tokens:
        with torch.cuda.device_of(q_BTHE):
            rotate_kernel[(num_sequences * num_tokens,)](
                q_BTHE,
                k_BTKE,
                cos_BT1E,
                sin_BT1E,
                q_out,
                k_out,
                num_tokens,
                *q_BTHE.stride()[:3],
                *k_BTKE.stride()[:3],
                *cos_BT1E.stride()[:2],
                *sin_BT1E.stride()[:2],
                BACKWARD=backward,
                **rotate_options(num_query_heads, num_key_heads, head_dim),
            )
    return q_out, k_out


@_rotate.register_fake
def _outputs(q_BTHE: Tensor, k_BTKE: Tensor, *_: object) -> tuple[Tensor, Tensor]:
    """Room for the turned queries and keys, which are contiguous whatever the inputs are."""
    return q_BTHE.new_empty(q_BTHE.shape), k_BTKE.new_empty(k_BTKE.shape)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    _, _, cos_BT1E, sin_BT1E, ctx.backward = inputs
    ctx.save_for_backward(cos_BT1E, sin_BT1E)


def _backward(ctx: Any, grad_q: Tensor, grad_k: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
    return *_rotate(grad_q, grad_k, *ctx.saved_tensors, not ctx.backward), None, None, None


_rotate.register_autograd(_backward, setup_context=_save)
