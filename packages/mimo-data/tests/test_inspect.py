from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from mimo_data import read_documents
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


@pytest.mark.skipif(not shutil.which("chromium"), reason="needs chromium: Debian's package of that name")
def test_the_story_fits_the_window_that_shows_it(steps):
    pages, extracted, unique = steps
    measure = "document.title = document.documentElement.scrollHeight <= innerHeight"
    # Chromium aborts where the path of its socket is over 100 characters, as below pytest's folders.
    with tempfile.TemporaryDirectory() as folder:
        story = Path(folder) / "story.html"
        command = ["inspect", "first.html", "--steps", extracted, unique, "--pages", pages, "--html", story]
        assert main([str(word) for word in command]) == 0
        story.write_text(story.read_text().replace("</html>", f"<script>{measure}</script></html>"))
        browser = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}/browser"]
        browser += ["--window-size=1400,1000", "--dump-dom", story.as_uri()]
        drawn = subprocess.run(browser, capture_output=True, text=True, timeout=60, check=True).stdout
    assert "<title>true</title>" in drawn


def test_only_changes_are_coloured(steps, tmp_path):
    pages, *_ = steps
    (pages / "list.html").write_text(f"<html><body><ul><li>{SENTENCES}</li></ul></body></html>")
    command = ["extract", tmp_path / "data.toml", tmp_path / "again", "--pages", pages, "--workers", "1"]
    assert main([str(word) for word in command]) == 0
    story = tmp_path / "story.html"
    command = ["inspect", "list.html", "--steps", tmp_path / "again", "--html", story]
    assert main([str(word) for word in command]) == 0
    written = story.read_text()
    assert "- Sentence number 0" in written
    assert 'class="removed"' not in written
    assert "name where it was extracted from" in written


def test_a_page_that_is_not_among_those_named_is_said_not_to_be(steps, tmp_path):
    pages, extracted, _ = steps
    (pages / "empty.html").unlink()
    story = tmp_path / "story.html"
    command = ["inspect", "empty.html", "--steps", extracted, "--pages", pages, "--html", story]
    assert main([str(word) for word in command]) == 0
    written = story.read_text()
    assert "nothing in what --pages names has this id" in written
    assert "<header><h1>empty.html</h1><p>extract: dropped as no_content" in written
    assert "<pre></pre>" not in written


def test_a_page_that_was_named_and_not_read_has_its_reason_in_its_place(steps, tmp_path):
    pages, *_ = steps
    again, story = tmp_path / "again", tmp_path / "story.html"
    (tmp_path / "small.toml").write_text("[extract.pages]\nmax_page_bytes = 100\n")
    command = ["extract", tmp_path / "small.toml", again, "--pages", pages, "--workers", "1"]
    assert main([str(word) for word in command]) == 0
    command = ["inspect", "first.html", "--steps", again, "--pages", pages, "--html", story]
    assert main([str(word) for word in command]) == 0
    assert "The page is not shown: it is dropped as too_large where it is read." in story.read_text()


def test_a_text_of_a_table_has_no_page(tmp_path):
    table, extracted, story, recipe = (tmp_path / name for name in ("texts.jsonl", "extracted", "story.html", "a.toml"))
    table.write_text(json.dumps({"text": SENTENCES}) + "\n")
    recipe.write_text("")
    assert main(["extract", str(recipe), str(extracted), "--tables", str(table), "--workers", "1"]) == 0
    command = ["inspect", "texts.jsonl@0", "--steps", extracted, "--tables", table, "--html", story]
    assert main([str(word) for word in command]) == 0
    assert "There is no page: what was read is a text already." in story.read_text()


def test_the_words_of_a_leak_and_their_place_are_shown(steps, tmp_path, capsys):
    _, extracted, _ = steps
    problems, clean = tmp_path / "problems.jsonl", tmp_path / "clean"
    prompt = " ".join(SENTENCES.split()[:40])
    problems.write_text(json.dumps({"id": "math/2", "prompt": prompt}) + "\n")
    command = ["decontaminate", tmp_path / "data.toml", clean, "--documents", extracted, "--problems", problems]
    assert main([str(word) for word in command]) == 0
    assert main(["inspect", "first.html", "--steps", str(extracted), str(clean)]) == 0
    story = capsys.readouterr().out
    assert "dropped as contains_problem: math/2\nmath/2 (whole), characters 0 to " in story
    assert ": Sentence number 0 of the page" in story.rpartition("math/2")[2]
    assert "…" not in story


