"""The engine and the model on a CUDA device: what neither the interpreter nor fake tensors can show.

Run by `scripts/gpu.sh`. What a test compares with is the CPU, or PyTorch's operators on the same device.
"""

from __future__ import annotations

import copy
import random
import threading
import warnings
from collections import Counter
from pathlib import Path

import pytest
import torch

from mimo_model import Completion, Engine, MiMoConfig, MiMoForCausalLM, Sampling, load_model, save_model
from mimo_model.bench import random_model, stand_in
from mimo_model.planted import chain, plant

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

# Of logits and gradients, relative to the largest; of log-probabilities, absolute.
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2}
LOGPROB_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 1e-1}
GRADIENT_TOLERANCE = 1e-4

# One of each kind: of those that are packed the first and another, and those that are read where they lie.
KINDS_OF_PARAMETERS = (
    "lm_head.weight",
    "model.embed_tokens.weight",
    "model.layers.0.input_layernorm.weight",
    "model.layers.0.mlp.down_proj.weight",
    "model.layers.0.mlp.up_proj.weight",
    "model.layers.0.self_attn.k_proj.weight",
    "model.layers.0.self_attn.o_proj.weight",
    "model.layers.0.self_attn.q_proj.weight",
    "model.layers.0.self_attn.v_proj.bias",
    "model.norm.weight",
)

GREEDY = Sampling(temperature=0.0, max_tokens=24)


@pytest.fixture
def on_cpu(drafting_model: MiMoForCausalLM) -> MiMoForCausalLM:
    return copy.deepcopy(drafting_model).to("cpu")


@pytest.fixture
def on_gpu(drafting_model: MiMoForCausalLM) -> MiMoForCausalLM:
    return copy.deepcopy(drafting_model).to("cuda")


def wide_model(dtype: torch.dtype, **fields: int) -> MiMoForCausalLM:
    """MiMo's head width and ratio of heads, on the GPU."""
    config = MiMoConfig(
        vocab_size=1_000,
        hidden_size=512,
        intermediate_size=1_024,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=1,
        head_dim=128,
        num_nextn_predict_layers=3,
        max_position_embeddings=1_024,
        **fields,
    )
    return random_model(config, dtype=dtype, device=torch.device("cuda"))


def random_prompts(number: int, *, seed: int = 0, longest: int = 13) -> list[list[int]]:
    draws = random.Random(seed)
    return [[draws.randrange(256) for _ in range(draws.randrange(1, longest + 1))] for _ in range(number)]


def finish(engine: Engine) -> dict[int, Completion]:
    completions: dict[int, Completion] = {}
    while engine.pending:
        completions.update(engine.step())
    return completions


def run(model, tokenizer, prompts, samplings, **options) -> list[Completion]:
    engine = Engine(model, tokenizer, **options)
    requests = [engine.submit(prompt, sampling) for prompt, sampling in zip(prompts, samplings, strict=True)]
    completions = finish(engine)
    return [completions[request] for request in requests]


