"""Every benchmark runs to its end on a small input, prints its tables and leaves nothing behind."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mimo_data import Document, write_documents

pytestmark = pytest.mark.slow

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
# What libraries put beside temporary files: MuPDF a session's name, torch the folder of its compiler.
OF_LIBRARIES = re.compile(r"\.ses|torchinductor_.*")
SENTENCE = "The river carries sand from the hills down to the harbour of the old town."
PARAGRAPH = f"<p>{SENTENCE}</p>"
LISTING = "def area(radius):\n    return 3 * radius ** 2"

Rows = list[list[str]]


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A folder with a short name: Chromium aborts where the path of its socket is over 100 characters."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.fixture
def run(tmp_path: Path, temporary: Path) -> Callable[..., list[Rows]]:
    """Runs a benchmark, some of its constants made smaller, and returns the rows of each table, headers left out."""
    here = tmp_path / "here"
    here.mkdir()

    def run(name: str, *arguments: object, **constants: int) -> list[Rows]:
        program: list[object] = [BENCHMARKS / f"{name}.py"]
        if constants:
            settings = "".join(f"{name}.{constant} = {value}; " for constant, value in constants.items())
            program = ["-c", f"import {name}; {settings}{name}.main()"]
        command = [sys.executable, *map(str, (*program, *arguments))]
        environment = os.environ | {"PYTHONPATH": str(BENCHMARKS), "TMPDIR": str(temporary)}
        done = subprocess.run(command, capture_output=True, text=True, cwd=here, env=environment)
        assert done.returncode == 0, done.stdout + done.stderr
        left = [path.name for folder in (here, temporary) for path in folder.iterdir()]
        assert [name for name in left if not OF_LIBRARIES.fullmatch(name)] == []
        return tables(done.stdout)

    return run


def tables(output: str) -> list[Rows]:
    found = []
    for table in re.findall(r"(?:^\|.*\n)+", output, re.MULTILINE):
        _, rule, *rows = [[cell.strip() for cell in line.strip()[1:-1].split("|")] for line in table.splitlines()]
        assert set("".join(rule)) == {"-"}, table
        assert {len(row) for row in rows} == {len(rule)}, table
        assert any(re.match(r"\d", cell) for row in rows for cell in row[1:]), table
        assert not re.search(r"\b(?:nan|inf)\b", table), table
        found.append(rows)
    return found


def write_rows(path: Path, *rows: dict[str, object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_reading(run):
    (rows,) = run("reading", NUM_PAGES=4, REPEATS=1)
    assert len(rows) == 7
    assert all(float(rate) > 0 for row in rows for rate in row[3:])


def test_decontamination(run, tmp_path):
    leaks, benchmarks = run("decontamination", "--items", 6, "--show", 1)
    assert leaks[0][-1] == "1.0000 of 6"
    assert benchmarks

    prompt = "A ferry carries 17 lanterns and 4 kettles over the river. How many does it carry in 9 days?"
    problem = {"id": "1", "prompt": prompt, "kind": "short-text", "answer": "x", "source": "ferries"}
    problems, pages = write_rows(tmp_path / "ferries.jsonl", problem), tmp_path / "pages.jsonl.zst"
    write_documents(pages, [Document(id="page", text=SENTENCE, source="web")])
    leaks, benchmarks = run("decontamination", "--problems", problems, "--pages", pages)
    assert leaks[0] == ["verbatim", "–", "1.0000 of 1", "–", "1.0000 of 1"]
    assert [row[0] for row in benchmarks] == ["ferries"]


def test_deduplication(run, tmp_path):
    copies, phases = run("deduplication", "--gigabytes", 0.0005)
    assert all(int(row[1]) >= int(row[2]) > 0 for row in copies[2:])
    assert [row[0] for row in phases[-3:]] == ["filter", "all but filter", "all"]

    rows = [{"id": name, "text": text} for name, text in (("a", SENTENCE), ("b", "Another text."), ("c", SENTENCE))]
    pairs = tmp_path / "pairs.jsonl"
    assert run("deduplication", "--pairs", write_rows(tmp_path / "set.jsonl", *rows), pairs) == []
    assert pairs.read_text() == '["a", "c"]\n'


def test_steps(run):
    (rows,) = run("steps", "--gigabytes", 0.0005, "--workers", 1)
    assert [row[0] for row in rows] == ["filter", "decontaminate", "tokenize"]
    assert all(float(peak_mib) > 10 for *_, peak_mib in rows)


def test_sft_filters(run, tmp_path):
    languages, cuts = run("sft_filters", NUM_SAMPLES=4)
    assert len(languages) == 9
    assert all(0 <= float(share) <= 1 for row in languages for share in row[1:])

    long = {"id": "1", "prompt": "Where does the sand go?", "response": f"{SENTENCE} There it stays."}
    short = {"id": "2", "prompt": "1 + 1?", "response": "It is two."}
    files = [write_rows(tmp_path / f"{name}.jsonl", row) for name, row in (("long", long), ("short", short))]
    mixed, cuts = run("sft_filters", *files)
    assert [row[:3] for row in mixed] == [["long", "1", "0.0000"], ["short", "1", "0.0000"]]
    assert cuts[0][:3] == ["long", "1", "0.0000"]
    assert cuts[1] == ["short", "1", "0.0000", "–", "–"]


def test_tokenization(run, tmp_path, tokenizer):
    ways = ["tokenizers, encode_batch", "tokenizers, encode_batch_fast", "write_shards"]
    (rows,) = run("tokenization", NUM_DOCUMENTS=2, REPEATS=1)
    assert [row[0] for row in rows] == ways

    documents = tmp_path / "documents.jsonl.zst"
    write_documents(documents, [Document(id="page", text=SENTENCE, source="web")])
    (rows,) = run("tokenization", "--tokenizer", tokenizer, "--documents", documents)
    assert [row[0] for row in rows] == ways


def test_pdf_extraction(run, tmp_path):
    pymupdf = pytest.importorskip("pymupdf", reason="needs PyMuPDF: install mimo-data[pdf]")
    (rows,) = run("pdf_extraction", NUM_PAGES=1, REPEATS=1)
    assert [row[:2] for row in rows] == [[name, "1"] for name in ("prose", "two columns", "table", "code")]

    with pymupdf.open() as document:
        document.new_page().insert_text((72, 100), SENTENCE)
        document.save(tmp_path / "river.pdf")
    (rows,) = run("pdf_extraction", tmp_path / "river.pdf")
    assert [row[:2] for row in rows] == [["river", "1"]]


def test_pdf_manuals(run, tmp_path):
    pymupdf = pytest.importorskip("pymupdf", reason="needs PyMuPDF: install mimo-data[pdf]")
    share = tmp_path / "packages" / "libmpfr-doc" / "usr" / "share" / "doc" / "libmpfr-doc"
    share.mkdir(parents=True)
    with pymupdf.open() as document:
        page = document.new_page()
        page.insert_text((72, 100), SENTENCE, fontsize=10)
        page.insert_text((72, 130), LISTING.split("\n"), fontname="cour", fontsize=10)
        (share / "mpfr.pdf.gz").write_bytes(gzip.compress(document.tobytes()))
    (share / "index.html").write_text(f"{PARAGRAPH}<pre>{LISTING}</pre><p class='math'>\\(x^2\\)</p>")

    (row,) = run("pdf_manuals", tmp_path / "packages")[0]
    assert (row[:2], row[3:]) == (["libmpfr-doc", "1"], ["1", "1", "1", "1", "0"])


def test_pdf_book(run, tmp_path):
    pymupdf = pytest.importorskip("pymupdf", reason="needs PyMuPDF: install mimo-data[pdf]")
    with pymupdf.open() as document:
        page = document.new_page()
        page.insert_text((72, 100), [SENTENCE] * 3, fontsize=10)
        page.insert_text((72, 160), LISTING.split("\n"), fontname="cour", fontsize=10)
        page.insert_text((280, 220), "x = y", fontname="tiit", fontsize=10)
        document.save(tmp_path / "book.pdf")
    source = tmp_path / "book.do.txt"
    source.write_text(f"{SENTENCE}\n!bc pycod\n{LISTING}\n!ec\n!bt\n\\[ {{x}} = y\\tp \\]\n!et\n")
    (rows,) = run("pdf_book", tmp_path / "book.pdf", source)
    assert rows == [
        ["listings", "1", "1"],
        ["displays, the same LaTeX", "1", "0"],
        ["displays, drawn alike", "1", "1"],
    ]


def documentation(folder: Path) -> list[object]:
    (folder / "circle-doc").mkdir()
    (folder / "circle-doc" / "areas.html").write_text(
        "<html><head><script src='documentation_options.js'></script></head><body><div role='main'>"
        f"<h1>How areas of circles are found</h1>{PARAGRAPH * 30}<div class='highlight'><pre>{LISTING}</pre></div>"
        "<p>So <span class='math'>\\(x^2\\)</span> it is.</p></div></body></html>"
    )
    return ["--packages", folder]


def books(folder: Path) -> list[object]:
    book = folder / "circles"
    book.mkdir()
    (book / "areas.md").write_text(f"# Areas\n\n{SENTENCE}\n\nSo $x^2$ it is.\n\n```python\n{LISTING}\n```\n")
    cells = [{"cell_type": "markdown", "source": [SENTENCE]}, {"cell_type": "code", "source": LISTING, "metadata": {}}]
    (book / "cells.ipynb").write_text(json.dumps({"cells": cells}))
    for name in ("areas", "cells"):
        (book / f"{name}.html").write_text(
            f"<html><head><meta name='generator' content='quarto'></head><body><main><h1>Areas</h1>{PARAGRAPH}"
            f"<p>So <span class='math inline'>\\(x^2\\)</span> it is.</p><pre>{LISTING}</pre></main></body></html>"
        )
    return ["--repositories", folder]


def forum(folder: Path) -> list[object]:
    posts = "".join(
        f"<tr><td><span class='name'><b>{author}</b></span></td><td><span class='postbody'>{SENTENCE}</span></td></tr>"
        for author in ("Anna", "Boris")
    )
    (folder / "thread.html").write_text(f"<html><body><table class='forumline'>{posts}</table></body></html>")
    return ["--archive", "phpBB 2", folder]


def public(folder: Path) -> list[object]:
    page = f"<html><body><article>{PARAGRAPH}</article></body></html>"
    for name, data in {
        "scrapinghub/ground-truth.json": json.dumps({"a": {"articleBody": SENTENCE}}).encode(),
        "scrapinghub/html/a.html.gz": gzip.compress(page.encode()),
        "readability/test/test-pages/a/source.html": page.encode(),
        "readability/test/test-pages/a/expected.html": PARAGRAPH.encode(),
        "trafilatura/tests/evaldata.json": json.dumps(
            {"a": {"file": "a.html", "with": [SENTENCE], "without": ["Read more"]}}
        ).encode(),
        "trafilatura/tests/cache/a.html": page.encode(),
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return [part for clone in sorted(folder.iterdir()) for part in (f"--{clone.name}", clone)]


@pytest.mark.parametrize(
    ("script", "write", "sets", "measures"),
    [
        ("documentation_pages", documentation, {"Sphinx": "1"}, ["–", "1.000", "–", "1.000", "1.000"]),
        ("published_books", books, {"Quarto": "2"}, ["–", "1.000", "–", "1.000", "1.000"]),
        ("forum_archives", forum, {"phpBB 2": "1"}, ["1.000", "1.000", "–", "–", "–"]),
        (
            "public_pages",
            public,
            {"readability": "1", "scrapinghub": "1", "trafilatura": "1"},
            ["1.000", "1.000", "1.000", "–", "–"],
        ),
    ],
)
def test_a_corpus_is_made_and_its_pages_are_extracted(run, tmp_path, script, write, sets, measures):
    (tmp_path / "input").mkdir()
    assert run(script, tmp_path / "corpus", *write(tmp_path / "input")) == []

    (rows,) = run("html_extraction", tmp_path / "corpus")
    ours = {row[0]: row for row in rows if row[2].startswith("mimo-data")}
    assert ours.pop("all")[3:8] == measures
    assert {name: row[1] for name, row in ours.items()} == sets


def test_tagging(run, tmp_path):
    for module in ("torch", "transformers"):
        pytest.importorskip(module, reason=f"needs {module}: install mimo-data[tag]")
    corpus = tmp_path / "corpus"
    (corpus / "html").mkdir(parents=True)
    rows = []
    for kind in ("math", "code", "forum", "article"):
        menu = "".join(f"<li>Everything that this site has of {kind} and of things called {item}" for item in "ab")
        page = f"<html><body><nav><ul>{menu}</ul></nav><main>{PARAGRAPH * 3}</main></body></html>"
        (corpus / "html" / f"{kind}.gz").write_bytes(gzip.compress(page.encode()))
        row = {"id": kind, "set": "made", "kind": kind, "file": f"html/{kind}.gz", "url": f"http://{kind}.example/"}
        rows.append({**row, "n_formulas": int(kind == "math"), "n_code": int(kind == "code")})
    write_rows(corpus / "manifest.jsonl", *rows)

    *_, groups, tags = run("tagging", "--corpus", corpus)
    assert [row[:2] for row in groups] == [["advertising", "30"], ["furniture", "4"], ["made", "4"], ["thin", "30"]]
    assert all(0 <= float(share) <= 1 for row in tags for share in row[2:])


@pytest.mark.skipif(not shutil.which("chromium"), reason="needs chromium: Debian's package of that name")
def test_renderers(run, tmp_path):
    """Scripts stand in for the renderers. They leave the source of the one formula where those do, and draw an x."""
    (tmp_path / "formulas.txt").write_text("x^2\n")
    mathjax = """document.addEventListener("DOMContentLoaded", () => {
        document.querySelector("p").innerHTML = 'Of <script type="math/tex">x^2</script> it is said more.'
    })"""
    katex = """const katex = {render: (latex, element, {output}) => {
        const source = `<annotation encoding="application/x-tex">${latex}</annotation>`
        const math = `<math><semantics><mi>x</mi>${output == "html" ? "" : source}</semantics></math>`
        element.innerHTML = `<span class="katex">${math}</span>`
    }}"""
    for name in ("MathJax.js", "tex-chtml.js", "tex-svg.js"):
        (tmp_path / name).write_text(mathjax)
    (tmp_path / "katex.js").write_text(katex)
    (tmp_path / "katex.css").touch()

    folders = [part for name in ("mathjax2", "mathjax3", "katex") for part in (f"--{name}", tmp_path)]
    (rows,) = run("renderers", *folders, "--formulas", tmp_path / "formulas.txt")
    assert {name: back for name, _, back, _ in rows if not name.startswith("MathJax")} == {
        "KaTeX": "1",
        "KaTeX, MathML": "0",
        "KaTeX, glyphs": "0",
    }
    assert len(rows) == 15


@pytest.mark.parametrize(
    "command",
    [
        "decontamination --problems nowhere",
        "deduplication --pairs nowhere pairs.jsonl",
        "documentation_pages corpus --packages nowhere",
        "forum_archives corpus --archive nowhere .",
        "forum_archives corpus --archive articles nowhere",
        "html_extraction nowhere",
        "pdf_book nowhere book.do.txt",
        "pdf_extraction nowhere",
        "pdf_manuals nowhere",
        "public_pages corpus --readability nowhere",
        "published_books corpus --repositories nowhere",
        "renderers --katex nowhere",
        "sft_filters nowhere",
        "steps --folder nowhere",
        "tokenization --documents nowhere",
    ],
)
def test_a_path_that_is_not_there_is_named_without_a_traceback(command, tmp_path):
    name, *arguments = command.split()
    if name.startswith("pdf"):
        pytest.importorskip("pymupdf", reason="needs PyMuPDF: install mimo-data[pdf]")
    program = [sys.executable, BENCHMARKS / f"{name}.py", *arguments]
    done = subprocess.run(program, capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "nowhere" in done.stderr.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []
