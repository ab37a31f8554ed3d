"""The phases of deduplication out of core: each a function from files to files, of one part or one partition.

A part is a file of documents, a partition an even share of the hashes. Each phase reads what all tasks of the one
before it have written for it, and holds a bounded share of that in memory:

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
the part that has the document.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import msgspec
import numpy as np
from numpy.typing import NDArray

from mimo_data.dedup.groups import (
    BANDS,
    EXACT,
    LOSSES,
    PAIRS,
    candidate_pairs,
    contracted,
    exact_losses,
    losses_of,
    unique_pairs,
)
from mimo_data.dedup.minhash import DeduplicateRecipe, Sketcher, band_records, text_records, url_hash
from mimo_data.dedup.shuffle import ShuffleWriter, partition_bytes, partition_extents, read_records
from mimo_data.documents import Document, Drop, read_documents
from mimo_data.engine import count_items
from mimo_data.run import DataError, Record
from mimo_data.steps import PartCounts, write_part

NEEDS = np.dtype([("number", "<u8"), ("partition", "<u8")])
"""A document whose shingles a partition of pairs needs."""

_ROW_BITS = np.uint64(40)
_CHUNK_DOCUMENTS = 4096
_MAX_RECORDS_BYTES = 128 << 20
_MAX_OPEN_FILES = 256
_SPREAD = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Layout:
    """What every task knows of the corpus."""

    folder: Path
    recipe: DeduplicateRecipe
    num_parts: int
    num_partitions: int

    def parts(self, phase: str) -> list[Path]:
        return [self.file(phase, part) for part in range(self.num_parts)]

    def partitions(self, phase: str) -> list[Path]:
        return [self.file(phase, partition) for partition in range(self.num_partitions)]

    def file(self, phase: str, task: int) -> Path:
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


def sketch(task: Task) -> Counted:
    """Reads the documents for the first time; counts them."""
    layout, part = task.layout, task.number
    sketcher = Sketcher(layout.recipe)
    num_documents = 0
    sketches, ids = layout.file("sketches", part), layout.file("ids", part)
    sketches.parent.mkdir(parents=True, exist_ok=True)
    ids.parent.mkdir(parents=True, exist_ok=True)
    partial = [path.with_name(path.name + ".tmp") for path in (sketches, ids)]
    with (
        partial[0].open("wb") as sketch_file,
        partial[1].open("wb") as id_file,
        ShuffleWriter(layout.file("id-hashes", part), layout.num_partitions) as id_hashes,
        ShuffleWriter(layout.file("url-hashes", part), layout.num_partitions) as url_hashes,
    ):
        for chunk in _chunks(read_documents(task.documents)):
            numbers = _numbers(part, num_documents, len(chunk))
            found = np.array([sketcher.sketch(document) for document in chunk], sketcher.record)
            sketch_file.write(found.tobytes())
            id_file.writelines(msgspec.json.encode(document.id) + b"\n" for document in chunk)
            names = ((id_hash(document.id), place) for place, document in enumerate(chunk))
            addresses = ((url_hash(document.url), place) for place, document in enumerate(chunk))
            for writer, halves in ((id_hashes, names), (url_hashes, addresses)):
                rows = [(*pair, found["rank"][place], numbers[place]) for pair, place in halves if pair]
                _spread(writer, np.array(rows, dtype=EXACT), layout)
            num_documents += len(chunk)
            count_items(len(chunk))
    for temporary, path in zip(partial, (sketches, ids), strict=True):
        temporary.rename(path)
    return Counted(num_records=num_documents)


def addresses(task: Task) -> Counted:
    """Counts documents whose address another one has; refuses two documents with one id."""
    layout = task.layout
    for ids in _bounded(layout.parts("id-hashes"), task.number, EXACT):
        repeated = exact_losses(ids)
        if len(repeated):
            name = _id_of(layout, int(repeated["number"].min()))
            raise DataError(f"{name}: two documents have this id. Give every document its own, or name each file once.")
    return _exact(task, "url-hashes", "losses-url")


def words(task: Task) -> Counted:
    """Sends the texts that are left to where their copies are; counts them."""
    layout, part = task.layout, task.number
    gone = _lost_rows(task)
    num_left = 0
    with ShuffleWriter(layout.file("text-hashes", part), layout.num_partitions) as writer:
        for numbers, sketches in _sketches(layout, part):
            left = ~_among(numbers, gone)
            _spread(writer, text_records(sketches[left], numbers[left]), layout)
            num_left += int(left.sum())
    return Counted(num_records=num_left)


def texts(task: Task) -> Counted:
    """Counts documents whose text another one has."""
    return _exact(task, "text-hashes", "losses-text")


def bands(task: Task) -> Counted:
    """Sends the bands of the documents that are left to where others have the same; counts these records."""
    layout, part = task.layout, task.number
    gone = _lost_rows(task)
    num_records = 0
    found: Iterator[NDArray[np.void]]
    with ShuffleWriter(layout.file(f"bands-{task.round}", part), layout.num_partitions) as writer:
        if task.round == 0:
            found = (band_records(sketches, numbers) for numbers, sketches in _sketches(layout, part))
        else:
            found = _bounded(layout.partitions(f"crowds-{task.round - 1}"), part, BANDS)
        for records in found:
            left = records[~_among(records["number"], gone)]
            _spread(writer, left, layout)
            num_records += len(left)
    return Counted(num_records=num_records)


def pairs(task: Task) -> Counted:
    """Pairs documents that share a band; counts the records of crowds, which the next round sees again."""
    layout = task.layout
    num_crowded = 0
    with (
        ShuffleWriter(layout.file(f"pairs-{task.round}", task.number), layout.num_partitions) as pair_writer,
        ShuffleWriter(layout.file(f"needs-{task.round}", task.number), layout.num_parts) as need_writer,
        ShuffleWriter(layout.file(f"crowds-{task.round}", task.number), layout.num_parts) as crowd_writer,
    ):
        for records in _bounded(layout.parts(f"bands-{task.round}"), task.number, BANDS):
            candidates, crowded = candidate_pairs(records)
            candidates = unique_pairs(candidates)
            places = _partition_of(candidates["number_a"], layout)
            pair_writer.add_records(places, candidates)
            needs = np.empty(2 * len(candidates), dtype=NEEDS)
            needs["number"] = np.concatenate([candidates["number_a"], candidates["number_b"]])
            needs["partition"] = np.tile(places, 2)
            needs = _unique_needs(needs)
            need_writer.add_records(_part_of(needs["number"]), needs)
            crowd_writer.add_records(_part_of(crowded["number"]), crowded)
            num_crowded += len(crowded)
    return Counted(num_records=num_crowded)


def shingles(task: Task) -> Counted:
    """Reads the documents that occur in pairs once more; counts them."""
    layout, part = task.layout, task.number
    needs = _unique_needs(read_records(layout.partitions(f"needs-{task.round}"), part, NEEDS))
    sketcher = Sketcher(layout.recipe)
    place = num_read = 0
    with ShuffleWriter(layout.file(f"shingles-{task.round}", part), layout.num_partitions) as writer:
        documents = read_documents(task.documents) if len(needs) else iter(())
        rows = (needs["number"] & _row_mask()).tolist()
        partitions = needs["partition"].tolist()
        for row, document in enumerate(documents):
            if row != rows[place]:
                continue
            found = sketcher.shingles(document.text)
            header = np.array([needs["number"][place], len(found)], dtype=np.uint64)
            data = header.tobytes() + found.tobytes()
            num_read += 1
            while place < len(rows) and rows[place] == row:
                writer.add(partitions[place], data)
                place += 1
            if place == len(rows):
                break
    return Counted(num_records=num_read)


def verify(task: Task) -> Counted:
    """Compares the sets of shingles of candidate pairs; counts the pairs that are alike."""
    from mimo_data.dedup.kernels import alike

    layout = task.layout
    num_alike = 0
    sets = _ShingleSets(layout.parts(f"shingles-{task.round}"), task.number)
    with ShuffleWriter(layout.file(f"alike-{task.round}", task.number), layout.num_partitions) as writer:
        for found in _bounded(layout.partitions(f"pairs-{task.round}"), task.number, PAIRS, by="number_a"):
            candidates = unique_pairs(found)
            keep = np.zeros(len(candidates), dtype=bool)
            last, ours = -1, np.empty(0, dtype=np.uint64)
            numbers = zip(candidates["number_a"].tolist(), candidates["number_b"].tolist(), strict=True)
            for place, (a, b) in enumerate(numbers):
                if a != last:
                    last, ours = a, sets.read(a)
                keep[place] = alike(ours, sets.read(b), layout.recipe.threshold)
            _spread_pairs(writer, contracted(candidates[keep]), layout)
            num_alike += int(keep.sum())
    return Counted(num_records=num_alike)


def stars(task: Task) -> Counted:
    """Joins pairs to groups as far as a partition shows them; counts the losses among its own documents.

    Every pair lies in the partitions of both of its documents. Once no partition has anything to contract, each
    group is a star around its best document: no other document has a better one beside it.
    """
    layout = task.layout
    source = f"alike-{task.round}" if task.turn == 0 else f"stars-{task.round}-{task.turn - 1}"
    found = unique_pairs(read_records(layout.partitions(source), task.number, PAIRS))
    joined = unique_pairs(contracted(found))
    own = joined[_partition_of(joined["number_b"], layout) == task.number]
    with ShuffleWriter(layout.file(f"losses-near-{task.round}-{task.turn}", task.number), layout.num_parts) as writer:
        losses = losses_of(own)
        writer.add_records(_part_of(losses["number"]), losses)
    with ShuffleWriter(layout.file(f"stars-{task.round}-{task.turn}", task.number), layout.num_partitions) as writer:
        _spread_pairs(writer, joined, layout)
    return Counted(num_records=len(own), changed=not np.array_equal(found, joined))


def names(task: Task) -> Counted:
    """Finds the ids of kept documents; counts the questions that other parts have to answer.

    In turn 0 a part asks for each of its own losses. A question (LOSSES) about a document that was dropped, too, is one
    about the document that was kept instead.
    """
    layout, part = task.layout, task.number
    lost = _losses(task)
    lost = lost[np.argsort(lost["number"])]
    questions = lost if task.turn == 0 else read_records(layout.parts(f"questions-{task.turn - 1}"), part, LOSSES)
    numbers, kept = questions["number"], questions["kept"].copy()
    while (gone := _among(kept, lost["number"])).any():
        kept[gone] = lost["kept"][np.searchsorted(lost["number"], kept[gone])]
    here = _part_of(kept) == part
    passed = np.empty(int((~here).sum()), dtype=LOSSES)
    passed["number"], passed["kept"] = numbers[~here], kept[~here]
    with (
        ShuffleWriter(layout.file(f"questions-{task.turn}", part), layout.num_parts) as question_writer,
        ShuffleWriter(layout.file(f"answers-{task.turn}", part), layout.num_parts) as answer_writer,
    ):
        question_writer.add_records(_part_of(passed["kept"]), passed)
        order = np.argsort(kept[here], kind="stable")
        rows, askers = kept[here][order] & _row_mask(), numbers[here][order]
        ids = enumerate(_ids(layout, part))
        row, name = -1, ""
        for wanted, asker in zip(rows.tolist(), askers.tolist(), strict=True):
            while row < wanted:
                row, name = next(ids)
            answer_writer.add(asker >> int(_ROW_BITS), _answer(asker, name))
    return Counted(num_records=len(passed))


def filter_part(task: Task) -> PartCounts:
    """Writes the documents that are left, and the drop log."""
    layout, part = task.layout, task.number
    found = [(read_records(layout.partitions(phase), part, LOSSES), reason) for phase, reason in task.losses]
    rows = np.concatenate([np.empty(0, dtype=np.uint64), *(lost["number"] & _row_mask() for lost, _ in found)])
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


def id_hash(name: str) -> tuple[int, int]:
    """128 bits of an id, in halves."""
    import hashlib

    first, second = np.frombuffer(hashlib.blake2b(name.encode(), digest_size=16).digest(), dtype="<u8")
    return int(first), int(second)


def _exact(task: Task, source: str, target: str) -> Counted:
    layout = task.layout
    num_losses = 0
    with ShuffleWriter(layout.file(target, task.number), layout.num_parts) as writer:
        for records in _bounded(layout.parts(source), task.number, EXACT):
            losses = exact_losses(records)
            writer.add_records(_part_of(losses["number"]), losses)
            num_losses += len(losses)
    return Counted(num_records=num_losses)


def _chunks(documents: Iterator[Document]) -> Iterator[list[Document]]:
    """Some documents at a time, fewer where they are large."""
    chunk: list[Document] = []
    num_characters = 0
    for document in documents:
        chunk.append(document)
        num_characters += len(document.text)
        if len(chunk) == _CHUNK_DOCUMENTS or num_characters > _MAX_RECORDS_BYTES // 4:
            yield chunk
            chunk, num_characters = [], 0
    if chunk:
        yield chunk


def _numbers(part: int, first_row: int, count: int) -> NDArray[np.uint64]:
    return np.arange(first_row, first_row + count, dtype=np.uint64) | np.uint64(part) << _ROW_BITS


def _row_mask() -> np.uint64:
    return (np.uint64(1) << _ROW_BITS) - np.uint64(1)


def _part_of(numbers: NDArray[np.uint64]) -> NDArray[np.int64]:
    return (numbers >> _ROW_BITS).astype(np.int64)


def _partition_of(values: NDArray[np.uint64], layout: Layout) -> NDArray[np.int64]:
    """The partition of hashes or numbers."""
    spread = (values * _SPREAD) >> np.uint64(32)
    return (spread % np.uint64(layout.num_partitions)).astype(np.int64)


def _spread(writer: ShuffleWriter, records: NDArray[np.void], layout: Layout) -> None:
    writer.add_records(_partition_of(records["hash"], layout), records)


def _spread_pairs(writer: ShuffleWriter, found: NDArray[np.void], layout: Layout) -> None:
    """Each pair to the partitions of both of its documents, once if they are one."""
    a, b = _partition_of(found["number_a"], layout), _partition_of(found["number_b"], layout)
    apart = a != b
    writer.add_records(np.concatenate([a, b[apart]]), np.concatenate([found, found[apart]]))


def _bounded(
    paths: list[Path], partition: int, dtype: np.dtype[np.void], *, by: str = "hash"
) -> Iterator[NDArray[np.void]]:
    """A partition's records in groups that fit in memory; all that are equal in `by` are in one group."""
    num_groups = -(-partition_bytes(paths, partition) // _MAX_RECORDS_BYTES)
    for group in range(num_groups):

        def keep(records: NDArray[np.void], group: int = group) -> NDArray[np.bool_]:
            spread = (records[by] * _SPREAD) >> np.uint64(11)
            chosen: NDArray[np.bool_] = spread % np.uint64(num_groups) == group
            return chosen

        yield read_records(paths, partition, dtype, keep if num_groups > 1 else None)


def _sketches(layout: Layout, part: int) -> Iterator[tuple[NDArray[np.uint64], NDArray[np.void]]]:
    """A part's sketches and the numbers of their documents, some at a time."""
    record = Sketcher(layout.recipe).record
    first_row = 0
    with layout.file("sketches", part).open("rb") as file:
        while len(found := np.fromfile(file, record, _CHUNK_DOCUMENTS)):
            yield _numbers(part, first_row, len(found)), found
            first_row += len(found)


def _unique_needs(needs: NDArray[np.void]) -> NDArray[np.void]:
    needs = needs[np.lexsort((needs["partition"], needs["number"]))]
    fresh = np.ones(len(needs), dtype=bool)
    fresh[1:] = needs[1:] != needs[:-1]
    unique: NDArray[np.void] = needs[fresh]
    return unique


def _losses(task: Task) -> NDArray[np.void]:
    """LOSSES of a part until now."""
    layout = task.layout
    found = [read_records(layout.partitions(phase), task.number, LOSSES) for phase, _ in task.losses]
    return np.concatenate([np.empty(0, dtype=LOSSES), *found])


def _lost_rows(task: Task) -> NDArray[np.uint64]:
    """Sorted numbers of a part's dropped documents."""
    numbers: NDArray[np.uint64] = np.sort(_losses(task)["number"])
    return numbers


def _among(numbers: NDArray[np.uint64], some: NDArray[np.uint64]) -> NDArray[np.bool_]:
    if not len(some):
        return np.zeros(len(numbers), dtype=bool)
    places = np.minimum(np.searchsorted(some, numbers), len(some) - 1)
    found: NDArray[np.bool_] = some[places] == numbers
    return found


def _ids(layout: Layout, part: int) -> Iterator[str]:
    decoder = msgspec.json.Decoder(str)
    with layout.file("ids", part).open("rb") as file:
        yield from map(decoder.decode, file)


def _id_of(layout: Layout, number: int) -> str:
    part, row = number >> int(_ROW_BITS), number & int(_row_mask())
    return next(name for place, name in enumerate(_ids(layout, part)) if place == row)


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
                yield number & int(_row_mask()), data[place + 16 : place + 16 + length].decode("utf-8", "surrogatepass")
                place += 16 + length + -length % 8


class _ShingleSets:
    """The sets of shingles that one partition of pairs needs; only where they are is held in memory."""

    def __init__(self, paths: list[Path], partition: int) -> None:
        self._paths = paths
        self._files: dict[int, BinaryIO] = {}
        numbers: list[int] = []
        places: list[tuple[int, int, int]] = []
        for path_number, path in enumerate(paths):
            with path.open("rb") as file:
                for offset, size in partition_extents(path, partition):
                    end = offset + size
                    while offset < end:
                        file.seek(offset)
                        number, length = np.fromfile(file, np.uint64, 2).tolist()
                        offset += 16
                        numbers.append(number)
                        places.append((path_number, offset, length))
                        offset += 8 * length
        order = np.argsort(np.array(numbers, dtype=np.uint64))
        self._numbers = np.array(numbers, dtype=np.uint64)[order]
        self._places = np.array(places, dtype=np.int64).reshape(-1, 3)[order]

    def read(self, number: int) -> NDArray[np.uint64]:
        """The sorted shingles of a document."""
        path_number, offset, length = self._places[np.searchsorted(self._numbers, np.uint64(number))].tolist()
        file = self._open(path_number)
        file.seek(offset)
        return np.frombuffer(file.read(8 * length), dtype=np.uint64)

    def _open(self, path_number: int) -> BinaryIO:
        if path_number not in self._files:
            if len(self._files) == _MAX_OPEN_FILES:
                self._files.popitem()[1].close()
            self._files[path_number] = self._paths[path_number].open("rb")
        return self._files[path_number]
