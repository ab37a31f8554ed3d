"""The engine: lossless at any number of drafts and any batch, greedy and sampled."""

from __future__ import annotations

import random

import pytest
import torch
from scipy.stats import chi2

from mimo_model import Completion, Engine, MiMoConfig, MiMoForCausalLM, ModelError, Sampling, generate, load_model
from mimo_model.attention import scaled_dot_product
from mimo_model.planted import chain, plant


@pytest.fixture(params=["auto", "torch"])
def backend(request: pytest.FixtureRequest) -> str:
    """Compiled C, and PyTorch's operators."""
    return request.param


def run(model, tokenizer, prompts, samplings, **options) -> list[Completion]:
    engine = Engine(model, tokenizer, **options)
    for prompt, sampling in zip(prompts, samplings, strict=True):
        engine.submit(prompt, sampling)
    completions = {}
    while engine.pending:
        completions.update(engine.step())
    return [completions[i] for i in range(len(prompts))]


def random_prompts(number: int, seed: int = 0) -> list[list[int]]:
    draws = random.Random(seed)
    return [[draws.randrange(256) for _ in range(draws.randrange(1, 14))] for _ in range(number)]


def greedy_by_hand(model: MiMoForCausalLM, prompt: list[int], num_tokens: int) -> tuple[int, ...]:
    """Full forwards only: no cache, no batch, no drafts."""
    ids = list(prompt)
    with torch.inference_mode():
        while len(ids) < len(prompt) + num_tokens:
            ids.append(int(model(torch.tensor([ids])).logits[0, -1, :261].argmax()))
            if ids[-1] == 256:
                break
    return tuple(ids[len(prompt) :])


def test_plain_greedy_decoding_equals_full_forwards(drafting_model, tokenizer):
    prompts = random_prompts(12)
    found = run(drafting_model, tokenizer, prompts, [Sampling(temperature=0.0, max_tokens=16)] * 12)
    assert [c.tokens for c in found] == [greedy_by_hand(drafting_model, prompt, 16) for prompt in prompts]


@pytest.mark.parametrize("num_drafts", [1, 2, 3])
@pytest.mark.parametrize("max_batch_size", [1, 3, 64])
def test_speculative_greedy_decoding_equals_plain(drafting_model, tokenizer, num_drafts, max_batch_size, backend):
    prompts = random_prompts(24 if max_batch_size > 1 else 8, seed=num_drafts)
    samplings = [Sampling(temperature=0.0, max_tokens=24 - i % 24) for i in range(len(prompts))]
    plain = run(drafting_model, tokenizer, prompts, samplings, backend=backend)
    options = {"num_drafts": num_drafts, "max_batch_size": max_batch_size, "backend": backend}
    drafted = run(drafting_model, tokenizer, prompts, samplings, **options)
    assert [(c.tokens, c.finish) for c in drafted] == [(c.tokens, c.finish) for c in plain]
    accepted = [sum(c.num_accepted[k] for c in drafted) for k in range(num_drafts)]
    rounds = sum(c.num_drafted[0] for c in drafted)
    assert 0.2 * rounds < accepted[0] < rounds  # both branches of the rule were taken
    assert accepted == sorted(accepted, reverse=True)
    assert accepted[-1] > 0


@pytest.mark.slow
@pytest.mark.parametrize("num_drafts", [1, 2, 3])
@pytest.mark.parametrize("max_batch_size", range(1, 9))
def test_a_thousand_prompts_get_the_same_greedy_tokens_with_drafts(
    drafting_model, tokenizer, num_drafts, max_batch_size
):
    prompts = random_prompts(1_000, seed=10 * num_drafts + max_batch_size)
    samplings = [Sampling(temperature=0.0, max_tokens=16)] * len(prompts)
    plain = run(drafting_model, tokenizer, prompts, samplings)
    options = {"num_drafts": num_drafts, "max_batch_size": max_batch_size}
    drafted = run(drafting_model, tokenizer, prompts, samplings, **options)
    assert [c.tokens for c in drafted] == [c.tokens for c in plain]
    assert sum(c.num_accepted[-1] for c in drafted) > 0


