"""Decontamination as a step over files of documents, with its report.

Beside what every step leaves stand `hits.jsonl`, every problem of every dropped document with the words that gave it
away, and `unsearched.jsonl`, the problems that say too little to be searched for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import msgspec

from mimo_data.decontaminate.index import ProblemIndex
from mimo_data.decontaminate.problems import DecontaminateRecipe
from mimo_data.documents import Document, Drop, document_files, read_documents
from mimo_data.engine import Engine, count_items, run_parts
from mimo_data.run import STATE, Record, Run, whole
from mimo_data.steps import PartCounts, finish_step, join_logs, part_names, write_part

_FIRST_PART = next(part_names())
_UNSEARCHED = "unsearched.jsonl"


class Unsearched(Record, frozen=True):
    """One line of `unsearched.jsonl`: a problem that says too little to be searched for."""

    problem: str
    """Its id."""


@dataclass(frozen=True)
class _Part:
    """One file of documents, what to look for in it, and where what comes of it goes."""

    path: Path
    folder: Path
    name: str
    recipe: DecontaminateRecipe
    problems: tuple[Path, ...]
    run: str
    """The run's fingerprint."""


def decontaminate_documents(
    run: Run,
    inputs: Sequence[Path],
    problems: Sequence[Path],
    recipe: DecontaminateRecipe,
    *,
    engine: Engine,
    on_items: Callable[[int], None] | None = None,
) -> PartCounts:
    """Runs the step over documents files and step folders, and finishes it."""
    files = document_files(*inputs)
    parts = {
        name: _Part(file, run.folder, name, recipe, tuple(problems), run.fingerprint)
        for name, file in zip(part_names(), files, strict=False)
    }
    outputs = run_parts(
        _search_part, parts, output=PartCounts, done=run.folder / STATE, engine=engine, on_items=on_items
    )
    join_logs(run.folder, "hits", outputs)
    return finish_step(run, outputs)


def _search_part(part: _Part) -> PartCounts:
    index = _index(part.recipe, part.problems, part.run)
    if part.name == _FIRST_PART:
        with whole(part.folder / _UNSEARCHED) as temporary:
            lines = (msgspec.json.encode(Unsearched(problem=problem)) + b"\n" for problem in index.too_short)
            temporary.write_bytes(b"".join(lines))
    with whole(part.folder / f"hits-{part.name}.jsonl") as temporary, temporary.open("wb") as file:

        def decided() -> Iterator[Document | Drop]:
            for document in read_documents(part.path):
                found = index.find(document)
                for hit in found:
                    file.write(msgspec.json.encode(hit) + b"\n")
                if found:
                    problem = found[0].problem
                    yield Drop(id=document.id, step="decontaminate", reason="contains_problem", detail=problem)
                else:
                    yield document
                count_items(1)

        return write_part(part.folder, part.name, decided())


@lru_cache(maxsize=1)
def _index(recipe: DecontaminateRecipe, problems: tuple[Path, ...], _run: str) -> ProblemIndex:
    """One for all the parts of a run that a process does; for the next run, the files may hold others."""
    return ProblemIndex.of_files(problems, recipe)


def num_unsearched(folder: Path) -> int:
    """How many problems a finished step names in `unsearched.jsonl`."""
    return (folder / _UNSEARCHED).read_bytes().count(b"\n")
