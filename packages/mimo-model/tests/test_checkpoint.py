"""Checkpoints: plain Hugging Face folders, whole or refused with one clear message."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from mimo_model import MiMoForCausalLM, ModelError, load_model, load_tokenizer, replicate_mtp, save_model


@pytest.fixture
def broken(checkpoint: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(checkpoint, tmp_path / "broken"))


def test_save_then_load_is_bit_identical(checkpoint, tokenizer, tmp_path):
    model = load_model(checkpoint)
    save_model(model, tokenizer, tmp_path / "copy")
    again = load_model(tmp_path / "copy").state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in model.state_dict().items())
    for file in (tmp_path / "copy").iterdir():
        assert file.read_bytes() == (checkpoint / file.name).read_bytes(), file.name


def test_transformers_loads_it_without_remote_code(checkpoint):
    model = AutoModelForCausalLM.from_pretrained(checkpoint)
    assert type(model) is MiMoForCausalLM
    assert all(
        torch.equal(a, b)
        for a, b in zip(model.state_dict().values(), load_model(checkpoint).state_dict().values(), strict=True)
    )
    text = "?1+1=<think>é</think><|endoftext|>"
    ids = AutoTokenizer.from_pretrained(checkpoint)(text).input_ids
    assert len(ids) == 10
    assert AutoTokenizer.from_pretrained(checkpoint).decode(ids) == text


def test_dtype_is_the_files_or_the_callers(checkpoint, tokenizer, tmp_path):
    save_model(load_model(checkpoint, dtype="bfloat16"), tokenizer, tmp_path / "half")
    assert load_model(tmp_path / "half").lm_head.weight.dtype == torch.bfloat16
    assert load_model(tmp_path / "half", dtype="float32").lm_head.weight.dtype == torch.float32


def test_saving_into_a_folder_keeps_what_else_is_there(checkpoint, tokenizer, tmp_path):
    folder = tmp_path / "run"
    (folder / "state").mkdir(parents=True)
    (folder / "metrics.jsonl").write_text("{}\n")
    save_model(load_model(checkpoint), tokenizer, folder)
    assert (folder / "metrics.jsonl").exists()
    assert (folder / "state").exists()
    load_model(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_sharded_checkpoint_loads(broken):
    state = load_file(broken / "model.safetensors")
    (broken / "model.safetensors").unlink()
    names = sorted(state)
    weight_map = {}
    for part, some in enumerate((names[::2], names[1::2]), start=1):
        file = f"model-0000{part}-of-00002.safetensors"
        save_file({name: state[name] for name in some}, broken / file)
        weight_map |= dict.fromkeys(some, file)
    (broken / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    loaded = load_model(broken).state_dict()
    assert all(torch.equal(loaded[name], state[name]) for name in names)


def test_copies_of_the_mtp_layer_are_equal_and_alone_trainable(checkpoint):
    model = load_model(checkpoint)
    three = replicate_mtp(model, 3)
    state = three.state_dict()
    for name, tensor in model.model.mtp_layers[0].state_dict().items():
        for k in range(3):
            assert torch.equal(state[f"model.mtp_layers.{k}.{name}"], tensor)
    trainable = {name for name, parameter in three.named_parameters() if parameter.requires_grad}
    assert trainable == {name for name in state if name.startswith(("model.mtp_layers.1.", "model.mtp_layers.2."))}
    assert three.config.num_nextn_predict_layers == 3
    assert model.config.num_nextn_predict_layers == 1
    with pytest.raises(ValueError, match="single MTP layer"):
        replicate_mtp(three, 4)


def truncated(folder: Path) -> None:
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])


def without_a_tensor(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    del state["model.mtp_layers.0.input_proj.weight"]
    save_file(state, folder / "model.safetensors")


def with_an_extra_tensor(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    save_file({**state, "model.layers.9.mlp.up_proj.weight": torch.zeros(2)}, folder / "model.safetensors")


def configured(**fields: object):
    def damage(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, **fields}))

    return damage


def without(name: str):
    def damage(folder: Path) -> None:
        (folder / name).unlink()

    return damage


def garbled(name: str):
    def damage(folder: Path) -> None:
        (folder / name).write_text("{")

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncated, r"model\.safetensors: truncated"),
        (without("model.safetensors"), r"model\.safetensors: missing"),
        (without("config.json"), r"has no config\.json"),
        (without_a_tensor, r"1 tensors are missing, model\.mtp_layers\.0\.input_proj\.weight"),
        (with_an_extra_tensor, r"model\.layers\.9\.mlp\.up_proj\.weight is not a tensor"),
        (configured(vocab_size=300), r"\[272, 32\], config\.json asks for \[300, 32\]"),
        (configured(model_type="llama"), r"model_type is 'llama'"),
        (configured(num_key_value_heads=3), r"num_key_value_heads=3"),
        (garbled("config.json"), r"config\.json: not JSON"),
    ],
)
def test_a_damaged_checkpoint_is_one_clear_error(broken, damage, message):
    damage(broken)
    with pytest.raises(ModelError, match=message):
        load_model(broken)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (without("tokenizer.json"), r"tokenizer\.json is missing"),
        (garbled("tokenizer.json"), r"cannot be read"),
        (configured(vocab_size=260), r"261 ids, config\.json has vocab_size 260"),
    ],
)
def test_a_damaged_tokenizer_is_one_clear_error(broken, damage, message):
    damage(broken)
    with pytest.raises(ModelError, match=message):
        load_tokenizer(broken)


def test_a_folder_that_is_not_there_is_one_clear_error(tmp_path):
    with pytest.raises(ModelError, match="no such checkpoint folder"):
        load_model(tmp_path / "nothing")
