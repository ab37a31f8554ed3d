"""`mimo-data inspect`: one document, from its page to where it stayed or fell."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mimo_data.commands.extract import add_inputs, chosen_input
from mimo_data.commands.step import Verbs
from mimo_data.run import whole

if TYPE_CHECKING:
    from mimo_data.extract import ExtractRecipe


def add(verbs: Verbs) -> None:
    """Adds the verb."""
    text = "show what each step did to a document, and why it was dropped"
    verb = verbs.add("inspect", _run, text, recipe=False)
    verb.add_argument("id", metavar="ID", help="the document's id: for a page, its path below the folder of pages")
    verb.add_argument(
        "--steps", type=Path, nargs="+", required=True, metavar="DIR", help="folders of the steps, in their order"
    )
    add_inputs(verb.add_mutually_exclusive_group())
    verb.add_argument("--html", type=Path, metavar="FILE", help="write the page beside its document, for a browser")


def _run(arguments: argparse.Namespace) -> None:
    from mimo_data.inspect import as_html, as_text, tell
    from mimo_data.sources.page import printable

    # As the steps write the name of a file.
    id = printable(arguments.id)
    chapters = tell(id, arguments.steps)
    print(as_text(id, chapters))
    if arguments.html:
        with whole(arguments.html) as temporary:
            temporary.write_text(as_html(id, chapters, _page(id, arguments)))
        print(f"\n{arguments.html}: open it in a browser")


def _page(id: str, arguments: argparse.Namespace) -> str:
    """The HTML of the page with this id, or why it is not shown."""
    from mimo_data.documents import Document, Drop
    from mimo_data.extract import find_record
    from mimo_data.sources.decoding import decode

    given = chosen_input(arguments)
    if given is None:
        return "<p>The page is not shown: name where it was extracted from, with --pages or the like.</p>"
    record = find_record(id, *given, _recipe(arguments.steps))
    if record is None:
        return f"<p>The page is not shown: nothing in what --{given[0]} names has this id.</p>"
    if isinstance(record, Drop):
        return f"<p>The page is not shown: it is dropped as {record.reason} where it is read.</p>"
    if isinstance(record, Document):
        return "<p>There is no page: what was read is a text already.</p>"
    if record.kind == "html":
        return decode(record.data, charset=record.charset)
    return "<p>The page is a PDF file: open it beside this one.</p>"


def _recipe(steps: Sequence[Path]) -> ExtractRecipe:
    """What the pages were extracted with, which says how they are read."""
    import msgspec

    from mimo_data.extract import ExtractRecipe
    from mimo_data.inspect import step_header

    header = next((header for header in map(step_header, steps) if header["command"] == "extract"), None)
    try:
        return ExtractRecipe() if header is None else msgspec.convert(header["recipe"], ExtractRecipe)
    except msgspec.ValidationError:  # of another version
        return ExtractRecipe()
