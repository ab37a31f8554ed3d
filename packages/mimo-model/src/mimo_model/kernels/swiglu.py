"""The gated activation of the feed-forward layer, forward and backward.

    y = silu(g) * u,   silu(g) = g * σ(g),   σ(g) = 1 / (1 + exp(-g))

    dg = dy * u * σ(g) * (1 + g * (1 - σ(g))),   du = dy * silu(g)

Computed in float32 and rounded once. The backward computes σ again from g: keeping silu(g) would cost a third more
memory, and reading it as much time as the exponential takes.
"""

# Triton's kernels are untyped, and so are torch's device guards.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from mimo_model.kernels.device import fused
from mimo_model.kernels.language import tl, triton


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """silu(gate) * up.

    Args:
        gate, up: [.., F], of one shape and dtype; they may be the halves of one packed [.., 2F] tensor.
    """
    if not fused(gate):
        return F.silu(gate) * up
    return _swiglu(gate, up)  # type: ignore[no-any-return]


@triton.jit
def forward_kernel(
    gate_ptr,
    up_ptr,
    out_ptr,
    gate_stride,
    up_stride,
    SIZE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    num_blocks: tl.constexpr = tl.cdiv(SIZE, BLOCK)
    row = (tl.program_id(0) // num_blocks).to(tl.int64)
    columns = (tl.program_id(0) % num_blocks) * BLOCK + tl.arange(0, BLOCK)
    inside = columns < SIZE
    gate = tl.load(gate_ptr + row * gate_stride + columns, mask=inside, other=0.0).to(tl.float32)
    up = tl.load(up_ptr + row * up_stride + columns, mask=inside, other=0.0).to(tl.float32)
    out = gate * tl.sigmoid(gate) * up
    tl.store(out_ptr + row * SIZE + columns, out.to(out_ptr.dtype.element_ty), mask=inside)


@triton.jit
def backward_kernel(
    grad_ptr,
    gate_ptr,
    up_ptr,
    grad_gate_ptr,
    grad_up_ptr,
    grad_stride,
    gate_stride,
    up_stride,
    SIZE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    num_blocks: tl.constexpr = tl.cdiv(SIZE, BLOCK)
    row = (tl.program_id(0) // num_blocks).to(tl.int64)
    columns = (tl.program_id(0) % num_blocks) * BLOCK + tl.arange(0, BLOCK)
    inside = columns < SIZE
    grad = tl.load(grad_ptr + row * grad_stride + columns, mask=inside, other=0.0).to(tl.float32)
    gate = tl.load(gate_ptr + row * gate_stride + columns, mask=inside, other=0.0).to(tl.float32)
    up = tl.load(up_ptr + row * up_stride + columns, mask=inside, other=0.0).to(tl.float32)
    sigmoid = tl.sigmoid(gate)
    grad_gate = grad * up * sigmoid * (1 + gate * (1 - sigmoid))
    grad_up = grad * gate * sigmoid
    tl.store(grad_gate_ptr + row * SIZE + columns, grad_gate.to(grad_gate_ptr.dtype.element_ty), mask=inside)
    tl.store(grad_up_ptr + row * SIZE + columns, grad_up.to(grad_up_ptr.dtype.element_ty), mask=inside)


def options(size: int) -> dict[str, Any]:
    """How rows of this size are launched: 16 bytes of bfloat16 a thread and load."""
    block = min(triton.next_power_of_2(size), 1_024)
    return {"SIZE": size, "BLOCK": block, "num_warps": max(block // 256, 1)}


@torch.library.custom_op("mimo::swiglu", mutates_args=())
def _swiglu(gate: Tensor, up: Tensor) -> Tensor:
    if gate.shape != up.shape or gate.dtype != up.dtype:
        raise ValueError(
            f"gate is {gate.dtype} {list(gate.shape)}, but up is {up.dtype} {list(up.shape)}. "
            "Bring both to one shape and dtype."
        )
    gate_NF, up_NF = _rows(gate), _rows(up)
    out = gate.new_empty(gate.shape)
    if gate.numel():
        launch = options(gate.shape[-1])
        with torch.cuda.device_of(gate):
            forward_kernel[(len(gate_NF) * triton.cdiv(launch["SIZE"], launch["BLOCK"]),)](
                gate_NF, up_NF, out, gate_NF.stride(0), up_NF.stride(0), **launch
            )
    return out


@torch.library.custom_op("mimo::swiglu_backward", mutates_args=())
def _swiglu_backward(grad: Tensor, gate: Tensor, up: Tensor) -> tuple[Tensor, Tensor]:
    grad_NF, gate_NF, up_NF = _rows(grad), _rows(gate), _rows(up)
    grad_gate, grad_up = gate.new_empty(gate.shape), up.new_empty(up.shape)
    if gate.numel():
        launch = options(gate.shape[-1])
        with torch.cuda.device_of(gate):
            backward_kernel[(len(gate_NF) * triton.cdiv(launch["SIZE"], launch["BLOCK"]),)](
                grad_NF,
                gate_NF,
                up_NF,
                grad_gate,
                grad_up,
                grad_NF.stride(0),
                gate_NF.stride(0),
                up_NF.stride(0),
                **launch,
            )
    return grad_gate, grad_up


def _rows(x: Tensor) -> Tensor:
    """[N, F] with neighbouring values side by side: a view where the strides allow it."""
    x_NF = x.reshape(-1, x.shape[-1])
    return x_NF if x_NF.stride(-1) == 1 else x_NF.contiguous()


@_swiglu.register_fake
def _(gate: Tensor, up: Tensor) -> Tensor:
    return gate.new_empty(gate.shape)


@_swiglu_backward.register_fake
def _(grad: Tensor, gate: Tensor, up: Tensor) -> tuple[Tensor, Tensor]:
    return gate.new_empty(gate.shape), up.new_empty(up.shape)


def _save(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
    return _swiglu_backward(grad, *ctx.saved_tensors)  # type: ignore[no-any-return]


_swiglu.register_autograd(_backward, setup_context=_save)
