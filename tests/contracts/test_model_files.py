"""What mimo-model leaves for others: the checkpoint, a plain Hugging Face folder with the released names.

The folder's format is Hugging Face's, so there is no schema of ours. scripts/test-vllm.sh loads one in vLLM.
"""

from __future__ import annotations

import filecmp
import json
import shutil
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

BLOCK = {
    "input_layernorm.weight": [4],
    "mlp.down_proj.weight": [4, 6],
    "mlp.gate_proj.weight": [6, 4],
    "mlp.up_proj.weight": [6, 4],
    "post_attention_layernorm.weight": [4],
    "self_attn.k_proj.bias": [2],
    "self_attn.k_proj.weight": [2, 4],
    "self_attn.o_proj.weight": [4, 4],
    "self_attn.q_proj.bias": [4],
    "self_attn.q_proj.weight": [4, 4],
    "self_attn.v_proj.bias": [2],
    "self_attn.v_proj.weight": [2, 4],
}
"""Hidden 4, feed-forward 6, two query heads and one key-value head of width 2."""

MTP_EXTRA = {
    "final_layernorm.weight": [4],
    "hidden_layernorm.weight": [4],
    "input_proj.weight": [4, 8],
    "token_layernorm.weight": [4],
}
TENSORS = {
    "lm_head.weight": [8, 4],
    "model.embed_tokens.weight": [8, 4],
    "model.norm.weight": [4],
    **{f"model.layers.0.{name}": shape for name, shape in BLOCK.items()},
    **{f"model.mtp_layers.0.{name}": shape for name, shape in (BLOCK | MTP_EXTRA).items()},
}
CONFIG = {
    "model_type": "mimo",
    "architectures": ["MiMoForCausalLM"],
    "vocab_size": 8,
    "hidden_size": 4,
    "intermediate_size": 6,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 2,
    "max_position_embeddings": 16,
    "rope_theta": 640_000.0,
    "rms_norm_eps": 1e-5,
    "num_nextn_predict_layers": 1,
    "attention_bias": True,
    "tie_word_embeddings": False,
    "eos_token_id": 6,
    "dtype": "float32",
}
FILES = {
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
}


def without_version(path: Path) -> dict[str, object]:
    """A configuration file, but for the version of transformers that wrote it."""
    return {key: value for key, value in json.loads(path.read_text()).items() if key != "transformers_version"}


def test_the_golden_checkpoint_has_the_released_names_and_keys(golden):
    folder = golden / "checkpoint"
    assert {path.name for path in folder.iterdir()} == FILES
    assert {name: list(tensor.shape) for name, tensor in load_file(folder / "model.safetensors").items()} == TENSORS
    config = json.loads((folder / "config.json").read_text())
    assert {key: config[key] for key in CONFIG} == CONFIG


@pytest.mark.slow
def test_a_checkpoint_is_read_as_it_was_written(golden):
    from mimo_model import load_model, load_tokenizer

    model, tokenizer = load_model(golden / "checkpoint", device="cpu"), load_tokenizer(golden / "checkpoint")
    assert {name: list(tensor.shape) for name, tensor in model.state_dict().items()} == TENSORS
    assert model.state_dict()["model.embed_tokens.weight"][0].tolist() == [-1.0, -0.9375, -0.875, -0.8125]
    assert {key: model.config.to_dict()[key] for key in CONFIG} == CONFIG
    assert tokenizer.encode("1+2=3") == [1, 0, 2, 5, 3]
    assert model.generation_config.eos_token_id == 6
    assert model.generation_config.suppress_tokens == [7], "an id that the tokenizer does not know"


@pytest.mark.slow
def test_a_checkpoint_is_written_as_the_golden_one(golden, tmp_path):
    from mimo_model import load_model, load_tokenizer, save_model

    old, new = golden / "checkpoint", tmp_path / "checkpoint"
    save_model(load_model(old, device="cpu"), load_tokenizer(old), new)
    assert {path.name for path in new.iterdir()} == FILES
    for name in ("model.safetensors", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert filecmp.cmp(new / name, old / name, shallow=False), name
    for name in ("config.json", "generation_config.json"):
        assert without_version(new / name) == without_version(old / name), name


@pytest.mark.slow
def test_a_checkpoint_with_an_unknown_tensor_is_refused(golden, tmp_path):
    from mimo_model import ModelError, load_model

    shutil.copytree(golden / "checkpoint", tmp_path / "checkpoint")
    path = tmp_path / "checkpoint" / "model.safetensors"
    tensors = load_file(path)
    save_file({**tensors, "model.colour.weight": tensors["model.norm.weight"]}, path, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"model\.colour\.weight is not a tensor of this config\.json"):
        load_model(tmp_path / "checkpoint", device="cpu")
