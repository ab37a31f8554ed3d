"""What the commands share: arguments, the recipe, the output folder, the drop log, progress."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from mimo_data.run import Run

if TYPE_CHECKING:
    from mimo_data.documents import Document, Drop
    from mimo_data.recipe import DataRecipe

ItemT = TypeVar("ItemT")


class Verbs:
    """The sub-commands of `mimo-data`, to which each module of this package adds its own."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._verbs = parser.add_subparsers(required=True, metavar="VERB")

    def add(
        self,
        name: str,
        run: Callable[[argparse.Namespace], None],
        text: str,
        *,
        recipe: bool = True,
        out: bool = False,
        documents: bool = False,
    ) -> argparse.ArgumentParser:
        """A verb and which of the usual arguments it takes; its own are added to what this returns."""
        verb = self._verbs.add_parser(name, help=text, description=text)
        verb.set_defaults(run=run)
        if recipe:
            verb.add_argument("recipe", type=Path, metavar="RECIPE", help="TOML file with a table per command")
            verb.add_argument(
                "--set", action="append", default=[], metavar="KEY=VALUE", help="override a recipe's value"
            )
        if out:
            verb.add_argument("out", type=Path, metavar="OUT", help="folder to make")
        if documents:
            verb.add_argument(
                "--documents",
                type=Path,
                nargs="+",
                required=True,
                metavar="PATH",
                help="documents files or step folders",
            )
        return verb


def load(arguments: argparse.Namespace) -> DataRecipe:
    from mimo_data.recipe import DataRecipe

    return Run.load_recipe(arguments.recipe, DataRecipe, arguments.set)


def open_run(arguments: argparse.Namespace, command: str, recipe: object, inputs: dict[str, Path]) -> Run:
    """The run of one command; says so when its output is there already."""
    run = Run.open(arguments.out, package="mimo-data", command=command, recipe=recipe, inputs=inputs, resumable=False)
    if run.complete:
        print(f"{run.out}: complete, reused")
    return run


def write_step(run: Run, results: Iterable[Document | Drop], **counts: int) -> None:
    """Writes a step's documents and drop log, and prints what became of its input."""
    from mimo_data.documents import Document, write_documents, write_drops

    drops: list[Drop] = []

    def kept() -> Iterator[Document]:
        for result in results:
            if isinstance(result, Document):
                yield result
            else:
                drops.append(result)

    num_kept = write_documents(run.folder / "documents.jsonl.zst", kept())
    write_drops(run.folder / "drops.jsonl", drops)
    run.finish(num_in=num_kept + len(drops), num_out=num_kept, num_dropped=len(drops), **counts)
    reasons = ", ".join(f"{count} {reason}" for reason, count in Counter(drop.reason for drop in drops).most_common())
    print(f"{run.out}: {num_kept} documents kept, {len(drops)} dropped" + (f" ({reasons})" if reasons else ""))


def named(role: str, paths: Sequence[Path]) -> dict[str, Path]:
    return {f"{role} {number}": path for number, path in enumerate(paths, start=1)}


def read_all(arguments: argparse.Namespace) -> Iterator[Document]:
    from mimo_data.documents import read_documents

    return chain.from_iterable(read_documents(path) for path in arguments.documents)


def progress(items: Iterable[ItemT], unit: str) -> Iterator[ItemT]:
    """The items, counted on stderr: a bar on a terminal, a line every half minute in a log."""
    if sys.stderr.isatty():
        from tqdm import tqdm

        yield from tqdm(items, unit=f" {unit}", leave=False)
        return
    last_s = time.monotonic()
    for count, item in enumerate(items, start=1):
        yield item
        if time.monotonic() - last_s > 30:
            last_s = time.monotonic()
            print(f"mimo-data: {count} {unit}", file=sys.stderr, flush=True)
