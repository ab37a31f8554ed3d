"""Linear layers of a few tokens, with RMSNorm in front, and SwiGLU or a residual sum behind.

    y = (w * x / sqrt(mean(x²) + eps)) @ Wᵀ + bias + residual              norm_linear
    y = silu(normed @ W[:F]ᵀ) * (normed @ W[F:]ᵀ)                          norm_swiglu

At so few tokens such a layer is the time that its weights take to arrive. So every program streams its rows of W
through shared memory, several blocks ahead of the sums, and there are rows enough for every processor to hold more
than one program: no sum is split. The norm costs no pass of its own, for its scale is one number per token: programs
sum up (w * x) @ Wᵀ and x² side by side, and scale at the end. Sums are float32 and rounded once, where the plain layers
round the normalised x, the product and the activation each.

One token is a product with a vector and is summed by lanes; 2 to 16 go through the tensor cores, with W as the left
factor, so that only the tokens are padded (to 8 or 16). More than 16 are an ordinary matrix product, which is torch's,
between the kernels of the norm and of SwiGLU.
For up to 4 tokens of bfloat16 there is CUDA C++ as well, in `cuda/norm_linear.cu`; `nvrtc` says which one runs.
"""

# Triton's kernels are untyped, and so are torch's device guards.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from mimo_model.kernels.device import fused
from mimo_model.kernels.language import dot, tl, triton
from mimo_model.kernels.nvrtc import launch, wants_cuda
from mimo_model.kernels.rms_norm import rms_norm, rms_norm_reference
from mimo_model.kernels.swiglu import swiglu

MAX_ROWS = 16


def norm_linear(
    x_ND: Tensor,
    norm_weight_D: Tensor | None,
    eps: float,
    weight_OD: Tensor,
    bias_O: Tensor | None = None,
    residual_NO: Tensor | None = None,
) -> Tensor:
    """[N, O]: a linear layer of the normalised x (of x itself without `norm_weight_D`), plus bias and residual.

    Args:
        x_ND: all arguments have its dtype.
        weight_OD: rows may be fewer than the layer's: `head.weight[:num_ids]` gives the logits of the known ids only.

    Raises:
        ValueError: shapes that do not fit together.
    """
    _check(x_ND, norm_weight_D, weight_OD)
    num_outputs = len(weight_OD)
    if bias_O is not None and bias_O.shape != (num_outputs,):
        raise ValueError(f"The bias is {list(bias_O.shape)}, but the weight has {num_outputs} rows.")
    if residual_NO is not None and residual_NO.shape != (len(x_ND), num_outputs):
        raise ValueError(f"The residual is {list(residual_NO.shape)}: wanted [{len(x_ND)}, {num_outputs}].")
    if not fused(x_ND):
        return norm_linear_reference(x_ND, norm_weight_D, eps, weight_OD, bias_O, residual_NO)
    if 1 <= len(x_ND) <= MAX_ROWS:
        return _norm_linear(x_ND, norm_weight_D, eps, weight_OD, bias_O, residual_NO)  # type: ignore[no-any-return]
    normed_ND = x_ND if norm_weight_D is None else rms_norm(x_ND, norm_weight_D, eps)
    return norm_linear_reference(normed_ND, None, eps, weight_OD, bias_O, residual_NO)


def norm_swiglu(x_ND: Tensor, norm_weight_D: Tensor | None, eps: float, gate_up_weight_ZD: Tensor) -> Tensor:
    """[N, F]: silu(gate) * up of the normalised x (of x itself without `norm_weight_D`).

    Args:
        gate_up_weight_ZD: Z = 2 F rows, first the gate's, then the up-projection's.

    Raises:
        ValueError: shapes that do not fit together.
    """
    _check(x_ND, norm_weight_D, gate_up_weight_ZD)
    if len(gate_up_weight_ZD) % 2:
        raise ValueError(f"The packed weight has {len(gate_up_weight_ZD)} rows: wanted as many for gate as for up.")
    if not fused(x_ND):
        return norm_swiglu_reference(x_ND, norm_weight_D, eps, gate_up_weight_ZD)
    if 1 <= len(x_ND) <= MAX_ROWS:
        return _norm_swiglu(x_ND, norm_weight_D, eps, gate_up_weight_ZD)  # type: ignore[no-any-return]
    return swiglu(*norm_linear(x_ND, norm_weight_D, eps, gate_up_weight_ZD).chunk(2, dim=-1))


