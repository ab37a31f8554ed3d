"""`mimo-data import`: what Hugging Face datasets reads, to documents."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mimo_data.commands.step import Verbs, engine, load, named, open_run, progress, report
from mimo_data.run import RecipeError

if TYPE_CHECKING:
    from mimo_data.documents import Document, Drop
    from mimo_data.sources.hub import ImportRecipe
    from mimo_data.sources.page import Part


def add(verbs: Verbs) -> None:
    """Adds the verb."""
    verbs.add("import", _run, "a data set that Hugging Face datasets reads, to documents", out=True, parts=True)


def _run(arguments: argparse.Namespace) -> None:
    from mimo_data.sources.hub import parts
    from mimo_data.steps import make_documents

    recipe = load(arguments).imports
    if recipe is None:
        raise RecipeError(f"{arguments.recipe}: has no [import] table, which says what to read.")
    files = named("file", [Path(file) for file in recipe.files])
    with open_run(arguments, "import", recipe, files) as run:
        if not run.complete:
            with progress("documents") as on_items:
                counts = make_documents(
                    run, parts(recipe), partial(_rows, recipe), engine=engine(arguments), on_items=on_items
                )
            report(run, counts)


def _rows(recipe: ImportRecipe, part: Part) -> Iterator[Document | Drop]:
    from mimo_data.engine import count_items
    from mimo_data.sources.hub import read

    for result in read(part, recipe):
        count_items(1)
        yield result
