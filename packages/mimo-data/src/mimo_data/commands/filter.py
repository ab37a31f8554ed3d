"""`mimo-data filter`: what is hardly text out."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from mimo_data.commands.step import Verbs, load, named, open_run, progress, read_all, write_step

if TYPE_CHECKING:
    from mimo_data.documents import Document


def add(verbs: Verbs) -> None:
    """Adds the verb."""
    verbs.add("filter", _run, "drop what is hardly text, by plain measures", out=True, documents=True)


def _run(arguments: argparse.Namespace) -> None:
    from mimo_data.documents import Drop
    from mimo_data.filter import why_dropped

    recipe = load(arguments).filter

    def decide(document: Document) -> Document | Drop:
        found = why_dropped(document, recipe)
        return Drop(id=document.id, step="filter", reason=found[0], detail=found[1]) if found else document

    with open_run(arguments, "filter", recipe, named("documents", arguments.documents)) as run:
        if not run.complete:
            write_step(run, map(decide, progress(read_all(arguments), "documents")))
