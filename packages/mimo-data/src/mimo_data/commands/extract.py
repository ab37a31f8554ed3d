"""`mimo-data extract`: pages to documents."""

from __future__ import annotations

import argparse
from pathlib import Path

from mimo_data.commands.step import Verbs, engine, load, named, open_run, progress, report


def add(verbs: Verbs) -> None:
    """Adds the verb."""
    verb = verbs.add("extract", _run, "pages (.html, .htm, .pdf, plain or gzipped) to documents", out=True, parts=True)
    verb.add_argument("--pages", type=Path, nargs="+", required=True, metavar="DIR", help="folders of pages")


def _run(arguments: argparse.Namespace) -> None:
    from mimo_data.extract import extract_pages

    recipe = load(arguments).extract
    with open_run(arguments, "extract", recipe, named("pages", arguments.pages)) as run:
        if not run.complete:
            with progress("pages") as on_items:
                report(run, extract_pages(run, arguments.pages, recipe, engine=engine(arguments), on_items=on_items))
