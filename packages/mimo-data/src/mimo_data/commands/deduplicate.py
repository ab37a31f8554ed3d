"""`mimo-data deduplicate`: copies out."""

from __future__ import annotations

import argparse

from mimo_data.commands.step import Verbs, engine, load, named, open_run, progress, report

# Of documents files. Starting processes for each phase takes longer than to be done with so little.
_SMALL_BYTES = 16 << 20


def add(verbs: Verbs) -> None:
    """Adds the verb."""
    verbs.add(
        "deduplicate", _run, "drop copies by address, exact text and MinHash", out=True, documents=True, parts=True
    )


def _run(arguments: argparse.Namespace) -> None:
    from mimo_data.dedup.corpus import deduplicate_corpus
    from mimo_data.documents import document_files

    recipe = load(arguments).deduplicate
    with open_run(arguments, "deduplicate", recipe, named("documents", arguments.documents)) as run:
        if not run.complete:
            num_bytes = sum(file.stat().st_size for file in document_files(*arguments.documents))
            where = engine(arguments) if arguments.ray or num_bytes > _SMALL_BYTES else None
            with progress("documents read or written") as on_items:
                counts = deduplicate_corpus(run, arguments.documents, recipe, engine=where, on_items=on_items)
            report(run, counts)
