"""Cross-entropy of a linear layer over the whole vocabulary, without ever holding the logits.

    z = x Wᵀ,   S_n = log Σ_v exp(z_nv),   loss_n = S_n - z_n,target(n)

    dz_nv = dloss_n * (exp(z_nv - S_n) - [v = target(n)]),   dx = dz W,   dW = dzᵀ x

Both directions walk over the vocabulary in chunks. The forward makes one chunk of float32 logits with a library matrix
product, a kernel adds it to the running S, and the next chunk overwrites it; only S is kept. The backward makes the
same chunk again, a kernel turns it into dz, and two matrix products use it up.

Why so:
- The matrix product is the library's, which is tuned for each new GPU. The price is a chunk's way through memory: 8
  bytes, written and read, for the 2 D operations of a logit. `benchmarks/kernels.py` times the whole.
- Logits are float32, not rounded to bfloat16: at a logit of 20 that rounding alone moves the loss by up to 0.06.
- The backward computes the logits again. dW needs dloss_n under its sum, and callers weigh tokens as they like, so the
  forward cannot know it.
- Chunks cut the vocabulary, not the tokens: each row of dW is then one product, rounded once, with no float32 copy of
  dW (2.3 GiB) to read and write at every step. What is summed over chunks is dx, the smaller of the two.

Beyond its results dx and dW, the backward holds `CHUNK_BYTES` for a chunk (float32 logits and dz) and float32 dx: at
32,768 tokens of width 4,096 that is 384 + 512 MiB, whatever the vocabulary.
"""

# Triton's kernels are untyped, and so are torch's device guards and autograd functions.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from mimo_model.kernels.device import fused
from mimo_model.kernels.language import tl, triton

CHUNK_BYTES = 384 * 2**20
"""On a GPU: enough for 2,048 ids of 32,768 tokens, a product that fills it."""

CPU_CHUNK_BYTES = 96 * 2**20
"""On a CPU, where smaller products are as fast. Where one chunk is all, the plain formula may keep its logits."""


def linear_cross_entropy(
    x_ND: Tensor, weight_VD: Tensor, targets_N: Tensor, *, ignore_index: int = -100, num_ids: int | None = None
) -> Tensor:
    """Each token's -log softmax(x Wᵀ)[target], zero where the target is `ignore_index`.

    Under autocast, x and W are cast as by a linear layer; on a CPU everything is computed in float32.

    Args:
        targets_N: int64. One outside the vocabulary is an error on a CPU; on a GPU, where looking would wait for the
            device, its loss is NaN.
        num_ids: only the first so many rows of W take part: padded ids get no probability and no gradient.

    Returns:
        float32 [N] (float64 for float64 on a CPU).

    Raises:
        ValueError: shapes or dtypes that do not fit, or a target outside the vocabulary.
    """
    num_ids = len(weight_VD) if num_ids is None else num_ids
    _check(x_ND, weight_VD, targets_N, num_ids)
    if fused(x_ND):
        if torch.is_autocast_enabled(x_ND.device.type):
            dtype = torch.get_autocast_dtype(x_ND.device.type)
            x_ND, weight_VD = x_ND.to(dtype), weight_VD.to(dtype)
        return _fused(x_ND, weight_VD, targets_N, num_ids, ignore_index)[0]  # type: ignore[no-any-return]

    counted_C = (targets_N != ignore_index).nonzero().squeeze(1)
    targets_C = targets_N[counted_C]
    outside = targets_C[(targets_C < 0) | (targets_C >= num_ids)]
    if len(outside):
        raise ValueError(
            f"Target {int(outside[0])} is outside the vocabulary of {num_ids} ids, and not ignore_index={ignore_index}."
        )
    counted_CD = x_ND if len(counted_C) == len(targets_N) else x_ND.index_select(0, counted_C)
    if chunk_ids(len(counted_C), num_ids, CPU_CHUNK_BYTES) == num_ids:
        losses_C = linear_cross_entropy_reference(counted_CD, weight_VD, targets_C, num_ids)
    else:
        losses_C = _Chunked.apply(counted_CD, weight_VD, targets_C, num_ids)
    return losses_C.new_zeros(len(targets_N)).index_copy(0, counted_C, losses_C)


