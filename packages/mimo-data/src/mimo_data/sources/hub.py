"""Data sets in the formats that Hugging Face `datasets` reads, local or on the hub, to documents."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mimo_data.documents import Document
from mimo_data.run import DataError, Record

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
    revision: str = ""
    """The hub data set's commit, so that a second import reads the same."""
    text_column: str = "text"
    id_column: str = ""
    """Values must be unique; without it, documents are numbered `<source>-<row>`."""
    url_column: str = ""
    meta_columns: tuple[str, ...] = ()
    """Columns kept as `meta`, as text."""

    def __post_init__(self) -> None:
        if bool(self.files) != (self.path in _FORMATS):
            raise ValueError(f"`files` goes with a local format as `path` ({', '.join(_FORMATS)}), and only with one")


def import_documents(recipe: ImportRecipe) -> Iterator[Document]:
    """Streams the rows of a data set as documents.

    Raises:
        DataError: a file or data set cannot be read, or a column is missing.
    """
    import datasets

    for file in recipe.files:
        if not Path(file).is_file():
            raise DataError(
                f"{file}: no such file (`files` of [import]). Paths are relative to where the command runs."
            )
    where = ", ".join(recipe.files) or recipe.path
    try:
        rows = datasets.load_dataset(
            recipe.path,
            recipe.name or None,
            data_files=list(recipe.files) or None,
            split="train" if recipe.files else recipe.split,
            revision=recipe.revision or None,
            streaming=True,
        )
        for number, row in enumerate(rows):
            yield _document(row, number, recipe, where)
    except DataError:
        raise
    except Exception as error:  # datasets lets the errors of every reader and of the network through
        raise DataError(f"{where}: cannot be read: {error}. Check the path, the format and the network.") from error


def _document(row: dict[str, object], number: int, recipe: ImportRecipe, where: str) -> Document:
    wanted = (recipe.text_column, recipe.id_column, recipe.url_column, *recipe.meta_columns)
    missing = [column for column in wanted if column and column not in row]
    if missing:
        raise DataError(f"{where}: no column {', '.join(missing)}; it has {', '.join(row)}. Change [import].")
    return Document(
        id=str(row[recipe.id_column]) if recipe.id_column else f"{recipe.source}-{number:09d}",
        text=str(row[recipe.text_column] or ""),
        source=recipe.source,
        url=str(row[recipe.url_column] or "") if recipe.url_column else "",
        meta={column: str(row[column]) for column in recipe.meta_columns},
    )
