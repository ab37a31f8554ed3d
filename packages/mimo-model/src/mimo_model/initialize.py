"""A fresh checkpoint from a recipe: random weights, and a byte-level or an existing tokenizer.

The recipe is TOML: `seed`, `dtype`, a `[model]` table of `MiMoConfig` fields, and a `[tokenizer]` table, either
`path` (a folder or Hub id whose tokenizer is taken) or `special_tokens`, `added_tokens` and `chat_template`.
"""

# transformers leaves these calls untyped.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from jinja2 import TemplateSyntaxError
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import GenerationConfig, PreTrainedTokenizerBase, PreTrainedTokenizerFast
from transformers.utils.chat_template_utils import render_jinja_template

from mimo_model.checkpoint import local_folder, num_tokenizer_ids, read_tokenizer, save_model
from mimo_model.config import MiMoConfig
from mimo_model.errors import RecipeError
from mimo_model.model import MiMoForCausalLM

_SET_BY_THE_TOKENIZER = ("bos_token_id", "eos_token_id", "pad_token_id")

_DTYPES = ("float32", "bfloat16", "float16", "float64")
_MOST = 10_000_000
_LEAST_SIZES = {
    "vocab_size": 1,
    "hidden_size": 1,
    "intermediate_size": 1,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
    "num_key_value_heads": 1,
    "head_dim": 1,
    "max_position_embeddings": 1,
    "num_nextn_predict_layers": 0,
}
# From where to where float32 computes with it; without an epsilon the MTP layers' first position divides by zero.
_NUMBERS = {"rope_theta": (1.0, 1e30), "rms_norm_eps": (1e-12, 1.0), "initializer_range": (0.0, 1000.0)}


@dataclass(frozen=True, kw_only=True)
class TokenizerRecipe:
    """The `[tokenizer]` table."""

    path: str | None = None
    """A folder or Hub id whose tokenizer is taken as it is; without it, a byte-level one is made."""

    special_tokens: Sequence[str] = ()
    """The first is the end-of-text, padding and stop token."""

    added_tokens: Sequence[str] = ()
    """Strings with an id of their own that decoding keeps, such as `<think>`."""

    chat_template: str | None = None


@dataclass(frozen=True, kw_only=True)
class ModelRecipe:
    """A whole recipe of `mimo-model init`."""

    model: dict[str, Any]
    """Fields of `MiMoConfig`."""

    tokenizer: TokenizerRecipe
    seed: int = 0
    dtype: str = "float32"


