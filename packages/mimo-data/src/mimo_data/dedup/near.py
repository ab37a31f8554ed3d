"""The phases that find and join near-duplicates: bands to stars, a round of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from mimo_data.dedup.groups import BANDS, PAIRS, candidate_pairs, contracted, losses_of, unique_pairs
from mimo_data.dedup.layout import (
    Counted,
    Task,
    among,
    bounded,
    lost_numbers,
    part_of,
    partition_of,
    row_mask,
    sketches_of,
    spread,
    spread_pairs,
)
from mimo_data.dedup.minhash import Sketcher, band_records
from mimo_data.dedup.shuffle import ShuffleWriter, partition_extents, read_records
from mimo_data.documents import read_documents

NEEDS = np.dtype([("number", "<u8"), ("partition", "<u8")])
"""A document whose shingles a partition of pairs needs."""
_MAX_OPEN_FILES = 256


def bands(task: Task) -> Counted:
    """Sends the bands of the documents that are left to where others have the same; counts these records."""
    layout, part = task.layout, task.number
    gone = lost_numbers(task)
    num_records = 0
    found: Iterator[NDArray[np.void]]
    with ShuffleWriter(layout.file(f"bands-{task.round}", part), layout.num_partitions) as writer:
        if task.round == 0:
            found = (band_records(sketches, numbers) for numbers, sketches in sketches_of(layout, part))
        else:
            found = bounded(layout.partitions(f"crowds-{task.round - 1}"), part, BANDS)
        for records in found:
            left = records[~among(records["number"], gone)]
            spread(writer, left, layout)
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
        for records in bounded(layout.parts(f"bands-{task.round}"), task.number, BANDS):
            candidates, crowded = candidate_pairs(records)
            candidates = unique_pairs(candidates)
            places = partition_of(candidates["number_a"], layout)
            pair_writer.add_records(places, candidates)
            needs = np.empty(2 * len(candidates), dtype=NEEDS)
            needs["number"] = np.concatenate([candidates["number_a"], candidates["number_b"]])
            needs["partition"] = np.tile(places, 2)
            needs = _unique_needs(needs)
            need_writer.add_records(part_of(needs["number"]), needs)
            crowd_writer.add_records(part_of(crowded["number"]), crowded)
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
        rows = (needs["number"] & row_mask()).tolist()
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
        for found in bounded(layout.partitions(f"pairs-{task.round}"), task.number, PAIRS, by="number_a"):
            candidates = unique_pairs(found)
            keep = np.zeros(len(candidates), dtype=bool)
            last, ours = -1, np.empty(0, dtype=np.uint64)
            numbers = zip(candidates["number_a"].tolist(), candidates["number_b"].tolist(), strict=True)
            for place, (a, b) in enumerate(numbers):
                if a != last:
                    last, ours = a, sets.read(a)
                keep[place] = alike(ours, sets.read(b), layout.recipe.threshold)
            spread_pairs(writer, contracted(candidates[keep]), layout)
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
    own = joined[partition_of(joined["number_b"], layout) == task.number]
    with ShuffleWriter(layout.file(f"losses-near-{task.round}-{task.turn}", task.number), layout.num_parts) as writer:
        losses = losses_of(own)
        writer.add_records(part_of(losses["number"]), losses)
    with ShuffleWriter(layout.file(f"stars-{task.round}-{task.turn}", task.number), layout.num_partitions) as writer:
        spread_pairs(writer, joined, layout)
    return Counted(num_records=len(own), changed=not np.array_equal(found, joined))


def _unique_needs(needs: NDArray[np.void]) -> NDArray[np.void]:
    needs = needs[np.lexsort((needs["partition"], needs["number"]))]
    fresh = np.ones(len(needs), dtype=bool)
    fresh[1:] = needs[1:] != needs[:-1]
    unique: NDArray[np.void] = needs[fresh]
    return unique


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
        self.numbers_of = np.array(numbers, dtype=np.uint64)[order]
        self._places = np.array(places, dtype=np.int64).reshape(-1, 3)[order]

    def read(self, number: int) -> NDArray[np.uint64]:
        """The sorted shingles of a document."""
        path_number, offset, length = self._places[np.searchsorted(self.numbers_of, np.uint64(number))].tolist()
        file = self._open(path_number)
        file.seek(offset)
        return np.frombuffer(file.read(8 * length), dtype=np.uint64)

    def _open(self, path_number: int) -> BinaryIO:
        if path_number not in self._files:
            if len(self._files) == _MAX_OPEN_FILES:
                self._files.popitem()[1].close()
            self._files[path_number] = self._paths[path_number].open("rb")
        return self._files[path_number]
