"""Where everything lies between the phases of deduplication out of core, and how documents are numbered.

A part is a file of documents, a partition an even share of the hashes. A phase is a function from files to files, of
one part or one partition. Each reads what all tasks of the one before it have written for it, and holds a bounded share
of that in memory:

| phase | a task for each | reads | writes |
| --- | --- | --- | --- |
| sketch | part | documents | sketches and ids, kept by part; hashes of ids and addresses |
| addresses | partition | those hashes | losses `same_url` |
| words | part | sketches, losses | hashes of the texts that are left |
| texts | partition | those hashes | losses `same_text` |
| bands | part | sketches (from round 1: the crowds), losses | hashes of the bands of documents that are left |
| pairs | partition | those hashes | candidate pairs; which shingles they need; crowds |
| shingles | part | needs, documents | sets of shingles |
| verify | partition | candidate pairs, sets | pairs that are alike |
| stars | partition | pairs | each document with the best one it is joined to; losses `near_duplicate` |
| names | part | losses, questions for names | questions for other parts, answers |
| filter | part | losses, answers, documents | documents that are kept, drop log |

A round is bands to stars; stars and names are repeated until nothing changes. Losses, crowds, needs and questions go to
the part that has the document. A document's number is its part and its row in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from mimo_data.dedup.groups import LOSSES
from mimo_data.dedup.minhash import DeduplicateRecipe, Sketcher
from mimo_data.dedup.shuffle import ShuffleWriter, partition_bytes, read_records
from mimo_data.run import Record, whole

ROW_BITS = np.uint64(40)
CHUNK_DOCUMENTS = 4096
MAX_RECORDS_BYTES = 128 << 20
_SPREAD = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Layout:
    """What every task knows of the corpus."""

    folder: Path
    recipe: DeduplicateRecipe
    num_parts: int
    num_partitions: int

    def write_files(self, files: Sequence[Path]) -> None:
        """Notes the file of each part, for errors: with every task they would weigh too much."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with whole(self.folder / "files.json") as temporary:
            temporary.write_bytes(msgspec.json.encode([str(file) for file in files]))

    def read_files(self) -> list[Path]:
        """The file of each part."""
        return [Path(file) for file in msgspec.json.decode((self.folder / "files.json").read_bytes(), type=list[str])]

    def parts(self, phase: str) -> list[Path]:
        """What the tasks of a phase of parts have written."""
        return [self.file(phase, part) for part in range(self.num_parts)]

    def partitions(self, phase: str) -> list[Path]:
        """What the tasks of a phase of partitions have written."""
        return [self.file(phase, partition) for partition in range(self.num_partitions)]

    def file(self, phase: str, task: int) -> Path:
        """What one task of a phase writes."""
        return self.folder / phase / f"{task:05d}"


@dataclass(frozen=True)
class Task:
    """One part or one partition of one phase."""

    layout: Layout
    number: int
    documents: Path = Path()
    """Of a part: its file."""
    losses: tuple[tuple[str, str], ...] = ()
    """The phases that have written losses until now, each with its reason."""
    round: int = 0
    turn: int = 0
    out: Path = Path()
    """Folder of the documents that are kept."""


class Counted(Record, frozen=True):
    """What a task did."""

    num_records: int
    """Documents, losses, pairs or questions, as the phase says."""
    changed: bool = False
    """Of stars: there was something to contract."""


def numbers_of(part: int, first_row: int, count: int) -> NDArray[np.uint64]:
    """Of a part's documents from a row on."""
    return np.arange(first_row, first_row + count, dtype=np.uint64) | np.uint64(part) << ROW_BITS


def row_mask() -> np.uint64:
    """The bits of a number that are the row."""
    return (np.uint64(1) << ROW_BITS) - np.uint64(1)


def part_of(numbers: NDArray[np.uint64]) -> NDArray[np.int64]:
    """The parts that have the documents of these numbers."""
    return (numbers >> ROW_BITS).astype(np.int64)


def partition_of(values: NDArray[np.uint64], layout: Layout) -> NDArray[np.int64]:
    """The partition of hashes or numbers."""
    mixed = (values * _SPREAD) >> np.uint64(32)
    return (mixed % np.uint64(layout.num_partitions)).astype(np.int64)


def spread(writer: ShuffleWriter, records: NDArray[np.void], layout: Layout) -> None:
    """Each record to the partition of its hash."""
    writer.add_records(partition_of(records["hash"], layout), records)


def spread_pairs(writer: ShuffleWriter, found: NDArray[np.void], layout: Layout) -> None:
    """Each pair to the partitions of both of its documents, once if they are one."""
    a, b = partition_of(found["number_a"], layout), partition_of(found["number_b"], layout)
    apart = a != b
    writer.add_records(np.concatenate([a, b[apart]]), np.concatenate([found, found[apart]]))


def bounded(
    paths: list[Path], partition: int, dtype: np.dtype[np.void], *, by: str = "hash"
) -> Iterator[NDArray[np.void]]:
    """A partition's records in groups that fit in memory; all that are equal in `by` are in one group."""
    num_groups = -(-partition_bytes(paths, partition) // MAX_RECORDS_BYTES)
    for group in range(num_groups):

        def keep(records: NDArray[np.void], group: int = group) -> NDArray[np.bool_]:
            mixed = (records[by] * _SPREAD) >> np.uint64(11)
            chosen: NDArray[np.bool_] = mixed % np.uint64(num_groups) == group
            return chosen

        yield read_records(paths, partition, dtype, keep if num_groups > 1 else None)


def sketches_of(layout: Layout, part: int) -> Iterator[tuple[NDArray[np.uint64], NDArray[np.void]]]:
    """A part's sketches and the numbers of their documents, some at a time."""
    record = Sketcher(layout.recipe).record
    first_row = 0
    with layout.file("sketches", part).open("rb") as file:
        while len(found := np.fromfile(file, record, CHUNK_DOCUMENTS)):
            yield numbers_of(part, first_row, len(found)), found
            first_row += len(found)


def ids_of(layout: Layout, part: int) -> Iterator[str]:
    """The ids of a part's documents, in their order."""
    decoder = msgspec.json.Decoder(str)
    with layout.file("ids", part).open("rb") as file:
        yield from map(decoder.decode, file)


def losses_until_now(task: Task) -> NDArray[np.void]:
    """LOSSES of a part until now."""
    layout = task.layout
    found = [read_records(layout.partitions(phase), task.number, LOSSES) for phase, _ in task.losses]
    return np.concatenate([np.empty(0, dtype=LOSSES), *found])


def lost_numbers(task: Task) -> NDArray[np.uint64]:
    """Sorted numbers of a part's dropped documents."""
    numbers: NDArray[np.uint64] = np.sort(losses_until_now(task)["number"])
    return numbers


def among(numbers: NDArray[np.uint64], some: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which of the numbers are among some, which are sorted."""
    if not len(some):
        return np.zeros(len(numbers), dtype=bool)
    places = np.minimum(np.searchsorted(some, numbers), len(some) - 1)
    found: NDArray[np.bool_] = some[places] == numbers
    return found
