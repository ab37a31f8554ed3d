"""The `mimo-data` command: one verb a step, each from a recipe to an output folder."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from mimo_data.run import DataError, Run

if TYPE_CHECKING:
    from mimo_data.documents import Document
    from mimo_data.recipe import DataRecipe


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns 0, or 2 for a wrong command line or recipe, or 1 for everything else."""
    arguments = _parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except DataError as error:
        print(f"mimo-data: error: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(
            f"mimo-data: error: {error.filename}: {error.strerror}. Check the path and its rights.",
            file=sys.stderr,
        )
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mimo-data", description="From raw pages and PDFs to token shards.")
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    step = argparse.ArgumentParser(add_help=False)
    step.add_argument("recipe", type=Path, metavar="RECIPE", help="TOML file with a table per command")
    step.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override a recipe's value"
    )
    makes = argparse.ArgumentParser(add_help=False, parents=[step])
    makes.add_argument("out", type=Path, metavar="OUT", help="folder to make")
    documents = argparse.ArgumentParser(add_help=False)
    documents.add_argument(
        "--documents",
        type=Path,
        nargs="+",
        required=True,
        metavar="PATH",
        help="documents files or step folders",
    )

    tokenize = verbs.add_parser(
        "tokenize", parents=[makes, documents], help="write token shards, one folder a source"
    )
    tokenize.add_argument(
        "--tokenizer", type=Path, required=True, metavar="FOLDER", help="checkpoint or tokenizer"
    )
    tokenize.set_defaults(run=_tokenize)
    return parser


def _tokenize(arguments: argparse.Namespace) -> None:
    from mimo_data.shards import write_shards

    _load(arguments)
    inputs = _named("documents", arguments.documents)
    inputs |= {name: arguments.tokenizer / name for name in ("tokenizer.json", "tokenizer_config.json")}
    with _open(arguments, "tokenize", {}, inputs) as run:
        if not run.complete:
            manifests = write_shards(_documents(arguments), arguments.tokenizer, run.folder)
            run.finish(
                num_documents=sum(manifest.num_documents for manifest in manifests.values()),
                num_tokens=sum(manifest.num_tokens for manifest in manifests.values()),
            )


def _load(arguments: argparse.Namespace) -> DataRecipe:
    from mimo_data.recipe import DataRecipe

    return Run.load_recipe(arguments.recipe, DataRecipe, arguments.set)


def _open(arguments: argparse.Namespace, command: str, recipe: object, inputs: dict[str, Path]) -> Run:
    """The run of one command; says so when its output is there already."""
    run = Run.open(
        arguments.out, package="mimo-data", command=command, recipe=recipe, inputs=inputs, resumable=False
    )
    if run.complete:
        print(f"{run.out}: complete, reused")
    return run


def _named(role: str, paths: Sequence[Path]) -> dict[str, Path]:
    return {f"{role} {number}": path for number, path in enumerate(paths, start=1)}


def _documents(arguments: argparse.Namespace) -> Iterator[Document]:
    from mimo_data.documents import read_documents

    return chain.from_iterable(read_documents(path) for path in arguments.documents)
