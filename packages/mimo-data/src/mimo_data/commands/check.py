"""`mimo-data check`: a recipe and its shards, and what each stage's mixture makes of them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from mimo_data.commands.step import Verbs, load
from mimo_data.run import RecipeError

if TYPE_CHECKING:
    from mimo_data.mixture import Mixture


def add(verbs: Verbs) -> None:
    """Adds the verb."""
    verb = verbs.add("check", _run, "decode a recipe; with --shards, verify them and size each stage's mixture")
    verb.add_argument("--shards", type=Path, metavar="FOLDER", help="what `mimo-data tokenize` made")
    verb.add_argument("--tokens", type=int, metavar="N", help="size the first N of each stage (default: all there are)")


def _run(arguments: argparse.Namespace) -> None:
    recipe = load(arguments)
    if arguments.tokens is not None and arguments.tokens < 1:
        raise RecipeError(f"--tokens {arguments.tokens}: at least 1.")
    print(f"{arguments.recipe}: decodes; stages: {', '.join(recipe.stages) or 'none'}")
    if arguments.shards:
        from mimo_data.shards import open_shards

        shards = open_shards(arguments.shards)
        shards.verify()
        for name, source in shards.sources.items():
            manifest = source.manifest
            print(
                f"{name}: {manifest.num_documents} documents, {manifest.num_tokens} tokens, "
                f"{len(manifest.shards)} shards"
            )
        for name, mixture in recipe.stages.items():
            _size(name, mixture, arguments.shards, arguments.tokens)


def _size(name: str, mixture: Mixture, shards: Path, num_tokens: int | None) -> None:
    """Prints what a stage reads of each source, and how much of what."""
    stream = mixture.stream(shards, 1)
    wanted = num_tokens or len(stream)
    cap = f"{stream.bound} reaches its {mixture.epochs_of(stream.bound):g} epochs"
    print(f"\nstage {name}: {len(stream)} tokens, then {cap}")
    if wanted > len(stream):
        print(f"{wanted} tokens are more than that: add text, change the weights or raise max_epochs.")
    print("\n| source | asked | realised | tokens | epochs | at most | available | in an epoch |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for share in stream.shares(wanted):
        over = " **over**" if share.num_epochs > share.max_epochs else ""
        print(
            f"| {share.source} | {share.weight:.2%} | {share.num_tokens / wanted:.2%} | {share.num_tokens} "
            f"| {share.num_epochs:.2f}{over} | {share.max_epochs:g} | {share.available_tokens} | {share.epoch_tokens} |"
        )
    for rule in mixture.sampling:
        found = stream.values_of(rule.tag)
        unknown = [value or "none" for value in rule.values if value not in found]
        if found <= {""} and unknown:
            print(
                f"\n**without effect**: sampling by {rule.tag}, a tag that no document has. Correct the name, or have "
                "it in tokenize.tags and tokenize again."
            )
        elif unknown:
            print(f"\n**without effect**: sampling {rule.tag} = {', '.join(unknown)}, which no document has.")
    for tag in sorted({rule.tag for rule in mixture.sampling}):
        shares = ", ".join(f"{value or 'none'} {share:.2%}" for value, share in stream.shares_of(tag).items())
        print(f"\nby {tag}: {shares}")
