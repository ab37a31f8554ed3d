"""What a checkpoint folder holds, without loading its weights, and what each engine will do with it."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from math import prod
from pathlib import Path

import torch
from safetensors import safe_open
from transformers import PreTrainedTokenizerBase

from mimo_model.checkpoint import load_config, load_tokenizer, local_folder, num_tokenizer_ids, tensor_files
from mimo_model.config import MiMoConfig
from mimo_model.model import MiMoForCausalLM

_MTP_PREFIX = "model.mtp_layers."
_NARROWEST_HEAD_OF_VLLM = 32


@dataclass(frozen=True)
class TokenizerFacts:
    """What a server asks about a tokenizer."""

    num_ids: int
    eos_token: str | None
    pad_token: str | None
    has_chat_template: bool
    has_think_tags: bool
    """`<think>` and `</think>` have an id each."""


@dataclass(frozen=True)
class Inspection:
    """A checkpoint's shape, what is wrong with its tensors, and what engines make of it."""

    config: MiMoConfig
    num_main_parameters: int
    num_mtp_parameters: int
    """Per MTP layer; embedding and head are shared with the main model."""

    tokenizer: TokenizerFacts
    num_bytes: int
    """Of all tensors in the files."""

    num_files: int
    """That hold weights."""

    dtypes: tuple[str, ...]
    """Those of the tensors in the files, as safetensors spells them."""

    missing: tuple[str, ...]
    """Tensors that `config.json` asks for and no file holds."""

    extra: tuple[str, ...]
    """Tensors in the files that `config.json` does not ask for."""

    misshapen: tuple[str, ...]
    """Tensors of another shape than `config.json` asks for."""

    engines: dict[str, str]
    """What each engine will do with it."""

    @property
    def num_faults(self) -> int:
        """Tensors that are missing, extra or misshapen; `load_model` refuses the checkpoint unless there are none."""
        return len(self.missing) + len(self.extra) + len(self.misshapen)


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
    dtypes, num_bytes = set(), 0
    files = tensor_files(folder)
    for file in sorted(set(files.values())):
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118
                header = tensors.get_slice(name)
                found[name] = header.get_shape()
                dtypes.add(header.get_dtype())
                num_bytes += prod(found[name]) * _bits(header.get_dtype()) // 8
    in_mtp = sum(prod(shape) for name, shape in expected.items() if name.startswith(_MTP_PREFIX))
    missing = tuple(sorted(expected.keys() - found.keys()))
    extra = tuple(sorted(found.keys() - expected.keys()))
    misshapen = tuple(sorted(name for name in expected.keys() & found.keys() if expected[name] != found[name]))
    return Inspection(
        config=config,
        num_main_parameters=sum(map(prod, expected.values())) - in_mtp,
        num_mtp_parameters=in_mtp // max(config.num_nextn_predict_layers, 1),
        tokenizer=_tokenizer_facts(load_tokenizer(folder)),
        num_bytes=num_bytes,
        num_files=len(set(files.values())),
        dtypes=tuple(sorted(dtypes)),
        missing=missing,
        extra=extra,
        misshapen=misshapen,
        engines=_engines(config, has_code=_has_code(folder), is_whole=not (missing or extra or misshapen)),
    )


def describe(inspection: Inspection) -> str:
    """The inspection as lines for a terminal."""
    config, tokenizer = inspection.config, inspection.tokenizer
    num_mtp = config.num_nextn_predict_layers
    total = inspection.num_main_parameters + num_mtp * inspection.num_mtp_parameters
    lines = [
        f"parameters   {total:,}: main {inspection.num_main_parameters:,}, "
        f"{num_mtp} MTP layer{'' if num_mtp == 1 else 's'} of {inspection.num_mtp_parameters:,}",
        f"shape        {config.num_hidden_layers} layers, hidden {config.hidden_size}, "
        f"feed-forward {config.intermediate_size}, {config.num_attention_heads} heads / "
        f"{config.num_key_value_heads} key-value heads of {config.head_dim}",
        f"context      {config.max_position_embeddings:,} tokens, RoPE base {config.rope_theta:,.0f}",
        f"vocabulary   {config.vocab_size:,} rows, {tokenizer.num_ids:,} tokenizer ids, "
        f"{config.vocab_size - tokenizer.num_ids:,} padded (never sampled)",
        f"tokenizer    ends with {tokenizer.eos_token}, pads with {tokenizer.pad_token}, "
        f"{'a' if tokenizer.has_chat_template else 'no'} chat template, "
        f"{'' if tokenizer.has_think_tags else 'no '}<think> tags",
        f"weights      {inspection.num_bytes:,} bytes of {', '.join(inspection.dtypes)} in {inspection.num_files} "
        f"file{'' if inspection.num_files == 1 else 's'}",
    ]
    for title in ("missing", "extra", "misshapen"):
        names: tuple[str, ...] = getattr(inspection, title)
        lines += [f"{title:<13}{name}" for name in names]
    if not inspection.num_faults:
        lines.append("tensors      exactly those that config.json asks for")
    lines += [f"{engine}: {what}" for engine, what in inspection.engines.items()]
    return "\n".join(lines)


