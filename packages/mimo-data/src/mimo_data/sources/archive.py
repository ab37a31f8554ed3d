"""The records of a WARC file of any compression, with every damage told and stepped over.

FastWARC decompresses; the framing is checked here, since its own iterator ends at the first damage and cannot see a
record whose stated length is wrong. After damage, reading goes on at the next place where a record starts: the next
compressed member that begins with `WARC/`, or the next such line after an empty one in a file that is not compressed.
A file that is compressed as one piece is lost from its first damage on.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, Protocol

_MAX_HEADER_BYTES = 64 << 10
_WINDOW_BYTES = 1 << 20
_SKIP_BYTES = 256 << 10
_VERSION = re.compile(rb"WARC/[01]\.\d+[ \t]*\r\n")
_FOLD = re.compile(r"\r\n[ \t]+")
_END = b"\r\n\r\n"
# How much of that may be missing still, by the last byte read.
_MISSING = {ord("\r"): 3, ord("\n"): 2}
_SHORTEST_HEADER_BYTES = len(b"WARC/1.0\r\nContent-Length: 0\r\n\r\n")
_PLAIN_START = b"\r\n\r\nWARC/"
_MAX_DICTIONARY_BYTES = 16 << 20
# A frame that holds the dictionary of all frames after it, by the specification of WARC files in zstd.
_ZSTD_DICTIONARY = b"\x5d\x2a\x4d\x18"
_GZIP, _ZSTD, _LZ4 = b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18"


@dataclass(frozen=True)
class Entry:
    """One record."""

    start: int
    """Where in the file it begins, or the compressed member that holds it."""
    headers: dict[str, str]
    """Names in lower case; of a repeated one, the first."""
    block: bytes | None
    """The content; None if it is longer than the limit."""


@dataclass(frozen=True)
class Damage:
    """A place where a record should be and none can be read."""

    start: int
    detail: str


class _DamageError(Exception):
    """The stream is not at a record, or ends in one."""


class _Member(Protocol):
    """What FastWARC's readers of compressed streams have in common."""

    def read(self, size: int = ...) -> bytes: ...
    def frame_start_position(self) -> int | None: ...


def is_gzip(path: Path) -> bool:
    """Whether the file begins as gzip does, and so may be read from the middle."""
    with path.open("rb") as file:
        return file.read(len(_GZIP)) == _GZIP


def entries(
    path: Path, *, start: int, stop: int, max_block_bytes: int, wanted: Callable[[dict[str, str]], bool]
) -> Iterator[Entry | Damage]:
    """The wanted records that begin in a range of the file's bytes.

    Ranges that touch give each record once, in a file that is compressed record by record.

    Args:
        stop: 0 for the end of the file.
        wanted: tells by its headers whether a record is to be read; the others are passed over.
    """
    with path.open("rb") as file:
        if not start and not file.read(1):
            yield Damage(0, "empty file")
            return
        file.seek(0)
        try:
            decompress, mark = _compression(file)
        except OSError as error:
            if error.errno is not None:
                raise
            yield Damage(0, f"a dictionary that cannot be read: {error}")
            return
        position = _next_start(file, start, decompress, mark) if start else 0
        unplaced: Damage | None = None
        while position is not None and (position < stop or not stop):
            file.seek(position)
            stream = _Stream(file, decompress)
            try:
                while stream.find_record() and (stream.start < stop or not stop):
                    entry = stream.read_record(max_block_bytes, wanted)
                    if unplaced:
                        yield unplaced
                        unplaced = None
                    if entry is not None:
                        yield entry
                break
            except (OSError, _DamageError) as error:
                if isinstance(error, OSError) and error.errno is not None:
                    raise  # the disk's, not the decompressor's
                damage = Damage(stream.start, str(error))
            # Damage after a record is that of the next one: told by that, if it is found, and not twice.
            if stream.in_record:
                yield damage
            unplaced = None if stream.in_record else damage
            position = _next_start(file, max(position, stream.start) + 1, decompress, mark)
        if unplaced:
            yield unplaced


