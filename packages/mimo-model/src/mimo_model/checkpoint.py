"""Checkpoints on disk: plain Hugging Face folders with the released tensor names, checked before they are used."""

# transformers leaves these calls untyped.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import copy
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from huggingface_hub import split_torch_state_dict_into_shards
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedTokenizerBase,
    Qwen2Tokenizer,
)

from mimo_model.config import MiMoConfig
from mimo_model.errors import ModelError
from mimo_model.hub import download, is_hub_name
from mimo_model.model import MiMoForCausalLM, MiMoModel


def load_model(
    path_or_hub_id: str | Path, *, device: str = "auto", dtype: str = "auto", revision: str | None = None
) -> MiMoForCausalLM:
    """The model of a checkpoint folder or of a hub's repository, in evaluation mode.

    Tensors go to their device one by one, so that never more than one is held twice.

    Args:
        path_or_hub_id: a folder, or a name on a hub (`mimo_model.hub.download` says which).
        device: a torch device; "auto" is the first CUDA device, or the CPU where there is none.
        dtype: "float32", "bfloat16", …; "auto" is the dtype of the files.
        revision: of a hub's repository: branch, tag or commit.

    Raises:
        ValueError: no such dtype or device.
        ModelError: the folder or a file is missing, truncated, or of another model; or its tensors are not
            exactly those that `config.json` asks for.
    """
    target, target_dtype = find_device(device), None if dtype == "auto" else floating_dtype(dtype)
    folder = local_folder(path_or_hub_id, revision=revision)
    config = load_config(folder)
    with torch.device("meta"):
        model = MiMoForCausalLM(config)
    expected = model.state_dict()
    files = tensor_files(folder)
    for name, file in files.items():
        _require(name in expected, file, f"{name} is not a tensor of this config.json ({_num_layers(config)})")
    missing = sorted(expected.keys() - files.keys())
    _require(not missing, folder, f"{len(missing)} tensors are missing, {missing[0] if missing else ''} among them")
    state = {}
    for name, file in files.items():
        # Opened for each: the pages of a mapped file count as memory until it is closed.
        try:
            with safe_open(file, framework="pt") as tensors:
                shape = tensors.get_slice(name).get_shape()
                _require(
                    shape == list(expected[name].shape),
                    file,
                    f"{name} has shape {shape}, config.json asks for {list(expected[name].shape)}",
                )
                state[name] = tensors.get_tensor(name).to(device=target, dtype=target_dtype, copy=True)
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{file}: cannot be read ({error}). Copy or download it again.") from None
    model.load_state_dict(state, assign=True)
    model.config.dtype = model.lm_head.weight.dtype
    model.config._name_or_path = str(path_or_hub_id)
    model.generation_config = _load_generation_config(folder, config)
    if model.generation_config.suppress_tokens is None and _has_tokenizer(folder):
        # Released folders do not list the padded ids.
        suppress_padded_ids(model, read_tokenizer(folder))
    model.eval()
    return model


def load_tokenizer(path_or_hub_id: str | Path, *, revision: str | None = None) -> PreTrainedTokenizerBase:
    """The tokenizer of a checkpoint folder or of a hub's repository.

    Raises:
        ModelError: it is missing or broken, or knows ids that the checkpoint's model has no row for.
    """
    folder = local_folder(path_or_hub_id, revision=revision, weights=False)
    tokenizer = read_tokenizer(folder)
    vocab_size = load_config(folder).vocab_size
    num_ids = num_tokenizer_ids(tokenizer)
    _require(num_ids <= vocab_size, folder, f"the tokenizer has {num_ids} ids, config.json has vocab_size {vocab_size}")
    return tokenizer


def read_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a folder that need not hold a model: `tokenizer.json`, or Qwen2's `vocab.json` and merges."""
    _require(_has_tokenizer(folder), folder, "tokenizer.json is missing, and so are vocab.json or merges.txt")
    try:
        # Without its configuration, what is known is that MiMo's is Qwen2's.
        reader = AutoTokenizer if (folder / "tokenizer_config.json").exists() else Qwen2Tokenizer
        tokenizer = reader.from_pretrained(str(folder))
    except Exception as error:  # the tokenizers library raises bare Exception on a broken file
        raise ModelError(
            f"{folder}: its tokenizer cannot be read ({_one_line(error)}). Copy or download it again."
        ) from None
    assert isinstance(tokenizer, PreTrainedTokenizerBase)
    # How it was found is no part of it: a copy of a checkpoint has the same bytes.
    for key in ("is_local", "local_files_only"):
        tokenizer.init_kwargs.pop(key, None)
    return tokenizer


