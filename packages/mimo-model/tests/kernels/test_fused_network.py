"""The engine over fused kernels, in Triton's interpreter: the same tokens and drafts as with PyTorch's operators."""

from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from mimo_model import Completion, Engine, MiMoConfig, MiMoForCausalLM, Sampling
from mimo_model.decoding.fused import FusedNetwork
from mimo_model.decoding.rounds import Round
from mimo_model.decoding.rows import Rows
from mimo_model.decoding.slots import SlotCache
from mimo_model.planted import chain, plant


def decode(model, tokenizer, prompts, samplings, **options) -> list[Completion]:
    engine = Engine(model, tokenizer, **options)
    for prompt, sampling in zip(prompts, samplings, strict=True):
        engine.submit(prompt, sampling)
    completions = {}
    while engine.pending:
        completions.update(engine.step())
    return [completions[i] for i in range(len(prompts))]


@pytest.mark.slow
def test_interpreted(run_interpreted):
    assert run_interpreted(__file__) == 4


def test_planted_drafts_are_accepted_as_planned(interpreter):
    model, tokenizer = plant((0.875, 0.75))
    assert Engine(model, tokenizer).backend == "fused kernels"
    sampling = Sampling(temperature=0.0, max_tokens=7)
    (completion,) = decode(model, tokenizer, [chain(0, 4)], [sampling], num_drafts=2)
    assert list(completion.tokens) == chain(0, 11)[4:]
    assert (completion.num_drafted, completion.num_accepted) == ((3, 3), (2, 2))


def test_a_random_model_gets_the_same_tokens_and_logprobs(interpreter, drafting_model, tokenizer):
    prompts = [[1, 2, 3], [9]]
    samplings = [Sampling(temperature=temperature, max_tokens=4, seed=3) for temperature in (0.0, 1.0)]
    packed = Engine(drafting_model, tokenizer, num_drafts=2)
    weights = {name: tensor.clone() for name, tensor in drafting_model.state_dict().items()}
    ours = decode(drafting_model, tokenizer, prompts, samplings, num_drafts=2)
    theirs = decode(drafting_model, tokenizer, prompts, samplings, num_drafts=2, backend="torch")
    for a, b in zip(ours, theirs, strict=True):
        assert (a.tokens, a.num_accepted) == (b.tokens, b.num_accepted)
        assert a.logprobs == pytest.approx(b.logprobs, abs=1e-4)
    assert packed.backend == "fused kernels"
    state = drafting_model.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in weights.items())


def test_packed_parameters_train_and_are_noticed_when_they_are_replaced(interpreter, model, tokenizer):
    engine = Engine(model, tokenizer)
    projection = model.model.layers[0].self_attn.q_proj
    model(torch.tensor([[1, 2]])).logits.sum().backward()
    assert projection.weight.grad is not None
    with torch.no_grad():
        projection.weight.mul_(0.5)
    engine.update_weights({name: tensor.clone() for name, tensor in model.state_dict().items()})
    projection.weight = torch.nn.Parameter(projection.weight.detach() * -1.0)
    sampling = Sampling(temperature=0.0, max_tokens=2)
    engine.submit([3, 1], sampling)
    finished = []
    while engine.pending:
        finished += engine.step()
    (expected,) = decode(model, tokenizer, [[3, 1]], [sampling], backend="torch")
    assert finished[0][1].tokens == expected.tokens


def test_nothing_in_a_round_waits_for_the_device(interpreter):
    """Under fake tensors, which have no values: whatever asks for one raises."""
    with FakeTensorMode(), torch.inference_mode():
        config = MiMoConfig(
            vocab_size=264,
            hidden_size=64,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=32,
            num_nextn_predict_layers=3,
        )
        model = MiMoForCausalLM(config)
        device = torch.device("cpu")
        cache = SlotCache(config, 5, device=device, dtype=torch.float32)
        rows = Rows.empty(model, 3, device)
        cache.reserve(4, 100)
        rows.reserve(cache.num_slots, cache.num_places)
        network = FusedNetwork(model, cache, num_ids=257)
        for simulated in (torch.empty(0), torch.tensor([0.9, 0.8, 0.7])):
            decode_round = Round(
                model,
                network,
                rows,
                num_ids=257,
                stop_ids=torch.tensor([256]),
                simulated_acceptance_K=simulated,
            )
            for num_drafts in (0, 1, 3):
                for restricted in (False, True):
                    decode_round(4, num_drafts, num_keys=100, restricted=restricted)