def norm_linear_reference(
    x_ND: Tensor,
    norm_weight_D: Tensor | None,
    eps: float,
    weight_OD: Tensor,
    bias_O: Tensor | None = None,
    residual_NO: Tensor | None = None,
) -> Tensor:
    """The formula in torch."""
    normed_ND = x_ND if norm_weight_D is None else rms_norm_reference(x_ND, norm_weight_D, eps)
    y_NO = F.linear(normed_ND, weight_OD, bias_O)
    return y_NO if residual_NO is None else residual_NO + y_NO


def norm_swiglu_reference(x_ND: Tensor, norm_weight_D: Tensor | None, eps: float, gate_up_weight_ZD: Tensor) -> Tensor:
    """The formula in torch."""
    gate_NF, up_NF = norm_linear_reference(x_ND, norm_weight_D, eps, gate_up_weight_ZD).chunk(2, dim=-1)
    return F.silu(gate_NF) * up_NF


@triton.jit
def vector_kernel(
    x_ptr,
    norm_weight_ptr,
    weight_ptr,
    bias_ptr,
    residual_ptr,
    y_ptr,
    eps,
    num_outputs,
    weight_stride,
    SIZE: tl.constexpr,
    GATED: tl.constexpr,
    BLOCK_O: tl.constexpr,
    BLOCK_D: tl.constexpr,
    NUM_STAGES: tl.constexpr,
):
    output = tl.program_id(0) * BLOCK_O + tl.arange(0, BLOCK_O)
    is_output = output < num_outputs
    rows_ptr = weight_ptr + output.to(tl.int64)[:, None] * weight_stride
    up_rows_ptr = rows_ptr + tl.cast(num_outputs, tl.int64) * weight_stride
    total = tl.zeros([BLOCK_O, BLOCK_D], tl.float32)
    up_total = tl.zeros([BLOCK_O, BLOCK_D], tl.float32)
    squares = tl.zeros([BLOCK_D], tl.float32)
    for first in tl.range(0, SIZE, BLOCK_D, num_stages=NUM_STAGES):
        column = first + tl.arange(0, BLOCK_D)
        is_column = column < SIZE
        inside = is_output[:, None] & is_column[None, :]
        weight = tl.load(rows_ptr + column[None, :], mask=inside, other=0.0)
        x = tl.load(x_ptr + column, mask=is_column, other=0.0).to(tl.float32)
        if norm_weight_ptr is not None:
            squares += x * x
            x *= tl.load(norm_weight_ptr + column, mask=is_column, other=0.0).to(tl.float32)
        total += weight.to(tl.float32) * x[None, :]
        if GATED:
            up_weight = tl.load(up_rows_ptr + column[None, :], mask=inside, other=0.0)
            up_total += up_weight.to(tl.float32) * x[None, :]
    y = tl.sum(total, 1)
    up = tl.sum(up_total, 1)
    if norm_weight_ptr is not None:
        scale = tl.rsqrt(tl.sum(squares) / SIZE + eps)
        y *= scale
        up *= scale
    if GATED:
        y = y * tl.sigmoid(y) * up
    if bias_ptr is not None:
        y += tl.load(bias_ptr + output, mask=is_output, other=0.0).to(tl.float32)
    if residual_ptr is not None:
        y += tl.load(residual_ptr + output, mask=is_output, other=0.0).to(tl.float32)
    tl.store(y_ptr + output, y.to(y_ptr.dtype.element_ty), mask=is_output)