def save_model(
    model: MiMoForCausalLM, tokenizer: PreTrainedTokenizerBase, folder: str | Path, *, max_shard_size: str = "5GB"
) -> None:
    """Writes a plain Hugging Face folder: weights, both configs, tokenizer and chat template.

    A new folder appears whole or not at all. In a folder that exists, other files stay, each file is replaced
    in one step, and `config.json` comes last. Padded ids are listed in `generation_config.suppress_tokens`,
    so that transformers' `generate` never samples them.

    Args:
        max_shard_size: "5GB", "200MB", …: weights beyond it go to several files and an index. One shard at a time is
            brought to the CPU.

    Raises:
        ModelError: the folder cannot be written: no permission, no space.
    """
    suppress_padded_ids(model, tokenizer)
    with replaced_folder(Path(folder)) as staging:
        write_checkpoint(model, tokenizer, staging, max_shard_size=max_shard_size)


@contextmanager
def replaced_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder beside it that becomes it, or part of it, once all files are written.

    Raises:
        ModelError: it cannot be written; what was there is untouched.
    """
    prefix = f".{folder.name}.saving-"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        for path in folder.parent.iterdir():
            if path.name.startswith(prefix) and (lock := _lock(path)) is not None:
                # Of a process that was killed: whoever writes holds the lock.
                shutil.rmtree(path, ignore_errors=True)
                os.close(lock)
        staging = Path(tempfile.mkdtemp(prefix=prefix, dir=folder.parent))
        lock = _lock(staging)
    except OSError as error:
        raise ModelError(f"{folder}: cannot be written ({error.strerror}). Choose another folder.") from None
    try:
        yield staging
        # Temporary files are private to their maker; a checkpoint is not.
        staging.chmod(0o755)
        for file in staging.iterdir():
            file.chmod(0o644)
        if not folder.exists():
            staging.rename(folder)
            return
        written = {file.name for file in staging.iterdir()}
        for name in sorted(written - {"config.json"}):
            (staging / name).replace(folder / name)
        # Readers prefer a single file to an index, so weights of an earlier save must not stay beside these.
        for file in [*folder.glob("model*.safetensors"), *folder.glob("model.safetensors.index.json")]:
            if file.name not in written:
                file.unlink()
        (staging / "config.json").replace(folder / "config.json")
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{folder}: cannot be written ({error}). Free some space, or choose another folder.") from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _lock(folder: Path) -> int | None:
    """A descriptor that holds the folder's lock until it is closed or the process ends; None if it cannot be had."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


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


def local_folder(path_or_hub_id: str | Path, *, revision: str | None = None, weights: bool = True) -> Path:
    """The folder itself, or a download of the hub's repository of that name, with or without its weights."""
    folder = Path(path_or_hub_id)
    if folder.is_dir():
        return folder
    if folder.exists():
        raise ModelError(f"{folder}: a file, not a checkpoint folder. Give the folder that holds config.json.")
    if not is_hub_name(str(path_or_hub_id)):
        raise ModelError(f"{path_or_hub_id}: no such checkpoint folder. `mimo-model init` makes a fresh one.")
    return download(str(path_or_hub_id), revision=revision, weights=weights)


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
        raise ModelError(f"{file}: {_one_line(error)}. Correct it, or copy or download it again.") from None


def tensor_files(folder: Path) -> Mapping[str, Path]:
    """Which safetensors file holds each tensor, for single and sharded checkpoints; headers are checked."""
    index = folder / "model.safetensors.index.json"
    weight_map = _read_index(index) if index.exists() else {}
    found = {}
    for file in sorted({folder / name for name in weight_map.values()} or {folder / "model.safetensors"}):
        try:
            with safe_open(file, framework="pt") as tensors:
                found.update(dict.fromkeys(tensors.keys(), file))
        except FileNotFoundError:
            pickles = sorted(folder.glob("pytorch_model*.bin"))
            if pickles and not weight_map:
                raise ModelError(
                    f"{folder}: its weights are a pickle ({pickles[0].name}), which could run any code when read. "
                    "Look for the checkpoint's safetensors, or convert it in a place where that does no harm."
                ) from None
            raise ModelError(
                f"{file}: missing{', though the index names it' if weight_map else ''}. "
                "Copy or download the checkpoint again."
            ) from None
        except (SafetensorError, OSError) as error:
            raise ModelError(
                f"{file}: truncated or not a safetensors file ({error}). Copy or download it again."
            ) from None
    for name, file_name in weight_map.items():
        _require(found.get(name) == folder / file_name, index, f"says that {name} is in {file_name}, but it is not")
    return found


