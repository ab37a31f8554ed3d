"""The document record, the drop log, and their files: `.jsonl.zst` and `.parquet`."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import msgspec
import zstandard

from mimo_data.jsonlines import NOT_JSON
from mimo_data.run import DataError, Record, whole

_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_CHUNK_BYTES = 1 << 20
_ROW_GROUP_DOCUMENTS = 1024


class Document(Record, frozen=True):
    """One text of the corpus; its id stays the same through every step."""

    id: str
    """Unique in the corpus. For a page: its path below the folder of pages."""
    text: str
    """Markdown; formulas as `$…$` or `$$…$$`, code fenced."""
    source: str
    """Where it comes from in the mixture's words: web, papers, books, code, synthetic, …"""
    url: str = ""
    """Address of the page, if known."""
    tags: dict[str, str] = msgspec.field(default_factory=dict)
    """What a step decided about the text (domain, quality, …)."""
    meta: dict[str, str] = msgspec.field(default_factory=dict)
    """What is known about its origin (licence, date, …)."""


class Drop(Record, frozen=True):
    """One line of `drops.jsonl`: why a document is not in a step's output."""

    id: str
    """Of the document, or of what would have been one."""
    step: str
    """The command that dropped it."""
    reason: str
    """A code from the step's documented list."""
    detail: str = ""
    """What was found: the kept twin's id, the problem's id, a measure."""


def document_files(*paths: Path) -> list[Path]:
    """The files of documents named, and those of step folders named, in order.

    Raises:
        DataError: a path is missing, holds none, is of another kind, or is named twice.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            # The names of parts have five digits, and more from the hundred thousandth on.
            files = sorted(path.glob("documents-*.jsonl.zst"), key=lambda file: (len(file.name), file.name))
            if not files:
                raise DataError(f"{path}: holds no documents. Name a folder that a mimo-data step made.")
        elif not path.exists():
            raise DataError(f"{path}: no such file. Name a documents file, or the folder that a mimo-data step made.")
        elif path.name.endswith((".jsonl.zst", ".parquet")):
            files = [path]
        else:
            raise DataError(
                f"{path}: documents are read from .jsonl.zst and .parquet. Use `mimo-data import` for other formats."
            )
        found += files
    counted = Counter(file.resolve() for file in found)
    for file in found:
        if counted[file.resolve()] > 1:
            raise DataError(f"{file}: is named twice. Name each file or folder of documents once.")
    return found


def read_documents(path: Path) -> Iterator[Document]:
    """Streams the documents of a `.jsonl.zst` or `.parquet` file, or of a step's output folder.

    Raises:
        DataError: a file is missing, truncated, or holds something that is not a document.
    """
    for file in document_files(path):
        yield from _read_parquet(file) if file.suffix == ".parquet" else _read_json_lines(file)


def require_unique_ids(paths: Iterable[Path]) -> None:
    """Reads all documents once; a hundred bytes are held for each.

    Raises:
        DataError: two have the same id, or as `read_documents` does.
    """
    files = document_files(*paths)
    first_file: dict[bytes, int] = {}
    for number, file in enumerate(files):
        for document in read_documents(file):
            digest = hashlib.blake2b(document.id.encode("utf-8", "surrogatepass"), digest_size=16).digest()
            if digest in first_file:
                raise repeated_id(document.id, files[first_file[digest]], file)
            first_file[digest] = number


def repeated_id(id: str, *files: Path) -> DataError:
    """The error for two documents of one id, in a file or in two."""
    where = " and ".join(map(str, dict.fromkeys(files)))
    return DataError(
        f"{where}: two documents have the id {id!r}. Name each file once; documents of several `extract` or `import` "
        "runs get ids of their own when one `extract` reads all the folders, or each `import` has another `source`."
    )


def write_documents(path: Path, documents: Iterable[Document]) -> int:
    """Writes all documents to a `.jsonl.zst` or `.parquet` file, whole or not at all.

    Returns:
        The number of documents.
    """
    with whole(path) as temporary:
        if path.name.endswith(".jsonl.zst"):
            return _write_json_lines(temporary, documents)
        if path.suffix == ".parquet":
            return _write_parquet(temporary, documents)
        raise ValueError(f"{path}: a documents file ends in .jsonl.zst or .parquet")


def _read_json_lines(path: Path) -> Iterator[Document]:
    decoder = msgspec.json.Decoder(Document)
    for number, line in enumerate(_zstd_lines(path), start=1):
        try:
            yield decoder.decode(line)
        except NOT_JSON as error:
            raise DataError(f"{path}: line {number} is not a document: {error}.") from None


def _zstd_lines(path: Path) -> Iterator[bytes]:
    """Lines of a zstd file of any number of frames; a frame without its end is an error, not an end of file."""
    with path.open("rb") as file:
        frame = zstandard.ZstdDecompressor().decompressobj()
        rest = b""
        pending = file.read(_CHUNK_BYTES)
        if not pending.startswith(_ZSTD_MAGIC):
            raise DataError(f"{path}: not a zstd file. Write it again with `mimo_data.write_documents`.")
        while pending:
            if frame.eof:
                frame = zstandard.ZstdDecompressor().decompressobj()
            try:
                *lines, rest = (rest + frame.decompress(pending)).split(b"\n")
            except zstandard.ZstdError as error:
                raise DataError(f"{path}: damaged ({error}). Make it again.") from None
            yield from lines
            pending = frame.unused_data or file.read(_CHUNK_BYTES)
        if not frame.eof:
            raise DataError(f"{path}: truncated. Make it again, or copy it again from where it is whole.")
    if rest:
        yield rest


def _write_json_lines(path: Path, documents: Iterable[Document]) -> int:
    encoder = msgspec.json.Encoder()
    compressor = zstandard.ZstdCompressor(level=3, write_checksum=True)
    num_documents = 0
    with path.open("wb") as file, compressor.stream_writer(file) as stream:
        for document in documents:
            stream.write(encoder.encode(document) + b"\n")
            num_documents += 1
    return num_documents


def _read_parquet(path: Path) -> Iterator[Document]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_ROW_GROUP_DOCUMENTS):
                for row in batch.to_pylist(maps_as_pydicts="strict"):
                    yield msgspec.convert(row, Document)
    # The last two: text that is not UTF-8, and a map that has a key twice.
    except (pyarrow.ArrowException, msgspec.ValidationError, UnicodeDecodeError, KeyError) as error:
        found = str(error).rstrip(".")
        raise DataError(f"{path}: not a Parquet file of documents: {found}. Make it again.") from None


def _write_parquet(path: Path, documents: Iterable[Document]) -> int:
    import pyarrow
    import pyarrow.parquet

    text, mapping = pyarrow.string(), pyarrow.map_(pyarrow.string(), pyarrow.string())
    schema = pyarrow.schema(
        [
            pyarrow.field(name, mapping if name in ("tags", "meta") else text, nullable=False)
            for name in Document.__struct_fields__
        ]
    )
    num_documents = 0
    remaining = iter(documents)
    with pyarrow.parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        while rows := [msgspec.to_builtins(document) for document in islice(remaining, _ROW_GROUP_DOCUMENTS)]:
            writer.write_table(pyarrow.Table.from_pylist(rows, schema=schema))
            num_documents += len(rows)
    return num_documents
