"""The planted checkpoint accepts what was planted, and next to nothing once one fact of the wiring is changed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mimo_model import Completion, Engine, MiMoForCausalLM, Sampling
from mimo_model.model import MTPLayer
from mimo_model.planted import chain, plant

PLANTED = (0.875, 0.75, 0.625)


def follow(model, tokenizer, prompt: list[int], sampling: Sampling, num_drafts: int) -> Completion:
    engine = Engine(model, tokenizer, num_drafts=num_drafts)
    engine.submit(prompt, sampling)
    finished = []
    while engine.pending:
        finished += engine.step()
    [(_, completion)] = finished
    return completion


@pytest.fixture
def model() -> MiMoForCausalLM:
    return plant(PLANTED)[0]


def acceptances(model: MiMoForCausalLM) -> tuple[float, ...]:
    """Each layer's share of right drafts from the true tokens before, over 48 places of every chain."""
    ids_BT = torch.tensor([chain(start, 53) for start in range(16)])
    with torch.inference_mode():
        mtp_logits = model(input_ids=ids_BT, num_mtp_layers=3).mtp_logits
    drafts = [logits_BTV[:, 1:49].argmax(-1) for logits_BTV in mtp_logits]
    return tuple((draft_BT == ids_BT[:, k : k + 48]).float().mean().item() for k, draft_BT in enumerate(drafts, 3))


def change_input(model: MiMoForCausalLM, change: Callable[[MTPLayer, Tensor, Tensor], tuple[Tensor, Tensor]]) -> None:
    """Has every MTP layer combine `change(layer, hidden, embedding)`."""
    for layer in model.model.mtp_layers:
        right = layer.combine
        layer.combine = lambda h_BTD, e_BTD, layer=layer, right=right: right(*change(layer, h_BTD, e_BTD))


def embedding_before_hidden(model: MiMoForCausalLM) -> None:
    change_input(model, lambda _layer, h_BTD, e_BTD: (e_BTD, h_BTD))


def hidden_after_the_final_norm(model: MiMoForCausalLM) -> None:
    change_input(model, lambda _layer, h_BTD, e_BTD: (model.model.norm(h_BTD), e_BTD))


def embedding_kept_at_the_first_position(model: MiMoForCausalLM) -> None:
    second_BD = model.model.embed_tokens(torch.tensor([chain(start, 2)[1] for start in range(16)]))

    def keep(_layer: MTPLayer, h_BTD: Tensor, e_BTD: Tensor) -> tuple[Tensor, Tensor]:
        return h_BTD, torch.cat((second_BD[:, None], e_BTD[:, 1:]), dim=1)

    change_input(model, keep)


def embedding_zero_everywhere(model: MiMoForCausalLM) -> None:
    change_input(model, lambda _layer, h_BTD, e_BTD: (h_BTD, torch.zeros_like(e_BTD)))


def layers_chained(model: MiMoForCausalLM) -> None:
    first, outputs = model.model.mtp_layers[0], []
    for layer in model.model.mtp_layers:
        layer.register_forward_hook(lambda _layer, _inputs, output: outputs.append(output))
    change_input(model, lambda layer, h_BTD, e_BTD: (h_BTD if layer is first else outputs[-1], e_BTD))


def test_the_right_wiring_accepts_exactly_what_was_planted(model):
    assert acceptances(model) == (0.875, 0.75, 0.625)


@pytest.mark.parametrize(
    ("rewire", "accepted"),
    [
        (embedding_before_hidden, (0.0, 0.0, 0.0)),
        (hidden_after_the_final_norm, (0.0, 0.0, 0.0)),
        (embedding_kept_at_the_first_position, (0.0, 0.0, 0.0)),
        (embedding_zero_everywhere, (0.0625, 0.0625, 0.0625)),
        (layers_chained, (0.875, 0.0, 0.0)),
    ],
)
def test_another_wiring_accepts_next_to_nothing(model, rewire, accepted):
    rewire(model)
    assert acceptances(model) == accepted


def test_each_packed_document_starts_without_an_embedding(model):
    documents = [chain(5, 24), chain(77, 28)]
    ids_BT = torch.tensor([[*documents[0], *documents[1]]])
    document_ids_BT = torch.tensor([[0] * 24 + [1] * 28])
    with torch.inference_mode():
        packed = model(input_ids=ids_BT, document_ids=document_ids_BT, num_mtp_layers=1).mtp_logits[0].argmax(-1)
        alone = [model(input_ids=torch.tensor([ids]), num_mtp_layers=1).mtp_logits[0].argmax(-1) for ids in documents]
    # The last draft of a document stands on a token of the next one.
    assert packed[0, :23].tolist() == alone[0][0, :23].tolist()
    assert packed[0, 24:51].tolist() == alone[1][0, :27].tolist()


@pytest.mark.parametrize(
    ("num_drafts", "num_drafted", "num_accepted"),
    [(0, (), ()), (1, (35,), (28,)), (2, (24, 24), (23, 16)), (3, (23, 23, 23), (16, 12, 12))],
)
def test_the_engine_accepts_what_follows_from_the_plan(num_drafts, num_drafted, num_accepted):
    # From token 0 the b are 0, 3, 2, 13, …, and layer 1 is wrong after b = 0 and 1: with one draft a round, eight
    # rounds of 16 tokens are seven accepted drafts and two rejected ones less than once a cycle.
    model, tokenizer = plant(PLANTED)
    completion = follow(model, tokenizer, chain(0, 4), Sampling(temperature=0.0, max_tokens=64), num_drafts)
    assert list(completion.tokens) == chain(0, 68)[4:]
    assert (completion.num_drafted, completion.num_accepted) == (num_drafted, num_accepted)


def test_a_wider_model_says_the_same():
    model, tokenizer = plant(PLANTED, num_layers=5, hidden_size=192)
    completion = follow(model, tokenizer, chain(0, 4), Sampling(temperature=0.0, max_tokens=64), 3)
    assert list(completion.tokens) == chain(0, 68)[4:]
    assert completion.num_accepted == (16, 12, 12)
    with pytest.raises(ValueError, match="hidden_size 100: must be a multiple of 64"):
        plant(PLANTED, hidden_size=100)
    with pytest.raises(ValueError, match="num_layers 0: at least 1"):
        plant(PLANTED, num_layers=0)


def test_sampling_at_temperature_one_stays_on_the_chain():
    model, tokenizer = plant(PLANTED)
    completion = follow(model, tokenizer, chain(9, 4), Sampling(temperature=1.0, max_tokens=200, seed=3), 3)
    assert list(completion.tokens) == chain(9, 204)[4:]


def test_an_acceptance_between_the_sixteenths_is_refused():
    with pytest.raises(ValueError, match=r"0\.9: can be planted in sixteenths"):
        plant((0.9,))
