"""Pages to documents: extraction under limits, and the reason for each page that has no document."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from mimo_data.documents import Document, Drop
from mimo_data.engine import Engine, ItemError, count_items, guarded
from mimo_data.run import DataError, Record, Run
from mimo_data.settings import MOST_BYTES, MOST_COUNT, check_numbers
from mimo_data.sources import folder, repository, tables, warc
from mimo_data.sources.decoding import decode, page_url
from mimo_data.sources.folder import FolderRecipe
from mimo_data.sources.page import Page, PageError, Part
from mimo_data.sources.repository import RepositoryRecipe
from mimo_data.sources.tables import TablesRecipe
from mimo_data.sources.warc import WarcRecipe
from mimo_data.steps import PartCounts, make_documents

# Below this a process has not room for its libraries and the model of a PDF page's layout.
_MIN_WORKER_BYTES = 700_000_000


class ExtractRecipe(Record, frozen=True):
    """Limits of one page, so that no page can stop a corpus, and how each kind of input is read."""

    page_limit_s: float = 30.0
    """CPU time; a page over it is dropped as `time_limit`."""
    worker_memory_bytes: int = 4_000_000_000
    """Address space of one process; a page that needs more is dropped as `out_of_memory`."""
    pages: FolderRecipe = FolderRecipe()
    archives: WarcRecipe = WarcRecipe()
    tables: TablesRecipe = TablesRecipe()
    repositories: RepositoryRecipe = RepositoryRecipe()

    def __post_init__(self) -> None:
        check_numbers(self, page_limit_s=(0.01, 86_400), worker_memory_bytes=(_MIN_WORKER_BYTES, MOST_BYTES))
        some_bytes = (1, MOST_BYTES)
        check_numbers(self.pages, "pages.", max_page_bytes=some_bytes)
        check_numbers(self.archives, "archives.", max_page_bytes=some_bytes, part_bytes=some_bytes)
        check_numbers(self.tables, "tables.", max_page_bytes=some_bytes, part_bytes=some_bytes)
        check_numbers(
            self.repositories.files,
            "repositories.files.",
            max_file_bytes=some_bytes,
            max_notebook_bytes=some_bytes,
            max_mean_line_characters=(1, MOST_COUNT),
            min_alphanumeric_share=(0, 1),
        )


Kind = Literal["pages", "archives", "tables", "repositories"]
"""Folders of HTML and PDF files; WARC and WET files; Parquet, JSON Lines and CSV files; source code repositories."""


def extract_pages(
    run: Run,
    kind: Kind,
    paths: Sequence[Path],
    recipe: ExtractRecipe,
    *,
    engine: Engine,
    on_items: Callable[[int], None] | None = None,
) -> PartCounts:
    """Makes a step's folder with one document or one drop for each page, in the order of the input.

    Raises:
        DataError: there is nothing of this kind, or there are PDF files and PyMuPDF is missing.
    """
    parts = _parts(kind, paths, recipe)
    if find_spec("pymupdf") is None:
        pdf = next((name for part in parts for name in part.names if ".pdf" in name.lower()), None)
        if pdf is not None and kind == "pages":
            raise DataError(f"{pdf}: reading PDF needs PyMuPDF. Run `pip install 'mimo-data[pdf]'`.")
    return make_documents(
        run,
        parts,
        partial(_extracted, kind, recipe),
        engine=engine,
        memory_limit_bytes=recipe.worker_memory_bytes,
        on_items=on_items,
    )


def find_record(id: str, kind: Kind, paths: Sequence[Path], recipe: ExtractRecipe) -> Page | Document | Drop | None:
    """What a reader gives for this id: a page, a text that needs no extraction, or why it read neither."""
    for part in _parts(kind, paths, recipe):
        for record in _records(kind, part, recipe):
            if record.id == id:
                return record
    return None


def _parts(kind: Kind, paths: Sequence[Path], recipe: ExtractRecipe) -> list[Part]:
    match kind:
        case "pages":
            return folder.parts(paths, recipe.pages)
        case "archives":
            return warc.parts(paths, recipe.archives)
        case "tables":
            return tables.parts(paths, recipe.tables)
        case "repositories":
            return repository.parts(paths, recipe.repositories)


def _records(kind: Kind, part: Part, recipe: ExtractRecipe) -> Iterator[Page | Document | Drop]:
    match kind:
        case "pages":
            return folder.read(part, recipe.pages)
        case "archives":
            return warc.read(part, recipe.archives)
        case "tables":
            return tables.read(part, recipe.tables)
        case "repositories":
            return repository.read(part, recipe.repositories)


def _extracted(kind: Kind, recipe: ExtractRecipe, part: Part) -> Iterator[Document | Drop]:
    for record in _records(kind, part, recipe):
        if not isinstance(record, Page):
            count_items(1)
            yield record
            continue
        if record.kind == "pdf" and find_spec("pymupdf") is not None:
            # An import that the time limit ends is broken for the rest of the process.
            import_module("mimo_data.pdf")
        result = guarded(page_document, record, limit_s=recipe.page_limit_s)
        if isinstance(result, ItemError):
            yield Drop(id=record.id, step="extract", reason=result.reason, detail=result.detail)
        else:
            yield result


def page_document(page: Page) -> Document | Drop:
    """The document of one page, or why it has none."""
    try:
        text, url = _text(page)
        if not text.strip():
            raise PageError("no_content", "no text was found")
    except PageError as failure:
        return failure.drop(page.id)
    # Half a surrogate pair cannot be written as UTF-8.
    text = text.encode("utf-8", "replace").decode("utf-8")
    return Document(id=page.id, text=text, source=page.source, url=url, meta=page.meta)


def _text(page: Page) -> tuple[str, str]:
    """The text of a page, and its address."""
    if page.kind == "pdf":
        if find_spec("pymupdf") is None:
            raise PageError("no_pymupdf", "reading PDF needs PyMuPDF: run `pip install 'mimo-data[pdf]'`")
        from mimo_data.pdf import PdfError, extract_pdf

        try:
            return extract_pdf(page.data), page.url
        except PdfError as error:
            raise PageError(error.reason, str(error)) from None
    from mimo_data.html import extract_html

    text = decode(page.data, charset=page.charset)
    url = page.url or page_url(text)
    return extract_html(text, url=url), url
