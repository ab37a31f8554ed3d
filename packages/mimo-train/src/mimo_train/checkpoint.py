"""Checkpoints at the two ends of a training command, and the tokenizer that must fit the data."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from mimo_data import open_shards
from mimo_model import MiMoForCausalLM, load_model, load_tokenizer, save_model
from mimo_train.errors import TrainError
from mimo_train.processes import is_leader


def load_checkpoint(
    folder: Path, sequence_length: int, *, rope_theta: float | None = None
) -> tuple[MiMoForCausalLM, PreTrainedTokenizerBase]:
    """The model in float32, ready to train on sequences of this length, and its tokenizer.

    Args:
        rope_theta: RoPE base from here on, saved with the model (§2.3); the checkpoint's own when absent.

    Raises:
        ModelError: the checkpoint is missing or broken.
        TrainError: the model takes only shorter sequences, or has no MTP layer.
    """
    model = load_model(folder, dtype="float32")
    model.train()
    config = model.config
    if sequence_length > config.max_position_embeddings:
        raise TrainError(
            f"{folder}/config.json: max_position_embeddings is {config.max_position_embeddings}, but the recipe "
            f"has sequences of {sequence_length}. Raise it in the checkpoint, or lower sequence_length."
        )
    if config.num_nextn_predict_layers == 0:
        raise TrainError(
            f"{folder}/config.json: num_nextn_predict_layers is 0, but MiMo trains with an MTP layer (§2.2). "
            "Make the checkpoint with one."
        )
    if rope_theta is not None:
        config.rope_theta = rope_theta
    return model, load_tokenizer(folder)


def save_checkpoint(model: MiMoForCausalLM, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Writes the Hugging Face files into a run's folder, which has a log and a state in it already.

    Of several processes only the first one does.
    """
    if not is_leader():
        return
    temporary = folder / "checkpoint.tmp"
    shutil.rmtree(temporary, ignore_errors=True)  # of an earlier process that was killed here
    save_model(model, tokenizer, temporary / "whole")
    for path in (temporary / "whole").iterdir():
        path.replace(folder / path.name)
    shutil.rmtree(temporary)


def require_tokenizer_of(checkpoint: Path, shards: Path) -> None:
    """Checks that the shards were made with the checkpoint's tokenizer.

    Raises:
        DataError: a shard is missing or truncated.
        TrainError: they were made with another one.
    """
    found = open_shards(shards).tokenizer_sha256
    path = checkpoint / "tokenizer.json"
    if not path.exists():
        raise TrainError(f"{path}: no such file. --model takes a whole Hugging Face checkpoint folder.")
    wanted = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != wanted:
        raise TrainError(
            f"{shards}: made with tokenizer {found[:8]}, but {checkpoint} has {wanted[:8]}. "
            f"Run `mimo-data tokenize --tokenizer {checkpoint}` again, or use that tokenizer's checkpoint."
        )


def stop_token_of(model: MiMoForCausalLM) -> int:
    """The token at which generation stops, so the one that must end every response."""
    token = model.generation_config.eos_token_id
    return int(token[0] if isinstance(token, list) else token)
