"""LoRA adapters of PEFT on attention projections, the MTP layers' among them."""

from __future__ import annotations

import peft
import pytest
import torch

from mimo_model import MiMoForCausalLM, load_model

PROJECTIONS = ["q_proj", "v_proj"]
TOLERANCE = {torch.float32: 1e-5}


def random_ids(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0))


def with_adapters(model: MiMoForCausalLM) -> peft.PeftModel:
    torch.manual_seed(0)
    return peft.get_peft_model(
        model, peft.LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=PROJECTIONS, init_lora_weights=False)
    )


def test_a_step_moves_the_adapters_and_nothing_else(model):
    adapted = with_adapters(model)
    before = {name: tensor.clone() for name, tensor in adapted.state_dict().items()}
    trained = [parameter for parameter in adapted.parameters() if parameter.requires_grad]
    assert len(trained) == 2 * len(PROJECTIONS) * 3  # A and B, of two main layers and one MTP layer
    ids = random_ids(2, 12)
    output = adapted(input_ids=ids, labels=ids, num_mtp_layers=1)
    (output.loss + output.mtp_logits[0].square().mean()).backward()
    torch.optim.SGD(trained, lr=0.1).step()
    moved = {name for name, tensor in adapted.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved == {name for name in before if "lora_" in name}


def test_adapters_train_with_gradient_checkpointing(model):
    adapted = with_adapters(model).train()
    adapted.gradient_checkpointing_enable()
    ids = random_ids(1, 9)
    adapted(input_ids=ids, labels=ids).loss.backward()
    assert any(parameter.grad is not None and parameter.grad.any() for parameter in adapted.parameters())


def test_saved_adapters_load_onto_the_checkpoint(model, checkpoint, tmp_path):
    adapted = with_adapters(model).eval()
    adapted.save_pretrained(tmp_path)
    again = peft.PeftModel.from_pretrained(load_model(checkpoint), tmp_path)
    ids = random_ids(1, 9)
    with torch.no_grad():
        wanted, found = adapted(input_ids=ids, num_mtp_layers=1), again(input_ids=ids, num_mtp_layers=1)
        plain = load_model(checkpoint)(ids)
    assert torch.equal(found.logits, wanted.logits)
    assert torch.equal(found.mtp_logits[0], wanted.mtp_logits[0])
    assert (found.logits - plain.logits).abs().max() > 1e-2


def test_merged_adapters_are_a_plain_model_with_the_same_logits(model):
    adapted = with_adapters(model).eval()
    ids = random_ids(1, 9)
    with torch.no_grad():
        wanted = adapted(input_ids=ids, num_mtp_layers=1)
        merged = adapted.merge_and_unload()
        found = merged(ids, num_mtp_layers=1)
    assert type(merged) is MiMoForCausalLM
    assert not any("lora" in name for name in merged.state_dict())
    assert (found.logits - wanted.logits).abs().max() <= TOLERANCE[torch.float32]
    assert (found.mtp_logits[0] - wanted.mtp_logits[0]).abs().max() <= TOLERANCE[torch.float32]


@pytest.mark.parametrize("num_beams", [1, 2])
def test_an_adapted_model_generates(model, num_beams):
    ids = random_ids(1, 6)
    settings = {"attention_mask": torch.ones_like(ids), "max_new_tokens": 5, "do_sample": False, "num_beams": num_beams}
    adapted = with_adapters(model).eval()
    answer = adapted.generate(input_ids=ids, **settings)
    assert torch.equal(answer, adapted.merge_and_unload().generate(ids, **settings))
