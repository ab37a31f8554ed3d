"""Rounds in compiled C: the same as PyTorch's, and the same whatever else is in the batch."""

from __future__ import annotations

import contextlib
import random
from functools import partial
from pathlib import Path

import pytest
import torch

from mimo_model import Completion, Engine, MiMoConfig, MiMoForCausalLM, ModelError, Sampling, load_model
from mimo_model.decoding import native
from mimo_model.decoding.slots import SlotCache

# Both compute in float32 here, in other orders.
TOLERANCE = 2e-5


def decode(model, tokenizer, prompts, samplings, **options) -> list[Completion]:
    engine = Engine(model, tokenizer, **options)
    for prompt, sampling in zip(prompts, samplings, strict=True):
        engine.submit(prompt, sampling)
    completions = {}
    while engine.pending:
        completions.update(engine.step())
    return [completions[i] for i in range(len(prompts))]


def random_prompts(number: int, *, num_ids: int = 256, longest: int = 14, seed: int = 0) -> list[list[int]]:
    draws = random.Random(seed)
    return [[draws.randrange(num_ids) for _ in range(draws.randrange(1, longest))] for _ in range(number)]


def test_it_is_what_decodes_here(drafting_model, tokenizer):
    assert Engine(drafting_model, tokenizer).backend == "compiled C"
    assert Engine(drafting_model, tokenizer, backend="torch").backend == "PyTorch's operators (backend='torch')"


@pytest.mark.parametrize("num_drafts", [0, 1, 3])
@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 0.0},
        {"temperature": 1.0},
        {"temperature": 1.5, "top_k": 7},
        {"temperature": 0.8, "top_p": 0.7},
        {"temperature": 1.2, "top_k": 40, "top_p": 0.9},
        {"temperature": 1.0, "top_k": 500},
    ],
    ids=str,
)
def test_tokens_counts_and_logprobs_are_pytorchs(drafting_model, tokenizer, num_drafts, settings):
    prompts = random_prompts(20, seed=num_drafts)
    samplings = [Sampling(max_tokens=20, seed=i, **settings) for i in range(20)]
    ours = decode(drafting_model, tokenizer, prompts, samplings, num_drafts=num_drafts)
    theirs = decode(drafting_model, tokenizer, prompts, samplings, num_drafts=num_drafts, backend="torch")
    for a, b in zip(ours, theirs, strict=True):
        assert (a.tokens, a.finish, a.num_drafted, a.num_accepted) == (
            b.tokens,
            b.finish,
            b.num_drafted,
            b.num_accepted,
        )
        assert a.logprobs == pytest.approx(b.logprobs, abs=TOLERANCE)


