"""vLLM's own MiMo code and ours, on the same checkpoints: the same tokens, and the same drafts accepted.

Needs an environment that holds vLLM and mimo-model: `bash scripts/test-vllm.sh` makes it and runs this.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

pytest.importorskip("vllm", reason="vLLM is not installed here: run scripts/test-vllm.sh")

from transformers import AutoModelForCausalLM
from vllm import LLM, SamplingParams

from mimo_model import (
    Completion,
    Engine,
    MiMoConfig,
    MiMoForCausalLM,
    Sampling,
    load_model,
    load_tokenizer,
    save_model,
)
from mimo_model.planted import chain, plant

MAX_TOKENS = 48
NOISE = 0.08


@dataclass(frozen=True)
class Response:
    """What one prompt got, and how the drafts fared."""

    tokens: tuple[int, ...]
    num_drafted: int = 0
    num_accepted: int = 0


def planted(folder: Path) -> None:
    model, tokenizer = plant((0.875, 0.75, 0.625))
    save_model(model, tokenizer, folder)


def perturbed(folder: Path) -> None:
    """The planted model with noise on all weights: here acceptance hangs on every one of them."""
    model, tokenizer = plant((0.875,))
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += NOISE * torch.randn_like(parameter)
    # A second stop token that lies on the way, so that some responses end early.
    model.generation_config.eos_token_id = [256, 34]
    save_model(model, tokenizer, folder)


def random(folder: Path) -> None:
    """A fresh model of another shape, with grouped queries."""
    tokenizer = plant(())[1]
    torch.manual_seed(0)
    config = MiMoConfig(
        vocab_size=257,
        hidden_size=128,  # vLLM takes hidden_size / num_attention_heads for the head width, whatever head_dim says
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        initializer_range=0.1,
        bos_token_id=None,
        eos_token_id=256,
    )
    save_model(MiMoForCausalLM(config), tokenizer, folder)


def trained(folder: Path) -> None:
    """The checkpoint that MIMO_CHECKPOINT names, with its first MTP layer only: vLLM runs no other."""
    if "MIMO_CHECKPOINT" not in os.environ:
        pytest.skip("no trained checkpoint: name one in MIMO_CHECKPOINT")
    model = load_model(os.environ["MIMO_CHECKPOINT"], device="cpu", dtype="float32")
    model.model.mtp_layers = model.model.mtp_layers[:1]
    model.config.num_nextn_predict_layers = 1
    save_model(model, load_tokenizer(os.environ["MIMO_CHECKPOINT"]), folder)


CHECKPOINTS: tuple[Callable[[Path], None], ...] = (planted, perturbed, random, trained)


@pytest.fixture(scope="module", params=CHECKPOINTS, ids=lambda make: make.__name__)
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints") / request.param.__name__
    request.param(folder)
    return folder


@pytest.fixture(scope="module")
def prompts(checkpoint: Path) -> list[list[int]]:
    """On a chain of the planted model, one token, and text that none of the models made."""
    tokenizer = load_tokenizer(checkpoint)
    texts = ("?1+1-1+3+2+1+3=", "A sum is", "x")
    return [chain(0, 4), chain(119, 9), *(tokenizer(text, add_special_tokens=False).input_ids for text in texts)]


def test_vllm_transformers_and_the_engine_give_the_same_greedy_tokens(checkpoint, prompts):
    responses = [response.tokens for response in decode(checkpoint, prompts, num_drafts=0)]
    assert decode_with_transformers(checkpoint, prompts) == responses
    assert [response.tokens for response in decode_with_vllm(checkpoint, prompts, num_drafts=0)] == responses


def test_vllm_accepts_the_same_drafts_prompt_for_prompt(checkpoint, prompts):
    responses = decode(checkpoint, prompts, num_drafts=1)
    if checkpoint.name == "planted":
        # The first token comes without a draft; 26 rounds and 21 accepted drafts give the other 47.
        assert (responses[0].num_drafted, responses[0].num_accepted) == (26, 21)
    if checkpoint.name == "perturbed":
        rate = sum(response.num_accepted for response in responses) / sum(r.num_drafted for r in responses)
        assert 0.2 < rate < 0.8, f"acceptance {rate:.2f}: this noise does not tell wirings apart"
        assert [len(response.tokens) for response in responses] == [48, 21, 48, 48, 48]
    assert decode_with_vllm(checkpoint, prompts, num_drafts=1) == responses


def decode(checkpoint: Path, prompts: Sequence[Sequence[int]], *, num_drafts: int) -> list[Response]:
    engine = Engine(load_model(checkpoint, device="cpu"), load_tokenizer(checkpoint), num_drafts=num_drafts)
    for prompt in prompts:
        engine.submit(prompt, Sampling(temperature=0.0, max_tokens=MAX_TOKENS))
    done: dict[int, Completion] = {}
    while engine.pending:
        done.update(engine.step())
    return [Response(done[i].tokens, *done[i].num_drafted, *done[i].num_accepted) for i in range(len(prompts))]


def decode_with_transformers(checkpoint: Path, prompts: Sequence[Sequence[int]]) -> list[tuple[int, ...]]:
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    sequences = [
        model.generate(torch.tensor([prompt]), max_new_tokens=MAX_TOKENS, do_sample=False)[0].tolist()
        for prompt in prompts
    ]
    return [tuple(sequence[len(prompt) :]) for prompt, sequence in zip(prompts, sequences, strict=True)]


def decode_with_vllm(checkpoint: Path, prompts: Sequence[Sequence[int]], *, num_drafts: int) -> list[Response]:
    llm = LLM(
        str(checkpoint),
        dtype="float32",
        max_model_len=128,
        max_num_seqs=len(prompts),
        enforce_eager=True,
        distributed_executor_backend="uni",
        speculative_config={"method": "mtp", "num_speculative_tokens": num_drafts} if num_drafts else None,
        per_request_spec_decode_metrics="summary" if num_drafts else "none",
    )
    outputs = llm.generate(
        [{"prompt_token_ids": list(prompt)} for prompt in prompts],
        SamplingParams(temperature=0.0, max_tokens=MAX_TOKENS),
        use_tqdm=False,
    )
    responses = []
    for output in (request.outputs[0] for request in outputs):
        metrics = output.spec_decode_metrics
        counts = (metrics.num_draft_tokens, metrics.histogram[1]) if metrics is not None else ()
        responses.append(Response(tuple(output.token_ids), *counts))
    return responses
