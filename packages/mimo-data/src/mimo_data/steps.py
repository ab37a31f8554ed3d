"""A step of the pipeline: documents in, documents out, and a line in the drop log for each that stays behind.

A step's folder holds `documents-00000.jsonl.zst` and so on, one file for each part of its input, `drops.jsonl`, and
`run.json` with the counts. What goes in comes out or is dropped: a step whose counts do not add up does not finish.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from mimo_data.documents import Document, Drop, document_files, read_documents, write_documents
from mimo_data.engine import Engine, count_items, run_parts
from mimo_data.run import STATE, Record, Run, whole

TaskT = TypeVar("TaskT")

Transform = Callable[[Iterator[Document]], Iterator[Document | Drop]]
"""What a step does with the documents of one part, each of which it gives back or drops, in order."""


class PartCounts(Record, frozen=True):
    """What became of a part."""

    num_in: int
    """Documents or pages that were read."""
    num_out: int
    """Documents that were written."""
    drops: dict[str, int]
    """Dropped documents by reason."""


@dataclass(frozen=True)
class _Part(Generic[TaskT]):
    """What one process reads, and where what comes of it goes."""

    task: TaskT
    read: Callable[[TaskT], Iterator[Document | Drop]]
    folder: Path
    name: str


def part_names() -> Iterator[str]:
    """`00000`, `00001`, …: the names of a step's parts, in the order of their input."""
    return (f"{number:05d}" for number in count())


def make_documents(
    run: Run,
    tasks: Iterable[TaskT],
    read: Callable[[TaskT], Iterator[Document | Drop]],
    *,
    engine: Engine,
    memory_limit_bytes: int | None = None,
    on_items: Callable[[int], None] | None = None,
) -> PartCounts:
    """Runs a step whose parts give documents and drops, and finishes it.

    Args:
        tasks: one a part, in the order of the step's documents.
        read: importable by name, or a `functools.partial` of such a function.
        memory_limit_bytes: address space of one process.
    """
    folder = run.folder.resolve()
    parts = {name: _Part(task, read, folder, name) for name, task in zip(part_names(), tasks, strict=False)}
    outputs = run_parts(
        _make_part,
        parts,
        output=PartCounts,
        done=run.folder / STATE,
        engine=engine,
        memory_limit_bytes=memory_limit_bytes,
        on_items=on_items,
    )
    return finish_step(run, outputs)


def _make_part(part: _Part[TaskT]) -> PartCounts:
    return write_part(part.folder, part.name, part.read(part.task))


def transform_documents(
    run: Run,
    inputs: Sequence[Path],
    make: Callable[[], Transform],
    *,
    engine: Engine,
    on_items: Callable[[int], None] | None = None,
) -> PartCounts:
    """Runs a step over documents files and step folders, and finishes it.

    Args:
        make: importable by name, or a `functools.partial` of such a function; called once a part, where it runs.
    """
    files = [file.resolve() for file in document_files(*inputs)]
    return make_documents(run, files, partial(_transformed, make), engine=engine, on_items=on_items)


def _transformed(make: Callable[[], Transform], path: Path) -> Iterator[Document | Drop]:
    num_in = num_out = 0

    def counted() -> Iterator[Document]:
        nonlocal num_in
        for document in read_documents(path):
            num_in += 1
            count_items(1)
            yield document

    for result in make()(counted()):
        num_out += 1
        yield result
    if num_in != num_out:
        raise AssertionError(f"{path}: {num_in} documents went in and {num_out} came out or were dropped")


def write_part(folder: Path, name: str, results: Iterable[Document | Drop]) -> PartCounts:
    """Writes the documents and the drop log of one part, each whole or not at all."""
    reasons: Counter[str] = Counter()
    with whole(folder / f"drops-{name}.jsonl") as temporary, temporary.open("wb") as file:

        def kept() -> Iterator[Document]:
            for result in results:
                if isinstance(result, Document):
                    yield result
                else:
                    reasons[result.reason] += 1
                    file.write(msgspec.json.encode(result) + b"\n")

        num_out = write_documents(folder / f"documents-{name}.jsonl.zst", kept())
    return PartCounts(num_in=num_out + reasons.total(), num_out=num_out, drops=dict(sorted(reasons.items())))


def finish_step(run: Run, outputs: dict[str, PartCounts]) -> PartCounts:
    """Joins the parts' drop logs and gives the step's folder its name."""
    total = PartCounts(
        num_in=sum(part.num_in for part in outputs.values()),
        num_out=sum(part.num_out for part in outputs.values()),
        drops=dict(sorted(sum((Counter(part.drops) for part in outputs.values()), Counter()).items())),
    )
    join_logs(run.folder, "drops", outputs)
    run.finish(num_in=total.num_in, num_out=total.num_out, num_dropped=sum(total.drops.values()), drops=total.drops)
    forget_parts(run)
    return total


def join_logs(folder: Path, log: str, names: Collection[str]) -> None:
    """Makes `LOG.jsonl` of the parts' `LOG-00000.jsonl` and so on."""
    # A run that was killed here has taken some of the parts' away: what it had joined by then is still there.
    joined = folder / f"{log}.jsonl"
    if not joined.exists():
        with whole(joined) as temporary, temporary.open("wb") as file:
            for name in names:
                with (folder / f"{log}-{name}.jsonl").open("rb") as part:
                    shutil.copyfileobj(part, file)
    for name in names:
        (folder / f"{log}-{name}.jsonl").unlink(missing_ok=True)


def forget_parts(run: Run) -> None:
    """Removes what a finished run needed to be resumed."""
    shutil.rmtree(run.out / STATE, ignore_errors=True)
