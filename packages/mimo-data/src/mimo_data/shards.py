"""Token shards: documents as flat files of token ids that training reads at random.

One folder a source: `tokens.bin` (uint32, little endian; each document is followed by the end-of-text
token), `document_ends.bin` (uint64, the position after each document's end-of-text token) and, written
last, `manifest.json` with sizes and checksums. A folder without a manifest is not a shard.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from numpy.typing import NDArray

from mimo_data.documents import Document
from mimo_data.run import DataError, Record

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_SOURCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_BATCH_DOCUMENTS = 256
_TOKEN = np.dtype("<u4")
_END = np.dtype("<u8")


class FileEntry(Record, frozen=True):
    """Size and checksum of one file of a shard."""

    num_bytes: int
    sha256: str


class Manifest(Record, frozen=True):
    """`manifest.json` of one source's shard."""

    version: int
    """Of this format: 1."""
    source: str
    num_documents: int
    num_tokens: int
    """End-of-text tokens included."""
    end_of_text: int
    """Id of the token after each document."""
    tokenizer_sha256: str
    """Of the `tokenizer.json` that made the tokens."""
    files: dict[str, FileEntry]
    """`tokens.bin` and `document_ends.bin`."""


@dataclass(frozen=True)
class Shard:
    """One source's tokens, mapped from disk."""

    manifest: Manifest
    tokens: NDArray[np.uint32]
    """[num_tokens]"""
    document_ends: NDArray[np.uint64]
    """[num_documents], increasing; the last one is num_tokens."""


@dataclass(frozen=True)
class Shards:
    """The shards of all sources in a folder, made with one tokenizer."""

    folder: Path
    sources: dict[str, Shard]
    tokenizer_sha256: str

    def verify(self) -> None:
        """Reads every file and compares its checksum with the manifest's.

        Raises:
            DataError: a file was changed after it was written.
        """
        for source, shard in self.sources.items():
            for name, entry in shard.manifest.files.items():
                path = self.folder / source / name
                if _sha256(path) != entry.sha256:
                    raise DataError(f"{path}: checksum differs from its manifest. {_AGAIN}")


_AGAIN = "Delete the folder and run `mimo-data tokenize` again."


def write_shards(documents: Iterable[Document], tokenizer: Path, out: Path) -> dict[str, Manifest]:
    """Tokenizes documents into one shard a source below `out`, in the order given.

    Args:
        tokenizer: a checkpoint or tokenizer folder: `tokenizer.json`, and `tokenizer_config.json` naming
            `eos_token`. Where a text spells that token out, it becomes ordinary tokens: only the end of a
            document is an end of text.

    Raises:
        DataError: the tokenizer is incomplete, a source cannot name a folder, or there is no document.
    """
    encoder, end_of_text, spelling = _load_tokenizer(tokenizer)
    checksum = _sha256(tokenizer / "tokenizer.json")
    writers: dict[str, _ShardWriter] = {}
    try:
        for batch in _batches(documents):
            for document, tokens in zip(batch, _encode(encoder, batch, spelling), strict=True):
                if document.source not in writers:
                    if not _SOURCE.fullmatch(document.source):
                        raise DataError(
                            f"{document.id}: source {document.source!r} cannot name a folder. "
                            "Use letters, digits, '-', '_' and '.'."
                        )
                    writers[document.source] = _ShardWriter(out / document.source)
                writers[document.source].add(tokens, end_of_text)
    finally:
        for writer in writers.values():
            writer.close()
    if not writers:
        raise DataError("there is no document to tokenize. See the drop logs of the steps before.")
    return {source: writers[source].finish(source, end_of_text, checksum) for source in sorted(writers)}


def open_shards(folder: Path) -> Shards:
    """Opens all shards below `folder`; checks manifests, sizes and that one tokenizer made them all.

    Raises:
        DataError: a shard is missing, unfinished, truncated, or made with another tokenizer.
    """
    paths = sorted(folder.glob("*/manifest.json"))
    if not paths:
        raise DataError(f"{folder}: holds no finished shard (no */manifest.json). Make it with `mimo-data tokenize`.")
    sources = {path.parent.name: _open_shard(path) for path in paths}
    tokenizers = {shard.manifest.tokenizer_sha256 for shard in sources.values()}
    if len(tokenizers) > 1:
        raise DataError(f"{folder}: its sources were tokenized with different tokenizers. {_AGAIN}")
    return Shards(folder, sources, tokenizers.pop())