def largest_difference(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """Relative to the largest wanted value."""
    found, wanted = found.detach().float().cpu(), wanted.detach().float().cpu()
    return ((found - wanted).abs().max() / wanted.abs().max().clamp(min=1e-30)).item()


def num_recorded(engine: Engine) -> int:
    assert engine._graphs is not None
    return len(engine._graphs._graphs)


# -- Tokens.


def test_the_engine_decodes_with_fused_kernels_in_cuda_graphs(on_gpu, tokenizer):
    assert Engine(on_gpu, tokenizer).backend == "fused kernels in CUDA graphs"
    assert "PyTorch" in Engine(on_gpu, tokenizer, backend="torch").backend


@pytest.mark.parametrize("max_batch_size", [1, 3, 64])
@pytest.mark.parametrize("num_drafts", [0, 1, 2, 3, "auto"])
def test_greedy_tokens_are_those_of_the_cpu_without_drafts(on_cpu, on_gpu, tokenizer, num_drafts, max_batch_size):
    prompts = random_prompts(8 if max_batch_size == 1 else 40)
    samplings = [Sampling(temperature=0.0, max_tokens=40 - i % 24) for i in range(len(prompts))]
    wanted = run(on_cpu, tokenizer, prompts, samplings)
    found = run(on_gpu, tokenizer, prompts, samplings, num_drafts=num_drafts, max_batch_size=max_batch_size)
    assert [(c.tokens, c.finish) for c in found] == [(c.tokens, c.finish) for c in wanted]
    if num_drafts not in (0, "auto"):
        accepted, drafted = (sum(getattr(c, f"num_{name}")[-1] for c in found) for name in ("accepted", "drafted"))
        assert 0 < accepted < drafted


def test_planted_drafts_are_accepted_as_planned():
    model, tokenizer = plant((0.875, 0.75, 0.625))
    engine = Engine(model.to("cuda"), tokenizer, num_drafts=3)
    engine.submit(chain(0, 4), Sampling(temperature=0.0, max_tokens=320))
    (completion,) = finish(engine).values()
    assert list(completion.tokens) == chain(0, 324)[4:]
    (on_cpu,) = run(
        model.to("cpu"), tokenizer, [chain(0, 4)], [Sampling(temperature=0.0, max_tokens=320)], num_drafts=3
    )
    assert (completion.num_drafted, completion.num_accepted) == (on_cpu.num_drafted, on_cpu.num_accepted)


def test_generate_of_transformers_gives_the_same_tokens(on_gpu, tokenizer):
    (wanted,) = run(on_gpu, tokenizer, [[3, 1, 4, 1, 5]], [GREEDY], num_drafts=3)
    ids = torch.tensor([[3, 1, 4, 1, 5]], device="cuda")
    suppressed = list(range(261, 272))
    found = on_gpu.generate(ids, max_new_tokens=24, do_sample=False, suppress_tokens=suppressed, pad_token_id=256)
    assert tuple(found[0, 5 : 5 + len(wanted.tokens)].tolist()) == wanted.tokens


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("num_drafts", [0, 1, 3])
@pytest.mark.parametrize("batch_size", [1, 4, 20])
def test_logprobs_are_those_of_one_full_forward(dtype, num_drafts, batch_size):
    model = wide_model(dtype)
    prompts = random_prompts(batch_size, longest=200)
    samplings = [
        Sampling(temperature=(0.0, 0.8)[i % 2], top_p=(1.0, 0.9)[i % 3 == 1], max_tokens=40, seed=i)
        for i in range(batch_size)
    ]
    for prompt, sampling, found in zip(
        prompts, samplings, run(model, stand_in(model), prompts, samplings, num_drafts=num_drafts), strict=True
    ):
        ids = torch.tensor([[*prompt, *found.tokens]], device="cuda")
        with torch.inference_mode():
            logits = model(ids).logits[0, len(prompt) - 1 : -1].float()
        wanted = (logits / (sampling.temperature or 1.0)).log_softmax(-1).gather(1, ids[0, len(prompt) :, None])[:, 0]
        assert found.logprobs == pytest.approx(wanted.tolist(), abs=LOGPROB_TOLERANCE[dtype])


# -- Recorded rounds, while everything around them changes.


def mixed(number: int) -> tuple[list[list[int]], list[Sampling]]:
    """Greedy and sampled, restricted and not, short and so long that the cache grows."""
    samplings = [
        Sampling(
            max_tokens=4 + 11 * i % 90,
            seed=i,
            temperature=(0.0, 1.0, 0.7)[i % 3],
            top_p=(1.0, 0.9)[i // 8 % 2],
            top_k=(0, 20)[i // 16 % 2],
        )
        for i in range(number)
    ]
    return random_prompts(number, seed=5), samplings


@pytest.mark.parametrize("num_drafts", [0, 1, 3])
def test_requests_come_and_go_and_are_aborted_while_rounds_are_replayed(on_gpu, tokenizer, num_drafts):
    prompts, samplings = mixed(48)
    wanted = run(on_gpu, tokenizer, prompts, samplings, num_drafts=num_drafts, backend="torch")
    engine = Engine(on_gpu, tokenizer, num_drafts=num_drafts, max_batch_size=7)
    completions: dict[int, Completion] = {}
    streamed: Counter[int] = Counter()
    most_recorded = 0

    def listen(request: int):
        def on_tokens(tokens: tuple[int, ...], _logprobs: tuple[float, ...]) -> None:
            streamed[request] += len(tokens)
            if request % 9 == 4 and streamed[request] >= 3:
                engine.abort(request)

        return on_tokens

    for request in range(48):
        engine.submit(prompts[request], samplings[request], on_tokens=listen(request))
        if request % 3 == 2:  # later ones are admitted while earlier ones run
            completions.update(engine.step())
            most_recorded = max(most_recorded, num_recorded(engine))
    while engine.pending:
        completions.update(engine.step())
        most_recorded = max(most_recorded, num_recorded(engine))
    assert most_recorded >= 3
    for request, expected in enumerate(wanted):
        found = completions[request]
        if found.finish == "abort":
            assert request % 9 == 4
            assert found.tokens == expected.tokens[: len(found.tokens)]
        else:
            assert (found.tokens, found.finish) == (expected.tokens, expected.finish)
            assert found.logprobs == pytest.approx(expected.logprobs, abs=LOGPROB_TOLERANCE[torch.float32])


def test_a_cache_that_grows_makes_rounds_be_recorded_anew(on_gpu, tokenizer):
    prompt, sampling = [1, 2, 3], Sampling(temperature=0.0, max_tokens=110)
    (wanted,) = run(on_gpu, tokenizer, [prompt], [sampling], backend="torch")
    engine = Engine(on_gpu, tokenizer, num_drafts=1)
    for _ in range(2):
        engine.submit(prompt, sampling)
        (found,) = finish(engine).values()
        assert found.tokens == wanted.tokens
    assert num_recorded(engine) == 1


def test_copied_weights_are_used_by_recorded_rounds(on_gpu, tokenizer):
    other = copy.deepcopy(on_gpu)
    with torch.no_grad():
        other.lm_head.weight[:261] = other.lm_head.weight[:261].roll(7, 0)
        for layer in other.model.layers:
            layer.self_attn.k_proj.weight.mul_(-1.0)
            layer.mlp.up_proj.weight.mul_(-1.0)
    prompts = random_prompts(4)
    engine = Engine(on_gpu, tokenizer, num_drafts=2)
    for model in (copy.deepcopy(on_gpu), other):
        wanted = run(model, tokenizer, prompts, [GREEDY] * 4, backend="torch")
        engine.update_weights(model.state_dict())
        requests = [engine.submit(prompt, GREEDY) for prompt in prompts]
        completions = finish(engine)
        assert [completions[request].tokens for request in requests] == [c.tokens for c in wanted]
        assert num_recorded(engine) > 0


@pytest.mark.parametrize("name", KINDS_OF_PARAMETERS)
def test_a_replaced_parameter_is_seen_by_recorded_rounds(on_gpu, tokenizer, name):
    engine = Engine(on_gpu, tokenizer, num_drafts=1)
    engine.submit([3, 1], GREEDY)
    (before,) = finish(engine).values()
    assert num_recorded(engine) > 0
    module_name, _, leaf = name.rpartition(".")
    old = on_gpu.get_parameter(name).detach()
    setattr(on_gpu.get_submodule(module_name), leaf, torch.nn.Parameter(old.flip(-1) * -2.0 + 0.5))
    old.zero_()  # whoever still reads it finds nothing
    engine.submit([3, 1], GREEDY)
    (found,) = finish(engine).values()
    (wanted,) = run(on_gpu, tokenizer, [[3, 1]], [GREEDY], backend="torch")
    assert found.tokens == wanted.tokens
    assert found.logprobs != before.logprobs


def test_weights_that_a_second_engine_copies_in_are_the_first_ones_too(on_gpu, tokenizer):
    """Both pack the same parameters; whoever came first must notice that they moved."""
    other = copy.deepcopy(on_gpu)
    with torch.no_grad():
        for layer in other.model.layers:
            layer.mlp.up_proj.weight.mul_(-3.0)
            layer.self_attn.v_proj.weight.mul_(-3.0)
    (wanted,) = run(other, tokenizer, [[5, 6, 7]], [GREEDY], backend="torch")
    first = Engine(on_gpu, tokenizer)
    first.submit([5, 6, 7], GREEDY)
    (before,) = finish(first).values()
    second = Engine(on_gpu, tokenizer)
    second.update_weights(other.state_dict())
    for engine in (first, second, first):
        engine.submit([5, 6, 7], GREEDY)
        (after,) = finish(engine).values()
        assert after.tokens == wanted.tokens
    assert before.tokens != wanted.tokens


def test_the_model_is_saved_as_it_was_after_its_parameters_were_packed(on_gpu, tokenizer, tmp_path: Path):
    before = {name: tensor.clone() for name, tensor in on_gpu.state_dict().items()}
    run(on_gpu, tokenizer, [[1]], [GREEDY], num_drafts=3)
    save_model(on_gpu, tokenizer, tmp_path / "saved")
    after = load_model(tmp_path / "saved", device="cuda").state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


def test_an_engine_may_run_in_another_thread_while_this_one_uses_the_device(on_gpu, tokenizer):
    """As the server's does, and as a loader of training batches works beside: recording must not mind."""
    prompts, samplings = mixed(24)
    wanted = run(on_gpu, tokenizer, prompts, samplings, num_drafts=1, backend="torch")
    found: list[Completion] = []
    failures: list[BaseException] = []

    def decode() -> None:
        try:
            found.extend(run(on_gpu, tokenizer, prompts, samplings, num_drafts=1, max_batch_size=6))
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=decode)
    thread.start()
    while thread.is_alive():
        event = torch.cuda.Event()
        batch = torch.ones(1 << 16).pin_memory().to("cuda", non_blocking=True)
        event.record()
        event.query()
        assert batch.sum().item() == 1 << 16
    thread.join()
    assert failures == []
    assert [c.tokens for c in found] == [c.tokens for c in wanted]


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_a_model_on_another_than_the_current_device(on_cpu, tokenizer):
    prompts = random_prompts(6)
    wanted = run(on_cpu, tokenizer, prompts, [GREEDY] * 6)
    found = run(copy.deepcopy(on_cpu).to("cuda:1"), tokenizer, prompts, [GREEDY] * 6, num_drafts=2)
    assert [c.tokens for c in found] == [c.tokens for c in wanted]
    assert torch.cuda.current_device() == 0


# -- What a round costs besides its kernels.


@pytest.mark.parametrize("num_drafts", [0, 3])
@pytest.mark.parametrize("batch_size", [1, 5])
def test_a_steady_round_waits_for_the_device_once(on_gpu, tokenizer, num_drafts, batch_size):
    """The one wait is for the new tokens. Reading a prompt, a first round, and a request's end may wait more often."""
    engine = Engine(on_gpu, tokenizer, num_drafts=num_drafts)
    for i in range(batch_size):
        engine.submit([i + 1, 2], Sampling(temperature=1.0, top_p=(1.0, 0.9)[i % 2], max_tokens=100, seed=i))
    for _ in range(4):
        engine.step()
    before = num_recorded(engine)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _ in range(5):
                engine.step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    messages = [str(warning.message) for warning in caught]
    assert (len(engine._running), num_recorded(engine)) == (batch_size, before), "requests ended; the test is no use"
    assert 0 < sum("synchronizing CUDA operation" in message for message in messages) <= 5, messages


def test_memory_does_not_grow_over_rounds_and_requests(on_gpu, tokenizer):
    prompts, samplings = mixed(24)
    engine = Engine(on_gpu, tokenizer, num_drafts=2, max_batch_size=8)
    allocated, reserved = [], []
    for _ in range(5):
        for prompt, sampling in zip(prompts, samplings, strict=True):
            engine.submit(prompt, sampling)
        finish(engine)
        torch.cuda.synchronize()
        allocated.append(torch.cuda.memory_allocated())
        reserved.append(torch.cuda.memory_reserved())
    # The first two record what there is to record.
    assert len(set(allocated[2:])) == 1, allocated
    assert reserved[2] >= reserved[-1], reserved


# -- Sampling.


@pytest.mark.parametrize(
    ("num_drafts", "settings"),
    [(0, {}), (1, {"temperature": 0.7}), (3, {}), (3, {"top_p": 0.8, "temperature": 1.5}), (2, {"top_k": 3})],
)
def test_three_sampled_tokens_have_the_exact_joint_distribution(num_drafts, settings):
    from scipy.stats import chi2

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
    tokenizer = stand_in(model)
    num_samples = 100_000
    samplings = [Sampling(max_tokens=3, seed=seed, **settings) for seed in range(num_samples)]

    expected: Counter[tuple[int, ...]] = Counter({(): float(num_samples)})  # type: ignore[dict-item]
    for _ in range(3):
        longer: Counter[tuple[int, ...]] = Counter()
        for prefix, mass in expected.items():
            if prefix[-1:] == (5,):
                longer[prefix] += mass
                continue
            for token, share in enumerate(next_token(model, [0, 3, 1, *prefix], samplings[0])):
                longer[(*prefix, token)] += mass * share
        expected = longer

    options = {"num_drafts": num_drafts, "max_batch_size": 4096}
    found = run(model.to("cuda"), tokenizer, [[0, 3, 1]] * num_samples, samplings, **options)
    counts = Counter(completion.tokens for completion in found)
    assert all(expected[tokens] > 0 for tokens in counts)
    # Rare ones together: a chi-square needs expectations of some size.
    cells = [(counts[tokens], mean) for tokens, mean in expected.items() if mean >= 20]
    cells.append(tuple(num_samples - sum(column) for column in zip(*cells, strict=True)))
    statistic = sum((count - mean) ** 2 / mean for count, mean in cells if mean > 1)
    degrees = sum(mean > 1 for _, mean in cells) - 1
    assert degrees > 10
    assert chi2.sf(statistic, degrees) > 1e-3, f"{statistic:.1f} over {degrees}"


def next_token(model: MiMoForCausalLM, ids: list[int], sampling: Sampling) -> list[float]:
    """What a full forward on the CPU gives each id, restricted by the definition."""
    with torch.no_grad():
        probabilities = (model(torch.tensor([ids])).logits[0, -1].double() / sampling.temperature).softmax(-1)
    order = probabilities.argsort(descending=True)
    if sampling.top_k:
        probabilities[order[sampling.top_k :]] = 0.0
        probabilities = probabilities / probabilities.sum()
    before = probabilities[order].cumsum(0) - probabilities[order]
    probabilities[order[before >= sampling.top_p]] = 0.0
    return (probabilities / probabilities.sum()).tolist()


# -- Forward and backward.


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_forward_with_kernels_is_the_forward_without(dtype, monkeypatch):
    model = wide_model(dtype)
    ids = torch.randint(0, 1_000, (3, 150), generator=torch.Generator().manual_seed(0)).cuda()
    with torch.inference_mode():
        found = model(ids, num_mtp_layers=2)
        monkeypatch.setattr("mimo_model.model._fused_kernels", lambda _x: None)
        wanted = model(ids, num_mtp_layers=2)
    for ours, plain in zip((found.logits, *found.mtp_logits), (wanted.logits, *wanted.mtp_logits), strict=True):
        assert largest_difference(ours, plain) <= TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_logits_are_those_of_float32_on_the_cpu(dtype):
    model = wide_model(dtype)
    ids = torch.randint(0, 1_000, (2, 150), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        found = model(ids.cuda()).logits
        wanted = copy.deepcopy(model).to("cpu", torch.float32)(ids).logits
    assert largest_difference(found, wanted) <= 3 * TOLERANCE[dtype]


def test_losses_and_gradients_of_training_are_those_of_the_cpu():
    on_gpu = wide_model(torch.float32).train()
    on_cpu = copy.deepcopy(on_gpu).to("cpu")
    ids = torch.randint(0, 1_000, (2, 120), generator=torch.Generator().manual_seed(0))
    documents = (torch.arange(120) >= 50).long().expand(2, -1)
    targets = [ids.roll(-1 - k, 1).masked_fill(torch.arange(120) >= 118 - k, -100) for k in range(4)]
    losses = []
    for model, device in ((on_gpu, "cuda"), (on_cpu, "cpu")):
        output = model(
            ids.to(device), document_ids=documents.to(device), targets=[target.to(device) for target in targets]
        )
        losses.append(torch.stack([loss.sum() for loss in output.head_losses]))
        losses[-1].sum().backward()
    assert largest_difference(*losses) <= TOLERANCE[torch.float32]
    wanted = dict(on_cpu.named_parameters())
    for name, parameter in on_gpu.named_parameters():
        assert parameter.grad is not None, name
        assert largest_difference(parameter.grad, wanted[name].grad) <= GRADIENT_TOLERANCE, name
