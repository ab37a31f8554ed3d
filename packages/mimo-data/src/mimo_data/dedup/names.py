"""The last phases: which kept document each dropped one is told of, and the output."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np

from mimo_data.dedup.groups import LOSSES
from mimo_data.dedup.layout import ROW_BITS, Counted, Task, among, ids_of, losses_until_now, part_of, row_mask
from mimo_data.dedup.shuffle import ShuffleWriter, partition_extents, read_records
from mimo_data.documents import Document, Drop, read_documents
from mimo_data.engine import count_items
from mimo_data.steps import PartCounts, write_part


def names(task: Task) -> Counted:
    """Finds the ids of kept documents; counts the questions that other parts have to answer.

    In turn 0 a part asks for each of its own losses. A question (LOSSES) about a document that was dropped, too, is one
    about the document that was kept instead.
    """
    layout, part = task.layout, task.number
    lost = losses_until_now(task)
    lost = lost[np.argsort(lost["number"])]
    questions = lost if task.turn == 0 else read_records(layout.parts(f"questions-{task.turn - 1}"), part, LOSSES)
    numbers, kept = questions["number"], questions["kept"].copy()
    while (gone := among(kept, lost["number"])).any():
        kept[gone] = lost["kept"][np.searchsorted(lost["number"], kept[gone])]
    here = part_of(kept) == part
    passed = np.empty(int((~here).sum()), dtype=LOSSES)
    passed["number"], passed["kept"] = numbers[~here], kept[~here]
    with (
        ShuffleWriter(layout.file(f"questions-{task.turn}", part), layout.num_parts) as question_writer,
        ShuffleWriter(layout.file(f"answers-{task.turn}", part), layout.num_parts) as answer_writer,
    ):
        question_writer.add_records(part_of(passed["kept"]), passed)
        order = np.argsort(kept[here], kind="stable")
        rows, askers = kept[here][order] & row_mask(), numbers[here][order]
        ids = enumerate(ids_of(layout, part))
        row, name = -1, ""
        for wanted, asker in zip(rows.tolist(), askers.tolist(), strict=True):
            while row < wanted:
                row, name = next(ids)
            answer_writer.add(asker >> int(ROW_BITS), _answer(asker, name))
    return Counted(num_records=len(passed))


def filter_part(task: Task) -> PartCounts:
    """Writes the documents that are left, and the drop log."""
    layout, part = task.layout, task.number
    found = [(read_records(layout.partitions(phase), part, LOSSES), reason) for phase, reason in task.losses]
    rows = np.concatenate([np.empty(0, dtype=np.uint64), *(lost["number"] & row_mask() for lost, _ in found)])
    codes = np.concatenate([np.empty(0, dtype=np.int64), *(np.full(len(lost), n) for n, (lost, _) in enumerate(found))])
    order = np.argsort(rows)
    lost_rows = iter(zip(rows[order].tolist(), codes[order].tolist(), strict=True))
    kept = dict(chain.from_iterable(_answers(layout.parts(f"answers-{turn}"), part) for turn in range(task.turn + 1)))

    def results() -> Iterator[Document | Drop]:
        lost_row, code = next(lost_rows, (-1, 0))
        for row, document in enumerate(read_documents(task.documents)):
            count_items(1)
            if row == lost_row:
                yield Drop(id=document.id, step="deduplicate", reason=found[code][1], detail=kept[row])
                lost_row, code = next(lost_rows, (-1, 0))
            else:
                yield document

    return write_part(task.out, f"{part:05d}", results())


def _answer(number: int, name: str) -> bytes:
    """A dropped document's number, the bytes of an id and the id, filled up to whole words."""
    data = name.encode("utf-8", "surrogatepass")
    return np.array([number, len(data)], dtype=np.uint64).tobytes() + data + bytes(-len(data) % 8)


def _answers(paths: list[Path], part: int) -> Iterator[tuple[int, str]]:
    """Rows of a part's dropped documents, with the ids of the kept ones."""
    for path in paths:
        for offset, size in partition_extents(path, part):
            data = np.fromfile(path, np.uint8, size, offset=offset).tobytes()
            place = 0
            while place < size:
                number, length = np.frombuffer(data, dtype="<u8", count=2, offset=place).tolist()
                yield number & int(row_mask()), data[place + 16 : place + 16 + length].decode("utf-8", "surrogatepass")
                place += 16 + length + -length % 8
