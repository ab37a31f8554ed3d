"""What a checkpoint folder holds, without loading its weights."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path

import torch
from safetensors import safe_open

from mimo_model.checkpoint import load_config, load_tokenizer, local_folder, num_tokenizer_ids, tensor_files
from mimo_model.config import MiMoConfig
from mimo_model.model import MiMoForCausalLM

_MTP_PREFIX = "model.mtp_layers."


@dataclass(frozen=True)
class Inspection:
    """A checkpoint's shape and what is wrong with its tensors."""

    config: MiMoConfig
    num_main_parameters: int
    num_mtp_parameters: int
    """Per MTP layer; embedding and head are shared with the main model."""

    num_tokenizer_ids: int
    dtypes: tuple[str, ...]
    """Those of the tensors in the files."""

    missing: tuple[str, ...]
    """Tensors that `config.json` asks for and no file holds."""

    extra: tuple[str, ...]
    """Tensors in the files that `config.json` does not ask for."""

    misshapen: tuple[str, ...]
    """Tensors of another shape than `config.json` asks for."""


def inspect(path_or_hub_id: str | Path) -> Inspection:
    """Reads configuration, tokenizer and the headers of the weight files.

    Raises:
        ModelError: it is not a MiMo checkpoint, or a file is missing or truncated.
    """
    folder = local_folder(path_or_hub_id)
    config = load_config(folder)
    with torch.device("meta"):
        expected = {name: list(tensor.shape) for name, tensor in MiMoForCausalLM(config).state_dict().items()}
    found: dict[str, list[int]] = {}
    dtypes = set()
    for name, file in tensor_files(folder).items():
        with safe_open(file, framework="pt") as tensors:
            header = tensors.get_slice(name)
            found[name] = header.get_shape()
            dtypes.add(header.get_dtype())
    in_mtp = sum(prod(shape) for name, shape in expected.items() if name.startswith(_MTP_PREFIX))
    return Inspection(
        config=config,
        num_main_parameters=sum(map(prod, expected.values())) - in_mtp,
        num_mtp_parameters=in_mtp // max(config.num_nextn_predict_layers, 1),
        num_tokenizer_ids=num_tokenizer_ids(load_tokenizer(folder)),
        dtypes=tuple(sorted(dtypes)),
        missing=tuple(sorted(expected.keys() - found.keys())),
        extra=tuple(sorted(found.keys() - expected.keys())),
        misshapen=tuple(sorted(name for name in expected.keys() & found.keys() if expected[name] != found[name])),
    )


def describe(inspection: Inspection) -> str:
    """The inspection as lines for a terminal."""
    config = inspection.config
    num_mtp = config.num_nextn_predict_layers
    total = inspection.num_main_parameters + num_mtp * inspection.num_mtp_parameters
    lines = [
        f"parameters   {total:,}: main {inspection.num_main_parameters:,}, "
        f"{num_mtp} MTP layer{'' if num_mtp == 1 else 's'} of {inspection.num_mtp_parameters:,}",
        f"shape        {config.num_hidden_layers} layers, hidden {config.hidden_size}, "
        f"feed-forward {config.intermediate_size}, {config.num_attention_heads} heads / "
        f"{config.num_key_value_heads} key-value heads of {config.head_dim}",
        f"context      {config.max_position_embeddings:,} tokens, RoPE base {config.rope_theta:,.0f}",
        f"vocabulary   {config.vocab_size:,} rows, {inspection.num_tokenizer_ids:,} tokenizer ids, "
        f"{config.vocab_size - inspection.num_tokenizer_ids:,} padded (never sampled)",
        f"dtype        {', '.join(inspection.dtypes)}",
    ]
    for title in ("missing", "extra", "misshapen"):
        names: tuple[str, ...] = getattr(inspection, title)
        lines += [f"{title:<13}{name}" for name in names]
    if not (inspection.missing or inspection.extra or inspection.misshapen):
        lines.append("tensors      exactly those that config.json asks for")
    return "\n".join(lines)