def test_drafts_chosen_by_what_pays_change_no_greedy_token(drafting_model, tokenizer, backend):
    prompts = random_prompts(40)
    samplings = [Sampling(temperature=0.0, max_tokens=40 - i % 17) for i in range(40)]
    plain = run(drafting_model, tokenizer, prompts, samplings, backend=backend)
    chosen = run(drafting_model, tokenizer, prompts, samplings, num_drafts="auto", max_batch_size=4, backend=backend)
    assert [(c.tokens, c.finish) for c in chosen] == [(c.tokens, c.finish) for c in plain]
    drafted = [sum(c.num_drafted[k] for c in chosen) for k in range(3)]
    assert drafted[0] > drafted[2] > 0  # it has tried more than one number


def test_fewer_drafts_for_a_while_leave_no_holes_in_the_caches(drafting_model, tokenizer, backend, monkeypatch):
    """Layers that sat out some rounds catch up: their drafts fare as if they had always drafted."""
    prompt = random_prompts(1, seed=2)[0]
    sampling = Sampling(temperature=0.0, max_tokens=60)
    numbers = [3, 3, 0, 0, 0, 0, 0, 1, 1, 1, 0, 0] + [3] * 60
    engine = Engine(drafting_model, tokenizer, num_drafts="auto", backend=backend)
    monkeypatch.setattr(engine._chooser, "choose", lambda _batch_size: numbers.pop(0))
    engine.submit(prompt, sampling)
    finished, late = [], []
    while engine.pending:
        before = engine._running[0].num_accepted[:] if engine._running else None
        finished += engine.step()
        if len(numbers) < 60 and engine._running and before is not None:
            request = engine._running[0]
            late.append((request.length, [b - a for a, b in zip(before, request.num_accepted, strict=True)]))
    ids = torch.tensor([[*prompt, *finished[0][1].tokens]])
    # What one forward over the whole text says of the first draft, which stands on true tokens.
    drafts = drafting_model(ids, num_mtp_layers=1).mtp_logits[0][0, :, :261].argmax(-1).tolist()
    lengths = [length for length, _ in late]
    for before, (length, accepted) in zip(lengths, late[1:], strict=False):
        assert accepted[0] == (drafts[before - 2] == ids[0, before].item()), (before, length)


@pytest.mark.parametrize("num_drafts", [1, 3])
def test_the_caches_after_rejections_equal_recomputed_ones(drafting_model, tokenizer, num_drafts, backend):
    prompts = random_prompts(3, seed=4)
    engine = Engine(drafting_model, tokenizer, num_drafts=num_drafts, backend=backend)
    for prompt in prompts:
        engine.submit(prompt, Sampling(temperature=0.0, max_tokens=60))
    for _ in range(8):
        engine.step()
    drafted = [sum(request.num_drafted[:1]) for request in engine._running]
    accepted = [request.num_accepted[-1] for request in engine._running]
    assert drafted != accepted  # drafts were rejected on the way
    layers = [*drafting_model.model.layers, *drafting_model.model.mtp_layers[:num_drafts]]
    with torch.inference_mode():
        for row, request in enumerate(engine._running):
            ids = torch.tensor([[*request.prompt, *request.tokens]])
            recomputed: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

            def keep(layer: int, q, k, v, recomputed=recomputed) -> torch.Tensor:
                recomputed[layer] = (k[0].transpose(0, 1), v[0].transpose(0, 1))
                return scaled_dot_product(q, k.transpose(1, 2), v.transpose(1, 2), None, causal=True)

            network = drafting_model.model
            embeddings = network.embed_tokens(ids)
            rope = network.rope(torch.arange(ids.shape[1])[None], torch.float32)
            hidden = network.trunk(embeddings, rope, keep)
            for k in range(1, num_drafts + 1):
                shifted = torch.nn.functional.pad(embeddings[:, k:], (0, 0, 0, k))
                shifted[:, 0] = 0.0
                network.mtp_layers[k - 1](network.mtp_layers[k - 1].combine(hidden, shifted), rope, keep)
            for layer in layers:
                index = layer.self_attn.layer
                k = index - len(network.layers) + 1
                # All but x_n; of an MTP layer, the entries that the next round will not write anew.
                count = request.length - 1 if k < 1 else int(engine._rows.filled[row, k - 1])
                assert count >= request.length - 5
                for found, expected in zip(engine._cache.layers[index], recomputed[index], strict=True):
                    difference = (found[row, :, :count] - expected[:, :count]).abs().max()
                    assert difference < 1e-4, f"layer {index}: {difference}"


