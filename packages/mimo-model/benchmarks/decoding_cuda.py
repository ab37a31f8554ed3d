"""Decoding at MiMo-7B's shapes on one GPU: against the bars, the memory's bandwidth, transformers and vLLM.

    python packages/mimo-model/benchmarks/decoding_cuda.py [--tiny]

Weights are random, so drafts count as accepted as often as is told beforehand (0.90, 0.83 and 0.75 for one, two and
three). Every figure is over rounds in which all requests run, after rounds that warm up and record; prompts are not
in it. With --tiny: a model of a few thousand weights on whatever device there is, to see that this runs.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile
from transformers import PreTrainedTokenizerBase

from mimo_model import Engine, MiMoConfig, MiMoForCausalLM, Sampling
from mimo_model.bench import header, memory_bandwidth, random_model, random_prompts, stand_in, weight_bytes

ACCEPTANCE = (0.90, 0.83, 0.75)
NUM_DRAFTS = (0, 1, 3)
WARM_UP_ROUNDS = 6
BASELINE_TOKENS = 32
# Tokens per second at batch 1 on an H200, by number of drafts: with a short context, and plain with the whole one.
BARS = {0: 270, 1: 455, 3: 680}
LONG_BAR = 200
# What log-probabilities may be off by, both sides having rounded to bfloat16 in 36 layers.
LOGPROB_TOLERANCE = 0.25
VLLM_TIMEOUT_S = 150


@dataclass(frozen=True)
class Workload:
    """What is decoded."""

    model: MiMoForCausalLM
    tokenizer: PreTrainedTokenizerBase
    short: int
    """Tokens in a short prompt."""

    long: int

    batch_sizes: tuple[int, ...]
    num_rounds: int
    bars: dict[int, int]
    """Tokens per second at batch 1 and a short context, by number of drafts."""

    long_bar: int | None
    """Plain, with a long one."""

    @property
    def device(self) -> torch.device:
        return self.model.lm_head.weight.device

    def cache_bytes(self, batch_size: int, num_tokens: int, num_drafts: int) -> int:
        """Keys and values of so many tokens of each request, of all layers that read them in a round."""
        config = self.model.config
        num_layers = config.num_hidden_layers + num_drafts
        width = config.num_key_value_heads * (config.head_dim or 0)
        return 2 * batch_size * num_tokens * num_layers * width * self.model.lm_head.weight.itemsize


@dataclass(frozen=True)
class Result:
    """Rounds in which all requests ran."""

    tokens_per_s: float
    round_s: float
    """Median."""

    slow_round_s: float
    """Of ten rounds, nine are no slower."""

    tokens_per_round: float
    """Of one request."""


def workload(*, tiny: bool) -> Workload:
    if tiny:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        sizes = {"vocab_size": 300, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2}
        heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 2_048}
        model = random_model(
            MiMoConfig(**sizes, **heads, num_nextn_predict_layers=3), dtype=torch.bfloat16, device=device
        )
        return Workload(model, stand_in(model), 16, 100, (1, 2), 4, {}, None)
    config = MiMoConfig(num_nextn_predict_layers=3)
    model = random_model(config, dtype=torch.bfloat16, device=torch.device("cuda"))
    # Prompt and new tokens stay within 32,768 places: one more, and the cache would double.
    return Workload(model, stand_in(model), 1_024, 32_256, (1, 8, 32), 48, BARS, LONG_BAR)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="a very small model, also without a GPU")
    parser.add_argument("--vllm", metavar="FOLDER", help=argparse.SUPPRESS)  # this script starts itself with it
    arguments = parser.parse_args()
    if arguments.vllm:
        run_vllm(Path(arguments.vllm), num_tokens=BASELINE_TOKENS)
        return
    if not arguments.tiny and not torch.cuda.is_available():
        raise SystemExit("No CUDA device: nothing to measure. --tiny runs a very small model on the CPU.")
    work = workload(tiny=arguments.tiny)
    check(work)
    print(header(work.device, work.model.lm_head.weight.dtype))
    bandwidth = memory_bandwidth(work.model)
    if bandwidth:
        print(f"A copy moves {bandwidth / 1e9:,.0f} GB/s.")
    print(f"A matrix product does {matrix_rate(work.device) / 1e12:,.1f} TFLOP/s.")
    print(f"{work.num_rounds} rounds a row, after {WARM_UP_ROUNDS} more. Sampled: temperature 0.6, top-p 0.95.")
    backend = Engine(work.model, work.tokenizer, num_drafts=3, simulated_acceptance=ACCEPTANCE).backend
    print(f"Drafts are accepted as is simulated: {ACCEPTANCE}. Backend with drafts: {backend}.\n")

    print("### Tokens per second\n")
    print("| context | batch | K | | tokens/s | bar | ms a round | 90% below | tokens a round | of copy bandwidth |")
    print("| ---: | ---: | ---: | --- | ---: | --- | ---: | ---: | ---: | ---: |")
    for line in engine_rows(work, bandwidth):
        print(line, flush=True)
    print("\nOf copy bandwidth: weights, keys and values that a round reads, over its time and the bandwidth.\n")

    print("### Where a round's time goes (batch 1, short context)\n")
    for num_drafts in (0, 3):
        print("\n".join(kernel_table(work, num_drafts)), end="\n\n", flush=True)

    print("### Other engines, plain\n")
    print("| engine | context | batch | tokens/s |\n| --- | ---: | ---: | ---: |")
    for context, batch_size in (*((work.short, size) for size in work.batch_sizes), (work.long, 1)):
        print(
            f"| transformers | {context:,} | {batch_size} | {run_transformers(work, context, batch_size):,.1f} |",
            flush=True,
        )
    for line in vllm_rows(work):
        print(line)


def check(work: Workload) -> None:
    """Stops unless the engine's log-probabilities are those of a full forward, with drafts and without."""
    (prompt,) = random_prompts(1, work.short, work.model.config.vocab_size)
    for num_drafts in (0, 3):
        engine = Engine(work.model, work.tokenizer, num_drafts=num_drafts)
        engine.submit(prompt, Sampling(temperature=0.0, max_tokens=24))
        finished = []
        while engine.pending:
            finished += engine.step()
        ((_, found),) = finished
        ids = torch.tensor([[*prompt, *found.tokens]], device=work.device)
        with torch.inference_mode():
            logits = work.model(ids, logits_to_keep=len(found.tokens) + 1).logits[0, :-1].float()
        wanted = logits.log_softmax(-1).gather(1, ids[0, len(prompt) :, None])[:, 0].tolist()
        off = max(abs(a - b) for a, b in zip(found.logprobs, wanted, strict=True))
        if not off <= LOGPROB_TOLERANCE:
            raise SystemExit(f"K = {num_drafts}: log-probabilities are off by {off:.3f}; its speed says nothing.")