def as_json(inspection: Inspection) -> str:
    """The inspection for a program: its fields, with those of `config.json` that give the shape."""
    fields = {field.name: getattr(inspection, field.name) for field in dataclasses.fields(inspection)}
    fields["tokenizer"] = dataclasses.asdict(inspection.tokenizer)
    fields["config"] = inspection.config.to_dict()
    return json.dumps(fields, indent=1, default=str)


def _tokenizer_facts(tokenizer: PreTrainedTokenizerBase) -> TokenizerFacts:
    vocabulary = tokenizer.get_vocab()
    return TokenizerFacts(
        num_ids=num_tokenizer_ids(tokenizer),
        eos_token=tokenizer.eos_token,
        pad_token=tokenizer.pad_token,
        has_chat_template=tokenizer.chat_template is not None,
        has_think_tags="<think>" in vocabulary and "</think>" in vocabulary,
    )


def _has_code(folder: Path) -> bool:
    """Whether the folder brings the code that its `config.json` points to."""
    named = json.loads((folder / "config.json").read_text()).get("auto_map") or {}
    files = [f"{target.split('.')[0]}.py" for target in named.values() if isinstance(target, str)]
    return bool(files) and all((folder / file).exists() for file in files)


def _engines(config: MiMoConfig, *, has_code: bool, is_whole: bool) -> dict[str, str]:
    num_mtp = config.num_nextn_predict_layers
    if not is_whole:
        return {"every engine": "refuses it or computes nonsense: its tensors are not those that config.json asks for."}
    layers = f"{num_mtp} MTP layer{'' if num_mtp == 1 else 's'}"
    export = "`mimo-model export CHECKPOINT OUT --mtp-layers 1`"
    several = num_mtp > 1
    knows = "with --trust-remote-code" if has_code else "once it knows mimo, from mimo-model or from an export's code"
    return {
        "mimo-model": f"drafts with up to {num_mtp} layers." if num_mtp else "decodes without drafts.",
        "transformers with mimo-model installed": (
            f"opens it; generate uses no MTP layer, forward(num_mtp_layers=...) runs up to {num_mtp}."
        ),
        "transformers alone": (
            f"opens it with trust_remote_code=True, {layers} among it."
            if has_code
            else "does not know it: add the code with `mimo-model export`."
        ),
        "vLLM": f"{knows}, {_vllm(config, num_mtp)}.",
        "vLLM with mimo-model installed": f"drafts with all {num_mtp} layers." if several else "the same.",
        "SGLang": (
            f"loads all {num_mtp} MTP layers into one, and drafts with the last: write one with {export}."
            if several
            else f"serves it, {layers}."
        ),
    }


def _vllm(config: MiMoConfig, num_mtp: int) -> str:
    problems = []
    if (config.head_dim or 0) < _NARROWEST_HEAD_OF_VLLM:
        problems.append(f"has no kernel for heads of {config.head_dim}, less than {_NARROWEST_HEAD_OF_VLLM}")
    if num_mtp > config.num_hidden_layers:
        problems.append(
            f"mixes the MTP layers up, because there are more of them than main layers ({config.num_hidden_layers})"
        )
    if problems:
        return " and ".join(problems)
    if num_mtp == 0:
        return "serves it without drafts"
    if num_mtp == 1:
        return "drafts with the MTP layer"
    return f"drafts with the first of {num_mtp} MTP layers only, again for each further draft, or refuses"


def _bits(dtype: str) -> int:
    """Of one element, from safetensors' name of its type, such as BF16 or F8_E4M3."""
    return 8 if dtype == "BOOL" else int("".join(c for c in dtype.split("_")[0] if c.isdigit()))
