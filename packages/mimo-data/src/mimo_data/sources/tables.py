"""Tables of documents or of pages: Parquet, JSON Lines and CSV files, by the names of their columns."""

from __future__ import annotations

import base64
import binascii
import codecs
import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from mimo_data.documents import Document, Drop
from mimo_data.jsonlines import NOT_JSON
from mimo_data.run import DataError, Record
from mimo_data.sources.decoding import decode
from mimo_data.sources.lines import COMPRESSIONS, lines
from mimo_data.sources.page import Page, PageError, Part, labels

if TYPE_CHECKING:
    from pyarrow import RecordBatch

_FORMATS = (".parquet", ".jsonl", ".ndjson", ".json", ".csv", ".tsv")
_ENDINGS = (".parquet", *(ending + more for ending in _FORMATS[1:] for more in ("", *COMPRESSIONS)))
_BATCH_ROWS = 64
# A character of JSON may take six bytes where UTF-8 takes two.
_LINE_FACTOR = 3
_LINE_OVERHEAD_BYTES = 1 << 20

Row = dict[str, object]


class TablesRecipe(Record, frozen=True):
    """Which columns are a document's fields, and what is in the one that counts."""

    source: str = "web"
    """The documents' source, in the mixture's words."""
    content: Literal["text", "html", "pdf"] = "text"
    """What `content_column` holds: a document's text, or a page to extract it from (PDF in base64, but in Parquet)."""
    content_column: str = "text"
    """The column with the text or the page."""
    id_column: str = ""
    """Values must be unique; without one, an id is the file's name and the place of the row."""
    url_column: str = ""
    """The column with the document's address; "" for none."""
    meta_columns: tuple[str, ...] = ()
    """Columns kept as `meta`, as text; a row may lack them."""
    max_page_bytes: int = 20_000_000
    """Size of what `content_column` holds; larger is dropped as `too_large`."""
    part_bytes: int = 256_000_000
    """In a unit of work, of Parquet's compressed row groups or of lines. Other compressed files are one unit each."""

    def __post_init__(self) -> None:
        if self.max_page_bytes < 1 or self.part_bytes < 1:
            raise ValueError("max_page_bytes and part_bytes are at least 1")


def parts(paths: Sequence[Path], recipe: TablesRecipe) -> list[Part]:
    """Table files, and those below folders, in ranges of row groups (Parquet) or of bytes (lines without compression).

    Raises:
        DataError: a path is missing or no such file, or a folder holds none.
    """
    files: list[Path] = []
    for path in paths:
        found = sorted(path.rglob("*")) if path.is_dir() else [path]
        found = [file for file in found if file.name.lower().endswith(_ENDINGS) and file.is_file()]
        if not found:
            raise DataError(f"{path}: no table. Name files that end in {', '.join(_ENDINGS)}, or a folder of them.")
        files += found
    made: list[Part] = []
    for file, label in zip(files, labels(files), strict=True):
        for start, stop in _ranges(file, recipe.part_bytes):
            made.append(Part(id=f"table-{len(made):06d}", path=str(file), names=(label,), start=start, stop=stop))
    return made


def read(part: Part, recipe: TablesRecipe) -> Iterator[Page | Document | Drop]:
    """The rows of one part.

    Raises:
        DataError: a column is missing.
    """
    path = Path(part.path)
    kind = path.name.lower().removesuffix(".gz").removesuffix(".zst").rpartition(".")[2]
    if kind == "parquet":
        rows = _parquet_rows(path, part, recipe)
    elif kind in ("csv", "tsv"):
        rows = _csv_rows(path, recipe, "," if kind == "csv" else "\t")
    else:
        rows = _json_rows(path, part, recipe)
    for place, row in rows:
        yield row_record(f"{part.names[0]}@{place}", row, recipe)


def row_record(
    place: str, row: Row | PageError, recipe: TablesRecipe, *, step: str = "extract"
) -> Page | Document | Drop:
    """What one row holds, or why it is nothing; its id is `place` where it has none of its own."""
    id = place
    try:
        if isinstance(row, PageError):
            raise row
        if recipe.id_column:
            id = _text(row[recipe.id_column]) or place
        return _convert(id, row, recipe)
    except PageError as failure:
        return failure.drop(id, step=step)


