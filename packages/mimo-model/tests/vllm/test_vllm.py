"""vLLM's MiMo code, with our plugin for its further MTP layers, and ours, on the same checkpoints: the same tokens, and
layer for layer the same drafts accepted.

Needs an environment that holds vLLM and mimo-model: `bash scripts/test-vllm.sh` makes it and runs this, once in each
of vLLM's two model runners.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("vllm", reason="vLLM is not installed here: run scripts/test-vllm.sh")

from transformers import AutoModelForCausalLM
from vllm import LLM, ModelRegistry, SamplingParams
from vllm.v1.spec_decode.eagle import EagleProposer

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
from mimo_model.vllm import register

MAX_TOKENS = 48
NOISE = 0.08

Response = tuple[tuple[int, ...], int, tuple[int, ...]]
"""What one prompt got: tokens, rounds with drafts, accepted drafts per layer."""


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


def tangled(folder: Path) -> None:
    """Three MTP layers, noisiest in their attention: acceptance hangs on every entry of their caches.

    One main layer, fewer than MTP layers: vLLM's own numbering of them would mix them up.
    """
    model, tokenizer = plant((0.875, 0.75, 0.625))
    del model.model.layers[1:]
    model.config.num_hidden_layers = 1
    torch.manual_seed(2)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            in_attention = "mtp_layers" in name and "self_attn" in name
            parameter += (0.15 if in_attention else 0.04) * torch.randn_like(parameter)
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
    """The checkpoint that MIMO_CHECKPOINT names."""
    if "MIMO_CHECKPOINT" not in os.environ:
        pytest.skip("no trained checkpoint: name one in MIMO_CHECKPOINT")
    model = load_model(os.environ["MIMO_CHECKPOINT"], device="cpu", dtype="float32")
    save_model(model, load_tokenizer(os.environ["MIMO_CHECKPOINT"]), folder)


# How many MTP layers each has; a trained one may have as many.
NUM_LAYERS: dict[Callable[[Path], None], int] = {planted: 3, perturbed: 1, tangled: 3, random: 1, trained: 3}


@pytest.fixture(scope="module")
def checkpoint_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Callable[[Path], None]], Path]:
    folders: dict[str, Path] = {}

    def folder_of(make: Callable[[Path], None]) -> Path:
        if make.__name__ not in folders:
            folder = tmp_path_factory.mktemp("checkpoints") / make.__name__
            make(folder)
            folders[make.__name__] = folder
        return folders[make.__name__]

    return folder_of


@pytest.mark.parametrize("make", NUM_LAYERS, ids=lambda make: make.__name__)
def test_vllm_transformers_and_the_engine_give_the_same_greedy_tokens(checkpoint_of, make):
    checkpoint = checkpoint_of(make)
    prompts = short_prompts(checkpoint)
    responses = [tokens for tokens, *_ in decode(checkpoint, prompts, num_drafts=0)]
    assert decode_with_transformers(checkpoint, prompts) == responses
    assert [tokens for tokens, *_ in decode_with_vllm(checkpoint, prompts, num_drafts=0)] == responses


@pytest.mark.parametrize(
    ("make", "num_drafts"),
    [(make, num_drafts) for make, num_layers in NUM_LAYERS.items() for num_drafts in range(1, num_layers + 1)],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_vllm_accepts_the_same_drafts_layer_for_layer(checkpoint_of, make, num_drafts):
    checkpoint = checkpoint_of(make)
    prompts = short_prompts(checkpoint)
    if num_drafts > load_model(checkpoint).config.num_nextn_predict_layers:
        pytest.skip("the trained checkpoint has fewer MTP layers")
    responses = decode(checkpoint, prompts, num_drafts=num_drafts)
    if checkpoint.name == "planted":
        # The first token comes without a draft; rounds and accepted drafts give the other 47.
        assert responses[0][1:] == {1: (26, (21,)), 2: (18, (17, 12)), 3: (17, (12, 9, 9))}[num_drafts]
    if checkpoint.name in ("perturbed", "tangled"):
        rates = [sum(r[2][k] for r in responses) / sum(r[1] for r in responses) for k in range(num_drafts)]
        assert 0.2 < rates[0] < 0.8, f"acceptance {rates}: this noise does not tell wirings apart"
        assert rates[-1] > 0.03, f"acceptance {rates}: too rare to tell wirings apart"
    if checkpoint.name == "perturbed":
        assert [len(tokens) for tokens, *_ in responses] == [48, 21, 48, 48, 48]
    assert decode_with_vllm(checkpoint, prompts, num_drafts=num_drafts) == responses


def test_a_prompt_read_in_parts_leaves_the_same_mtp_caches_as_one_read_at_once(checkpoint_of):
    prompt = torch.randint(256, (61,), generator=torch.Generator().manual_seed(0)).tolist()
    caches = [mtp_caches(checkpoint_of(tangled), prompt, part=part) for part in (16, 160)]
    for k, (in_parts, at_once) in enumerate(zip(*caches, strict=True), start=1):
        assert at_once.any(), f"layer {k} wrote nothing"
        torch.testing.assert_close(in_parts, at_once, msg=lambda text, k=k: f"layer {k}: {text}")


def test_prompts_found_in_the_prefix_cache_do_not_change_the_drafts(checkpoint_of):
    checkpoint = checkpoint_of(tangled)
    text = torch.randint(256, (80,), generator=torch.Generator().manual_seed(0)).tolist()
    prompts = [text[:66], [*text[:70], 5, 6, 7], text[:64] + [9] * 5, text[:3], chain(119, 50)]
    llm = start_vllm(checkpoint, num_drafts=3, block_size=32)
    outputs = generate(llm, prompts[:1]) + generate(llm, prompts[1:])
    # The second and third begin as the first does; vLLM leaves out the block that may hold drafts.
    assert [output.num_cached_tokens for output in outputs] == [0, 32, 32, 0, 0]
    assert [response(output) for output in outputs] == decode(checkpoint, prompts, num_drafts=3)


def test_the_plugin_replaces_the_draft_model_of_mimo_and_no_other():
    before = dict(ModelRegistry.models)
    ModelRegistry.register_model("MiMoMTPModel", "vllm.model_executor.models.mimo_mtp:MiMoMTP")
    register()
    changed = {name: model for name, model in ModelRegistry.models.items() if model != before[name]}
    assert changed == {}, "vLLM had not called the plugin by its entry point"
    assert before["MiMoMTPModel"].module_name == "mimo_model.vllm.draft_model"


def test_more_drafts_than_mtp_layers_are_refused(checkpoint_of):
    with pytest.raises(ValueError, match="num_speculative_tokens=6, but the checkpoint has 3 MTP layers"):
        start_vllm(checkpoint_of(planted), num_drafts=6)


@pytest.mark.skipif(os.environ.get("VLLM_USE_V2_MODEL_RUNNER") == "1", reason="about the older runner only")
def test_a_vllm_whose_proposer_is_called_otherwise_drafts_as_without_the_plugin(checkpoint_of, monkeypatch, caplog):
    upstream = EagleProposer.propose
    monkeypatch.setattr(EagleProposer, "propose", lambda self, **arguments: upstream(self, **arguments))
    checkpoint = checkpoint_of(planted)
    prompts = short_prompts(checkpoint)
    wanted = decode(checkpoint, prompts, num_drafts=3)
    with caplog.at_level("WARNING", logger="vllm.mimo_model"):
        responses = decode_with_vllm(checkpoint, prompts, num_drafts=3)
    (line,) = [record.getMessage() for record in caplog.records if record.name == "vllm.mimo_model"]
    assert "it drafts as it would without mimo-model, with the first of 3 MTP layers" in line
    assert [tokens for tokens, *_ in responses] == [tokens for tokens, *_ in wanted]
    # Layer 1 drafts as ever; in the places of the others it fails.
    assert all(accepted[1] == 0 for _, _, (_, *accepted) in responses)


def short_prompts(checkpoint: Path) -> list[list[int]]:
    """On a chain of the planted model, one token, and text that none of the models made."""
    tokenizer = load_tokenizer(checkpoint)
    texts = ("?1+1-1+3+2+1+3=", "A sum is", "x")
    return [chain(0, 4), chain(119, 9), *(tokenizer(text, add_special_tokens=False).input_ids for text in texts)]


def mtp_caches(checkpoint: Path, prompt: Sequence[int], *, part: int) -> list[torch.Tensor]:
    """What the three layers' caches hold after a prompt that was read in parts of so many tokens."""
    settings = {"max_num_seqs": 1, "max_num_batched_tokens": part, "num_gpu_blocks_override": 8}
    llm = start_vllm(checkpoint, num_drafts=3, **settings)
    generate(llm, [prompt], max_tokens=1)
    layers = llm.llm_engine.vllm_config.compilation_config.static_forward_context
    # vLLM counts the MTP layers on after the main ones.
    first = load_model(checkpoint).config.num_hidden_layers
    return [layers[f"model.layers.{first + k}.self_attn.attn"].kv_cache.clone() for k in range(3)]


