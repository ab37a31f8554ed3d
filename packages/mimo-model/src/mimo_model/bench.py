"""How fast the engine decodes a model: tokens per second, time per round, acceptance, share of the memory bandwidth.

Decoding reads every weight once a round and little else, so the memory's bandwidth bounds it; both are measured in one
run. Shapes: D hidden.
"""

# transformers leaves these calls untyped.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from tokenizers import Tokenizer, models
from torch import nn
from transformers import GenerationConfig, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from mimo_model.checkpoint import num_tokenizer_ids
from mimo_model.config import MiMoConfig
from mimo_model.decoding.engine import Engine, OnTokens
from mimo_model.decoding.sampling import Completion, Sampling
from mimo_model.model import MiMoForCausalLM

_BUFFER_BYTES = 1 << 29
_MOST_CACHE_BYTES = 1 << 26
_REPEATS = 5


@dataclass(frozen=True)
class Measurement:
    """One batch, decoded from submission to its last token."""

    batch_size: int
    num_drafts: int | Literal["auto"]
    backend: str
    tokens_per_s: float
    """Prompts included in the time, not in the tokens."""

    round_s: float
    """Median over the rounds in which all requests ran."""

    tokens_per_round: float
    """Of one request, in those rounds."""

    acceptance: tuple[float, ...]
    """Per MTP layer: its drafts that were accepted together with all earlier ones of their round."""

    bytes_per_round: int
    """Weights that a round reads: those of the main model and of the MTP layers that draft, each once, the head once
    for each of them. Keys and values come on top and are not counted."""

    @property
    def decode_tokens_per_s(self) -> float:
        """Once the prompts are read."""
        return self.batch_size * self.tokens_per_round / self.round_s

    @property
    def bytes_per_s(self) -> float:
        return self.bytes_per_round / self.round_s


def measure(
    model: MiMoForCausalLM,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    *,
    num_drafts: int | Literal["auto"],
    max_tokens: int,
    temperature: float = 0.0,
    simulated_acceptance: Sequence[float] | None = None,
) -> Measurement:
    """Decodes the prompts as one batch, after a shorter batch that warms everything up."""

    def decode(num_tokens: int) -> tuple[float, list[float], list[int], list[Completion], Engine]:
        engine = Engine(
            model,
            tokenizer,
            num_drafts=num_drafts,
            max_batch_size=len(prompts),
            simulated_acceptance=simulated_acceptance,
        )
        num_decoded = [0] * len(prompts)

        def listener(request: int) -> OnTokens:
            def count(tokens: tuple[int, ...], _logprobs: tuple[float, ...]) -> None:
                num_decoded[request] += len(tokens)

            return count

        for request, prompt in enumerate(prompts):
            sampling = Sampling(temperature=temperature, max_tokens=num_tokens, seed=request)
            engine.submit(prompt, sampling, on_tokens=listener(request))
        round_s, tokens, completions = [], [], []
        start_s = time.perf_counter()
        while engine.pending:
            before, all_run, before_s = sum(num_decoded), all(num_decoded), time.perf_counter()
            completions += [completion for _, completion in engine.step()]
            if all_run and not completions:
                round_s.append(time.perf_counter() - before_s)
                tokens.append(sum(num_decoded) - before)
        return time.perf_counter() - start_s, round_s, tokens, completions, engine

    decode(min(max_tokens, 8))
    seconds, round_s, tokens, completions, engine = decode(max_tokens)
    drafted = [sum(counts) for counts in zip(*(c.num_drafted for c in completions), strict=True)]
    accepted = [sum(counts) for counts in zip(*(c.num_accepted for c in completions), strict=True)]
    num_layers = len(drafted)
    return Measurement(
        batch_size=len(prompts),
        num_drafts=num_drafts,
        backend=engine.backend,
        tokens_per_s=sum(len(completion.tokens) for completion in completions) / seconds,
        round_s=_median(round_s),
        tokens_per_round=sum(tokens) / max(len(tokens), 1) / len(prompts),
        acceptance=tuple(a / max(d, 1) for a, d in zip(accepted, drafted, strict=True)),
        bytes_per_round=weight_bytes(model, num_ids=num_tokenizer_ids(tokenizer), num_drafts=num_layers),
    )


