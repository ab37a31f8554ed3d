"""What the commands share: arguments, the recipe, the output folder, the drop log, progress."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from mimo_data.run import RecipeError, Run

if TYPE_CHECKING:
    from mimo_data.documents import Document, Drop
    from mimo_data.engine import Engine
    from mimo_data.recipe import DataRecipe
    from mimo_data.steps import PartCounts, Transform

_LINE_EVERY_S = 30.0


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
        parts: bool = False,
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
        if parts:
            verb.add_argument(
                "--workers",
                type=int,
                default=len(os.sched_getaffinity(0)),
                metavar="N",
                help="parts at a time (default: CPUs)",
            )
            verb.add_argument(
                "--ray", default="", metavar="ADDRESS", help="run on a Ray cluster: auto, local or host:port"
            )
        return verb


def load(arguments: argparse.Namespace) -> DataRecipe:
    """The recipe that the command line names, with its overrides."""
    from mimo_data.recipe import DataRecipe

    return Run.load_recipe(arguments.recipe, DataRecipe, arguments.set)


def open_run(
    arguments: argparse.Namespace,
    command: str,
    recipe: object,
    inputs: dict[str, Path],
    *,
    digest: Callable[[Path], str] | None = None,
) -> Run:
    """The run of one command, see `Run.open`; says so when its output is there already."""
    from mimo_data.steps import forget_parts

    run = Run.open(
        arguments.out,
        package="mimo-data",
        command=command,
        recipe=recipe,
        inputs=inputs,
        resumable=True,
        digest=digest,
    )
    if run.complete:
        forget_parts(run)
        print(f"{run.out}: complete, reused")
    return run


def transform(
    arguments: argparse.Namespace, command: str, recipe: object, make: Callable[[], Transform], **inputs: Sequence[Path]
) -> None:
    """A whole command that gives back or drops each of its documents.

    Args:
        make: see `mimo_data.steps.transform_documents`.
        inputs: files beside the documents that the result depends on, by role.
    """
    from mimo_data.steps import transform_documents

    files = named("documents", arguments.documents)
    for role, paths in inputs.items():
        files |= named(role, paths)
    with open_run(arguments, command, recipe, files) as run:
        if not run.complete:
            with progress("documents") as on_items:
                counts = transform_documents(
                    run, arguments.documents, make, engine=engine(arguments), on_items=on_items
                )
            report(run, counts)


def write_step(run: Run, results: Iterable[Document | Drop]) -> None:
    """Writes a step that runs in this process, as one part."""
    from mimo_data.steps import finish_step, write_part

    report(run, finish_step(run, {"00000": write_part(run.folder, "00000", results)}))


def report(run: Run, counts: PartCounts, note: str = "") -> None:
    """Prints what became of a step's input, and the note behind it."""
    reasons = ", ".join(f"{count} {reason}" for reason, count in counts.drops.items())
    num_dropped = counts.num_in - counts.num_out
    listed = f" ({reasons})" if reasons else ""
    print(f"{run.out}: {counts.num_out} documents kept, {num_dropped} dropped{listed}{note}")


def engine(arguments: argparse.Namespace) -> Engine:
    """Where `--workers` and `--ray` want the parts to run."""
    from mimo_data.engine import Engine

    if arguments.workers < 1:
        raise RecipeError(f"--workers {arguments.workers}: at least 1.")
    return Engine(num_workers=arguments.workers, ray=arguments.ray)


def named(role: str, paths: Sequence[Path]) -> dict[str, Path]:
    """The paths by their role, numbered where there are several."""
    if len(paths) == 1:
        return {role: paths[0]}
    return {f"{role} {number}": path for number, path in enumerate(paths, start=1)}


def read_all(arguments: argparse.Namespace) -> Iterator[Document]:
    """All documents that the command line names."""
    from mimo_data.documents import read_documents

    return chain.from_iterable(read_documents(path) for path in arguments.documents)


@contextmanager
def progress(unit: str) -> Iterator[Callable[[int], None]]:
    """A function that is told of items done and shows them on stderr: a bar on a terminal, lines in a log."""
    if sys.stderr.isatty():
        from tqdm import tqdm

        with tqdm(unit=f" {unit}", leave=False) as bar:

            def show(num_items: int) -> None:
                bar.update(num_items)

            yield show
        return
    num_done, last_s = 0, time.monotonic()

    def note(num_items: int) -> None:
        nonlocal num_done, last_s
        num_done += num_items
        if time.monotonic() - last_s > _LINE_EVERY_S:
            last_s = time.monotonic()
            print(f"mimo-data: {num_done} {unit}", file=sys.stderr, flush=True)

    yield note