def decode(checkpoint: Path, prompts: Sequence[Sequence[int]], *, num_drafts: int) -> list[Response]:
    engine = Engine(load_model(checkpoint, device="cpu"), load_tokenizer(checkpoint), num_drafts=num_drafts)
    for prompt in prompts:
        engine.submit(prompt, Sampling(temperature=0.0, max_tokens=MAX_TOKENS))
    done: dict[int, Completion] = {}
    while engine.pending:
        done.update(engine.step())
    return [(done[i].tokens, max(done[i].num_drafted, default=0), done[i].num_accepted) for i in range(len(prompts))]


def decode_with_transformers(checkpoint: Path, prompts: Sequence[Sequence[int]]) -> list[tuple[int, ...]]:
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    sequences = [
        model.generate(torch.tensor([prompt]), max_new_tokens=MAX_TOKENS, do_sample=False)[0].tolist()
        for prompt in prompts
    ]
    return [tuple(sequence[len(prompt) :]) for prompt, sequence in zip(prompts, sequences, strict=True)]


def decode_with_vllm(checkpoint: Path, prompts: Sequence[Sequence[int]], *, num_drafts: int) -> list[Response]:
    return [response(output) for output in generate(start_vllm(checkpoint, num_drafts=num_drafts), prompts)]


def start_vllm(checkpoint: Path, *, num_drafts: int, **settings: Any) -> LLM:
    return LLM(
        str(checkpoint),
        dtype="float32",
        max_model_len=160,
        enforce_eager=True,
        distributed_executor_backend="uni",
        speculative_config={"method": "mtp", "num_speculative_tokens": num_drafts} if num_drafts else None,
        per_request_spec_decode_metrics="summary" if num_drafts else "none",
        **{"max_num_seqs": 5, **settings},
    )


def generate(llm: LLM, prompts: Sequence[Sequence[int]], *, max_tokens: int = MAX_TOKENS) -> list[Any]:
    return llm.generate(
        [{"prompt_token_ids": list(prompt)} for prompt in prompts],
        SamplingParams(temperature=0.0, max_tokens=max_tokens),
        use_tqdm=False,
    )


def response(output: Any) -> Response:
    tokens, metrics = tuple(output.outputs[0].token_ids), output.outputs[0].spec_decode_metrics
    if metrics is None:
        return tokens, 0, ()
    # How many rounds accepted 0, 1, … drafts: the k-th was accepted in those of k and more.
    histogram = metrics.histogram
    return tokens, sum(histogram), tuple(sum(histogram[k:]) for k in range(1, len(histogram)))