def _open_shard(path: Path) -> Shard:
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except msgspec.MsgspecError as error:
        raise DataError(f"{path}: not a shard's manifest: {error}. {_AGAIN}") from None
    if manifest.version != 1:
        raise DataError(f"{path}: format version {manifest.version}, but this mimo-data reads 1. {_AGAIN}")
    arrays = {}
    for name, dtype, count in (
        ("tokens.bin", _TOKEN, manifest.num_tokens),
        ("document_ends.bin", _END, manifest.num_documents),
    ):
        file = path.with_name(name)
        found = file.stat().st_size if file.exists() else 0
        wanted = count * dtype.itemsize
        if found != wanted or manifest.files[name].num_bytes != wanted:
            raise DataError(
                f"{file}: {found} bytes, but its manifest says {wanted}: truncated or overwritten. {_AGAIN}"
            )
        arrays[name] = np.memmap(file, dtype=dtype, mode="r")
    return Shard(manifest, arrays["tokens.bin"], arrays["document_ends.bin"])


class _ShardWriter:
    """Appends documents to the two files of one shard, summing their checksums on the way."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._names = ("tokens.bin", "document_ends.bin")
        self._files = [(folder / name).open("wb") for name in self._names]
        self._digests = [hashlib.sha256() for _ in self._names]
        self._num_documents = 0
        self._num_tokens = 0

    def add(self, tokens: list[int], end_of_text: int) -> None:
        self._num_documents += 1
        self._num_tokens += len(tokens) + 1
        self._append(0, np.array([*tokens, end_of_text], dtype=_TOKEN).tobytes())
        self._append(1, np.array([self._num_tokens], dtype=_END).tobytes())

    def close(self) -> None:
        for file in self._files:
            file.close()

    def finish(self, source: str, end_of_text: int, tokenizer_sha256: str) -> Manifest:
        """Writes the manifest; call after `close`."""
        manifest = Manifest(
            version=1,
            source=source,
            num_documents=self._num_documents,
            num_tokens=self._num_tokens,
            end_of_text=end_of_text,
            tokenizer_sha256=tokenizer_sha256,
            files={
                name: FileEntry(num_bytes=(self._folder / name).stat().st_size, sha256=digest.hexdigest())
                for name, digest in zip(self._names, self._digests, strict=True)
            },
        )
        temporary = self._folder / "manifest.json.tmp"
        temporary.write_bytes(msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
        temporary.rename(self._folder / "manifest.json")
        return manifest

    def _append(self, index: int, data: bytes) -> None:
        self._files[index].write(data)
        self._digests[index].update(data)


def _load_tokenizer(folder: Path) -> tuple[Tokenizer, int, str]:
    """The tokenizer, the id of its end-of-text token and how that token is spelled."""
    from tokenizers import Tokenizer

    for name in ("tokenizer.json", "tokenizer_config.json"):
        if not (folder / name).exists():
            raise DataError(f"{folder / name}: no such file. --tokenizer takes a Hugging Face checkpoint folder.")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    token = config.get("eos_token")
    spelling = token.get("content") if isinstance(token, dict) else token
    try:
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception as error:  # tokenizers raises bare Exception for every broken file
        raise DataError(f"{folder / 'tokenizer.json'}: not a tokenizer: {error}") from None
    end_of_text = tokenizer.token_to_id(spelling) if isinstance(spelling, str) else None
    if end_of_text is None or not isinstance(spelling, str):
        raise DataError(
            f"{folder / 'tokenizer_config.json'}: eos_token is {spelling!r}, which tokenizer.json does not know. "
            "Name its end-of-text token there."
        )
    return tokenizer, end_of_text, spelling


def _encode(tokenizer: Tokenizer, batch: list[Document], end_of_text: str) -> Iterator[list[int]]:
    """Token ids of each document; a spelled-out end of text is cut in two, so that it is not recognised."""
    head, tail = end_of_text[:1], end_of_text[1:]
    pieces: list[str] = []
    counts: list[int] = []
    for document in batch:
        parts = document.text.split(end_of_text)
        last = len(parts) - 1
        pieces += [(tail if i > 0 else "") + part + (head if i < last else "") for i, part in enumerate(parts)]
        counts.append(len(parts))
    encoded = iter(tokenizer.encode_batch_fast(pieces, add_special_tokens=False))
    for count in counts:
        yield [token for piece in islice(encoded, count) for token in piece.ids]


def _batches(documents: Iterable[Document]) -> Iterator[list[Document]]:
    remaining = iter(documents)
    while batch := list(islice(remaining, _BATCH_DOCUMENTS)):
        yield batch


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
