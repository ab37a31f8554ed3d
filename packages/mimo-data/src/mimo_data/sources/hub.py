"""Data sets in the formats that Hugging Face `datasets` reads, local or on the hub, to documents."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING

from mimo_data.documents import Document, Drop
from mimo_data.run import DataError, Record
from mimo_data.sources.page import Part
from mimo_data.sources.tables import TablesRecipe, batch_rows, row_record

if TYPE_CHECKING:
    from datasets import IterableDataset
    from pyarrow import Table

_BATCH_ROWS = 64
_FORMATS = ("json", "csv", "parquet", "text", "arrow")


class ImportRecipe(Record, frozen=True):
    """Where a data set lies and which of its columns are a document's fields."""

    path: str
    """A format of local files (json, csv, parquet, text, arrow), or a data set's name on the hub."""
    source: str
    """The documents' source, in the mixture's words."""
    files: tuple[str, ...] = ()
    """Local files of the format `path`; empty for a data set on the hub."""
    name: str = ""
    """The hub data set's configuration."""
    split: str = "train"
    """The hub data set's part."""
    revision: str = ""
    """The hub data set's commit, so that a second import reads the same."""
    text_column: str = "text"
    """The column with the document's text."""
    id_column: str = ""
    """Values must be unique; without one, a document is numbered `<source>-<shard>-<row>`."""
    url_column: str = ""
    """The column with the document's address; "" for none."""
    meta_columns: tuple[str, ...] = ()
    """Columns kept as `meta`, as text."""

    def __post_init__(self) -> None:
        if bool(self.files) != (self.path in _FORMATS):
            raise ValueError(f"`files` goes with a local format as `path` ({', '.join(_FORMATS)}), and only with one")


def import_documents(recipe: ImportRecipe) -> Iterator[Document | Drop]:
    """Streams all rows of a data set as documents; see `read`."""
    for part in parts(recipe):
        yield from read(part, recipe)


def parts(recipe: ImportRecipe) -> list[Part]:
    """One part for each shard of the data set, which is a file in most.

    Raises:
        DataError: a file or data set cannot be found.
    """
    for file in recipe.files:
        if not Path(file).is_file():
            raise DataError(
                f"{file}: no such file (`files` of [import]). Paths are relative to where the command runs."
            )
        if not Path(file).stat().st_size:
            raise DataError(f"{file}: an empty file. Make it again, or take it out of `files` of [import].")
    num_shards = _data_set(recipe).num_shards
    return [Part(id=f"shard-{shard:06d}", path=recipe.path, start=shard, stop=shard + 1) for shard in range(num_shards)]


def read(part: Part, recipe: ImportRecipe) -> Iterator[Document | Drop]:
    """Streams the rows of one shard.

    Raises:
        DataError: it cannot be read, or a column is missing: a data set that is half there is no data set.
    """
    data_set = _data_set(recipe)
    columns = TablesRecipe(
        source=recipe.source,
        content_column=recipe.text_column,
        id_column=recipe.id_column,
        url_column=recipe.url_column,
        meta_columns=recipe.meta_columns,
        max_page_bytes=sys.maxsize,
    )
    shard = data_set.shard(num_shards=data_set.num_shards, index=part.start).with_format("arrow")
    num_rows = 0
    try:
        for table in shard.iter(_BATCH_ROWS):
            for batch in _chosen(table, recipe).to_batches():
                for row in batch_rows(batch):
                    place = f"{recipe.source}-{part.start:05d}-{num_rows:09d}"
                    record = row_record(place, row, columns, step="import")
                    assert isinstance(record, Document | Drop)
                    yield record
                    num_rows += 1
    except DataError:
        raise
    except Exception as error:  # datasets lets the errors of every reader and of the network through
        raise _unreadable(recipe, error) from error


def _chosen(table: Table, recipe: ImportRecipe) -> Table:
    columns = [recipe.text_column, recipe.id_column, recipe.url_column, *recipe.meta_columns]
    wanted = list(dict.fromkeys(column for column in columns if column))
    missing = [column for column in wanted if column not in table.column_names]
    if missing:
        found = ", ".join(table.column_names)
        raise DataError(f"{_where(recipe)}: no column {', '.join(missing)}; it has {found}. Change [import].")
    return table.select(wanted)


def _data_set(recipe: ImportRecipe) -> IterableDataset:
    import datasets
    from tqdm import tqdm

    # The lock that tqdm makes for datasets' bars is one between processes, which a worker that is ended leaves behind.
    tqdm.set_lock(RLock())
    try:
        return datasets.load_dataset(
            recipe.path,
            recipe.name or None,
            data_files=list(recipe.files) or None,
            split="train" if recipe.files else recipe.split,
            revision=recipe.revision or None,
            streaming=True,
        )
    except Exception as error:  # likewise
        raise _unreadable(recipe, error) from error


def _unreadable(recipe: ImportRecipe, error: Exception) -> DataError:
    found = str(error).rstrip(".") or type(error).__name__
    return DataError(f"{_where(recipe)}: cannot be read: {found}. Check the path, the format and the network.")


def _where(recipe: ImportRecipe) -> str:
    return ", ".join(recipe.files) or recipe.path
