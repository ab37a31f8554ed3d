"""`mimo-data decontaminate`: documents with a benchmark problem out."""

from __future__ import annotations

import argparse
from functools import cache, partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from mimo_data.commands.step import Verbs, load, transform

if TYPE_CHECKING:
    from mimo_data.decontaminate import DecontaminateRecipe, ProblemIndex
    from mimo_data.documents import Document, Drop
    from mimo_data.steps import Transform


def add(verbs: Verbs) -> None:
    """Adds the verb."""
    text = "drop documents with a benchmark's problem"
    verb = verbs.add("decontaminate", _run, text, out=True, documents=True, parts=True)
    verb.add_argument(
        "--problems", type=Path, nargs="+", required=True, metavar="FILE", help="problem files (mimo-eval problems)"
    )


def _run(arguments: argparse.Namespace) -> None:
    recipe = load(arguments).decontaminate
    problems = tuple(arguments.problems)
    transform(arguments, "decontaminate", recipe, partial(_make, recipe, problems), problems=problems)


def _make(recipe: DecontaminateRecipe, problems: tuple[Path, ...]) -> Transform:
    from mimo_data.documents import Drop

    index = _index(recipe, problems)

    def decide(document: Document) -> Document | Drop:
        problem = index.find(document.text)
        return (
            Drop(id=document.id, step="decontaminate", reason="contains_problem", detail=problem)
            if problem
            else document
        )

    return partial(map, decide)


@cache
def _index(recipe: DecontaminateRecipe, problems: tuple[Path, ...]) -> ProblemIndex:
    """One for all the parts that a process runs."""
    from mimo_data.decontaminate import ProblemIndex, read_prompts

    return ProblemIndex(chain.from_iterable(read_prompts(path) for path in problems), recipe)
