"""`mimo-data import`: what Hugging Face datasets reads, to documents."""

from __future__ import annotations

import argparse
from pathlib import Path

from mimo_data.commands.step import Verbs, load, named, open_run, write_step
from mimo_data.run import RecipeError


def add(verbs: Verbs) -> None:
    """Adds the verb."""
    verbs.add("import", _run, "a data set that Hugging Face datasets reads, to documents", out=True)


def _run(arguments: argparse.Namespace) -> None:
    from mimo_data.sources.hub import import_documents

    recipe = load(arguments).imports
    if recipe is None:
        raise RecipeError(f"{arguments.recipe}: has no [import] table, which says what to read.")
    files = named("file", [Path(file) for file in recipe.files])
    with open_run(arguments, "import", recipe, files) as run:
        if not run.complete:
            write_step(run, import_documents(recipe))
