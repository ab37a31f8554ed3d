"""`mimo-data extract`: pages, archives, tables and repositories to documents."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from mimo_data.commands.step import Verbs, engine, load, named, open_run, progress, report

if TYPE_CHECKING:
    from mimo_data.extract import Kind

_INPUTS: dict[Kind, str] = {
    "pages": "folders of .html, .htm, .xhtml and .pdf files, plain or gzipped",
    "archives": "WARC and WET files, or folders of them",
    "tables": "Parquet, JSON Lines and CSV files of documents or pages, or folders of them",
    "repositories": "source code: git repositories or plain folders, or folders of both",
}


def add(verbs: Verbs) -> None:
    """Adds the verb."""
    verb = verbs.add(
        "extract", _run, "web pages, PDF files, archives, tables and code to documents", out=True, parts=True
    )
    add_inputs(verb.add_mutually_exclusive_group(required=True))


def add_inputs(group: argparse._MutuallyExclusiveGroup) -> None:
    """An option for each kind of input."""
    for kind, text in _INPUTS.items():
        group.add_argument(f"--{kind}", type=Path, nargs="+", default=[], metavar="PATH", help=text)


def chosen_input(arguments: argparse.Namespace) -> tuple[Kind, list[Path]] | None:
    """The kind of input that was given, and where it is."""
    return next(((kind, paths) for kind in _INPUTS if (paths := getattr(arguments, kind))), None)


def _run(arguments: argparse.Namespace) -> None:
    from mimo_data.extract import extract_pages
    from mimo_data.sources.repository import digest

    recipe = load(arguments).extract
    given = chosen_input(arguments)
    assert given is not None
    kind, paths = given
    counted = digest if kind == "repositories" else None
    with open_run(arguments, "extract", recipe, named(kind, paths), digest=counted) as run:
        if not run.complete:
            with progress("pages") as on_items:
                counts = extract_pages(run, kind, paths, recipe, engine=engine(arguments), on_items=on_items)
            report(run, counts)