def linear_cross_entropy_reference(x_ND: Tensor, weight_VD: Tensor, targets_N: Tensor, num_ids: int) -> Tensor:
    """The formula in torch, all logits at once, in float32 also under autocast; every target counts."""
    dtype = torch.promote_types(x_ND.dtype, torch.float32)
    with torch.autocast(x_ND.device.type, enabled=False):
        logits_NV = F.linear(x_ND.to(dtype), weight_VD[:num_ids].to(dtype))
        return F.cross_entropy(logits_NV, targets_N, reduction="none")


def _check(x_ND: Tensor, weight_VD: Tensor, targets_N: Tensor, num_ids: int) -> None:
    if x_ND.ndim != 2 or weight_VD.ndim != 2 or x_ND.shape[1] != weight_VD.shape[1]:
        raise ValueError(f"x is {list(x_ND.shape)} and W {list(weight_VD.shape)}: wanted [N, D] and [V, D].")
    if targets_N.shape != x_ND.shape[:1]:
        raise ValueError(f"targets are {list(targets_N.shape)}: wanted one for each of the {len(x_ND)} rows of x.")
    if not 1 <= num_ids <= len(weight_VD):
        raise ValueError(f"num_ids={num_ids}: wanted 1 to {len(weight_VD)}, the rows of W.")


