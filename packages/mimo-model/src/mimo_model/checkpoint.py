"""Checkpoints on disk: plain Hugging Face folders with the released tensor names, checked before they are used."""

# transformers leaves these calls untyped.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import copy
import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedTokenizerBase,
)

from mimo_model.config import MiMoConfig
from mimo_model.errors import ModelError
from mimo_model.model import MiMoForCausalLM


def load_model(path_or_hub_id: str | Path, *, device: str = "auto", dtype: str = "auto") -> MiMoForCausalLM:
    """The model of a checkpoint folder, or of a Hugging Face Hub id, in evaluation mode.

    Args:
        device: a torch device; "auto" is the first CUDA device, or the CPU where there is none.
        dtype: "float32", "bfloat16", …; "auto" is the dtype of the files.

    Raises:
        ModelError: the folder or a file is missing, truncated, or of another model; or its tensors are not
            exactly those that `config.json` asks for.
    """
    folder = local_folder(path_or_hub_id)
    config = load_config(folder)
    target = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
    with torch.device("meta"):
        model = MiMoForCausalLM(config)
    expected = model.state_dict()
    state = {}
    for name, file in tensor_files(folder).items():
        _require(name in expected, file, f"{name} is not a tensor of this config.json ({_num_layers(config)})")
        try:
            with safe_open(file, framework="pt") as tensors:
                tensor = tensors.get_tensor(name)
        except SafetensorError as error:
            raise ModelError(f"{file}: cannot be read ({error}). Copy or download it again.") from None
        _require(
            tensor.shape == expected[name].shape,
            file,
            f"{name} has shape {list(tensor.shape)}, config.json asks for {list(expected[name].shape)}",
        )
        state[name] = tensor.to(device=target, dtype=None if dtype == "auto" else getattr(torch, dtype), copy=True)
    missing = sorted(expected.keys() - state.keys())
    _require(not missing, folder, f"{len(missing)} tensors are missing, {missing[0] if missing else ''} among them")
    model.load_state_dict(state, assign=True)
    model.config.dtype = model.lm_head.weight.dtype
    model.config._name_or_path = str(path_or_hub_id)
    model.generation_config = _load_generation_config(folder, config)
    model.eval()
    return model


def load_tokenizer(path_or_hub_id: str | Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a checkpoint folder or Hub id.

    Raises:
        ModelError: it is missing or broken, or knows ids that the checkpoint's model has no row for.
    """
    folder = local_folder(path_or_hub_id)
    tokenizer = read_tokenizer(folder)
    vocab_size = load_config(folder).vocab_size
    num_ids = num_tokenizer_ids(tokenizer)
    _require(num_ids <= vocab_size, folder, f"the tokenizer has {num_ids} ids, config.json has vocab_size {vocab_size}")
    return tokenizer


def read_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a folder that need not hold a model."""
    _require((folder / "tokenizer.json").exists(), folder, "tokenizer.json is missing")
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder))
    except Exception as error:  # the tokenizers library raises bare Exception on a broken file
        raise ModelError(f"{folder}: its tokenizer cannot be read ({error}). Copy or download it again.") from None
    assert isinstance(tokenizer, PreTrainedTokenizerBase)
    # How it was found is no part of it: a copy of a checkpoint has the same bytes.
    for key in ("is_local", "local_files_only"):
        tokenizer.init_kwargs.pop(key, None)
    return tokenizer


def save_model(model: MiMoForCausalLM, tokenizer: PreTrainedTokenizerBase, folder: str | Path) -> None:
    """Writes a plain Hugging Face folder: weights, both configs, tokenizer and chat template.

    A new folder appears whole or not at all. In a folder that exists, other files stay, each file is replaced
    in one step, and `config.json` comes last. Padded ids are listed in `generation_config.suppress_tokens`,
    so that transformers' `generate` never samples them.
    """
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    suppress_padded_ids(model, tokenizer)
    staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        _write_checkpoint(model, tokenizer, staging)
        if not folder.exists():
            staging.rename(folder)
            return
        for file in sorted(staging.iterdir(), key=lambda file: file.name == "config.json"):
            file.replace(folder / file.name)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def replicate_mtp(model: MiMoForCausalLM, num_layers: int) -> MiMoForCausalLM:
    """A copy of the model with `num_layers` MTP layers, the new ones copies of the first (§2.2).

    Everything but the copies is frozen (`requires_grad` false), as the report fine-tunes them.

    Raises:
        ValueError: the model does not have exactly one MTP layer, or `num_layers` is less than two.
    """
    if len(model.model.mtp_layers) != 1 or num_layers < 2:
        raise ValueError(
            f"replicate_mtp copies a single MTP layer into more; the model has {len(model.model.mtp_layers)} "
            f"and num_layers is {num_layers}."
        )
    config = copy.deepcopy(model.config)
    config.num_nextn_predict_layers = num_layers
    with torch.device("meta"):
        replicated = MiMoForCausalLM(config)
    first = "model.mtp_layers.0."
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for name in [name for name in state if name.startswith(first)]:
        for k in range(1, num_layers):
            state[f"model.mtp_layers.{k}.{name.removeprefix(first)}"] = state[name].clone()
    replicated.load_state_dict(state, assign=True)
    replicated.generation_config = copy.deepcopy(model.generation_config)
    for parameter in replicated.parameters():
        parameter.requires_grad = False
    for layer in replicated.model.mtp_layers[1:]:
        layer.requires_grad_(True)
    replicated.train(model.training)
    return replicated


