"""The fused kernels against eager torch, torch.compile and the bandwidth of a plain copy, at MiMo-7B's shapes.

    python packages/mimo-model/benchmarks/kernels.py
    MIMO_KERNELS=cuda python packages/mimo-model/benchmarks/kernels.py      # CUDA C++ in place of Triton's

On a CUDA device: checks every kernel against eager torch, then prints one table per kernel. Without one: what ptxas
makes of every kernel for sm_80, sm_90 and sm_100.

To add a kernel, write a generator of `Row`s that takes a device and a number of tokens, and name it in `SUBJECTS`.
"""

from __future__ import annotations

import argparse
import importlib.util
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from mimo_model.kernels import (
    add_rms_norm,
    decode_attention,
    device,
    draft_token,
    linear_cross_entropy,
    norm_linear,
    norm_swiglu,
    rms_norm,
    rotate,
    swiglu,
    verify,
    write_qkv,
)
from mimo_model.kernels.norm_linear import norm_linear_reference, norm_swiglu_reference
from mimo_model.kernels.qkv_cache import write_qkv_reference
from mimo_model.kernels.rms_norm import rms_norm_reference
from mimo_model.kernels.verify import draft_token_reference, verify_reference
from mimo_model.rope import rope_at
from mimo_model.rope import rotate as rotate_one

DTYPE = torch.bfloat16
WIDTH, FEED_FORWARD, HEADS, KV_HEADS, HEAD_DIM, VOCABULARY, EPS = 4_096, 11_008, 32, 8, 128, 151_680, 1e-5
TOKENS = (8_192, 32_768)
FEW_TOKENS = (1, 2, 4, 8, 16)
CONTEXTS = (1_024, 8_192, 32_768)
KNOWN_IDS = 151_665
REPEAT_MS = 200
CAPABILITIES = (80, 90, 100)


@dataclass(frozen=True)
class Row:
    """One line of a kernel's table."""

    kernel: str
    shape: str
    ours: Callable[[], Any]
    eager: Callable[[], Any]
    compiled: Callable[[], Any]
    num_bytes: int
    """What has to move: every input read once, every output written once."""


def differentiable(
    kernel: str,
    shape: str,
    *,
    ours: Callable[..., Any],
    eager: Callable[..., Any],
    inputs: Sequence[Tensor],
    forward_bytes: int,
    backward_bytes: int,
) -> Iterator[Row]:
    """A row for the forward and one for the backward of the same function."""
    leaves = [x.detach().requires_grad_() for x in inputs]
    functions = (ours, eager, torch.compile(eager))
    yield Row(kernel, shape, *(partial(function, *inputs) for function in functions), forward_bytes)
    yield Row(f"{kernel}, backward", shape, *(_Backward(function, leaves) for function in functions), backward_bytes)


@dataclass
class _Backward:
    """Runs the forward once, at the first call, and its backward at every call."""

    function: Callable[..., Any]
    leaves: Sequence[Tensor]
    results: tuple[Tensor, ...] = ()
    grads: tuple[Tensor, ...] = ()

    def __call__(self) -> tuple[Tensor, ...]:
        if not self.results:
            results = self.function(*self.leaves)
            self.results = results if isinstance(results, tuple) else (results,)
            torch.manual_seed(0)
            self.grads = tuple(torch.randn_like(result) for result in self.results)
        return torch.autograd.grad(self.results, self.leaves, self.grads, retain_graph=True)


def rms_norm_rows(where: str, num_tokens: int) -> Iterator[Row]:
    x_ND, weight = (
        torch.randn(num_tokens, WIDTH, device=where, dtype=DTYPE),
        torch.ones(WIDTH, device=where, dtype=DTYPE),
    )
    yield from differentiable(
        "rms_norm",
        f"{num_tokens:,} x {WIDTH:,}",
        ours=partial(rms_norm, eps=EPS),
        eager=partial(rms_norm_reference, eps=EPS),
        inputs=(x_ND, weight),
        forward_bytes=2 * _bytes(x_ND),
        backward_bytes=3 * _bytes(x_ND),
    )


