"""Speed of `extract_pdf` and `read_pages` on pages of each kind, against PyMuPDF's plain text.

python benchmarks/pdf_extraction.py [FILE.pdf …]

Without a file, pages are made here: prose, two columns, a table and code. CPU seconds, best of three, one
process; the plain text of PyMuPDF is the least that any reader of a text layer has to do.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable
from pathlib import Path

import pymupdf

from mimo_data.pdf import extract_pdf, read_pages

REPEATS = 3
NUM_PAGES = 40
SENTENCE = "Pages of this kind hold words of the usual length, set in lines of the usual width."


def made_pages() -> dict[str, bytes]:
    """A file of each kind."""
    files = {}
    for make in (prose, two_columns, table, code):
        document = pymupdf.open()
        for _ in range(NUM_PAGES):
            make(document.new_page(width=600, height=800))
        files[make.__name__.replace("_", " ")] = document.tobytes(deflate=True)
    return files


def prose(page: pymupdf.Page) -> None:
    lines(page, 72, [SENTENCE] * 50)


def two_columns(page: pymupdf.Page) -> None:
    lines(page, 40, [SENTENCE[:45]] * 50)
    lines(page, 320, [SENTENCE[:45]] * 50)


def table(page: pymupdf.Page) -> None:
    for column in range(5):
        lines(page, 60 + 90 * column, [f"cell {column}{row}" for row in range(40)])


def code(page: pymupdf.Page) -> None:
    lines(page, 72, ["def f(x):", "    return x + 1", ""] * 16, font="cour")


def lines(page: pymupdf.Page, x: float, texts: list[str], *, font: str = "helv") -> None:
    for number, text in enumerate(texts):
        page.insert_text((x, 100 + 12 * number), text, fontname=font, fontsize=10)


def plain(data: bytes) -> str:
    with pymupdf.open(stream=data, filetype="pdf") as document:
        return "".join(page.get_text() for page in document)


def cpu_s(work: Callable[[bytes], object], data: bytes) -> float:
    best = float("inf")
    for _ in range(REPEATS):
        start = time.process_time()
        work(data)
        best = min(best, time.process_time() - start)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("files", type=Path, nargs="*", metavar="FILE.pdf")
    paths = parser.parse_args().files
    for path in paths:
        if not path.exists():
            parser.error(f"{path}: no such file")
    files = {path.stem: path.read_bytes() for path in paths} or made_pages()
    if not paths:
        assert extract_pdf(files["table"]).startswith("| cell 00 | cell 10 |")
        assert extract_pdf(files["code"]).startswith("```\ndef f(x):\n    return x + 1\n")
    print(f"{platform.machine()}, Python {platform.python_version()}, PyMuPDF {pymupdf.__version__}")
    print(f"CPU seconds, best of {REPEATS}\n")
    print("| file | pages | ours, pages/s | ms a page | plain text, pages/s | to a vision model |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, data in files.items():
        pages = read_pages(data)
        ours, theirs = cpu_s(extract_pdf, data), cpu_s(plain, data)
        num_routed = sum(page.routing.score >= 0.5 for page in pages)
        print(
            f"| {name} | {len(pages)} | {len(pages) / ours:.0f} | {1000 * ours / len(pages):.1f} "
            f"| {len(pages) / theirs:.0f} | {num_routed} |"
        )


if __name__ == "__main__":
    main()