def weight_bytes(model: MiMoForCausalLM, *, num_ids: int, num_drafts: int) -> int:
    """What a round with so many drafts reads of the weights."""
    network, head = model.model, model.lm_head.weight
    parts = [*network.layers, network.norm, *network.mtp_layers[:num_drafts]]
    blocks = sum(int(parameter.nbytes) for part in parts for parameter in part.parameters())
    return blocks + (1 + num_drafts) * min(num_ids, len(head)) * int(head[0].nbytes)


def memory_bandwidth(model: MiMoForCausalLM) -> float | None:
    """Bytes per second that memory gives, the best of several runs; None for weights that a CPU's caches may hold.

    On a CPU the model's own weights are read, with all of PyTorch's threads: a virtual machine's memory may be twice as
    fast in one place as in another. A GPU copies a buffer, each byte read and written.
    """
    device, best_s = model.lm_head.weight.device, float("inf")
    if device.type != "cuda":
        weights = [weight.detach().flatten() for weight in (*model.model.layers.parameters(), model.lm_head.weight)]
        # As float32, which PyTorch adds up fastest.
        weights = [weight[: len(weight) // 2 * 2].view(torch.float32) for weight in weights]
        num_bytes = sum(weight.nbytes for weight in weights)
        if num_bytes < _MOST_CACHE_BYTES:
            return None
        for _ in range(_REPEATS):
            start_s = time.perf_counter()
            for weight in weights:
                weight.sum()
            best_s = min(best_s, time.perf_counter() - start_s)
        return float(num_bytes / best_s)
    buffer = torch.ones(_BUFFER_BYTES // 4, device=device)
    target = torch.empty_like(buffer)
    for _ in range(_REPEATS):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        target.copy_(buffer)
        end.record()
        end.synchronize()
        best_s = min(best_s, start.elapsed_time(end) / 1e3)
    return 2 * buffer.nbytes / best_s


def random_model(config: MiMoConfig, *, dtype: torch.dtype, device: torch.device) -> MiMoForCausalLM:
    """A model with random weights that never stops by itself; made where it will run."""
    torch.manual_seed(0)
    with torch.device("meta"):
        model = MiMoForCausalLM(config)
    nn.Module.to(model, dtype).to_empty(device=device)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.fill_(1.0)
            else:
                parameter.normal_(std=config.initializer_range)
    # An id that no tokenizer has: these models have nothing to say that could end.
    model.generation_config = GenerationConfig(eos_token_id=config.vocab_size)
    model.train(False)
    return model


def stand_in(model: MiMoForCausalLM) -> PreTrainedTokenizerBase:
    """A tokenizer for a model that has none: every row of the embedding is an id of its own."""
    vocabulary = {str(i): i for i in range(model.config.vocab_size)}
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel(vocabulary)))


def random_prompts(num_prompts: int, num_tokens: int, num_ids: int) -> list[list[int]]:
    """Different prompts of equal length."""
    draws = random.Random(0)
    return [[draws.randrange(num_ids) for _ in range(num_tokens)] for _ in range(num_prompts)]


def header(device: torch.device, dtype: torch.dtype) -> str:
    """What figures of this run depend on."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        name = f"CPU ({_processor()}), {torch.get_num_threads()} threads"
    return f"{name}; torch {torch.__version__}; {str(dtype).removeprefix('torch.')}"


def table(measurements: Sequence[Measurement], bandwidth: float | None) -> str:
    """Markdown, one row per measurement."""
    limit = f"memory bandwidth {bandwidth / 1e9:.1f} GB/s" if bandwidth else "weights that caches may hold"
    lines = [
        f"{limit}; {measurements[0].backend if measurements else ''}",
        "",
        "| batch | drafts | tokens/s | prompts once read | ms a round | tokens a round | acceptance | of bandwidth |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for m in measurements:
        acceptance = " / ".join(f"{share:.3f}" for share in m.acceptance) or "–"
        rate = ms = tokens = share = "–"
        if m.tokens_per_round:  # else a request ended before there was a round of all
            rate, ms = f"{m.decode_tokens_per_s:,.0f}", f"{1e3 * m.round_s:.3f}"
            tokens = f"{m.tokens_per_round:.2f}"
            share = f"{m.bytes_per_s / bandwidth:.2f}" if bandwidth else "–"
        lines.append(
            f"| {m.batch_size} | {m.num_drafts} | {m.tokens_per_s:,.0f} | {rate} | {ms} | {tokens} | {acceptance} "
            f"| {share} |"
        )
    return "\n".join(lines)


def _median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2] if values else float("nan")


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as lines:  # noqa: PTH123
            return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return "unknown"
