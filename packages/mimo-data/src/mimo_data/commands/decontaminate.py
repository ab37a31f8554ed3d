"""`mimo-data decontaminate`: documents with a benchmark problem out."""

from __future__ import annotations

import argparse
from pathlib import Path

from mimo_data.commands.step import Verbs, engine, load, named, open_run, progress, report


def add(verbs: Verbs) -> None:
    """Adds the verb."""
    text = "drop documents with a benchmark's problem"
    verb = verbs.add("decontaminate", _run, text, out=True, documents=True, parts=True)
    verb.add_argument(
        "--problems", type=Path, nargs="+", required=True, metavar="FILE", help="problem files (mimo-eval problems)"
    )


def _run(arguments: argparse.Namespace) -> None:
    from mimo_data.decontaminate.step import decontaminate_documents, num_unsearched

    recipe = load(arguments).decontaminate
    inputs = named("documents", arguments.documents) | named("problems", arguments.problems)
    with open_run(arguments, "decontaminate", recipe, inputs) as run:
        if not run.complete:
            with progress("documents") as on_items:
                counts = decontaminate_documents(
                    run, arguments.documents, arguments.problems, recipe, engine=engine(arguments), on_items=on_items
                )
            unsearched = num_unsearched(run.out)
            note = f"; problems that say too little to be searched for: {unsearched}, see unsearched.jsonl"
            report(run, counts, note if unsearched else "")
