"""`mimo-data decontaminate`: documents with a benchmark problem out."""

from __future__ import annotations

import argparse
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from mimo_data.commands.step import Verbs, load, named, open_run, progress, read_all, write_step

if TYPE_CHECKING:
    from mimo_data.documents import Document


def add(verbs: Verbs) -> None:
    """Adds the verb."""
    text = "drop documents with a benchmark's problem"
    verb = verbs.add("decontaminate", _run, text, out=True, documents=True)
    verb.add_argument(
        "--problems", type=Path, nargs="+", required=True, metavar="FILE", help="problem files (mimo-eval problems)"
    )


def _run(arguments: argparse.Namespace) -> None:
    from mimo_data.decontaminate import ProblemIndex, read_prompts
    from mimo_data.documents import Drop

    recipe = load(arguments).decontaminate
    inputs = named("documents", arguments.documents) | named("problems", arguments.problems)
    with open_run(arguments, "decontaminate", recipe, inputs) as run:
        if not run.complete:
            index = ProblemIndex(chain.from_iterable(read_prompts(path) for path in arguments.problems), recipe)

            def decide(document: Document) -> Document | Drop:
                problem = index.find(document.text)
                return (
                    Drop(id=document.id, step="decontaminate", reason="contains_problem", detail=problem)
                    if problem
                    else document
                )

            kept = map(decide, progress(read_all(arguments), "documents"))
            write_step(run, kept, num_problems_too_short=index.num_too_short)