def add_rms_norm_rows(where: str, num_tokens: int) -> Iterator[Row]:
    x_ND, residual_ND = (torch.randn(num_tokens, WIDTH, device=where, dtype=DTYPE) for _ in range(2))
    weight = torch.ones(WIDTH, device=where, dtype=DTYPE)

    def eager(x: Tensor, residual: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        summed = x + residual
        return rms_norm_reference(summed, weight, EPS), summed

    yield from differentiable(
        "add_rms_norm",
        f"{num_tokens:,} x {WIDTH:,}",
        ours=partial(add_rms_norm, eps=EPS),
        eager=eager,
        inputs=(x_ND, residual_ND, weight),
        forward_bytes=4 * _bytes(x_ND),
        backward_bytes=4 * _bytes(x_ND),
    )


def rotate_rows(where: str, num_tokens: int) -> Iterator[Row]:
    q_BTHE = torch.randn(1, num_tokens, HEADS, HEAD_DIM, device=where, dtype=DTYPE)
    k_BTKE = torch.randn(1, num_tokens, KV_HEADS, HEAD_DIM, device=where, dtype=DTYPE)
    positions_BT = torch.arange(num_tokens, device=where)[None]
    rope = rope_at(positions_BT, theta=640_000.0, head_dim=HEAD_DIM, dtype=DTYPE)
    # Half of the cosines and half of the sines say it all.
    moved = 2 * _bytes(q_BTHE) + 2 * _bytes(k_BTKE) + _bytes(rope[0])
    yield from differentiable(
        "rotate",
        f"{num_tokens:,} x ({HEADS} + {KV_HEADS}) x {HEAD_DIM}",
        ours=lambda q_BTHE, k_BTKE: rotate(q_BTHE, k_BTKE, *rope),
        eager=lambda q_BTHE, k_BTKE: (rotate_one(q_BTHE, rope), rotate_one(k_BTKE, rope)),
        inputs=(q_BTHE, k_BTKE),
        forward_bytes=moved,
        backward_bytes=moved,
    )


def swiglu_rows(where: str, num_tokens: int) -> Iterator[Row]:
    gate, up = (torch.randn(num_tokens, FEED_FORWARD, device=where, dtype=DTYPE) for _ in range(2))
    yield from differentiable(
        "swiglu",
        f"{num_tokens:,} x {FEED_FORWARD:,}",
        ours=swiglu,
        eager=lambda gate, up: F.silu(gate) * up,
        inputs=(gate, up),
        forward_bytes=3 * _bytes(gate),
        backward_bytes=5 * _bytes(gate),
    )


def decoding(
    kernel: str, shape: str, ours: Callable[..., Any], eager: Callable[..., Any], arguments: tuple[Any, ...], moved: int
) -> Row:
    """A row of a kernel that has no backward."""
    return Row(kernel, shape, *(partial(call, *arguments) for call in (ours, eager, torch.compile(eager))), moved)


def norm_linear_rows(where: str, num_tokens: int) -> Iterator[Row]:
    layers = (
        ("qkv", WIDTH, (HEADS + 2 * KV_HEADS) * HEAD_DIM, True),
        ("o", WIDTH, WIDTH, False),
        ("down", FEED_FORWARD, WIDTH, False),
        ("head", WIDTH, KNOWN_IDS, True),
    )
    for layer, size, num_outputs, is_normed in layers:
        x_ND, weight_OD = _normal(where, num_tokens, size), _normal(where, num_outputs, size)
        norm = torch.ones(size, device=where, dtype=DTYPE) if is_normed else None
        residual = None if is_normed else _normal(where, num_tokens, num_outputs)
        yield decoding(
            "norm_linear",
            f"{layer}: {num_tokens} x {size:,} to {num_outputs:,}",
            norm_linear,
            norm_linear_reference,
            (x_ND, norm, EPS, weight_OD, None, residual),
            _bytes(weight_OD),
        )


def norm_swiglu_rows(where: str, num_tokens: int) -> Iterator[Row]:
    x_ND, weight_ZD = _normal(where, num_tokens, WIDTH), _normal(where, 2 * FEED_FORWARD, WIDTH)
    yield decoding(
        "norm_swiglu",
        f"{num_tokens} x {WIDTH:,} to {FEED_FORWARD:,}",
        norm_swiglu,
        norm_swiglu_reference,
        (x_ND, torch.ones(WIDTH, device=where, dtype=DTYPE), EPS, weight_ZD),
        _bytes(weight_ZD),
    )


def decode_attention_rows(where: str, num_keys: int) -> Iterator[Row]:
    """In a cache of the model's whole context; eager is SDPA on the keys that count, of equal lengths."""
    for num_requests, num_tokens in ((1, 1), (1, 4), (8, 4)):
        q_BTHE = _normal(where, num_requests, num_tokens, HEADS, HEAD_DIM)
        keys, values = (_normal(where, num_requests, KV_HEADS, max(CONTEXTS) + 1, HEAD_DIM) for _ in range(2))
        positions_BT = torch.arange(num_keys - num_tokens, num_keys, device=where).repeat(num_requests, 1)
        mask_TC = torch.arange(num_keys, device=where) <= positions_BT[0, :, None]

        def eager(
            q_BTHE: Tensor, keys: Tensor, values: Tensor, _positions: Tensor, mask_TC: Tensor = mask_TC
        ) -> Tensor:
            seen = (cache[:, :, : mask_TC.shape[1]] for cache in (keys, values))
            q_BHTE = q_BTHE.transpose(1, 2)
            return F.scaled_dot_product_attention(q_BHTE, *seen, attn_mask=mask_TC, enable_gqa=True).transpose(1, 2)

        yield decoding(
            "decode_attention",
            f"{num_requests} x {num_tokens} queries, {num_keys:,} keys",
            decode_attention,
            eager,
            (q_BTHE, keys, values, positions_BT),
            2 * num_requests * KV_HEADS * num_keys * HEAD_DIM * DTYPE.itemsize,
        )


def write_qkv_rows(where: str, num_requests: int) -> Iterator[Row]:
    num_places, num_tokens = 4_096, 4
    width = (HEADS + 2 * KV_HEADS) * HEAD_DIM
    qkv_BTX, bias_X = _normal(where, num_requests, num_tokens, width), _normal(where, width)
    positions_BT = torch.arange(num_tokens, device=where).repeat(num_requests, 1) + 1_000
    caches = [_normal(where, num_requests, KV_HEADS, num_places, HEAD_DIM) for _ in range(2)]
    rope = rope_at(torch.arange(num_places, device=where)[None], theta=640_000.0, head_dim=HEAD_DIM, dtype=DTYPE)
    yield decoding(
        "write_qkv",
        f"{num_requests} x {num_tokens} tokens",
        lambda *arguments: write_qkv(*arguments, rope, num_heads=HEADS),
        lambda *arguments: write_qkv_reference(*arguments, *(table[0, :, 0] for table in rope), HEADS),
        (qkv_BTX, bias_X, positions_BT, *caches),
        2 * _bytes(qkv_BTX),
    )


def sampling_rows(where: str, num_requests: int) -> Iterator[Row]:
    """As MiMo is evaluated (temperature 0.6, top-p 0.95) and without top-p; three drafts."""
    num_drafts = 3
    logits_BTV = 4.0 * _normal(where, num_requests, num_drafts + 1, KNOWN_IDS)
    temperature_B, top_p_B = (torch.full((num_requests,), value, device=where) for value in (0.6, 0.95))
    numbers_B = torch.arange(num_requests, device=where)
    proposals_BKV = torch.zeros(num_requests, num_drafts, KNOWN_IDS, device=where)
    drafts_BK = torch.zeros(num_requests, num_drafts, dtype=torch.int64, device=where)
    for top_p, name in ((top_p_B, "top-p 0.95"), (None, "no top-p")):
        settings = (temperature_B, top_p, None, numbers_B, numbers_B)
        yield decoding(
            "draft_token",
            f"{num_requests} x {KNOWN_IDS:,}, {name}",
            draft_token,
            draft_token_reference,
            (logits_BTV[:, 0], *settings, proposals_BKV[:, 0]),
            _bytes(logits_BTV[:, 0]) + _bytes(proposals_BKV[:, 0]),
        )
        yield decoding(
            "verify",
            f"{num_requests} x {num_drafts + 1} x {KNOWN_IDS:,}, {name}",
            lambda *arguments: verify(*arguments)[:2],
            lambda *arguments: verify_reference(*arguments)[:2],
            (logits_BTV, drafts_BK, proposals_BKV, *settings),
            _bytes(logits_BTV),
        )


SUBJECTS: tuple[tuple[Callable[[str, int], Iterator[Row]], tuple[int, ...]], ...] = (
    (rms_norm_rows, TOKENS),
    (add_rms_norm_rows, TOKENS),
    (rotate_rows, TOKENS),
    (swiglu_rows, TOKENS),
    (norm_linear_rows, FEW_TOKENS),
    (norm_swiglu_rows, FEW_TOKENS),
    (decode_attention_rows, CONTEXTS),
    (write_qkv_rows, (1, 8)),
    (sampling_rows, (1, 8)),
)
"""Each generator of rows, and the numbers of tokens it is asked for."""


def time_on_the_device() -> None:
    from triton.testing import do_bench

    torch.manual_seed(0)
    # Backward rows call one graph many times.
    torch._functorch.config.donated_buffer = False
    measure = partial(do_bench, warmup=REPEAT_MS // 4, rep=REPEAT_MS, return_mode="median")
    copied = _copy_bandwidth(measure)
    print(
        f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {DTYPE}; the median of {REPEAT_MS} ms of calls, "
        f"L2 cleared before each. A copy of 1 GiB moves {copied:,.0f} GB/s.\n"
    )
    tables: dict[str, list[str]] = {}
    for subject, sizes in SUBJECTS:
        for size in sizes:
            for row in subject("cuda", size):
                tables.setdefault(row.kernel, []).append(_time(measure, row, copied))
    for kernel, lines in tables.items():
        print(f"### {kernel}\n\n| shape | eager µs | compiled µs | ours µs | GB/s | of copy |")
        print("| --- | ---: | ---: | ---: | ---: | ---: |")
        print(*lines, "", sep="\n")
    _time_loss(measure)


def _copy_bandwidth(measure: Callable[[Callable[[], Any]], float]) -> float:
    """GB/s, read and written."""
    source = torch.empty(2**29, dtype=DTYPE, device="cuda")
    target = torch.empty_like(source)
    return 2 * _bytes(source) / measure(partial(target.copy_, source)) / 1e6


def _time(measure: Callable[[Callable[[], Any]], float], row: Row, copied: float) -> str:
    """Checks, then times: a line of the table."""
    _check_close(row.kernel, row.ours(), row.eager())
    eager_us, compiled_us, ours_us = (1e3 * measure(call) for call in (row.eager, row.compiled, row.ours))
    rate = row.num_bytes / ours_us / 1e3
    times = f"{eager_us:,.1f} | {compiled_us:,.1f} | {ours_us:,.1f}"
    return f"| {row.shape} | {times} | {rate:,.0f} | {rate / copied:.0%} |"


def _check_close(kernel: str, found: Any, wanted: Any) -> None:
    found, wanted = ((result,) if torch.is_tensor(result) else result for result in (found, wanted))
    for one, other in zip(found, wanted, strict=True):
        off = ((one.float() - other.float()).abs().max() / other.float().abs().max().clamp(min=1e-30)).item()
        if not off <= 2e-2:
            raise SystemExit(f"{kernel} is off by {off:.3f} of the largest value; its speed says nothing.")


def loss_calls(where: str, num_tokens: int, vocabulary: int) -> dict[str, Callable[[], tuple[Tensor, ...]]]:
    """Forward and backward of the mean loss, by eager torch, compiled and ours."""
    x_ND = torch.randn(num_tokens, WIDTH, device=where, dtype=DTYPE, requires_grad=True)
    weight_VD = (torch.randn(vocabulary, WIDTH, device=where, dtype=DTYPE) / WIDTH**0.5).requires_grad_()
    targets_N = torch.randint(0, vocabulary, (num_tokens,), device=where)

    def plain(x_ND: Tensor, weight_VD: Tensor) -> Tensor:
        return F.cross_entropy((x_ND @ weight_VD.T).float(), targets_N)

    def call(function: Callable[[Tensor, Tensor], Tensor]) -> tuple[Tensor, ...]:
        return torch.autograd.grad(function(x_ND, weight_VD), (x_ND, weight_VD))

    return {
        "eager": partial(call, plain),
        "compiled": partial(call, torch.compile(plain)),
        "ours": partial(call, lambda x_ND, weight_VD: linear_cross_entropy(x_ND, weight_VD, targets_N).mean()),
    }


def _time_loss(measure: Callable[[Callable[[], Any]], float]) -> None:
    """A table of its own: time is that of matrix products, and memory is the point."""
    print("### linear_cross_entropy, forward and backward\n")
    print("| tokens x vocabulary | | ms | TFLOP/s | extra MiB |\n| --- | --- | ---: | ---: | ---: |")
    for num_tokens in TOKENS:
        calls = loss_calls("cuda", num_tokens, VOCABULARY)
        wanted = None
        for name, call in calls.items():
            before = torch.cuda.memory_allocated()
            torch.cuda.reset_peak_memory_stats()
            try:
                grads = call()
            except torch.OutOfMemoryError:
                print(f"| {num_tokens:,} x {VOCABULARY:,} | {name} | out of memory | | |")
                torch.cuda.empty_cache()
                continue
            extra_bytes = torch.cuda.max_memory_allocated() - before - _bytes(grads[1])
            if name == "eager":
                wanted = grads
            elif wanted is not None:
                _check_close(f"linear_cross_entropy ({name})", grads, wanted)
            del grads
            ms = measure(call)
            # Three products are needed; ours does a fourth, which is not counted.
            rate = 6 * num_tokens * VOCABULARY * WIDTH / ms / 1e9
            print(
                f"| {num_tokens:,} x {VOCABULARY:,} | {name} | {ms:,.1f} | {rate:,.0f} | {extra_bytes / 2**20:,.0f} |"
            )
        del wanted
    print("\nExtra memory is the peak beyond inputs and dW.")


@dataclass(frozen=True)
class _AheadOfTime:
    """Stands in for Triton's driver of a GPU that is not there."""

    capability: int

    def get_current_target(self) -> Any:
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", self.capability, 32)

    def get_current_device(self) -> int:
        # Triton keeps what it compiled by device.
        return self.capability

    def get_current_stream(self, _device: int) -> int:
        return 0


def compile_ahead() -> None:
    """Compiles every kernel with the arguments its operator would launch it with, and prints what it needs."""
    import triton
    from triton.runtime.jit import JITFunction

    needs: dict[tuple[str, int], tuple[int, ...]] = {}
    launch = JITFunction.run

    def compile_only(kernel: Any, *arguments: Any, grid: Any, warmup: bool, **options: Any) -> Any:
        compiled = launch(kernel, *arguments, grid=grid, warmup=True, **options)
        capability = triton.runtime.driver.active.get_current_device()
        module = kernel.fn.__module__.rpartition(".")[2]
        key = (f"{module}.{kernel.fn.__name__}", capability)
        needs[key] = tuple(map(max, _needs(compiled), needs.get(key, (0, 0, 0))))
        return compiled

    JITFunction.run = compile_only
    # Operators take CPU tensors, whose values no kernel touches.
    device.INTERPRETED = True
    # An H100's: on fewer, attention would not be split.
    vars(sys.modules[decode_attention.__module__])["num_processors"] = lambda _device: 132
    for capability in CAPABILITIES:
        triton.runtime.driver.set_active(_AheadOfTime(capability))
        for subject, sizes in SUBJECTS:
            for size in {min(16, sizes[0]), min(16, sizes[-1])}:
                for row in subject("cpu", size):
                    row.ours()
        loss_calls("cpu", 16, 512)["ours"]()
    print("| kernel | " + " | ".join(f"sm_{capability}" for capability in CAPABILITIES) + " |")
    print("| --- |" + " --- |" * len(CAPABILITIES))
    for name in sorted({name for name, _ in needs}):
        cells = (" / ".join(f"{need:,}" for need in needs[name, capability]) for capability in CAPABILITIES)
        print(f"| {name} | " + " | ".join(cells) + " |")
    print(
        "\nRegisters per thread, shared bytes per program, instructions that spill: the most of all variants launched."
    )


@cache  # Operators launch one kernel many times.
def _needs(compiled: Any) -> tuple[int, int, int]:
    import triton

    tools = Path(triton.__file__).parent / "backends/nvidia/bin"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        usage, code = (
            subprocess.run([tools / tool, option, file.name], capture_output=True, text=True, check=True).stdout
            for tool, option in (("cuobjdump", "--dump-resource-usage"), ("nvdisasm", "--print-code"))
        )
    registers, shared = re.findall(r"REG:(\d+) STACK:\d+ SHARED:(\d+)", usage)[0]
    return int(registers), int(shared) + compiled.metadata.shared, len(re.findall(r"\b(?:STL|LDL)\b", code))


def _normal(where: str, *shape: int) -> Tensor:
    """Scaled so that a product with as many columns stays near one; of no value where nothing is run."""
    x = torch.empty(shape, device=where, dtype=DTYPE)
    return x.normal_(std=shape[-1] ** -0.25) if where == "cuda" else x


def _bytes(x: Tensor) -> int:
    return x.numel() * x.itemsize


def main() -> None:
    argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0]).parse_args()
    if torch.cuda.is_available():
        time_on_the_device()
    elif importlib.util.find_spec("triton") is None:
        raise SystemExit("No CUDA device, and no Triton to compile with.")
    else:
        print(f"No CUDA device on this {platform.machine()} machine: nothing is timed.\n")
        compile_ahead()


if __name__ == "__main__":
    main()
