"""The package's one error class, and its variant for a wrong recipe."""

from __future__ import annotations


class ModelError(Exception):
    """A checkpoint, tokenizer or prompt that cannot be used: the message names it and says what to do."""

    exit_code = 1


class RecipeError(ModelError):
    """A recipe or an override that does not decode."""

    exit_code = 2
