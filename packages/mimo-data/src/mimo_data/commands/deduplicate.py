"""`mimo-data deduplicate`: copies out."""

from __future__ import annotations

import argparse

from mimo_data.commands.step import Verbs, load, named, open_run, read_all, write_step


def add(verbs: Verbs) -> None:
    """Adds the verb."""
    verbs.add("deduplicate", _run, "drop copies by address, exact text and MinHash", out=True, documents=True)


def _run(arguments: argparse.Namespace) -> None:
    from mimo_data.dedup.minhash import find_duplicates
    from mimo_data.documents import Drop

    recipe = load(arguments).deduplicate
    with open_run(arguments, "deduplicate", recipe, named("documents", arguments.documents)) as run:
        if not run.complete:
            found = find_duplicates(read_all(arguments), recipe)
            drops = {
                dropped: Drop(id=dropped, step="deduplicate", reason=reason, detail=kept)
                for dropped, kept, reason in found
            }
            write_step(run, (drops.get(document.id, document) for document in read_all(arguments)))
