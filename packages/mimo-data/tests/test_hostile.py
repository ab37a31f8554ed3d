"""Pages that are broken, huge or made to hurt: each gives a document or a line in the drop log, and harms no other."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import pymupdf
import pytest

from mimo_data import read_documents
from mimo_data.cli import main

SENTENCE = "A sentence that stands on every page of this folder and is long enough to be content. "
LIMIT_BYTES = 20_000_000


def pdf(**options: object) -> bytes:
    made = pymupdf.open()
    made.new_page().insert_text((72, 72), SENTENCE)
    return made.tobytes(**options)


def page(body: str) -> bytes:
    return f"<html><body><p>{SENTENCE * 5}</p>{body}</body></html>".encode()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    noise = random.Random(1).randbytes(200_000)
    files = {
        "bomb.html.gz": gzip.compress(b"<p>" + bytes(1 << 28)),
        "deep.html": page("<div>" * 100_000 + "deep" + "</div>" * 100_000),
        "deep-tables.html": page("<table><tr><td>" * 5_000 + "deep"),
        "dollars.html": page("$" * 1_000_000),
        "encrypted.pdf": pdf(encryption=pymupdf.PDF_ENCRYPT_AES_256, user_pw="secret", owner_pw="owner"),
        "entities.html": page("&amp;" * 1_000_000),
        "fine.html": page(""),
        "huge.html": page("<p>word</p>" * 9_000_000),
        "latin.html": page("caf\xe9").decode().encode("latin-1"),
        "links.html": page("<a href=/a>link</a> " * 200_000),
        "mathml.html": page("<math>" + "<mrow>" * 20_000 + "<mi>x</mi>"),
        "noise.html": noise,
        "noise.pdf": b"%PDF-1.7\n" + noise,
        "quadratic.html": page("<b><p>" * 20_000),
        "siblings.html": page("<p>one of many</p>" * 300_000),
        "truncated.html.gz": gzip.compress(page(""))[:-9],
        "truncated.pdf": pdf()[:400],
        "unclosed.html": page("<pre><code>" * 10_000),
        "utf16.html": page("").decode().encode("utf-16"),
    }
    pages = tmp_path / "pages"
    pages.mkdir()
    for name, data in files.items():
        (pages / name).write_bytes(data)
    return pages


@pytest.mark.slow
def test_every_hostile_page_is_accounted_for(folder, tmp_path):
    recipe = tmp_path / "data.toml"
    recipe.write_text(f"[extract]\npage_limit_s = 10.0\n[extract.pages]\nmax_page_bytes = {LIMIT_BYTES}\n")
    out = tmp_path / "out"
    assert main(["extract", str(recipe), str(out), "--pages", str(folder), "--workers", "2"]) == 0
    kept = {document.id for document in read_documents(out)}
    dropped = {row["id"]: row["reason"] for row in map(json.loads, (out / "drops.jsonl").read_text().splitlines())}
    assert kept | dropped.keys() == {path.name for path in folder.iterdir()}
    assert not kept & dropped.keys()
    assert {"fine.html", "latin.html", "utf16.html", "links.html", "siblings.html", "entities.html"} <= kept
    assert dropped["bomb.html.gz"] == dropped["huge.html"] == "too_large"
    assert dropped["encrypted.pdf"] == "encrypted"
    assert dropped["truncated.html.gz"] == dropped["noise.pdf"] == "broken"
    assert dropped["noise.html"] == "not_text"
    assert "crashed" not in dropped.values()
    print(dropped)