@pytest.mark.parametrize(
    "shape",
    [
        {"hidden_size": 40, "intermediate_size": 72, "num_attention_heads": 5, "num_key_value_heads": 1},
        {"hidden_size": 33, "intermediate_size": 7, "num_attention_heads": 3, "num_key_value_heads": 3, "head_dim": 10},
        {
            "hidden_size": 96,
            "intermediate_size": 200,
            "num_attention_heads": 6,
            "num_key_value_heads": 2,
            "head_dim": 48,
        },
    ],
    ids=lambda shape: str(shape["hidden_size"]),
)
@pytest.mark.parametrize("packed", [True, False], ids=["packed", "as they are"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_odd_shapes_and_both_types_of_weights(monkeypatch, tokenizer, shape, packed, dtype):
    if not packed:
        monkeypatch.setattr(native, "_MOST_PACKED_WEIGHTS", 0)
    torch.manual_seed(1)
    config = MiMoConfig(
        vocab_size=272,
        num_hidden_layers=2,
        num_nextn_predict_layers=2,
        max_position_embeddings=128,
        initializer_range=0.2,
        rope_theta=10_000.0,
        eos_token_id=256,
        **shape,
    )
    model = MiMoForCausalLM(config).to(dtype).eval()
    model.generation_config.eos_token_id = 256
    prompts = random_prompts(6)
    samplings = [Sampling(max_tokens=12, temperature=0.0)] * 6
    ours = decode(model, tokenizer, prompts, samplings, num_drafts=2)
    # What is compared is one forward over what was decoded: in bfloat16 two paths soon say different things.
    for prompt, completion in zip(prompts, ours, strict=True):
        ids = torch.tensor([[*prompt, *completion.tokens]])
        with torch.inference_mode():
            logits = model.float()(ids).logits[0, len(prompt) - 1 : -1, :261]
        model.to(dtype)
        expected = logits.log_softmax(-1).gather(1, ids[0, len(prompt) :, None])[:, 0]
        tolerance = TOLERANCE if dtype == torch.float32 else 0.15  # keys and values are rounded to bfloat16
        assert completion.logprobs == pytest.approx(expected.tolist(), abs=tolerance)


@pytest.mark.parametrize("num_drafts", [0, 3])
def test_logprobs_do_not_depend_on_batch_or_drafts_to_the_last_bit(drafting_model, tokenizer, num_drafts):
    prompts = random_prompts(9)
    samplings = [Sampling(max_tokens=16, temperature=0.0)] * 9
    alone = [decode(drafting_model, tokenizer, [prompt], samplings[:1])[0] for prompt in prompts]
    together = decode(drafting_model, tokenizer, prompts, samplings, num_drafts=num_drafts)
    assert [(c.tokens, c.logprobs) for c in together] == [(c.tokens, c.logprobs) for c in alone]


def test_threads_do_not_change_a_bit(drafting_model, tokenizer, monkeypatch):
    monkeypatch.setattr(native, "_PRODUCTS_WORTH_A_THREAD", 0)
    prompts = random_prompts(9)
    samplings = [Sampling(max_tokens=16, seed=i) for i in range(9)]
    found = []
    for num_threads in (1, 2, 3):
        torch.set_num_threads(num_threads)
        found.append(decode(drafting_model, tokenizer, prompts, samplings, num_drafts=2))
    torch.set_num_threads(1)
    assert found[0] == found[1] == found[2]


def test_long_prompts_and_long_answers(drafting_model, tokenizer):
    """Longer than a chunk of prompt tokens, than a cache at first, and than a block of a sum."""
    prompts = random_prompts(3, longest=90, seed=5)
    samplings = [Sampling(max_tokens=30, temperature=0.0)] * 3
    ours = decode(drafting_model, tokenizer, prompts, samplings, num_drafts=3)
    theirs = decode(drafting_model, tokenizer, prompts, samplings, num_drafts=3, backend="torch")
    assert [(c.tokens, c.num_accepted) for c in ours] == [(c.tokens, c.num_accepted) for c in theirs]


def test_a_model_trained_in_place_is_sampled_as_it_is(checkpoint, tokenizer):
    model = load_model(checkpoint)
    engine = Engine(model, tokenizer, num_drafts=1)
    sampling = Sampling(max_tokens=12, temperature=0.0)

    def answer() -> tuple[int, ...]:
        engine.submit([1, 2, 3], sampling)
        finished = []
        while engine.pending:
            finished += engine.step()
        return finished[0][1].tokens

    def train(**options: bool) -> None:
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, **options)
        model(torch.tensor([[5, 6, 7]]), num_mtp_layers=1).logits.square().mean().backward()
        optimizer.step()

    def replace() -> None:
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().roll(3, 0))

    # Tensors' own counters see the first of these, and neither the fused step nor what goes through `.data`.
    changes = (train, partial(train, fused=True), lambda: model.lm_head.weight.data.copy_(shuffled), replace)
    shuffled = model.lm_head.weight.detach().roll(5, 0)
    for change in changes:
        before = answer()
        change()
        after = answer()
        assert after != before
        assert after == decode(model, tokenizer, [[1, 2, 3]], [sampling], num_drafts=1, backend="torch")[0].tokens


def test_a_model_with_other_modules_or_another_dtype_is_decoded_by_pytorch(checkpoint, tokenizer):
    model = load_model(checkpoint, dtype="float16")
    assert Engine(model, tokenizer).backend == "PyTorch's operators (weights are torch.float16)"

    class Noisy(torch.nn.Linear):
        pass

    model = load_model(checkpoint)
    model.model.layers[0].self_attn.q_proj.__class__ = Noisy
    assert Engine(model, tokenizer).backend == "PyTorch's operators (the model holds a Noisy)"


