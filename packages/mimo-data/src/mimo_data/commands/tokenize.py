"""`mimo-data tokenize`: documents to token shards."""

from __future__ import annotations

import argparse
from pathlib import Path

from mimo_data.commands.step import Verbs, load, named, open_run, read_all


def add(verbs: Verbs) -> None:
    """Adds the verb."""
    verb = verbs.add("tokenize", _run, "write token shards, one folder a source", out=True, documents=True)
    verb.add_argument("--tokenizer", type=Path, required=True, metavar="FOLDER", help="checkpoint or tokenizer")


def _run(arguments: argparse.Namespace) -> None:
    from mimo_data.shards import write_shards

    load(arguments)
    inputs = named("documents", arguments.documents)
    inputs |= {name: arguments.tokenizer / name for name in ("tokenizer.json", "tokenizer_config.json")}
    with open_run(arguments, "tokenize", {}, inputs) as run:
        if not run.complete:
            documents = read_all(arguments)
            manifests = write_shards(documents, arguments.tokenizer, run.folder)
            run.finish(
                num_documents=sum(manifest.num_documents for manifest in manifests.values()),
                num_tokens=sum(manifest.num_tokens for manifest in manifests.values()),
            )
