"""A step of the pipeline: documents in, documents out, and a line in the drop log for each that stays behind.

A step's folder holds `documents-00000.jsonl.zst` and so on, one file for each part of its input, `drops.jsonl`, and
`run.json` with the counts. What goes in comes out or is dropped: a step whose counts do not add up does not finish.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import msgspec

from mimo_data.documents import Document, Drop, document_files, read_documents, write_documents
from mimo_data.engine import Engine, count_items, run_parts
from mimo_data.run import Record, Run

Transform = Callable[[Iterator[Document]], Iterator[Document | Drop]]
"""What a step does with the documents of one part, each of which it gives back or drops, in order."""

STATE = "state"
"""Folder of the parts' records, in the folder of a run that is not finished."""

_COUNT_EVERY = 256


class PartCounts(Record, frozen=True):
    """What became of a part."""

    num_in: int
    num_out: int
    drops: dict[str, int]
    """Dropped documents by reason."""


@dataclass(frozen=True)
class _Part:
    """One file of documents and where what comes of it goes."""

    path: Path
    folder: Path
    name: str
    make: Callable[[], Transform]


def part_names() -> Iterator[str]:
    """`00000`, `00001`, …: the names of a step's parts, in the order of their input."""
    return (f"{number:05d}" for number in count())


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
    files = [file for path in inputs for file in document_files(path)]
    parts = {name: _Part(file, run.folder, name, make) for name, file in zip(part_names(), files, strict=False)}
    outputs = run_parts(
        _transform_part,
        parts,
        output=PartCounts,
        done=run.folder / STATE,
        engine=engine,
        on_items=on_items,
    )
    return finish_step(run, outputs)


def _transform_part(part: _Part) -> PartCounts:
    num_in = 0

    def counted() -> Iterator[Document]:
        nonlocal num_in
        for document in read_documents(part.path):
            num_in += 1
            if num_in % _COUNT_EVERY == 0:
                count_items(_COUNT_EVERY)
            yield document
        count_items(num_in % _COUNT_EVERY)

    counts = write_part(part.folder, part.name, part.make()(counted()))
    if num_in != counts.num_in:
        raise AssertionError(f"{part.path}: {num_in} documents went in and {counts.num_in} came out or were dropped")
    return counts


def write_part(folder: Path, name: str, results: Iterable[Document | Drop]) -> PartCounts:
    """Writes the documents and the drop log of one part, each whole or not at all."""
    reasons: Counter[str] = Counter()
    log = folder / f"drops-{name}.jsonl"
    temporary = log.with_name(log.name + ".tmp")
    with temporary.open("wb") as file:

        def kept() -> Iterator[Document]:
            for result in results:
                if isinstance(result, Document):
                    yield result
                else:
                    reasons[result.reason] += 1
                    file.write(msgspec.json.encode(result) + b"\n")

        num_out = write_documents(folder / f"documents-{name}.jsonl.zst", kept())
    temporary.rename(log)
    return PartCounts(num_in=num_out + reasons.total(), num_out=num_out, drops=dict(sorted(reasons.items())))


def finish_step(run: Run, outputs: dict[str, PartCounts]) -> PartCounts:
    """Joins the parts' drop logs and gives the step's folder its name."""
    total = PartCounts(
        num_in=sum(part.num_in for part in outputs.values()),
        num_out=sum(part.num_out for part in outputs.values()),
        drops=dict(sorted(sum((Counter(part.drops) for part in outputs.values()), Counter()).items())),
    )
    # A run that was killed here has taken some of the logs away: what it had joined until then is still there.
    joined = run.folder / "drops.jsonl"
    if not joined.exists():
        temporary = joined.with_name(joined.name + ".tmp")
        with temporary.open("wb") as file:
            for name in outputs:
                with (run.folder / f"drops-{name}.jsonl").open("rb") as part:
                    shutil.copyfileobj(part, file)
        temporary.rename(joined)
    for name in outputs:
        (run.folder / f"drops-{name}.jsonl").unlink(missing_ok=True)
    run.finish(num_in=total.num_in, num_out=total.num_out, num_dropped=sum(total.drops.values()), drops=total.drops)
    forget_parts(run)
    return total


def forget_parts(run: Run) -> None:
    """Removes what a finished run needed to be resumed."""
    shutil.rmtree(run.out / STATE, ignore_errors=True)