def test_without_a_compiler_pytorch_decodes_and_the_engine_says_why(drafting_model, tokenizer, monkeypatch):
    native._library.cache_clear()
    monkeypatch.setenv("CC", "no-such-compiler")
    try:
        backend = Engine(drafting_model, tokenizer).backend
    finally:
        native._library.cache_clear()
    assert backend == "PyTorch's operators (there is no C compiler (`cc`, or the one that CC names))"


def test_it_is_compiled_once_and_again_after_a_change(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for _ in range(2):
        native._library.cache_clear()
        native._library()
    (file,) = (tmp_path / "mimo-model").iterdir()
    made_ns = file.stat().st_mtime_ns
    monkeypatch.setattr(native, "_FLAGS", (*native._FLAGS, "-DSOMETHING"))
    native._library.cache_clear()
    native._library()
    native._library.cache_clear()
    assert len(list((tmp_path / "mimo-model").iterdir())) == 2
    assert file.stat().st_mtime_ns == made_ns


# -- Found by a second reading.


def test_gates_beyond_what_an_exponential_holds(checkpoint, tokenizer):
    model = load_model(checkpoint, device="cpu")
    with torch.no_grad():
        for layer in model.model.layers:
            layer.mlp.gate_proj.weight *= 300.0
    prompts, samplings = random_prompts(5), [Sampling(max_tokens=8, temperature=0.0)] * 5
    ours = decode(model, tokenizer, prompts, samplings)
    theirs = decode(model, tokenizer, prompts, samplings, backend="torch")
    for a, b in zip(ours, theirs, strict=True):
        assert a.tokens == b.tokens
        assert a.logprobs == pytest.approx(b.logprobs, abs=1e-3)


def test_parameters_replaced_again_and_again_are_never_stale(checkpoint, tokenizer):
    model = load_model(checkpoint, device="cpu")
    engine = Engine(model, tokenizer)
    sampling = Sampling(max_tokens=3, temperature=0.0)
    for seed in range(40):
        torch.manual_seed(seed)
        model.lm_head.weight = torch.nn.Parameter(torch.randn(272, 32))
        engine.submit([1, 2, 3], sampling)
        finished = []
        while engine.pending:
            finished += engine.step()
        (expected,) = decode(model, tokenizer, [[1, 2, 3]], [sampling], backend="torch")
        assert finished[0][1].tokens == expected.tokens, seed


def test_rounds_in_pytorch_after_prompts_read_in_c_draft_as_well(drafting_model, tokenizer, monkeypatch):
    prompts = random_prompts(17, longest=4)
    samplings = [Sampling(max_tokens=20, temperature=0.0)] * 17
    expected = decode(drafting_model, tokenizer, prompts, samplings, num_drafts=3)
    monkeypatch.setattr(native, "_MOST_TOKENS_PACKED", 64)
    monkeypatch.setattr(native, "_FEW_PRODUCTS", 0)  # 17 * 4 tokens of a round are too many for C, the prompts are not
    found = decode(drafting_model, tokenizer, prompts, samplings, num_drafts=3)
    assert [(c.tokens, c.num_accepted) for c in found] == [(c.tokens, c.num_accepted) for c in expected]


@pytest.mark.parametrize("settings", [{"temperature": 1e-5}, {"temperature": 1.0, "top_p": 1e-6}], ids=str)
def test_the_smallest_settings_are_greedy(drafting_model, tokenizer, settings):
    prompts = random_prompts(8)
    greedy = decode(drafting_model, tokenizer, prompts, [Sampling(max_tokens=8, temperature=0.0)] * 8)
    for backend in ("auto", "torch"):
        samplings = [Sampling(max_tokens=8, **settings)] * 8
        found = decode(drafting_model, tokenizer, prompts, samplings, num_drafts=1, backend=backend)
        assert [c.tokens for c in found] == [c.tokens for c in greedy]


def test_other_modules_or_types_after_the_engine_was_made_are_an_error_and_nothing_is_lost(checkpoint, tokenizer):
    model = load_model(checkpoint, device="cpu")
    engine = Engine(model, tokenizer)
    engine.submit([1, 2], Sampling(max_tokens=2, temperature=0.0))
    model.to(torch.bfloat16)
    with pytest.raises(ModelError, match=r"has become torch\.bfloat16 .* Make a new Engine"):
        engine.step()
    model.to(torch.float32)
    finished = []
    while engine.pending:
        finished += engine.step()
    assert len(finished[0][1].tokens) == 2
    model.model.layers[0].mlp.up_proj = torch.nn.Sequential(model.model.layers[0].mlp.up_proj)
    engine.submit([1, 2], Sampling(max_tokens=2))
    with pytest.raises(ModelError, match="other modules"):
        engine.step()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64], ids=str)
