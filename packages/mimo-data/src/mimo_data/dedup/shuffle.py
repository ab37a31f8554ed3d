"""Files that carry records from one phase to another: written by one task, each partition read by another.

A file is a sequence of runs; a run is the number of partitions, the end of each partition in bytes, and the partitions
one after the other, all of it in little-endian 64-bit numbers. A run is written whenever a bound of memory is reached,
so that neither the writer nor a file's size depends on how much goes through.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

_RUN_BYTES = 64 << 20
# What a waiting chunk takes beside its data.
_ENTRY_BYTES = 64
_WORD = np.dtype("<u8")


class ShuffleWriter:
    """Collects records by partition; the file has its name once the `with` block has ended well."""

    def __init__(self, path: Path, num_partitions: int) -> None:
        self._path = path
        self._temporary = path.with_name(path.name + ".tmp")
        self._waiting: list[list[bytes]] = [[] for _ in range(num_partitions)]
        self._waiting_bytes = 0

    def __enter__(self) -> ShuffleWriter:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._temporary.open("wb")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._write_run()
        self._file.close()
        if kind is None:
            self._temporary.rename(self._path)

    def add(self, partition: int, data: bytes) -> None:
        """Adds bytes, a multiple of eight of them, to the end of a partition."""
        self._waiting[partition].append(data)
        self._waiting_bytes += len(data) + _ENTRY_BYTES
        if self._waiting_bytes >= _RUN_BYTES:
            self._write_run()

    def add_records(self, partitions: NDArray[np.integer], records: NDArray[np.void]) -> None:
        """Adds each record to the end of its partition."""
        order = np.argsort(partitions, kind="stable")
        ends = np.cumsum(np.bincount(partitions, minlength=len(self._waiting)))
        sorted_records = records[order]
        for partition, (start, end) in enumerate(zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True)):
            if start < end:
                self.add(partition, sorted_records[start:end].tobytes())

    def _write_run(self) -> None:
        if not self._waiting_bytes:
            return
        sizes = [sum(map(len, chunks)) for chunks in self._waiting]
        self._file.write(np.array([len(sizes), *np.cumsum(sizes).tolist()], dtype=_WORD).tobytes())
        for chunks in self._waiting:
            self._file.writelines(chunks)
            chunks.clear()
        self._waiting_bytes = 0


def partition_extents(path: Path, partition: int) -> Iterator[tuple[int, int]]:
    """Offset and size, in bytes, of a partition in each run of a file."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = 0
        while start < size:
            file.seek(start)
            num_partitions = int(np.fromfile(file, _WORD, 1)[0])
            ends = np.fromfile(file, _WORD, num_partitions)
            body = start + _WORD.itemsize * (1 + num_partitions)
            first = int(ends[partition - 1]) if partition else 0
            if first < ends[partition]:
                yield body + first, int(ends[partition]) - first
            start = body + int(ends[-1])


def partition_bytes(paths: Sequence[Path], partition: int) -> int:
    """Size of a partition over all files."""
    return sum(size for path in paths for _, size in partition_extents(path, partition))


def read_records(
    paths: Sequence[Path],
    partition: int,
    dtype: np.dtype[np.void],
    keep: Callable[[NDArray[np.void]], NDArray[np.bool_]] | None = None,
) -> NDArray[np.void]:
    """A partition's records in all files, in the order of the files; only those that `keep` marks, if given."""
    chunks = []
    for path in paths:
        for offset, size in partition_extents(path, partition):
            records = np.fromfile(path, dtype, size // dtype.itemsize, offset=offset)
            chunks.append(records if keep is None else records[keep(records)])
    return np.concatenate(chunks) if chunks else np.empty(0, dtype=dtype)
