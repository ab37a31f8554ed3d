"""What a stored HTTP response holds: its status, its headers, and its body with the encodings undone."""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from mimo_data.sources.archive import parse_headers
from mimo_data.sources.page import PageError

_STATUS = re.compile(rb"(?:HTTP/\d(?:\.\d)?|ICY)[ \t]+(\d{3})\b")
_END = re.compile(rb"\r?\n\r?\n")
_MAX_HEADER_BYTES = 64 << 10
_CHUNK_SIZE = re.compile(rb"[ \t]*([0-9a-fA-F]{1,15})[ \t]*(?:;[^\r\n]*)?\r?\n")
_MAX_ENCODINGS = 3
_READ_BYTES = 64 << 10


@dataclass(frozen=True)
class Response:
    """An HTTP response as it was received."""

    status: int
    headers: dict[str, str]
    """Names in lower case."""
    encoded: bytes
    """The body as transferred."""

    @property
    def content_type(self) -> str:
        """The media type in lower case, without parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def charset(self) -> str:
        """The encoding that the content type names; "" for none."""
        match = re.search(r"charset\s*=\s*[\"']?([^\s\"';,]+)", self.headers.get("content-type", ""), re.IGNORECASE)
        return match[1] if match else ""

    def body(self, max_bytes: int) -> bytes:
        """The body with transfer and content encodings undone.

        An encoding that the headers name and the bytes do not have was undone by whoever stored the response.

        Raises:
            PageError: `broken`, or `too_large` for more than `max_bytes`, of which no more is decompressed.
        """
        data = self.encoded
        if "chunked" in self.headers.get("transfer-encoding", "").lower():
            data = _join_chunks(data)
        names = [name.strip().lower() for name in self.headers.get("content-encoding", "").split(",")]
        names = [name.removeprefix("x-") for name in names if name not in ("", "identity", "none")]
        if len(names) > _MAX_ENCODINGS:
            raise PageError("broken", f"{len(names)} content encodings")
        for name in reversed(names):
            data = _expand(data, name, max_bytes)
        if len(data) > max_bytes:
            raise PageError("too_large", f"more than {max_bytes} bytes")
        return data


def parse_response(block: bytes) -> Response:
    """A stored HTTP response.

    Raises:
        PageError: it is not one.
    """
    status = _STATUS.match(block)
    end = _END.search(block, 0, _MAX_HEADER_BYTES)
    if status is None or end is None:
        raise PageError("broken", "no HTTP response")
    head = block[: end.start()].replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    return Response(int(status[1]), parse_headers(head), block[end.end() :])


def _join_chunks(data: bytes) -> bytes:
    pieces: list[bytes] = []
    position = 0
    while True:
        size = _CHUNK_SIZE.match(data, position)
        if size is None:
            if not pieces:
                return data
            raise PageError("broken", "a damaged chunk in the transfer")
        num_bytes = int(size[1], 16)
        if num_bytes == 0:
            return b"".join(pieces)
        piece = data[size.end() : size.end() + num_bytes]
        if len(piece) < num_bytes:
            raise PageError("broken", "the last chunk of the transfer is missing")
        pieces.append(piece)
        position = size.end() + num_bytes
        position += 2 if data.startswith(b"\r\n", position) else 1


def _expand(data: bytes, encoding: str, max_bytes: int) -> bytes:
    expand = _DECODERS.get(encoding)
    if expand is None:
        raise PageError("broken", f"unknown content encoding {encoding[:40]}")
    try:
        return expand(data, max_bytes)
    except (OSError, zlib.error, EOFError) as error:
        if data[:512].lstrip().startswith((b"<", b"%PDF-", b"\xef\xbb\xbf")):
            return data
        raise PageError("broken", f"damaged content encoding {encoding}: {error}") from None


def _inflate(data: bytes, max_bytes: int, window_bits: int) -> bytes:
    pieces: list[bytes] = []
    num_bytes = 0
    while data:
        stream = zlib.decompressobj(window_bits)
        pieces.append(stream.decompress(data, max_bytes + 1 - num_bytes))
        num_bytes += len(pieces[-1])
        if num_bytes > max_bytes:
            break
        if not stream.eof:
            raise EOFError("ends early")
        # Another member, or the padding that some servers send.
        data = stream.unused_data if stream.unused_data.startswith(b"\x1f\x8b") else b""
    return b"".join(pieces)


def _gunzip(data: bytes, max_bytes: int) -> bytes:
    return _inflate(data, max_bytes, 31)


def _deflate(data: bytes, max_bytes: int) -> bytes:
    try:
        return _inflate(data, max_bytes, 15)
    except zlib.error:  # many servers leave zlib's frame out
        return _inflate(data, max_bytes, -15)


def _brotli(data: bytes, max_bytes: int) -> bytes:
    from fastwarc.stream_io import BrotliReader

    return _read_bounded(BrotliReader(io.BytesIO(data)).read, max_bytes)


def _zstd(data: bytes, max_bytes: int) -> bytes:
    from fastwarc import ZstdReader

    return _read_bounded(ZstdReader(io.BytesIO(data)).read, max_bytes)


def _read_bounded(read: Callable[[int], bytes], max_bytes: int) -> bytes:
    pieces: list[bytes] = []
    remaining = max_bytes + 1
    while remaining > 0 and (piece := read(min(remaining, _READ_BYTES))):
        pieces.append(piece)
        remaining -= len(piece)
    return b"".join(pieces)


_DECODERS = {"gzip": _gunzip, "deflate": _deflate, "br": _brotli, "zstd": _zstd}
