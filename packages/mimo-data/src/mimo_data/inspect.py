"""The story of one document: its page, what each step made of it, and where and why it was dropped."""

from __future__ import annotations

import difflib
import html
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any, TypeVar

import msgspec

from mimo_data.decontaminate.problems import Hit
from mimo_data.documents import Document, Drop, read_documents
from mimo_data.jsonlines import NOT_JSON
from mimo_data.run import DataError
from mimo_data.sft.filtering import read_lines

RecordT = TypeVar("RecordT", Drop, Hit)


@dataclass(frozen=True)
class Chapter:
    """What one step did to a document."""

    command: str
    folder: Path
    document: Document | None
    """As the step gave it, if it kept it."""
    drop: Drop | None
    kept: Document | None
    """The document that stayed in its place, if it was dropped as a copy."""
    hits: Sequence[Hit]
    """The problems that it contains, if the step looked for them."""

    def changes(self, before: Document | None) -> list[str]:
        """Lines of a unified diff from the document before, tags and meta first; none if nothing changed."""
        if before is None or self.document is None:
            return []
        return list(difflib.unified_diff(_lines(before), _lines(self.document), "before", "after", n=1, lineterm=""))


def tell(id: str, steps: Sequence[Path]) -> list[Chapter]:
    """What each step did to the document, in the order of the folders, up to the one that dropped it.

    Raises:
        DataError: a folder was not made by a step, or none of them knows the id.
    """
    chapters = []
    for folder in steps:
        document, drop = _find(folder, id)
        if document is None and drop is None:
            continue
        kept = _find(folder, drop.detail)[0] if drop is not None and drop.step == "deduplicate" else None
        chapters.append(Chapter(_command(folder), folder, document, drop, kept, _hits(folder / "hits.jsonl", id)))
        if drop is not None:
            break
    if not chapters:
        raise DataError(
            f"{_visible(id)}: no step of {', '.join(map(str, steps))} knows this id. Ids stand in drops.jsonl."
        )
    return chapters


def as_text(id: str, chapters: Sequence[Chapter]) -> str:
    """The story for a terminal."""
    lines = [id]
    before: Document | None = None
    for chapter in chapters:
        lines.append(f"\n== {chapter.command} ({chapter.folder})")
        lines += _outcome(chapter, before)
        lines += chapter.changes(before)
        if before is None and chapter.document is not None:
            lines += _lines(chapter.document)
        before = chapter.document
    return _visible("\n".join(lines))


def as_html(id: str, chapters: Sequence[Chapter], page: str) -> str:
    """The story as one HTML file: the page on the left (without scripts and network), the steps on the right.

    Args:
        page: HTML of the page, or what to say in its place.
    """
    parts = []
    before: Document | None = None
    for chapter in chapters:
        outcome = html.escape("\n".join(_outcome(chapter, before)))
        kind = "dropped" if chapter.drop else "kept"
        shown = chapter.kept or (chapter.document if before is None else None)
        body = html.escape("\n".join(_lines(shown))) if shown is not None else _coloured(chapter.changes(before))
        parts.append(
            f'<section class="{kind}"><h2>{html.escape(chapter.command)}</h2><p>{outcome}</p>'
            f"{f'<pre>{body}</pre>' if body else ''}</section>"
        )
        before = chapter.document
    last = chapters[-1]
    verdict = f"{last.command}: {next(_outcome(last, None))}"
    return _TEMPLATE.substitute(
        id=html.escape(id), verdict=html.escape(verdict), page=html.escape(_ALONE + page), steps="\n".join(parts)
    )


def _find(folder: Path, id: str) -> tuple[Document | None, Drop | None]:
    """The document as a step gave it, or its line in the step's drop log."""
    log = folder / "drops.jsonl"
    if not log.exists():
        raise DataError(f"{folder}: was not made by a step: it has no drops.jsonl.")
    for drop in _about(id, log, Drop):
        if drop.id == id:
            return None, drop
    samples = folder / "samples.jsonl"
    documents = _samples(samples) if samples.exists() else read_documents(folder)
    return next((document for document in documents if document.id == id), None), None


def _hits(path: Path, id: str) -> list[Hit]:
    """The lines about a document in what `decontaminate` found, if the step looked."""
    return [hit for hit in _about(id, path, Hit) if hit.document == id] if path.exists() else []


