from __future__ import annotations

import json
from pathlib import Path

import pytest

from mimo_data.cli import main

PAGE = "<html><body><p>{0}</p><script>alert(1)</script></body></html>"
SENTENCES = " ".join(f"Sentence number {number} of the page says something." for number in range(12))


@pytest.fixture
def steps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[Path, Path, Path]:
    """Folders of pages, of their documents, and of the documents without copies."""
    pages, extracted, unique = (tmp_path / name for name in ("pages", "extracted", "unique"))
    pages.mkdir()
    (pages / "first.html").write_text(PAGE.format(SENTENCES))
    (pages / "second.html").write_text(PAGE.format(SENTENCES))
    (pages / "empty.html").write_text("<html></html>")
    recipe = tmp_path / "data.toml"
    recipe.write_text("")
    assert main(["extract", str(recipe), str(extracted), "--pages", str(pages), "--workers", "1"]) == 0
    assert main(["deduplicate", str(recipe), str(unique), "--documents", str(extracted)]) == 0
    capsys.readouterr()
    return pages, extracted, unique


def test_the_story_of_a_copy_ends_with_the_document_that_was_kept(steps, capsys):
    _, extracted, unique = steps
    assert main(["inspect", "second.html", "--steps", str(extracted), str(unique)]) == 0
    story = capsys.readouterr().out
    assert "== extract" in story
    assert "Sentence number 11 of the page says something." in story
    assert "dropped as same_text: first.html" in story


def test_the_story_of_a_page_without_text_is_its_reason(steps, capsys):
    _, extracted, unique = steps
    assert main(["inspect", "empty.html", "--steps", str(extracted), str(unique)]) == 0
    assert "dropped as no_content" in capsys.readouterr().out


def test_the_page_stands_beside_its_document_without_running(steps, tmp_path):
    pages, extracted, unique = steps
    out = tmp_path / "story.html"
    command = ["inspect", "first.html", "--steps", extracted, unique, "--pages", pages, "--html", out]
    assert main([str(word) for word in command]) == 0
    written = out.read_text()
    assert "<iframe sandbox srcdoc=" in written
    assert "&lt;script&gt;alert(1)" in written
    assert "<script>" not in written
    assert "kept, " in written


def test_an_unknown_id_is_an_error(steps, capsys):
    _, extracted, _ = steps
    assert main(["inspect", "none.html", "--steps", str(extracted)]) == 1
    assert "none.html: no step of" in capsys.readouterr().err


def test_every_page_is_counted(steps):
    _, extracted, unique = steps
    first, second = (json.loads((folder / "run.json").read_text())["counts"] for folder in (extracted, unique))
    assert first == {"num_in": 3, "num_out": 2, "num_dropped": 1, "drops": {"no_content": 1}}
    assert second == {"num_in": 2, "num_out": 1, "num_dropped": 1, "drops": {"same_text": 1}}
