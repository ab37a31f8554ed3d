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
from pathlib import Path
from typing import NamedTuple

from lxml import html

BLOCKS = ("p", "div", "li", "h1", "h2", "h3", "td", "br", "figcaption", "pre")


class Page(NamedTuple):
    group: str
    data: bytes
    truth: dict[str, object]


def scrapinghub(clone: Path) -> Iterator[Page]:
    for name, record in json.loads((clone / "ground-truth.json").read_text()).items():
        data = gzip.decompress((clone / "html" / f"{name}.html.gz").read_bytes())
        yield Page("scrapinghub", data, {"text": record["articleBody"], "with": []})


def readability(clone: Path) -> Iterator[Page]:
    for folder in sorted((clone / "test" / "test-pages").iterdir()):
        expected = html.fromstring((folder / "expected.html").read_text() or "<p></p>")
        for element in expected.iter(*BLOCKS):
            element.tail = f" {element.tail or ''}"
        yield Page("readability", (folder / "source.html").read_bytes(), {"text": expected.text_content(), "with": []})


def trafilatura(clone: Path) -> Iterator[Page]:
    for record in json.loads((clone / "tests" / "evaldata.json").read_text()).values():
        found = [path for folder in ("eval", "cache") if (path := clone / "tests" / folder / record["file"]).exists()]
        for path in found[:1]:
            yield Page("trafilatura", path.read_bytes(), {"with": record["with"], "without": record["without"]})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("corpus", type=Path)
    readers = (scrapinghub, readability, trafilatura)
    for reader in readers:
        parser.add_argument(f"--{reader.__name__}", type=Path, metavar="CLONE")
    arguments = parser.parse_args()
    for folder in ("html", "truth"):
        (arguments.corpus / folder).mkdir(parents=True, exist_ok=True)
    with (arguments.corpus / "manifest.jsonl").open("w") as manifest:
        for reader in readers:
            clone = getattr(arguments, reader.__name__)
            for number, page in enumerate(reader(clone) if clone else ()):
                name = f"{page.group}-{number:04}"
                (arguments.corpus / "html" / f"{name}.html.gz").write_bytes(gzip.compress(page.data))
                (arguments.corpus / "truth" / f"{name}.json").write_text(json.dumps(page.truth))
                manifest.write(json.dumps({"id": name, "set": page.group, "kind": "article"}) + "\n")


main()