def _about(id: str, path: Path, kind: type[RecordT]) -> Iterator[RecordT]:
    """The lines of a step's file that have this id anywhere."""
    decoder = msgspec.json.Decoder(kind)
    wanted = msgspec.json.encode(id)
    with path.open("rb") as file:
        for line in file:
            if wanted in line:
                try:
                    yield decoder.decode(line)
                except NOT_JSON as error:
                    raise DataError(f"{path}: damaged: {error}. Make {path.parent} again.") from None


def _samples(path: Path) -> Iterator[Document]:
    """What `filter-sft` kept, as documents."""
    for sample, _ in read_lines([path]):
        yield Document(id=sample.id, text=f"{sample.prompt}\n\n{sample.response}", source="sft")


def _command(folder: Path) -> str:
    return str(step_header(folder)["command"])


def step_header(folder: Path) -> dict[str, Any]:
    """What a step wrote about itself: its command, recipe, inputs and counts.

    Raises:
        DataError: it is damaged.
    """
    try:
        header = json.loads((folder / "run.json").read_text())
        return {name: header[name] for name in ("command", "recipe", "inputs", "counts")}
    except (OSError, ValueError, KeyError, TypeError):
        raise DataError(f"{folder / 'run.json'}: missing or damaged. Make {folder} again.") from None


def _outcome(chapter: Chapter, before: Document | None) -> Iterator[str]:
    if chapter.drop is not None:
        detail = f": {chapter.drop.detail}" if chapter.drop.detail else ""
        yield f"dropped as {chapter.drop.reason}{detail}"
        for hit in chapter.hits:
            rest = " …" if len(hit.text) < hit.end - hit.start else ""
            yield f"{hit.problem} ({hit.rule}), characters {hit.start} to {hit.end}: {hit.text}{rest}"
        if chapter.kept is not None:
            yield f"the document that was kept has {len(chapter.kept.text)} characters"
    elif chapter.document is not None:
        same = before is not None and chapter.document == before
        yield f"kept, {len(chapter.document.text)} characters" + (", as it was" if same else "")


def _lines(document: Document) -> list[str]:
    """Every field of the document; the text last."""
    facts = {"source": document.source, "url": document.url, **document.tags, **document.meta}
    return [f"{name}: {value}" for name, value in facts.items() if value] + ["", *document.text.split("\n")]


def _visible(text: str) -> str:
    """The text with control characters as Python writes them: a terminal takes those of a page for commands."""
    return _CONTROL.sub(lambda control: repr(control[0])[1:-1], text)


def _coloured(diff: Sequence[str]) -> str:
    lines = []
    for line in diff:
        kind = {"+": "added", "-": "removed"}.get(line[:1])
        lines.append(f'<span class="{kind}">{html.escape(line)}</span>' if kind else html.escape(line))
    return "\n".join(lines)


_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
# A page may not call home from the inspector; without its style sheets, its icons would fill the screen.
_ALONE = """<meta http-equiv="Content-Security-Policy" content="default-src 'unsafe-inline' data:">
<style>svg:not([width]) { max-width: 1.5em; max-height: 1.5em }</style>
"""

_TEMPLATE = Template("""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>$id</title>
<style>
body { display: grid; grid-template: auto minmax(0, 1fr) / 1fr 1fr; height: 100vh; margin: 0; font: 15px sans-serif }
header { grid-column: 1 / 3; margin: .5rem 1rem }
h1 { margin: 0; font-size: 1.1rem }
header p { margin: 0; white-space: nowrap; overflow: hidden; text-overflow: ellipsis }
iframe { width: 100%; height: 100%; border: 1px solid #bbb; box-sizing: border-box }
main { overflow: auto; padding: 0 1rem }
section p { white-space: pre-wrap }
pre { white-space: pre-wrap; background: #f6f6f6; padding: .5rem }
.added { color: #060; background: #e2f5e2 } .removed { color: #900; background: #fbe6e6 }
.dropped h2, .dropped p { color: #900 }
</style>
<header><h1>$id</h1><p>$verdict</p></header>
<iframe sandbox srcdoc="$page"></iframe>
<main>
$steps
</main>
</html>
""")
