"""`mimo-data extract`: pages to documents."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from mimo_data.commands.step import Verbs, load, open_run, progress, write_step
from mimo_data.run import RecipeError


def add(verbs: Verbs) -> None:
    """Adds the verb."""
    verb = verbs.add("extract", _run, "pages (.html, .htm, .html.gz, .pdf) to documents", out=True)
    verb.add_argument("--pages", type=Path, required=True, metavar="DIR", help="folder of pages")
    verb.add_argument(
        "--workers", type=int, default=len(os.sched_getaffinity(0)), metavar="N", help="processes (default: CPUs)"
    )


def _run(arguments: argparse.Namespace) -> None:
    from mimo_data.extract import extract_pages

    recipe = load(arguments).extract
    if arguments.workers < 1:
        raise RecipeError(f"--workers {arguments.workers}: at least 1.")
    with open_run(arguments, "extract", recipe, {"pages": arguments.pages}) as run:
        if not run.complete:
            pages = extract_pages(arguments.pages, recipe, num_workers=arguments.workers)
            write_step(run, progress(pages, "pages"))
