"""Token shards: documents as flat files of token ids that training reads at random.

One folder a source, with any number of shards and, written last, `manifest.json` with their sizes and checksums. A
folder without it is not finished. A shard `NAME` is four little-endian files, each flat:

- `NAME.tokens.bin`, uint32: the documents end to end, each followed by the end-of-text token;
- `NAME.document_ends.bin`, uint64: the position after each document's end-of-text token;
- `NAME.document_keys.bin`, uint64: a hash of each document's id, by which sampling draws it;
- `NAME.document_classes.bin`, uint16: for each document, which of the manifest's combinations of tags it has.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from mimo_data.documents import Document
from mimo_data.jsonlines import NOT_JSON
from mimo_data.run import DataError, Record, whole
from mimo_data.settings import MOST_COUNT, check_numbers

_VERSION = 2
_SOURCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_FILES: dict[str, np.dtype[Any]] = {
    "tokens.bin": np.dtype("<u4"),
    "document_ends.bin": np.dtype("<u8"),
    "document_keys.bin": np.dtype("<u8"),
    "document_classes.bin": np.dtype("<u2"),
}
_MAX_CLASSES = 1 << 16
_BUFFER_BYTES = 1 << 20
_AGAIN = "Delete the folder and run `mimo-data tokenize` again."


class TokenizeRecipe(Record, frozen=True):
    """How documents become shards."""

    shard_tokens: int = 250_000_000
    """A shard ends with the document that reaches this: 1 GB of tokens. Not in the report."""
    tags: tuple[str, ...] = ("domain", "quality", "knowledge_density", "reasoning_depth")
    """Tags that a mixture may sample by (§2.1); a document without one has it as ""."""

    def __post_init__(self) -> None:
        check_numbers(self, shard_tokens=(1, MOST_COUNT))


class FileEntry(Record, frozen=True):
    """Size and checksum of one file of a shard."""

    num_bytes: int
    sha256: str
    """In hexadecimal."""


class ClassEntry(Record, frozen=True):
    """The documents of one shard that have the same tags."""

    tags: dict[str, str]
    """Those that the recipe names and the documents have."""
    num_documents: int
    num_tokens: int
    """End-of-text tokens included."""


class ShardEntry(Record, frozen=True):
    """One shard of a source."""

    name: str
    """What the names of its files begin with."""
    num_documents: int
    num_tokens: int
    """End-of-text tokens included."""
    classes: tuple[ClassEntry, ...]
    """In the order of their numbers in `document_classes.bin`."""
    files: dict[str, FileEntry]
    """By the name's part behind the shard's own."""


class Manifest(Record, frozen=True):
    """`manifest.json` of one source."""

    version: int
    """Of this format: 2."""
    source: str
    """In the mixture's words; the folder's name."""
    num_documents: int
    num_tokens: int
    """End-of-text tokens included."""
    end_of_text: int
    """Id of the token after each document."""
    tokenizer_sha256: str
    """Of the `tokenizer.json` that made the tokens."""
    shards: tuple[ShardEntry, ...]
    """In the order of the documents."""


@dataclass(frozen=True)
class Shard:
    """One shard, mapped from disk."""

    entry: ShardEntry
    tokens: NDArray[np.uint32]
    """[num_tokens]"""
    document_ends: NDArray[np.uint64]
    """[num_documents], increasing; the last one is num_tokens."""
    document_keys: NDArray[np.uint64]
    document_classes: NDArray[np.uint16]


@dataclass(frozen=True)
class Source:
    """All shards of one source."""

    manifest: Manifest
    shards: tuple[Shard, ...]

    @property
    def tokens(self) -> NDArray[np.uint32]:
        """[num_tokens], of all shards, read into memory."""
        return np.concatenate([shard.tokens for shard in self.shards])

    @property
    def document_ends(self) -> NDArray[np.uint64]:
        """[num_documents], positions in `tokens`."""
        starts = np.cumsum([0, *(len(shard.tokens) for shard in self.shards)], dtype=np.uint64)
        return np.concatenate([shard.document_ends + start for shard, start in zip(self.shards, starts, strict=False)])


@dataclass(frozen=True)
class Shards:
    """The shards of all sources in a folder, made with one tokenizer."""

    folder: Path
    sources: dict[str, Source]
    tokenizer_sha256: str

    def verify(self) -> None:
        """Reads every file and compares its checksum with the manifest's.

        Raises:
            DataError: a file was changed after it was written.
        """
        for name, source in self.sources.items():
            for entry in source.manifest.shards:
                for kind, file in entry.files.items():
                    path = self.folder / name / f"{entry.name}.{kind}"
                    if sha256_of(path) != file.sha256:
                        raise DataError(f"{path}: checksum differs from its manifest. {_AGAIN}")


def write_shards(
    documents: Iterable[Document], tokenizer: Path, out: Path, recipe: TokenizeRecipe | None = None
) -> dict[str, Manifest]:
    """Tokenizes documents into shards by source below `out`, in the order given.

    Args:
        tokenizer: a checkpoint or tokenizer folder, as `mimo_data.tokens.Encoder` wants it.

    Raises:
        DataError: the tokenizer is incomplete, a source cannot name a folder, or there is no document.
    """
    from mimo_data.tokens import Encoder

    encoder = Encoder(tokenizer)
    with PartWriter(out, "00000", recipe or TokenizeRecipe()) as writer:
        for document, tokens in encoder.encode(documents):
            writer.add(document, tokens)
    return write_manifests(out, [writer.entries], encoder.end_of_text, sha256_of(tokenizer / "tokenizer.json"))


def write_manifests(
    out: Path, parts: Iterable[Mapping[str, Iterable[ShardEntry]]], end_of_text: int, tokenizer_sha256: str
) -> dict[str, Manifest]:
    """Writes the manifest of every source from the shards of all parts, in their order; the sources are whole then.

    Raises:
        DataError: there is no shard.
    """
    entries: dict[str, list[ShardEntry]] = {}
    for part in parts:
        for source, own in part.items():
            entries.setdefault(source, []).extend(own)
    if not entries:
        raise DataError("there is no document to tokenize. See the drop logs of the steps before.")
    manifests = {}
    for source in sorted(entries):
        manifests[source] = Manifest(
            version=_VERSION,
            source=source,
            num_documents=sum(entry.num_documents for entry in entries[source]),
            num_tokens=sum(entry.num_tokens for entry in entries[source]),
            end_of_text=end_of_text,
            tokenizer_sha256=tokenizer_sha256,
            shards=tuple(entries[source]),
        )
        with whole(out / source / "manifest.json") as temporary:
            temporary.write_bytes(msgspec.json.format(msgspec.json.encode(manifests[source])) + b"\n")
    return manifests


def open_shards(folder: Path) -> Shards:
    """Opens all shards below `folder`; checks manifests, sizes and that one tokenizer made them all.

    Raises:
        DataError: a shard is missing, unfinished, truncated, or made with another tokenizer.
    """
    paths = sorted(folder.glob("*/manifest.json"))
    if not paths:
        raise DataError(f"{folder}: holds no finished shard (no */manifest.json). Make it with `mimo-data tokenize`.")
    sources = {path.parent.name: _open_source(path) for path in paths}
    tokenizers = {source.manifest.tokenizer_sha256 for source in sources.values()}
    if len(tokenizers) > 1:
        raise DataError(f"{folder}: its sources were tokenized with different tokenizers. {_AGAIN}")
    return Shards(folder, sources, tokenizers.pop())


def sha256_of(path: Path) -> str:
    """Of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _open_source(path: Path) -> Source:
    data = path.read_bytes()
    try:
        # Another version may have other keys, so it is asked for first.
        version = msgspec.json.decode(data, type=_Versioned).version
        if version != _VERSION:
            raise DataError(f"{path}: format version {version}, but this mimo-data reads {_VERSION}. {_AGAIN}")
        manifest = msgspec.json.decode(data, type=Manifest)
    except NOT_JSON as error:
        raise DataError(f"{path}: not a shard's manifest: {error}. {_AGAIN}") from None
    return Source(manifest, tuple(_open_shard(path.parent, entry) for entry in manifest.shards))