def test_tokens_stream_as_they_are_decided(drafting_model, tokenizer, backend):
    prompts = random_prompts(6)
    samplings = [Sampling(max_tokens=20, seed=i) for i in range(6)]
    engine = Engine(drafting_model, tokenizer, num_drafts=3, max_batch_size=4, backend=backend)
    streamed: dict[int, list[tuple[int, float]]] = {i: [] for i in range(6)}
    pieces = 0

    def listen(i: int):
        def on_tokens(tokens: tuple[int, ...], logprobs: tuple[float, ...]) -> None:
            nonlocal pieces
            pieces += 1
            streamed[i] += zip(tokens, logprobs, strict=True)

        return on_tokens

    for i in range(6):
        engine.submit(prompts[i], samplings[i], on_tokens=listen(i))
    completions = {}
    while engine.pending:
        completions.update(engine.step())
        for i, completion in completions.items():
            assert streamed[i] == list(zip(completion.tokens, completion.logprobs, strict=True))
    assert len(completions) == 6
    assert pieces > 12


def test_a_listener_may_abort_its_own_and_other_requests(drafting_model, tokenizer):
    engine = Engine(drafting_model, tokenizer, num_drafts=1)
    sampling = Sampling(temperature=0.0, max_tokens=30)
    other = engine.submit([1, 2, 3], sampling)
    seen: list[int] = []

    def on_tokens(tokens: tuple[int, ...], _logprobs: tuple[float, ...]) -> None:
        seen.extend(tokens)
        if len(seen) >= 4:
            for request in (mine, other):
                engine.abort(request)

    mine = engine.submit([4, 5], sampling, on_tokens=on_tokens)
    completions = {}
    while engine.pending:
        completions.update(engine.step())
    assert completions[mine].finish == completions[other].finish == "abort"
    assert completions[mine].tokens == tuple(seen)
    assert 4 <= len(seen) <= 5


@pytest.mark.parametrize("num_drafts", [0, 3])
def test_a_stop_string_ends_the_response_at_the_token_that_completes_it(tokenizer, num_drafts, backend):
    model, planted_tokenizer = plant((1.0, 1.0, 1.0))
    whole = chain(0, 40)
    prompt, expected = whole[:4], whole[4:]
    # Four tokens of the chain as text; a byte of 128 and more alone is no character.
    start = next(i for i in range(3, 30) if all(32 < token < 127 for token in expected[i : i + 2]))
    text = planted_tokenizer.decode(expected[start : start + 2])
    sampling = Sampling(temperature=0.0, max_tokens=36, stop=("never seen", text))
    (found,) = run(model, planted_tokenizer, [prompt], [sampling], num_drafts=num_drafts, backend=backend)
    assert (list(found.tokens), found.finish) == (expected[: start + 2], "stop")
    assert len(found.logprobs) == start + 2


def test_layer_one_accepts_in_the_engine_what_one_full_forward_says(drafting_model, tokenizer):
    prompt = random_prompts(1)[0]
    (found,) = run(drafting_model, tokenizer, [prompt], [Sampling(temperature=0.0, max_tokens=40)], num_drafts=1)
    ids = [*prompt, *found.tokens]
    drafts = drafting_model(torch.tensor([ids]), num_mtp_layers=1).mtp_logits[0][0, :, :261].argmax(-1).tolist()
    n, num_drafted, num_accepted = len(prompt), 0, 0
    while n < len(ids) - 1:
        right = drafts[n - 1] == ids[n + 1]
        num_drafted, num_accepted, n = num_drafted + 1, num_accepted + right, n + 1 + right
    assert (found.num_drafted, found.num_accepted) == ((num_drafted,), (num_accepted,))


@pytest.mark.parametrize("num_drafts", [0, 1, 3])
def test_a_requests_samples_do_not_depend_on_its_batch_mates(drafting_model, tokenizer, num_drafts):
    prompts = random_prompts(12)
    samplings = [
        Sampling(max_tokens=5 + i, seed=i, temperature=(1.0, 0.7, 0.0)[i % 3], top_p=(1.0, 0.9)[i % 2], top_k=i % 5 * 4)
        for i in range(12)
    ]
    together = run(drafting_model, tokenizer, prompts, samplings, num_drafts=num_drafts, max_batch_size=5)
    alone = [
        run(drafting_model, tokenizer, [prompt], [sampling], num_drafts=num_drafts)[0]
        for prompt, sampling in zip(prompts, samplings, strict=True)
    ]
    assert [c.tokens for c in together] == [c.tokens for c in alone]


