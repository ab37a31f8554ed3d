"""Data sets in the formats that Hugging Face `datasets` reads, local or on the hub, to documents."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mimo_data.documents import Document, Drop
from mimo_data.run import DataError, Record
from mimo_data.sources.page import PageError, Part

if TYPE_CHECKING:
    from datasets import IterableDataset

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
    """Values must be unique; without it, documents are numbered `<source>-<shard>-<row>`."""
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
    num_shards = _data_set(recipe).num_shards
    return [Part(id=f"shard-{shard:06d}", path=recipe.path, start=shard, stop=shard + 1) for shard in range(num_shards)]


def read(part: Part, recipe: ImportRecipe) -> Iterator[Document | Drop]:
    """Streams the rows of one shard.

    Raises:
        DataError: it cannot be read, or a column is missing: a data set that is half there is no data set.
    """
    data_set = _data_set(recipe)
    try:
        for row, values in enumerate(data_set.shard(num_shards=data_set.num_shards, index=part.start)):
            yield _document(values, f"{recipe.source}-{part.start:05d}-{row:09d}", recipe)
    except DataError:
        raise
    except Exception as error:  # datasets lets the errors of every reader and of the network through
        raise _unreadable(recipe, error) from error


def _data_set(recipe: ImportRecipe) -> IterableDataset:
    import datasets

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
    return DataError(f"{_where(recipe)}: cannot be read: {error}. Check the path, the format and the network.")


def _where(recipe: ImportRecipe) -> str:
    return ", ".join(recipe.files) or recipe.path


def _document(row: dict[str, object], place: str, recipe: ImportRecipe) -> Document | Drop:
    wanted = (recipe.text_column, recipe.id_column, recipe.url_column, *recipe.meta_columns)
    missing = [column for column in wanted if column and column not in row]
    if missing:
        raise DataError(f"{_where(recipe)}: no column {', '.join(missing)}; it has {', '.join(row)}. Change [import].")
    id = str(row[recipe.id_column]) if recipe.id_column else place
    text = str(row[recipe.text_column] or "")
    if not text or text.isspace():
        return PageError("no_content", f"{recipe.text_column} is empty").drop(id, step="import")
    return Document(
        id=id,
        text=text.encode("utf-8", "replace").decode("utf-8"),
        source=recipe.source,
        url=str(row[recipe.url_column] or "") if recipe.url_column else "",
        meta={column: str(row[column]) for column in recipe.meta_columns},
    )
