"""The self-check names the wiring that a checkpoint was made for."""

from __future__ import annotations

import pytest
import torch
from mimo_model_cli import main

from mimo_model import MiMoForCausalLM, replicate_mtp, save_model
from mimo_model.errors import ModelError
from mimo_model.planted import NUM_PARTS, chain, plant
from mimo_model.selfcheck import CANNOT_TELL, RELEASED, UNTRAINED_COPY, describe, faults, self_check

A = torch.arange(NUM_PARTS)
B = A + NUM_PARTS
PRESENT = 2 * NUM_PARTS
NEXT_B = (5 * A + 3) % NUM_PARTS
PROMPTS = [chain(start, 4) for start in (0, 77, 130, 201)]


@pytest.fixture
def planted():
    return plant((0.875, 0.75, 0.625))


def findings(model: MiMoForCausalLM, tokenizer) -> list[str]:
    return [check.finding for check in self_check(model, tokenizer, PROMPTS)]


def test_the_released_wiring_is_found_with_the_planted_acceptances(planted):
    checks = self_check(*planted, PROMPTS)
    assert [check.finding for check in checks] == [RELEASED] * 3
    # 96 tokens of each answer: six whole cycles, but for the last few.
    assert [check.acceptances[RELEASED] for check in checks] == pytest.approx([0.875, 0.75, 0.625], abs=0.03)
    assert faults(checks) == []
    assert "layer 1: released, over 3" in describe(checks)
    assert checks[0].not_told_apart == ()


# -- Checkpoints for which a wrong wiring is right.


def swap_halves(model: MiMoForCausalLM) -> None:
    for layer in model.model.mtp_layers:
        weight = layer.input_proj.weight
        weight.copy_(torch.cat(weight.chunk(2, dim=1)[::-1], dim=1))


def expect_the_final_norm(model: MiMoForCausalLM) -> None:
    for layer in model.model.mtp_layers:
        hidden = layer.input_proj.weight[:, : model.config.hidden_size]
        hidden.mul_(model.model.norm.weight.sign())


def draft_one_step(model: MiMoForCausalLM, direction: int) -> None:
    """Every draft one step of the chain further (or less far) than released."""
    later_B = NEXT_B if direction == 1 else NEXT_B.argsort()
    for layer in model.model.mtp_layers:
        before = layer.input_proj.weight.clone()
        layer.input_proj.weight[(A + direction) % NUM_PARTS] = before[A]
        layer.input_proj.weight[NUM_PARTS + later_B] = before[B]


def draft_one_early(model: MiMoForCausalLM) -> None:
    draft_one_step(model, -1)


def draft_one_late(model: MiMoForCausalLM) -> None:
    draft_one_step(model, 1)


def expect_the_layer_before(model: MiMoForCausalLM) -> None:
    """Each layer takes one step on from what the one before it puts out, not k from the main model's state."""
    for layer in model.model.mtp_layers[1:]:
        layer.input_proj.weight[A.unsqueeze(1), A] = 0.0
        layer.input_proj.weight[(A + 1) % NUM_PARTS, A] = 1.0


def expect_the_first_embedding(model: MiMoForCausalLM) -> None:
    """A place without an embedding drowns the draft, instead of being what saves it."""
    for layer in model.model.mtp_layers:
        read = layer.self_attn.v_proj.weight[0, PRESENT].item()
        layer.self_attn.v_proj.weight[0, PRESENT] = -read
        layer.self_attn.v_proj.bias[0] = 4.2 * read  # what the normed channel holds where there is an embedding


@pytest.mark.parametrize(
    ("change", "wanted", "sentence"),
    [
        (swap_halves, ["swapped halves"] * 3, "layer 1 takes [embedding, hidden]; released is [hidden, embedding]"),
        (expect_the_final_norm, ["after the final norm"] * 3, "layer 1 takes the hidden state after the model's final"),
        (draft_one_early, ["targets one early"] * 3, "layer 1 predicts x_{i+k}; released is x_{i+k+1}"),
        (draft_one_late, ["targets one late"] * 3, "layer 1 predicts x_{i+k+2}; released is x_{i+k+1}"),
        (expect_the_layer_before, [RELEASED, *["chained layers"] * 2], "layer 2 takes the layer before it"),
        (expect_the_first_embedding, ["kept first embedding"] * 3, "layer 1 keeps the embedding at the first position"),
    ],
)
def test_a_checkpoint_made_for_another_wiring_is_flagged_by_name(planted, change, wanted, sentence):
    model, tokenizer = planted
    with torch.no_grad():
        change(model)
    checks = self_check(model, tokenizer, PROMPTS)
    assert [check.finding for check in checks] == wanted, describe(checks)
    assert faults(checks)[0].startswith(sentence)


