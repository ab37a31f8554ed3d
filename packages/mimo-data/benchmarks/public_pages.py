"""Makes a corpus folder for `html_extraction.py` of three public benchmarks that our rules were not tuned on at first.

    python benchmarks/public_pages.py CORPUS_FOLDER --scrapinghub CLONE --readability CLONE --trafilatura CLONE

CLONE is a clone of https://github.com/scrapinghub/article-extraction-benchmark, of mozilla/readability and of
adbar/trafilatura, each with pages and what their authors hold for the content; a benchmark that is not given is left
out.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from html_corpus import Page, write_corpus
from lxml import html

BLOCKS = ("p", "div", "li", "h1", "h2", "h3", "td", "br", "figcaption", "pre")


def scrapinghub(clone: Path) -> Iterator[Page]:
    for name, record in json.loads((clone / "ground-truth.json").read_text()).items():
        data = gzip.decompress((clone / "html" / f"{name}.html.gz").read_bytes())
        yield Page("scrapinghub", "article", data, {"text": record["articleBody"], "with": []})


def readability(clone: Path) -> Iterator[Page]:
    for folder in sorted((clone / "test" / "test-pages").iterdir()):
        expected = html.fromstring((folder / "expected.html").read_text() or "<p></p>")
        for element in expected.iter(*BLOCKS):
            element.tail = f" {element.tail or ''}"
        truth = {"text": expected.text_content(), "with": []}
        yield Page("readability", "article", (folder / "source.html").read_bytes(), truth)


def trafilatura(clone: Path) -> Iterator[Page]:
    for record in json.loads((clone / "tests" / "evaldata.json").read_text()).values():
        found = [path for folder in ("eval", "cache") if (path := clone / "tests" / folder / record["file"]).exists()]
        for path in found[:1]:
            truth = {"with": record["with"], "without": record["without"]}
            yield Page("trafilatura", "article", path.read_bytes(), truth)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("corpus", type=Path)
    readers = (scrapinghub, readability, trafilatura)
    for reader in readers:
        parser.add_argument(f"--{reader.__name__}", type=Path, metavar="CLONE")
    arguments = parser.parse_args()
    clones = {reader: clone for reader in readers if (clone := getattr(arguments, reader.__name__))}
    for clone in clones.values():
        if not clone.is_dir():
            parser.error(f"{clone}: no such folder")
    if not clones:
        parser.error("name at least one clone")
    write_corpus(arguments.corpus, chain.from_iterable(reader(clone) for reader, clone in clones.items()))


main()
