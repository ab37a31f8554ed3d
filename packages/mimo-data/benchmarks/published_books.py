"""Makes a corpus folder for `html_extraction.py` of books, blogs and courses whose sources lie beside their pages.

    python benchmarks/published_books.py CORPUS_FOLDER --repositories FOLDER [--pages 40]

FOLDER holds clones of repositories with the HTML that a generator made (Jupyter Book, Quarto, bookdown, MkDocs, Hugo …)
and the Markdown or notebooks that it was made from, such as liuzhengqi1996/math452_Spring2022 (branch gh-pages). A page
is paired with the source of its name that has its words. The truth is what the source has and the page still shows:
formulas between dollars, in environments and in MyST's directives; fenced code and cells; paragraphs in plain words
(`with`). Sets are named after the generator.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections import defaultdict
from html import unescape
from pathlib import Path

from html_corpus import Page, write_corpus

# The first whose mark a page has.
GENERATORS = {
    "Quarto": r"content=.quarto",
    "bookdown": r"content=.bookdown",
    "R Markdown": r"content=.pandoc",
    "mdBook": r"mdbook",
    "MkDocs": r"content=.mkdocs",
    "Hugo": r"content=.hugo",
    "Hexo": r"content=.hexo",
    "Jekyll": r"content=.jekyll",
    "Jupyter Book": r"sphinx_book_theme|sphinx-book-theme|_sphinx_javascript_frameworks|documentation_options",
    "other": r"",
}
SOURCES = (".md", ".markdown", ".Rmd", ".qmd", ".ipynb")
NOT_CONTENT = ("node_modules", "_static", "themes", ".git", ".ipynb_checkpoints")
FENCE = re.compile(r"(?ms)^([ \t>]*)(`{3,}|~{3,})([^\n`]*)\n(.*?)^[ \t>]*\2[ \t]*$")
CODE = re.compile(r"(?:\{code(?:-block|-cell)?\}|\{(?:r|python|julia|bash|sql)\b|[^{]|$)")
INLINE_CODE = re.compile(r"(?<!`)(`+)(?!`).+?(?<!`)\1(?!`)", re.DOTALL)
FORMULA = re.compile(
    r"(?<!\\)\$\$(.+?)\$\$|(?<![\\$\w])\$(?![\s$])((?:[^$\n]|\n(?!\n))+?)(?<![\s\\])\$(?![\d$])"
    r"|(\\begin\{(equation|align|gather|eqnarray|multline)\*?\}.+?\\end\{\4\*?\})",
    re.DOTALL,
)
HIDDEN_CELLS = {"remove-cell", "remove-input", "remove_cell", "remove_input"}
MIN_WORDS = 8
MIN_SHARE_OF_WORDS = 0.9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--repositories", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--pages", type=int, default=40, metavar="N", help="of each repository at most")
    arguments = parser.parse_args()
    if not arguments.repositories.is_dir():
        parser.error(f"{arguments.repositories}: no such folder")
    write_corpus(
        arguments.corpus,
        (
            Page(generator(data), repository.name, data, found)
            for repository in sorted(arguments.repositories.iterdir())
            for data, found in pairs(repository, arguments.pages)
        ),
    )


def generator(data: bytes) -> str:
    page = data.decode("utf-8", "replace").lower()
    return next(name for name, mark in GENERATORS.items() if re.search(mark, page))


def pairs(repository: Path, most: int) -> list[tuple[bytes, dict[str, list[str]]]]:
    """Pages with their truths."""
    files = [
        path for path in sorted(repository.rglob("*")) if not set(NOT_CONTENT) & set(path.parts) and path.is_file()
    ]
    sources: dict[str, list[Path]] = defaultdict(list)
    for path in files:
        if path.suffix in SOURCES:
            sources[name_of(path)].append(path)
    pages = [path for path in files if path.suffix == ".html" and sources[name_of(path)]]
    random.Random(0).shuffle(pages)
    found, seen = [], set()
    for page in pages:
        data = page.read_bytes()
        # Of several sources of one name that whose folders are the page's.
        source = max(sources[name_of(page)], key=lambda path: len(set(path.parts) & set(page.parts)))
        if source in seen or len(found) == most:
            continue
        prose, cells = parts(source)
        truth = shown(prose, cells, unescape(data.decode("utf-8", "replace")))
        if truth is not None:
            seen.add(source)
            found.append((data, truth))
    return found


def name_of(path: Path) -> str:
    stem = path.parent.name if path.stem in ("index", "_index") else path.stem
    return re.sub(r"[\s_]+", "-", re.sub(r"^\d{4}-\d\d-\d\d-", "", stem).lower())


def parts(source: Path) -> tuple[str, list[str]]:
    """The Markdown of a source and the code of its cells."""
    text = source.read_text(encoding="utf-8", errors="replace")
    if source.suffix != ".ipynb":
        return text, []
    try:
        cells = json.loads(text)["cells"]
    except (ValueError, KeyError):
        return "", []
    prose = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    code = [
        "".join(cell["source"])
        for cell in cells
        if cell["cell_type"] == "code" and HIDDEN_CELLS.isdisjoint(cell["metadata"].get("tags", []))
    ]
    return prose, code


def shown(prose: str, cells: list[str], page: str) -> dict[str, list[str]] | None:
    """The truth: what of a source its page shows; None when the page was made from another version."""
    code = list(cells)

    def fenced(match: re.Match[str]) -> str:
        indent, _, name, body = match.groups()
        if name.strip() in ("math", "{math}"):
            return (
                "\n$$" + "".join(line for line in body.splitlines(True) if not line.lstrip().startswith(":")) + "$$\n"
            )
        if not CODE.match(name.strip()):
            return f"\n{body}\n"
        lines = (line[len(indent) :] if line[: len(indent)].isspace() else line for line in body.splitlines(True))
        code.append("".join(line for line in lines if not re.match(r"\s*(?::[\w-]+:|#\|)", line)))
        return "\n"

    for _ in range(2):  # A directive may hold another.
        prose = FENCE.sub(fenced, prose)
    prose = re.sub(r"<!--.*?-->|\A---\n.*?\n---\n", "", prose, flags=re.DOTALL)
    prose = INLINE_CODE.sub(" ", re.sub(r"\{math\}`([^`]*)`", r"$\1$", prose))
    text = re.sub(r"<[^<>]*>", "", page)
    letters = re.sub(r"\s+", "", text)
    plain = [" ".join(part.split()) for part in re.split(r"\n\s*\n", FORMULA.sub("$", prose))]
    plain = [part for part in plain if re.fullmatch(r"[\w\s,.;:'()-]+", part) and len(part.split()) >= MIN_WORDS]
    words = set(re.findall(r"[^\W\d_]{5,}", FORMULA.sub(" ", prose)))
    if not words or sum(word in text for word in words) < MIN_SHARE_OF_WORDS * len(words):
        return None
    formulas = [match[1] or match[2] or match[3] for match in FORMULA.finditer(prose)]
    return {
        "formulas": [latex for latex in formulas if re.sub(r"\s+", "", latex) in letters],
        "code": [block for block in code if block.strip() and re.sub(r"\s+", "", block) in letters],
        "with": [part for part in plain if re.sub(r"\s+", "", part) in letters],
    }


main()