def test_one_layer_made_wrongly_is_the_one_that_is_flagged(planted):
    model, tokenizer = planted
    with torch.no_grad():
        weight = model.model.mtp_layers[1].input_proj.weight
        weight.copy_(torch.cat(weight.chunk(2, dim=1)[::-1], dim=1))
    assert findings(model, tokenizer) == [RELEASED, "swapped halves", RELEASED]


def test_copies_of_the_first_layer_are_not_taken_for_a_wrong_wiring():
    one, tokenizer = plant((0.875,))
    checks = self_check(replicate_mtp(one, 3), tokenizer, PROMPTS)
    assert [check.finding for check in checks] == [RELEASED, UNTRAINED_COPY, UNTRAINED_COPY]
    assert faults(checks)[0] == "layer 2 is a copy of layer 1 that was never fine-tuned (§2.2)"


def test_random_layers_are_not_told_apart(planted, model, tokenizer):
    planted_model, planted_tokenizer = planted
    torch.manual_seed(0)
    with torch.no_grad():
        for layer in planted_model.model.mtp_layers:
            layer.input_proj.weight.normal_()
    assert findings(planted_model, planted_tokenizer) == [CANNOT_TELL] * 3
    # A whole random model repeats itself, so that drafting its commonest token is as good.
    [sentence] = faults(self_check(model, tokenizer, PROMPTS))
    assert sentence.startswith("layer 1: cannot tell")


def test_answers_that_repeat_one_token_tell_nothing(planted):
    model, tokenizer = planted
    with torch.no_grad():
        model.lm_head.weight.zero_()
        model.lm_head.weight[7] = 1.0
        model.model.norm.weight.fill_(1.0)
    assert findings(model, tokenizer) == [CANNOT_TELL] * 3


def test_what_makes_no_difference_is_said_not_judged(planted):
    model, tokenizer = planted
    # With a final norm of equal weights nothing tells before from after.
    with torch.no_grad():
        model.lm_head.weight[:, A] *= -1
        for norm in (model.model.norm, *(layer.final_layernorm for layer in model.model.mtp_layers)):
            norm.weight.fill_(1.0)
    checks = self_check(model, tokenizer, PROMPTS)
    assert [check.finding for check in checks] == [RELEASED] * 3
    assert all("after the final norm" in check.not_told_apart for check in checks)
    assert "not told apart: after the final norm" in describe(checks)


def test_an_answer_that_ends_at_once_counts_for_nothing(planted):
    model, tokenizer = planted
    model.generation_config.eos_token_id = list(range(model.config.vocab_size))
    assert [check.num_positions for check in self_check(model, tokenizer, PROMPTS)] == [0] * 3


def test_a_model_without_mtp_layers_has_no_wiring():
    model, tokenizer = plant(())
    with pytest.raises(ModelError, match="no MTP layers"):
        self_check(model, tokenizer, PROMPTS)


def test_the_command_exits_with_0_or_names_the_fault(planted, tmp_path, capsys):
    model, tokenizer = planted
    save_model(model, tokenizer, tmp_path / "right")
    assert main(["self-check", str(tmp_path / "right")]) == 0
    assert "swapped halves          0.000" in capsys.readouterr().out
    with torch.no_grad():
        swap_halves(model)
    save_model(model, tokenizer, tmp_path / "swapped")
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "abc"}\n{"prompt": "x"}\n')
    assert main(["self-check", str(tmp_path / "swapped"), "--prompts", str(tmp_path / "prompts.jsonl")]) == 1
    assert "layer 1 takes [embedding, hidden]; released is [hidden, embedding]" in capsys.readouterr().err