@triton.jit
def matrix_kernel(
    x_ptr,
    norm_weight_ptr,
    weight_ptr,
    bias_ptr,
    residual_ptr,
    y_ptr,
    eps,
    num_rows,
    num_outputs,
    x_stride,
    weight_stride,
    residual_stride,
    SIZE: tl.constexpr,
    GATED: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_O: tl.constexpr,
    BLOCK_D: tl.constexpr,
    NUM_STAGES: tl.constexpr,
):
    output = tl.program_id(0) * BLOCK_O + tl.arange(0, BLOCK_O)
    row = tl.arange(0, BLOCK_N)
    is_output = output < num_outputs
    is_row = row < num_rows
    rows_ptr = weight_ptr + output.to(tl.int64)[:, None] * weight_stride
    up_rows_ptr = rows_ptr + tl.cast(num_outputs, tl.int64) * weight_stride
    total = tl.zeros([BLOCK_O, BLOCK_N], tl.float32)
    up_total = tl.zeros([BLOCK_O, BLOCK_N], tl.float32)
    squares = tl.zeros([BLOCK_N], tl.float32)
    for first in tl.range(0, SIZE, BLOCK_D, num_stages=NUM_STAGES):
        column = first + tl.arange(0, BLOCK_D)
        is_column = column < SIZE
        inside = is_output[:, None] & is_column[None, :]
        weight = tl.load(rows_ptr + column[None, :], mask=inside, other=0.0)
        x = tl.load(
            x_ptr + row[None, :] * x_stride + column[:, None], mask=is_row[None, :] & is_column[:, None], other=0.0
        )
        if norm_weight_ptr is not None:
            wide = x.to(tl.float32)
            squares += tl.sum(wide * wide, 0)
            norm_weight = tl.load(norm_weight_ptr + column, mask=is_column, other=0.0).to(tl.float32)
            x = (wide * norm_weight[:, None]).to(x.dtype)
        total = dot(weight, x, total)
        if GATED:
            up_weight = tl.load(up_rows_ptr + column[None, :], mask=inside, other=0.0)
            up_total = dot(up_weight, x, up_total)
    y = total
    up = up_total
    if norm_weight_ptr is not None:
        scale = tl.rsqrt(squares / SIZE + eps)
        y *= scale[None, :]
        up *= scale[None, :]
    if GATED:
        y = y * tl.sigmoid(y) * up
    inside = is_output[:, None] & is_row[None, :]
    if bias_ptr is not None:
        y += tl.load(bias_ptr + output, mask=is_output, other=0.0).to(tl.float32)[:, None]
    if residual_ptr is not None:
        residual = tl.load(residual_ptr + row[None, :] * residual_stride + output[:, None], mask=inside, other=0.0)
        y += residual.to(tl.float32)
    target = y_ptr + row.to(tl.int64)[None, :] * num_outputs + output[:, None]
    tl.store(target, y.to(y_ptr.dtype.element_ty), mask=inside)


def vector_options(size: int, *, gated: bool) -> dict[str, Any]:
    """How one token is launched: three blocks of four rows' 1,024 columns on their way, per program."""
    return {
        "SIZE": size,
        "GATED": gated,
        "BLOCK_O": 2 if gated else 4,
        "BLOCK_D": 1024,
        "NUM_STAGES": 4,
        "num_warps": 4,
    }


def matrix_options(num_rows: int, num_outputs: int, size: int, itemsize: int, *, gated: bool) -> dict[str, Any]:
    """How 2 to 16 tokens are launched: 16 outputs a program, or 32 where enough programs are left for every processor.

    A program with one block of W a step keeps more steps on their way than one with two or a tall one.
    """
    is_tall = num_outputs >= 16_384 and not gated
    if itemsize > 2:
        block_d, num_stages = 64, 2
    else:
        block_d, num_stages = 128, 6 if is_tall or gated else 8
    return {
        "SIZE": size,
        "GATED": gated,
        "BLOCK_N": 8 if num_rows <= 8 else 16,
        "BLOCK_O": 32 if is_tall else 16,
        "BLOCK_D": block_d,
        "NUM_STAGES": num_stages,
        "num_warps": 2,
    }


def fits_cuda(x_ND: Tensor, *others: Tensor | None) -> bool:
    """Whether `cuda/norm_linear.cu` takes these: up to 4 rows of bfloat16, in whole and aligned vectors of 16 bytes."""
    tensors = [x_ND, *(tensor for tensor in others if tensor is not None)]
    return len(x_ND) <= 4 and all(
        tensor.dtype == torch.bfloat16
        and tensor.stride(-1) == 1
        and (tensor.shape[-1] != x_ND.shape[-1] or _is_in_vectors(tensor))
        for tensor in tensors
    )


def _is_in_vectors(tensor: Tensor) -> bool:
    return not (tensor.data_ptr() % 16 or tensor.shape[-1] % 8 or (tensor.dim() > 1 and tensor.stride(0) % 8))


def cuda_macros(num_rows: int, *, gated: bool, normed: bool) -> dict[str, int]:
    """What `cuda/norm_linear.cu` is compiled with."""
    return {"NUM_TOKENS": num_rows, "IS_GATED": int(gated), "HAS_NORM": int(normed)}


