"""RMSNorm, alone and with the residual sum before it, forward and backward.

    s = x + r                                       add_rms_norm only
    y = w * cast(s * c),   c = 1 / sqrt(mean(s²) + eps)

    g = w * dy,   dx = dr = c * (g - s * c² * mean(g * s)) + ds,   dw = Σ_rows dy * s * c

The mean, and everything in the backward, is float32; `cast` rounds to x's dtype before the weight is applied, as
Qwen2 does. One program normalises one row that it holds in registers, so every value is read once. In the backward a
fixed number of programs walks over the rows; each adds up its own dw, and a second sum joins them: the same bits on
every run of one device.
"""

# Triton's kernels are untyped, and so are torch's device guards.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mimo_model.kernels.device import fused, num_processors
from mimo_model.kernels.language import tl, triton


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """w * x / sqrt(mean(x²) + eps) over the last dimension.

    Args:
        x: [.., D].
        weight: [D]; the result has the dtype that it and x promote to.
    """
    if not fused(x):
        return rms_norm_reference(x, weight, eps)
    return _rms_norm(x, weight, eps)[0]  # type: ignore[no-any-return]


def add_rms_norm(x: Tensor, residual: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """The norm of x + residual, and that sum.

    Args:
        x, residual: [.., D], of one shape and dtype.
        weight: [D].
    """
    if not fused(x):
        summed = x + residual
        return rms_norm_reference(summed, weight, eps), summed
    normed, summed, _ = _add_rms_norm(x, residual, weight, eps)
    return normed, summed


def rms_norm_reference(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """The formula in torch."""
    x32 = x.float()
    scale = torch.rsqrt(x32.square().mean(-1, keepdim=True) + eps)
    return weight * (x32 * scale).to(x.dtype)


@triton.jit
def forward_kernel(
    x_ptr,
    residual_ptr,
    weight_ptr,
    normed_ptr,
    summed_ptr,
    scale_ptr,
    eps,
    x_stride,
    residual_stride,
    SIZE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    inside = columns < SIZE
    x = tl.load(x_ptr + row * x_stride + columns, mask=inside, other=0.0)
    dtype: tl.constexpr = x.dtype
    x = x.to(tl.float32)
    if residual_ptr is not None:
        residual = tl.load(residual_ptr + row * residual_stride + columns, mask=inside, other=0.0)
        # The norm sees the sum as it is stored.
        summed = (x + residual.to(tl.float32)).to(dtype)
        tl.store(summed_ptr + row * SIZE + columns, summed, mask=inside)
        x = summed.to(tl.float32)
    scale = tl.rsqrt(tl.sum(x * x) / SIZE + eps)
    tl.store(scale_ptr + row, scale)
    weight = tl.load(weight_ptr + columns, mask=inside, other=0.0).to(tl.float32)
    normed = weight * (x * scale).to(dtype).to(tl.float32)
    tl.store(normed_ptr + row * SIZE + columns, normed.to(normed_ptr.dtype.element_ty), mask=inside)


@triton.jit
def backward_kernel(
    grad_normed_ptr,
    grad_summed_ptr,
    x_ptr,
    weight_ptr,
    scale_ptr,
    grad_x_ptr,
    grad_weights_ptr,
    num_rows,
    x_stride,
    grad_normed_stride,
    grad_summed_stride,
    SIZE: tl.constexpr,
    BLOCK: tl.constexpr,
    NUM_STAGES: tl.constexpr,
):
    program = tl.program_id(0)
    columns = tl.arange(0, BLOCK)
    inside = columns < SIZE
    weight = tl.load(weight_ptr + columns, mask=inside, other=0.0).to(tl.float32)
    grad_weight = tl.zeros([BLOCK], tl.float32)
    for index in tl.range(program, num_rows, tl.num_programs(0), num_stages=NUM_STAGES):
        row = tl.cast(index, tl.int64)
        grad = tl.load(grad_normed_ptr + row * grad_normed_stride + columns, mask=inside, other=0.0).to(tl.float32)
        x = tl.load(x_ptr + row * x_stride + columns, mask=inside, other=0.0).to(tl.float32)
        scale = tl.load(scale_ptr + row)
        x *= scale
        grad_weight += grad * x
        grad *= weight
        grad_x = scale * (grad - x * (tl.sum(grad * x) / SIZE))
        if grad_summed_ptr is not None:
            grad_x += tl.load(grad_summed_ptr + row * grad_summed_stride + columns, mask=inside, other=0.0).to(
                tl.float32
            )
        tl.store(grad_x_ptr + row * SIZE + columns, grad_x.to(grad_x_ptr.dtype.element_ty), mask=inside)
    tl.store(grad_weights_ptr + program * SIZE + columns, grad_weight, mask=inside)


def forward_options(size: int) -> dict[str, Any]:
    """How a row of this size is launched: 16 values a thread at MiMo's 4,096."""
    block = triton.next_power_of_2(size)
    return {"SIZE": size, "BLOCK": block, "num_warps": min(max(block // 512, 1), 16)}


def backward_options(size: int, row_bytes: int) -> dict[str, Any]:
    """As in the forward, with the next rows on their way while one is worked on, if shared memory holds them."""
    stages = 3 if row_bytes <= 8_192 else 2 if row_bytes <= 16_384 else 1
    return {**forward_options(size), "NUM_STAGES": stages}


@torch.library.custom_op("mimo::rms_norm", mutates_args=())
def _rms_norm(x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """The norm, and the float32 scale of each row."""
    normed, _, scale = _forward(x, None, weight, eps)
    return normed, scale


@torch.library.custom_op("mimo::add_rms_norm", mutates_args=())
def _add_rms_norm(x: Tensor, residual: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """The norm of the sum, the sum, and the float32 scale of each row."""
    normed, summed, scale = _forward(x, residual, weight, eps)
    assert summed is not None
    return normed, summed, scale


@torch.library.custom_op("mimo::rms_norm_backward", mutates_args=())
def _rms_norm_backward(
    grad_normed: Tensor, grad_summed: Tensor | None, x: Tensor, weight: Tensor, scale: Tensor
) -> tuple[Tensor, Tensor]:
    """The gradients of x (and of a residual, which is the same) and of the weight."""
    size = x.shape[-1]
    x_ND, grad_normed_ND = _rows(x), _rows(grad_normed)
    grad_summed_ND = None if grad_summed is None else _rows(grad_summed)
    num_rows = len(x_ND)
    num_programs = max(min(num_rows, 2 * num_processors(x.device)), 1)
    grad_x = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    grad_weights_PD = torch.empty(num_programs, size, dtype=torch.float32, device=x.device)
    with torch.cuda.device_of(x):
        backward_kernel[(num_programs,)](
            grad_normed_ND,
            grad_summed_ND,
            x_ND,
            weight.contiguous(),
            scale,
            grad_x,
            grad_weights_PD,
            num_rows,
            x_ND.stride(0),
            grad_normed_ND.stride(0),
            0 if grad_summed_ND is None else grad_summed_ND.stride(0),
            **backward_options(size, size * max(x.itemsize, grad_normed.itemsize)),
        )
    return grad_x, grad_weights_PD.sum(0).to(weight.dtype)


def _forward(x: Tensor, residual: Tensor | None, weight: Tensor, eps: float) -> tuple[Tensor, Tensor | None, Tensor]:
    if weight.shape != x.shape[-1:]:
        raise ValueError(f"The weight has shape {list(weight.shape)}, but a row of x has {x.shape[-1]} values.")
    if residual is not None and (residual.shape != x.shape or residual.dtype != x.dtype):
        raise ValueError(
            f"x is {x.dtype} {list(x.shape)}, but the residual is {residual.dtype} {list(residual.shape)}. "
            "Bring both to one shape and dtype."
        )
    x_ND = _rows(x)
    residual_ND = None if residual is None else _rows(residual)
    normed, scale = _outputs(x, weight)
    summed = None if residual is None else torch.empty(x.shape, dtype=x.dtype, device=x.device)
    if x.numel():
        with torch.cuda.device_of(x):
            forward_kernel[(len(x_ND),)](
                x_ND,
                residual_ND,
                weight.contiguous(),
                normed,
                summed,
                scale,
                eps,
                x_ND.stride(0),
                0 if residual_ND is None else residual_ND.stride(0),
                **forward_options(x.shape[-1]),
            )
    return normed, summed, scale


def _rows(x: Tensor) -> Tensor:
    """[N, D] with neighbouring values side by side: a view where the strides allow it."""
    x_ND = x.reshape(-1, x.shape[-1])
    return x_ND if x_ND.stride(-1) == 1 else x_ND.contiguous()


def _outputs(x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    return (
        torch.empty(x.shape, dtype=torch.promote_types(x.dtype, weight.dtype), device=x.device),
        torch.empty(x.shape[:-1], dtype=torch.float32, device=x.device),
    )


@_rms_norm.register_fake
def _(x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    return _outputs(x, weight)


@_add_rms_norm.register_fake
def _(x: Tensor, residual: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    normed, scale = _outputs(x, weight)
    return normed, torch.empty(x.shape, dtype=x.dtype, device=x.device), scale


@_rms_norm_backward.register_fake
def _(
    grad_normed: Tensor, grad_summed: Tensor | None, x: Tensor, weight: Tensor, scale: Tensor
) -> tuple[Tensor, Tensor]:
    return torch.empty(x.shape, dtype=x.dtype, device=x.device), torch.empty_like(weight)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, weight, _ = inputs
    ctx.save_for_backward(x, weight, output[1])
    ctx.mark_non_differentiable(output[1])


def _backward(ctx: Any, grad_normed: Tensor, _: Tensor) -> tuple[Tensor, Tensor, None]:
    grad_x, grad_weight = _rms_norm_backward(grad_normed, None, *ctx.saved_tensors)
    return grad_x, grad_weight, None


def _add_save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    _, summed, scale = output
    ctx.save_for_backward(summed, inputs[2], scale)
    ctx.mark_non_differentiable(scale)


def _add_backward(ctx: Any, grad_normed: Tensor, grad_summed: Tensor, _: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
    grad_x, grad_weight = _rms_norm_backward(grad_normed, grad_summed, *ctx.saved_tensors)
    return grad_x, grad_x, grad_weight, None


_rms_norm.register_autograd(_backward, setup_context=_save)
_add_rms_norm.register_autograd(_add_backward, setup_context=_add_save)