def test_the_default_dtype_does_not_matter(drafting_model, tokenizer, dtype):
    prompts, samplings = random_prompts(4), [Sampling(max_tokens=8, seed=i) for i in range(4)]
    expected = decode(drafting_model, tokenizer, prompts, samplings, num_drafts=2)
    torch.set_default_dtype(dtype)
    try:
        found = decode(drafting_model, tokenizer, prompts, samplings, num_drafts=2)
    finally:
        torch.set_default_dtype(torch.float32)
    assert found == expected


@pytest.mark.parametrize("backend", ["auto", "torch"])
def test_a_listener_that_raises_costs_no_request_a_token(drafting_model, tokenizer, backend):
    prompts, sampling = random_prompts(3), Sampling(max_tokens=12, temperature=0.0)
    expected = decode(drafting_model, tokenizer, prompts, [sampling] * 3)

    def on_tokens(_tokens: tuple[int, ...], _logprobs: tuple[float, ...]) -> None:
        raise RuntimeError("gone")

    engine = Engine(drafting_model, tokenizer, num_drafts=3, backend=backend)
    for prompt in prompts:
        engine.submit(prompt, sampling, on_tokens=on_tokens)
    completions, num_raised = {}, 0
    while engine.pending:
        try:
            completions.update(engine.step())
        except RuntimeError:
            num_raised += 1
    assert num_raised > 2
    assert [completions[i].tokens for i in range(3)] == [c.tokens for c in expected]


def test_memory_that_runs_out_is_an_error_once(drafting_model, tokenizer, monkeypatch):
    engine = Engine(drafting_model, tokenizer, num_drafts=1)
    engine.submit([1, 2, 3], Sampling(max_tokens=90, temperature=0.0))
    grow, failed = SlotCache._grow, []

    def once(cache: SlotCache, *arguments) -> torch.Tensor:
        if cache.num_places and not failed:
            failed.append(True)
            raise MemoryError
        return grow(cache, *arguments)

    monkeypatch.setattr(SlotCache, "_grow", once)
    finished = []
    while engine.pending:
        with contextlib.suppress(MemoryError):
            finished += engine.step()
    assert failed
    (expected,) = decode(drafting_model, tokenizer, [[1, 2, 3]], [Sampling(max_tokens=90, temperature=0.0)])
    assert finished[0][1].tokens == expected.tokens


def test_an_incomplete_state_changes_no_weight(checkpoint, tokenizer):
    model = load_model(checkpoint, device="cpu")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = {name: tensor + 1.0 for name, tensor in before.items()}
    del state["lm_head.weight"]
    with pytest.raises(ModelError, match=r"1 tensors are missing, .* lm_head\.weight among them"):
        Engine(model, tokenizer).update_weights(state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_compiler_that_fails_is_quoted(tmp_path: Path, drafting_model, monkeypatch):
    compiler = tmp_path / "cc"
    compiler.write_text("#!/bin/sh\n[ \"$1\" = --version ] && exit 0\necho 'no space for it' >&2\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CC", str(compiler))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    native._library.cache_clear()
    reason = native.available(drafting_model)
    native._library.cache_clear()
    assert reason == "the C compiler failed: no space for it"
