"""`mimo-data filter`: what is hardly text out."""

from __future__ import annotations

import argparse
from functools import partial
from typing import TYPE_CHECKING

from mimo_data.commands.step import Verbs, load, transform

if TYPE_CHECKING:
    from mimo_data.documents import Document, Drop
    from mimo_data.filter import FilterRecipe
    from mimo_data.steps import Transform


def add(verbs: Verbs) -> None:
    """Adds the verb."""
    text = "drop what is hardly text, by plain measures"
    verbs.add("filter", _run, text, out=True, documents=True, parts=True)


def _run(arguments: argparse.Namespace) -> None:
    recipe = load(arguments).filter
    transform(arguments, "filter", recipe, partial(_make, recipe))


def _make(recipe: FilterRecipe) -> Transform:
    from mimo_data.documents import Drop
    from mimo_data.filter import why_dropped

    def decide(document: Document) -> Document | Drop:
        found = why_dropped(document, recipe)
        return Drop(id=document.id, step="filter", reason=found[0], detail=found[1]) if found else document

    return partial(map, decide)