class _Stream:
    """Records from one position of a file on, until its end or the first damage."""

    def __init__(self, file: BinaryIO, decompress: Callable[[BinaryIO], _Member] | None) -> None:
        self.start = file.tell()
        """Of the record that `find_record` came to."""
        self.in_record = False
        self._file = file
        self._member = decompress(file) if decompress else None
        self._source: BinaryIO | _Member = self._member or file
        self._opening = b""
        self._last_member = self.start if self._member else None

    def find_record(self) -> bool:
        """Goes to the next record's first byte; False at the end."""
        self.in_record = False
        self._opening = b"\n"
        while self._opening in (b"\r", b"\n"):
            self._opening = self._source.read(1)
        if not self._opening:
            if self._member and self._member.frame_start_position() != self._last_member:
                raise _DamageError("truncated where a record begins")
            return False
        if self._member:
            self.start = self._member.frame_start_position() or 0
        else:
            self.start = self._file.tell() - 1
        self.in_record = True
        return True

    def read_record(self, max_block_bytes: int, wanted: Callable[[dict[str, str]], bool]) -> Entry | None:
        """The record from here, or None if it is not wanted."""
        headers = self._read_headers()
        length = headers.get("content-length", "")
        if not (length.isascii() and length.isdigit() and len(length) < 19):
            raise _DamageError(f"a record's length is {length[:40]!r}")
        chosen = wanted(headers)
        block = None
        if chosen and int(length) <= max_block_bytes:
            block = self._read(int(length))
        else:
            self._skip(int(length))
        closing = self._read_up_to(len(_END))
        if not _END.startswith(closing):
            raise _DamageError(f"the record is not {length} bytes long, as it says")
        if self._member:
            self._last_member = self._member.frame_start_position()
        return Entry(self.start, headers, block) if chosen else None

    def _read_headers(self) -> dict[str, str]:
        # Never a byte further than the empty line: where the next compressed member begins can only be told once all
        # of this one has been read, and nothing of the next.
        head = self._opening + self._read_up_to(_SHORTEST_HEADER_BYTES - 1)
        if not _VERSION.match(head):
            raise _DamageError("no record starts here")
        read = self._source.read
        while not head.endswith(_END):
            more = read(_MISSING.get(head[-1], 4) if head[-3:] != b"\r\n\r" else 1)
            if not more:
                raise _DamageError("truncated in a record's headers")
            head += more
            if len(head) > _MAX_HEADER_BYTES:
                raise _DamageError(f"a record's headers are longer than {_MAX_HEADER_BYTES} bytes")
        return parse_headers(head[: -len(_END)])

    def _read(self, num_bytes: int) -> bytes:
        data = self._read_up_to(num_bytes)
        if len(data) < num_bytes:
            raise _DamageError(f"truncated: {len(data)} of a record's {num_bytes} bytes")
        return data

    def _skip(self, num_bytes: int) -> None:
        remaining = num_bytes
        while remaining:
            data = self._read_up_to(min(remaining, _SKIP_BYTES))
            if not data:
                raise _DamageError(f"truncated: {num_bytes - remaining} of a record's {num_bytes} bytes")
            remaining -= len(data)

    def _read_up_to(self, num_bytes: int) -> bytes:
        """That many bytes, or all that remain."""
        data = self._source.read(num_bytes)
        while len(data) < num_bytes and (more := self._source.read(num_bytes - len(data))):
            data += more
        return data


def parse_headers(head: bytes) -> dict[str, str]:
    """The fields after a first line, of a WARC record or an HTTP message: names in lower case, first of each name."""
    fields: dict[str, str] = {}
    for line in _FOLD.sub(" ", head.decode("utf-8", "replace")).split("\r\n")[1:]:
        name, _, value = line.partition(":")
        fields.setdefault(name.strip().lower(), value.strip())
    return fields


def _compression(file: BinaryIO) -> tuple[Callable[[BinaryIO], _Member] | None, bytes]:
    """What decompresses the file from where a member begins, if it is compressed, and how places of records look."""
    from fastwarc import GzipReader, Lz4Reader, ZstdReader

    magic = file.read(4)
    if magic.startswith(_GZIP):
        return GzipReader, _GZIP
    if magic == _LZ4:
        return Lz4Reader, _LZ4
    if magic == _ZSTD:
        return ZstdReader, _ZSTD
    if magic == _ZSTD_DICTIONARY:
        dictionary = file.read(min(int.from_bytes(file.read(4), "little"), _MAX_DICTIONARY_BYTES))
        if dictionary.startswith(_ZSTD):
            dictionary = ZstdReader(io.BytesIO(dictionary)).read(_MAX_DICTIONARY_BYTES)
        return partial(ZstdReader, dictionary=dictionary), _ZSTD
    return None, _PLAIN_START


def _next_start(
    file: BinaryIO, after: int, decompress: Callable[[BinaryIO], _Member] | None, mark: bytes
) -> int | None:
    """The first place from `after` on where a record starts."""
    position = after if decompress else max(0, after - len(_END))
    window = b""
    while True:
        file.seek(position + len(window))
        more = file.read(_WINDOW_BYTES)
        window += more
        found = window.find(mark)
        while found >= 0:
            if decompress is None:
                return position + found + len(_END)
            if _begins_record(file, position + found, decompress):
                return position + found
            found = window.find(mark, found + 1)
        if not more:
            return None
        kept = min(len(mark) - 1, len(window))
        position += len(window) - kept
        window = window[len(window) - kept :]


def _begins_record(file: BinaryIO, position: int, decompress: Callable[[BinaryIO], _Member]) -> bool:
    file.seek(position)
    try:
        return decompress(file).read(5) == b"WARC/"
    except OSError:
        return False
