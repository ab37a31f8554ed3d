"""JSON from outside: files with one object a line, and what decoding says of bytes that are none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from mimo_data.run import DataError

RecordT = TypeVar("RecordT")

NOT_JSON = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""Raised where bytes are no JSON of the type that was wanted, or are not UTF-8, or nest without end."""


def read_json_lines(path: Path, record: type[RecordT], *, wanted: str) -> Iterator[tuple[RecordT, bytes]]:
    """Each line that is not blank: decoded, and as it stands, without its end.

    Args:
        wanted: what a line is, for the error: "a problem, with `id` and `prompt`".

    Raises:
        DataError: a line is something else.
    """
    decoder = msgspec.json.Decoder(record)
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                try:
                    yield decoder.decode(line), line.rstrip(b"\r\n")
                except NOT_JSON as error:
                    raise DataError(f"{path}: line {number}: {error}. Each line is {wanted}.") from None