@pytest.mark.parametrize("num_drafts", [0, 2])
def test_logprobs_are_the_models_at_the_temperature_before_restriction(drafting_model, tokenizer, num_drafts):
    prompt = random_prompts(1)[0]
    sampling = Sampling(max_tokens=20, temperature=0.6, top_p=0.8, seed=5)
    (found,) = run(drafting_model, tokenizer, [prompt], [sampling], num_drafts=num_drafts)
    ids = torch.tensor([[*prompt, *found.tokens]])
    logits = drafting_model(ids).logits[0, len(prompt) - 1 : -1, :261]
    expected = (logits / 0.6).log_softmax(-1).gather(1, ids[0, len(prompt) :, None])[:, 0]
    assert found.logprobs == pytest.approx(expected.tolist(), abs=1e-4)


# -- Sampling is exact: a vocabulary small enough to count every continuation.


@pytest.fixture(scope="module")
def counting_model() -> MiMoForCausalLM:
    """Six ids that all mean something, three MTP layers with opinions of their own."""
    torch.manual_seed(3)
    config = MiMoConfig(
        vocab_size=6,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        num_nextn_predict_layers=3,
        max_position_embeddings=32,
        initializer_range=0.4,
        eos_token_id=5,
    )
    model = MiMoForCausalLM(config).eval()
    model.generation_config.eos_token_id = 5
    return model


class SixIds:
    """All that the engine asks of a tokenizer."""

    def __len__(self) -> int:
        return 6

    def get_vocab(self) -> dict[str, int]:
        return {str(i): i for i in range(6)}


def exact_next(model, ids: list[int], sampling: Sampling) -> torch.Tensor:
    probabilities = (model(torch.tensor([ids])).logits[0, -1].double() / sampling.temperature).softmax(-1)
    order = probabilities.argsort(descending=True)
    if sampling.top_k:
        probabilities[order[sampling.top_k :]] = 0.0
        probabilities /= probabilities.sum()
    mass = 0.0
    for token in order.tolist():
        if mass >= sampling.top_p:
            probabilities[token] = 0.0
        mass += probabilities[token].item()
    return probabilities / probabilities.sum()