def floating_dtype(name: str) -> torch.dtype:
    """torch's dtype of that name.

    Raises:
        ValueError: torch has none, or it holds no fractions.
    """
    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise ValueError(f'dtype={name!r}: not a floating-point dtype of torch, such as "bfloat16" or "float32".')
    return dtype


def write_checkpoint(
    model: MiMoForCausalLM, tokenizer: PreTrainedTokenizerBase, folder: Path, *, max_shard_size: str
) -> None:
    """The files of a checkpoint, into a folder that is there already."""
    state = model.state_dict()
    try:
        shards = split_torch_state_dict_into_shards(
            state, filename_pattern="model{suffix}.safetensors", max_shard_size=max_shard_size
        )
    except ValueError as error:
        raise ValueError(f"max_shard_size={max_shard_size!r}: {error}") from None
    for file, names in shards.filename_to_tensors.items():
        tensors = {name: state[name].detach().cpu().contiguous() for name in names}
        save_file(tensors, folder / file, metadata={"format": "pt"})
    if shards.is_sharded:
        index = {"metadata": shards.metadata, "weight_map": shards.tensor_to_filename}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")
    model.config.architectures = [type(model).__name__]
    model.config.dtype = model.lm_head.weight.dtype
    # The code that a released config.json points to does not come along.
    model.config.__dict__.pop("auto_map", None)
    model.config.save_pretrained(folder)
    model.generation_config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _load_generation_config(folder: Path, config: MiMoConfig) -> GenerationConfig:
    file = folder / "generation_config.json"
    if not file.exists():
        return GenerationConfig.from_model_config(config)
    try:
        return GenerationConfig.from_pretrained(str(folder))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ModelError(f"{file}: {_one_line(error)}. Correct it, or copy or download it again.") from None


def _read_index(index: Path) -> dict[str, str]:
    """Tensor name → file name."""
    try:
        weight_map: dict[str, str] = json.loads(index.read_text())["weight_map"]
        names = list(weight_map.values())
        is_valid = bool(names) and all(Path(name).name == name and name.endswith(".safetensors") for name in names)
    except (ValueError, KeyError, TypeError, AttributeError):
        is_valid = False
    if not is_valid:
        raise ModelError(f"{index}: not an index of safetensors files. Copy or download it again.")
    return weight_map


def find_device(name: str) -> torch.device:
    """torch's device of that name; "auto" is the first CUDA device, or the CPU where there is none.

    Raises:
        ValueError: there is none, or it cannot hold weights.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f'device={name!r}: not a device of torch, such as "cpu" or "cuda:0".') from None
    if device.type == "meta":
        raise ValueError(f'device={name!r}: holds no values. Use "cpu" or "auto".')
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f'device={name!r}: there is no CUDA device here. Use "cpu" or "auto".')
    return device


def _has_tokenizer(folder: Path) -> bool:
    return (folder / "tokenizer.json").exists() or all(
        (folder / name).exists() for name in ("vocab.json", "merges.txt")
    )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")


def _num_layers(config: MiMoConfig) -> str:
    return f"{config.num_hidden_layers} layers, {config.num_nextn_predict_layers} MTP layers"


def _require(condition: bool, place: Path, problem: str) -> None:
    if not condition:
        raise ModelError(f"{place}: {problem}. Check that config.json and the files belong to one checkpoint.")


# Should transformers learn a `mimo` of its own some day, this one still opens these folders.
AutoConfig.register(MiMoConfig.model_type, MiMoConfig, exist_ok=True)
AutoModel.register(MiMoConfig, MiMoModel, exist_ok=True)
AutoModelForCausalLM.register(MiMoConfig, MiMoForCausalLM, exist_ok=True)
