"""Pages to documents: extraction under limits, and the reason for each page that has no document."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import msgspec

from mimo_data.documents import Document, Drop
from mimo_data.engine import Engine, ItemError, guarded, run_parts
from mimo_data.run import DataError, Record, Run
from mimo_data.sources import folder
from mimo_data.sources.decoding import decode, page_url
from mimo_data.sources.folder import FolderRecipe
from mimo_data.sources.page import Page, PageError, Part
from mimo_data.steps import STATE, PartCounts, finish_step, part_names, write_part


class ExtractRecipe(Record, frozen=True):
    """Where pages come from, and limits of one page, so that no page can stop a corpus."""

    page_limit_s: float = 30.0
    """CPU time; a page over it is dropped as `time_limit`."""
    worker_memory_bytes: int = 4_000_000_000
    """Address space of one process; a page that needs more is dropped as `out_of_memory`."""
    folder: FolderRecipe = FolderRecipe()


@dataclass(frozen=True)
class _Task:
    """A part of the input and where its documents go."""

    part: Part
    recipe: ExtractRecipe
    folder: Path
    name: str


def extract_pages(
    run: Run,
    paths: Sequence[Path],
    recipe: ExtractRecipe,
    *,
    engine: Engine,
    on_items: Callable[[int], None] | None = None,
) -> PartCounts:
    """Makes a step's folder with one document or one drop for each page, in the order of the input.

    Raises:
        DataError: there is no page, or there are PDF files and PyMuPDF is missing.
    """
    parts = folder.parts(paths, recipe.folder)
    if find_spec("pymupdf") is None:
        pdf = next((name for part in parts for name in part.names if ".pdf" in name.lower()), None)
        if pdf is not None:
            raise DataError(f"{pdf}: reading PDF needs PyMuPDF. Run `pip install 'mimo-data[pdf]'`.")
    tasks = {
        name: _Task(part, recipe, run.folder.resolve(), name) for name, part in zip(part_names(), parts, strict=False)
    }
    outputs = run_parts(
        _extract_part,
        tasks,
        output=PartCounts,
        done=run.folder / STATE,
        engine=engine,
        memory_limit_bytes=recipe.worker_memory_bytes,
        on_items=on_items,
    )
    return finish_step(run, outputs)


def find_page(id: str, paths: Sequence[Path], recipe: ExtractRecipe) -> Page | None:
    """The page with this id, if the input has it."""
    for part in folder.parts(paths, recipe.folder):
        for record in folder.read(part, recipe.folder):
            if isinstance(record, Page) and record.id == id:
                return record
    return None


def _extract_part(task: _Task) -> PartCounts:
    return write_part(task.folder, task.name, _extracted(task.part, task.recipe))


def _extracted(part: Part, recipe: ExtractRecipe) -> Iterator[Document | Drop]:
    for record in folder.read(part, recipe.folder):
        if not isinstance(record, Page):
            yield record
            continue
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
        return msgspec.structs.replace(failure.drop(page.id), step="extract")
    # Half a surrogate pair cannot be written as UTF-8.
    text = text.encode("utf-8", "replace").decode("utf-8")
    return Document(id=page.id, text=text, source=page.source, url=url, meta=page.meta)


def _text(page: Page) -> tuple[str, str]:
    """The text of a page, and its address."""
    if page.kind == "pdf":
        from mimo_data.pdf import PdfError, extract_pdf

        try:
            return extract_pdf(page.data), page.url
        except PdfError as error:
            raise PageError(error.reason, str(error)) from None
    from mimo_data.html import extract_html

    text = decode(page.data, charset=page.charset)
    url = page.url or page_url(text)
    return extract_html(text, url=url), url