class _Versioned(msgspec.Struct):
    version: int


def _open_shard(folder: Path, entry: ShardEntry) -> Shard:
    arrays = {}
    for kind, dtype in _FILES.items():
        file = folder / f"{entry.name}.{kind}"
        found = file.stat().st_size if file.exists() else 0
        wanted = (entry.num_tokens if kind == "tokens.bin" else entry.num_documents) * dtype.itemsize
        if kind not in entry.files or found != wanted or entry.files[kind].num_bytes != wanted:
            raise DataError(
                f"{file}: {found} bytes, but its manifest says {wanted}: truncated or overwritten. {_AGAIN}"
            )
        arrays[kind] = np.memmap(file, dtype=dtype, mode="r")
    return Shard(entry, *(arrays[kind] for kind in _FILES))


class PartWriter:
    """Appends documents to shards of their sources; a shard that reaches its size is closed and the next one begun.

    The files have temporary names until they are whole, so a part that was killed is simply written again.

    Attributes:
        entries: the shards of each source, once the writer is closed.
    """

    def __init__(self, out: Path, part: str, recipe: TokenizeRecipe) -> None:
        self._out = out
        self._part = part
        self._recipe = recipe
        self._open: dict[str, _ShardWriter] = {}
        self.entries: dict[str, list[ShardEntry]] = {}

    def add(self, document: Document, tokens: NDArray[np.uint32]) -> None:
        """
        Args:
            tokens: of the document, the end of text included.

        Raises:
            DataError: its source cannot name a folder, or its shard has too many combinations of tags.
        """
        source = document.source
        if source not in self._open:
            if not _SOURCE.fullmatch(source):
                raise DataError(
                    f"{document.id}: source {source!r} cannot name a folder. Use letters, digits, '-', '_' and '.'."
                )
            number = len(self.entries.setdefault(source, []))
            self._open[source] = _ShardWriter(self._out / source, f"{self._part}-{number:04d}")
        tags = tuple(document.tags.get(tag, "") for tag in self._recipe.tags)
        self._open[source].add(document.id, tags, tokens)
        if self._open[source].num_tokens >= self._recipe.shard_tokens:
            self._finish(source)

    def __enter__(self) -> PartWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        for source in list(self._open):
            if error is None:
                self._finish(source)
            else:
                self._open.pop(source).abandon()

    def _finish(self, source: str) -> None:
        self.entries[source].append(self._open.pop(source).finish(self._recipe.tags))