def cuda_grid(num_outputs: int, *, gated: bool) -> int:
    """Blocks of four warps, of one output each when gated, of two else."""
    return -(-num_outputs // (4 if gated else 8))


@torch.library.custom_op("mimo::norm_linear", mutates_args=())
def _norm_linear(
    x_ND: Tensor,
    norm_weight_D: Tensor | None,
    eps: float,
    weight_OD: Tensor,
    bias_O: Tensor | None,
    residual_NO: Tensor | None,
) -> Tensor:
    y_NO = x_ND.new_empty(len(x_ND), len(weight_OD))
    _launch(x_ND, norm_weight_D, eps, weight_OD, bias_O, residual_NO, y_NO, gated=False)
    return y_NO


@_norm_linear.register_fake
def _(x_ND: Tensor, _norm: Tensor | None, _eps: float, weight_OD: Tensor, *_: Tensor | None) -> Tensor:
    return x_ND.new_empty(x_ND.shape[0], weight_OD.shape[0])


@torch.library.custom_op("mimo::norm_swiglu", mutates_args=())
def _norm_swiglu(x_ND: Tensor, norm_weight_D: Tensor | None, eps: float, gate_up_weight_ZD: Tensor) -> Tensor:
    y_NF = x_ND.new_empty(len(x_ND), len(gate_up_weight_ZD) // 2)
    _launch(x_ND, norm_weight_D, eps, gate_up_weight_ZD, None, None, y_NF, gated=True)
    return y_NF


@_norm_swiglu.register_fake
def _(x_ND: Tensor, _norm: Tensor | None, _eps: float, gate_up_weight_ZD: Tensor) -> Tensor:
    return x_ND.new_empty(x_ND.shape[0], gate_up_weight_ZD.shape[0] // 2)


def _launch(
    x_ND: Tensor,
    norm_weight_D: Tensor | None,
    eps: float,
    weight: Tensor,
    bias_O: Tensor | None,
    residual_NO: Tensor | None,
    y_NO: Tensor,
    *,
    gated: bool,
) -> None:
    num_rows, size = x_ND.shape
    num_outputs = y_NO.shape[1]
    if wants_cuda(x_ND) and fits_cuda(x_ND, norm_weight_D, weight, bias_O, residual_NO):
        launch(
            "norm_linear",
            cuda_macros(num_rows, gated=gated, normed=norm_weight_D is not None),
            x_ND,
            grid=cuda_grid(num_outputs, gated=gated),
            block=128,
            arguments=(
                *(0 if t is None else t.data_ptr() for t in (x_ND, norm_weight_D, weight, bias_O, residual_NO, y_NO)),
                eps,
                num_outputs,
                size,
                x_ND.stride(0),
                weight.stride(0),
                0 if residual_NO is None else residual_NO.stride(0),
            ),
        )
        return
    with torch.cuda.device_of(x_ND):
        if num_rows == 1:
            options = vector_options(size, gated=gated)
            vector_kernel[(triton.cdiv(num_outputs, options["BLOCK_O"]),)](
                x_ND, norm_weight_D, weight, bias_O, residual_NO, y_NO, eps, num_outputs, weight.stride(0), **options
            )
            return
        options = matrix_options(num_rows, num_outputs, size, x_ND.itemsize, gated=gated)
        matrix_kernel[(triton.cdiv(num_outputs, options["BLOCK_O"]),)](
            x_ND,
            norm_weight_D,
            weight,
            bias_O,
            residual_NO,
            y_NO,
            eps,
            num_rows,
            num_outputs,
            x_ND.stride(0),
            weight.stride(0),
            0 if residual_NO is None else residual_NO.stride(0),
            **options,
        )


def _check(x_ND: Tensor, norm_weight_D: Tensor | None, weight: Tensor) -> None:
    size = x_ND.shape[-1]
    if x_ND.dim() != 2 or weight.shape[1:] != (size,) or (norm_weight_D is not None and norm_weight_D.shape != (size,)):
        norm = "none" if norm_weight_D is None else list(norm_weight_D.shape)
        raise ValueError(
            f"x is {list(x_ND.shape)}, the norm's weight {norm} and the weight {list(weight.shape)}: wanted [N, D], "
            "[D] and [outputs, D]. Flatten batch and tokens first."
        )
    if any(tensor.stride(-1) != 1 for tensor in (x_ND, weight)):
        raise ValueError("The last dimension of x and of the weight must be contiguous. Call .contiguous() on it.")