def engine_rows(work: Workload, bandwidth: float | None) -> Iterator[str]:
    """Lines of the table, from the most wanted to the least."""
    for context in (work.short, work.long):
        for batch_size in work.batch_sizes:
            weights = sum(parameter.nbytes for parameter in work.model.parameters())
            needed = weights + work.cache_bytes(batch_size, context, max(NUM_DRAFTS))
            if work.device.type == "cuda" and needed > 0.9 * torch.cuda.get_device_properties(work.device).total_memory:
                yield f"| {context:,} | {batch_size} | | needs {needed / 2**30:,.0f} GiB | | | | | | |"
                continue
            for num_drafts in NUM_DRAFTS:
                for sampled in (False, True) if (context, batch_size) == (work.short, 1) else (False,):
                    yield engine_row(work, bandwidth, context, batch_size, num_drafts, sampled=sampled)


def engine_row(
    work: Workload, bandwidth: float | None, context: int, batch_size: int, num_drafts: int, *, sampled: bool
) -> str:
    start = f"| {context:,} | {batch_size} | {num_drafts} | {'sampled' if sampled else 'greedy'}"
    try:
        found = measure(work, context, batch_size, num_drafts, sampled=sampled)
    except torch.OutOfMemoryError:
        return f"{start} | out of memory | | | | | |"
    finally:
        release(work.device)
    num_ids = work.model.config.vocab_size
    read = weight_bytes(work.model, num_ids=num_ids, num_drafts=num_drafts)
    read += work.cache_bytes(batch_size, context, num_drafts)
    bar = work.bars.get(num_drafts) if context == work.short else None if num_drafts else work.long_bar
    share = f"{read / found.round_s / bandwidth:.0%}" if bandwidth else ""
    verdict = "" if bar is None or batch_size > 1 else f"{bar} {'met' if found.tokens_per_s >= bar else 'missed'}"
    return (
        f"{start} | {found.tokens_per_s:,.1f} | {verdict} | {1e3 * found.round_s:.3f} | {1e3 * found.slow_round_s:.3f} "
        f"| {found.tokens_per_round:.2f} | {share} |"
    )