def test_a_leak_of_which_not_all_words_are_kept_ends_with_dots(steps, tmp_path):
    _, extracted, _ = steps
    problems, clean, story = (tmp_path / name for name in ("problems.jsonl", "clean", "story.html"))
    problems.write_text(json.dumps({"id": "math/2", "prompt": SENTENCES}) + "\n")
    command = ["decontaminate", tmp_path / "data.toml", clean, "--documents", extracted, "--problems", problems]
    assert main([str(word) for word in command]) == 0
    command = ["inspect", "first.html", "--steps", extracted, clean, "--html", story]
    assert main([str(word) for word in command]) == 0
    assert f": {SENTENCES[:400]} …</p>" in story.read_text()


def test_control_characters_are_shown_and_not_obeyed(steps, tmp_path, capsys):
    pages, *_ = steps
    name = "\x1b[31mred.html"
    (pages / name).write_text(PAGE.format(SENTENCES))
    command = ["extract", tmp_path / "data.toml", tmp_path / "again", "--pages", pages, "--workers", "1"]
    assert main([str(word) for word in command]) == 0
    capsys.readouterr()
    assert main(["inspect", name, "--steps", str(tmp_path / "again")]) == 0
    assert capsys.readouterr().out.startswith("\\x1b[31mred.html\n")


def test_a_page_whose_name_is_not_utf_8_is_found_by_its_name(tmp_path, capsys):
    pages, extracted, story = tmp_path / "pages", tmp_path / "extracted", tmp_path / "story.html"
    pages.mkdir()
    name = os.fsdecode(b"caf\xe9.html")
    (pages / name).write_text(f"<html><body><article><p>{SENTENCES}</p></article></body></html>")
    (tmp_path / "a.toml").write_text("")
    assert main(["extract", str(tmp_path / "a.toml"), str(extracted), "--pages", str(pages), "--workers", "1"]) == 0
    command = ["inspect", name, "--steps", extracted, "--pages", pages, "--html", story]
    assert main([str(word) for word in command]) == 0
    assert "caf\\xe9.html" in capsys.readouterr().out
    assert "<header><h1>caf\\xe9.html</h1>" in story.read_text()


def test_an_unknown_id_is_an_error(steps, capsys):
    _, extracted, _ = steps
    assert main(["inspect", "none.html", "--steps", str(extracted)]) == 1
    assert "none.html: no step of" in capsys.readouterr().err
    assert main(["inspect", "\x1b[31mnone.html", "--steps", str(extracted)]) == 1
    assert "\\x1b[31mnone.html: no step of" in capsys.readouterr().err


def test_every_page_is_counted(steps):
    _, extracted, unique = steps
    first, second = (json.loads((folder / "run.json").read_text())["counts"] for folder in (extracted, unique))
    assert first == {"num_in": 3, "num_out": 2, "num_dropped": 1, "drops": {"no_content": 1}}
    assert second == {"num_in": 2, "num_out": 1, "num_dropped": 1, "drops": {"same_text": 1}}


def test_pages_are_read_as_the_step_read_them(tmp_path):
    table, extracted, story = tmp_path / "pages.jsonl", tmp_path / "extracted", tmp_path / "story.html"
    table.write_text(json.dumps({"id": "a", "html": PAGE.format(SENTENCES)}) + "\n")
    recipe = tmp_path / "data.toml"
    recipe.write_text("[extract.tables]\ncontent_column = 'html'\ncontent = 'html'\n")
    assert main(["extract", str(recipe), str(extracted), "--tables", str(table), "--workers", "1"]) == 0
    id = next(iter(read_documents(extracted))).id
    command = ["inspect", id, "--steps", extracted, "--tables", table, "--html", story]
    assert main([str(word) for word in command]) == 0
    assert "&lt;script&gt;alert(1)" in story.read_text()


def test_a_kept_sample_of_fine_tuning_has_its_story(tmp_path, capsys):
    samples, problems, recipe = (tmp_path / name for name in ("sft.jsonl", "problems.jsonl", "data.toml"))
    samples.write_text(json.dumps({"id": "a", "prompt": "What is 2+2?", "response": "It is 4."}) + "\n")
    problems.write_text(json.dumps({"id": "p", "prompt": "How long does the ferry take from here to there?"}) + "\n")
    recipe.write_text("")
    command = ["filter-sft", recipe, tmp_path / "kept", "--samples", samples, "--problems", problems]
    assert main([str(word) for word in command]) == 0
    assert main(["inspect", "a", "--steps", str(tmp_path / "kept")]) == 0
    assert "What is 2+2?" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["run.json", "drops.jsonl"])
def test_a_damaged_file_of_a_step_is_named(steps, capsys, name):
    _, extracted, _ = steps
    (extracted / name).write_text('{"empty.html"')
    assert main(["inspect", "empty.html" if name == "drops.jsonl" else "first.html", "--steps", str(extracted)]) == 1
    assert f"{extracted / name}: " in (message := capsys.readouterr().err)
    assert f"Make {extracted} again" in message