@pytest.mark.parametrize(
    ("num_drafts", "settings"),
    [
        (0, {}),
        (1, {}),
        (3, {}),
        (3, {"temperature": 0.5}),
        (2, {"top_k": 3}),
        (3, {"top_p": 0.7, "temperature": 1.5}),
    ],
)
@pytest.mark.parametrize("num_samples", [4_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_sampled_speculation_has_the_exact_distribution_at_every_position(
    counting_model, num_drafts, settings, num_samples
):
    prompt, length = [0, 3, 1], 3 if num_samples < 10_000 else 5
    samplings = [Sampling(max_tokens=length, seed=seed, **settings) for seed in range(num_samples)]
    found = run(counting_model, SixIds(), [prompt] * num_samples, samplings, num_drafts=num_drafts, max_batch_size=1000)
    # Position by position given the prefix, over every prefix seen often enough: 5 ends the text.
    with torch.inference_mode():
        for position in range(length):
            statistic, degrees = 0.0, 0
            followers: dict[tuple[int, ...], list[int]] = {}
            for completion in found:
                if len(completion.tokens) > position:
                    prefix = completion.tokens[:position]
                    followers.setdefault(prefix, [0] * 6)[completion.tokens[position]] += 1
            for prefix, counts in followers.items():
                if sum(counts) < 100:
                    continue
                expected = sum(counts) * exact_next(counting_model, [*prompt, *prefix], samplings[0])
                assert all(count == 0 for count, mean in zip(counts, expected, strict=True) if mean == 0)
                # Rare tokens together: a chi-square needs expectations of some size.
                rare = [token for token in range(6) if expected[token] < 5]
                cells = [(counts[token], expected[token].item()) for token in range(6) if token not in rare]
                cells.append((sum(counts[token] for token in rare), sum(expected[token].item() for token in rare)))
                cells = [cell for cell in cells if cell[1] > 1]
                statistic += sum((count - mean) ** 2 / mean for count, mean in cells)
                degrees += len(cells) - 1
            assert degrees > 0
            assert chi2.sf(statistic, degrees) > 1e-3, f"position {position}: {statistic:.1f} over {degrees}"


def test_padded_ids_are_never_sampled(model, tokenizer):
    with torch.no_grad():
        model.lm_head.weight[261:] = 5.0 * model.lm_head.weight[:11]
    hot = Sampling(max_tokens=40, temperature=100.0)
    for num_drafts in (0, 1):
        found = run(model, tokenizer, random_prompts(20), [hot] * 20, num_drafts=num_drafts)
        assert max(max(c.tokens) for c in found) <= 260


def test_requests_end_at_the_stop_token_or_at_their_limit(drafting_model, tokenizer):
    prompts = random_prompts(60, seed=9)
    samplings = [Sampling(max_tokens=30, seed=i, temperature=1.5) for i in range(60)]
    for num_drafts in (0, 3):
        found = run(drafting_model, tokenizer, prompts, samplings, num_drafts=num_drafts)
        for completion in found:
            assert 256 not in completion.tokens[:-1]
            assert (completion.tokens[-1] == 256) == (completion.finish == "stop")
            assert completion.finish == "stop" or len(completion.tokens) == 30
            assert len(completion.logprobs) == len(completion.tokens)
        assert {c.finish for c in found} == {"stop", "length"}


def test_an_aborted_request_returns_what_it_has_and_the_others_go_on(drafting_model, tokenizer):
    prompts = random_prompts(6)
    samplings = [Sampling(temperature=0.0, max_tokens=20)] * 6
    whole = run(drafting_model, tokenizer, prompts, samplings)
    engine = Engine(drafting_model, tokenizer, num_drafts=2, max_batch_size=4)
    requests = [engine.submit(prompt, sampling) for prompt, sampling in zip(prompts, samplings, strict=True)]
    completions = dict(engine.step())
    engine.abort(requests[1])  # running
    engine.abort(requests[5])  # waiting
    while engine.pending:
        completions.update(engine.step())
    assert completions[5].tokens == ()
    assert completions[1].tokens == whole[1].tokens[: len(completions[1].tokens)]
    assert {completions[1].finish, completions[5].finish} == {"abort"}
    for request in (0, 2, 3, 4):
        assert completions[request].tokens == whole[request].tokens
    with pytest.raises(ValueError, match="not pending"):
        engine.abort(requests[1])


def test_new_weights_are_used_from_the_next_request_on(checkpoint, tokenizer):
    model, other = load_model(checkpoint), load_model(checkpoint)
    with torch.no_grad():
        other.lm_head.weight[:261] = other.lm_head.weight[:261].roll(7, 0)
    engine = Engine(model, tokenizer)
    engine.update_weights(other.state_dict())
    engine.submit([1, 2, 3], Sampling(temperature=0.0, max_tokens=8))
    completions = []
    while engine.pending:
        completions += engine.step()
    assert completions[0][1].tokens == greedy_by_hand(other, [1, 2, 3], 8)
    with pytest.raises(ModelError, match="update_weights"):
        engine.update_weights({"lm_head.weight": torch.zeros(3)})


def test_generate_applies_the_chat_template_and_seeds_equal_prompts_differently(drafting_model, tokenizer):
    sampling = Sampling(max_tokens=12, seed=4)
    first, second = generate(drafting_model, tokenizer, ["2+2=", "2+2="], sampling, num_drafts=2)
    assert first.tokens != second.tokens
    prompt = tokenizer("2+2=").input_ids
    assert run(drafting_model, tokenizer, [prompt], [sampling], num_drafts=2)[0].tokens == first.tokens


def test_impossible_requests_are_refused(drafting_model, tokenizer):
    engine = Engine(drafting_model, tokenizer)
    for prompt, max_tokens, message in (([], 1, "prompt is empty"), ([272], 1, "0 to 271"), ([1] * 100, 29, "context")):
        with pytest.raises(ValueError, match=message):
            engine.submit(prompt, Sampling(max_tokens=max_tokens))
    for settings in ({"temperature": -1.0}, {"top_p": 0.0}, {"top_k": -1}, {"max_tokens": 0}, {"stop": ("",)}):
        with pytest.raises(ValueError, match=next(iter(settings))):
            Sampling(**{"max_tokens": 1, **settings})
    with pytest.raises(ValueError, match="3 MTP layers"):
        Engine(drafting_model, tokenizer, num_drafts=4)