def running_engine(
    work: Workload, context: int, batch_size: int, num_drafts: int, num_rounds: int, *, sampled: bool
) -> tuple[Engine, Counter[int]]:
    """An engine in which all requests run and rounds are recorded, and a counter of each one's new tokens."""
    engine = Engine(
        work.model,
        work.tokenizer,
        num_drafts=num_drafts,
        max_batch_size=batch_size,
        simulated_acceptance=ACCEPTANCE if num_drafts else None,
    )
    counter: Counter[int] = Counter()

    def listen(request: int) -> Callable[[tuple[int, ...], tuple[float, ...]], None]:
        return lambda tokens, _logprobs: counter.update({request: len(tokens)})

    settings = {"temperature": 0.6, "top_p": 0.95} if sampled else {"temperature": 0.0}
    # Long prompts are read one a step, and those that came first decode meanwhile.
    max_tokens = (batch_size + WARM_UP_ROUNDS + num_rounds + 2) * (num_drafts + 1)
    for i, prompt in enumerate(random_prompts(batch_size, context, work.model.config.vocab_size)):
        engine.submit(prompt, Sampling(max_tokens=max_tokens, seed=i, **settings), on_tokens=listen(i))
    while len(counter) < batch_size:
        engine.step()
    for _ in range(WARM_UP_ROUNDS):
        engine.step()
    counter.clear()
    return engine, counter


