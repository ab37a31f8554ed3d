from __future__ import annotations

import gzip
import json
import random
import resource
import subprocess
import sys
import tomllib
from functools import partial
from pathlib import Path

import pytest

from mimo_data import open_shards, read_documents
from mimo_data.cli import main

PAGE = "<html><head><link rel=canonical href='http://a.org/{0}'></head><body><p>{1}</p></body></html>"
SENTENCES = " ".join(f"Sentence number {number} of the page says something." for number in range(12))


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "data.toml"
    path.write_text("[stages.one]\nweights = { web = 1.0 }\nmax_epochs = 2.0\nseed = 1\n")
    return path


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    folder = tmp_path / "pages"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.html").write_text(PAGE.format("a", SENTENCES))
    (folder / "b.html").write_text(PAGE.format("b", SENTENCES + " And one more."))
    (folder / "sub" / "c.html.gz").write_bytes(gzip.compress(PAGE.format("c", "Short.").encode()))
    (folder / "d.htm").write_bytes(b"\x00\x01" * 300)
    (folder / "e.html.gz").write_bytes(gzip.compress(SENTENCES.encode())[:-12])
    (folder / "f.html").write_bytes(b"")
    (folder / "g.html").write_text("<html><body></body></html>")
    (folder / "notes.txt").write_text("not a page")
    return folder


def drops(folder: Path) -> dict[str, str]:
    lines = (folder / "drops.jsonl").read_text().splitlines()
    return {row["id"]: row["reason"] for row in map(json.loads, lines)}


def test_pages_become_shards_and_every_page_is_accounted_for(recipe, pages, tokenizer, tmp_path, capsys):
    extracted, unique, clean, kept, shards = (tmp_path / name for name in ("x", "u", "c", "k", "s"))
    problems = tmp_path / "problems.jsonl"
    problems.write_text(json.dumps({"id": "p", "prompt": "What is the answer to all of the questions?"}))
    steps = [
        ["extract", recipe, extracted, "--pages", pages, "--workers", "2"],
        ["deduplicate", recipe, unique, "--documents", extracted],
        ["decontaminate", recipe, clean, "--documents", unique, "--problems", problems],
        ["filter", recipe, kept, "--documents", clean],
        ["tokenize", recipe, shards, "--documents", kept, "--tokenizer", tokenizer],
        ["check", recipe, "--shards", shards],
    ]
    for step in steps:
        assert main([str(word) for word in step]) == 0
    assert drops(extracted) == {
        "d.htm": "not_text", "e.html.gz": "broken", "f.html": "broken", "g.html": "no_content",
    }  # fmt: skip
    assert [document.url for document in read_documents(extracted)] == [
        "http://a.org/a",
        "http://a.org/b",
        "http://a.org/c",
    ]
    assert drops(unique) == {"a.html": "near_duplicate"}
    assert drops(kept) == {"sub/c.html.gz": "too_short"}
    for folder in (extracted, unique, clean, kept):
        counts = json.loads((folder / "run.json").read_text())["counts"]
        assert counts["num_in"] == counts["num_out"] + counts["num_dropped"]
    assert open_shards(shards).sources["web"].manifest.num_documents == 1
    capsys.readouterr()
    assert main([str(word) for word in steps[0]]) == 0
    assert capsys.readouterr().out == f"{extracted}: complete, reused\n"


def fails(capsys: pytest.CaptureFixture[str], code: int, *words: object) -> str:
    """The one line that a failing command prints."""
    assert main([str(word) for word in words]) == code
    captured = capsys.readouterr()
    assert captured.err.startswith("mimo-data: error: ")
    assert captured.err.count("\n") == 1
    return captured.err


def test_an_empty_page_folder_is_an_error_and_leaves_nothing(recipe, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    message = fails(capsys, 1, "extract", recipe, tmp_path / "out", "--pages", tmp_path / "empty")
    assert "holds no page" in message
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.toml", "empty"]


def test_a_missing_page_folder_is_an_error(recipe, tmp_path, capsys):
    assert "gone" in fails(capsys, 1, "extract", recipe, tmp_path / "out", "--pages", tmp_path / "gone")


def test_pdf_pages_without_the_extra_name_it(recipe, tmp_path, capsys, monkeypatch):
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "a.pdf").write_bytes(b"%PDF")
    monkeypatch.setattr("mimo_data.extract.find_spec", lambda name: None)
    message = fails(capsys, 1, "extract", recipe, tmp_path / "out", "--pages", tmp_path / "pages")
    assert "pip install 'mimo-data[pdf]'" in message


def test_an_unknown_key_is_a_usage_error(recipe, tmp_path, capsys):
    recipe.write_text("[deduplicate]\ntreshold = 0.5\n")
    message = fails(capsys, 2, "check", recipe)
    assert "Did you mean `threshold`" in message


