"""Writes corpus folders that `html_extraction.py` reads, for the scripts here that make them."""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple


class Page(NamedTuple):
    group: str
    """Its set."""

    kind: str
    data: bytes
    truth: Mapping[str, object]


def write_corpus(corpus: Path, pages: Iterable[Page]) -> None:
    for folder in ("html", "truth"):
        (corpus / folder).mkdir(parents=True, exist_ok=True)
    numbers: Counter[str] = Counter()
    with (corpus / "manifest.jsonl").open("w") as manifest:
        for page in pages:
            name = re.sub(r"\W+", "-", f"{page.group}-{numbers[page.group]:04}")
            numbers[page.group] += 1
            (corpus / "html" / f"{name}.html.gz").write_bytes(gzip.compress(page.data))
            (corpus / "truth" / f"{name}.json").write_text(json.dumps(page.truth))
            manifest.write(json.dumps({"id": name, "set": page.group, "kind": page.kind}) + "\n")