def _ranges(file: Path, part_bytes: int) -> Iterator[tuple[int, int]]:
    if file.suffix.lower() == ".parquet":
        import pyarrow
        import pyarrow.parquet

        try:
            metadata = pyarrow.parquet.read_metadata(file)
        except (pyarrow.ArrowException, OSError):
            yield 0, 0  # its reader will tell
            return
        start = num_bytes = 0
        for number in range(metadata.num_row_groups):
            group = metadata.row_group(number)
            num_bytes += sum(group.column(column).total_compressed_size for column in range(group.num_columns))
            if num_bytes >= part_bytes and number + 1 < metadata.num_row_groups:
                yield start, number + 1
                start, num_bytes = number + 1, 0
        yield start, 0
    elif file.suffix.lower() in (".jsonl", ".ndjson", ".json"):
        num_ranges = max(1, round(file.stat().st_size / part_bytes))
        bounds = [file.stat().st_size * number // num_ranges for number in range(num_ranges)]
        yield from zip(bounds, [*bounds[1:], 0], strict=True)
    else:
        yield 0, 0


def _convert(id: str, row: Row, recipe: TablesRecipe) -> Page | Document:
    content = row[recipe.content_column]
    url = _text(row[recipe.url_column]) if recipe.url_column else ""
    meta = {name: _text(row[name]) for name in recipe.meta_columns if row.get(name) is not None}
    if isinstance(content, str):
        data = content.encode("utf-8", "replace")
    elif isinstance(content, bytes):
        data = content
    elif content is None:
        raise PageError("no_content", f"no {recipe.content_column}")
    else:
        raise PageError("not_text", f"{recipe.content_column} is of type {type(content).__name__}")
    if len(data) > recipe.max_page_bytes:
        raise PageError("too_large", f"more than {recipe.max_page_bytes} bytes")
    if not data or data.isspace():
        raise PageError("no_content", f"{recipe.content_column} is empty")
    if recipe.content == "text":
        text = content if isinstance(content, str) else decode(data)
        return Document(id=id, text=text, source=recipe.source, url=url, meta=meta)
    charset = "utf-8" if isinstance(content, str) else ""
    if recipe.content == "pdf" and isinstance(content, str):
        try:
            data = base64.b64decode(data)
        except (binascii.Error, ValueError) as error:
            raise PageError("broken", f"not base64: {error}") from None
    return Page(id=id, data=data, kind=recipe.content, source=recipe.source, url=url, charset=charset, meta=meta)


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    text = json.dumps(value, ensure_ascii=False, default=_text) if isinstance(value, (dict, list)) else str(value)
    return text.encode("utf-8", "replace").decode("utf-8")


def _needed(recipe: TablesRecipe) -> list[str]:
    return [name for name in (recipe.content_column, recipe.id_column, recipe.url_column) if name]


def _missing(where: str, missing: Iterable[str], found: Iterable[str]) -> DataError:
    return DataError(
        f"{where}: no column {', '.join(missing)}; it has {', '.join(found)}. Change the recipe's columns."
    )


def _parquet_rows(path: Path, part: Part, recipe: TablesRecipe) -> Iterator[tuple[str, Row | PageError]]:
    """Place and values of each row; what is damaged costs its row group from there on."""
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
    except (pyarrow.ArrowException, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        yield "0", PageError("broken", f"not a Parquet file: {error}")
        return
    with file:
        names = file.schema_arrow.names
        missing = [name for name in _needed(recipe) if name not in names]
        if missing:
            raise _missing(str(path), missing, names)
        wanted = [*_needed(recipe), *(name for name in recipe.meta_columns if name in names)]
        for group in range(part.start, part.stop or file.num_row_groups):
            num_rows = 0
            try:
                batches = file.iter_batches(_BATCH_ROWS, row_groups=[group], columns=wanted)
                for batch in batches:
                    for row in batch_rows(batch):
                        yield f"{group}.{num_rows}", row
                        num_rows += 1
            except (pyarrow.ArrowException, OSError, ValueError) as error:
                lost = file.metadata.row_group(group).num_rows - num_rows
                yield f"{group}.{num_rows}", PageError("broken", f"{lost} rows of a row group: {error}"[:200])


def batch_rows(batch: RecordBatch) -> list[Row | PageError]:
    """The rows, with text as bytes; what Python cannot hold, such as a date after the year 9999, costs its row."""
    batch = _as_bytes(batch)
    try:
        return list(batch.to_pylist())
    except (ArithmeticError, LookupError, ValueError):  # LookupError: an unknown time zone
        return [_row(batch.slice(number, 1)) for number in range(batch.num_rows)]


def _row(batch: RecordBatch) -> Row | PageError:
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            column.to_pylist()
        except (ArithmeticError, LookupError, ValueError) as error:
            return PageError("broken", f"{name} cannot be read: {error}"[:200])
    row: Row = batch.to_pylist()[0]
    return row


def _as_bytes(batch: RecordBatch) -> RecordBatch:
    """The batch with text as bytes: Parquet files of others hold text that is not UTF-8."""
    import pyarrow

    columns = []
    for column in batch.columns:
        if pyarrow.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        if pyarrow.types.is_string(column.type) or pyarrow.types.is_large_string(column.type):
            column = column.cast(pyarrow.large_binary())
        columns.append(column)
    return pyarrow.record_batch(columns, names=batch.schema.names)


def _json_rows(path: Path, part: Part, recipe: TablesRecipe) -> Iterator[tuple[str, Row | PageError]]:
    """Place and values of each line.

    Raises:
        DataError: no line from the file's start to the part's end has the content's column.
    """
    if remedy := _remedy(path, recipe):
        if not part.start:
            yield "0", PageError("broken", f"not JSON Lines: write an object a line, as `{remedy}` does")
        return
    fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
    wanted = {*_needed(recipe), *recipe.meta_columns}
    columns: list[str] = []
    found_content = bool(part.start)
    for place, line in _lines(path, part, recipe):
        if isinstance(line, PageError):
            yield place, line
            continue
        if line.isspace():
            continue
        try:
            found = fields.decode(line)
            columns = columns or list(found)
            found_content = found_content or recipe.content_column in found
            yield place, {name: msgspec.json.decode(found[name]) if name in found else None for name in wanted}
        except NOT_JSON as error:
            yield place, PageError("broken", f"not a JSON object: {error}"[:200])
    if columns and not found_content:
        raise _missing(str(path), [recipe.content_column], columns)


def _remedy(path: Path, recipe: TablesRecipe) -> str:
    """What makes JSON Lines of a file that begins with an array of objects, or with an object over several lines."""
    found = _lines(path, Part(id="", path=str(path)), recipe)
    first = next((line for _, line in found if isinstance(line, bytes) and not line.isspace()), b"")
    if first.strip() == b"{":
        return "jq -c ."
    if not first.lstrip().startswith(b"["):
        return ""
    try:
        rows = msgspec.json.decode(first, type=list[dict[str, msgspec.Raw]])
    except msgspec.ValidationError:  # an array of something else, which costs its line
        return ""
    except NOT_JSON:
        return "jq -c .[]"
    return "jq -c .[]" if rows else ""


def _csv_rows(path: Path, recipe: TablesRecipe, delimiter: str) -> Iterator[tuple[str, Row | PageError]]:
    """Place and values of each row after the header."""
    csv.field_size_limit(recipe.max_page_bytes + 1)
    failures: list[tuple[str, PageError]] = []

    def text() -> Iterator[str]:
        for place, line in _lines(path, Part(id="", path=str(path)), recipe):
            if isinstance(line, PageError):
                failures.append((place, line))
            else:
                yield line.decode("utf-8", "replace")

    reader = csv.reader(text(), delimiter=delimiter)
    header: list[str] | None = None
    while True:
        place = str(reader.line_num)
        try:
            values = next(reader, None)
        except csv.Error as error:
            yield place, PageError("broken", f"not a row: {error}"[:200])
            continue
        yield from failures
        failures.clear()
        if values is None:
            return
        if header is None:
            header = values
            missing = [name for name in _needed(recipe) if name not in header]
            if missing:
                raise _missing(str(path), missing, header)
        elif values and len(values) != len(header):
            yield place, PageError("broken", f"a row of {len(values)} fields under a header of {len(header)}")
        elif values:
            yield place, dict(zip(header, values, strict=True))


def _lines(path: Path, part: Part, recipe: TablesRecipe) -> Iterator[tuple[str, bytes | PageError]]:
    """Place and content of each line, or what is wrong with it or with all that follow."""
    max_line_bytes = _LINE_FACTOR * recipe.max_page_bytes + _LINE_OVERHEAD_BYTES
    place = part.start
    empty = not part.start
    try:
        for place, line in lines(path, start=part.start, stop=part.stop, max_line_bytes=max_line_bytes):
            empty = False
            if line is None:
                yield str(place), PageError("too_large", f"a line of more than {max_line_bytes} bytes")
            else:
                yield str(place), line if place else line.removeprefix(codecs.BOM_UTF8)
        if empty:
            yield "0", PageError("broken", "empty file")
    except PageError as failure:
        yield f"{place}+", failure
