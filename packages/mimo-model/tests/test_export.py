"""Exports: fewer MTP layers, and folders that open in transformers where mimo-model is not installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mimo_model_cli import main
from safetensors.torch import load_file, save_file

from mimo_model import ModelError, load_model, load_tokenizer, save_model
from mimo_model.export import export

TOLERANCE = {torch.float32: 1e-5}

# A finder before all others hides the package, as on a machine that does not have it.
WITHOUT_MIMO_MODEL = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "mimo_model":
            raise ModuleNotFoundError("No module named " + repr(name), name=name)
sys.meta_path.insert(0, Hidden())
try:
    import mimo_model
except ImportError:
    pass
else:
    sys.exit("mimo_model is not hidden")
"""


@pytest.fixture(scope="module")
def three(drafting_model, checkpoint, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "three"
    save_model(drafting_model, load_tokenizer(checkpoint), folder)
    return folder


@pytest.mark.parametrize("kept", [0, 1, 2, None])
def test_the_first_mtp_layers_are_kept(three, tmp_path, kept):
    num_layers = export(three, tmp_path / "out", num_mtp_layers=kept)
    assert num_layers == (3 if kept is None else kept)
    exported, wanted = load_model(tmp_path / "out"), load_model(three).state_dict()
    assert exported.config.num_nextn_predict_layers == len(exported.model.mtp_layers) == num_layers
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in exported.state_dict().items())
    assert load_tokenizer(tmp_path / "out").encode("1+1") == load_tokenizer(three).encode("1+1")
    assert exported.generation_config.suppress_tokens == list(range(261, 272))


def test_weights_are_written_in_the_dtype_and_shards_asked_for(three, tmp_path):
    export(three, tmp_path / "out", dtype="bfloat16", max_shard_size="30KB")
    assert len(list((tmp_path / "out").glob("model-*.safetensors"))) > 1
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == "bfloat16"
    wanted = load_model(three, dtype="bfloat16").state_dict()
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in load_model(tmp_path / "out").state_dict().items())


def test_without_remote_code_the_folder_is_a_plain_one(three, tmp_path):
    export(three, tmp_path / "out", remote_code=False)
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == sorted(file.name for file in three.iterdir())
    assert "auto_map" not in json.loads((tmp_path / "out" / "config.json").read_text())


def test_layers_that_are_not_there_cannot_be_kept(three, tmp_path):
    with pytest.raises(ValueError, match="has 3 MTP layers, 4 cannot be kept"):
        export(three, tmp_path / "out", num_mtp_layers=4)
    assert not (tmp_path / "out").exists()


def test_a_failed_export_leaves_nothing(three, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="cannot be written"):
        export(three, tmp_path / "file" / "out")
    with pytest.raises(ValueError, match="max_shard_size='large'"):
        export(three, tmp_path / "out", max_shard_size="large")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_an_exported_folder_opens_where_mimo_model_is_not_installed(three, tmp_path):
    export(three, tmp_path / "out", max_shard_size="60KB")
    ids = torch.randint(0, 256, (2, 14), generator=torch.Generator().manual_seed(0))
    documents = torch.tensor([[0] * 5 + [1] * 9, [0] * 14])
    save_file({"ids": ids, "documents": documents}, tmp_path / "inputs.safetensors")
    code = (
        WITHOUT_MIMO_MODEL
        + """
import torch
from pathlib import Path
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer
folder = Path(sys.argv[1])
given = load_file(folder / "inputs.safetensors")
try:
    AutoConfig.from_pretrained(folder / "out", trust_remote_code=False)
except ValueError:
    pass
else:
    sys.exit("transformers knows mimo without the remote code")
model = AutoModelForCausalLM.from_pretrained(folder / "out", trust_remote_code=True)
assert type(model).__module__.startswith("transformers_modules."), type(model).__module__
tokenizer = AutoTokenizer.from_pretrained(folder / "out")
assert tokenizer.decode(tokenizer("1+1").input_ids) == "1+1"
settings = {"attention_mask": torch.ones_like(given["ids"]), "max_new_tokens": 8, "do_sample": False}
with torch.no_grad():
    output = model(given["ids"], document_ids=given["documents"], num_mtp_layers=3)
    tokens = model.generate(given["ids"], **settings)
found = {"logits": output.logits, "tokens": tokens}
found |= {f"mtp{k}": logits for k, logits in enumerate(output.mtp_logits)}
base = AutoModel.from_pretrained(folder / "out", trust_remote_code=True)
found["states"] = base(given["ids"]).last_hidden_state.detach()
model.train()
losses = model(given["ids"], targets=[given["ids"]] * 2).head_losses
losses[1].sum().backward()
found["losses"] = losses[1].detach()
save_file({name: tensor.contiguous() for name, tensor in found.items()}, folder / "found.safetensors")
assert not [name for name in sys.modules if name.split(".")[0] == "mimo_model"]
"""
    )
    environment = {**os.environ, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found, model = load_file(tmp_path / "found.safetensors"), load_model(three)
    with torch.no_grad():
        wanted = model(ids, document_ids=documents, num_mtp_layers=3)
        losses = model(ids, targets=[ids, ids]).head_losses
        states = model.model(ids).last_hidden_state
    assert torch.equal(found["logits"], wanted.logits)
    assert torch.equal(found["states"], states)
    for k in range(3):
        assert torch.equal(found[f"mtp{k}"], wanted.mtp_logits[k])
    assert (found["losses"] - losses[1]).abs().max() <= TOLERANCE[torch.float32]
    settings = {"attention_mask": torch.ones_like(ids), "max_new_tokens": 8, "do_sample": False}
    assert torch.equal(found["tokens"], model.generate(ids, **settings))


def test_where_mimo_model_is_installed_no_remote_code_is_needed(three, tmp_path):
    export(three, tmp_path / "out")
    assert torch.equal(load_model(tmp_path / "out").lm_head.weight, load_model(three).lm_head.weight)


def test_a_checkpoint_that_is_saved_again_does_not_point_to_code_that_it_lacks(three, tmp_path):
    export(three, tmp_path / "out")
    save_model(load_model(tmp_path / "out"), load_tokenizer(three), tmp_path / "saved")
    assert "auto_map" not in json.loads((tmp_path / "saved" / "config.json").read_text())


def test_the_command_keeps_the_layers_and_is_reused(three, tmp_path, capsys):
    command = ["export", str(three), str(tmp_path / "out"), "--mtp-layers", "1", "--dtype", "bfloat16"]
    assert main(command) == 0
    assert load_model(tmp_path / "out").config.num_nextn_predict_layers == 1
    assert (tmp_path / "out" / "modeling_mimo.py").exists()
    assert main(command) == 0
    assert capsys.readouterr().out.endswith("complete, reused\n")
    assert main([*command[:2], str(tmp_path / "other"), "--mtp-layers", "two"]) == 2
    assert "--mtp-layers two: wanted a number" in capsys.readouterr().err