def num_tokenizer_ids(tokenizer: PreTrainedTokenizerBase) -> int:
    """One more than the largest id that the tokenizer knows; the ids from there to vocab_size are padding."""
    return max(len(tokenizer), max(tokenizer.get_vocab().values()) + 1)


def suppress_padded_ids(model: MiMoForCausalLM, tokenizer: PreTrainedTokenizerBase) -> None:
    """Tells transformers' `generate` never to sample an id that the tokenizer does not know."""
    padded = list(range(num_tokenizer_ids(tokenizer), model.config.vocab_size))
    model.generation_config.suppress_tokens = padded or None


def local_folder(path_or_hub_id: str | Path) -> Path:
    """The folder itself, or a download of the Hub repository of that name."""
    folder = Path(path_or_hub_id)
    if folder.is_dir():
        return folder
    name = str(path_or_hub_id)
    if folder.exists() or name.startswith((".", "/", "~")) or name.count("/") != 1:
        raise ModelError(f"{name}: no such checkpoint folder. `mimo-model init` makes a fresh one.")
    try:
        return Path(snapshot_download(name, allow_patterns=["*.json", "*.safetensors", "*.jinja", "*.txt"]))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(
            f"{name}: neither a folder here nor to be had from the Hugging Face Hub ({reason}). "
            "Check the name and the network, or give the folder of a downloaded checkpoint."
        ) from None


def load_config(folder: Path) -> MiMoConfig:
    """The folder's `config.json`, which must be a MiMo model's."""
    file = folder / "config.json"
    try:
        fields = json.loads(file.read_text())
    except FileNotFoundError:
        raise ModelError(f"{folder}: has no config.json, so it is not a checkpoint folder.") from None
    except ValueError as error:
        raise ModelError(f"{file}: not JSON ({error}). Copy or download it again.") from None
    if fields.get("model_type") != MiMoConfig.model_type:
        raise ModelError(
            f"{file}: model_type is {fields.get('model_type')!r}, not 'mimo'. Load it with transformers instead."
        )
    try:
        return MiMoConfig.from_dict(fields)
    except Exception as error:  # huggingface_hub's strict dataclasses raise several classes
        raise ModelError(f"{file}: {' '.join(str(error).split())}") from None


def tensor_files(folder: Path) -> Mapping[str, Path]:
    """Which safetensors file holds each tensor, for single and sharded checkpoints; headers are checked."""
    index = folder / "model.safetensors.index.json"
    files = [folder / "model.safetensors"]
    if index.exists():
        files = [folder / name for name in sorted(set(json.loads(index.read_text())["weight_map"].values()))]
    found = {}
    for file in files:
        try:
            with safe_open(file, framework="pt") as tensors:
                found.update(dict.fromkeys(tensors.keys(), file))
        except FileNotFoundError:
            raise ModelError(f"{file}: missing. Copy or download the checkpoint again.") from None
        except SafetensorError as error:
            raise ModelError(
                f"{file}: truncated or not a safetensors file ({error}). Copy or download it again."
            ) from None
    return found


def _load_generation_config(folder: Path, config: MiMoConfig) -> GenerationConfig:
    if (folder / "generation_config.json").exists():
        return GenerationConfig.from_pretrained(str(folder))
    return GenerationConfig.from_model_config(config)


def _write_checkpoint(model: MiMoForCausalLM, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    model.config.architectures = [type(model).__name__]
    model.config.dtype = model.lm_head.weight.dtype
    model.config.save_pretrained(folder)
    model.generation_config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    # Temporary files are private to their maker; a checkpoint is not.
    folder.chmod(0o755)
    for file in folder.iterdir():
        file.chmod(0o644)


def _num_layers(config: MiMoConfig) -> str:
    return f"{config.num_hidden_layers} layers, {config.num_nextn_predict_layers} MTP layers"


def _require(condition: bool, place: Path, problem: str) -> None:
    if not condition:
        raise ModelError(f"{place}: {problem}. Check that config.json and the files belong to one checkpoint.")


# Should transformers learn a `mimo` of its own some day, this one still opens these folders.
AutoConfig.register(MiMoConfig.model_type, MiMoConfig, exist_ok=True)
AutoModelForCausalLM.register(MiMoConfig, MiMoForCausalLM, exist_ok=True)
