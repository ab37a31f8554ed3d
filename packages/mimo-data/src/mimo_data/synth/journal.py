"""The journal: every reply as it arrives, one line each, so that no answer is paid for twice.

A line is one write, which a kill leaves whole or cut short; a cut line is removed when the journal is opened again, and
its request asked again. In memory is a place in the file for each reply.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from mimo_data.jsonlines import NOT_JSON
from mimo_data.run import DataError, Record
from mimo_data.synth.endpoint import Reply


class Entry(Record, frozen=True):
    """One line of `replies.jsonl`."""

    id: str
    """Of the request."""
    price: float
    """What it cost, by the prices when it was asked."""
    reply: Reply
    """What came back; the last one where several were asked for."""


class LedgerLine(Record, frozen=True):
    """One line of `ledger.jsonl`: what one answered request used, in the order of the plan."""

    id: str
    """Of the request."""
    prompt_tokens: int
    completion_tokens: int
    price: float
    """In the currency of the endpoint's prices."""
    num_tries: int
    """How often it was asked until it answered."""
    finish: str
    """As in the reply."""


class Journal:
    """The replies to a strategy's requests, on disk.

    Attributes:
        spent: the price of all of them.
        num_rejected: replies of this session that the endpoint rejected. Earlier ones are forgotten, so that they are
            asked again: they cost nothing, and what was wrong may have been the server's settings.
    """

    def __init__(self, path: Path) -> None:
        """
        Raises:
            DataError: a whole line is no reply.
        """
        self._path = path
        self._places: dict[str, int] = {}
        self._decoder = msgspec.json.Decoder(Entry)
        self.spent = 0.0
        self.num_rejected = 0
        self._file = path.open("ab", buffering=0)
        self._reader = path.open("rb")
        self._end = 0
        for line in self._whole_lines():
            entry = self._decode(line)
            if entry.reply.finish != "rejected":
                self._note(entry)
            self._end += len(line)
        self._file.truncate(self._end)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.fsync(self._file.fileno())
        self._file.close()
        self._reader.close()

    def __contains__(self, request: str) -> bool:
        return request in self._places

    def __len__(self) -> int:
        return len(self._places)

    def add(self, entry: Entry) -> None:
        """Keeps a reply; it survives the death of this process from here on.

        Raises:
            OSError: the disk is full; what fitted is taken away again, so that the next line is a line of its own.
        """
        line = msgspec.json.encode(entry) + b"\n"
        written = 0
        try:
            while written < len(line):
                written += self._file.write(line[written:])
        except OSError:
            self._file.truncate(self._end)
            raise
        self._note(entry)
        self._end += len(line)
        self.num_rejected += entry.reply.finish == "rejected"

    def get(self, request: str) -> Entry | None:
        """The reply to a request, if there is one."""
        place = self._places.get(request)
        if place is None:
            return None
        self._reader.seek(place)
        return self._decode(self._reader.readline())

    def _whole_lines(self) -> Iterator[bytes]:
        for line in self._reader:
            if line.endswith(b"\n"):
                yield line

    def _decode(self, line: bytes) -> Entry:
        try:
            return self._decoder.decode(line)
        except NOT_JSON as error:
            raise DataError(f"{self._path}: damaged ({error}). Remove that line: its request is asked again.") from None

    def _note(self, entry: Entry) -> None:
        self._places[entry.id] = self._end
        self.spent += entry.price