class _ShardWriter:
    """The files of one shard, their checksums summed on the way."""

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._name = name
        self._files = {kind: (folder / f"{name}.{kind}.tmp").open("wb", buffering=_BUFFER_BYTES) for kind in _FILES}
        self._digests = {kind: hashlib.sha256() for kind in _FILES}
        self._classes: dict[tuple[str, ...], list[int]] = {}
        self._numbers: dict[tuple[str, ...], int] = {}
        self._num_documents = 0
        self.num_tokens = 0

    def add(self, id: str, tags: tuple[str, ...], tokens: NDArray[np.uint32]) -> None:
        number = self._numbers.setdefault(tags, len(self._numbers))
        if number == _MAX_CLASSES:
            raise DataError(
                f"{id}: is the {number + 1}th different combination of tags in its shard. "
                "Leave tags with many values out of tokenize.tags, or lower tokenize.shard_tokens."
            )
        counts = self._classes.setdefault(tags, [0, 0])
        counts[0] += 1
        counts[1] += len(tokens)
        self._num_documents += 1
        self.num_tokens += len(tokens)
        key = int.from_bytes(hashlib.blake2b(id.encode(errors="surrogatepass"), digest_size=8).digest(), "little")
        values = {"tokens.bin": tokens, "document_ends.bin": self.num_tokens, "document_keys.bin": key}
        for kind, value in (values | {"document_classes.bin": number}).items():
            data = np.asarray(value, _FILES[kind]).tobytes()
            self._files[kind].write(data)
            self._digests[kind].update(data)

    def abandon(self) -> None:
        for kind, file in self._files.items():
            file.close()
            (self._folder / f"{self._name}.{kind}.tmp").unlink()

    def finish(self, tags: tuple[str, ...]) -> ShardEntry:
        entries = {}
        for kind, file in self._files.items():
            file.close()
            temporary = self._folder / f"{self._name}.{kind}.tmp"
            entries[kind] = FileEntry(num_bytes=temporary.stat().st_size, sha256=self._digests[kind].hexdigest())
            temporary.rename(self._folder / f"{self._name}.{kind}")
        return ShardEntry(
            name=self._name,
            num_documents=self._num_documents,
            num_tokens=self.num_tokens,
            classes=tuple(
                ClassEntry(
                    tags={tag: value for tag, value in zip(tags, values, strict=True) if value},
                    num_documents=num_documents,
                    num_tokens=num_tokens,
                )
                for values, (num_documents, num_tokens) in self._classes.items()
            ),
            files=entries,
        )