def measure(work: Workload, context: int, batch_size: int, num_drafts: int, *, sampled: bool) -> Result:
    engine, counter = running_engine(work, context, batch_size, num_drafts, work.num_rounds, sampled=sampled)
    seconds = []
    for _ in range(work.num_rounds):
        start_s = time.perf_counter()
        finished = engine.step()
        seconds.append(time.perf_counter() - start_s)
        assert not finished
    ordered = sorted(seconds)
    return Result(
        tokens_per_s=counter.total() / sum(seconds),
        round_s=ordered[len(ordered) // 2],
        slow_round_s=ordered[len(ordered) * 9 // 10],
        tokens_per_round=counter.total() / work.num_rounds / batch_size,
    )


def kernel_table(work: Workload, num_drafts: int, *, num_rounds: int = 8, num_rows: int = 14) -> list[str]:
    """Lines: the kernels of a round (on a CPU, the operators) by time, from PyTorch's profiler."""
    engine, _ = running_engine(work, work.short, 1, num_drafts, num_rounds, sampled=True)
    is_cuda = work.device.type == "cuda"
    start_s = time.perf_counter()
    with profile(activities=[ProfilerActivity.CUDA if is_cuda else ProfilerActivity.CPU]) as profiled:
        for _ in range(num_rounds):
            engine.step()
        whole_us = (time.perf_counter() - start_s) * 1e6 / num_rounds
    name = "self_device_time_total" if is_cuda else "self_cpu_time_total"
    times = [
        (getattr(event, name) / num_rounds, event.count / num_rounds, event.key) for event in profiled.key_averages()
    ]
    times = sorted((time for time in times if time[0] > 0), reverse=True)
    total_us = sum(us for us, _, _ in times)
    lines = [
        f"K = {num_drafts}:",
        "",
        "| kernel | calls a round | µs a round | of kernels |",
        "| --- | ---: | ---: | ---: |",
    ]
    for us, calls, key in times[:num_rows]:
        lines.append(f"| `{key[:60]}` | {calls:.1f} | {us:,.1f} | {us / total_us:.1%} |")
    rest_us = sum(us for us, _, _ in times[num_rows:])
    lines.append(f"| {max(len(times) - num_rows, 0)} others | | {rest_us:,.1f} | {rest_us / max(total_us, 1e-9):.1%} |")
    lines.append(f"\nKernels: {total_us:,.0f} µs of the {whole_us:,.0f} µs that a round took under the profiler.")
    del engine
    release(work.device)
    return lines


def run_transformers(work: Workload, context: int, batch_size: int) -> float:
    """Tokens per second of `generate`, greedy: what `BASELINE_TOKENS` tokens take more than one."""
    prompts = random_prompts(batch_size, context, work.model.config.vocab_size)
    ids = torch.tensor(prompts, device=work.device)
    options = {"do_sample": False, "pad_token_id": 0, "attention_mask": torch.ones_like(ids)}
    seconds = {}
    for num_tokens in (2, 1, 1 + BASELINE_TOKENS):
        start_s = time.perf_counter()
        work.model.generate(ids, max_new_tokens=num_tokens, **options)
        if work.device.type == "cuda":
            torch.cuda.synchronize()
        seconds[num_tokens] = time.perf_counter() - start_s
    release(work.device)
    return batch_size * BASELINE_TOKENS / (seconds[1 + BASELINE_TOKENS] - seconds[1])


def vllm_rows(work: Workload) -> list[str]:
    """Measured in a process of its own, where it can be; else a line that says why not."""
    if importlib.util.find_spec("vllm") is None:
        return ["| vLLM | | | not installed |"]
    if work.device.type != "cuda":
        return ["| vLLM | | | needs a CUDA device |"]
    with tempfile.TemporaryDirectory() as folder:
        work.model.config.save_pretrained(folder)
        order = {"short": work.short, "batch_sizes": work.batch_sizes, "vocab_size": work.model.config.vocab_size}
        (Path(folder) / "workload.json").write_text(json.dumps(order))
        work.model.to("meta")  # vLLM wants the device for itself
        release(work.device)
        command = [sys.executable, __file__, "--vllm", folder]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=VLLM_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            return [f"| vLLM | | | took longer than {VLLM_TIMEOUT_S} s |"]
    lines = [line for line in done.stdout.splitlines() if line.startswith("| vLLM")]
    if done.returncode:
        print(done.stderr[-4_000:], file=sys.stderr)
        lines.append(f"| vLLM | | | failed: {(done.stderr.strip().splitlines() or ['no message'])[-1][:100]} |")
    return lines


def run_vllm(folder: Path, *, num_tokens: int) -> None:
    from vllm import LLM, SamplingParams  # type: ignore[import-not-found]

    order = json.loads((folder / "workload.json").read_text())
    engine = LLM(
        str(folder),
        load_format="dummy",
        dtype="bfloat16",
        skip_tokenizer_init=True,
        max_model_len=order["short"] + num_tokens + 16,
        gpu_memory_utilization=0.8,
        enable_prefix_caching=False,
    )
    for batch_size in order["batch_sizes"]:
        seconds = {}
        for count in (2, 1, 1 + num_tokens):
            prompts = [
                {"prompt_token_ids": ids} for ids in random_prompts(batch_size, order["short"], order["vocab_size"])
            ]
            settings = SamplingParams(temperature=0.0, max_tokens=count, ignore_eos=True, detokenize=False)
            start_s = time.perf_counter()
            engine.generate(prompts, settings, use_tqdm=False)
            seconds[count] = time.perf_counter() - start_s
        rate = batch_size * num_tokens / (seconds[1 + num_tokens] - seconds[1])
        print(f"| vLLM | {order['short']:,} | {batch_size} | {rate:,.1f} |", flush=True)


def matrix_rate(device: torch.device) -> float:
    """FLOP/s of a bfloat16 product of random matrices, the best of five."""
    size = 8_192 if device.type == "cuda" else 256
    a, b = (torch.randn(size, size, device=device).to(torch.bfloat16) for _ in range(2))
    best_s = float("inf")
    for _ in range(5):
        if device.type == "cuda":
            torch.cuda.synchronize()
        start_s = time.perf_counter()
        for _ in range(10):
            a @ b
        if device.type == "cuda":
            torch.cuda.synchronize()
        best_s = min(best_s, (time.perf_counter() - start_s) / 10)
    return 2 * size**3 / best_s


def release(device: torch.device) -> None:
    """Gives the memory of an engine that is gone back."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
