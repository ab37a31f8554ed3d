"""A fresh checkpoint from a recipe: random weights, and a byte-level or an existing tokenizer.

The recipe is TOML: `seed`, `dtype`, a `[model]` table of `MiMoConfig` fields, and a `[tokenizer]` table, either
`path` (a folder or Hub id whose tokenizer is taken) or `special_tokens`, `added_tokens` and `chat_template`.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, GenerationConfig, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from mimo_model.checkpoint import local_folder, num_tokenizer_ids, save_model
from mimo_model.config import MiMoConfig
from mimo_model.errors import RecipeError
from mimo_model.model import MiMoForCausalLM

_DERIVED_FIELDS = ("bos_token_id", "eos_token_id", "pad_token_id", "rope_parameters")


def init(recipe: Path, out: Path, overrides: Sequence[str] = ()) -> MiMoForCausalLM:
    """Writes the fresh checkpoint that the recipe describes to the folder `out`, and returns its model.

    The same recipe gives the same weights to the bit. The first special token ends a text: it becomes the
    end-of-text, padding and stop token.

    Raises:
        RecipeError: the recipe does not decode.
        ModelError: the tokenizer it names cannot be had.
    """
    tree = _read(recipe, overrides)
    tokenizer = _tokenizer(recipe, tree["tokenizer"])
    fields = dict(tree["model"])
    if num_tokenizer_ids(tokenizer) > int(fields.get("vocab_size", MiMoConfig.vocab_size)):
        raise RecipeError(
            f"{recipe}: model.vocab_size is less than the tokenizer's {num_tokenizer_ids(tokenizer)} ids. Raise it."
        )
    eos_id = tokenizer.eos_token_id
    try:
        config = MiMoConfig(**fields, bos_token_id=None, eos_token_id=eos_id, pad_token_id=tokenizer.pad_token_id)
    except Exception as error:  # huggingface_hub's strict dataclasses raise several classes
        raise RecipeError(f"{recipe}: [model] {' '.join(str(error).split())}") from None
    torch.manual_seed(tree.get("seed", 0))
    model = MiMoForCausalLM(config).to(getattr(torch, tree.get("dtype", "float32")))
    model.generation_config = GenerationConfig(eos_token_id=eos_id, pad_token_id=tokenizer.pad_token_id)
    save_model(model, tokenizer, out)
    return model


def byte_level_tokenizer(
    special_tokens: Sequence[str], *, added_tokens: Sequence[str] = (), chat_template: str
) -> PreTrainedTokenizerBase:
    """One id per byte, then the special tokens, then the added ones; no merges.

    Args:
        special_tokens: the first is the end-of-text and padding token; `decode(skip_special_tokens=True)` drops them.
        added_tokens: whole strings with an id of their own that decoding keeps, such as `<think>`.
    """
    # Bytes as tokenizers' byte-level alphabet spells them, in that alphabet's sorted order.
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={symbol: i for i, symbol in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special_tokens])
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in added_tokens])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=special_tokens[0],
        pad_token=special_tokens[0],
        additional_special_tokens=list(special_tokens[1:]),
        chat_template=chat_template,
        clean_up_tokenization_spaces=False,
    )


def _tokenizer(recipe: Path, table: Mapping[str, Any]) -> PreTrainedTokenizerBase:
    if "path" in table:
        tokenizer = AutoTokenizer.from_pretrained(str(local_folder(table["path"])))
        assert isinstance(tokenizer, PreTrainedTokenizerBase)
        return tokenizer
    if not table.get("special_tokens") or "chat_template" not in table:
        raise RecipeError(f"{recipe}: [tokenizer] needs `path`, or `special_tokens` and `chat_template`.")
    return byte_level_tokenizer(
        table["special_tokens"],
        added_tokens=table.get("added_tokens", ()),
        chat_template=table["chat_template"],
    )


def _read(recipe: Path, overrides: Sequence[str]) -> dict[str, Any]:
    try:
        tree = tomllib.loads(recipe.read_text())
    except FileNotFoundError:
        raise RecipeError(f"{recipe}: no such recipe. See recipes/ for examples.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, IsADirectoryError) as error:
        raise RecipeError(f"{recipe}: not a TOML file: {error}") from None
    for override in overrides:
        _apply(tree, override)
    model_fields = {field.name for field in dataclasses.fields(MiMoConfig)} - set(_DERIVED_FIELDS)
    known = {
        "": {"seed", "dtype", "model", "tokenizer"},
        "model": model_fields | {"rope_theta"},
        "tokenizer": {"path", "special_tokens", "added_tokens", "chat_template"},
    }
    for table, keys in known.items():
        present = tree.get(table, {}) if table else tree
        if not isinstance(present, dict) or (table and not present):
            raise RecipeError(f"{recipe}: the table [{table}] is missing. See recipes/ for examples.")
        for key in present.keys() - keys:
            close = get_close_matches(key, sorted(keys), n=1)
            hint = f"Did you mean `{close[0]}`?" if close else f"Known are {', '.join(sorted(keys))}."
            raise RecipeError(f"{recipe}: unknown key `{key}`{f' in [{table}]' if table else ''}. {hint}")
    if not isinstance(getattr(torch, str(tree.get("dtype", "float32")), None), torch.dtype):
        raise RecipeError(f'{recipe}: dtype = {tree["dtype"]!r} is not a torch dtype, such as "bfloat16".')
    return tree


def _apply(tree: dict[str, Any], override: str) -> None:
    key, separator, value = override.partition("=")
    if not separator:
        raise RecipeError(f"--set {override}: expected key=value, such as --set model.hidden_size=96.")
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value
    *tables, leaf = key.strip().split(".")
    node = tree
    for table in tables:
        node = node.setdefault(table, {})
        if not isinstance(node, dict):
            raise RecipeError(f"--set {override}: {table} is not a table.")
    node[leaf] = parsed