def read_recipe(path: Path, overrides: Sequence[str] = ()) -> ModelRecipe:
    """Decodes a recipe; each override is `key=value` or `table.key=value`, the value in TOML.

    Raises:
        RecipeError: the file is missing or is not TOML, or it holds an unknown key or an impossible value.
    """
    try:
        tree = tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise RecipeError(f"{path}: no such recipe. See recipes/ for examples.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, IsADirectoryError) as error:
        raise RecipeError(f"{path}: not a TOML file: {error}") from None
    for override in overrides:
        _apply(tree, override)
    _require_known(path, tree, _names(ModelRecipe))
    for table, known in (("model", _names(MiMoConfig) | {"rope_theta"}), ("tokenizer", _names(TokenizerRecipe))):
        if not isinstance(tree.get(table), dict):
            raise RecipeError(f"{path}: the table [{table}] is missing. See recipes/ for examples.")
        _require_known(path, tree[table], known - set(_SET_BY_THE_TOKENIZER), table=table)
    recipe = ModelRecipe(**{**tree, "tokenizer": TokenizerRecipe(**tree["tokenizer"])})
    tokenizer = recipe.tokenizer
    if tokenizer.path is None and not (tokenizer.special_tokens and tokenizer.chat_template is not None):
        raise RecipeError(f"{path}: [tokenizer] needs `path`, or `special_tokens` and `chat_template`.")
    _require_possible(path, recipe)
    try:
        MiMoConfig(**recipe.model)
    except Exception as error:  # huggingface_hub's strict dataclasses raise several classes
        raise RecipeError(f"{path}: [model] {' '.join(str(error).split())}") from None
    return recipe


def init(recipe: ModelRecipe, folder: Path) -> MiMoForCausalLM:
    """Writes the fresh checkpoint that the recipe describes, and returns its model.

    The same recipe gives the same weights to the bit.

    Raises:
        RecipeError: the tokenizer has more ids than the model has rows.
        ModelError: the tokenizer it names cannot be had.
    """
    wanted = recipe.tokenizer
    if wanted.path is not None:
        tokenizer = read_tokenizer(local_folder(wanted.path, weights=False))
    else:
        tokenizer = byte_level_tokenizer(
            wanted.special_tokens, added_tokens=wanted.added_tokens, chat_template=wanted.chat_template or ""
        )
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    config = MiMoConfig(**recipe.model, bos_token_id=None, **ends)
    if num_tokenizer_ids(tokenizer) > config.vocab_size:
        raise RecipeError(
            f"[model] vocab_size = {config.vocab_size} is less than the {num_tokenizer_ids(tokenizer)} ids of the "
            "tokenizer. Raise it."
        )
    torch.manual_seed(recipe.seed)
    model = MiMoForCausalLM(config)
    model.to(getattr(torch, recipe.dtype))
    model.generation_config = GenerationConfig(**ends)
    save_model(model, tokenizer, folder)
    return model


def byte_level_tokenizer(
    special_tokens: Sequence[str], *, added_tokens: Sequence[str] = (), chat_template: str
) -> PreTrainedTokenizerBase:
    """One id per byte, then the special tokens, then the added ones; no merges.

    Args:
        special_tokens: the first is the end-of-text and padding token.
        added_tokens: not special, so `decode(skip_special_tokens=True)` keeps them.
    """
    # Bytes as the byte-level alphabet spells them, in the alphabet's sorted order.
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


def _names(record: type) -> set[str]:
    return {field.name for field in dataclasses.fields(record)}


def _require_known(path: Path, tree: dict[str, Any], known: set[str], *, table: str = "") -> None:
    for key in sorted(tree.keys() - known):
        close = get_close_matches(key, sorted(known), n=1)
        hint = f"Did you mean `{close[0]}`?" if close else "Remove it, or look for its name in recipes/."
        raise RecipeError(f"{path}: unknown key `{key}`{f' in [{table}]' if table else ''}. {hint}")


def _require_possible(path: Path, recipe: ModelRecipe) -> None:
    def require(is_possible: bool, key: str, value: object, wanted: str) -> None:
        if not is_possible:
            raise RecipeError(f"{path}: {key} = {value!r}: wanted {wanted}.")

    def is_integer(value: object, least: int, most: int) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most

    require(is_integer(recipe.seed, -(2**63), 2**64 - 1), "seed", recipe.seed, "an integer from -2^63 to 2^64 - 1")
    require(recipe.dtype in _DTYPES, "dtype", recipe.dtype, f"one of {', '.join(_DTYPES)}")
    rope = recipe.model.get("rope_parameters")
    for key, value in (*recipe.model.items(), *(rope.items() if isinstance(rope, dict) else ())):
        if key in _LEAST_SIZES:
            least = _LEAST_SIZES[key]
            require(is_integer(value, least, _MOST), f"[model] {key}", value, f"an integer from {least} to {_MOST:,}")
        elif key in _NUMBERS:
            low, high = _NUMBERS[key]
            is_number = isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high
            require(is_number, f"[model] {key}", value, f"a number from {low:g} to {high:g}")
    tokenizer = recipe.tokenizer
    folder = tokenizer.path
    require(folder is None or isinstance(folder, str), "[tokenizer] path", folder, "a string")
    seen: set[str] = set()
    for key in ("special_tokens", "added_tokens"):
        tokens = getattr(tokenizer, key)
        is_list = isinstance(tokens, list | tuple) and all(isinstance(token, str) and token for token in tokens)
        is_new = is_list and len(set(tokens)) == len(tokens) and seen.isdisjoint(tokens)
        require(is_new, f"[tokenizer] {key}", tokens, "a list of strings, none of them empty or given twice")
        seen.update(tokens)
    template = tokenizer.chat_template
    require(template is None or isinstance(template, str), "[tokenizer] chat_template", template, "a string")
    try:
        render_jinja_template([], chat_template=template or "")
    except TemplateSyntaxError as error:
        require(False, "[tokenizer] chat_template", template, f"a Jinja template ({' '.join(str(error).split())})")


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