def test_a_value_out_of_bounds_is_a_usage_error(recipe, capsys):
    assert "threshold is 2.0, but must lie between 0.05 and 1" in fails(
        capsys, 2, "check", recipe, "--set", "deduplicate.threshold=2"
    )


def test_a_truncated_input_is_an_error_and_leaves_nothing(recipe, documents, tmp_path, capsys):
    path = documents({str(number): SENTENCES for number in range(50)})
    path.write_bytes(path.read_bytes()[:-10])
    assert "truncated" in fails(capsys, 1, "filter", recipe, tmp_path / "out", "--documents", path)
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "out.partial").exists()


def test_a_missing_tokenizer_is_an_error(recipe, documents, tmp_path, capsys):
    path = documents({"a": "text"})
    words = ("tokenize", recipe, tmp_path / "out", "--documents", path, "--tokenizer", tmp_path / "gone")
    assert "tokenizer.json: no such file" in fails(capsys, 1, *words)


def test_an_output_that_cannot_be_written_is_an_error(recipe, documents, tmp_path, capsys):
    path = documents({"a": "text"})
    (tmp_path / "file").write_text("")
    assert "file" in fails(capsys, 1, "filter", recipe, tmp_path / "file" / "out", "--documents", path)


def test_a_full_disk_is_an_error_that_says_so_and_leaves_nothing_half_done(recipe, documents, tmp_path):
    path = documents({str(number): f"{number} {random.Random(number).randbytes(40).hex()}" for number in range(2000)})
    words = ["filter", str(recipe), str(tmp_path / "out"), "--documents", str(path), "--set", "filter.min_characters=9"]
    command = [sys.executable, "-c", "from mimo_data.cli import main; raise SystemExit(main())", *words]
    # As a disk does that has no more room.
    limit = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (20_000, 20_000))
    done = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=limit)
    assert done.returncode == 1
    assert done.stderr == "mimo-data: error: File too large. Put that right, and run the command again.\n"
    assert not (tmp_path / "out").exists()
    assert not list((tmp_path / "out.partial").glob("*.zst"))
    assert main(words) == 0
    assert len(list(read_documents(tmp_path / "out"))) == 2000


def test_a_wrong_command_line_is_a_usage_error(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["extract"])
    assert stopped.value.code == 2


@pytest.mark.slow
def test_a_data_set_is_imported(recipe, tmp_path):
    source = tmp_path / "rows.jsonl"
    source.write_text('{"body":"one","key":"a","year":2001}\n{"body":"two","key":"b","year":2002}\n')
    recipe.write_text(
        f'[import]\npath = "json"\nfiles = ["{source}"]\nsource = "books"\ntext_column = "body"\n'
        'id_column = "key"\nmeta_columns = ["year"]\n'
    )
    assert main(["import", str(recipe), str(tmp_path / "out")]) == 0
    found = list(read_documents(tmp_path / "out"))
    assert [(document.id, document.text, document.source) for document in found] == [
        ("a", "one", "books"),
        ("b", "two", "books"),
    ]
    assert found[0].meta == {"year": "2001"}


@pytest.mark.slow
def test_an_import_names_a_missing_column_and_file(recipe, tmp_path, capsys):
    recipe.write_text(f'[import]\npath = "text"\nfiles = ["{recipe}"]\nsource = "books"\ntext_column = "body"\n')
    assert "no column body" in fails(capsys, 1, "import", recipe, tmp_path / "out")
    recipe.write_text('[import]\npath = "text"\nfiles = ["gone.txt"]\nsource = "books"\n')
    assert "gone.txt" in fails(capsys, 1, "import", recipe, tmp_path / "out")
    recipe.write_text("")
    assert "no [import] table" in fails(capsys, 2, "import", recipe, tmp_path / "out")


def test_help_loads_nothing_heavy():
    program = (
        "import sys\nfrom mimo_data.cli import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n"
        "    heavy = 'torch transformers datasets pymupdf pyarrow tokenizers numpy trafilatura'.split()\n"
        "    print(set(heavy) & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


def test_the_packaged_metadata_needs_no_heavy_dependency():
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    assert not [name for name in project["dependencies"] if name.startswith(("torch", "transformers", "pymupdf"))]


def test_an_interrupted_command_says_that_it_goes_on(tmp_path, monkeypatch, capsys):
    def interrupted(*_args, **_kwargs):
        raise KeyboardInterrupt

    (tmp_path / "data.toml").write_text("")
    (tmp_path / "page.html").write_text("<p>x</p>")
    monkeypatch.setattr("mimo_data.extract.extract_pages", interrupted)
    command = ["extract", tmp_path / "data.toml", tmp_path / "out", "--pages", tmp_path / "page.html"]
    assert main([str(word) for word in command]) == 130
    assert capsys.readouterr().err == "mimo-data: interrupted. Run the command again to go on.\n"
