"""Lines of a text file, plain, gzipped or in zstd, of which none can fill the memory."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from mimo_data.sources.page import PageError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

COMPRESSIONS = (".gz", ".zst")
_BUFFER_BYTES = 1 << 20
_MIN_BYTES_OF_BOMB = 16 << 20
_MAX_RATIO = 200
"""Of a file's bytes to its compressed ones; text has 3 to 20."""


def lines(path: Path, *, start: int, stop: int, max_line_bytes: int) -> Iterator[tuple[int, bytes | None]]:
    """Where each line begins, and the line with its end, or None for one over the limit.

    Args:
        start: of a file that is not compressed, gives the lines that begin at this byte or later,
        stop: and before this one; 0 for the end.

    Raises:
        PageError: the rest cannot be decompressed, or is far too much for what the file holds.
    """
    most_bytes = max(_MIN_BYTES_OF_BOMB, _MAX_RATIO * path.stat().st_size)
    with path.open("rb") as raw, _decompressed(raw, path.suffix.lower()) as file:
        position = 0
        if start:
            # The end of the line that the byte before belongs to: a line may begin right after it.
            file.seek(start - 1)
            position = start - 1 + _skip_line(file)
        try:
            while not stop or position < stop:
                line = file.readline(max_line_bytes + 1)
                if not line:
                    return
                begin, position = position, position + len(line)
                if position > most_bytes:
                    remedy = "Decompress the file yourself if it is what it should be"
                    raise PageError(
                        "too_large", f"from here on over {_MAX_RATIO} times its compressed bytes. {remedy}."
                    )
                if len(line) > max_line_bytes:
                    position += 0 if line.endswith(b"\n") else _skip_line(file)
                    yield begin, None
                else:
                    yield begin, line
        except (OSError, EOFError, zlib.error) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # the disk's, not the decompressor's
            raise PageError("broken", f"cannot be decompressed from here on: {error}") from None


def _skip_line(file: BinaryIO) -> int:
    num_bytes = 0
    while line := file.readline(_BUFFER_BYTES):
        num_bytes += len(line)
        if line.endswith(b"\n"):
            break
    return num_bytes


def _decompressed(file: BinaryIO, ending: str) -> BinaryIO:
    if ending == ".gz":
        return cast(BinaryIO, gzip.GzipFile(fileobj=file))
    if ending == ".zst":
        return cast(BinaryIO, io.BufferedReader(_Zstd(file), _BUFFER_BYTES))
    return file


class _Zstd(io.RawIOBase):
    """FastWARC's reader as Python's: unlike zstandard's own, it tells a file that ends early."""

    def __init__(self, file: BinaryIO) -> None:
        from fastwarc import ZstdReader

        self._reader = ZstdReader(file)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer)
        data = self._reader.read(len(view))
        view[: len(data)] = data
        return len(data)
