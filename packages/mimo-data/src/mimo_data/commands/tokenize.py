"""`mimo-data tokenize`: documents to token shards."""

from __future__ import annotations

import argparse
from pathlib import Path

from mimo_data.commands.step import Verbs, engine, load, named, open_run, progress


def add(verbs: Verbs) -> None:
    """Adds the verb."""
    text = "write token shards, one folder a source"
    verb = verbs.add("tokenize", _run, text, out=True, documents=True, parts=True)
    verb.add_argument("--tokenizer", type=Path, required=True, metavar="FOLDER", help="checkpoint or tokenizer")


def _run(arguments: argparse.Namespace) -> None:
    from mimo_data.tokenize import tokenize_documents

    recipe = load(arguments).tokenize
    inputs = named("documents", arguments.documents)
    inputs |= {name: arguments.tokenizer / name for name in ("tokenizer.json", "tokenizer_config.json")}
    with open_run(arguments, "tokenize", recipe, inputs) as run:
        if not run.complete:
            with progress("documents") as on_items:
                tokenize_documents(
                    run, arguments.documents, arguments.tokenizer, recipe, engine=engine(arguments), on_items=on_items
                )
            print(f"{run.out}: written; `mimo-data check RECIPE --shards {run.out}` verifies and sizes them")
