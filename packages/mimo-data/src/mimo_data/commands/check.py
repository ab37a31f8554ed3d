"""`mimo-data check`: a recipe and its shards."""

from __future__ import annotations

import argparse
from pathlib import Path

from mimo_data.commands.step import Verbs, load


def add(verbs: Verbs) -> None:
    """Adds the verb."""
    verb = verbs.add("check", _run, "decode a recipe; with --shards, verify them and size each stage's mixture")
    verb.add_argument("--shards", type=Path, metavar="FOLDER", help="what `mimo-data tokenize` made")


def _run(arguments: argparse.Namespace) -> None:
    recipe = load(arguments)
    print(f"{arguments.recipe}: decodes; stages: {', '.join(recipe.stages) or 'none'}")
    if arguments.shards:
        from mimo_data.shards import open_shards

        shards = open_shards(arguments.shards)
        shards.verify()
        for source, shard in shards.sources.items():
            print(f"{source}: {shard.manifest.num_documents} documents, {shard.manifest.num_tokens} tokens")
        for name, mixture in recipe.stages.items():
            num_tokens = len(mixture.stream(arguments.shards, 1))
            print(f"stage {name}: {num_tokens} tokens before a source exceeds {mixture.max_epochs:g} epochs")
