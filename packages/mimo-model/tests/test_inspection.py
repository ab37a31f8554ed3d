"""What a checkpoint holds, what is wrong with it, and what each engine will do with it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from mimo_model_cli import main
from safetensors.torch import load_file, save_file

from mimo_model import load_model, load_tokenizer, save_model
from mimo_model.export import export
from mimo_model.inspection import describe, inspect
from mimo_model.planted import plant


@pytest.fixture
def folder(checkpoint: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    return Path(shutil.copytree(checkpoint, tmp_path / "copy"))


def planted(folder: Path, num_layers: int) -> Path:
    save_model(*plant((0.875,) * num_layers), folder)
    return folder


def test_parameters_bytes_and_tokenizer_are_counted(checkpoint):
    inspection = inspect(checkpoint)
    model = load_model(checkpoint)
    total = inspection.num_main_parameters + inspection.num_mtp_parameters
    assert total == sum(parameter.numel() for parameter in model.parameters())
    assert inspection.num_mtp_parameters == sum(p.numel() for p in model.model.mtp_layers.parameters())
    assert inspection.num_bytes == 4 * total
    assert (inspection.dtypes, inspection.num_files, inspection.num_faults) == (("F32",), 1, 0)
    facts = inspection.tokenizer
    assert (facts.num_ids, facts.eos_token, facts.pad_token) == (261, "<|endoftext|>", "<|endoftext|>")
    assert facts.has_chat_template
    assert facts.has_think_tags


def test_shards_and_dtypes_are_counted(checkpoint, tmp_path):
    model = load_model(checkpoint, dtype="bfloat16")
    save_model(model, load_tokenizer(checkpoint), tmp_path / "shards", max_shard_size="30KB")
    inspection = inspect(tmp_path / "shards")
    assert inspection.num_files == len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    assert inspection.dtypes == ("BF16",)
    assert inspection.num_bytes == sum(parameter.nbytes for parameter in model.parameters())


def test_missing_extra_and_misshapen_tensors_are_named_and_exit_with_1(folder, capsys):
    state = load_file(folder / "model.safetensors")
    del state["model.norm.weight"]
    state["lm_head.weight"] = torch.zeros(3, 3)
    save_file({**state, "model.layers.9.mlp.up_proj.weight": torch.zeros(2)}, folder / "model.safetensors")
    inspection = inspect(folder)
    assert inspection.missing == ("model.norm.weight",)
    assert inspection.extra == ("model.layers.9.mlp.up_proj.weight",)
    assert inspection.misshapen == ("lm_head.weight",)
    assert list(inspection.engines) == ["every engine"]
    assert main(["inspect", str(folder)]) == 1
    shown = capsys.readouterr()
    assert "missing      model.norm.weight" in shown.out
    assert "3 tensors are missing, extra or misshapen" in shown.err


def test_json_holds_the_same_facts(checkpoint, capsys):
    assert main(["inspect", str(checkpoint), "--json"]) == 0
    fields = json.loads(capsys.readouterr().out)
    assert fields["config"]["hidden_size"] == 32
    assert fields["tokenizer"]["num_ids"] == 261
    assert fields["missing"] == []
    assert fields["engines"]["mimo-model"] == "drafts with up to 1 layers."


def test_the_code_that_transformers_needs_is_looked_for(checkpoint, tmp_path):
    assert inspect(checkpoint).engines["transformers alone"].startswith("does not know it")
    export(checkpoint, tmp_path / "out")
    assert inspect(tmp_path / "out").engines["transformers alone"].startswith("opens it with trust_remote_code=True")
    (tmp_path / "out" / "modeling_mimo.py").unlink()
    assert inspect(tmp_path / "out").engines["transformers alone"].startswith("does not know it")


@pytest.mark.parametrize(
    ("num_layers", "engine", "what"),
    [
        (0, "vLLM", "serves it without drafts"),
        (1, "vLLM", "drafts with the MTP layer"),
        (3, "vLLM", "drafts with the first of 3 MTP layers only"),
        (3, "vLLM with mimo-model installed", "drafts with all 3 layers"),
        (1, "SGLang", "serves it, 1 MTP layer."),
        (3, "SGLang", "drafts with the last: write one with `mimo-model export"),
        (3, "mimo-model", "drafts with up to 3 layers"),
        (0, "mimo-model", "decodes without drafts"),
    ],
)
def test_each_engine_by_the_number_of_mtp_layers(tmp_path, num_layers, engine, what):
    assert what in inspect(planted(tmp_path / "planted", num_layers)).engines[engine]


def test_what_vllm_mixes_up_or_cannot_serve_is_said(checkpoint, tmp_path):
    assert "has no kernel for heads of 8, less than 32" in inspect(checkpoint).engines["vLLM"]
    model, tokenizer = plant((0.875, 0.75))
    del model.model.layers[1:]
    model.config.num_hidden_layers = 1
    save_model(model, tokenizer, tmp_path / "short")
    assert "more of them than main layers (1)" in inspect(tmp_path / "short").engines["vLLM"]


def test_the_description_is_one_line_a_fact(checkpoint):
    lines = describe(inspect(checkpoint)).splitlines()
    assert lines[0].startswith("parameters   ")
    assert "tokenizer    ends with <|endoftext|>, pads with <|endoftext|>, a chat template, <think> tags" in lines
    assert "tensors      exactly those that config.json asks for" in lines
    assert len([line for line in lines if line.startswith(("vLLM", "SGLang", "transformers", "mimo-model"))]) == 6