def chunk_ids(num_rows: int, num_ids: int, chunk_bytes: int) -> int:
    """Ids a chunk: as many as `chunk_bytes` hold of float32 logits and 16-bit dz, but at least 256."""
    most = max(chunk_bytes // (6 * max(num_rows, 1)) // 64 * 64, 256)
    num_chunks = -(-num_ids // most)
    return -(-num_ids // num_chunks // 64) * 64 if num_chunks > 1 else num_ids


def _losses(
    x_ND: Tensor, weight_VD: Tensor, targets_N: Tensor, num_ids: int, size: int, tally: Callable[..., None]
) -> tuple[Tensor, Tensor]:
    """The losses (ignored tokens' are garbage) and S."""
    dtype = torch.promote_types(x_ND.dtype, torch.float32)
    log_sums_N = x_ND.new_full((len(x_ND),), -torch.inf, dtype=dtype)
    target_logits_N = x_ND.new_full((len(x_ND),), torch.nan, dtype=dtype)
    buffer = x_ND.new_empty(len(x_ND) * size, dtype=dtype)
    for start in range(0, num_ids, size):
        logits_NC = _chunk(buffer, len(x_ND), min(size, num_ids - start))
        _multiply(x_ND, weight_VD[start : start + logits_NC.shape[1]].T, out=logits_NC)
        tally(logits_NC, targets_N, log_sums_N, target_logits_N, start)
    return log_sums_N - target_logits_N, log_sums_N


def _gradients(
    grads_N: Tensor,
    x_ND: Tensor,
    weight_VD: Tensor,
    targets_N: Tensor,
    log_sums_N: Tensor,
    num_ids: int,
    size: int,
    differentiate: Callable[..., None],
    *,
    product_dtype: torch.dtype,
    wants_x: bool,
    wants_weight: bool,
) -> tuple[Tensor, Tensor]:
    """dx and dW, empty where not wanted.

    Args:
        grads_N: of the losses; zero for ignored tokens.
        product_dtype: dz's; where it is the logits' too, dz takes their place.
    """
    dtype, num_rows = log_sums_N.dtype, len(x_ND)
    grad_x_ND = x_ND.new_zeros(x_ND.shape if wants_x else 0, dtype=dtype)
    grad_weight_VD = weight_VD.new_empty(weight_VD.shape if wants_weight else 0)
    grad_weight_VD[num_ids:].zero_()
    logits_buffer = x_ND.new_empty(num_rows * size, dtype=dtype)
    buffer = logits_buffer if product_dtype == dtype else x_ND.new_empty(num_rows * size, dtype=product_dtype)
    for start in range(0, num_ids, size):
        width = min(size, num_ids - start)
        weight_CD = weight_VD[start : start + width]
        logits_NC = _multiply(x_ND, weight_CD.T, out=_chunk(logits_buffer, num_rows, width))
        grad_logits_NC = _chunk(buffer, num_rows, width)
        differentiate(logits_NC, targets_N, log_sums_N, grads_N, start, out=grad_logits_NC)
        if wants_x:
            _add_product(grad_x_ND, grad_logits_NC, weight_CD)
        if wants_weight:
            _multiply(grad_logits_NC.T, x_ND, out=grad_weight_VD[start : start + width])
    # Freed before dx is cast, so that the cast adds nothing to the peak.
    del logits_buffer, buffer, logits_NC, grad_logits_NC
    return grad_x_ND.to(x_ND.dtype), grad_weight_VD


def _chunk(buffer: Tensor, num_rows: int, width: int) -> Tensor:
    return buffer[: num_rows * width].view(num_rows, width)


def _multiply(a: Tensor, b: Tensor, *, out: Tensor) -> Tensor:
    """out = a b, summed in float32 whatever goes in and comes out."""
    if a.is_cuda and a.dtype == b.dtype:
        return torch.mm(a, b, out=out) if a.dtype == out.dtype else torch.mm(a, b, out_dtype=out.dtype, out=out)
    dtype = torch.promote_types(out.dtype, torch.float32)
    a, b = a.to(dtype), b.to(dtype)
    return torch.mm(a, b, out=out) if out.dtype == dtype else out.copy_(torch.mm(a, b))


def _add_product(total: Tensor, a: Tensor, b: Tensor) -> None:
    """total += a b, in total's dtype."""
    if total.is_cuda and a.dtype != total.dtype:
        torch.addmm(total, a, b, out_dtype=total.dtype, out=total)
    else:
        total.addmm_(a.to(total.dtype), b.to(total.dtype))


def _tally_reference(
    logits_NC: Tensor, targets_N: Tensor, log_sums_N: Tensor, target_logits_N: Tensor, start: int
) -> None:
    """Adds a chunk, whose first id is `start`, to the running S, and picks the targets' logits out of it."""
    torch.logaddexp(log_sums_N, logits_NC.logsumexp(1), out=log_sums_N)
    places_N1, inside_N1 = _places(targets_N, start, logits_NC.shape[1])
    torch.where(inside_N1, logits_NC.gather(1, places_N1), target_logits_N[:, None], out=target_logits_N[:, None])


def _differentiate_reference(
    logits_NC: Tensor, targets_N: Tensor, log_sums_N: Tensor, grads_N: Tensor, start: int, *, out: Tensor
) -> None:
    """dz of a chunk whose first id is `start`; `out` may be the logits themselves."""
    torch.sub(logits_NC, log_sums_N[:, None], out=out).exp_()
    places_N1, inside_N1 = _places(targets_N, start, logits_NC.shape[1])
    out.scatter_add_(1, places_N1, -inside_N1.to(out.dtype)).mul_(grads_N[:, None])


def _places(targets_N: Tensor, start: int, width: int) -> tuple[Tensor, Tensor]:
    places_N1 = (targets_N - start)[:, None]
    return places_N1.clamp(0, width - 1), (places_N1 >= 0) & (places_N1 < width)


class _Chunked(torch.autograd.Function):
    """The CPU's path; every target is in the vocabulary. Autocast would put its products into bfloat16."""

    @staticmethod
    @torch.amp.custom_fwd(device_type="cpu", cast_inputs=torch.float32)
    def forward(ctx: Any, x_ND: Tensor, weight_VD: Tensor, targets_N: Tensor, num_ids: int) -> Tensor:
        ctx.num_ids, ctx.size = num_ids, chunk_ids(len(x_ND), num_ids, CPU_CHUNK_BYTES)
        losses_N, log_sums_N = _losses(x_ND, weight_VD, targets_N, num_ids, ctx.size, _tally_reference)
        ctx.save_for_backward(x_ND, weight_VD, targets_N, log_sums_N)
        return losses_N

    @staticmethod
    @torch.amp.custom_bwd(device_type="cpu")
    def backward(ctx: Any, grads_N: Tensor) -> tuple[Tensor | None, ...]:
        x_ND, weight_VD, targets_N, log_sums_N = ctx.saved_tensors
        wants_x, wants_weight, *_ = ctx.needs_input_grad
        grad_x_ND, grad_weight_VD = _gradients(
            grads_N,
            x_ND,
            weight_VD,
            targets_N,
            log_sums_N,
            ctx.num_ids,
            ctx.size,
            _differentiate_reference,
            product_dtype=log_sums_N.dtype,
            wants_x=wants_x,
            wants_weight=wants_weight,
        )
        return grad_x_ND if wants_x else None, grad_weight_VD if wants_weight else None, None, None


@triton.jit
def tally_kernel(
    logits_ptr,
    targets_ptr,
    log_sums_ptr,
    target_logits_ptr,
    start,
    width,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    most = tl.full((), float("-inf"), tl.float32)
    total = tl.full((), 0.0, tl.float32)
    for first in tl.range(0, width, BLOCK):
        columns = first + tl.arange(0, BLOCK)
        logits = tl.load(logits_ptr + row * width + columns, mask=columns < width, other=float("-inf"))
        higher = tl.maximum(most, tl.max(logits))
        total = total * tl.exp(most - higher) + tl.sum(tl.exp(logits - higher))
        most = higher
    chunk = most + tl.log(total)
    running = tl.load(log_sums_ptr + row)
    higher = tl.maximum(chunk, running)
    tl.store(log_sums_ptr + row, higher + tl.log(tl.exp(chunk - higher) + tl.exp(running - higher)))

    place = tl.load(targets_ptr + row) - start
    inside = (place >= 0) & (place < width)
    tl.store(target_logits_ptr + row, tl.load(logits_ptr + row * width + place, mask=inside), mask=inside)


@triton.jit
def differentiate_kernel(
    logits_ptr,
    targets_ptr,
    log_sums_ptr,
    grads_ptr,
    out_ptr,
    start,
    width,
    num_blocks,
    BLOCK: tl.constexpr,
):
    row = (tl.program_id(0) // num_blocks).to(tl.int64)
    columns = (tl.program_id(0) % num_blocks) * BLOCK + tl.arange(0, BLOCK)
    inside = columns < width
    logits = tl.load(logits_ptr + row * width + columns, mask=inside, other=float("-inf"))
    share = tl.exp(logits - tl.load(log_sums_ptr + row))
    is_target = columns == tl.load(targets_ptr + row) - start
    grad = tl.load(grads_ptr + row) * tl.where(is_target, share - 1, share)
    tl.store(out_ptr + row * width + columns, grad.to(out_ptr.dtype.element_ty), mask=inside)


TALLY_OPTIONS = {"BLOCK": 2_048, "num_warps": 8}
DIFFERENTIATE_OPTIONS = {"BLOCK": 1_024, "num_warps": 4}


def _tally_fused(logits_NC: Tensor, targets_N: Tensor, log_sums_N: Tensor, target_logits_N: Tensor, start: int) -> None:
    num_rows, width = logits_NC.shape
    tally_kernel[(num_rows,)](logits_NC, targets_N, log_sums_N, target_logits_N, start, width, **TALLY_OPTIONS)


def _differentiate_fused(
    logits_NC: Tensor, targets_N: Tensor, log_sums_N: Tensor, grads_N: Tensor, start: int, *, out: Tensor
) -> None:
    num_rows, width = logits_NC.shape
    num_blocks = triton.cdiv(width, DIFFERENTIATE_OPTIONS["BLOCK"])
    differentiate_kernel[(num_rows * num_blocks,)](
        logits_NC, targets_N, log_sums_N, grads_N, out, start, width, num_blocks, **DIFFERENTIATE_OPTIONS
    )


@torch.library.custom_op("mimo::linear_cross_entropy", mutates_args=())
def _fused(
    x_ND: Tensor, weight_VD: Tensor, targets_N: Tensor, num_ids: int, ignore_index: int
) -> tuple[Tensor, Tensor]:
    """The losses and S."""
    if x_ND.dtype != weight_VD.dtype or x_ND.dtype == torch.float64:
        raise ValueError(f"x is {x_ND.dtype} and W {weight_VD.dtype}: wanted one dtype of 16 or 32 bits.")
    if not len(x_ND):
        return x_ND.new_empty(0, dtype=torch.float32), x_ND.new_empty(0, dtype=torch.float32)
    size = chunk_ids(len(x_ND), num_ids, CHUNK_BYTES)
    targets_N = targets_N.contiguous()
    with torch.cuda.device_of(x_ND):
        losses_N, log_sums_N = _losses(x_ND, weight_VD, targets_N, num_ids, size, _tally_fused)
    return losses_N.masked_fill_(targets_N == ignore_index, 0.0), log_sums_N


@torch.library.custom_op("mimo::linear_cross_entropy_backward", mutates_args=())
def _fused_backward(
    grads_N: Tensor,
    x_ND: Tensor,
    weight_VD: Tensor,
    targets_N: Tensor,
    log_sums_N: Tensor,
    num_ids: int,
    ignore_index: int,
    wants_x: bool,
    wants_weight: bool,
) -> tuple[Tensor, Tensor]:
    if not len(x_ND):
        return x_ND.new_zeros(x_ND.shape if wants_x else 0), weight_VD.new_zeros(weight_VD.shape if wants_weight else 0)
    with torch.cuda.device_of(x_ND):
        return _gradients(
            grads_N.masked_fill(targets_N == ignore_index, 0.0),
            x_ND,
            weight_VD,
            targets_N.contiguous(),
            log_sums_N,
            num_ids,
            chunk_ids(len(x_ND), num_ids, CHUNK_BYTES),
            _differentiate_fused,
            product_dtype=x_ND.dtype,
            wants_x=wants_x,
            wants_weight=wants_weight,
        )


@_fused.register_fake
def _(x_ND: Tensor, *_: object) -> tuple[Tensor, Tensor]:
    return x_ND.new_empty(len(x_ND), dtype=torch.float32), x_ND.new_empty(len(x_ND), dtype=torch.float32)


@_fused_backward.register_fake
def _(
    grads_N: Tensor,
    x_ND: Tensor,
    weight_VD: Tensor,
    targets_N: Tensor,
    log_sums_N: Tensor,
    num_ids: int,
    ignore_index: int,
    wants_x: bool,
    wants_weight: bool,
) -> tuple[Tensor, Tensor]:
    return x_ND.new_empty(x_ND.shape if wants_x else 0), weight_VD.new_empty(weight_VD.shape if wants_weight else 0)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x_ND, weight_VD, targets_N, ctx.num_ids, ctx.ignore_index = inputs
    ctx.save_for_backward(x_ND, weight_VD, targets_N, output[1])
    ctx.mark_non_differentiable(output[1])


def _backward(ctx: Any, grads_N: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    wants_x, wants_weight, *_rest = ctx.needs_input_grad
    grad_x_ND, grad_weight_VD = _fused_backward(
        grads_N, *ctx.saved_tensors, ctx.num_ids, ctx.ignore_index, wants_x, wants_weight
    )
    return grad_x_ND if wants_x else None, grad_weight_VD if wants_weight else None, None, None, None


_fused.register_autograd(_backward, setup_context=_save)
